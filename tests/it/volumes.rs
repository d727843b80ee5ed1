//! Volumes: with names and without, what an image brings into them, who removes them; overlays of directories, images and
//! patterns as mounts.

use crate::home::{Home, Who};
use crate::image::{self, Image, Layer};

/// An image with a volume at /data, in which a file of app's is.
fn load_with_volume(home: &Home) {
    let layer = Layer::new()
        .entry(b"data/", tar::EntryType::Directory, b"", b"", 0o750, 1000)
        .entry(b"data/file", tar::EntryType::Regular, b"", b"of the image\n", 0o640, 1000)
        .symlink("data/link", "file")
        .done();
    let mut image = Image::of("withvolume", vec![image::busybox_layer(), layer]);
    image.config["Volumes"] = serde_json::json!({"/data": {}});
    let path = home.write("withvolume.tar", &image::archive(&image::oci(&[image])));
    home.run(&["load", "-q", "-i", path.to_str().unwrap()]).quiet();
}

fn names(home: &Home) -> Vec<String> {
    home.run(&["volume", "ls", "-q"]).quiet().lines().map(String::from).collect()
}

#[test]
fn volumes_are_where_they_are_asked_to_be() {
    let home = Home::new();
    home.load();
    let place = home.path("elsewhere");
    let run = |args: &[&str]| home.run(&[&["--volumepath", place.to_str().unwrap()], args].concat());
    assert_eq!(run(&["info", "--format", "{{.Store.VolumePath}}"]).quiet(), place.to_str().unwrap());
    run(&["run", "--rm", "--network", "none", "-v", "data:/d", "busybox", "sh", "-c", "echo kept >/d/f"]).quiet();
    assert_eq!(std::fs::read(place.join("data/_data/f")).unwrap(), b"kept\n");
    // What goes with its container is cleaned up by a process that was told.
    let loose = ["run", "-d", "--rm", "--network", "none", "-v", "/anonymous", "busybox", "true"];
    run(&loose).quiet();
    home.until("only one is left", || std::fs::read_dir(&place).unwrap().count() == 1 && home.containers().is_empty());
    run(&["volume", "rm", "data"]).ok();
    assert!(!place.join("data").exists() && !home.path("root/volumes/data").exists());
}

