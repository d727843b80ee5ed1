//! Layers compressed and decompressed on their way.
//!
//! gzip is made of blocks of one size, each compressed by whichever thread is free and ended at a byte (RFC 1951, 3.2.4),
//! in one member: the result depends on the bytes and the level alone, not on how many processors there are.
//!
//! Must not know: where bytes come from and go to.

use crate::intake::Compression;
use flate2::{Compress, Crc, FlushCompress, Status};
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Bytes that are compressed by one thread at once: what a block cannot refer to of the one before costs little then.
const BLOCK: usize = 1 << 20;
/// Level of gzip where none is asked for: two thirds of the time of level 6, for two percent more bytes.
const GZIP: u32 = 3;
/// Level of zstd where none is asked for.
pub const ZSTD: i32 = 3;

/// A reader of what `reader` gives, made into `to`; plain bytes are compressed, compressed ones decompressed first.
/// `level` is that of the compression; none means the usual one.
pub fn convert<'r>(
    reader: Box<dyn Read + Send + 'r>,
    from: Compression,
    to: Compression,
    level: Option<i32>,
) -> io::Result<Box<dyn Read + Send + 'r>> {
    let plain: Box<dyn Read + Send + 'r> = match from {
        Compression::Plain => reader,
        Compression::Gzip => {
            Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(256 << 10, reader)))
        }
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(reader)?),
    };
    Ok(match to {
        Compression::Plain => plain,
        Compression::Gzip => Box::new(Gzip::new(plain, level.and_then(|l| u32::try_from(l).ok()).unwrap_or(GZIP))),
        Compression::Zstd => {
            let mut encoder = zstd::stream::read::Encoder::new(plain, level.unwrap_or(ZSTD))?;
            let threads = crate::intake::threads() as u32;
            if threads > 1 {
                encoder.multithread(threads)?;
            }
            Box::new(encoder)
        }
    })
}

/// A block to be compressed, or one that is.
struct Block {
    number: u64,
    bytes: Vec<u8>,
    last: bool,
}

/// A reader that gives the gzip of another reader's bytes.
struct Gzip<R> {
    reader: R,
    work: Option<Sender<Block>>,
    done: Receiver<Block>,
    workers: Vec<JoinHandle<()>>,
    /// Blocks read, and blocks given away.
    read: u64,
    given: u64,
    ended: bool,
    ready: BTreeMap<u64, Vec<u8>>,
    level: u32,
    crc: Crc,
    now: Cursor<Vec<u8>>,
}

impl<R: Read> Gzip<R> {
    fn new(reader: R, level: u32) -> Gzip<R> {
        let (work, blocks) = channel::<Block>();
        let (results, done) = channel();
        let blocks = Arc::new(Mutex::new(blocks));
        let mut workers = Vec::new();
        for _ in 0..crate::intake::threads() {
            let (blocks, results) = (blocks.clone(), results.clone());
            let worker = move || loop {
                let block = blocks.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(mut block) = block else { return };
                block.bytes = deflate(&block.bytes, level, block.last);
                if results.send(block).is_err() {
                    return;
                }
            };
            match std::thread::Builder::new().spawn(worker) {
                Ok(worker) => workers.push(worker),
                Err(_) => break,
            }
        }
        // No name, no time, written by Unix (RFC 1952, 2.3).
        let header = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        Gzip {
            reader,
            work: Some(work),
            done,
            workers,
            read: 0,
            given: 0,
            ended: false,
            ready: BTreeMap::new(),
            level,
            crc: Crc::new(),
            now: Cursor::new(header),
        }
    }

    /// Reads blocks until all workers have something to do.
    fn feed(&mut self) -> io::Result<()> {
        let ahead = 2 * self.workers.len().max(1) as u64;
        while !self.ended && self.read - self.given < ahead {
            let mut bytes = Vec::with_capacity(BLOCK);
            (&mut self.reader).take(BLOCK as u64).read_to_end(&mut bytes)?;
            self.crc.update(&bytes);
            self.ended = bytes.len() < BLOCK;
            let block = Block { number: self.read, bytes, last: self.ended };
            self.read += 1;
            match (&self.work, self.workers.is_empty()) {
                (Some(work), false) => {
                    let _ = work.send(block);
                }
                // Whoever may have no threads does it himself.
                _ => drop(self.ready.insert(block.number, deflate(&block.bytes, self.level, block.last))),
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = self.now.read(buffer)?;
            if got > 0 || buffer.is_empty() {
                return Ok(got);
            }
            if self.ended && self.given == self.read {
                // The end was given, too.
                if self.work.take().is_none() {
                    return Ok(0);
                }
                let mut end = self.crc.sum().to_le_bytes().to_vec();
                end.extend(self.crc.amount().to_le_bytes());
                self.now = Cursor::new(end);
                continue;
            }
            self.feed()?;
            while !self.ready.contains_key(&self.given) {
                let block = self.done.recv().map_err(|_| io::Error::other("a thread that compresses has ended"))?;
                self.ready.insert(block.number, block.bytes);
            }
            self.now = Cursor::new(self.ready.remove(&self.given).unwrap_or_default());
            self.given += 1;
        }
    }
}

impl<R> Drop for Gzip<R> {
    fn drop(&mut self) {
        self.work.take();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

/// One block of a deflate stream, ended at a byte, or at the end of the stream.
fn deflate(bytes: &[u8], level: u32, last: bool) -> Vec<u8> {
    let mut state = Compress::new(flate2::Compression::new(level.min(9)), false);
    let mut out = Vec::with_capacity(bytes.len() / 2 + 1024);
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    loop {
        let used = state.total_in() as usize;
        out.reserve(64 << 10);
        match state.compress_vec(&bytes[used..], &mut out, flush) {
            Ok(Status::StreamEnd) => return out,
            // With room left, all that was to come has come.
            Ok(_) if !last && state.total_in() as usize == bytes.len() && out.len() < out.capacity() => return out,
            Ok(_) => {}
            // Never with input in memory and room for output.
            Err(_) => return out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut reader: impl Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn noise(length: usize) -> Vec<u8> {
        (0..length as u64).map(|i| ((i * i) >> 7) as u8 ^ (i / 300) as u8).collect()
    }

    #[test]
    fn there_and_back() {
        for length in [0, 1, 511, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 17] {
            let plain = noise(length);
            for to in [Compression::Gzip, Compression::Zstd, Compression::Plain] {
                let made = all(convert(Box::new(&plain[..]), Compression::Plain, to, None).unwrap());
                assert_eq!(
                    Compression::of(&made),
                    if length == 0 && to == Compression::Plain { Compression::Plain } else { to }
                );
                let back = all(convert(Box::new(&made[..]), to, Compression::Plain, None).unwrap());
                assert!(back == plain, "{length} {to:?}");
                assert_eq!(made, all(convert(Box::new(&plain[..]), Compression::Plain, to, None).unwrap()), "{length}");
            }
        }
    }

    #[test]
    fn a_reader_that_fails_is_told() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let mut reader = convert(Box::new(Fails), Compression::Plain, Compression::Gzip, None).unwrap();
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn gzip_is_what_gzip_reads() {
        let plain = noise(3 * BLOCK);
        let made = all(convert(Box::new(&plain[..]), Compression::Plain, Compression::Gzip, Some(1)).unwrap());
        let mut decoder = flate2::read::GzDecoder::new(&made[..]);
        let mut back = Vec::new();
        decoder.read_to_end(&mut back).unwrap();
        assert!(back == plain && decoder.into_inner().is_empty(), "one member");
    }
}
