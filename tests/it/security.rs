//! What confines a container, read from inside: capabilities, seccomp, masks, devices, mounts.

use crate::home::{Home, am_root};
use std::collections::BTreeMap;

/// The lines of /proc/self/status of a container run with `flags`.
#[track_caller]
fn status(home: &Home, flags: &[&str]) -> BTreeMap<String, String> {
    let text = home.sh(flags, "cat /proc/self/status").quiet();
    let pair = |line: &str| line.split_once(':').map(|(key, value)| (key.to_string(), value.trim().to_string()));
    text.lines().filter_map(pair).collect()
}

/// CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT
const DEFAULT: u64 = 0x8004_05fb;

fn set(status: &BTreeMap<String, String>, name: &str) -> u64 {
    u64::from_str_radix(&status[name], 16).unwrap()
}

#[test]
fn capabilities_are_podmans_eleven() {
    let home = Home::new();
    let plain = status(&home, &[]);
    for (name, value) in [("CapEff", DEFAULT), ("CapPrm", DEFAULT), ("CapBnd", DEFAULT), ("CapInh", 0), ("CapAmb", 0)] {
        assert_eq!(set(&plain, name), value, "{name}");
    }
    assert_eq!(set(&status(&home, &["--cap-drop", "ALL"]), "CapEff"), 0);
    assert_eq!(set(&status(&home, &["--cap-drop", "all", "--cap-add", "cap_chown"]), "CapEff"), 1);
    assert_eq!(set(&status(&home, &["--cap-drop", "CHOWN,KILL"]), "CapEff"), DEFAULT & !0x21);
    assert_eq!(set(&status(&home, &["--cap-add", "NET_ADMIN"]), "CapEff"), DEFAULT | 1 << 12);
    let user = status(&home, &["-u", "app"]);
    assert_eq!((set(&user, "CapEff"), set(&user, "CapBnd")), (0, DEFAULT));
    let user = status(&home, &["-u", "app", "--cap-add", "NET_RAW"]);
    assert_eq!((set(&user, "CapEff"), set(&user, "CapAmb")), (1 << 13, 1 << 13));
    home.sh(&["--cap-add", "MADE_UP"], "true").fails(125, &["MADE_UP"]);
}

#[test]
fn seccomp_is_on_and_filters() {
    let home = Home::new();
    assert_eq!(status(&home, &[])["Seccomp"], "2");
    assert_eq!(status(&home, &["--security-opt", "seccomp=unconfined"])["Seccomp"], "0");
    // reboot(2), asked for without the capability, is refused by the filter in the profile's way.
    let refused = "busybox reboot -f 2>&1 || true; adjtimex -o 5 2>&1; echo done";
    assert!(home.sh(&[], refused).ok().contains("not permitted"));
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}"#;
    let file = home.write("profile.json", profile.as_bytes());
    let option = format!("seccomp={}", file.display());
    let out = home.sh(&["--security-opt", &option], "mkdir /x 2>&1; touch /y && echo touched").ok();
    assert!(out.contains("not supported") && out.contains("touched"), "{out}");
    home.sh(&["--security-opt", "seccomp=/no/such/profile"], "true").fails(125, &["/no/such/profile"]);
}

#[test]
fn no_new_privileges_when_asked() {
    let home = Home::new();
    assert_eq!(status(&home, &[])["NoNewPrivs"], "0");
    assert_eq!(status(&home, &["--security-opt", "no-new-privileges"])["NoNewPrivs"], "1");
    assert_eq!(status(&home, &["--security-opt=no-new-privileges:true"])["NoNewPrivs"], "1");
    home.sh(&["--security-opt", "made-up=1"], "true").fails(125, &["made-up"]);
}

#[test]
fn paths_of_the_kernel_are_masked() {
    let home = Home::new();
    let script = "for f in /proc/kcore /proc/keys /proc/timer_list /proc/latency_stats; do \
        [ -e $f ] && [ \"$(head -c1 $f | wc -c)\" != 0 ] && echo $f readable; done; \
        for d in /proc/acpi /proc/scsi /sys/firmware; do [ -d $d ] && [ -n \"$(ls -A $d)\" ] && echo $d full; done; \
        for f in /proc/sys/kernel/hostname /proc/sysrq-trigger; do (echo x >$f) 2>/dev/null && echo $f writable; done; \
        touch /sys/x 2>/dev/null && echo /sys writable; echo done";
    assert_eq!(home.sh(&[], script).quiet(), "done");
    let mounts = home.sh(&[], "cat /proc/mounts").quiet();
    for (place, options) in [
        ("/proc", "nosuid,nodev,noexec"),
        ("/sys", "ro,nosuid,nodev,noexec"),
        ("/dev/shm", "nosuid,nodev,noexec"),
        ("/dev/mqueue", "nosuid,nodev,noexec"),
    ] {
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(place));
        let line = line.unwrap_or_else(|| panic!("no {place} in {mounts}"));
        for option in options.split(',') {
            assert!(line.contains(option), "{place}: no {option} in {line}");
        }
    }
}

