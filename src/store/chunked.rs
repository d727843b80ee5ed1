//! Layers as zstd:chunked: zstd that any reader can read, in which the contents of each file are a frame of their own, followed by a
//! table of contents. So those who know the form can fetch single files by ranges.
//!
//! After the last frame come three that are to be skipped (RFC 8878, 3.1.2): the table (JSON, compressed), the bytes of the archive
//! that are no contents (tar-split: JSON lines, compressed), and a footer of 64 bytes that says where both are; beside the layer
//! that stands in annotations, too (containers-storage-zstd-chunked(5)).
//!
//! An archive with something in it that the table has no word for (sparse files, names that are no text) gets frames and no
//! table: it is plain zstd then.
//!
//! Must not know: where layers come from and go to.

use crate::archive::{Archive, Entry, Fault, Kind};
use crate::tee::Tee;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::sync::{Arc, Mutex, PoisonError};
use types::{Digest, Hasher};
use zstd::stream::raw::{Encoder, Operation, OutBuffer};

/// Annotation: the digest of the compressed table.
pub const CHECKSUM: &str = "io.github.containers.zstd-chunked.manifest-checksum";
/// Annotation: offset, size, size before compression, and kind of the table.
const TABLE: &str = "io.github.containers.zstd-chunked.manifest-position";
/// Annotation: offset, size, and size before compression of what is no contents.
const SPLIT: &str = "io.github.containers.zstd-chunked.tarsplit-position";
/// What a frame begins with that is to be skipped.
const SKIPPED: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// What the footer ends with.
const MAGIC: &[u8; 8] = b"GNUlInUx";
/// The kind of table: that of CRFS.
const KIND: u64 = 1;
/// Bytes that are read and compressed at once.
const PIECE: usize = 128 << 10;

/// The annotations of a layer that was read to its end; none before, and none if it has no table.
pub type Noted = Arc<Mutex<BTreeMap<String, String>>>;

/// A reader of the zstd:chunked of another reader's plain tar.
pub struct Chunked<'r> {
    now: Now,
    archive: Option<Archive<Tee<'r>>>,
    /// What is behind the archive's end.
    rest: Option<Tee<'r>>,
    entry: Entry,
    encoder: Encoder<'static>,
    level: i32,
    scratch: Vec<u8>,
    /// Something was compressed since the last frame ended.
    begun: bool,
    /// Compressed bytes that nobody has read, from `given` on, and how many there were before them.
    out: Vec<u8>,
    given: usize,
    before: u64,
    /// The table; none if there can be none.
    table: Option<Vec<Listed>>,
    /// About as many bytes as it will have.
    table_size: usize,
    split: Split,
    noted: Noted,
}

/// What comes next.
enum Now {
    Header,
    Contents {
        offset: Option<u64>,
        hasher: Hasher,
        code: Crc,
    },
    Rest,
    End,
    /// Nothing: what failed was told, and is no end.
    Failed,
}

/// Bytes that the table of a layer may have, about: containers/storage reads no larger ones than 50 MiB. A layer with more is
/// compressed as any other, and has none.
const LARGEST_TABLE: usize = 50 << 20;

/// The table, with the names of containers/storage.
#[derive(Serialize)]
struct Table<'a> {
    version: u32,
    entries: &'a [Listed],
    #[serde(rename = "tarSplitDigest")]
    split: String,
}

