//! Layers without blobs: their tars are made again, byte for byte, whatever is in them.

use super::*;
use proptest::prelude::*;
use std::io::Read;

/// A tar with everything that a recipe may stumble over.
fn odd() -> Vec<u8> {
    let long = format!("{}/{}", "d".repeat(90), "long".repeat(40));
    let bytes = |seed: u8| -> Vec<u8> { (0..300_000u32).map(|at| (at / 7) as u8 ^ seed).collect() };
    let mut tar = Tar::new()
        .directory("a", 0o755)
        .file("a/large", &bytes(1))
        .file("a/small", b"small")
        .file("a/empty", b"")
        .hard_link("a/linked", "a/large")
        .symlink("a/link", "large")
        .file("a/.wh.gone", b"")
        .file("a/.wh..wh..opq", b"")
        .entry(b'0', long.as_bytes(), b"", 0o4755, &bytes(2))
        .pax(&[("SCHILY.xattr.user.a", b"b"), ("path", b"renamed")])
        .file("before", &bytes(3))
        // Of two entries of one name the first is in no file.
        .file("twice", &bytes(4))
        .file("twice", &bytes(5))
        .file("./a/././other", &bytes(6))
        .file("a/was", &bytes(7))
        .symlink("a/was", "large")
        // What is opened here does something: nobody may.
        .file("a/device", &bytes(8))
        .entry(if rustix::process::geteuid().is_root() { b'3' } else { b'6' }, b"a/device", b"", 0o666, b"")
        .end();
    tar.extend(vec![0; 9000]);
    tar.extend(b"and what nobody reads");
    tar
}

fn compress(tar: &[u8], how: &str) -> Vec<u8> {
    match how {
        "gzip" => gzip(tar),
        "zstd" => zstd::encode_all(tar, 3).unwrap(),
        _ => tar.to_vec(),
    }
}

/// Publishes an image whose one layer has lost its blob.
fn without_blob(store: &Store, blob: &[u8], tar: &[u8]) -> Image {
    let mut candidate = ingest(store, blob).unwrap();
    assert!(store.drop_blob(&mut candidate).unwrap() && store.drop_blob(&mut candidate).unwrap());
    let (manifest, config) = documents(&[(blob.to_vec(), tar.to_vec())], "label");
    let names = ["localhost/a:1".to_owned()];
    let new = NewImage {
        manifest: &manifest,
        media_type: crate::OCI_MANIFEST,
        config: &config,
        names: &names,
        candidates: vec![candidate],
    };
    store.commit_image(new).unwrap()
}

fn rebuilt(store: &Store, tar: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut rebuilt = store.rebuilt(&Digest::of(tar)).unwrap().unwrap();
    assert_eq!(rebuilt.size(), tar.len() as u64);
    let mut bytes = Vec::new();
    rebuilt.read_to_end(&mut bytes).map(|_| bytes)
}

fn remove(store: &Store, image: &Image) {
    let in_use: crate::Users<'_> = &|_| Ok(Vec::new());
    store.remove_image(crate::Removal { image: &image.id, name: None, force: true, in_use }).unwrap();
}

#[test]
fn a_tar_is_made_again_as_it_was() {
    let tar = odd();
    for how in ["", "gzip", "zstd"] {
        let scratch = Scratch::new();
        let store = scratch.store();
        let blob = compress(&tar, how);
        let image = without_blob(&store, &blob, &tar);
        assert!(store.blob(&Digest::of(&blob)).unwrap().is_none());
        assert_eq!(store.dropped(&Digest::of(&blob)).unwrap().as_deref(), Some(how));
        assert!(store.has_layer(&Digest::of(&blob), &Digest::of(&tar)).unwrap());
        let recipe = std::fs::read_dir(store.root().join("recipes")).unwrap().next().unwrap().unwrap();
        assert!(recipe.metadata().unwrap().len() < tar.len() as u64 / 2, "most of it is in files");
        assert!(rebuilt(&store, &tar).unwrap() == tar, "{how:?}");
        assert!(store.check(true, std::time::Duration::ZERO).unwrap().is_none());
        remove(&store, &image);
        assert_eq!(contents(&store), Vec::<String>::new());
    }
}

