//! What broke out of other engines, tried on this one from outside: each test has the number of what happened to them. Those
//! that take a specification of their own stand beside the runtime (`src/runtime/tests/breakouts.rs`).

use crate::home::{Home, am_root};
use crate::image::{self, Image, Layer};
use std::path::Path;
use std::time::{Duration, Instant};

/// `oci-archive:FILE` of busybox with one more layer.
fn with_layer(home: &Home, layer: Vec<u8>) -> String {
    let image = Image::of("localhost/bad", vec![image::busybox_layer(), layer]);
    let file = home.write("bad.tar", &image::archive(&image::oci(&[image])));
    format!("oci-archive:{}", file.display())
}

/// A line of /proc/self/status.
fn line(status: &str, name: &str) -> String {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
}

/// The first process of `--init` is the engine's own file, and a container that may trace can open it.
#[test]
fn cve_2019_5736_the_small_inits_file_cannot_be_overwritten() {
    if !am_root() {
        return;
    }
    let home = Home::new();
    let script = "head -c 4 /proc/1/exe | tail -c 3; (: >/proc/1/exe) 2>&1; grep ^Seccomp: /proc/1/status";
    let out = home.sh(&["--init", "--cap-add", "SYS_PTRACE"], script).ok();
    assert!(out.starts_with("ELF") && out.contains("Read-only file system"), "{out}");
    assert!(out.ends_with("Seccomp:\t2"), "the small init is filtered as the program is: {out}");
    home.sh(&["--init"], "cat /proc/1/exe").code(1);
}

/// The engine's own file executed inside, as what a program calls itself: its file is open there, and still not to be written.
#[test]
fn cve_2019_5736_the_engine_executed_inside_cannot_be_overwritten() {
    if !am_root() {
        return;
    }
    let home = Home::new();
    home.load();
    home.run(&["run", "-d", "--name", "box", "busybox", "sleep", "100"]).quiet();
    // It waits for an archive on its standard input.
    let mut inside = home.start(&["exec", "-i", "box", "/proc/self/exe", "load"]);
    let script = "for p in /proc/[0-9]*; do case $(readlink $p/exe) in */busybox) ;; *) \
        [ $(head -c 4 $p/exe | tail -c 3) = ELF ] && (exec 3<$p/exe; : >$p/exe; : >/proc/self/fd/3) 2>&1; esac; done; echo looked";
    let mut out = String::new();
    home.until("the engine runs inside", || {
        out = home.run(&["exec", "box", "sh", "-c", script]).ok();
        out != "looked"
    });
    assert!(out.lines().all(|line| line == "looked" || line.contains("Read-only file system")), "{out}");
    inside.close();
    inside.wait();
    // Nor after it has ended, by a descriptor that was kept.
    home.run(&["exec", "box", "true"]).quiet();
}

/// The executed view of the file costs next to nothing: it is no copy.
#[test]
fn cve_2019_5736_by_a_view_and_not_a_copy() {
    if !am_root() {
        return;
    }
    let home = Home::new();
    home.load();
    home.run(&["run", "-d", "--init", "--name", "box", "busybox", "sleep", "100"]).quiet();
    let pid = home.inspect("box", "{{.State.Pid}}");
    let seen = std::fs::metadata(format!("/proc/{pid}/exe")).unwrap();
    let own = std::fs::metadata(home.path("monopod")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((seen.dev(), seen.ino()), (own.dev(), own.ino()));
}

/// A process that waits to be started has nothing of the host's directories open, and does not show itself
/// to those who share its pid namespace.
#[test]
fn cve_2024_21626_and_cve_2016_9962_a_parked_process_holds_nothing_of_the_host() {
    if !am_root() {
        return;
    }
    let home = Home::new();
    home.load();
    home.run(&["run", "-d", "--name", "other", "busybox", "sleep", "100"]).quiet();
    // With a filter it keeps one more capability than others for that long, and without it none.
    for flags in [&[][..], &["--security-opt", "seccomp=unconfined"]] {
        let words = [&["create", "--name", "parked", "--pid", "container:other"], flags, &["busybox", "true"]].concat();
        home.run(&words).quiet();
        home.run(&["init", "parked"]).quiet();
        let pid = home.inspect("parked", "{{.State.Pid}}");
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let open: Vec<_> =
            open.map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap().display().to_string()).collect();
        assert!(
            open.iter().all(|path| path.starts_with("pipe:") || path.starts_with("/memfd:") || path == "/dev/null"),
            "{open:?}"
        );
        let look = "for p in /proc/[0-9]*; do grep -q '^Name:.*monopod' $p/status && head -c 1 $p/exe $p/fd/* 2>&1; done; echo looked";
        let out = home.run(&["exec", "other", "sh", "-c", look]).ok();
        let denied = out.lines().filter(|line| line.ends_with("Permission denied")).count();
        assert!(denied > 3 && denied + 1 == out.lines().count(), "{flags:?}: {out}");
        home.run(&["rm", "-f", "parked"]).ok();
    }
}

