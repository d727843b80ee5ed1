//! Paths below a root, which nothing in them leads out of.
//!
//! Names are resolved as if the root were `/`: absolute names and links start there, `..` stops there
//! (openat2(2) with RESOLVE_IN_ROOT, Linux 5.6). Older kernels, and seccomp filters that do not know openat2, get a
//! walk of our own that keeps the descriptor of every directory it came through, so that `..` never asks the kernel.

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::path::Arg;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Links followed in one path, as the kernel's MAXSYMLINKS.
const LINKS: usize = 40;

/// How paths are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// By openat2(2).
    Kernel,
    /// Component by component.
    Own,
}

/// What is made where a path ends in nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A directory, mode 0755.
    Directory,
    /// An empty file, mode 0644.
    File,
}

/// Sets the mode of `name` in `directory`, if that is of `kind`: a link that somebody who writes there too put in its place leads
/// nowhere (chmod(2) has no way not to follow one before Linux 6.6). Needs /proc.
///
/// # Errors
/// `EEXIST` if `name` is of another kind; else those of openat(2) and chmod(2).
pub fn change_mode(directory: impl AsFd, name: impl Arg, kind: FileType, mode: Mode) -> rustix::io::Result<()> {
    let found = fs::openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(fs::fstat(&found)?.st_mode) != kind {
        return Err(Errno::EXIST);
    }
    fs::chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), mode)
}

/// A directory that paths are resolved in.
pub struct Root {
    directory: OwnedFd,
    walk: Walk,
}

