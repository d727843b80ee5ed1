//! What becomes of containers while nobody looks: restart policies, health checks, limits of time, and who is told of it.

use crate::home::Home;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// Starts a container of `script` in the background.
fn start(home: &Home, name: &str, flags: &[&str], script: &str) -> String {
    let mut args = vec!["run", "-d", "--name", name, "--network", "none"];
    args.extend(flags);
    args.extend(["busybox", "sh", "-c", script]);
    home.run(&args).quiet()
}

#[test]
fn a_policy_starts_again_what_failed() {
    let home = Home::new();
    home.load();
    start(&home, "three", &["--restart", "on-failure:3"], "echo run; exit 3");
    start(&home, "fine", &["--restart", "on-failure"], "exit 0");
    home.until("all attempts were made", || home.run(&["logs", "three"]).ok() == "run\nrun\nrun\nrun");
    home.until("nobody waits any more", || {
        home.inspect("three", "{{.RestartCount}} {{.State.Status}} {{.State.Restarting}}") == "3 exited false"
    });
    assert_eq!(home.inspect("three", "{{.State.ExitCode}}"), "3");
    let policy = "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}";
    assert_eq!(home.inspect("three", policy), "on-failure 3");
    assert_eq!(home.inspect("fine", "{{.RestartCount}}"), "0");
    assert_eq!(home.run(&["ps", "-aq", "--filter", "restart-policy=on-failure"]).ok().lines().count(), 2);
    assert_eq!(home.run(&["ps", "-aq", "--filter", "restart-policy=always"]).ok(), "");
    assert_eq!(home.run(&["ps", "-aq", "--filter", "restart-policy=none"]).ok(), "");
    home.run(&["ps", "--filter", "restart-policy=fake"]).fails(125, &["fake invalid restart policy"]);
    // A start by somebody counts anew.
    home.run(&["start", "three"]).quiet();
    home.until("all attempts were made again", || home.run(&["logs", "three"]).ok().lines().count() == 8);
    home.run(&["run", "--rm", "--restart", "always", "busybox", "true"]).fails(125, &["--rm", "--restart"]);
    home.run(&["run", "--restart", "sometimes", "busybox", "true"]).fails(125, &["restart policy", "sometimes"]);
}

#[test]
fn who_stops_or_removes_wins_over_the_policy() {
    let home = Home::new();
    home.load();
    start(&home, "loop", &["--restart", "always"], "exit 1");
    home.until("it was started again", || home.inspect("loop", "{{.RestartCount}}") != "0");
    // In whatever state it is caught.
    home.run(&["stop", "-t", "0", "loop"]).ok();
    let count = home.inspect("loop", "{{.RestartCount}} {{.State.Status}} {{.State.Restarting}}");
    assert!(count.ends_with("exited false"), "{count}");
    home.until("no monitor waits", || home.processes().is_empty());
    assert_eq!(home.inspect("loop", "{{.RestartCount}} {{.State.Status}} {{.State.Restarting}}"), count);
    for _ in 0..5 {
        home.run(&["start", "loop"]).ok();
        std::thread::sleep(Duration::from_millis(40));
        home.run(&["rm", "-f", "-t", "0", "loop"]).ok();
        home.run(&["ps", "-aq"]).quiet();
        assert!(home.containers().is_empty());
        start(&home, "loop", &["--restart", "unless-stopped"], "exit 1");
    }
    home.run(&["rm", "-f", "-t", "0", "loop"]).ok();
    home.until("nothing is left", || home.processes().is_empty());
    let left = std::fs::read_dir(home.path("run/containers")).unwrap().count();
    assert_eq!(left, 0, "records of runs are left");
    // Killed by somebody is stopped, and killed by itself is not.
    start(&home, "killed", &["--restart", "always"], "sleep 100");
    home.run(&["kill", "killed"]).ok();
    home.until("it has ended", || home.inspect("killed", "{{.State.Status}}") == "exited");
    home.until("no monitor waits", || home.processes().is_empty());
    assert_eq!(home.inspect("killed", "{{.RestartCount}}"), "0");
    home.run(&["start", "killed"]).ok();
    let pid = home.inspect("killed", "{{.State.Pid}}").parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    home.until("it runs again", || home.inspect("killed", "{{.RestartCount}} {{.State.Running}}") == "1 true");
    // A killed monitor leaves no loop behind.
    for monitor in home.processes() {
        rustix::process::kill_process(rustix::process::Pid::from_raw(monitor).unwrap(), rustix::process::Signal::KILL)
            .ok();
    }
    home.run(&["rm", "-f", "-t", "0", "killed"]).ok();
}

