//! Commands about images that are killed at moments of all kinds: the store stays whole, the next command succeeds, and nothing is
//! left behind in the end.

use crate::home::Home;
use crate::image::{self, Image, Layer};
use crate::peer::text;
use std::time::Duration;

/// An archive of an image with a layer of its own, large enough that unpacking it takes a while.
fn archive(home: &Home, name: &str) -> String {
    let mut layer = Layer::new();
    for number in 0..200u32 {
        let contents: Vec<u8> = (0..8000u32).map(|at| (at * (number + 3) >> 5) as u8).collect();
        layer = layer.file(&format!("{name}-{number}"), &contents, 0o644);
    }
    let mut image = Image::busybox(&format!("localhost/{name}:1"));
    image.layers.push(layer.done());
    text(&home.write(&format!("{name}.tar"), &image::archive(&image::oci(&[image])))).to_owned()
}

#[test]
fn a_store_outlives_whoever_is_killed() {
    let home = Home::new();
    let (one, two) = (archive(&home, "one"), archive(&home, "two"));
    let three = format!("oci-archive:{}:localhost/three:1", archive(&home, "three"));
    home.run(&["load", "-q", "-i", &one]).ok();
    home.run(&["create", "-q", "--name", "made", "localhost/one:1", "true"]).ok();
    home.run(&["manifest", "create", "list"]).ok();
    let commands: [&[&str]; 9] = [
        &["load", "-q", "-i", &two],
        &["commit", "-q", "made", "localhost/made:1"],
        &["rmi", "-f", "localhost/two:1"],
        &["image", "prune", "-f"],
        &["rmi", "-f", "localhost/made:1"],
        &["load", "-q", "-i", &two],
        &["pull", "-q", "--no-blobs", &three],
        &["manifest", "add", "--artifact", "list", &one],
        &["rmi", "-f", "localhost/three:1"],
    ];
    // Moments without a pattern, and the same in each run.
    let mut moment = 7u64;
    for round in 0..54 {
        moment = moment * 7919 % 10_007;
        let running = home.start(commands[round % commands.len()]);
        std::thread::sleep(Duration::from_micros(moment * 4));
        running.kill();
        home.run(&["images", "-q"]).quiet();
    }
    assert_eq!(home.run(&["run", "--rm", "localhost/one:1", "cat", "/one-7"]).code(0).raw.len(), 8000);
    home.run(&["load", "-q", "-i", &two]).ok();
    assert_eq!(home.run(&["run", "--rm", "localhost/two:1", "cat", "/two-199"]).code(0).raw.len(), 8000);
    home.run(&["pull", "-q", "--no-blobs", &three]).ok();
    assert_eq!(home.run(&["run", "--rm", "localhost/three:1", "cat", "/three-9"]).code(0).raw.len(), 8000);
    home.run(&["save", "-q", "-o", text(&home.path("three.saved")), "localhost/three:1"]).quiet();
    home.run(&["system", "check"]).code(0);
    home.run(&["rm", "-f", "made"]).ok();
    home.run(&["manifest", "rm", "list"]).ok();
    home.run(&["artifact", "ls"]).ok();
    let artifacts = std::fs::read_to_string(home.path("root/artifacts/index.json")).unwrap_or_default();
    assert!(!artifacts.contains("listed-"), "{artifacts}");
    home.run(&["rmi", "-f", "-a"]).code(0);
    home.run(&["image", "prune", "-f"]).code(0);
    assert_eq!(home.run(&["images", "-q", "-a"]).quiet(), "");
    for place in ["root/work", "root/layers", "root/recipes", "root/blobs/sha256"] {
        assert_eq!(std::fs::read_dir(home.path(place)).unwrap().count(), 0, "{place}");
    }
}
