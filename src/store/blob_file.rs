//! The file that a blob is kept in while it comes.
//!
//! One that comes without compression is as large as all files in it together, and it has to be on disk before it counts: it
//! goes there past the page cache (O_DIRECT of open(2)), which nobody would read it from. That is left to file systems which
//! know how; to the others it is written as ever.
//!
//! Must not know: what the bytes mean.

use rustix::fs::{self, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// Bytes written at once, past the cache. A multiple of every block size there is.
const PIECE: usize = 1 << 20;
/// Where in memory what is written so must begin: a page does for every disk.
const ALIGNMENT: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Nothing was written yet.
    Undecided,
    /// Past the cache.
    Direct,
    /// Into the cache.
    Cached,
}

/// A file being written from its beginning to its end.
pub(crate) struct BlobFile {
    file: OwnedFd,
    way: Way,
    /// Memory with room for a piece that begins at `start`.
    memory: Vec<u8>,
    start: usize,
    filled: usize,
}

impl BlobFile {
    /// Writes to `file`, which is new.
    pub(crate) fn new(file: OwnedFd) -> BlobFile {
        BlobFile { file, way: Way::Undecided, memory: Vec::new(), start: 0, filled: 0 }
    }

    /// Decides how it is written: `large` if it is not compressed. The first call counts.
    pub(crate) fn decide(&mut self, large: bool) -> rustix::io::Result<()> {
        if self.way != Way::Undecided {
            return Ok(());
        }
        if large && self.set_direct(true).is_ok() {
            self.way = Way::Direct;
            return Ok(());
        }
        self.go_cached()
    }

    /// Writes more.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> rustix::io::Result<()> {
        while !bytes.is_empty() {
            if self.way == Way::Cached {
                return write_all(&self.file, bytes);
            }
            if self.memory.is_empty() {
                self.memory = vec![0; PIECE + ALIGNMENT];
                self.start = self.memory.as_ptr().align_offset(ALIGNMENT) % ALIGNMENT;
            }
            let count = bytes.len().min(PIECE - self.filled);
            let at = self.start + self.filled;
            self.memory[at..at + count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
            if self.filled == PIECE {
                self.write_piece()?;
            }
        }
        Ok(())
    }

    /// Writes what is left. What is no whole piece goes into the cache.
    pub(crate) fn finish(&mut self) -> rustix::io::Result<()> {
        self.go_cached()
    }

    fn write_piece(&mut self) -> rustix::io::Result<()> {
        if self.way == Way::Direct {
            match write_all(&self.file, &self.memory[self.start..self.start + PIECE]) {
                Ok(()) => {
                    self.filled = 0;
                    return Ok(());
                }
                // It takes the flag, and no such write.
                Err(Errno::INVAL) => {}
                Err(errno) => return Err(errno),
            }
        }
        self.go_cached()
    }

    fn go_cached(&mut self) -> rustix::io::Result<()> {
        if self.way == Way::Direct {
            self.set_direct(false)?;
        }
        self.way = Way::Cached;
        let filled = std::mem::take(&mut self.filled);
        write_all(&self.file, &self.memory[self.start..self.start + filled])?;
        self.memory = Vec::new();
        self.start = 0;
        Ok(())
    }

    fn set_direct(&self, on: bool) -> rustix::io::Result<()> {
        let mut flags = fs::fcntl_getfl(&self.file)?;
        flags.set(OFlags::DIRECT, on);
        fs::fcntl_setfl(&self.file, flags)
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Err(Errno::INTR) => {}
            other => bytes = &bytes[other?..],
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Scratch;

    #[test]
    fn what_is_written_in_any_pieces_is_in_the_file() {
        let scratch = Scratch::new();
        let bytes: Vec<u8> = (0..2 * PIECE as u32 + 12_345).map(|n| (n % 253) as u8).collect();
        for (large, part) in [(true, 100_000), (true, PIECE), (true, 3 * PIECE), (false, 100_000)] {
            let path = scratch.path().join("blob");
            let mut blob = BlobFile::new(std::fs::File::create(&path).unwrap().into());
            let mut parts = bytes.chunks(part);
            blob.write(parts.next().unwrap()).unwrap();
            blob.decide(large).unwrap();
            parts.for_each(|part| blob.write(part).unwrap());
            blob.finish().unwrap();
            assert!(std::fs::read(&path).unwrap() == bytes, "large {large}, parts of {part}");
        }
        let empty = scratch.path().join("empty");
        let mut blob = BlobFile::new(std::fs::File::create(&empty).unwrap().into());
        blob.decide(true).unwrap();
        blob.finish().unwrap();
        assert_eq!(std::fs::read(&empty).unwrap(), b"");
    }
}