#[test]
fn a_policy_changes_while_the_container_runs() {
    let home = Home::new();
    home.load();
    start(&home, "one", &[], "sleep 100");
    home.run(&["update", "--restart", "always", "one"]).ok();
    assert_eq!(home.inspect("one", "{{.HostConfig.RestartPolicy.Name}}"), "always");
    let kill = |home: &Home| {
        let pid = home.inspect("one", "{{.State.Pid}}").parse().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL)
            .unwrap();
    };
    kill(&home);
    home.until("it runs again", || home.inspect("one", "{{.RestartCount}} {{.State.Running}}") == "1 true");
    home.run(&["update", "--restart", "no", "one"]).ok();
    kill(&home);
    home.until("it has ended", || home.inspect("one", "{{.State.Status}}") == "exited");
    home.until("nobody waits", || home.processes().is_empty());
    assert_eq!(home.inspect("one", "{{.State.Status}}"), "exited");
}

#[test]
fn health_is_checked_in_its_time_and_when_asked() {
    let home = Home::new();
    home.load();
    let check = ["--health-cmd", "cat /ok", "--health-interval", "100ms", "--health-retries", "2"];
    start(&home, "web", &check, "sleep 1000");
    assert_eq!(home.run(&["wait", "--condition", "unhealthy", "web"]).ok(), "-1");
    assert!(home.run(&["ps", "--format", "{{.Status}}"]).ok().ends_with("(unhealthy)"));
    home.run(&["exec", "web", "sh", "-c", "echo good > /ok"]).ok();
    assert_eq!(home.run(&["wait", "--condition", "healthy", "web"]).ok(), "-1");
    assert_eq!(home.run(&["ps", "-q", "--filter", "health=healthy"]).ok().lines().count(), 1);
    assert_eq!(home.run(&["ps", "-q", "--filter", "health=unhealthy"]).ok(), "");
    let health = home.document("web")["State"]["Health"].clone();
    assert_eq!((health["Status"].as_str(), health["FailingStreak"].as_i64()), (Some("healthy"), Some(0)));
    let log = health["Log"].as_array().unwrap();
    assert!(log.len() <= 5);
    let last = log.last().unwrap();
    assert_eq!((last["ExitCode"].as_i64(), last["Output"].as_str()), (Some(0), Some("good\n")));
    assert_eq!(home.run(&["healthcheck", "run", "web"]).code(0).out, "");
    home.run(&["exec", "web", "rm", "/ok"]).ok();
    assert_eq!(home.run(&["healthcheck", "run", "web"]).code(1).out, "unhealthy\n");
    assert_eq!(home.run(&["healthcheck", "run", "--ignore-result", "web"]).code(0).out, "unhealthy\n");
    // A container without checks has no such key, at which clients stumble.
    start(&home, "plain", &[], "sleep 1000");
    assert!(home.document("plain")["State"].get("Health").is_none());
    home.run(&["healthcheck", "run", "plain"]).fails(125, &["no defined healthcheck"]);
    home.run(&["stop", "-t", "0", "web"]).ok();
    home.run(&["healthcheck", "run", "web"]).fails(125, &["not running"]);
}

