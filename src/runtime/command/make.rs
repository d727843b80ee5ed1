//! Making a process: the intermediate, its streams, what it reports, and the files that engines are told by.
//!
//! Must not know: flags; containers' records.

use super::failure::Failure;
use crate::launch::{Channels, Stdio};
use crate::report::{Report, Reports};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The streams of this process, for one that outlives it.
pub(crate) fn own_streams() -> Result<Stdio, Failure> {
    let copy = |stream: BorrowedFd<'_>| {
        rustix::io::fcntl_dupfd_cloexec(stream, 3).map_err(|source| Failure::Kernel { step: "copy a stream", source })
    };
    Ok(Stdio::Descriptors([
        copy(rustix::stdio::stdin())?,
        copy(rustix::stdio::stdout())?,
        copy(rustix::stdio::stderr())?,
    ]))
}

/// Connects to the socket over which a terminal is sent.
pub(crate) fn console(path: &Path) -> Result<OwnedFd, Failure> {
    let failed = |source| Failure::File { step: "connect to the console socket", path: path.into(), source };
    // An address has 108 bytes; a longer one is reached through its directory.
    if path.as_os_str().len() < 108 {
        return UnixStream::connect(path).map(OwnedFd::from).map_err(failed);
    }
    let (parent, name) = path.parent().zip(path.file_name()).ok_or(Errno::NAMETOOLONG).map_err(|e| failed(e.into()))?;
    let directory = File::open(parent).map_err(failed)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
    UnixStream::connect(short).map(OwnedFd::from).map_err(failed)
}

/// How many descriptors from 3 on the program inherits: those of `--preserve-fds` after those of socket activation
/// (sd_listen_fds(3)). All must be open: else one of ours could come to stand there.
pub(crate) fn preserved(asked: u32) -> Result<(u32, u32), Failure> {
    let of_ours = std::env::var("LISTEN_PID").ok().and_then(|pid| pid.parse().ok()) == Some(std::process::id());
    let listening =
        std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok()).filter(|_| of_ours).unwrap_or(0);
    let count: u32 = asked.saturating_add(listening);
    for number in 0..count {
        if !Path::new(&format!("/proc/self/fd/{}", number.saturating_add(3))).exists() {
            let value = asked.to_string();
            return Err(Failure::Value { flag: "preserve-fds", value, expected: "so many open descriptors" });
        }
    }
    Ok((count, listening))
}

/// A pipe, closed on exec.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|source| Failure::Kernel { step: "make a pipe", source })
}

/// The intermediate at work.
pub(crate) struct Making {
    intermediate: i32,
    reader: OwnedFd,
    /// A byte here releases the first process; closed, it gives up.
    go: Option<OwnedFd>,
    reports: Reports,
    /// The first process, from when it exists.
    pub created: Option<Created>,
}

/// What is told of a process that was made. It is this process's child.
#[derive(Debug, Clone)]
pub(crate) struct Created {
    /// Its number.
    pub pid: i32,
    /// Its start time.
    pub start_time: u64,
    /// Its cgroup.
    pub cgroup: Option<String>,
}

impl Making {
    /// Starts the intermediate: `make` is what it does with the channels. `reader` and `go` are the other ends of their report
    /// and their start.
    pub fn begin(
        channels: Channels,
        reader: OwnedFd,
        go: Option<OwnedFd>,
        make: impl FnOnce(Channels),
    ) -> Result<Making, Failure> {
        let (mut channels, mut ours) = (Some(channels), Some((reader, go)));
        let caller = rustix::process::getpid();
        let intermediate = sys::role::fork(|| {
            // Held there too, they would never come to their end.
            drop(ours.take());
            // What nobody waits for any more is not made: not by a hook that takes its time either.
            let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            if rustix::process::getppid() != Some(caller) {
                return 125;
            }
            if let Some(channels) = channels.take() {
                make(channels);
            }
            0
        })
        .map_err(|source| Failure::Kernel { step: "make a process", source })?;
        let (reader, go) = ours.take().ok_or(Failure::Killed)?;
        Ok(Making { intermediate, reader, go, reports: Reports::default(), created: None })
    }

    /// Waits until the process is parked, and known: two processes report, in no order.
    pub fn parked(&mut self) -> Result<(), Failure> {
        let mut is_parked = false;
        while !is_parked || self.created.is_none() {
            match self.report()? {
                Some(parked) => is_parked |= parked,
                None => return Err(Failure::Killed),
            }
        }
        Ok(())
    }

    /// Lets the parked process execute its program.
    pub fn release(&mut self) {
        if let Some(go) = self.go.take() {
            // A first process that was killed meanwhile is seen by its end.
            let _ = rustix::io::write(&go, b"s");
        }
    }

    /// Waits until the process executes its program, or is gone.
    pub fn executed(&mut self) -> Result<(), Failure> {
        while self.report()?.is_some() {}
        Ok(())
    }

    /// Reads some reports: whether it was parked is among them; none at their end.
    fn report(&mut self) -> Result<Option<bool>, Failure> {
        let mut bytes = [0u8; 4096];
        let count = rustix::io::retry_on_intr(|| rustix::io::read(&self.reader, &mut bytes))
            .map_err(|source| Failure::Kernel { step: "read what the runtime reports", source })?;
        let mut is_parked = false;
        for report in self.reports.push(&bytes[..count]) {
            match report {
                Report::Created { pid, start_time, cgroup } => self.created = Some(Created { pid, start_time, cgroup }),
                Report::Parked => is_parked = true,
                Report::Failed { code, message } => return Err(Failure::reported(code, message)),
            }
        }
        Ok((count > 0).then_some(is_parked))
    }

    /// Reaps the intermediate, which ends by itself.
    pub fn reap_intermediate(&self) {
        reap(self.intermediate);
    }

    /// Ends and reaps what was begun.
    pub fn abandon(&mut self) {
        self.go = None;
        if let Some(created) = &self.created {
            sys::process::kill_number(created.pid, 9);
            reap(created.pid);
        }
        self.reap_intermediate();
        // One whose report was not read: it is our child too.
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
    }
}

fn reap(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        while let Err(Errno::INTR) = rustix::process::waitpid(Some(pid), WaitOptions::empty()) {}
    }
}

/// Reads reports of a parked process that was released, until it executed its program or is gone.
pub(crate) fn outcome(reports: &OwnedFd) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    File::from(reports.as_fd().try_clone_to_owned().map_err(kernel)?).read_to_end(&mut bytes).map_err(kernel)?;
    match Reports::default().push(&bytes).into_iter().find(|report| matches!(report, Report::Failed { .. })) {
        Some(Report::Failed { code, message }) => Err(Failure::reported(code, message)),
        _ => Ok(()),
    }
}

fn kernel(error: std::io::Error) -> Failure {
    Failure::Kernel { step: "read what the runtime reports", source: sys::process::errno(error) }
}

/// Writes a process's number where the caller reads it: whole, by renaming.
pub(crate) fn write_pid(path: &Path, pid: i32) -> Result<(), Failure> {
    let failed = |source| Failure::File { step: "write", path: path.into(), source };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}"));
    File::create(&new).and_then(|mut file| file.write_all(pid.to_string().as_bytes())).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}
