//! What is told about containers, images and the host: `ps`, `inspect`, `images`, `rmi`, `info`, `version`.

use crate::home::Home;
use crate::image::{self, Image};
use serde_json::Value;

#[test]
fn ps_shows_podmans_columns() {
    let home = Home::new();
    home.load();
    assert_eq!(
        home.run(&["ps"]).quiet().split_whitespace().collect::<Vec<_>>().join(" "),
        "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES"
    );
    let id = home.run(&["run", "-d", "--name", "runs", "busybox", "sleep", "100"]).quiet();
    home.run(&["run", "--name", "ended", "busybox", "sh", "-c", "exit 4"]).code(4);
    home.run(&["create", "--name", "new", "busybox"]).quiet();
    let running = home.run(&["ps"]).quiet();
    assert_eq!(running.lines().count(), 2, "{running}");
    let row = running.lines().nth(1).unwrap();
    for word in [&id[..12], "localhost/busybox:latest", "sleep 100", "Up ", "runs"] {
        assert!(row.contains(word), "no {word:?} in {row:?}");
    }
    let all = home.run(&["ps", "-a"]).quiet();
    assert!(all.contains("Exited (4)") && all.contains("Created"), "{all}");
    assert_eq!(home.run(&["ps", "-aq"]).quiet().lines().count(), 3);
    assert_eq!(home.run(&["ps", "-q", "--no-trunc"]).quiet(), id);
    assert_eq!(home.run(&["ps", "-a", "--filter", "status=exited", "--format", "{{.Names}}"]).quiet(), "ended");
    assert_eq!(home.run(&["ps", "-a", "-f", "name=new", "--format", "{{.Names}} {{.Status}}"]).quiet(), "new Created");
    let list: Value = serde_json::from_str(&home.run(&["ps", "-a", "--format", "json"]).quiet()).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 3);
    assert!(list.as_array().unwrap().iter().any(|row| row["Id"] == id.as_str() && row["State"] == "running"));
}

#[test]
fn inspect_tells_what_was_decided() {
    let home = Home::new();
    home.load();
    let id = home.run(&["run", "-d", "--name", "one", "-e", "A=b", "-w", "/etc", "busybox", "sleep", "100"]).quiet();
    let one = home.document("one");
    assert_eq!(one["Id"], id.as_str());
    assert_eq!(one["Name"], "one");
    assert_eq!(one["Path"], "sleep");
    assert_eq!(one["Args"][0], "100");
    assert_eq!(one["State"]["Status"], "running");
    assert_eq!(one["State"]["Running"], true);
    assert_eq!(one["State"]["OOMKilled"], false);
    assert!(one["State"]["Pid"].as_i64().unwrap() > 1);
    assert_eq!(one["Config"]["WorkingDir"], "/etc");
    assert!(one["Config"]["Env"].as_array().unwrap().contains(&"A=b".into()));
    assert_eq!(one["ImageName"], "localhost/busybox:latest");
    assert_eq!(one["ImageDigest"], home.inspect("busybox", "{{.Digest}}").as_str());
    // Where no table is asked for, a tab is a tab, at which scripts cut.
    assert_eq!(home.run(&["ps", "--format", "{{.Names}}\\t{{.State}}"]).quiet(), "one\trunning");
    assert_eq!(home.inspect("one", "{{.Name}}\\t{{.State.Status}}"), "one\trunning");
    assert_eq!(home.inspect("one", "{{.Name}} {{.State.Status}}"), "one running");
    assert_eq!(home.inspect(&id[..10], "{{.Id}}"), id);
    let image: Value = serde_json::from_str(&home.run(&["inspect", "--type", "image", "busybox"]).quiet()).unwrap();
    assert_eq!(image[0]["RepoTags"][0], "localhost/busybox:latest");
    // By its digest no name of it is meant, and it keeps the one it has.
    let digest = home.inspect("busybox", "{{.Digest}}");
    home.run(&["untag", "busybox", &format!("localhost/busybox@{digest}")]).quiet();
    let other = format!("localhost/busybox@sha256:{}", "0".repeat(64));
    home.run(&["untag", "busybox", &other]).fails(125, &["tag not known"]);
    home.run(&["image", "exists", "busybox"]).code(0);
    let rows = home.run(&["system", "df", "-v"]).quiet();
    assert!(
        rows.lines().any(|line| line.starts_with(&format!("{}  {}", &id[..12], &one["Image"].as_str().unwrap()[..12]))),
        "{rows}"
    );
    home.run(&["inspect", "neither"]).fails(125, &["neither"]);
}

