//! Namespaces (namespaces(7)): leaving, entering, and the id maps of user namespaces.
//!
//! Must not know: which ones a container has.

use crate::clone::{self, Clone, Side};
use crate::process::{check, errno};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, Result};
use rustix::process::{Pid, Signal, WaitOptions};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Moves this process into new namespaces (`NEW_*` bits of [`crate::clone`]). It must have no other threads if one of them is
/// a user namespace.
pub fn unshare(namespaces: u64) -> Result<()> {
    // SAFETY: none of the namespace bits touches memory or descriptors.
    check(unsafe { libc::syscall(libc::SYS_unshare, namespaces) }).map(drop)
}

/// Enters the namespaces `kinds` (`NEW_*` bits) behind `fd`: that of a namespace file (0 = whatever it is), or a pidfd, whose
/// process's namespaces are then entered in one step (kernel 5.8). A pid namespace counts for children only.
pub fn enter(fd: BorrowedFd<'_>, kinds: u64) -> Result<()> {
    // SAFETY: setns(2) takes numbers only.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), kinds as libc::c_int) }).map(drop)
}

/// Writes the maps of the user namespace of process `pid` (a child in a new one): lines as
/// user_namespaces(7) has them. `deny_setgroups` is what an unprivileged writer of a gid map must do first.
pub fn write_maps(pid: i32, uid_map: &str, gid_map: &str, deny_setgroups: bool) -> Result<()> {
    if deny_setgroups {
        std::fs::write(format!("/proc/{pid}/setgroups"), "deny").map_err(errno)?;
    }
    std::fs::write(format!("/proc/{pid}/gid_map"), gid_map).map_err(errno)?;
    std::fs::write(format!("/proc/{pid}/uid_map"), uid_map).map_err(errno)
}

/// A user namespace with these maps and nobody in it, as idmapped mounts want one (mount_setattr(2)).
pub fn empty_user_namespace(uid_map: &str, gid_map: &str) -> Result<OwnedFd> {
    let (wait, hold) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match clone::clone(Clone { namespaces: clone::NEW_USER, ..Clone::default() })? {
        Side::Child => {
            drop(hold);
            let _ = rustix::io::read(&wait, &mut [0u8; 1]);
            clone::exit_now(0)
        }
        Side::Parent(pid) => {
            let namespace = write_maps(pid, uid_map, gid_map, false)
                .and_then(|()| std::fs::File::open(format!("/proc/{pid}/ns/user")).map_err(errno));
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                while matches!(rustix::process::waitpid(Some(pid), WaitOptions::empty()), Err(Errno::INTR)) {}
            }
            Ok(namespace?.into())
        }
    }
}

/// The maps of the user namespace behind `fd`, of users and of groups, as lines of `/proc/PID/uid_map` seen from here.
pub fn maps_of(fd: BorrowedFd<'_>) -> Result<(String, String)> {
    let (wait, hold) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (entered, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match clone::clone(Clone::default())? {
        Side::Child => {
            drop((hold, entered));
            if enter(fd, clone::NEW_USER).is_ok() {
                let _ = rustix::io::write(&tell, b"e");
                let _ = rustix::io::read(&wait, &mut [0u8; 1]);
            }
            clone::exit_now(0)
        }
        Side::Parent(pid) => {
            drop(tell);
            let told = rustix::io::retry_on_intr(|| rustix::io::read(&entered, &mut [0u8; 1]));
            let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).map_err(errno);
            let maps = match told {
                Ok(1) => read("uid_map").and_then(|uids| Ok((uids, read("gid_map")?))),
                _ => Err(Errno::PERM),
            };
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                while matches!(rustix::process::waitpid(Some(pid), WaitOptions::empty()), Err(Errno::INTR)) {}
            }
            maps
        }
    }
}

/// True if `fd` (a namespace file) is the namespace that `/proc/self/ns/NAME` is.
pub fn is_own(fd: BorrowedFd<'_>, name: &str) -> Result<bool> {
    let theirs = rustix::fs::fstat(fd)?;
    let ours = rustix::fs::stat(format!("/proc/self/ns/{name}"))?;
    Ok((theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino))
}

/// True if this process is in the initial user namespace, whose map is all ids onto themselves. False if it cannot be told.
pub fn in_initial_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

/// Enters the namespaces `kinds` of process `pid` one by one through `/proc/PID/ns`, for kernels before 5.8.
pub fn enter_by_files(pid: i32, kinds: u64) -> Result<()> {
    const FILES: [(u64, &str); 8] = [
        (clone::NEW_USER, "user"),
        (clone::NEW_CGROUP, "cgroup"),
        (clone::NEW_IPC, "ipc"),
        (clone::NEW_UTS, "uts"),
        (clone::NEW_NET, "net"),
        (clone::NEW_PID, "pid"),
        (clone::NEW_TIME, "time"),
        (clone::NEW_MOUNT, "mnt"),
    ];
    // All files first: once in the mount namespace this /proc is gone, and once in the user namespace the right to open them.
    let mut open = Vec::new();
    for (kind, name) in FILES.iter().filter(|(kind, _)| kinds & kind != 0) {
        match std::fs::File::open(format!("/proc/{pid}/ns/{name}")) {
            Ok(file) => open.push((kind, file)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && *kind == clone::NEW_TIME => {}
            Err(e) => return Err(errno(e)),
        }
    }
    open.iter().try_for_each(|(kind, file)| enter(file.as_fd(), **kind))
}
