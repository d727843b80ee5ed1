//! Lists of images for several platforms: put together, changed, pushed and read by others.

use crate::home::Home;
use crate::image::{self, Image};
use crate::peer::{self, Registry, digest, text};
use serde_json::Value;

/// A small image of its own for `architecture`, in an archive; gives the source.
fn archive(home: &Home, architecture: &str) -> String {
    let layer = image::Layer::new().file("which", architecture.as_bytes(), 0o644).done();
    let mut image = Image::of("localhost/app:1", vec![layer]);
    image.architecture = Some(architecture.into());
    let file = home.write(&format!("{architecture}.tar"), &image::archive(&image::oci(&[image])));
    format!("oci-archive:{}", text(&file))
}

fn inspect(home: &Home, name: &str) -> Value {
    serde_json::from_str(&home.run(&["manifest", "inspect", name]).ok()).expect("JSON")
}

#[test]
fn a_list_is_put_together_pushed_and_read_by_others() {
    let home = Home::new();
    let Some(registry) = Registry::start(&home, "", "") else { return };
    home.load();
    let id = home.run(&["manifest", "create", "mine"]).ok();
    assert_eq!(id.len(), 64, "{id}");
    home.run(&["manifest", "create", "mine"]).fails(125, &["mine", "--amend"]);
    home.run(&["manifest", "create", "busybox"]).fails(125, &["busybox"]);
    assert_eq!(home.run(&["manifest", "create", "--amend", "mine", "busybox"]).ok(), id);
    let (arm, s390x) = (archive(&home, "arm64"), archive(&home, "s390x"));
    assert_eq!(home.run(&["manifest", "add", "mine", &arm]).ok(), id);
    let elsewhere = format!("{}/app:s390x", registry.address);
    home.run(&["copy", "-q", &s390x, &format!("docker://{elsewhere}")]).quiet();
    home.run(&["manifest", "add", "--annotation", "a=b", "--features", "x,y", "mine", &elsewhere]).ok();
    let list = inspect(&home, "mine");
    assert_eq!(list["manifests"][1]["platform"]["architecture"], "arm64");
    assert_eq!(list["manifests"][2]["platform"]["architecture"], "s390x");
    assert_eq!(list["manifests"][2]["platform"]["features"], serde_json::json!(["x", "y"]));
    assert_eq!(list["manifests"][2]["annotations"]["a"], "b");
    let second = list["manifests"][1]["digest"].as_str().unwrap().to_owned();
    home.run(&["manifest", "annotate", "--variant", "v8", "--os-version", "1.2", "mine", &second]).ok();
    home.run(&["manifest", "annotate", "--index", "--annotation", "all=yes", "mine"]).ok();
    home.run(&["manifest", "annotate", "--index", "--arch", "arm64", "mine"]).fails(125, &["--index"]);
    let list = inspect(&home, "mine");
    assert_eq!(list["manifests"][1]["platform"]["os.version"], "1.2");
    assert_eq!(list["annotations"]["all"], "yes");
    // The list is run as the image of it that fits the machine.
    assert_eq!(home.run(&["run", "--rm", "mine", "echo", "fine"]).quiet(), "fine");

    let to = format!("{}/all:1", registry.address);
    // The tag that was added moves on: what is pushed is what was added.
    home.run(&["copy", "-q", &arm, &format!("docker://{elsewhere}")]).quiet();
    let file = home.path("digest");
    home.run(&["manifest", "push", "-q", "--digestfile", text(&file), "mine", &to]).quiet();
    assert_eq!(inspect(&home, &format!("docker://{to}")), list);
    if peer::installed("skopeo") {
        assert_eq!(digest(&home, &format!("docker://{to}")), std::fs::read_to_string(&file).unwrap());
        let copied = format!("oci:{}", text(&home.path("by-skopeo")));
        peer::skopeo(&home, &["copy", "--all", "--src-tls-verify=false", &format!("docker://{to}"), &copied]);
        // And what others have made is taken in whole.
        home.run(&["manifest", "create", "--all", "theirs", &copied]).ok();
        assert_eq!(inspect(&home, "theirs")["manifests"], list["manifests"]);
    }
    let local = format!("oci-archive:{}:all", text(&home.path("all.tar")));
    home.run(&["manifest", "push", "-q", "--rm", "mine", &local]).quiet();
    assert_eq!(
        home.run(&["inspect", "--raw", &local]).ok(),
        home.run(&["inspect", "--raw", &format!("docker://{to}")]).ok()
    );
    home.run(&["manifest", "exists", "mine"]).code(1);
    home.run(&["manifest", "inspect", "localhost/mine"]).fails(125, &["localhost/mine is not in the store"]);
}