#[test]
fn images_are_listed_tagged_and_removed() {
    let home = Home::new();
    home.load();
    let table = home.run(&["images"]).quiet();
    let head = table.lines().next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(head, "REPOSITORY TAG IMAGE ID CREATED SIZE");
    assert!(table.contains("localhost/busybox") && table.contains("latest"), "{table}");
    let id = home.run(&["images", "-q", "--no-trunc"]).quiet();
    let expected = image::sha256(Image::busybox("x").document().to_string().as_bytes());
    assert_eq!(id, format!("sha256:{expected}"));
    // A second image with another name and the same layers.
    let other =
        image::archive(&image::oci(&[Image { config: serde_json::json!({}), ..Image::busybox("localhost/other:1") }]));
    home.feed(&["load", "-q"], &other).ok();
    assert_eq!(home.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).quiet().lines().count(), 2);
    let list: Value = serde_json::from_str(&home.run(&["images", "--format", "json"]).quiet()).unwrap();
    assert!(!list.as_array().unwrap().is_empty());
    let untagged = home.run(&["rmi", "localhost/other:1"]).quiet();
    assert!(untagged.contains("Untagged: localhost/other:1"), "{untagged}");

    home.run(&["create", "--name", "user", "busybox"]).quiet();
    home.run(&["rmi", "busybox"]).fails(2, &["in use"]);
    home.run(&["rm", "user"]).quiet();
    let removed = home.run(&["rmi", "busybox"]).quiet();
    assert!(
        removed.contains(&format!("Deleted: {expected}")) || removed.contains(&format!("Deleted: sha256:{expected}")),
        "{removed}"
    );
    assert_eq!(home.run(&["images", "-q"]).quiet(), "");
    home.run(&["rmi", "busybox"]).fails(1, &["busybox"]);
    let left = std::fs::read_dir(home.path("root/blobs/sha256")).map(|d| d.count()).unwrap_or(0);
    assert_eq!(left, 0, "blobs of a removed image are still there");
}

#[test]
fn the_image_section_of_inspect() {
    let home = Home::new();
    home.load();
    let list: Value = serde_json::from_str(&home.run(&["image", "inspect", "busybox"]).quiet()).unwrap();
    let image = &list[0];
    let expected = Image::busybox("x");
    assert_eq!(image["Id"], image::sha256(expected.document().to_string().as_bytes()));
    assert_eq!(image["Config"]["Cmd"][0], "sh");
    assert_eq!(image["RootFS"]["Layers"][0], format!("sha256:{}", image::sha256(&expected.layers[0])));
    assert_eq!(image["Os"], "linux");
}

#[test]
fn names_and_ids_have_to_be_clear() {
    let home = Home::new();
    home.load();
    let ids: Vec<_> = (0..20).map(|_| home.run(&["create", "busybox"]).quiet()).collect();
    let first = ids[0].chars().next().unwrap();
    let twice = ids.iter().find_map(|a| ids.iter().find(|b| *b != a && b[..1] == a[..1]).map(|_| a[..1].to_string()));
    let prefix = twice.unwrap_or_else(|| first.to_string());
    home.run(&["inspect", "--type", "container", &prefix]).fails(125, &["more than one"]);
}

#[test]
fn the_host_and_the_version() {
    let home = Home::new();
    let info: Value = serde_json::from_str(&home.run(&["info", "--format", "json"]).quiet()).unwrap();
    assert_eq!(info["store"]["graphRoot"], home.path("root").to_str().unwrap());
    assert!(info["host"]["cgroupVersion"].is_string(), "{info}");
    assert!(info["host"]["kernel"].is_string() && info["host"]["security"]["rootless"].is_boolean(), "{info}");
    assert!(home.run(&["info"]).quiet().contains("graphRoot"));
    assert!(home.run(&["version"]).quiet().contains(env!("CARGO_PKG_VERSION")));
    assert!(home.run(&["--version"]).quiet().contains(env!("CARGO_PKG_VERSION")));
    for help in [&["--help"][..], &["run", "--help"], &["help"]] {
        assert!(home.run(help).quiet().contains("Usage:"));
    }
}
