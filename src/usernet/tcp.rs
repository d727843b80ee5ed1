//! Streams: of containers to the world, and of the world to published ports.

use crate::attempt::Pair;
use crate::policy::Target;
use crate::relay::{Next, Relay};
use crate::serve::{Server, is_shortage, kind};
use crate::slab::{Key, Word};
use crate::sockets::{Use, break_off, make};
use rustix::io::Errno;
use rustix::net::{SocketFlags, sockopt};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Accepted at once, before others have their turn.
const ROUND: usize = 32;
/// How long the connections of a container that ended without closing them stay.
const GRACE: Duration = Duration::from_secs(5);
/// When a container that has not answered is asked again for the first time, then after twice as long each time.
const SOON: Duration = Duration::from_millis(4);
/// From when on the kernel asks again by itself.
const LATE: Duration = Duration::from_millis(600);
/// When a silent connection of a container is looked after: one on a bridge can vanish without a word.
const SILENCE: Duration = Duration::from_secs(600);

/// A stream of a container and one of the host, tied together. Side 0 was there first.
#[derive(Debug)]
pub(crate) struct Connection {
    relay: Relay,
    gate: Key,
    /// Which side is the container's.
    inside: usize,
    /// Side 1 is not connected yet.
    connecting: bool,
    /// Between whom it is, where links are watched.
    met: Option<Pair>,
    /// The container has ended; then the connection does, unless the container has closed its side.
    leaving: Option<Instant>,
}

/// Connections to containers that have not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Unanswered {
    all: Vec<Question>,
    /// When the first of them is due.
    next: Option<Instant>,
}

#[derive(Debug)]
struct Question {
    key: Key,
    to: SocketAddr,
    at: Instant,
    wait: Duration,
}

impl Unanswered {
    fn put(&mut self, question: Question) {
        self.next = Some(self.next.map_or(question.at, |next| next.min(question.at)));
        self.all.push(question);
    }

    /// When somebody is to be asked again.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }
}

impl Connection {
    /// There is a time at which it may end.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }
}

impl Server {
    /// A container connects to something.
    pub fn accept_outbound(&mut self, word: Word) {
        for _ in 0..ROUND {
            let Some(gate) = self.gates.get(word.key) else { return };
            let Some(listener) = gate.streams.get(usize::from(word.part)) else { return };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let (stream, from) = match rustix::net::acceptfrom_with(listener, flags) {
                Ok(accepted) => accepted,
                Err(error) if is_shortage(error) => return self.pause(word),
                // Whoever gave up while it waited is no reason not to look at the next.
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(_) => return,
            };
            // A transparent listener's connections are bound to the address that was meant.
            let to = rustix::net::getsockname(&stream).and_then(SocketAddr::try_from);
            let from = from.and_then(|from| SocketAddr::try_from(from).ok());
            let pair = from.zip(to.ok()).map(|(from, to)| Pair { gate: word.key, from, to });
            let connected = match pair.and_then(|pair| self.take_reached(pair)) {
                Some(socket) => Ok((socket, false)),
                None => to.and_then(|to| self.connect_out(word.key, to)),
            };
            match connected {
                Ok((other, connecting)) => {
                    self.tie(stream, other, word.key, 0, connecting);
                }
                Err(error) => {
                    break_off(stream);
                    if is_shortage(error) {
                        return self.pause(word);
                    }
                }
            }
        }
    }

    /// The stream on the host for one that a container opens to `to`, and whether it is still being connected.
    pub fn connect_out(&mut self, gate: Key, to: SocketAddr) -> Result<(OwnedFd, bool), Errno> {
        let policy = &self.gates.get(gate).ok_or(Errno::NODEV)?.policy;
        if policy.refused.iter().any(|p| p == "tcp") {
            return Err(Errno::ACCESS);
        }
        let to = match policy.target(to) {
            Target::Host(to) => to,
            Target::Resolver => self.resolvers.current(),
            Target::Router | Target::Nowhere => return Err(Errno::CONNREFUSED),
        };
        let socket = make(Use::Stream, to.is_ipv6())?;
        if let Some(source) = policy.source_on_host(to.is_ipv6()) {
            rustix::net::bind(&socket, &SocketAddr::new(source, 0))?;
        }
        let connecting = connect(&socket, to)?;
        Ok((socket, connecting))
    }

