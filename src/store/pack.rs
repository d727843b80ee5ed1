//! A directory tree becomes a tar archive: the reverse of [`crate::unpack`].
//!
//! Entries come in the order of their names, a directory before what is in it. Headers are ustar's, with PAX records for
//! what does not fit there and for extended attributes; times are whole seconds, as other tools write layers. The tree may
//! be a running container's, whose processes rename and replace what is being read: every name is opened below the
//! root, without following links, and what a file is, is asked of the open file.
//!
//! Must not know: where the bytes go.

use crate::unpack::{is_marked_whiteout, is_whiteout};
use crate::{Error, Result, format};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use sys::beneath::Root;
use types::IdMap;

const BLOCK: usize = 512;
/// Bytes read at a time.
const BUFFER: usize = 512 << 10;
/// Largest number that seven octal digits hold: ids beyond it need a record.
const OCTAL_7: u64 = 0o777_7777;
/// The same for eleven digits: sizes.
const OCTAL_11: u64 = 0o777_7777_7777;

/// What of a tree is packed, and how.
#[derive(Debug, Default)]
pub struct Packing<'a> {
    /// The tree is an upper directory of overlay: its marks become whiteouts, and other marks of overlay are left out.
    pub marks: bool,
    /// What was kept aside of owner and mode (one mapped id) is what the archive says.
    pub single_id: bool,
    /// What is mounted somewhere below the root is left out; the directory it is mounted on stays.
    pub one_mount: bool,
    /// Ids on disk are those outside of this map; the archive has those inside. Empty: as they are.
    pub owners: Option<&'a IdMap>,
    /// Only these paths (without a leading `/`) and the directories that lead to them.
    pub only: Option<&'a BTreeSet<Vec<u8>>>,
    /// Paths to be left out, with all that is below them.
    pub without: &'a [Vec<u8>],
    /// Paths that get a whiteout (`.wh.NAME` in their directory).
    pub removed: &'a [Vec<u8>],
    /// What every name starts with; the root itself gets an entry of this name (without the last `/`) if it is not empty.
    pub prefix: &'a [u8],
}

/// Packs the tree below `root` and ends the archive. `place` names the tree in errors.
pub fn pack(root: OwnedFd, place: &std::path::Path, packing: &Packing<'_>, to: &mut dyn Write) -> Result<()> {
    let mut packer = Packer::new(root, place, packing, to)?;
    packer.tree(b"")?;
    packer.end()
}

/// Packs the one file or directory `path` of the tree below `root` under the name `name`, with all that is below it, and
/// ends the archive.
pub fn pack_entry(root: OwnedFd, place: &std::path::Path, path: &[u8], name: &[u8], to: &mut dyn Write) -> Result<()> {
    let packing = Packing::default();
    let mut packer = Packer::new(root, place, &packing, to)?;
    packer.renamed = Some((path.to_vec(), name.to_vec()));
    let (parent, last) = match sys::beneath::split(path) {
        Some(split) => split,
        // The root itself: what is in it, below the new name.
        None => {
            packer.tree(b"")?;
            return packer.end();
        }
    };
    let directory = packer.directory(parent).map_err(|errno| packer.failed("open", parent, errno))?;
    if packer.entry(&directory, last, path)? {
        packer.tree(path)?;
    }
    packer.end()
}

