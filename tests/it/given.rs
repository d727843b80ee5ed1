//! What the host's files give containers: devices of vendors (CDI), hooks (hooks.d), mounts (mounts.conf).

use crate::home::{Home, Who};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const VENDOR: &str = r#"{"cdiVersion": "0.7.0", "kind": "vendor.example/thing", "devices": [
    {"name": "one", "containerEdits": {"env": ["ONE=1", "BOTH=one"], "additionalGids": [0, 71], "deviceNodes": [
        {"path": "/dev/thing1", "hostPath": "/dev/null", "fileMode": 384}]}},
    {"name": "two", "containerEdits": {"env": ["TWO=2", "BOTH=two"], "mounts": [
        {"hostPath": "HOME/two", "containerPath": "/opt/two", "options": ["ro", "bind"]}]}}],
    "containerEdits": {"env": ["THING=yes"], "hooks": [
        {"hookName": "createRuntime", "path": "/bin/sh", "args": ["sh", "-c", "echo hook >> HOME/said"]}]}}"#;

const YAML: &str = "---\ncdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: \"0\"\n  containerEdits:\n    \
                    env:\n    - GPU=zero\n- containerEdits:\n    env: [GPU=all]\n  name: all\n";

/// A directory of devices in the home.
fn devices(home: &Home) -> PathBuf {
    let directory = home.path("cdi");
    fs::create_dir(&directory).unwrap();
    let text = VENDOR.replace("HOME", home.directory.to_str().unwrap());
    fs::write(directory.join("vendor.json"), text).unwrap();
    fs::write(directory.join("gpu.yaml"), YAML).unwrap();
    home.write("two", b"from the host\n");
    directory
}

#[test]
fn devices_of_vendors() {
    for who in [Who::Me, Who::Subuid] {
        let Some(home) = Home::of(who) else { return };
        let directory = devices(&home);
        fs::set_permissions(&home.directory, fs::Permissions::from_mode(0o777)).unwrap();
        home.load();
        let directory = directory.to_str().unwrap();
        let run = |devices: &[&str], script: &str| {
            let flags: Vec<&str> = devices.iter().flat_map(|name| ["--device", name]).collect();
            let words = [&["--cdi-spec-dir", directory, "run", "--rm"][..], &flags, &["busybox", "sh", "-c", script]];
            home.run(&words.concat())
        };
        let look = "echo $THING $ONE $TWO $BOTH; id -G; test -c /dev/thing1 && echo node; cat /opt/two";
        let one = run(&["vendor.example/thing=one"], &format!("{look} 2>/dev/null; echo x >/dev/thing1"));
        assert_eq!(one.quiet(), "yes 1 one\n0 71\nnode");
        let both = run(&["vendor.example/thing=one", "vendor.example/thing=two"], look);
        assert_eq!(both.quiet(), "yes 1 2 two\n0 71\nnode\nfrom the host");
        let all = run(&["vendor.example/thing=all"], &format!("{look}; echo y > /opt/two || echo refused"));
        assert!(all.out.ends_with("node\nfrom the host\nrefused\n"), "{}", all.out);
        // Hooks of a file are run once for a container, however many of its devices it has.
        assert_eq!(fs::read_to_string(home.path("said")).unwrap(), "hook\n".repeat(3));
        let gpu = |value: &str| {
            home.run(&["--cdi-spec-dir", directory, "run", "--rm", "--gpus", value, "busybox", "sh", "-c", "echo $GPU"])
        };
        assert_eq!((gpu("all").quiet(), gpu("0").quiet()), ("all".into(), "zero".into()));
        gpu("9").fails(125, &["unresolvable CDI devices nvidia.com/gpu=9", "nvidia.com/gpu=0"]);
    }
}

