//! The rest of the Linux part of the specification: clocks, joined namespaces, scheduling, mounts and devices of every kind.

use crate::support::Box;
use runtime::{Owner, Rootfs};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;

pub const TESTS: &[(&str, fn())] = &[
    ("clocks_with_offsets", clocks_with_offsets),
    ("every_namespace_is_joined", every_namespace_is_joined),
    ("a_user_namespace_is_joined", a_user_namespace_is_joined),
    ("a_mount_namespace_is_joined", a_mount_namespace_is_joined),
    ("a_process_with_the_number_of_another", a_process_with_the_number_of_another),
    ("scheduling_policies", scheduling_policies),
    ("processors_of_an_added_process", processors_of_an_added_process),
    ("memory_policy", memory_policy),
    ("thirty_two_bits", thirty_two_bits),
    ("options_of_bind_mounts", options_of_bind_mounts),
    ("options_of_file_systems", options_of_file_systems),
    ("propagation_of_binds_and_roots", propagation_of_binds_and_roots),
    ("owners_through_maps", owners_through_maps),
    ("labels_that_this_kernel_has_not", labels_that_this_kernel_has_not),
    ("a_mount_over_the_root", a_mount_over_the_root),
    ("what_is_given_twice", what_is_given_twice),
    ("names_of_the_host_are_not_changed", names_of_the_host_are_not_changed),
    ("what_devices_may_be_used", what_devices_may_be_used),
    ("nodes_of_every_kind", nodes_of_every_kind),
    ("nodes_in_a_user_namespace", nodes_in_a_user_namespace),
    ("network_devices_of_the_host", network_devices_of_the_host),
];

fn namespaces(container: &mut Box, change: impl FnOnce(&mut Vec<Value>)) {
    container.edit(|spec| change(spec["linux"]["namespaces"].as_array_mut().unwrap()));
}

fn clocks_with_offsets() {
    let clocks = |container: &mut Box, offsets: Value| {
        namespaces(container, |all| {
            all.retain(|namespace| namespace["type"] != "time");
            all.push(json!({"type": "time"}));
        });
        container.edit(|spec| spec["linux"]["timeOffsets"] = offsets);
    };
    let far = json!({"monotonic": {"secs": 7, "nanosecs": 9}, "boottime": {"secs": 100_000_000}});
    let mut container = Box::script("cat /proc/self/timens_offsets /proc/uptime");
    clocks(&mut container, far.clone());
    let outcome = container.run();
    let lines: Vec<&str> = outcome.out.lines().collect();
    let fields = |line: &str| line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let seconds = |text: &str| text.split('.').next().unwrap().parse::<u64>().unwrap();
    assert_eq!(fields(lines[0]), ["monotonic", "7", "9"], "{outcome:?}");
    assert_eq!(fields(lines[1]), ["boottime", "100000000", "0"], "{outcome:?}");
    assert!(seconds(lines[2]) > 100_000_000, "{outcome:?}");
    clocks(&mut container, json!({"boottime": {"secs": -100_000_000_000_i64}}));
    assert_eq!(container.run().failure().1, "specification: timeOffsets: a clock would be before its start");
    // An added process has the same clocks.
    let mut sleeper = Box::new(&["sleep", "60"]);
    clocks(&mut sleeper, far);
    let mut running = sleeper.launch();
    running.start();
    running.until_executed();
    let added = running.exec(&["cat", "/proc/uptime"], |_| ());
    assert!(seconds(&added.out) > 100_000_000, "{added:?}");
    running.kill();
    running.wait();
}