/// What the caller has open, and where it stands, lead nowhere: not by a working directory either.
#[test]
fn cve_2024_21626_a_working_directory_behind_a_descriptor() {
    let home = Home::new();
    let image = with_layer(&home, Layer::new().file("only-inside", b"inside\n", 0o644).done());
    home.run(&["run", "-d", "--name", "box", &image, "sleep", "100"]).quiet();
    let check = "cat ../../../../../../../../only-inside 2>/dev/null || echo outside";
    for number in ["3", "7", "8", "9", "10", "12"] {
        let path = format!("/proc/self/fd/{number}");
        for words in [vec!["exec", "-w", &path, "box"], vec!["run", "--rm", "-w", &path, &image]] {
            let command = home.command(&[&words[..], &["sh", "-c", check]].concat());
            let line = "exec 9</ 8</proc 7</var 12</; exec \"$0\" \"$@\"";
            let mut shell = std::process::Command::new("bash");
            shell.args(["-c", line]).arg(command.get_program()).args(command.get_args());
            let output = shell.output().unwrap();
            let out = String::from_utf8_lossy(&output.stdout);
            let refused = !output.status.success() && out.is_empty();
            assert!(refused || out == "inside\n", "{words:?}: {output:?}");
        }
    }
}

/// Inheritable capabilities would be those of every program with file capabilities.
#[test]
fn cve_2022_27649_no_capability_is_inheritable() {
    let home = Home::new();
    home.load();
    home.run(&["run", "-d", "--name", "box", "--cap-add", "NET_ADMIN", "busybox", "sleep", "100"]).quiet();
    let read = ["cat", "/proc/self/status"];
    for words in [
        vec!["run", "--rm", "busybox"],
        vec!["run", "--rm", "--cap-add", "NET_ADMIN", "busybox"],
        vec!["run", "--rm", "--user", "app", "busybox"],
        vec!["exec", "box"],
        vec!["exec", "--user", "app", "box"],
    ] {
        let status = home.run(&[&words[..], &read[..]].concat()).ok();
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(line(&status, set), "0000000000000000", "{words:?}");
        }
    }
}

/// A user's own group is among the additional ones, so that what is denied to it stays denied when a program changes its group.
#[test]
fn cve_2022_2989_the_own_group_is_an_additional_one() {
    let home = Home::new();
    home.load();
    home.run(&["run", "-d", "--name", "box", "--user", "app", "busybox", "sleep", "100"]).quiet();
    let read = ["cat", "/proc/self/status"];
    for words in
        [vec!["run", "--rm", "--user", "app", "busybox"], vec!["exec", "box"], vec!["exec", "--user", "app", "box"]]
    {
        let status = home.run(&[&words[..], &read[..]].concat()).ok();
        let own = line(&status, "Gid").split_ascii_whitespace().next().unwrap().to_owned();
        let groups = line(&status, "Groups");
        assert!(
            own != "0" && groups.split_ascii_whitespace().any(|group| group == own),
            "{words:?}: {own} in {groups}"
        );
    }
}

