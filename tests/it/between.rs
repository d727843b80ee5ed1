//! Skopeo's work: images from place to place without the store, and what is told of them where they are.

use crate::home::Home;
use crate::image::{self, Compression, Image};
use crate::peer::{self, Registry, text};

/// An OCI layout in a directory of `home` with one index for two platforms under the name `both`.
fn index(home: &Home) -> String {
    let mut files = image::Files::new();
    let own = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let mut manifests = Vec::new();
    for architecture in [own, "s390x"] {
        let layer = image::Layer::new().file("which", architecture.as_bytes(), 0o644).done();
        let mut manifest = image::oci_manifest(&mut files, &Image { name: None, ..Image::of("", vec![layer]) });
        manifest["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        manifests.push(manifest);
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let list = serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
    let mut top = image::blob(&mut files, kind, list.to_string().into_bytes());
    top["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "both"});
    files.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [top]});
    files.push(("index.json".into(), index.to_string().into_bytes()));
    image::directory(&files, &home.path("both"));
    format!("oci:{}:both", home.path("both").display())
}

#[test]
fn round_and_round_with_every_digest_kept() {
    let home = Home::new();
    let Some(registry) = Registry::start(&home, "", "") else { return };
    let source = index(&home);
    let raw = home.run(&["inspect", "--raw", &source]).ok();
    let path = |name: &str| home.path(name).display().to_string();
    let ways = [
        source,
        format!("docker://{}/both:1", registry.address),
        format!("dir:{}", path("d")),
        format!("oci-archive:{}:both", path("o.tar")),
        format!("docker://{}/again:1", registry.address),
        format!("oci:{}:both", path("o")),
    ];
    for pair in ways.windows(2) {
        home.run(&["copy", "-q", "--all", "--preserve-digests", &pair[0], &pair[1]]).quiet();
        assert_eq!(home.run(&["inspect", "--raw", &pair[1]]).ok(), raw, "{pair:?}");
        if peer::installed("skopeo") {
            let found = peer::skopeo(&home, &["inspect", "--raw", "--tls-verify=false", &pair[1]]);
            assert_eq!(found.trim_end(), raw, "{pair:?}");
        }
    }
    if peer::installed("skopeo") {
        // What we wrote, Skopeo copies whole, and what it wrote, we do.
        let (from, to) = (&ways[5], format!("docker://{}/skopeo:1", registry.address));
        peer::skopeo(&home, &["copy", "--all", "--dest-tls-verify=false", from, &to]);
        home.run(&["copy", "--all", &to, &format!("dir:{}", path("back"))]).ok();
        assert_eq!(std::fs::read_to_string(home.path("back/manifest.json")).unwrap(), raw);
    }
    // Of all platforms, the one that is asked for.
    let mut found = Vec::new();
    for flags in [&[][..], &["--override-arch", "s390x"][..]] {
        let archive = format!("oci-archive:{}:one", path(&format!("{}.tar", found.len())));
        home.run(&[&["copy"][..], flags, &[&ways[1], &archive]].concat()).ok();
        let digest = image::sha256(home.run(&["inspect", "--raw", &archive]).ok().as_bytes());
        assert!(raw.contains(&digest) && !found.contains(&digest), "{digest}");
        found.push(digest);
    }
    home.run(&["copy", "-q", "--override-arch", "mips", &ways[1], &format!("dir:{}", path("m"))])
        .fails(125, &["linux/mips"]);
    let tags = home.run(&["list-tags", &format!("docker://{}/both", registry.address)]).ok();
    assert!(tags.contains(&format!("{}/both", registry.address)) && tags.contains("\"1\""), "{tags}");
}

#[test]
fn archives_of_docker_change_form() {
    let home = Home::new();
    for compression in image::COMPRESSIONS {
        let image = Image { compression, ..Image::busybox("localhost/busybox:1") };
        let id = image::sha256(image.document().to_string().as_bytes());
        let file = home.write("in.tar", &image::archive(&image::docker(&[image])));
        let path = |name: &str| home.path(name).display().to_string();
        let (layout, back) = (format!("oci:{}:b", path("layout")), path("back.tar"));
        home.run(&["copy", "-q", &format!("docker-archive:{}", file.display()), &layout]).quiet();
        home.run(&["copy", "-q", "--additional-tag", "other:2", &layout, &format!("docker-archive:{back}:busybox:1")])
            .quiet();
        let tags = home.run(&["list-tags", &format!("docker-archive:{back}")]).ok();
        assert!(tags.contains("docker.io/library/busybox:1") && tags.contains("other:2"), "{tags}");
        let other = Home::new();
        other.run(&["load", "-q", "-i", &back]).ok();
        assert_eq!(other.run(&["images", "-q", "--no-trunc"]).quiet(), format!("sha256:{id}"), "{compression:?}");
        std::fs::remove_dir_all(home.path("layout")).unwrap();
        home.run(&["copy", "-q", "--preserve-digests", &format!("docker-archive:{}", file.display()), &layout])
            .fails(125, &["digests are to be preserved"]);
    }
}

#[test]
fn to_and_from_the_store_by_name() {
    let home = Home::new();
    let file = home.write("in.tar", &image::archive(&image::oci(&[Image::busybox("x")])));
    home.run(&["copy", "-q", &format!("oci-archive:{}", file.display()), "named:7"]).ok();
    assert_eq!(home.run(&["run", "--rm", "named:7", "echo", "fine"]).quiet(), "fine");
    home.run(&["copy", "-q", "named:7", &format!("dir:{}", home.path("d").display())]).quiet();
    home.run(&["copy", "-q", "named:7", "again:8"]).quiet();
    assert_eq!(home.run(&["run", "--rm", "again:8", "echo", "fine"]).quiet(), "fine");
    std::fs::create_dir(home.path("full")).unwrap();
    home.write("full/of", b"other things");
    home.run(&["copy", "-q", "named:7", &format!("dir:{}", home.path("full").display())])
        .fails(125, &["holds something"]);
}

#[test]
fn archives_compressed_by_xz_and_bzip2() {
    for program in ["xz", "bzip2"] {
        if !peer::installed(program) {
            continue;
        }
        let home = Home::new();
        let image = Image { compression: Compression::Plain, ..Image::busybox("localhost/busybox:1") };
        let file = home.write("in.tar", &image::archive(&image::docker(&[image])));
        assert!(std::process::Command::new(program).arg(&file).status().unwrap().success());
        let file = if program == "xz" { home.path("in.tar.xz") } else { home.path("in.tar.bz2") };
        home.run(&["load", "-q", "-i", text(&file)]).ok();
        assert_eq!(home.run(&["run", "--rm", "busybox:1", "echo", "fine"]).quiet(), "fine", "{program}");
        home.run(&[
            "copy",
            "-q",
            &format!("docker-archive:{}", file.display()),
            &format!("dir:{}", home.path("d").display()),
        ])
        .quiet();
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 40].fill(7);
        let other = Home::new();
        other.feed(&["load", "-q"], &bytes).fails(125, &["standard input"]);
        assert_eq!(other.run(&["images", "-q"]).quiet(), "");
    }
}
