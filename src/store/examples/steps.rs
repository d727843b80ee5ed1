//! Measures what a `run` asks of the store: `steps ROOT TIMES LAYER.tar`.

use std::path::Path;
use std::time::Instant;
use store::{Descriptor, Expect, Manifest, NewImage, OCI_MANIFEST, Options, Store};
use types::{Digest, Id};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [root, times, layer] = words.as_slice() else {
        eprintln!("usage: steps ROOT TIMES LAYER.tar");
        std::process::exit(2);
    };
    let root = Path::new(root);
    let store = Store::open(root, Options::default()).expect("store");
    let bytes = std::fs::read(layer).expect("layer");
    let clock = Instant::now();
    let candidate = store.ingest_layer(&bytes[..], Expect::default()).expect("layer");
    println!("ingest {:?}", clock.elapsed());
    let digest = Digest::of(&bytes);
    let config = format!("{{\"rootfs\":{{\"diff_ids\":[\"{}\"]}}}}", candidate.diff_id());
    let layer = Descriptor { media_type: String::new(), digest, size: bytes.len() as u64 };
    let manifest = Manifest::synthesise(config.as_bytes(), vec![layer]);
    let names = ["localhost/x:latest".to_owned()];
    let clock = Instant::now();
    let new = NewImage {
        manifest: &manifest,
        media_type: OCI_MANIFEST,
        config: config.as_bytes(),
        names: &names,
        candidates: vec![candidate],
    };
    let image = store.commit_image(new).expect("image");
    println!("commit {:?}", clock.elapsed());
    drop(store);
    for number in 0..times.parse::<u8>().expect("a number below 256") {
        let mut clock = Instant::now();
        let mut lap = |what: &str| {
            print!("{what} {:?}  ", clock.elapsed());
            clock = Instant::now();
        };
        let store = Store::open(root, Options::default()).expect("store");
        lap("open");
        store.find_image("x").expect("image");
        lap("find");
        store.driver().expect("driver");
        lap("driver");
        let id = Id::from_random([number; 32]);
        store.create_snapshot(&id, &image.id, store::Owners::AsStored).expect("snapshot");
        lap("snapshot");
        store.remove_snapshot(&id).expect("removed");
        lap("remove");
        drop(store);
        lap("close");
        println!();
    }
}
