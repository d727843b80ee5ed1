//! A tar archive becomes files in a directory that others use meanwhile: in a container that may run.
//!
//! Unlike [`crate::unpack`], which fills an empty layer that nobody else can reach, every name is resolved below the root
//! anew, because processes in there may swap directories for links at any moment. What is in the way is replaced by
//! something of its own kind only, unless that is allowed.
//!
//! Must not know: containers, where the bytes come from.

use crate::archive::{Archive, Entry, Fault, Kind};
use crate::{Error, Result};
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::io::BufRead;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use sys::beneath::Root;

/// How entries are written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spreading {
    /// Everything belongs to these ids; `None`: to those in the archive.
    pub owner: Option<(u32, u32)>,
    /// A file may take the place of a directory and the other way round.
    pub overwrite: bool,
}

/// Writes the entries of an archive below the directory `top` of the tree `root`. `place` names the tree in errors.
pub fn spread(root: OwnedFd, place: &Path, top: &[u8], reader: impl BufRead, how: Spreading) -> Result<()> {
    let mut spreader =
        Spreader { root: Root::new(root), place: place.to_owned(), top: top.to_vec(), how, times: Vec::new() };
    let mut archive = Archive::new(reader);
    let mut entry = Entry::default();
    while archive.next(&mut entry).map_err(|fault| spreader.fault(fault))? {
        spreader.entry(&mut archive, &entry)?;
    }
    spreader.finish()
}

struct Spreader {
    root: Root,
    place: PathBuf,
    top: Vec<u8>,
    how: Spreading,
    /// Directories whose time is set last.
    times: Vec<(Vec<u8>, (i64, u32))>,
}

impl Spreader {
    fn failed(&self, action: &'static str, path: &[u8], errno: Errno) -> Error {
        Error::path(action, self.place.join(String::from_utf8_lossy(path).as_ref()))(errno)
    }

    fn fault(&self, fault: Fault) -> Error {
        match fault {
            Fault::Read(source) => Error::ReadArchive { source },
            Fault::Bad { entry, why } => {
                Error::ArchiveEntry { entry: String::from_utf8_lossy(&entry).into_owned(), why }
            }
        }
    }

    fn bad(&self, entry: &Entry, why: &str) -> Error {
        self.fault(Fault::Bad { entry: entry.path.clone(), why: why.to_owned() })
    }

    fn entry<R: BufRead>(&mut self, archive: &mut Archive<R>, entry: &Entry) -> Result<()> {
        let mut clean = Vec::new();
        if !crate::unpack::clean(&entry.path, &mut clean) {
            return Err(self.bad(entry, "its name leads out of the directory"));
        }
        let Some((parent, name)) = sys::beneath::split(&clean) else {
            // The directory itself, which is there.
            return Ok(());
        };
        let name = name.to_vec();
        let parent_path = join(&self.top, parent);
        let path = join(&parent_path, &name);
        let directory = self.parent(&parent_path)?;
        self.clear(&directory, &name, entry, &path)?;
        match entry.kind {
            Kind::Directory => self.directory(&directory, &name, entry, &path),
            Kind::File => self.file(archive, &directory, &name, entry, &path),
            Kind::HardLink => self.link(&directory, &name, entry, &path),
            Kind::SymbolicLink => {
                fs::symlinkat(&entry.link[..], &directory, &name[..]).map_err(|e| self.failed("create", &path, e))?;
                self.own(&directory, &name, entry, &path)
            }
            Kind::Character | Kind::Block | Kind::Fifo => {
                let (kind, device) = match entry.kind {
                    Kind::Character => (FileType::CharacterDevice, fs::makedev(entry.major, entry.minor)),
                    Kind::Block => (FileType::BlockDevice, fs::makedev(entry.major, entry.minor)),
                    _ => (FileType::Fifo, 0),
                };
                fs::mknodat(&directory, &name[..], kind, Mode::from_raw_mode(entry.mode & 0o7777), device)
                    .map_err(|errno| self.failed("create", &path, errno))?;
                self.own(&directory, &name, entry, &path)
            }
        }
    }

    fn parent(&self, path: &[u8]) -> Result<OwnedFd> {
        let owner = self.how.owner;
        let made = self.root.make_directories(path, Mode::from_raw_mode(0o755), |parent, name| match owner {
            Some((uid, gid)) => chown(parent, name, uid, gid),
            None => Ok(()),
        });
        made.map_err(|errno| self.failed("create", path, errno))
    }