const KINDS: [(&str, &str); 6] =
    [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup"), ("time", "time")];

fn every_namespace_is_joined() {
    let mut holder = Box::new(&["sleep", "60"]);
    namespaces(&mut holder, |all| all.push(json!({"type": "time"})));
    let mut held = holder.launch();
    held.start();
    held.until_executed();
    let (pid, start_time) = held.pid.unwrap();
    let mut script = String::from("cat /proc/sys/net/ipv4/ip_forward; ");
    for (_, file) in KINDS {
        script += &format!("readlink /proc/self/ns/{file}; ");
    }
    let mut container = Box::script(&script);
    container.create.owners = vec![Owner { pid, start_time }];
    // A name is given to the joined namespace too.
    container.edit(|spec| spec["hostname"] = json!("renamed"));
    namespaces(&mut container, |all| {
        *all = vec![json!({"type": "mount"})];
        all.extend(KINDS.map(|(kind, file)| json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")})));
    });
    // Parameters of a namespace that is not the runtime's may be set, although it is not new.
    container.edit(|spec| spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"}));
    let outcome = container.run();
    let mut wanted = "1\n".to_owned();
    for (_, file) in KINDS {
        wanted += &format!("{}\n", fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap().display());
    }
    assert_eq!(outcome.out, wanted, "{outcome:?}");
    assert_eq!(held.exec(&["hostname"], |_| ()).out, "renamed\n");
    // A path of another kind.
    namespaces(&mut container, |all| {
        *all = vec![json!({"type": "mount"}), json!({"type": "ipc", "path": format!("/proc/{pid}/ns/uts")})]
    });
    assert_eq!(container.run().failure().1, "namespace ipc: join: Invalid argument");
    held.kill();
    held.wait();
}

fn maps(container: &mut Box) {
    namespaces(container, |all| all.push(json!({"type": "user"})));
    container.edit(|spec| {
        for map in ["uidMappings", "gidMappings"] {
            spec["linux"][map] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
        }
    });
}

fn idmap() -> types::IdMap {
    let ranges = vec![types::IdRange { container: 0, host: 100000, size: 65536 }];
    types::IdMap { uids: ranges.clone(), gids: ranges }
}

fn mapped_layers(container: &mut Box) {
    if let Rootfs::Overlay { idmap: map, .. } = &mut container.create.rootfs {
        *map = Some(idmap());
    }
}

fn a_user_namespace_is_joined() {
    let mut holder = Box::new(&["sleep", "60"]);
    maps(&mut holder);
    mapped_layers(&mut holder);
    let mut held = holder.launch();
    held.start();
    held.until_executed();
    let pid = held.pid.unwrap().0;
    // The network and user namespaces of the other: the first is owned by the second.
    let mut container = Box::script(
        "id -u; readlink /proc/self/ns/user; readlink /proc/self/ns/net; stat -c %u /bin/busybox /volume; touch /volume/new; ip link set lo down && echo down",
    );
    mapped_layers(&mut container);
    container.edit(|spec| {
        for set in ["bounding", "effective", "permitted"] {
            spec["process"]["capabilities"][set] = json!(["CAP_NET_ADMIN", "CAP_DAC_OVERRIDE"]);
        }
    });
    let volume = container.scratch.0.join("volume");
    fs::create_dir(&volume).unwrap();
    container.mount(json!({"destination": "/volume", "type": "bind", "source": volume, "options": ["bind", "idmap"]}));
    namespaces(&mut container, |all| {
        all.retain(|namespace| !["network", "cgroup"].contains(&namespace["type"].as_str().unwrap()));
        all.insert(0, json!({"type": "network", "path": format!("/proc/{pid}/ns/net")}));
        all.push(json!({"type": "user", "path": format!("/proc/{pid}/ns/user")}));
    });
    let outcome = container.run();
    let link = |file: &str| fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap().display().to_string();
    let wanted = format!("0\n{}\n{}\n0\n0\ndown\n", link("user"), link("net"));
    assert_eq!(outcome.out, wanted, "{outcome:?}");
    assert_eq!(fs::metadata(volume.join("new")).unwrap().uid(), 0, "through the map of the joined namespace");
    held.kill();
    held.wait();
}

fn a_mount_namespace_is_joined() {
    let mut container = Box::script("readlink /proc/self/ns/mnt; touch /made; ls /");
    let root = container.layer();
    container.create.rootfs = Rootfs::Directory(root.clone());
    // A namespace without anybody else in it than who holds it.
    let (wait, hold) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let pid = match sys::clone::clone(sys::clone::Clone { namespaces: sys::clone::NEW_MOUNT, ..Default::default() })
        .unwrap()
    {
        sys::clone::Side::Child => {
            drop(hold);
            let _ = rustix::io::read(&wait, &mut [0u8; 1]);
            sys::clone::exit_now(0)
        }
        sys::clone::Side::Parent(pid) => pid,
    };
    namespaces(&mut container, |all| {
        all.retain(|namespace| namespace["type"] != "mount");
        all.push(json!({"type": "mount", "path": format!("/proc/{pid}/ns/mnt")}));
    });
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let theirs = fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    let outcome = container.run();
    drop(hold);
    rustix::process::waitpid(rustix::process::Pid::from_raw(pid), rustix::process::WaitOptions::empty()).unwrap();
    let wanted = format!("{}\nbin\ndev\netc\nhome\nmade\nproc\nroot\nsys\ntmp\n", theirs.display());
    assert_eq!(outcome.out, wanted, "{outcome:?}");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    namespaces(&mut container, |all| {
        all.last_mut().unwrap()["path"] = json!("/proc/self/ns/mnt");
    });
    assert!(container.run().failure().1.contains("the runtime's own mount namespace"));
}

fn a_process_with_the_number_of_another() {
    let pid = std::process::id() as i32;
    let mut container = Box::new(&["true"]);
    let start_time = sys::process::start_time(pid).unwrap();
    namespaces(&mut container, |all| all.push(json!({"type": "time", "path": format!("/proc/{pid}/ns/time")})));
    container.create.owners = vec![Owner { pid, start_time: start_time - 1 }];
    assert_eq!(container.run().failure().1, "namespace time: find the process whose it is: No such process");
    container.create.owners = vec![Owner { pid, start_time }];
    assert_eq!(container.run().code, Some(0));
}

/// Nice value, real-time priority and policy in a `/proc/PID/stat` (fields 19, 40 and 41).
fn scheduled(stat: &str) -> [i32; 3] {
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    [19, 40, 41].map(|number| fields[number - 3].parse().unwrap())
}

fn scheduling_policies() {
    const OTHER_BATCH: i32 = 3;
    let mut container = Box::script("cat /proc/1/stat; busybox ionice -p 1");
    container.edit(|spec| {
        spec["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
        spec["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 3});
    });
    let outcome = container.run();
    let (stat, io) = outcome.out.split_once('\n').unwrap();
    assert_eq!((scheduled(stat), io), ([5, 0, OTHER_BATCH], "best-effort: prio 3\n"), "{outcome:?}");
    // Rights of the host's are needed, which the process itself has not in its user namespace.
    container.edit(|spec| spec["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 42}));
    maps(&mut container);
    mapped_layers(&mut container);
    let outcome = container.run();
    assert_eq!(scheduled(outcome.out.lines().next().unwrap())[1..], [42, 1], "{outcome:?}");
    container.edit(|spec| spec["process"]["scheduler"] = json!({"policy": "SCHED_ISO"}));
    assert_eq!(container.run().failure().1, "set the scheduling policy: Invalid argument");
    let mut sleeper = Box::new(&["sleep", "60"]);
    maps(&mut sleeper);
    mapped_layers(&mut sleeper);
    let mut running = sleeper.launch();
    running.start();
    running.until_executed();
    let added = running.exec(&["cat", "/proc/self/stat"], |exec| {
        let scheduler = json!({"policy": "SCHED_RR", "priority": 9, "flags": ["SCHED_RESET_ON_FORK"]});
        exec.process.set_scheduler(Some(serde_json::from_value(scheduler).unwrap()));
    });
    assert_eq!(scheduled(&added.out)[1..], [9, 2], "{added:?}");
    running.kill();
    running.wait();
}

fn processors_of_an_added_process() {
    let mut container = Box::new(&["sleep", "60"]);
    // Not for the first process.
    container.edit(|spec| spec["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"}));
    let mut running = container.launch();
    running.start();
    running.until_executed();
    let allowed = |text: &str| text.lines().find(|l| l.starts_with("Cpus_allowed_list")).unwrap().to_owned();
    let of = |pid: i32| allowed(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap());
    let own = of(std::process::id() as i32);
    assert_eq!(of(running.pid.unwrap().0), own);
    for (affinity, wanted) in [(json!({"initial": "0", "final": "1"}), "1"), (json!({"initial": "0"}), "0")] {
        let added = running.exec(&["cat", "/proc/self/status"], |exec| {
            exec.process.set_exec_cpu_affinity(Some(serde_json::from_value(affinity).unwrap()));
        });
        assert_eq!(allowed(&added.out), format!("Cpus_allowed_list:\t{wanted}"), "this machine has two: {own}");
    }
    let message = running
        .exec(&["true"], |exec| {
            exec.process.set_exec_cpu_affinity(Some(serde_json::from_value(json!({"final": "1023"})).unwrap()));
        })
        .failure()
        .1;
    assert_eq!(message, "set the processors of execCPUAffinity: Invalid argument");
    running.kill();
    running.wait();
}

fn memory_policy() {
    let mut container = Box::script("head -n 1 /proc/self/numa_maps");
    container.edit(|spec| {
        spec["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]})
    });
    let outcome = container.run();
    if !fs::exists("/proc/self/numa_maps").unwrap() {
        assert!(outcome.failure().1.contains("CONFIG_NUMA"));
        return;
    }
    assert!(outcome.out.contains(" bind=static:0 "), "{outcome:?}");
    let policy = container.create.spec.linux().as_ref().unwrap().memory_policy().clone();
    container.edit(|spec| spec["process"]["args"] = json!(["sleep", "60"]));
    let mut running = container.launch();
    running.start();
    running.until_executed();
    let added = running.exec(&["head", "-n", "1", "/proc/self/numa_maps"], |exec| exec.memory_policy = policy);
    assert!(added.out.contains(" bind=static:0 "), "{added:?}");
    running.kill();
    running.wait();
    container.edit(|spec| spec["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND"}));
    assert_eq!(container.run().failure().1, "set the memory policy: Invalid argument");
}

fn thirty_two_bits() {
    let mut container = Box::script("busybox uname -m; sleep 60");
    container.edit(|spec| spec["linux"]["personality"] = json!({"domain": "LINUX32"}));
    let mut running = container.launch();
    running.start();
    running.until_executed();
    let personality = container.create.spec.linux().as_ref().unwrap().personality().clone();
    let added = running.exec(&["busybox", "uname", "-m"], |exec| exec.personality = personality);
    running.kill();
    let first = running.wait();
    let name = if cfg!(target_arch = "x86_64") { "i686\n" } else { "armv8l\n" };
    assert_eq!((first.out.as_str(), added.out.as_str()), (name, name));
    container.edit(|spec| spec["linux"]["personality"] = json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}));
    assert!(container.run().failure().1.contains("ADDR_NO_RANDOMIZE"));
}

/// The options of the mount at `path` in what a container said of its `/proc/self/mountinfo`.
fn mounted<'a>(mountinfo: &'a str, path: &str) -> Vec<&'a str> {
    let mut found = mountinfo.lines().filter(|line| line.split(' ').nth(4) == Some(path));
    let line = found.next_back().unwrap_or_else(|| panic!("{path} is not mounted: {mountinfo}"));
    line.split(' ').skip(5).collect()
}

fn options_of_bind_mounts() {
    let mut container = Box::new(&["cat", "/proc/self/mountinfo"]);
    let source = container.scratch.0.join("source");
    fs::create_dir_all(source.join("below")).unwrap();
    let wanted = [
        ("/plain", vec!["rbind"], "rw,relatime"),
        (
            "/one",
            vec!["rbind", "ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"],
            "ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow",
        ),
        ("/strict", vec!["bind", "strictatime"], "rw"),
        ("/last", vec!["bind", "ro", "rw", "noexec", "exec", "sync", "mand", "iversion", "lazytime"], "rw,relatime"),
        (
            "/all",
            vec!["rbind", "rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnosymfollow"],
            "ro,nosuid,nodev,noexec,noatime,nosymfollow",
        ),
    ];
    for (destination, options, _) in &wanted {
        container.mount(json!({"destination": destination, "type": "bind", "source": source, "options": options}));
    }
    // Below the root, whatever it is called; and what an earlier one mounted is changed.
    container.mount(json!({"destination": "relative/to/root", "type": "bind", "source": source, "options": ["bind"]}));
    container.mount(json!({"destination": "/relative/to/root", "type": "none", "source": "x", "options": ["remount", "bind", "ro"]}));
    container.mount(json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["remount", "nodev", "size=4k"]}));
    let outcome = container.run();
    for (destination, _, options) in &wanted {
        assert_eq!(mounted(&outcome.out, destination)[0], *options, "{destination}");
    }
    assert!(mounted(&outcome.out, "/relative/to/root")[0].starts_with("ro"), "{}", outcome.out);
    let shm = mounted(&outcome.out, "/dev/shm").join(" ");
    assert!(shm.starts_with("rw,nodev,relatime") && shm.contains("size=4k"), "{shm}");
}

fn options_of_file_systems() {
    let mut container = Box::script("cat /proc/self/mountinfo; cat /filled/file; touch /filled/x 2>&1");
    let filled = container.layer().join("filled");
    fs::create_dir(&filled).unwrap();
    fs::write(filled.join("file"), "content\n").unwrap();
    let mounts = [
        json!({"destination": "/filled", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "tmpcopyup"]}),
        json!({"destination": "/whole", "type": "tmpfs", "source": "of-whole", "options": ["sync", "dirsync", "lazytime", "silent", "nolazytime"]}),
        json!({"destination": "/versions", "type": "tmpfs", "source": "tmpfs", "options": ["iversion", "nosymfollow", "noatime"]}),
        json!({"destination": "/recursive", "type": "tmpfs", "source": "tmpfs", "options": ["rnosuid", "rro"]}),
        json!({"destination": "/ramfs", "type": "ramfs", "source": "ramfs", "options": ["mode=711"]}),
    ];
    mounts.into_iter().for_each(|mount| container.mount(mount));
    // Values longer than the new interface takes: as of engines that have overlays in their specifications.
    let long = container.scratch.0.join("long".repeat(60));
    for name in ["l", "u", "w"] {
        fs::create_dir_all(long.join(name)).unwrap();
    }
    let long = long.display();
    container.mount(json!({"destination": "/long", "type": "overlay", "source": "overlay",
        "options": [format!("lowerdir={long}/l"), format!("upperdir={long}/u"), format!("workdir={long}/w")]}));
    let outcome = container.run();
    assert!(outcome.out.ends_with("content\ntouch: /filled/x: Read-only file system\n"), "{outcome:?}");
    let whole = mounted(&outcome.out, "/whole").join(" ");
    assert!(whole.contains("tmpfs of-whole rw,sync,dirsync") && !whole.contains("lazytime"), "{whole}");
    assert_eq!(mounted(&outcome.out, "/versions")[0], "rw,noatime,nosymfollow");
    assert_eq!(mounted(&outcome.out, "/recursive")[0], "ro,nosuid,relatime");
    assert!(mounted(&outcome.out, "/ramfs").join(" ").contains("ramfs ramfs rw,mode=711"));
    assert!(mounted(&outcome.out, "/long").join(" ").contains("/l,upperdir="));
}

