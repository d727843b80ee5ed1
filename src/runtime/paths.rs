//! Paths below a container's root: found and made without ever leaving it.
//!
//! The image decides what its directories and links are, so every walk starts at a descriptor of the root, links resolve as
//! they would inside, and magic links of procfs are not followed: openat2(2) with `RESOLVE_IN_ROOT` (kernel 5.6). Where
//! something is missing, the kernel is older, or a filter refuses the call, the walk of [`sys::beneath`] stands in for it.

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use sys::beneath::{Missing, Root};

/// What the end of a path is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// Anything else; made as an empty file.
    File,
}

impl Kind {
    fn missing(self) -> Missing {
        match self {
            Kind::Directory => Missing::Directory,
            Kind::File => Missing::File,
        }
    }
}

/// Opens `path` below `root` with `flags` (`O_PATH`, …; always close-on-exec).
pub fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    match open_in_root(root, path, flags, ResolveFlags::empty()) {
        Err(Errno::NOSYS | Errno::PERM) => own(root)?.resolve(path.as_os_str().as_bytes(), flags),
        other => other,
    }
}

/// As [`open`], but no component may be a symbolic link: then `ELOOP`.
pub fn open_without_links(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    match open_in_root(root, path, flags, ResolveFlags::NO_SYMLINKS) {
        Err(Errno::NOSYS | Errno::PERM) => {
            let mut here = rustix::io::fcntl_dupfd_cloexec(root, 0)?;
            let mut components = relative(path).components().peekable();
            while let Some(component) = components.next() {
                let Component::Normal(name) = component else { return Err(Errno::XDEV) };
                let last = components.peek().is_none();
                let step = if last { flags } else { OFlags::PATH | OFlags::DIRECTORY };
                here = rustix::fs::openat(&here, name, step | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
                if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&here)?.st_mode)
                    == rustix::fs::FileType::Symlink
                {
                    return Err(Errno::LOOP);
                }
            }
            Ok(here)
        }
        other => other,
    }
}

/// Finds `path` below `root` as a place to mount on, and makes it (and its parents, mode 0755) if it is missing.
pub fn mountpoint(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> Result<OwnedFd> {
    let flags = if kind == Kind::Directory { OFlags::PATH | OFlags::DIRECTORY } else { OFlags::PATH };
    match open_in_root(root, path, flags, ResolveFlags::empty()) {
        Err(Errno::NOENT | Errno::NOSYS | Errno::PERM) => own(root)?.make(path.as_os_str().as_bytes(), kind.missing()),
        other => other,
    }
}

/// Makes `path` below `root` and its parents as directories, where they are missing.
pub fn make_directories(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    mountpoint(root, path, Kind::Directory)
}

fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlags, more: ResolveFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
    let path = relative(path);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    // EAGAIN: something was renamed during the walk and the kernel could not be sure (openat2(2)).
    for _ in 0..32 {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => continue,
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// `path` without its leading slashes.
pub fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// The walk that asks the kernel for single steps only.
fn own(root: BorrowedFd<'_>) -> Result<Root> {
    rustix::io::fcntl_dupfd_cloexec(root, 3).map(Root::own_walk)
}

/// True if `fd` is a directory.
pub fn is_directory(fd: BorrowedFd<'_>) -> Result<bool> {
    let mode = rustix::fs::fstat(fd)?.st_mode;
    Ok(rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::Directory)
}

/// Makes a symbolic link, if nothing has its name yet.
pub fn link(target: &str, here: BorrowedFd<'_>, name: &str) -> Result<()> {
    match rustix::fs::symlinkat(target, here, name) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Removes a file or link, if it is there.
pub fn remove(here: BorrowedFd<'_>, name: &str) -> Result<()> {
    match rustix::fs::unlinkat(here, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("monopod-paths-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("root")).unwrap();
        path
    }

    /// Both ways: with the kernel's walk and with our own.
    fn both(root: &Path, path: &str, kind: Kind) -> Vec<PathBuf> {
        let fd = fs::File::open(root).unwrap();
        let seen =
            |fd: OwnedFd| fs::read_link(format!("/proc/self/fd/{}", rustix::fd::AsRawFd::as_raw_fd(&fd))).unwrap();
        vec![
            seen(own(fd.as_fd()).unwrap().make(path, kind.missing()).unwrap()),
            seen(mountpoint(fd.as_fd(), Path::new(path), kind).unwrap()),
        ]
    }

    #[test]
    fn links_stay_inside() {
        let top = scratch("inside");
        let root = top.join("root");
        fs::create_dir(top.join("secret")).unwrap();
        symlink("../secret", root.join("up")).unwrap();
        symlink(top.join("secret"), root.join("absolute")).unwrap();
        symlink("/var/run", root.join("dangling")).unwrap();
        symlink("dangling/deep", root.join("twice")).unwrap();
        for (path, want) in
            [("/up/x", "secret/x"), ("/twice/y", "var/run/deep/y"), ("/../../a/../b", "b"), ("a/./c", "a/c")]
        {
            for seen in both(&root, path, Kind::Directory) {
                assert_eq!(seen, root.join(want), "{path}");
            }
        }
        for seen in both(&root, "/absolute/file", Kind::File) {
            assert!(seen.starts_with(&root), "{seen:?}");
        }
        assert_eq!(fs::read_dir(top.join("secret")).unwrap().count(), 0);
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn loops_and_wrong_kinds_are_errors() {
        let top = scratch("loops");
        let root = fs::File::open(top.join("root")).unwrap();
        symlink("b", top.join("root/a")).unwrap();
        symlink("a", top.join("root/b")).unwrap();
        fs::write(top.join("root/file"), "").unwrap();
        let own = own(root.as_fd()).unwrap();
        assert_eq!(own.make("a/x", Missing::Directory).unwrap_err(), Errno::LOOP);
        assert_eq!(own.make("file", Missing::Directory).unwrap_err(), Errno::NOTDIR);
        assert_eq!(own.make("file/x", Missing::File).unwrap_err(), Errno::NOTDIR);
        assert_eq!(mountpoint(root.as_fd(), Path::new("file"), Kind::Directory).unwrap_err(), Errno::NOTDIR);
        assert_eq!(mountpoint(root.as_fd(), Path::new("file/x"), Kind::File).unwrap_err(), Errno::NOTDIR);
        assert_eq!(open_without_links(root.as_fd(), Path::new("/a"), OFlags::PATH).unwrap_err(), Errno::LOOP);
        fs::remove_dir_all(top).unwrap();
    }
}
