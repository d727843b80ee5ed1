//! What a container must not have, see or reach.

use crate::support::Box;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

pub const TESTS: &[(&str, fn())] = &[
    ("capabilities_are_the_eleven", capabilities_are_the_eleven),
    ("no_new_privileges_and_the_filter", no_new_privileges_and_the_filter),
    ("a_filter_without_no_new_privileges", a_filter_without_no_new_privileges),
    ("masked_and_read_only_paths", masked_and_read_only_paths),
    ("a_read_only_root", a_read_only_root),
    ("devices", devices),
    ("nothing_is_mounted_on_the_host", nothing_is_mounted_on_the_host),
    ("links_as_mount_points_stay_inside", links_as_mount_points_stay_inside),
    ("binds_and_their_options", binds_and_their_options),
    ("temporary_file_systems", temporary_file_systems),
    ("the_session_keyring_is_new", the_session_keyring_is_new),
    ("a_cgroup_of_its_own", a_cgroup_of_its_own),
    ("a_cgroup_that_nobody_asked_for", a_cgroup_that_nobody_asked_for),
    ("a_namespace_that_cannot_be_joined", a_namespace_that_cannot_be_joined),
];

fn capabilities_are_the_eleven() {
    let outcome = Box::new(&["grep", "Cap", "/proc/self/status"]).run();
    let want = [
        "CapInh:\t0000000000000000",
        "CapPrm:\t00000000800405fb",
        "CapEff:\t00000000800405fb",
        "CapBnd:\t00000000800405fb",
        "CapAmb:\t0000000000000000",
    ];
    assert_eq!(outcome.out.lines().collect::<Vec<_>>(), want);
    let mut ambient = Box::new(&["grep", "Cap[EA]", "/proc/self/status"]);
    ambient.create.user = Some("bob".into());
    ambient.edit(|spec| {
        for set in ["inheritable", "ambient"] {
            spec["process"]["capabilities"][set] = json!(["CAP_CHOWN"]);
        }
    });
    ambient.prints("CapEff:\t0000000000000001\nCapAmb:\t0000000000000001");
}

fn filter() -> serde_json::Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    })
}

fn no_new_privileges_and_the_filter() {
    let mut container = Box::script("grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; mkdir /x 2>&1; true");
    container.edit(|spec| {
        spec["process"]["noNewPrivileges"] = json!(true);
        spec["linux"]["seccomp"] = filter();
    });
    container.prints("NoNewPrivs:\t1\nSeccomp:\t2\nmkdir: can't create directory '/x': Operation not supported");
}

fn a_filter_without_no_new_privileges() {
    let mut container = Box::script("grep -E 'NoNewPrivs|Seccomp:|CapPrm' /proc/self/status; mkdir /tmp/x 2>&1; true");
    container.edit(|spec| spec["linux"]["seccomp"] = filter());
    container.create.user = Some("bob".into());
    container.prints("CapPrm:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\nmkdir: can't create directory '/tmp/x': Operation not supported");
    let mut strict = Box::new(&["true"]);
    strict.edit(|spec| {
        // Only what busybox itself needs to end: nothing of ours may come between the filter and the program.
        spec["process"]["noNewPrivileges"] = json!(true);
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_KILL_PROCESS", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
            "syscalls": [{"action": "SCMP_ACT_ALLOW", "names": [
                "execve", "exit_group", "exit", "brk", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64",
                "readlink", "readlinkat", "getrandom", "mprotect", "mmap", "munmap", "getuid", "geteuid", "getgid", "getegid", "prctl", "uname",
            ]}],
        });
    });
    assert_eq!(strict.run().code, Some(0));
}

fn masked_and_read_only_paths() {
    let outcome = Box::script(
        "cat /proc/keys | wc -c; cat /proc/timer_list | wc -c; ls /sys/firmware | wc -l; touch /sys/firmware/x 2>&1; \
         echo 1 > /proc/sys/kernel/shmmax; grep -c ' /proc/sys .*ro,' /proc/mounts; touch /sys/x 2>&1",
    )
    .run();
    assert_eq!(
        outcome.out,
        "0\n0\n0\ntouch: /sys/firmware/x: Read-only file system\n1\ntouch: /sys/x: Read-only file system\n",
        "{outcome:?}"
    );
    assert_eq!(outcome.err.matches("Read-only file system").count(), 1, "{outcome:?}");
}

fn a_read_only_root() {
    let mut container = Box::script("touch /x 2>&1; touch /dev/shm/x && echo shm");
    container.edit(|spec| spec["root"]["readonly"] = json!(true));
    container.prints("touch: /x: Read-only file system\nshm");
    // Places for mounts are made all the same.
    container.mount(json!({"destination": "/made/deep", "type": "tmpfs", "source": "tmpfs"}));
    container.prints("touch: /x: Read-only file system\nshm");
}

