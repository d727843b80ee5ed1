//! Snapshots: what overlay is told, and that a copy shows what overlay would.

use super::*;
use crate::{Driver, Mounts, Removal};
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use types::Id;

fn id(byte: u8) -> Id {
    Id::from_random([byte; 32])
}

fn layers() -> Vec<Vec<u8>> {
    vec![
        Tar::new()
            .directory("./", 0o750)
            .directory("d", 0o755)
            .file("d/old", b"old")
            .file("d/gone", b"gone")
            .directory("hidden", 0o755)
            .file("hidden/below", b"below")
            .directory("made", 0o711)
            .file("made/anew", b"x")
            .file("kind", b"file")
            .symlink("link", "d")
            .end(),
        Tar::new()
            .file("d/.wh.gone", b"")
            .file("d/new", b"new")
            .file("hidden/.wh..wh..opq", b"")
            .file("hidden/above", b"above")
            .file(".wh.made", b"")
            .directory("made", 0o700)
            .directory("kind", 0o755)
            .file("kind/x", b"x")
            .entry(b'0', b"first", b"", 0o4755, b"same")
            .hard_link("second", "first")
            .end(),
        Tar::new().file("link", b"file now").file("d/old", b"changed").end(),
    ]
}

/// What is below a directory: mode, links, time and contents.
type Listing = BTreeMap<PathBuf, (u32, u64, i64, Vec<u8>)>;

/// Everything below a directory.
fn listing(root: &Path) -> Listing {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let stat = std::fs::symlink_metadata(&path).unwrap();
            let (links, contents) = if stat.is_dir() {
                waiting.push(path.clone());
                (0, Vec::new())
            } else if stat.is_symlink() {
                (stat.nlink(), std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes())
            } else {
                (stat.nlink(), std::fs::read(&path).unwrap())
            };
            // Directories that no layer lists have the time at which they were made.
            let time = if stat.is_dir() { 0 } else { stat.mtime() };
            found.insert(path.strip_prefix(root).unwrap().to_owned(), (stat.mode(), links, time, contents));
        }
    }
    found
}

/// The store with another driver than the host would choose.
pub(super) fn force_copy(store: &Store) {
    store.driver().unwrap();
    let connection = rusqlite::Connection::open(crate::database::path(store.root())).unwrap();
    let names = "\"driver\":\"Copy\"";
    for driver in ["Overlay", "OverlayUserXattr"] {
        let old = format!("\"driver\":\"{driver}\"");
        connection.execute("UPDATE facts SET value = replace(value, ?1, ?2)", [old.as_str(), names]).unwrap();
    }
    assert_eq!(store.driver().unwrap().driver, Driver::Copy);
}

#[test]
fn overlay_is_told_top_first_and_removed_whole() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let image = publish(&store, &layers(), "x", &["localhost/a:1"]).unwrap();
    if store.driver().unwrap().driver == Driver::Copy {
        eprintln!("skipped: {}", store.driver().unwrap().reason);
        return;
    }
    let snapshot = store.create_snapshot(&id(1), &image.id, crate::Owners::AsStored).unwrap();
    let Mounts::Overlay { base, lower, upper, work, .. } = &snapshot.mounts else { panic!("{snapshot:?}") };
    assert_eq!(lower.len(), 3);
    assert_eq!(std::fs::read(base.join(&lower[0]).join("d/old")).unwrap(), b"changed");
    assert_eq!(std::fs::read(base.join(&lower[2]).join("d/old")).unwrap(), b"old");
    assert_eq!(std::fs::metadata(upper).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(std::fs::metadata(upper).unwrap().mtime(), 1_000_000_000);
    assert!(std::fs::read_dir(work).unwrap().next().is_none());
    assert_eq!(store.snapshot(&id(1)).unwrap().as_ref(), Some(&snapshot));
    assert_eq!(store.snapshot(&id(2)).unwrap(), None);
    assert_eq!(store.snapshots().unwrap(), [id(1)]);
    // A container that made its files as hard to remove as it could.
    std::fs::create_dir_all(upper.join("locked/inner")).unwrap();
    std::fs::set_permissions(upper.join("locked"), std::os::unix::fs::PermissionsExt::from_mode(0o0)).unwrap();
    std::fs::write(upper.join("immutable"), "").unwrap();
    let immutable = std::fs::File::open(upper.join("immutable")).unwrap();
    let _ = rustix::fs::ioctl_setflags(&immutable, rustix::fs::IFlags::IMMUTABLE);
    store.remove_snapshot(&id(1)).unwrap();
    assert!(!snapshot.directory.exists());
    assert_eq!(store.snapshots().unwrap(), []);
    store.remove_snapshot(&id(1)).unwrap();
}

