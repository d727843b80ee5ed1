//! Where overlay cannot be had: a container's root as a copy of its layers, one applied over the other.
//!
//! Layers were unpacked by us, but what is in them was a stranger's choice: links are never followed. The calling
//! process's umask does not matter.

use crate::unpack::is_whiteout;
use crate::{Error, Result, format};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use sys::beneath::Root;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why one file could not be copied.
type Failure = (&'static str, Errno);

/// A layer being copied.
struct Copy<'a> {
    from: Root,
    to: &'a Root,
    /// Where files with several names were put, by inode.
    linked: HashMap<u64, Vec<u8>>,
    share: bool,
}

/// Copies what is in directory `from` into directory `target`, and if `own` its owner, mode, attributes and time too.
pub fn copy_tree(from: &OwnedFd, target: &OwnedFd, own: bool) -> Result<()> {
    let place = Path::new("directory of an image");
    let root = from.try_clone().map_err(|source| Error::Path { action: "open", path: place.into(), source })?;
    apply_below(Root::new(root), place, target)?;
    if own { take_attributes(from, target) } else { Ok(()) }
}

/// Applies the layer in directory `layer` to what is in `target`.
pub(crate) fn apply(layer: &Path, target: &OwnedFd) -> Result<()> {
    apply_below(Root::open(layer).map_err(Error::path("open", layer))?, layer, target)
}

fn apply_below(from: Root, layer: &Path, target: &OwnedFd) -> Result<()> {
    let target = target.try_clone().map_err(|source| Error::Path { action: "open", path: layer.into(), source })?;
    let to = Root::new(target);
    let mut copy = Copy { from, to: &to, linked: HashMap::new(), share: true };
    // By name and not by descriptor, for a layer may be deeper than a process has descriptors.
    let mut waiting: Vec<Vec<u8>> = vec![Vec::new()];
    let mut times: Vec<(Vec<u8>, Stat)> = Vec::new();
    while let Some(path) = waiting.pop() {
        let failed = |path: &[u8], (action, errno): Failure| {
            Error::path(action, layer.join(std::ffi::OsStr::new(String::from_utf8_lossy(path).as_ref())))(errno)
        };
        let (source, target) = copy.open_both(&path).map_err(|errno| failed(&path, ("open", errno)))?;
        let names = sys::removal::names(source.as_fd()).map_err(|errno| failed(&path, ("list", errno)))?;
        for (name, _) in names {
            let name = name.into_bytes();
            let below = if path.is_empty() { name.clone() } else { [&path[..], b"/", &name].concat() };
            if let Some(stat) =
                copy.entry(&source, &target, &name, &below).map_err(|failure| failed(&below, failure))?
            {
                times.push((below.clone(), stat));
                waiting.push(below);
            }
        }
    }
    for (path, stat) in times.iter().rev() {
        let set = copy.to.resolve(path, DIRECTORY).and_then(|directory| fs::futimens(&directory, &modified(stat)));
        set.map_err(Error::path("set the time of a directory of", layer))?;
    }
    Ok(())
}

/// Gives a directory owner, mode, attributes and time of another.
pub fn take_attributes(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let take = || {
        let stat = fs::fstat(from)?;
        attributes(from, to, &stat)?;
        fs::futimens(to, &modified(&stat))
    };
    take().map_err(Error::path("copy the attributes of", "a directory"))
}

/// As [`take_attributes`], of the directory at a path.
pub(crate) fn take_attributes_of(from: &Path, to: &OwnedFd) -> Result<()> {
    let source = fs::open(from, DIRECTORY, Mode::empty()).map_err(Error::path("open", from))?;
    take_attributes(&source, to)
}