#[test]
fn cve_2022_0811_annotations_and_labels_control_nothing() {
    use crate::image::{self, Image};
    let home = Home::new();
    let mut image = Image::busybox("localhost/labels");
    image.config["Labels"] = serde_json::json!({"run.oci.seccomp_bpf_data": "AAAA", "io.container.manager": "x"});
    let file = home.write("image.tar", &image::archive(&image::oci(&[image])));
    let reference = format!("oci-archive:{}", file.display());
    let out = home.run(&["run", "--rm", &reference, "grep", "^Seccomp:", "/proc/self/status"]).quiet();
    assert!(out.ends_with('2'), "{out}");
}

/// Values of parameters and annotations are one text each: nothing in them is another setting, and none reaches the host.
#[test]
fn cve_2022_0811_no_setting_within_a_setting() {
    let home = Home::new();
    home.load();
    let before = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    for setting in [
        "kernel.core_pattern=|/bin/sh",
        "kernel/core_pattern=|/bin/sh",
        "net.ipv4.ip_forward=1+kernel.core_pattern=|/bin/sh",
        "net/../kernel/core_pattern=|/bin/sh",
    ] {
        let output = home.run(&["run", "--rm", "--network", "none", "--sysctl", setting, "busybox", "true"]);
        assert!(output.code != 0 && output.err.starts_with("Error: "), "{setting:?}: {output:?}");
    }
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
    let status = ["grep", "^Seccomp:", "/proc/self/status"];
    let annotation = "run.oci.seccomp.receiver=/x";
    let words = ["run", "--rm", "--annotation", annotation, "--annotation", "run.oci.seccomp_bpf_data=AAAA", "busybox"];
    assert!(home.run(&[&words[..], &status[..]].concat()).ok().ends_with('2'));
}

/// Account files of the image that do not end, or wait, or are devices: one error, soon, and little memory.
#[test]
fn cve_2024_9676_account_files_without_end() {
    let name = |layer: Layer, name: &str, kind: tar::EntryType, link: &str| {
        layer.entry(name.as_bytes(), kind, link.as_bytes(), b"", 0o666, 0)
    };
    let home = Home::new();
    let layers = [
        name(Layer::new(), "etc/passwd", tar::EntryType::Fifo, ""),
        name(Layer::new(), "etc/passwd", tar::EntryType::Symlink, "/dev/zero"),
        name(Layer::new(), "etc/passwd", tar::EntryType::Symlink, "/proc/self/fd/0"),
        name(Layer::new(), "etc/group", tar::EntryType::Symlink, "/dev/zero"),
        name(Layer::new(), "etc/group", tar::EntryType::Fifo, ""),
        Layer::new().file("etc/passwd", &vec![0; 30 << 20], 0o644),
    ];
    for (number, layer) in layers.into_iter().enumerate() {
        let image = with_layer(&home, layer.done());
        let began = Instant::now();
        let command = home.command(&["run", "--rm", "-i", "-u", "app:other", &image, "true"]);
        // Gigabytes read would not fit.
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "ulimit -v 1500000; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
        let output = shell.stdin(std::process::Stdio::piped()).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && err.starts_with("Error: "), "{number}: {output:?}");
        assert!(err.contains("/etc/") || err.contains("unable to find"), "{number}: {err}");
        let why = [(0, "not a regular file"), (4, "not a regular file"), (5, "larger than 1 MiB")];
        let why = why.iter().find(|(of, _)| *of == number).map_or("", |(_, why)| why);
        assert!(err.contains(why), "{number}: {err}");
        assert!(began.elapsed() < Duration::from_secs(60), "{number}: it waits");
    }
}

