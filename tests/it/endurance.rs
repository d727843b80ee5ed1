//! Much of something at once, and whatever state a container is in: nothing is lost, and nothing is left behind, neither
//! files nor mounts, groups or processes.
//!
//! `MONOPOD_RUNS`, `MONOPOD_STOPPED`, `MONOPOD_FLOOD` (megabytes), `MONOPOD_EXECS` and `MONOPOD_KILLS` ask for more than every
//! change can wait for (`ci/faults.sh`).

use crate::home::{Home, Who};
use std::collections::BTreeSet;
use std::time::Duration;

fn many(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
}

/// All files below both roots, but for those of the database and of events.
fn files(home: &Home) -> BTreeSet<String> {
    let mut find = std::process::Command::new("find");
    find.args([home.path("root"), home.path("run")]);
    let listed = String::from_utf8(find.output().unwrap().stdout).unwrap();
    let own = |line: &&str| !line.contains("monopod.db") && !line.contains("/events") && !line.contains("ballast");
    listed.lines().filter(own).map(String::from).collect()
}

/// Fails the test if containers left something: files that were not there `before`, or groups of theirs.
#[track_caller]
fn nothing_is_left(home: &Home, before: &BTreeSet<String>) {
    home.until("all monitors are gone", || home.processes().is_empty());
    assert!(home.containers().is_empty());
    let after = files(home);
    let new: Vec<_> = after.difference(before).collect();
    assert!(new.is_empty(), "left behind: {new:#?}");
    let gone: Vec<_> = before.difference(&after).collect();
    assert!(gone.is_empty(), "lost: {gone:#?}");
}

/// A home of `who` with the image, in which one container has come and gone; and what is there then.
fn home_of(who: Who) -> Option<(Home, BTreeSet<String>)> {
    let home = Home::of(who)?;
    home.load();
    home.run(&["run", "--rm", "--network", "none", "-v", "first:/first", "busybox", "true"]).quiet();
    home.run(&["volume", "rm", "first"]).quiet();
    home.until("its monitor is gone", || home.processes().is_empty());
    let before = files(&home);
    Some((home, before))
}

#[test]
fn runs_at_once_end_with_their_own_codes_and_leave_nothing() {
    for who in [Who::Me, Who::Subuid, Who::Single] {
        let Some((home, before)) = home_of(who) else { continue };
        let count = many("MONOPOD_RUNS", 24);
        let run = |n: usize| {
            let script = format!("echo out {n}; echo err {n} >&2; exit {}", n % 120);
            home.start(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", &script])
        };
        let running: Vec<_> = (0..count).map(|n| (n, run(n))).collect();
        for (n, running) in running {
            let output = running.wait().code((n % 120) as i32);
            assert_eq!((output.out, output.err), (format!("out {n}\n"), format!("err {n}\n")));
        }
        nothing_is_left(&home, &before);
    }
}

#[test]
fn many_stopped_containers_are_listed_started_and_removed() {
    let Some((home, before)) = home_of(Who::Me) else { return };
    let count = many("MONOPOD_STOPPED", 40);
    for n in 0..count {
        let (name, code) = (format!("c{n}"), (n % 100) as i32);
        let script = format!("echo line of {n}; exit {code}");
        home.run(&["run", "--network", "none", "--name", &name, "busybox", "sh", "-c", &script]).code(code);
    }
    let listed = home.run(&["ps", "-a", "--sort", "created", "--format", "{{.Names}} {{.ExitCode}}"]).quiet();
    let expected: Vec<String> = (0..count).map(|n| format!("c{n} {}", n % 100)).collect();
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
    assert_eq!(home.run(&["ps", "-q"]).quiet(), "");
    let last = format!("c{}", count - 1);
    for name in ["c0", &last] {
        assert_eq!(home.run(&["logs", name]).quiet(), format!("line of {}", &name[1..]));
        home.run(&["start", "-a", name]).code(name[1..].parse::<i32>().unwrap() % 100);
        assert_eq!(home.run(&["logs", name]).quiet().lines().count(), 2);
    }
    assert_eq!(home.run(&["container", "prune", "-f"]).quiet().lines().count(), count);
    nothing_is_left(&home, &before);
}

#[test]
fn a_flood_of_lines_fills_neither_the_disk_nor_memory() {
    for who in [Who::Me, Who::Single] {
        let Some((home, before)) = home_of(who) else { continue };
        let bytes = many("MONOPOD_FLOOD", 20) * 1_000_000;
        let line = "a line as long as lines of logs are, and then some more of it to make it longer";
        let script = format!("yes '{line}' | head -c {bytes}; echo; echo the last line");
        for driver in ["k8s-file", "json-file"] {
            let flags = ["--log-driver", driver, "--log-opt", "max-size=1mb"];
            let run = [&["run", "-d", "--network", "none", "--name", "flood"], &flags[..]].concat();
            home.run(&[&run, &["busybox", "sh", "-c", &script][..]].concat()).quiet();
            let monitor = home.inspect("flood", "{{.State.ConmonPid}}");
            let mut peak = 0;
            home.until("the flood is over", || {
                let status = std::fs::read_to_string(format!("/proc/{monitor}/status")).unwrap_or_default();
                let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
                peak = peak.max(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0));
                home.inspect("flood", "{{.State.Status}}") == "exited"
            });
            assert!(peak < 32 << 10, "the monitor took {peak} kB");
            assert_eq!(home.inspect("flood", "{{.State.ExitCode}}"), "0");
            let log = home.inspect("flood", "{{.HostConfig.LogConfig.Path}}");
            let size = std::fs::metadata(&log).unwrap().len();
            assert!(size <= 1_000_000, "{driver}: the log has {size} bytes");
            // Whole lines to the end, from wherever the file begins now.
            let logs = home.run(&["logs", "flood"]).quiet();
            let mut lines = logs.lines().rev();
            assert_eq!(lines.next(), Some("the last line"));
            assert!(lines.skip(1).all(|other| other == line || line.starts_with(other)), "{driver}: torn lines");
            assert_eq!(home.run(&["logs", "--tail", "1", "flood"]).quiet(), "the last line");
            home.run(&["rm", "flood"]).quiet();
        }
        nothing_is_left(&home, &before);
    }
}