impl Copy<'_> {
    fn open_both(&self, path: &[u8]) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
        Ok((self.from.resolve(path, DIRECTORY)?, self.to.resolve(path, DIRECTORY)?))
    }

    /// Copies one entry. A directory is made, and its state returned: what is in it comes later.
    fn entry(
        &mut self,
        source: &OwnedFd,
        target: &OwnedFd,
        name: &[u8],
        path: &[u8],
    ) -> std::result::Result<Option<Stat>, Failure> {
        let stat = fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| ("look at", errno))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            self.directory(source, target, name, &stat).map_err(|errno| ("copy", errno))?;
            return Ok(Some(stat));
        }
        if let Some((_, errno)) = sys::removal::remove_tree(target.as_fd(), name).first {
            return Err(("replace what lies below", errno));
        }
        if is_whiteout(source, name) {
            return Ok(None);
        }
        if stat.st_nlink > 1
            && let Some(first) = self.linked.get(&stat.st_ino)
        {
            let linked = self
                .to
                .parent(first)
                .and_then(|(parent, first)| fs::linkat(&parent, first, target, name, AtFlags::empty()));
            return linked.map(|()| None).map_err(|errno| ("link", errno));
        }
        match kind {
            FileType::RegularFile => self.file(source, target, name, &stat),
            _ => node(source, target, name, &stat, kind),
        }
        .map_err(|errno| ("copy", errno))?;
        if stat.st_nlink > 1 {
            self.linked.insert(stat.st_ino, path.to_vec());
        }
        Ok(None)
    }

    fn directory(&self, source: &OwnedFd, target: &OwnedFd, name: &[u8], stat: &Stat) -> rustix::io::Result<()> {
        let from = fs::openat(source, name, DIRECTORY, Mode::empty())?;
        let opaque = |prefix: &str| {
            sys::xattr::get(&from, format!("{prefix}opaque").as_bytes())
                .is_ok_and(|value| value.as_deref() == Some(b"y"))
        };
        let exists = fs::statat(target, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|old| FileType::from_raw_mode(old.st_mode) == FileType::Directory);
        if !exists || opaque(format::TRUSTED) || opaque(format::USER) {
            if let Some((_, errno)) = sys::removal::remove_tree(target.as_fd(), name).first {
                return Err(errno);
            }
            fs::mkdirat(target, name, Mode::RWXU)?;
        }
        let to = fs::openat(target, name, DIRECTORY, Mode::empty())?;
        attributes(&from, &to, stat)
    }

    fn file(&mut self, source: &OwnedFd, target: &OwnedFd, name: &[u8], stat: &Stat) -> rustix::io::Result<()> {
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let from = fs::openat(source, name, read, Mode::empty())?;
        let to = fs::openat(target, name, create, Mode::RUSR | Mode::WUSR)?;
        sys::reflink::copy(&from, &to, &mut self.share)?;
        attributes(&from, &to, stat)?;
        fs::futimens(&to, &modified(stat))
    }
}

/// A link, a device, a fifo or a socket.
fn node(source: &OwnedFd, target: &OwnedFd, name: &[u8], stat: &Stat, kind: FileType) -> rustix::io::Result<()> {
    if kind == FileType::Symlink {
        let link = fs::readlinkat(source, name, Vec::new())?;
        fs::symlinkat(link, target, name)?;
    } else {
        fs::mknodat(target, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?;
        // Just made, by us, and not a link.
        fs::chmodat(target, name, Mode::from_raw_mode(stat.st_mode), AtFlags::empty())?;
    }
    let (uid, gid) = owner(stat);
    fs::chownat(target, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    fs::utimensat(target, name, &modified(stat), AtFlags::SYMLINK_NOFOLLOW)
}

/// Owner, mode and attributes but overlay's own, in the order in which one does not take the other away.
fn attributes(from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> rustix::io::Result<()> {
    let (uid, gid) = owner(stat);
    fs::fchown(to, uid, gid)?;
    fs::fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    for name in sys::xattr::names(from)? {
        let kept =
            name.starts_with(b"user.") || name == b"security.capability" || name.starts_with(b"system.posix_acl_");
        if !kept || name.starts_with(format::USER.as_bytes()) {
            continue;
        }
        if let Some(value) = sys::xattr::get(from, &name)? {
            sys::xattr::set(to, &name, &value)?;
        }
    }
    Ok(())
}

fn owner(stat: &Stat) -> (Option<fs::Uid>, Option<fs::Gid>) {
    (Some(fs::Uid::from_raw(stat.st_uid)), Some(fs::Gid::from_raw(stat.st_gid)))
}

fn modified(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}
