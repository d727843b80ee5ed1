//! The whole: room on the disk, what nobody uses, damage, the end of everything, and what comes back after a reboot.

use crate::home::{Home, Who};

#[test]
fn room_is_shown_and_had_back() {
    let home = Home::new();
    home.load();
    home.run(&["run", "--name", "one", "--network", "none", "busybox", "sh", "-c", "head -c 300000 /dev/zero > /big"])
        .quiet();
    home.run(&["run", "-d", "--name", "two", "--network", "none", "-v", "used:/v", "busybox", "sleep", "1000"]).quiet();
    home.run(&["volume", "create", "unused"]).quiet();
    let df = |format: &str| home.run(&["system", "df", "--format", format]).quiet();
    assert_eq!(df("{{.Type}} {{.Total}} {{.Active}}"), "Images 1 1\nContainers 2 1\nLocal Volumes 2 1");
    let reclaimable: Vec<u64> = df("{{.RawReclaimable}}").lines().map(|n| n.parse().unwrap()).collect();
    assert!(reclaimable[1] >= 300_000 && reclaimable[1] < 400_000, "{reclaimable:?}");
    let details = home.run(&["system", "df", "-v"]).quiet();
    assert!(details.contains("SHARED SIZE") && details.contains("unused"), "{details}");
    home.run(&["system", "df", "-v", "--format", "json"]).fails(125, &["--format", "--verbose"]);
    let no = home.feed(&["system", "prune"], b"n\n").code(0);
    assert!(no.err.contains("all stopped containers") && home.containers().len() == 2, "{no:?}");
    let yes = home.run(&["system", "prune", "-f"]).quiet();
    assert!(yes.contains("Deleted Containers") && yes.contains("Total reclaimed space: 300"), "{yes}");
    assert!(!yes.contains("Deleted Volumes") && home.containers().len() == 1);
    let volumes = home.run(&["system", "prune", "-f", "--volumes", "-a"]).quiet();
    assert!(volumes.contains("Deleted Volumes\nunused\n"), "{volumes}");
    assert_eq!(home.run(&["volume", "ls", "-q"]).quiet(), "used");
    assert_eq!(home.run(&["images", "-q"]).quiet().lines().count(), 1, "an image in use is gone");
}

#[test]
fn damage_is_found_and_repaired() {
    let home = Home::new();
    home.load();
    home.run(&["create", "--name", "one", "--network", "none", "busybox", "true"]).quiet();
    assert_eq!(home.run(&["system", "check"]).quiet(), "");
    let layers = home.path("root/layers");
    let stray = layers.join("abcde");
    std::fs::create_dir(&stray).unwrap();
    assert_eq!(home.run(&["system", "check", "-q"]).quiet(), "", "it may be on its way");
    let found = home.run(&["system", "check", "--max", "0"]);
    assert!(found.out.contains("layer abcde"), "{found:?}");
    found.fails(125, &["damage"]);
    home.run(&["system", "check", "--max", "0", "--repair"]).code(0);
    assert!(!stray.exists());
    let blob = std::fs::read_dir(home.path("root/blobs/sha256")).unwrap().flatten().next().unwrap().path();
    let mut bytes = std::fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&blob, &bytes).unwrap();
    assert_eq!(home.run(&["system", "check", "--quick"]).quiet(), "", "contents are not read");
    home.run(&["system", "check"]).fails(125, &["--repair"]);
    // The image has a container.
    home.run(&["system", "check", "--repair"]).fails(125, &["--force"]);
    assert_eq!(home.containers().len(), 1);
    let repaired = home.run(&["system", "check", "--repair", "--force"]).code(0).out;
    assert!(repaired.contains("Deleted damaged image"), "{repaired}");
    assert!(home.containers().is_empty() && home.run(&["images", "-q"]).quiet().is_empty());
    home.load();
    home.run(&["run", "--rm", "--network", "none", "busybox", "true"]).quiet();
}

#[test]
fn nothing_is_left_after_a_reset() {
    let home = Home::new();
    home.load();
    home.run(&["run", "-d", "--restart", "always", "--network", "none", "-v", "data:/v", "busybox", "sleep", "1000"])
        .quiet();
    home.run(&["system", "renumber"]).quiet();
    home.feed(&["system", "reset"], b"n\n").code(0);
    assert_eq!(home.containers().len(), 1);
    home.run(&["system", "reset", "-f"]).quiet();
    for directory in ["root", "run"] {
        let left: Vec<_> = std::fs::read_dir(home.path(directory)).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(left.is_empty(), "{directory}: {left:?}");
    }
    home.load();
    assert_eq!(home.run(&["run", "--rm", "--network", "none", "busybox", "echo", "anew"]).quiet(), "anew");
}

#[test]
fn what_is_to_run_comes_back_with_the_machine() {
    let home = Home::new();
    home.load();
    let start = |name: &str, policy: &str| {
        home.run(&[
            "run",
            "-d",
            "--name",
            name,
            "--network",
            "none",
            "--restart",
            policy,
            "--stop-timeout",
            "0",
            "busybox",
            "sleep",
            "1000",
        ])
        .quiet()
    };
    for (name, policy) in
        [("always", "always"), ("unless", "unless-stopped"), ("stopped", "unless-stopped"), ("no", "no")]
    {
        start(name, policy);
    }
    home.run(&["stop", "-t", "0", "stopped", "no"]).ok();
    home.run(&["create", "--name", "never", "--restart", "always", "--network", "none", "busybox", "true"]).quiet();
    let mut ended: Vec<String> = home.run(&["system", "boot", "--stop"]).quiet().lines().map(String::from).collect();
    ended.sort();
    assert_eq!(ended, ["always", "unless"]);
    assert_eq!(home.run(&["ps", "-q"]).quiet(), "");
    home.until("no monitor is left", || home.processes().is_empty());
    let mut started: Vec<String> = home.run(&["system", "boot"]).quiet().lines().map(String::from).collect();
    started.sort();
    assert_eq!(started, ["always", "unless"]);
    assert_eq!(home.run(&["system", "boot"]).quiet(), "", "what runs is left alone");
    home.run(&["stop", "-t", "0", "always"]).ok();
    assert_eq!(home.run(&["start", "--all", "--filter", "restart-policy=always"]).quiet().lines().count(), 2);
}

#[test]
fn a_user_sees_files_as_containers_do() {
    let Some(home) = Home::of(Who::Subuid) else { return };
    assert_eq!(home.run(&["unshare", "id", "-u"]).quiet(), "0");
    let map = home.run(&["unshare", "cat", "/proc/self/uid_map"]).quiet();
    assert_eq!(map.lines().count(), 2, "{map}");
    // This program, started from there, works on the same store.
    home.load();
    let id = home.run(&["create", "--network", "none", "busybox", "true"]).quiet();
    let [file, root, run] = [home.file.clone(), home.path("root"), home.path("run")].map(|p| p.display().to_string());
    let again = ["unshare", &file, "--root", &root, "--runroot", &run, "ps", "-aq", "--no-trunc"];
    assert_eq!(home.run(&again).quiet(), id);
    home.run(&["unshare", "/no/such/program"]).fails(127, &["/no/such/program"]);
    home.run(&["unshare", "false"]).code(1);
    Home::new().run(&["unshare", "true"]).fails(125, &["rootless"]);
}