fn propagation_of_binds_and_roots() {
    let mut container = Box::new(&["cat", "/proc/self/mountinfo"]);
    let source = container.scratch.0.join("source");
    fs::create_dir(&source).unwrap();
    for option in ["private", "rshared", "rslave", "unbindable", "shared"] {
        let destination = format!("/{option}");
        container
            .mount(json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", option]}));
    }
    container.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["shared"]}));
    let outcome = container.run();
    let has = |path: &str, what: &str| mounted(&outcome.out, path).iter().any(|field| field.starts_with(what));
    for path in ["/rshared", "/shared", "/tmp"] {
        assert!(has(path, "shared:"), "{path}: {}", outcome.out);
    }
    assert!(!has("/private", "shared:") && !has("/private", "master:"), "{}", outcome.out);
    assert!(has("/unbindable", "unbindable") && !has("/rslave", "shared:"), "{}", outcome.out);
    for (propagation, shared, unbindable) in [
        ("shared", true, false),
        ("slave", false, false),
        ("private", false, false),
        ("unbindable", false, true),
        ("rshared", true, false),
    ] {
        container.edit(|spec| spec["linux"]["rootfsPropagation"] = json!(propagation));
        let outcome = container.run();
        let root = mounted(&outcome.out, "/");
        assert_eq!(root.iter().any(|f| f.starts_with("shared:")), shared, "{propagation}: {outcome:?}");
        assert_eq!(root.contains(&"unbindable"), unbindable, "{propagation}: {outcome:?}");
        assert_eq!(mounted(&outcome.out, "/proc").iter().any(|f| f.starts_with("shared:")), propagation == "rshared");
    }
    container.edit(|spec| spec["linux"]["rootfsPropagation"] = json!("sideways"));
    assert!(container.run().failure().1.contains("\"sideways\""));
}

