//! What is written down of a container, and what the kernel says of it.
//!
//! A directory below the root, with the container's id as its name and nobody else's to read:
//!
//! | file | what |
//! |---|---|
//! | `state.json` | the [`Record`]: first without a process, then with it; each time whole, by renaming |
//! | `config.json` | the specification as it was at creation |
//! | `start` | FIFO on which the first process is parked: a byte releases it, [`GIVE_UP`] ends it. It alone reads there |
//! | `report` | FIFO through which it tells whether its program could be executed |
//! | `notify` | directory of the socket at which it says that it is ready, if a service manager wants to know |
//!
//! The directory is made first and `state.json` goes last, so that what a killed command leaves is found by its id, and
//! `delete --force` takes it away: also a parked process that no record knows yet, by way of `start`. While a container is
//! made, a shared flock(2) on the directory is held by the command and by the intermediate, whose descriptor is the
//! command's: who takes away what a killed command left waits until nobody makes it any more.
//!
//! Must not know: how a container is made or ended.

use super::failure::Failure;
use super::filters::{self, Filters};
use crate::cgroup::{Group, Host};
use crate::launch::GIVE_UP;
use crate::specification;
use oci_spec::runtime::Spec;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, mkfifoat, openat, renameat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The states of the specification's `runtime.md`, and paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Being made.
    Creating,
    /// Parked, to be started.
    Created,
    /// Its program runs.
    Running,
    /// Frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// A process that cannot be taken for a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its number.
    pub pid: i32,
    /// Its start time ([`sys::process::start_time`]).
    pub start_time: u64,
}

impl Process {
    /// This process.
    pub fn own() -> Result<Process, Failure> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let start_time = sys::process::start_time(pid)
            .map_err(|source| Failure::Kernel { step: "read the time of the start", source })?;
        Ok(Process { pid, start_time })
    }

    /// Whether it lives; a zombie does not.
    pub fn is_alive(&self) -> bool {
        sys::process::is_alive(self.pid, self.start_time)
    }
}

/// What is written down of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its name.
    pub id: String,
    /// The specification's version.
    pub version: String,
    /// The directory with its specification, absolute.
    pub bundle: PathBuf,
    /// Its root, absolute.
    pub rootfs: PathBuf,
    /// When it was made, as RFC 3339.
    pub created: String,
    /// The user who made it.
    pub owner: String,
    /// The specification's annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its first process has a pid namespace of its own: when it ends, all of it has ended.
    pub own_pids: bool,
    /// The specification has hooks.
    pub has_hooks: bool,
    /// How many of its `poststop` hooks have begun.
    #[serde(default)]
    pub poststops: usize,
    /// The command that makes it.
    pub maker: Process,
    /// Its first process, once it is made.
    pub first: Option<Process>,
    /// Its cgroup, as [`Group::open`] takes it.
    pub cgroup: Option<String>,
}

impl Record {
    /// Of a container whose creation was killed before anything was written down.
    pub fn of_nothing(id: &str) -> Record {
        Record {
            id: id.into(),
            version: crate::OCI_VERSION.into(),
            bundle: PathBuf::new(),
            rootfs: PathBuf::new(),
            created: String::new(),
            owner: String::new(),
            annotations: BTreeMap::new(),
            own_pids: false,
            has_hooks: false,
            poststops: 0,
            maker: Process { pid: 0, start_time: 0 },
            first: None,
            cgroup: None,
        }
    }

    /// Its cgroup.
    pub fn group(&self, host: &Host) -> Result<Option<Group>, Failure> {
        self.cgroup.as_deref().map(|path| Group::open(host, path).map_err(Failure::cgroup)).transpose()
    }

    /// The same, or an error that says what needs it.
    pub fn group_to_be(&self, host: &Host, what: &'static str) -> Result<Group, Failure> {
        self.group(host)?.ok_or_else(|| Failure::NoCgroup { id: self.id.clone(), what })
    }
}

/// All containers of one root.
#[derive(Debug)]
pub(crate) struct Containers {
    root: PathBuf,
}

impl Containers {
    /// Those below `root`, which need not exist.
    pub fn at(root: &Path) -> Containers {
        Containers { root: root.to_owned() }
    }

    /// The compiled filters that are kept beside them.
    pub fn filters(&self) -> Filters {
        Filters::at(&self.root)
    }

