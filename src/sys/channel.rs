//! Packets between processes: `SOCK_SEQPACKET` sockets, with descriptors passed along (unix(7)).
//!
//! Must not know: what the packets say.

use rustix::io::{Errno, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Most descriptors of one packet.
pub const MAX_DESCRIPTORS: usize = 8;

/// Two ends of a connection, closed on exec.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Listens at `path`, which must not exist yet; accepting does not block.
pub fn listen(path: &Path) -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    at_address(path, |address| rustix::net::bind(&socket, address))?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

/// Connects to the listener at `path`.
pub fn connect(path: &Path) -> Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    at_address(path, |address| rustix::net::connect(&socket, address))?;
    Ok(socket)
}

/// Connects to a listener of a stream (`SOCK_STREAM`) at `path`.
pub fn connect_stream(path: &Path) -> Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    at_address(path, |address| rustix::net::connect(&socket, address))?;
    Ok(socket)
}

/// Takes one waiting connection of a listener, closed on exec; `EAGAIN` if there is none.
pub fn accept(listener: impl AsFd) -> Result<OwnedFd> {
    rustix::net::accept_with(listener, SocketFlags::CLOEXEC)
}

/// Sends one packet, waiting while the peer's queue is full. A peer that is gone is `EPIPE`, without a signal.
pub fn send(socket: impl AsFd, packet: &[u8]) -> Result<()> {
    retry(|| rustix::net::send(&socket, packet, SendFlags::NOSIGNAL)).map(drop)
}

/// As [`send`], but a full queue is `EAGAIN`.
pub fn try_send(socket: impl AsFd, packet: &[u8]) -> Result<()> {
    retry(|| rustix::net::send(&socket, packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)).map(drop)
}

/// Waits for one packet and returns its length; 0 is the end of the connection (packets are never empty).
pub fn receive(socket: impl AsFd, packet: &mut [u8]) -> Result<usize> {
    take(|| rustix::net::recv(&socket, &mut *packet, RecvFlags::empty())).map(|(length, _)| length)
}

/// As [`receive`], but `EAGAIN` if no packet is there.
pub fn try_receive(socket: impl AsFd, packet: &mut [u8]) -> Result<usize> {
    take(|| rustix::net::recv(&socket, &mut *packet, RecvFlags::DONTWAIT)).map(|(length, _)| length)
}

/// Sends one packet together with at most [`MAX_DESCRIPTORS`] descriptors; the packet must not be empty.
pub fn send_descriptors(socket: impl AsFd, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOMANYREFS);
    }
    retry(|| rustix::net::sendmsg(&socket, &[IoSlice::new(packet)], &mut control, SendFlags::NOSIGNAL)).map(drop)
}

/// Sends `bytes` over a stream, with the descriptors beside the first of them.
pub fn send_stream(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOMANYREFS);
    }
    let mut rest = bytes;
    loop {
        let sent = retry(|| rustix::net::sendmsg(&socket, &[IoSlice::new(rest)], &mut control, SendFlags::NOSIGNAL))?;
        control.clear();
        rest = rest.get(sent..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// Waits for one packet and the descriptors that came with it, closed on exec; length 0 is the end of the connection.
pub fn receive_descriptors(socket: impl AsFd, packet: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = take(|| {
        rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut *packet)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = part {
            descriptors.extend(passed);
        }
    }
    Ok((message.bytes, descriptors))
}

/// Calls `action` with the address of `path`. A path too long for an address (108 bytes) is reached through its
/// directory's descriptor in /proc.
fn at_address<T>(path: &Path, action: impl Fn(&SocketAddrUnix) -> Result<T>) -> Result<T> {
    match SocketAddrUnix::new(path) {
        Ok(address) => action(&address),
        Err(Errno::NAMETOOLONG) => {
            let (parent, name) = path.parent().zip(path.file_name()).ok_or(Errno::NAMETOOLONG)?;
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::DIRECTORY;
            let directory = rustix::fs::open(parent, flags, rustix::fs::Mode::empty())?;
            let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
            action(&SocketAddrUnix::new(&short)?)
        }
        Err(other) => Err(other),
    }
}

/// Receives. A peer that closed its end before it had read all leaves one `ECONNRESET`, which the kernel tells before the
/// packets that the peer sent: those are still there, and the end of the connection comes after them.
fn take<T>(mut action: impl FnMut() -> Result<T>) -> Result<T> {
    match retry(&mut action) {
        Err(Errno::CONNRESET) => retry(action),
        other => other,
    }
}

fn retry<T>(mut action: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match action() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_arrives_though_the_sender_left_without_reading() {
        let (a, b) = pair().unwrap();
        send(&b, b"unread").unwrap();
        send(&a, b"last").unwrap();
        drop(a);
        let mut packet = [0; 16];
        assert_eq!(try_receive(&b, &mut packet), Ok(4));
        assert_eq!(receive(&b, &mut packet), Ok(0));
    }

    #[test]
    fn packets_keep_their_borders_and_carry_descriptors() {
        let (a, b) = pair().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        send(&a, b"one").unwrap();
        send_descriptors(&a, b"two", &[write.as_fd()]).unwrap();
        drop(write);
        let mut packet = [0; 16];
        assert_eq!(receive(&b, &mut packet).unwrap(), 3);
        let (length, mut passed) = receive_descriptors(&b, &mut packet).unwrap();
        assert_eq!((&packet[..length], passed.len()), (&b"two"[..], 1));
        rustix::io::write(passed.pop().unwrap(), b"through").unwrap();
        assert_eq!(rustix::io::read(&read, &mut packet).unwrap(), 7);
        assert_eq!(try_receive(&b, &mut packet), Err(Errno::AGAIN));
        drop(a);
        assert_eq!(receive(&b, &mut packet).unwrap(), 0);
        assert_eq!(try_send(&b, b"x"), Err(Errno::PIPE));
    }

    #[test]
    fn a_stream_carries_more_than_fits_at_once() {
        let (a, b) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let bytes = vec![7u8; 1 << 20];
        let sender = std::thread::spawn({
            let bytes = bytes.clone();
            move || send_stream(&a, &bytes, &[a.as_fd()]).unwrap()
        });
        let (mut got, mut passed, mut piece) = (Vec::new(), 0, vec![0; 65536]);
        while got.len() < bytes.len() {
            let (length, descriptors) = receive_descriptors(&b, &mut piece).unwrap();
            got.extend_from_slice(&piece[..length]);
            passed += descriptors.len();
        }
        sender.join().unwrap();
        assert_eq!((got == bytes, passed), (true, 1));
    }

    #[test]
    fn a_path_longer_than_an_address_is_reached() {
        let base = std::env::temp_dir().join(format!("channel-{}", std::process::id()));
        let deep = base.join("d".repeat(150));
        std::fs::create_dir_all(&deep).unwrap();
        let listener = listen(&deep.join("attach")).unwrap();
        assert_eq!(accept(&listener).unwrap_err(), Errno::AGAIN);
        let client = connect(&deep.join("attach")).unwrap();
        let server = accept(&listener).unwrap();
        send(&client, b"hello").unwrap();
        assert_eq!(receive(&server, &mut [0; 9]).unwrap(), 5);
        std::fs::remove_dir_all(&base).unwrap();
    }
}
