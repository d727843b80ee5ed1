//! A living group: who is in it, freezing, killing, and whether the kernel killed for want of memory.

use super::error::Error;
use super::group::Group;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;
use rustix::io::Errno;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

impl Group {
    /// The processes in the group and in those below it.
    pub fn pids(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = self.directories().flat_map(|directory| processes(directory)).collect();
        pids.sort();
        pids.dedup();
        pids
    }

    /// Stops all processes, and returns when all have stopped.
    pub fn freeze(&self) -> Result<(), Error> {
        self.set_frozen(true)
    }

    /// Lets all processes go on.
    pub fn thaw(&self) -> Result<(), Error> {
        self.set_frozen(false)
    }

    /// Thaws the group of version 1, wherever it is: its freezer keeps even the killed from ending.
    pub fn let_end(&self) -> Result<(), Error> {
        let Some(directory) = self.legacy("freezer") else { return Ok(()) };
        let file = directory.join("freezer.state");
        match fs::write(&file, "THAWED") {
            // The root's cannot be frozen.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Use { path: file, source: error }),
            _ => Ok(()),
        }
    }

    /// True if the group was told to freeze.
    pub fn is_frozen(&self) -> bool {
        let text = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        match self.freezer() {
            Ok(Freezer::Unified(directory)) => text(directory.join("cgroup.freeze")).trim() == "1",
            Ok(Freezer::Legacy(directory)) => text(directory.join("freezer.state")).trim() != "THAWED",
            Err(_) => false,
        }
    }