    /// Makes the directory of a new container.
    pub fn add(&self, id: &str) -> Result<Place, Failure> {
        let path = self.path(id)?;
        let failed = |source| Failure::File { step: "make", path: path.clone(), source };
        match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(Failure::Exists { id: id.into() }),
            Err(Errno::NOENT) => {
                let make = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root);
                make.map_err(|source| Failure::File { step: "make", path: self.root.clone(), source })?;
                match rustix::fs::mkdir(&path, Mode::RWXU) {
                    Err(Errno::EXIST) => return Err(Failure::Exists { id: id.into() }),
                    other => other.map_err(|error| failed(error.into()))?,
                }
            }
            Err(error) => return Err(failed(error.into())),
        }
        self.find(id)
    }

    /// The directory of a container that exists.
    pub fn find(&self, id: &str) -> Result<Place, Failure> {
        let path = self.path(id)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(directory) => Ok(Place { id: id.into(), path, directory }),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(Failure::NoContainer { id: id.into() }),
            Err(error) => Err(Failure::File { step: "open", path, source: error.into() }),
        }
    }

    /// The ids of all, sorted.
    pub fn ids(&self) -> Result<Vec<String>, Failure> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(Failure::File { step: "list", path: self.root.clone(), source }),
        };
        let mut ids: Vec<String> = entries
            .flatten()
            .filter(|entry| {
                entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.file_name() != filters::DIRECTORY
            })
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// The ids that match an extended regular expression.
    pub fn matching(&self, pattern: &str) -> Result<Vec<String>, Failure> {
        let invalid = || Failure::Value { flag: "regex", value: pattern.into(), expected: "a regular expression" };
        let pattern = sys::pattern::Pattern::extended(pattern).ok_or_else(invalid)?;
        Ok(self.ids()?.into_iter().filter(|id| pattern.matches(id)).collect())
    }

    fn path(&self, id: &str) -> Result<PathBuf, Failure> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        if id.is_empty() || id.len() > 255 || matches!(id, "." | "..") || !id.chars().all(allowed) {
            return Err(Failure::Id { id: id.into() });
        }
        Ok(self.root.join(id))
    }
}

/// The directory of one container. It is used by its descriptor: paths may lead elsewhere after namespaces were joined.
#[derive(Debug)]
pub(crate) struct Place {
    /// The container's name.
    pub id: String,
    path: PathBuf,
    directory: OwnedFd,
}

const STATE: &str = "state.json";
const NEW_STATE: &str = "state.json.new";
const CONFIG: &str = "config.json";
const START: &str = "start";
const REPORT: &str = "report";
const NOTIFY: &str = "notify";
const PATIENCE: Duration = Duration::from_secs(10);

