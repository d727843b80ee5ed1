//! Full and read-only disks: what is there can be listed, and (on a full one) removed.

use super::*;
use crate::Removal;
use rustix::mount;
use types::Id;

/// A file system in memory that only this thread, and those it starts, see; none where it may not be mounted.
struct Disk(Scratch);

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = mount::unmount(self.0.path(), mount::UnmountFlags::DETACH);
    }
}

impl Disk {
    fn new() -> Option<Disk> {
        let scratch = Scratch::new();
        let mounted = sys::userns::own_mounts()
            .and_then(|()| mount::mount("tmpfs", scratch.path(), "tmpfs", mount::MountFlags::empty(), c"size=80m"));
        match mounted {
            Ok(()) => Some(Disk(scratch)),
            Err(errno) => {
                eprintln!("skipped: no tmpfs can be mounted here: {errno}");
                None
            }
        }
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    fn store(&self) -> Store {
        Store::open(&self.root(), options()).map_err(|problem| words(&problem)).unwrap()
    }

    /// Leaves not one byte.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.root().join("filler")).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        // Pages that SQLite gives back and takes again.
        for number in 0..64 {
            let Ok(mut file) = std::fs::File::create(self.root().join(format!("filler{number}"))) else { break };
            while file.write_all(&[1; 4096]).is_ok() {}
        }
    }
}

fn publish_one(store: &Store, name: &str) -> Image {
    let tar = Tar::new().file(name, &[1; 10_000]).end();
    publish(store, &[tar], name, &[&format!("localhost/{name}:latest")]).map_err(|problem| words(&problem)).unwrap()
}

#[test]
fn a_full_disk_lists_and_removes() {
    let Some(disk) = Disk::new() else { return };
    let store = disk.store();
    let (a, b) = (publish_one(&store, "a"), publish_one(&store, "b"));
    let container = Id::from_random([1; 32]);
    store.create_snapshot(&container, &a.id, crate::Owners::AsStored).unwrap();
    drop(store);
    disk.fill();
    let store = disk.store();
    assert_eq!(store.images().unwrap().len(), 2);
    assert_eq!(store.find_image("a").unwrap().id, a.id);
    let problem = ingest(&store, &Tar::new().file("c", b"x").end()).err().unwrap();
    assert!(problem.is_disk_full(), "{}", words(&problem));
    for image in [&a, &b] {
        store
            .remove_image(Removal { image: &image.id, name: None, force: true, in_use: &|_| Ok(Vec::new()) })
            .map_err(|problem| words(&problem))
            .unwrap();
    }
    store.remove_snapshot(&container).map_err(|problem| words(&problem)).unwrap();
    assert_eq!(contents(&store), Vec::<String>::new());
    assert_eq!(disk.store().images().unwrap(), []);
}

#[test]
fn unpacking_stops_before_the_disk_is_full() {
    let Some(disk) = Disk::new() else { return };
    let store = disk.store();
    let archive = Tar::new().file("small", b"x").end();
    drop(ingest(&store, &archive).unwrap());
    std::fs::write(disk.root().join("filler"), vec![1; 75 << 20]).unwrap();
    let problem = ingest(&store, &archive).err().unwrap();
    assert!(matches!(problem, Error::NoSpace { .. }), "{}", words(&problem));
    assert!(words(&problem).contains("free some space"));
    assert_eq!(contents(&store), Vec::<String>::new());
}

#[test]
fn a_read_only_disk_lists() {
    let Some(disk) = Disk::new() else { return };
    let store = disk.store();
    let image = publish_one(&store, "a");
    drop(store);
    mount::mount_remount(disk.0.path(), mount::MountFlags::RDONLY, "").unwrap();
    assert!(std::fs::write(disk.root().join("x"), "").is_err());
    let store = disk.store();
    assert_eq!(store.images().unwrap()[0].id, image.id);
    assert_eq!(store.find_image("a").unwrap().id, image.id);
    assert!(store.document(&image.id).unwrap().is_some());
    assert!(ingest(&store, &Tar::new().end()).is_err());
}
