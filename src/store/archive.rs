//! Reads the entries of a layer: tar as POSIX (ustar, PAX), GNU and old Unix wrote it.
//!
//! The `tar` crate gives the layout of headers. What is above a header is read here: PAX records with binary values
//! (the crate splits them at line ends), GNU's long names and all four kinds of sparse files, and numbers as lenient as
//! Go's `archive/tar`, with which nearly all layers are written and read elsewhere.
//!
//! Must not know: what becomes of an entry.

mod number;
mod pax;
mod sparse;

#[cfg(test)]
pub(crate) use number::checksums;

use crate::limits;
use std::io::{self, BufRead};

const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    #[default]
    File,
    HardLink,
    SymbolicLink,
    Character,
    Block,
    Directory,
    Fifo,
}

/// One entry. Its buffers are reused for the next.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// Its name as written.
    pub path: Vec<u8>,
    /// Target of a link, as written.
    pub link: Vec<u8>,
    pub kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// The mode as it is written, type and all.
    pub told_mode: i64,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub modified: (i64, u32),
    /// The same, if it is told.
    pub accessed: Option<(i64, u32)>,
    /// The same.
    pub changed: Option<(i64, u32)>,
    pub major: u32,
    pub minor: u32,
    /// Size of a file, holes included.
    pub size: u64,
    /// Offsets and lengths of a sparse file's data.
    pub pieces: Option<Vec<(u64, u64)>>,
    /// Extended attributes.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why an archive cannot be read on.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The bytes could not be had.
    Read(io::Error),
    /// The bytes make no sense.
    Bad { entry: Vec<u8>, why: String },
}

/// An archive being read.
pub(crate) struct Archive<R> {
    reader: R,
    /// Bytes of the current entry's data that were not read yet, and of the padding after it.
    left: u64,
    padding: u64,
    /// Name of the current entry, for errors.
    name: Vec<u8>,
    entries: u64,
    ended: bool,
}

impl<R: BufRead> Archive<R> {
    pub(crate) fn new(reader: R) -> Archive<R> {
        Archive { reader, left: 0, padding: 0, name: Vec::new(), entries: 0, ended: false }
    }

    /// Number of entries read so far.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// What it reads from.
    pub(crate) fn reader(&mut self) -> &mut R {
        &mut self.reader
    }

    /// The reader, wherever it stands.
    pub(crate) fn into_reader(self) -> R {
        self.reader
    }

    /// Reads the next entry's header; false at the end. Data of the entry before is skipped.
    pub(crate) fn next(&mut self, entry: &mut Entry) -> Result<bool, Fault> {
        let mut extended = pax::Extended::default();
        let mut headers = 0u64;
        loop {
            self.skip_data()?;
            if self.ended {
                return Ok(false);
            }
            let mut block = [0; BLOCK];
            if !self.read_header(&mut block)? {
                return if extended.is_empty() {
                    Ok(false)
                } else {
                    Err(self.bad("the entry after its extended header is missing"))
                };
            }
            let header = tar::Header::from_byte_slice(&block);
            self.name.clear();
            self.name.extend_from_slice(&header.path_bytes());
            let size = self.number(&header.as_old().size, "size")?;
            let size = u64::try_from(size).map_err(|_| self.bad("its size is negative"))?;
            headers += 1;
            if headers > 16 {
                return Err(self.bad("more than 16 extended headers in a row"));
            }
            self.set_data(size)?;
            match header.as_old().linkflag[0] {
                b'x' | b'X' => extended.records = self.extended(size)?,
                b'L' => extended.long_path = Some(until_zero(self.extended(size)?)),
                b'K' => extended.long_link = Some(until_zero(self.extended(size)?)),
                // Records for all entries that follow: nobody writes any that matter to a layer (`git archive` puts
                // a comment there), and Go ignores them too.
                b'g' => drop(self.extended(size)?),
                kind => {
                    self.read_entry(header, kind, size, extended, entry)?;
                    return Ok(true);
                }
            }
        }
    }

