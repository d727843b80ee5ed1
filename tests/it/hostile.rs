//! Archives that are damaged, truncated, wrong or written to do harm: one clear error that names the blob or the entry,
//! a store that is as it was, and nothing written outside of the layer.

use crate::home::{Home, Output};
use crate::image::{self, Compression, Files, Image, Layer};
use serde_json::{Value, json};
use std::path::Path;

/// Loads `bytes` from a file and from standard input: both have to fail, each with `words`, and leave nothing.
#[track_caller]
fn refused(bytes: &[u8], words: &[&str]) -> Vec<Output> {
    let home = Home::new();
    let file = home.write("bad.tar", bytes);
    home.run(&["images", "-q"]).quiet();
    let before = listing(&home.path("root"));
    let path = file.to_str().unwrap();
    let outputs = vec![
        home.run(&["load", "-i", path]).fails(125, words),
        home.feed(&["load"], bytes).fails(125, words),
        home.run(&["run", "--rm", &format!("oci-archive:{path}"), "true"]),
    ];
    assert_eq!(outputs[2].code, 125, "{outputs:?}");
    assert_eq!(home.run(&["images", "-aq"]).quiet(), "", "a bad image is in the store");
    assert!(home.containers().is_empty());
    assert_eq!(listing(&home.path("root")), before, "the store is not as it was");
    home.load();
    assert_eq!(home.run(&["run", "--rm", "busybox", "echo", "fine"]).quiet(), "fine");
    outputs
}

/// Everything in the store but the database's own files.
fn listing(root: &Path) -> Vec<String> {
    let output = std::process::Command::new("find").arg(root).args(["-mindepth", "2"]).output().unwrap();
    let mut lines: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect();
    lines.sort();
    lines
}

/// An OCI archive with busybox and one more layer on it.
fn with_layer(layer: Vec<u8>) -> Vec<u8> {
    image::archive(&image::oci(&[Image::of("localhost/bad", vec![image::busybox_layer(), layer])]))
}

/// The files of the busybox archive, to be bent.
fn files() -> Files {
    image::oci(&[Image::busybox("localhost/bad")])
}

fn largest(files: &mut Files) -> &mut (String, Vec<u8>) {
    files.iter_mut().max_by_key(|(_, bytes)| bytes.len()).unwrap()
}

#[test]
fn damaged_blobs() {
    let mut bent = files();
    let (name, bytes) = largest(&mut bent);
    let digest = name.rsplit('/').next().unwrap()[..12].to_string();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    refused(&image::archive(&bent), &[&digest]);
    // The same size and a valid stream, but another layer than was promised.
    let mut bent = files();
    let other = image::compress(&Layer::new().file("x", b"other", 0o644).done(), Compression::Gzip);
    let (name, bytes) = largest(&mut bent);
    let digest = name.rsplit('/').next().unwrap()[..12].to_string();
    *bytes = other;
    refused(&image::archive(&bent), &[&digest]);
}

#[test]
fn truncated_archives() {
    let whole = image::archive(&files());
    for part in [100, 600, whole.len() / 3, whole.len() - 3000] {
        let home = Home::new();
        home.run(&["images"]).quiet();
        let before = listing(&home.path("root"));
        let file = home.write("cut.tar", &whole[..part]);
        for output in [home.run(&["load", "-i", file.to_str().unwrap()]), home.feed(&["load"], &whole[..part])] {
            output.fails(125, &[]);
        }
        assert_eq!(listing(&home.path("root")), before, "{part} bytes of {}", whole.len());
    }
    let gzip = image::compress(&whole, Compression::Gzip);
    refused(&gzip[..gzip.len() / 2], &[]);
    let zstd = image::compress(&whole, Compression::Zstd);
    refused(&zstd[..zstd.len() / 2], &[]);
}

#[test]
fn what_is_no_archive() {
    for bytes in [&b""[..], b"no archive at all", &[0; 10240], &[0xff; 4096]] {
        refused(bytes, &[]);
    }
    refused(&image::archive(&vec![("hello.txt".into(), b"hello".to_vec())]), &[]);
    let home = Home::new();
    home.run(&["load", "-i", "/"]).fails(125, &[]);
    home.run(&["load", "-i", "/no/such"]).fails(125, &["/no/such"]);
    let words = ["payload does not match any of the supported image formats", "too short"];
    home.feed(&["load", "-q"], b"no archive").fails(125, &words);
}

