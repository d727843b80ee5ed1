//! A blob on its way in: what is read is hashed, written as it is, and decompressed, piece by piece.

use crate::blob_file::BlobFile;
use crate::{Error, Expect, Result};
use flate2::{Decompress, FlushDecompress, Status};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use types::{Digest, Hasher};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

/// Bytes read at once.
const INPUT: usize = 256 << 10;

/// How a blob is compressed, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

fn detect(start: &[u8]) -> std::result::Result<Compression, &'static str> {
    // A zstd stream may begin with a frame to be skipped, as zstd:chunked has at its end.
    let skippable = start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18];
    if start.starts_with(&GZIP) {
        Ok(Compression::Gzip)
    } else if start.starts_with(&ZSTD) || skippable {
        Ok(Compression::Zstd)
    } else if start.starts_with(b"\xfd7zXZ\0") {
        Err("xz is not supported for layers, only gzip, zstd and plain tar")
    } else if start.starts_with(b"BZh") {
        Err("bzip2 is not supported for layers, only gzip, zstd and plain tar")
    } else {
        Ok(Compression::None)
    }
}

/// Receives the decompressed bytes.
pub(crate) trait Sink {
    /// Space to be filled.
    fn space(&mut self) -> &mut [u8];
    /// The first `count` bytes of the space were filled. False if nobody wants any more.
    fn filled(&mut self, count: usize) -> bool;
    /// Gives on bytes that are at hand already.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let space = self.space();
            let count = bytes.len().min(space.len());
            space[..count].copy_from_slice(&bytes[..count]);
            if !self.filled(count) {
                return false;
            }
            bytes = &bytes[count..];
        }
        true
    }
}

/// What was read.
pub(crate) struct Received {
    /// None if the bytes were not compressed: it is the diff id then.
    pub digest: Option<Digest>,
    pub size: u64,
}

/// A blob being read.
pub(crate) struct Intake<'b, R> {
    reader: R,
    blob: &'b str,
    expect: Expect,
    file: BlobFile,
    path: PathBuf,
    hasher: Option<Hasher>,
    size: u64,
    buffer: Vec<u8>,
    /// Part of the buffer that was not decompressed yet.
    start: usize,
    end: usize,
}