    /// A client of the host connects to a published port.
    pub fn accept_inbound(&mut self, word: Word) {
        for _ in 0..ROUND {
            let Some(door) = self.doors.get(word.key) else { return };
            let gate = door.gate;
            let (stream, client) =
                match rustix::net::acceptfrom_with(&door.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                    Ok((stream, Some(client))) => (stream, client),
                    Err(error) if is_shortage(error) => return self.pause(word),
                    Ok((_, None)) | Err(Errno::CONNABORTED | Errno::INTR) => continue,
                    Err(_) => return,
                };
            let connected = SocketAddr::try_from(client).and_then(|client| self.connect_in(word.key, client));
            match connected {
                Ok((other, to)) => {
                    let key = self.tie(stream, other, gate, 1, to.is_some());
                    if let Some((key, to)) = key.zip(to) {
                        self.unanswered.put(Question { key, to, at: self.now + SOON, wait: SOON });
                    }
                }
                Err(error) => {
                    break_off(stream);
                    if is_shortage(error) {
                        return self.pause(word);
                    }
                }
            }
        }
    }

    /// A stream to the container behind a door, in the name of `client` if that can be; and whom it still is being connected
    /// to.
    fn connect_in(&mut self, door: Key, client: SocketAddr) -> Result<(OwnedFd, Option<SocketAddr>), Errno> {
        let (device, to, source) = self.way_in(door, client).ok_or(Errno::HOSTUNREACH)?;
        let socket = self.router.socket(Use::Stream, to.is_ipv6())?;
        sys::transparent::to_device(&socket, &device)?;
        if let Some(source) = source {
            let kept = source == client.ip().to_canonical();
            sockopt::set_socket_reuseaddr(&socket, true)?;
            let port = if kept { client.port() } else { 0 };
            match rustix::net::bind(&socket, &SocketAddr::new(source, port)) {
                // The same client's port, at another door or still in the minute after its end.
                Err(Errno::ADDRINUSE) => rustix::net::bind(&socket, &SocketAddr::new(source, 0))?,
                other => other?,
            }
        }
        let connecting = connect(&socket, to)?;
        Ok((socket, connecting.then_some(to)))
    }

    /// A server that has not taken enough of those before drops the packet that opens one more, and the kernel repeats that
    /// after a second. On a link of this host every answer comes at once, so it is asked again after milliseconds.
    pub fn ask_again(&mut self) {
        if self.unanswered.next.is_none_or(|next| next > self.now) {
            return;
        }
        for question in std::mem::take(&mut self.unanswered).all {
            let Some(connection) = self.connections.get(question.key).filter(|c| c.connecting) else { continue };
            if question.at > self.now {
                self.unanswered.put(question);
                continue;
            }
            let side = &connection.relay.sides()[1];
            // It may have been answered just now: of that the next event tells.
            if rustix::net::getpeername(side).is_ok() {
                continue;
            }
            // The same socket, with the client's port, begins anew; what it says of the end of the first attempt is not meant.
            let begun = rustix::net::connect_unspec(side).and_then(|()| {
                let _ = sockopt::socket_error(side);
                connect(side, question.to)
            });
            match begun {
                Ok(_) if question.wait < LATE => {
                    let wait = question.wait * 2;
                    self.unanswered.put(Question { at: self.now + wait, wait, ..question });
                }
                Ok(_) => {}
                Err(_) => self.drop_connection(question.key),
            }
        }
    }

