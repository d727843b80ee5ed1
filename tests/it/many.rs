//! Many images at once: all tags of a repository pushed, what a list in YAML names; and images between machines.

use crate::home::Home;
use crate::image::{self, Image};
use crate::peer::{Registry, text};
use std::os::unix::fs::PermissionsExt;

#[test]
fn all_tags_of_a_repository_are_pushed() {
    let home = Home::new();
    let Some(registry) = Registry::start(&home, "", "") else { return };
    home.load();
    let name = format!("{}/team/app", registry.address);
    for tag in ["1", "2"] {
        home.run(&["tag", "busybox", &format!("{name}:{tag}")]).quiet();
    }
    home.run(&["tag", "busybox", &format!("{name}lication:3")]).quiet();
    home.run(&["push", "-q", "--all-tags", &format!("{name}:1")]).fails(125, &["without tags"]);
    home.run(&["push", "-q", "--all-tags", "nothing"]).fails(125, &["nothing"]);
    home.run(&["push", "-q", "--all-tags", &name]).quiet();
    let tags = home.run(&["list-tags", &format!("docker://{name}")]).ok();
    assert!(tags.contains("\"1\"") && tags.contains("\"2\"") && !tags.contains("\"3\""), "{tags}");
    let other = format!("{}/other", registry.address);
    home.run(&["push", "-q", "--all-tags", &name, &other]).quiet();
    assert!(home.run(&["list-tags", &format!("docker://{other}")]).ok().contains("\"2\""));
}

#[test]
fn a_list_in_yaml_is_synced() {
    let home = Home::new();
    let Some(registry) = Registry::start(&home, "", "") else { return };
    let file = home.write("in.tar", &image::archive(&image::oci(&[Image::busybox("localhost/busybox:1")])));
    let source = format!("oci-archive:{}", text(&file));
    for name in ["a/all:1", "a/all:2", "some:x", "some:y"] {
        home.run(&["copy", "-q", &source, &format!("docker://{}/{name}", registry.address)]).quiet();
    }
    let sync = |list: &str, more: &[&str]| {
        let list = home.write("list.yaml", list.as_bytes());
        let out = home.path("out");
        home.run(&[&["sync", "--src", "yaml", "--dest", "dir"], more, &[text(&list), text(&out)]].concat())
    };
    let list = format!("{}:\n  tls-verify: false\n  images:\n    a/all: []\n    some: [x]\n", registry.address);
    let said = sync(&list, &["--scoped", "--dry-run"]).code(0).err;
    assert!(said.contains("Would have synced 3 images"), "{said}");
    assert!(!home.path("out").exists());
    sync(&list, &["--scoped"]).code(0);
    for name in ["a/all:1", "a/all:2", "some:x"] {
        assert!(home.path(&format!("out/{}/{name}/manifest.json", registry.address)).exists(), "{name}");
    }
    assert!(!home.path(&format!("out/{}/some:y", registry.address)).exists());
    sync("x.org:\n  images: |\n", &[]).fails(125, &["line 2"]);
    sync("x.org:\n  imagse: {}\n", &[]).fails(125, &["imagse"]);
    sync("x.org:\n  images-by-semver:\n    a: '>1'\n", &[]).fails(125, &["images-by-semver"]);
}

#[test]
fn images_go_between_machines() {
    let home = Home::new();
    home.load();
    // Instead of another machine, another root: the last word is what its shell would be given.
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = -- ] || exit 9\nhost=$2\ncase $host in one|two) ;; *) exit 255;; esac\n\
         monopod() {{ {} --root {far}-$host --runroot {far}-$host-run \"$@\"; }}\neval \"$3\"\n",
        crate::home::built().display(),
        far = home.path("far").display(),
    );
    std::fs::create_dir(home.path("bin")).unwrap();
    let ssh = home.write("bin/ssh", script.as_bytes());
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", text(ssh.parent().unwrap()), std::env::var("PATH").unwrap_or_default());
    let home = home.variable("PATH", &path);
    let id = home.run(&["images", "-q", "--no-trunc", "busybox"]).ok();

    home.run(&["image", "scp", "-q", "busybox"]).fails(125, &["no other machine"]);
    home.run(&["image", "scp", "-q", "nothing", "one::"]).fails(125, &["nothing"]);
    home.run(&["image", "scp", "-q", "busybox", "three::"]).fails(125, &["three", "255"]);
    home.run(&["image", "scp", "-q", "three::busybox"]).fails(125, &["three", "255"]);
    home.run(&["image", "scp", "-q", "busybox", "one::"]).ok();
    home.run(&["image", "scp", "-q", "one::busybox", "two::"]).ok();
    home.run(&["rmi", "busybox"]).ok();
    let said = home.run(&["image", "scp", "-q", "two::busybox"]).ok();
    assert_eq!(said, "Loaded image: localhost/busybox:latest");
    assert_eq!(home.run(&["images", "-q", "--no-trunc", "busybox"]).ok(), id);
    let bare = home.path("empty");
    std::fs::create_dir(&bare).unwrap();
    let home = home.variable("PATH", text(&bare));
    home.run(&["image", "scp", "busybox", "one::"]).fails(125, &["ssh", "not installed"]);
}
