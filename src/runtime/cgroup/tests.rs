//! Real groups on whatever this machine has. Each test makes its own, and removes it.

use super::*;
use oci_spec::runtime::LinuxResources;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

/// The group of one test, removed however the test ends.
struct Made(Host, Group);

impl Drop for Made {
    fn drop(&mut self) {
        let _ = self.1.kill();
        self.1.remove().unwrap();
    }
}

/// A group with `resources`, or nothing, said aloud, where `limits` cannot be had.
fn make(name: &str, limits: &[Limit], resources: &str) -> Option<Made> {
    let host = Host::probe();
    if let Some(reason) = limits.iter().find_map(|limit| host.can(*limit).err()) {
        eprintln!("skipped: {reason}");
        return None;
    }
    let resources: LinuxResources = serde_json::from_str(resources).unwrap();
    // A user's are below what is delegated.
    let root = if host.is_rootless() { "" } else { "/" };
    let path = format!("{root}monopod-test-{}-{name}", std::process::id());
    match Group::create(&host, &path, &resources).unwrap() {
        Some(group) => Some(Made(host, group)),
        None => {
            eprintln!("skipped: no cgroup can be made here");
            None
        }
    }
}

const TASK: &str = "MONOPOD_TEST_CGROUP_TASK";

/// This test binary again, which waits for a line on its standard input and then does `task`.
fn child(task: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cgroup::tests::task", "--nocapture"])
        .env(TASK, task)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Lets the child go, and gives the line that it answers with.
fn answer(child: &mut Child) -> String {
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut all = String::new();
    child.stdout.take().unwrap().read_to_string(&mut all).unwrap();
    all.lines().find_map(|line| line.split_once("answer: ")).map(|(_, answer)| answer.to_string()).unwrap_or_default()
}

/// No test, but what [`child`] executes.
#[test]
fn task() {
    let Ok(task) = std::env::var(TASK) else { return };
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    match task.as_str() {
        "devices" => {
            let open = |path: &str| std::fs::File::open(path).map(drop).map_err(|e| e.raw_os_error());
            println!("answer: {:?} {:?}", open("/dev/null"), open("/dev/zero"));
        }
        "memory" => {
            let mut blocks = Vec::new();
            for _ in 0..128 {
                blocks.push(vec![1u8; 1 << 20]);
            }
            println!("answer: {}", blocks.len());
        }
        "pids" => {
            let threads: Vec<_> = (0..20)
                .map(|_| {
                    std::thread::Builder::new().spawn(|| std::thread::sleep(std::time::Duration::from_millis(200)))
                })
                .collect();
            println!("answer: {}", threads.iter().any(Result::is_err));
        }
        "kill" => {
            // In the group itself, with a child in it.
            let host = Host::probe();
            let group = Group::open(&host, line.trim()).unwrap();
            let home = Group::own(&host).unwrap();
            let own = std::process::id() as i32;
            group.attach(own).unwrap();
            let mut sleeper = child("sleep");
            let before = group.pids().contains(&(sleeper.id() as i32));
            group.kill().unwrap();
            let killed = sleeper.wait().unwrap().signal();
            home.attach(own).unwrap();
            println!("answer: {before} {killed:?} {:?}", group.pids());
        }
        _ => {
            let held = std::hint::black_box(vec![1u8; 4 << 20]);
            std::thread::sleep(std::time::Duration::from_secs(60));
            drop(held);
        }
    }
}

fn file(made: &Made, limit: Limit, unified: &str, legacy: &str) -> String {
    let (directory, name) = match made.0.place(limit).unwrap() {
        host::Place::Unified => (made.1.unified.clone().unwrap(), unified),
        host::Place::Legacy(hierarchy) => (hierarchy.mount.join(&made.1.path[1..]), legacy),
    };
    std::fs::read_to_string(directory.join(name)).unwrap().trim().to_string()
}

#[test]
fn limits_are_set_updated_and_found_again() {
    let resources = r#"{"memory": {"limit": 67108864}, "pids": {"limit": 77}, "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "cpus": "0"}}"#;
    let Some(mut made) = make("limits", &[Limit::Memory, Limit::Pids, Limit::Cpu, Limit::Cpuset], resources) else {
        return;
    };
    let memory = |made: &Made| file(made, Limit::Memory, "memory.max", "memory.limit_in_bytes");
    assert_eq!(memory(&made), "67108864");
    assert_eq!(file(&made, Limit::Pids, "pids.max", "pids.max"), "77");
    assert!(file(&made, Limit::Cpu, "cpu.max", "cpu.cfs_quota_us").starts_with("50000"));
    assert_eq!(file(&made, Limit::Cpu, "cpu.weight", "cpu.shares").len(), if made.1.legacy.is_empty() { 3 } else { 4 });
    assert_eq!(file(&made, Limit::Cpuset, "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(Group::open(&made.0, made.1.path()).unwrap().unified, made.1.unified);
    assert_eq!(made.1.statistics().memory.limit(), Some(67_108_864));
    for limit in [33_554_432, 134_217_728] {
        let resources = serde_json::from_str(&format!(r#"{{"memory": {{"limit": {limit}}}}}"#)).unwrap();
        let Made(host, group) = &mut made;
        group.update(host, &resources).unwrap();
        assert_eq!(memory(&made), limit.to_string());
    }
}

#[test]
fn swap_is_limited_beside_memory() {
    let resources = r#"{"memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432}}"#;
    let Some(mut made) = make("swap", &[Limit::Memory, Limit::Swap], resources) else { return };
    let swap = |made: &Made| file(made, Limit::Swap, "memory.swap.max", "memory.memsw.limit_in_bytes");
    let unified = matches!(made.0.place(Limit::Swap), Ok(host::Place::Unified));
    assert_eq!(swap(&made), if unified { "67108864" } else { "134217728" });
    assert_eq!(file(&made, Limit::Memory, "memory.low", "memory.soft_limit_in_bytes"), "33554432");
    // Above what both together were limited to.
    let Made(host, group) = &mut made;
    let more = serde_json::from_str(r#"{"memory": {"limit": 268435456, "swap": 268435456}}"#).unwrap();
    group.update(host, &more).unwrap();
    assert_eq!(swap(&made), if unified { "0" } else { "268435456" });
}

#[test]
fn rates_of_a_disk_are_limited() {
    let partitions = std::fs::read_to_string("/proc/partitions").unwrap_or_default();
    let first = partitions.lines().skip(2).find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        Some((fields.next()?.parse::<u32>().ok()?, fields.next()?.parse::<u32>().ok()?))
    });
    let Some((major, minor)) = first else { return eprintln!("skipped: no block device here") };
    let resources = format!(
        r#"{{"blockIO": {{"throttleReadBpsDevice": [{{"major": {major}, "minor": {minor}, "rate": 1048576}}],
            "throttleWriteIOPSDevice": [{{"major": {major}, "minor": {minor}, "rate": 300}}]}}}}"#
    );
    let Some(made) = make("io", &[Limit::Io], &resources) else { return };
    let read = file(&made, Limit::Io, "io.max", "blkio.throttle.read_bps_device");
    assert!(read.starts_with(&format!("{major}:{minor} ")) && read.contains("1048576"), "{read}");
    let write = file(&made, Limit::Io, "io.max", "blkio.throttle.write_iops_device");
    assert!(write.contains("300"), "{write}");
}

