//! A pipe within the process: one thread writes what another reads, a large piece at a time. Between two threads that have
//! much to do each it costs less than pipe(2), which moves 64 KiB at most, and copies twice.
//!
//! As with pipe(2), the reader's end is the end of what was written, whether the writer was done or gave up: only the writer
//! knows. A writer whose reader is gone gets `BrokenPipe`.
//!
//! Must not know: what goes through.

use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, channel, sync_channel};

/// Bytes of a piece, and how many of them may wait: enough that neither thread waits for the other whenever it is not its turn.
const PIECE: usize = 256 << 10;
const PIECES: usize = 8;

/// Makes a pipe.
pub fn pipe() -> (Reader, Writer) {
    let (full_sender, full) = sync_channel(PIECES);
    let (empty_sender, empty) = channel();
    let reader = Reader { full, empty: empty_sender, piece: Vec::new(), used: 0 };
    (reader, Writer { full: full_sender, empty, piece: Vec::with_capacity(PIECE) })
}

/// The end that reads.
pub struct Reader {
    full: Receiver<Vec<u8>>,
    empty: std::sync::mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
    used: usize,
}

/// The end that writes. Dropping it passes on what was not flushed.
pub struct Writer {
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    piece: Vec<u8>,
}

impl Reader {
    /// Writes all that comes to `to`, and flushes it.
    pub fn drain_to(&mut self, to: &mut dyn Write) -> io::Result<()> {
        loop {
            let piece = self.fill_buf()?;
            if piece.is_empty() {
                return to.flush();
            }
            to.write_all(piece)?;
            let count = piece.len();
            self.consume(count);
        }
    }
}

impl Writer {
    fn pass(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let next = match self.empty.try_recv() {
            Ok(used) => used,
            // Those that are under way are never more than fit into the channel, and one at each end.
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Vec::with_capacity(PIECE),
        };
        let full = std::mem::replace(&mut self.piece, next);
        self.full.send(full).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() == PIECE {
            self.pass()?;
        }
        let count = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Nobody is there to be told that the reader is gone.
        let _ = self.pass();
    }
}

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.piece.len() {
            let mut old = std::mem::take(&mut self.piece);
            self.used = 0;
            if old.capacity() > 0 {
                old.clear();
                // A writer that is gone needs no more.
                let _ = self.empty.send(old);
            }
            if let Ok(piece) = self.full.recv() {
                self.piece = piece;
            }
        }
        Ok(&self.piece[self.used..])
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at_hand = self.fill_buf()?;
        let count = at_hand.len().min(buffer.len());
        buffer[..count].copy_from_slice(&at_hand[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order_and_then_ends() {
        let (mut reader, mut writer) = pipe();
        let bytes: Vec<u8> = (0..3_000_001u32).map(|n| (n % 251) as u8).collect();
        let read = std::thread::scope(|scope| {
            let bytes = &bytes;
            scope.spawn(move || {
                for part in bytes.chunks(70_001) {
                    writer.write_all(part).unwrap();
                }
            });
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            read
        });
        assert!(read == bytes);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0, "the end stays the end");
    }

    #[test]
    fn a_writer_whose_reader_is_gone_is_told() {
        let (reader, mut writer) = pipe();
        writer.write_all(b"a").unwrap();
        drop(reader);
        assert_eq!(writer.flush().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
