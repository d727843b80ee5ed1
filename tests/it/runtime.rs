//! The runtime's own command line: the file called as `runc` makes containers from bundles, for whoever asks as engines do.

use crate::bundle::Bench;
use crate::terminal::{Pair, code};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};
use std::fs;
use std::io::{IoSliceMut, Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

#[test]
fn a_life() {
    let Some(bench) = Bench::new() else { return };
    bench.specify("echo began; sleep 1000", |_| ());
    let pid_file = bench.home.path("pid");
    bench.run(&["create", "--bundle", ".", "--pid-file", pid_file.to_str().unwrap(), "one"]).ok();
    let state = bench.state("one");
    assert_eq!((state["status"].as_str(), state["id"].as_str()), (Some("created"), Some("one")));
    assert_eq!(state["pid"].to_string(), fs::read_to_string(&pid_file).unwrap());
    const READ_ONLY: i32 = 30;
    const SEALED: i32 = 1;
    // CVE-2019-5736: what the waiting process executes is of no use to who gets hold of it.
    let exe = format!("/proc/{}/exe", state["pid"]);
    let opened = fs::File::options().write(true).truncate(true).open(exe).unwrap_err();
    assert!(matches!(opened.raw_os_error(), Some(READ_ONLY | SEALED)), "{opened}");
    assert_eq!(state["bundle"], bench.home.path("bundle").to_str().unwrap());
    assert_eq!(
        fs::read_to_string(bench.home.path("out")).unwrap().matches("began").count(),
        0,
        "its program must wait"
    );
    bench.run(&["create", "one"]).fails(1, "exists already");
    bench.run(&["start", "one"]).ok();
    bench.until("one", "running");
    bench.home.until("the program began", || fs::read_to_string(bench.home.path("out")).unwrap().contains("began"));
    bench.run(&["start", "one"]).fails(1, "it is running");
    bench.run(&["delete", "one"]).fails(1, "it is running");
    let listed: Value = serde_json::from_str(&bench.run(&["list", "--format", "json"]).ok()).unwrap();
    assert_eq!((listed[0]["id"].as_str(), listed[0]["owner"].as_str()), (Some("one"), Some("root")));
    assert_eq!(bench.run(&["list", "-q"]).ok(), "one\n");
    assert!(bench.run(&["list"]).ok().contains("running"));
    assert_eq!(bench.run(&["ps", "--format", "json", "one"]).ok(), format!("[{}]\n", state["pid"]));
    assert!(bench.run(&["ps", "one"]).ok().contains("sleep 1000"));
    bench.run(&["pause", "one"]).ok();
    assert_eq!(bench.state("one")["status"], "paused");
    bench.run(&["exec", "one", "true"]).fails(255, "paused");
    bench.run(&["resume", "one"]).ok();
    bench.run(&["resume", "one"]).fails(1, "it is running");
    bench.run(&["kill", "one", "SIGKILL"]).ok();
    bench.until("one", "stopped");
    assert_eq!(bench.state("one")["pid"], 0);
    bench.run(&["kill", "one"]).fails(1, "container not running");
    bench.run(&["kill", "--all", "one", "9"]).ok();
    bench.run(&["exec", "one", "true"]).fails(255, "it is stopped");
    bench.run(&["delete", "one"]).ok();
    bench.run(&["state", "one"]).fails(1, "does not exist");
    bench.run(&["delete", "--force", "one"]).ok();
    assert!(bench.groups().is_empty(), "{:?}", bench.groups());
}

#[test]
fn run_waits_and_ends_as_the_program() {
    let Some(bench) = Bench::new() else { return };
    bench.specify("echo out; exit 9", |_| ());
    let said = bench.run(&["run", "one"]);
    assert_eq!((said.code, said.out.as_str()), (9, "out\n"), "{said:?}");
    assert_eq!(bench.run(&["list", "-q"]).ok(), "", "it is deleted when it ends");
    assert_eq!(bench.run(&["run", "--keep", "one"]).code, 9);
    assert_eq!(bench.state("one")["status"], "stopped");
    bench.run(&["delete", "one"]).ok();
    bench.specify("sleep 1000", |_| ());
    bench.run(&["run", "-d", "two"]).ok();
    assert_eq!(bench.state("two")["status"], "running");
    bench.run(&["delete", "two"]).fails(1, "it is running");
    bench.run(&["delete", "--force", "two"]).ok();
    // Signals go through.
    bench.specify("trap 'exit 33' TERM; echo ready > /tmp/ready; while :; do sleep 0.05; done", |_| ());
    let mut child = bench.command(&["run", "three"]).spawn().unwrap();
    bench.home.until("it is ready", || bench.home.path("bundle/rootfs/tmp/ready").exists());
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(33));
    assert!(bench.groups().is_empty());
}