#[test]
fn huge_pages_are_limited() {
    let resources = r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#;
    if !std::path::Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists() {
        return eprintln!("skipped: no huge pages of 2 MB here");
    }
    let Some(made) = make("hugetlb", &[Limit::Hugetlb], resources) else { return };
    assert_eq!(file(&made, Limit::Hugetlb, "hugetlb.2MB.max", "hugetlb.2MB.limit_in_bytes"), "4194304");
}

#[test]
fn processes_are_frozen_thawed_and_killed() {
    let Some(made) = make("freeze", &[Limit::Freezer], "{}") else { return };
    let mut sleeper = child("sleep");
    made.1.attach(sleeper.id() as i32).unwrap();
    assert_eq!(made.1.pids(), [sleeper.id() as i32]);
    assert_eq!(Group::of(&made.0, sleeper.id() as i32).unwrap(), made.1);
    assert!(!made.1.is_frozen());
    made.1.freeze().unwrap();
    assert!(made.1.is_frozen());
    made.1.thaw().unwrap();
    assert!(!made.1.is_frozen());
    // Also from the frozen state.
    made.1.freeze().unwrap();
    assert!(matches!(made.1.remove(), Err(Error::Populated { .. })));
    made.1.kill().unwrap();
    assert_eq!(sleeper.wait().unwrap().signal(), Some(9));
    assert!(made.1.pids().is_empty());
}

