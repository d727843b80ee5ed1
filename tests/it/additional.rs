//! Additional stores: their images are run, saved and built upon, and nothing is ever written there.

use crate::home::{Home, Who};
use crate::image::{self, Image};
use crate::peer::text;
use std::collections::BTreeMap;
use std::path::Path;

/// A home, and below `other` a second root with the image `localhost/app:1` in it.
fn ready(who: Who) -> Option<Home> {
    let home = if who == Who::Me { Home::new() } else { Home::of(who)? };
    let mut app = Image::busybox("localhost/app:1");
    app.layers.push(image::Layer::new().file("data", &[7; 9000], 0o644).file("etc/.wh.group", b"", 0o644).done());
    let archive = home.write("in.tar", &image::archive(&image::oci(&[app])));
    // Where the user may make directories.
    let other = home.path("home/other");
    home.run(&["--root", text(&other), "load", "-q", "-i", text(&archive)]).ok();
    Some(home)
}

/// All files below `root` with their sizes and times; what SQLite keeps beside its database are locks.
fn files(root: &Path) -> BTreeMap<String, (u64, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            if about.is_dir() {
                waiting.push(path.clone());
            }
            let name = path.display().to_string();
            if !name.ends_with("-shm") && !name.ends_with("-wal") && path.parent() != Some(root) {
                found.insert(name, (about.len(), about.modified().unwrap()));
            }
        }
    }
    found
}

#[test]
fn images_of_another_store_are_used_and_stay_as_they_are() {
    for who in [Who::Me, Who::Subuid, Who::Single] {
        let Some(home) = ready(who) else { continue };
        let other = home.path("home/other");
        let before = files(&other);
        let with = |args: &[&str]| home.run(&[&["--imagestore", text(&other)], args].concat());
        assert_eq!(home.run(&["images", "-q"]).quiet(), "");
        assert_eq!(with(&["images", "--format", "{{.Names}} {{.ReadOnly}}"]).quiet(), "[localhost/app:1] true");
        assert!(with(&["images"]).quiet().lines().next().unwrap().ends_with("R/O"));
        assert_eq!(with(&["images", "-q", "--filter", "readonly=false"]).quiet(), "");
        let id = with(&["images", "-q", "--no-trunc"]).quiet();
        let script = "echo new > /new; rm /data; ls -d /etc/passwd /etc/group 2>/dev/null; true";
        let run = ["run", "--name", "c", "--network", "none", "app:1", "sh", "-c", script];
        assert_eq!(with(&run).quiet(), "/etc/passwd", "{who:?}");
        assert!(with(&["diff", "c"]).quiet().contains("D /data"));
        with(&["image", "inspect", "app:1"]).quiet();
        with(&["save", "-q", "-o", text(&home.path("home/out.tar")), "app:1"]).quiet();
        with(&["rmi", "app:1"]).fails(125, &["additional store"]);
        with(&["rmi", "-f", &id]).fails(125, &["additional store"]);
        with(&["untag", "app:1"]).fails(125, &["additional store"]);
        assert_eq!(with(&["rmi", "-a"]).quiet(), "");
        assert_eq!(with(&["image", "prune", "-a", "-f"]).quiet(), "");
        // With a name of our own it is ours, too, and its layers stay where they are.
        with(&["tag", "app:1", "mine:1"]).quiet();
        with(&["commit", "-q", "c", "made:1"]).ok();
        let count = |directory: &str| std::fs::read_dir(home.path("root").join(directory)).unwrap().count();
        assert_eq!((count("layers"), count("blobs/sha256")), (1, 1), "{who:?}");
        let made = ["run", "--rm", "--network", "none", "made:1", "sh", "-c", "cat /new; test ! -e /data"];
        assert_eq!(with(&made).quiet(), "new");
        with(&["system", "check"]).ok();
        // Without that store something is missing, and that is said.
        home.run(&made).fails(125, &["additional store", "--imagestore"]);
        home.run(&["rmi", "made:1"]).ok();
        with(&["rm", "-f", "-t", "0", "c"]).ok();
        assert!(with(&["rmi", "mine:1"]).ok().starts_with("Untagged: localhost/mine:1"));
        assert_eq!(with(&["images", "--format", "{{.Names}}"]).quiet(), "[localhost/app:1]");
        assert_eq!(count("layers"), 0);
        assert_eq!(files(&other), before, "{who:?}");
    }
}

