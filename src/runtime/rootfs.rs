//! The root file system: an overlay mounted detached, or a directory; attached, and made the root.
//!
//! The tree is mounted over the root of the new mount namespace. That serves both ways of changing the root: pivot_root(2),
//! which takes the old root away; and, where the old root is a ramfs or tmpfs of the kernel's start (`EINVAL`), chroot(2)
//! into what then covers it, after every procfs and sysfs of the host has been taken away, so that a privileged container
//! cannot find them again (kernel's `mount_too_revealing` counts hidden ones).

use crate::error::{Context, Error};
use crate::launch::Rootfs;
use crate::trees::{Failed, Interface, Tree};
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use sys::mount::{self, Change};
use types::IdMap;
use types::idmap::{render, to_host};

const MS_PRIVATE: u64 = 1 << 18;

/// A root that is ready to be attached.
#[derive(Debug)]
pub enum Prepared {
    /// A detached tree, and the directory that it is of.
    Tree(OwnedFd, Option<PathBuf>),
    /// Kernels without the new interface: it is mounted by mount(2) in the container's mount namespace, from this
    /// description, over a directory of its own.
    Classic(Rootfs),
}

/// The root of a container that has no process, mounted detached in the namespaces of the caller, who keeps them and the
/// working directory: what has to be mounted elsewhere on the way is seen by nobody. The mount goes with the descriptor.
/// Kernels before 5.2, which have no such mounts, are an error.
pub fn mount_detached(rootfs: &Rootfs) -> Result<OwnedFd, Error> {
    // A mount namespace of its own (and with it a working directory) is left by ending the thread.
    let prepared = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            sys::userns::own_mounts().root("mount namespace", "make")?;
            prepare(Interface::probe(), rootfs)
        });
        let thread = thread.map_err(sys::process::errno).root("thread", "start")?;
        thread.join().unwrap_or_else(|_| Err(Errno::IO).root("thread", "wait for"))
    });
    match prepared? {
        Prepared::Tree(tree, _) => Ok(tree),
        Prepared::Classic(_) => Err(Error::Unsupported {
            what: "the files of a container that does not run".into(),
            instead: "this kernel is older than 5.2; start the container first",
        }),
    }
}

/// Mounts it detached, in the namespaces of the caller.
pub fn prepare(interface: Interface, rootfs: &Rootfs) -> Result<Prepared, Error> {
    if interface == Interface::Classic {
        return match rootfs {
            Rootfs::Overlay { idmap: Some(_), .. } => Err(Error::Unsupported {
                what: "a root file system seen through an id map".into(),
                instead: "this kernel is older than 5.12; give the layers the owners of the map instead",
            }),
            _ => Ok(Prepared::Classic(rootfs.clone())),
        };
    }
    let tree = match rootfs {
        Rootfs::Directory(path) => {
            let what = path.display().to_string();
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
            let tree = rustix::mount::open_tree(CWD, path, flags).root(&what, "open")?;
            mount::change(tree.as_fd(), true, Change { propagation: MS_PRIVATE, ..Change::default() })
                .root(&what, "make private")?;
            tree
        }
        Rootfs::Overlay { idmap: Some(map), .. } => {
            let namespace = sys::namespaces::empty_user_namespace(&render(&map.uids), &render(&map.gids))
                .root("id map", "make a user namespace of it")?;
            overlay_of_mapped_layers(rootfs, map, namespace.as_fd())?
        }
        Rootfs::Overlay { .. } => overlay(rootfs)?,
    };
    let directory = match rootfs {
        Rootfs::Directory(path) => Some(path.clone()),
        Rootfs::Overlay { .. } => None,
    };
    Ok(Prepared::Tree(tree, directory))
}

/// The overlay, from directories named relative to `base`, which becomes the working directory meanwhile: so the options of
/// many layers stay short.
fn overlay(rootfs: &Rootfs) -> Result<OwnedFd, Error> {
    let Rootfs::Overlay { base, lower, data, upper, work, user_xattr, volatile, .. } = rootfs else {
        unreachable!("an overlay")
    };
    let what = base.display().to_string();
    rustix::process::chdir(base).root(&what, "enter")?;
    let [upper, work] = [upper, work].map(|path| path.as_ref().map(|path| shorten(path, base)));
    let layers = Layers { lower, data: data.as_deref(), upper: upper.as_deref(), work: work.as_deref() };
    let mounted = overlay_here(&layers, *user_xattr, *volatile, &what);
    rustix::process::chdir("/").root("/", "enter")?;
    mounted
}

