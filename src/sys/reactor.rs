//! Waiting for several things at once: readiness of descriptors (poll(2)) and signals as a descriptor (signalfd(2)).
//!
//! Must not know: what is waited for.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, Timespec};
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Waits until one of `descriptors` is ready, or for `timeout` (`None`: for ever); returns how many are ready.
pub fn wait(descriptors: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<usize> {
    let limit = timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
    loop {
        match rustix::event::poll(descriptors, limit.as_ref()) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Signals that are taken when it suits, instead of interrupting.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals with these numbers in the calling thread, and collects them. The descriptor is readable when
    /// one came. Signals beyond 31 cannot be asked for (`EINVAL`).
    pub fn collect(numbers: &[i32]) -> Result<Signals> {
        let set = set(numbers)?;
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).map_err(errno)?;
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map(Signals).map_err(errno)
    }

    /// The next one that came, if any.
    pub fn take(&self) -> Option<i32> {
        self.0.read_signal().ok().flatten().map(|info| info.ssi_signo as i32)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Ignores the signals with these numbers.
pub fn ignore(numbers: &[i32]) -> Result<()> {
    numbers.iter().try_for_each(|number| disposition(*number, SigHandler::SigIgn))
}

/// Ends the process, as programs do, when it writes to a pipe that nobody reads: Rust's runtime ignores SIGPIPE.
pub fn end_on_broken_pipe() {
    // The kernel refuses only numbers that are no signals.
    let _ = disposition(libc::SIGPIPE, SigHandler::SigDfl);
}

/// Sends the signal with this number to the child process `pid`, which was not reaped yet: so its id cannot be another's.
pub fn send_to_child(pid: i32, number: i32) -> Result<()> {
    // SAFETY: kill(2) touches no memory of ours.
    if unsafe { libc::kill(pid, number) } == 0 {
        Ok(())
    } else {
        Err(crate::process::errno(std::io::Error::last_os_error()))
    }
}

fn disposition(number: i32, handler: SigHandler) -> Result<()> {
    let signal = Signal::try_from(number).map_err(errno)?;
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler function is installed, only SIG_IGN or SIG_DFL.
    unsafe { sigaction(signal, &action) }.map(drop).map_err(errno)
}

fn set(numbers: &[i32]) -> Result<SigSet> {
    let mut set = SigSet::empty();
    for number in numbers {
        set.add(Signal::try_from(*number).map_err(errno)?);
    }
    Ok(set)
}

fn errno(error: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(error as i32)
}
