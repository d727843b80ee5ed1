//! Images: published, named, found, removed.

use super::*;
use crate::Removal;

fn tar(name: &str) -> Vec<u8> {
    Tar::new().directory("d", 0o755).file(&format!("d/{name}"), name.as_bytes()).end()
}

fn remove(store: &Store, image: &Digest) -> Result<crate::Removed> {
    store.remove_image(Removal { image, name: None, force: true, in_use: &|_| Ok(Vec::new()) })
}

#[test]
fn names_move_and_images_are_found() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let first = publish(&store, &[tar("a")], "1", &["localhost/app:latest", "docker.io/library/app:1"]).unwrap();
    let second = publish(&store, &[tar("a"), tar("b")], "2", &["localhost/app:latest"]).unwrap();
    assert_eq!(store.find_image("app").unwrap().id, second.id);
    assert_eq!(store.find_image("app").unwrap().matched.as_deref(), Some("localhost/app:latest"));
    assert_eq!(store.find_image("app:1").unwrap().id, first.id);
    assert_eq!(store.find_image("docker.io/library/app:1").unwrap().names, ["docker.io/library/app:1"]);
    assert_eq!(store.find_image(&first.id.hex()[..8]).unwrap().id, first.id);
    assert_eq!(store.find_image(&first.id.to_string()).unwrap().matched, None);
    assert_eq!(store.find_image(&format!("localhost/app@{}", second.manifest)).unwrap().id, second.id);
    store.tag(&first.id, "quay.io/x/tool:v1").unwrap();
    assert_eq!(store.find_image("x/tool:v1").unwrap().id, first.id);
    store.tag(&second.id, "ghcr.io/x/tool:v1").unwrap();
    assert!(matches!(store.find_image("x/tool:v1"), Err(Error::Ambiguous { .. })));
    for name in ["nothing", "localhost/app:2", "ffffffffff", "a b", "%", "sha256:"] {
        assert!(matches!(store.find_image(name), Err(Error::NoSuchImage { .. })), "{name}");
    }
    assert_eq!(store.untag("localhost/app:latest").unwrap(), second.id);
    assert_eq!((second.layers, second.created), (2, 1704164645));
    assert_eq!(second.labels, [("label".to_owned(), "2".to_owned())]);
    assert_eq!(store.images().unwrap().len(), 2);
}

#[test]
fn layers_are_shared_and_go_with_the_last_image() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let first = publish(&store, &[tar("a"), tar("b")], "1", &["localhost/a:1", "localhost/a:2"]).unwrap();
    let second = publish(&store, &[tar("a"), tar("c")], "2", &[]).unwrap();
    // Three blobs, three trees.
    assert_eq!(contents(&store).len(), 6);
    let asked = Removal { image: &first.id, name: None, force: false, in_use: &|_| Ok(Vec::new()) };
    assert!(matches!(store.remove_image(asked), Err(Error::SeveralNames { .. })));
    let by_name = store.remove_image(Removal { name: Some("localhost/a:2"), ..asked }).unwrap();
    assert_eq!((by_name.untagged, by_name.deleted), (vec!["localhost/a:2".to_owned()], None));
    let in_use = |_: &rusqlite::Connection| Ok(vec!["container".to_owned()]);
    let refused = store.remove_image(Removal { name: Some("localhost/a:1"), in_use: &in_use, ..asked });
    assert!(matches!(refused, Err(Error::InUse { .. })));
    let removed = store.remove_image(Removal { name: Some("localhost/a:1"), ..asked }).unwrap();
    assert_eq!(removed.deleted, Some(first.id));
    assert_eq!(contents(&store).len(), 4);
    assert_eq!(store.document(&first.id).unwrap(), None);
    remove(&store, &second.id).unwrap();
    assert_eq!(contents(&store), Vec::<String>::new());
    assert!(matches!(remove(&store, &second.id), Err(Error::NoSuchImage { .. })));
}

#[test]
fn blobs_and_documents_come_back_as_they_were() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let layers = [(gzip(&tar("a")), tar("a"))];
    let (manifest, config) = documents(&layers, "x");
    let image = publish(&store, &[tar("a")], "x", &[]).unwrap();
    assert_eq!((image.id, image.manifest), (Digest::of(&config), Digest::of(&manifest)));
    assert_eq!(store.document(&image.id).unwrap(), Some(config));
    assert_eq!(store.document(&image.manifest).unwrap(), Some(manifest));
    let mut bytes = Vec::new();
    let mut blob = store.blob(&Digest::of(&layers[0].0)).unwrap().unwrap();
    std::io::Read::read_to_end(&mut blob, &mut bytes).unwrap();
    assert_eq!(bytes, layers[0].0);
    assert!(store.blob(&Digest::of(b"other")).unwrap().is_none());
}