#[test]
fn failures_are_told_where_engines_look() {
    let Some(bench) = Bench::new() else { return };
    let log = bench.home.path("log");
    let log = log.to_str().unwrap();
    bench.specify("true", |spec| spec["process"]["args"] = json!(["nope"]));
    let said = bench.run(&["--log", log, "--log-format", "json", "create", "one"]);
    assert_eq!(said.code, 1);
    let text = fs::read_to_string(log).unwrap();
    let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert_eq!(line["msg"], "exec: \"nope\": executable file not found in $PATH: no such file or directory");
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(said.err.trim(), line["msg"].as_str().unwrap(), "those who look there only get the sentence");
    assert_eq!(bench.run(&["list", "-q"]).ok(), "", "nothing is left of it");
    assert!(bench.groups().is_empty());
    for (words, told) in [
        (&["create", "../x"][..], "invalid container id"),
        (&["create", "--bundle", "/nowhere", "one"], "/nowhere"),
        (&["create"], "expected: runc create"),
        (&["create", "--nope", "one"], "unknown flag --nope"),
        (&["frobnicate"], "unknown command"),
        (&["kill", "one", "BAD"], "BAD"),
        (&["start", "one"], "does not exist"),
        (&["--log-format", "xml", "list"], "expected text or json"),
        (&["--log-level", "loud", "list"], "expected debug, warning or error"),
        (&["create", "--preserve-fds", "3", "one"], "preserve-fds"),
        (&["checkpoint", "--image-path", "/x", "one"], "does not exist"),
        (&["--criu", "/nowhere", "restore", "one"], "CRIU"),
        (&["--systemd-cgroup", "create", "one"], "slice:prefix:name"),
    ] {
        bench.run(words).fails(1, told);
    }
    // What is only seen when the program is executed is told by start.
    let script = bench.home.path("bundle/rootfs/bin/broken");
    fs::write(&script, "#!/nowhere\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    bench.specify("true", |spec| spec["process"]["args"] = json!(["broken"]));
    bench.run(&["create", "one"]).ok();
    bench.run(&["start", "one"]).fails(1, "broken");
    bench.until("one", "stopped");
    bench.run(&["start", "one"]).fails(1, "it is stopped");
    bench.run(&["delete", "one"]).ok();
}

#[test]
fn a_process_beside() {
    let Some(bench) = Bench::new() else { return };
    bench.specify("sleep 1000", |spec| spec["process"]["env"] = json!(["PATH=/bin", "A=1"]));
    bench.run(&["run", "-d", "one"]).ok();
    let exec = |words: &[&str]| bench.run(&[&["exec"], words].concat());
    assert_eq!(exec(&["one", "sh", "-c", "echo $A $HOME; exit 5"]).out, "1 /\n");
    assert_eq!(exec(&["one", "sh", "-c", "exit 5"]).code, 5);
    assert_eq!(exec(&["one", "sh", "-c", "kill -9 $$"]).code, 137);
    assert_eq!(exec(&["-e", "A=2", "--cwd", "/tmp", "one", "sh", "-c", "echo $A; pwd"]).ok(), "2\n/tmp\n");
    assert_eq!(exec(&["-u", "5:6", "-g", "7", "one", "id"]).ok(), "uid=5 gid=6 groups=7\n");
    let effective = |said: String| u64::from_str_radix(said.split_whitespace().nth(1).unwrap(), 16).unwrap();
    const SYS_TIME: u64 = 1 << 25;
    let line = ["one", "grep", "CapEff", "/proc/self/status"];
    assert_eq!(effective(exec(&line).ok()) & SYS_TIME, 0);
    let more = effective(exec(&[&["--cap", "CAP_SYS_TIME"][..], &line].concat()).ok());
    assert!(more & SYS_TIME != 0 || fs::read_to_string("/proc/self/status").unwrap().contains("CapEff:\t0000000"));
    assert_eq!(exec(&["--no-new-privs", "one", "grep", "NoNewPrivs", "/proc/self/status"]).ok(), "NoNewPrivs:\t1\n");
    exec(&["one", "nope"]).fails(255, "executable file not found in $PATH");
    exec(&["one"]).fails(255, "expected");
    exec(&["--cgroup", "nowhere", "one", "true"]).fails(255, "nowhere");
    let file = bench.home.write(
        "process.json",
        &serde_json::to_vec(&json!({"args": ["sh", "-c", "echo from a file; id -u"], "cwd": "/", "env": ["PATH=/bin"],
            "user": {"uid": 3, "gid": 0}}))
        .unwrap(),
    );
    assert_eq!(exec(&["--process", file.to_str().unwrap(), "one"]).ok(), "from a file\n3\n");
    let pid_file = bench.home.path("pid");
    exec(&["-d", "--pid-file", pid_file.to_str().unwrap(), "one", "sleep", "500"]).ok();
    let pids: Value = serde_json::from_str(&bench.run(&["ps", "-f", "json", "one"]).ok()).unwrap();
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert!(pids.as_array().unwrap().contains(&pid.into()) && pids.as_array().unwrap().len() == 2, "{pids}");
    // A cgroup below the container's own.
    for group in bench.groups() {
        // A new one of cpuset has no processors until it is given some.
        if !group.starts_with("/sys/fs/cgroup/cpuset") {
            let _ = fs::create_dir(group.join("inner"));
        }
    }
    let groups = exec(&["--cgroup", "inner", "one", "cat", "/proc/self/cgroup"]).ok();
    assert!(groups.contains("/inner"), "{groups}");
    bench.run(&["delete", "-f", "one"]).ok();
    assert!(bench.groups().is_empty());
}

#[test]
fn limits_change_and_are_counted() {
    let Some(bench) = Bench::new() else { return };
    bench.specify("sleep 1000", |spec| {
        spec["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        spec["linux"]["resources"]["pids"] = json!({"limit": 50});
    });
    bench.run(&["run", "-d", "one"]).ok();
    let stats = || -> Value {
        let line = bench.run(&["events", "--stats", "one"]).ok();
        serde_json::from_str(&line).unwrap()
    };
    let first = stats();
    assert_eq!((first["type"].as_str(), first["id"].as_str()), (Some("stats"), Some("one")));
    assert_eq!(first["data"]["memory"]["usage"]["limit"], 64 << 20, "{first}");
    assert_eq!(first["data"]["pids"]["limit"], 50);
    assert_eq!(first["data"]["pids"]["current"], 1);
    assert!(first["data"]["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    bench.run(&["update", "--memory", "32m", "--memory-swap", "32m", "--pids-limit", "9", "one"]).ok();
    assert_eq!(stats()["data"]["memory"]["usage"]["limit"], 32 << 20);
    let mut child = bench.command(&["update", "--resources", "-", "one"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(br#"{"pids": {"limit": 7}}"#).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(stats()["data"]["pids"]["limit"], 7);
    let rules = bench.home.write("rules.json", br#"{"devices": [{"allow": false, "access": "rwm"}]}"#);
    bench.run(&["update", "--resources", rules.to_str().unwrap(), "one"]).ok();
    bench.run(&["exec", "one", "sh", "-c", "echo x >/dev/null && : </dev/zero && : </dev/urandom"]).ok();
    bench.run(&["update", "--kernel-memory", "1", "one"]).fails(1, "--memory");
    bench.run(&["update", "--l3-cache-schema", "x", "one"]).fails(1, "intelRdt");
    // All of them, as long as it lives.
    let mut child = bench.command(&["events", "--interval", "20ms", "one"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut bytes = [0; 64];
    assert!(child.stdout.as_mut().unwrap().read(&mut bytes).unwrap() > 0);
    bench.run(&["delete", "-f", "one"]).ok();
    let mut rest = String::new();
    child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
}

const COUNTS: &str = "i=0; while :; do i=$((i+1)); echo $i >/tmp/n; sleep 0.05; done";

#[test]
fn checkpoints_are_left_to_criu() {
    let Some(bench) = Bench::new() else { return };
    bench.specify(COUNTS, |_| ());
    let calls = bench.home.path("calls");
    let stand_in = bench.home.write(
        "criu",
        format!(
            "#!/bin/sh\necho \"$@\" >>{}\naction=$1\n\
            while [ $# -gt 0 ]; do case $1 in --tree) pid=$2;; --work-dir) work=$2;; esac; shift; done\n\
            [ $action = restore ] || exec kill -9 $pid\n\
            echo '(00.1) Error (criu/image.c:1): no such image' >$work/restore.log\nexit 1\n",
            calls.display()
        )
        .as_bytes(),
    );
    fs::set_permissions(&stand_in, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (criu, images) = (stand_in.to_str().unwrap(), bench.home.path("images"));
    let images = images.to_str().unwrap();
    bench.run(&["--criu", "/nowhere", "restore", "two"]).fails(1, "install it");
    bench.run(&["run", "-d", "one"]).ok();
    bench.run(&["--criu", "/nowhere", "checkpoint", "one"]).fails(1, "install it");
    bench.run(&["--criu", criu, "checkpoint", "--manage-cgroups-mode", "x", "one"]).fails(1, "soft, full");
    bench.run(&["--criu", criu, "checkpoint", "--empty-ns", "pid", "one"]).fails(1, "expected network");
    bench.run(&["--criu", criu, "checkpoint", "--page-server", "127.0.0.1", "one"]).fails(1, "ADDRESS:PORT");
    bench.run(&["--criu", criu, "checkpoint", "--status-fd", "77", "one"]).fails(1, "open descriptor");
    let flags = ["--tcp-established", "--tcp-skip-in-flight", "--link-remap", "--auto-dedup", "--lazy-pages"];
    let values = ["--page-server", "[::1]:27", "--status-fd", "2", "--empty-ns", "network", "one"];
    let checkpoint = ["--criu", criu, "checkpoint", "--image-path", images];
    bench.run(&[&checkpoint[..], &flags, &values].concat()).ok();
    let told = fs::read_to_string(&calls).unwrap();
    for words in ["dump --images-dir", "--tree", "--tcp-established", "--external file[", "--manage-cgroups=soft"]
        .into_iter()
        .chain(["--skip-in-flight", "--link-remap", "--auto-dedup", "--lazy-pages", "--empty-ns net"])
        .chain(["--page-server --address ::1 --port 27", "--status-fd 2"])
    {
        assert!(told.contains(words), "{words} in {told}");
    }
    bench.run(&["state", "one"]).fails(1, "does not exist");
    let streams: Vec<String> =
        serde_json::from_slice(&fs::read(bench.home.path("images/descriptors.json")).unwrap()).unwrap();
    assert!(streams.iter().all(|name| name.starts_with("file[")), "{streams:?}");
    // What fails leaves nothing, and says why.
    let restore = ["--criu", criu, "restore", "--image-path", images];
    for (flag, words) in [
        (&["--lsm-profile", "x"][..], "selinux:LABEL"),
        (&["--console-socket", "x"], "has no terminal"),
        (&["--no-pivot"], "CRIU changes the root"),
    ] {
        bench.run(&[&restore[..], flag, &["two"]].concat()).fails(1, words);
    }
    let flags = ["--ext-unix", "--lsm-profile", "selinux:a:b", "--lsm-mount-context", "a:c", "two"];
    bench.run(&[&restore[..], &flags].concat()).fails(1, "no such image");
    let told = fs::read_to_string(&calls).unwrap();
    for words in ["--ext-unix-sk", "--lsm-profile selinux:a:b", "--lsm-mount-context a:c"] {
        assert!(told.contains(words), "{words} in {told}");
    }
    assert!(told.contains(&format!("--inherit-fd fd[0]:{}", streams[0])), "{told}");
    assert_eq!(bench.run(&["list", "-q"]).ok(), "");
    bench.specify(COUNTS, |spec| spec["hooks"] = json!({"createRuntime": [{"path": "/bin/true"}]}));
    bench.run(&["--criu", criu, "restore", "--image-path", images, "two"]).fails(1, "createRuntime hooks");
}

#[test]
fn a_checkpoint_is_restored() {
    let Some(bench) = Bench::new() else { return };
    let works = Command::new("criu").arg("check").output().is_ok_and(|output| output.status.success());
    if !works {
        return eprintln!("SKIPPED: no criu that works on this kernel");
    }
    bench.specify(COUNTS, |_| ());
    let images = bench.home.path("images");
    let count =
        || fs::read_to_string(bench.home.path("bundle/rootfs/tmp/n")).unwrap_or_default().trim().parse().unwrap_or(0);
    let grown = |from: u64| {
        while count() <= from {
            std::thread::sleep(std::time::Duration::from_millis(10))
        }
    };
    bench.run(&["run", "-d", "one"]).ok();
    grown(3);
    bench.run(&["checkpoint", "--image-path", images.to_str().unwrap(), "one"]).ok();
    let stopped = count();
    bench.run(&["restore", "-d", "--image-path", images.to_str().unwrap(), "two"]).ok();
    grown(stopped + 3);
    // Where it was, not from the beginning; and as confined as before.
    assert_eq!(bench.state("two")["status"], "running");
    assert!(
        bench.run(&["exec", "two", "cat", "/proc/1/cgroup"]).ok().lines().all(|line| !line.contains(&bench.cgroup))
    );
    bench.run(&["kill", "two", "KILL"]).ok();
    bench.run(&["delete", "-f", "two"]).ok();
}

#[test]
fn descriptors_only_as_asked() {
    let Some(bench) = Bench::new() else { return };
    bench.specify("ls /proc/self/fd; cat <&3 2>/dev/null; echo ${LISTEN_FDS:-none} ${LISTEN_PID:-none}", |_| ());
    let given = bench.home.write("given", b"given\n");
    let state = bench.home.path("state");
    let script = |before: &str, flags: &str| {
        let line = format!(
            "exec 3<{} 4</; {before} exec {} --root {} run {flags} one",
            given.display(),
            bench.home.path("runc").display(),
            state.display()
        );
        let output = Command::new("sh").args(["-c", &line]).current_dir(bench.home.path("bundle")).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(script("", ""), ["0", "1", "2", "3", "none", "none"], "the 3 is that of ls itself");
    assert_eq!(script("", "--preserve-fds 1"), ["0", "1", "2", "3", "4", "given", "none", "none"]);
    let listening = script("export LISTEN_PID=$$ LISTEN_FDS=1;", "");
    assert_eq!(listening, ["0", "1", "2", "3", "4", "given", "1", "1"]);
}

#[test]
fn a_terminal_here_and_one_that_is_sent() {
    let Some(bench) = Bench::new() else { return };
    bench.specify("tty; stty size; read line; echo \"said $line\"; exit 6", |spec| {
        spec["process"]["terminal"] = true.into()
    });
    let mut pair = Pair::new();
    let mut command = Command::new("env");
    let bundle = bench.home.path("bundle");
    let run = format!("{} --root {}", bench.home.path("runc").display(), bench.home.path("state").display());
    command.args(["sh", "-c", &format!("cd {} && exec {run} run one", bundle.display())]);
    let child = pair.start(command);
    pair.expect("/dev/pts/0");
    pair.expect("33 99");
    pair.say("something\r");
    pair.expect("said something\r\n");
    assert_eq!(code(child), 6);

    bench.run(&["create", "one"]).fails(1, "--console-socket");
    let path = bench.home.path("console");
    let listener = UnixListener::bind(&path).unwrap();
    bench.run(&["create", "--console-socket", path.to_str().unwrap(), "one"]).ok();
    let (socket, _) = listener.accept().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 256];
    rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut name)], &mut control, RecvFlags::empty()).unwrap();
    let mut master = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sent) => sent.next().map(fs::File::from),
        _ => None,
    });
    let master = master.as_mut().expect("a terminal is sent");
    bench.run(&["start", "one"]).ok();
    master.write_all(b"hello\n").unwrap();
    let mut text = Vec::new();
    let mut bytes = [0; 256];
    while let Ok(count @ 1..) = master.read(&mut bytes) {
        text.extend_from_slice(&bytes[..count]);
    }
    assert!(String::from_utf8_lossy(&text).contains("said hello"), "{:?}", String::from_utf8_lossy(&text));
    bench.until("one", "stopped");
    bench.run(&["delete", "one"]).ok();
}

#[test]
fn hooks_around_the_life() {
    let Some(bench) = Bench::new() else { return };
    let told = bench.home.path("told");
    bench.specify("sleep 1000", |spec| {
        let hook = |name: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("echo {name} $(cat) >> {}", told.display())]}]);
        spec["hooks"] = json!({"poststart": hook("poststart"), "poststop": hook("poststop"), "createRuntime": hook("create")});
    });
    bench.run(&["create", "one"]).ok();
    let pid = bench.state("one")["pid"].to_string();
    bench.run(&["start", "one"]).ok();
    bench.run(&["delete", "--force", "one"]).ok();
    let lines = fs::read_to_string(&told).unwrap();
    let lines: Vec<(&str, Value)> = lines
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(a, b)| (a, serde_json::from_str(b).unwrap()))
        .collect();
    let seen: Vec<_> = lines.iter().map(|(name, state)| (*name, state["status"].as_str().unwrap())).collect();
    assert_eq!(seen, [("create", "creating"), ("poststart", "running"), ("poststop", "stopped")]);
    assert_eq!(lines[1].1["pid"].to_string(), pid);
    assert_eq!(lines[1].1["id"], "one");
    // A failing one ends the container, and those of the end run all the same.
    bench.specify("sleep 1000", |spec| {
        spec["hooks"] = json!({"poststart": [{"path": "/bin/false"}]});
    });
    bench.run(&["create", "two"]).ok();
    bench.run(&["start", "two"]).fails(1, "/bin/false");
    // "Generate an error, stop the container, and continue the lifecycle" with its deletion (runtime.md, "Lifecycle").
    bench.run(&["state", "two"]).fails(1, "does not exist");
    assert!(bench.groups().is_empty(), "{:?}", bench.groups());
}

