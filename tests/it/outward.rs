//! Images go out by every way, and come back as they were: saved in each format, pushed to a registry.

use crate::home::Home;
use crate::image::{self, COMPRESSIONS, Compression, Image};
use crate::peer::{self, Registry, text};

/// An image of two layers and some noise, so that compression has something to do.
fn two(compression: Compression) -> Image {
    let noise: Vec<u8> = (0..3u32 << 20).map(|n| (n.wrapping_mul(n) >> 9) as u8 ^ (n >> 11) as u8).collect();
    let top = image::Layer::new().file("noise", &noise, 0o644).file("name", b"two\n", 0o600).done();
    Image { compression, ..Image::of("localhost/two:1", vec![image::busybox_layer(), top]) }
}

fn home_with(images: &[Image]) -> Home {
    let home = Home::new();
    let file = home.write("in.tar", &image::archive(&image::oci(images)));
    home.run(&["load", "-q", "-i", text(&file)]).ok();
    home
}

/// Id and digest of an image.
fn identity(home: &Home, name: &str) -> (String, String) {
    let line = home.run(&["image", "inspect", "--format", "{{.Id}} {{.Digest}}", name]).ok();
    let (id, digest) = line.split_once(' ').expect("two words");
    (id.into(), digest.into())
}

#[test]
fn saved_in_each_format_and_back() {
    for compression in COMPRESSIONS {
        let home = home_with(&[two(compression)]);
        let (id, digest) = identity(&home, "two:1");
        for (format, transport) in [
            ("docker-archive", "docker-archive"),
            ("oci-archive", "oci-archive"),
            ("oci-dir", "oci"),
            ("docker-dir", "dir"),
        ] {
            let path = home.path(format);
            home.run(&["save", "-q", "--format", format, "-o", text(&path), "two:1"]).quiet();
            let other = Home::new();
            let source = format!("{transport}:{}", path.display());
            assert_eq!(other.run(&["run", "--rm", &source, "cat", "/name"]).quiet(), "two", "{compression:?} {source}");
            let found = other.run(&["images", "--no-trunc", "--format", "{{.ID}} {{.Digest}}"]).quiet();
            assert!(found.starts_with(&format!("sha256:{id} ")), "{compression:?} {source}: {found}");
            // What is compressed goes as it is, and an OCI manifest into a layout, too.
            if transport.starts_with("oci") && compression != Compression::Plain {
                assert!(found.ends_with(&digest), "{compression:?} {source}: {found}");
            }
            if transport != "dir" {
                assert_eq!(other.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).quiet(), "localhost/two:1");
            }
        }
    }
}

#[test]
fn a_pipe_gets_the_bytes_of_the_file() {
    let home = home_with(&[two(Compression::Zstd)]);
    for format in ["docker-archive", "oci-archive"] {
        let path = home.path("saved.tar");
        home.run(&["save", "-q", "--format", format, "-o", text(&path), "two:1"]).quiet();
        let script = format!(
            "{} --root {} --runroot {} save -q --format {format} two:1",
            crate::home::built().display(),
            home.path("root").display(),
            home.path("run").display()
        );
        let piped = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(piped.status.success(), "{}", String::from_utf8_lossy(&piped.stderr));
        // Where the size of a layer is not known before, the header comes from the end: the bytes are the same.
        assert!(piped.stdout == std::fs::read(&path).unwrap(), "{format}");
    }
    home.run(&["save", "--format", "oci-dir", "two:1"]).fails(125, &["--output"]);
}

#[test]
fn several_images_and_names_in_one_archive() {
    let home = home_with(&[two(Compression::Gzip), Image::busybox("localhost/one:1")]);
    let path = home.path("all.tar");
    home.run(&["save", "-q", "-m", "-o", text(&path), "one:1", "two:1", "one:1"]).quiet();
    let other = Home::new();
    let said = other.run(&["load", "-i", text(&path)]).ok();
    assert_eq!(said, "Loaded image: localhost/one:1\nLoaded image: localhost/two:1");
    // The layer that both have is there once.
    let list = std::process::Command::new("tar").arg("tf").arg(&path).output().unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&list).lines().filter(|name| name.ends_with(".tar")).count(), 2);

    home.run(&["save", "-q", "-o", text(&path), "one:1", "other:2"]).quiet();
    let said = Home::new().run(&["load", "-i", text(&path)]).ok();
    assert_eq!(said, "Loaded image: localhost/one:1\nLoaded image: localhost/other:2");
    home.run(&["save", "-q", "-m", "--format", "oci-archive", "-o", text(&path), "one:1"])
        .fails(125, &["docker-archive"]);
}

#[test]
fn what_fails_leaves_the_file_as_it_was() {
    let home = home_with(&[two(Compression::Gzip)]);
    let path = home.write("kept.tar", b"as it was");
    let blobs = home.path("root/blobs/sha256");
    let blob =
        std::fs::read_dir(&blobs).unwrap().map(|e| e.unwrap().path()).max_by_key(|p| p.metadata().unwrap().len());
    let mut bytes = std::fs::read(blob.as_ref().unwrap()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(blob.as_ref().unwrap(), bytes).unwrap();
    for format in ["docker-archive", "oci-archive"] {
        home.run(&["save", "-q", "--format", format, "-o", text(&path), "two:1"]).fails(125, &["blob"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"as it was");
    }
    home.run(&["save", "-q", "-o", text(&home.path("missing/x.tar")), "two:1"]).fails(125, &["missing/x.tar"]);
    home.run(&["save", "-q", "-o", text(&path), "nothing"]).fails(125, &["nothing", "image not known"]);
}

#[test]
fn pushed_and_pulled_as_it_was() {
    let home = home_with(&[two(Compression::Gzip)]);
    let Some(registry) = Registry::start(&home, "", "") else { return };
    let (id, digest) = identity(&home, "two:1");
    let name = format!("{}/a/two:1", registry.address);
    let file = home.path("digest");
    home.run(&["push", "-q", "--digestfile", text(&file), "two:1", &name]).quiet();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), digest);
    let other = Home::new();
    other.run(&["pull", "-q", &name]).ok();
    assert_eq!(identity(&other, &name), (id, digest));
    // Under another name of the registry nothing is sent but documents: the layers are mounted from where they are.
    other.run(&["push", "-q", &name, &format!("{}/b/two:2", registry.address)]).quiet();
    home.run(&["push", "-q", "two:1", "127.0.0.1:1/x"]).fails(125, &["127.0.0.1:1"]);
}