#[test]
fn devices_of_vendors_are_looked_up_for_each_start() {
    let home = Home::new();
    let directory = devices(&home);
    let text = format!("[engine]\ncdi_spec_dirs = [{:?}]\n", directory.to_str().unwrap());
    let file = home.write("containers.conf", text.as_bytes());
    let home = home.variable("CONTAINERS_CONF", file.to_str().unwrap());
    home.load();
    home.run(&["create", "--name", "c", "--gpus=0", "busybox", "sh", "-c", "echo $GPU"]).quiet();
    assert_eq!(home.run(&["start", "-a", "c"]).quiet(), "zero");
    fs::write(directory.join("gpu.yaml"), YAML.replace("zero", "another")).unwrap();
    assert_eq!(home.run(&["start", "-a", "c"]).quiet(), "another");
    fs::write(directory.join("gpu.yaml"), YAML.replace("kind:", "kinds:")).unwrap();
    home.run(&["start", "-a", "c"]).fails(125, &["nvidia.com/gpu=0", "gpu.yaml", "kinds"]);
    home.sh(&["--gpus=0"], "true").fails(125, &["unresolvable", "gpu.yaml"]);
    home.sh(&["--device", "no=thing"], "true").fails(125, &["VENDOR/CLASS=NAME"]);
}

/// A hook of a directory in the home, which says its name and writes down the state that it is told.
fn hook(home: &Home, name: &str, script: &str, when: &str, stages: &str) {
    let directory = home.path("hooks");
    fs::create_dir_all(&directory).unwrap();
    let script = script.replace("HOME", home.directory.to_str().unwrap());
    let text = format!(
        r#"{{"version": "1.0.0", "hook": {{"path": "/bin/sh", "args": ["sh", "-c", {script:?}]}}, "when": {when}, "stages": {stages}}}"#
    );
    fs::write(directory.join(name), text).unwrap();
}

fn said(home: &Home) -> String {
    fs::read_to_string(home.path("said")).unwrap_or_default()
}

