//! What broke out of others, tried here: each test has the number of what happened to them, and fails without what keeps it
//! from happening here.

use crate::support::Box;
use rustix::fs::{CWD, RenameFlags};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::json;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use sys::clone::{Clone, Side, clone, exit_now};

pub const TESTS: &[(&str, fn())] = &[
    ("cve_2024_21626_no_descriptor_leaks", cve_2024_21626_no_descriptor_leaks),
    ("cve_2024_21626_a_working_directory_behind_a_descriptor", cve_2024_21626_a_working_directory_behind_a_descriptor),
    ("cve_2019_19921_and_cve_2023_27561_a_procfs_elsewhere", cve_2019_19921_and_cve_2023_27561_a_procfs_elsewhere),
    ("cve_2021_30465_a_destination_swapped_while_mounting", cve_2021_30465_a_destination_swapped_while_mounting),
    ("cve_2024_45310_no_empty_files_on_the_host", cve_2024_45310_no_empty_files_on_the_host),
    ("cve_2025_31133_masks_are_of_the_hosts_null", cve_2025_31133_masks_are_of_the_hosts_null),
    ("cve_2025_31133_a_null_device_that_is_none", cve_2025_31133_a_null_device_that_is_none),
    ("cve_2025_52565_a_console_that_is_a_link", cve_2025_52565_a_console_that_is_a_link),
    ("cve_2025_52565_a_devpts_that_is_none_in_exec", cve_2025_52565_a_devpts_that_is_none_in_exec),
    ("cve_2025_52881_a_parameter_redirected", cve_2025_52881_a_parameter_redirected),
    ("cve_2026_41579_a_dev_that_is_a_link", cve_2026_41579_a_dev_that_is_a_link),
    ("cve_2026_55686_a_working_directory_made_behind_a_link", cve_2026_55686_a_working_directory_made_behind_a_link),
    ("cve_2022_0811_parameters_of_own_namespaces_only", cve_2022_0811_parameters_of_own_namespaces_only),
    ("cve_2024_9676_account_files_without_end", cve_2024_9676_account_files_without_end),
    ("none_of_it_where_openat2_is_refused", none_of_it_where_openat2_is_refused),
];

/// The walk that stands in for openat2(2) leads nowhere else.
fn none_of_it_where_openat2_is_refused() {
    for test in [
        cve_2019_19921_and_cve_2023_27561_a_procfs_elsewhere,
        cve_2021_30465_a_destination_swapped_while_mounting,
        cve_2024_45310_no_empty_files_on_the_host,
        cve_2025_31133_masks_are_of_the_hosts_null,
        cve_2025_52565_a_console_that_is_a_link,
        cve_2025_52881_a_parameter_redirected,
        cve_2026_41579_a_dev_that_is_a_link,
        cve_2026_55686_a_working_directory_made_behind_a_link,
        cve_2024_9676_account_files_without_end,
    ] {
        crate::hosts::without_openat2(test);
    }
}

/// Swaps two names over and over, in a process of its own, until it is dropped.
struct Swapper(Pid);

impl Swapper {
    fn start(one: &Path, other: &Path) -> Swapper {
        match clone(Clone::default()).unwrap() {
            Side::Child => loop {
                if rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_err() {
                    exit_now(1);
                }
            },
            Side::Parent(pid) => Swapper(Pid::from_raw(pid).unwrap()),
        }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
        let status = waitpid(Some(self.0), WaitOptions::empty()).unwrap().unwrap().1;
        // It swapped to the end.
        assert_eq!(status.terminating_signal(), Some(9));
    }
}

fn cve_2024_21626_no_descriptor_leaks() {
    // Descriptors of ours that are inherited by programs, one of them of the host's root.
    let host = fs::File::open("/").unwrap();
    let copies: Vec<_> = (0..5).map(|_| rustix::io::fcntl_dupfd_cloexec(host.as_fd(), 40).unwrap()).collect();
    for fd in &copies {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).unwrap();
    }
    let container = Box::script(
        "ls /proc/self/fd; for f in /proc/self/fd/*; do readlink $f; done | grep -c ^/$; readlink /proc/self/cwd",
    );
    let outcome = container.run();
    // The script's own: 0, 1, 2 and the directory that ls reads.
    assert_eq!(outcome.out, "0\n1\n2\n3\n0\n/\n", "{outcome:?}");
}

