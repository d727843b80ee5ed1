//! Layers that are kept unpacked alone: they are saved as they were, and pushed as far as that can be.

use crate::home::Home;
use crate::image::{self, Compression, Image};
use crate::peer::{Registry, text};
use std::path::Path;

fn blobs(home: &Home) -> usize {
    std::fs::read_dir(home.path("root/blobs/sha256")).map_or(0, |all| all.count())
}

fn archive(home: &Home, compression: Compression) -> std::path::PathBuf {
    let mut image = Image { compression, ..Image::busybox("localhost/app:1") };
    image.layers.push(image::Layer::new().file("data", &[7; 9000], 0o4755).hardlink("again", "data").done());
    home.write("in.tar", &image::archive(&image::oci(&[image])))
}

fn save(home: &Home, format: &str, name: &str) -> Vec<u8> {
    let to = home.path(name);
    home.run(&["save", "-q", "--format", format, "-o", text(&to), "app:1"]).quiet();
    std::fs::read(to).unwrap()
}

#[test]
fn what_is_saved_is_what_came() {
    for compression in image::COMPRESSIONS {
        let (home, other) = (Home::new(), Home::new());
        let file = archive(&home, compression);
        let from = format!("oci-archive:{}:localhost/app:1", file.display());
        let id = home.run(&["pull", "-q", "--no-blobs", &from]).quiet();
        assert_eq!(other.run(&["pull", "-q", &from]).quiet(), id);
        assert!(blobs(&home) == 0 && blobs(&other) == 2);
        let run = ["run", "--rm", "--network", "none", "app:1", "stat", "-c", "%a %h", "/again"];
        assert_eq!(home.run(&run).quiet(), "4755 2");
        assert!(
            save(&home, "docker-archive", "out.tar") == save(&other, "docker-archive", "out.tar"),
            "{compression:?}"
        );
        // What was compressed is compressed anew, and is the same image all the same.
        save(&home, "oci-archive", "oci.tar");
        let (third, oci) = (Home::new(), home.path("oci.tar"));
        assert_eq!(third.run(&["pull", "-q", &format!("oci-archive:{}", oci.display())]).quiet(), id);
        if compression == Compression::Plain {
            // A tar that was never compressed is its own blob.
            let manifest = |home: &Home| home.run(&["images", "--no-trunc", "--format", "{{.Digest}}"]).quiet();
            home.run(&["save", "-q", "--uncompressed", "--format", "oci-dir", "-o", text(&home.path("dir")), "app:1"])
                .quiet();
            assert_eq!(third.run(&["rmi", "-f", &id]).code, 0);
            third.run(&["pull", "-q", &format!("oci:{}", home.path("dir").display())]).ok();
            assert_eq!(manifest(&third), manifest(&other));
        }
        home.run(&["system", "check"]).ok();
        home.run(&["rmi", "-f", &id]).ok();
        assert_eq!(std::fs::read_dir(home.path("root/recipes")).unwrap().count(), 0);
    }
}

#[test]
fn every_way_in_may_leave_blobs_out() {
    let plain = Home::new();
    let file = archive(&plain, Compression::Gzip);
    let docker = plain.path("docker.tar");
    plain.run(&["load", "-q", "-i", text(&file)]).ok();
    plain.run(&["save", "-q", "-o", text(&docker), "app:1"]).quiet();
    let bytes = std::fs::read(&docker).unwrap();
    let same = |home: &Home| {
        assert_eq!(blobs(home), 0);
        assert!(save(home, "docker-archive", "again.tar") == bytes);
    };
    for file in [&file, &docker] {
        let home = Home::new();
        home.run(&["load", "-q", "--no-blobs", "-i", text(file)]).ok();
        same(&home);
        let piped = Home::new();
        piped.feed(&["load", "-q", "--no-blobs"], &std::fs::read(file).unwrap()).ok();
        same(&piped);
    }
    // By configuration, of which a flag is an exception.
    let home = Home::new();
    let config = home.write("containers.conf", b"[engine]\nno_blobs = true\n");
    let home = home.variable("CONTAINERS_CONF", text(&config));
    home.run(&["load", "-q", "-i", text(&docker)]).ok();
    same(&home);
    home.run(&["run", "--name", "c", "--network", "none", "app:1", "sh", "-c", "echo new > /new"]).quiet();
    home.run(&["commit", "-q", "c", "made"]).ok();
    home.feed(&["import", "-", "imported"], &image::busybox_layer()).ok();
    assert_eq!(blobs(&home), 0);
    assert_eq!(home.run(&["run", "--rm", "--network", "none", "made", "cat", "/new"]).quiet(), "new");
    home.run(&["rm", "-f", "c"]).ok();
    home.run(&["rmi", "-f", "-a"]).ok();
    home.run(&["load", "-q", "--no-blobs=false", "-i", text(&docker)]).ok();
    assert_eq!(blobs(&home), 2);
}

#[test]
fn a_registry_that_has_the_blobs_gets_the_same_manifest() {
    let home = Home::new();
    let Some(registry) = Registry::start(&home, "", "") else { return };
    let file = archive(&home, Compression::Gzip);
    let name = |tag: &str| format!("{}/app:{tag}", registry.address);
    home.run(&["copy", "-q", &format!("oci-archive:{}", file.display()), &format!("docker://{}", name("1"))]).quiet();
    home.run(&["pull", "-q", "--no-blobs", &name("1")]).ok();
    assert_eq!(blobs(&home), 0);
    let digest = |file: &Path| std::fs::read_to_string(file).unwrap();
    let (first, second) = (home.path("first"), home.path("second"));
    home.run(&["push", "-q", "--digestfile", text(&first), &name("1"), &name("2")]).quiet();
    assert_eq!(home.run(&["images", "--format", "{{.Digest}}"]).quiet(), digest(&first));
    // Elsewhere they are made anew; the image stays the same.
    let there = Home::new();
    let Some(other) = Registry::start(&there, "", "") else { return };
    let elsewhere = format!("{}/app:1", other.address);
    home.run(&["push", "-q", "--digestfile", text(&second), &name("1"), &elsewhere]).quiet();
    assert_ne!(digest(&first), digest(&second));
    let id = home.run(&["images", "-q", "--no-trunc"]).quiet();
    assert_eq!(format!("sha256:{}", there.run(&["pull", "-q", &elsewhere]).quiet()), id);
}