/// Directories of the image that are links out of it: what the engine makes in them is made inside, or not at all.
#[test]
fn cve_2021_30465_and_cve_2026_41579_directories_that_are_links() {
    let home = Home::new();
    let outside = home.path("outside");
    for directory in ["", "pts", "ssh"] {
        std::fs::create_dir_all(outside.join(directory)).unwrap();
    }
    for file in ["hosts", "resolv.conf", "hostname", "ptmx", "passwd"] {
        std::fs::write(outside.join(file), "untouched").unwrap();
    }
    let listing = |path: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = listing(&outside);
    let up = format!("{}{}", "../".repeat(12), outside.strip_prefix("/").unwrap().display());
    for name in ["etc", "dev", "proc", "sys", "run", "srv", "tmp", "var"] {
        for target in [outside.to_str().unwrap(), &up] {
            let layer = Layer::new()
                .entry(format!(".wh.{name}").as_bytes(), tar::EntryType::Regular, b"", b"", 0o644, 0)
                .entry(name.as_bytes(), tar::EntryType::Symlink, target.as_bytes(), b"", 0o777, 0);
            let image = with_layer(&home, layer.done());
            let volume = home.path("volume");
            std::fs::create_dir_all(&volume).unwrap();
            let option = format!("{}:/srv/deep/volume", volume.display());
            let words =
                ["run", "--rm", "-v", &option, "--tmpfs", "/srv/tmpfs", "-w", "/srv/work", "--hostname", "x", &image];
            let output = home.run(&[&words[..], &["true"]].concat());
            assert!(output.code == 0 || output.err.starts_with("Error: "), "{name}: {output:?}");
            assert_eq!(listing(&outside), before, "{name} -> {target}");
            for file in ["hosts", "resolv.conf", "hostname", "ptmx", "passwd"] {
                assert_eq!(std::fs::read_to_string(outside.join(file)).unwrap(), "untouched", "{name} -> {target}");
            }
        }
    }
}

/// No program and no file of an image's procfs, sysfs or device directory decides where the runtime's writes go: of the paths
/// of a container nothing is opened by name before the root is changed, but beneath a descriptor of it.
#[test]
fn no_path_below_a_root_is_opened_but_beneath_it() {
    if !am_root() {
        return;
    }
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return eprintln!("SKIPPED: needs strace");
    }
    let home = Home::new();
    home.load();
    let volume = home.path("volume");
    std::fs::create_dir_all(&volume).unwrap();
    let option = format!("{}:/srv/deep/volume", volume.display());
    let trace = home.path("trace");
    let command = home.command(&[
        "run",
        "--rm",
        "-v",
        &option,
        "--tmpfs",
        "/scratch",
        "-w",
        "/tmp",
        "--device",
        "/dev/kmsg",
        "--user",
        "app",
        "busybox",
        "true",
    ]);
    let mut strace = std::process::Command::new("strace");
    strace
        .args(["-f", "-y", "-s", "4096", "-o"])
        .arg(&trace)
        .args(["-e", "trace=file,desc,pivot_root,mount,move_mount"]);
    let output = strace.arg(command.get_program()).args(command.get_args()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(&trace).unwrap();
    let pivoted = text.lines().find(|line| line.contains("pivot_root(")).expect("the root was changed");
    let pid = pivoted.split_ascii_whitespace().next().unwrap();
    let mut beneath = 0;
    for line in text.lines().take_while(|line| *line != pivoted).filter(|line| line.split(' ').next() == Some(pid)) {
        let call = line[pid.len()..].trim_start();
        if call.starts_with("openat2(") {
            assert!(call.contains("RESOLVE_IN_ROOT") || call.contains("RESOLVE_BENEATH"), "{line}");
            beneath += 1;
        }
        // By name, with the descriptor of a directory of the container: one step that follows no link. By name alone: the host's
        // own, before the container's are there.
        let by_name =
            ["openat(", "open(", "mknodat(", "mkdirat(", "symlinkat(", "unlinkat("].iter().any(|c| call.starts_with(c));
        if !by_name {
            continue;
        }
        let quoted = call.split('"').nth(if call.starts_with("symlinkat(") { 3 } else { 1 }).unwrap_or_default();
        if call.contains("(AT_FDCWD") || call.starts_with("open(") {
            let hosts = ["/proc/self/", "/dev/", "/sys/fs/cgroup", "/etc/ld", "/sys/kernel"];
            assert!(hosts.iter().any(|prefix| quoted.starts_with(prefix)), "by its name on the host: {line}");
        } else {
            assert!(
                !quoted.trim_end_matches('/').contains('/') || quoted.starts_with("/proc/self/fd"),
                "more than one step: {line}"
            );
        }
    }
    assert!(beneath > 10, "the trace shows nothing: {text}");
}
