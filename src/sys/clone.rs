//! `clone3(2)`: a copy of this process in new namespaces, as a child of this process or of its parent.
//!
//! The kernel copies the calling thread only. Callers have no other threads: then the copy may go on with everything,
//! allocation included. Must not know: what the copy will do.

use crate::process::check;
use rustix::io::{Errno, Result};
use std::os::fd::{AsRawFd, BorrowedFd};

/// New mount namespace.
pub const NEW_MOUNT: u64 = libc::CLONE_NEWNS as u64;
/// New cgroup namespace: its root is the cgroup of the *caller*, also with [`Clone::cgroup`].
pub const NEW_CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
/// New UTS namespace (host name).
pub const NEW_UTS: u64 = libc::CLONE_NEWUTS as u64;
/// New IPC namespace.
pub const NEW_IPC: u64 = libc::CLONE_NEWIPC as u64;
/// New user namespace, owner of the others made in the same call.
pub const NEW_USER: u64 = libc::CLONE_NEWUSER as u64;
/// New pid namespace.
pub const NEW_PID: u64 = libc::CLONE_NEWPID as u64;
/// New network namespace.
pub const NEW_NET: u64 = libc::CLONE_NEWNET as u64;
/// New time namespace (kernel 5.6); by clone3 only.
pub const NEW_TIME: u64 = 0x80;

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// How to copy this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clone<'a> {
    /// `NEW_*` bits.
    pub namespaces: u64,
    /// The copy becomes a child of this process's parent (`CLONE_PARENT`); not possible for the first process of a pid
    /// namespace.
    pub sibling: bool,
    /// The directory of a cgroup of version 2 to be born in (kernel 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// On which side of the copy we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The original, with the process id of the copy.
    Parent(i32),
    /// The copy.
    Child,
}

#[repr(C)]
#[derive(Default)]
struct Arguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Copies this process. Kernels before 5.3 (and filters that answer `ENOSYS`) get clone(2), without `cgroup` and time
/// namespaces, which then are `ENOSYS`.
pub fn clone(how: Clone<'_>) -> Result<Side> {
    let parent = if how.sibling { libc::CLONE_PARENT as u64 } else { 0 };
    let arguments = Arguments {
        flags: how.namespaces | parent | how.cgroup.map_or(0, |_| CLONE_INTO_CGROUP),
        // A sibling's exit signal is that of the caller; clone3 wants none then.
        exit_signal: if how.sibling { 0 } else { libc::SIGCHLD as u64 },
        cgroup: how.cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..Arguments::default()
    };
    // SAFETY: the arguments live through the call, and no memory or stack is shared with the copy (no CLONE_VM): it goes on
    // with its own copy of everything, like after fork(2).
    let result = check(unsafe { libc::syscall(libc::SYS_clone3, &arguments, size_of::<Arguments>()) });
    let pid = match result {
        // clone(2) would take the bit of a time namespace for a part of the exit signal.
        Err(Errno::NOSYS) if how.cgroup.is_none() && how.namespaces & NEW_TIME == 0 => {
            let flags = how.namespaces | parent | libc::SIGCHLD as u64;
            // SAFETY: as above; a null stack means to go on with the copied one. The argument order is that of x86-64 and
            // arm64, and all the pointers are null.
            check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?
        }
        other => other?,
    };
    Ok(if pid == 0 { Side::Child } else { Side::Parent(pid as i32) })
}

/// Ends this process at once, without running anything that is registered for its exit.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: exit_group(2) ends this process, and touches no memory.
    unsafe { libc::syscall(libc::SYS_exit_group, code) };
    // A filter may refuse even this: what the library's own does then is to try for ever.
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_ours_and_its_code_comes_back() {
        // In a test process there are other threads; the copy does nothing but end.
        match clone(Clone::default()).unwrap() {
            Side::Child => exit_now(42),
            Side::Parent(pid) => {
                let status = rustix::process::waitpid(
                    rustix::process::Pid::from_raw(pid),
                    rustix::process::WaitOptions::empty(),
                );
                assert_eq!(status.unwrap().unwrap().1.exit_status(), Some(42));
            }
        }
    }
}
