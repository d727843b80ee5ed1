//! Sockets that stand in for others: bound to addresses that this host does not have (ip(7) `IP_TRANSPARENT`), told the
//! address that a datagram was sent to, and tied to one interface.
//!
//! The options of IPv4 and IPv6 have other numbers; `v6` says which kind of socket it is.
//!
//! Must not know: who they stand in for.

use crate::process::check;
use rustix::io::{Errno, Result};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

const IPV6_HDRINCL: libc::c_int = 36;
const IPV6_TRANSPARENT: libc::c_int = 75;
const IPV6_RECVORIGDSTADDR: libc::c_int = 74;
/// `ICMP_FILTER` of linux/icmp.h, at `SOL_RAW`.
const ICMP_FILTER: libc::c_int = 1;
/// `ICMPV6_FILTER` of linux/icmpv6.h.
const ICMPV6_FILTER: libc::c_int = 1;
const SOL_RAW: libc::c_int = 255;

/// Lets the socket be bound to any address, and take connections meant for any (CAP_NET_ADMIN or CAP_NET_RAW in the user
/// namespace of its network namespace).
pub fn transparent(socket: impl AsFd, v6: bool) -> Result<()> {
    match v6 {
        true => set(socket, libc::IPPROTO_IPV6, IPV6_TRANSPARENT, &1i32.to_ne_bytes()),
        false => set(socket, libc::IPPROTO_IP, libc::IP_TRANSPARENT, &1i32.to_ne_bytes()),
    }
}

/// Everything that the socket sends and receives goes through the interface `device` (SO_BINDTODEVICE).
pub fn to_device(socket: impl AsFd, device: &str) -> Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, device.as_bytes())
}

/// What the socket sends bears `mark`, by which its way is chosen (CAP_NET_ADMIN in the user namespace of its network
/// namespace).
pub fn marked(socket: impl AsFd, mark: u32) -> Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_MARK, &mark.to_ne_bytes())
}

/// Asks for what [`receive`] needs.
pub fn want_destination(socket: impl AsFd, v6: bool) -> Result<()> {
    match v6 {
        true => set(socket, libc::IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, &1i32.to_ne_bytes()),
        false => set(socket, libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR, &1i32.to_ne_bytes()),
    }
}

/// What a raw socket sends begins with the header of the protocol IP.
pub fn with_header(socket: impl AsFd, v6: bool) -> Result<()> {
    match v6 {
        true => set(socket, libc::IPPROTO_IPV6, IPV6_HDRINCL, &1i32.to_ne_bytes()),
        false => set(socket, libc::IPPROTO_IP, libc::IP_HDRINCL, &1i32.to_ne_bytes()),
    }
}

/// A raw ICMP socket gets echo requests only.
pub fn only_echo_requests(socket: impl AsFd, v6: bool) -> Result<()> {
    const ECHO: u32 = 8;
    const ECHO_6: usize = 128;
    if v6 {
        // A bit that is set blocks, as in version 4.
        let mut blocked = [u32::MAX; 8];
        blocked[ECHO_6 / 32] &= !(1 << (ECHO_6 % 32));
        let bytes: Vec<u8> = blocked.iter().flat_map(|word| word.to_ne_bytes()).collect();
        set(socket, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &bytes)
    } else {
        set(socket, SOL_RAW, ICMP_FILTER, &(!(1u32 << ECHO)).to_ne_bytes())
    }
}

/// Takes one datagram: its length, who sent it, and to which address, which may be nobody's of this host.
/// [`want_destination`] was asked for; a datagram of which the kernel does not tell is `EDESTADDRREQ`.
pub fn receive(socket: impl AsFd, into: &mut [u8]) -> Result<(usize, SocketAddr, SocketAddr)> {
    // Words, so that the headers in it are aligned.
    let mut control = [0u64; 16];
    let mut part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: all zeros are a valid value of both plain structures.
    let (mut name, mut message) =
        unsafe { (std::mem::zeroed::<libc::sockaddr_storage>(), std::mem::zeroed::<libc::msghdr>()) };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let length = loop {
        // SAFETY: every pointer in the message leads to a live object of the length beside it.
        let result = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        match check(result as libc::c_long) {
            Err(Errno::INTR) => {}
            other => break other? as usize,
        }
    };
    // SAFETY: the name is a live storage, larger than any address.
    let from = unsafe { address((&raw const name).cast(), i32::from(name.ss_family)) }.ok_or(Errno::DESTADDRREQ)?;
    let mut to = None;
    // SAFETY: the message is the one that the kernel filled; its control part is still there.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: the header lies in the control part, followed by as much data as its kind has.
        to = to.or(unsafe {
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR) => {
                    address(libc::CMSG_DATA(header).cast_const(), libc::AF_INET)
                }
                (libc::IPPROTO_IPV6, IPV6_RECVORIGDSTADDR) => {
                    address(libc::CMSG_DATA(header).cast_const(), libc::AF_INET6)
                }
                _ => None,
            }
        });
        // SAFETY: as for the first one.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    Ok((length, from, to.ok_or(Errno::DESTADDRREQ)?))
}

/// The address at `at`.
///
/// # Safety
/// A `sockaddr_in` or `sockaddr_in6` is there, as `family` says; it need not be aligned.
unsafe fn address(at: *const u8, family: libc::c_int) -> Option<SocketAddr> {
    match family {
        libc::AF_INET => {
            // SAFETY: the caller's promise.
            let found = unsafe { at.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from(u32::from_be(found.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(found.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the caller's promise.
            let found = unsafe { at.cast::<libc::sockaddr_in6>().read_unaligned() };
            let ip = Ipv6Addr::from(found.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(found.sin6_port), 0, found.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn set(socket: impl AsFd, level: libc::c_int, name: libc::c_int, value: &[u8]) -> Result<()> {
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: pointer and length are those of one slice, which the kernel only reads.
    let done = unsafe { libc::setsockopt(number, level, name, value.as_ptr().cast(), value.len() as libc::socklen_t) };
    check(done.into()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_datagram_tells_where_it_was_sent_to() {
        for (any, local) in [("0.0.0.0:0", "127.0.0.9"), ("[::]:0", "::1")] {
            let Ok(socket) = UdpSocket::bind(any) else {
                eprintln!("SKIPPED: {any}: this host has none of these addresses");
                continue;
            };
            want_destination(&socket, any.starts_with('[')).unwrap();
            let port = socket.local_addr().unwrap().port();
            let sender = UdpSocket::bind(any).unwrap();
            sender.send_to(b"hello", (local, port)).unwrap();
            let mut bytes = [0; 16];
            // Over the loopback device a datagram is there when sending it has returned.
            let (length, from, to) = receive(&socket, &mut bytes).unwrap();
            assert_eq!(&bytes[..length], b"hello");
            assert_eq!(from.port(), sender.local_addr().unwrap().port());
            assert_eq!((to.ip().to_string(), to.port()), (local.to_owned(), port));
            assert_eq!(receive(&socket, &mut bytes).unwrap_err(), Errno::AGAIN);
        }
    }

    #[test]
    fn a_socket_is_tied_to_a_device() {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        assert_eq!(to_device(&socket, "no-such-device"), Err(Errno::NODEV));
    }
}
