//! Mounts that are made first and attached later.
//!
//! With the new interface (kernel 5.12 and later for all of it) a mount is a descriptor until it is moved to its place, so
//! nothing is looked up by path twice. On older kernels the same is kept as a note, and mounted in place by mount(2) through
//! `/proc/self/fd`, with its properties set by remounts.

use crate::options::Options;
use crate::paths;
use rustix::fs::{CWD, OFlags};
use rustix::io::{Errno, Result};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use sys::mount::{self, Change};

const MS_REMOUNT: u64 = 1 << 5;
const MS_BIND: u64 = 1 << 12;
const MS_REC: u64 = 1 << 14;

/// Which interface mounts are made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// fsopen, open_tree, mount_setattr, move_mount.
    New,
    /// mount(2).
    Classic,
}

impl Interface {
    /// What this kernel has.
    pub fn probe() -> Interface {
        if mount::has_new_interface() { Interface::New } else { Interface::Classic }
    }
}

/// A place below a root to mount on.
#[derive(Debug)]
pub struct Place<'a> {
    /// The root.
    pub root: BorrowedFd<'a>,
    /// The path below it.
    pub path: PathBuf,
    /// What was found there.
    pub fd: OwnedFd,
}

/// A mount, or a tree of mounts, that is not attached.
#[derive(Debug)]
pub enum Tree {
    /// It exists, detached.
    Detached(OwnedFd),
    /// It will be mounted in place.
    Noted(Noted),
}

/// What mount(2) will be told.
#[derive(Debug)]
pub struct Noted {
    source: CString,
    kind: CString,
    flags: u64,
    data: CString,
    changes: Vec<(bool, u64, u64, u64)>,
    /// Keeps the source open, where it is named by a descriptor.
    _source: Option<OwnedFd>,
}

/// A failed step and why; a file system's own explanation is part of the step.
#[derive(Debug)]
pub struct Failed(pub String, pub Errno);

/// The process and the path in its root that a path such as `/proc/PID/root/dev/shm` names.
fn in_process(path: &Path) -> Option<(&str, &Path)> {
    let (pid, rest) = path.to_str()?.strip_prefix("/proc/")?.split_once("/root/")?;
    pid.bytes().all(|b| b.is_ascii_digit()).then_some((pid, Path::new(rest)))
}

/// A copy of what is mounted at `path` below the root of the mount namespace of another process. The caller has no other
/// threads; its root and working directory are those of its own mount namespace afterwards.
fn in_namespace_of(pid: &str, path: &Path, flags: OpenTreeFlags) -> Result<OwnedFd> {
    let open = |path: &str| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty());
    let own = open("/proc/self/ns/mnt")?;
    let other = open(&format!("/proc/{pid}/ns/mnt"))?;
    sys::namespaces::enter(other.as_fd(), sys::clone::NEW_MOUNT)?;
    // No link of the container leads elsewhere.
    let resolve = rustix::fs::ResolveFlags::NO_SYMLINKS;
    let found = rustix::fs::openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty(), resolve);
    let tree = found.and_then(|found| rustix::mount::open_tree(&found, c"", flags | OpenTreeFlags::AT_EMPTY_PATH));
    sys::namespaces::enter(own.as_fd(), sys::clone::NEW_MOUNT)?;
    tree
}

fn failed(step: &str) -> impl FnOnce(Errno) -> Failed {
    let step = step.to_owned();
    move |errno| Failed(step, errno)
}