/// Nodes that the specification asks for are made though its rules let nobody use them; a filter that refuses everything,
/// even to end, leaves no process that tries for ever.
#[test]
fn what_rules_and_filters_forbid_the_program() {
    let Some(bench) = Bench::new() else { return };
    bench.specify("ls -l /dev/deep/loop; cat /dev/deep/loop", |spec| {
        spec["linux"]["devices"] = json!([{"path": "/dev/deep/loop", "type": "b", "major": 7, "minor": 4}]);
    });
    let said = bench.run(&["run", "one"]);
    assert!(said.out.contains("brw-rw-rw-") && said.out.contains("7,   4"), "{said:?}");
    assert!(said.err.contains("Operation not permitted"), "{said:?}");
    bench.specify("true", |spec| {
        spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls":
            [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]});
    });
    assert!(bench.run(&["run", "one"]).code >= 128);
    bench.specify("true", |spec| spec["process"]["args"] = json!([]));
    bench.run(&["run", "one"]).fails(1, "process.args");
}

/// Killed while a hook of the end runs, the next deletion runs those that are left, and no other.
#[test]
fn no_hook_of_the_end_is_left_out() {
    let Some(bench) = Bench::new() else { return };
    let told = bench.home.path("told");
    bench.specify("true", |spec| {
        let hook =
            |line: &str| json!({"path": "/bin/sh", "args": ["sh", "-c", format!("({line}) >>{}", told.display())]});
        spec["hooks"] = json!({"poststop": [hook("echo one"), hook("echo two; kill -9 $PPID"), hook("echo three")]});
    });
    bench.run(&["create", "one"]).ok();
    assert_eq!(bench.run(&["delete", "one"]).code, 1009);
    assert_eq!(bench.state("one")["status"], "stopped");
    bench.run(&["delete", "one"]).ok();
    assert_eq!(fs::read_to_string(&told).unwrap(), "one\ntwo\nthree\n");
    assert_eq!(bench.run(&["list", "-q"]).ok(), "");
    assert!(bench.groups().is_empty(), "{:?}", bench.groups());
}

