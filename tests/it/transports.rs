//! Images come in by every way: each transport, each compression, from files and from standard input, several at once.

use crate::home::Home;
use crate::image::{self, COMPRESSIONS, Compression, Image};

fn named(compression: Compression) -> Image {
    Image { compression, ..Image::busybox("localhost/busybox:latest") }
}

#[test]
fn run_straight_from_an_oci_archive() {
    for compression in COMPRESSIONS {
        let home = Home::new();
        let file = home.write("image.tar", &image::archive(&image::oci(&[named(compression)])));
        let reference = format!("oci-archive:{}", file.display());
        let out = home.run(&["run", "--rm", &reference, "sh", "-c", "echo $FROM_IMAGE; cat /etc/group"]).quiet();
        assert!(out.starts_with("yes\nroot:x:0:"), "{compression:?}: {out}");
        // The archive is no longer needed once its image is known.
        assert_eq!(home.run(&["run", "--rm", &reference, "echo", "again"]).quiet(), "again");
    }
}

#[test]
fn run_straight_from_a_docker_archive() {
    for compression in COMPRESSIONS {
        let home = Home::new();
        let file = home.write("image.tar", &image::archive(&image::docker(&[named(compression)])));
        let out = home.run(&["run", "--rm", &format!("docker-archive:{}", file.display()), "echo", "fine"]).quiet();
        assert_eq!(out, "fine", "{compression:?}");
    }
}

#[test]
fn run_straight_from_a_layout_directory() {
    for compression in COMPRESSIONS {
        let home = Home::new();
        let directory = home.path("layout");
        image::directory(&image::oci(&[named(compression)]), &directory);
        let out = home.run(&["run", "--rm", &format!("oci:{}", directory.display()), "echo", "fine"]).quiet();
        assert_eq!(out, "fine", "{compression:?}");
    }
}

#[test]
fn load_takes_files_and_standard_input_in_any_wrapping() {
    for outer in COMPRESSIONS {
        for layout in [image::oci, image::docker] {
            let home = Home::new();
            let bytes = image::compress(&image::archive(&layout(&[named(Compression::Gzip)])), outer);
            let file = home.write("image.tar", &bytes);
            let said = home.run(&["load", "-i", file.to_str().unwrap()]).ok();
            assert_eq!(said.lines().last(), Some("Loaded image: localhost/busybox:latest"), "{outer:?}");
            assert_eq!(home.run(&["run", "--rm", "busybox", "echo", "fine"]).quiet(), "fine");

            let other = Home::new();
            let said = other.feed(&["load"], &bytes).ok();
            assert_eq!(said.lines().last(), Some("Loaded image: localhost/busybox:latest"), "{outer:?} on stdin");
            assert_eq!(other.run(&["run", "--rm", "localhost/busybox:latest", "echo", "fine"]).quiet(), "fine");
        }
    }
}

#[test]
fn an_archive_holds_several_images() {
    let mut second = Image::busybox("localhost/second:2");
    second.layers.push(image::Layer::new().file("second", b"of two\n", 0o644).done());
    let images = [Image::busybox("localhost/first:1"), second];
    for layout in [image::oci, image::docker] {
        let home = Home::new();
        let file = home.write("image.tar", &image::archive(&layout(&images)));
        let said = home.run(&["load", "-i", file.to_str().unwrap()]).ok();
        for name in ["localhost/first:1", "localhost/second:2"] {
            assert!(said.contains(name), "{said}");
        }
        assert_eq!(home.run(&["run", "--rm", "second:2", "cat", "/second"]).quiet(), "of two");
        home.run(&["run", "--rm", "first:1", "test", "!", "-e", "/second"]).quiet();
        // The layer that both have is there once.
        assert_eq!(std::fs::read_dir(home.path("root/layers")).expect("layers are in root/layers").count(), 2);
    }
    let home = Home::new();
    let file = home.write("image.tar", &image::archive(&image::oci(&images)));
    let chosen = format!("oci-archive:{}:localhost/second:2", file.display());
    assert_eq!(home.run(&["run", "--rm", &chosen, "cat", "/second"]).quiet(), "of two");
    home.run(&["run", "--rm", &format!("oci-archive:{}", file.display()), "true"]).fails(125, &["image"]);
    home.run(&["run", "--rm", &format!("oci-archive:{}:third", file.display()), "true"]).fails(125, &["third"]);
}

