//! Things that go wrong in the middle: killed commands, killed monitors, full disks, reboots, and many at once. The next
//! command works, and containers are reported as what they are.

use crate::home::{Home, Who};
use std::time::Duration;

/// Spreads `count` moments over the time one undisturbed run takes.
fn moments(count: u32, whole: Duration) -> impl Iterator<Item = Duration> {
    (0..count).map(move |n| whole * n / count)
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
}

#[test]
fn a_command_killed_at_any_moment() {
    let home = Home::new();
    home.load();
    let begin = std::time::Instant::now();
    home.run(&["run", "--rm", "busybox", "true"]).quiet();
    let whole = begin.elapsed() * 3 / 2;
    for (n, moment) in moments(40, whole).enumerate() {
        let running = home.start(&["run", "--name", &format!("c{n}"), "busybox", "true"]);
        std::thread::sleep(moment);
        running.kill();
        let listed = home.run(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]).quiet();
        assert!(listed.lines().count() <= n + 1, "{listed}");
    }
    // Whatever each of them is now, nothing still runs, and all of it can be removed.
    home.until("nothing runs", || home.run(&["ps", "-q"]).quiet().is_empty());
    home.run(&["run", "--rm", "busybox", "echo", "fine"]).quiet();
    for id in home.containers() {
        home.run(&["rm", "-f", "-t", "0", &id]).ok();
    }
    assert!(home.containers().is_empty());
    home.run(&["rmi", "busybox"]).ok();
}

#[test]
fn what_a_killed_run_with_rm_leaves_goes_with_the_next() {
    let home = Home::new();
    home.load();
    let begin = std::time::Instant::now();
    home.run(&["run", "--rm", "busybox", "true"]).quiet();
    let whole = begin.elapsed() * 3 / 2;
    for moment in moments(40, whole) {
        let running = home.start(&["run", "--rm", "busybox", "true"]);
        std::thread::sleep(moment);
        running.kill();
    }
    home.until("all monitors are gone", || home.processes().is_empty());
    // Nobody has listed anything, so nobody but this command can have noticed.
    home.run(&["run", "--rm", "busybox", "true"]).quiet();
    for directory in ["root/snapshots", "run/containers"] {
        let left: Vec<_> = std::fs::read_dir(home.path(directory)).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(left.is_empty(), "{directory}: {left:?}");
    }
    for id in home.containers() {
        assert_eq!(home.inspect(&id, "{{.State.Status}}"), "created");
    }
}

