//! netlink(7): several requests in one packet, and their answers. The socket belongs to the network namespace in which it
//! was opened, whatever its process enters later: so one process serves many namespaces ([`inside`]).
//!
//! Must not know: what the requests ask for ([`crate::links`], [`crate::nftables`]).

use crate::clone::NEW_NET;
use rustix::io::{Errno, Result};
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The message is a request (netlink.h).
const REQUEST: u16 = 1;
/// An answer is wanted also where all went well.
const ACKNOWLEDGE: u16 = 4;
/// All objects are asked for, not one.
const DUMP: u16 = 0x300;
/// The object must not exist yet.
pub const EXCLUSIVE: u16 = 0x200;
/// The object is made if it does not exist.
pub const CREATE: u16 = 0x400;
/// It goes after those that are there.
pub const APPEND: u16 = 0x800;
/// The object is replaced if it exists.
pub const REPLACE: u16 = 0x100;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
const NESTED: u16 = 0x8000;

/// What the kernel says about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Which request of the packet, counted from 0.
    pub request: usize,
    /// Why.
    pub errno: Errno,
}

/// Requests that are sent together.
#[derive(Debug, Default, Clone)]
pub struct Requests {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Requests {
    /// None yet.
    pub fn new() -> Requests {
        Requests::default()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.starts.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Adds a request of type `kind` with the fixed part `header`; `fill` adds its attributes.
    pub fn add(&mut self, kind: u16, flags: u16, header: &[u8], fill: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.starts.push(start);
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | REQUEST).to_ne_bytes());
        self.bytes.extend([0; 8]);
        self.bytes.extend(header);
        pad(&mut self.bytes);
        fill(&mut Attributes { bytes: &mut self.bytes });
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Writes sequence numbers from `first` on; request number `last` asks for an answer.
    fn number(&mut self, first: u32, last: usize) {
        for (at, start) in self.starts.iter().enumerate() {
            let flags = u16::from_ne_bytes([self.bytes[start + 6], self.bytes[start + 7]]) & !ACKNOWLEDGE;
            let flags = if at == last { flags | ACKNOWLEDGE } else { flags };
            self.bytes[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
            self.bytes[start + 8..start + 12].copy_from_slice(&(first + at as u32).to_ne_bytes());
        }
    }
}

/// Attributes of a request, or of another attribute.
#[derive(Debug)]
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// Adds one with the bytes `value`.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.bytes.extend((value.len() as u16 + 4).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        pad(self.bytes);
        self
    }

    /// Adds one with a number in the machine's byte order.
    pub fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Adds one with a number in network byte order, as netfilter has them.
    pub fn big(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds one with a text that ends in a zero byte.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// Adds one that holds attributes. Longer than 65535 bytes is not possible: callers split.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.nest_with(kind, &[], fill)
    }

    /// As [`Attributes::nest`], with a fixed part before the attributes.
    pub fn nest_with(&mut self, kind: u16, header: &[u8], fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend([0, 0]);
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        self.bytes.extend(header);
        pad(self.bytes);
        fill(&mut Attributes { bytes: self.bytes });
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The attributes in `bytes`: type (without its flag bits) and value. What is damaged ends them.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut left = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*left.first()?, *left.get(1)?]));
        let kind = u16::from_ne_bytes([*left.get(2)?, *left.get(3)?]) & 0x3fff;
        let value = left.get(4..length)?;
        left = left.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Which part of the kernel is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes: rtnetlink(7).
    Route,
    /// Packet filters.
    Netfilter,
}