fn devices() {
    let mut container = Box::script(
        "umask; cd /dev; stat -c '%n %F %a %t:%T' null zero full random urandom tty extra; for l in fd stdin stdout stderr ptmx; do readlink $l; done; \
         head -c 3 zero | wc -c; echo x > null; ls pts",
    );
    container.edit(|spec| {
        spec["linux"]["devices"] = json!([{"path": "/dev/extra", "type": "c", "major": 1, "minor": 7, "fileMode": 0o600, "uid": 5, "gid": 6}]);
    });
    let outcome = container.run();
    let node = |name: &str, mode: u32, number: &str| format!("{name} character special file {mode} {number}\n");
    let mut want = "0022\n".to_owned();
    for (name, number) in
        [("null", "1:3"), ("zero", "1:5"), ("full", "1:7"), ("random", "1:8"), ("urandom", "1:9"), ("tty", "5:0")]
    {
        want += &node(name, 666, number);
    }
    want += &node("extra", 600, "1:7");
    want += "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n3\nptmx\n";
    assert_eq!(outcome.out, want, "{}", outcome.err);
}

fn nothing_is_mounted_on_the_host() {
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let container = Box::new(&["sleep", "60"]);
    let mut running = container.launch();
    running.start();
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    let inside = running.exec(&["cat", "/proc/self/mountinfo"], |_| ()).out;
    assert!(inside.lines().any(|l| l.contains(" / / ") && l.contains("overlay")), "{inside}");
    assert!(!inside.contains("ext4"), "nothing of the host is left inside: {inside}");
    running.kill();
    running.wait();
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
}

fn links_as_mount_points_stay_inside() {
    let mut container = Box::script("ls /host/inner /up 2>&1; cat /file-link /var/run/secret");
    let outside = container.scratch.0.join("outside");
    fs::create_dir_all(&outside).unwrap();
    let layer = container.layer();
    symlink(&outside, layer.join("host")).unwrap();
    symlink("../../../../../..", layer.join("up")).unwrap();
    symlink("/etc/../../../../etc/made-by-mount", layer.join("file-link")).unwrap();
    fs::create_dir(layer.join("var")).unwrap();
    symlink("/run", layer.join("var/run")).unwrap();
    let source = container.scratch.0.join("source");
    fs::write(&source, "content\n").unwrap();
    container.mount(json!({"destination": "/host/inner", "type": "tmpfs", "source": "tmpfs"}));
    container.mount(json!({"destination": "/file-link", "type": "bind", "source": source, "options": ["ro"]}));
    container.mount(json!({"destination": "/var/run/secret", "type": "bind", "source": source, "options": ["rbind"]}));
    let outcome = container.run();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.out.ends_with("content\ncontent\n"), "{outcome:?}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "nothing was made on the host");
    assert!(!std::path::Path::new("/etc/made-by-mount").exists());
}

fn binds_and_their_options() {
    let mut container = Box::script(
        "touch /ro/x 2>&1; touch /rw/x && echo rw; cat /rw/below/file; touch /rro/below/y 2>&1; /noexec/busybox true 2>&1; grep -E ' /(rw|rro) ' /proc/self/mountinfo | grep -c -E 'shared|master'",
    );
    let source = container.scratch.0.join("volume");
    fs::create_dir_all(source.join("below")).unwrap();
    fs::write(source.join("below/file"), "below\n").unwrap();
    fs::copy("/bin/busybox", source.join("busybox")).unwrap();
    for (destination, options) in [
        ("/ro", vec!["rbind", "ro"]),
        ("/rw", vec!["rbind", "rprivate", "rw"]),
        ("/rro", vec!["rbind", "rro"]),
        ("/noexec", vec!["bind", "noexec", "nosuid", "nodev"]),
    ] {
        container.mount(json!({"destination": destination, "type": "bind", "source": source, "options": options}));
    }
    let outcome = container.run();
    assert_eq!(
        outcome.out,
        "touch: /ro/x: Read-only file system\nrw\nbelow\ntouch: /rro/below/y: Read-only file system\nsh: /noexec/busybox: Permission denied\n0\n",
        "{outcome:?}"
    );
    assert!(source.join("x").exists());
    let mut wrong = Box::new(&["true"]);
    wrong.mount(json!({"destination": "/x", "type": "bind", "source": source, "options": ["bind", "nonsense"]}));
    assert!(wrong.run().failure().1.contains("\"nonsense\""));
    let mut missing = Box::new(&["true"]);
    missing.mount(json!({"destination": "/x", "type": "bind", "source": "/nowhere/at/all", "options": ["bind"]}));
    assert!(missing.run().failure().1.contains("/nowhere/at/all"));
}

