//! Files of containers and images mounted where whoever is on the host sees them: `mount`, `unmount`, `image mount`.
//!
//! The places are `RUNROOT/mounts/containers/ID` and `RUNROOT/mounts/images/ID`: a reboot forgets them with the mounts. A
//! container that is started while it is mounted gets the same overlay, because the kernel wants only one with an upper
//! directory ([`Engine::mounted_root`]). What an image shows is kept by a snapshot of its own.

use crate::{Engine, fault};
use ops::container::Status;
use ops::{Fault, Kind};
use runtime::Rootfs;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use store::Mounts;
use types::{Digest, Id};

const CLONE_NEWNS: u64 = 0x0002_0000;

/// What is mounted, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Of the container or the image: 64 hex digits.
    pub id: String,
    /// Names of it.
    pub names: Vec<String>,
    /// The directory.
    pub path: String,
}

impl Engine {
    /// Mounts the files of a container. Returns the directory; a second time it is the same.
    pub fn mount_container(&self, name: &str) -> Result<String, Fault> {
        self.only_root("container")?;
        let record = self.settle(self.record_of(name)?)?.ok_or_else(|| crate::container::init::no_such(name))?;
        let place = self.mount_place("containers").join(record.id.as_str());
        let _lock = crate::container::lock::wait(&self.container_directory(&record.id))?;
        if !crate::volume::place::is_mount_point(&place) {
            let state = self.observe_locked(&record);
            let tree = match (state.status, &state.running) {
                (Status::Running | Status::Paused | Status::Initialized, Some(running)) => root_of(running.pid)?,
                _ => {
                    let config = self.database()?.config(record.seq)?;
                    let mut rootfs = self.root_file_system(&record.id, &config)?;
                    if let Rootfs::Overlay { volatile, .. } = &mut rootfs {
                        *volatile = false;
                    }
                    runtime::mount_detached(&rootfs).map_err(|e| Fault::internal(fault::sentence(&e)))?
                }
            };
            attach(&tree, &place)?;
        }
        Ok(place.to_string_lossy().into_owned())
    }

    /// Takes it away again. False if it was not mounted.
    pub fn unmount_container(&self, name: &str) -> Result<bool, Fault> {
        self.only_root("container")?;
        let id = self.find(name)?;
        self.take_mount_away(&id)
    }

    pub(crate) fn take_mount_away(&self, id: &Id) -> Result<bool, Fault> {
        detach(&self.mount_place("containers").join(id.as_str()))
    }

    /// The containers whose files are mounted.
    pub fn mounted(&self) -> Result<Vec<Mounted>, Fault> {
        let mut found = Vec::new();
        for (id, path) in present(&self.mount_place("containers")) {
            let Ok(parsed) = id.parse::<Id>() else { continue };
            let names = self.database()?.record(&parsed)?.map(|record| record.name).into_iter().collect();
            found.push(Mounted { id, names, path });
        }
        Ok(found)
    }

    /// The root of a container that is mounted on the host, in place of a second overlay of the same directories.
    pub(crate) fn mounted_root(&self, id: &Id) -> Option<PathBuf> {
        let place = self.mount_place("containers").join(id.as_str());
        (place.exists() && crate::volume::place::is_mount_point(&place)).then_some(place)
    }

    /// Mounts the files of an image, read-only. Returns the directory.
    pub fn mount_image(&self, name: &str) -> Result<String, Fault> {
        self.only_root("image")?;
        let image = self.store()?.find_image(name).map_err(fault::store)?;
        let place = self.mount_place("images").join(image.id.hex());
        if !crate::volume::place::is_mount_point(&place) {
            let snapshot = self
                .store()?
                .create_snapshot(&keeper(&image.id), &image.id, store::Owners::AsStored)
                .map_err(fault::store)?;
            let rootfs = match snapshot.mounts {
                Mounts::Directory(path) => Rootfs::Directory(path),
                Mounts::Overlay { base, mut lower, data, user_xattr, .. } => {
                    if lower.len() < 2 {
                        // Overlay wants two where nothing is written.
                        lower.push(self.settings.root.join(store::format::EMPTY));
                    }
                    Rootfs::Overlay {
                        base,
                        lower,
                        data,
                        upper: None,
                        work: None,
                        user_xattr,
                        volatile: false,
                        idmap: None,
                    }
                }
            };
            let tree = runtime::mount_detached(&rootfs).map_err(|e| Fault::internal(fault::sentence(&e)))?;
            attach(&tree, &place)?;
        }
        Ok(place.to_string_lossy().into_owned())
    }

