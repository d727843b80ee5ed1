//! The life of a container: create, start, stop, kill, wait, pause, remove, and the exit codes of it all.

use crate::home::Home;
use std::time::{Duration, Instant};

#[test]
fn exit_codes_tell_who_failed() {
    let home = Home::new();
    let image = home.busybox();
    let run = |args: &[&str]| home.run(&[&["run", "--rm", &image], args].concat());
    run(&["true"]).code(0);
    run(&["sh", "-c", "exit 7"]).code(7);
    run(&["sh", "-c", "exit 255"]).code(255);
    run(&["/no/such/file"]).fails(127, &["/no/such/file"]);
    run(&["no-such-program"]).fails(127, &["no-such-program"]);
    run(&["/etc/passwd"]).fails(126, &["/etc/passwd"]);
    run(&["/etc"]).fails(126, &["/etc"]);
    run(&["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).code(137);
    run(&["sh", "-c", "trap - TERM; kill -TERM $$; sleep 5"]).code(0);
    home.run(&["run", "--rm", "oci-archive:/no/such/archive", "true"]).fails(125, &["/no/such/archive"]);
    home.run(&["run", "--rm", "--memory", "wrong", &image, "true"]).fails(125, &["wrong"]);
    assert_eq!(home.containers().len(), 0, "--rm left a container behind");
}

#[test]
fn a_container_killed_by_a_signal_says_so() {
    let home = Home::new();
    home.load();
    for (signal, code) in [("KILL", 137), ("9", 137), ("SIGUSR1", 138)] {
        let id = home.run(&["run", "-d", "--rm", "busybox", "sh", "-c", "exec sleep 100"]).quiet();
        // A first process without a handler ignores all but SIGKILL; sent from outside, the rest is the kernel's.
        let waiting = home.start(&["wait", &id]);
        std::thread::sleep(Duration::from_millis(200));
        if code == 137 {
            assert_eq!(home.run(&["kill", "-s", signal, &id]).quiet(), id);
        } else {
            home.run(&["kill", "--signal", signal, &id]).quiet();
            home.run(&["kill", &id]).quiet();
        }
        assert_eq!(waiting.wait().ok(), "137");
    }
}

#[test]
fn created_started_waited_for_and_removed() {
    let home = Home::new();
    home.load();
    let id = home.run(&["create", "--name", "one", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3"]).quiet();
    assert_eq!(home.inspect("one", "{{.State.Status}}"), "created");
    assert_eq!(home.run(&["start", "one"]).quiet(), "one");
    assert_eq!(home.run(&["wait", &id[..12]]).quiet(), "3");
    assert_eq!(home.inspect("one", "{{.State.Status}} {{.State.ExitCode}}"), "exited 3");
    let again = home.run(&["start", "-a", "one"]).code(3);
    assert_eq!((again.out.as_str(), again.err.as_str()), ("out\n", "err\n"));
    assert_eq!(home.run(&["rm", "one"]).quiet(), "one");
    home.run(&["rm", "one"]).fails(1, &["one", "no such container"]);
    home.run(&["inspect", "one"]).fails(125, &["one"]);
    assert_eq!(home.run(&["rm", "-i", "one"]).code(0).err, "");
}

#[test]
fn stop_asks_first_and_kills_then() {
    let home = Home::new();
    home.load();
    let polite = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    home.run(&["run", "-d", "--name", "polite", "busybox", "sh", "-c", polite]).quiet();
    home.until("the trap is set", || home.run(&["logs", "polite"]).ok() == "ready");
    assert_eq!(home.run(&["stop", "polite"]).quiet(), "polite");
    assert_eq!(home.inspect("polite", "{{.State.ExitCode}}"), "5");
    assert_eq!(home.run(&["logs", "polite"]).quiet(), "ready\nbye");

    home.run(&["run", "-d", "--name", "deaf", "busybox", "sleep", "100"]).quiet();
    let begin = Instant::now();
    home.run(&["stop", "-t", "1", "deaf"]).code(0);
    assert!(begin.elapsed() > Duration::from_millis(900), "killed before its time");
    assert!(begin.elapsed() < Duration::from_secs(9), "waited longer than asked");
    assert_eq!(home.inspect("deaf", "{{.State.ExitCode}}"), "137");
    assert_eq!(home.run(&["stop", "deaf"]).quiet(), "deaf");

    let usr1 = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done";
    home.run(&["run", "-d", "--name", "own", "--stop-signal", "USR1", "busybox", "sh", "-c", usr1]).quiet();
    home.until("the trap is set", || home.run(&["logs", "own"]).ok() == "ready");
    home.run(&["stop", "own"]).quiet();
    assert_eq!(home.inspect("own", "{{.State.ExitCode}}"), "9");
}

#[test]
fn remove_wants_force_for_what_runs() {
    let home = Home::new();
    home.load();
    let id = home.run(&["run", "-d", "--name", "one", "busybox", "sleep", "100"]).quiet();
    home.run(&["rm", "one"]).fails(2, &["running"]);
    assert_eq!(home.run(&["ps", "-q", "--no-trunc"]).quiet(), id);
    assert_eq!(home.run(&["rm", "-f", "-t", "0", "one"]).quiet(), "one");
    assert!(home.containers().is_empty());
    home.run(&["kill", "one"]).fails(125, &["one"]);
    home.run(&["run", "-d", "--name", "two", "busybox", "sleep", "100"]).quiet();
    home.run(&["create", "--name", "three", "busybox", "true"]).quiet();
    home.run(&["rm", "-f", "-t", "0", "-a"]).ok();
    assert!(home.containers().is_empty());
}

#[test]
fn a_detached_container_outlives_the_command() {
    let home = Home::new();
    home.load();
    let id = home.run(&["run", "-d", "busybox", "sh", "-c", "echo begun; sleep 100"]).quiet();
    assert_eq!(id.len(), 64);
    home.until("it has written", || home.run(&["logs", &id]).ok() == "begun");
    assert_eq!(home.inspect(&id, "{{.State.Running}}"), "true");
    let pid: i32 = home.inspect(&id, "{{.State.Pid}}").parse().unwrap();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    home.run(&["stop", "-t", "0", &id]).code(0);
    home.run(&["start", &id]).quiet();
    assert_ne!(home.inspect(&id, "{{.State.Pid}}"), pid.to_string());
}

#[test]
fn input_and_output_pass_through() {
    let home = Home::new();
    let image = home.busybox();
    let megabyte = vec![b'x'; 1 << 20];
    let out = home.feed(&["run", "--rm", "-i", &image, "cat"], &megabyte).code(0);
    assert_eq!(out.out.len(), megabyte.len());
    assert_eq!(home.feed(&["run", "--rm", &image, "cat"], b"not wanted").quiet(), "", "no -i: an empty input");
    let both = home.sh(&[], "echo to-out; echo to-err >&2").code(0);
    assert_eq!((both.out.as_str(), both.err.as_str()), ("to-out\n", "to-err\n"));
    // The last bytes before the end are the ones that get lost.
    for _ in 0..5 {
        let out = home.sh(&[], "head -c 300000 /dev/zero | tr '\\0' y; echo -n end").code(0).out;
        assert!(out.len() == 300_003 && out.ends_with("end"), "{} bytes", out.len());
    }
}

#[test]
fn signals_of_the_command_reach_the_container() {
    let home = Home::new();
    let image = home.busybox();
    let script = "trap 'echo got it; exit 4' INT TERM; echo ready; while :; do sleep 0.05; done";
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let name = format!("one-{}", signal.as_raw());
        let running = home.start(&["run", "--rm", "--name", &name, &image, "sh", "-c", script]);
        home.until("the trap is set", || home.run(&["logs", &name]).out == "ready\n");
        let pid = rustix::process::Pid::from_child(&running.child);
        rustix::process::kill_process(pid, signal).unwrap();
        assert_eq!(running.wait().code(4).out, "ready\ngot it\n");
    }
}

#[test]
fn paused_containers_stand_still() {
    let home = Home::new();
    home.load();
    home.run(&["run", "-d", "--name", "one", "busybox", "sh", "-c", "while :; do echo x; sleep 0.02; done"]).quiet();
    let pause = home.run(&["pause", "one"]);
    if pause.code != 0 {
        pause.fails(125, &["freezer"]);
        eprintln!("SKIPPED: no freezer here");
        return;
    }
    assert_eq!(home.inspect("one", "{{.State.Status}}"), "paused");
    let lines = |home: &Home| home.run(&["logs", "one"]).ok().lines().count();
    let before = lines(&home);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(lines(&home), before);
    home.run(&["unpause", "one"]).ok();
    home.until("it writes again", || lines(&home) > before);
}