/// The archive with its configuration changed by `bend`, all digests above it right.
fn with_config(bend: impl Fn(&mut Value)) -> Vec<u8> {
    let image = Image::busybox("localhost/bad");
    let mut document = image.document();
    bend(&mut document);
    let mut files = Files::new();
    let layer = image::blob(
        &mut files,
        "application/vnd.oci.image.layer.v1.tar+gzip",
        image::compress(&image.layers[0], Compression::Gzip),
    );
    let config = image::blob(&mut files, "application/vnd.oci.image.config.v1+json", document.to_string().into_bytes());
    finish(files, json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}))
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Packs `files` with `manifest` as the only image.
fn finish(mut files: Files, manifest: Value) -> Vec<u8> {
    let mut descriptor = image::blob(&mut files, MANIFEST, manifest.to_string().into_bytes());
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": "localhost/bad"});
    with_index(files, json!([descriptor]))
}

fn with_index(mut files: Files, manifests: Value) -> Vec<u8> {
    files.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    files.push(("index.json".into(), json!({"schemaVersion": 2, "manifests": manifests}).to_string().into_bytes()));
    image::archive(&files)
}

#[test]
fn wrong_diff_ids() {
    let zeros = format!("sha256:{}", "0".repeat(64));
    refused(&with_config(|config| config["rootfs"]["diff_ids"][0] = json!(zeros)), &["diff"]);
    refused(&with_config(|config| config["rootfs"]["diff_ids"] = json!([])), &[]);
    refused(&with_config(|config| config["rootfs"]["diff_ids"] = json!([zeros, zeros])), &[]);
    refused(&with_config(|config| *config = json!("not an object")), &[]);
    refused(&with_config(|config| config["rootfs"] = json!(null)), &[]);
}

#[test]
fn wrong_manifests() {
    let image = Image::busybox("localhost/bad");
    let parts = || {
        let mut files = Files::new();
        let layer = image::blob(
            &mut files,
            "application/vnd.oci.image.layer.v1.tar+gzip",
            image::compress(&image.layers[0], Compression::Gzip),
        );
        let config = image::blob(
            &mut files,
            "application/vnd.oci.image.config.v1+json",
            image.document().to_string().into_bytes(),
        );
        (files, layer, config)
    };
    let (files, mut layer, config) = parts();
    layer["size"] = json!(17);
    refused(
        &finish(files, json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]})),
        &[],
    );
    let (files, mut layer, config) = parts();
    layer["digest"] = json!("sha256:../../../../etc/passwd");
    refused(
        &finish(files, json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]})),
        &[],
    );
    let (files, mut layer, config) = parts();
    layer["digest"] = json!(format!("sha256:{}", "a".repeat(64)));
    refused(
        &finish(files, json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]})),
        &["aaaaaaaaaaaa"],
    );
    let (files, layer, mut config) = parts();
    config["size"] = json!(1u64 << 60);
    refused(
        &finish(files, json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]})),
        &[],
    );
    let (files, _, _) = parts();
    refused(&finish(files, json!({"schemaVersion": 2})), &[]);
    let (files, _, _) = parts();
    refused(&finish(files, json!([[[[]]]])), &[]);
}

#[test]
fn manifests_without_end() {
    // An index whose only entry is an index whose digest nobody can know: a cycle cannot be written, a long chain can.
    let mut files = Files::new();
    let mut last = image::oci_manifest(&mut files, &Image::busybox("localhost/bad"));
    for _ in 0..200 {
        let document = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [last]});
        last = image::blob(&mut files, INDEX, document.to_string().into_bytes());
    }
    refused(&with_index(files, json!([last])), &[]);
    // A manifest that is larger than any real one.
    let mut files = Files::new();
    let filler = "x".repeat(40 << 20);
    let huge =
        image::blob(&mut files, MANIFEST, json!({"schemaVersion": 2, "filler": filler}).to_string().into_bytes());
    refused(&with_index(files, json!([huge])), &[]);
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let mut files = Files::new();
    let nested = image::blob(&mut files, MANIFEST, deep.into_bytes());
    refused(&with_index(files, json!([nested])), &[]);
}

