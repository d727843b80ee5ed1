//! What people and scripts do with containers beside running them: mounts, clones, dependents, completion, manual pages.

use crate::home::Home;
use std::process::Command;

#[test]
fn files_mounted_for_the_host() {
    if !crate::home::am_root() {
        println!("SKIPPED: only root mounts files of containers for the host");
        return;
    }
    let home = Home::new();
    home.load();
    // The whole test sees one mount namespace, in which the mounts stay between commands.
    let script = r#"set -e
        id=$("$MONOPOD" run -d --name web busybox sh -c 'echo one >/file; exec sleep 100')
        path=$("$MONOPOD" mount web)
        until [ -e "$path/file" ]; do sleep 0.05; done
        [ "$(cat "$path/file")" = one ]; echo two >"$path/file"
        [ "$("$MONOPOD" exec web cat /file)" = two ]
        [ "$("$MONOPOD" mount)" = "$(printf '%.12s  %s' "$id" "$path")" ]
        [ "$("$MONOPOD" unmount web)" = web ]; [ ! -e "$path/file" ]
        "$MONOPOD" stop -t 0 web >/dev/null
        path=$("$MONOPOD" mount web); echo three >"$path/other"
        # It starts on what is mounted already: one overlay, not two.
        "$MONOPOD" start web >/dev/null; [ "$("$MONOPOD" exec web cat /other)" = three ]
        "$MONOPOD" rm -f -t 0 web >/dev/null; [ ! -e "$path" ]
        path=$("$MONOPOD" image mount busybox); [ -x "$path/bin/busybox" ]
        ! touch "$path/file" 2>/dev/null
        "$MONOPOD" image mount | grep -q busybox
        "$MONOPOD" image unmount busybox | grep -qE '^[0-9a-f]{64}$'
        [ -z "$("$MONOPOD" image unmount busybox)" ]"#;
    let output = shell(&home, script);
    assert!(output.status.success(), "{output:?}");
    home.run(&["image", "unmount", "nothing"]).fails(125, &["nothing: image not known"]);
}