#[test]
fn pushed_in_other_forms() {
    let home = home_with(&[two(Compression::Gzip)]);
    let Some(registry) = Registry::start(&home, "", "") else { return };
    let (id, _) = identity(&home, "two:1");
    for (tag, flags, words) in [
        ("zstd", &["--compression-format", "zstd"][..], &["vnd.oci.image.manifest.v1+json", "tar+zstd"][..]),
        ("v2s2", &["--format", "v2s2"], &["vnd.docker.distribution.manifest.v2+json", "diff.tar.gzip"]),
        ("level", &["--compression-format", "gzip", "--force-compression", "--compression-level", "1"], &["tar+gzip"]),
    ] {
        let name = format!("{}/two:{tag}", registry.address);
        home.run(&[&["push", "-q"][..], flags, &["two:1", &name]].concat()).quiet();
        let other = Home::new();
        assert_eq!(other.run(&["run", "--rm", &name, "cat", "/name"]).ok(), "two", "{tag}");
        assert_eq!(identity(&other, &name).0, id, "{tag}");
        if peer::installed("skopeo") {
            let raw = peer::skopeo(&home, &["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
            assert!(words.iter().all(|word| raw.contains(word)), "{tag}: {raw}");
        }
    }
    let name = format!("{}/two:x", registry.address);
    home.run(&["push", "-q", "--compression-format", "lzip", "two:1", &name]).fails(125, &["lzip"]);
    home.run(&["push", "-q", "--format", "v2s1", "two:1", &name]).fails(125, &["schema 1"]);
}

#[test]
fn skopeo_reads_what_was_written() {
    if !peer::installed("skopeo") {
        return;
    }
    let home = home_with(&[two(Compression::Gzip)]);
    let (_, digest) = identity(&home, "two:1");
    let path = |name: &str| home.path(name).display().to_string();
    for (to, reference, same) in [
        (format!("oci-archive:{}:name", path("o.tar")), format!("oci-archive:{}:name", path("o.tar")), true),
        (format!("oci:{}:name", path("o")), format!("oci:{}:name", path("o")), true),
        (format!("dir:{}", path("d")), format!("dir:{}", path("d")), true),
        (
            format!("docker-archive:{}:localhost/two:1", path("d.tar")),
            format!("docker-archive:{}:localhost/two:1", path("d.tar")),
            false,
        ),
    ] {
        home.run(&["push", "-q", "two:1", &to]).quiet();
        if same {
            assert_eq!(peer::digest(&home, &reference), digest, "{to}");
        }
        // Copied once more by skopeo, which verifies every blob.
        let copy = home.path("copy");
        peer::skopeo(&home, &["copy", &reference, &format!("dir:{}", copy.display())]);
        std::fs::remove_dir_all(copy).unwrap();
    }
}

#[test]
fn a_killed_save_leaves_no_file() {
    let home = home_with(&[two(Compression::Gzip)]);
    let directory = home.path("out");
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("x.tar");
    for delay in [0, 2, 5, 9, 14] {
        let running = home.start(&["save", "-q", "-o", text(&path), "two:1"]);
        std::thread::sleep(std::time::Duration::from_millis(delay));
        running.kill();
        let left: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name()).collect();
        // Nothing, or all of it.
        assert!(left.is_empty() || left == ["x.tar"], "{left:?}");
        if path.exists() {
            Home::new().run(&["load", "-q", "-i", text(&path)]).ok();
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn layers_that_lie_about_their_size_are_saved_all_the_same() {
    // Two members of gzip: the last tells only its own size.
    let layer = image::Layer::new().file("x", &[7; 5000], 0o644).done();
    let home = Home::new();
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    let (first, second) = layer.split_at(1000);
    let packed = [gzip(first), gzip(second)].concat();
    let digest = |bytes: &[u8]| format!("sha256:{}", image::sha256(bytes));
    let config = serde_json::json!({"architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]}})
    .to_string();
    let manifest = serde_json::json!({"schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config.as_bytes()), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(&packed), "size": packed.len()}]})
    .to_string();
    let blobs = home.path("layout/blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    for bytes in [&packed[..], config.as_bytes(), manifest.as_bytes()] {
        std::fs::write(blobs.join(image::sha256(bytes)), bytes).unwrap();
    }
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest(manifest.as_bytes()), "size": manifest.len(),
        "annotations": {"org.opencontainers.image.ref.name": "localhost/two:1"}}]});
    home.write("layout/index.json", index.to_string().as_bytes());
    home.write("layout/oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    let source = format!("oci:{}", home.path("layout").display());
    let id = home.run(&["pull", "-q", &source]).ok();
    let file = home.path("saved.tar").display().to_string();
    home.run(&["save", "-q", "-o", &file, &id]).quiet();
    home.run(&["rmi", "-f", &id]).ok();
    home.run(&["load", "-q", "-i", &file]).ok();
    assert_eq!(home.run(&["images", "-q", "--no-trunc"]).ok(), format!("sha256:{id}"));
}
