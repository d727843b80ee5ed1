//! Sparse files: GNU's old format (pieces in the header and in blocks after it) and the three that PAX records tell
//! (tar(5) of GNU, "Sparse Formats").

use super::pax::SparseMap;
use super::{Archive, BLOCK, Entry, Fault, number};
use crate::limits;
use std::io::BufRead;

impl<R: BufRead> Archive<R> {
    /// GNU's type `S`: four pieces in the header, 21 in each block that follows while the one before says so.
    pub(super) fn read_old_sparse(&mut self, header: &tar::GnuHeader, entry: &mut Entry) -> Result<(), Fault> {
        let mut numbers = Vec::new();
        for piece in &header.sparse {
            self.push_piece(&mut numbers, &piece.offset, &piece.numbytes)?;
        }
        let size = self.number(&header.realsize, "size")?;
        let mut extended = header.isextended[0] != 0;
        while extended {
            let mut block = [0; BLOCK];
            if self.read_full(&mut block)? < BLOCK {
                return Err(self.bad("its map of holes is cut off"));
            }
            for piece in block[..504].chunks_exact(24) {
                self.push_piece(&mut numbers, &piece[..12], &piece[12..])?;
            }
            extended = block[504] != 0;
        }
        self.set_pieces(&numbers, Some(size), entry)
    }

    /// The formats 0.0, 0.1 and 1.0.
    pub(super) fn read_pax_sparse(&mut self, map: SparseMap, entry: &mut Entry) -> Result<(), Fault> {
        if !map.in_data {
            return self.set_pieces(&map.numbers, map.size, entry);
        }
        // Decimal numbers, a line each: how many pieces, then offset and length of each; padded to a block.
        let before = self.left;
        let count = self.read_line()?;
        let count = usize::try_from(count).ok().filter(|count| *count <= limits::PIECES);
        let count = count.ok_or_else(|| self.bad("its map of holes is too large"))?;
        let mut numbers = Vec::new();
        for _ in 0..count * 2 {
            numbers.push(self.read_line()?);
        }
        let used = before - self.left;
        let mut padding = vec![0; (used.next_multiple_of(BLOCK as u64) - used) as usize];
        self.read_data(&mut padding)?;
        self.set_pieces(&numbers, map.size, entry)
    }

    fn push_piece(&self, numbers: &mut Vec<i64>, offset: &[u8], length: &[u8]) -> Result<(), Fault> {
        // Unused places are blank.
        if offset[0] == 0 && length[0] == 0 {
            return Ok(());
        }
        if numbers.len() >= 2 * limits::PIECES {
            return Err(self.bad("its map of holes is too large"));
        }
        numbers.push(self.number(offset, "map of holes")?);
        numbers.push(self.number(length, "map of holes")?);
        Ok(())
    }

    fn read_line(&mut self) -> Result<i64, Fault> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            self.read_data(&mut byte)?;
            if byte[0] == b'\n' {
                break;
            }
            line.push(byte[0]);
            if line.len() > 20 {
                break;
            }
        }
        number::decimal(&line).ok_or_else(|| self.bad("its map of holes is damaged"))
    }

    /// Pieces must lie one after the other within the size, and be as long as the data.
    fn set_pieces(&self, numbers: &[i64], size: Option<i64>, entry: &mut Entry) -> Result<(), Fault> {
        let bad = || self.bad("its map of holes does not fit its data");
        let size = size.and_then(|size| u64::try_from(size).ok()).ok_or_else(bad)?;
        if size > limits::UNPACKED {
            return Err(self.bad(format!("its size {size} is more than {}", limits::UNPACKED)));
        }
        if !numbers.len().is_multiple_of(2) {
            return Err(bad());
        }
        let mut pieces = Vec::with_capacity(numbers.len() / 2);
        let (mut end, mut data) = (0u64, 0u64);
        for pair in numbers.chunks_exact(2) {
            let (Ok(offset), Ok(length)) = (u64::try_from(pair[0]), u64::try_from(pair[1])) else { return Err(bad()) };
            let next = offset.checked_add(length).ok_or_else(bad)?;
            if offset < end || next > size {
                return Err(bad());
            }
            end = next;
            data += length;
            pieces.push((offset, length));
        }
        if data != self.left {
            return Err(bad());
        }
        entry.size = size;
        entry.pieces = Some(pieces);
        Ok(())
    }
}