impl Place {
    /// The record; `None` if what made the container was killed before it wrote one.
    pub fn read(&self) -> Result<Option<Record>, Failure> {
        let Some(text) = self.text(STATE)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|source| Failure::Json { path: self.path.join(STATE), source })
    }

    /// The record of a container that has one.
    pub fn record(&self) -> Result<Record, Failure> {
        self.read()?.ok_or_else(|| Failure::NoContainer { id: self.id.clone() })
    }

    /// The specification as it was at creation.
    pub fn specification(&self) -> Result<Spec, Failure> {
        self.read_specification(specification::read).map(|read| read.content)
    }

    /// The same, read by `read`.
    pub fn read_specification<T>(&self, read: impl FnOnce(&[u8]) -> Result<T, crate::Error>) -> Result<T, Failure> {
        let text = self.text(CONFIG)?.ok_or_else(|| Failure::NoContainer { id: self.id.clone() })?;
        read(text.as_bytes()).map_err(|source| Failure::Read { path: self.path.join(CONFIG), source })
    }

    /// Writes the record in place of the one before.
    pub fn write(&self, record: &Record) -> Result<(), Failure> {
        let text =
            serde_json::to_vec(record).map_err(|source| Failure::Json { path: self.path.join(STATE), source })?;
        self.put(NEW_STATE, &text)?;
        renameat(&self.directory, NEW_STATE, &self.directory, STATE).map_err(|error| self.failed("write", STATE, error))
    }

    /// Keeps the specification.
    pub fn keep(&self, specification: &[u8]) -> Result<(), Failure> {
        self.put(CONFIG, specification)
    }

    /// The path of a file for other programs to write.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory of the socket at which the container says that it is ready, for everybody in it to use; its path.
    pub fn make_notify_directory(&self) -> Result<PathBuf, Failure> {
        let all = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
        rustix::fs::mkdirat(&self.directory, NOTIFY, Mode::RWXU).map_err(|error| self.failed("make", NOTIFY, error))?;
        // Whatever the umask is.
        let directory = self.open(NOTIFY, OFlags::RDONLY | OFlags::DIRECTORY)?;
        rustix::fs::fchmod(&directory, all).map_err(|error| self.failed("make", NOTIFY, error))?;
        std::path::absolute(self.file(NOTIFY)).map_err(|source| Failure::File {
            step: "find",
            path: self.file(NOTIFY),
            source,
        })
    }

    /// Binds that socket, with this name; `None` if the container was made without. It does not block.
    pub fn bind_notify(&self, name: &str) -> Result<Option<UnixDatagram>, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match openat(&self.directory, NOTIFY, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.failed("open", NOTIFY, error)),
        };
        // Of a start that was killed.
        let _ = unlinkat(&directory, name, AtFlags::empty());
        // An address has 108 bytes, and this path may have more.
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
        let failed = |source| Failure::File { step: "listen at", path: self.file(NOTIFY).join(name), source };
        let socket = UnixDatagram::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Some(socket))
    }

    /// Makes the two FIFOs; returns the ends for the first process: where it waits, and where it reports.
    pub fn make_doors(&self) -> Result<(OwnedFd, OwnedFd, OwnedFd), Failure> {
        for name in [START, REPORT] {
            mkfifoat(&self.directory, name, Mode::RUSR | Mode::WUSR)
                .map_err(|error| self.failed("make", name, error))?;
        }
        // Open for both: so it waits on though nobody has it open for writing.
        let start = self.open(START, OFlags::RDWR)?;
        let reader = self.open(REPORT, OFlags::RDONLY | OFlags::NONBLOCK)?;
        rustix::io::ioctl_fionbio(&reader, false).map_err(|error| self.failed("open", REPORT, error))?;
        // The reader is there, so this does not wait.
        Ok((start, reader, self.open(REPORT, OFlags::WRONLY)?))
    }

    /// The way to the parked process; `None` if no process is parked any more.
    pub fn door(&self) -> Result<Option<OwnedFd>, Failure> {
        match openat(&self.directory, START, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
            Ok(door) => Ok(Some(door)),
            Err(Errno::NXIO | Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("open", START, error)),
        }
    }

    /// Where a parked process reports; end of file means that it executed its program, or is gone.
    pub fn reports(&self) -> Result<OwnedFd, Failure> {
        let reports = self.open(REPORT, OFlags::RDONLY | OFlags::NONBLOCK)?;
        rustix::io::ioctl_fionbio(&reports, false).map_err(|error| self.failed("open", REPORT, error))?;
        Ok(reports)
    }

    /// Removes the FIFOs: nobody is parked any more.
    pub fn close_doors(&self) {
        for name in [REPORT, START] {
            let _ = unlinkat(&self.directory, name, AtFlags::empty());
        }
    }

    /// Tells others that it is being made, by this process and those that it forks.
    pub fn hold(&self) -> Result<(), Failure> {
        flock(&self.directory, FlockOperation::LockShared).map_err(|error| self.failed("lock", "", error))
    }

    /// It is made, or is not made any more.
    pub fn let_go(&self) -> Result<(), Failure> {
        flock(&self.directory, FlockOperation::Unlock).map_err(|error| self.failed("unlock", "", error))
    }

    /// Whether somebody else makes it.
    fn is_held(&self) -> Result<bool, Failure> {
        match flock(&self.directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => self.let_go().map(|()| false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(self.failed("lock", "", error)),
        }
    }

    /// Waits until nobody else makes it.
    pub fn settled(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while self.is_held()? {
            if Instant::now() > deadline {
                return Err(self.failed("wait for what makes the container at", "", Errno::TIMEDOUT));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Ends a process that is parked, or will be, and waits until it is gone.
    pub fn give_up(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while let Some(door) = self.door()? {
            // A full pipe holds such a byte already.
            let _ = rustix::io::write(&door, &[GIVE_UP]);
            if Instant::now() > deadline {
                return Err(self.failed("wait for the parked process at", START, Errno::TIMEDOUT));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// What the kernel says of it.
    pub fn status(&self, record: Option<&Record>) -> Result<Status, Failure> {
        let Some(record) = record else {
            return Ok(if self.is_held()? || self.door()?.is_some() { Status::Creating } else { Status::Stopped });
        };
        match record.first {
            None if record.maker.is_alive() || self.door()?.is_some() => Ok(Status::Creating),
            None => Ok(Status::Stopped),
            Some(first) if !first.is_alive() => Ok(Status::Stopped),
            Some(_) if self.door()?.is_some() => Ok(Status::Created),
            Some(_) => {
                let frozen = match &record.cgroup {
                    Some(_) => record.group(&Host::probe())?.is_some_and(|group| group.is_frozen()),
                    None => false,
                };
                Ok(if frozen { Status::Paused } else { Status::Running })
            }
        }
    }

    /// Removes the directory; the record goes last.
    pub fn remove(&self) -> Result<(), Failure> {
        let outcome = sys::removal::empty(std::os::fd::AsFd::as_fd(&self.directory), &[STATE.as_bytes()]);
        if let Some((name, error)) = outcome.first {
            return Err(self.failed("remove", &String::from_utf8_lossy(&name), error));
        }
        match unlinkat(&self.directory, STATE, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(self.failed("remove", STATE, error)),
        }
        match rustix::fs::rmdir(&self.path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.failed("remove", "", error)),
        }
    }

    fn open(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Failure> {
        openat(&self.directory, name, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
            .map_err(|error| self.failed("open", name, error))
    }

    fn text(&self, name: &str) -> Result<Option<String>, Failure> {
        let file =
            match openat(&self.directory, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(file) => file,
                Err(Errno::NOENT) => return Ok(None),
                Err(error) => return Err(self.failed("open", name, error)),
            };
        let mut text = String::new();
        match File::from(file).read_to_string(&mut text) {
            Ok(_) => Ok(Some(text)),
            Err(source) => Err(Failure::File { step: "read", path: self.path.join(name), source }),
        }
    }

    fn put(&self, name: &str, text: &[u8]) -> Result<(), Failure> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| self.failed("write", name, error))?;
        File::from(file).write_all(text).map_err(|source| Failure::File {
            step: "write",
            path: self.path.join(name),
            source,
        })
    }

    fn failed(&self, step: &'static str, name: &str, error: Errno) -> Failure {
        Failure::File { step, path: self.path.join(name), source: error.into() }
    }
}
