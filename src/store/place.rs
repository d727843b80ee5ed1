//! A place for something incomplete: a directory of `work/` that its owner holds a lock on, removed when dropped.

use crate::{Error, Result, format};
use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A locked directory of `work/`. Dropping it removes it with everything in it.
pub(crate) struct Place {
    path: PathBuf,
    name: String,
    work: OwnedFd,
    directory: OwnedFd,
    /// Held until the directory is gone.
    _lock: OwnedFd,
}

impl Place {
    /// Makes a new one in the store below `root`, with a name that no layer has.
    pub(crate) fn create(root: &Path) -> Result<Place> {
        let parent = root.join(format::WORK);
        let work = open_directory(&parent)?;
        // Whoever makes one shares this lock meanwhile: so a collector that gets it alone knows that nobody does.
        let share = |operation| rustix::io::retry_on_intr(|| fs::flock(&work, operation));
        share(FlockOperation::LockShared).map_err(Error::path("lock", &parent))?;
        for _ in 0..1000 {
            let name = random_name()?;
            let path = parent.join(&name);
            if [format::LAYERS, format::MAPPED].iter().any(|made| exists(fs::CWD, root.join(made).join(&name))) {
                continue;
            }
            // Nobody collects what is called `.NAME` meanwhile, so that it is locked before it can be taken for a leftover.
            let hidden = format!(".{name}");
            match fs::mkdirat(&work, &hidden, Mode::RWXU) {
                Err(Errno::EXIST) => continue,
                other => other.map_err(Error::path("create", &path))?,
            }
            let prepared = open_at(&work, &hidden).and_then(|directory| {
                let lock = lock(&directory, OFlags::CREATE)?.ok_or(Errno::WOULDBLOCK)?;
                fs::renameat(&work, &hidden, &work, &name)?;
                Ok((directory, lock))
            });
            match prepared {
                Ok((directory, lock)) => {
                    share(FlockOperation::Unlock).map_err(Error::path("unlock", &parent))?;
                    return Ok(Place { path, name, work, directory, _lock: lock });
                }
                Err(errno) => {
                    sys::removal::remove_tree(work.as_fd(), hidden.as_bytes());
                    if !matches!(errno, Errno::EXIST | Errno::NOTEMPTY) {
                        return Err(Error::path("create", path)(errno));
                    }
                }
            }
        }
        Err(Error::NoName { path: parent })
    }

    /// Takes over one that a killed command left; none if its owner lives, or if it is gone.
    pub(crate) fn take_over(root: &Path, name: &str) -> Result<Option<Place>> {
        let parent = root.join(format::WORK);
        let path = parent.join(name);
        let work = open_directory(&parent)?;
        let directory = match open_at(&work, name) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Error::path("open", path)(errno)),
        };
        // It goes with the descriptor, when the place is gone.
        if name.starts_with('.') && fs::flock(&work, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        match lock(&directory, OFlags::empty()) {
            Ok(Some(lock)) => Ok(Some(Place { path, name: name.to_owned(), work, directory, _lock: lock })),
            Ok(None) => Ok(None),
            // The lock goes last: nothing but an empty directory is left.
            Err(Errno::NOENT) => {
                let _ = fs::unlinkat(&work, name, AtFlags::REMOVEDIR);
                Ok(None)
            }
            Err(errno) => Err(Error::path("lock", path)(errno)),
        }
    }

    /// Its name, which a layer made in it keeps.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Path of something in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes it now; tells what dropping would hide.
    pub(crate) fn remove(self) -> sys::removal::Outcome {
        self.clear()
    }

    fn clear(&self) -> sys::removal::Outcome {
        let mut outcome = sys::removal::empty_together(self.directory.as_fd(), &[format::LOCK.as_bytes()]);
        // The lock goes last: until then nobody else takes this for a leftover.
        if outcome.failures == 0 {
            outcome.merge(sys::removal::remove_tree(self.work.as_fd(), self.name.as_bytes()));
        }
        outcome
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Locks the file `lock` of a directory, without waiting. None if somebody else has it, or had it and removed it.
fn lock(directory: &OwnedFd, flags: OFlags) -> rustix::io::Result<Option<OwnedFd>> {
    let flags = flags | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::openat(directory, format::LOCK, flags, Mode::RUSR | Mode::WUSR)?;
    match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        other => other?,
    }
    let linked = fs::fstat(&file)?.st_nlink > 0;
    Ok(linked.then_some(file))
}

fn open_at(work: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    fs::openat(work, name, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::open(path, flags, Mode::empty()).map_err(Error::path("open", path))
}

/// Five characters of `a-z2-7`.
fn random_name() -> Result<String> {
    let mut bytes = [0u8; 5];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(Error::path("read", "/dev/urandom"))?;
    Ok(bytes.iter().map(|byte| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(byte & 31)])).collect())
}

/// True if `name` exists in `directory`, whatever it is.
pub(crate) fn exists(directory: impl AsFd, name: impl rustix::path::Arg) -> bool {
    fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Scratch;

    #[test]
    fn one_that_was_never_finished_is_taken_unless_somebody_makes_one() {
        let scratch = Scratch::new();
        let root = scratch.path();
        let hidden = root.join("work/.half");
        std::fs::create_dir_all(&hidden).unwrap();
        let maker = open_directory(&root.join("work")).unwrap();
        fs::flock(&maker, FlockOperation::LockShared).unwrap();
        assert!(Place::take_over(root, ".half").unwrap().is_none());
        assert!(hidden.exists());
        drop(maker);
        assert!(Place::take_over(root, ".half").unwrap().is_none());
        assert!(!hidden.exists());
        let living = Place::create(root).unwrap();
        assert!(Place::take_over(root, living.name()).unwrap().is_none());
    }
}
