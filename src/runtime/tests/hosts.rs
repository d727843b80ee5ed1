//! Containers on other hosts than this one: user namespaces, rootless, a ramfs as the root, kernels without the new mount
//! interface. What must not happen in the test's own process happens in a copy of it.

use crate::support::Box;
use runtime::Rootfs;
use serde_json::json;
use std::fs;
use std::path::Path;
use sys::clone::{Clone, NEW_MOUNT, NEW_USER, Side, clone, exit_now};

pub const TESTS: &[(&str, fn())] = &[
    ("user_namespace_with_mapped_layers", user_namespace_with_mapped_layers),
    ("many_layers", many_layers),
    ("a_directory_as_root", a_directory_as_root),
    ("an_id_that_is_not_mapped", an_id_that_is_not_mapped),
    ("mapped_bind_mounts", mapped_bind_mounts),
    ("rootless_with_one_id", rootless_with_one_id),
    ("rootless_keeping_the_id", rootless_keeping_the_id),
    ("a_root_that_cannot_be_pivoted", a_root_that_cannot_be_pivoted),
    ("a_runtime_in_a_plain_chroot", a_runtime_in_a_plain_chroot),
    ("a_filter_that_refuses_openat2", a_filter_that_refuses_openat2),
    ("an_old_kernel", an_old_kernel),
];

fn maps(container: &mut Box) {
    container.edit(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        for map in ["uidMappings", "gidMappings"] {
            spec["linux"][map] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
        }
    });
}

fn idmap() -> types::IdMap {
    let ranges = vec![types::IdRange { container: 0, host: 100000, size: 65536 }];
    types::IdMap { uids: ranges.clone(), gids: ranges }
}

fn user_namespace_with_mapped_layers() {
    let mut container = Box::script(
        "id -u; cat /proc/self/uid_map; stat -c %u:%g /bin/busybox; touch /new; stat -c %u /new; chown 1000 /new && echo chowned; echo x > /dev/null && stat -c %t:%T /dev/null; echo hi > /dev/stdout; grep -c . /proc/1/status > /dev/null && echo proc",
    );
    maps(&mut container);
    if let Rootfs::Overlay { idmap: map, .. } = &mut container.create.rootfs {
        *map = Some(idmap());
    }
    let outcome = container.run();
    assert_eq!(outcome.out, "0\n         0     100000      65536\n0:0\n0\nchowned\n1:3\nhi\nproc\n", "{outcome:?}");
    let upper = container.scratch.0.join("u/new");
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&fs::metadata(upper).unwrap()),
        101000,
        "on disk, what it wrote is owned by the host's ids"
    );
    // A process added to it is in the same user namespace, with its rights only.
    let mut sleeper = Box::new(&["sleep", "60"]);
    maps(&mut sleeper);
    if let Rootfs::Overlay { idmap: map, .. } = &mut sleeper.create.rootfs {
        *map = Some(idmap());
    }
    let mut running = sleeper.launch();
    running.start();
    let outcome = running.exec(&["sh", "-c", "id -u; readlink /proc/self/ns/user; stat -c %u /bin/busybox"], |_| ());
    let pid = running.pid.unwrap().0;
    let user = fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert_eq!(outcome.out, format!("0\n{}\n0\n", user.display()), "{outcome:?}");
    running.kill();
    running.wait();
}

fn many_layers() {
    let mut container = Box::new(&["sh", "-c", "ls /layers | wc -l; cat /top"]);
    let mut lower = Vec::new();
    for number in (2..=200).rev() {
        let layer = container.scratch.0.join(number.to_string());
        fs::create_dir_all(layer.join("layers")).unwrap();
        fs::write(layer.join("layers").join(number.to_string()), "").unwrap();
        fs::write(layer.join("top"), number.to_string()).unwrap();
        lower.push(number.to_string().into());
    }
    lower.push("1".into());
    if let Rootfs::Overlay { lower: all, .. } = &mut container.create.rootfs {
        *all = lower;
    }
    container.prints("199\n200");
}

fn a_directory_as_root() {
    let mut container = Box::script("touch /made; cat /proc/1/comm; echo done");
    container.create.rootfs = Rootfs::Directory(container.layer());
    container.prints("sh\ndone");
    assert!(container.layer().join("made").exists());
}

