//! A reader that remembers what is read through it, for who must tell an archive's headers from its contents.

use std::io::{self, BufRead, BufReader, Read};

/// Bytes that are read at once.
const PIECE: usize = 128 << 10;

/// The reader.
pub(crate) struct Tee<'r> {
    reader: BufReader<Box<dyn Read + Send + 'r>>,
    /// What was read while `keeps` held.
    pub raw: Vec<u8>,
    /// What is read now is remembered.
    pub keeps: bool,
}

impl<'r> Tee<'r> {
    /// A reader of `reader` that remembers everything until told otherwise.
    pub(crate) fn new(reader: Box<dyn Read + Send + 'r>) -> Tee<'r> {
        Tee { reader: BufReader::with_capacity(PIECE, reader), raw: Vec::new(), keeps: true }
    }
}

impl Read for Tee<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut at_hand = self.fill_buf()?;
        let count = at_hand.read(bytes)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Tee<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while let Err(error) = self.reader.fill_buf() {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(self.reader.buffer())
    }

    fn consume(&mut self, count: usize) {
        if self.keeps {
            self.raw.extend_from_slice(&self.reader.buffer()[..count]);
        }
        self.reader.consume(count);
    }
}
