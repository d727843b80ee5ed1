//! Copies of file contents, sharing blocks where the file system can.

use rustix::fs;
use rustix::io::Errno;
use std::os::fd::AsFd;

/// How the contents were copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// Blocks are shared (FICLONE).
    Shared,
    /// Bytes were copied.
    Bytes,
}

/// Copies all of `from` to the empty file `to`. `share` is set to false once the file system turned out not to
/// share, so that it is not asked again for every file.
pub fn copy(from: impl AsFd, to: impl AsFd, share: &mut bool) -> rustix::io::Result<Copied> {
    if *share {
        match fs::ioctl_ficlone(&to, &from) {
            Ok(()) => return Ok(Copied::Shared),
            Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NOTTY | Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
                *share = false
            }
            Err(errno) => return Err(errno),
        }
    }
    let mut kernel = true;
    let mut buffer = Vec::new();
    loop {
        if kernel {
            match fs::copy_file_range(&from, None, &to, None, 1 << 30) {
                Ok(0) => return Ok(Copied::Bytes),
                Ok(_) => continue,
                // Before 5.19 some file systems say so, before 4.5 all of them.
                Err(Errno::INVAL | Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => kernel = false,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            }
        }
        if buffer.is_empty() {
            buffer.resize(256 << 10, 0);
        }
        let count = match rustix::io::read(&from, &mut buffer) {
            Ok(0) => return Ok(Copied::Bytes),
            Err(Errno::INTR) => continue,
            other => other?,
        };
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            match rustix::io::write(&to, rest) {
                Err(Errno::INTR) => {}
                other => rest = &rest[other?..],
            }
        }
    }
}