#[test]
fn the_image_goes_with_its_last_container() {
    let home = Home::new();
    home.load();
    let there = || home.run(&["image", "exists", "busybox"]).code == 0;
    start(&home, "other", &[], "sleep 1000");
    home.run(&["run", "--rmi", "busybox", "true"]).ok();
    assert!(there(), "another container uses it");
    assert_eq!(home.run(&["ps", "-aq"]).ok().lines().count(), 1, "--rmi is --rm too");
    home.run(&["rm", "-f", "-t", "0", "other"]).ok();
    assert_eq!(home.run(&["run", "--rmi", "busybox", "sh", "-c", "exit 3"]).code, 3);
    assert!(!there());
    // The same where nobody stays for the end.
    home.load();
    start(&home, "alone", &["--rmi"], "sleep 1000");
    home.run(&["kill", "alone"]).ok();
    home.until("the image has gone", || !there());
    assert_eq!(home.run(&["ps", "-aq"]).ok(), "");
    // Not an image that has the name meanwhile, and not by another of its names while somebody uses it.
    home.load();
    start(&home, "old", &["--rmi"], "sleep 1000");
    start(&home, "made", &[], "sleep 1000");
    home.run(&["commit", "made", "busybox"]).ok();
    home.run(&["kill", "old"]).ok();
    home.until("it is removed", || home.run(&["container", "exists", "old"]).code == 1);
    assert!(there(), "another image has the name");
    home.run(&["rm", "-f", "-t", "0", "made"]).ok();
    home.run(&["rmi", "-f", "busybox"]).ok();
    home.load();
    home.run(&["tag", "busybox", "second"]).ok();
    start(&home, "user", &[], "sleep 1000");
    home.run(&["run", "--rmi", "second", "true"]).ok();
    assert_eq!(home.run(&["image", "exists", "second"]).code, 0, "a container uses the image by another name");
    // One that takes the place of such a one has its image still.
    start(&home, "place", &["--rmi"], "sleep 1000");
    home.run(&["rm", "-f", "-t", "0", "user"]).ok();
    start(&home, "place", &["--replace", "--stop-timeout", "0"], "sleep 1000");
    assert!(there());
}

#[test]
fn one_of_several_is_enough_to_end_a_wait() {
    let home = Home::new();
    home.load();
    start(&home, "long", &[], "sleep 1000");
    start(&home, "short", &[], "while ! test -e /go; do sleep 0.1; done; exit 7");
    // What ends the container may be ended with it.
    home.run(&["exec", "short", "touch", "/go"]);
    assert_eq!(home.run(&["wait", "--exit-first-match", "long", "short"]).ok(), "7");
    // One that is removed in between has ended, too; one that never began does not run.
    for _ in 0..3 {
        start(&home, "brief", &["--rm"], "while ! test -e /go; do sleep 0.1; done; exit 5");
        let waiting = home.start(&["wait", "--exit-first-match", "long", "brief"]);
        home.run(&["exec", "brief", "touch", "/go"]);
        assert_eq!(waiting.wait().ok(), "5");
        home.until("it is removed", || home.run(&["container", "exists", "brief"]).code == 1);
    }
    home.run(&["create", "--name", "fresh", "busybox", "true"]).ok();
    assert_eq!(home.run(&["wait", "--exit-first-match", "long", "fresh"]).ok(), "0");
    assert_eq!(home.run(&["wait", "--exit-first-match", "--condition", "running", "short", "long"]).ok(), "-1");
    home.run(&["wait", "--exit-first-match", "long", "none"]).fails(125, &["no such container"]);
    assert_eq!(home.run(&["wait", "--exit-first-match", "--ignore", "long", "none"]).ok(), "-1");
}

