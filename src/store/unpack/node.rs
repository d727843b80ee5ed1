//! Links, devices and whiteouts.

use super::{Unpacker, clean, gid, lossy, open_directory, times, uid};
use crate::archive::{Entry, Kind};
use crate::{Result, format};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

impl Unpacker<'_> {
    /// A symbolic link, a device or a fifo.
    pub(super) fn node(&mut self, entry: &Entry, parent: &OwnedFd, name: &[u8]) -> Result<()> {
        let device = matches!(entry.kind, Kind::Character | Kind::Block);
        if device && self.options.in_user_namespace && (entry.major, entry.minor) != (0, 0) {
            // Nobody may make one there; the runtime binds the usual ones from the host.
            self.unpacked.skipped_devices += 1;
            return Ok(());
        }
        if entry.kind == Kind::SymbolicLink && entry.link.is_empty() {
            return Err(self.bad("it is a link to nothing"));
        }
        let create = || match entry.kind {
            Kind::SymbolicLink => fs::symlinkat(entry.link.as_slice(), parent, name),
            kind => {
                let kind = match kind {
                    Kind::Character => FileType::CharacterDevice,
                    Kind::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let number = if device { fs::makedev(entry.major, entry.minor) } else { 0 };
                fs::mknodat(parent, name, kind, Mode::from_raw_mode(entry.mode), number)
            }
        };
        match create() {
            Err(Errno::EXIST) => {
                self.replace(parent, name)?;
                create()
            }
            other => other,
        }
        .map_err(|errno| self.fail("create", errno))?;
        if (entry.uid, entry.gid) != self.own && !self.options.single_id {
            fs::chownat(parent, name, Some(uid(entry)), Some(gid(entry)), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| self.fail_owner(entry, errno))?;
        }
        // None but trusted.* and security.* can be had on these, and neither is taken from strangers for them.
        self.unpacked.skipped_attributes += entry.attributes.len() as u64;
        fs::utimensat(parent, name, &times(entry.modified), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.fail("set the time of", errno))
    }

    pub(super) fn hard_link(&mut self, entry: &Entry, parent: &OwnedFd, name: &[u8]) -> Result<()> {
        let mut target = Vec::new();
        if !clean(&entry.link, &mut target) {
            return Err(self.bad(format!("its target {:?} leads out of the layer", lossy(&entry.link))));
        }
        let missing =
            || self.bad(format!("it is a hard link to {:?}, which the layer does not have", lossy(&entry.link)));
        let Some((target_parent, target_name)) = sys::beneath::split(&target) else {
            return Err(self.bad("it is a hard link to the root of the layer"));
        };
        let from = match self.root.resolve(target_parent, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(missing()),
            other => other.map_err(|errno| self.fail("find the target of", errno))?,
        };
        // Without SYMLINK_FOLLOW: a link to a link is one, too.
        let link = || fs::linkat(&from, target_name, parent, name, AtFlags::empty());
        match link() {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let stat = |directory: &OwnedFd, name: &[u8]| fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
                let (old, new) = match (stat(parent, name), stat(&from, target_name)) {
                    (Ok(old), Ok(new)) => (old, new),
                    (_, Err(Errno::NOENT)) => return Err(missing()),
                    (Err(errno), _) | (_, Err(errno)) => return Err(self.fail("find the target of", errno)),
                };
                if (old.st_dev, old.st_ino) == (new.st_dev, new.st_ino) {
                    return Ok(());
                }
                if FileType::from_raw_mode(new.st_mode) == FileType::Directory {
                    return Err(self.bad(format!("it is a hard link to {:?}, a directory", lossy(&entry.link))));
                }
                self.replace(parent, name)?;
                // What was replaced may have held the target.
                link().map_err(|errno| self.fail("link", errno))
            }
            Err(Errno::NOENT) => Err(missing()),
            Err(Errno::PERM) => Err(self.bad(format!("it is a hard link to {:?}, a directory", lossy(&entry.link)))),
            Err(errno) => Err(self.fail("link", errno)),
        }
    }

    /// `.wh.NAME`: lower layers' NAME is gone. `.wh..wh..opq`: all they have in this directory is.
    pub(super) fn whiteout(&mut self, parent: &OwnedFd, hidden: &[u8]) -> Result<()> {
        if hidden == b".wh..opq" {
            let Some((directory, _)) = sys::beneath::split(&self.path) else { return Ok(()) };
            if directory.is_empty() {
                // Overlay does not look for the mark on the root: the lower layers are left out of the mount instead.
                self.unpacked.root_opaque = true;
                return Ok(());
            }
            return self.make_opaque(parent, b".");
        }
        // AUFS kept its own files under these names.
        if hidden.starts_with(b".wh.") {
            return Ok(());
        }
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(self.bad("it is a whiteout of nothing"));
        }
        match self.make_whiteout(parent, hidden) {
            Err(Errno::EXIST) => {
                // The layer has that name itself; only what lies below it goes.
                let stat = fs::statat(parent, hidden, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| self.fail("stat", e))?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    self.make_opaque(parent, hidden)?;
                }
                Ok(())
            }
            other => other.map_err(|errno| self.fail("create the whiteout of", errno)),
        }
    }

    fn make_whiteout(&self, parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
        match fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0) {
            // On a disk that is an overlay itself, and before Linux 5.8 in a user namespace, nobody can make this device,
            // and overlay cannot be mounted over it: this mark is for copies.
            Err(Errno::PERM) => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let file = fs::openat(parent, name, flags, Mode::RUSR)?;
                sys::xattr::set(&file, format::overlay_attribute(true, "whiteout").as_bytes(), b"y")
            }
            other => other,
        }
    }

    pub(super) fn make_opaque(&mut self, parent: &OwnedFd, name: &[u8]) -> Result<()> {
        let mark = |directory: &OwnedFd, user: bool| {
            sys::xattr::set(directory, format::overlay_attribute(user, "opaque").as_bytes(), b"y")
        };
        open_directory(parent, name)
            .and_then(|directory| match mark(&directory, self.options.in_user_namespace) {
                // The disk is an overlay, which keeps these attributes to itself: again a mark for copies.
                Err(Errno::PERM | Errno::OPNOTSUPP) => mark(&directory, true),
                other => other,
            })
            .map_err(|errno| self.fail("hide lower layers behind the directory of", errno))
    }

    /// Removes what has the name of the current entry. True if that was a whiteout.
    pub(super) fn replace(&mut self, parent: &OwnedFd, name: &[u8]) -> Result<bool> {
        let whiteout = is_whiteout(parent, name);
        let outcome = sys::removal::remove_tree(std::os::fd::AsFd::as_fd(parent), name);
        if let Some((_, errno)) = outcome.first {
            return Err(self.fail("replace", errno));
        }
        self.parents.forget();
        // Times that were meant for the directory that was here.
        let below = [&self.path[..], b"/"].concat()..[&self.path[..], b"0"].concat();
        let gone: Vec<Vec<u8>> = self.directories.range(below).map(|(path, _)| path.clone()).collect();
        self.directories.remove(&self.path);
        for path in gone {
            self.directories.remove(&path);
        }
        Ok(whiteout)
    }
}

/// True if `name` marks a removed file of lower layers.
pub(crate) fn is_whiteout(parent: &OwnedFd, name: &[u8]) -> bool {
    let Ok(stat) = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => stat.st_rdev == 0,
        FileType::RegularFile if stat.st_size == 0 => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            fs::openat(parent, name, flags, Mode::empty()).is_ok_and(|file| is_marked_whiteout(&file))
        }
        _ => false,
    }
}

/// True if an empty file is such a mark by its attribute, which is how overlay writes them in a user namespace.
pub(crate) fn is_marked_whiteout(file: &OwnedFd) -> bool {
    let attribute = format::overlay_attribute(true, "whiteout");
    sys::xattr::get(file, attribute.as_bytes()).is_ok_and(|value| value.is_some())
}