#[test]
fn entries_that_lead_out_of_the_layer() {
    let outside = Path::new("/var/tmp").join(format!("monopod-it-outside-{}", std::process::id()));
    let name = outside.file_name().unwrap().to_str().unwrap();
    let up = "../".repeat(12);
    let out = format!("{up}var/tmp/{name}");
    let absolute = outside.to_str().unwrap();
    let (regular, symlink, link) = (tar::EntryType::Regular, tar::EntryType::Symlink, tar::EntryType::Link);
    let layers: Vec<(&str, Layer)> = vec![
        ("dots", Layer::new().entry(out.as_bytes(), regular, b"", b"harm", 0o644, 0)),
        (
            "inner dots",
            Layer::new().dir("a", 0o755).entry(format!("a/{out}").as_bytes(), regular, b"", b"harm", 0o644, 0),
        ),
        ("absolute", Layer::new().entry(absolute.as_bytes(), regular, b"", b"harm", 0o644, 0)),
        (
            "symlink",
            Layer::new().entry(b"way", symlink, b"/var/tmp", b"", 0o777, 0).entry(
                format!("way/{name}").as_bytes(),
                regular,
                b"",
                b"harm",
                0o644,
                0,
            ),
        ),
        (
            "relative symlink",
            Layer::new().entry(b"way", symlink, up.as_bytes(), b"", 0o777, 0).entry(
                format!("way/var/tmp/{name}").as_bytes(),
                regular,
                b"",
                b"harm",
                0o644,
                0,
            ),
        ),
        (
            "symlink to the file",
            Layer::new()
                .entry(b"f", symlink, absolute.as_bytes(), b"", 0o777, 0)
                .entry(b"f", regular, b"", b"harm", 0o644, 0),
        ),
        (
            "hardlink",
            Layer::new().entry(b"way", symlink, b"/var", b"", 0o777, 0).entry(b"h", link, b"way/tmp", b"", 0o644, 0),
        ),
        ("hardlink up", Layer::new().entry(b"h", link, format!("{up}etc/passwd").as_bytes(), b"", 0o644, 0)),
        (
            "whiteout",
            Layer::new().entry(b"way", symlink, b"/var/tmp", b"", 0o777, 0).entry(
                format!("way/.wh.{name}").as_bytes(),
                regular,
                b"",
                b"",
                0o644,
                0,
            ),
        ),
        ("whiteout up", Layer::new().entry(format!("{up}var/tmp/.wh.{name}").as_bytes(), regular, b"", b"", 0o644, 0)),
        ("whiteout of all", Layer::new().entry(b".wh...", regular, b"", b"", 0o644, 0)),
        (
            "whiteout of itself",
            Layer::new().entry(b".wh..", regular, b"", b"", 0o644, 0).entry(b".wh.", regular, b"", b"", 0o644, 0),
        ),
        ("opaque up", Layer::new().entry(format!("{up}var/tmp/.wh..wh..opq").as_bytes(), regular, b"", b"", 0o644, 0)),
    ];
    std::fs::write(&outside, b"untouched").unwrap();
    for (what, layer) in layers {
        let home = Home::new();
        let file = home.write("bad.tar", &with_layer(layer.done()));
        let output = home.run(&["load", "-q", "-i", file.to_str().unwrap()]);
        // To confine such an entry is as good as to refuse it; a refusal names it.
        assert!(output.code == 0 || output.code == 125 && output.err.starts_with("Error: "), "{what}: {output:?}");
        assert_eq!(std::fs::read(&outside).unwrap(), b"untouched", "{what}");
        if output.code == 0 {
            home.run(&["run", "--rm", "localhost/bad", "true"]).code(0);
        }
        assert_eq!(std::fs::read(&outside).unwrap(), b"untouched", "{what}");
    }
    std::fs::remove_file(&outside).unwrap();
}

#[test]
fn names_of_all_kinds() {
    let home = Home::new();
    let layer = Layer::new()
        .entry(b"not-\xff\xfe-utf8", tar::EntryType::Regular, b"", b"1", 0o644, 0)
        .entry(b"new\nline", tar::EntryType::Regular, b"", b"2", 0o644, 0)
        .entry(b"./dotted/./deep", tar::EntryType::Regular, b"", b"3", 0o644, 0)
        .pax(&[("path", "n".repeat(255).as_bytes())])
        .file("short", b"4", 0o644)
        .done();
    let file = home.write("names.tar", &with_layer(layer));
    let script = "cat not-*-utf8 new*line dotted/deep nnnnn*";
    assert_eq!(
        home.run(&["run", "--rm", &format!("oci-archive:{}", file.display()), "sh", "-c", script]).quiet(),
        "1234"
    );
    // Longer than any file system takes: refused with the name.
    let long = Layer::new().pax(&[("path", "m".repeat(5000).as_bytes())]).file("short", b"", 0o644).done();
    refused(&with_layer(long), &[]);
}

