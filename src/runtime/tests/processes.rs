//! What runs in a container: programs, their ends, users, terminals, and processes added later.

use crate::support::{Box, on_terminal};
use rustix::fd::OwnedFd;
use serde_json::json;
use std::fs;
use std::io::{Read, Write};

pub const TESTS: &[(&str, fn())] = &[
    ("output_and_exit_code", output_and_exit_code),
    ("programs_that_are_none", programs_that_are_none),
    ("a_script_without_its_interpreter", a_script_without_its_interpreter),
    ("a_parked_process_is_given_up", a_parked_process_is_given_up),
    ("namespaces_and_names", namespaces_and_names),
    ("users_by_name", users_by_name),
    ("working_directories", working_directories),
    ("a_terminal_of_its_own", a_terminal_of_its_own),
    ("exec_joins_everything", exec_joins_everything),
    ("exec_on_a_terminal", exec_on_a_terminal),
    ("exec_into_what_ended", exec_into_what_ended),
    ("small_init", small_init),
    ("limits_are_cut", limits_are_cut),
    ("signals_start_fresh", signals_start_fresh),
];

fn output_and_exit_code() {
    let outcome = Box::script("echo out; echo err >&2; exit 7").run();
    assert_eq!((outcome.out.as_str(), outcome.err.as_str(), outcome.code), ("out\n", "err\n", Some(7)));
    assert_eq!(
        Box::script("kill -9 $$").run().code,
        Some(0),
        "the first process of a pid namespace is immune to itself"
    );
    assert_eq!(Box::script("echo > /dev/stdout; echo $A $HOME; env | grep -c =").run().out, "\nb /root\n5\n");
}