#[test]
fn another_compression_of_a_known_layer_is_verified_but_not_unpacked_again() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let plain = tar("a");
    let image = publish(&store, std::slice::from_ref(&plain), "x", &["localhost/a:1"]).unwrap();
    let blob = zstd::encode_all(&plain[..], 3).unwrap();
    assert!(store.has_layer(&Digest::of(&gzip(&plain)), &Digest::of(&plain)).unwrap());
    assert!(!store.has_layer(&Digest::of(&blob), &Digest::of(&plain)).unwrap());
    let expect = Expect { diff_id: Some(Digest::of(&plain)), ..Expect::default() };
    let candidate = store.ingest_layer(&blob[..], expect).unwrap();
    assert_eq!(candidate.unpacked(), None);
    let (manifest, config) = documents(&[(blob.clone(), plain.clone())], "x");
    let new =
        NewImage { manifest: &manifest, media_type: "x", config: &config, names: &[], candidates: vec![candidate] };
    let again = store.commit_image(new).unwrap();
    // The same image; the blob of the older manifest is not needed any more.
    assert_eq!((again.id, again.manifest), (image.id, Digest::of(&manifest)));
    assert_eq!(contents(&store).len(), 2);
    assert!(store.blob(&Digest::of(&gzip(&plain))).unwrap().is_none());
    let wrong = Expect { diff_id: Some(Digest::of(&plain)), ..Expect::default() };
    assert!(matches!(store.ingest_layer(&gzip(&tar("b"))[..], wrong), Err(Error::Mismatch { what: "diff id", .. })));
}

