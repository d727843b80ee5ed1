//! The outer tar archive: its members' names, places and links, and nothing of their contents.
//!
//! Headers are read with the `tar` package; the walk is our own, because what names are taken from (GNU `L` and `K`
//! members, PAX `x` headers) comes from strangers and must be bounded, and because the same walk serves files, where
//! contents are jumped over, and pipes, where they pass by.
//!
//! Names are kept as they would be unpacked: without leading `./`, with single slashes. A name that leaves the archive
//! (`/x`, `../x`) is an error, nothing good ever has one.

use crate::{Error, Result};
use std::io;

/// Size of a record.
pub const RECORD: u64 = 512;
/// Largest extension (PAX header, GNU long name).
const EXTENSION: u64 = 1 << 20;
/// Most members of an archive.
const MEMBERS: usize = 200_000;
/// Longest name, and most bytes of all names together.
const NAME: usize = 4096;
const NAMES: usize = 32 << 20;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file with `size` bytes.
    File,
    /// A symbolic or hard link; the name of the member that it leads to.
    Link(String),
    /// Directories, devices and all that cannot be part of an image.
    Other,
}

/// A member of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Name, cleaned.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Position of its contents.
    pub offset: u64,
    /// Length of its contents.
    pub size: u64,
}

/// Where a tape is read from: a file that is jumped about in, or a pipe that is read through.
pub trait Feed {
    /// Reads at the current position.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Goes forward over `count` bytes; false if the feed ends before.
    fn skip(&mut self, count: u64) -> io::Result<bool>;
}

/// A walk over the members of an archive.
pub struct Tape<F> {
    feed: F,
    archive: String,
    position: u64,
    next: u64,
    members: usize,
    names: usize,
}

