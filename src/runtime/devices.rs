//! Device nodes and links of `/dev`.
//!
//! Where nodes may be made (the initial user namespace), they are; elsewhere the host's are bound, and what was bound is
//! compared with what was asked for.

use crate::error::{Context, Error};
use crate::mounts::Mounted;
use crate::paths::{self, Kind};
use crate::trees::{Failed, Interface, Place, Tree};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use sys::mount::Change;

/// A node to make.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    path: PathBuf,
    kind: FileType,
    major: u32,
    minor: u32,
    mode: u32,
    uid: u32,
    gid: u32,
}

/// What every container has (OCI runtime specification, config-linux.md, "Default Devices").
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
];

/// Fills `/dev` below `root` with the default nodes, the specification's and the links. `may_make`: nodes can be made here.
pub fn make(
    interface: Interface,
    root: BorrowedFd<'_>,
    mounted: &Mounted,
    asked: &[LinuxDevice],
    may_make: bool,
) -> Result<(), Error> {
    let nodes = nodes(asked)?;
    if mounted.dev_is_bound {
        // The host's directory: it has the nodes, and nothing is made in it.
        return Ok(());
    }
    let dev = match &mounted.dev {
        Some(fd) => rustix::io::fcntl_dupfd_cloexec(fd, 3),
        None => paths::make_directories(root, Path::new("/dev")),
    }
    .in_root(Path::new("/dev"), "open")?;
    for node in nodes {
        // A pipe is no device: anybody may make one.
        let may_make = may_make || node.kind == FileType::Fifo;
        let made = if may_make { create(root, dev.as_fd(), &node) } else { Err(Errno::PERM) };
        match made {
            Ok(()) => {}
            Err(Errno::PERM) => bind(interface, root, &node)?,
            Err(source) => return Err(Error::Device { path: node.path, step: "make", source }),
        }
    }
    for (target, name) in LINKS {
        paths::link(target, dev.as_fd(), name).in_root(&Path::new("/dev").join(name), "link")?;
    }
    paths::remove(dev.as_fd(), "ptmx").in_root(Path::new("/dev/ptmx"), "remove")?;
    paths::link("pts/ptmx", dev.as_fd(), "ptmx").in_root(Path::new("/dev/ptmx"), "link")
}

/// The default nodes that are not asked for otherwise, and those asked for.
fn nodes(asked: &[LinuxDevice]) -> Result<Vec<Node>, Error> {
    let mut nodes = Vec::with_capacity(DEFAULT.len() + asked.len());
    for device in asked {
        let path = device.path().clone();
        let kind = match device.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
            LinuxDeviceType::B => FileType::BlockDevice,
            LinuxDeviceType::P => FileType::Fifo,
            LinuxDeviceType::A => {
                let path = path.display();
                return Err(Error::Specification(format!("device {path}: its type must be one of c, u, b and p")));
            }
        };
        let number = |number: i64| {
            let wrong = || format!("device {}: {number} is not a device's number", path.display());
            u32::try_from(number).map_err(|_| Error::Specification(wrong()))
        };
        nodes.push(Node {
            kind,
            major: number(device.major())?,
            minor: number(device.minor())?,
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
            path,
        });
    }
    for (path, major, minor) in DEFAULT {
        if !nodes.iter().any(|node| node.path == Path::new(path)) {
            let path = path.into();
            nodes.push(Node { path, kind: FileType::CharacterDevice, major, minor, mode: 0o666, uid: 0, gid: 0 });
        }
    }
    Ok(nodes)
}

/// The directory of a node and its name, without another walk for those in `/dev` itself.
fn parent<'a>(
    root: BorrowedFd<'_>,
    dev: BorrowedFd<'_>,
    path: &'a Path,
) -> rustix::io::Result<(std::os::fd::OwnedFd, &'a Path)> {
    let name = Path::new(path.file_name().ok_or(Errno::INVAL)?);
    let directory = path.parent().unwrap_or(Path::new("/"));
    if directory == Path::new("/dev") {
        return Ok((rustix::io::fcntl_dupfd_cloexec(dev, 3)?, name));
    }
    Ok((paths::make_directories(root, directory)?, name))
}

fn create(root: BorrowedFd<'_>, dev: BorrowedFd<'_>, node: &Node) -> rustix::io::Result<()> {
    let (directory, name) = parent(root, dev, &node.path)?;
    let mode = Mode::from_raw_mode(node.mode);
    match rustix::fs::mknodat(&directory, name, node.kind, mode, rustix::fs::makedev(node.major, node.minor)) {
        // What an image (or a read-only root) has is taken if it is the same node.
        Err(Errno::EXIST | Errno::ROFS) => {
            let status = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            return if is(&status, node) { Ok(()) } else { Err(Errno::EXIST) };
        }
        other => other?,
    }
    if (node.uid, node.gid) != (0, 0) {
        let (uid, gid) = (Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid)));
        rustix::fs::chownat(&directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn is(status: &rustix::fs::Stat, node: &Node) -> bool {
    FileType::from_raw_mode(status.st_mode) == node.kind
        && (node.kind == FileType::Fifo || status.st_rdev == rustix::fs::makedev(node.major, node.minor))
}

/// The host's node of the same path, bound.
fn bind(interface: Interface, root: BorrowedFd<'_>, node: &Node) -> Result<(), Error> {
    let error = |step: &'static str| move |source: Errno| Error::Device { path: node.path.clone(), step, source };
    let mut tree =
        Tree::bind_path(interface, &node.path, false, true).map_err(|Failed(_, e)| error("open the host's")(e))?;
    // The host's own mount may be without: a node is neither to be executed nor to change anybody.
    let set = sys::mount::NO_SUID | sys::mount::NO_EXEC;
    tree.change(false, Change { set, ..Change::default() }).map_err(error("restrict the host's"))?;
    let fd = paths::mountpoint(root, &node.path, Kind::File).map_err(error("make a place for it"))?;
    let fd = tree.attach(&Place { root, path: node.path.clone(), fd }).map_err(error("bind the host's"))?;
    let status = rustix::fs::fstat(&fd).map_err(error("look at it"))?;
    if is(&status, node) { Ok(()) } else { Err(error("find the same one on the host")(Errno::NODEV)) }
}

/// The host's `/dev/null`, proven to be it: masks are made of it (CVE-2025-31133).
pub fn host_null() -> Result<std::os::fd::OwnedFd, Error> {
    let path = Path::new("/dev/null");
    let error = |step: &'static str| move |source| Error::Device { path: path.to_owned(), step, source };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(error("open"))?;
    let status = rustix::fs::fstat(&fd).map_err(error("look at it"))?;
    let is_null = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice
        && status.st_rdev == rustix::fs::makedev(1, 3);
    if is_null { Ok(fd) } else { Err(error("find the null device on the host")(Errno::NODEV)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_asked_for_replaces_the_default() {
        let mut device = LinuxDevice::default();
        device.set_path("/dev/null".into()).set_typ(LinuxDeviceType::C).set_major(1).set_minor(3).set_uid(Some(7));
        let nodes = nodes(&[device]).unwrap();
        assert_eq!(nodes.len(), DEFAULT.len());
        assert_eq!(nodes.iter().filter(|n| n.path == Path::new("/dev/null")).map(|n| n.uid).collect::<Vec<_>>(), [7]);
    }
}