/// An entry of the table, with the names of containers/storage.
#[derive(Serialize, Default)]
struct Listed {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    #[serde(rename = "linkName", skip_serializing_if = "String::is_empty")]
    link: String,
    #[serde(skip_serializing_if = "is_zero")]
    mode: i64,
    #[serde(skip_serializing_if = "is_zero")]
    size: i64,
    #[serde(skip_serializing_if = "is_zero")]
    uid: i64,
    #[serde(skip_serializing_if = "is_zero")]
    gid: i64,
    #[serde(rename = "modtime", skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    #[serde(rename = "accesstime", skip_serializing_if = "Option::is_none")]
    accessed: Option<String>,
    #[serde(rename = "changetime", skip_serializing_if = "Option::is_none")]
    changed: Option<String>,
    #[serde(rename = "devMajor", skip_serializing_if = "is_zero")]
    major: i64,
    #[serde(rename = "devMinor", skip_serializing_if = "is_zero")]
    minor: i64,
    #[serde(rename = "xattrs", skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    digest: String,
    #[serde(skip_serializing_if = "is_zero")]
    offset: i64,
    #[serde(rename = "endOffset", skip_serializing_if = "is_zero")]
    end: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Listed {
    /// About as many bytes as it has in the table.
    fn size_written(&self) -> usize {
        let attributes: usize = self.attributes.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
        self.name.len() + self.link.len() + self.digest.len() + attributes + 150
    }

    /// The entry of the table for one of an archive; none if there is no word for it.
    fn of(entry: &Entry) -> Option<Listed> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let time = |(seconds, nanoseconds): (i64, u32)| {
            Some(jiff::Timestamp::new(seconds, nanoseconds as i32).ok()?.to_string())
        };
        if entry.pieces.is_some() {
            return None;
        }
        let attributes = entry.attributes.iter().map(|(name, value)| Some((text(name)?, base64(value))));
        Some(Listed {
            kind: match entry.kind {
                Kind::File => "reg",
                Kind::HardLink => "hardlink",
                Kind::SymbolicLink => "symlink",
                Kind::Character => "char",
                Kind::Block => "block",
                Kind::Directory => "dir",
                Kind::Fifo => "fifo",
            },
            name: text(&entry.path)?,
            link: text(&entry.link)?,
            mode: entry.told_mode,
            size: i64::try_from(entry.size).ok()?,
            uid: entry.uid.into(),
            gid: entry.gid.into(),
            modified: Some(time(entry.modified)?),
            accessed: entry.accessed.and_then(time),
            changed: entry.changed.and_then(time),
            major: entry.major.into(),
            minor: entry.minor.into(),
            attributes: attributes.collect::<Option<_>>()?,
            ..Listed::default()
        })
    }
}

/// What is no contents: lines of JSON, compressed as they come.
struct Split {
    encoder: zstd::stream::write::Encoder<'static, Vec<u8>>,
    size: u64,
    position: u64,
    /// False once there is no table that it would belong to.
    is_wanted: bool,
}

impl Split {
    /// Bytes of the archive.
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.line(json!({"type": 2, "payload": base64(bytes), "position": self.position}))
    }

    /// The contents of a file, whose checksum is `code`.
    fn file(&mut self, name: &str, size: i64, code: Option<u64>) -> io::Result<()> {
        let payload = code.map(|code| base64(&code.to_be_bytes()));
        let mut line = json!({"type": 1, "name": name, "payload": payload, "position": self.position});
        if size != 0 {
            line["size"] = size.into();
        }
        self.line(line)
    }

    fn line(&mut self, line: serde_json::Value) -> io::Result<()> {
        if !self.is_wanted {
            return Ok(());
        }
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        self.size += bytes.len() as u64;
        self.position += 1;
        io::Write::write_all(&mut self.encoder, &bytes)
    }
}

impl<'r> Chunked<'r> {
    /// A reader of what `reader`, a plain tar, gives, compressed at `level`; and where its annotations will be.
    ///
    /// # Errors
    /// zstd has no memory.
    pub fn new(reader: Box<dyn Read + Send + 'r>, level: i32) -> io::Result<(Chunked<'r>, Noted)> {
        let noted = Noted::default();
        let tee = Tee::new(reader);
        let made = Chunked {
            now: Now::Header,
            archive: Some(Archive::new(tee)),
            rest: None,
            entry: Entry::default(),
            encoder: Encoder::new(level)?,
            level,
            scratch: vec![0; PIECE],
            begun: false,
            out: Vec::new(),
            given: 0,
            before: 0,
            table: Some(Vec::new()),
            table_size: 0,
            split: Split {
                encoder: zstd::stream::write::Encoder::new(Vec::new(), level)?,
                size: 0,
                position: 0,
                is_wanted: true,
            },
            noted: noted.clone(),
        };
        Ok((made, noted))
    }

