//! Entering the one user namespace in which an ordinary user's containers live (user_namespaces(7)).
//!
//! The caller must have no threads: the kernel demands it of whoever changes its user namespace, and the child made here
//! goes on in ordinary code.

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use rustix::io::{Errno, Result};
use std::os::fd::OwnedFd;

/// Moves the process into a new user namespace whose maps `write_maps` writes, called with its process id in a child
/// that stayed outside and has the caller's rights there. Gives what `write_maps` returned: 0 is success, else the
/// process is in a namespace without maps, which is good for nothing.
pub fn create(write_maps: impl FnOnce(i32) -> u8) -> Result<u8> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let own = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: the process has one thread (see above), so that nothing is locked or half done in the child.
    match unsafe { fork() }.map_err(errno)? {
        ForkResult::Child => {
            drop(writer);
            let mut byte = [0];
            let told = rustix::io::retry_on_intr(|| rustix::io::read(&reader, &mut byte)) == Ok(1);
            let code = if told { write_maps(own) } else { 0 };
            // SAFETY: _exit(2) only ends this process; handlers of the parent must not run here.
            unsafe { libc::_exit(i32::from(code)) }
        }
        ForkResult::Parent { child } => {
            drop(reader);
            let entered = unshare(CloneFlags::CLONE_NEWUSER).map_err(errno);
            if entered.is_ok() {
                rustix::io::retry_on_intr(|| rustix::io::write(&writer, &[1]))?;
            }
            drop(writer);
            let code = loop {
                match waitpid(child, None) {
                    Ok(WaitStatus::Exited(_, code)) => break code as u8,
                    Err(nix::errno::Errno::EINTR) => {}
                    _ => break u8::MAX,
                }
            };
            entered.map(|()| code)
        }
    }
}

/// Moves the process into a new user namespace with one id: the caller's are 0 inside. Needs no rights at all.
pub fn create_single(uid: u32, gid: u32) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER).map_err(errno)?;
    let write = |name: &str, text: String| {
        std::fs::write(format!("/proc/self/{name}"), text).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
    };
    // Kernels before 3.19 have no such file, and no such demand.
    match write("setgroups", "deny".into()) {
        Err(Errno::NOENT) => {}
        other => other?,
    }
    write("uid_map", format!("0 {uid} 1\n"))?;
    write("gid_map", format!("0 {gid} 1\n"))
}

/// Moves the process into the user namespace of process `pid`, made by the same user.
pub fn join(pid: i32) -> Result<()> {
    let namespace: OwnedFd = rustix::fs::open(
        format!("/proc/{pid}/ns/user"),
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    setns(namespace, CloneFlags::CLONE_NEWUSER).map_err(errno)
}

/// Gives the process a mount namespace of its own, from which nothing reaches the one it came from.
pub fn own_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(errno)?;
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
    )
}

fn errno(error: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(error as i32)
}
