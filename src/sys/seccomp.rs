//! Filters of system calls: `seccomp(2)` with a classic BPF program.
//!
//! Must not know: names of system calls, profiles.

use crate::process::check;
use rustix::fd::{FromRawFd, OwnedFd};
use rustix::io::{Errno, Result};

/// One instruction of a classic BPF program (`struct sock_filter` of `linux/filter.h`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip if a comparison holds.
    pub jump_true: u8,
    /// How many to skip if it does not.
    pub jump_false: u8,
    /// The operand.
    pub operand: u32,
}

/// `SECCOMP_FILTER_FLAG_TSYNC`: every thread of the process gets the filter.
pub const FLAG_TSYNC: u32 = 1;
/// `SECCOMP_FILTER_FLAG_LOG`: actions other than allow are logged (4.14).
pub const FLAG_LOG: u32 = 2;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: no mitigation of speculative store bypass (4.17).
pub const FLAG_SPEC_ALLOW: u32 = 4;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: a descriptor that notifications are read from (5.0).
pub const FLAG_NEW_LISTENER: u32 = 8;
/// `SECCOMP_FILTER_FLAG_TSYNC_ESRCH`: lets the two above be used together (5.7).
pub const FLAG_TSYNC_ESRCH: u32 = 16;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: only fatal signals interrupt a call that was notified (5.19).
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 32;

const SET_MODE_FILTER: libc::c_ulong = 1;

/// Confines the calling thread from now on. With [`FLAG_NEW_LISTENER`] it gives the listener.
///
/// `EACCES` without both `CAP_SYS_ADMIN` and no_new_privs, `EINVAL` for a bad program or a flag this kernel lacks.
/// Kernels before 3.17 lack the call: there, `prctl(2)` does the same if no flag is given.
pub fn install(program: &[Instruction], flags: u32) -> Result<Option<OwnedFd>> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let header = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the header points to `len` instructions laid out as the kernel's, which it only reads.
    match check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, libc::c_ulong::from(flags), &header) }) {
        // SAFETY: with this flag a success is a new descriptor, which nobody else owns.
        Ok(fd) if flags & FLAG_NEW_LISTENER != 0 => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })),
        // With TSYNC alone, a positive result is a thread that could not follow.
        Ok(0) => Ok(None),
        Ok(_) => Err(Errno::SRCH),
        Err(Errno::NOSYS) if flags == 0 => {
            // SAFETY: as above.
            check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_SECCOMP, 2, &header, 0, 0) }).map(|_| None)
        }
        Err(error) => Err(error),
    }
}