#[test]
fn an_image_without_a_name_is_known_by_its_id() {
    let home = Home::new();
    let image = Image { name: None, ..Image::busybox("") };
    let file = home.write("image.tar", &image::archive(&image::oci(std::slice::from_ref(&image))));
    home.run(&["load", "-q", "-i", file.to_str().unwrap()]).ok();
    let id = image::sha256(image.document().to_string().as_bytes());
    assert_eq!(home.run(&["images", "-q", "--no-trunc"]).quiet(), format!("sha256:{id}"));
    assert!(home.run(&["images"]).quiet().contains("<none>"));
    assert_eq!(home.run(&["run", "--rm", &id[..12], "echo", "fine"]).quiet(), "fine");
}

/// A disk with room for an image's blob, its unpacked layer and the reserve that is kept, and for no copy of the archive.
#[test]
fn there_is_no_temporary_copy() {
    let noise: Vec<u8> = (0..60 << 20).scan(1u64, |state, _| Some(noise(state))).collect();
    let layer = image::Layer::new().file("noise", &noise, 0o644).done();
    let archive = image::archive(&image::oci(&[Image::of("localhost/noise", vec![image::busybox_layer(), layer])]));
    for way in ["file", "stdin", "run"] {
        let script = "mount -t tmpfs -o size=200m none $HOME_DIR/root; mount -t tmpfs -o size=1m none /tmp";
        let Some(home) = Home::bent(crate::home::Who::Me, script) else { return };
        let file = home.write("noise.tar", &archive);
        let path = file.to_str().unwrap();
        match way {
            "file" => home.run(&["load", "-q", "-i", path]).ok(),
            "stdin" => home.feed(&["load", "-q"], &archive).ok(),
            _ => home.run(&["run", "--rm", &format!("oci-archive:{path}"), "true"]).ok(),
        };
        assert_eq!(home.run(&["run", "--rm", "noise", "stat", "-c", "%s", "/noise"]).quiet(), "62914560", "{way}");
    }
}

/// A byte that does not compress (xorshift64).
fn noise(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 32) as u8
}

#[test]
fn layers_hide_replace_and_keep() {
    let (dir, file) = (0o755, 0o644);
    let base = image::Layer::new()
        .dir("a", dir)
        .file("a/gone", b"1", file)
        .file("a/kept", b"2", file)
        .dir("opaque", dir)
        .file("opaque/old", b"3", file)
        .file("was-file", b"4", file)
        .dir("was-dir", dir)
        .file("was-dir/inner", b"5", file)
        .file("linked", b"6", 0o4755)
        .hardlink("link", "linked")
        .done();
    let top = image::Layer::new()
        .dir("a", 0o700)
        .file("a/.wh.gone", b"", file)
        .dir("opaque", dir)
        .file("opaque/.wh..wh..opq", b"", file)
        .file("opaque/new", b"7", file)
        .dir("was-file", dir)
        .file("was-dir", b"8", file)
        .pax(&[("SCHILY.xattr.user.note", b"kept"), ("path", b"long/but/\xffname")])
        .file("short", b"9", file)
        .done();
    let script = "cd /; find a opaque was-file was-dir link -print | sort; stat -c %a a; stat -c '%a %h' linked; cat was-dir; cd long/but; for f in *; do echo $f | tail -c 5; done";
    for who in [crate::home::Who::Me, crate::home::Who::Subuid, crate::home::Who::Single] {
        let Some(home) = Home::of(who) else { continue };
        let layers = vec![image::busybox_layer(), base.clone(), top.clone()];
        let archive = image::archive(&image::oci(&[Image::of("localhost/layers", layers)]));
        let reference = format!("oci-archive:{}", home.write("layers.tar", &archive).display());
        let out = home.run(&["run", "--rm", &reference, "sh", "-c", script]).quiet();
        let expected = "a\na/kept\nlink\nopaque\nopaque/new\nwas-dir\nwas-file\n700\n4755 2\n8";
        assert!(out.starts_with(expected), "{who:?}: {out}");
        assert!(out.ends_with("name"), "{who:?}: {out}");
    }
}
