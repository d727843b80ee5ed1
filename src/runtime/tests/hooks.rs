//! Hooks at their six moments, and the agent that a filter asks.

use crate::support::{Box, Outcome};
use runtime::Rootfs;
use runtime::hooks::{self, Moment};
use rustix::fd::OwnedFd;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

pub const TESTS: &[(&str, fn())] = &[
    ("hooks_in_their_order_and_namespaces", hooks_in_their_order_and_namespaces),
    ("what_a_hook_mounts_is_in_the_container", what_a_hook_mounts_is_in_the_container),
    ("hooks_write_to_a_root_that_will_be_read_only", hooks_write_to_a_root_that_will_be_read_only),
    ("a_hook_inside_has_the_environment_of_the_program", a_hook_inside_has_the_environment_of_the_program),
    ("a_hook_that_fails_ends_the_container", a_hook_that_fails_ends_the_container),
    ("a_filter_asks_an_agent", a_filter_asks_an_agent),
    ("an_agent_that_is_not_there", an_agent_that_is_not_there),
];

/// A container whose root is a directory, as bundles have it.
fn bundle(script: &str) -> (Box, PathBuf) {
    let mut container = Box::script(script);
    let root = container.layer();
    container.create.rootfs = Rootfs::Directory(root.clone());
    (container, root)
}

fn shell(script: &str) -> Value {
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}])
}