fn owners_through_maps() {
    let mut container = Box::script("stat -c %u:%g /one /one/below /all/below /words; touch /one/new");
    let source = container.scratch.0.join("source");
    fs::create_dir_all(source.join("below")).unwrap();
    let map = |host: u32| json!([{"containerID": 0, "hostID": host, "size": 1000}]);
    // Maps of the mount's own, without a user namespace; they count without the word too.
    container.mount(json!({"destination": "/one", "type": "bind", "source": source, "options": ["bind"],
        "uidMappings": map(70), "gidMappings": map(80)}));
    container.mount(json!({"destination": "/all", "type": "bind", "source": source, "options": ["rbind", "ridmap"],
        "uidMappings": map(0), "gidMappings": map(90)}));
    container.mount(json!({"destination": "/words", "type": "bind", "source": source,
        "options": ["bind", "idmap=uids=0-30-1#1-50-9;gids=0-40-10"]}));
    let outcome = container.run();
    assert!(outcome.out.starts_with("70:80\n70:80\n0:90\n30:40\n"), "{outcome:?}");
    assert!(outcome.err.contains("Value too large"), "root of the container is nobody there: {outcome:?}");
    for (mount, words) in [
        (
            json!({"destination": "/x", "type": "bind", "source": source, "options": ["bind", "idmap"]}),
            "idmap needs uidMappings",
        ),
        (
            json!({"destination": "/x", "type": "bind", "source": source, "options": ["bind"], "uidMappings": map(1)}),
            "together",
        ),
        (json!({"destination": "/x", "type": "tmpfs", "source": "x", "options": ["idmap"]}), "\"idmap\""),
        (
            json!({"destination": "/x", "type": "bind", "source": source, "options": ["bind", "idmap=uids=@0-0-1;gids=0-0-1"]}),
            "the container's own map has no id 0",
        ),
        (
            json!({"destination": "/x", "type": "bind", "source": source, "options": ["bind", "idmap=uids=0-0-1;gids=0-0-1"],
                "uidMappings": map(1), "gidMappings": map(1)}),
            "two maps",
        ),
    ] {
        let mut wrong = Box::new(&["true"]);
        wrong.mount(mount);
        let message = wrong.run().failure().1;
        assert!(message.contains(words), "{message}");
    }
}