#[test]
fn last_lines_are_in_the_log_when_the_container_has_ended() {
    for who in [Who::Me, Who::Single] {
        let Some((home, before)) = home_of(who) else { continue };
        for n in 0..10 {
            let script = "head -c 200000 /dev/zero | tr '\\0' y; echo; echo -n out of it; echo -n and in it >&2";
            let id = home.run(&["run", "-d", "--network", "none", "busybox", "sh", "-c", script]).quiet();
            let following = (n % 2 == 0).then(|| home.start(&["logs", "-f", &id]));
            assert_eq!(home.run(&["wait", &id]).quiet(), "0");
            let now = home.run(&["logs", &id]).code(0);
            assert!(now.out.trim_end().ends_with("out of it") && now.out.len() > 200_000, "{} bytes", now.out.len());
            assert_eq!(now.err.trim_end(), "and in it");
            if let Some(following) = following {
                let followed = following.wait().code(0);
                assert_eq!((followed.out, followed.err), (now.out, now.err));
            }
            home.run(&["rm", &id]).quiet();
        }
        nothing_is_left(&home, &before);
    }
}

#[test]
fn a_storm_of_programs_in_one_container() {
    for who in [Who::Me, Who::Single] {
        let Some((home, before)) = home_of(who) else { continue };
        home.run(&["run", "-d", "--network", "none", "--name", "one", "busybox", "sleep", "1000"]).quiet();
        let count = many("MONOPOD_EXECS", 30);
        let exec = |n: usize| {
            let script = format!("cat; echo done {n}; exit {}", n % 120);
            (n, home.start(&["exec", "-i", "one", "sh", "-c", &script]))
        };
        let storm: Vec<_> = (0..count).map(exec).collect();
        for (n, mut running) in storm {
            drop(running.child.stdin.take());
            let output = running.wait().code((n % 120) as i32);
            assert_eq!((output.out, output.err), (format!("done {n}\n"), String::new()));
        }
        // Killed in the middle: what it ran ends with the container at the latest, and nothing of it stays.
        for moment in 0..10 {
            let running = home.start(&["exec", "one", "sleep", "1000"]);
            std::thread::sleep(Duration::from_millis(moment * 8));
            running.kill();
        }
        assert_eq!(home.run(&["exec", "one", "echo", "fine"]).quiet(), "fine");
        assert_eq!(home.inspect("one", "{{.State.Status}}"), "running");
        home.run(&["rm", "-f", "-t", "0", "one"]).quiet();
        nothing_is_left(&home, &before);
    }
}

/// Each puts a container called `one` into a state; in all of them removing it by force ends in "gone".
#[test]
fn whatever_state_it_is_in_it_can_be_removed() {
    let run = |home: &Home, more: &[&str]| {
        let args = [&["run", "-d", "--network", "none", "--name", "one"], more, &["busybox", "sleep", "1000"]].concat();
        home.run(&args).quiet();
    };
    let monitors = |home: &Home| home.processes().into_iter().for_each(kill);
    let pid = |home: &Home| home.inspect("one", "{{.State.Pid}}").parse::<i32>().unwrap();
    type Put<'a> = (&'a str, &'a dyn Fn(&Home));
    let states: [Put<'_>; 11] = [
        ("created", &|home| drop(home.run(&["create", "--name", "one", "busybox"]).quiet())),
        ("initialized", &|home| {
            home.run(&["create", "--network", "none", "--name", "one", "busybox", "true"]).quiet();
            home.run(&["init", "one"]).quiet();
        }),
        ("running", &|home| run(home, &[])),
        ("paused", &|home| {
            run(home, &[]);
            // Without a freezer it stays as it is.
            home.run(&["pause", "one"]);
        }),
        ("ended", &|home| {
            run(home, &[]);
            home.run(&["stop", "-t", "0", "one"]).code(0);
        }),
        ("waiting to be started again", &|home| {
            let args = ["run", "-d", "--network", "none", "--name", "one", "--restart", "always", "busybox", "false"];
            home.run(&args).quiet();
            home.until("it was started again", || home.inspect("one", "{{.RestartCount}}") != "0");
        }),
        ("being stopped", &|home| {
            run(home, &[]);
            let stopping = home.start(&["stop", "-t", "1000", "one"]);
            std::thread::sleep(Duration::from_millis(100));
            stopping.kill();
        }),
        ("without a monitor", &|home| {
            run(home, &[]);
            monitors(home);
        }),
        ("paused, without a monitor", &|home| {
            run(home, &[]);
            home.run(&["pause", "one"]);
            monitors(home);
        }),
        ("dead, without a monitor", &|home| {
            run(home, &[]);
            let pid = pid(home);
            monitors(home);
            kill(pid);
        }),
        ("half removed", &|home| {
            run(home, &[]);
            let removing = home.start(&["rm", "-f", "-t", "0", "one"]);
            std::thread::sleep(Duration::from_millis(12));
            removing.kill();
        }),
    ];
    for who in [Who::Me, Who::Single] {
        let Some((home, before)) = home_of(who) else { continue };
        for (state, put) in states {
            eprintln!("{who:?}: {state}");
            put(&home);
            // Removed halfway it may be gone already.
            home.run(&["rm", "-f", "-i", "-t", "0", "one"]).quiet();
            home.run(&["container", "exists", "one"]).code(1);
            nothing_is_left(&home, &before);
        }
    }
}