#[test]
fn layers_of_another_store_are_not_fetched_again() {
    let Some(home) = ready(Who::Me) else { return };
    let other = home.path("home/other");
    let mut more = Image::busybox("localhost/more:1");
    more.layers.push(image::Layer::new().file("more", b"more", 0o644).done());
    let archive = home.write("more.tar", &image::archive(&image::oci(&[more])));
    let with =
        |args: &[&str]| home.run(&[&["--storage-opt", &format!("overlay.imagestore={}", text(&other))], args].concat());
    with(&["load", "-q", "-i", text(&archive)]).ok();
    assert_eq!(std::fs::read_dir(home.path("root/layers")).unwrap().count(), 1);
    assert_eq!(with(&["run", "--rm", "--network", "none", "more:1", "cat", "/more"]).quiet(), "more");
    // Blobs come from there, too.
    let (one, two) = (home.path("one"), home.path("two"));
    with(&["save", "-q", "--format", "oci-archive", "-o", text(&one), "app:1"]).quiet();
    home.run(&["--root", text(&other), "save", "-q", "--format", "oci-archive", "-o", text(&two), "app:1"]).quiet();
    assert!(std::fs::read(one).unwrap() == std::fs::read(two).unwrap());
    // And so do tars of layers without blobs.
    let third = home.path("third");
    home.run(&["--root", text(&third), "load", "-q", "--no-blobs", "-i", text(&home.path("in.tar"))]).ok();
    let from = |args: &[&str]| home.run(&[&["--imagestore", text(&third)], args].concat());
    let (one, two) = (home.path("one"), home.path("two"));
    from(&["save", "-q", "-o", text(&one), "app:1"]).quiet();
    with(&["save", "-q", "-o", text(&two), "app:1"]).quiet();
    assert!(std::fs::read(one).unwrap() == std::fs::read(two).unwrap());
}

#[test]
fn where_additional_stores_are_named() {
    let Some(home) = ready(Who::Me) else { return };
    let other = home.path("home/other");
    home.run(&["--imagestore", "/nowhere", "images"]).fails(125, &["/nowhere"]);
    home.run(&["--storage-opt", "size=1", "images"]).fails(125, &["imagestore"]);
    // What is configured for all may be there or not.
    let text_of = |more: &str| format!("[storage.options]\nadditionalimagestores = [\"/nowhere\", {more}]\n");
    let config = home.write("storage.conf", text_of(&format!("{:?}", text(&other))).as_bytes());
    let home = home.variable("CONTAINERS_STORAGE_CONF", text(&config));
    assert_eq!(home.run(&["images", "--format", "{{.Repository}}"]).quiet(), "localhost/app");
    let info = home.run(&["info", "--format", "{{json .Store.GraphOptions}}"]).quiet();
    assert!(info.contains(text(&other)), "{info}");
    // Its own store is no additional one.
    let own = home.path("root");
    assert_eq!(home.run(&["--imagestore", text(&own), "images", "-q"]).quiet().lines().count(), 1);
    let odd = home.path("a:b");
    home.run(&["--root", text(&odd), "images"]).ok();
    home.run(&["--imagestore", text(&odd), "images"]).fails(125, &["a:b"]);
}

#[test]
fn a_store_on_a_read_only_disk() {
    let Some(home) = Home::bent(Who::Me, "true") else { return };
    let archive = home.write("in.tar", &image::archive(&image::oci(&[Image::busybox("localhost/app:1")])));
    let other = home.path("other");
    home.run(&["--root", text(&other), "load", "-q", "-i", text(&archive)]).ok();
    for step in ["--bind", "-oremount,bind,ro"] {
        let mut mount = home.enter();
        mount.args(["mount", step, text(&other), text(&other)]);
        crate::home::Output::of(mount).ok();
    }
    let with = |args: &[&str]| home.run(&[&["--imagestore", text(&other)], args].concat());
    assert_eq!(with(&["run", "--rm", "--network", "none", "app:1", "echo", "fine"]).quiet(), "fine");
    with(&["tag", "app:1", "mine:1"]).quiet();
    assert_eq!(with(&["images", "-q"]).quiet().lines().count(), 1);
    let mut unmount = home.enter();
    unmount.args(["umount", text(&other)]);
    crate::home::Output::of(unmount).ok();
}
