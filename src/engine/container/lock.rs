//! The lock of one container: flock(2) on its directory `ROOT/containers/ID`. Whoever starts, ends or removes it holds
//! it; whoever only looks does not. The kernel gives it back when its holder dies.

use ops::Fault;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Held until dropped.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] OwnedFd);

/// Waits for the lock. The directory is made if it is missing.
pub fn wait(directory: &Path) -> Result<Lock, Fault> {
    loop {
        if let Some(lock) = take(directory, FlockOperation::LockExclusive)? {
            return Ok(lock);
        }
    }
}

/// The lock, unless somebody has it.
pub fn attempt(directory: &Path) -> Result<Option<Lock>, Fault> {
    take(directory, FlockOperation::NonBlockingLockExclusive)
}

/// True if somebody has it. Makes nothing.
pub fn is_held(directory: &Path) -> bool {
    match open(directory) {
        Ok(fd) => rustix::fs::flock(&fd, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK),
        Err(_) => false,
    }
}

fn open(directory: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(directory, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn take(directory: &Path, operation: FlockOperation) -> Result<Option<Lock>, Fault> {
    let fail = |e: Errno| Fault::internal(format!("cannot lock container directory {directory:?}: {e}"));
    let fd = match open(directory) {
        Err(Errno::NOENT) => {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o711)
                .create(directory)
                .map_err(|e| Fault::internal(format!("cannot create container directory {directory:?}: {e}")))?;
            open(directory).map_err(fail)?
        }
        other => other.map_err(fail)?,
    };
    match rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, operation)) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(e) => return Err(fail(e)),
    }
    // The one who had it may have removed the directory: then this lock keeps nobody out.
    let same = match (rustix::fs::fstat(&fd), rustix::fs::lstat(directory)) {
        (Ok(ours), Ok(there)) => (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino),
        _ => false,
    };
    if same {
        Ok(Some(Lock(fd)))
    } else if operation == FlockOperation::LockExclusive {
        Ok(None)
    } else {
        take(directory, operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_never_a_removed_one() {
        let directory = std::env::temp_dir().join(format!("lock-{}", std::process::id())).join("c");
        let first = wait(&directory).unwrap();
        assert!(attempt(&directory).unwrap().is_none());
        assert!(is_held(&directory));
        std::fs::remove_dir(&directory).unwrap();
        let second = attempt(&directory).unwrap().expect("a new directory has a new lock");
        drop(first);
        assert!(is_held(&directory));
        drop(second);
        assert!(!is_held(&directory));
        std::fs::remove_dir_all(directory.parent().unwrap()).unwrap();
    }
}