#[test]
fn who_only_looks_waits_for_nobody() {
    let Some((home, before)) = home_of(Who::Me) else { return };
    let id = home.run(&["run", "-d", "--network", "none", "--name", "one", "busybox", "sleep", "1000"]).quiet();
    // As somebody who starts or stops it for ever: the lock is that of its directory.
    let held = std::fs::File::open(home.path(&format!("root/containers/{id}"))).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let looks: [&[&str]; 12] = [
        &["ps", "-a"],
        &["ps", "-a", "--size"],
        &["inspect", "one"],
        &["images"],
        &["inspect", "busybox"],
        &["logs", "one"],
        &["top", "one"],
        &["stats", "--no-stream"],
        &["port", "one"],
        &["diff", "one"],
        &["system", "df"],
        &["info"],
    ];
    for look in looks {
        // One that waits is still running when patience ends, which fails the test.
        home.run(look).code(0);
    }
    assert_eq!(home.run(&["exec", "one", "echo", "still"]).quiet(), "still");
    drop(held);
    home.run(&["rm", "-f", "-t", "0", "one"]).quiet();
    nothing_is_left(&home, &before);
}

/// Every command that changes something is killed at moments spread over the time that it takes undisturbed.
#[test]
fn commands_killed_at_any_moment_leave_nothing_but_what_they_did() {
    for who in [Who::Me, Who::Single] {
        let Some((home, before)) = home_of(who) else { continue };
        let count = many("MONOPOD_KILLS", 4) as u32;
        let data = home.write("data", &vec![7; 3_000_000]);
        let (data, out) = (data.to_str().unwrap(), home.path("home/out"));
        let out = out.to_str().unwrap();
        let make = ["create", "--network", "none", "--name", "one", "-v", "kept:/kept", "busybox", "sleep", "1000"];
        let commands: [(&[&[&str]], &[&str]); 10] = [
            (&[], &make),
            (&[&make], &["start", "one"]),
            (&[&make, &["start", "one"]], &["stop", "-t", "0", "one"]),
            (&[&make, &["start", "one"]], &["restart", "-t", "0", "one"]),
            (&[&make, &["start", "one"]], &["rm", "-f", "-t", "0", "one"]),
            (&[&make, &["start", "one"]], &["exec", "one", "true"]),
            (&[&make, &["start", "one"]], &["cp", data, "one:/data"]),
            (&[&make, &["cp", data, "one:/data"]], &["commit", "-q", "one", "made:1"]),
            (&[&make, &["cp", data, "one:/data"]], &["export", "-o", out, "one"]),
            (&[&make], &["rename", "one", "two"]),
        ];
        for (first, killed) in commands {
            let prepare = || first.iter().for_each(|args| drop(home.run(args).ok()));
            prepare();
            let begin = std::time::Instant::now();
            home.run(killed).code(0);
            let whole = begin.elapsed() * 5 / 4;
            let clear = || {
                home.run(&["rm", "-f", "-t", "0", "-a"]).ok();
                home.run(&["volume", "rm", "-a"]).ok();
                home.run(&["rmi", "-i", "made:1"]).ok();
                std::fs::remove_file(out).ok();
            };
            clear();
            for n in 0..count {
                prepare();
                let running = home.start(killed);
                std::thread::sleep(whole * n / count);
                running.kill();
                // Whatever became of it, others see containers and images that are whole.
                home.run(&["ps", "-a", "--size"]).quiet();
                for image in home.run(&["images", "-q"]).quiet().lines() {
                    home.run(&["run", "--rm", "--network", "none", image, "true"]).quiet();
                }
                clear();
            }
            eprintln!("{who:?}: {killed:?}");
            nothing_is_left(&home, &before);
        }
        home.run(&["system", "check"]).code(0);
    }
}
