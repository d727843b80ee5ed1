//! Artifacts: made of files, listed, sent to a registry and to skopeo, brought back, written to files again.

use crate::home::Home;
use crate::image;
use crate::peer::{self, Registry, text};
use serde_json::Value;

fn inspect(home: &Home, name: &str) -> Value {
    serde_json::from_str(&home.run(&["artifact", "inspect", name]).ok()).expect("JSON")
}

#[test]
fn an_artifact_is_made_changed_and_removed() {
    let home = Home::new();
    let (a, b) = (home.write("a.txt", b"text"), home.write("b.bin", &[0, 1, 2]));
    let add = |more: &[&str]| home.run(&[&["artifact", "add"], more].concat());
    let first = add(&["--type", "application/x.mine", "--annotation", "k=v", "mine:1", text(&a)]).ok();
    assert_eq!(first.len(), 64, "{first}");
    add(&["mine:1", text(&b)]).fails(125, &["exists", "--append"]);
    add(&["--append", "other", text(&b)]).fails(125, &["other", "does not exist"]);
    add(&["--annotation", "novalue", "other", text(&b)]).fails(125, &["novalue", "KEY=VALUE"]);
    add(&["other", "/missing/file"]).fails(125, &["/missing/file"]);
    add(&["--append", "mine:1", text(&b)]).ok();
    let found = inspect(&home, "mine:1");
    assert_eq!(found["Name"], "localhost/mine:1");
    assert_eq!(found["Manifest"]["artifactType"], "application/x.mine");
    assert_eq!(found["Manifest"]["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    assert_eq!(found["Manifest"]["layers"][0]["annotations"]["k"], "v");
    assert_eq!(found["Manifest"]["layers"][1]["annotations"]["org.opencontainers.image.title"], "b.bin");
    let digest = found["Digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
    let list = home.run(&["artifact", "ls", "--noheading"]).ok();
    assert_eq!(list.split_whitespace().collect::<Vec<_>>(), ["localhost/mine", "1", &digest[..12], "7", "B"]);
    assert_eq!(home.run(&["artifact", "ls", "--format", "{{.Repository}}:{{.Tag}}"]).ok(), "localhost/mine:1");
    // By the beginning of its digest, too.
    assert_eq!(inspect(&home, &digest[..8])["Digest"], found["Digest"]);

    let extract = |more: &[&str]| home.run(&[&["artifact", "extract"], more].concat());
    std::fs::create_dir(home.path("out")).unwrap();
    extract(&["mine:1", text(&home.path("out"))]).quiet();
    assert_eq!(std::fs::read(home.path("out/a.txt")).unwrap(), b"text");
    assert_eq!(std::fs::read(home.path("out/b.bin")).unwrap(), [0, 1, 2]);
    extract(&["mine:1", text(&home.path("one"))]).fails(125, &["2 files"]);
    extract(&["--title", "a.txt", "mine:1", text(&home.path("one"))]).quiet();
    assert_eq!(std::fs::read(home.path("one")).unwrap(), b"text");
    extract(&["--title", "no", "mine:1", text(&home.path("one"))]).fails(125, &["no such file"]);

    home.run(&["artifact", "rm", "nothing"]).fails(125, &["nothing", "does not exist"]);
    home.run(&["artifact", "rm", "--ignore", "nothing"]).quiet();
    assert_eq!(home.run(&["artifact", "rm", "mine:1"]).ok(), digest);
    assert_eq!(home.run(&["artifact", "ls", "-n"]).ok(), "");
    assert_eq!(std::fs::read_dir(home.path("root/artifacts/blobs/sha256")).unwrap().count(), 0, "blobs are left");
}

#[test]
fn an_artifact_goes_round_by_a_registry() {
    let home = Home::new();
    let Some(registry) = Registry::start(&home, "", "") else { return };
    let name = format!("{}/files/mine:1", registry.address);
    let layer = image::Layer::new().file("x", b"y", 0o644).done();
    // What looks like a layer, and is none, goes as it is.
    let file = home.write("plain.tar", &layer);
    home.run(&["artifact", "add", "--file-type", "application/x.data.tar", &name, text(&file)]).ok();
    let digest = inspect(&home, &name)["Digest"].as_str().unwrap().to_owned();
    let written = home.path("digest");
    home.run(&["artifact", "push", "-q", "--digestfile", text(&written), &name]).quiet();
    assert_eq!(std::fs::read_to_string(written).unwrap(), digest);
    home.run(&["artifact", "rm", "--all"]).ok();
    home.run(&["artifact", "pull", "-q", &format!("{name}-no")]).fails(125, &["files/mine"]);
    assert_eq!(format!("sha256:{}", home.run(&["artifact", "pull", "-q", &name]).ok()), digest);
    assert_eq!(inspect(&home, &name)["Digest"], digest.as_str());
    home.run(&["artifact", "extract", &name, text(&home.path("back"))]).quiet();
    assert_eq!(std::fs::read(home.path("back")).unwrap(), layer);
    if peer::installed("skopeo") {
        assert_eq!(peer::digest(&home, &format!("docker://{name}")), digest);
    }
    // It is no image.
    home.run(&["pull", "-q", &name]).fails(125, &["artifact"]);
}

#[test]
fn names_of_strangers_do_not_lead_out_of_the_directory() {
    let home = Home::new();
    let file = home.write("a.txt", b"text");
    home.run(&["artifact", "add", "mine", text(&file)]).ok();
    // An artifact with a bad name, as another's registry would give it.
    let index = home.path("root/artifacts/index.json");
    let mut found: Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    let digest = found["manifests"][0]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let blobs = home.path("root/artifacts/blobs/sha256");
    let manifest = std::fs::read_to_string(blobs.join(digest)).unwrap().replace("a.txt", "../escaped");
    let digest = image::sha256(manifest.as_bytes());
    std::fs::write(blobs.join(&digest), &manifest).unwrap();
    found["manifests"][0]["digest"] = format!("sha256:{digest}").into();
    std::fs::write(&index, found.to_string()).unwrap();
    std::fs::create_dir(home.path("out")).unwrap();
    home.run(&["artifact", "extract", "mine", text(&home.path("out"))]).fails(125, &["../escaped"]);
    assert!(!home.path("escaped").exists());
    home.run(&["artifact", "extract", "mine", text(&home.path("one"))]).quiet();
}

#[test]
fn an_artifact_about_an_image_is_listed_with_it() {
    let home = Home::new();
    let Some(registry) = Registry::start(&home, "", "") else { return };
    home.load();
    let (image, docker) = (format!("{}/app:1", registry.address), format!("docker://{}/app:1", registry.address));
    home.run(&["push", "-q", "busybox", &image]).quiet();
    let referring = |more: &[&str]| -> Value {
        let found = home.run(&[&["inspect", "--referrers", &docker], more].concat()).ok();
        serde_json::from_str::<Value>(&found).unwrap()["manifests"].clone()
    };
    assert_eq!(referring(&[]), Value::Array(Vec::new()));
    let file = home.write("a.txt", b"text");
    let add = |name: &str, kind: &str| {
        home.run(&["artifact", "add", "--type", kind, "--subject", &docker, name, text(&file)]).ok()
    };
    let first = add("first", "application/x.first");
    add("second", "application/x.second");
    // A registry that keeps no such list has it under a tag; the second time nothing changes.
    for (artifact, tag) in [("first", "a"), ("second", "b"), ("first", "a")] {
        home.run(&["artifact", "push", "-q", artifact, &format!("{}/app:{tag}", registry.address)]).quiet();
    }
    let found = referring(&[]);
    assert_eq!(found.as_array().unwrap().len(), 2, "{found}");
    assert_eq!(found[0]["digest"], format!("sha256:{first}"));
    assert_eq!(found[0]["artifactType"], "application/x.first");
    let chosen = referring(&["--referrer-type", "application/x.second"]);
    assert_eq!((chosen.as_array().unwrap().len(), &chosen[0]), (1, &found[1]));
    home.run(&["inspect", "--referrers", "oci-archive:/x"]).fails(125, &["registries"]);
    home.run(&["artifact", "add", "--append", "--subject", &docker, "first", text(&file)]).fails(125, &["--subject"]);
    home.run(&["artifact", "add", "--subject", &format!("{docker}-no"), "third", text(&file)]).fails(125, &["unknown"]);
}

#[test]
fn what_a_killed_command_left_for_a_list_goes() {
    let home = Home::new();
    let file = home.write("a.txt", b"text");
    home.run(&["manifest", "create", "list"]).ok();
    home.run(&["manifest", "add", "--artifact", "list", text(&file)]).ok();
    let index = home.path("root/artifacts/index.json");
    let read = || -> Value { serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap() };
    let before = read();
    // As it is where nobody came to write it down in the list.
    let mut left = before.clone();
    let mut entry = left["manifests"][0].clone();
    entry["annotations"]["org.opencontainers.image.ref.name"] = "listed-0123".into();
    left["manifests"].as_array_mut().unwrap().push(entry);
    std::fs::write(&index, left.to_string()).unwrap();
    home.run(&["artifact", "ls"]).ok();
    assert_eq!(read()["manifests"], before["manifests"]);
    home.run(&["manifest", "inspect", "list"]).ok();
    home.run(&["manifest", "rm", "list"]).ok();
    assert_eq!(read()["manifests"], Value::Array(Vec::new()));
}