#[test]
fn layers_stay_as_long_as_a_snapshot_needs_them() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let image = publish(&store, &layers(), "x", &["localhost/a:1"]).unwrap();
    store.create_snapshot(&id(1), &image.id, crate::Owners::AsStored).unwrap();
    // What a killed command left of a snapshot is replaced.
    std::fs::create_dir(store.root().join("snapshots").join(id(2).as_str())).unwrap();
    store.create_snapshot(&id(2), &image.id, crate::Owners::AsStored).unwrap();
    store.remove_image(Removal { image: &image.id, name: None, force: true, in_use: &|_| Ok(Vec::new()) }).unwrap();
    let trees = |store: &Store| contents(store).iter().filter(|path| path.starts_with("layers/")).count();
    assert_eq!(trees(&store), 3);
    store.remove_snapshot(&id(1)).unwrap();
    assert_eq!(trees(&store), 3);
    store.remove_snapshot(&id(2)).unwrap();
    assert_eq!(contents(&store), Vec::<String>::new());
    assert!(matches!(
        store.create_snapshot(&id(3), &image.id, crate::Owners::AsStored),
        Err(Error::NoSuchImage { .. })
    ));
    assert_eq!(store.snapshots().unwrap(), []);
}

#[test]
fn a_copy_shows_what_overlay_shows() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let image = publish(&store, &layers(), "x", &["localhost/a:1"]).unwrap();
    let overlay = store.create_snapshot(&id(1), &image.id, crate::Owners::AsStored).unwrap();
    force_copy(&store);
    let copy = store.create_snapshot(&id(2), &image.id, crate::Owners::AsStored).unwrap();
    assert_eq!(copy.driver, Driver::Copy);
    let Mounts::Directory(root) = &copy.mounts else { panic!("{copy:?}") };
    let copied = listing(root);
    let names: Vec<_> = copied.keys().map(|path| path.to_str().unwrap()).collect();
    let expected =
        ["d", "d/new", "d/old", "first", "hidden", "hidden/above", "kind", "kind/x", "link", "made", "second"];
    assert_eq!(names, expected);
    assert_eq!(copied[Path::new("first")].0 & 0o7777, 0o4755);
    assert_eq!(copied[Path::new("first")].1, 2);
    assert_eq!(copied[Path::new("made")].0 & 0o7777, 0o700);
    assert_eq!(copied[Path::new("d/old")].3, b"changed");
    assert_eq!(std::fs::metadata(root).unwrap().mode() & 0o7777, 0o755);
    if let Mounts::Overlay { base, lower, upper, work, user_xattr, data: None } = &overlay.mounts {
        let mounted = std::thread::scope(|scope| {
            scope.spawn(|| look_through_overlay(base, lower, upper, work, *user_xattr)).join().unwrap()
        });
        match mounted {
            Ok(mounted) => assert_eq!(mounted, copied),
            Err(errno) => eprintln!("not compared, overlay cannot be mounted here: {errno}"),
        }
    }
    store.remove_snapshot(&id(2)).unwrap();
    assert!(!root.exists());
}

/// Mounts an overlay detached, and lists it by way of its descriptor.
fn look_through_overlay(
    base: &Path,
    lower: &[PathBuf],
    upper: &Path,
    work: &Path,
    user_xattr: bool,
) -> rustix::io::Result<Listing> {
    use rustix::mount;
    let context = mount::fsopen("overlay", mount::FsOpenFlags::FSOPEN_CLOEXEC)?;
    let held: Vec<_> = lower
        .iter()
        .map(|lower| rustix::fs::open(base.join(lower), OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty()))
        .collect::<rustix::io::Result<_>>()?;
    let paths = held.iter().map(|held| format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(held)));
    mount::fsconfig_set_string(&context, "lowerdir", paths.collect::<Vec<_>>().join(":"))?;
    mount::fsconfig_set_string(&context, "upperdir", upper)?;
    mount::fsconfig_set_string(&context, "workdir", work)?;
    if user_xattr {
        mount::fsconfig_set_flag(&context, "userxattr")?;
    }
    mount::fsconfig_create(&context)?;
    let root = mount::fsmount(&context, mount::FsMountFlags::FSMOUNT_CLOEXEC, mount::MountAttrFlags::empty())?;
    Ok(listing(Path::new(&format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&root)))))
}

#[test]
fn an_opaque_root_hides_the_layers_below() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let top = Tar::new().file(".wh..wh..opq", b"").file("only", b"").end();
    let image = publish(&store, &[layers().remove(0), top], "x", &[]).unwrap();
    force_copy(&store);
    let snapshot = store.create_snapshot(&id(1), &image.id, crate::Owners::AsStored).unwrap();
    let Mounts::Directory(root) = &snapshot.mounts else { panic!("{snapshot:?}") };
    assert_eq!(listing(root).into_keys().collect::<Vec<_>>(), [Path::new("only")]);
}

#[test]
fn an_image_without_layers_and_one_with_a_layer_twice() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let none = publish(&store, &[], "none", &[]).unwrap();
    let empty = Tar::new().end();
    let twice = publish(&store, &[empty.clone(), layers().remove(0), empty], "twice", &[]).unwrap();
    assert_eq!((none.layers, twice.layers), (0, 3));
    for (byte, image, lowers) in [(1, none.id, 1), (2, twice.id, 2)] {
        let snapshot = store.create_snapshot(&id(byte), &image, crate::Owners::AsStored).unwrap();
        if let Mounts::Overlay { base, lower, .. } = snapshot.mounts {
            assert_eq!(lower.len(), lowers);
            assert!(lower.iter().all(|lower| base.join(lower).is_dir()));
        }
    }
}