struct Packer<'a> {
    root: Root,
    place: PathBuf,
    packing: &'a Packing<'a>,
    to: &'a mut dyn Write,
    /// Names under which files with several were packed, by device and inode.
    linked: HashMap<(u64, u64), Vec<u8>>,
    mount: Option<u64>,
    buffer: Vec<u8>,
    /// A path below the root that has another name in the archive.
    renamed: Option<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Packer<'a> {
    fn new(
        root: OwnedFd,
        place: &std::path::Path,
        packing: &'a Packing<'a>,
        to: &'a mut dyn Write,
    ) -> Result<Packer<'a>> {
        let mount = if packing.one_mount { mount_of(root.as_fd(), b"") } else { None };
        Ok(Packer {
            root: Root::new(root),
            place: place.to_owned(),
            packing,
            to,
            linked: HashMap::new(),
            mount,
            buffer: Vec::new(),
            renamed: None,
        })
    }

    fn failed(&self, action: &'static str, path: &[u8], errno: Errno) -> Error {
        Error::path(action, self.place.join(String::from_utf8_lossy(path).as_ref()))(errno)
    }

    fn directory(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        self.root.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
    }

    /// Packs what is below the directory `top`. By name and not by descriptor, for a tree may be deeper than a process has
    /// descriptors.
    fn tree(&mut self, top: &[u8]) -> Result<()> {
        if top.is_empty() && (!self.packing.prefix.is_empty() || self.renamed.is_some() || self.packing.marks) {
            let root = self.directory(b"").map_err(|errno| self.failed("open", b"", errno))?;
            let stat = fs::fstat(&root).map_err(|errno| self.failed("look at", b"", errno))?;
            self.header(b"", &stat, FileType::Directory, &[], &root)?;
        }
        let mut waiting: Vec<Vec<u8>> = vec![top.to_vec()];
        while let Some(path) = waiting.pop() {
            let directory = match self.directory(&path) {
                // Gone, or something else, since it was listed.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if path != top => continue,
                other => other.map_err(|errno| self.failed("open", &path, errno))?,
            };
            let names = sys::removal::names(directory.as_fd()).map_err(|errno| self.failed("list", &path, errno))?;
            let mut names: Vec<(Vec<u8>, FileType)> =
                names.into_iter().map(|(name, kind)| (name.into_bytes(), kind)).collect();
            names.sort_by(|(one, _), (other, _)| one.cmp(other));
            self.whiteouts(&path)?;
            let mut below = Vec::new();
            for (name, kind) in names {
                let path = if path.is_empty() { name.clone() } else { [&path[..], b"/", &name].concat() };
                if self.packing.without.contains(&path) || !self.wanted(&path) {
                    continue;
                }
                // What a file is, is asked of the open file: looking twice would take a third of the time.
                if kind == FileType::RegularFile {
                    self.file(&directory, &name, &path)?;
                } else if self.entry(&directory, &name, &path)? {
                    below.push(path);
                }
            }
            waiting.extend(below.into_iter().rev());
        }
        Ok(())
    }

    fn wanted(&self, path: &[u8]) -> bool {
        let Some(only) = self.packing.only else { return true };
        if only.contains(path) {
            return true;
        }
        // A directory on the way: something wanted, or a whiteout, is below it.
        let below = [path, b"/"].concat();
        only.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below))
            || self.packing.removed.iter().any(|gone| gone.starts_with(&below))
    }

    fn whiteouts(&mut self, directory: &[u8]) -> Result<()> {
        let packing = self.packing;
        for gone in packing.removed {
            if let Some((parent, name)) = sys::beneath::split(gone)
                && parent.strip_suffix(b"/").unwrap_or(parent) == directory
            {
                self.whiteout(directory, &[b".wh.", name].concat())?;
            }
        }
        Ok(())
    }

    fn whiteout(&mut self, directory: &[u8], name: &[u8]) -> Result<()> {
        let path = if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() };
        let header = Header { kind: b'0', mode: 0, ..Header::default() };
        self.write_header(&path, header, Vec::new())
    }

    /// Packs one entry; true if it is a directory whose contents are to follow.
    fn entry(&mut self, directory: &OwnedFd, name: &[u8], path: &[u8]) -> Result<bool> {
        let stat = match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            other => other.map_err(|errno| self.failed("look at", path, errno))?,
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.packing.marks && is_whiteout(directory, name) {
            let (parent, name) = sys::beneath::split(path).unwrap_or((b"", path));
            self.whiteout(parent.strip_suffix(b"/").unwrap_or(parent), &[b".wh.", name].concat())?;
            return Ok(false);
        }
        if kind == FileType::RegularFile {
            return self.file(directory, name, path).map(|()| false);
        }
        let other_mount = self.mount.is_some() && mount_of(directory.as_fd(), name) != self.mount;
        if other_mount && kind != FileType::Directory {
            return Ok(false);
        }
        match kind {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let opened = match fs::openat(directory, name, flags, Mode::empty()) {
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
                    other => other.map_err(|errno| self.failed("open", path, errno))?,
                };
                self.header(path, &stat, kind, &[], &opened)?;
                if self.packing.marks && is_opaque(&opened) {
                    self.whiteout(path, b".wh..wh..opq")?;
                }
                Ok(!other_mount)
            }
            FileType::Symlink => {
                let link = match fs::readlinkat(directory, name, Vec::new()) {
                    Err(Errno::NOENT | Errno::INVAL) => return Ok(false),
                    other => other.map_err(|errno| self.failed("read the link", path, errno))?,
                };
                self.header(path, &stat, kind, link.as_bytes(), directory).map(|()| false)
            }
            // There is no way to write a socket down; what made it makes it again.
            FileType::Socket => Ok(false),
            _ => self.header(path, &stat, kind, &[], directory).map(|()| false),
        }
    }

    fn file(&mut self, directory: &OwnedFd, name: &[u8], path: &[u8]) -> Result<()> {
        // Not blocking: it may have become a fifo since.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match fs::openat(directory, name, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::LOOP) => return Ok(()),
            other => other.map_err(|errno| self.failed("open", path, errno))?,
        };
        let stat = fs::fstat(&file).map_err(|errno| self.failed("look at", path, errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
            || (self.mount.is_some() && mount_of(file.as_fd(), b"") != self.mount)
        {
            return Ok(());
        }
        if self.packing.marks && stat.st_size == 0 && is_marked_whiteout(&file) {
            let (parent, name) = sys::beneath::split(path).unwrap_or((b"", path));
            return self.whiteout(parent.strip_suffix(b"/").unwrap_or(parent), &[b".wh.", name].concat());
        }
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.linked.get(&key).cloned() {
                let header = Header { kind: b'1', link: self.name(&first), ..self.ids_and_mode(&stat, Some(&file)) };
                return self.write_header(path, header, Vec::new());
            }
            self.linked.insert(key, path.to_vec());
        }
        self.header(path, &stat, FileType::RegularFile, &[], &file)?;
        self.data(&file, path, stat.st_size as u64)
    }

    /// Exactly `size` bytes of the file: cut if it has grown, zeros if it has shrunk since.
    fn data(&mut self, file: &OwnedFd, path: &[u8], size: u64) -> Result<()> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER];
        }
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let count = match rustix::io::read(file, &mut self.buffer[..most]) {
                Err(Errno::INTR) => continue,
                other => other.map_err(|errno| self.failed("read", path, errno))?,
            };
            let count = if count == 0 {
                self.buffer[..most].fill(0);
                most
            } else {
                count
            };
            self.to.write_all(&self.buffer[..count]).map_err(written)?;
            left -= count as u64;
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let over = (size % BLOCK as u64) as usize;
        if over > 0 {
            self.to.write_all(&[0; BLOCK][over..]).map_err(written)?;
        }
        Ok(())
    }

    /// Writes the header of an entry. `opened` is the entry itself if it is a file or directory.
    fn header(&mut self, path: &[u8], stat: &Stat, kind: FileType, link: &[u8], opened: &OwnedFd) -> Result<()> {
        let has_attributes = matches!(kind, FileType::RegularFile | FileType::Directory);
        let mut header = self.ids_and_mode(stat, has_attributes.then_some(opened));
        header.link = link.to_vec();
        header.kind = match kind {
            FileType::Directory => b'5',
            FileType::Symlink => b'2',
            FileType::CharacterDevice => b'3',
            FileType::BlockDevice => b'4',
            FileType::Fifo => b'6',
            _ => b'0',
        };
        if kind == FileType::RegularFile {
            header.size = stat.st_size as u64;
        }
        if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
            header.device = Some((fs::major(stat.st_rdev), fs::minor(stat.st_rdev)));
        }
        let mut records = Vec::new();
        if has_attributes {
            self.attributes(opened, &mut records)
                .map_err(|errno| self.failed("read the attributes of", path, errno))?;
        }
        self.write_header(path, header, records)
    }

    fn ids_and_mode(&self, stat: &Stat, opened: Option<&OwnedFd>) -> Header {
        let mut header = Header {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            modified: stat.st_mtime,
            ..Header::default()
        };
        if let Some(map) = self.packing.owners {
            header.uid = inside(&map.uids, stat.st_uid);
            header.gid = inside(&map.gids, stat.st_gid);
        }
        if self.packing.single_id {
            (header.uid, header.gid) = (0, 0);
            let kept = opened.and_then(|file| sys::xattr::get(file, format::OVERRIDE_STAT.as_bytes()).ok().flatten());
            if let Some((uid, gid, mode)) = kept.and_then(|text| override_stat(&text)) {
                (header.uid, header.gid, header.mode) = (uid, gid, mode);
            }
        }
        header
    }

    fn attributes(&self, file: &OwnedFd, records: &mut Vec<u8>) -> rustix::io::Result<()> {
        let mut names = sys::xattr::names(file)?;
        names.sort();
        for name in names {
            let own = name.starts_with(format::USER.as_bytes()) || name == format::OVERRIDE_STAT.as_bytes();
            if own || !(name.starts_with(b"user.") || name == b"security.capability") {
                continue;
            }
            if let Some(value) = sys::xattr::get(file, &name)? {
                record(records, &[b"SCHILY.xattr.", &name[..]].concat(), &value);
            }
        }
        Ok(())
    }

    /// The name in the archive of what is at `path`.
    fn name(&self, path: &[u8]) -> Vec<u8> {
        match &self.renamed {
            Some((from, to)) if path == from => to.clone(),
            Some((from, to)) => {
                let rest = path.strip_prefix(&from[..]).unwrap_or(path);
                [&to[..], b"/", rest.strip_prefix(b"/").unwrap_or(rest)].concat()
            }
            None => [self.packing.prefix, path].concat(),
        }
    }

    fn write_header(&mut self, path: &[u8], header: Header, mut records: Vec<u8>) -> Result<()> {
        let mut name = self.name(path);
        if header.kind == b'5' {
            name = [name.strip_suffix(b"/").unwrap_or(&name), b"/"].concat();
            if name == b"/" {
                name.insert(0, b'.');
            }
        }
        if name.len() > 100 {
            record(&mut records, b"path", &name);
        }
        if header.link.len() > 100 {
            record(&mut records, b"linkpath", &header.link);
        }
        for (key, number, most) in [
            (&b"uid"[..], u64::from(header.uid), OCTAL_7),
            (b"gid", u64::from(header.gid), OCTAL_7),
            (b"size", header.size, OCTAL_11),
        ] {
            if number > most {
                record(&mut records, key, number.to_string().as_bytes());
            }
        }
        if header.modified < 0 || header.modified as u64 > OCTAL_11 {
            record(&mut records, b"mtime", header.modified.to_string().as_bytes());
        }
        if !records.is_empty() {
            let own = Header { kind: b'x', mode: 0o644, size: records.len() as u64, ..Header::default() };
            let block = own.block(b"PaxHeaders.0/entry");
            self.to.write_all(&block).and_then(|()| self.to.write_all(&records)).map_err(written)?;
            self.pad(records.len() as u64)?;
        }
        self.to.write_all(&header.block(&name)).map_err(written)
    }

    fn end(self) -> Result<()> {
        self.to.write_all(&[0; 2 * BLOCK]).and_then(|()| self.to.flush()).map_err(written)
    }
}

