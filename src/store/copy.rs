//! Copies of layers: applied one over the other they are a container's root where overlay cannot be had; one by one,
//! with other owners, they are mapped layers.
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
use types::idmap::to_host;
use types::{IdMap, IdRange};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why one file could not be copied.
type Failure = (&'static str, Errno);

/// What a layer is copied for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Purpose<'a> {
    /// Files get the owners that they have in a user namespace with this map.
    pub owners: Option<&'a IdMap>,
    /// It stays a layer: what hides lower layers is copied, not done.
    pub layer: bool,
    /// Regular files stay empty, and refer to those of the directory of this name in a data layer.
    pub refer: Option<&'a str>,
    /// Overlay's marks are in `user.*` attributes.
    pub user_xattr: bool,
}

/// A layer being copied.
struct Copy<'a> {
    from: Root,
    to: &'a Root,
    purpose: Purpose<'a>,
    /// Where files with several names were put, by inode.
    linked: HashMap<u64, Vec<u8>>,
    share: bool,
}

/// Copies what is in directory `from` into directory `target`, and if `own` its owner, mode, attributes and time too.
pub fn copy_tree(from: &OwnedFd, target: &OwnedFd, own: bool) -> Result<()> {
    let place = Path::new("directory of an image");
    let root = from.try_clone().map_err(|source| Error::Path { action: "open", path: place.into(), source })?;
    apply_below(Root::new(root), place, target, Purpose::default())?;
    if own { take_attributes(from, target) } else { Ok(()) }
}

/// Applies the layer in directory `layer` to what is in `target`.
pub(crate) fn apply(layer: &Path, target: &OwnedFd, purpose: Purpose<'_>) -> Result<()> {
    apply_below(Root::open(layer).map_err(Error::path("open", layer))?, layer, target, purpose)
}

fn apply_below(from: Root, layer: &Path, target: &OwnedFd, purpose: Purpose<'_>) -> Result<()> {
    let target = target.try_clone().map_err(|source| Error::Path { action: "open", path: layer.into(), source })?;
    let to = Root::new(target);
    let mut copy = Copy { from, to: &to, purpose, linked: HashMap::new(), share: true };
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
    take(from, to, Purpose::default())
}

fn take(from: &OwnedFd, to: &OwnedFd, purpose: Purpose<'_>) -> Result<()> {
    let take = || {
        let stat = fs::fstat(from)?;
        purpose.attributes(from, to, &stat)?;
        fs::futimens(to, &modified(&stat))
    };
    take().map_err(Error::path("copy the attributes of", "a directory"))
}

