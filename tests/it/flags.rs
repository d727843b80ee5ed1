//! Flags of `run`: each one is seen to act inside the container, and what is not built yet is refused by name.

use crate::home::Home;
use crate::image::{self, Image};
use serde_json::json;

#[test]
fn what_was_meant_is_guessed() {
    let home = Home::new();
    for (words, meant) in [
        (&["rnu"][..], "\trun\n"),
        (&["volme", "ls"], "\tvolume\n"),
        (&["volume", "lss"], "\tls\n"),
        (&["image", "trsut"], "\ttrust\n"),
        (&["ps", "--al"], "did you mean --all?"),
    ] {
        let said = home.run(words).code(125).err;
        assert!(said.contains(meant), "{words:?}: {said}");
    }
    home.load();
    home.run(&["create", "--name", "one", "busybox"]).quiet();
    // A shell asks with the line as it is typed, the program's own flags and all; nothing else says where the root is.
    let mut asked = std::process::Command::new(crate::home::built());
    asked.args(["__completeNoDesc", "--root"]).arg(home.path("root")).arg("--runroot").arg(home.path("run"));
    asked.args(["start", "o"]);
    let told = asked.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&told.stdout), "one\n:4\n");
}

#[test]
fn environment_directory_user_entrypoint_hostname() {
    let home = Home::new().variable("TAKEN", "from the caller");
    let out = home.sh(&["-e", "A=1", "-e", "TAKEN", "--env", "FROM_IMAGE=no"], "echo $A-$TAKEN-$FROM_IMAGE").quiet();
    assert_eq!(out, "1-from the caller-no");
    let file = home.write("env", b"# comment\nX=from file\n\nY=a=b\n");
    let out = home.sh(&["--env-file", file.to_str().unwrap()], "echo $X-$Y").quiet();
    assert_eq!(out, "from file-a=b");
    assert_eq!(home.sh(&["-w", "/home/app"], "pwd").quiet(), "/home/app");
    home.sh(&["-w", "/not/there"], "pwd").fails(126, &["/not/there", "does not exist"]);
    assert_eq!(home.sh(&["-u", "app"], "id -u; id -g; echo $HOME").quiet(), "1000\n1001\n/home/app");
    assert!(home.sh(&["-u", "app"], "id -G").quiet().contains("1002"));
    assert_eq!(home.sh(&["-u", "7:8"], "id -u; id -g").quiet(), "7\n8");
    home.sh(&["-u", "nobody-here"], "id").fails(126, &["nobody-here"]);
    assert_eq!(home.sh(&["--hostname", "some-host"], "hostname; grep -c some-host /etc/hosts").quiet(), "some-host\n1");
    let image = home.busybox();
    assert_eq!(home.run(&["run", "--rm", "--entrypoint", "echo", &image, "a", "b"]).quiet(), "a b");
    assert_eq!(home.run(&["run", "--rm", "--entrypoint", r#"["echo","x"]"#, &image, "y"]).quiet(), "x y");
}

#[test]
fn the_image_decides_what_no_flag_decides() {
    let home = Home::new();
    let mut image = Image::busybox("localhost/decides");
    image.config = json!({
        "Env": ["PATH=/bin", "A=of image", "NOT-A-PAIR"], "Entrypoint": ["sh", "-c"], "Cmd": ["echo $A; pwd; id -u"],
        "WorkingDir": "/made/by/image", "User": "app",
    });
    let file = home.write("image.tar", &image::archive(&image::oci(&[image])));
    let reference = format!("oci-archive:{}", file.display());
    assert_eq!(home.run(&["run", "--rm", &reference]).quiet(), "of image\n/made/by/image\n1000");
    assert_eq!(home.run(&["run", "--rm", &reference, "echo other"]).quiet(), "other");
    assert_eq!(home.run(&["run", "--rm", "--entrypoint", "id", &reference]).quiet().lines().count(), 1);
}

#[test]
fn read_only_roots_and_tmpfs() {
    let home = Home::new();
    home.sh(&["--read-only"], "touch /x").code(1);
    assert_eq!(home.sh(&["--read-only"], "touch /tmp/x /run/x && echo fine").quiet(), "fine");
    home.sh(&["--read-only", "--read-only-tmpfs=false"], "touch /tmp/x").code(1);
    let out =
        home.sh(&["--tmpfs", "/scratch:size=1m,mode=1770"], "stat -c %a /scratch; df -k /scratch | tail -1").quiet();
    assert!(out.starts_with("1770\n") && out.contains(" 1024 "), "{out}");
    let out = home.sh(&["--tmpfs", "/scratch"], "grep ' /scratch ' /proc/mounts").quiet();
    for option in ["tmpfs", "nosuid", "nodev"] {
        assert!(out.contains(option), "{out}");
    }
    // Where the image has no such directory, everybody may use the new one.
    assert_eq!(home.sh(&["--tmpfs", "/new", "-u", "1000"], "touch /new/x && stat -c %a /new").quiet(), "1777");
    // What is given to a container is not written to either.
    let files = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv"];
    for file in files {
        home.sh(&["--read-only"], &format!("echo x >>{file}")).code(1);
        home.sh(&[], &format!("echo x >>{file}")).code(0);
    }
}

#[test]
fn what_the_image_lacks_is_made_for_its_user_and_what_was_meant_is_said() {
    let home = Home::new();
    let mut image = Image::of("localhost/user", vec![image::busybox_layer()]);
    image.config["User"] = "1000:1001".into();
    image.config["WorkingDir"] = "/new/work".into();
    let file = home.write("user.tar", &image::archive(&image::oci(&[image])));
    let source = format!("oci-archive:{}", file.display());
    for root in [&[][..], &["--read-only"]] {
        let args: Vec<&str> = ["run", "--rm", "--network", "none"].iter().chain(root).copied().collect();
        let out = home.run(&[&args[..], &[&source, "stat", "-c", "%u:%g", ".", ".."]].concat()).quiet();
        assert_eq!(out, "1000:1001\n0:0", "{root:?}");
    }
    let path = file.display().to_string();
    home.run(&["run", "--rm", "--network", "none", &path]).fails(125, &["oci-archive:"]);
    let wrong = format!("docker-archive:{path}");
    home.run(&["run", "--rm", "--network", "none", &wrong]).fails(125, &["oci-archive:"]);
}

#[test]
fn volumes_are_seen_inside_and_outside() {
    let home = Home::new();
    let directory = home.path("volume");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("from-outside"), b"hello\n").unwrap();
    let volume = format!("{}:/volume", directory.display());
    let out = home.sh(&["-v", &volume], "cat /volume/from-outside; echo inside >/volume/from-inside").quiet();
    assert_eq!(out, "hello");
    assert_eq!(std::fs::read_to_string(directory.join("from-inside")).unwrap(), "inside\n");
    home.sh(&["-v", &format!("{volume}:ro")], "touch /volume/x").code(1);
    let one = format!("{}:/etc/one-file:ro", directory.join("from-outside").display());
    assert_eq!(home.sh(&["-v", &one], "cat /etc/one-file").quiet(), "hello");
    let mount = format!("type=bind,source={},destination=/m,ro", directory.display());
    assert_eq!(home.sh(&["--mount", &mount], "cat /m/from-outside; touch /m/x || echo refused").ok(), "hello\nrefused");
    let from_here = format!(".{volume}:ro");
    assert_eq!(home.sh(&["-v", &from_here], "cat /volume/from-outside").quiet(), "hello");
    home.sh(&["-v", "./not/there:/x"], "true").fails(125, &["./not/there"]);
    home.sh(&["-v", "/not/there/at/all:/x"], "true").fails(125, &["/not/there/at/all"]);
}

#[test]
fn a_volume_does_not_follow_links_of_the_image_out_of_the_root() {
    let home = Home::new();
    let target = home.path("outside");
    std::fs::create_dir(&target).unwrap();
    let layer = image::Layer::new().symlink("way-out", target.to_str().unwrap()).symlink("up", "../../../../..").done();
    let mut image = Image::of("localhost/links", vec![image::busybox_layer(), layer]);
    image.config["WorkingDir"] = "/way-out/work".into();
    let file = home.write("image.tar", &image::archive(&image::oci(&[image])));
    let source = home.path("source");
    std::fs::create_dir(&source).unwrap();
    let reference = format!("oci-archive:{}", file.display());
    for destination in ["/way-out/deep/er", "/up/var/lib/deep"] {
        let volume = format!("{}:{destination}", source.display());
        home.run(&["run", "--rm", "-v", &volume, &reference, "touch", &format!("{destination}/x")]).ok();
    }
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0, "the volume's mount point was made outside of the root");
    assert!(source.join("x").exists());
}

#[test]
fn networks_none_and_host() {
    let home = Home::new();
    assert_eq!(
        home.sh(&["--network", "none"], "ls /sys/class/net; ip -o -4 addr show lo").quiet().lines().next(),
        Some("lo")
    );
    assert!(home.sh(&["--network", "none"], "ip addr show lo").quiet().contains("127.0.0.1"));
    let outside = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let inside = home.sh(&["--network", "host"], "readlink /proc/self/ns/net").quiet();
    assert_eq!(inside, outside.to_str().unwrap());
    assert_ne!(home.sh(&["--network=none"], "readlink /proc/self/ns/net").quiet(), outside.to_str().unwrap());
    home.sh(&["--network", "no-such-net"], "true").fails(125, &["no-such-net"]);
}

#[test]
fn labels_names_and_id_files() {
    let home = Home::new();
    home.load();
    let id_file = home.path("id");
    let id = home
        .run(&["create", "--name", "one", "-l", "a=b", "--cidfile", id_file.to_str().unwrap(), "busybox", "true"])
        .quiet();
    assert_eq!(std::fs::read_to_string(&id_file).unwrap().trim(), id);
    assert_eq!(id.len(), 64);
    assert_eq!(home.inspect("one", "{{.Config.Labels.a}}"), "b");
    home.run(&["create", "--name", "one", "busybox", "true"]).fails(125, &["one", "already in use"]);
    assert_eq!(home.run(&["ps", "-a", "-q", "--no-trunc", "--filter", "label=a=b"]).quiet(), id);
    home.run(&["create", "--name", "b@d", "busybox"]).fails(125, &["names must match"]);
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    let home = Home::new();
    home.load();
    for flag in ["--pod=x", "--link-local-ip=x", "--rdt-class=x"] {
        let name = flag.split('=').next().unwrap();
        home.run(&["run", "--rm", flag, "busybox", "true"]).fails(125, &[name]);
    }
    home.run(&["run", "--network", "pasta", "busybox", "true"]).fails(125, &["pasta"]);
    home.run(&["run", "--no-such-flag", "busybox"]).fails(125, &["no-such-flag"]);
    home.run(&["no-such-command"]).fails(125, &["no-such-command"]);
    assert!(home.containers().is_empty());
}

#[test]
fn an_image_of_another_platform_is_not_the_one_meant() {
    let home = Home::new();
    home.load();
    let there = |platform| home.run(&["run", "--rm", "--pull", "never", "--platform", platform, "busybox", "true"]);
    there("linux/s390x").fails(125, &["image not known"]);
    there("bad").fails(125, &["platform"]);
    let own = if cfg!(target_arch = "x86_64") { "linux/amd64" } else { "linux/arm64" };
    there(own).quiet();
}