/// What a header says, but for the name.
#[derive(Debug, Clone, Default)]
struct Header {
    kind: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    modified: i64,
    link: Vec<u8>,
    device: Option<(u32, u32)>,
}

impl Header {
    /// The 512 bytes. What does not fit stands in a record before it.
    fn block(&self, name: &[u8]) -> [u8; BLOCK] {
        let mut header = tar::Header::new_ustar();
        let old = header.as_old_mut();
        let fill = |field: &mut [u8], text: &[u8]| {
            let length = text.len().min(field.len());
            field[..length].copy_from_slice(&text[..length]);
        };
        fill(&mut old.name, name);
        fill(&mut old.linkname, &self.link);
        old.linkflag = [self.kind];
        header.set_mode(self.mode);
        header.set_uid(u64::from(self.uid).min(OCTAL_7));
        header.set_gid(u64::from(self.gid).min(OCTAL_7));
        header.set_size(self.size.min(OCTAL_11));
        header.set_mtime(u64::try_from(self.modified).unwrap_or(0).min(OCTAL_11));
        if let (Some((major, minor)), Some(ustar)) = (self.device, header.as_ustar_mut()) {
            ustar.set_device_major(major);
            ustar.set_device_minor(minor);
        }
        header.set_cksum();
        *header.as_bytes()
    }
}

