//! Packets as they come and go by one link, past the kernel's own addresses and routes (packet(7)): for whoever has no
//! address yet, and for whoever is to see how a conversation begins.
//!
//! Must not know: what is in them.

use crate::process::check;
use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The address of all hosts on a link.
pub const ALL: [u8; 6] = [0xff; 6];
const IPV4: u16 = 0x0800;
/// All protocols (ETH_P_ALL).
const EVERY: u16 = 3;
const UDP: u32 = 17;

/// A socket that is told of datagrams of UDP for port `port` that come by link `link` of the present network namespace, and
/// of nothing else (CAP_NET_RAW in the namespace's user namespace). It does not block.
pub fn open(link: u32, port: u16) -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Protocol 0: nothing comes before there is a filter.
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
    datagrams_for(&socket, port)?;
    bind(&socket, &place(IPV4, link, [0; 6], 0))?;
    Ok(socket)
}

/// A socket that is told how conversations begin that others have by link `link` with this host: the packets that open
/// connections of TCP (SYN, and neither ACK, RST nor FIN), and datagrams of UDP, whole or the first part of one that was
/// cut; of both versions of IP. CAP_NET_RAW as above; it does not block.
pub fn beginnings(link: u32) -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
    openings_and_datagrams(&socket)?;
    bind(&socket, &place(EVERY, link, [0; 6], 0))?;
    Ok(socket)
}

fn bind(socket: &OwnedFd, name: &libc::sockaddr_ll) -> Result<()> {
    // SAFETY: the name is a live structure of the length given, which the kernel only reads.
    let bound = unsafe {
        libc::bind(socket.as_raw_fd(), std::ptr::from_ref(name).cast(), size_of_val(name) as libc::socklen_t)
    };
    check(bound.into()).map(drop)
}

/// Sends a packet by link `link` to whoever has the hardware address `to` there.
pub fn send(socket: impl AsFd, link: u32, to: [u8; 6], packet: &[u8]) -> Result<()> {
    let name = place(IPV4, link, to, 6);
    // SAFETY: packet and name are live for the lengths beside them, and only read.
    let sent = unsafe {
        libc::sendto(
            socket.as_fd().as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            (&raw const name).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    check(sent as libc::c_long).map(drop)
}

/// Takes one packet: its length, and the hardware address that it came from. `EAGAIN` if there is none.
pub fn receive(socket: impl AsFd, into: &mut [u8]) -> Result<(usize, [u8; 6])> {
    let mut name = place(IPV4, 0, [0; 6], 0);
    let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: buffer and name are live and may be written for the lengths beside them.
    let result = unsafe {
        libc::recvfrom(
            socket.as_fd().as_raw_fd(),
            into.as_mut_ptr().cast(),
            into.len(),
            libc::MSG_DONTWAIT,
            (&raw mut name).cast(),
            &raw mut length,
        )
    };
    let count = check(result as libc::c_long)? as usize;
    let from: [u8; 6] = name.sll_addr[..6].try_into().map_err(|_| Errno::PROTO)?;
    Ok((count, from))
}

fn place(protocol: u16, link: u32, address: [u8; 6], length: u8) -> libc::sockaddr_ll {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(&address);
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: link as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: length,
        sll_addr: bytes,
    }
}

// Nobody is woken by what passes for others: programs of the kernel's first packet filter (bpf(4) of the BSDs). They see
// packets from the header of the protocol IP on.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_AFTER: u16 = 0x48;
const LOAD_BYTE_AFTER: u16 = 0x50;
const HEADER_LENGTH: u16 = 0xb1;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_SET: u16 = 0x45;
const RETURN: u16 = 0x06;

fn step(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

fn datagrams_for(socket: &OwnedFd, port: u16) -> Result<()> {
    attach(
        socket,
        &mut [
            step(LOAD_BYTE, 0, 0, 9),
            step(IF_EQUAL, 0, 6, UDP),
            // Not the later part of a packet that was cut.
            step(LOAD_HALF, 0, 0, 6),
            step(IF_SET, 4, 0, 0x1fff),
            step(HEADER_LENGTH, 0, 0, 0),
            step(LOAD_HALF_AFTER, 0, 0, 2),
            step(IF_EQUAL, 0, 1, port.into()),
            step(RETURN, 0, 0, u32::MAX),
            step(RETURN, 0, 0, 0),
        ],
    )
}

fn openings_and_datagrams(socket: &OwnedFd) -> Result<()> {
    /// `SKF_AD_OFF + SKF_AD_PKTTYPE`: for whom the frame was.
    const FOR_WHOM: u32 = (-0x1000i32 + 4) as u32;
    const PACKET_HOST: u32 = 0;
    const TCP: u32 = 6;
    const SYN: u32 = 2;
    const SYN_ACK_RST_FIN: u32 = 0x17;
    attach(
        socket,
        &mut [
            step(LOAD_WORD, 0, 0, FOR_WHOM),
            step(IF_EQUAL, 0, 19, PACKET_HOST),
            step(LOAD_BYTE, 0, 0, 0),
            step(AND, 0, 0, 0xf0),
            step(IF_EQUAL, 9, 0, 0x60),
            step(IF_EQUAL, 0, 15, 0x40),
            // Version 4: not the later part of a packet that was cut.
            step(LOAD_HALF, 0, 0, 6),
            step(IF_SET, 13, 0, 0x1fff),
            step(LOAD_BYTE, 0, 0, 9),
            step(IF_EQUAL, 10, 0, UDP),
            step(IF_EQUAL, 0, 10, TCP),
            step(HEADER_LENGTH, 0, 0, 0),
            step(LOAD_BYTE_AFTER, 0, 0, 13),
            step(JUMP, 0, 0, 4),
            // Version 6, without headers in between.
            step(LOAD_BYTE, 0, 0, 6),
            step(IF_EQUAL, 4, 0, UDP),
            step(IF_EQUAL, 0, 4, TCP),
            step(LOAD_BYTE, 0, 0, 40 + 13),
            step(AND, 0, 0, SYN_ACK_RST_FIN),
            step(IF_EQUAL, 0, 1, SYN),
            step(RETURN, 0, 0, u32::MAX),
            step(RETURN, 0, 0, 0),
        ],
    )
}

fn attach(socket: &OwnedFd, program: &mut [libc::sock_filter]) -> Result<()> {
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program is live for its length; the kernel copies it.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    check(set.into()).map(drop)
}