impl Root {
    /// The directory `path` as a root. The path itself is trusted.
    pub fn open(path: &Path) -> rustix::io::Result<Root> {
        Ok(Root::new(fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// An open directory as a root.
    pub fn new(directory: OwnedFd) -> Root {
        let probe = fs::openat2(&directory, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT);
        let walk = if probe.is_ok() { Walk::Kernel } else { Walk::Own };
        Root { directory, walk }
    }

    /// An open directory whose paths are walked component by component, without asking what the kernel can.
    pub fn own_walk(directory: OwnedFd) -> Root {
        Root { directory, walk: Walk::Own }
    }

    /// The same directory, resolved the given way.
    pub fn with_walk(self, walk: Walk) -> Root {
        Root { walk, ..self }
    }

    /// The way paths are resolved.
    pub fn walk(&self) -> Walk {
        self.walk
    }

    /// Opens what `path` names. Links are followed, the last one too unless the flags hold `NOFOLLOW`; magic links of
    /// procfs are refused (ELOOP). To create a file, open its [`Root::parent`] instead: CREATE is refused (EINVAL).
    pub fn resolve(&self, path: impl AsRef<[u8]>, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        if flags.contains(OFlags::CREATE) {
            return Err(Errno::INVAL);
        }
        let path = path.as_ref();
        let flags = flags | OFlags::CLOEXEC;
        match self.walk {
            Walk::Kernel => {
                let path: &[u8] = if path.is_empty() { b"." } else { path };
                let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                loop {
                    match fs::openat2(&self.directory, path, flags, Mode::empty(), resolve) {
                        // Somebody renamed a directory meanwhile, and `..` could not be trusted.
                        Err(Errno::AGAIN | Errno::INTR) => {}
                        other => return other,
                    }
                }
            }
            Walk::Own => self.walk_to(path, flags, None),
        }
    }

    /// Finds `path` as [`Root::resolve`] does, with `PATH`, and makes what is missing of it: directories, and `missing` at its
    /// end. Where a link leads to nothing, that is made. `ENOTDIR` if a directory is wanted and something else is there.
    pub fn make(&self, path: impl AsRef<[u8]>, missing: Missing) -> rustix::io::Result<OwnedFd> {
        let flags = if missing == Missing::Directory { OFlags::PATH | OFlags::DIRECTORY } else { OFlags::PATH };
        self.walk_to(path.as_ref(), flags | OFlags::CLOEXEC, Some(missing))
    }

    /// The directory that holds the last component of `path`, and that component. EINVAL if there is none, as in
    /// `/` or `a/..`. The component itself is not looked at.
    pub fn parent<'p>(&self, path: &'p [u8]) -> rustix::io::Result<(OwnedFd, &'p [u8])> {
        let (parent, name) = split(path).ok_or(Errno::INVAL)?;
        Ok((self.resolve(parent, OFlags::PATH | OFlags::DIRECTORY)?, name))
    }

    /// The directory `path`, made with `mode` if missing, as are those above it. EEXIST or ENOTDIR if something else
    /// is in the way. `made` is told the parent and name of each that was made.
    pub fn make_directories(
        &self,
        path: &[u8],
        mode: Mode,
        mut made: impl FnMut(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<()>,
    ) -> rustix::io::Result<OwnedFd> {
        const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
        match self.resolve(path, DIRECTORY) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        // The longest prefix that exists, then one component after the other.
        let mut directory = self.resolve(b"", DIRECTORY)?;
        let mut end = 0;
        for component in path.split(|byte| *byte == b'/') {
            end += component.len() + 1;
            if component.is_empty() || component == b"." {
                continue;
            }
            let prefix = &path[..(end - 1).min(path.len())];
            directory = match self.resolve(prefix, DIRECTORY) {
                Err(Errno::NOENT) if component != b".." => {
                    fs::mkdirat(&directory, component, mode)?;
                    made(directory.as_fd(), component)?;
                    fs::openat(&directory, component, DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?
                }
                other => other?,
            };
        }
        Ok(directory)
    }

    fn walk_to(&self, path: &[u8], flags: OFlags, missing: Option<Missing>) -> rustix::io::Result<OwnedFd> {
        let step = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // The directories walked through, without the root.
        let mut trail: Vec<OwnedFd> = Vec::new();
        // What is still to be walked, last component first.
        let mut rest: Vec<Vec<u8>> = components(path);
        let mut demand_directory = path.ends_with(b"/");
        let mut links = 0;
        while let Some(component) = rest.pop() {
            let here = trail.last().map_or(self.directory.as_fd(), AsFd::as_fd);
            if component == b".." {
                trail.pop();
                continue;
            }
            let last = rest.is_empty();
            let next = match (fs::openat(here, component.as_slice(), step, Mode::empty()), missing) {
                (Err(Errno::NOENT), Some(missing)) => {
                    make_one(here, &component, if last { missing } else { Missing::Directory })?;
                    fs::openat(here, component.as_slice(), step, Mode::empty())?
                }
                (other, _) => other?,
            };
            let kind = fs::FileType::from_raw_mode(fs::fstat(&next)?.st_mode);
            if kind == fs::FileType::Symlink {
                if last && flags.contains(OFlags::NOFOLLOW) && !demand_directory {
                    if !flags.contains(OFlags::PATH) {
                        return Err(Errno::LOOP);
                    }
                    return if flags.contains(OFlags::DIRECTORY) { Err(Errno::NOTDIR) } else { Ok(next) };
                }
                links += 1;
                let target = fs::readlinkat(&next, c"", Vec::new())?.into_bytes();
                if links > LINKS || is_magic(&next)? {
                    return Err(Errno::LOOP);
                }
                if target.starts_with(b"/") {
                    trail.clear();
                }
                demand_directory |= last && target.ends_with(b"/");
                rest.extend(components(&target));
                continue;
            }
            if last {
                let wanted = if demand_directory { flags | OFlags::DIRECTORY } else { flags };
                if wanted.contains(OFlags::PATH) {
                    return if wanted.contains(OFlags::DIRECTORY) && kind != fs::FileType::Directory {
                        Err(Errno::NOTDIR)
                    } else {
                        Ok(next)
                    };
                }
                return fs::openat(here, component.as_slice(), wanted | OFlags::NOFOLLOW, Mode::empty());
            }
            if kind != fs::FileType::Directory {
                return Err(Errno::NOTDIR);
            }
            trail.push(next);
        }
        let here = trail.last().map_or(self.directory.as_fd(), AsFd::as_fd);
        fs::openat(here, c".", flags & !OFlags::NOFOLLOW, Mode::empty())
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Makes what is missing; what somebody else made meanwhile is looked at afterwards.
fn make_one(here: BorrowedFd<'_>, name: &[u8], missing: Missing) -> rustix::io::Result<()> {
    let made = match missing {
        Missing::Directory => fs::mkdirat(here, name, Mode::from_raw_mode(0o755)),
        Missing::File => {
            let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            fs::openat(here, name, create, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match made {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Components in reverse order, without empty ones and `.`.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.rev().map(<[u8]>::to_vec).collect()
}

/// A link of procfs that leads where its text does not (`/proc/PID/root`, `fd/N`).
fn is_magic(link: &OwnedFd) -> rustix::io::Result<bool> {
    const PROC_SUPER_MAGIC: u64 = 0x9fa0;
    // The harmless ones there (`self`, `mounts`) have a size of zero too: refusing them costs nothing in a root.
    Ok(fs::fstatfs(link)?.f_type as u64 == PROC_SUPER_MAGIC)
}

/// Parent and last component of a path; none if that is missing, `.` or `..`.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = path.iter().rposition(|byte| *byte != b'/')? + 1;
    let path = &path[..end];
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    (name != b"." && name != b"..").then_some((parent, name))
}

/// True if `name` exists in `directory`; a link counts, wherever it points.
pub fn exists(directory: BorrowedFd<'_>, name: &[u8]) -> bool {
    fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn modes_are_changed_of_what_is_meant_and_of_nothing_that_a_link_leads_to() {
        let directory = std::env::temp_dir().join(format!("monopod-mode-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let file = directory.join("file");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let open = fs::open(&directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        fs::symlinkat("file", &open, "fifo").unwrap();
        let mode = Mode::from_raw_mode(0o4755);
        for kind in [FileType::Fifo, FileType::RegularFile] {
            assert_eq!(change_mode(&open, "fifo", kind, mode), Err(Errno::EXIST));
        }
        let of = |name: &str| std::fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(of("file"), 0o600);
        std::fs::remove_file(directory.join("fifo")).unwrap();
        fs::mknodat(&open, "fifo", FileType::Fifo, Mode::RUSR, 0).unwrap();
        change_mode(&open, "fifo", FileType::Fifo, Mode::from_raw_mode(0o640)).unwrap();
        assert_eq!(of("fifo"), 0o640);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