#[test]
fn entries_and_lists_go() {
    let home = Home::new();
    let source = archive(&home, "arm64");
    home.run(&["manifest", "create", "one", &source]).ok();
    home.run(&["manifest", "exists", "one"]).ok();
    let digest = inspect(&home, "one")["manifests"][0]["digest"].as_str().unwrap().to_owned();
    home.run(&["manifest", "remove", "one", &digest]).ok();
    home.run(&["manifest", "remove", "one", &digest]).fails(125, &[&digest]);
    assert_eq!(inspect(&home, "one")["manifests"], serde_json::json!([]));
    home.run(&["manifest", "add", "two", &source]).fails(125, &["two"]);
    assert!(home.run(&["manifest", "rm", "one"]).ok().starts_with("Untagged: localhost/one:latest"));
    home.run(&["manifest", "rm", "one"]).fails(125, &["one"]);
    home.run(&["manifest", "rm", "--ignore", "one"]).ok();
    home.run(&["manifest", "create", "UPPER"]).fails(125, &["UPPER"]);
}

#[test]
fn images_are_added_in_another_compression() {
    let home = Home::new();
    let source = archive(&home, "arm64");
    home.run(&["manifest", "create", "one", &source]).ok();
    let to = format!("oci:{}:all", text(&home.path("all")));
    home.run(&["manifest", "push", "-q", "--add-compression", "zstd", "one", &to]).quiet();
    let index: Value = serde_json::from_str(&home.run(&["inspect", "--raw", &to]).ok()).unwrap();
    let manifests = index["manifests"].as_array().unwrap();
    assert_eq!(manifests.len(), 2);
    assert_eq!(manifests[1]["annotations"]["io.github.containers.compression.zstd"], "true");
    let blob = manifests[1]["digest"].as_str().unwrap().replace(':', "/");
    let manifest = std::fs::read_to_string(home.path(&format!("all/blobs/{blob}"))).unwrap();
    assert!(manifest.contains("tar+zstd"), "{manifest}");
    let chunked = format!("oci:{}:all", text(&home.path("chunked")));
    home.run(&["manifest", "push", "-q", "--add-compression", "zstd:chunked", "one", &chunked]).quiet();
    let index: Value = serde_json::from_str(&home.run(&["inspect", "--raw", &chunked]).ok()).unwrap();
    let blob = index["manifests"][1]["digest"].as_str().unwrap().replace(':', "/");
    let manifest = std::fs::read_to_string(home.path(&format!("chunked/blobs/{blob}"))).unwrap();
    assert!(manifest.contains("io.github.containers.zstd-chunked.manifest-checksum"), "{manifest}");
    home.run(&["manifest", "push", "-q", "--add-compression", "rar", "one", &to]).fails(125, &["rar"]);
}

#[test]
fn lists_are_shown_and_saved_by_platform() {
    let home = Home::new();
    let source = archive(&home, "arm64");
    let arm = home.run(&["pull", "-q", "--platform", "linux/arm64", &source]).ok();
    home.load();
    home.run(&["manifest", "create", "mine", "localhost/app:1", "busybox"]).ok();
    let names = home.run(&["images", "--format", "{{.Repository}}"]).ok();
    assert!(names.lines().any(|name| name == "localhost/mine"), "{names}");
    let shown: Value = serde_json::from_str(&home.run(&["images", "--format", "json"]).ok()).unwrap();
    let lists: Vec<_> = shown.as_array().unwrap().iter().filter(|image| image["IsManifestList"] == true).collect();
    assert_eq!(lists.len(), 1);
    assert_eq!(lists[0]["Names"], serde_json::json!(["localhost/mine:latest"]));
    // A list is no image to be pruned or counted.
    let file = home.path("saved.tar");
    home.run(&["save", "-q", "--platform", "linux/arm64", "-o", text(&file), "mine"]).quiet();
    assert_eq!(home.run(&["load", "-q", "-i", text(&file)]).ok(), "Loaded image: localhost/mine:latest");
    let id = home.run(&["images", "-q", "--no-trunc", "--filter", "reference=localhost/app"]).ok();
    assert_eq!(id, format!("sha256:{arm}"));
    home.run(&["save", "-q", "--platform", "linux/s390x", "-o", text(&file), "mine"]).fails(125, &["linux/s390x"]);
    home.run(&["save", "-q", "--platform", "linux/s390x", "-o", text(&file), "busybox"]).fails(125, &["linux/s390x"]);
}