    /// One step: an entry's header, a piece of its contents, or the end.
    fn step(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.now, Now::Failed) {
            Now::Header => self.header(),
            Now::Contents { offset, hasher, code } => self.contents(offset, hasher, code),
            Now::Rest => self.behind(),
            Now::End => {
                self.now = Now::End;
                Ok(())
            }
            Now::Failed => Err(io::Error::other("a layer could not be read")),
        }
    }

    fn header(&mut self) -> io::Result<()> {
        let Some(archive) = &mut self.archive else { return Ok(()) };
        let more = archive.next(&mut self.entry).map_err(damaged)?;
        let raw = std::mem::take(&mut archive.reader().raw);
        self.split.raw(&raw)?;
        self.compress(&raw)?;
        if !more {
            self.rest = self.archive.take().map(Archive::into_reader);
            self.now = Now::Rest;
            return Ok(());
        }
        archive_keeps(self.archive.as_mut(), false);
        self.now = Now::Contents { offset: None, hasher: Hasher::new(), code: Crc::default() };
        Ok(())
    }

    fn contents(&mut self, mut offset: Option<u64>, mut hasher: Hasher, mut code: Crc) -> io::Result<()> {
        let Some(archive) = &mut self.archive else { return Ok(()) };
        let piece = archive.data().map_err(damaged)?.to_vec();
        archive.consume(piece.len());
        if !piece.is_empty() {
            if offset.is_none() {
                self.end_frame()?;
                offset = Some(self.position());
            }
            hasher.update(&piece);
            code.update(&piece);
            self.compress(&piece)?;
            self.now = Now::Contents { offset, hasher, code };
            return Ok(());
        }
        let mut listed = Listed::of(&self.entry);
        if let Some(offset) = offset {
            self.end_frame()?;
            if let Some(listed) = &mut listed {
                listed.digest = hasher.finish().to_string();
                listed.offset = offset as i64;
                listed.end = self.position() as i64;
            }
        }
        match (listed, &mut self.table) {
            (Some(listed), Some(table)) if self.table_size <= LARGEST_TABLE => {
                self.split.file(&listed.name, listed.size, offset.map(|_| code.value()))?;
                self.table_size += listed.size_written();
                table.push(listed);
            }
            _ => {
                self.table = None;
                self.split.is_wanted = false;
            }
        }
        archive_keeps(self.archive.as_mut(), true);
        self.now = Now::Header;
        Ok(())
    }

    fn behind(&mut self) -> io::Result<()> {
        let Some(rest) = &mut self.rest else { return Ok(()) };
        rest.keeps = false;
        let piece = rest.fill_buf()?.to_vec();
        rest.consume(piece.len());
        if !piece.is_empty() {
            self.split.raw(&piece)?;
            self.compress(&piece)?;
            self.now = Now::Rest;
            return Ok(());
        }
        // Nothing at all is a frame, too.
        self.begun = self.begun || self.position() == 0;
        self.end_frame()?;
        self.end()?;
        self.now = Now::End;
        Ok(())
    }

    /// Writes the table and what follows it, and tells where they are.
    fn end(&mut self) -> io::Result<()> {
        let empty = zstd::stream::write::Encoder::new(Vec::new(), self.level)?;
        let split = std::mem::replace(&mut self.split.encoder, empty).finish()?;
        let Some(entries) = self.table.take() else { return Ok(()) };
        let plain =
            serde_json::to_vec(&Table { version: 1, entries: &entries, split: Digest::of(&split).to_string() })?;
        let table = zstd::bulk::compress(&plain, self.level)?;
        let at = self.position() + 8;
        self.skipped(&table)?;
        let split_at = self.position() + 8;
        self.skipped(&split)?;
        let numbers = [at, table.len() as u64, plain.len() as u64, KIND, split_at, split.len() as u64, self.split.size];
        let mut footer: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        footer.extend(MAGIC);
        self.skipped(&footer)?;
        let [_, size, plain, ..] = numbers;
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = BTreeMap::from([
            (CHECKSUM.into(), Digest::of(&table).to_string()),
            (TABLE.into(), format!("{at}:{size}:{plain}:{KIND}")),
            (SPLIT.into(), format!("{split_at}:{}:{}", split.len(), self.split.size)),
        ]);
        Ok(())
    }

    fn skipped(&mut self, bytes: &[u8]) -> io::Result<()> {
        let size = u32::try_from(bytes.len()).map_err(|_| io::Error::other("the table of a layer is too large"))?;
        self.out.extend(SKIPPED);
        self.out.extend(size.to_le_bytes());
        self.out.extend(bytes);
        Ok(())
    }

    fn compress(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let status = self.encoder.run_on_buffers(bytes, &mut self.scratch)?;
            self.out.extend_from_slice(&self.scratch[..status.bytes_written]);
            bytes = &bytes[status.bytes_read..];
            self.begun = true;
        }
        Ok(())
    }

    /// Ends the frame that was begun, if one was.
    fn end_frame(&mut self) -> io::Result<()> {
        while std::mem::take(&mut self.begun) {
            let mut output = OutBuffer::around(self.scratch.as_mut_slice());
            let left = self.encoder.finish(&mut output, true)?;
            let count = output.pos();
            self.out.extend_from_slice(&self.scratch[..count]);
            self.begun = left > 0;
            if left == 0 {
                self.encoder.reinit()?;
            }
        }
        Ok(())
    }

    /// Compressed bytes so far.
    fn position(&self) -> u64 {
        self.before + self.out.len() as u64
    }
}

