//! Signals of this process: their mask, their dispositions, and waiting for one.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use rustix::io::{Errno, Result};

/// Back to what a program expects at its start: nothing blocked, nothing ignored. Both survive execve(2).
pub fn reset() -> Result<()> {
    for signal in Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP)) {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default disposition runs no code of ours.
        unsafe { nix::sys::signal::sigaction(signal, &default) }.map_err(from_nix)?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(from_nix)
}

/// Writing to a pipe that nobody reads is an error (`EPIPE`) and not the end of this process.
pub fn ignore_broken_pipes() -> Result<()> {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { nix::sys::signal::sigaction(Signal::SIGPIPE, &ignore) }.map(drop).map_err(from_nix)
}

/// Blocks every signal, so that [`wait()`] receives them.
pub fn block_all() -> Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).map_err(from_nix)
}

/// Waits for the next blocked signal and returns its number.
pub fn wait() -> Result<i32> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut number = 0;
    // SAFETY: sigfillset initialises the set; sigwait writes the number.
    let error = unsafe {
        libc::sigfillset(set.as_mut_ptr());
        libc::sigwait(set.as_ptr(), &mut number)
    };
    if error == 0 { Ok(number) } else { Err(Errno::from_raw_os_error(error)) }
}

fn from_nix(error: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(error as i32)
}