#[test]
fn bombs() {
    // A layer that inflates to far more than its archive could mean, with the size it declares for one file being a lie.
    let zeros = vec![0; 8 << 20];
    let mut cut = Layer::new().file("zeros", &zeros, 0o644).done();
    cut.truncate(1 << 20);
    refused(&with_layer(cut), &[]);
    let mut header = tar::Header::new_gnu();
    header.set_path("huge").unwrap();
    header.set_size(1 << 60);
    header.set_mode(0o644);
    header.set_cksum();
    let mut huge = header.as_bytes().to_vec();
    huge.extend([0; 4096]);
    refused(&with_layer(huge), &[]);
    // A header block of names alone, without end.
    let long = Layer::new().pax(&[("comment", &vec![b'x'; 20 << 20])]).file("short", b"", 0o644).done();
    refused(&with_layer(long), &[]);
}

/// A few kilobytes that would fill any disk: refused when this one is nearly full, and taken away again.
#[test]
fn a_layer_larger_than_the_disk() {
    let Some(home) = Home::bent(crate::home::Who::Me, "mount -t tmpfs -o size=300m none $HOME_DIR/root") else {
        return;
    };
    home.run(&["images"]).quiet();
    let before = listing(&home.path("root"));
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(3 << 30);
    header.set_mode(0o644);
    header.set_cksum();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let mut write = |bytes: &[u8]| std::io::Write::write_all(&mut encoder, bytes).unwrap();
    write(header.as_bytes());
    let zeros = vec![0; 1 << 20];
    (0..3 << 10).for_each(|_| write(&zeros));
    write(&[0; 1024]);
    let mut files = Files::new();
    let layer = image::blob(&mut files, "application/vnd.oci.image.layer.v1.tar+zstd", encoder.finish().unwrap());
    let document = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", "c".repeat(64))]}});
    let config = image::blob(&mut files, "application/vnd.oci.image.config.v1+json", document.to_string().into_bytes());
    let bomb = finish(files, json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}));
    assert!(bomb.len() < 2 << 20);
    let file = home.write("bomb.tar", &bomb);
    home.run(&["load", "-i", file.to_str().unwrap()]).fails(125, &["space"]);
    home.feed(&["load"], &bomb).fails(125, &["space"]);
    assert_eq!(listing(&home.path("root")), before);
    home.load();
    assert_eq!(home.run(&["run", "--rm", "busybox", "echo", "fine"]).quiet(), "fine");
}

#[test]
fn attributes_that_belong_to_the_overlay_are_dropped() {
    let layer = Layer::new()
        .pax(&[("SCHILY.xattr.trusted.overlay.opaque", b"y"), ("SCHILY.xattr.user.overlay.opaque", b"y")])
        .dir("etc", 0o755)
        .pax(&[("SCHILY.xattr.trusted.overlay.redirect", b"/root"), ("SCHILY.xattr.user.overlay.redirect", b"/root")])
        .dir("bin", 0o755)
        .done();
    let home = Home::new();
    let file = home.write("attributes.tar", &with_layer(layer));
    let out = home.run(&["run", "--rm", &format!("oci-archive:{}", file.display()), "ls", "/etc"]).quiet();
    assert!(out.contains("passwd"), "an image's own attribute hid the layers below: {out}");
}

#[test]
fn links_among_the_blobs() {
    let home = Home::new();
    let directory = home.path("layout");
    image::directory(&files(), &directory);
    let elsewhere = home.path("elsewhere");
    std::fs::rename(directory.join("blobs"), &elsewhere).unwrap();
    std::os::unix::fs::symlink("/etc", directory.join("blobs")).unwrap();
    home.run(&["run", "--rm", &format!("oci:{}", directory.display()), "true"]).fails(125, &[]);
    // An archive whose `blobs` is a link.
    let layer = Layer::new()
        .entry(b"blobs", tar::EntryType::Symlink, b"/etc", b"", 0o777, 0)
        .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)
        .file("index.json", json!({"schemaVersion": 2, "manifests": [{"mediaType": MANIFEST, "size": 3, "digest": format!("sha256:{}", "b".repeat(64))}]}).to_string().as_bytes(), 0o644);
    refused(&layer.done(), &[]);
}
