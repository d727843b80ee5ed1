//! What the kernel can do with overlay over a directory, found out by doing it where nobody sees it.

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{self, FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Tries an overlay in `scratch`, an empty directory of the file system in question: two lower directories, upper and
/// work are made in it, mounted detached, and a file of the lower one is removed and a directory replaced through the mount.
/// The scratch directory is left with what was made; the mount is gone.
pub fn probe(scratch: &Path, user_xattr: bool) -> rustix::io::Result<()> {
    let directory = fs::open(scratch, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for name in ["a", "b", "b/directory", "upper", "work", "merged"] {
        fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755))?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    drop(fs::openat(&directory, "b/file", flags, Mode::from_raw_mode(0o644))?);
    match detached(scratch, user_xattr) {
        Ok(root) => exercise(&root),
        // Before Linux 5.2 there is no fsopen(2): mount in a namespace that dies with its thread.
        Err(Errno::NOSYS) => {
            let scratch = scratch.to_owned();
            std::thread::spawn(move || classic(&scratch, user_xattr)).join().unwrap_or(Err(Errno::IO))
        }
        Err(errno) => Err(errno),
    }
}

/// Removes and replaces through the mount: both need marks (whiteout, opaque) on the upper file system.
fn exercise(root: &OwnedFd) -> rustix::io::Result<()> {
    fs::unlinkat(root, "file", AtFlags::empty())?;
    if fs::statat(root, "file", AtFlags::empty()).is_ok() {
        return Err(Errno::IO);
    }
    fs::unlinkat(root, "directory", AtFlags::REMOVEDIR)?;
    fs::mkdirat(root, "directory", Mode::from_raw_mode(0o755))
}

fn detached(scratch: &Path, user_xattr: bool) -> rustix::io::Result<OwnedFd> {
    let context = mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let open = |name: &str| fs::open(scratch.join(name), OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    // A value has at most 255 bytes: long paths go by way of procfs.
    let (lower, upper, work);
    let short = |held: &OwnedFd, name: &str| {
        let path = scratch.join(name);
        if path.as_os_str().len() < 100 && !path.as_os_str().as_encoded_bytes().contains(&b':') {
            path.into_os_string()
        } else {
            format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(held)).into()
        }
    };
    (lower, upper, work) = ([open("a")?, open("b")?], open("upper")?, open("work")?);
    let mut lowers = short(&lower[0], "a");
    lowers.push(":");
    lowers.push(short(&lower[1], "b"));
    mount::fsconfig_set_string(context.as_fd(), "lowerdir", lowers.as_os_str())?;
    mount::fsconfig_set_string(context.as_fd(), "upperdir", short(&upper, "upper").as_os_str())?;
    mount::fsconfig_set_string(context.as_fd(), "workdir", short(&work, "work").as_os_str())?;
    if user_xattr {
        mount::fsconfig_set_flag(context.as_fd(), "userxattr")?;
    }
    mount::fsconfig_create(context.as_fd())?;
    mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// Tries whether layers of the file system of `scratch`, an empty directory, can be shown to overlay with other owners
/// (idmapped mounts, kernel 5.12; below overlay 5.19; each file system since its own). In the initial user namespace only.
pub fn probe_mapped_mounts(scratch: &Path) -> rustix::io::Result<()> {
    unseen(scratch, || {
        make(&["lower", "upper", "work"])?;
        drop(fs::open("lower/file", FILE, Mode::from_raw_mode(0o644))?);
        let namespace = crate::namespaces::empty_user_namespace("0 100000 65536\n", "0 100000 65536\n")?;
        let flags = mount::OpenTreeFlags::OPEN_TREE_CLONE | mount::OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = mount::open_tree(fs::CWD, "lower", flags)?;
        let change = crate::mount::Change { id_map: Some(namespace.as_fd()), ..Default::default() };
        crate::mount::change(tree.as_fd(), false, change)?;
        mount::move_mount(&tree, "", fs::CWD, "lower", mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        let root = overlay_here(&[("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work")], false)?;
        let stat = fs::statat(&root, "file", AtFlags::empty())?;
        let own = rustix::process::geteuid().as_raw();
        if stat.st_uid == own + 100_000 { Ok(()) } else { Err(Errno::OPNOTSUPP) }
    })
}

/// Tries whether a file of a lower directory can take its contents from another one, which nothing else is seen of (data
/// layers, kernel 6.5; with marks in `user.*` 6.16).
pub fn probe_references(scratch: &Path, user_xattr: bool) -> rustix::io::Result<()> {
    unseen(scratch, || {
        make(&["lower", "data", "upper", "work"])?;
        let data = fs::open("data/contents", FILE, Mode::from_raw_mode(0o644))?;
        rustix::io::write(&data, b"ab")?;
        let file = fs::open("lower/file", FILE, Mode::from_raw_mode(0o600))?;
        refer(&file, b"/contents", 2, user_xattr)?;
        let layers = [("lowerdir+", "lower"), ("datadir+", "data"), ("upperdir", "upper"), ("workdir", "work")];
        let root = overlay_here(&layers, user_xattr)?;
        let opened = fs::openat(&root, "file", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut read = [0; 3];
        let count = rustix::io::read(&opened, &mut read)?;
        // Written to, it becomes a file of its own.
        let written = fs::openat(&root, "file", OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&written, b"c")?;
        let whole = fs::statat(&root, "file", AtFlags::empty())?.st_size == 3;
        if &read[..count] == b"ab" && whole { Ok(()) } else { Err(Errno::OPNOTSUPP) }
    })
}

/// Makes an empty regular file one that takes its `size` bytes from `path`, which begins with `/` in a data layer. What
/// the file system cannot hold is an error; the file is empty then.
pub fn refer(file: impl AsFd, path: &[u8], size: u64, user_xattr: bool) -> rustix::io::Result<()> {
    let prefix = if user_xattr { "user.overlay." } else { "trusted.overlay." };
    crate::xattr::set(&file, format!("{prefix}redirect").as_bytes(), path)?;
    crate::xattr::set(&file, format!("{prefix}metacopy").as_bytes(), b"")?;
    fs::ftruncate(&file, size)
}

const FILE: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::CLOEXEC);

fn make(names: &[&str]) -> rustix::io::Result<()> {
    names.iter().try_for_each(|name| fs::mkdir(*name, Mode::from_raw_mode(0o755)))
}

fn overlay_here(layers: &[(&str, &str)], user_xattr: bool) -> rustix::io::Result<OwnedFd> {
    let context = mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, name) in layers {
        mount::fsconfig_set_string(context.as_fd(), *key, *name)?;
    }
    if user_xattr {
        mount::fsconfig_set_flag(context.as_fd(), "userxattr")?;
    }
    mount::fsconfig_create(context.as_fd())?;
    mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// Does something in a thread with a mount namespace and a working directory of its own (the one brings the other):
/// `scratch`.
fn unseen(scratch: &Path, act: impl FnOnce() -> rustix::io::Result<()> + Send) -> rustix::io::Result<()> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            crate::userns::own_mounts()?;
            rustix::process::chdir(scratch)?;
            act()
        });
        match thread {
            Ok(thread) => thread.join().unwrap_or(Err(Errno::IO)),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)),
        }
    })
}

fn classic(scratch: &Path, user_xattr: bool) -> rustix::io::Result<()> {
    crate::userns::own_mounts()?;
    rustix::process::chdir(scratch)?;
    let options = format!("lowerdir=a:b,upperdir=upper,workdir=work{}", if user_xattr { ",userxattr" } else { "" });
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    mount::mount("overlay", "merged", "overlay", MountFlags::empty(), options.as_c_str())?;
    exercise(&fs::open("merged", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}
