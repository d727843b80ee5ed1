//! Unpacks one layer into an empty directory, so that the directory can be a lower one of overlay.
//!
//! The archive is a stranger's. Names are resolved below the layer's root as in a chroot, whatever links the layer has
//! made before; what exists is replaced and never written through; nobody else writes to the tree meanwhile (it lies in
//! a locked directory of `work/`, which only we can enter).
//!
//! A file costs four system calls (open, write, times, close): the thread has a umask of zero, the descriptors of
//! parents are kept, and owners are only changed where they differ.

mod attributes;
mod node;
mod parents;

use crate::archive::{Archive, Entry, Fault, Kind};
use crate::candidate::Unpacked;
use crate::writeback::Writeback;
use crate::{Error, Options, Result, limits};
pub(crate) use node::{is_marked_whiteout, is_whiteout};
use parents::Parents;
use rustix::fs::{self, AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::os::fd::OwnedFd;
use std::path::Path;
use sys::beneath::Root;

/// What is done to directories last: adding to them changes their times, and a set-group-id one gives its group away.
struct Pending {
    modified: (i64, u32),
    special: Option<Mode>,
}

/// A layer being unpacked.
pub(crate) struct Unpacker<'s> {
    root: Root,
    options: Options,
    /// Name of the blob and root of the store, for errors.
    blob: &'s str,
    store: &'s Path,
    writeback: &'s Writeback,
    /// Ids that new files get by themselves.
    own: (u32, u32),
    parents: Parents,
    directories: BTreeMap<Vec<u8>, Pending>,
    /// The current entry's name, as written and cleaned.
    name: Vec<u8>,
    path: Vec<u8>,
    unpacked: Unpacked,
    unchecked_bytes: u64,
    unchecked_entries: u64,
}