#[test]
fn update_changes_health_variables_and_limits_of_what_runs() {
    let home = Home::new();
    home.load();
    let check = ["--health-cmd", "cat /ok", "--health-interval", "1h", "--health-retries", "1"];
    let others = ["-e", "OLD=1", "-e", "LEVEL=low"];
    start(&home, "web", &[&check[..], &others[..]].concat(), "echo $OLD-$LEVEL > /env; sleep 1000");
    assert_eq!(home.run(&["wait", "--condition", "unhealthy", "web"]).ok(), "-1");
    // Its monitor, which would look again in an hour, is told.
    home.run(&["update", "--health-cmd", "true", "--health-interval", "100ms", "web"]).ok();
    assert_eq!(home.run(&["wait", "--condition", "healthy", "web"]).ok(), "-1");
    assert_eq!(home.document("web")["Config"]["Healthcheck"]["Retries"], 1);
    home.run(&["update", "--no-healthcheck", "-l"]).ok();
    home.run(&["healthcheck", "run", "web"]).fails(125, &["no defined healthcheck"]);
    home.run(&["update", "--health-retries", "2", "web"]).fails(125, &["no healthcheck", "--health-cmd"]);
    home.run(&["update", "--health-cmd", "false", "--health-interval", "100ms", "--health-retries", "2", "web"]).ok();
    assert_eq!(home.run(&["wait", "--condition", "unhealthy", "web"]).ok(), "-1");
    // One that has never had a check has no clock yet.
    start(&home, "plain", &[], "sleep 1000");
    home.run(&["update", "--health-cmd", "true", "--health-interval", "100ms", "plain"]).ok();
    assert_eq!(home.run(&["wait", "--condition", "healthy", "plain"]).ok(), "-1");

    home.run(&["update", "--ulimit", "nofile=100:200,core=0", "web"]).ok();
    let limits = home.run(&["exec", "web", "grep", "open files", "/proc/1/limits"]).ok();
    assert_eq!(limits.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["100", "200"]);
    home.run(&["update", "--ulimit", "nofile=9:8", "web"]).fails(125, &["above the hard one"]);
    home.run(&["update", "--ulimit", "host", "web"]).fails(125, &["limit of a running container", "host's"]);
    home.run(&["update", "--env", "LEVEL=high", "--env", "NEW=a,b", "--unsetenv", "OLD", "web"]).ok();
    home.run(&["restart", "-t", "0", "web"]).ok();
    home.until("it has written", || home.run(&["exec", "web", "cat", "/env"]).out == "-high\n");
    assert_eq!(home.run(&["exec", "web", "sh", "-c", "echo $NEW; ulimit -n; ulimit -c"]).ok(), "a,b\n100\n0");
    home.run(&["update", "--env", "=x", "web"]).fails(125, &["environment variable"]);
    home.run(&["update", "-l", "web"]).fails(125, &["at least one"]);
    home.run(&["update", "-l", "--restart", "no", "web"]).fails(125, &["cannot be used together"]);
}

#[test]
fn what_is_done_with_an_unhealthy_container() {
    let home = Home::new();
    home.load();
    let check = ["--health-cmd", "false", "--health-interval", "100ms", "--health-retries", "1"];
    let ill = |name: &str, more: &[&str]| start(&home, name, &[&check, more].concat(), "sleep 1000");
    ill("kill", &["--health-on-failure", "kill"]);
    ill("stop", &["--health-on-failure", "stop", "--stop-timeout", "0"]);
    ill("restart", &["--health-on-failure", "restart", "--stop-timeout", "0"]);
    ill("again", &["--health-on-failure", "kill", "--restart", "on-failure:1"]);
    for name in ["kill", "stop"] {
        home.until("it has ended", || home.inspect(name, "{{.State.Status}} {{.State.ExitCode}}") == "exited 137");
        assert_eq!(home.inspect(name, "{{.State.Health.Status}}"), "unhealthy");
    }
    home.until("it was started again", || {
        home.run(&[
            "events",
            "--stream=false",
            "--since",
            "1h",
            "--filter",
            "container=restart",
            "--format",
            "{{.Status}}",
        ])
        .ok()
        .lines()
        .any(|line| line == "restart")
    });
    home.until("it was started once more", || {
        home.inspect("again", "{{.RestartCount}} {{.State.Status}} {{.State.Restarting}}") == "1 exited false"
    });
    // A check that takes too long is killed and counts as failed.
    start(
        &home,
        "slow",
        &["--health-cmd", "sleep 100", "--health-timeout", "1s", "--health-interval", "disable"],
        "sleep 1000",
    );
    assert_eq!(home.run(&["healthcheck", "run", "slow"]).code(1).out, "unhealthy\n");
    let log = home.document("slow")["State"]["Health"]["Log"][0].clone();
    assert_eq!(log["ExitCode"].as_i64(), Some(-1), "{log}");
    assert!(log["Output"].as_str().unwrap().contains("timeout"), "{log}");
    home.run(&["run", "--health-on-failure", "kill", "busybox", "true"]).fails(125, &["without a health check"]);
}

