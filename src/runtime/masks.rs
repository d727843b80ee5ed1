//! Masked and read-only paths: what of `/proc` and `/sys` a container must not read, or not write.
//!
//! A masked file is covered by the host's `/dev/null`, whose identity was checked; a masked directory by an empty read-only
//! tmpfs. Paths are found below the root, on the container's own file systems, and those that do not exist are left.

use crate::devices;
use crate::error::{Context, Error};
use crate::paths;
use crate::trees::{Failed, Interface, Place, Tree};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use sys::mount::{Change, READ_ONLY};

/// Covers `masked`, while the host's `/dev` is still there.
pub fn mask(interface: Interface, root: BorrowedFd<'_>, masked: &[String]) -> Result<(), Error> {
    let (mut empty, mut null): (Option<OwnedFd>, Option<OwnedFd>) = (None, None);
    for path in masked.iter().map(Path::new) {
        let Some(fd) = existing(root, path)? else { continue };
        let is_directory = paths::is_directory(fd.as_fd()).in_root(path, "look at it")?;
        let place = Place { root, path: path.to_owned(), fd };
        let tree = if is_directory {
            empty_directory(interface, path, &mut empty)?
        } else {
            let null = match &null {
                Some(null) => null,
                None => null.insert(devices::host_null()?),
            };
            Tree::bind(interface, null.as_fd(), false).in_root(path, "copy the null device")?
        };
        let attached = tree.attach(&place).in_root(path, "mask")?;
        if is_directory && empty.is_none() {
            empty = Some(attached);
        }
    }
    Ok(())
}

/// An empty read-only directory; the second and later are copies of the first one's mount.
fn empty_directory(interface: Interface, path: &Path, first: &mut Option<OwnedFd>) -> Result<Tree, Error> {
    match first {
        Some(first) if interface == Interface::New => {
            Tree::bind(interface, first.as_fd(), false).in_root(path, "copy an empty directory")
        }
        _ => {
            let options = crate::options::parse(&["ro", "nosuid", "nodev", "noexec", "size=0k", "mode=755"]);
            Tree::filesystem(interface, "tmpfs", "tmpfs", &options)
                .map_err(|Failed(_, e)| e)
                .in_root(path, "make an empty directory")
        }
    }
}

/// Makes `paths` read-only, with all that is mounted below them.
pub fn read_only(interface: Interface, root: BorrowedFd<'_>, wanted: &[String]) -> Result<(), Error> {
    for path in wanted.iter().map(Path::new) {
        let Some(fd) = existing(root, path)? else { continue };
        let mut tree = Tree::bind(interface, fd.as_fd(), true).in_root(path, "copy")?;
        tree.change(interface == Interface::New, Change { set: READ_ONLY, ..Change::default() })
            .in_root(path, "make read-only")?;
        tree.attach(&Place { root, path: path.to_owned(), fd }).in_root(path, "attach read-only")?;
    }
    Ok(())
}

fn existing(root: BorrowedFd<'_>, path: &Path) -> Result<Option<OwnedFd>, Error> {
    match paths::open(root, path, OFlags::PATH) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
        Err(error) => Err(error).in_root(path, "open"),
    }
}
