//! The mounts of a specification: sources opened on the host's side, made and attached on the container's.
//!
//! Every destination is found below the root's descriptor ([`crate::paths`]); `/proc`, `/sys` and `/dev` must not be links
//! in the image, so that nothing of the image stands in for what the kernel shows there (CVE-2019-19921, CVE-2021-30465).

use crate::cgroup_mount;
use crate::copy_up;
use crate::error::{Context, Error};
use crate::options::{self, Options};
use crate::paths::{self, Kind};
use crate::trees::{self, Failed, Interface, Place, Tree};
use oci_spec::runtime::{LinuxIdMapping, Mount};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use sys::mount::Change;
use types::IdRange;

const MS_PRIVATE: u64 = 1 << 18;
const MS_SHARED: u64 = 1 << 20;

/// A mount of the specification, with its source opened where that must be done on the host's side.
#[derive(Debug)]
pub struct Prepared {
    destination: PathBuf,
    kind: String,
    source: String,
    options: Options,
    bound: Option<Tree>,
}

/// What later steps need of the mounts.
#[derive(Debug, Default)]
pub struct Mounted {
    /// The procfs at `/proc`, if the specification has one.
    pub proc: Option<OwnedFd>,
    /// The devpts at `/dev/pts`.
    pub pts: Option<OwnedFd>,
    /// `/dev` is the host's own directory, bound: nothing is made in it.
    pub dev_is_bound: bool,
    /// `/dev` if it is a file system of the container.
    pub dev: Option<OwnedFd>,
}

/// What mounts depend on.
#[derive(Debug)]
pub struct Facts {
    /// The interface to mount with.
    pub interface: Interface,
    /// The container has a cgroup namespace of its own.
    pub cgroup_namespace: bool,
    /// The container's own cgroups.
    pub hierarchies: Vec<cgroup_mount::Hierarchy>,
}

/// Reads the options and opens the sources of bind mounts, on the host's side: with its rights, and before anything of the
/// container exists.
pub fn prepare(
    interface: Interface,
    mounts: &[Mount],
    bundle: &Path,
    uids: &[IdRange],
    gids: &[IdRange],
) -> Result<Vec<Prepared>, Error> {
    mounts.iter().map(|mount| prepare_one(interface, mount, bundle, uids, gids)).collect()
}

fn prepare_one(
    interface: Interface,
    mount: &Mount,
    bundle: &Path,
    uids: &[IdRange],
    gids: &[IdRange],
) -> Result<Prepared, Error> {
    let destination = mount.destination().clone();
    let mut options = options::parse(mount.options().as_deref().unwrap_or_default());
    let kind = mount.typ().clone().unwrap_or_default();
    options.bind |= kind == "bind";
    let source = mount.source().as_ref().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    if kind.is_empty() && !options.bind {
        return Err(Error::MountRefused {
            destination: destination.display().to_string(),
            why: "neither a type nor `bind` is given".into(),
        });
    }
    let misplaced =
        [("idmap", options.id_map.is_some() && !options.bind), ("tmpcopyup", options.copy_up && kind != "tmpfs")];
    if let Some((option, _)) = misplaced.into_iter().find(|(_, misplaced)| *misplaced) {
        return Err(Error::MountOption { destination: destination.display().to_string(), option: option.into() });
    }
    // A new file system has no mounts below it.
    if !options.bind {
        (options.set, options.clear) =
            (options.set & !options.clear_below | options.set_below, options.clear | options.clear_below);
    }
    let bound = if options.bind { Some(bind(interface, mount, &options, bundle, uids, gids)?) } else { None };
    Ok(Prepared { destination, kind, source, options, bound })
}

fn bind(
    interface: Interface,
    mount: &Mount,
    options: &Options,
    bundle: &Path,
    uids: &[IdRange],
    gids: &[IdRange],
) -> Result<Tree, Error> {
    let destination = mount.destination().display().to_string();
    if let Some((key, _)) = options.data.iter().find(|(key, _)| !is_of_superblock(key)) {
        return Err(Error::MountOption { destination, option: key.clone() });
    }
    let source = mount.source().as_ref().ok_or_else(|| Error::MountRefused {
        destination: destination.clone(),
        why: "a bind mount needs a source".into(),
    })?;
    let path = bundle.join(source);
    let error = |step: &str, source: Errno| Error::Mount {
        source_path: path.display().to_string(),
        destination: destination.clone(),
        step: step.into(),
        source,
    };
    let mut tree =
        Tree::bind_path(interface, &path, options.recursive, options.no_follow).map_err(|Failed(s, e)| error(&s, e))?;
    if let Some(recursive) = options.id_map {
        let own = |maps: &Option<Vec<LinuxIdMapping>>| maps.as_ref().map(|m| ranges(m)).filter(|m| !m.is_empty());
        let uid_map = own(mount.uid_mappings()).unwrap_or_else(|| uids.to_vec());
        let gid_map = own(mount.gid_mappings()).unwrap_or_else(|| gids.to_vec());
        let namespace =
            sys::namespaces::empty_user_namespace(&types::idmap::render(&uid_map), &types::idmap::render(&gid_map))
                .map_err(|e| error("make a user namespace of the id map", e))?;
        let change = Change { id_map: Some(namespace.as_fd()), ..Change::default() };
        tree.change(recursive, change).map_err(|e| error("show through the id map", e))?;
    }
    apply(&mut tree, options).map_err(|(step, e)| error(step, e))?;
    Ok(tree)
}