impl<'b, R: Read> Intake<'b, R> {
    /// Reads `reader` and keeps what comes in `file`, which is at `path`.
    pub(crate) fn new(reader: R, blob: &'b str, expect: Expect, file: OwnedFd, path: PathBuf) -> Intake<'b, R> {
        Intake {
            reader,
            blob,
            expect,
            file: BlobFile::new(file),
            path,
            hasher: None,
            size: 0,
            buffer: vec![0; INPUT],
            start: 0,
            end: 0,
        }
    }

    /// Reads to the end. None if the sink did not want any more.
    pub(crate) fn run(mut self, sink: &mut impl Sink) -> Result<Option<Received>> {
        // The magic needs a few bytes, and a pipe may give one.
        while self.end < 8 && self.read_on()? {}
        let compression = detect(&self.buffer[..self.end]).map_err(|why| self.damaged(why))?;
        let mut hasher = Hasher::new();
        if compression != Compression::None {
            hasher.update(&self.buffer[..self.end]);
            self.hasher = Some(hasher);
        }
        let plain = compression == Compression::None;
        self.file.decide(plain).map_err(Error::path("write", &self.path))?;
        let wanted = match compression {
            Compression::None => self.plain(sink)?,
            Compression::Gzip => self.gzip(sink)?,
            Compression::Zstd => self.zstd(sink)?,
        };
        if !wanted {
            return Ok(None);
        }
        self.file.finish().map_err(Error::path("write", &self.path))?;
        if let Some(expected) = self.expect.size.filter(|expected| *expected != self.size) {
            return Err(self.mismatch("size", self.size.to_string(), expected.to_string()));
        }
        let digest = self.hasher.take().map(Hasher::finish);
        if let (Some(found), Some(expected)) = (digest, self.expect.digest)
            && found != expected
        {
            return Err(self.mismatch("digest", found.to_string(), expected.to_string()));
        }
        Ok(Some(Received { digest, size: self.size }))
    }

    fn plain(&mut self, sink: &mut impl Sink) -> Result<bool> {
        loop {
            if !sink.pass(&self.buffer[self.start..self.end]) {
                return Ok(false);
            }
            self.start = self.end;
            if !self.read_on()? {
                return Ok(true);
            }
        }
    }

    fn gzip(&mut self, sink: &mut impl Sink) -> Result<bool> {
        let mut inflate = Decompress::new_gzip(15);
        loop {
            let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
            let status = inflate.decompress(&self.buffer[self.start..self.end], sink.space(), FlushDecompress::None);
            let used = (inflate.total_in() - before_in) as usize;
            let made = (inflate.total_out() - before_out) as usize;
            self.start += used;
            if made > 0 && !sink.filled(made) {
                return Ok(false);
            }
            match status {
                Ok(Status::StreamEnd) => {
                    // Another member may follow (RFC 1952, 2.2).
                    while self.end - self.start < 2 && self.read_on()? {}
                    let rest = &self.buffer[self.start..self.end];
                    if rest.starts_with(&GZIP) {
                        inflate.reset(true);
                        continue;
                    }
                    return self.only_zeros().map(|()| true);
                }
                Ok(_) if made == 0 && used == 0 => {
                    if !self.read_on()? {
                        return Err(self.damaged("the gzip stream is cut off"));
                    }
                }
                Ok(_) => {}
                Err(problem) => {
                    let why = problem.message().unwrap_or("its data or checksum is wrong");
                    return Err(self.damaged(format!("the gzip stream is damaged ({why})")));
                }
            }
        }
    }

    /// Zeros may pad a stream to the block size of a tape; anything else after it is garbage.
    fn only_zeros(&mut self) -> Result<()> {
        loop {
            if self.buffer[self.start..self.end].iter().any(|byte| *byte != 0) {
                return Err(self.damaged("garbage follows the end of the gzip stream"));
            }
            self.start = self.end;
            if !self.read_on()? {
                return Ok(());
            }
        }
    }

    fn zstd(&mut self, sink: &mut impl Sink) -> Result<bool> {
        let damaged =
            |intake: &Self, problem: std::io::Error| intake.damaged(format!("the zstd stream is damaged ({problem})"));
        let mut decoder = Decoder::new().map_err(|problem| damaged(self, problem))?;
        // True between frames.
        let mut complete = true;
        loop {
            let mut input = InBuffer::around(&self.buffer[self.start..self.end]);
            let mut output = OutBuffer::around(sink.space());
            let hint = decoder.run(&mut input, &mut output).map_err(|problem| damaged(self, problem))?;
            let (used, made) = (input.pos(), output.pos());
            self.start += used;
            if made > 0 && !sink.filled(made) {
                return Ok(false);
            }
            if used > 0 || made > 0 {
                complete = hint == 0;
            }
            if self.start == self.end && made == 0 && !self.read_on()? {
                return if complete { Ok(true) } else { Err(self.damaged("the zstd stream is cut off")) };
            }
        }
    }

    /// Reads more behind what is left in the buffer; false at the end.
    fn read_on(&mut self) -> Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let count = loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Err(problem) if problem.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other.map_err(|source| Error::Read { blob: self.blob.to_owned(), source })?,
            }
        };
        let new = &self.buffer[self.end..self.end + count];
        if let Some(hasher) = &mut self.hasher {
            hasher.update(new);
        }
        self.size += count as u64;
        if let Some(expected) = self.expect.size.filter(|expected| *expected < self.size) {
            return Err(self.mismatch("size", format!("at least {}", self.size), expected.to_string()));
        }
        self.file.write(new).map_err(Error::path("write", &self.path))?;
        self.end += count;
        Ok(count > 0)
    }

    fn damaged(&self, why: impl Into<String>) -> Error {
        Error::Compression { blob: self.blob.to_owned(), why: why.into() }
    }

    fn mismatch(&self, what: &'static str, found: String, expected: String) -> Error {
        Error::Mismatch { blob: self.blob.to_owned(), what, found, expected }
    }
}