/// What is open at that moment, the runtime's own or what it was called with, leads nowhere but into the container.
fn cve_2024_21626_a_working_directory_behind_a_descriptor() {
    let host = fs::File::open("/").unwrap();
    let leaked = rustix::io::fcntl_dupfd_cloexec(host.as_fd(), 40).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    for number in (0..24).chain([40]) {
        for path in [format!("/proc/self/fd/{number}"), format!("/proc/self/fd/{number}/../../..")] {
            let mut container =
                Box::script("cat ../../../../../../only-inside; ls -d ../../../../../../work 2>&1; true");
            fs::write(container.layer().join("only-inside"), "inside\n").unwrap();
            container.edit(|spec| spec["process"]["cwd"] = json!(path));
            let outcome = container.run();
            if outcome.code == Some(0) {
                assert!(outcome.out.starts_with("inside\n"), "{path}: {outcome:?}");
            } else {
                outcome.failure();
            }
        }
    }
}

fn cve_2019_19921_and_cve_2023_27561_a_procfs_elsewhere() {
    for name in ["proc", "sys", "dev"] {
        let container = Box::new(&["true"]);
        fs::remove_dir(container.layer().join(name)).unwrap();
        symlink("/tmp", container.layer().join(name)).unwrap();
        let (code, message) = container.run().failure();
        assert_eq!(code, 125);
        assert!(message.contains("link"), "{message}");
    }
    // The link that comes with a volume, which another container may change meanwhile.
    let mut container = Box::new(&["true"]);
    let volume = container.scratch.0.join("volume");
    fs::create_dir_all(volume.join("proc/self/attr")).unwrap();
    fs::remove_dir(container.layer().join("proc")).unwrap();
    symlink("/evil/proc", container.layer().join("proc")).unwrap();
    container.edit(|spec| {
        let volume = json!({"destination": "/evil", "type": "bind", "source": volume, "options": ["rbind"]});
        spec["mounts"].as_array_mut().unwrap().insert(0, volume);
    });
    assert!(container.run().failure().1.contains("link"));
    assert_eq!(fs::read_dir(volume.join("proc/self/attr")).unwrap().count(), 0);
}

/// Two containers share a volume, in which one swaps a directory and a link while the other is being made.
fn cve_2021_30465_a_destination_swapped_while_mounting() {
    let mut container = Box::script("grep -c '/source /' /proc/self/mountinfo; true");
    let outside = container.scratch.0.join("outside");
    let volume = container.scratch.0.join("volume");
    for directory in [&outside.join("b"), &volume.join("a/b")] {
        fs::create_dir_all(directory).unwrap();
    }
    symlink(&outside, volume.join("link")).unwrap();
    let source = container.scratch.0.join("source");
    fs::create_dir(&source).unwrap();
    container.mount(json!({"destination": "/volume", "type": "bind", "source": volume, "options": ["rbind"]}));
    container
        .mount(json!({"destination": "/volume/a/b", "type": "bind", "source": source, "options": ["rbind", "ro"]}));
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let swapper = Swapper::start(&volume.join("a"), &volume.join("link"));
    let mut made = 0;
    for _ in 0..60 {
        let outcome = container.run();
        match outcome.code {
            // In the volume, or below the link's target as the container sees it. Never on the host, whose root it left.
            Some(0) => {
                assert_eq!(outcome.out, "1\n", "it is mounted, but not in the container");
                made += 1;
            }
            _ => drop(outcome.failure()),
        }
        assert_eq!(fs::read_dir(outside.join("b")).unwrap().count(), 0);
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    }
    drop(swapper);
    assert!(made > 0, "not one was made");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "nothing was made on the host");
}

/// The same for what is made as a place to mount on: empty files and directories.
fn cve_2024_45310_no_empty_files_on_the_host() {
    let mut container = Box::new(&["true"]);
    let outside = container.scratch.0.join("outside");
    let volume = container.scratch.0.join("volume");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(volume.join("a")).unwrap();
    symlink(&outside, volume.join("link")).unwrap();
    let source = container.scratch.0.join("file");
    fs::write(&source, "").unwrap();
    container.mount(json!({"destination": "/volume", "type": "bind", "source": volume, "options": ["rbind"]}));
    container.mount(json!({"destination": "/volume/a/file", "type": "bind", "source": source, "options": ["bind"]}));
    container.mount(json!({"destination": "/volume/a/deep/directory", "type": "tmpfs", "source": "tmpfs"}));
    let swapper = Swapper::start(&volume.join("a"), &volume.join("link"));
    for _ in 0..60 {
        let outcome = container.run();
        if outcome.code != Some(0) {
            outcome.failure();
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was made on the host");
        // Made anew each time.
        for name in ["a", "link"] {
            let _ = fs::remove_dir_all(volume.join(name).join("deep"));
            let _ = fs::remove_file(volume.join(name).join("file"));
        }
    }
    drop(swapper);
}

/// Whoever controls `/dev` has no part in masks: they are the host's null device.
fn cve_2025_31133_masks_are_of_the_hosts_null() {
    let mut container = Box::script(
        "stat -c %t:%T /proc/keys /proc/timer_list; cat /proc/keys /proc/timer_list | wc -c; readlink /dev/null",
    );
    let dev = container.scratch.0.join("dev");
    for directory in ["pts", "shm", "mqueue"] {
        fs::create_dir_all(dev.join(directory)).unwrap();
    }
    symlink("/proc/sys/kernel/core_pattern", dev.join("null")).unwrap();
    container.edit(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        let at = mounts.iter().position(|mount| mount["destination"] == "/dev").unwrap();
        mounts[at] = json!({"destination": "/dev", "type": "bind", "source": dev, "options": ["rbind"]});
    });
    container.prints("1:3\n1:3\n0\n/proc/sys/kernel/core_pattern");
    // The image's.
    let container = Box::script("stat -c %t:%T /proc/keys /dev/null; cat /proc/keys | wc -c");
    symlink("/proc/sys/kernel/core_pattern", container.layer().join("dev/null")).unwrap();
    container.prints("1:3\n1:3\n0");
}