/// The ranges of a specification's map.
pub fn ranges(maps: &[LinuxIdMapping]) -> Vec<IdRange> {
    maps.iter().map(|m| IdRange { container: m.container_id(), host: m.host_id(), size: m.size() }).collect()
}

/// Options of file systems as a whole, which mean nothing for a view of one and are let be, as every engine does.
fn is_of_superblock(key: &str) -> bool {
    matches!(
        key,
        "sync"
            | "async"
            | "dirsync"
            | "mand"
            | "nomand"
            | "lazytime"
            | "nolazytime"
            | "silent"
            | "loud"
            | "iversion"
            | "noiversion"
    )
}

/// Properties and propagation of a bind mount. Without a word about it, nothing propagates.
fn apply(tree: &mut Tree, options: &Options) -> Result<(), (&'static str, Errno)> {
    let mut propagation = options.propagation.clone();
    if propagation.is_empty() {
        propagation.push((MS_PRIVATE, true));
    }
    for (flag, recursive) in propagation {
        // A copy of a shared mount is shared with it already; a new peer group would not be what was asked for.
        if flag != MS_SHARED {
            tree.change(recursive, Change { propagation: flag, ..Change::default() })
                .map_err(|e| ("set the propagation", e))?;
        }
    }
    if options.set_below | options.clear_below != 0 {
        let change = Change { set: options.set_below, clear: options.clear_below, ..Change::default() };
        tree.change(true, change).map_err(|e| ("set properties of all mounts below", e))?;
    }
    if options.set != 0 {
        let clear = options.clear & sys::mount::ATIME;
        tree.change(false, Change { set: options.set, clear, ..Change::default() })
            .map_err(|e| ("set properties", e))?;
    }
    if options.clear != 0 {
        match tree.change(false, Change { clear: options.clear, ..Change::default() }) {
            // In a user namespace the host's own restrictions are locked: asking for less of them is no reason to fail.
            Ok(()) | Err(Errno::PERM) => {}
            Err(error) => return Err(("clear properties", error)),
        }
    }
    Ok(())
}

/// True if one of them shows cgroups.
pub fn has_cgroup(mounts: &[Prepared]) -> bool {
    mounts.iter().any(|mount| matches!(mount.kind.as_str(), "cgroup" | "cgroup2"))
}

/// Makes and attaches the mounts below `root`, in order.
pub fn attach(root: BorrowedFd<'_>, mounts: Vec<Prepared>, facts: &Facts) -> Result<Mounted, Error> {
    let mut mounted = Mounted::default();
    for mount in mounts {
        let destination = mount.destination.clone();
        let bound = mount.bound.is_some();
        let kind = mount.kind.clone();
        let fd = attach_one(root, mount, facts)?;
        // As paths: `/dev/` is `/dev`.
        if destination == Path::new("/proc") && kind == "proc" {
            mounted.proc = Some(fd);
        } else if destination == Path::new("/dev/pts") && kind == "devpts" {
            mounted.pts = Some(fd);
        } else if destination == Path::new("/dev") {
            mounted.dev_is_bound = bound;
            mounted.dev = Some(fd).filter(|_| !bound);
        }
    }
    Ok(mounted)
}