#[test]
fn a_volume_outlasts_its_containers() {
    for who in [Who::Me, Who::Subuid, Who::Single] {
        let Some(home) = Home::of(who) else { continue };
        home.load();
        assert_eq!(home.run(&["volume", "create", "--label", "a=b", "data"]).quiet(), "data");
        home.run(&["volume", "create", "data"]).fails(125, &["volume already exists"]);
        home.run(&["volume", "create", "--ignore", "data"]).quiet();
        home.run(&["run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "echo kept >/d/f"]).quiet();
        // Made by its use, too, and known by what it is.
        assert_eq!(home.run(&["run", "--rm", "-v", "data:/x:ro", "busybox", "cat", "/x/f"]).quiet(), "kept", "{who:?}");
        home.run(&["run", "--rm", "-v", "data:/x:ro", "busybox", "touch", "/x/f"]).code(1);
        home.run(&["create", "--name", "one", "-v", "second:/s", "-v", "data:/d", "busybox"]).quiet();
        assert_eq!(names(&home), ["data", "second"]);
        assert_eq!(home.run(&["ps", "-aq", "--no-trunc", "--filter", "volume=second"]).quiet().len(), 64);
        assert_eq!(home.run(&["ps", "-aq", "--filter", "volume=third"]).quiet(), "");
        let mount = home.document("one")["Mounts"][1].clone();
        assert_eq!((mount["Type"].as_str(), mount["Name"].as_str()), (Some("volume"), Some("data")));
        let place = home.run(&["volume", "inspect", "--format", "{{.Mountpoint}} {{.Labels.a}}", "data"]).quiet();
        assert_eq!(place, format!("{} b", mount["Source"].as_str().unwrap()));
        // Copies reach it while nothing runs.
        home.run(&["cp", home.write("note", b"hello\n").to_str().unwrap(), "one:/d/note"]).quiet();
        assert_eq!(
            home.run(&["run", "--rm", "--volumes-from", "one:ro", "busybox", "cat", "/d/note"]).quiet(),
            "hello"
        );
        home.run(&["volume", "rm", "data"]).fails(2, &["volume is being used"]);
        home.run(&["volume", "rm", "nothing"]).fails(1, &["no such volume"]);
        home.run(&["volume", "exists", "nothing"]).code(1);
        home.run(&["rm", "-v", "one"]).quiet();
        assert_eq!(home.run(&["volume", "rm", "data"]).quiet(), "data");
        assert_eq!(names(&home), ["second"]);
        assert!(!home.path("root/volumes/data").exists());
        assert_eq!(home.run(&["volume", "prune", "--force"]).quiet(), "");
        assert_eq!(home.run(&["volume", "prune", "--force", "--all"]).quiet(), "second");
    }
}

#[test]
fn a_volume_that_is_still_empty_is_filled_later() {
    let home = Home::new();
    home.load();
    let needs = || home.run(&["volume", "inspect", "-f", "{{.NeedsCopyUp}} {{.NeedsChown}}", "data"]).quiet();
    home.run(&["volume", "create", "data"]).quiet();
    assert_eq!(needs(), "true true");
    home.run(&["run", "--rm", "-v", "data:/nothing", "busybox", "true"]).quiet();
    assert_eq!(needs(), "true false");
    home.run(&["run", "--rm", "-v", "data:/etc", "busybox", "test", "-s", "/etc/passwd"]).quiet();
    assert_eq!(needs(), "false false");
    home.run(&["volume", "create", "own"]).quiet();
    home.run(&["run", "--rm", "-v", "own:/nothing", "busybox", "touch", "/nothing/mine"]).quiet();
    assert_eq!(
        home.run(&["run", "--rm", "-v", "own:/etc", "busybox", "ls", "-A", "/etc"])
            .quiet()
            .lines()
            .filter(|f| *f == "passwd")
            .count(),
        0
    );
    let bogus = ["volume", "create", "-o", "type=bind", "-o", "device=/no/such", "bogus"];
    home.run(&bogus).fails(125, &["/no/such", "no such file or directory"]);
    home.run(&["run", "--rm", "-v", "data:/d", "-v", "data:/d", "busybox", "true"]).quiet();
    home.run(&["run", "--rm", "-v", "data:/d", "-v", "own:/d", "busybox"])
        .fails(125, &["/d: duplicate mount destination"]);
}

#[test]
fn anonymous_ones_go_with_their_container() {
    for who in [Who::Me, Who::Subuid, Who::Single] {
        let Some(home) = Home::of(who) else { continue };
        load_with_volume(&home);
        // One id serves for all there is.
        let owner = if who == Who::Single { "0" } else { "1000" };
        let look = "stat -c '%u %a' /data; cat /data/file; readlink /data/link; stat -c %a /anon";
        let args = ["run", "--rm", "-v", "/anon", "withvolume", "sh", "-c", look];
        assert_eq!(home.run(&args).quiet(), format!("{owner} 750\nof the image\nfile\n755"), "{who:?}");
        assert_eq!(names(&home), [""; 0], "{who:?}");
        home.run(&["run", "--name", "one", "withvolume", "sh", "-c", "echo more >>/data/file"]).quiet();
        let kept = names(&home);
        assert_eq!((kept.len(), kept[0].len()), (1, 64));
        // Another that shares it keeps it.
        home.run(&["create", "--name", "two", "--volumes-from", "one", "withvolume", "cat", "/data/file"]).quiet();
        home.run(&["rm", "-v", "one"]).quiet();
        assert_eq!(home.run(&["start", "-a", "two"]).quiet(), "of the image\nmore");
        home.run(&["rm", "two"]).quiet();
        assert_eq!(names(&home), kept);
        assert_eq!(home.run(&["volume", "prune", "-f"]).quiet(), kept[0]);
        let ignored = home.run(&[
            "run",
            "--rm",
            "--image-volume",
            "ignore",
            "withvolume",
            "sh",
            "-c",
            "grep -c /data /proc/mounts",
        ]);
        assert_eq!(ignored.out.trim(), "0");
        let tmpfs =
            home.run(&["run", "--rm", "--image-volume", "tmpfs", "withvolume", "sh", "-c", "stat -f -c %T /data"]);
        assert_eq!(tmpfs.quiet(), "tmpfs");
    }
}

#[test]
fn options_of_mounts_do_what_they_say() {
    for who in [Who::Me, Who::Subuid] {
        let Some(home) = Home::of(who) else { continue };
        load_with_volume(&home);
        // nocopy: nothing of the image's. U: the container's user owns all of it.
        let flags = ["run", "--rm", "-v", "fresh:/data:nocopy", "withvolume", "ls", "/data"];
        assert_eq!(home.run(&flags).quiet(), "");
        let directory = home.path("home/bound");
        std::fs::create_dir_all(directory.join("deep")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", directory.join("deep/link")).unwrap();
        if who != Who::Me {
            std::process::Command::new("chown").args(["-hR", "61234:61234"]).arg(&directory).status().unwrap();
        }
        let bound = directory.to_str().unwrap();
        let script = "stat -c %u /b /b/deep /b/deep/link";
        let owned =
            home.run(&["run", "--rm", "-u", "app", "-v", &format!("{bound}:/b:U"), "withvolume", "sh", "-c", script]);
        assert_eq!(owned.quiet(), "1000\n1000\n1000");
        // O: writes go elsewhere, and are forgotten.
        let over = format!("{bound}:/b:O");
        let script = "test ! -e /b/new && touch /b/new && ls /b";
        home.run(&["create", "--name", "over", "-v", &over, "withvolume", "sh", "-c", script]).quiet();
        for _ in 0..2 {
            assert_eq!(home.run(&["start", "-a", "over"]).quiet(), "deep\nnew", "{who:?}");
        }
        assert!(!directory.join("new").exists());
        // An image, read-only and not.
        let image = |options: &str, script: &str| {
            let mount = format!("type=image,source=withvolume,destination=/i{options}");
            home.run(&["run", "--rm", "--mount", &mount, "withvolume", "sh", "-c", script])
        };
        assert_eq!(
            image("", "cat /i/data/file; touch /i/new 2>/dev/null || echo read-only").quiet(),
            "of the image\nread-only"
        );
        assert_eq!(image(",rw=true", "touch /i/new && ls -d /i/new").quiet(), "/i/new");
        // A pattern.
        let glob = format!("type=glob,source={bound}/de*,destination=/g");
        assert_eq!(home.run(&["run", "--rm", "--mount", &glob, "withvolume", "ls", "/g"]).quiet(), "deep");
        let pts = "type=devpts,destination=/own-pts";
        assert_eq!(home.run(&["run", "--rm", "--mount", pts, "withvolume", "ls", "/own-pts"]).quiet(), "ptmx");
    }
}

#[test]
fn volumes_are_mounted_for_as_long_as_they_are_used() {
    for who in [Who::Me, Who::Subuid] {
        let Some(home) = Home::bent(who, "") else { continue };
        home.load();
        home.run(&["volume", "create", "-o", "type=tmpfs", "-o", "o=size=1M,nodev", "memory"]).quiet();
        let place = home.path("home/shared");
        std::fs::create_dir(&place).unwrap();
        if who != Who::Me {
            std::os::unix::fs::chown(&place, Some(61_234), Some(61_234)).unwrap();
        }
        home.run(&[
            "volume",
            "create",
            "-o",
            "type=none",
            "-o",
            "o=bind",
            "-o",
            &format!("device={}", place.display()),
            "bound",
        ])
        .quiet();
        let script = "df -k /m | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2; touch /m/f; echo x >/b/f";
        home.run(&["create", "--name", "one", "-v", "memory:/m", "-v", "bound:/b", "busybox", "sh", "-c", script])
            .quiet();
        assert_eq!(home.run(&["start", "-a", "one"]).quiet(), "1024", "{who:?}");
        assert_eq!(std::fs::read_to_string(place.join("f")).unwrap(), "x\n");
        home.until("nothing is mounted any more", || {
            !String::from_utf8_lossy(&home.enter().args(["cat", "/proc/self/mountinfo"]).output().unwrap().stdout)
                .contains("/volumes/")
        });
        assert_eq!(home.run(&["volume", "inspect", "--format", "{{.MountCount}}", "memory"]).quiet(), "0");
        home.run(&["rm", "one"]).quiet();
        home.run(&["volume", "rm", "--all"]).quiet();
        assert!(place.join("f").exists(), "removing a volume removed what it was bound to");
    }
}

#[test]
fn volumes_come_and_go_as_archives() {
    for who in [Who::Me, Who::Subuid, Who::Single] {
        let Some(home) = Home::of(who) else { continue };
        home.load();
        home.run(&[
            "run",
            "--rm",
            "-v",
            "from:/d",
            "busybox",
            "sh",
            "-c",
            "mkdir /d/deep; echo x >/d/deep/f; chmod 600 /d/deep/f",
        ])
        .quiet();
        let archive = home.run(&["volume", "export", "from"]).code(0).raw;
        home.run(&["volume", "create", "to"]).quiet();
        home.feed(&["volume", "import", "to", "-"], &archive).quiet();
        let look = ["run", "--rm", "-v", "to:/d", "busybox", "sh", "-c", "stat -c '%a %n' /d/deep/f; cat /d/deep/f"];
        assert_eq!(home.run(&look).quiet(), "600 /d/deep/f\nx");
        home.feed(&["volume", "import", "nowhere", "-"], &archive).fails(125, &["no such volume"]);
        // An archive that would leave the volume does not.
        let hostile =
            Layer::new().symlink("out", "/").file("out/evil", b"x", 0o644).file("../evil", b"x", 0o644).done();
        home.feed(&["volume", "import", "to", "-"], &hostile);
        assert!(!std::path::Path::new("/evil").exists() && !home.path("root/volumes/to/evil").exists());
    }
}

#[test]
fn a_removal_that_was_cut_off_is_finished() {
    let home = Home::new();
    home.load();
    home.run(&["run", "--name", "one", "-v", "/anon", "busybox", "sh", "-c", "echo x >/anon/f"]).quiet();
    let name = names(&home)[0].clone();
    // The directory is gone, the row is not: as if a removal had been killed in between.
    std::fs::remove_dir_all(home.path("root/volumes").join(&name)).unwrap();
    home.run(&["rm", "-v", "one"]).quiet();
    assert_eq!(names(&home), [""; 0]);
    home.run(&["volume", "create", "again"]).quiet();
    std::fs::remove_dir_all(home.path("root/volumes/again")).unwrap();
    assert_eq!(home.run(&["run", "--rm", "-v", "again:/d", "busybox", "ls", "/d"]).quiet(), "");
    assert_eq!(home.run(&["volume", "rm", "--force", "again", "nothing"]).quiet(), "again");
}