/// Signals and deletions of all whose ids match.
#[test]
fn several_by_a_pattern() {
    let Some(bench) = Bench::new() else { return };
    for id in ["box1", "box2", "other"] {
        bench.specify("trap 'exit 3' TERM; while :; do sleep 0.05; done", |spec| {
            spec["linux"]["cgroupsPath"] = format!("{}-{id}", bench.cgroup).into();
        });
        bench.run(&["run", "-d", id]).ok();
    }
    bench.run(&["kill", "--regex", "^box[0-9]$", "KILL"]).ok();
    bench.until("box1", "stopped");
    bench.until("box2", "stopped");
    assert_eq!(bench.state("other")["status"], "running");
    bench.run(&["kill", "--regex", "(", "KILL"]).fails(1, "expected a regular expression");
    // One that does not run keeps nobody from hearing, and is told.
    bench.run(&["kill", "--regex", ".", "KILL"]).fails(1, "container not running");
    bench.until("other", "stopped");
    bench.run(&["delete", "--regex", "^box"]).ok();
    assert_eq!(bench.run(&["list", "-q"]).ok(), "other\n");
    bench.run(&["delete", "other"]).ok();
}

#[test]
fn a_user_without_root() {
    let Some(bench) = Bench::new() else { return };
    let (bundle, run) = (bench.home.path("bundle"), bench.home.path("user"));
    fs::create_dir(&run).unwrap();
    let file = bench.home.path("runc");
    let user = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "61234", "--regid", "61234", "--clear-groups", "--"]).arg(&file).args(words);
        command.env("XDG_RUNTIME_DIR", &run).current_dir(&bundle).stdin(Stdio::null());
        command
    };
    let own = |path: &std::path::Path| {
        assert!(Command::new("chown").args(["-R", "61234:61234"]).arg(path).status().unwrap().success());
    };
    own(&bundle);
    own(&run);
    assert!(user(&["spec", "--rootless"]).status().unwrap().success());
    let path = bundle.join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    spec["process"]["terminal"] = false.into();
    spec["process"]["args"] = json!(["sh", "-c", "id -u; echo > /tmp/mine; exit 4"]);
    spec["root"]["readonly"] = false.into();
    fs::write(&path, spec.to_string()).unwrap();
    let output = user(&["run", "one"]).output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(4), &b"0\n"[..]), "{output:?}");
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(bundle.join("rootfs/tmp/mine")).unwrap());
    assert_eq!(owner, 61234);
    spec["process"]["args"] = json!(["sleep", "1000"]);
    fs::write(&path, spec.to_string()).unwrap();
    let detached = user(&["run", "-d", "one"]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(detached.success());
    let output = user(&["exec", "one", "sh", "-c", "id -u; exit 5"]).output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(5), &b"0\n"[..]), "{output:?}");
    assert!(run.join("monopod/runtime/one").is_dir());
    assert!(user(&["delete", "-f", "one"]).status().unwrap().success());
    // What takes rights that are not there is said so.
    let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "user");
    fs::write(&path, spec.to_string()).unwrap();
    let refused = user(&["run", "one"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("user namespace"), "{refused:?}");
}