    /// To which interface, to which address there, and from which address a client of a published port is passed on.
    pub fn way_in(&self, door: Key, client: SocketAddr) -> Option<(String, SocketAddr, Option<std::net::IpAddr>)> {
        let door = self.doors.get(door)?;
        let gate = self.gates.get(door.gate)?;
        let v4 = client.ip().to_canonical().is_ipv4();
        let same = door.port.to.iter().find(|to| to.is_ipv4() == v4);
        let to = *same.or(door.port.to.first())?;
        Some((gate.name.clone(), SocketAddr::new(to, door.port.container), gate.policy.source(client.ip(), to)))
    }

    /// Ties a stream of the host, which is connected, to one that is on its way to the container.
    pub fn tie_met(&mut self, pair: Pair, outside: OwnedFd, inside: OwnedFd) {
        let key = self.tie(outside, inside, pair.gate, 1, true);
        if let Some(connection) = key.and_then(|key| self.connections.get_mut(key)) {
            connection.met = Some(pair);
        }
    }

    /// True if there is such a connection already.
    pub fn is_connected(&self, pair: Pair) -> bool {
        self.connections.iter().any(|(_, connection)| connection.met == Some(pair))
    }

    fn tie(&mut self, a: OwnedFd, b: OwnedFd, gate: Key, inside: usize, connecting: bool) -> Option<Key> {
        for socket in [&a, &b] {
            // What comes in small pieces goes out in small pieces.
            let _ = sockopt::set_tcp_nodelay(socket, true);
        }
        let container = if inside == 0 { &a } else { &b };
        let _ = sockopt::set_socket_keepalive(container, true);
        let _ = sockopt::set_tcp_keepidle(container, SILENCE);
        let relay = Relay::new(a, b);
        let key = self.connections.insert(Connection { relay, gate, inside, connecting, met: None, leaving: None });
        let connection = self.connections.get(key)?;
        let told = (0..2).try_for_each(|part| {
            self.poll.stream(&connection.relay.sides()[part], Word { kind: kind::CONNECTION, part: part as u8, key })
        });
        if told.is_err() {
            self.drop_connection(key);
            return None;
        }
        Some(key)
    }

    /// Moves what can be moved; `told` is which side told that it is readable or writable, `None` asks for all.
    pub fn pump(&mut self, key: Key, told: Option<(usize, bool, bool)>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let mut told = told;
        if connection.connecting {
            match told {
                Some((1, _, true)) => {
                    if !matches!(sockopt::socket_error(&connection.relay.sides()[1]), Ok(Ok(()))) {
                        return self.drop_connection(key);
                    }
                    connection.connecting = false;
                    // What side 0 has sent meanwhile was told before.
                    told = None;
                }
                _ => return,
            }
        }
        let next = match told {
            Some((side, readable, writable)) => connection.relay.pump_after(side, readable, writable, &mut self.pipes),
            None => connection.relay.pump(&mut self.pipes),
        };
        match next {
            Next::Wait => {}
            Next::Again => self.again.push(key),
            Next::Over => {
                self.connections.remove(key);
            }
            Next::Broken => self.drop_connection(key),
        }
    }

    fn drop_connection(&mut self, key: Key) {
        if let Some(connection) = self.connections.remove(key) {
            connection.relay.break_off();
        }
    }

    /// The containers behind `gate` have ended.
    pub fn leave_connections(&mut self, gate: Key) {
        for key in self.connections.keys(|c| c.gate == gate) {
            self.pump(key, None);
            if let Some(connection) = self.connections.get_mut(key) {
                connection.leaving = Some(self.now + GRACE);
            }
        }
    }

    /// Ends the connections of containers that are gone; what one had sent before it closed its side may still be on its way.
    pub fn sweep_connections(&mut self) {
        let now = self.now;
        let over = |c: &Connection| c.leaving.is_some_and(|end| end <= now) && !c.relay.has_ended(c.inside);
        for key in self.connections.keys(over) {
            self.drop_connection(key);
        }
    }
}

/// True if it is still being connected.
fn connect(socket: &OwnedFd, to: SocketAddr) -> Result<bool, Errno> {
    match rustix::net::connect(socket, &to) {
        Ok(()) => Ok(false),
        Err(Errno::INPROGRESS | Errno::INTR) => Ok(true),
        Err(error) => Err(error),
    }
}
