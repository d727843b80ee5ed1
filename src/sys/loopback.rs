//! Brings a network namespace's loopback device up (netdevice(7)); its addresses come with it.

use crate::process::check;
use rustix::io::Result;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::os::fd::AsRawFd;

/// Sets `IFF_UP` on `lo`. Any socket serves for the ioctl, so a unix one is used: kernels without IPv4 have that too.
pub fn up() -> Result<()> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut request: [u8; 40] = [0; 40];
    request[..2].copy_from_slice(b"lo");
    request[16..18].copy_from_slice(&((libc::IFF_UP | libc::IFF_RUNNING) as u16).to_ne_bytes());
    // SAFETY: the request is at least as long as `struct ifreq` (40 bytes), of which the kernel reads name and flags.
    check(unsafe { libc::syscall(libc::SYS_ioctl, socket.as_raw_fd(), libc::SIOCSIFFLAGS, request.as_ptr()) }).map(drop)
}