#[test]
fn a_load_killed_at_any_moment() {
    let home = Home::new();
    let file = home.write("image.tar", &crate::image::busybox_archive());
    let path = file.to_str().unwrap();
    let begin = std::time::Instant::now();
    home.run(&["load", "-q", "-i", path]).ok();
    let whole = begin.elapsed() * 3 / 2;
    home.run(&["rmi", "busybox"]).ok();
    for moment in moments(30, whole) {
        let running = home.start(&["load", "-q", "-i", path]);
        std::thread::sleep(moment);
        running.kill();
        let images = home.run(&["images", "-q"]).quiet();
        if !images.is_empty() {
            home.run(&["run", "--rm", "busybox", "true"]).quiet();
            home.run(&["rmi", "busybox"]).ok();
        }
    }
    home.run(&["load", "-q", "-i", path]).ok();
    home.run(&["rmi", "busybox"]).ok();
    // What the killed ones left is garbage that was collected.
    let left = std::process::Command::new("find").arg(home.path("root/blobs")).args(["-type", "f"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "blobs that nobody knows");
    let left: Vec<_> = std::fs::read_dir(home.path("root/layers")).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(left.is_empty(), "layers that nobody knows: {left:?}");
}

#[test]
fn other_commands_killed_at_any_moment() {
    let home = Home::new();
    home.load();
    for (n, moment) in moments(15, Duration::from_millis(60)).enumerate() {
        for verb in [&["stop", "-t", "0"][..], &["rm", "-f", "-t", "0"], &["kill"], &["exec"]] {
            let name = format!("c{n}-{}", verb[0]);
            home.run(&["run", "-d", "--name", &name, "busybox", "sleep", "100"]).quiet();
            let mut args = verb.to_vec();
            args.push(&name);
            if verb[0] == "exec" {
                args.push("true");
            }
            let running = home.start(&args);
            std::thread::sleep(moment);
            running.kill();
            let after = home.run(&["rm", "-f", "-t", "0", &name]);
            assert!(after.code == 0 || after.code == 1 && after.err.contains("no such container"), "{after:?}");
        }
    }
    assert!(home.containers().is_empty());
}

#[test]
fn a_killed_monitor() {
    let home = Home::new();
    home.load();
    for alive in [true, false] {
        let id = home.run(&["run", "-d", "busybox", "sh", "-c", "sleep 1000"]).quiet();
        let pid: i32 = home.inspect(&id, "{{.State.Pid}}").parse().unwrap();
        for monitor in home.processes() {
            kill(monitor);
        }
        home.until("the monitor is gone", || home.processes().is_empty());
        if !alive {
            kill(pid);
            // Its executable goes before it has ended: a zombie, where nobody has taken it yet, has.
            home.until("the process has ended", || {
                std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| {
                    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']))
                })
            });
            assert_eq!(home.inspect(&id, "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
            assert_eq!(home.run(&["wait", &id]).quiet(), "137");
            home.run(&["start", &id]).quiet();
        } else {
            assert_eq!(home.inspect(&id, "{{.State.Status}}"), "running");
            assert_eq!(home.run(&["exec", &id, "echo", "still"]).quiet(), "still");
            home.run(&["start", &id]).quiet();
            home.run(&["attach", &id]).fails(125, &["monitor"]);
        }
        home.run(&["stop", "-t", "0", &id]).code(0);
        assert_eq!(home.inspect(&id, "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
        home.run(&["rm", &id]).quiet();
    }
}

#[test]
fn records_that_somebody_takes_away() {
    let home = Home::new();
    home.load();
    let id = home.run(&["run", "-d", "--name", "one", "busybox", "sh", "-c", "echo ran; exec sleep 1000"]).quiet();
    let pid: i32 = home.inspect("one", "{{.State.Pid}}").parse().unwrap();
    home.until("it has spoken", || home.run(&["logs", "one"]).quiet() == "ran");
    std::fs::remove_dir_all(home.path("run")).unwrap();
    // It is still found, and can be used.
    assert_eq!(home.inspect("one", "{{.State.Status}} {{.State.Pid}}"), format!("running {pid}"));
    assert_eq!(home.run(&["ps", "-q", "--no-trunc"]).quiet(), id);
    assert_eq!(home.run(&["exec", "one", "echo", "still"]).quiet(), "still");
    home.run(&["rm", "one"]).fails(2, &["running or paused containers cannot be removed without force"]);
    home.run(&["rm", "-f", "-t", "0", "one"]).ok();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "its process lives on");
    home.until("its monitor is gone", || home.processes().is_empty());
    assert!(home.containers().is_empty());
}

#[test]
fn a_killed_container_process() {
    let home = Home::new();
    home.load();
    let id = home.run(&["run", "-d", "busybox", "sleep", "1000"]).quiet();
    kill(home.inspect(&id, "{{.State.Pid}}").parse().unwrap());
    assert_eq!(home.run(&["wait", &id]).quiet(), "137");
    assert_eq!(home.inspect(&id, "{{.State.Status}} {{.State.OOMKilled}}"), "exited false");
}

#[test]
fn a_reboot_in_the_middle() {
    // What is in /run of a boot that seems to be over would be cleared away: others' networks too.
    let Some(home) = Home::bent(Who::Me, "mount -t tmpfs none /run") else { return };
    home.load();
    let id = home.run(&["run", "-d", "--name", "one", "busybox", "sleep", "1000"]).quiet();
    home.run(&["create", "--name", "two", "busybox", "true"]).quiet();
    // Everything that runs ends without a word, the run root is empty, and the kernel has another boot's id.
    for monitor in home.processes() {
        kill(monitor);
    }
    kill(home.inspect("one", "{{.State.Pid}}").parse().unwrap());
    std::fs::remove_dir_all(home.path("run")).unwrap();
    home.write("boot_id", b"00000000-1111-2222-3333-444444444444\n");
    let bind = home
        .enter()
        .args(["mount", "--bind"])
        .arg(home.path("boot_id"))
        .arg("/proc/sys/kernel/random/boot_id")
        .status();
    assert!(bind.unwrap().success());
    assert_eq!(home.inspect("one", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    assert_eq!(home.inspect("two", "{{.State.Status}}"), "created");
    assert_eq!(home.run(&["ps", "-q"]).quiet(), "");
    home.run(&["start", "one"]).quiet();
    assert_eq!(home.inspect("one", "{{.State.Running}}"), "true");
    assert_eq!(home.run(&["ps", "-q", "--no-trunc"]).quiet(), id);
    home.run(&["start", "-a", "two"]).quiet();
}

#[test]
fn a_pid_that_belongs_to_somebody_else_now() {
    let Some(home) = Home::bent(Who::Me, "true") else { return };
    home.load();
    home.run(&["run", "-d", "--name", "one", "busybox", "sleep", "1000"]).quiet();
    let pid: i32 = home.inspect("one", "{{.State.Pid}}").parse().unwrap();
    for monitor in home.processes() {
        kill(monitor);
    }
    kill(pid);
    home.until("both are gone", || {
        home.processes().is_empty() && !std::path::Path::new(&format!("/proc/{pid}/exe")).exists()
    });
    // The record names the pid of a process that lives, but began at another time: this one.
    let record =
        std::process::Command::new("find").arg(home.path("run")).args(["-name", "pid", "-type", "f"]).output().unwrap();
    let record = String::from_utf8(record.stdout).unwrap().trim().to_string();
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replace(&pid.to_string(), &std::process::id().to_string())).unwrap();
    assert_eq!(home.inspect("one", "{{.State.Status}}"), "exited");
    home.run(&["kill", "one"]).fails(125, &[]);
    home.run(&["rm", "-f", "one"]).quiet();
}

#[test]
fn a_full_disk() {
    let Some(home) = Home::bent(Who::Me, "mount -t tmpfs -o size=3m none $HOME_DIR/root") else { return };
    home.busybox();
    let path = home.path("busybox.tar");
    home.run(&["load", "-i", path.to_str().unwrap()]).fails(125, &["space"]);
    assert_eq!(home.run(&["images", "-q"]).quiet(), "");
    assert!(home.enter().args(["mount", "-o", "remount,size=120m"]).arg(home.path("root")).status().unwrap().success());
    home.load();
    assert_eq!(home.run(&["run", "--rm", "busybox", "echo", "fine"]).quiet(), "fine");
    // Full to the last byte once more: containers can still be listed and removed.
    home.run(&["run", "-d", "--name", "one", "busybox", "sleep", "1000"]).quiet();
    let fill = format!("cat /dev/zero >{0}/root/filler 2>/dev/null; true", home.directory.display());
    assert!(home.enter().args(["sh", "-c", &fill]).status().unwrap().success());
    assert_eq!(home.run(&["ps", "-q"]).ok().lines().count(), 1);
    home.run(&["rm", "-f", "-t", "0", "one"]).quiet();
    assert_eq!(home.run(&["ps", "-aq"]).quiet(), "");
    home.enter().args(["rm", &format!("{}/root/filler", home.directory.display())]).status().unwrap();
    // A container that fills the disk itself: its end is written down all the same, and removing it makes room.
    home.run(&["run", "--name", "two", "busybox", "dd", "if=/dev/zero", "of=/filler", "bs=1M"]).code(1);
    assert_eq!(home.run(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).quiet(), "two exited");
    home.run(&["rm", "two"]).quiet();
    assert_eq!(home.run(&["run", "--rm", "busybox", "echo", "fine"]).quiet(), "fine");
}

#[test]
fn many_commands_at_once() {
    for who in [Who::Me, Who::Single] {
        let Some(home) = Home::of(who) else { continue };
        home.busybox();
        let archive = home.path("busybox.tar");
        let archive = archive.to_str().unwrap();
        let loads: Vec<_> = (0..4).map(|_| home.start(&["load", "-q", "-i", archive])).collect();
        loads.into_iter().for_each(|running| drop(running.wait().ok()));
        assert_eq!(home.run(&["images", "-q"]).quiet().lines().count(), 1);
        let runs: Vec<_> =
            (0..16).map(|n| home.start(&["run", "--rm", "busybox", "sh", "-c", &format!("exit {n}")])).collect();
        for (n, running) in runs.into_iter().enumerate() {
            running.wait().code(n as i32);
        }
        let same: Vec<_> = (0..8).map(|_| home.start(&["create", "--name", "same", "busybox"])).collect();
        let same: Vec<_> = same.into_iter().map(|running| running.wait().code).collect();
        assert_eq!(same.iter().filter(|code| **code == 0).count(), 1, "{same:?}");
        let both: Vec<_> = (0..6).map(|_| home.start(&["rm", "-f", "same"])).collect();
        let codes: Vec<_> = both.into_iter().map(|running| running.wait().code).collect();
        assert!(codes.contains(&0), "{codes:?}");
        assert!(home.containers().is_empty());
    }
}

#[test]
fn a_list_does_not_wait_for_a_slow_command() {
    let home = Home::new();
    home.load();
    home.run(&["run", "-d", "--name", "deaf", "busybox", "sleep", "1000"]).quiet();
    let stopping = home.start(&["stop", "-t", "4", "deaf"]);
    std::thread::sleep(Duration::from_millis(300));
    let begin = std::time::Instant::now();
    assert!(home.run(&["ps", "-a"]).quiet().contains("deaf"));
    assert_eq!(home.inspect("deaf", "{{.Name}}"), "deaf");
    assert!(begin.elapsed() < Duration::from_secs(2), "ps waited for stop");
    stopping.wait().code(0);
}

#[test]
fn a_damaged_state_is_an_error_and_not_a_panic() {
    let home = Home::new();
    home.load();
    home.run(&["create", "--name", "one", "busybox"]).quiet();
    let database = home.path("root/monopod.db");
    let good = std::fs::read(&database).unwrap();
    for suffix in ["-wal", "-shm"] {
        std::fs::remove_file(home.path(&format!("root/monopod.db{suffix}"))).ok();
    }
    std::fs::write(
        &database,
        b"this is no database at all, but long enough to be read as the header of one, one hopes",
    )
    .unwrap();
    home.run(&["ps", "-a"]).fails(125, &["monopod.db"]);
    std::fs::write(&database, good).unwrap();
}
