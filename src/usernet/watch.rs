//! Where the kernel cannot hand packets to transparent sockets, links are watched for those with which something begins.
//!
//! All that a link brings is taken as the router's own, but there is no socket for it yet, and what the kernel would say
//! about that finds no way back (see `router`). So the container hears nothing until the host has answered. Then a socket
//! that stands in for the far side connects to the container, which is just connecting to it: both openings cross, as
//! RFC 9293 3.5 has it ("simultaneous initiation"), and the kernel carries the rest. Of datagrams the first is taken from
//! the link, and those after it by the socket that then is there.
//!
//! Must not know: what is sent.

use crate::attempt::{Opening, Pair, opening};
use crate::router;
use crate::serve::{Server, kind};
use crate::slab::{Key, Word};
use crate::sockets::Use;
use rustix::io::{Errno, Result};
use rustix::net::sockopt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use sys::links;
use sys::netlink::{Requests, Socket};
use types::Subnet;

/// Taken at once, before others have their turn.
const ROUND: usize = 64;
const UDP: u8 = 17;
/// Length of a datagram's header.
const HEADER: usize = 8;

/// What a process that watches knows beyond the gates.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Asks the router's kernel for its addresses.
    route: Socket,
    /// Networks in the router: what is for them is the kernel's to pass on.
    inside: Vec<Subnet>,
}

/// With what something begins.
#[derive(Debug, PartialEq, Eq)]
enum Beginning<'a> {
    Connection(Opening),
    /// Without its bytes where this is not all of it.
    Datagram(SocketAddr, SocketAddr, Option<&'a [u8]>),
}

impl Watch {
    pub fn new(route: Socket) -> Watch {
        Watch { route, inside: Vec::new() }
    }

    /// Looks at the router's own addresses: what it sends from them as itself finds its way.
    fn look(&mut self) -> Result<()> {
        let all = links::addresses(&mut self.route)?;
        for (_, address, _) in &all {
            let mut requests = Requests::new();
            router::let_speak(&mut requests, *address);
            match self.route.carry_out(&mut requests).map_err(|refusal| refusal.errno) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        self.inside = all.into_iter().map(|(_, address, prefix)| Subnet::new(address, prefix)).collect();
        Ok(())
    }

    fn is_inside(&self, ip: IpAddr) -> bool {
        self.inside.iter().any(|subnet| subnet.contains(ip))
    }
}

impl Server {
    /// Begins to watch the link of a gate.
    pub fn watch(&mut self, gate: Key) -> Result<()> {
        let Some(watch) = &mut self.watch else { return Ok(()) };
        watch.look()?;
        let name = match self.gates.get(gate) {
            // What asks for names does so by the router's own addresses, where nothing could be kept silent: there are
            // sockets in advance.
            Some(gate) if gate.name != router::LOOPBACK => gate.name.clone(),
            _ => return Ok(()),
        };
        let socket = self.router.beginnings(&name)?;
        self.poll.source(&socket, Word { kind: kind::WATCH, part: 0, key: gate })?;
        if let Some(gate) = self.gates.get_mut(gate) {
            gate.watch = Some(socket);
        }
        Ok(())
    }

    /// Something began, or goes on.
    pub fn take_beginnings(&mut self, gate: Key) {
        let mut buffer = self.take_buffer();
        // Flows that begin now: the kernel saw what follows at once before there was a socket for it.
        let mut fresh = Vec::new();
        for _ in 0..ROUND {
            let Some(socket) = self.gates.get(gate).and_then(|gate| gate.watch.as_ref()) else { break };
            match sys::frames::receive(socket, &mut buffer) {
                Ok((length, _)) => {
                    let Some(beginning) = beginning(&buffer[..length]) else { continue };
                    self.begin_watched(gate, beginning, &mut fresh);
                }
                Err(Errno::NETDOWN | Errno::INTR) => {}
                Err(_) => break,
            }
        }
        self.buffer = buffer;
    }