fn an_id_that_is_not_mapped() {
    let mut container = Box::new(&["true"]);
    maps(&mut container);
    container.create.user = Some("70000".into());
    let message = container.run().failure().1;
    assert!(message.contains("user id 70000 is not mapped"), "{message}");
}

fn mapped_bind_mounts() {
    let mut container = Box::script("stat -c %u /volume; touch /volume/new");
    maps(&mut container);
    if let Rootfs::Overlay { idmap: map, .. } = &mut container.create.rootfs {
        *map = Some(idmap());
    }
    let volume = container.scratch.0.join("volume");
    fs::create_dir(&volume).unwrap();
    container.mount(json!({"destination": "/volume", "type": "bind", "source": volume, "options": ["rbind", "idmap"]}));
    container.prints("0");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(volume.join("new")).unwrap()), 0);
}

/// Does it in a copy of this process.
pub fn apart(action: impl FnOnce()) {
    match clone(Clone::default()).unwrap() {
        Side::Child => {
            let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(action)).is_ok();
            exit_now(i32::from(!passed))
        }
        Side::Parent(pid) => {
            let pid = rustix::process::Pid::from_raw(pid);
            let status = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap().unwrap().1;
            assert_eq!(status.exit_status(), Some(0), "in the copy, see above");
        }
    }
}

fn give_to(path: &Path, id: u32) {
    std::os::unix::fs::lchown(path, Some(id), Some(id)).unwrap();
    if fs::symlink_metadata(path).unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give_to(&entry.unwrap().path(), id));
    }
}

/// As an ordinary user without helpers: one id, seen as root.
fn become_rootless() {
    let (uid, gid) = (rustix::fs::Uid::from_raw(1000), rustix::fs::Gid::from_raw(1000));
    rustix::thread::set_thread_groups(&[]).unwrap();
    rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
    rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
    sys::process::set_dumpable(true).unwrap();
    sys::namespaces::unshare(NEW_USER | NEW_MOUNT).unwrap();
    fs::write("/proc/self/setgroups", "deny").unwrap();
    fs::write("/proc/self/gid_map", "0 1000 1").unwrap();
    fs::write("/proc/self/uid_map", "0 1000 1").unwrap();
}

fn rootless(script: &str) -> Box {
    let mut container = Box::script(script);
    give_to(&container.scratch.0, 1000);
    if let Rootfs::Overlay { user_xattr, .. } = &mut container.create.rootfs {
        *user_xattr = true;
    }
    container
}

fn rootless_with_one_id() {
    let container = rootless(
        "id -u; cat /proc/self/uid_map; touch /new && echo made; echo x > /dev/null && stat -c %t:%T /dev/null; hostname; \
         cat /proc/keys | wc -c; touch /sys/x 2>&1; ls -ld /dev/pts/ptmx | head -c 1; grep CapEff /proc/self/status; rm -f /bin/id; ls /bin/id 2>&1",
    );
    apart(|| {
        become_rootless();
        let outcome = container.run();
        assert!(
            outcome.out.starts_with(
                "0\n         0       1000          1\nmade\n1:3\ninside\n0\ntouch: /sys/x: Read-only file system\nc"
            ),
            "{outcome:?}"
        );
        assert!(outcome.out.contains("CapEff:\t00000000800405fb"), "{outcome:?}");
        let sleeper = rootless_sleeper(&container);
        let mut running = sleeper.launch();
        running.start();
        running.until_executed();
        assert_eq!(running.exec(&["sh", "-c", "id -u; hostname"], |_| ()).out, "0\ninside\n");
        running.kill();
        running.wait();
    });
}

fn rootless_sleeper(container: &Box) -> Box {
    let mut sleeper = Box { scratch: crate::support::Scratch::new(), create: container.create.clone() };
    sleeper.edit(|spec| spec["process"]["args"] = json!(["sleep", "60"]));
    sleeper
}