fn shell(home: &Home, script: &str) -> std::process::Output {
    let command = home.command(&["ps"]);
    let program = command.get_program().to_owned();
    let mut words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    words.pop();
    let words: Vec<String> =
        std::iter::once(program).chain(words).map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let caller = home.write("caller", format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")).as_bytes());
    std::fs::set_permissions(&caller, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("own file");
    let mut shell = Command::new("sh");
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    shell.args(["-c", script]).env("MONOPOD", caller).output().expect("a shell")
}

#[test]
fn those_that_need_another_one() {
    let home = Home::new();
    home.load();
    let first = home.run(&["create", "--name", "first", "busybox", "true"]).quiet();
    let second = home.run(&["create", "--name", "second", "--network", "container:first", "busybox", "true"]).quiet();
    home.run(&["rm", "first"]).fails(125, &["has dependent containers which must be removed before it", &second]);
    assert_eq!(home.run(&["rm", "first", "second"]).ok(), "second\nfirst");
    let first = {
        drop(first);
        home.run(&["create", "--name", "first", "busybox", "true"]).quiet()
    };
    let second = home.run(&["create", "--network", "container:first", "busybox", "true"]).quiet();
    assert_eq!(home.run(&["rm", "--depend", &first]).ok(), format!("{second}\n{first}"));
    assert!(home.containers().is_empty());
}

#[test]
fn a_container_like_another_one() {
    let home = Home::new();
    home.load();
    home.run(&["create", "--name", "old", "-e", "A=1", "busybox", "sh", "-c", "echo $A"]).quiet();
    let id = home.run(&["container", "clone", "old"]).quiet();
    assert_eq!(home.inspect("old-clone", "{{.Id}}"), id);
    assert_eq!(home.run(&["start", "-a", "old-clone"]).ok(), "1");
    home.run(&["container", "clone", "--destroy", "--memory", "64m", "old", "old"]).quiet();
    assert_eq!(home.inspect("old", "{{.HostConfig.Memory}} {{.Config.Hostname}}").split(' ').next(), Some("67108864"));
    assert_eq!(home.containers().len(), 2);
    home.run(&["container", "clone", "--force", "old"]).fails(125, &["--destroy"]);
}

#[test]
fn copies_that_cannot_be_are_told_in_podmans_words() {
    let home = Home::new();
    home.load();
    home.run(&["create", "--name", "c", "busybox", "true"]).quiet();
    let file = home.write("file", b"text");
    let file = file.to_str().unwrap();
    home.run(&["cp", "/no/such", "c:/tmp"]).fails(125, &["\"/no/such\" could not be found on the host"]);
    home.run(&["cp", file, "c:/no/"]).fails(125, &["\"/no/\" could not be found on container c: no such file"]);
    home.run(&["cp", "/bin", &format!("c:{file}")]).fails(125, &["could not be found on container c"]);
    home.run(&["cp", "c:/bin/busybox", "/dev/null"])
        .fails(125, &["invalid destination: \"/dev/null\" must be a directory or a regular file"]);
    assert_eq!(home.feed(&["cp", "-", "c:/"], b"no archive at all").code(125).out, "");
    let packed = Command::new("tar").args(["-czf", "-", "-C", "/", "etc/passwd"]).output().expect("tar").stdout;
    home.feed(&["cp", "-", "c:/"], &packed).code(0);
    assert!(home.run(&["cp", "c:/etc/passwd", "-"]).code(0).out.contains("root:"));
}

#[test]
fn stopping_is_told_and_so_is_a_signal_that_was_not_enough() {
    let home = Home::new();
    home.load();
    home.run(&["run", "-d", "--name", "deaf", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
        .quiet();
    let stopping = home.start(&["stop", "-t", "2", "deaf"]);
    home.until("the container is stopping", || home.inspect("deaf", "{{.State.Status}}") == "stopping");
    assert_eq!(home.run(&["ps", "--format", "{{.State}}"]).quiet(), "stopping");
    let output = stopping.wait();
    assert!(output.err.contains("StopSignal SIGTERM failed to stop container deaf in 2 seconds"), "{output:?}");
    assert_eq!(home.inspect("deaf", "{{.State.Status}}"), "exited");
}

#[test]
fn logs_of_several_are_followed_together() {
    let home = Home::new();
    home.load();
    for (name, text) in [("one", "a"), ("two", "b")] {
        home.run(&["run", "-d", "--name", name, "busybox", "sh", "-c", &format!("sleep 0.3; echo {text}")]).quiet();
    }
    let text = home.run(&["logs", "-f", "--names", "one", "two"]).ok();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one a", "two b"]);
    assert_eq!(home.run(&["logs", "--names", "--color", "two"]).ok(), "\x1b[37mtwo b\x1b[0m");
}

#[test]
fn shells_complete_commands_names_and_flags() {
    let home = Home::new();
    home.load();
    home.run(&["create", "--name", "website", "busybox", "true"]).quiet();
    let words = |args: &[&str]| home.run(&[&["__completeNoDesc"], args].concat()).ok();
    assert_eq!(words(&["start", "web"]), "website\n:4");
    assert_eq!(words(&["logs", "--fol"]), "--follow\n:4");
    assert_eq!(words(&["run", "--rm", "busy"]), "busybox\n:4");
    assert_eq!(words(&["cp", "web"]), "website:\n:2");
    let script = r#"eval "$("$MONOPOD" completion bash)"
        monopod() { "$MONOPOD" "$@"; }
        COMP_LINE="monopod container ren" COMP_POINT=21; _monopod_complete; printf '%s\n' "${COMPREPLY[@]}"
        COMP_LINE="monopod run --pid container:web" COMP_POINT=31; _monopod_complete; printf '%s\n' "${COMPREPLY[@]}""#;
    let output = shell(&home, &format!("exec bash -c '{}'", script.replace('\'', "'\\''")));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "rename\nwebsite\n", "{output:?}");
    for shell in ["zsh", "fish"] {
        assert!(home.run(&["completion", shell]).ok().contains("__complete"));
    }
    home.run(&["completion", "tcsh"]).fails(125, &["tcsh", "bash, zsh or fish"]);
}

#[test]
fn manual_pages_and_help() {
    let home = Home::new();
    let directory = home.path("man");
    home.run(&["man", directory.to_str().unwrap()]).quiet();
    let run = std::fs::read_to_string(directory.join("monopod-run.1")).expect("a page for run");
    assert!(run.contains(".SH OPTIONS") && run.contains("\\-\\-memory"), "{run}");
    let help = home.run(&["run", "--help"]).ok();
    assert!(help.contains("\nLimits:\n") && help.contains("\nExamples:\n"), "{help}");
    home.run(&["ps", "--formt", "x"]).fails(125, &["unknown flag: --formt: did you mean --format?"]);
    assert_eq!(home.run(&["--noout", "ps"]).ok(), "");
    assert!(home.run(&["--log-level", "debug", "ps"]).code(0).err.contains("level=debug"));
    home.run(&["--log-level", "loud", "ps"]).code(1);
}

#[test]
fn called_by_another_name_it_answers_by_that() {
    let home = Home::new();
    let link = |name: &str| {
        let path = home.path(name);
        let built = crate::home::built().canonicalize().expect("the built file");
        std::os::unix::fs::symlink(built, &path).expect("own directory");
        move |args: &[&str]| {
            let output = Command::new(&path).args(args).output().expect("the built file");
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
    };
    let (podman, docker) = (link("podman"), link("docker"));
    let version = podman(&["version"]);
    assert!(version.starts_with("Client:       Podman Engine") && version.contains("\nGo Version:"), "{version}");
    assert!(docker(&["version"]).contains("\nServer: monopod\n Engine:\n  Version:"), "{}", docker(&["version"]));
    assert_eq!(docker(&["version", "--format", "{{.Server.Version}}"]).trim(), env!("CARGO_PKG_VERSION"));
    assert!(podman(&["ps", "--help"]).contains("Usage:\n  podman ps"));
    assert!(podman(&["completion", "bash"]).contains("complete -F _podman_complete podman"));
}

#[test]
fn names_are_filtered_by_regular_expressions() {
    let home = Home::new();
    home.load();
    for name in ["web-1", "web-22", "web-x", "db"] {
        home.run(&["create", "--name", name, "busybox", "true"]).quiet();
    }
    let names = |pattern: &str| {
        let filter = format!("name={pattern}");
        let text = home.run(&["ps", "-a", "--sort", "names", "--filter", &filter, "--format", "{{.Names}}"]).ok();
        text.lines().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("^web-[0-9]+$"), "web-1 web-22");
    assert_eq!(names("x$|^d"), "db web-x");
    home.run(&["ps", "--filter", "name=("]).fails(125, &["missing closing )"]);
}