#[test]
fn devices_are_the_default_ones() {
    let home = Home::new();
    let list = home.sh(&[], "ls /dev; echo x >/dev/null; head -c 4 /dev/zero | wc -c; ls -l /dev/ptmx /dev/fd").quiet();
    for name in ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "stdin", "fd"] {
        assert!(list.lines().any(|line| line == name), "no {name} in {list}");
    }
    assert!(!list.contains("vda") && !list.contains("kmsg"), "{list}");
    if am_root() {
        // Nodes can be made (MKNOD given), and still not be opened, where the host has a device controller.
        let out = home.sh(&["--cap-add", "MKNOD"], "(mknod /k c 1 11 && head -c1 /k) 2>&1; echo done").ok();
        assert!(out.contains("not permitted"), "{out}");
        assert!(home.sh(&["--device", "/dev/kmsg"], "ls /dev/kmsg").quiet().contains("kmsg"));
    }
}

#[test]
fn privileged_lifts_it_all() {
    let home = Home::new();
    let all = status(&home, &["--privileged"]);
    assert_eq!(all["Seccomp"], "0");
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let bound = own.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim();
    assert_eq!(all["CapEff"], bound);
    let out = home
        .sh(
            &["--privileged"],
            "mount -t tmpfs none /mnt 2>&1 || mkdir /mnt && mount -t tmpfs none /mnt && echo mounted",
        )
        .ok();
    assert!(out.contains("mounted"), "{out}");
    let mounts = home.sh(&["--privileged"], "grep ' /sys ' /proc/mounts").quiet();
    assert!(!mounts.contains("ro,"), "{mounts}");
}

#[test]
fn namespaces_are_private_unless_asked() {
    let home = Home::new();
    let inside = home.sh(&[], "cd /proc/self/ns; for n in ipc mnt net pid uts cgroup; do readlink $n; done").quiet();
    for line in inside.lines() {
        let name = line.split(':').next().unwrap();
        let outside = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        if name != "cgroup" {
            assert_ne!(line, outside.to_str().unwrap());
        }
    }
    let pid = std::fs::read_link("/proc/self/ns/pid").unwrap();
    assert_eq!(home.sh(&["--pid", "host"], "readlink /proc/self/ns/pid").quiet(), pid.to_str().unwrap());
    assert_eq!(home.sh(&[], "echo $$").quiet(), "1");
    assert_eq!(home.sh(&[], "umask").quiet(), "0022");
}

#[test]
fn nothing_of_the_caller_leaks_in() {
    let home = Home::new().variable("SECRET_OF_CALLER", "x");
    let out = home.sh(&[], "ls /proc/self/fd; env").quiet();
    let descriptors: Vec<_> = out.lines().take_while(|line| line.parse::<u32>().is_ok()).collect();
    // 3 is the directory that ls reads.
    assert_eq!(descriptors, ["0", "1", "2", "3"], "{out}");
    assert!(!out.contains("SECRET_OF_CALLER"), "{out}");
}

/// Somebody may wait for the end of a pipe that a script's descriptor 9 is: a container that goes on must not hold it open.
#[test]
fn descriptors_of_the_caller_end_with_the_command() {
    let home = Home::new();
    home.load();
    let mut command = home.command(&["run", "-d", "busybox", "sleep", "100"]);
    let (mut ours, theirs) = std::io::pipe().unwrap();
    let line = "exec 9>&1 >/dev/null; exec \"$0\" \"$@\"";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", line]).arg(command.get_program()).args(command.get_args()).stdout(theirs);
    assert!(shell.status().unwrap().success());
    drop((shell, command.stdin(std::process::Stdio::null())));
    let reader = std::thread::spawn(move || std::io::Read::read(&mut ours, &mut [0; 8]).unwrap());
    home.until("the pipe is at its end", || reader.is_finished());
    assert_eq!(reader.join().unwrap(), 0);
}

/// A caller's strict umask is not the container's: what it is shown can be read by all its users.
#[test]
fn a_strict_umask_does_not_reach_the_container() {
    let home = Home::new();
    let image = home.busybox();
    let mut shell = std::process::Command::new("sh");
    let command = home.command(&["run", "--rm", "-u", "app", &image, "cat", "/etc/hosts"]);
    shell.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    let output = shell.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("localhost"), "{output:?}");
}