impl Read for Chunked<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.given == self.out.len() {
            if matches!(self.now, Now::End) || bytes.is_empty() {
                return Ok(0);
            }
            self.before += self.out.len() as u64;
            self.out.clear();
            self.given = 0;
            self.step()?;
        }
        let count = bytes.len().min(self.out.len() - self.given);
        bytes[..count].copy_from_slice(&self.out[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

/// Contents are not remembered: they are of any size.
fn archive_keeps(archive: Option<&mut Archive<Tee<'_>>>, keeps: bool) {
    if let Some(archive) = archive {
        archive.reader().keeps = keeps;
    }
}

fn damaged(fault: Fault) -> io::Error {
    match fault {
        Fault::Read(error) => error,
        Fault::Bad { entry, why } => {
            let name = String::from_utf8_lossy(&entry).into_owned();
            io::Error::new(io::ErrorKind::InvalidData, format!("entry {name:?}: {why}"))
        }
    }
}

/// CRC-64 of ISO 3309, as tar-split has it (Go's `crc64.ISO`).
struct Crc(u64);

impl Default for Crc {
    fn default() -> Crc {
        Crc(!0)
    }
}

impl Crc {
    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = CODES[usize::from(self.0 as u8 ^ byte)] ^ (self.0 >> 8);
        }
    }

    fn value(&self) -> u64 {
        !self.0
    }
}

const CODES: [u64; 256] = {
    let mut codes = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut code, mut bit) = (at as u64, 0);
        while bit < 8 {
            code = if code & 1 == 1 { (code >> 1) ^ 0xd800_0000_0000_0000 } else { code >> 1 };
            bit += 1;
        }
        codes[at] = code;
        at += 1;
    }
    codes
};