/// `path` as seen from `base`, if it is longer than fsconfig(2) takes (255 bytes).
fn shorten(path: &Path, base: &Path) -> PathBuf {
    let same = path.components().zip(base.components()).take_while(|(one, other)| one == other).count();
    if path.as_os_str().len() < 256 || same == 0 {
        return path.to_owned();
    }
    let up = base.components().skip(same).map(|_| Path::new(".."));
    up.chain(path.components().skip(same).map(|part| Path::new(part.as_os_str()))).collect()
}

/// Directories of an overlay, as seen from the working directory.
struct Layers<'a> {
    lower: &'a [PathBuf],
    data: Option<&'a Path>,
    upper: Option<&'a Path>,
    work: Option<&'a Path>,
}

fn overlay_here(layers: &Layers<'_>, user_xattr: bool, volatile: bool, what: &str) -> Result<OwnedFd, Error> {
    let Layers { lower, data, upper, work } = *layers;
    let what = &format!("overlay in {what}");
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).root(what, "open the file system")?;
    let set = |key: &str, value: &Path| rustix::mount::fsconfig_set_string(&context, key, value);
    rustix::mount::fsconfig_set_string(&context, "source", "overlay").root(what, "set the source")?;
    let joined = join(lower);
    if joined.len() < 256 && !has_separator(lower) && data.is_none() {
        // A string of fsconfig(2) has at most 255 bytes; few layers fit.
        set("lowerdir", Path::new(std::ffi::OsStr::from_bytes(&joined))).root(what, "set the lower directories")?;
    } else if let Err(error) = lower.iter().try_for_each(|directory| set("lowerdir+", directory)) {
        if error != Errno::INVAL || data.is_some() {
            return Err(error).root(what, "add a lower directory");
        }
        // No `lowerdir+` before kernel 6.5: a whole page of options by mount(2), in a place of our own.
        return overlay_by_page(lower, upper, work, user_xattr, volatile, what);
    }
    if let Some(data) = data {
        // Last of the lower ones.
        set("datadir+", data).root(what, "add a data layer")?;
    }
    if let (Some(upper), Some(work)) = (upper, work) {
        set("upperdir", upper).root(what, "set the upper directory")?;
        set("workdir", work).root(what, "set the work directory")?;
    }
    for (flag, wanted) in [("userxattr", user_xattr), ("volatile", volatile && upper.is_some())] {
        if wanted {
            rustix::mount::fsconfig_set_flag(&context, flag).root(what, "set an option")?;
        }
    }
    rustix::mount::fsconfig_create(context.as_fd()).map_err(|source| {
        let mut line = [0u8; 512];
        let said = rustix::io::read(&context, &mut line).unwrap_or(0);
        let said = String::from_utf8_lossy(&line[..said]).trim().to_owned();
        Error::Root { what: format!("{what} {said}"), step: "create", source }
    })?;
    match Tree::from_context(context.as_fd(), 0) {
        Ok(Tree::Detached(tree)) => Ok(tree),
        Ok(Tree::Noted(_)) => unreachable!("the new interface gives descriptors"),
        Err(Failed(_, source)) => Err(Error::Root { what: what.clone(), step: "mount", source }),
    }
}

fn join(lower: &[PathBuf]) -> Vec<u8> {
    lower.iter().map(|path| path.as_os_str().as_bytes()).collect::<Vec<_>>().join(&b':')
}

/// Overlay takes `:` and `\` for its own.
fn has_separator(lower: &[PathBuf]) -> bool {
    lower.iter().any(|path| path.as_os_str().as_bytes().iter().any(|b| matches!(b, b':' | b'\\' | b',')))
}

