//! The store of Debian's podman on the same machine: images go over from it, and to it.

use crate::home::{Home, am_root};
use crate::image::{self, Image, Layer};
use crate::peer::{installed, text};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// Runs Debian's podman with a store of its own in `home`; gives what it prints.
#[track_caller]
fn podman(home: &Home, args: &[&str]) -> String {
    let mut command = Command::new("podman");
    for (flag, name) in [("--root", "theirs"), ("--runroot", "theirs-run"), ("--tmpdir", "theirs-tmp")] {
        command.arg(flag).arg(home.path(name));
    }
    let output = command.args(["--events-backend", "none"]).args(args).output().expect("podman can be executed");
    assert!(output.status.success(), "podman {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Podman leaves its store mounted on itself.
struct Unmounted(std::path::PathBuf);

impl Drop for Unmounted {
    fn drop(&mut self) {
        Command::new("umount").args(["-q", "-l"]).arg(&self.0).status().ok();
    }
}

/// Podman's name of the image `name` in that store.
fn theirs(home: &Home, name: &str) -> String {
    format!(
        "containers-storage:[overlay@{}+{}]{name}",
        home.path("theirs").display(),
        home.path("theirs-run").display()
    )
}

/// A busybox with a layer on top that takes away, replaces and links.
fn layered() -> Vec<u8> {
    let long = format!("data/{}", "long".repeat(60));
    let top = Layer::new()
        .dir("data", 0o750)
        .file("data/a", b"first", 0o4755)
        .hardlink("data/b", "data/a")
        .symlink("data/c", "a")
        .file("etc/.wh.group", b"", 0o644)
        .dir("opaque", 0o755)
        .file("opaque/.wh..wh..opq", b"", 0o644)
        .pax(&[("path", long.as_bytes())])
        .file("data/long", b"x", 0o600)
        .done();
    // An image may have the same layer twice.
    let again = || Layer::new().file("again", b"again", 0o644).done();
    let image = Image::of("localhost/layered:1", vec![image::busybox_layer(), again(), top, again()]);
    image::archive(&image::oci(&[image]))
}

fn ready() -> Option<Home> {
    // Without root podman would have to find its ranges of ids.
    (am_root() && installed("podman")).then(Home::new)
}

#[test]
fn images_for_podmans_store() {
    let Some(home) = ready() else { return };
    let _unmounted = Unmounted(home.path("theirs/overlay"));
    let archive = home.write("layered.tar", &layered());
    home.run(&["load", "-q", "-i", text(&archive)]).ok();
    // A store that does not exist yet, and then one that does.
    for name in ["localhost/mine:1", "localhost/mine:2"] {
        home.run(&["push", "-q", "layered:1", &theirs(&home, name)]).quiet();
        // Crun starts nothing on every host of these tests; that it is mounted is what counts.
        let mounted = std::path::PathBuf::from(podman(&home, &["image", "mount", name]));
        let about = mounted.join("data/a").metadata().unwrap();
        assert_eq!((about.mode() & 0o7777, about.nlink()), (0o4755, 2));
        assert_eq!(std::fs::read(mounted.join("again")).unwrap(), b"again");
        assert_eq!(std::fs::read_link(mounted.join("data/c")).unwrap().to_str(), Some("a"));
        assert!(mounted.join("etc/passwd").exists() && !mounted.join("etc/group").exists());
        assert_eq!(std::fs::read_dir(mounted.join("opaque")).unwrap().count(), 0);
        podman(&home, &["image", "unmount", name]);
    }
    let id = podman(&home, &["images", "-q", "--no-trunc"]);
    assert_eq!(id.lines().collect::<std::collections::BTreeSet<_>>().len(), 1, "{id}");
    // It gives the same bytes back: to us, who check them, and in an archive of its own.
    let other = Home::new();
    other.run(&["pull", "-q", &theirs(&home, "mine:2")]).ok();
    let saved = home.path("saved.tar");
    podman(&home, &["save", "-q", "--format", "oci-archive", "-o", text(&saved), "localhost/mine:1"]);
    other.run(&["load", "-q", "-i", text(&saved)]).ok();
    podman(&home, &["rmi", "-f", "localhost/mine:1", "localhost/mine:2"]);
    assert_eq!(podman(&home, &["images", "-q"]), "");
    let left = |name: &str| std::fs::read_dir(home.path(name)).unwrap().count();
    assert_eq!(left("theirs/overlay/l"), 0, "nothing of it is left");
}

#[test]
fn an_additional_store_of_podmans() {
    let Some(home) = ready() else { return };
    let _unmounted = Unmounted(home.path("theirs/overlay"));
    let archive = home.write("layered.tar", &layered());
    podman(&home, &["load", "-q", "-i", text(&archive)]);
    let theirs = home.path("theirs");
    let listed = || {
        ["overlay-images/images.json", "overlay-layers/layers.json"]
            .map(|file| std::fs::read(theirs.join(file)).unwrap())
    };
    let before = listed();
    let run = ["run", "--rm", "--pull", "never", "--network", "none", "layered:1", "cat", "/data/a"];
    home.run(&run).fails(125, &["image not known"]);
    assert_eq!(home.run(&[&["--imagestore", text(&theirs)], &run[..]].concat()).quiet(), "first");
    // It was brought, and is here from now on.
    assert_eq!(home.run(&run).quiet(), "first");
    home.run(&["rmi", "layered:1"]).ok();
    home.run(&["--imagestore", text(&theirs), "pull", "-q", "--policy", "missing", "layered:1"]).ok();
    home.run(&["--imagestore", text(&theirs), "run", "--pull", "never", "other:1"]).fails(125, &["other:1"]);
    assert!(listed() == before);
}

#[test]
fn images_of_podmans_store() {
    let Some(home) = ready() else { return };
    let _unmounted = Unmounted(home.path("theirs/overlay"));
    let archive = home.write("layered.tar", &layered());
    podman(&home, &["load", "-q", "-i", text(&archive)]);
    let id = home.run(&["pull", "-q", &theirs(&home, "localhost/layered:1")]).quiet();
    assert_eq!(id, podman(&home, &["images", "-q", "--no-trunc"]).trim_start_matches("sha256:"));
    let script = "stat -c '%a %h %n' data/*; readlink data/c; ls etc";
    let seen = home.run(&["run", "--rm", "--network", "none", "layered:1", "sh", "-c", script]).quiet();
    assert!(seen.contains("4755 2 data/a") && !seen.contains("group"), "{seen}");
    // By its id it has no name, and is there already.
    assert_eq!(home.run(&["pull", "-q", &theirs(&home, &id[..12])]).quiet(), id);
    home.run(&["copy", "-q", &theirs(&home, "layered:1"), &format!("dir:{}", home.path("out").display())]).quiet();
    home.run(&["pull", &theirs(&home, "other")]).fails(125, &["other", "localhost/layered:1"]);
    home.run(&["pull", "containers-storage:[vfs@/x]a"]).fails(125, &["vfs"]);
    home.run(&["pull", "containers-storage:[overlay@/nowhere]a"]).fails(125, &["no images"]);
}
