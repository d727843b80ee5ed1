//! A umask of a thread's own.

use rustix::fs::Mode;
use rustix::thread::UnshareFlags;

/// Gives the calling thread a umask of zero, and with it a root and working directory apart from the other threads',
/// which keep theirs.
pub fn clear() -> rustix::io::Result<()> {
    // SAFETY: the thread's root, working directory and umask are copied, not changed; descriptors stay shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS)? };
    rustix::process::umask(Mode::empty());
    Ok(())
}
