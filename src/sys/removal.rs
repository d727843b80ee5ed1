//! Removing trees whatever state they are in: directories without permissions, immutable files, any depth.
//!
//! Symbolic links are never followed: every step is relative to the descriptor of a directory that was opened without
//! following. Mount points are not crossed knowingly; what is busy counts as a failure.

use rustix::fs::{self, AtFlags, Dir, FileType, IFlags, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that remove a large tree together. They wait for the disk, not for a processor: where blocks that become free
/// are told to it one by one (ext4 without a journal, mounted with `discard`), each file removed is a wait.
const THREADS: usize = 8;
/// Directories whose entries are handed to those threads one by one.
const SPREAD: usize = 64;
/// Entries that are not worth a thread.
const FEW: usize = 32;
/// Directories open at the same time. What lies deeper is moved up and removed afterwards.
const DEPTH: usize = 100;

/// What became of a removal.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Files and directories that are still there.
    pub failures: usize,
    /// Name and error of the first of them.
    pub first: Option<(Vec<u8>, Errno)>,
}

impl Outcome {
    /// Adds what became of another removal.
    pub fn merge(&mut self, other: Outcome) {
        self.failures += other.failures;
        self.first = self.first.take().or(other.first);
    }

    fn fail(&mut self, name: &CStr, errno: Errno) {
        self.failures += 1;
        self.first.get_or_insert_with(|| (name.to_bytes().to_vec(), errno));
    }
}

/// Removes `name` from the directory `parent`, with everything below it. It is no failure if there is none.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    match CString::new(name) {
        Ok(name) => remove(parent, &name, parent, DEPTH, &mut outcome),
        Err(_) => outcome.failures += 1,
    }
    outcome
}

/// Removes everything in `directory` but the names in `keep`.
pub fn empty(directory: BorrowedFd<'_>, keep: &[&[u8]]) -> Outcome {
    let mut outcome = Outcome::default();
    // What is moved up from deep below arrives here again: go on until nothing changes.
    for _ in 0..10_000 {
        outcome = Outcome::default();
        let names = match names(directory) {
            Ok(names) => names,
            Err(errno) => {
                outcome.fail(c".", errno);
                return outcome;
            }
        };
        let before = names.len();
        for (name, _) in names.iter().filter(|(name, _)| !keep.contains(&name.to_bytes())) {
            remove(directory, name, directory, DEPTH, &mut outcome);
        }
        let left = self::names(directory).map_or(0, |names| names.len());
        let kept = names.iter().filter(|(name, _)| keep.contains(&name.to_bytes())).count();
        if left <= kept || (left >= before && outcome.failures > 0) {
            break;
        }
    }
    outcome
}

/// Removes everything in `directory` but the names in `keep`, as [`empty`] does, by several threads if it is much.
pub fn empty_together(directory: BorrowedFd<'_>, keep: &[&[u8]]) -> Outcome {
    if let Ok(top) = directory.try_clone_to_owned() {
        let entries = spread(Arc::new(top), keep);
        if entries.len() > FEW {
            let next = AtomicUsize::new(0);
            let work = || {
                while let Some((parent, name)) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // What fails is met again below, and told there.
                    remove(parent.as_fd(), name, parent.as_fd(), DEPTH, &mut Outcome::default());
                }
            };
            std::thread::scope(|scope| {
                for _ in 1..THREADS {
                    // Whoever may have no more threads does with those there are.
                    if std::thread::Builder::new().stack_size(1 << 20).spawn_scoped(scope, work).is_err() {
                        break;
                    }
                }
                work();
            });
        }
    }
    empty(directory, keep)
}

/// Entries below `top` that can be removed side by side: those of the first directories, broadest first.
fn spread(top: Arc<OwnedFd>, keep: &[&[u8]]) -> Vec<(Arc<OwnedFd>, CString)> {
    let mut directories = std::collections::VecDeque::from([(top, keep)]);
    let (mut entries, mut opened) = (Vec::new(), 0);
    while let Some((directory, keep)) = directories.pop_front() {
        for (name, kind) in names(directory.as_fd()).unwrap_or_default() {
            if keep.contains(&name.to_bytes()) {
                continue;
            }
            if kind == FileType::Directory
                && opened < SPREAD
                && let Ok(below) = open(directory.as_fd(), &name)
            {
                opened += 1;
                directories.push_back((Arc::new(below), &[]));
            } else {
                entries.push((directory.clone(), name));
            }
        }
    }
    entries
}

