//! Device nodes and links of `/dev`.
//!
//! Where nodes may be made (the initial user namespace), they are. For a container in a user namespace of its own those asked for
//! are made by the host's root, and bound; elsewhere the host's are bound, and what was bound is compared with what was asked for.

use crate::error::{Context, Error};
use crate::mounts::Mounted;
use crate::options::Options;
use crate::paths::{self, Kind};
use crate::trees::{Failed, Interface, Place, Tree};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, UnmountFlags};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use sys::mount::Change;
use types::idmap::{IdRange, to_host};

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

/// Nodes that were made for a container which cannot: files named by numbers, in a file system that is nowhere.
#[derive(Debug)]
pub struct Made {
    tree: Tree,
    /// Where they belong: each number's path.
    paths: Vec<PathBuf>,
}

/// Makes those of the nodes asked for whose owners have a place in the maps of the container's user namespace. `None` where
/// that is none, or the caller may not.
pub fn prepare(
    interface: Interface,
    asked: &[LinuxDevice],
    uids: &[IdRange],
    gids: &[IdRange],
) -> Result<Option<Made>, Error> {
    // Classic mounts are nowhere else than in their places.
    if asked.is_empty() || interface == Interface::Classic || !sys::namespaces::in_initial_user_namespace() {
        return Ok(None);
    }
    let options = Options { set: sys::mount::NO_SUID | sys::mount::NO_EXEC, ..Options::default() };
    let error = |path: &Path, step: &'static str, source| Error::Device { path: path.to_owned(), step, source };
    let tree = Tree::filesystem(interface, "tmpfs", "tmpfs", &options);
    let tree = tree.map_err(|Failed(_, source)| error(Path::new("/dev"), "make a file system for", source))?;
    let Tree::Detached(directory) = &tree else { return Ok(None) };
    let mut paths = Vec::new();
    for node in nodes(asked)?.into_iter().take(asked.len()).filter(|node| node.kind != FileType::Fifo) {
        let (Some(uid), Some(gid)) = (to_host(uids, node.uid), to_host(gids, node.gid)) else { continue };
        let name = paths.len().to_string();
        let (mode, number) = (Mode::from_raw_mode(node.mode), rustix::fs::makedev(node.major, node.minor));
        match rustix::fs::mknodat(directory, &name, node.kind, mode, number) {
            // The host's are bound.
            Err(Errno::PERM) => return Ok(None),
            other => other.map_err(|source| error(&node.path, "make", source))?,
        }
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(directory, &name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            // What the caller's mask took away.
            .and_then(|()| rustix::fs::chmodat(directory, &name, mode, AtFlags::empty()))
            .map_err(|source| error(&node.path, "give away", source))?;
        paths.push(node.path);
    }
    Ok(Some(Made { tree, paths }).filter(|made| !made.paths.is_empty()))
}

impl Made {
    /// Each as a mount of its own. Before kernel 6.15 only what is mounted somewhere can be copied: it is, over `dev`, meanwhile.
    fn trees(self, dev: BorrowedFd<'_>) -> Result<Vec<(PathBuf, Tree)>, Error> {
        let Made { tree, paths } = self;
        let error = |step: &'static str| move |source| Error::Device { path: "/dev".into(), step, source };
        let place =
            Place { root: dev, path: PathBuf::new(), fd: dev.try_clone_to_owned().map_err(io).map_err(error("open"))? };
        let all = tree.attach(&place).map_err(error("mount nodes over"))?;
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        let one = |(number, path): (usize, PathBuf)| {
            let tree = rustix::mount::open_tree(&all, number.to_string(), flags);
            tree.map(|tree| (path, Tree::Detached(tree))).map_err(error("copy a node for"))
        };
        let trees = paths.into_iter().enumerate().map(one).collect::<Result<Vec<_>, Error>>()?;
        let mounted = format!("/proc/self/fd/{}", all.as_raw_fd());
        rustix::mount::unmount(mounted, UnmountFlags::DETACH).map_err(error("unmount nodes from"))?;
        Ok(trees)
    }
}

fn io(error: std::io::Error) -> Errno {
    sys::process::errno(error)
}

/// Fills `/dev` below `root` with the default nodes, the specification's and the links. `may_make`: nodes can be made here;
/// those that were `made` are bound.
pub fn make(
    interface: Interface,
    root: BorrowedFd<'_>,
    mounted: &Mounted,
    asked: &[LinuxDevice],
    may_make: bool,
    made: Option<Made>,
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
    let mut trees = made.map_or(Ok(Vec::new()), |made| made.trees(dev.as_fd()))?;
    for node in nodes {
        if let Some(at) = trees.iter().position(|(path, _)| *path == node.path) {
            bind(root, &node, trees.swap_remove(at).1)?;
            continue;
        }
        // A pipe is no device: anybody may make one.
        let may_make = may_make || node.kind == FileType::Fifo;
        let made = if may_make { create(root, dev.as_fd(), &node) } else { Err(Errno::PERM) };
        match made {
            Ok(()) => {}
            Err(Errno::PERM) => bind(root, &node, host_node(interface, &node)?)?,
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

/// The host's node of the same path.
fn host_node(interface: Interface, node: &Node) -> Result<Tree, Error> {
    let error = |step: &'static str| move |source: Errno| Error::Device { path: node.path.clone(), step, source };
    let mut tree =
        Tree::bind_path(interface, &node.path, false, true).map_err(|Failed(_, e)| error("open the host's")(e))?;
    // The host's own mount may be without: a node is neither to be executed nor to change anybody.
    let set = sys::mount::NO_SUID | sys::mount::NO_EXEC;
    tree.change(false, Change { set, ..Change::default() }).map_err(error("restrict the host's"))?;
    Ok(tree)
}

/// A node in its place.
fn bind(root: BorrowedFd<'_>, node: &Node, tree: Tree) -> Result<(), Error> {
    let error = |step: &'static str| move |source: Errno| Error::Device { path: node.path.clone(), step, source };
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