#[test]
fn what_is_not_as_it_was_is_noticed() {
    let tar = Tar::new().file("a", &[7; 5000]).file("b", &[8; 5000]).end();
    let scratch = Scratch::new();
    let store = scratch.store();
    without_blob(&store, &gzip(&tar), &tar);
    let layer = std::fs::read_dir(store.root().join("layers")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(layer.join("b"), [9; 5000]).unwrap();
    assert!(rebuilt(&store, &tar).unwrap_err().to_string().contains("not what it was"));
    assert_eq!(store.check(true, std::time::Duration::ZERO).unwrap().images.len(), 1);
    assert!(store.check(false, std::time::Duration::ZERO).unwrap().is_none(), "nobody has looked");
    std::fs::write(layer.join("b"), [8; 4000]).unwrap();
    assert!(rebuilt(&store, &tar).unwrap_err().to_string().contains("shorter"));
    std::fs::remove_file(layer.join("b")).unwrap();
    assert!(rebuilt(&store, &tar).is_err());
    std::fs::remove_dir_all(store.root().join("recipes")).unwrap();
    assert_eq!(store.check(false, std::time::Duration::ZERO).unwrap().images.len(), 1);
}

#[test]
fn a_blob_that_comes_again_is_kept_and_one_that_is_kept_stays() {
    let tar = Tar::new().file("a", &[7; 5000]).end();
    let blob = gzip(&tar);
    let scratch = Scratch::new();
    let store = scratch.store();
    without_blob(&store, &blob, &tar);
    publish(&store, &[tar.clone()], "label", &["localhost/a:1"]).unwrap();
    assert!(store.blob(&Digest::of(&blob)).unwrap().is_some());
    assert_eq!(store.dropped(&Digest::of(&blob)).unwrap(), None);
    // The recipe of a layer serves all of its forms.
    let zstd = compress(&tar, "zstd");
    assert!(store.drop_blob(&mut ingest_as(&store, &zstd, &tar)).unwrap());

    let scratch = Scratch::new();
    let store = scratch.store();
    publish(&store, &[tar.clone()], "label", &["localhost/a:1"]).unwrap();
    assert!(!store.drop_blob(&mut ingest_as(&store, &zstd, &tar)).unwrap(), "nothing tells how to make it again");
}

fn ingest_as(store: &Store, blob: &[u8], tar: &[u8]) -> Candidate {
    let expect = Expect { diff_id: Some(Digest::of(tar)), ..Expect::default() };
    store.ingest_layer(blob, expect).unwrap()
}

#[test]
fn leftovers_are_collected() {
    let tar = Tar::new().file("a", &[7; 5000]).end();
    let scratch = Scratch::new();
    let store = scratch.store();
    let mut candidate = ingest(&store, &tar).unwrap();
    store.drop_blob(&mut candidate).unwrap();
    drop(candidate);
    assert_eq!(contents(&store), Vec::<String>::new());
    // As a kill between the move and the transaction leaves it.
    let mut candidate = ingest(&store, &tar).unwrap();
    store.drop_blob(&mut candidate).unwrap();
    store.move_recipe(&candidate).unwrap();
    std::fs::rename(tree(&candidate), store.root().join("layers").join(candidate.place.name())).unwrap();
    assert_eq!(contents(&store).iter().filter(|name| !name.starts_with("work/")).count(), 2);
    store.discard(&candidate.place).unwrap();
    drop(candidate);
    assert_eq!(contents(&store), Vec::<String>::new());
    std::fs::write(store.root().join("recipes/stray"), b"").unwrap();
    let damage = store.check(false, std::time::Duration::ZERO).unwrap();
    assert_eq!(damage.stray_layers, ["stray"]);
    store.remove_strays(&damage).unwrap();
    assert_eq!(contents(&store), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tar(entries in proptest::collection::vec((0usize..8, prop::sample::select(vec![b'0', b'1', b'2', b'5', b'S', b'x']), 0usize..5000, any::<u8>()), 0..12), tail in 0usize..3000) {
        let names: [&[u8]; 8] = [b"a", b"b", b"a/b", b"c/d", b"c/.wh.d", b".", b"\xff", b"c/d/e"];
        let mut tar = entries.into_iter().fold(Tar::new(), |tar, (name, kind, size, byte)| {
            let data = if matches!(kind, b'0') { vec![byte; size] } else { Vec::new() };
            tar.entry(kind, names[name], b"a", 0o755, &data)
        }).end();
        tar.extend(vec![0; tail]);
        let scratch = Scratch::new();
        let store = scratch.store();
        // What is refused needs no recipe.
        let Ok(mut candidate) = ingest(&store, &gzip(&tar)) else { return Ok(()) };
        prop_assert!(store.drop_blob(&mut candidate).unwrap());
        drop(candidate);
        without_blob(&store, &gzip(&tar), &tar);
        prop_assert!(rebuilt(&store, &tar).unwrap() == tar);
    }
}