    /// Data of the current entry that is at hand: empty only when there is no more.
    pub(crate) fn data(&mut self) -> Result<&[u8], Fault> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let left = self.left;
        let at_hand = self.reader.fill_buf().map_err(Fault::Read)?.len();
        if at_hand == 0 {
            return Err(self.bad("its data is cut off"));
        }
        let slice = self.reader.fill_buf().map_err(Fault::Read)?;
        Ok(&slice[..slice.len().min(usize::try_from(left).unwrap_or(usize::MAX))])
    }

    /// Marks `count` bytes of [`Archive::data`] as used.
    pub(crate) fn consume(&mut self, count: usize) {
        self.reader.consume(count);
        self.left -= count as u64;
    }

    fn read_entry(
        &mut self,
        header: &tar::Header,
        kind: u8,
        size: u64,
        extended: pax::Extended,
        entry: &mut Entry,
    ) -> Result<(), Fault> {
        self.entries += 1;
        if self.entries > limits::ENTRIES {
            return Err(self.bad(format!("the layer has more than {} entries", limits::ENTRIES)));
        }
        let old = header.as_old();
        entry.path.clear();
        entry.path.extend_from_slice(&self.name);
        entry.link.clear();
        entry.link.extend_from_slice(&header.link_name_bytes().unwrap_or_default());
        entry.pieces = None;
        entry.attributes.clear();
        entry.size = size;
        let id = |number: i64| u32::try_from(number).ok().filter(|id| *id != u32::MAX);
        let uid = self.number(&old.uid, "owner")?;
        let gid = self.number(&old.gid, "group")?;
        entry.told_mode = self.number(&old.mode, "mode")?;
        entry.mode = (entry.told_mode & 0o7777) as u32;
        (entry.accessed, entry.changed) = (None, None);
        entry.modified = (self.number(&old.mtime, "time")?, 0);
        (entry.major, entry.minor) = (0, 0);
        if let b'3' | b'4' = kind {
            let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
                (Some(ustar), _) => (&ustar.dev_major, &ustar.dev_minor),
                (_, Some(gnu)) => (&gnu.dev_major, &gnu.dev_minor),
                _ => return Err(self.bad("a device in a header that has no place for its numbers")),
            };
            let fits = |number: i64| u32::try_from(number).ok();
            let numbers = (fits(self.number(major, "device")?), fits(self.number(minor, "device")?));
            let (Some(major), Some(minor)) = numbers else { return Err(self.bad("its device number is out of range")) };
            (entry.major, entry.minor) = (major, minor);
        }
        let mut owner = (uid, gid);
        let map = self.apply(extended, entry, &mut owner)?;
        let (Some(uid), Some(gid)) = (id(owner.0), id(owner.1)) else {
            return Err(self.bad(format!("its owner {}:{} is out of range", owner.0, owner.1)));
        };
        (entry.uid, entry.gid) = (uid, gid);
        entry.kind = match kind {
            b'0' | 0 | b'7' | b'S' if kind == 0 && entry.path.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::SymbolicLink,
            b'3' => Kind::Character,
            b'4' => Kind::Block,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => {
                return Err(self.bad(format!("entries of type {:?} are not supported", char::from(other))));
            }
        };
        if entry.kind != Kind::File {
            // POSIX lets these announce a size, of data that is not there.
            self.set_data(0)?;
            entry.size = 0;
            return self.check_names(entry);
        }
        self.set_data(entry.size)?;
        if kind == b'S' {
            let gnu = header.as_gnu().ok_or_else(|| self.bad("a sparse file in a header that is not GNU's"))?;
            self.read_old_sparse(gnu, entry)?;
        } else if let Some(map) = map {
            self.read_pax_sparse(map, entry)?;
        }
        self.check_names(entry)
    }

    fn check_names(&self, entry: &Entry) -> Result<(), Fault> {
        for (name, what) in [(&entry.path, "name"), (&entry.link, "target")] {
            if name.len() > limits::PATH {
                return Err(self.bad(format!("its {what} has more than {} bytes", limits::PATH)));
            }
            if name.contains(&0) {
                return Err(self.bad(format!("its {what} holds a zero byte")));
            }
        }
        Ok(())
    }

    /// Reads a header block; false at the end of the archive.
    fn read_header(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, Fault> {
        for zeros in 0..2 {
            let count = self.read_full(block)?;
            if count == 0 {
                // Archives without the two blocks of zeros at their end are common enough.
                self.ended = true;
                return Ok(false);
            }
            if count < BLOCK {
                return Err(self.bad("the archive is cut off in the header after this entry"));
            }
            if block.iter().any(|byte| *byte != 0) {
                if zeros > 0 {
                    return Err(self.bad("a block of zeros after this entry is not followed by the end of the archive"));
                }
                let (sum, signed) = number::checksums(block);
                let told = number::parse(&tar::Header::from_byte_slice(block).as_old().cksum);
                if told != Some(sum) && told != Some(signed) {
                    return Err(self.bad("the header after this entry has a wrong checksum"));
                }
                return Ok(true);
            }
        }
        self.ended = true;
        Ok(false)
    }

    /// The data of an extended header.
    fn extended(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        if size > limits::EXTENDED {
            return Err(self.bad(format!("its extended header has {size} bytes, more than {}", limits::EXTENDED)));
        }
        let mut bytes = vec![0; size as usize];
        self.read_data(&mut bytes)?;
        Ok(bytes)
    }

    /// Fills `bytes` from the current entry's data.
    fn read_data(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        if self.left < bytes.len() as u64 {
            return Err(self.bad("its data is shorter than its header says"));
        }
        if self.read_full(bytes)? < bytes.len() {
            return Err(self.bad("its data is cut off"));
        }
        self.left -= bytes.len() as u64;
        Ok(())
    }

    /// Fills `bytes`, or as much of it as the archive has.
    fn read_full(&mut self, bytes: &mut [u8]) -> Result<usize, Fault> {
        let mut filled = 0;
        while filled < bytes.len() {
            let at_hand = self.reader.fill_buf().map_err(Fault::Read)?;
            if at_hand.is_empty() {
                break;
            }
            let count = at_hand.len().min(bytes.len() - filled);
            bytes[filled..filled + count].copy_from_slice(&at_hand[..count]);
            self.reader.consume(count);
            filled += count;
        }
        Ok(filled)
    }

    fn set_data(&mut self, size: u64) -> Result<(), Fault> {
        if size > limits::UNPACKED {
            return Err(self.bad(format!("its size {size} is more than {}", limits::UNPACKED)));
        }
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    fn skip_data(&mut self) -> Result<(), Fault> {
        let mut skip = self.left + self.padding;
        while skip > 0 {
            let at_hand = self.reader.fill_buf().map_err(Fault::Read)?.len() as u64;
            if at_hand == 0 {
                // The padding of the last file may be missing.
                if skip <= self.padding {
                    break;
                }
                return Err(self.bad("its data is cut off"));
            }
            let count = at_hand.min(skip);
            self.reader.consume(count as usize);
            skip -= count;
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    fn number(&self, field: &[u8], what: &str) -> Result<i64, Fault> {
        number::parse(field).ok_or_else(|| self.bad(format!("its {what} is not a number")))
    }

    fn bad(&self, why: impl Into<String>) -> Fault {
        Fault::Bad { entry: self.name.clone(), why: why.into() }
    }
}

fn until_zero(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}
