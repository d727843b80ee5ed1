//! The mounts of a specification: sources opened on the host's side, made and attached on the container's.
//!
//! Every destination is found below the root's descriptor ([`crate::paths`]); `/proc`, `/sys` and `/dev` must not be links
//! in the image, so that nothing of the image stands in for what the kernel shows there (CVE-2019-19921, CVE-2021-30465).

use crate::cgroup_mount;
use crate::copy_up;
use crate::error::{Context, Error};
use crate::id_maps;
use crate::options::{self, Options};
use crate::paths::{self, Kind};
use crate::trees::{self, Failed, Interface, Place, Tree};
use oci_spec::runtime::{LinuxIdMapping, Mount};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use sys::mount::{Change, READ_ONLY};
use types::IdRange;

const MS_PRIVATE: u64 = 1 << 18;

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
    owners: &Owners<'_>,
    label: Option<&str>,
) -> Result<Vec<Prepared>, Error> {
    mounts.iter().map(|mount| prepare_one(interface, mount, bundle, owners, label)).collect()
}

/// The id map of the container.
#[derive(Debug, Clone, Copy)]
pub struct Owners<'a> {
    /// Of a new user namespace.
    pub uids: &'a [IdRange],
    /// Of a new user namespace.
    pub gids: &'a [IdRange],
    /// The user namespace that is joined.
    pub joined: Option<BorrowedFd<'a>>,
}

fn prepare_one(
    interface: Interface,
    mount: &Mount,
    bundle: &Path,
    owners: &Owners<'_>,
    label: Option<&str>,
) -> Result<Prepared, Error> {
    // What is not absolute starts at the root (config.md, "Mounts").
    let destination = Path::new("/").join(mount.destination());
    let mut options = options::parse(mount.options().as_deref().unwrap_or_default());
    let kind = mount.typ().clone().unwrap_or_default();
    options.bind |= kind == "bind";
    let source = mount.source().as_ref().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    if kind.is_empty() && !options.bind && !options.remount {
        return Err(Error::MountRefused {
            destination: destination.display().to_string(),
            why: "neither a type nor `bind` is given".into(),
        });
    }
    if !options.remount && destination.components().all(|part| part == Component::RootDir) {
        return Err(Error::MountRefused {
            destination: destination.display().to_string(),
            why: "it would hide the root with all that is mounted there".into(),
        });
    }
    let given = |maps: &Option<Vec<LinuxIdMapping>>| maps.as_ref().is_some_and(|maps| !maps.is_empty());
    let maps = [mount.uid_mappings(), mount.gid_mappings()].map(given);
    if maps[0] != maps[1] {
        return Err(Error::MountRefused {
            destination: destination.display().to_string(),
            why: "uidMappings and gidMappings must be given together".into(),
        });
    }
    if maps[0] {
        options.id_map.get_or_insert(false);
    }
    let of_new_view = options.bind && !options.remount;
    let misplaced =
        [("idmap", options.id_map.is_some() && !of_new_view), ("tmpcopyup", options.copy_up && kind != "tmpfs")];
    if let Some((option, _)) = misplaced.into_iter().find(|(_, misplaced)| *misplaced) {
        return Err(Error::MountOption { destination: destination.display().to_string(), option: option.into() });
    }
    // A new file system has no mounts below it.
    if !options.bind {
        (options.set, options.clear) =
            (options.set & !options.clear_below | options.set_below, options.clear | options.clear_below);
    }
    if let Some(label) = label.filter(|_| !options.bind && crate::labels::is_of_file_system(&kind)) {
        options.data.push(("context".into(), Some(label.to_owned())));
    }
    let bound = if of_new_view { Some(bind(interface, mount, &options, bundle, owners)?) } else { None };
    Ok(Prepared { destination, kind, source, options, bound })
}

fn bind(
    interface: Interface,
    mount: &Mount,
    options: &Options,
    bundle: &Path,
    owners: &Owners<'_>,
) -> Result<Tree, Error> {
    let destination = mount.destination().display().to_string();
    // What is of file systems as a whole means nothing for a view of one and is let be, as every engine does.
    let of_whole = |key: &str| matches!(key, "mode" | "uid" | "gid" | "size" | "nr_inodes");
    if let Some((key, _)) = options.data.iter().find(|(key, _)| !of_whole(key)) {
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
        let mut own = own(mount.uid_mappings()).zip(own(mount.gid_mappings()));
        if let Some(text) = &options.id_ranges {
            let refused = |why: String| Error::MountRefused { destination: destination.clone(), why };
            if own.is_some() {
                return Err(refused("the ranges of idmap and uidMappings are two maps: give one of them".into()));
            }
            let map = id_maps::read(text, owners.uids, owners.gids).map_err(refused)?;
            own = Some((map.uids, map.gids));
        }
        let made;
        let namespace = match (&own, owners.joined) {
            (None, Some(joined)) => joined,
            (None, None) if owners.uids.is_empty() => {
                return Err(Error::MountRefused {
                    destination,
                    why: "idmap needs uidMappings and gidMappings, or a user namespace of the container's".into(),
                });
            }
            _ => {
                let (uids, gids) = own.as_ref().map_or((owners.uids, owners.gids), |(u, g)| (&u[..], &g[..]));
                let [uids, gids] = [uids, gids].map(types::idmap::render);
                made = sys::namespaces::empty_user_namespace(&uids, &gids)
                    .map_err(|e| error("make a user namespace of the id map", e))?;
                made.as_fd()
            }
        };
        let change = Change { id_map: Some(namespace), ..Change::default() };
        tree.change(recursive, change).map_err(|e| error("show through the id map", e))?;
    }
    apply(&mut tree, options).map_err(|(step, e)| error(step, e))?;
    Ok(tree)
}