fn programs_that_are_none() {
    for (program, code, words) in [
        (
            "nope",
            127,
            "executable file `nope` not found in $PATH: No such file or directory: OCI runtime attempted to invoke",
        ),
        ("/nope", 127, "executable file `/nope` not found"),
        ("/etc/passwd", 126, "Permission denied"),
        ("/etc", 126, "Operation not permitted"),
    ] {
        let container = Box::new(&[program]);
        let outcome = container.run();
        let (got, message) = outcome.failure();
        assert_eq!(got, code, "{message}");
        assert!(message.contains(words), "{message}");
    }
    let container = Box::new(&["/bin/bad"]);
    fs::write(container.layer().join("bin/bad"), "not a program").unwrap();
    fs::set_permissions(container.layer().join("bin/bad"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let mut running = container.launch();
    assert!(running.is_parked(), "only execve can know");
    running.start();
    let (code, message) = running.wait().failure();
    assert_eq!((code, message.as_str()), (126, "exec container process `/bin/bad`: Exec format error"));
}

fn a_script_without_its_interpreter() {
    let container = Box::new(&["/bin/script"]);
    let script = container.layer().join("bin/script");
    fs::write(&script, "#!/no/such/shell\n").unwrap();
    fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (code, message) = container.run().failure();
    assert_eq!(code, 127, "{message}");
    assert!(message.starts_with("exec container process `/bin/script`: No such file or directory"), "{message}");
}

fn a_parked_process_is_given_up() {
    let container = Box::script("echo must not be seen");
    let mut running = container.launch();
    assert!(running.is_parked());
    running.give_up();
    let outcome = running.wait();
    assert_eq!((outcome.out.as_str(), outcome.code), ("", Some(0)));
}

fn namespaces_and_names() {
    let mut container = Box::script(
        "hostname; echo $$; ip -o addr show lo | head -n 1; for n in mnt pid net ipc uts cgroup user; do readlink /proc/self/ns/$n; done",
    );
    container.edit(|spec| spec["domainname"] = json!("example"));
    let outcome = container.run();
    let lines: Vec<&str> = outcome.out.lines().collect();
    assert_eq!(lines[..2], ["inside", "1"], "{outcome:?}");
    assert!(lines[2].contains("127.0.0.1/8"), "{outcome:?}");
    for line in &lines[3..] {
        let kind = line.split(':').next().unwrap();
        let ours = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert_eq!(ours.to_str() == Some(*line), kind == "user", "{kind}");
    }
    assert_eq!(lines.len(), 10);
}

fn users_by_name() {
    let mut container = Box::script(
        "id -u; id -g; id -G; echo $HOME; grep -c . /proc/self/status > /dev/null; grep CapEff /proc/self/status; echo hi > /dev/stderr",
    );
    container.create.user = Some("bob".into());
    container.create.groups = vec!["root".into()];
    let outcome = container.run();
    let lines: Vec<&str> = outcome.out.lines().collect();
    assert_eq!(lines[..4], ["1000", "1000", "1000 0 29", "/home/bob"], "{outcome:?}");
    // As Podman: the effective set is the specification's; exec clears it for who is not root, unless it is ambient.
    assert_eq!(lines[4], "CapEff:\t0000000000000000");
    assert_eq!(outcome.err, "hi\n", "its own stderr can be opened by name");
    container.create.user = Some("alice".into());
    assert_eq!(
        container.run().failure(),
        (126, "unable to find user alice: no matching entries in passwd file".into())
    );
}

fn working_directories() {
    let mut container = Box::new(&["pwd"]);
    container.edit(|spec| spec["process"]["cwd"] = json!("/srv/deep"));
    assert_eq!(container.run().failure(), (126, "workdir \"/srv/deep\" does not exist on container test".into()));
    container.edit(|spec| spec["process"]["cwd"] = json!("/etc/passwd"));
    let message = "workdir \"/etc/passwd\" exists on container test, but is not a directory";
    assert_eq!(container.run().failure(), (126, message.into()));
    container.edit(|spec| spec["process"]["cwd"] = json!("/srv/deep"));
    container.create.create_cwd = true;
    container.prints("/srv/deep");
    std::os::unix::fs::symlink("/../../../proc/1/root/etc", container.layer().join("link")).unwrap();
    container.edit(|spec| spec["process"]["cwd"] = json!("/link"));
    container.prints("/etc");
}

pub fn read_master(master: OwnedFd) -> String {
    let mut text = Vec::new();
    let mut master = fs::File::from(master);
    let mut piece = [0u8; 512];
    // The other side's end is EIO.
    while let Ok(length @ 1..) = master.read(&mut piece) {
        text.extend_from_slice(&piece[..length]);
    }
    String::from_utf8(text).unwrap()
}

fn a_terminal_of_its_own() {
    let mut container = Box::script(
        "tty; stty size; test -c /dev/console && echo console; echo to-console > /dev/console; ls -l /dev/pts/0",
    );
    container.edit(|spec| {
        spec["process"]["terminal"] = json!(true);
        spec["process"]["consoleSize"] = json!({"height": 33, "width": 99});
    });
    container.create.user = Some("bob".into());
    let (mut running, master) = container.launch_on_terminal();
    running.start();
    let text = read_master(master);
    assert_eq!(running.wait().code, Some(0), "{text}");
    assert!(text.starts_with("/dev/pts/0\r\n33 99\r\nconsole\r\nto-console\r\n"), "{text}");
    assert!(text.contains(" bob "), "the user owns the terminal: {text}");
}

fn exec_joins_everything() {
    let container = Box::new(&["sleep", "60"]);
    let mut running = container.launch();
    running.start();
    let pid = running.pid.unwrap().0;
    let outcome = running.exec(&["sh", "-c", "for n in mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done; hostname; id -u; echo $A; ls /proc/self/fd | wc -l; exit 3"], |_| ());
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    let lines: Vec<&str> = outcome.out.lines().collect();
    for line in &lines[..6] {
        let kind = line.split(':').next().unwrap();
        assert_eq!(fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().to_str(), Some(*line));
    }
    // ls has its directory open, beside 0, 1 and 2.
    assert_eq!(lines[6..], ["inside", "0", "b", "4"], "{outcome:?}");
    let outcome = running.exec(&["sh", "-c", "id -u; echo $HOME; pwd"], |exec| {
        exec.user = Some("bob".into());
        exec.process.set_cwd("/tmp".into());
    });
    assert_eq!(outcome.out, "1000\n/home/bob\n/tmp\n");
    assert_eq!(running.exec(&["nope"], |_| ()).failure().0, 127);
    let status = running.exec(&["grep", "CapBnd", "/proc/self/status"], |_| ());
    assert_eq!(status.out, "CapBnd:\t00000000800405fb\n");
    running.kill();
    assert_eq!(running.wait().code, Some(137));
}

fn exec_on_a_terminal() {
    let container = Box::new(&["sleep", "60"]);
    let mut running = container.launch();
    running.start();
    let exec = running.exec_of(&["sh", "-c", "tty; read line; echo got $line"], |exec| {
        exec.process.set_terminal(Some(true));
    });
    let (mut process, master) = on_terminal(|channels| runtime::exec(&exec, channels));
    process.start();
    fs::File::from(master.try_clone().unwrap()).write_all(b"words\n").unwrap();
    let text = read_master(master);
    assert_eq!(process.wait().code, Some(0));
    assert!(text.contains("/dev/pts/0\r\n") && text.contains("got words\r\n"), "{text}");
    running.kill();
    running.wait();
}

fn exec_into_what_ended() {
    let container = Box::new(&["sleep", "60"]);
    let running = container.launch();
    let outcome = running.exec(&["true"], |exec| exec.start_time += 1);
    assert_eq!(outcome.failure(), (125, "container test is not running".into()));
    running.kill();
    running.wait();
}

fn small_init() {
    let mut container = Box::script("(sleep 0.05 &) ; sleep 0.1; ps -o pid,comm | grep -v ps; exit 9");
    container.create.init = true;
    let outcome = container.run();
    assert_eq!(outcome.code, Some(9), "{outcome:?}");
    assert!(outcome.out.contains("2 sh"), "{outcome:?}");
    assert!(!outcome.out.contains("sleep"), "the orphan was reaped: {outcome:?}");
    let mut container = Box::script("trap 'echo term; exit 4' TERM; echo ready; while :; do sleep 0.02; done");
    container.create.init = true;
    let mut running = container.launch();
    running.start();
    std::thread::sleep(std::time::Duration::from_millis(150));
    let (pid, start) = running.pid.unwrap();
    sys::process::kill(pid, start, 15).unwrap();
    let outcome = running.wait();
    assert_eq!((outcome.out.as_str(), outcome.code), ("ready\nterm\n", Some(4)));
    let mut container = Box::new(&["/bin/bad"]);
    fs::write(container.layer().join("bin/bad"), "\u{7f}ELFno").unwrap();
    fs::set_permissions(container.layer().join("bin/bad"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    container.create.init = true;
    let outcome = container.run();
    assert_eq!((outcome.failure().0, outcome.code), (126, Some(126)));
}

fn limits_are_cut() {
    let mut container = Box::script("ulimit -n; ulimit -Hn; ulimit -c");
    container.edit(|spec| {
        spec["process"]["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": u64::MAX},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        ]);
        spec["process"]["oomScoreAdj"] = json!(-1000);
    });
    let outcome = container.run();
    let lines: Vec<&str> = outcome.out.lines().collect();
    assert_eq!((lines[0], lines[2], outcome.code), ("100", "0", Some(0)), "{outcome:?}");
}

fn signals_start_fresh() {
    let container = Box::new(&["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"]);
    sys::signals::block_all().unwrap();
    let outcome = container.run();
    sys::signals::reset().unwrap();
    sys::signals::ignore_broken_pipes().unwrap();
    assert_eq!(outcome.out, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}
