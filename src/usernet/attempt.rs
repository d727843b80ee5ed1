//! Whoever a container connects to is asked first: its first packet (SYN) waits in a queue until the host is connected, so
//! that a refusal is a refusal, and silence is silence, for the container too.
//!
//! Where the kernel has no such queue, the container is connected at once, and broken off if the host then is not.

use crate::serve::{Server, is_shortage, kind};
use crate::slab::{Key, Word};
use rustix::io::Errno;
use rustix::net::{SendFlags, sockopt};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Packets that may wait.
pub(crate) const MOST: u32 = 4096;
/// As much of each as is looked at: both headers.
pub(crate) const BYTES: u32 = 128;
/// The number of the queue in the router.
pub const QUEUE: u16 = 0;
/// How long a connection of the host's waits for the container to take it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who connects to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pair {
    pub gate: Key,
    pub from: SocketAddr,
    pub to: SocketAddr,
}

/// A host that is being asked.
#[derive(Debug)]
pub(crate) struct Attempt {
    socket: OwnedFd,
    pair: Pair,
    packet: u32,
    sequence: u32,
}

/// The first packet of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub from: SocketAddr,
    pub to: SocketAddr,
    sequence: u32,
}

impl Server {
    /// Containers want to connect.
    pub fn take_openings(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(65536, 0);
        let mut found = Vec::new();
        if let Some(queue) = &self.queue {
            // What the kernel could not tell for want of memory comes again.
            let _ = queue.take(&mut buffer, |held| found.push((held.id, held.link, opening(held.bytes))));
        }
        self.buffer = buffer;
        for (packet, link, opening) in found {
            match opening.and_then(|o| Some((self.gates.keys(|g| g.link == link).pop()?, o))) {
                Some((gate, opening)) => self.attempt(packet, gate, opening),
                None => self.decide(packet, true),
            }
        }
    }

    /// Asks the host that a container wants to connect to; its packet waits.
    pub fn attempt(&mut self, packet: u32, gate: Key, opening: Opening) {
        let pair = Pair { gate, from: opening.from, to: opening.to };
        if self.attempts.iter().any(|(_, a)| a.pair == pair) {
            // It is asked already: the first packet goes on when there is an answer.
            return self.decide(packet, false);
        }
        match self.connect_out(gate, opening.to) {
            Ok((socket, false)) => self.reached(packet, pair, socket),
            Ok((socket, true)) => {
                let key = self.attempts.insert(Attempt { socket, pair, packet, sequence: opening.sequence });
                let word = Word { kind: kind::ATTEMPT, part: 0, key };
                let told = self.attempts.get(key).map(|a| self.poll.stream(&a.socket, word));
                if !matches!(told, Some(Ok(()))) {
                    self.attempts.remove(key);
                    self.decide(packet, true);
                }
            }
            // Later, when the container asks again.
            Err(error) if is_shortage(error) => self.decide(packet, false),
            Err(error) => {
                self.decide(packet, false);
                self.refuse(pair, opening.sequence, error);
            }
        }
    }

    /// There is an answer of the host.
    pub fn answered(&mut self, key: Key, writable: bool) {
        if !writable {
            return;
        }
        let Some(attempt) = self.attempts.remove(key) else { return };
        match sockopt::socket_error(&attempt.socket) {
            Ok(Ok(())) => {
                self.poll.forget(&attempt.socket);
                self.reached(attempt.packet, attempt.pair, attempt.socket);
            }
            Ok(Err(error)) | Err(error) => {
                self.decide(attempt.packet, false);
                self.refuse(attempt.pair, attempt.sequence, error);
            }
        }
    }

    /// The packet goes on; the connection that it opens finds the host's.
    fn reached(&mut self, packet: u32, pair: Pair, socket: OwnedFd) {
        if self.watch.is_some() {
            return self.meet(pair, socket);
        }
        self.reached.insert(pair, (socket, self.now + PATIENCE));
        self.decide(packet, true);
    }

    fn decide(&mut self, packet: u32, goes_on: bool) {
        if let Some(queue) = &mut self.queue {
            // One that cannot be decided is asked for again by the container.
            let _ = queue.decide(packet, goes_on);
        }
    }

    /// Tells a container that its connection is refused, or that there is no way; of silence it is not told.
    fn refuse(&mut self, pair: Pair, sequence: u32, error: Errno) {
        let packet = match error {
            Errno::TIMEDOUT => None,
            Errno::HOSTUNREACH | Errno::NETUNREACH => unreachable(pair.from, pair.to, sequence),
            _ => reset(pair.from, pair.to, sequence),
        };
        let v6 = pair.from.is_ipv6();
        let socket = self.gates.get(pair.gate).and_then(|gate| gate.echoes[usize::from(v6)].as_ref());
        if let (Some(packet), Some(socket)) = (packet, socket) {
            let to = SocketAddr::new(pair.from.ip(), 0);
            let _ = rustix::net::sendto(socket, &packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &to);
        }
    }

