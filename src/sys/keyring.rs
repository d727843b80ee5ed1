//! Session keyrings (keyctl(2), session-keyring(7)): keys of whoever started us must not be seen inside.

use crate::process::check;
use rustix::io::Result;

/// Gives this process a new, anonymous session keyring. `ENOSYS` where the kernel has no keys, `EDQUOT` or `EPERM` where it
/// may not have more.
pub fn join_new_session() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; no other memory is read.
    check(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>(), 0, 0, 0)
    })
    .map(drop)
}