/// And it is looked at whether that is one.
fn cve_2025_31133_a_null_device_that_is_none() {
    crate::hosts::apart(|| {
        // In a mount namespace of its own: the machine keeps its null device.
        sys::namespaces::unshare(sys::clone::NEW_MOUNT).unwrap();
        sys::mount::propagate_root(1 << 18 | 1 << 14).unwrap();
        sys::mount::classic(c"/dev/zero", c"/dev/null", c"", 1 << 12, c"").unwrap();
        let (code, message) = Box::new(&["true"]).run().failure();
        assert!(code == 125 && message.contains("null device"), "{message}");
    });
}

/// The terminal is bound from its descriptor, to where `/dev/console` is inside: links decide over neither.
fn cve_2025_52565_a_console_that_is_a_link() {
    let mut container = Box::script("stat -c %t /console; (echo 5 >/proc/sys/kernel/shmmni) 2>&1; tty; true");
    container.edit(|spec| {
        spec["process"]["terminal"] = json!(true);
        // The image's own /dev, in which it can put what it wants.
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !matches!(mount["destination"].as_str(), Some("/dev" | "/dev/shm" | "/dev/mqueue")));
    });
    let dev = container.layer().join("dev");
    fs::create_dir(dev.join("pts")).unwrap();
    fs::write(container.layer().join("console"), "").unwrap();
    symlink("/console", dev.join("console")).unwrap();
    // What would be bound, were the terminal looked for by its name in the image.
    symlink("/proc/sys/kernel/shmmni", dev.join("pts/0")).unwrap();
    let (mut running, master) = container.launch_on_terminal();
    running.start();
    let text = crate::processes::read_master(master);
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{text} {outcome:?}");
    // 88 (hexadecimal): the other sides of terminals.
    assert!(text.starts_with("88\r\n"), "{text}");
    assert!(text.contains("Read-only file system") && text.ends_with("/dev/pts/0\r\n"), "{text}");
}