    fn begin_watched(&mut self, gate: Key, beginning: Beginning<'_>, fresh: &mut Vec<Key>) {
        let to = match &beginning {
            Beginning::Connection(opening) => opening.to,
            Beginning::Datagram(_, to, _) => *to,
        };
        let name = self.gates.get(gate).map(|g| g.name.as_str()).unwrap_or_default();
        if !router::is_link(name) && self.watch.as_ref().is_some_and(|watch| watch.is_inside(to.ip())) {
            return;
        }
        match beginning {
            Beginning::Connection(opening) => {
                let pair = Pair { gate, from: opening.from, to: opening.to };
                // The container asks again because the answer takes long, or because too many are asked already.
                if self.attempts.len() < crate::attempt::MOST as usize && !self.is_connected(pair) {
                    self.attempt(0, gate, opening);
                }
            }
            Beginning::Datagram(from, to, bytes) => {
                if self.is_answer(gate, from, to) {
                    return;
                }
                let known = self.flow_out(gate, from, to);
                let key = match known {
                    Some(key) if !fresh.contains(&key) => return,
                    Some(key) => Some(key),
                    None => self.begin_flow_out(gate, from, to),
                };
                if let Some(key) = key {
                    fresh.push(key);
                    bytes.into_iter().for_each(|bytes| self.forward(key, 0, bytes));
                }
            }
        }
    }

    /// The host is connected: now the container is.
    pub fn meet(&mut self, pair: Pair, outside: OwnedFd) {
        match self.come_from(pair) {
            Ok(inside) => self.tie_met(pair, outside, inside),
            Err(_) => crate::sockets::break_off(outside),
        }
    }

    /// A stream of the router that stands in for whom the container asked for, on its way to the container.
    fn come_from(&mut self, pair: Pair) -> Result<OwnedFd> {
        let name = self.gates.get(pair.gate).ok_or(Errno::NODEV)?.name.clone();
        let socket = self.router.socket(Use::Stream, pair.to.is_ipv6())?;
        sys::transparent::to_device(&socket, &name)?;
        // Others stand in for the same place.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &pair.to)?;
        match rustix::net::connect(&socket, &pair.from) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
            Err(error) => Err(error),
        }
    }
}

/// Reads the headers of a packet that the kernel's filter let through ([`sys::frames::beginnings`]).
fn beginning(packet: &[u8]) -> Option<Beginning<'_>> {
    let (protocol, at, cut, from, to): (u8, usize, bool, IpAddr, IpAddr) = match packet.first()? >> 4 {
        4 => {
            let from: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            (packet[9], usize::from(packet[0] & 15) * 4, packet[6] & 0x20 != 0, from.into(), to.into())
        }
        6 => {
            let from: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            let to: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (packet[6], 40, false, from.into(), to.into())
        }
        _ => return None,
    };
    if protocol != UDP {
        return opening(packet).map(Beginning::Connection);
    }
    let datagram = packet.get(at..)?;
    let field = |at: usize| Some(u16::from_be_bytes(datagram.get(at..at + 2)?.try_into().ok()?));
    let bytes = datagram.get(HEADER..usize::from(field(4)?)).filter(|_| !cut);
    Some(Beginning::Datagram(SocketAddr::new(from, field(0)?), SocketAddr::new(to, field(2)?), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_and_openings_are_told_apart() {
        let (from, to): (IpAddr, IpAddr) = ("10.0.2.100".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let message = [0x9c, 0x40, 0, 53, 0, 10, 0, 0, b'h', b'i'].to_vec();
        let mut packet = crate::packet::transport(from, to, UDP, message, 6).unwrap();
        let (from, to) = (SocketAddr::new(from, 40000), SocketAddr::new(to, 53));
        assert_eq!(beginning(&packet), Some(Beginning::Datagram(from, to, Some(b"hi"))));
        // The first part of one that was cut.
        packet[6] |= 0x20;
        assert_eq!(beginning(&packet), Some(Beginning::Datagram(from, to, None)));
        // Lengths that lie.
        packet[6] = 0;
        packet[24..26].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(beginning(&packet), Some(Beginning::Datagram(from, to, None)));
        packet[24..26].copy_from_slice(&[0, 3]);
        assert_eq!(beginning(&packet), Some(Beginning::Datagram(from, to, None)));
        assert_eq!(beginning(&packet[..22]), None);
        packet[9] = 6;
        assert!(matches!(beginning(&packet), Some(Beginning::Connection(o)) if o.from == from && o.to == to));
        assert_eq!(beginning(&[]), None);
    }
}