#[test]
fn hooks_of_the_host() {
    let home = Home::new();
    home.load();
    let directory = home.path("hooks");
    let directory = directory.to_str().unwrap();
    let state = "cat >> HOME/state; echo NAME >> HOME/said";
    let with = |name: &str| state.replace("NAME", name);
    hook(&home, "Z.json", &with("Z"), r#"{"always": true}"#, r#"["createRuntime", "poststart"]"#);
    hook(&home, "a.json", &with("a"), r#"{"always": true}"#, r#"["createRuntime"]"#);
    hook(&home, "end.json", &with("end"), r#"{"always": true}"#, r#"["poststop"]"#);
    hook(&home, "note.json", &with("note"), r#"{"annotations": {"^wanted$": "^y"}}"#, r#"["prestart"]"#);
    hook(&home, "sleep.json", &with("sleep"), r#"{"commands": ["^sleep$"]}"#, r#"["prestart"]"#);
    hook(&home, "bind.json", &with("bind"), r#"{"hasBindMounts": true}"#, r#"["prestart"]"#);
    hook(&home, "env.json", "sed s/BEFORE=1/AFTER=2/", r#"{"always": true}"#, r#"["precreate"]"#);
    let flags =
        ["--hooks-dir", directory, "run", "--rm", "--env", "BEFORE=1", "busybox", "sh", "-c", "echo $BEFORE $AFTER"];
    assert_eq!(home.run(&flags).quiet(), "2");
    // Before the program, in the order of names; after its start; after its end.
    assert_eq!(said(&home), "a\nZ\nZ\nend\n");
    let state = fs::read_to_string(home.path("state")).unwrap();
    assert!(
        state.contains("\"creating\"") && state.contains("\"running\"") && state.contains("\"stopped\""),
        "{state}"
    );
    // Who did not start the container runs what comes after its end, too; and it is run once.
    fs::remove_file(home.path("said")).unwrap();
    let bind = format!("{}:/x", home.path("").display());
    let words = [
        "--hooks-dir",
        directory,
        "run",
        "-d",
        "--name",
        "c",
        "-v",
        &bind,
        "--annotation",
        "wanted=yes",
        "busybox",
        "sleep",
        "100",
    ];
    home.run(&words).quiet();
    assert_eq!(said(&home), "bind\nnote\nsleep\na\nZ\nZ\n");
    home.run(&["rm", "-f", "-t0", "c"]).quiet();
    home.until("the last hook", || said(&home).ends_with("end\n"));
    assert_eq!(said(&home), "bind\nnote\nsleep\na\nZ\nZ\nend\n");
    // Without the directory there are none.
    home.sh(&[], "true").quiet();
    assert!(said(&home).ends_with("Z\nend\n"));
}

#[test]
fn hooks_that_fail() {
    let home = Home::new();
    home.load();
    let directory = home.path("hooks");
    let text = format!("[engine]\nhooks_dir = [{:?}]\n", directory.to_str().unwrap());
    let file = home.write("containers.conf", text.as_bytes());
    let home = home.variable("CONTAINERS_CONF", file.to_str().unwrap());
    home.sh(&[], "true").quiet();
    let only = |name: &str, script: &str, stages: &str| {
        let _ = fs::remove_dir_all(&directory);
        hook(&home, name, script, r#"{"always": true}"#, stages);
    };
    only("a.json", "echo words >&2; exit 3", r#"["createRuntime"]"#);
    home.sh(&[], "true").fails(125, &["createRuntime hook", "ended with code 3", "words"]);
    only("a.json", "exit 4", r#"["precreate"]"#);
    home.sh(&[], "true").fails(125, &["precreate hook", "exit status: 4"]);
    only("a.json", "echo nonsense", r#"["precreate"]"#);
    home.sh(&[], "true").fails(125, &["is no specification"]);
    only("a.json", "exit 5", r#"["poststart"]"#);
    home.run(&["run", "--name", "c", "busybox", "sleep", "100"]).fails(125, &["poststart hook", "code 5"]);
    home.until("its end", || home.inspect("c", "{{.State.Status}}") == "exited");
    home.run(&["rm", "c"]).ok();
    // What fails after the end keeps nothing from ending, and is told.
    only("a.json", "echo too late; exit 6", r#"["poststop"]"#);
    home.sh(&[], "true").quiet();
    let events = home.run(&["events", "--stream=false", "--since", "1h", "--format", "json"]).ok();
    assert!(events.contains("hook_failed") && events.contains("too late"), "{events}");
    only("a.json", "true", r#"["never"]"#);
    home.sh(&[], "true").fails(125, &["a.json", "unknown stage \"never\""]);
    fs::write(directory.join("a.json"), "{").unwrap();
    home.sh(&[], "true").fails(125, &["parsing hook", "a.json"]);
    home.run(&["--hooks-dir", "/no/such", "run", "--rm", "busybox", "true"])
        .fails(125, &["/no/such: no such directory"]);
}

#[test]
fn mounts_for_every_container() {
    let home = Home::new();
    home.load();
    let given = home.path("given");
    fs::create_dir_all(given.join("deep")).unwrap();
    fs::write(given.join("deep/file"), "secret\n").unwrap();
    fs::set_permissions(given.join("deep/file"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("deep/file", given.join("link")).unwrap();
    let lines = format!("# of the host\n{0}:/run/given\n{0}/deep/file:/single\n/no/such:/none\n", given.display());
    let file = home.write("mounts.conf", lines.as_bytes());
    let file = file.to_str().unwrap();
    let run = |more: &[&str], script: &str| {
        let words =
            [&["--default-mounts-file", file, "run", "--rm"][..], more, &["busybox", "sh", "-c", script]].concat();
        home.run(&words)
    };
    let look = "cat /run/given/link /single; stat -c %a /run/given/deep/file; ls -d /none 2>/dev/null || echo nothing";
    assert_eq!(run(&[], look).quiet(), "secret\nsecret\n640\nnothing");
    // A copy: nobody writes to the host's.
    assert_eq!(
        run(&[], "echo more >> /run/given/deep/file; rm /run/given/link; cat /run/given/deep/file").quiet(),
        "secret\nmore"
    );
    assert_eq!(fs::read_to_string(given.join("deep/file")).unwrap(), "secret\n");
    assert!(given.join("link").exists());
    // What is asked for in the same place counts.
    assert_eq!(run(&["--tmpfs", "/run/given"], "ls /run/given | wc -l").quiet(), "0");
    assert_eq!(run(&["--userns", "auto"], "stat -c %u:%g /run/given/deep/file; cat /single").quiet(), "0:0\nsecret");
    fs::write(Path::new(file), "nonsense\n").unwrap();
    run(&[], "true").fails(125, &["mounts.conf line 1", "nonsense"]);
    home.run(&["--default-mounts-file", "/no/such", "run", "--rm", "busybox", "true"]).fails(125, &["/no/such"]);
}