    /// Takes away what is in the way of `entry`.
    fn clear(&self, directory: &OwnedFd, name: &[u8], entry: &Entry, path: &[u8]) -> Result<()> {
        let old = match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(|errno| self.failed("look at", path, errno))?,
        };
        let was_directory = FileType::from_raw_mode(old.st_mode) == FileType::Directory;
        let is_directory = entry.kind == Kind::Directory;
        if was_directory && is_directory {
            return Ok(());
        }
        if was_directory != is_directory && !self.how.overwrite {
            return Err(self.bad(
                entry,
                if was_directory {
                    "a directory is in its place; cannot overwrite it with what is none"
                } else {
                    "something that is no directory is in its place; cannot overwrite it with a directory"
                },
            ));
        }
        match sys::removal::remove_tree(directory.as_fd(), name).first {
            Some((_, errno)) => Err(self.failed("replace", path, errno)),
            None => Ok(()),
        }
    }

    fn directory(&mut self, directory: &OwnedFd, name: &[u8], entry: &Entry, path: &[u8]) -> Result<()> {
        match fs::mkdirat(directory, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(self.failed("create", path, errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made =
            fs::openat(directory, name, flags, Mode::empty()).map_err(|errno| self.failed("open", path, errno))?;
        self.attributes(&made, entry, path)?;
        self.times.push((path.to_vec(), entry.modified));
        Ok(())
    }

    fn file<R: BufRead>(
        &self,
        archive: &mut Archive<R>,
        directory: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        path: &[u8],
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| self.failed("create", path, errno))?;
        let pieces = entry.pieces.clone().unwrap_or_else(|| vec![(0, entry.size)]);
        for (offset, length) in pieces {
            fs::seek(&file, fs::SeekFrom::Start(offset)).map_err(|errno| self.failed("write", path, errno))?;
            let mut left = length;
            while left > 0 {
                let data = archive.data().map_err(|fault| self.fault(fault))?;
                let data = &data[..data.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
                if data.is_empty() {
                    break;
                }
                let count = match rustix::io::write(&file, data) {
                    Err(Errno::INTR) => continue,
                    other => other.map_err(|errno| self.failed("write", path, errno))?,
                };
                archive.consume(count);
                left -= count as u64;
            }
        }
        if entry.pieces.is_some() {
            fs::ftruncate(&file, entry.size).map_err(|errno| self.failed("write", path, errno))?;
        }
        self.attributes(&file, entry, path)?;
        fs::futimens(&file, &times(entry.modified)).map_err(|errno| self.failed("set the time of", path, errno))
    }

    fn link(&self, directory: &OwnedFd, name: &[u8], entry: &Entry, path: &[u8]) -> Result<()> {
        let mut clean = Vec::new();
        if !crate::unpack::clean(&entry.link, &mut clean) {
            return Err(self.bad(entry, "it is a hard link out of the directory"));
        }
        let target = join(&self.top, &clean);
        let (parent, last) = self.root.parent(&target).map_err(|errno| self.failed("find", &target, errno))?;
        fs::linkat(&parent, last, directory, name, AtFlags::empty()).map_err(|errno| self.failed("link", path, errno))
    }

    /// Owner, mode and attributes of an open file or directory, in the order in which none takes another away.
    fn attributes(&self, file: &OwnedFd, entry: &Entry, path: &[u8]) -> Result<()> {
        let (uid, gid) = self.how.owner.unwrap_or((entry.uid, entry.gid));
        match fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
            // An id that is not mapped here: it stays ours, as with one id nothing else can be.
            Err(Errno::INVAL | Errno::PERM) if self.how.owner.is_none() => {}
            other => other.map_err(|errno| self.failed("set the owner of", path, errno))?,
        }
        fs::fchmod(file, Mode::from_raw_mode(entry.mode & 0o7777))
            .map_err(|errno| self.failed("set the mode of", path, errno))?;
        for (name, value) in &entry.attributes {
            if name.starts_with(b"user.") && !name.starts_with(crate::format::USER.as_bytes())
                || name == b"security.capability"
            {
                match sys::xattr::set(file, name, value) {
                    Err(Errno::OPNOTSUPP | Errno::PERM) => {}
                    other => other.map_err(|errno| self.failed("set an attribute of", path, errno))?,
                }
            }
        }
        Ok(())
    }

    /// Owner and time of what was not opened.
    fn own(&self, directory: &OwnedFd, name: &[u8], entry: &Entry, path: &[u8]) -> Result<()> {
        let (uid, gid) = self.how.owner.unwrap_or((entry.uid, entry.gid));
        match chown(directory.as_fd(), name, uid, gid) {
            Err(Errno::INVAL | Errno::PERM) if self.how.owner.is_none() => {}
            other => other.map_err(|errno| self.failed("set the owner of", path, errno))?,
        }
        fs::utimensat(directory, name, &times(entry.modified), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.failed("set the time of", path, errno))
    }

    fn finish(&mut self) -> Result<()> {
        for (path, modified) in std::mem::take(&mut self.times).into_iter().rev() {
            // Somebody else may have moved it since: then it is not ours to set.
            if let Ok((parent, name)) = self.root.parent(&path) {
                let set = fs::utimensat(&parent, name, &times(modified), AtFlags::SYMLINK_NOFOLLOW);
                match set {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(self.failed("set the time of", &path, errno)),
                }
            }
        }
        Ok(())
    }
}

fn chown(directory: std::os::fd::BorrowedFd<'_>, name: &[u8], uid: u32, gid: u32) -> rustix::io::Result<()> {
    fs::chownat(directory, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    match (path.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => path.to_vec(),
        _ => [path, b"/", name].concat(),
    }
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    }
}
