//! Extended attributes of open files.

use rustix::fs::{self, XattrFlags};
use rustix::io::Errno;
use std::os::fd::AsFd;

/// Sets an attribute.
pub fn set(file: impl AsFd, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
    fs::fsetxattr(file, name, value, XattrFlags::empty())
}

/// Value of an attribute; none if the file has no such attribute or its file system has none at all.
pub fn get(file: impl AsFd, name: &[u8]) -> rustix::io::Result<Option<Vec<u8>>> {
    // 64 KiB is the kernel's XATTR_SIZE_MAX.
    let mut value = Vec::with_capacity(256);
    loop {
        match fs::fgetxattr(&file, name, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => return Ok(Some(value)),
            Err(Errno::RANGE) if value.capacity() < 1 << 16 => value.reserve(1 << 16),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
}

/// Removes an attribute; it is no failure if there is none.
pub fn remove(file: impl AsFd, name: &[u8]) -> rustix::io::Result<()> {
    match fs::fremovexattr(file, name) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        other => other,
    }
}

/// Names of all attributes; none where the file system has none.
pub fn names(file: impl AsFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut list: Vec<u8> = Vec::with_capacity(256);
    loop {
        match fs::flistxattr(&file, rustix::buffer::spare_capacity(&mut list)) {
            Ok(_) => break,
            Err(Errno::RANGE) if list.capacity() < 1 << 16 => list.reserve(1 << 16),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}