#[test]
fn called_by_its_own_name() {
    let Some(bench) = Bench::new() else { return };
    bench.specify("echo out", |_| ());
    let command = |words: &[&str]| {
        let output = Command::new(bench.home.path("monopod")).arg("runtime").args(words).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (state, bundle) = (bench.home.path("state"), bench.home.path("bundle"));
    let run = ["--root", state.to_str().unwrap(), "run", "-b", bundle.to_str().unwrap(), "one"];
    assert_eq!(command(&run), (Some(0), "out\n".into()));
    let (_, version) = command(&["--version"]);
    assert!(version.starts_with("monopod version ") && version.contains("\nspec: 1."), "{version}");
    assert_eq!(command(&["-V"]), command(&["-v"]));
    let (_, help) = command(&["--help"]);
    assert_eq!(command(&["-?"]).1, help);
    assert_eq!(command(&["exec", "--usage"]), command(&["exec", "--help"]));
    for verb in ["create", "events", "checkpoint"] {
        assert!(help.contains(verb), "{help}");
        assert!(command(&[verb, "--help"]).1.contains(&format!("monopod runtime {verb}")));
    }
    let features: Value = serde_json::from_str(&command(&["features"]).1).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert_eq!(command(&["--root", "/nowhere/x", "list"]).0, Some(0), "no directory is no container");
}