    /// Takes it away again. Gives the image's id if it was mounted.
    pub fn unmount_image(&self, name: &str) -> Result<Option<Digest>, Fault> {
        self.only_root("image")?;
        let id = match self.store()?.find_image(name) {
            Ok(image) => image.id,
            // Its names may be gone meanwhile.
            Err(_) if name.len() == 64 && self.mount_place("images").join(name).exists() => {
                format!("sha256:{name}").parse()?
            }
            Err(store::Error::NoSuchImage { .. }) => {
                return Err(Fault::new(Kind::NotFound, format!("{name}: image not known")));
            }
            Err(error) => return Err(fault::store(error)),
        };
        let was = detach(&self.mount_place("images").join(id.hex()))?;
        self.store()?.remove_snapshot(&keeper(&id)).map_err(fault::store)?;
        Ok(was.then_some(id))
    }

    /// The images whose files are mounted.
    pub fn mounted_images(&self) -> Result<Vec<Mounted>, Fault> {
        let mut found = Vec::new();
        for (id, path) in present(&self.mount_place("images")) {
            let names = self.store()?.find_image(&id).map(|image| image.names).unwrap_or_default();
            found.push(Mounted { id, names, path });
        }
        Ok(found)
    }

    fn mount_place(&self, kind: &str) -> PathBuf {
        self.settings.run_root.join("mounts").join(kind)
    }

    fn only_root(&self, what: &str) -> Result<(), Fault> {
        if self.host()?.in_user_namespace {
            return Err(Fault::new(
                Kind::Unsupported,
                format!("the files of a {what} can be mounted for the host only by root"),
            )
            .hint("use cp, export or diff, which need no mount"));
        }
        Ok(())
    }
}

/// The snapshot that keeps the layers of a mounted image.
fn keeper(image: &Digest) -> Id {
    Id::from_random(*Digest::of(format!("mounted image {}", image.hex()).as_bytes()).as_bytes())
}

/// A copy of the root mount of a process, made in its mount namespace: the kernel copies none of another one.
fn root_of(pid: i32) -> Result<OwnedFd, Fault> {
    let fail = |what: &str, e: rustix::io::Errno| Fault::internal(format!("cannot {what} of process {pid}: {e}"));
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let open = |path: &str| rustix::fs::open(path, flags, Mode::empty());
    let own = open("/proc/self/ns/mnt").map_err(|e| fail("open the own mount namespace beside that", e))?;
    let theirs = open(&format!("/proc/{pid}/ns/mnt")).map_err(|e| fail("open the mount namespace", e))?;
    let here = rustix::fs::open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| fail("remember the working directory beside that", e))?;
    sys::namespaces::enter(theirs.as_fd(), CLONE_NEWNS).map_err(|e| fail("enter the mount namespace", e))?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(rustix::fs::CWD, "/", clone);
    // Without the way back this process must do nothing more.
    sys::namespaces::enter(own.as_fd(), CLONE_NEWNS).map_err(|e| fail("come back from the mount namespace", e))?;
    rustix::process::fchdir(&here).map_err(|e| fail("come back from the root", e))?;
    tree.map_err(|e| fail("copy the root mount", e))
}

fn attach(tree: &OwnedFd, place: &Path) -> Result<(), Fault> {
    std::fs::create_dir_all(place).map_err(|e| Fault::internal(format!("cannot create {place:?}: {e}")))?;
    rustix::mount::move_mount(tree, "", rustix::fs::CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|e| Fault::internal(format!("cannot mount {place:?}: {e}")))
}

/// True if something was mounted there.
fn detach(place: &Path) -> Result<bool, Fault> {
    if !place.exists() {
        return Ok(false);
    }
    let mut was = false;
    while crate::volume::place::is_mount_point(place) {
        rustix::mount::unmount(place, UnmountFlags::DETACH)
            .map_err(|e| Fault::internal(format!("cannot unmount {place:?}: {e}")))?;
        was = true;
    }
    // Somebody else may have been quicker.
    let _ = std::fs::remove_dir(place);
    Ok(was)
}

/// Names of the directories in `directory` on which something is mounted, with their paths.
fn present(directory: &Path) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<(String, String)> = entries
        .filter(|entry| crate::volume::place::is_mount_point(&entry.path()))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path().to_string_lossy().into_owned()))
        .collect();
    found.sort();
    found
}
