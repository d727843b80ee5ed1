//! Making sockets in two network namespaces from one thread: a socket belongs to the namespace of the thread that makes it,
//! for ever, whoever uses it then. The caller's thread is in the host's; a second thread sits in the router's and makes
//! sockets there, some in advance, so that it is asked rarely.

use crate::attempt;
use crate::router;
use crate::way::Way;
use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use sys::netlink::{Family, Socket};
use sys::queue::Queue;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
    /// Echo requests, raw.
    Echo,
}

/// What the second thread is to make.
#[derive(Debug, Clone, Copy)]
enum Wish {
    /// So many sockets of a kind, of version 6 or not.
    Sockets(Use, bool, usize),
    /// One that tells how conversations begin on the link with this number.
    Beginnings(u32),
}

/// Sockets of the router, which may stand in for any address.
#[derive(Debug)]
pub(crate) struct Router {
    ask: Sender<Wish>,
    made: Receiver<Result<OwnedFd>>,
    streams: [Vec<OwnedFd>; 2],
    datagrams: [Vec<OwnedFd>; 2],
    /// Any socket of the router, to ask for its links by.
    any: Option<OwnedFd>,
}

/// How many are made at once.
const BATCH: usize = 8;
/// All that the second thread needs.
const STACK: usize = 64 << 10;

impl Router {
    /// Starts the second thread, in the network namespace `namespace`.
    ///
    /// Packets that open connections wait in the queue, if the router puts them there. Where links are watched the kernel
    /// is asked for addresses by the other socket.
    pub fn start(namespace: OwnedFd, way: Way) -> std::io::Result<(Router, Option<Queue>, Option<Socket>)> {
        let (ask, asked) = channel::<Wish>();
        let (give, made) = channel();
        let (give_queue, queue) = channel();
        std::thread::Builder::new().name("monopod-router".into()).stack_size(STACK).spawn(move || {
            let entered = sys::namespaces::enter(namespace.as_fd(), sys::clone::NEW_NET);
            let queue = entered.and_then(|()| match way {
                Way::Handed => Queue::open(attempt::QUEUE, attempt::BYTES, attempt::MOST),
                Way::Watched { .. } => Err(Errno::NOENT),
            });
            let route = entered.and_then(|()| match way {
                Way::Handed => Err(Errno::NOENT),
                Way::Watched { .. } => Socket::open(Family::Route),
            });
            let _ = give_queue.send((queue.ok(), route.ok()));
            for wish in asked {
                let count = if let Wish::Sockets(_, _, count) = wish { count } else { 1 };
                for _ in 0..count {
                    let socket = entered.and_then(|()| match wish {
                        Wish::Sockets(kind, v6, _) => stand_in(kind, v6, way),
                        Wish::Beginnings(link) => sys::frames::beginnings(link),
                    });
                    if give.send(socket).is_err() {
                        return;
                    }
                }
            }
        })?;
        let router = Router { ask, made, streams: Default::default(), datagrams: Default::default(), any: None };
        let (queue, route) = queue.recv().unwrap_or_default();
        Ok((router, queue, route))
    }

    /// The number of the router's link `name`.
    pub fn link(&mut self, name: &str) -> Result<u32> {
        if self.any.is_none() {
            self.any = Some(self.socket(Use::Datagram, false)?);
        }
        rustix::net::netdevice::name_to_index(self.any.as_ref().ok_or(Errno::IO)?, name)
    }

    /// A socket of the router.
    pub fn socket(&mut self, kind: Use, v6: bool) -> Result<OwnedFd> {
        let kept = match kind {
            Use::Stream => &mut self.streams[usize::from(v6)],
            Use::Datagram => &mut self.datagrams[usize::from(v6)],
            Use::Echo => &mut Vec::new(),
        };
        if let Some(socket) = kept.pop() {
            return Ok(socket);
        }
        let count = if kind == Use::Echo { 1 } else { BATCH };
        self.ask.send(Wish::Sockets(kind, v6, count)).map_err(|_| Errno::IO)?;
        let mut sockets: Vec<Result<OwnedFd>> = self.made.iter().take(count).collect();
        let first = sockets.pop().ok_or(Errno::IO)?;
        kept.extend(sockets.into_iter().flatten());
        first
    }

    /// A socket that tells how conversations begin on the router's link `name`.
    pub fn beginnings(&mut self, name: &str) -> Result<OwnedFd> {
        let link = self.link(name)?;
        self.ask.send(Wish::Beginnings(link)).map_err(|_| Errno::IO)?;
        self.made.recv().map_err(|_| Errno::IO)?
    }

    /// Gives back what was made in advance: nobody may need it for a while.
    pub fn rest(&mut self) {
        self.streams = Default::default();
        self.datagrams = Default::default();
    }
}

fn stand_in(kind: Use, v6: bool, way: Way) -> Result<OwnedFd> {
    let socket = make(kind, v6)?;
    sys::transparent::transparent(&socket, v6)?;
    if way != Way::Handed {
        sys::transparent::marked(&socket, router::SPOKEN)?;
    }
    Ok(socket)
}

/// A socket of the host, or of whatever namespace the calling thread is in. None of them block.
pub(crate) fn make(kind: Use, v6: bool) -> Result<OwnedFd> {
    let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let (kind, protocol) = match kind {
        Use::Stream => (SocketType::STREAM, None),
        Use::Datagram => (SocketType::DGRAM, None),
        Use::Echo => (SocketType::RAW, Some(if v6 { ipproto::ICMPV6 } else { ipproto::ICMP })),
    };
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, protocol)
}

/// A socket that sends echo requests by the host's kernel ("ping socket", icmp(7)): allowed to the groups in
/// `net.ipv4.ping_group_range`.
pub(crate) fn ping(v6: bool) -> Result<OwnedFd> {
    let (family, protocol) =
        if v6 { (AddressFamily::INET6, ipproto::ICMPV6) } else { (AddressFamily::INET, ipproto::ICMP) };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(family, SocketType::DGRAM, flags, Some(protocol))
}

/// Ends a connection at once, so that its other side is told it was broken rather than finished.
pub(crate) fn break_off(socket: OwnedFd) {
    // Where it does not take, the other side hears an end instead.
    let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(std::time::Duration::ZERO));
}
