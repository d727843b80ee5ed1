//! Limits, where this host has the controllers; a clean cgroup v2 machine is tested in the emulated one.

use crate::home::Home;

/// True if `run` with a limit works here; a refusal has to name what is missing.
#[track_caller]
fn allowed(home: &Home, flags: &[&str], what: &str) -> bool {
    let output = home.sh(flags, "true");
    if output.code == 0 {
        return true;
    }
    output.fails(125, &[what]);
    eprintln!("SKIPPED: no {what} controller here");
    false
}

#[test]
fn memory_limit() {
    let home = Home::new();
    if !allowed(&home, &["--memory", "64m"], "memory") {
        return;
    }
    home.load();
    let eat = "exec tail -c 200m /dev/zero";
    home.run(&["run", "--name", "one", "--memory", "16m", "busybox", "sh", "-c", eat]).code(137);
    assert_eq!(home.inspect("one", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
    assert_eq!(home.inspect("one", "{{.HostConfig.Memory}}"), "16777216");
}

#[test]
fn pids_limit() {
    let home = Home::new();
    if !allowed(&home, &["--pids-limit", "64"], "pids") {
        return;
    }
    let script = "for i in $(seq 1 20); do sleep 3 & done 2>&1; echo end";
    let out = home.sh(&["--pids-limit", "8"], script);
    assert!(format!("{} {}", out.out, out.err).contains("fork"), "{out:?}");
}

#[test]
fn cpu_quota() {
    let home = Home::new();
    if !allowed(&home, &["--cpus", "0.5"], "cpu") {
        return;
    }
    // A fifth of a processor, for a second and a half of time.
    let script = "timeout 1.5 sh -c 'while :; do :; done'; times >/times; tail -1 /times";
    let out = home.sh(&["--cpus", "0.2"], script).ok();
    let seconds: f64 = out
        .split_whitespace()
        .next()
        .and_then(|word| word.trim_start_matches("0m").trim_end_matches('s').parse().ok())
        .unwrap();
    assert!(seconds < 0.9, "{seconds} s of processor time under a quota of 0.2: {out}");
}

#[test]
fn wrong_limits_are_refused() {
    let home = Home::new();
    home.load();
    for (flag, value) in [("--memory", "12parsecs"), ("--cpus", "-1"), ("--pids-limit", "many"), ("--memory", "1k")] {
        let output = home.run(&["run", "--rm", flag, value, "busybox", "true"]);
        assert!(output.code == 125 && output.err.starts_with("Error: "), "{flag} {value}: {output:?}");
    }
}

#[test]
fn rlimits() {
    let home = Home::new();
    assert_eq!(home.sh(&["--ulimit", "nofile=100:200"], "ulimit -n; ulimit -Hn").quiet(), "100\n200");
    home.sh(&["--ulimit", "made-up=1"], "true").fails(125, &["made-up"]);
}

#[test]
fn limits_are_changed_while_it_runs_and_use_is_shown() {
    let home = Home::new();
    home.load();
    let id = home.run(&["run", "-d", "--name", "one", "busybox", "sleep", "100"]).quiet();
    assert_eq!(home.run(&["update", "--pids-limit", "30", "--cpu-shares", "512", "one"]).quiet(), id);
    assert_eq!(home.inspect("one", "{{.HostConfig.PidsLimit}} {{.HostConfig.CpuShares}}"), "30 512");
    let inside = "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max";
    assert_eq!(home.run(&["exec", "one", "sh", "-c", inside]).ok(), "30");
    home.run(&["update", "one"]).fails(125, &["at least one limit"]);
    home.run(&["update", "--memory", "1k", "one"]).fails(125, &["512KB"]);
    let out = home.run(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}"]).quiet();
    assert_eq!(out, "one 1");
    home.run(&["create", "--name", "never", "busybox", "true"]).quiet();
    let nothing = home.run(&["stats", "--no-stream", "--format", "{{.CPUPerc}} {{.NetIO}} {{.PIDS}}", "never"]).quiet();
    assert_eq!(nothing, "0.00% 0B / 0B 0");
    home.run(&["rm", "never"]).quiet();
    let out = home.run(&["stats", "--no-stream"]).quiet();
    assert!(out.starts_with("ID            NAME        CPU %"), "{out}");
    home.run(&["stop", "-t", "0", "one"]).quiet();
    assert_eq!(home.run(&["stats", "--no-stream", "--format", "{{.Name}}"]).quiet(), "");
    // The change is for later runs, too.
    home.run(&["start", "one"]).quiet();
    assert_eq!(home.run(&["exec", "one", "sh", "-c", inside]).ok(), "30");
    home.run(&["rm", "-f", "-t", "0", "one"]).quiet();
    home.run(&["create", "--name", "two", "--label", "a=b", "busybox"]).quiet();
    home.run(&["create", "--name", "three", "busybox"]).quiet();
    assert_eq!(home.run(&["container", "prune", "-f", "--filter", "until=1h"]).quiet(), "");
    home.run(&["container", "prune", "-f", "--filter", "label=a=b"]).quiet();
    assert_eq!(home.containers().len(), 1);
    assert!(home.feed(&["container", "prune"], b"n\n").code(0).out.is_empty());
    home.feed(&["container", "prune"], b"y\n").code(0);
    assert_eq!(home.containers().len(), 0);
}
