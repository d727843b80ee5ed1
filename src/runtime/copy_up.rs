//! What a directory holds, copied into a new file system: `tmpcopyup`.
//!
//! Both ends are descriptors, and no link is followed. Ownership, modes and times come along; devices that may not be made
//! here are left out, as they could not be opened either.

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Copies the entries of directory `from` (may be an `O_PATH` descriptor) into directory `to`, which takes over the mode
/// of `from` too unless it was given one of its own.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, own_mode: bool) -> Result<()> {
    let from = rustix::fs::openat(from, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let to = rustix::fs::openat(to, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut status = rustix::fs::fstat(&from)?;
    if own_mode {
        status.st_mode = rustix::fs::fstat(&to)?.st_mode;
    }
    directory(from.as_fd(), to.as_fd())?;
    finish(to.as_fd(), &status)
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    for entry in rustix::fs::Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let status = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let nofollow = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let inner =
                    rustix::fs::openat(from, name, OFlags::RDONLY | OFlags::DIRECTORY | nofollow, Mode::empty())?;
                let made = rustix::fs::openat(to, name, OFlags::RDONLY | OFlags::DIRECTORY | nofollow, Mode::empty())?;
                directory(inner.as_fd(), made.as_fd())?;
                finish(made.as_fd(), &status)?;
            }
            FileType::RegularFile => {
                let source =
                    rustix::fs::openat(from, name, OFlags::RDONLY | OFlags::NONBLOCK | nofollow, Mode::empty())?;
                let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | nofollow;
                let made = rustix::fs::openat(to, name, create, Mode::RUSR | Mode::WUSR)?;
                bytes(source, made.try_clone().map_err(sys::process::errno)?)?;
                finish(made.as_fd(), &status)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(target, to, name)?;
                let (uid, gid) = owner(&status);
                rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            kind => {
                let mode = Mode::from_raw_mode(status.st_mode);
                match rustix::fs::mknodat(to, name, kind, mode, status.st_rdev) {
                    Ok(()) => {
                        let (uid, gid) = owner(&status);
                        rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
                    }
                    Err(Errno::PERM) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(())
}

fn bytes(from: OwnedFd, to: OwnedFd) -> Result<()> {
    let (mut from, mut to) = (std::fs::File::from(from), std::fs::File::from(to));
    std::io::copy(&mut from, &mut to).map(drop).map_err(sys::process::errno)
}

fn owner(status: &rustix::fs::Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(status.st_uid)), Some(Gid::from_raw(status.st_gid)))
}

/// Owner first: chown takes set-id bits away. Times last.
fn finish(made: BorrowedFd<'_>, status: &rustix::fs::Stat) -> Result<()> {
    let (uid, gid) = owner(status);
    rustix::fs::fchown(made, uid, gid)?;
    rustix::fs::fchmod(made, Mode::from_raw_mode(status.st_mode))?;
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let times = Timestamps {
        last_access: time(status.st_atime, status.st_atime_nsec),
        last_modification: time(status.st_mtime, status.st_mtime_nsec),
    };
    rustix::fs::utimensat(CWD, format!("/proc/self/fd/{}", made.as_raw_fd()), &times, AtFlags::empty())
}
