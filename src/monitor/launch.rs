//! What a monitor is told, and starting one.
//!
//! A launch travels in a memory file: the length of the monitor's part (4 bytes, little-endian), that part as JSON
//! (everything but [`Task`]'s text), then the text for the runtime, which only the worker reads: the monitor stays small.

use crate::{Client, Error};
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use sys::role::Role;

/// One container's or exec session's run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// Id of the container or exec session; shown in lists of processes.
    pub id: String,
    /// What the worker makes.
    pub task: Task,
    /// Directory for the records `pid` and `exit` and the listener `attach`; it must exist and belong to this run
    /// alone. `None` (an exec session somebody waits for): no records, and no clients but the caller.
    pub run_dir: Option<PathBuf>,
    /// The process gets a terminal; the runtime sends its other end.
    pub terminal: bool,
    /// Standard input is a pipe (or the terminal) that clients write to; otherwise it is empty.
    pub stdin: bool,
    /// Standard input stays open after `CloseStdin`.
    pub leave_stdin_open: bool,
    /// The parked process outlives the caller: a later client sends `Start`.
    pub stay_parked: bool,
    /// Where output is written to.
    pub log: Option<LogFile>,
    /// A file that the monitor has open as long as it lives: what that is lives as long. One that cannot be opened is not
    /// missed.
    #[serde(default)]
    pub hold: Option<PathBuf>,
    /// Descriptors of the caller's, by number, that the process inherits as they are.
    #[serde(default)]
    pub kept: Vec<i32>,
    /// What is due in its time.
    #[serde(default)]
    pub clock: crate::Clock,
    /// Arguments (without `argv[0]`) of this executable, run after the end unless a client said `Cleanup`; empty for none.
    pub cleanup: Vec<String>,
}

/// What is to be made; the text is the JSON of the runtime's own type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Task {
    /// A container.
    Container(#[serde(skip)] String),
    /// A process in a running container.
    Exec(#[serde(skip)] String),
}

/// A container's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogFile {
    /// Its format.
    pub driver: crate::log::Driver,
    /// The file; appended to.
    pub path: PathBuf,
    /// Bytes at which it is renamed to `PATH.1`, in place of an older one, and begun anew.
    pub max_size: Option<u64>,
}

/// A monitor just started.
#[derive(Debug)]
pub struct Handle {
    /// The connection: `Ready` or `Failed` comes first.
    pub client: Client,
    /// The monitor's process id. It is the caller's child: a caller that lives on has to reap it.
    pub pid: i32,
}

/// Starts a monitor for `launch`, with the caller connected from the beginning.
pub fn spawn(launch: &Launch) -> Result<Handle, Error> {
    let file = launch.write()?;
    let (ours, theirs) = sys::channel::pair().map_err(Error::HandOver)?;
    for number in &launch.kept {
        sys::process::inherit(*number, 1).map_err(Error::HandOver)?;
    }
    let child = sys::role::spawn(Role::Monitor, &[OsStr::new(&launch.id)], theirs, file).map_err(Error::Spawn)?;
    // What is at the other end is to see when the last of its own has closed it.
    launch.kept.iter().for_each(|number| sys::process::close(*number));
    Ok(Handle { client: Client::new(ours), pid: child.id() as i32 })
}

impl Launch {
    /// The memory file that carries it.
    pub(crate) fn write(&self) -> Result<OwnedFd, Error> {
        let (Task::Container(text) | Task::Exec(text)) = &self.task;
        let part = serde_json::to_vec(self).map_err(Error::Launch)?;
        let file = rustix::fs::memfd_create("launch", MemfdFlags::CLOEXEC).map_err(Error::HandOver)?;
        let mut file = File::from(file);
        let all = [&(part.len() as u32).to_le_bytes()[..], &part, text.as_bytes()].concat();
        file.write_all(&all).map_err(|e| Error::HandOver(errno(&e)))?;
        Ok(file.into())
    }

    /// The monitor's part; the task's text is empty.
    pub(crate) fn read(file: &File) -> Result<Launch, Error> {
        let mut part = vec![0; text_offset(file)? as usize - 4];
        file.read_exact_at(&mut part, 4).map_err(|e| Error::HandOver(errno(&e)))?;
        serde_json::from_slice(&part).map_err(Error::Launch)
    }

    /// The task's text.
    pub(crate) fn read_task(file: &File) -> Result<String, Error> {
        let at = text_offset(file)?;
        let length = file.metadata().map_err(|e| Error::HandOver(errno(&e)))?.len();
        let mut text = vec![0; length.saturating_sub(at) as usize];
        file.read_exact_at(&mut text, at).map_err(|e| Error::HandOver(errno(&e)))?;
        String::from_utf8(text).map_err(|_| Error::HandOver(rustix::io::Errno::ILSEQ))
    }
}

fn text_offset(file: &File) -> Result<u64, Error> {
    let mut length = [0; 4];
    file.read_exact_at(&mut length, 0).map_err(|e| Error::HandOver(errno(&e)))?;
    Ok(4 + u64::from(u32::from_le_bytes(length)))
}

fn errno(error: &std::io::Error) -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(error).unwrap_or(rustix::io::Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_survives_the_memory_file() {
        let launch = Launch {
            id: "ab".into(),
            task: Task::Exec("{\"args\":[\"täst\"]}".into()),
            run_dir: Some("/run/x".into()),
            terminal: true,
            stdin: true,
            leave_stdin_open: false,
            stay_parked: true,
            log: Some(LogFile { driver: crate::log::Driver::JsonFile, path: "/l".into(), max_size: Some(7) }),
            hold: Some("/proc/1/fd/3".into()),
            kept: vec![3, 5],
            clock: crate::Clock { limit: Some(9), ..crate::Clock::default() },
            cleanup: vec!["container".into(), "cleanup".into()],
        };
        let file = File::from(launch.write().unwrap());
        let mut back = Launch::read(&file).unwrap();
        assert_eq!(back.task, Task::Exec(String::new()));
        back.task = Task::Exec(Launch::read_task(&file).unwrap());
        assert_eq!(back, launch);
        file.set_len(10).unwrap();
        assert!(Launch::read(&file).is_err());
    }
}