/// A runtime that fails after it went there itself has to tell so, and ends the others.
#[test]
fn who_kills_a_group_from_inside_stays() {
    let Some(made) = make("inside", &[Limit::Freezer], "{}") else { return };
    if made.0.is_rootless() {
        return eprintln!("skipped: needs root");
    }
    let mut inside = child("kill");
    let line = format!("{}\n", made.1.path());
    inside.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    assert_eq!(answer(&mut inside), "true Some(9) []");
    inside.wait().unwrap();
}

#[test]
fn a_living_group_gets_a_limit_it_had_not() {
    let Some(mut made) = make("update", &[Limit::Pids], "{}") else { return };
    let mut sleeper = child("sleep");
    made.1.attach(sleeper.id() as i32).unwrap();
    let Made(host, group) = &mut made;
    group.update(host, &serde_json::from_str(r#"{"pids": {"limit": 50}}"#).unwrap()).unwrap();
    assert_eq!(file(&made, Limit::Pids, "pids.max", "pids.max"), "50");
    assert!(made.1.statistics().pids.current.is_some_and(|pids| pids >= 1));
    made.1.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn devices_are_filtered() {
    let resources = r#"{"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}]}"#;
    let Some(made) = make("devices", &[Limit::Devices], resources) else { return };
    if made.0.is_rootless() {
        return eprintln!("skipped: the kernel takes device filters from root alone");
    }
    let mut child = child("devices");
    made.1.attach(child.id() as i32).unwrap();
    assert_eq!(answer(&mut child), "Ok(()) Err(Some(1))");
    child.wait().unwrap();
}

#[test]
fn devices_of_a_living_group_are_filtered_anew() {
    let rules = |number: u32| {
        format!(
            r#"{{"devices": [{{"allow": false, "access": "rwm"}}, {{"allow": true, "type": "c", "major": 1, "minor": {number}, "access": "rw"}}]}}"#
        )
    };
    let Some(mut made) = make("devices-anew", &[Limit::Devices], &rules(3)) else { return };
    if made.0.is_rootless() {
        return eprintln!("skipped: the kernel takes device filters from root alone");
    }
    let Made(host, group) = &mut made;
    for (rules, expected) in [
        (rules(5), "Err(Some(1)) Ok(())"),
        (r#"{"devices": [{"allow": true, "access": "rwm"}]}"#.into(), "Ok(()) Ok(())"),
        (rules(3), "Ok(()) Err(Some(1))"),
    ] {
        group.update(host, &serde_json::from_str(&rules).unwrap()).unwrap();
        let mut child = child("devices");
        group.attach(child.id() as i32).unwrap();
        assert_eq!(answer(&mut child), expected, "{rules}");
        child.wait().unwrap();
    }
}

#[test]
fn a_limit_below_what_is_used_is_refused_if_that_is_to_be_checked() {
    let Some(mut made) = make("check", &[Limit::Memory], r#"{"memory": {"limit": 268435456}}"#) else { return };
    let mut sleeper = child("sleep");
    made.1.attach(sleeper.id() as i32).unwrap();
    let mut ask = sleeper.stdin.take().unwrap();
    ask.write_all(b"go\n").unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while made.1.statistics().memory.usage.usage.unwrap_or(0) < 4 << 20 {
        assert!(std::time::Instant::now() < deadline, "a process that uses no memory");
    }
    let Made(host, group) = &mut made;
    let update = |limit| format!(r#"{{"memory": {{"limit": {limit}, "checkBeforeUpdate": true}}}}"#);
    let error = group.update(host, &serde_json::from_str(&update(4096)).unwrap()).unwrap_err();
    assert!(matches!(error, Error::InUse { limit: 4096, .. }), "{error}");
    group.update(host, &serde_json::from_str(&update(134_217_728)).unwrap()).unwrap();
    assert_eq!(group.statistics().memory.limit(), Some(134_217_728));
    group.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn what_no_controller_counts_the_processes_tell() {
    let Some(made) = make("counted", &[Limit::Freezer], "{}") else { return };
    let mut sleeper = child("sleep");
    made.1.attach(sleeper.id() as i32).unwrap();
    let all = made.1.statistics();
    assert!(made.1.usage(0).memory.is_some_and(|bytes| bytes > 4096), "{all:?}");
    assert!(all.cpu.usage.total.is_some() && all.pids.current.is_some_and(|count| count >= 1), "{all:?}");
    made.1.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn too_much_memory_is_counted_as_oom() {
    // Where there is swap, the memory goes there instead.
    let swap = std::fs::read_to_string("/proc/swaps").unwrap_or_default().lines().count() > 1;
    if swap {
        return eprintln!("skipped: this machine has swap");
    }
    let Some(made) = make("oom", &[Limit::Memory], r#"{"memory": {"limit": 33554432}}"#) else { return };
    assert_eq!(made.1.oom_kills(), 0);
    let mut child = child("memory");
    made.1.attach(child.id() as i32).unwrap();
    assert_eq!(answer(&mut child), "");
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(made.1.oom_kills() >= 1);
}

#[test]
fn too_many_threads_fail() {
    let Some(made) = make("pids", &[Limit::Pids], r#"{"pids": {"limit": 10}}"#) else { return };
    let mut child = child("pids");
    made.1.attach(child.id() as i32).unwrap();
    assert_eq!(answer(&mut child), "true");
    child.wait().unwrap();
}

#[test]
fn a_threaded_group_has_processes_too() {
    let host = Host::probe();
    if !matches!(host.place(Limit::Core), Ok(host::Place::Unified)) || host.is_rootless() {
        return eprintln!("skipped: no cgroup v2 of root's here");
    }
    let path = format!("/monopod-test-{}-threads/inner", std::process::id());
    let resources = serde_json::from_str(r#"{"unified": {"cgroup.type": "threaded", "cgroup.max.depth": "3"}}"#);
    let group = Group::create(&host, &path, &resources.unwrap()).unwrap().unwrap();
    let directory = group.unified.clone().unwrap();
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap().trim().to_owned();
    let (kind, depth) = (read("cgroup.type"), read("cgroup.max.depth"));
    let mut sleeper = child("sleep");
    let attached = group.attach(sleeper.id() as i32);
    let pids = group.pids();
    group.kill().unwrap();
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    group.remove().unwrap();
    std::fs::remove_dir(directory.parent().unwrap()).unwrap();
    attached.unwrap();
    assert_eq!((kind.as_str(), depth.as_str(), pids), ("threaded", "3", vec![sleeper.id() as i32]));
}

#[test]
fn a_thread_walks_through_the_doors() {
    let Some(made) =
        make("doors", &[Limit::Pids, Limit::Memory], r#"{"pids": {"limit": 10}, "memory": {"limit": 33554432}}"#)
    else {
        return;
    };
    if made.1.legacy.is_empty() {
        return eprintln!("skipped: no limit is on cgroup v1 here");
    }
    let doors = made.1.doors().unwrap();
    let path = made.1.path().to_string();
    let mut sleeper = child("sleep");
    made.1.attach(sleeper.id() as i32).unwrap();
    let mut of = Group::of(&made.0, sleeper.id() as i32).unwrap();
    of.legacy.sort();
    let mut legacy = made.1.legacy.clone();
    legacy.sort();
    assert_eq!((of.unified, of.legacy), (made.1.unified.clone(), legacy));
    made.1.signal(15).unwrap();
    assert_eq!(sleeper.wait().unwrap().signal(), Some(15));
    let inside = std::thread::spawn(move || {
        enter(&doors).unwrap();
        std::fs::read_to_string("/proc/thread-self/cgroup").unwrap()
    });
    let inside = inside.join().unwrap();
    assert_eq!(inside.lines().filter(|line| line.ends_with(&path)).count(), made.1.legacy.len(), "{inside}");
}

#[test]
fn paths_stay_inside() {
    let host = Host::probe();
    for path in ["../x", "/a/../../b", "", "/", "/a//b", "a/./b", "/a/", "a\0b", ".."] {
        let made = Group::create(&host, path, &LinuxResources::default());
        assert!(matches!(made, Err(Error::Path(_))), "{path:?}: {made:?}");
        assert!(matches!(Group::open(&host, path), Err(Error::Path(_))), "{path:?}");
    }
    for path in ["monopod:a:b", "x.slice:a:b c", "x.slice::", "a--b.slice:a:b", "x.slice:..:\n"] {
        let made = Group::create(&host, path, &LinuxResources::default());
        assert!(matches!(made, Err(Error::Systemd(_))), "{path:?}: {made:?}");
    }
}

#[test]
fn a_unit_without_systemd_is_a_plain_group() {
    if std::path::Path::new("/run/systemd/system").is_dir() {
        return eprintln!("skipped: systemd runs here");
    }
    let host = Host::probe();
    let number = std::process::id();
    let name = format!("monopodtest{number}-below.slice:monopod:1");
    let Ok(Some(group)) = Group::create(&host, &name, &LinuxResources::default()) else {
        return eprintln!("skipped: no cgroup can be made here");
    };
    let slice = format!("monopodtest{number}");
    let path = format!("/{slice}.slice/{slice}-below.slice/monopod-1.scope");
    assert!(group.path().ends_with(&path), "{}", group.path());
    group.remove().unwrap();
    for directory in group.unified.iter().chain(group.legacy.iter().map(|(_, directory)| directory)) {
        assert!(!directory.exists());
        for above in directory.ancestors().skip(1).take(2) {
            std::fs::remove_dir(above).unwrap();
        }
    }
}

#[test]
fn nested_groups_go_with_it() {
    let Some(made) = make("nested", &[Limit::Freezer], "{}") else { return };
    let directory = made.1.unified.clone().or(made.1.legacy.first().map(|l| l.1.clone())).unwrap();
    std::fs::create_dir_all(directory.join("a/b")).unwrap();
    made.1.remove().unwrap();
    assert!(!directory.exists());
}

#[test]
fn a_refused_value_names_file_and_value_and_leaves_nothing() {
    let host = Host::probe();
    if let Err(reason) = host.can(Limit::Cpuset) {
        return eprintln!("skipped: {reason}");
    }
    let resources: LinuxResources = serde_json::from_str(r#"{"cpu": {"cpus": "9999"}}"#).unwrap();
    let root = if host.is_rootless() { "" } else { "/" };
    let path = format!("{root}monopod-test-{}-refused", std::process::id());
    let error = Group::create(&host, &path, &resources).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("\"9999\"") && text.contains("cpuset.cpus"), "{text}");
    let group = Group::open(&host, &path).unwrap();
    assert!(group.unified.is_none() && group.legacy.is_empty());
}

#[test]
fn processes_in_the_way_are_not_moved_but_named() {
    let Some(made) = make("busy", &[Limit::Pids], "{}") else { return };
    if !matches!(made.0.place(Limit::Pids), Ok(host::Place::Unified)) {
        return eprintln!("skipped: the pids controller is on cgroup v1 here");
    }
    let mut sleeper = child("sleep");
    made.1.attach(sleeper.id() as i32).unwrap();
    let below = format!("{}/below", made.1.path());
    let error =
        Group::create(&made.0, &below, &serde_json::from_str(r#"{"pids": {"limit": 5}}"#).unwrap()).unwrap_err();
    assert!(error.to_string().contains("has processes of its own"), "{error}");
    made.1.kill().unwrap();
    sleeper.wait().unwrap();
}