/// The ranges of a specification's map.
pub fn ranges(maps: &[LinuxIdMapping]) -> Vec<IdRange> {
    maps.iter().map(|m| IdRange { container: m.container_id(), host: m.host_id(), size: m.size() }).collect()
}

/// Properties and propagation of a bind mount. Without a word about it, nothing propagates.
fn apply(tree: &mut Tree, options: &Options) -> Result<(), (&'static str, Errno)> {
    let mut propagation = options.propagation.clone();
    if propagation.is_empty() {
        propagation.push((MS_PRIVATE, true));
    }
    for (flag, recursive) in propagation {
        // A copy of a shared mount stays in its group.
        tree.change(recursive, Change { propagation: flag, ..Change::default() })
            .map_err(|e| ("set the propagation", e))?;
    }
    if options.set_below | options.clear_below != 0 {
        let change = Change { set: options.set_below, clear: options.clear_below, ..Change::default() };
        tree.change(true, change).map_err(|e| ("set properties of all mounts below", e))?;
    }
    // One policy of access times takes the place of another in one step.
    let policy = if options.set & sys::mount::ATIME == 0 { 0 } else { sys::mount::ATIME };
    if options.set != 0 {
        tree.change(false, Change { set: options.set, clear: policy, ..Change::default() })
            .map_err(|e| ("set properties", e))?;
    }
    let clear = options.clear & !policy;
    if clear != 0 {
        match tree.change(false, Change { clear, ..Change::default() }) {
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
    if options.remount {
        let fd = paths::open(root, &destination, OFlags::PATH).map_err(|e| error("find it", e))?;
        let place = Place { root, path: destination.clone(), fd };
        trees::remount(&place, &kind, &name, &options).map_err(|Failed(step, e)| error(&step, e))?;
        return Ok(place.fd);
    }
    // Looked at before the place is made: a directory of the image's hands its mode on, one that is made here does not.
    let copy = options.copy_up && kind == "tmpfs";
    let is_new = copy && paths::open(root, &destination, OFlags::PATH).is_err_and(|e| e == Errno::NOENT);
    let place = place(root, &destination, Kind::Directory)?;
    match kind.as_str() {
        "cgroup" | "cgroup2" => return cgroup_mount::attach(facts, &place, &options),
        "devpts" => {
            // `newinstance` is what every mount of devpts is since kernel 4.7.
            options.data.retain(|(key, value)| key != "newinstance" && (key != "gid" || group_is_mapped(value)));
        }
        _ => {}
    }
    // Not before it is filled.
    let read_only = copy && options.set & READ_ONLY != 0;
    if read_only {
        options.set &= !READ_ONLY;
    }
    let made = Tree::filesystem(facts.interface, &kind, &name, &options);
    let tree = match made {
        // A user namespace may have a sysfs only of its own network namespace. With another one it gets the host's.
        Err(Failed(_, Errno::PERM)) if kind == "sysfs" => {
            host_sysfs(facts.interface, &options).map_err(|e| error("bind the host's", e))?
        }
        other => other.map_err(|Failed(step, e)| error(&step, e))?,
    };
    let own_mode = is_new || options.data.iter().any(|(key, _)| key == "mode");
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
    if read_only {
        trees::make_read_only(facts.interface, fd.as_fd()).map_err(|e| error("make read-only", e))?;
    }
    for (flag, recursive) in &options.propagation {
        trees::propagate(facts.interface, fd.as_fd(), *recursive, *flag)
            .map_err(|e| error("set the propagation", e))?;
    }
    Ok(fd)
}

/// Finds or makes the place of a mount. A place that the image could redirect the kernel's own file systems with is refused.
fn place<'a>(root: BorrowedFd<'a>, destination: &Path, kind: Kind) -> Result<Place<'a>, Error> {
    let refused = |why: &str| Error::MountRefused { destination: destination.display().to_string(), why: why.into() };
    let is_kernels = ["/proc", "/sys", "/dev"].iter().any(|path| destination == Path::new(path));
    if is_kernels {
        match paths::open_without_links(root, destination, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) if paths::is_directory(fd.as_fd()) == Ok(true) => {
                return Ok(Place { root, path: destination.to_owned(), fd });
            }
            Ok(_) | Err(Errno::LOOP | Errno::NOTDIR) => {
                // runc's words, which its users look for.
                return Err(refused("it must be mounted on ordinary directory, and is a link or a file in the image"));
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