/// Base64 (RFC 4648, 4).
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |kind: tar::EntryType, name: &str, contents: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.set_mode(0o100644);
            header.set_mtime(1_700_000_000);
            header.set_size(contents.len() as u64);
            builder.append_data(&mut header, name, contents).unwrap();
        };
        let large: Vec<u8> = (0..700_000u64).map(|n| (n * n >> 9) as u8).collect();
        add(tar::EntryType::Directory, "d/", b"");
        add(tar::EntryType::Regular, "d/small", b"hello");
        add(tar::EntryType::Regular, "d/empty", b"");
        add(tar::EntryType::Regular, "d/large", &large);
        add(tar::EntryType::Regular, &"long/".repeat(60), b"x");
        builder.into_inner().unwrap()
    }

    fn made(bytes: &[u8]) -> (Vec<u8>, BTreeMap<String, String>) {
        let (mut reader, noted) = Chunked::new(Box::new(bytes), 3).unwrap();
        let mut out = Vec::new();
        reader.read_to_end(&mut out).unwrap();
        let noted = noted.lock().unwrap().clone();
        (out, noted)
    }

    fn numbers(noted: &BTreeMap<String, String>, key: &str) -> Vec<usize> {
        noted[key].split(':').map(|number| number.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_read_as_zstd_is_the_archive_and_the_table_leads_to_each_file() {
        let plain = archive();
        let (bytes, noted) = made(&plain);
        assert!(zstd::decode_all(&bytes[..]).unwrap() == plain);
        assert_eq!(made(&plain).0, bytes);
        let at = numbers(&noted, TABLE);
        let compressed = &bytes[at[0]..at[0] + at[1]];
        assert_eq!(noted[CHECKSUM], Digest::of(compressed).to_string());
        let table = zstd::decode_all(compressed).unwrap();
        assert_eq!(table.len(), at[2]);
        let table: serde_json::Value = serde_json::from_slice(&table).unwrap();
        let entries = table["entries"].as_array().unwrap();
        assert_eq!(entries.len(), 5);
        assert_eq!((&entries[0]["type"], &entries[0]["offset"]), (&json!("dir"), &json!(null)));
        assert_eq!((&entries[1]["mode"], &entries[1]["modtime"]), (&json!(0o100644), &json!("2023-11-14T22:13:20Z")));
        assert_eq!((&entries[2]["digest"], &entries[2]["size"]), (&json!(null), &json!(null)));
        for (entry, size) in [(&entries[1], 5), (&entries[3], 700_000), (&entries[4], 1)] {
            let range = |key: &str| entry[key].as_u64().unwrap() as usize;
            let contents = zstd::decode_all(&bytes[range("offset")..range("endOffset")]).unwrap();
            assert_eq!((contents.len(), entry["size"].as_u64()), (size, Some(size as u64)));
            assert_eq!(entry["digest"], Digest::of(&contents).to_string());
        }
        // The footer says the same as the annotations.
        let footer = &bytes[bytes.len() - 64..];
        assert_eq!(&footer[56..], MAGIC);
        assert_eq!(u64::from_le_bytes(footer[..8].try_into().unwrap()), at[0] as u64);
        // What is no contents, with the contents put in, is the archive.
        let at = numbers(&noted, SPLIT);
        let split = &bytes[at[0]..at[0] + at[1]];
        assert_eq!(table["tarSplitDigest"], Digest::of(split).to_string());
        let lines = zstd::decode_all(split).unwrap();
        assert_eq!(lines.len(), at[2]);
        let (mut whole, mut number) = (Vec::new(), 0);
        for (position, line) in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
            let line: serde_json::Value = serde_json::from_slice(line).unwrap();
            assert_eq!(line["position"], position);
            if line["type"] == 2 {
                use ::base64::Engine as _;
                let text = line["payload"].as_str().unwrap();
                whole.extend(::base64::engine::general_purpose::STANDARD.decode(text).unwrap());
            } else {
                let entry = &entries[number];
                number += 1;
                assert_eq!(entry["name"], line["name"]);
                if let (Some(from), Some(to)) = (entry["offset"].as_u64(), entry["endOffset"].as_u64()) {
                    whole.extend(zstd::decode_all(&bytes[from as usize..to as usize]).unwrap());
                }
            }
        }
        assert!(whole == plain);
    }

    #[test]
    fn what_is_no_archive_is_an_error_and_nothing_is_a_layer() {
        let (mut reader, _) = Chunked::new(Box::new(&[7u8; 2048][..]), 3).unwrap();
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let (bytes, noted) = made(&[0; 1024]);
        assert_eq!(zstd::decode_all(&bytes[..]).unwrap(), [0; 1024]);
        assert!(noted.contains_key(CHECKSUM));
        assert!(zstd::decode_all(&made(b"").0[..]).unwrap().is_empty());
    }

    /// Gives its bytes with an interruption before each read; or an error at the end of them.
    struct Broken<'a>(&'a [u8], bool, bool);

    impl Read for Broken<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            match (self.1, self.0.is_empty() && self.2) {
                (true, _) => Err(io::ErrorKind::Interrupted.into()),
                (false, true) => Err(io::ErrorKind::ConnectionReset.into()),
                _ => self.0.read(bytes),
            }
        }
    }

    #[test]
    fn interruptions_are_no_end_and_neither_are_errors() {
        let plain = archive();
        let (mut reader, _) = Chunked::new(Box::new(Broken(&plain, false, false)), 3).unwrap();
        let mut out = Vec::new();
        reader.read_to_end(&mut out).unwrap();
        assert!(out == made(&plain).0);
        let (mut reader, _) = Chunked::new(Box::new(Broken(&plain[..plain.len() / 2], false, true)), 3).unwrap();
        for _ in 0..3 {
            assert!(io::copy(&mut reader, &mut io::sink()).is_err());
        }
    }

    #[test]
    fn a_table_that_nobody_would_read_is_not_kept() {
        let plain = archive();
        let (mut reader, noted) = Chunked::new(Box::new(&plain[..]), 3).unwrap();
        reader.table_size = LARGEST_TABLE + 1;
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert!(zstd::decode_all(&bytes[..]).unwrap() == plain);
        assert!(noted.lock().unwrap().is_empty());
    }

    #[test]
    fn checksums_are_those_of_iso() {
        let mut code = Crc::default();
        code.update(b"123456789");
        assert_eq!(code.value(), 0xb909_56c7_75a4_1001);
    }
}
