//! Making the first process: the pipes between it and the monitor, and the worker that calls the runtime.

use crate::{Error, Launch};
use runtime::{Channels, Stdio};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::OwnedFd;

/// The monitor's ends of what connects it with the first process; all but `start` do not block.
#[derive(Debug)]
pub(crate) struct Ends {
    /// One byte released it; closed gives it up.
    pub start: Option<OwnedFd>,
    /// What the runtime reports.
    pub report: Option<OwnedFd>,
    /// The terminal is sent over this one.
    pub console: Option<OwnedFd>,
    /// Its standard input.
    pub stdin: Option<OwnedFd>,
    /// Its standard output, or the terminal.
    pub stdout: Option<OwnedFd>,
    /// Its standard error.
    pub stderr: Option<OwnedFd>,
}

/// Makes the connections for `launch`.
pub(crate) fn connect(launch: &Launch) -> Result<(Ends, Channels), Error> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(Error::HandOver);
    let ((start_read, start), (report, report_write)) = (pipe()?, pipe()?);
    let mut ends =
        Ends { start: Some(start), report: Some(report), console: None, stdin: None, stdout: None, stderr: None };
    let stdio = if launch.terminal {
        let (ours, theirs) = sys::channel::pair().map_err(Error::HandOver)?;
        ends.console = Some(ours);
        Stdio::Terminal(theirs)
    } else {
        let (stdout, stdout_write) = pipe()?;
        let (stderr, stderr_write) = pipe()?;
        ends.stdout = Some(stdout);
        ends.stderr = Some(stderr);
        let input = if launch.stdin {
            let (read, stdin) = pipe()?;
            ends.stdin = Some(stdin);
            read
        } else {
            empty()?
        };
        Stdio::Descriptors([input, stdout_write, stderr_write])
    };
    for end in [&ends.report, &ends.console, &ends.stdin, &ends.stdout, &ends.stderr].into_iter().flatten() {
        rustix::io::ioctl_fionbio(end, true).map_err(Error::HandOver)?;
    }
    Ok((ends, Channels { stdio, start: Some(start_read), report: report_write }))
}

/// Input that is at its end: /dev/null, or on a host without it a pipe that nobody writes to.
pub(crate) fn empty() -> Result<OwnedFd, Error> {
    if let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        return Ok(null);
    }
    pipe_with(PipeFlags::CLOEXEC).map(|(read, _)| read).map_err(Error::HandOver)
}