fn hooks_in_their_order_and_namespaces() {
    let (mut container, root) = bundle("cat /said; echo program");
    let said = root.join("said");
    let note = |moment: Moment, file: &Path| {
        shell(&format!(
            "echo {} $(readlink /proc/self/ns/mnt) $(readlink /proc/self/ns/net) $(cat) >> {}",
            moment.name(),
            file.display()
        ))
    };
    container.edit(|spec| {
        spec["annotations"] = json!({"key": "value"});
        for moment in Moment::ALL {
            let file = if moment == Moment::StartContainer { Path::new("/said") } else { &said };
            spec["hooks"][moment.name()] = note(moment, file);
        }
    });
    let mut running = container.launch();
    assert!(running.is_parked(), "{:?}", running.reports);
    let before = fs::read_to_string(&said).unwrap();
    let pid = running.pid.unwrap().0;
    let inside = [
        fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap().display().to_string(),
        fs::read_link(format!("/proc/{pid}/ns/net")).unwrap().display().to_string(),
    ]
    .join(" ");
    running.start();
    let outcome = running.wait();
    assert!(outcome.out.ends_with("\nprogram\n"), "{outcome:?}");
    let moments = [Moment::Prestart, Moment::CreateRuntime, Moment::CreateContainer, Moment::StartContainer];
    for (moment, line) in moments.into_iter().zip(outcome.out.lines()) {
        let (words, state) = line.split_once('{').unwrap();
        assert!(words.starts_with(moment.name()), "{outcome:?}");
        let is_inside = matches!(moment, Moment::CreateContainer | Moment::StartContainer);
        assert_eq!(words.contains(&inside), is_inside, "{words} {inside}");
        let state: Value = serde_json::from_str(&format!("{{{state}")).unwrap();
        let status = if moment == Moment::StartContainer { "created" } else { "creating" };
        let wanted = json!({"ociVersion": "1.2.0", "id": "test", "status": status, "pid": pid,
            "bundle": container.scratch.0, "annotations": {"key": "value"}});
        assert_eq!(state, wanted, "{}", moment.name());
    }
    assert_eq!((before.lines().count(), outcome.out.lines().count()), (3, 5), "those of the start run at the start");
    // Those after the start are the caller's to run.
    for moment in [Moment::Poststart, Moment::Poststop] {
        let state = hooks::state(&container.create.spec, "test", Path::new("/b"), moment.status(), None);
        hooks::run(moment, moment.hooks(&container.create.spec), &state).unwrap();
    }
    let text = fs::read_to_string(&said).unwrap();
    assert!(text.lines().nth(4).unwrap().contains(r#""status":"running""#), "{text}");
    assert!(text.lines().nth(5).unwrap().contains(r#""status":"stopped""#), "{text}");
}

fn what_a_hook_mounts_is_in_the_container() {
    let (mut container, root) =
        bundle("cat /etc/hooked; grep -c -v ' / \\| /proc\\| /dev\\| /sys\\| /etc/hooked' /proc/mounts");
    fs::write(root.join("etc/hooked"), "").unwrap();
    let root = root.display();
    // As those do who put a device's libraries in: from the host's side into its mount namespace, and in that itself.
    container.edit(|spec| {
        spec["hooks"]["createContainer"] =
            shell(&format!("test -e {root}/proc/self/status && mount --bind /etc/hostname {root}/etc/hooked"));
    });
    let outcome = container.run();
    let hostname = fs::read_to_string("/etc/hostname").unwrap();
    assert_eq!(outcome.out, format!("{}\n0\n", hostname.trim_end()), "{outcome:?}");
}

/// What will be read-only is not yet while hooks of the creation run.
fn hooks_write_to_a_root_that_will_be_read_only() {
    let (mut container, root) = bundle("cat /made; touch /other 2>&1; true");
    container.edit(|spec| {
        spec["root"]["readonly"] = json!(true);
        spec["hooks"]["createContainer"] = shell(&format!("echo by a hook > {}/made", root.display()));
    });
    let outcome = container.run();
    assert!(outcome.out.starts_with("by a hook\n") && outcome.out.contains("Read-only file system"), "{outcome:?}");
}

/// It is the container's to see, and so nothing of ours.
fn a_hook_inside_has_the_environment_of_the_program() {
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "there is something to be seen");
    let (mut container, _) = bundle("cat /said");
    container.edit(|spec| {
        spec["process"]["env"].as_array_mut().unwrap().push(json!("ONE=two"));
        let script = "echo [$ONE] [$CARGO_MANIFEST_DIR] >/said";
        spec["hooks"]["startContainer"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    });
    container.prints("[two] []");
}

fn a_hook_that_fails_ends_the_container() {
    for moment in [Moment::Prestart, Moment::CreateRuntime, Moment::CreateContainer, Moment::StartContainer] {
        let (mut container, _) = bundle("echo must not be seen");
        container.edit(|spec| spec["hooks"][moment.name()] = shell("echo because >&2; exit 9"));
        let mut running = container.launch();
        assert_eq!(running.is_parked(), moment == Moment::StartContainer);
        running.start();
        let outcome = running.wait();
        let words = format!("{} hook \"/bin/sh\": it ended with code 9: because", moment.name());
        assert_eq!(outcome.failure(), (125, words), "{outcome:?}");
        assert_eq!(outcome.out, "");
    }
    let (mut container, _) = bundle("true");
    container.edit(|spec| spec["hooks"]["poststop"] = json!([{"path": "/bin/true", "timeout": -1}]));
    assert!(container.run().failure().1.contains("greater than zero"), "before anything is made");
}

fn asking(path: &Path) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "listenerPath": path, "listenerMetadata": "opaque",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    })
}

fn received(listener: &UnixListener) -> (Value, OwnedFd) {
    let (connection, _) = listener.accept().unwrap();
    let mut message = vec![0; 1 << 16];
    let (length, mut passed) = sys::channel::receive_descriptors(&connection, &mut message).unwrap();
    let listening = passed.pop().unwrap();
    assert!(passed.is_empty());
    // Exactly one message for each connection, which is closed then.
    assert_eq!(sys::channel::receive(&connection, &mut [0; 9]), Ok(0));
    (serde_json::from_slice(&message[..length]).unwrap(), listening)
}

fn ends_unanswered(outcome: &Outcome) {
    // Whoever listened is gone: the kernel answers for it.
    assert_eq!(outcome.out, "mkdir: can't create directory '/x': Function not implemented\n", "{outcome:?}");
}

fn a_filter_asks_an_agent() {
    let mut container = Box::script("mkdir /x 2>&1; true");
    let path = container.scratch.0.join("agent");
    let listener = UnixListener::bind(&path).unwrap();
    container.edit(|spec| {
        spec["linux"]["seccomp"] = asking(&path);
        spec["annotations"] = json!({"key": "value"});
    });
    let mut running = container.launch();
    assert!(running.is_parked(), "{:?}", running.reports);
    // Before the start already.
    let (message, listening) = received(&listener);
    let pid = running.pid.unwrap().0;
    let wanted = json!({
        "ociVersion": "1.2.0", "fds": ["seccompFd"], "pid": pid, "metadata": "opaque",
        "state": {"ociVersion": "1.2.0", "id": "test", "status": "creating", "pid": pid,
            "bundle": container.scratch.0, "annotations": {"key": "value"}},
    });
    assert_eq!(message, wanted);
    let name = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&listening))).unwrap();
    assert_eq!(name.to_str(), Some("anon_inode:seccomp notify"));
    drop(listening);
    running.start();
    ends_unanswered(&running.wait());
    // A process that is added to a container.
    let sleeper = Box::new(&["sleep", "60"]);
    let mut running = sleeper.launch();
    running.start();
    running.until_executed();
    let pid = running.pid.unwrap().0;
    let exec = running.exec_of(&["sh", "-c", "mkdir /x 2>&1"], |exec| {
        exec.seccomp = Some(serde_json::from_value(asking(&path)).unwrap());
        exec.bundle = "/bundle".into();
    });
    let mut added = crate::support::launch(|channels| runtime::exec(&exec, channels), None);
    let (message, listening) = received(&listener);
    assert_eq!(message["pid"], json!(added.pid.unwrap().0));
    let state = json!({"ociVersion": "1.3.0", "id": "test", "status": "running", "pid": pid, "bundle": "/bundle"});
    assert_eq!(message["state"], state);
    drop(listening);
    added.start();
    ends_unanswered(&added.wait());
    running.kill();
    running.wait();
}

fn an_agent_that_is_not_there() {
    let mut container = Box::new(&["true"]);
    container.edit(|spec| spec["linux"]["seccomp"] = asking(Path::new("/nowhere/agent")));
    let message = container.run().failure().1;
    assert_eq!(message, "seccomp: connect to the agent at \"/nowhere/agent\": No such file or directory");
}
