//! Signals of this process: their mask, their dispositions, and waiting for one.

use crate::process::check;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use rustix::io::{Errno, Result};

/// Back to what a program expects at its start: nothing blocked, nothing ignored. Both survive execve(2).
///
/// By the system call: the C library's function refuses the signals that it keeps for its threads, which a caller may have
/// ignored all the same.
pub fn reset() -> Result<()> {
    const LAST: libc::c_int = 64;
    // The kernel's structure (handler, flags, restorer, mask): SIG_DFL is 0, and the size is that of the mask.
    let default = [0u64; 4];
    for number in (1..=LAST).filter(|number| !matches!(*number, libc::SIGKILL | libc::SIGSTOP)) {
        // SAFETY: the kernel reads one structure; the default disposition runs no code of ours.
        check(unsafe {
            libc::syscall(libc::SYS_rt_sigaction, number, &default, std::ptr::null::<u8>(), size_of::<u64>())
        })?;
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
