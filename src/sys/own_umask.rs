//! The umask: one that does not depend on the caller, and one of a thread's own.

use rustix::fs::Mode;
use rustix::thread::UnshareFlags;

/// Sets the umask to 022, whatever the caller's is: what containers are shown (/etc/hosts, their cgroup) must be readable by
/// all their users. What is nobody else's business is made with its own mode.
pub fn usual() {
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
}

/// Gives the calling thread a umask of zero, and with it a root and working directory apart from the other threads',
/// which keep theirs.
pub fn clear() -> rustix::io::Result<()> {
    // SAFETY: the thread's root, working directory and umask are copied, not changed; descriptors stay shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS)? };
    rustix::process::umask(Mode::empty());
    Ok(())
}
