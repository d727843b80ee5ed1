//! Where the last lines of a log begin, found from its end.

use super::{Driver, read::parse};
use std::fs::File;
use std::os::unix::fs::FileExt;

const BLOCK: usize = 64 * 1024;

/// The offset in `file` at which its last `left` lines begin; `None` if it holds fewer, with `left` the rest to look for
/// in the file before. `open_end`: what follows this file (nothing, or the beginning of a line already counted as begun)
/// has not been counted; it is kept from file to file, and true at first.
///
/// A line is records up to one that is not partial.
pub(super) fn start(file: &File, driver: Driver, left: &mut u64, open_end: &mut bool) -> std::io::Result<Option<u64>> {
    let mut begin = file.metadata()?.len();
    // Bytes from `begin` on whose beginning of a record is not known yet.
    let mut tail: Vec<u8> = Vec::new();
    loop {
        // Whole records in `tail`, last first; what comes before the first end of line may be cut.
        while let Some(end) =
            tail.len().checked_sub(1).filter(|_| begin == 0 || tail[..tail.len() - 1].contains(&b'\n'))
        {
            let first = tail[..end].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            let raw = tail[first..].strip_suffix(b"\n").unwrap_or(&tail[first..]);
            if parse(driver, raw).is_some_and(|line| !line.partial || *open_end) {
                if *left == 0 {
                    return Ok(Some(begin + tail.len() as u64));
                }
                *left -= 1;
                *open_end = false;
            }
            tail.truncate(first);
        }
        if begin == 0 {
            return Ok(None);
        }
        let length = BLOCK.min(begin as usize);
        begin -= length as u64;
        let mut block = vec![0; length];
        file.read_exact_at(&mut block, begin)?;
        block.append(&mut tail);
        tail = block;
    }
}