#[test]
fn an_artifact_is_made_in_a_list_and_goes_with_it() {
    let home = Home::new();
    let Some(registry) = Registry::start(&home, "", "") else { return };
    home.load();
    home.run(&["manifest", "create", "mine", "busybox"]).ok();
    let subject = inspect(&home, "mine")["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let (one, two) = (home.write("one.txt", b"first"), home.write("two.bin", &[0, 1, 2]));
    let config = home.write("config.json", br#"{"k":"v"}"#);
    home.run(&["manifest", "add", "--artifact-type", "x/y", "mine", "busybox"]).fails(125, &["--artifact"]);
    home.run(&["manifest", "add", "--artifact", "mine"]).fails(125, &["no file"]);
    home.run(&["manifest", "add", "--artifact", "mine", "/nowhere"]).fails(125, &["/nowhere"]);
    home.run(&["manifest", "add", "--artifact", "nolist", text(&one)]).fails(125, &["nolist"]);
    let mut asked =
        vec!["manifest", "add", "--artifact", "--artifact-type", "application/x.mine", "--annotation", "a=b"];
    asked.extend(["--artifact-subject", "busybox", "--os", "linux", "--arch", "amd64"]);
    home.run(&[&asked[..], &["mine", text(&one), text(&two)]].concat()).ok();
    let mut asked =
        vec!["manifest", "add", "--artifact", "--artifact-exclude-titles", "--artifact-layer-type", "x/layer"];
    asked.extend(["--artifact-config", text(&config), "--artifact-config-type", "x/config", "mine", text(&one)]);
    home.run(&asked).ok();
    // It is nobody's artifact but the list's.
    assert_eq!(home.run(&["artifact", "ls", "--format", "{{.Repository}}"]).ok(), "");
    let list = inspect(&home, "mine");
    let entry = &list["manifests"][1];
    assert_eq!((&entry["artifactType"], &entry["annotations"]["a"]), (&"application/x.mine".into(), &"b".into()));
    assert_eq!(entry["platform"]["architecture"], "amd64");

    let to = format!("{}/all:1", registry.address);
    home.run(&["manifest", "push", "-q", "mine", &to]).quiet();
    assert_eq!(inspect(&home, &format!("docker://{to}")), list);
    let manifest = |at: usize| {
        let digest = list["manifests"][at]["digest"].as_str().unwrap();
        let name = format!("docker://{}/all@{digest}", registry.address);
        serde_json::from_str::<Value>(&home.run(&["inspect", "--raw", &name]).ok()).unwrap()
    };
    let (first, second) = (manifest(1), manifest(2));
    assert_eq!(first["subject"]["digest"], subject);
    assert_eq!(first["layers"][0]["annotations"]["org.opencontainers.image.title"], "one.txt");
    assert_eq!(first["layers"][1]["mediaType"], "application/octet-stream");
    assert_eq!(first["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    assert_eq!(
        (&second["layers"][0]["mediaType"], &second["layers"][0]["annotations"]),
        (&"x/layer".into(), &Value::Null)
    );
    assert_eq!((&second["config"]["mediaType"], &second["config"]["size"]), (&"x/config".into(), &9.into()));

    // Nothing of it stays.
    home.run(&["manifest", "remove", "mine", list["manifests"][2]["digest"].as_str().unwrap()]).ok();
    home.run(&["manifest", "rm", "mine"]).ok();
    assert_eq!(std::fs::read_dir(home.path("root/artifacts/blobs/sha256")).unwrap().count(), 0);
}