impl<'s> Unpacker<'s> {
    /// Unpacks into `root`, an empty directory. The calling thread's umask must be zero.
    pub(crate) fn new(
        root: Root,
        options: Options,
        blob: &'s str,
        store: &'s Path,
        writeback: &'s Writeback,
    ) -> Unpacker<'s> {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Unpacker {
            root,
            options,
            blob,
            store,
            writeback,
            own,
            parents: Parents::default(),
            directories: BTreeMap::new(),
            name: Vec::new(),
            path: Vec::new(),
            unpacked: Unpacked::default(),
            unchecked_bytes: 0,
            unchecked_entries: 0,
        }
    }

    /// Unpacks all entries of `archive`.
    pub(crate) fn unpack<R: BufRead>(mut self, archive: &mut Archive<R>) -> Result<Unpacked> {
        let mut entry = Entry::default();
        self.check_space()?;
        while archive.next(&mut entry).map_err(|fault| self.fault(fault))? {
            self.unpack_entry(archive, &entry)?;
            self.unchecked_entries += 1;
            if self.unchecked_bytes >= limits::CHECK_BYTES || self.unchecked_entries >= limits::CHECK_ENTRIES {
                self.check_space()?;
            }
        }
        self.finish_directories()?;
        self.unpacked.entries = archive.entries();
        Ok(self.unpacked)
    }

    fn unpack_entry<R: BufRead>(&mut self, archive: &mut Archive<R>, entry: &Entry) -> Result<()> {
        self.name.clear();
        self.name.extend_from_slice(&entry.path);
        if !clean(&entry.path, &mut self.path) {
            return Err(self.bad("its name leads out of the layer"));
        }
        let Some((parent, name)) = sys::beneath::split(&self.path) else {
            return self.unpack_root(entry);
        };
        if self.path.split(|byte| *byte == b'/').any(|component| component.len() > limits::NAME) {
            return Err(self.bad(format!("its name has a component of more than {} bytes", limits::NAME)));
        }
        let (parent, name) = (parent.to_vec(), name.to_vec());
        let parent = self.parent(&parent)?;
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return self.whiteout(&parent, hidden);
        }
        match entry.kind {
            Kind::File => self.file(archive, entry, &parent, &name),
            Kind::Directory => self.directory(entry, &parent, &name),
            Kind::HardLink => self.hard_link(entry, &parent, &name),
            Kind::SymbolicLink | Kind::Character | Kind::Block | Kind::Fifo => self.node(entry, &parent, &name),
        }
    }

    fn unpack_root(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != Kind::Directory {
            return Err(self.bad("it would replace the root of the layer"));
        }
        let root = self.root.resolve(b"", OFlags::RDONLY | OFlags::DIRECTORY).map_err(|e| self.fail("open", e))?;
        if (entry.uid, entry.gid) != self.own && !self.options.single_id {
            fs::fchown(&root, Some(uid(entry)), Some(gid(entry))).map_err(|e| self.fail_owner(entry, e))?;
        }
        self.attributes(&root, entry)?;
        self.unpacked.root_listed = true;
        // Podman and Docker take no mode from this entry: many a tree was packed in a private directory, and works with them.
        let mode = Mode::from_raw_mode(entry.mode | 0o555);
        self.directories.insert(Vec::new(), Pending { modified: entry.modified, special: Some(mode) });
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        archive: &mut Archive<R>,
        entry: &Entry,
        parent: &OwnedFd,
        name: &[u8],
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(entry.mode & 0o1777);
        let file = match fs::openat(parent, name, flags, mode) {
            Err(Errno::EXIST) => {
                self.replace(parent, name)?;
                fs::openat(parent, name, flags, mode)
            }
            other => other,
        }
        .map_err(|errno| self.fail("create", errno))?;
        match &entry.pieces {
            None => self.write(archive, &file, u64::MAX)?,
            Some(pieces) => {
                for (offset, length) in pieces {
                    fs::seek(&file, fs::SeekFrom::Start(*offset)).map_err(|errno| self.fail("write", errno))?;
                    self.write(archive, &file, *length)?;
                }
                fs::ftruncate(&file, entry.size).map_err(|errno| self.fail("write", errno))?;
            }
        }
        if (entry.uid, entry.gid) != self.own && !self.options.single_id {
            fs::fchown(&file, Some(uid(entry)), Some(gid(entry))).map_err(|errno| self.fail_owner(entry, errno))?;
        }
        // After chown(2) and write(2), which both take these bits away.
        if entry.mode & 0o6000 != 0 {
            fs::fchmod(&file, Mode::from_raw_mode(entry.mode)).map_err(|errno| self.fail("set the mode of", errno))?;
        }
        self.attributes(&file, entry)?;
        fs::futimens(&file, &times(entry.modified)).map_err(|errno| self.fail("set the time of", errno))?;
        self.unpacked.bytes += entry.size;
        Ok(())
    }

    /// Writes at most `length` bytes of the entry's data.
    fn write<R: BufRead>(&mut self, archive: &mut Archive<R>, file: &OwnedFd, length: u64) -> Result<()> {
        let mut left = length;
        while left > 0 {
            let data = archive.data().map_err(|fault| self.fault(fault))?;
            let data = &data[..data.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            if data.is_empty() {
                break;
            }
            let count = match rustix::io::write(file, data) {
                Err(Errno::INTR) => continue,
                other => other.map_err(|errno| self.fail("write", errno))?,
            };
            archive.consume(count);
            left -= count as u64;
            self.unchecked_bytes += count as u64;
            if self.unchecked_bytes >= limits::CHECK_BYTES {
                self.check_space()?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, entry: &Entry, parent: &OwnedFd, name: &[u8]) -> Result<()> {
        let mode = Mode::from_raw_mode(entry.mode & 0o1777);
        let mut existed = false;
        match fs::mkdirat(parent, name, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| self.fail("stat", e))?;
                existed = fs::FileType::from_raw_mode(stat.st_mode) == fs::FileType::Directory;
                if !existed {
                    let hidden = self.replace(parent, name)?;
                    fs::mkdirat(parent, name, mode).map_err(|errno| self.fail("create", errno))?;
                    // It was removed and made anew: what lower layers have in it stays hidden.
                    if hidden {
                        self.make_opaque(parent, name)?;
                    }
                }
            }
            Err(errno) => return Err(self.fail("create", errno)),
        }
        if existed || !entry.attributes.is_empty() || self.overrides(entry) {
            let directory = open_directory(parent, name).map_err(|errno| self.fail("open", errno))?;
            if existed {
                fs::fchmod(&directory, mode).map_err(|errno| self.fail("set the mode of", errno))?;
            }
            self.attributes(&directory, entry)?;
        }
        if (existed || (entry.uid, entry.gid) != self.own) && !self.options.single_id {
            fs::chownat(parent, name, Some(uid(entry)), Some(gid(entry)), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| self.fail_owner(entry, errno))?;
        }
        let special = (entry.mode & 0o6000 != 0).then(|| Mode::from_raw_mode(entry.mode));
        self.directories.insert(self.path.clone(), Pending { modified: entry.modified, special });
        Ok(())
    }

    fn finish_directories(&mut self) -> Result<()> {
        for (path, pending) in std::mem::take(&mut self.directories).into_iter().rev() {
            // By another name it may have been replaced since, and then these are not its times.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let directory = match sys::beneath::split(&path) {
                None => self.root.resolve(b"", OFlags::RDONLY | OFlags::DIRECTORY),
                Some((parent, name)) => match self.parents.get(&self.root, parent) {
                    Ok(parent) => fs::openat(&*parent, name, flags | OFlags::CLOEXEC, Mode::empty()),
                    Err(errno) => Err(errno),
                },
            };
            let directory = match directory {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                other => {
                    self.name.clone_from(&path);
                    other.map_err(|errno| self.fail("open", errno))?
                }
            };
            if let Some(mode) = pending.special {
                fs::fchmod(&directory, mode).map_err(|errno| self.fail("set the mode of", errno))?;
            }
            fs::futimens(&directory, &times(pending.modified)).map_err(|errno| self.fail("set the time of", errno))?;
        }
        Ok(())
    }

    /// Stops before the disk is full: others need it too, and removing images takes some space.
    fn check_space(&mut self) -> Result<()> {
        self.writeback.wrote(self.unchecked_bytes);
        (self.unchecked_bytes, self.unchecked_entries) = (0, 0);
        let stat = fs::fstatvfs(&self.root)
            .or_else(|_| fs::statvfs(self.store))
            .map_err(Error::path("ask for the free space of", self.store))?;
        // A file system without blocks (ramfs) does not count them either.
        let free = if stat.f_blocks == 0 { u64::MAX } else { stat.f_bavail.saturating_mul(stat.f_frsize) };
        // File systems without a fixed number of inodes say 0.
        let inodes = if stat.f_files == 0 { u64::MAX } else { stat.f_favail };
        let all = stat.f_blocks.saturating_mul(stat.f_frsize);
        if free < limits::RESERVE_BYTES.min(all / 16) || inodes < limits::RESERVE_INODES {
            return Err(Error::NoSpace { blob: self.blob.to_owned(), path: self.store.to_owned(), free, inodes });
        }
        Ok(())
    }

    fn fault(&self, fault: Fault) -> Error {
        match fault {
            Fault::Read(source) => Error::Read { blob: self.blob.to_owned(), source },
            Fault::Bad { entry, why } => Error::Entry { blob: self.blob.to_owned(), entry: lossy(&entry), why },
        }
    }

    fn bad(&self, why: impl Into<String>) -> Error {
        Error::Entry { blob: self.blob.to_owned(), entry: lossy(&self.name), why: why.into() }
    }

    fn fail(&self, action: &'static str, errno: Errno) -> Error {
        Error::Unpack { blob: self.blob.to_owned(), entry: lossy(&self.name), action, source: errno.into() }
    }

    fn fail_owner(&self, entry: &Entry, errno: Errno) -> Error {
        if errno == Errno::INVAL && self.options.in_user_namespace {
            return self.bad(format!(
                "its owner {}:{} is not mapped in this user namespace: more subordinate ids (/etc/subuid, /etc/subgid) are needed",
                entry.uid, entry.gid
            ));
        }
        self.fail("set the owner of", errno)
    }
}