fn attach_one(root: BorrowedFd<'_>, mount: Prepared, facts: &Facts) -> Result<OwnedFd, Error> {
    let Prepared { destination, kind, source, mut options, bound } = mount;
    let name = if source.is_empty() { kind.clone() } else { source };
    let error = |step: &str, source: Errno| Error::Mount {
        source_path: name.clone(),
        destination: destination.display().to_string(),
        step: step.to_owned(),
        source,
    };
    if let Some(tree) = bound {
        let directory = tree.is_directory().map_err(|e| error("look at the source", e))?;
        let place = place(root, &destination, if directory { Kind::Directory } else { Kind::File })?;
        return tree.attach(&place).map_err(|e| error("attach", e));
    }
    let place = place(root, &destination, Kind::Directory)?;
    match kind.as_str() {
        "cgroup" | "cgroup2" => return cgroup_mount::attach(facts, &place, &options),
        "devpts" => {
            // `newinstance` is what every mount of devpts is since kernel 4.7.
            options.data.retain(|(key, value)| key != "newinstance" && (key != "gid" || group_is_mapped(value)));
        }
        _ => {}
    }
    let made = Tree::filesystem(facts.interface, &kind, &name, &options);
    let tree = match made {
        // A user namespace may have a sysfs only of its own network namespace. With another one it gets the host's.
        Err(Failed(_, Errno::PERM)) if kind == "sysfs" => {
            host_sysfs(facts.interface, &options).map_err(|e| error("bind the host's", e))?
        }
        other => other.map_err(|Failed(step, e)| error(&step, e))?,
    };
    let copy = options.copy_up && kind == "tmpfs";
    let own_mode = options.data.iter().any(|(key, _)| key == "mode");
    let fd = match (copy, tree) {
        (true, Tree::Detached(fd)) => {
            copy_up::copy(place.fd.as_fd(), fd.as_fd(), own_mode).map_err(|e| error("copy what it hides", e))?;
            Tree::Detached(fd).attach(&place)
        }
        (true, tree) => {
            let hidden = rustix::io::fcntl_dupfd_cloexec(&place.fd, 3).map_err(|e| error("keep what it hides", e))?;
            let fd = tree.attach(&place).map_err(|e| error("attach", e))?;
            copy_up::copy(hidden.as_fd(), fd.as_fd(), own_mode).map_err(|e| error("copy what it hides", e))?;
            Ok(fd)
        }
        (false, tree) => tree.attach(&place),
    }
    .map_err(|e| error("attach", e))?;
    for (flag, recursive) in &options.propagation {
        trees::propagate(facts.interface, fd.as_fd(), *recursive, *flag)
            .map_err(|e| error("set the propagation", e))?;
    }
    Ok(fd)
}

/// Finds or makes the place of a mount. A place that the image could redirect the kernel's own file systems with is refused.
fn place<'a>(root: BorrowedFd<'a>, destination: &Path, kind: Kind) -> Result<Place<'a>, Error> {
    let refused = |why: &str| Error::MountRefused { destination: destination.display().to_string(), why: why.into() };
    if !destination.is_absolute() {
        return Err(refused("a destination must be absolute"));
    }
    let is_kernels = ["/proc", "/sys", "/dev"].iter().any(|path| destination == Path::new(path));
    if is_kernels {
        match paths::open_without_links(root, destination, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) if paths::is_directory(fd.as_fd()) == Ok(true) => {
                return Ok(Place { root, path: destination.to_owned(), fd });
            }
            Ok(_) | Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(refused("it is a link or a file in the image, and must be a directory"));
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error).in_root(destination, "open"),
        }
    }
    let fd = paths::mountpoint(root, destination, kind).map_err(|source| match source {
        Errno::ROFS => refused("it does not exist in the read-only root and cannot be made"),
        Errno::NOTDIR => refused("something of another kind is in its place"),
        source => Error::InRoot { path: destination.to_owned(), step: "make a mount point", source },
    })?;
    Ok(Place { root, path: destination.to_owned(), fd })
}

/// Whether the group id of a devpts's option is known here; where it is not, the option is left out, as every engine does.
fn group_is_mapped(value: &Option<String>) -> bool {
    let Some(id) = value.as_ref().and_then(|v| v.parse::<u32>().ok()) else { return true };
    let Ok(map) = std::fs::read_to_string("/proc/self/gid_map") else { return true };
    map.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().map(|f| f.parse::<u32>().unwrap_or(0));
        let (first, _, size) = (fields.next().unwrap_or(0), fields.next(), fields.next().unwrap_or(0));
        id >= first && id - first < size
    })
}

fn host_sysfs(interface: Interface, options: &Options) -> Result<Tree, Errno> {
    let mut tree = Tree::bind_path(interface, Path::new("/sys"), true, false).map_err(|Failed(_, errno)| errno)?;
    tree.change(true, Change { propagation: MS_PRIVATE, ..Change::default() })?;
    tree.change(true, Change { set: options.set & 0xf, ..Change::default() })?;
    Ok(tree)
}