fn temporary_file_systems() {
    let mut container = Box::script(
        "stat -c '%a' /copied /copied/sub; cat /copied/sub/file; readlink /copied/link; stat -c '%u:%g %a' /copied/owned; touch /copied/new && echo writable; stat -c %a /small",
    );
    let etc = container.layer().join("copied");
    fs::create_dir_all(etc.join("sub")).unwrap();
    fs::write(etc.join("sub/file"), "text\n").unwrap();
    symlink("sub/file", etc.join("link")).unwrap();
    fs::write(etc.join("owned"), "").unwrap();
    std::os::unix::fs::chown(etc.join("owned"), Some(12), Some(34)).unwrap();
    fs::set_permissions(etc.join("owned"), std::os::unix::fs::PermissionsExt::from_mode(0o4711)).unwrap();
    fs::set_permissions(&etc, std::os::unix::fs::PermissionsExt::from_mode(0o751)).unwrap();
    container.mount(
        json!({"destination": "/copied", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=1m"]}),
    );
    container.mount(
        json!({"destination": "/small", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1700", "size=4k"]}),
    );
    container.prints("751\n755\ntext\nsub/file\n12:34 4711\nwritable\n1700");
    let mut wrong = Box::new(&["true"]);
    wrong.mount(json!({"destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": ["colour=red"]}));
    let message = wrong.run().failure().1;
    assert!(message.contains("colour"), "{message}");
}

fn the_session_keyring_is_new() {
    // keyctl is not in busybox; the kernel shows all keyrings that a process may see.
    let mut container = Box::new(&["cat", "/proc/keys"]);
    container.edit(|spec| spec["linux"]["maskedPaths"] = json!([]));
    let ours = fs::read_to_string("/proc/keys").unwrap_or_default();
    let outcome = container.run();
    let sessions = |text: &str| {
        text.lines().filter(|l| l.contains("_ses")).map(|l| l.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(!sessions(&outcome.out).is_empty(), "{outcome:?}");
    assert!(sessions(&outcome.out).iter().any(|key| !sessions(&ours).contains(key)), "{outcome:?} {ours}");
}

fn a_cgroup_of_its_own() {
    let host = runtime::cgroup::Host::probe();
    if host.parent().is_err() {
        return eprintln!("SKIPPED: a_cgroup_of_its_own: no cgroups here");
    }
    let mut container =
        Box::script("cat /proc/self/cgroup; ls /sys/fs/cgroup | wc -l; touch /sys/fs/cgroup/x 2>&1; sleep 60");
    container.edit(|spec| {
        spec["linux"]["cgroupsPath"] = json!(format!("runtime-test-{}", std::process::id()));
        spec["linux"]["resources"] = json!({"pids": {"limit": 77}});
    });
    let mut running = container.launch();
    running.start();
    let path = running.cgroup().unwrap();
    let group = runtime::cgroup::Group::open(&host, &path).unwrap();
    let (pid, _) = running.pid.unwrap();
    assert!(fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap().contains(&path));
    let inside = running.exec(&["cat", "/proc/self/cgroup"], |_| ());
    assert!(
        inside.out.contains(":/\n") && !inside.out.contains(&path),
        "the cgroup namespace's root is the own group: {inside:?}"
    );
    // The script has slept for most of this already.
    std::thread::sleep(std::time::Duration::from_millis(200));
    group.kill().unwrap();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(137));
    assert!(!outcome.out.contains(&path) && outcome.out.contains("Read-only file system"), "{outcome:?}");
    group.remove().unwrap();
    // What cannot be made says so; its cgroup is the caller's to remove, who was told of it.
    container.edit(|spec| spec["process"]["args"] = json!(["nope"]));
    container.mount(json!({"destination": "/x", "type": "nonsense"}));
    assert!(container.run().failure().1.contains("nonsense"));
    runtime::cgroup::Group::open(&host, &path).unwrap().remove().unwrap();
}

/// Another engine's container can be paused, though it asked for no cgroup.
fn a_cgroup_that_nobody_asked_for() {
    let host = runtime::cgroup::Host::probe();
    if host.parent().is_err() || host.can(runtime::cgroup::Limit::Freezer).is_err() {
        return eprintln!("SKIPPED: a_cgroup_that_nobody_asked_for: no cgroups here");
    }
    let mut container = Box::new(&["sleep", "60"]);
    container.create.everywhere = true;
    container.create.id = format!("runtime-test-{}", std::process::id());
    let mut running = container.launch();
    running.start();
    let group = runtime::cgroup::Group::open(&host, &running.cgroup().unwrap()).unwrap();
    group.freeze().unwrap();
    assert!(group.is_frozen());
    group.thaw().unwrap();
    group.kill().unwrap();
    running.wait();
    group.remove().unwrap();
}

/// The intermediate is in the cgroup when it joins a user namespace; that it fails is told all the same.
fn a_namespace_that_cannot_be_joined() {
    let host = runtime::cgroup::Host::probe();
    let mut container = Box::new(&["true"]);
    let path = format!("runtime-test-join-{}", std::process::id());
    container.edit(|spec| {
        spec["linux"]["cgroupsPath"] = json!(path);
        spec["linux"]["resources"] = json!({"pids": {"limit": 77}});
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "user", "path": "/proc/self/ns/uts"}));
    });
    assert!(container.run().failure().1.contains("user"));
    if let Ok(parent) = host.parent() {
        assert!(
            runtime::cgroup::Group::open(&host, &format!("{parent}/{path}")).unwrap().directory().unwrap().is_none()
        );
    }
}