/// Removes `name` from `parent`. Directories deeper than `depth` are moved to `top` first, and removed from there.
fn remove(parent: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>, depth: usize, outcome: &mut Outcome) {
    match unlink(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return,
        Err(Errno::ISDIR) => {}
        Err(errno) => {
            if !is_directory(parent, name) {
                return outcome.fail(name, errno);
            }
        }
    }
    match unlink(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return,
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(errno) => return outcome.fail(name, errno),
    }
    if depth == 0 {
        if let Some(moved) = move_up(parent, name, top) {
            remove(top, &moved, top, DEPTH, outcome);
        } else {
            outcome.fail(name, Errno::NAMETOOLONG);
        }
        return;
    }
    let before = outcome.failures;
    match open(parent, name) {
        Ok(directory) => {
            clear(&directory, top, depth, outcome);
        }
        Err(errno) => outcome.fail(name, errno),
    }
    if outcome.failures == before
        && let Err(errno) = unlink(parent, name, AtFlags::REMOVEDIR)
        && errno != Errno::NOENT
    {
        outcome.fail(name, errno);
    }
}

/// Removes what is in `directory`.
fn clear(directory: &OwnedFd, top: BorrowedFd<'_>, depth: usize, outcome: &mut Outcome) {
    // Some file systems skip names while others are being unlinked: look again until nothing is found.
    loop {
        let before = outcome.failures;
        let entries = match names(directory.as_fd()) {
            Ok(entries) if entries.is_empty() => return,
            Ok(entries) => entries,
            Err(errno) => return outcome.fail(c".", errno),
        };
        for (name, _) in &entries {
            remove(directory.as_fd(), name, top, depth - 1, outcome);
        }
        if outcome.failures > before {
            return;
        }
    }
}

fn unlink(parent: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> rustix::io::Result<()> {
    match fs::unlinkat(parent, name, flags) {
        Err(Errno::ACCESS | Errno::PERM) => {
            // EPERM on a directory asked to be unlinked as a file is POSIX's EISDIR.
            if flags.is_empty() && is_directory(parent, name) {
                return Err(Errno::ISDIR);
            }
            unlock(parent, name);
            fs::unlinkat(parent, name, flags)
        }
        other => other,
    }
}

/// Takes away what keeps `name` from being removed: a parent nobody may write to, the flags immutable and append-only.
fn unlock(parent: BorrowedFd<'_>, name: &CStr) {
    let _ = fs::fchmod(parent, Mode::RWXU);
    unflag(parent);
    // Not a device, which opening may start; only these two kinds have flags that can be read anyway.
    let kind = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode));
    if !matches!(kind, Ok(FileType::RegularFile | FileType::Directory)) {
        return;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(file) = fs::openat(parent, name, flags, Mode::empty()) {
        unflag(file.as_fd());
    }
}

fn unflag(file: BorrowedFd<'_>) {
    if let Ok(flags) = fs::ioctl_getflags(file)
        && flags.intersects(IFlags::IMMUTABLE | IFlags::APPEND)
    {
        let _ = fs::ioctl_setflags(file, flags & !(IFlags::IMMUTABLE | IFlags::APPEND));
    }
}

fn open(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let _ = crate::beneath::change_mode(parent, name, FileType::Directory, Mode::RWXU);
            fs::openat(parent, name, flags, Mode::empty())
        }
        other => other,
    }
}

fn is_directory(parent: BorrowedFd<'_>, name: &CStr) -> bool {
    fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Moves a directory to `top` under a name of its own; `None` if no way was found.
fn move_up(parent: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>) -> Option<CString> {
    (0..1_000_000u32).find_map(|number| {
        let moved = CString::new(format!(".deep-{number}")).ok()?;
        match fs::renameat_with(parent, name, top, &moved, fs::RenameFlags::NOREPLACE) {
            Ok(()) => Some(Some(moved)),
            Err(Errno::EXIST) => None,
            Err(_) => Some(None),
        }
    })?
}

/// Names in a directory, with their kinds, without `.` and `..`.
pub fn names(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<(CString, FileType)>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push((name.to_owned(), entry.file_type()));
        }
    }
    Ok(names)
}