impl Tree {
    /// A new file system of type `kind`.
    pub fn filesystem(
        interface: Interface,
        kind: &str,
        source: &str,
        options: &Options,
    ) -> std::result::Result<Tree, Failed> {
        if interface == Interface::Classic || only_mount_can(options) {
            return Ok(Tree::Noted(Noted {
                source: text(source)?,
                kind: text(kind)?,
                flags: classic_flags(options.set) | options.superblock,
                data: text(&data(options))?,
                changes: Vec::new(),
                _source: None,
            }));
        }
        let context =
            rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("open the file system"))?;
        rustix::mount::fsconfig_set_string(&context, "source", source).map_err(failed("set the source"))?;
        for name in superblock_flags(source, options) {
            rustix::mount::fsconfig_set_flag(&context, name)
                .map_err(|errno| Failed(explain(&context, &format!("option {name:?}")), errno))?;
        }
        for (key, value) in &options.data {
            let set = match value {
                Some(value) => rustix::mount::fsconfig_set_string(&context, key.as_str(), value.as_str()),
                None => rustix::mount::fsconfig_set_flag(&context, key.as_str()),
            };
            set.map_err(|errno| Failed(explain(&context, &format!("option {key:?}")), errno))?;
        }
        rustix::mount::fsconfig_create(context.as_fd())
            .map_err(|errno| Failed(explain(&context, "create the file system"), errno))?;
        Tree::from_context(context.as_fd(), options.set)
    }

    /// The mount of a configured and created file system context.
    pub fn from_context(context: BorrowedFd<'_>, attributes: u64) -> std::result::Result<Tree, Failed> {
        let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
        rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map(Tree::Detached)
            .map_err(failed("mount"))
    }

    /// A copy of what is mounted at the host's `path`; with `recursive`, of all below it too.
    pub fn bind_path(
        interface: Interface,
        path: &Path,
        recursive: bool,
        no_follow: bool,
    ) -> std::result::Result<Tree, Failed> {
        match interface {
            Interface::New => {
                let mut flags = clone_flags(recursive);
                if no_follow {
                    flags |= OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
                }
                match rustix::mount::open_tree(CWD, path, flags) {
                    // What is mounted in another mount namespace can be copied only there.
                    Err(Errno::INVAL) => match in_process(path) {
                        Some((pid, path)) => in_namespace_of(pid, path, flags).map_err(failed("open the source there")),
                        None => Err(Failed("open the source".into(), Errno::INVAL)),
                    },
                    other => other.map_err(failed("open the source")),
                }
                .map(Tree::Detached)
            }
            Interface::Classic => Ok(Tree::Noted(Noted {
                source: CString::new(path.as_os_str().as_bytes()).map_err(|_| Failed("source".into(), Errno::INVAL))?,
                kind: CString::default(),
                flags: MS_BIND | if recursive { MS_REC } else { 0 },
                data: CString::default(),
                changes: Vec::new(),
                _source: None,
            })),
        }
    }

    /// A copy of what `fd` refers to, in this mount namespace.
    pub fn bind(interface: Interface, fd: BorrowedFd<'_>, recursive: bool) -> Result<Tree> {
        match interface {
            Interface::New => rustix::mount::open_tree(fd, c"", clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH)
                .map(Tree::Detached),
            Interface::Classic => {
                let source = rustix::io::fcntl_dupfd_cloexec(fd, 3)?;
                Ok(Tree::Noted(Noted {
                    source: CString::new(through_proc(source.as_fd())).map_err(|_| Errno::INVAL)?,
                    kind: CString::default(),
                    flags: MS_BIND | if recursive { MS_REC } else { 0 },
                    data: CString::default(),
                    changes: Vec::new(),
                    _source: Some(source),
                }))
            }
        }
    }

    /// Changes properties of it; with `recursive`, of all mounts below it too.
    pub fn change(&mut self, recursive: bool, change: Change<'_>) -> Result<()> {
        match self {
            Tree::Detached(fd) => mount::change(fd.as_fd(), recursive, change),
            Tree::Noted(_) if change.id_map.is_some() => Err(Errno::NOSYS),
            Tree::Noted(noted) => {
                noted.changes.push((recursive, change.set, change.clear, change.propagation));
                Ok(())
            }
        }
    }

    /// True if its root is a directory. (A classic bind is asked at its source.)
    pub fn is_directory(&self) -> Result<bool> {
        match self {
            Tree::Detached(fd) => paths::is_directory(fd.as_fd()),
            Tree::Noted(noted) if noted.flags & MS_BIND != 0 => {
                let mode = rustix::fs::stat(noted.source.as_c_str())?.st_mode;
                Ok(rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::Directory)
            }
            Tree::Noted(_) => Ok(true),
        }
    }

    /// Attaches it, and returns a descriptor of its root.
    pub fn attach(self, place: &Place<'_>) -> Result<OwnedFd> {
        match self {
            Tree::Detached(fd) => {
                let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
                rustix::mount::move_mount(&fd, c"", &place.fd, c"", flags)?;
                Ok(fd)
            }
            Tree::Noted(noted) => noted.attach(place),
        }
    }
}

impl Noted {
    fn attach(self, place: &Place<'_>) -> Result<OwnedFd> {
        let target = CString::new(through_proc(place.fd.as_fd())).map_err(|_| Errno::INVAL)?;
        mount::classic(&self.source, &target, &self.kind, self.flags, &self.data)?;
        let fd = paths::open(place.root, &place.path, OFlags::PATH)?;
        let target = CString::new(through_proc(fd.as_fd())).map_err(|_| Errno::INVAL)?;
        for (recursive, set, clear, propagation) in self.changes {
            if propagation != 0 {
                mount::propagate(&target, propagation | if recursive { MS_REC } else { 0 })?;
            }
            if recursive && (set | clear) != 0 && self.flags & MS_REC != 0 {
                // Only mount_setattr(2) reaches the mounts below; less than what was asked for is not an answer.
                return Err(Errno::NOSYS);
            }
            if set | clear != 0 {
                let now = rustix::fs::fstatvfs(&fd)?.f_flag.bits();
                let flags = now & !classic_flags(clear) | classic_flags(set) | MS_REMOUNT | MS_BIND;
                mount::classic(c"", &target, c"", flags, c"")?;
            }
        }
        Ok(fd)
    }
}