fn page(
    lower: &[PathBuf],
    upper: Option<&Path>,
    work: Option<&Path>,
    user_xattr: bool,
    volatile: bool,
) -> Result<CString, Errno> {
    if has_separator(lower) {
        return Err(Errno::INVAL);
    }
    let mut options = b"lowerdir=".to_vec();
    options.extend(join(lower));
    if let (Some(upper), Some(work)) = (upper, work) {
        for (key, value) in [(&b",upperdir="[..], upper), (b",workdir=", work)] {
            options.extend(key);
            options.extend(value.as_os_str().as_bytes());
        }
    }
    if user_xattr {
        options.extend(b",userxattr");
    }
    if volatile && upper.is_some() {
        options.extend(b",volatile");
    }
    if options.len() >= rustix::param::page_size() {
        return Err(Errno::TOOBIG);
    }
    CString::new(options).map_err(|_| Errno::INVAL)
}

/// In a mount namespace of its own, mount(2) over the working directory, and take the mount out as a detached copy.
fn overlay_by_page(
    lower: &[PathBuf],
    upper: Option<&Path>,
    work: Option<&Path>,
    user_xattr: bool,
    volatile: bool,
    what: &str,
) -> Result<OwnedFd, Error> {
    let options = page(lower, upper, work, user_xattr, volatile).root(what, "write the options into one page")?;
    own_mount_namespace()?;
    mount::classic(c"overlay", c".", c"overlay", 0, &options).root(what, "mount")?;
    let here = std::env::current_dir().map_err(sys::process::errno).root(what, "find the working directory")?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, &here, flags).root(what, "open")
}

/// The caller is a process of one launch, so its mount namespace may be left: what is mounted there goes with it.
fn own_mount_namespace() -> Result<(), Error> {
    const MS_REC: u64 = 1 << 14;
    sys::namespaces::unshare(sys::clone::NEW_MOUNT).root("mount namespace", "unshare")?;
    mount::propagate_root(MS_REC | MS_PRIVATE).root("mount namespace", "make private")
}