fn labels_that_this_kernel_has_not() {
    let has = |path: &str| fs::exists(path).unwrap();
    for (part, field, value, word) in [
        ("process", "apparmorProfile", "a-profile", "AppArmor"),
        ("process", "selinuxLabel", "system_u:system_r:container_t:s0", "SELinux"),
        ("linux", "mountLabel", "system_u:object_r:container_file_t:s0", "SELinux"),
    ] {
        if has("/sys/module/apparmor") || has("/sys/fs/selinux/enforce") {
            eprintln!("SKIPPED: labels_that_this_kernel_has_not: it has");
            return;
        }
        let mut container = Box::new(&["true"]);
        container.edit(|spec| spec[part][field] = json!(value));
        let message = container.run().failure().1;
        assert!(message.contains(word) && message.contains("not enabled") && message.contains(value), "{message}");
    }
    let mut container = Box::new(&["true"]);
    container.edit(|spec| spec["process"]["apparmorProfile"] = json!("unconfined"));
    assert_eq!(container.run().code, Some(0));
}

/// It would be there, and nobody could see it.
fn a_mount_over_the_root() {
    for destination in ["/", "", "//", "/."] {
        let mut container = Box::new(&["true"]);
        container.mount(json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}));
        assert!(container.run().failure().1.contains("hide the root"), "{destination:?}");
    }
    let mut container = Box::script("touch /x 2>&1");
    container.mount(json!({"destination": "/", "type": "none", "options": ["remount", "bind", "ro"]}));
    assert!(container.run().out.contains("Read-only file system"));
}