#[test]
fn start_up_checks_come_first() {
    let home = Home::new();
    home.load();
    let flags = [
        "--health-cmd",
        "true",
        "--health-interval",
        "100ms",
        "--health-startup-cmd",
        "test -e /up",
        "--health-startup-interval",
        "100ms",
    ];
    start(&home, "one", &flags, "sleep 1000");
    home.until("some have failed", || {
        home.inspect("one", "{{.State.Health.FailingStreak}}").parse::<i32>().unwrap() > 1
    });
    assert_eq!(home.inspect("one", "{{.State.Health.Status}}"), "starting");
    home.run(&["exec", "one", "touch", "/up"]).ok();
    home.run(&["wait", "--condition", "healthy", "one"]).ok();
}

#[test]
fn a_container_has_its_time_and_says_where_it_is() {
    let home = Home::new();
    home.load();
    let (pid, monitor) = (home.path("pid"), home.path("monitor"));
    let files = ["--pidfile", pid.to_str().unwrap(), "--conmon-pidfile", monitor.to_str().unwrap()];
    start(&home, "one", &[&["--timeout", "1"], &files[..]].concat(), "sleep 1000");
    assert_eq!(std::fs::read_to_string(&pid).unwrap(), home.inspect("one", "{{.State.Pid}}"));
    assert_eq!(std::fs::read_to_string(&monitor).unwrap(), home.inspect("one", "{{.State.ConmonPid}}"));
    assert_eq!(home.run(&["wait", "one"]).ok(), "-1");
    home.run(&["run", "--rm", "--network", "none", "--timeout", "1", "busybox", "sleep", "1000"]).code(255);
    home.run(&["rm", "one"]).ok();
    assert!(!pid.exists() && !monitor.exists());
}

#[test]
fn the_service_manager_is_told() {
    let home = Home::new();
    home.load();
    let path = home.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    let heard = || {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).expect("a message");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let run = |name: &str, flags: &[&str], script: &str| {
        let mut args = vec!["run", "-d", "--name", name, "--network", "none"];
        args.extend(flags);
        args.extend(["busybox", "sh", "-c", script]);
        let mut command = home.command(&args);
        command.env("NOTIFY_SOCKET", &path);
        crate::home::Output::of(command).quiet();
    };
    run("conmon", &["--sdnotify", "conmon"], "sleep 1000");
    assert_eq!(heard(), format!("MAINPID={}\nREADY=1", home.inspect("conmon", "{{.State.ConmonPid}}")));
    let check = ["--sdnotify", "healthy", "--health-cmd", "test -e /ok", "--health-interval", "100ms"];
    run("healthy", &check, "sleep 1000");
    let main = format!("MAINPID={}", home.inspect("healthy", "{{.State.ConmonPid}}"));
    assert_eq!(heard(), main);
    home.run(&["exec", "healthy", "touch", "/ok"]).ok();
    assert_eq!(heard(), format!("{main}\nREADY=1"));
    run("inside", &["--sdnotify", "container"], "test -S $NOTIFY_SOCKET && sleep 1000");
    assert!(heard().starts_with("MAINPID="));
    assert_eq!(
        home.run(&["exec", "inside", "sh", "-c", "test -S /run/notify/notify.sock && echo there"]).ok(),
        "there"
    );
    run("deaf", &["--sdnotify", "ignore"], "test -z \"$NOTIFY_SOCKET\" && sleep 1000");
    assert_eq!(home.inspect("deaf", "{{.State.Running}} {{.Config.sdNotifyMode}}"), "true ignore");
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 1]).is_err(), "one that is to be ignored told something");
}