/// What PAX headers and GNU members say about the member that follows.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl<F: Feed> Tape<F> {
    /// A walk from the beginning of `feed`; `archive` is its name in errors.
    pub fn new(feed: F, archive: &str) -> Tape<F> {
        Tape { feed, archive: archive.into(), position: 0, next: 0, members: 0, names: 0 }
    }

    /// The next member, whose contents may be read then by [`Tape::read`]; none at the end.
    pub fn next(&mut self) -> Result<Option<Member>> {
        let mut extension = Extension::default();
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            self.members += 1;
            if self.members > MEMBERS {
                return Err(self.unknown(format!("it has more than {MEMBERS} members")));
            }
            let entry = header.entry_type();
            let size = match extension.size {
                Some(size) if !is_extension(entry) => size,
                _ => header.entry_size().map_err(|_| {
                    self.unknown(format!("the size in its header at {} is no number", self.position - RECORD))
                })?,
            };
            let offset = self.position;
            self.next = offset
                .checked_add(size)
                .and_then(|end| end.checked_next_multiple_of(RECORD))
                .ok_or_else(|| self.unknown(format!("the size in its header at {} is absurd", offset - RECORD)))?;
            if is_extension(entry) {
                self.extend(&mut extension, entry, size)?;
                continue;
            }
            let raw = extension.name.take().unwrap_or_else(|| header.path_bytes().into_owned());
            let name = self.clean(&raw)?;
            self.names += name.len();
            if self.names > NAMES {
                return Err(self.unknown(format!("the names of its members have more than {NAMES} bytes together")));
            }
            let kind = if entry.is_gnu_sparse() || extension.sparse {
                return Err(
                    self.member(&name, "sparse members are not supported: pack the archive without holes".into())
                );
            } else if entry.is_file() || entry.is_contiguous() {
                Kind::File
            } else if entry.is_symlink() || entry.is_hard_link() {
                let target = extension.link.take().or_else(|| header.link_name_bytes().map(|l| l.into_owned()));
                match follow(&name, &target.unwrap_or_default(), entry.is_symlink()) {
                    Some(target) => Kind::Link(target),
                    None => Kind::Other,
                }
            } else {
                Kind::Other
            };
            // What is all header has no contents, whatever size it claims (Go's and GNU's tar agree).
            let bare = entry.is_symlink()
                || entry.is_hard_link()
                || entry.is_dir()
                || entry.is_fifo()
                || entry.is_character_special()
                || entry.is_block_special();
            if bare {
                self.next = offset;
            }
            let size = if kind == Kind::File { size } else { 0 };
            return Ok(Some(Member { name, kind, offset, size }));
        }
    }

    /// What is read from.
    pub fn feed(&mut self) -> &mut F {
        &mut self.feed
    }

    /// Reads contents of the member that [`Tape::next`] gave last; nothing at their end.
    pub fn read(&mut self, member: &Member, buffer: &mut [u8]) -> Result<usize> {
        let left = (member.offset + member.size).saturating_sub(self.position);
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let got = self.fill(&mut buffer[..want])?;
        if got == 0 {
            return Err(Error::Truncated { archive: self.archive.clone(), what: format!("member {:?}", member.name) });
        }
        Ok(got)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match self.feed.read(buffer) {
                Ok(got) => {
                    self.position += got as u64;
                    return Ok(got);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Read { archive: self.archive.clone(), source }),
            }
        }
    }

    /// The next header, after what was left of the member before; none at the end.
    fn header(&mut self) -> Result<Option<tar::Header>> {
        let jump = self.next - self.position;
        if jump > 0 {
            if !self.feed.skip(jump).map_err(|source| Error::Read { archive: self.archive.clone(), source })? {
                return Err(self.truncated("its last member"));
            }
            self.position = self.next;
        }
        let mut header = tar::Header::new_old();
        let mut filled = 0;
        while filled < RECORD as usize {
            let got = self.fill(&mut header.as_mut_bytes()[filled..])?;
            if got == 0 {
                break;
            }
            filled += got;
        }
        if filled == 0 && self.members > 0 {
            return Ok(None); // GNU tar accepts archives without the two records of zeros as well.
        }
        if filled < RECORD as usize {
            return Err(if self.members == 0 {
                self.unknown("it is too short".into())
            } else {
                self.truncated("a header")
            });
        }
        self.next = self.position;
        if header.as_bytes().iter().all(|&b| b == 0) {
            return if self.members == 0 { Err(self.unknown("it is empty".into())) } else { Ok(None) };
        }
        if !is_header(header.as_bytes()) {
            return Err(match self.members {
                0 => self.unknown("it is neither a tar archive nor compressed by gzip or zstd".into()),
                _ => self.unknown(format!("its header at {} is damaged", self.position - RECORD)),
            });
        }
        Ok(Some(header))
    }

    fn extend(&mut self, extension: &mut Extension, entry: tar::EntryType, size: u64) -> Result<()> {
        if entry.is_pax_global_extensions() {
            return Ok(()); // A comment, usually; names and sizes of single members do not come from it.
        }
        if size > EXTENSION {
            return Err(self.unknown(format!("an extended header has {size} bytes, at most {EXTENSION} are accepted")));
        }
        let mut bytes = vec![0; size as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            let got = self.fill(&mut bytes[filled..])?;
            if got == 0 {
                return Err(self.truncated("an extended header"));
            }
            filled += got;
        }
        if entry.is_pax_local_extensions() {
            self.pax(extension, &bytes)
        } else {
            let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
            bytes.truncate(end);
            *(if entry.is_gnu_longname() { &mut extension.name } else { &mut extension.link }) = Some(bytes);
            Ok(())
        }
    }

    /// `LENGTH KEY=VALUE\n`, where LENGTH counts the whole line (POSIX pax, "Extended Header").
    fn pax(&self, extension: &mut Extension, mut bytes: &[u8]) -> Result<()> {
        let damaged = || self.unknown("an extended header is damaged".into());
        while !bytes.is_empty() {
            let space = bytes.iter().position(|&b| b == b' ').ok_or_else(damaged)?;
            let length = number(&bytes[..space]).ok_or_else(damaged)?;
            let length =
                usize::try_from(length).ok().filter(|&l| l > space + 1 && l <= bytes.len()).ok_or_else(damaged)?;
            let line = bytes[space + 1..length].strip_suffix(b"\n").ok_or_else(damaged)?;
            bytes = &bytes[length..];
            let equals = line.iter().position(|&b| b == b'=').ok_or_else(damaged)?;
            let (key, value) = (&line[..equals], &line[equals + 1..]);
            match key {
                b"path" => extension.name = Some(value.to_vec()),
                b"linkpath" => extension.link = Some(value.to_vec()),
                b"size" => extension.size = Some(number(value).ok_or_else(damaged)?),
                _ if key.starts_with(b"GNU.sparse.") => extension.sparse = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn clean(&self, raw: &[u8]) -> Result<String> {
        let name = String::from_utf8_lossy(raw);
        if raw.len() > NAME {
            return Err(self.member(&name[..name.floor_char_boundary(64)], "its name is too long".into()));
        }
        if raw.first() == Some(&b'/') || raw.split(|&b| b == b'/').any(|part| part == b"..") {
            return Err(self.member(&name, "its name leads out of the archive".into()));
        }
        Ok(name.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/"))
    }

    fn member(&self, name: &str, why: String) -> Error {
        Error::Member { archive: self.archive.clone(), member: name.into(), why }
    }

    fn unknown(&self, why: String) -> Error {
        Error::Unknown { archive: self.archive.clone(), why }
    }

    fn truncated(&self, what: &str) -> Error {
        Error::Truncated { archive: self.archive.clone(), what: what.into() }
    }
}

/// True if `bytes` (a record) are the header of a member: their sum is the one they carry.
pub fn is_header(bytes: &[u8]) -> bool {
    if bytes.len() < RECORD as usize {
        return false;
    }
    let field = &bytes[148..156];
    let digits: Vec<u8> =
        field.iter().copied().skip_while(|b| *b == b' ').take_while(|b| (b'0'..=b'7').contains(b)).collect();
    let Some(expected) = (!digits.is_empty()).then(|| digits.iter().fold(0u32, |n, d| n << 3 | u32::from(d - b'0')))
    else {
        return false;
    };
    let sum = |value: fn(u8) -> i64| -> i64 {
        let all: i64 = bytes[..RECORD as usize].iter().map(|&b| value(b)).sum();
        let own: i64 = field.iter().map(|&b| value(b)).sum();
        all - own + 8 * 32
    };
    // Old writers summed signed bytes; GNU tar and Go accept both.
    sum(i64::from) == i64::from(expected) || sum(|b| i64::from(b as i8)) == i64::from(expected)
}

fn is_extension(entry: tar::EntryType) -> bool {
    entry.is_gnu_longname()
        || entry.is_gnu_longlink()
        || entry.is_pax_global_extensions()
        || entry.is_pax_local_extensions()
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The member that a link leads to, found by names alone; none if it leads out of the archive.
fn follow(name: &str, target: &[u8], symbolic: bool) -> Option<String> {
    let target =
        std::str::from_utf8(target).ok().filter(|t| !t.is_empty() && t.len() <= NAME && !t.starts_with('/'))?;
    let mut parts: Vec<&str> = match (symbolic, name.rsplit_once('/')) {
        (true, Some((parent, _))) => parent.split('/').collect(),
        _ => Vec::new(),
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