    /// Ends connections of the host that no container took.
    pub fn sweep_reached(&mut self) {
        let now = self.now;
        self.reached.retain(|_, (_, until)| *until > now);
    }

    /// The containers behind `gate` have ended: nobody waits for an answer.
    pub fn leave_attempts(&mut self, gate: Key) {
        for key in self.attempts.keys(|a| a.pair.gate == gate) {
            if let Some(attempt) = self.attempts.remove(key) {
                self.decide(attempt.packet, false);
            }
        }
        self.reached.retain(|pair, _| pair.gate != gate);
    }

    /// When the host answered a container's wish, `connected` is what it answered with.
    pub fn take_reached(&mut self, pair: Pair) -> Option<OwnedFd> {
        self.reached.remove(&pair).map(|(socket, _): (OwnedFd, Instant)| socket)
    }
}

/// Reads the headers of a packet (RFC 791, RFC 8200, RFC 9293). `None` for what is not a plain opening.
pub(crate) fn opening(packet: &[u8]) -> Option<Opening> {
    const TCP: u8 = 6;
    let (from, to, segment): (IpAddr, IpAddr, _) = match packet.first()? >> 4 {
        4 => {
            let length = usize::from(packet[0] & 15) * 4;
            (packet.get(9) == Some(&TCP)).then_some(())?;
            let from: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            (from.into(), to.into(), packet.get(length..)?)
        }
        6 => {
            // One with more headers between is left to the ordinary way.
            (packet.get(6) == Some(&TCP)).then_some(())?;
            let from: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            let to: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (from.into(), to.into(), packet.get(40..)?)
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(segment.get(at..at + 2)?.try_into().ok()?));
    let sequence = u32::from_be_bytes(segment.get(4..8)?.try_into().ok()?);
    Some(Opening { from: SocketAddr::new(from, port(0)?), to: SocketAddr::new(to, port(2)?), sequence })
}

/// The answer of a host on which nobody listens: a reset (RFC 9293 3.10.7.1), from `to` to `from`.
fn reset(from: SocketAddr, to: SocketAddr, sequence: u32) -> Option<Vec<u8>> {
    const RESET_AND_ACKNOWLEDGE: u8 = 0x14;
    const HEADER: u8 = 5 << 4;
    let mut segment = Vec::with_capacity(20);
    segment.extend(to.port().to_be_bytes());
    segment.extend(from.port().to_be_bytes());
    segment.extend(0u32.to_be_bytes());
    segment.extend(sequence.wrapping_add(1).to_be_bytes());
    segment.extend([HEADER, RESET_AND_ACKNOWLEDGE, 0, 0, 0, 0, 0, 0]);
    crate::packet::transport(to.ip(), from.ip(), 6, segment, 16)
}

/// The answer of a router that knows no way to `to`: "host unreachable" with the beginning of what was sent (RFC 792), or
/// "address unreachable" (RFC 4443).
fn unreachable(from: SocketAddr, to: SocketAddr, sequence: u32) -> Option<Vec<u8>> {
    let mut sent = Vec::with_capacity(20);
    sent.extend(from.port().to_be_bytes());
    sent.extend(to.port().to_be_bytes());
    sent.extend(sequence.to_be_bytes());
    sent.extend([0, 0, 0, 0, 5 << 4, 2, 0, 0, 0, 0, 0, 0]);
    crate::packet::unreachable(from.ip(), to.ip(), 6, sent, crate::packet::Unreachable::Host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_is_read_and_refused() {
        let (from, to): (SocketAddr, SocketAddr) =
            ("10.0.2.100:40000".parse().unwrap(), "192.0.2.1:80".parse().unwrap());
        // What a reset answers is read back by its own reader, the other way round.
        let packet = reset(from, to, 7).unwrap();
        assert_eq!(opening(&packet), Some(Opening { from: to, to: from, sequence: 0 }));
        assert_eq!(&packet[28..32], 8u32.to_be_bytes());
        let (from, to): (SocketAddr, SocketAddr) =
            ("[fd00::100]:40000".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap());
        let packet = reset(from, to, u32::MAX).unwrap();
        assert_eq!(opening(&packet), Some(Opening { from: to, to: from, sequence: 0 }));
        for length in 0..packet.len() {
            // Cut off anywhere, it is no opening or a shorter one, and no reason to panic.
            let _ = opening(&packet[..length]);
        }
        assert_eq!(opening(&[0x4f; 20]), None);
        assert!(unreachable(from, to, 1).is_some());
    }
}
