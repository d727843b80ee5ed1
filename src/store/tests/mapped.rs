//! Layers with other owners: that they hide and show what the original does, and go when nobody needs them.

use super::*;
use crate::{Mounts, Owners, Removal};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use types::{Id, IdMap, IdRange};

fn id(byte: u8) -> Id {
    Id::from_random([byte; 32])
}

fn map(host: u32) -> IdMap {
    let ranges = vec![IdRange { container: 0, host, size: 2000 }];
    IdMap { uids: ranges.clone(), gids: ranges }
}

fn layers() -> Vec<Vec<u8>> {
    vec![
        Tar::new()
            .directory("./", 0o755)
            .owned(b'5', b"d", b"", 0o755, (1000, 1001), b"")
            .owned(b'0', b"d/f", b"", 0o4755, (1000, 1001), b"contents")
            .hard_link("d/again", "d/f")
            .owned(b'0', b"strange", b"", 0o4755, (5000, 0), b"x")
            .file("gone", b"gone")
            .end(),
        Tar::new().directory("d", 0o755).file("d/.wh..wh..opq", b"").file(".wh.gone", b"").file("empty", b"").end(),
    ]
}

/// The lower directories of a snapshot, top first.
fn lower(store: &Store, container: &Id) -> Vec<PathBuf> {
    match store.snapshot(container).unwrap().unwrap().mounts {
        Mounts::Overlay { base, lower, .. } => lower.iter().map(|layer| base.join(layer)).collect(),
        Mounts::Directory(root) => vec![root],
    }
}

fn owner(path: &Path) -> (u32, u32) {
    let stat = std::fs::symlink_metadata(path).unwrap();
    (stat.uid(), stat.gid())
}

/// The store as on a kernel without data layers.
fn forget_references(store: &Store) {
    store.owners().unwrap();
    let connection = rusqlite::Connection::open(crate::database::path(store.root())).unwrap();
    let query = "UPDATE facts SET value = replace(value, '\"references\":true', '\"references\":false')";
    connection.execute(query, []).unwrap();
    assert!(!store.owners().unwrap().references);
}

/// Changing owners needs root.
fn skipped() -> bool {
    let skipped = !rustix::process::geteuid().is_root();
    if skipped {
        eprintln!("SKIPPED: needs root: files of several owners");
    }
    skipped
}

#[test]
fn a_layer_keeps_all_but_its_owners() {
    if skipped() {
        return;
    }
    for referring in [true, false] {
        let scratch = Scratch::new();
        let store = scratch.store();
        if !store.owners().unwrap().references && referring {
            eprintln!("SKIPPED: this kernel has no data layers for overlay");
            continue;
        }
        if !referring {
            forget_references(&store);
        }
        let image = publish(&store, &layers(), "x", &["localhost/a:1"]).unwrap();
        assert_eq!(store.largest_id(&image.id).unwrap(), 5000);
        let map = map(100_000);
        let snapshot = store.create_snapshot(&id(1), &image.id, Owners::Layers { map: &map, kept: false }).unwrap();
        assert!(snapshot.mapped);
        assert_eq!(store.snapshot(&id(1)).unwrap().as_ref(), Some(&snapshot));
        let Mounts::Overlay { data, upper, .. } = &snapshot.mounts else { panic!("{snapshot:?}") };
        assert_eq!(data.is_some(), referring);
        assert_eq!(owner(upper), (100_000, 100_000));
        let [top, bottom] = &lower(&store, &id(1))[..] else { panic!("two layers") };
        assert_eq!(owner(&bottom.join("d")), (101_000, 101_001));
        let stat = std::fs::metadata(bottom.join("d/f")).unwrap();
        assert_eq!((stat.uid(), stat.mode() & 0o7777, stat.size(), stat.nlink()), (101_000, 0o4755, 8, 2));
        let contents: &[u8] = if referring { &[0; 8] } else { b"contents" };
        assert_eq!(std::fs::read(bottom.join("d/again")).unwrap(), contents);
        // Who is not mapped is nobody, with no more rights than that.
        let stat = std::fs::metadata(bottom.join("strange")).unwrap();
        assert_eq!((stat.uid(), stat.mode() & 0o7777), (65534, 0o755));
        let whiteout = std::fs::symlink_metadata(top.join("gone")).unwrap();
        assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
        let directory = std::fs::File::open(top.join("d")).unwrap();
        assert_eq!(sys::xattr::get(&directory, b"trusted.overlay.opaque").unwrap().as_deref(), Some(&b"y"[..]));
        let empty = std::fs::File::open(top.join("empty")).unwrap();
        assert_eq!(sys::xattr::names(&empty).unwrap(), Vec::<Vec<u8>>::new());
    }
}