fn rootless_keeping_the_id() {
    let mut container = rootless(
        "id -u; touch /home/bob/new && stat -c %u /home/bob/new; cat /proc/self/uid_map; test -c /dev/null && echo null; grep -c proc /proc/mounts > /dev/null && echo proc",
    );
    container.edit(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        for map in ["uidMappings", "gidMappings"] {
            spec["linux"][map] = json!([{"containerID": 1000, "hostID": 0, "size": 1}]);
        }
        spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    apart(|| {
        become_rootless();
        let outcome = container.run();
        assert_eq!(outcome.out, "1000\n1000\n      1000          0          1\nnull\nproc\n", "{outcome:?}");
    });
}

/// pivot_root(2) says EINVAL, as on a ramfs of the kernel's start: here since what the root is mounted on is shared.
fn a_root_that_cannot_be_pivoted() {
    let mut container = Box::script(
        "echo $$; ls /; grep -c ' /proc ' /proc/mounts; touch /made && echo made; mount -t proc proc /tmp 2>&1 | head -n 1",
    );
    // Removed when the copy's mounts are gone with it.
    let outer = crate::support::Scratch::new();
    apart(|| {
        const MS_BIND_REC: u64 = 1 << 12 | 1 << 14;
        const MS_PRIVATE_REC: u64 = 1 << 18 | 1 << 14;
        const MS_SHARED: u64 = 1 << 20;
        sys::namespaces::unshare(NEW_MOUNT).unwrap();
        sys::mount::propagate_root(MS_PRIVATE_REC).unwrap();
        sys::mount::propagate_root(MS_SHARED).unwrap();
        let path = |path: &Path| std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        sys::mount::classic(&path(&outer.0), &path(&outer.0), c"", MS_BIND_REC, c"").unwrap();
        for name in ["proc", "dev", "sys", "scratch", "tmp"] {
            let inner = outer.0.join(name);
            fs::create_dir(&inner).unwrap();
            let source = if name == "scratch" { container.scratch.0.clone() } else { Path::new("/").join(name) };
            if name != "tmp" {
                sys::mount::classic(&path(&source), &path(&inner), c"", MS_BIND_REC, c"").unwrap();
            }
        }
        if let Rootfs::Overlay { base, upper, work, .. } = &mut container.create.rootfs {
            (*base, *upper, *work) = ("/scratch".into(), Some("/scratch/u".into()), Some("/scratch/w".into()));
        }
        rustix::process::chroot(&outer.0).unwrap();
        rustix::process::chdir("/").unwrap();
        let outcome = container.run();
        assert!(outcome.out.starts_with("1\nbin\ndev\netc\nhome\nproc\nroot\nsys\ntmp\n"), "{outcome:?}");
        assert!(outcome.out.contains("\nmade\n"), "{outcome:?}");
        assert_eq!(outcome.code, Some(0));
    });
}

/// Whose root is a directory like any other, on a file system that is shared with the host.
fn a_runtime_in_a_plain_chroot() {
    let mut container = Box::script("ls /; cat /volume/file; touch /made && echo made");
    let outer = crate::support::Scratch::new();
    apart(|| {
        const MS_BIND_REC: u64 = 1 << 12 | 1 << 14;
        const MS_SHARED_REC: u64 = 1 << 20 | 1 << 14;
        const MS_PRIVATE_REC: u64 = 1 << 18 | 1 << 14;
        sys::namespaces::unshare(NEW_MOUNT).unwrap();
        sys::mount::propagate_root(MS_PRIVATE_REC).unwrap();
        sys::mount::propagate_root(MS_SHARED_REC).unwrap();
        let path = |path: &Path| std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        for name in ["proc", "dev", "sys", "scratch", "tmp"] {
            let inner = outer.0.join(name);
            fs::create_dir(&inner).unwrap();
            let source = if name == "scratch" { container.scratch.0.clone() } else { Path::new("/").join(name) };
            if name != "tmp" {
                sys::mount::classic(&path(&source), &path(&inner), c"", MS_BIND_REC, c"").unwrap();
            }
        }
        fs::create_dir(container.scratch.0.join("volume")).unwrap();
        fs::write(container.scratch.0.join("volume/file"), "content\n").unwrap();
        container.mount(
            json!({"destination": "/volume", "type": "bind", "source": "/scratch/volume", "options": ["rbind"]}),
        );
        if let Rootfs::Overlay { base, upper, work, .. } = &mut container.create.rootfs {
            (*base, *upper, *work) = ("/scratch".into(), Some("/scratch/u".into()), Some("/scratch/w".into()));
        }
        let all = || fs::read_to_string("/proc/self/mountinfo").unwrap();
        let before = all();
        rustix::process::chroot(&outer.0).unwrap();
        rustix::process::chdir("/").unwrap();
        let outcome = container.run();
        assert_eq!(outcome.out, "bin\ndev\netc\nhome\nproc\nroot\nsys\ntmp\nvolume\ncontent\nmade\n", "{outcome:?}");
        let own = fs::File::open("/proc/self/ns/mnt").unwrap();
        sys::namespaces::enter(std::os::fd::AsFd::as_fd(&own), NEW_MOUNT).unwrap();
        assert_eq!(all(), before, "nothing came to the host");
    });
}

/// Does it in a copy of this process to which openat2(2) is refused, as engines' filters of some years ago do, which do not
/// know the call.
pub fn without_openat2(action: impl FnOnce()) {
    apart(|| {
        let filter = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
            "syscalls": [{"action": "SCMP_ACT_ERRNO", "errnoRet": 1, "names": ["openat2"]}],
        });
        runtime::seccomp::compile(&serde_json::from_value(filter).unwrap()).unwrap().install().unwrap();
        action();
    });
}