/// As [`take_attributes`], of the directory at a path.
pub(crate) fn take_attributes_of(from: &Path, to: &OwnedFd, purpose: Purpose<'_>) -> Result<()> {
    let source = fs::open(from, DIRECTORY, Mode::empty()).map_err(Error::path("open", from))?;
    take(&source, to, purpose)
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
        if !self.purpose.layer && is_whiteout(source, name) {
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
            FileType::RegularFile => self.file(source, target, name, path, &stat),
            _ => self.node(source, target, name, &stat, kind),
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
        self.purpose.attributes(&from, &to, stat)
    }

    fn file(
        &mut self,
        source: &OwnedFd,
        target: &OwnedFd,
        name: &[u8],
        path: &[u8],
        stat: &Stat,
    ) -> rustix::io::Result<()> {
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let from = fs::openat(source, name, read, Mode::empty())?;
        let to = fs::openat(target, name, create, Mode::RUSR | Mode::WUSR)?;
        if !self.refer(&to, path, stat)? {
            sys::reflink::copy(&from, &to, &mut self.share)?;
        }
        self.purpose.attributes(&from, &to, stat)?;
        fs::futimens(&to, &modified(stat))
    }

    /// Lets a file refer to what it is made of, if that is wanted. A path that is too long for an attribute is not.
    fn refer(&self, to: &OwnedFd, path: &[u8], stat: &Stat) -> rustix::io::Result<bool> {
        let Some(layer) = self.purpose.refer.filter(|_| stat.st_size > 0) else { return Ok(false) };
        let path = [b"/", layer.as_bytes(), b"/", path].concat();
        match sys::overlay::refer(to, &path, stat.st_size.cast_unsigned(), self.purpose.user_xattr) {
            Ok(()) => Ok(true),
            Err(Errno::NOSPC | Errno::RANGE | Errno::TOOBIG) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// A link, a device, a fifo or a socket.
    fn node(
        &self,
        source: &OwnedFd,
        target: &OwnedFd,
        name: &[u8],
        stat: &Stat,
        kind: FileType,
    ) -> rustix::io::Result<()> {
        if kind == FileType::Symlink {
            let link = fs::readlinkat(source, name, Vec::new())?;
            fs::symlinkat(link, target, name)?;
        } else {
            fs::mknodat(target, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?;
            // A container that has the place, too, may have put another thing there meanwhile.
            sys::beneath::change_mode(target, name, kind, Mode::from_raw_mode(stat.st_mode))?;
        }
        let (uid, gid, _) = self.purpose.owner(stat);
        fs::chownat(target, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        fs::utimensat(target, name, &modified(stat), AtFlags::SYMLINK_NOFOLLOW)
    }
}

impl Purpose<'_> {
    /// Owner, mode and attributes, in the order in which one does not take the other away.
    fn attributes(&self, from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> rustix::io::Result<()> {
        let (uid, gid, known) = self.owner(stat);
        fs::fchown(to, Some(uid), Some(gid))?;
        let mut mode = Mode::from_raw_mode(stat.st_mode);
        if !known && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            mode -= Mode::SUID | Mode::SGID;
        }
        fs::fchmod(to, mode)?;
        for name in sys::xattr::names(from)? {
            if !self.takes(&name) {
                continue;
            }
            if let Some(mut value) = sys::xattr::get(from, &name)? {
                if let Some(map) = self.owners.filter(|_| name.starts_with(ACL)) {
                    map_acl(&mut value, map);
                }
                sys::xattr::set(to, &name, &value)?;
            }
        }
        Ok(())
    }

    /// Overlay's own attributes are a layer's.
    fn takes(&self, name: &[u8]) -> bool {
        let mark = |prefix: &str| {
            name.strip_prefix(prefix.as_bytes()).is_some_and(|rest| matches!(rest, b"opaque" | b"whiteout"))
        };
        if mark(format::TRUSTED) || mark(format::USER) {
            return self.layer;
        }
        (name.starts_with(b"user.") && !name.starts_with(format::USER.as_bytes()))
            || name == b"security.capability"
            || name.starts_with(ACL)
    }

    /// The owner of a copy, and whether the map knows the original's. If it does not, the copy belongs to nobody, or as
    /// near to that as can be: an id that the map does not use, so that it is shown as that of nobody.
    pub(crate) fn owner(&self, stat: &Stat) -> (fs::Uid, fs::Gid, bool) {
        let (uid, gid) = (stat.st_uid, stat.st_gid);
        let (uid, gid, known) = match self.owners {
            None => (uid, gid, true),
            Some(map) => {
                let (to_uid, to_gid) = (to_host(&map.uids, uid), to_host(&map.gids, gid));
                let known = to_uid.is_some() && to_gid.is_some();
                (to_uid.unwrap_or_else(|| unused(&map.uids)), to_gid.unwrap_or_else(|| unused(&map.gids)), known)
            }
        };
        (fs::Uid::from_raw(uid), fs::Gid::from_raw(gid), known)
    }
}

const ACL: &[u8] = b"system.posix_acl_";

/// The id of nobody everywhere.
const NOBODY: u32 = 65534;

/// An id outside that is surely there and that the ranges do not use; what nobody is outside, if they use them all.
fn unused(ranges: &[IdRange]) -> u32 {
    let used = |id: u32| ranges.iter().any(|r| id.checked_sub(r.host).is_some_and(|offset| offset < r.size));
    [NOBODY, 0, 1].into_iter().find(|id| !used(*id)).or_else(|| to_host(ranges, NOBODY)).unwrap_or(0)
}

/// Brings the ids of an access control list (acl(5); in the kernel's form: a version, then entries of tag, rights and
/// id) through a map. What the map does not know becomes nobody's.
fn map_acl(value: &mut [u8], map: &IdMap) {
    const USER: u16 = 2;
    const GROUP: u16 = 8;
    for entry in value.get_mut(4..).unwrap_or_default().chunks_exact_mut(8) {
        let ranges = match u16::from_le_bytes([entry[0], entry[1]]) {
            USER => &map.uids,
            GROUP => &map.gids,
            _ => continue,
        };
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let id = to_host(ranges, id).unwrap_or_else(|| unused(ranges));
        entry[4..8].copy_from_slice(&id.to_le_bytes());
    }
}

fn modified(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(ranges: &[(u32, u32, u32)]) -> IdMap {
        let ranges: Vec<_> = ranges
            .iter()
            .map(|(container, host, size)| IdRange { container: *container, host: *host, size: *size })
            .collect();
        IdMap { uids: ranges.clone(), gids: ranges }
    }

    #[test]
    fn who_is_not_mapped_is_nobody_inside() {
        assert_eq!(unused(&map(&[(0, 1, 1000)]).uids), NOBODY);
        assert_eq!(unused(&map(&[(0, 1, 65536)]).uids), 0);
        assert_eq!(unused(&map(&[(0, 1, 1000), (1000, 0, 1), (1001, 1001, 64536)]).uids), NOBODY);
    }

    #[test]
    fn lists_of_rights_go_through_the_map() {
        let entry = |tag: u16, id: u32| [&tag.to_le_bytes()[..], &7u16.to_le_bytes(), &id.to_le_bytes()].concat();
        let list = |user: u32, group: u32| {
            [2u32.to_le_bytes().to_vec(), entry(1, u32::MAX), entry(2, user), entry(8, group), entry(32, u32::MAX)]
                .concat()
        };
        let mut value = list(5, 9000);
        map_acl(&mut value, &map(&[(0, 100, 1000)]));
        assert_eq!(value, list(105, NOBODY));
        map_acl(&mut [1, 2], &map(&[]));
    }
}