#[test]
fn they_are_shared_and_go_with_the_last_who_needs_them() {
    if skipped() {
        return;
    }
    let scratch = Scratch::new();
    let store = scratch.store();
    let image = publish(&store, &layers(), "x", &["localhost/a:1"]).unwrap();
    let plain = contents(&store);
    let mapped = |store: &Store| contents(store).iter().filter(|name| name.starts_with("mapped/")).count();
    let (one, other) = (map(100_000), map(200_000));
    for container in [1, 2] {
        store.create_snapshot(&id(container), &image.id, Owners::Layers { map: &one, kept: false }).unwrap();
    }
    assert_eq!(mapped(&store), 2);
    assert_eq!(lower(&store, &id(1)), lower(&store, &id(2)));
    store.create_snapshot(&id(3), &image.id, Owners::Layers { map: &other, kept: true }).unwrap();
    assert_eq!(mapped(&store), 4);
    store.remove_snapshot(&id(1)).unwrap();
    assert_eq!(mapped(&store), 4);
    store.remove_snapshot(&id(2)).unwrap();
    assert_eq!(mapped(&store), 2);
    store.remove_snapshot(&id(3)).unwrap();
    assert_eq!(mapped(&store), 2, "they are kept for the next");
    // The container holds them, whatever becomes of the image.
    store.create_snapshot(&id(4), &image.id, Owners::Layers { map: &other, kept: true }).unwrap();
    let removal = Removal { image: &image.id, name: None, force: true, in_use: &|_| Ok(Vec::new()) };
    store.remove_image(removal).unwrap();
    assert_eq!(mapped(&store), 2);
    store.remove_snapshot(&id(4)).unwrap();
    assert_eq!(contents(&store), Vec::<String>::new(), "of {plain:?}");
}

#[test]
fn what_no_row_knows_is_collected() {
    let scratch = Scratch::new();
    let store = scratch.store();
    publish(&store, &layers(), "x", &["localhost/a:1"]).unwrap();
    let before = contents(&store);
    // As a command leaves it that is killed after its layer was moved to its place, and before its row was written.
    let place = store.root().join(crate::format::WORK).join("abcde");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join(crate::format::LOCK), b"").unwrap();
    std::fs::create_dir_all(store.root().join(crate::format::MAPPED).join("abcde/d")).unwrap();
    drop(scratch.store());
    assert_eq!(contents(&store), before);
}

#[test]
fn a_copy_of_all_layers_has_the_owners_too_and_changes_are_told_from_that() {
    if skipped() {
        return;
    }
    let scratch = Scratch::new();
    let store = scratch.store();
    super::snapshots::force_copy(&store);
    let image = publish(&store, &layers(), "x", &["localhost/a:1"]).unwrap();
    let map = map(100_000);
    let snapshot = store.create_snapshot(&id(1), &image.id, Owners::Layers { map: &map, kept: false }).unwrap();
    let Mounts::Directory(root) = &snapshot.mounts else { panic!("{snapshot:?}") };
    assert_eq!((owner(root), owner(&root.join("strange"))), ((100_000, 100_000), (65534, 100_000)));
    assert_eq!(store.changes(&id(1)).unwrap(), []);
    std::os::unix::fs::chown(root.join("empty"), Some(0), Some(0)).unwrap();
    let changed: Vec<_> = store.changes(&id(1)).unwrap().into_iter().map(|change| change.path).collect();
    assert_eq!(changed, [b"empty"]);
}
