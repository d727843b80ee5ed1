//! The files of one run in its directory, which tell other commands what goes on, whatever dies:
//!
//! - `pid`: JSON of [`Running`], written when the first process is parked and again when it is released;
//! - `exit`: JSON of [`Exit`], written once when it has ended;
//! - `attach`: the `SOCK_SEQPACKET` listener of the monitor.
//!
//! Files appear whole, by rename(2). One that is missing or damaged reads as `None`.
//!
//! Where there is no room for another file any more, what `exit` would hold is the second line of `pid`: that fits into the
//! block which the file has.

use crate::Error;
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

pub(crate) const ATTACH: &str = "attach";
const PID: &str = "pid";
const EXIT: &str = "exit";

/// What runs, or waits to be released.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Running {
    /// The first process, in the monitor's process namespace.
    pub pid: i32,
    /// Its start time in clock ticks since boot (field 22 of /proc/PID/stat), 0 if not known: a process id comes again,
    /// both together do not.
    pub start_time: u64,
    /// The monitor.
    pub monitor_pid: i32,
    /// Its start time.
    pub monitor_start_time: u64,
    /// When it was released, in nanoseconds since 1970; 0 while it is parked.
    pub started_ns: i64,
    /// Its cgroup, as `runtime::cgroup` reopens it; `None` if the host has none to give.
    pub cgroup: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Exit {
    /// 0 to 255; 128 + n after signal n; 125 to 127 if it could not be started; -1 if its time was over.
    pub code: i32,
    /// The kernel killed a process of it for want of memory.
    pub oom: bool,
    /// When, in nanoseconds since 1970.
    pub finished_ns: i64,
    /// Why it could not be started; empty otherwise.
    pub error: String,
    /// When the monitor, which lives so long, starts it again, in nanoseconds since 1970; 0 is never.
    #[serde(default)]
    pub again_ns: i64,
}

impl Running {
    /// The record in `run_dir`.
    pub fn read(run_dir: &Path) -> Option<Running> {
        read(&run_dir.join(PID))
    }

    /// Writes it, in place of an older one.
    pub fn write(&self, run_dir: &Path) -> Result<(), Error> {
        write(run_dir.join(PID), self, false)
    }

    /// True while the first process is there; a zombie, which the monitor is about to reap, is not.
    pub fn process_lives(&self) -> bool {
        lives(self.pid, self.start_time)
    }

    /// True while the monitor is there: the exit record is still to come.
    pub fn monitor_lives(&self) -> bool {
        lives(self.monitor_pid, self.monitor_start_time)
    }
}

impl Exit {
    /// The record in `run_dir`.
    pub fn read(run_dir: &Path) -> Option<Exit> {
        read(&run_dir.join(EXIT)).or_else(|| {
            let both = std::fs::read(run_dir.join(PID)).ok()?;
            serde_json::from_slice(both.split(|byte| *byte == b'\n').nth(1)?).ok()
        })
    }

    /// Writes it; `durable`: it is on disk (one fsync) before it has its name.
    pub fn write(&self, run_dir: &Path, durable: bool) -> Result<(), Error> {
        let written = write(run_dir.join(EXIT), self, durable);
        if written.is_err() && self.append_to(&run_dir.join(PID), durable).is_ok() {
            return Ok(());
        }
        written
    }

    fn append_to(&self, path: &Path, durable: bool) -> std::io::Result<()> {
        let mut file = File::options().append(true).open(path)?;
        file.write_all(&[b"\n", &serde_json::to_vec(self)?[..]].concat())?;
        if durable { file.sync_all() } else { Ok(()) }
    }
}

/// [`Running::read`] and [`Exit::read`], with less to read.
pub fn read_both(run_dir: &Path) -> (Option<Running>, Option<Exit>) {
    let pid = std::fs::read(run_dir.join(PID)).unwrap_or_default();
    let mut lines = pid.split(|byte| *byte == b'\n');
    let running = lines.next().and_then(|line| serde_json::from_slice(line).ok());
    let appended = || serde_json::from_slice(lines.next()?).ok();
    (running, read(&run_dir.join(EXIT)).or_else(appended))
}

/// Removes the records of an earlier run.
pub fn clear(run_dir: &Path) {
    for name in [PID, EXIT, ATTACH] {
        let _ = std::fs::remove_file(run_dir.join(name));
    }
}

fn lives(pid: i32, since: u64) -> bool {
    if pid <= 0 {
        return false;
    }
    if since != 0 && Path::new("/proc/self/stat").exists() {
        return sys::process::is_alive(pid, since);
    }
    // Without /proc a process id alone has to do.
    rustix::process::Pid::from_raw(pid).is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(Errno::SRCH))
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(std::fs::read(path).ok()?.split(|byte| *byte == b'\n').next()?).ok()
}

fn write<T: Serialize>(path: PathBuf, record: &T, durable: bool) -> Result<(), Error> {
    let attempt = || {
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        if durable {
            file.sync_all()?;
        }
        std::fs::rename(&temporary, &path)
    };
    attempt().map_err(|source| Error::Record { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_damage_is_none() {
        let dir = std::env::temp_dir().join(format!("record-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        assert_eq!(Exit::read(&dir), None);
        let exit = Exit { code: 137, oom: true, finished_ns: 5, error: "no \"x\"".into(), again_ns: 6 };
        exit.write(&dir, true).unwrap();
        assert_eq!(Exit::read(&dir), Some(exit));
        std::fs::write(dir.join("exit"), "{\"code\":1").unwrap();
        assert_eq!(Exit::read(&dir), None);
        // A directory in the place of the file it is written to first: as good as a full disk.
        let late = Exit { code: 3, ..Exit::default() };
        std::fs::create_dir(dir.join("exit.new")).unwrap();
        assert!(late.write(&dir, true).is_err());
        let own = std::process::id() as i32;
        let running = Running {
            pid: own,
            start_time: sys::process::start_time(own).unwrap(),
            monitor_pid: own,
            ..Default::default()
        };
        running.write(&dir).unwrap();
        assert_eq!(Running::read(&dir), Some(running.clone()));
        assert!(running.start_time > 0 && running.process_lives() && running.monitor_lives());
        assert!(!Running { start_time: running.start_time + 1, ..running.clone() }.process_lives());
        assert!(!Running { pid: 0, ..running }.process_lives());
        late.write(&dir, true).unwrap();
        std::fs::remove_file(dir.join("exit")).unwrap();
        assert_eq!((Exit::read(&dir), Running::read(&dir).is_some()), (Some(late.clone()), true));
        assert_eq!(read_both(&dir), (Running::read(&dir), Some(late)));
        std::fs::remove_dir(dir.join("exit.new")).unwrap();
        clear(&dir);
        assert_eq!(Running::read(&dir), None);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