fn cve_2025_52565_a_devpts_that_is_none_in_exec() {
    let mut container = Box::script("umount /dev/pts; touch /dev/pts/ptmx; sleep 60");
    container.edit(|spec| {
        for set in ["bounding", "effective", "permitted"] {
            spec["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
        }
    });
    let mut running = container.launch();
    running.start();
    std::thread::sleep(std::time::Duration::from_millis(150));
    let exec = running.exec_of(&["true"], |exec| {
        exec.process.set_terminal(Some(true));
    });
    let (ours, theirs) = sys::channel::pair().unwrap();
    let mut process = crate::support::launch(|channels| runtime::exec(&exec, channels), Some(theirs));
    drop(ours);
    process.start();
    assert!(process.wait().failure().1.contains("devpts"));
    running.kill();
    running.wait();
}

/// A write to procfs goes to the file that is meant, whatever is mounted over it.
fn cve_2025_52881_a_parameter_redirected() {
    let mut container = Box::new(&["cat", "/proc/sys/net/ipv4/ip_forward"]);
    let volume = container.scratch.0.join("volume");
    fs::create_dir_all(&volume).unwrap();
    let decoy = container.scratch.0.join("decoy");
    fs::write(&decoy, "untouched").unwrap();
    container.edit(|spec| spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"}));
    container.prints("1");
    // A directory of another file system, with a link and with a file; and a file bound over the parameter.
    container
        .mount(json!({"destination": "/proc/sys/net/ipv4", "type": "bind", "source": volume, "options": ["rbind"]}));
    symlink("/proc/sys/kernel/shmmni", volume.join("ip_forward")).unwrap();
    assert!(container.run().failure().1.contains("net.ipv4.ip_forward"));
    fs::remove_file(volume.join("ip_forward")).unwrap();
    fs::write(volume.join("ip_forward"), "untouched").unwrap();
    assert!(container.run().failure().1.contains("net.ipv4.ip_forward"));
    let mut file = Box::new(&["true"]);
    file.edit(|spec| spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"}));
    file.mount(
        json!({"destination": "/proc/sys/net/ipv4/ip_forward", "type": "bind", "source": decoy, "options": ["bind"]}),
    );
    assert!(file.run().failure().1.contains("net.ipv4.ip_forward"));
    assert_eq!(fs::read_to_string(&decoy).unwrap(), "untouched");
    assert_eq!(fs::read_to_string(volume.join("ip_forward")).unwrap(), "untouched");
}

/// An image whose `/dev` is a link out of it: neither nodes nor links are made there, nor is a file called `ptmx` removed.
fn cve_2026_41579_a_dev_that_is_a_link() {
    for (target, mounted) in [("absolute", true), ("absolute", false), ("up", false)] {
        let mut container = Box::new(&["true"]);
        let outside = container.scratch.0.join("outside");
        fs::create_dir_all(outside.join("pts")).unwrap();
        fs::write(outside.join("ptmx"), "mine").unwrap();
        fs::remove_dir(container.layer().join("dev")).unwrap();
        let up = Path::new("../../../../../../../../..").join(outside.strip_prefix("/").unwrap());
        symlink(if target == "up" { up } else { outside.clone() }, container.layer().join("dev")).unwrap();
        if !mounted {
            // Without a mount over it, the image's own is filled.
            container.edit(|spec| {
                let mounts = spec["mounts"].as_array_mut().unwrap();
                mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
            });
        }
        let outcome = container.run();
        if outcome.code != Some(0) {
            outcome.failure();
        }
        assert_eq!(fs::read_to_string(outside.join("ptmx")).unwrap(), "mine");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 2, "something was made on the host: {target} {mounted}");
    }
}

/// A working directory that is made, below a link that leads out.
fn cve_2026_55686_a_working_directory_made_behind_a_link() {
    let mut container = Box::new(&["pwd"]);
    let outside = container.scratch.0.join("outside");
    fs::create_dir_all(&outside).unwrap();
    symlink(&outside, container.layer().join("link")).unwrap();
    container.create.create_cwd = true;
    container.edit(|spec| spec["process"]["cwd"] = json!("/link/made"));
    let outcome = container.run();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "it was made on the host");
}

fn cve_2022_0811_parameters_of_own_namespaces_only() {
    let mut container = Box::new(&["cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shmmni"]);
    container.edit(|spec| spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "77"}));
    container.prints("1\n77");
    for name in ["kernel.core_pattern", "vm.swappiness", "fs.file-max"] {
        container.edit(|spec| spec["linux"]["sysctl"] = json!({name: "1"}));
        assert!(container.run().failure().1.contains("no namespace"), "{name}");
    }
    container.edit(|spec| {
        spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
        spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "pid"}, {"type": "uts"}]);
        spec["mounts"] = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
    });
    assert!(container.run().failure().1.contains("no namespace"), "the host's network is not the container's");
    // What CRI-O handed on as several settings is one value, which the kernel refuses.
    let mut injected = Box::new(&["true"]);
    injected.edit(|spec| spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1+kernel.core_pattern=|/bin/sh"}));
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    assert!(injected.run().failure().1.contains("net.ipv4.ip_forward"));
    for name in [
        "net.ipv4.ip_forward=1\nkernel.core_pattern",
        "net/../kernel/core_pattern",
        "net.ipv4/../../kernel.core_pattern",
    ] {
        injected.edit(|spec| spec["linux"]["sysctl"] = json!({name: "|/bin/sh"}));
        injected.run().failure();
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
}

fn cve_2024_9676_account_files_without_end() {
    let mut container = Box::new(&["true"]);
    container.create.user = Some("bob".into());
    let passwd = container.layer().join("etc/passwd");
    fs::remove_file(&passwd).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &passwd,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    assert!(container.run().failure().1.contains("not a regular file"));
    fs::remove_file(&passwd).unwrap();
    fs::File::create(&passwd).unwrap().set_len(1 << 40).unwrap();
    assert!(container.run().failure().1.contains("larger than 1 MiB"));
    fs::remove_file(&passwd).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &passwd).unwrap();
    assert!(container.run().failure().1.contains("not a regular file"));
}