    /// Sends `signal` to every process in the group and below.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        for pid in self.pids() {
            // Gone or another's number by now: no matter.
            let sent = sys::process::start_time(pid).and_then(|started| sys::process::kill(pid, started, signal));
            match sent {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(Error::Use { path: self.path().into(), source: errno.into() }),
            }
        }
        Ok(())
    }

    /// Kills every process in the group and below, also new ones, and returns when none is left but zombies.
    pub fn kill(&self) -> Result<(), Error> {
        // Who is in none of the groups cannot fork into one.
        let pids = self.pids();
        if pids.is_empty() {
            return Ok(());
        }
        if pids.contains(&own()) {
            return self.kill_others();
        }
        // One write does it (5.14), frozen or not.
        if let Some(directory) = &self.unified
            && fs::write(directory.join("cgroup.kill"), "1").is_ok()
        {
            return self.wait_empty();
        }
        // Frozen they cannot fork; the signal is acted on when they thaw.
        let frozen = self.freezer().is_ok() && self.set_frozen(true).is_ok();
        let deadline = Instant::now() + PATIENCE;
        while !self.pids().is_empty() && Instant::now() < deadline {
            self.signal(9)?;
            if frozen {
                self.set_frozen(false)?;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.wait_empty()
    }

    /// As [`Group::kill`] from inside: the calling process stays, and must not be stopped either. Who forks as fast as it is
    /// killed outlives this, for which no container has the time: the caller is one that has just failed to make it.
    fn kill_others(&self) -> Result<(), Error> {
        let others = || self.pids().into_iter().filter(|pid| *pid != own()).collect::<Vec<_>>();
        let deadline = Instant::now() + PATIENCE;
        while !others().iter().all(is_dead) && Instant::now() < deadline {
            for pid in others() {
                sys::process::kill_number(pid, 9);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.wait("empty", || Ok(others().iter().all(is_dead)))
    }

    /// How many processes of the group the kernel killed for want of memory; 0 where no memory controller counts.
    pub fn oom_kills(&self) -> u64 {
        let unified = self.unified.as_ref().map(|directory| directory.join("memory.events"));
        let legacy = self.legacy("memory").map(|directory| directory.join("memory.oom_control"));
        unified.into_iter().chain(legacy).filter_map(|file| field(&file, "oom_kill")).max().unwrap_or(0)
    }

    /// A descriptor that can be read when the group may have run out of memory; none where no memory controller tells. It does
    /// not block. In version 2 the kernel says that `memory.events` has changed (inotify), in version 1 it counts up an eventfd.
    pub fn watch_oom(&self) -> Result<Option<OwnedFd>, Error> {
        let unified = self.unified.as_ref().map(|directory| directory.join("memory.events"));
        if let Some(file) = unified.filter(|file| file.exists()) {
            let failed = |source: Errno| Error::Use { path: file.clone(), source: source.into() };
            let watch =
                inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
            inotify::add_watch(&watch, &file, inotify::WatchFlags::MODIFY).map_err(failed)?;
            return Ok(Some(watch));
        }
        let Some(directory) = self.legacy("memory") else { return Ok(None) };
        let control = directory.join("cgroup.event_control");
        let failed = |source: io::Error| Error::Use { path: control.clone(), source };
        let watched = fs::File::open(directory.join("memory.oom_control")).map_err(failed)?;
        let counter =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|errno| failed(errno.into()))?;
        fs::write(&control, format!("{} {}", counter.as_raw_fd(), watched.as_raw_fd())).map_err(failed)?;
        Ok(Some(counter))
    }

    fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        self.unified.iter().chain(self.legacy.iter().map(|(_, directory)| directory))
    }

    /// The controllers of version 1 in whose hierarchies it is.
    pub fn legacy_controllers(&self) -> impl Iterator<Item = &str> {
        self.legacy.iter().flat_map(|(controllers, _)| controllers.iter().map(String::as_str))
    }

    /// The directory in the hierarchy of version 1 which has `controller`.
    fn legacy(&self, controller: &str) -> Option<&PathBuf> {
        self.legacy.iter().find(|(all, _)| all.iter().any(|c| c == controller)).map(|(_, directory)| directory)
    }

    fn freezer(&self) -> Result<Freezer<'_>, Error> {
        if let Some(directory) = self.unified.as_deref().filter(|directory| directory.join("cgroup.freeze").exists()) {
            return Ok(Freezer::Unified(directory));
        }
        match self.legacy("freezer") {
            Some(directory) => Ok(Freezer::Legacy(directory)),
            // Version 2 has it since 5.2.
            None => Err(Error::Use { path: self.path().into(), source: Errno::OPNOTSUPP.into() }),
        }
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), Error> {
        let freezer = self.freezer()?;
        let (file, value) = match freezer {
            Freezer::Unified(directory) => (directory.join("cgroup.freeze"), if frozen { "1" } else { "0" }),
            Freezer::Legacy(directory) => (directory.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" }),
        };
        let write = || fs::write(&file, value).map_err(|source| Error::Use { path: file.clone(), source });
        write()?;
        let state = if frozen { "frozen" } else { "thawed" };
        self.wait(state, || match freezer {
            Freezer::Unified(directory) => {
                Ok(field(&directory.join("cgroup.events"), "frozen").is_none_or(|now| now == u64::from(frozen)))
            }
            Freezer::Legacy(_) => {
                let now = fs::read_to_string(&file).map_err(|source| Error::Use { path: file.clone(), source })?;
                if now.trim() == value {
                    return Ok(true);
                }
                // A process that was being woken up can hold FREEZING up for ever: asking anew passes it.
                write().map(|()| false)
            }
        })
    }

    fn wait_empty(&self) -> Result<(), Error> {
        self.wait("empty", || Ok(self.pids().iter().all(is_dead)))
    }

    fn wait(&self, state: &'static str, holds: impl Fn() -> Result<bool, Error>) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(100);
        while !holds()? {
            if Instant::now() >= deadline {
                return Err(Error::Stuck { path: self.path().into(), state, seconds: PATIENCE.as_secs() });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// True if process `pid` is a zombie, or no more.
fn is_dead(pid: &i32) -> bool {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.iter().rposition(|byte| *byte == b')').and_then(|end| stat.get(end + 2));
    matches!(state, None | Some(b'Z' | b'X'))
}

fn own() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

#[derive(Clone, Copy)]
enum Freezer<'a> {
    Unified(&'a Path),
    Legacy(&'a Path),
}

/// The processes in `directory` and below; those that cannot be told by a number here (other pid namespaces) are left out.
pub(super) fn processes(directory: &Path) -> Vec<i32> {
    let own = match fs::read_to_string(directory.join("cgroup.procs")) {
        // A threaded group tells threads only.
        Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {
            let threads = fs::read_to_string(directory.join("cgroup.threads")).unwrap_or_default();
            threads.lines().filter_map(process).collect()
        }
        other => other.unwrap_or_default(),
    };
    let mut pids: Vec<i32> = own.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect();
    // A directory that two names lead to, its own and its `.`, has none below it.
    if fs::metadata(directory).is_ok_and(|directory| directory.nlink() == 2) {
        return pids;
    }
    let Ok(entries) = fs::read_dir(directory) else { return pids };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind: fs::FileType| kind.is_dir()) {
            pids.extend(processes(&entry.path()));
        }
    }
    pids
}

/// The line of the process to which `thread` belongs.
fn process(thread: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:")).map(|pid| format!("{}\n", pid.trim()))
}

/// The number after `name` in a file of lines.
fn field(file: &Path, name: &str) -> Option<u64> {
    let text: io::Result<String> = fs::read_to_string(file);
    text.ok()?.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}
