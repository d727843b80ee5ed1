//! Machines that have little: no programs, no configuration, no cgroups.

use crate::home::{Home, Who};

/// A machine with the file, an image, the kernel's file systems and nothing else: the root directory is changed for one
/// with no more in it, not by chroot(2), in which the kernel gives no user namespaces to ordinary users.
#[test]
fn a_root_directory_with_nothing_else() {
    let seed = Home::new();
    let script = "mkdir $HOME_DIR/bare && mount -t tmpfs bare $HOME_DIR/bare && cd $HOME_DIR/bare && \
        mkdir -p proc sys dev old state0 state61234 && chown 61234:61234 state61234 && mount -t proc proc proc && \
        mount --rbind /sys sys && mount --rbind /dev dev && cp $HOME_DIR/monopod BUSYBOX . && chmod 755 . && \
        pivot_root . old && /old/bin/busybox umount -l /old";
    let archive = seed.busybox().replace("oci-archive:", "");
    let Some(mut home) = Home::bent(Who::Me, &script.replace("BUSYBOX", &archive)) else { return };
    home.emptied = true;
    for user in ["0", "61234"] {
        let run = |args: &[&str]| {
            let state = format!("/state{user}");
            let mut command = home.enter_as(user, "/monopod");
            command.args(["--root", &format!("{state}/root"), "--runroot", &format!("{state}/run")]).args(args);
            let output = command.env_clear().output().unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        };
        let (code, out, err) = run(&["run", "--rm", "oci-archive:/busybox.tar", "sh", "-c", "echo inside; exit 3"]);
        assert_eq!((code, out.as_str(), err.as_str()), (Some(3), "inside\n", ""), "{user}");
        let (code, id, err) = run(&["run", "-d", "oci-archive:/busybox.tar", "sleep", "100"]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{user}");
        assert_eq!(run(&["exec", id.trim(), "echo", "x"]).1, "x\n", "{user}");
        assert_eq!(run(&["rm", "-f", "-t", "0", id.trim()]).0, Some(0), "{user}");
    }
}

#[test]
fn no_configuration_of_the_host() {
    let script = "for f in /etc/passwd /etc/group /etc/resolv.conf /etc/hosts /etc/subuid /etc/subgid; do \
        [ -e $f ] && mount --bind /dev/null $f; done; true";
    let Some(home) = Home::bent(Who::Me, script) else { return };
    assert_eq!(home.sh(&["--network", "host"], "echo fine").quiet(), "fine");
    assert_eq!(home.sh(&["-u", "app"], "id -u").quiet(), "1000");
}

#[test]
fn no_path_and_no_environment() {
    let home = Home::new();
    let image = home.busybox();
    let mut command = home.command(&["run", "--rm", &image, "echo", "fine"]);
    let output = command.env_clear().output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "fine\n", "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn no_cgroup_mounted() {
    let Some(home) = Home::bent(Who::Me, "umount -R /sys/fs/cgroup 2>/dev/null || umount -R -l /sys/fs/cgroup || true")
    else {
        return;
    };
    assert_eq!(home.sh(&[], "echo fine").quiet(), "fine");
    home.sh(&["--memory", "64m"], "true").fails(125, &["memory", "cgroup"]);
    home.sh(&["--pids-limit", "64"], "true").fails(125, &["pids", "cgroup"]);
    home.load();
    home.run(&["run", "-d", "--name", "one", "busybox", "sh", "-c", "sleep 100 & sleep 100"]).quiet();
    home.run(&["stop", "-t", "0", "one"]).code(0);
    let info: serde_json::Value = serde_json::from_str(&home.run(&["info", "--format", "json"]).quiet()).unwrap();
    assert_eq!(info["host"]["cgroupControllers"].as_array().map(Vec::len), Some(0), "{info}");
}

#[test]
fn only_the_older_cgroups() {
    let Some(home) = Home::bent(Who::Me, "umount -l /sys/fs/cgroup/unified 2>/dev/null || true") else { return };
    assert_eq!(home.sh(&[], "echo fine").quiet(), "fine");
    home.load();
    home.run(&["run", "-d", "--name", "one", "busybox", "sleep", "100"]).quiet();
    assert_eq!(home.run(&["exec", "one", "echo", "x"]).quiet(), "x");
    home.run(&["rm", "-f", "-t", "0", "one"]).quiet();
}

#[test]
fn no_tun_no_fuse_no_services() {
    let script = "mount -t tmpfs none /run; [ -d /dev/net ] && mount -t tmpfs none /dev/net; \
        [ -e /dev/fuse ] && mount --bind /dev/null /dev/fuse; true";
    let Some(home) = Home::bent(Who::Me, script) else { return };
    assert_eq!(home.sh(&[], "echo fine").quiet(), "fine");
}

#[test]
fn a_long_path_to_everything() {
    // Longer than a socket's path may be, and than what the options of an overlay mount hold.
    let mut home = Home::new();
    let long = "a-directory-with-quite-a-long-name-as-homes-of-build-services-have/".repeat(4);
    let deep = home.directory.join(long);
    std::fs::create_dir_all(&deep).unwrap();
    home.directory = std::fs::canonicalize(&deep).unwrap();
    for part in ["root", "run"] {
        std::fs::create_dir(home.path(part)).unwrap();
    }
    home.load();
    home.run(&["run", "-d", "--name", "one", "-i", "busybox", "sh", "-c", "read x; echo got $x"]).quiet();
    let mut attached = home.start(&["attach", "one"]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    attached.write(b"it\n");
    assert_eq!(attached.wait().ok(), "got it");
}

#[test]
fn many_layers() {
    use crate::image::{self, Image, Layer};
    let home = Home::new();
    let mut image = Image::busybox("localhost/many");
    for n in 0..100 {
        image.layers.push(Layer::new().file(&format!("layer-{n}"), b"x", 0o644).done());
    }
    let file = home.write("image.tar", &image::archive(&image::oci(&[image])));
    let out =
        home.run(&["run", "--rm", &format!("oci-archive:{}", file.display()), "sh", "-c", "ls -d /layer-* | wc -l"]);
    assert_eq!(out.quiet(), "100");
}