/// Makes the attached mount whose root `fd` is read-only.
pub fn make_read_only(interface: Interface, fd: BorrowedFd<'_>) -> Result<()> {
    match interface {
        Interface::New => mount::change(fd, false, Change { set: mount::READ_ONLY, ..Change::default() }),
        Interface::Classic => {
            let path = CString::new(through_proc(fd)).map_err(|_| Errno::INVAL)?;
            let flags = rustix::fs::fstatvfs(fd)?.f_flag.bits();
            mount::classic(c"", &path, c"", MS_REMOUNT | MS_BIND | flags | 1, c"")
        }
    }
}

/// Changes what is mounted at `place`, as mount(2) does it with `MS_REMOUNT`.
pub fn remount(place: &Place<'_>, kind: &str, source: &str, options: &Options) -> std::result::Result<(), Failed> {
    let bind = if options.bind { MS_BIND } else { 0 };
    let flags = classic_flags(options.set) | options.superblock | bind | MS_REMOUNT;
    let target = text(&through_proc(place.fd.as_fd()))?;
    mount::classic(&text(source)?, &target, &text(kind)?, flags, &text(&data(options))?).map_err(failed("remount"))
}

fn data(options: &Options) -> String {
    let pair = |(key, value): &(String, Option<String>)| match value {
        // A label has commas in it, which mount(2) takes for its own.
        Some(value) if key == "context" => format!("{key}=\"{value}\""),
        Some(value) => format!("{key}={value}"),
        None => key.clone(),
    };
    options.data.iter().map(pair).collect::<Vec<_>>().join(",")
}

/// The new interface cannot say `iversion`, nor values longer than 255 bytes (fsconfig(2)).
fn only_mount_can(options: &Options) -> bool {
    options.superblock & crate::options::VERSIONS != 0
        || options.data.iter().any(|(_, value)| value.as_ref().is_some_and(|value| value.len() > 255))
}

/// Flags of a new file system as a whole, as fsconfig(2) names them. A device that cannot be written to can only be mounted
/// by a file system that is told so too.
fn superblock_flags(source: &str, options: &Options) -> impl Iterator<Item = &'static str> {
    let read_only = options.set & mount::READ_ONLY != 0 && source.starts_with('/');
    let superblock = options.superblock;
    let named = [("sync", 1 << 4), ("mand", 1 << 6), ("dirsync", 1 << 7), ("lazytime", 1 << 25)];
    let named = named.into_iter().filter(move |(_, bit)| superblock & bit != 0).map(|(name, _)| name);
    named.chain(read_only.then_some("ro"))
}

/// Sets the propagation of the attached mount whose root `fd` is; with `recursive`, of all below it too.
pub fn propagate(interface: Interface, fd: BorrowedFd<'_>, recursive: bool, propagation: u64) -> Result<()> {
    match interface {
        Interface::New => mount::change(fd, recursive, Change { propagation, ..Change::default() }),
        Interface::Classic => {
            let path = CString::new(through_proc(fd)).map_err(|_| Errno::INVAL)?;
            mount::propagate(&path, propagation | if recursive { MS_REC } else { 0 })
        }
    }
}

fn clone_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

/// The path by which mount(2) finds `fd`.
fn through_proc(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn text(text: &str) -> std::result::Result<CString, Failed> {
    CString::new(text).map_err(|_| Failed("read a text with a zero byte".into(), Errno::INVAL))
}

/// Properties as mount(2) numbers them. They differ from mount_setattr's only beyond the first four bits.
fn classic_flags(attributes: u64) -> u64 {
    let atime = match attributes & mount::ATIME {
        mount::NO_ATIME => 1 << 10,
        mount::STRICT_ATIME => 1 << 24,
        _ => 0,
    };
    let others = [(mount::NO_DIR_ATIME, 1 << 11), (mount::NO_SYMLINK_FOLLOW, 1 << 8)];
    let others = others.iter().filter(|(new, _)| attributes & new != 0).fold(0, |flags, (_, old)| flags | old);
    attributes & 0xf | atime | others
}

/// `step` with the last message that the file system left in its context (kernel 5.4 and later: `e KIND: TEXT`).
fn explain(context: &OwnedFd, step: &str) -> String {
    let mut last = None;
    let mut line = [0u8; 512];
    while let Ok(length @ 1..) = rustix::io::read(context, &mut line) {
        let text = String::from_utf8_lossy(&line[..length]);
        last = Some(text.trim_start_matches("e ").trim_end().to_owned());
    }
    last.map_or(step.to_owned(), |text| format!("{step} ({text})"))
}