#[test]
fn a_layer_that_was_packed_here_is_unpacked_unless_it_is_known() {
    let scratch = Scratch::new();
    let store = scratch.store();
    // More than is written at once.
    let layer = Tar::new().file("large", &vec![7; 3_000_001]).symlink("link", "large").end();
    let candidate = store.ingest_packed(&layer[..]).unwrap();
    assert_eq!((candidate.digest(), candidate.diff_id()), (Digest::of(&layer), Digest::of(&layer)));
    assert_eq!(candidate.size(), layer.len() as u64);
    let tree = candidate.tree().unwrap();
    assert!(std::fs::read(tree.join("large")).unwrap() == vec![7; 3_000_001]);
    let (manifest, config) = documents(&[(layer.clone(), layer.clone())], "x");
    let commit = |candidate, names: &[String]| {
        let new =
            NewImage { manifest: &manifest, media_type: "x", config: &config, names, candidates: vec![candidate] };
        store.commit_image(new).unwrap()
    };
    let image = commit(candidate, &["localhost/a:1".into()]);
    let again = store.ingest_packed(&layer[..]).unwrap();
    assert_eq!((again.unpacked(), again.digest()), (None, Digest::of(&layer)));
    assert_eq!(commit(again, &["localhost/b:1".into()]).id, image.id);
    assert_eq!(contents(&store).len(), 2);
    // What is no archive leaves nothing.
    assert!(store.ingest_packed(&vec![1; 100_000][..]).is_err());
    assert_eq!(contents(&store).len(), 2);
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let (a, b) = (tar("a"), tar("b"));
    let layers = [(gzip(&a), a.clone())];
    let (manifest, config) = documents(&layers, "x");
    let commit = |manifest: &[u8], config: &[u8], blobs: &[&[u8]]| {
        let candidates = blobs.iter().map(|blob| ingest(&store, blob).unwrap()).collect();
        let names = ["localhost/a:1".to_owned()];
        let problem = store
            .commit_image(NewImage { manifest, media_type: "x", config, names: &names, candidates })
            .err()
            .map(|problem| words(&problem));
        assert_eq!(contents(&store), Vec::<String>::new());
        assert_eq!(store.images().unwrap(), []);
        problem.unwrap()
    };
    // The layer is missing, or another.
    assert!(commit(&manifest, &config, &[]).contains("is not in the store"));
    assert!(commit(&manifest, &config, &[&gzip(&b)]).contains("is not in the store"));
    // Another configuration.
    let (_, other) = documents(&layers, "y");
    assert!(commit(&manifest, &other, &[&gzip(&a)]).contains("digest is"));
    // The configuration tells another diff id, or none, or two.
    for diff_ids in [vec![Digest::of(&b)], vec![], vec![Digest::of(&a), Digest::of(&a)]] {
        let config = serde_json::to_vec(&serde_json::json!({"rootfs": {"diff_ids": diff_ids}})).unwrap();
        let descriptor =
            Descriptor { media_type: String::new(), digest: Digest::of(&gzip(&a)), size: gzip(&a).len() as u64 };
        let manifest = Manifest::synthesise(&config, vec![descriptor]);
        let problem = commit(&manifest, &config, &[&gzip(&a)]);
        assert!(problem.contains("diff id is") || problem.contains("layers, and the configuration"), "{problem}");
    }
    // The manifest tells another size.
    let text = String::from_utf8(manifest.clone()).unwrap();
    let size = format!("\"size\":{}", gzip(&a).len());
    let wrong = text.replace(&size, "\"size\":7");
    assert_ne!(wrong, text);
    assert!(commit(wrong.as_bytes(), &config, &[&gzip(&a)]).contains("size is"));
    for text in
        ["", "[]", "{}", r#"{"schemaVersion":1}"#, r#"{"schemaVersion":2,"config":{"digest":"sha256:../..","size":1}}"#]
    {
        assert!(commit(text.as_bytes(), &config, &[]).starts_with("manifest sha256:"), "{text}");
    }
}

#[test]
fn the_same_layer_from_many_threads_and_processes_at_once() {
    let scratch = Scratch::new();
    let root = scratch.path().join("root");
    let images: Vec<Image> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number: u32| {
                let root = &root;
                scope.spawn(move || {
                    // A connection of its own each, as processes have.
                    let store = Store::open(root, options()).unwrap();
                    publish(&store, &[tar("a"), tar("b")], &number.to_string(), &[&format!("localhost/n:{number}")])
                        .unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let store = scratch.store();
    assert_eq!(store.images().unwrap().len(), 8);
    // Two blobs and two trees in all.
    assert_eq!(contents(&store).len(), 4);
    std::thread::scope(|scope| {
        for image in &images {
            let root = &root;
            scope.spawn(move || remove(&Store::open(root, options()).unwrap(), &image.id).unwrap());
        }
    });
    assert_eq!(contents(&store), Vec::<String>::new());
}

#[test]
fn a_leftover_is_collected_but_nothing_alive() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let image = publish(&store, &[tar("a")], "x", &["localhost/a:1"]).unwrap();
    let before = contents(&store);
    let living = ingest(&store, &gzip(&tar("b"))).unwrap();
    // As a command leaves it that is killed after moving its layer and blob in, and before the transaction.
    let dead = ingest(&store, &gzip(&tar("c"))).unwrap();
    let name = dead.place.name().to_owned();
    let layer = store.root().join("layers").join(&name);
    std::fs::rename(tree(&dead), &layer).unwrap();
    let blob = store.root().join("blobs/sha256").join(dead.digest().hex());
    std::fs::hard_link(dead.place.path(&dead.digest().hex()), &blob).unwrap();
    // And after marking a layer for removal that then was not removed.
    let kept = before.iter().find_map(|path| path.strip_prefix("layers/")).unwrap();
    std::fs::write(dead.place.path(&format!("layer-{kept}")), "").unwrap();
    let copy = store.root().join("work/copy7");
    // The lock is gone with its process: the directory under another name and without one stands for that.
    std::fs::rename(store.root().join("work").join(&name), &copy).unwrap();
    std::fs::write(copy.join(format!("layer-{name}")), "").unwrap();
    std::mem::forget(dead);
    std::fs::remove_file(copy.join("lock")).unwrap();
    std::fs::write(copy.join("lock"), "").unwrap();
    let collected = store.collect().unwrap();
    assert_eq!((collected.removed, collected.kept), (1, 0));
    assert!(!layer.exists() && !blob.exists() && !copy.exists());
    assert!(tree(&living).join("d/b").exists());
    drop(living);
    assert_eq!(contents(&store), before);
    assert_eq!(store.find_image("a:1").unwrap().id, image.id);
}

#[test]
fn a_blob_that_was_moved_and_not_linked_is_in_the_store() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let tar = tar("a");
    let layer = store.ingest_layer(&tar[..], Expect::default()).unwrap();
    // What a file system without hard links makes of the first attempt.
    let blob = store.root().join(crate::format::BLOBS).join(layer.digest().hex());
    std::fs::rename(layer.place.path(&layer.digest().hex()), &blob).unwrap();
    let config = format!(r#"{{"rootfs":{{"diff_ids":["{}"]}}}}"#, layer.diff_id());
    let descriptor = Descriptor { media_type: String::new(), digest: layer.digest(), size: layer.size() };
    let manifest = Manifest::synthesise(config.as_bytes(), vec![descriptor]);
    let new = NewImage {
        manifest: &manifest,
        media_type: crate::OCI_MANIFEST,
        config: config.as_bytes(),
        names: &[],
        candidates: vec![layer],
    };
    let image = store.commit_image(new).unwrap();
    assert_eq!(std::fs::read(blob).unwrap(), tar);
    assert_eq!(store.layers().unwrap()[&image.id].len(), 1);
    remove(&store, &image.id).unwrap();
    assert_eq!(contents(&store), Vec::<String>::new());
}