/// A connection to the kernel.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// One in the present network namespace. `EPROTONOSUPPORT`: the kernel has no such part.
    pub fn open(family: Family) -> Result<Socket> {
        let protocol = match family {
            // NETLINK_ROUTE is protocol 0.
            Family::Route => None,
            Family::Netfilter => Some(netlink::NETFILTER),
        };
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        // A thousand elements of a set are one packet; forced, because the limit of the host may be small. Neither is
        // needed where requests are few.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&fd, 1 << 20);
        Ok(Socket { fd, sequence: 1 })
    }

    /// Sends `requests` and waits until all are carried out. rtnetlink carries out those after a refused one too; a batch of
    /// netfilter as a whole or not at all.
    pub fn carry_out(&mut self, requests: &mut Requests) -> std::result::Result<(), Refusal> {
        let last = requests.count().saturating_sub(1);
        self.send_and_wait(requests, last)
    }

    /// As [`Socket::carry_out`], where the request `answering` is the last that the kernel answers.
    pub(crate) fn send_and_wait(
        &mut self,
        requests: &mut Requests,
        answering: usize,
    ) -> std::result::Result<(), Refusal> {
        if requests.is_empty() {
            return Ok(());
        }
        let first = self.sequence;
        self.sequence = self.sequence.wrapping_add(requests.count() as u32);
        requests.number(first, answering);
        let all = |errno| Refusal { request: 0, errno };
        self.send(&requests.bytes).map_err(all)?;
        let mut refused: Option<Refusal> = None;
        let mut packet = vec![0; 32 << 10];
        loop {
            // Errors of requests before the last come without being asked for, in their order, then that of the last.
            let flags = if refused.is_some() { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
            let length = match self.receive(&mut packet, flags) {
                Err(Errno::AGAIN) if refused.is_some() => return Err(refused.unwrap_or(all(Errno::IO))),
                other => other.map_err(all)?,
            };
            for message in messages(&packet[..length]) {
                let at = message.sequence.wrapping_sub(first) as usize;
                if message.kind != ERROR || at >= requests.count() {
                    continue;
                }
                if let Err(errno) = message.verdict() {
                    refused = refused.or(Some(Refusal { request: at, errno }));
                }
                if at == answering {
                    return refused.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Sends one request and hands each message of its answer to `found`: its type and what follows the header. `all`
    /// asks for every object.
    pub fn ask(&mut self, mut request: Requests, all: bool, mut found: impl FnMut(u16, &[u8])) -> Result<()> {
        let first = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        request.number(first, 0);
        let own = u16::from_ne_bytes([request.bytes[6], request.bytes[7]]) & !ACKNOWLEDGE;
        let flags = if all { own | DUMP } else { own };
        request.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.send(&request.bytes)?;
        let mut packet = vec![0; 64 << 10];
        loop {
            let length = self.receive(&mut packet, RecvFlags::empty())?;
            for message in messages(&packet[..length]).filter(|m| m.sequence == first) {
                match message.kind {
                    ERROR => return message.verdict(),
                    DONE => return Ok(()),
                    kind => found(kind, message.body),
                }
                if !all {
                    return Ok(());
                }
            }
        }
    }

    /// Sends requests that are not answered.
    pub(crate) fn tell(&mut self, requests: &mut Requests) -> Result<()> {
        let first = self.sequence;
        self.sequence = self.sequence.wrapping_add(requests.count() as u32);
        requests.number(first, usize::MAX);
        self.send(&requests.bytes)
    }

    /// Hands what the kernel has told without being asked to `found`: type, and what follows the header. `EAGAIN`: nothing.
    pub(crate) fn hear(&self, packet: &mut [u8], mut found: impl FnMut(u16, &[u8])) -> Result<()> {
        let length = self.receive(packet, RecvFlags::DONTWAIT)?;
        messages(&packet[..length]).for_each(|message| found(message.kind, message.body));
        Ok(())
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::io::retry_on_intr(|| rustix::net::sendto(&self.fd, bytes, SendFlags::empty(), &kernel)).map(drop)
    }

    fn receive(&self, packet: &mut [u8], flags: RecvFlags) -> Result<usize> {
        rustix::io::retry_on_intr(|| rustix::net::recv(&self.fd, &mut *packet, flags)).map(|(length, _)| length)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

struct Message<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Message<'_> {
    fn verdict(&self) -> Result<()> {
        match self.body.first_chunk::<4>().map(|n| i32::from_ne_bytes(*n)) {
            Some(0) => Ok(()),
            Some(number) => Err(Errno::from_raw_os_error(-number)),
            None => Err(Errno::PROTO),
        }
    }
}

fn messages(packet: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut left = packet;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*left.first_chunk::<4>()?) as usize;
        let header = left.get(..HEADER)?;
        let body = left.get(HEADER..length)?;
        left = left.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            body,
        })
    })
}

/// Calls `work` inside the network namespace behind `namespace` (a namespace file), and comes back. Only the calling
/// thread moves; sockets opened by `work` stay in that namespace.
pub fn inside<T>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T) -> Result<T> {
    let own = own_namespace()?;
    crate::namespaces::enter(namespace, NEW_NET)?;
    let value = work();
    crate::namespaces::enter(own.as_fd(), NEW_NET)?;
    Ok(value)
}

/// The network namespace of the calling thread.
pub fn own_namespace() -> Result<OwnedFd> {
    open_namespace("/proc/thread-self/ns/net")
}

/// The network namespace of process `pid`, which the caller knows to live.
pub fn namespace_of(pid: i32) -> Result<OwnedFd> {
    open_namespace(&format!("/proc/{pid}/ns/net"))
}

fn open_namespace(path: &str) -> Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back() {
        let mut requests = Requests::new();
        requests.add(16, 0, &[0; 4], |a| {
            a.text(3, "lo").nest(18, |a| {
                a.number(1, 7);
            });
        });
        assert_eq!((requests.count(), requests.bytes.len()), (1, 16 + 4 + 8 + 12));
        let all: Vec<_> = attributes(&requests.bytes[20..]).collect();
        assert_eq!(all[0], (3, &b"lo\0"[..]));
        assert_eq!(all[1].0, 18);
        assert_eq!(attributes(all[1].1).next(), Some((1, &7u32.to_ne_bytes()[..])));
        assert_eq!(attributes(&[9, 0, 1, 0, 0]).count(), 0);
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0);
    }
}
