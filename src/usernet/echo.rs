//! Echo requests (`ping`): the host's kernel asks in the container's stead, by a socket that needs no privileges, and the
//! answer goes back in the name of whoever was asked.

use crate::policy::Target;
use crate::serve::{Server, kind};
use crate::slab::{Key, Word};
use crate::sockets::ping;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// At most at once; then the one unused for longest goes.
const MOST: usize = 256;
/// How long one stays unused.
const UNUSED: Duration = Duration::from_secs(20);
/// More than any container's largest packet.
const LARGEST: usize = 65536;
/// Taken at once.
const ROUND: usize = 16;
/// Length of an echo's header: type, code, checksum, identifier, sequence.
const HEADER: usize = 8;
/// Types of a request and its answer in both versions (RFC 792, RFC 4443).
const REQUEST: [u8; 2] = [8, 128];
const ANSWER: [u8; 2] = [0, 129];

/// One `ping` of a container.
#[derive(Debug)]
pub(crate) struct Echo {
    socket: OwnedFd,
    gate: Key,
    from: IpAddr,
    to: IpAddr,
    identifier: [u8; 2],
    used: Instant,
}

impl Server {
    /// Containers ask.
    pub fn take_echoes(&mut self, gate: Key, v6: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(LARGEST, 0);
        for _ in 0..ROUND {
            let Some(socket) = self.gates.get(gate).and_then(|g| g.echoes[usize::from(v6)].as_ref()) else { break };
            match sys::transparent::receive(socket, &mut buffer) {
                Ok((length, from, to)) => {
                    if let Some(echo) =
                        body(&buffer[..length], v6).filter(|e| e.len() >= HEADER && e[0] == REQUEST[usize::from(v6)])
                    {
                        self.ask(gate, from.ip(), to.ip(), echo);
                    }
                }
                Err(Errno::DESTADDRREQ) => {}
                Err(_) => break,
            }
        }
        self.buffer = buffer;
    }

    fn ask(&mut self, gate: Key, from: IpAddr, to: IpAddr, echo: &[u8]) {
        let Some(policy) = self.gates.get(gate).map(|g| &g.policy) else { return };
        if policy.refused.iter().any(|p| p == "icmp") {
            return;
        }
        let target = match policy.target(SocketAddr::new(to, 0)) {
            Target::Host(target) => target,
            Target::Router | Target::Resolver => return self.answer_echo(gate, to, from, echo),
            Target::Nowhere => return,
        };
        let identifier = [echo[4], echo[5]];
        let known = self.echoes.keys(|e| (e.gate, e.from, e.to, e.identifier) == (gate, from, to, identifier)).pop();
        let key = match known.or_else(|| self.begin_echo(gate, from, to, target, identifier)) {
            Some(key) => key,
            None => return,
        };
        let now = self.now;
        if let Some(known) = self.echoes.get_mut(key) {
            known.used = now;
            // The kernel writes identifier and checksum.
            let mut request = echo.to_vec();
            request[0] = REQUEST[usize::from(target.is_ipv6())];
            let _ = rustix::net::send(&known.socket, &request, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }

    /// `None` where the host lets nobody ask without privileges: then there is no answer, as from a host that is down.
    fn begin_echo(
        &mut self,
        gate: Key,
        from: IpAddr,
        to: IpAddr,
        target: SocketAddr,
        identifier: [u8; 2],
    ) -> Option<Key> {
        if self.echoes.len() >= MOST {
            let oldest = self.echoes.iter().min_by_key(|(_, e)| e.used).map(|(key, _)| key);
            oldest.and_then(|key| self.echoes.remove(key));
        }
        let socket = ping(target.is_ipv6()).ok()?;
        rustix::net::connect(&socket, &target).ok()?;
        let key = self.echoes.insert(Echo { socket, gate, from, to, identifier, used: self.now });
        let told = self.poll.source(&self.echoes.get(key)?.socket, Word { kind: kind::ECHO, part: 0, key });
        if told.is_err() {
            self.echoes.remove(key);
            return None;
        }
        Some(key)
    }

    /// The host has an answer.
    pub fn return_echo(&mut self, key: Key) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(LARGEST, 0);
        for _ in 0..ROUND {
            let Some(echo) = self.echoes.get(key) else { break };
            match rustix::net::recv(&echo.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) if length >= HEADER => {
                    buffer[4..6].copy_from_slice(&echo.identifier);
                    let (gate, from, to) = (echo.gate, echo.from, echo.to);
                    self.answer_echo(gate, to, from, &buffer[..length]);
                }
                // News about a host that cannot be reached.
                Ok(_) | Err(Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::CONNREFUSED) => {}
                Err(_) => break,
            }
        }
        self.buffer = buffer;
    }

    /// Sends the answer `echo`, whatever type it bears, from `from` to the container `to`.
    fn answer_echo(&mut self, gate: Key, from: IpAddr, to: IpAddr, echo: &[u8]) {
        let Some(packet) = answer(from, to, echo) else { return };
        let Some(socket) = self.gates.get(gate).and_then(|g| g.echoes[usize::from(to.is_ipv6())].as_ref()) else {
            return;
        };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let _ = rustix::net::sendto(socket, &packet, flags, &SocketAddr::new(to, 0));
    }

    /// Gives up those that nobody uses.
    pub fn sweep_echoes(&mut self) {
        let now = self.now;
        for key in self.echoes.keys(|e| now.saturating_duration_since(e.used) >= UNUSED) {
            self.echoes.remove(key);
        }
    }
}

/// The message in what a raw socket gave: of version 4 the packet's header comes first (raw(7)).
fn body(packet: &[u8], v6: bool) -> Option<&[u8]> {
    if v6 { Some(packet) } else { packet.get(usize::from(packet.first()? & 15) * 4..) }
}

/// A whole packet with an answer.
fn answer(from: IpAddr, to: IpAddr, echo: &[u8]) -> Option<Vec<u8>> {
    const CONTROL: [u8; 2] = [1, 58];
    let version = usize::from(to.is_ipv6());
    let mut message = echo.to_vec();
    message[0] = ANSWER[version];
    message[1] = 0;
    message[2..4].fill(0);
    crate::packet::transport(from, to, CONTROL[version], message, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_request_with_another_type() {
        let request = [8, 0, 0x12, 0x34, 0, 7, 0, 1, b'x'];
        let packet = answer("192.0.2.1".parse().unwrap(), "10.0.2.100".parse().unwrap(), &request).unwrap();
        assert_eq!(&packet[12..20], [192, 0, 2, 1, 10, 0, 2, 100]);
        assert_eq!((packet[20], &packet[24..]), (0, &request[4..]));
        let (from, to) = ("2001:db8::1".parse().unwrap(), "fd00::100".parse().unwrap());
        let packet = answer(from, to, &request).unwrap();
        assert_eq!((packet[40], packet.len()), (129, 49));
        assert!(answer(from, "10.0.2.100".parse().unwrap(), &request).is_none());
        assert_eq!(body(&[0x46; 30], false).unwrap().len(), 6);
        assert_eq!(body(&[0x4f; 20], false), None);
    }
}
