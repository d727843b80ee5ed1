//! Mounts: what rustix lacks of the new interface (`mount_setattr(2)`), and propagation.
//!
//! Must not know: what is mounted, or where.

use crate::process::check;
use rustix::io::{Errno, Result};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Read-only.
pub const READ_ONLY: u64 = 0x1;
/// Set-id bits and file capabilities do not count.
pub const NO_SUID: u64 = 0x2;
/// Device nodes cannot be opened.
pub const NO_DEV: u64 = 0x4;
/// Programs cannot be executed.
pub const NO_EXEC: u64 = 0x8;
/// The bits that hold one of the three policies of access times.
pub const ATIME: u64 = 0x70;
/// Access times are kept as seldom as makes sense: the kernel's default, no bit.
pub const RELATIVE_ATIME: u64 = 0;
/// Access times are not kept.
pub const NO_ATIME: u64 = 0x10;
/// Access times are always kept.
pub const STRICT_ATIME: u64 = 0x20;
/// Access times of directories are not kept.
pub const NO_DIR_ATIME: u64 = 0x80;
/// Symbolic links are not followed (kernel 5.14).
pub const NO_SYMLINK_FOLLOW: u64 = 0x20_0000;
const ID_MAP: u64 = 0x10_0000;

/// A change of mounts' properties.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'a> {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear. To set a policy of access times, [`ATIME`] is cleared.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or `MS_UNBINDABLE`; 0 leaves it.
    pub propagation: u64,
    /// A user namespace whose maps the owners of files are shown through (kernel 5.12, detached mounts only).
    pub id_map: Option<BorrowedFd<'a>>,
}

#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Changes the mount whose root `fd` is, or with `recursive` all below it too (mount_setattr(2), kernel 5.12).
pub fn change(fd: BorrowedFd<'_>, recursive: bool, change: Change<'_>) -> Result<()> {
    let attributes = Attributes {
        set: change.set | change.id_map.map_or(0, |_| ID_MAP),
        clear: change.clear,
        propagation: change.propagation,
        user_namespace: change.id_map.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, and the attributes live through the call with the size that is told.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &attributes,
            size_of::<Attributes>(),
        )
    })
    .map(drop)
}

/// True if this kernel has the whole new interface: `mount_setattr` came last, in 5.12. (A filter may deny it too.)
pub fn has_new_interface() -> bool {
    // SAFETY: a bad descriptor and an empty path; nothing is written.
    let result = check(unsafe {
        libc::syscall(libc::SYS_mount_setattr, -1, c"".as_ptr(), libc::AT_EMPTY_PATH, std::ptr::null::<u8>(), 0)
    });
    // Size 0 is refused with EINVAL before anything else is looked at.
    !matches!(result, Err(Errno::NOSYS | Errno::PERM))
}

/// Sets the propagation of the mount at `/`, and with `MS_REC` of all below it.
pub fn propagate_root(flags: u64) -> Result<()> {
    propagate(c"/", flags)
}

/// Sets the propagation of the mount at `path`.
pub fn propagate(path: &std::ffi::CStr, flags: u64) -> Result<()> {
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: the path is a C string; for a change of propagation the other pointers are not read.
    check(unsafe { libc::syscall(libc::SYS_mount, none, path.as_ptr(), none, flags as libc::c_ulong, none) }).map(drop)
}

/// Mounts in the classic way, with `flags` as mount(2) has them (remounts and propagation too).
pub fn classic(
    source: &std::ffi::CStr,
    target: &std::ffi::CStr,
    kind: &std::ffi::CStr,
    flags: u64,
    data: &std::ffi::CStr,
) -> Result<()> {
    // SAFETY: four C strings that live through the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount,
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags as libc::c_ulong,
            data.as_ptr(),
        )
    })
    .map(drop)
}