fn what_is_given_twice() {
    let mut container = Box::new(&["true"]);
    let limit = json!({"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1});
    container.edit(|spec| spec["process"]["rlimits"] = json!([limit, limit]));
    assert!(container.run().failure().1.contains("RLIMIT_NOFILE is given twice"));
    let mut container = Box::new(&["true"]);
    namespaces(&mut container, |all| all.push(json!({"type": "uts"})));
    assert!(container.run().failure().1.contains("uts is given twice"));
}

fn what_devices_may_be_used() {
    if runtime::cgroup::Host::probe().parent().is_err() {
        return eprintln!("SKIPPED: what_devices_may_be_used: no cgroups here");
    }
    // As Podman gives it to its runtimes: what every container has is not listed.
    let mut container = Box::script(
        "echo x > /dev/null && echo null; mknod /tmp/zero c 1 5 && echo made; mknod /tmp/memory c 1 1 && echo made; \
         head -c 1 /tmp/zero | wc -c; head -c 1 /tmp/memory 2>&1; mknod /tmp/disk b 7 200 && echo made",
    );
    container.edit(|spec| {
        spec["linux"]["cgroupsPath"] = json!(format!("runtime-devices-{}", std::process::id()));
        spec["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
        for set in ["bounding", "effective", "permitted"] {
            spec["process"]["capabilities"][set] = json!(["CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_SYS_RAWIO"]);
        }
    });
    let mut running = container.launch();
    assert!(running.is_parked(), "{:?}", running.reports);
    let group = running.cgroup();
    running.start();
    let outcome = running.wait();
    if let Some(group) = group {
        let group = runtime::cgroup::Group::open(&runtime::cgroup::Host::probe(), &group).unwrap();
        group.kill().unwrap();
        group.remove().unwrap();
    }
    let wanted = "null\nmade\nmade\n1\nhead: /tmp/memory: Operation not permitted\nmade\n";
    assert_eq!(outcome.out, wanted, "{outcome:?}");
}

fn nodes_of_every_kind() {
    let nodes = json!([
        {"path": "/dev/deep/pipe", "type": "p", "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 5, "fileMode": 0o600},
        {"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "uid": 5},
    ]);
    let mut container = Box::script("cd /dev; stat -c '%n %F %a %u:%g %t:%T' deep/pipe unbuffered full disk 2>&1");
    container.edit(|spec| {
        spec["linux"]["devices"] = nodes.clone();
        spec["linux"]["devices"]
            .as_array_mut()
            .unwrap()
            .push(json!({"path": "/dev/disk", "type": "b", "major": 7, "minor": 200}));
    });
    container.prints(
        "deep/pipe fifo 640 3:4 0:0\nunbuffered character special file 600 0:0 1:5\nfull character special file 666 5:0 1:7\n\
         disk block special file 666 0:0 7:c8",
    );
    // Where nodes cannot be made pipes can, and the host's nodes are bound.
    let mut mapped = Box::script("stat -c '%F %a %u:%g' /dev/deep/pipe; stat -c %t:%T /dev/full");
    maps(&mut mapped);
    mapped_layers(&mut mapped);
    mapped.edit(|spec| {
        spec["linux"]["devices"] = json!([nodes[0], nodes[2]]);
    });
    mapped.prints("fifo 640 3:4\n1:7");
    for (node, words) in [
        (json!({"path": "/dev/x", "type": "c", "major": -1, "minor": 5}), "is not a device's number"),
        (json!({"path": "/bin/busybox", "type": "c", "major": 1, "minor": 5}), "File exists"),
        (json!({"path": "/dev/x", "type": "a"}), "one of c, u, b and p"),
    ] {
        let mut wrong = Box::new(&["true"]);
        wrong.edit(|spec| spec["linux"]["devices"] = json!([node]));
        let message = wrong.run().failure().1;
        assert!(message.contains(words), "{message}");
    }
}

fn network_devices_of_the_host() {
    use sys::links::{self, End, Kind};
    use sys::netlink::{Family, Requests, Socket};
    let mut container = Box::script("ip -o addr show inside | cat; ip -o link show inside2 | head -c 11");
    container.edit(|spec| {
        spec["linux"]["netDevices"] = json!({"one": {"name": "inside"}, "three": {"name": "inside2"}});
    });
    let mut missing = Box::new(&["true"]);
    missing.edit(|spec| spec["linux"]["netDevices"] = json!({"absent": {}}));
    let mut taken = Box::new(&["true"]);
    taken.edit(|spec| spec["linux"]["netDevices"] = json!({"four": {"name": "lo"}}));
    let mut shared = Box::new(&["true"]);
    namespaces(&mut shared, |all| all.retain(|namespace| namespace["type"] != "network"));
    shared.edit(|spec| {
        spec["linux"]["netDevices"] = json!({"four": {}});
        spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "sysfs" && mount["type"] != "cgroup");
    });
    // A host whose devices are this test's alone.
    crate::hosts::apart(|| {
        sys::namespaces::unshare(sys::clone::NEW_NET).unwrap();
        let mut socket = Socket::open(Family::Route).unwrap();
        let mut requests = Requests::new();
        for (name, peer) in [("one", "two"), ("three", "four")] {
            links::add(&mut requests, End::named(name), Kind::Veth { peer: End::named(peer) });
        }
        socket.carry_out(&mut requests).unwrap();
        let [one, three] = ["one", "three"].map(|name| links::find(&mut socket, name).unwrap().index);
        let mut requests = Requests::new();
        links::set_up(&mut requests, one, true);
        for (index, address, prefix) in [(one, "10.9.8.7", 24), (one, "fd00::7", 64), (three, "10.9.9.1", 32)] {
            links::add_address(&mut requests, index, address.parse().unwrap(), prefix);
        }
        socket.carry_out(&mut requests).unwrap();
        let outcome = container.run();
        assert!(outcome.out.contains("inet 10.9.8.7/24 ") && outcome.out.contains("inet6 fd00::7/64 "), "{outcome:?}");
        assert!(outcome.out.contains(": inside2"), "{outcome:?}");
        assert!(!outcome.out.contains("state DOWN"), "{outcome:?}");
        // Pairs go with the container's namespace, which the kernel takes away by and by.
        let began = std::time::Instant::now();
        while links::find(&mut socket, "two").is_ok() {
            assert!(began.elapsed().as_secs() < 20, "it stays");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let mut requests = Requests::new();
        links::add(&mut requests, End::named("four"), Kind::Veth { peer: End::named("five") });
        socket.carry_out(&mut requests).unwrap();
        assert_eq!(missing.run().failure().1, "network device \"absent\": find it on the host: No such device");
        assert!(taken.run().failure().1.contains("\"four\": find its new name free in the container: File exists"));
        assert!(shared.run().failure().1.contains("without a network namespace"));
        links::find(&mut socket, "four").expect("what was refused stays");
        // The kernel chooses the number.
        let mut template = Box::script("ip -o link | grep -c ': any0@'");
        template.edit(|spec| spec["linux"]["netDevices"] = json!({"four": {"name": "any%d"}}));
        template.prints("1");
    });
}

fn names_of_the_host_are_not_changed() {
    let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for part in ["hostname", "domainname"] {
        let mut container = Box::new(&["true"]);
        namespaces(&mut container, |all| all.retain(|namespace| namespace["type"] != "uts"));
        container.edit(|spec| {
            spec.as_object_mut().unwrap().remove("hostname");
            spec[part] = json!("changed");
        });
        assert!(container.run().failure().1.contains("without a uts namespace"));
        container.edit(|spec| spec[part] = json!(""));
        assert_eq!(container.run().code, Some(0));
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), own);
}

fn nodes_in_a_user_namespace() {
    let mut container = Box::script(
        "stat -c '%n %t:%T %u:%g %a' /dev/mine /dev/deep/null /dev/zero; head -c 1 /dev/mine | wc -c; \
         echo x >/dev/deep/null && echo written; grep -c ' /dev ' /proc/self/mountinfo; \
         mount -o remount,bind,suid /dev/mine 2>/dev/null || echo locked",
    );
    maps(&mut container);
    mapped_layers(&mut container);
    container.edit(|spec| {
        spec["linux"]["devices"] = json!([
            {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "uid": 10, "gid": 11, "fileMode": 0o640},
            {"path": "/dev/deep/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o602},
            {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "uid": 70000},
        ]);
    });
    let outcome = container.run();
    // Whose owner is not mapped is the host's, which is nobody's here.
    let wanted =
        "/dev/mine 1:5 10:11 640\n/dev/deep/null 1:3 0:0 602\n/dev/zero 1:5 65534:65534 666\n1\nwritten\n1\nlocked\n";
    assert_eq!(outcome.out, wanted, "{outcome:?}");
}