/// The overlay of layers whose owners are shown through `namespace`'s map (overlay takes such since kernel 5.19). They are
/// mounted by short names on a tmpfs in a mount namespace that goes with this process. The upper directory is not mapped:
/// overlay makes its scratch files there as the host's root, who is nobody in the map; so what the container writes is
/// owned by the host's ids on disk.
fn overlay_of_mapped_layers(rootfs: &Rootfs, map: &IdMap, namespace: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    let Rootfs::Overlay { base, lower, upper, work, user_xattr, volatile, .. } = rootfs else {
        unreachable!("an overlay")
    };
    let base = &std::path::absolute(base).map_err(sys::process::errno).root("base", "find")?;
    let what = base.display().to_string();
    let mapped = |directory: &Path| -> Result<OwnedFd, Error> {
        let directory = base.join(directory);
        let what = directory.display().to_string();
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = rustix::mount::open_tree(CWD, &directory, flags).root(&what, "open")?;
        let change = Change { id_map: Some(namespace), propagation: MS_PRIVATE, ..Change::default() };
        mount::change(tree.as_fd(), false, change).root(&what, "show through the id map")?;
        Ok(tree)
    };
    let trees = lower.iter().map(|d| mapped(d)).collect::<Result<Vec<_>, _>>()?;
    let writable = match (upper, work) {
        (Some(upper), Some(work)) => Some((own_upper(&base.join(upper), map)?, base.join(work))),
        _ => None,
    };
    own_mount_namespace()?;
    let stage = match Tree::filesystem(Interface::New, "tmpfs", "tmpfs", &crate::options::parse(&["mode=700"])) {
        Ok(Tree::Detached(fd)) => fd,
        Ok(Tree::Noted(_)) => unreachable!("the new interface gives descriptors"),
        Err(Failed(_, source)) => return Err(source).root(&what, "mount a tmpfs for the layers"),
    };
    // Not over the root: a process below the topmost root counts as chrooted, and may make no user namespace. The place of
    // a layer that is open already is needed by nobody.
    let place = base.join(lower.first().ok_or(Errno::INVAL).root(&what, "find a lower directory")?);
    rustix::mount::move_mount(&stage, c"", CWD, &place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .root(&what, "attach a tmpfs for the layers")?;
    rustix::process::fchdir(&stage).root(&what, "enter the tmpfs")?;
    for (number, tree) in trees.iter().enumerate() {
        let name = number.to_string();
        rustix::fs::mkdirat(&stage, &name, Mode::RWXU).root(&what, "make a place for a layer")?;
        rustix::mount::move_mount(tree, c"", &stage, &name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .root(&what, "attach a layer")?;
    }
    let names: Vec<PathBuf> = (0..lower.len()).map(|n| n.to_string().into()).collect();
    let (upper, work) = writable.as_ref().map_or((None, None), |(u, w)| (Some(u.as_path()), Some(w.as_path())));
    let mounted = overlay_here(&Layers { lower: &names, data: None, upper, work }, *user_xattr, *volatile, &what);
    rustix::process::chdir("/").root("/", "enter")?;
    mounted
}

/// The upper directory is what is seen as `/`: it must be the container's root's.
fn own_upper(upper: &Path, map: &IdMap) -> Result<PathBuf, Error> {
    let what = upper.display().to_string();
    let status = rustix::fs::stat(upper).root(&what, "look at it")?;
    if let (0, Some(uid), Some(gid)) = (status.st_uid, to_host(&map.uids, 0), to_host(&map.gids, 0)) {
        rustix::fs::chown(upper, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .root(&what, "give it to the container's root")?;
    }
    Ok(upper.to_owned())
}

fn over_root(tree: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::mount::move_mount(tree, c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Attaches the root in this (the container's) mount namespace, over `/`, and returns a descriptor of it. `in_place`: a
/// directory is attached over itself, where hooks look for it.
pub fn attach(prepared: Prepared, in_place: bool) -> Result<OwnedFd, Error> {
    let rootfs = match prepared {
        Prepared::Tree(tree, Some(path)) if in_place => {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(&tree, c"", CWD, &path, flags).root(&path.display().to_string(), "attach")?;
            return Ok(tree);
        }
        Prepared::Tree(tree, _) => {
            over_root(tree.as_fd()).root("tree", "attach")?;
            return Ok(tree);
        }
        Prepared::Classic(rootfs) => rootfs,
    };
    let (what, place) = match &rootfs {
        Rootfs::Directory(path) => (path.display().to_string(), path.clone()),
        // Over a layer, in whose place nothing else is looked for: `base` may hold sources of bind mounts.
        Rootfs::Overlay { base, lower, .. } => {
            let what = base.display().to_string();
            let first = lower.first().ok_or(Errno::INVAL).root(&what, "find a lower directory")?;
            (what, base.join(first))
        }
    };
    let path = CString::new(place.as_os_str().as_bytes()).map_err(|_| Errno::INVAL).root(&what, "read the path")?;
    match &rootfs {
        Rootfs::Directory(_) => {
            const MS_BIND_REC: u64 = 1 << 12 | 1 << 14;
            mount::classic(&path, &path, c"", MS_BIND_REC, c"").root(&what, "bind onto itself")?;
        }
        Rootfs::Overlay { base, lower, upper, work, user_xattr, volatile, .. } => {
            let options = page(lower, upper.as_deref(), work.as_deref(), *user_xattr, *volatile)
                .root(&what, "write the overlay's options into one page")?;
            rustix::process::chdir(base).root(&what, "enter")?;
            mount::classic(c"overlay", &path, c"overlay", 0, &options).root(&what, "mount overlay")?;
        }
    }
    rustix::process::chdir("/").root("/", "enter")?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, &place, flags, Mode::empty()).root(&what, "open")
}

/// Sets the propagation (`flags`) of all mounts of this mount namespace, which is a copy of the host's.
pub fn keep_mounts(interface: Interface, flags: u64) -> Result<(), Error> {
    match mount::propagate_root(flags) {
        // The runtime's root is a directory that nothing is mounted on (chroot(2)). What it is on cannot be reached from
        // here, and mounts could get to the host that way. This namespace's own root can: joining it again leads there.
        Err(Errno::INVAL) if interface == Interface::New => {
            let open = rustix::fs::open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            let own = open.map_err(|source| Error::Root {
                what: "of the runtime".into(),
                step: "leave a chroot, for which /proc must be mounted in it",
                source,
            })?;
            crate::joining::enter_mounts(&own)?;
            mount::propagate_root(flags)
        }
        Err(Errno::INVAL) => {
            return Err(Error::Unsupported {
                what: "a runtime whose root is not a mount point".into(),
                instead: "this kernel is older than 5.12; mount the directory over itself before chroot",
            });
        }
        other => other,
    }
    .step("keep mounts to this mount namespace")
}

/// Makes `root` the root and the working directory, and takes the old one away (or with `no_pivot` only out of sight).
pub fn change_root(root: BorrowedFd<'_>, interface: Interface, no_pivot: bool) -> Result<(), Error> {
    rustix::process::fchdir(root).root("new root", "enter")?;
    match if no_pivot { Err(Errno::INVAL) } else { rustix::process::pivot_root(".", ".") } {
        Ok(()) => {
            // The old root is now mounted over the new one. Nothing of it propagates any more since the first process began.
            rustix::mount::unmount(".", UnmountFlags::DETACH).root("old root", "unmount")?;
            rustix::process::chdir("/").root("new root", "enter")
        }
        Err(Errno::INVAL) => {
            hide_host()?;
            const MS_MOVE: u64 = 1 << 13;
            match mount::classic(c".", c"/", c"", MS_MOVE, c"") {
                // It is there already.
                Err(Errno::LOOP) if interface == Interface::New => {}
                other => other.root("new root", "move over /")?,
            }
            rustix::process::chroot(".").root("new root", "change root")?;
            rustix::process::chdir("/").root("new root", "enter")
        }
        Err(error) => Err(error).root("new root", "pivot"),
    }
}

/// Takes every procfs and sysfs that is mounted outside of the new root (the working directory) away.
fn hide_host() -> Result<(), Error> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").map_err(sys::process::errno).root("mounts", "read")?;
    let paths: Vec<String> = table.lines().filter_map(full_kernel_filesystem).collect();
    for path in paths.iter().rev() {
        match rustix::mount::unmount(path.as_str(), UnmountFlags::DETACH) {
            // Paths of mounts below the new root do not resolve from the old one: there is a directory at most. What is
            // locked to this mount namespace, made by a user without root, says the same or EPERM, and is found below.
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::NOENT) => {}
            Err(error) => return Err(error).root(path, "unmount"),
        }
    }
    // A parent comes before what is mounted in it, which is not seen any more then.
    for path in &paths {
        if is_kernel_filesystem(path) {
            cover(path)?;
        }
    }
    match paths.iter().find(|path| is_kernel_filesystem(path)) {
        Some(path) => Err(Errno::BUSY).root(path, "take it away from the container"),
        None => Ok(()),
    }
}

/// Puts an empty directory over what is seen at `path`.
fn cover(path: &str) -> Result<(), Error> {
    const READ_ONLY_AND_NOTHING_SPECIAL: u64 = 1 | 2 | 4 | 8;
    let place = CString::new(path).map_err(|_| Errno::INVAL).root(path, "read the path")?;
    mount::classic(c"tmpfs", &place, c"tmpfs", READ_ONLY_AND_NOTHING_SPECIAL, c"mode=0").root(path, "cover")
}

/// Whether procfs or sysfs is what is seen at `path`.
fn is_kernel_filesystem(path: &str) -> bool {
    const PROC: u64 = 0x9fa0;
    const SYSFS: u64 = 0x6265_6572;
    rustix::fs::statfs(path).is_ok_and(|status| matches!(status.f_type as u64, PROC | SYSFS))
}

/// The mount point of a line of mountinfo (proc_pid_mountinfo(5)) if it is a procfs or sysfs.
fn full_kernel_filesystem(line: &str) -> Option<String> {
    let (left, right) = line.split_once(" - ")?;
    matches!(right.split(' ').next(), Some("proc" | "sysfs")).then(|| left.split(' ').nth(4).map(unescape)).flatten()
}

fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_fit_a_page_or_are_refused() {
        let few: Vec<PathBuf> = (0..100).map(|n| n.to_string().into()).collect();
        assert!(page(&few, None, None, false, false).unwrap().to_bytes().starts_with(b"lowerdir=0:1:2"));
        let many: Vec<PathBuf> = (0..2000).map(|n| n.to_string().into()).collect();
        assert_eq!(page(&many, None, None, false, false).unwrap_err(), Errno::TOOBIG);
        assert_eq!(page(&["a:b".into()], None, None, false, false).unwrap_err(), Errno::INVAL);
    }

    #[test]
    fn finds_what_must_not_stay() {
        let proc = "22 27 0:21 / /a\\040b rw,relatime shared:1 - proc proc rw";
        assert_eq!(full_kernel_filesystem(proc).as_deref(), Some("/a b"));
        assert_eq!(full_kernel_filesystem("22 27 0:21 / /x rw - tmpfs proc rw"), None);
    }
}