fn uid(entry: &Entry) -> fs::Uid {
    fs::Uid::from_raw(entry.uid)
}

fn gid(entry: &Entry) -> fs::Gid {
    fs::Gid::from_raw(entry.gid)
}

/// Modification as told; the time of access is left alone, for nobody reads it.
fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    }
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn open_directory(parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(parent, name, flags, Mode::empty())
}

/// Writes `path` to `cleaned` without `.`, `..` and slashes too many; false if it leads above where it starts.
/// Absolute names start there as well: several builders write them.
pub(crate) fn clean(path: &[u8], cleaned: &mut Vec<u8>) -> bool {
    cleaned.clear();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                if cleaned.is_empty() {
                    return false;
                }
                let end = cleaned.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                cleaned.truncate(end);
            }
            _ => {
                if !cleaned.is_empty() {
                    cleaned.push(b'/');
                }
                cleaned.extend_from_slice(component);
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn names_stay_below() {
        let cleaned = |path: &[u8]| {
            let mut out = Vec::new();
            clean(path, &mut out).then_some(out)
        };
        for (path, expected) in [
            (&b"./a/b/"[..], Some(&b"a/b"[..])),
            (b"/etc//passwd", Some(b"etc/passwd")),
            (b"a/../b", Some(b"b")),
            (b"a/b/../../c", Some(b"c")),
            (b"./", Some(b"")),
            (b"", Some(b"")),
            (b"..", None),
            (b"a/../../b", None),
            (b"/../b", None),
            (b"a/..b/...", Some(b"a/..b/...")),
        ] {
            assert_eq!(cleaned(path).as_deref(), expected, "{path:?}");
        }
    }
}
