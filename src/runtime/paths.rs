//! Paths below a container's root: found and made without ever leaving it.
//!
//! The image decides what its directories and links are, so every walk starts at a descriptor of the root, links resolve as
//! they would inside, and magic links of procfs are not followed: openat2(2) with `RESOLVE_IN_ROOT` (kernel 5.6). Where
//! something is missing, or the kernel is older, a walk of single steps that never follow a link stands in for it.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// As the kernel's own bound on links in one walk.
const MOST_LINKS: usize = 40;

/// What the end of a path is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// Anything else; made as an empty file.
    File,
}

/// Opens `path` below `root` with `flags` (`O_PATH`, …; always close-on-exec).
pub fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    match open_in_root(root, path, flags, ResolveFlags::empty()) {
        Err(Errno::NOSYS) => {
            if flags.contains(OFlags::NOFOLLOW) {
                let parent = walk(root, path.parent().unwrap_or(Path::new("")), Kind::Directory, false)?;
                let name = path.file_name().unwrap_or(OsStr::new("."));
                return rustix::fs::openat(parent, name, flags | OFlags::CLOEXEC, Mode::empty());
            }
            let kind = if flags.contains(OFlags::DIRECTORY) { Kind::Directory } else { Kind::File };
            let found = walk(root, path, kind, false)?;
            if flags.contains(OFlags::PATH) {
                return Ok(found);
            }
            // Not the name again, which may have changed, but the very file that was found.
            rustix::fs::openat(
                CWD,
                format!("/proc/self/fd/{}", rustix::fd::AsRawFd::as_raw_fd(&found)),
                flags | OFlags::CLOEXEC,
                Mode::empty(),
            )
        }
        other => other,
    }
}

/// As [`open`], but no component may be a symbolic link: then `ELOOP`.
pub fn open_without_links(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    match open_in_root(root, path, flags, ResolveFlags::NO_SYMLINKS) {
        Err(Errno::NOSYS) => {
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
        Err(Errno::NOENT | Errno::NOSYS) => walk(root, path, kind, true),
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

/// Walks `path` step by step, expanding links itself, and makes what is missing if `make`.
fn walk(root: BorrowedFd<'_>, path: &Path, kind: Kind, make: bool) -> Result<OwnedFd> {
    let mut rest: VecDeque<OsString> = split(path);
    let mut done: Vec<(OsString, OwnedFd)> = Vec::new();
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            done.pop();
            continue;
        }
        let last = rest.is_empty();
        let here = done.last().map_or(root, |(_, fd)| fd.as_fd());
        let next =
            match rustix::fs::openat(here, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
                Err(Errno::NOENT) if make => make_one(here, &name, if last { kind } else { Kind::Directory })?,
                other => other?,
            };
        match rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&next)?.st_mode) {
            rustix::fs::FileType::Symlink => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = rustix::fs::readlinkat(here, &name, Vec::new())?;
                let target = PathBuf::from(OsStr::from_bytes(target.as_bytes()).to_owned());
                if target.is_absolute() {
                    done.clear();
                }
                for part in split(&target).into_iter().rev() {
                    rest.push_front(part);
                }
            }
            rustix::fs::FileType::Directory => done.push((name, next)),
            _ if !last || kind == Kind::Directory => return Err(Errno::NOTDIR),
            _ => return Ok(next),
        }
    }
    match done.pop() {
        Some((_, fd)) => Ok(fd),
        None => rustix::io::fcntl_dupfd_cloexec(root, 0),
    }
}

fn split(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

fn make_one(here: BorrowedFd<'_>, name: &OsStr, kind: Kind) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match kind {
        Kind::Directory => match rustix::fs::mkdirat(here, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => rustix::fs::openat(here, name, flags, Mode::empty()),
            Err(error) => Err(error),
        },
        Kind::File => {
            let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(here, name, create, Mode::from_raw_mode(0o644)) {
                Ok(_) | Err(Errno::EXIST) => rustix::fs::openat(here, name, flags, Mode::empty()),
                Err(error) => Err(error),
            }
        }
    }
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
    use std::os::unix::fs::symlink;

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
            seen(walk(fd.as_fd(), Path::new(path), kind, true).unwrap()),
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
        assert_eq!(walk(root.as_fd(), Path::new("a/x"), Kind::Directory, true).unwrap_err(), Errno::LOOP);
        assert_eq!(mountpoint(root.as_fd(), Path::new("file"), Kind::Directory).unwrap_err(), Errno::NOTDIR);
        assert_eq!(mountpoint(root.as_fd(), Path::new("file/x"), Kind::File).unwrap_err(), Errno::NOTDIR);
        assert_eq!(open_without_links(root.as_fd(), Path::new("/a"), OFlags::PATH).unwrap_err(), Errno::LOOP);
        fs::remove_dir_all(top).unwrap();
    }
}
