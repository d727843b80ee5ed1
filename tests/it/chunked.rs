//! Layers as zstd:chunked: written here, read as zstd here and by Debian's skopeo, and not made anew where they are there.

use crate::home::Home;
use crate::image::{self, Image};
use crate::peer::{self, installed, text};
use serde_json::Value;

const POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";

fn layers(home: &Home, source: &str) -> Vec<Value> {
    let raw = home.run(&["inspect", "--raw", source]).ok();
    let manifest: Value = serde_json::from_str(&raw).unwrap();
    manifest["layers"].as_array().unwrap().clone()
}

#[test]
fn an_image_is_written_with_tables_of_contents_and_read_by_all() {
    let home = Home::new();
    let mut image = Image::busybox("localhost/app:1");
    image.layers.push(image::Layer::new().file("one", b"first", 0o644).done());
    let file = home.write("in.tar", &image::archive(&image::oci(&[image])));
    let source = format!("oci-archive:{}", text(&file));
    let id = home.run(&["pull", "-q", &source]).ok();
    let place = |name: &str| format!("oci:{}:app", home.path(name).display());
    let (chunked, again) = (place("chunked"), place("again"));
    home.run(&["push", "-q", "--compression-format", "zstd:chunked", &id, &chunked]).quiet();
    let made = layers(&home, &chunked);
    assert_eq!(made.len(), 2);
    for layer in &made {
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
        // The table is where it is said to be, and of the size that is said.
        let digest = layer["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let bytes = std::fs::read(home.path(&format!("chunked/blobs/sha256/{digest}"))).unwrap();
        let numbers = layer["annotations"][POSITION].as_str().unwrap().split(':');
        let numbers: Vec<usize> = numbers.map(|number| number.parse().unwrap()).collect();
        let table = zstd::decode_all(&bytes[numbers[0]..numbers[0] + numbers[1]]).unwrap();
        assert_eq!(table.len(), numbers[2]);
        assert_eq!(&bytes[bytes.len() - 8..], b"GNUlInUx");
    }
    home.run(&["rmi", "-f", &id]).ok();
    assert_eq!(home.run(&["pull", "-q", &chunked]).ok(), id);
    assert_eq!(home.run(&["run", "--rm", &id, "cat", "/one"]).quiet(), "first");
    // What has a table keeps it, and its bytes.
    home.run(&["push", "-q", "--compression-format", "zstd:chunked", &id, &again]).quiet();
    assert_eq!(layers(&home, &again), made);
    // What has none gets one where it is demanded.
    let (plain, demanded) = (place("plain"), place("demanded"));
    home.run(&["copy", "-q", "--dest-compress-format", "zstd", &source, &plain]).quiet();
    assert!(layers(&home, &plain).iter().all(|layer| layer["annotations"][POSITION].is_null()));
    home.run(&["copy", "-q", "--dest-compress-format", "zstd:chunked", &plain, &demanded]).quiet();
    assert_eq!(layers(&home, &demanded), made);
    if installed("skopeo") {
        let target = home.path("theirs");
        peer::skopeo(&home, &["copy", "--dest-decompress", &chunked, &format!("dir:{}", text(&target))]);
        home.run(&["rmi", "-f", &id]).ok();
        assert_eq!(home.run(&["pull", "-q", &format!("dir:{}", text(&target))]).ok(), id);
    }
    home.run(&["push", "-q", "--compression-format", "lz4", &id, &again]).fails(125, &["lz4", "zstd:chunked"]);
}