/// Appends one PAX record: its own length, a space, `KEY=VALUE`, a line end.
fn record(to: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    to.extend_from_slice(length.to_string().as_bytes());
    to.push(b' ');
    to.extend_from_slice(key);
    to.push(b'=');
    to.extend_from_slice(value);
    to.push(b'\n');
}

/// The id inside of a map that `host` outside stands for; the id of nobody if there is none.
fn inside(ranges: &[types::IdRange], host: u32) -> u32 {
    let found = ranges.iter().find(|r| host >= r.host && host - r.host < r.size);
    found.map_or(65534, |r| r.container + (host - r.host))
}

/// `UID:GID:0MODE`.
fn override_stat(text: &[u8]) -> Option<(u32, u32, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let mut parts = text.split(':');
    let uid = parts.next()?.parse().ok()?;
    let gid = parts.next()?.parse().ok()?;
    let mode = u32::from_str_radix(parts.next()?, 8).ok()?;
    Some((uid, gid, mode & 0o7777))
}

/// True if a directory of a layer hides what lower layers have in it.
pub(crate) fn is_opaque(directory: &OwnedFd) -> bool {
    [format::TRUSTED, format::USER].iter().any(|prefix| {
        sys::xattr::get(directory, format!("{prefix}opaque").as_bytes()).is_ok_and(|v| v.as_deref() == Some(b"y"))
    })
}

/// The mount that something is on, where the kernel tells (5.8).
fn mount_of(directory: std::os::fd::BorrowedFd<'_>, name: &[u8]) -> Option<u64> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let told = fs::statx(directory, name, flags, StatxFlags::MNT_ID).ok()?;
    (told.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(told.stx_mnt_id)
}

fn written(source: io::Error) -> Error {
    Error::Write { source }
}