fn a_filter_that_refuses_openat2() {
    without_openat2(|| {
        let mut container = Box::script("cat /proc/sys/net/ipv4/ip_forward; cat /file-link; touch /sys/x 2>&1; id -un");
        std::os::unix::fs::symlink("/etc/made/deep", container.layer().join("file-link")).unwrap();
        let source = container.scratch.0.join("source");
        fs::write(&source, "content\n").unwrap();
        container.mount(json!({"destination": "/file-link", "type": "bind", "source": source, "options": ["bind"]}));
        container.edit(|spec| spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"}));
        container.create.user = Some("bob".into());
        let outcome = container.run();
        assert_eq!(outcome.out, "1\ncontent\ntouch: /sys/x: Read-only file system\nbob\n", "{outcome:?}");
    });
}

/// Without the calls that came after 5.1, as far as a filter can say so.
fn an_old_kernel() {
    apart(|| {
        let new = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
            "syscalls": [{"action": "SCMP_ACT_ERRNO", "errnoRet": 38, "names": [
                "fsopen", "fsconfig", "fsmount", "move_mount", "open_tree", "mount_setattr", "fspick", "clone3", "openat2",
                "close_range", "pidfd_open", "pidfd_getfd", "faccessat2",
            ]}],
        });
        runtime::seccomp::compile(&serde_json::from_value(new).unwrap()).unwrap().install().unwrap();
        let mut container = Box::script(
            "echo $$; touch /made && echo made; touch /ro/x 2>&1; cat /proc/keys | wc -c; ls /sys/firmware | wc -l; touch /sys/x 2>&1; \
             stat -c %t:%T /dev/null; readlink /dev/ptmx; grep -c ' /proc/sys .*ro,' /proc/mounts; ls /proc/self/fd | wc -l; sleep 60",
        );
        let volume = container.scratch.0.join("volume");
        fs::create_dir(&volume).unwrap();
        container.mount(
            json!({"destination": "/ro", "type": "bind", "source": volume, "options": ["rbind", "ro", "nosuid"]}),
        );
        container.mount(json!({"destination": "/var/run/made", "type": "tmpfs", "source": "tmpfs", "options": ["size=4k", "tmpcopyup", "rprivate"]}));
        let mut running = container.launch();
        assert!(running.is_parked(), "{:?}", running.reports);
        running.start();
        std::thread::sleep(std::time::Duration::from_millis(300));
        let inside = running.exec(&["sh", "-c", "hostname; ls /proc/self/fd | wc -l"], |_| ());
        assert_eq!(inside.out, "inside\n4\n", "{inside:?}");
        let (pid, start) = running.pid.unwrap();
        sys::process::kill(pid, start, 9).unwrap();
        let outcome = running.wait();
        assert_eq!(
            outcome.out,
            "1\nmade\ntouch: /ro/x: Read-only file system\n0\n0\ntouch: /sys/x: Read-only file system\n1:3\npts/ptmx\n1\n4\n",
            "{outcome:?}"
        );
        container.edit(|spec| spec["root"]["readonly"] = json!(true));
        container.edit(|spec| spec["process"]["args"] = json!(["touch", "/x"]));
        assert!(container.run().err.contains("Read-only file system"));
        let mut recursive = Box::new(&["true"]);
        recursive.mount(json!({"destination": "/r", "type": "bind", "source": volume, "options": ["rbind", "rro"]}));
        assert!(recursive.run().failure().1.contains("Function not implemented"), "less than asked for is no answer");
        let mut directory = Box::new(&["cat", "/etc/group"]);
        directory.create.rootfs = Rootfs::Directory(directory.layer());
        assert_eq!(directory.run().code, Some(0));
    });
}
