//! Datagrams. Each pair of addresses that speak to each other is a flow, with a socket in the router that stands in for the
//! far side, and one on the host; both are connected, so that the kernel sorts what comes. A flow ends when nobody uses it.

use crate::packet::Unreachable;
use crate::policy::Target;
use crate::serve::{Server, is_shortage, kind};
use crate::slab::{Key, Word};
use crate::sockets::{Use, make};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, sockopt};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Taken at once, before others have their turn.
const ROUND: usize = 64;
/// More than the largest datagram.
const LARGEST: usize = 65536;
/// At most; then the one unused for longest goes.
const FLOWS: usize = 4096;
/// How long a flow stays unused: one that was never answered, and one that was.
const UNANSWERED: Duration = Duration::from_secs(30);
const ANSWERED: Duration = Duration::from_secs(180);
/// A question asked again after this long means that the resolver does not answer.
const PATIENCE: Duration = Duration::from_millis(900);

/// Between whom a flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// A gate, or a door.
    at: Key,
    door: bool,
    from: SocketAddr,
    to: SocketAddr,
}

/// See above.
#[derive(Debug)]
pub(crate) struct Flow {
    /// The router's socket, and the host's.
    sides: [OwnedFd; 2],
    gate: Key,
    place: Place,
    /// From a client of a published port: what the container answers is between these.
    answer: Option<(SocketAddr, SocketAddr)>,
    used: Instant,
    answered: bool,
    /// To a resolver: the question, for the next one if this one does not answer.
    question: Option<Vec<u8>>,
}

impl Server {
    /// A container sends something for which there is no flow yet (or it came just before there was).
    pub fn take_outbound(&mut self, word: Word) {
        let mut buffer = self.take_buffer();
        for _ in 0..ROUND {
            let Some(gate) = self.gates.get(word.key) else { break };
            let Some(socket) = gate.datagrams.get(usize::from(word.part)) else { break };
            match sys::transparent::receive(socket, &mut buffer) {
                Ok((length, from, to)) => self.send_out(word.key, from, to, &buffer[..length]),
                Err(Errno::DESTADDRREQ) => {}
                Err(error) if is_shortage(error) => {
                    self.pause(word);
                    break;
                }
                Err(_) => break,
            }
        }
        self.buffer = buffer;
    }

    /// A client of the host sends something to a published port.
    pub fn take_inbound(&mut self, word: Word) {
        let mut buffer = self.take_buffer();
        for _ in 0..ROUND {
            let Some(door) = self.doors.get(word.key) else { break };
            match sys::transparent::receive(&door.socket, &mut buffer) {
                Ok((length, client, local)) => self.send_in(word.key, client, local, &buffer[..length]),
                Err(Errno::DESTADDRREQ) => {}
                Err(error) if is_shortage(error) => {
                    self.pause(word);
                    break;
                }
                Err(_) => break,
            }
        }
        self.buffer = buffer;
    }

    /// Room for the largest datagram.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(LARGEST, 0);
        buffer
    }

    fn send_out(&mut self, gate: Key, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if let Some(key) = self.flow_out(gate, from, to).or_else(|| self.begin_flow_out(gate, from, to)) {
            self.forward(key, 0, bytes);
        }
    }

    /// What a container sends to somebody, if that began.
    pub fn flow_out(&self, gate: Key, from: SocketAddr, to: SocketAddr) -> Option<Key> {
        self.places.get(&Place { at: gate, door: false, from, to }).copied()
    }

    /// The same begins.
    pub fn begin_flow_out(&mut self, gate: Key, from: SocketAddr, to: SocketAddr) -> Option<Key> {
        self.begin(|server| server.connect_flow_out(Place { at: gate, door: false, from, to }))
    }

    /// True if a container sends this back to a client of a published port.
    pub fn is_answer(&self, gate: Key, from: SocketAddr, to: SocketAddr) -> bool {
        self.answers.contains(&(gate, from, to))
    }

    fn send_in(&mut self, door: Key, client: SocketAddr, local: SocketAddr, bytes: &[u8]) {
        let place = Place { at: door, door: true, from: client, to: local };
        let key = match self.places.get(&place) {
            Some(key) => Some(*key),
            None => self.begin(|server| server.connect_flow_in(place)),
        };
        if let Some(key) = key {
            self.forward(key, 1, bytes);
        }
    }

    /// Makes a flow; where something has run out, older ones go for it. What cannot be sent is lost, as datagrams may be.
    fn begin(&mut self, make: impl Fn(&mut Server) -> Result<Flow, Errno>) -> Option<Key> {
        if self.flows.len() >= FLOWS {
            self.drop_oldest(1);
        }
        let flow = match make(self) {
            Err(error) if is_shortage(error) && self.flows.len() > 0 => {
                self.drop_oldest(self.flows.len().div_ceil(4));
                make(self).ok()?
            }
            other => other.ok()?,
        };
        let (place, gate, answer) = (flow.place, flow.gate, flow.answer);
        let key = self.flows.insert(flow);
        let flow = self.flows.get(key)?;
        let told = (0..2)
            .try_for_each(|part| self.poll.source(&flow.sides[part], Word { kind: kind::FLOW, part: part as u8, key }));
        if told.is_err() {
            self.flows.remove(key);
            return None;
        }
        self.places.insert(place, key);
        self.answers.extend(answer.map(|(from, to)| (gate, from, to)));
        Some(key)
    }

    fn connect_flow_out(&mut self, place: Place) -> Result<Flow, Errno> {
        let gate = self.gates.get(place.at).ok_or(Errno::NODEV)?;
        if gate.policy.refused.iter().any(|p| p == "udp") {
            return Err(Errno::ACCESS);
        }
        let (name, mut question) = (gate.name.clone(), None);
        let to = match gate.policy.target(place.to) {
            Target::Host(to) => to,
            Target::Resolver => {
                question = Some(Vec::new());
                self.resolvers.current()
            }
            Target::Router | Target::Nowhere => return Err(Errno::CONNREFUSED),
        };
        let source = gate.policy.source_on_host(to.is_ipv6());
        let outside = make(Use::Datagram, to.is_ipv6())?;
        if let Some(source) = source {
            rustix::net::bind(&outside, &SocketAddr::new(source, 0))?;
        }
        rustix::net::connect(&outside, &to)?;
        let inside = self.stand_in(&name, place.to, place.from)?;
        Ok(self.flow([inside, outside], place.at, place, None, question))
    }

    fn connect_flow_in(&mut self, place: Place) -> Result<Flow, Errno> {
        let (name, to, source) = self.way_in(place.at, place.from).ok_or(Errno::HOSTUNREACH)?;
        let gate = self.doors.get(place.at).ok_or(Errno::NODEV)?.gate;
        let client = SocketAddr::new(place.from.ip().to_canonical(), place.from.port());
        let source = match source {
            Some(ip) if ip == client.ip() => SocketAddr::new(ip, client.port()),
            Some(ip) => SocketAddr::new(ip, 0),
            None => crate::attach::any(to.is_ipv6(), 0),
        };
        let inside = self.stand_in(&name, source, to)?;
        let stands_in = SocketAddr::try_from(rustix::net::getsockname(&inside)?)?;
        let local = SocketAddr::new(place.to.ip().to_canonical(), place.to.port());
        let outside = make(Use::Datagram, local.is_ipv6())?;
        sockopt::set_socket_reuseaddr(&outside, true)?;
        rustix::net::bind(&outside, &local)?;
        rustix::net::connect(&outside, &client)?;
        Ok(self.flow([inside, outside], gate, place, Some((to, stands_in)), None))
    }

    fn flow(
        &self,
        sides: [OwnedFd; 2],
        gate: Key,
        place: Place,
        answer: Option<(SocketAddr, SocketAddr)>,
        question: Option<Vec<u8>>,
    ) -> Flow {
        Flow { sides, gate, place, answer, used: self.now, answered: false, question }
    }

    /// A socket of the router that speaks as `from` to `to` behind interface `name`.
    fn stand_in(&mut self, name: &str, from: SocketAddr, to: SocketAddr) -> Result<OwnedFd, Errno> {
        let socket = self.router.socket(Use::Datagram, to.is_ipv6())?;
        sys::transparent::to_device(&socket, name)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &from)?;
        rustix::net::connect(&socket, &to)?;
        Ok(socket)
    }

    /// Something came on side `from` of a flow.
    pub fn pass(&mut self, key: Key, from: usize) {
        let mut buffer = self.take_buffer();
        for _ in 0..ROUND {
            let Some(flow) = self.flows.get(key) else { break };
            match rustix::net::recvfrom(&flow.sides[from], &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _, sender)) => {
                    let place = flow.place;
                    let sender = sender.and_then(|s| SocketAddr::try_from(s).ok());
                    // It came before the socket was connected: another pair's, that has no flow yet.
                    if from == 0 && !place.door && sender.is_some_and(|s| !same(s, place.from)) {
                        self.send_out(place.at, sender.unwrap_or(place.from), place.to, &buffer[..length]);
                    } else {
                        self.forward(key, from, &buffer[..length]);
                    }
                }
                Err(Errno::CONNREFUSED) if from == 1 => self.nobody_there(key),
                // Other news about what was sent before.
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(_) => {}
            }
        }
        self.buffer = buffer;
    }

    /// Sends on what came on side `from`.
    pub fn forward(&mut self, key: Key, from: usize, bytes: &[u8]) {
        let now = self.now;
        let Some(flow) = self.flows.get_mut(key) else { return };
        let waited = now.duration_since(flow.used);
        flow.used = now;
        // The answer comes from the other side than the beginning.
        flow.answered |= (from == 0) == flow.place.door;
        if let (0, Some(question)) = (from, &mut flow.question) {
            let again = !flow.answered && !question.is_empty() && waited > PATIENCE;
            question.clear();
            question.extend_from_slice(bytes);
            if again {
                return self.ask_next(key);
            }
        }
        let _ = rustix::net::send(&flow.sides[1 - from], bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }

    /// The far side says that nobody listens: a container hears the same, a resolver's place is taken by the next.
    fn nobody_there(&mut self, key: Key) {
        let Some(Flow { place, gate, question, .. }) = self.flows.get(key) else { return };
        let (place, gate) = (*place, *gate);
        if question.is_some() {
            return self.ask_next(key);
        }
        if place.door {
            return;
        }
        const UDP: u8 = 17;
        const HEADER: u16 = 8;
        let ports = [place.from.port(), place.to.port(), HEADER, 0];
        let sent = ports.iter().flat_map(|word| word.to_be_bytes()).collect();
        let packet = crate::packet::unreachable(place.from.ip(), place.to.ip(), UDP, sent, Unreachable::Port);
        let v6 = usize::from(place.from.is_ipv6());
        if let (Some(packet), Some(socket)) = (packet, self.gates.get(gate).and_then(|g| g.echoes[v6].as_ref())) {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let _ = rustix::net::sendto(socket, &packet, flags, &SocketAddr::new(place.from.ip(), 0));
        }
    }

    /// The resolver of a flow does not answer, or says that there is none: the next one is asked, once round.
    fn ask_next(&mut self, key: Key) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        let Some(question) = flow.question.as_mut().filter(|q| !q.is_empty()) else { return };
        let was = rustix::net::getpeername(&flow.sides[1]).ok().flatten().and_then(|a| SocketAddr::try_from(a).ok());
        if was == Some(self.resolvers.current()) {
            self.resolvers.next();
        }
        let to = self.resolvers.current();
        if was == Some(to) {
            return;
        }
        let Ok(socket) = make(Use::Datagram, to.is_ipv6()) else { return };
        if rustix::net::connect(&socket, &to).is_err()
            || self.poll.source(&socket, Word { kind: kind::FLOW, part: 1, key }).is_err()
        {
            return;
        }
        let _ = rustix::net::send(&socket, question, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        flow.sides[1] = socket;
        // Asked once of each: who asks again begins a new round.
        question.clear();
    }

    fn drop_flow(&mut self, key: Key) {
        if let Some(flow) = self.flows.remove(key) {
            self.places.remove(&flow.place);
            if let Some((from, to)) = flow.answer {
                self.answers.remove(&(flow.gate, from, to));
            }
        }
    }

    fn drop_oldest(&mut self, count: usize) {
        let mut all: Vec<(Instant, Key)> = self.flows.iter().map(|(key, flow)| (flow.used, key)).collect();
        all.sort_by_key(|(used, _)| *used);
        all.into_iter().take(count).for_each(|(_, key)| self.drop_flow(key));
    }

    /// The containers behind `gate` have ended: what they sent goes out.
    pub fn leave_flows(&mut self, gate: Key) {
        for key in self.flows.keys(|flow| flow.gate == gate) {
            self.pass(key, 0);
            self.drop_flow(key);
        }
    }

    /// A published port leads elsewhere: its clients begin anew.
    pub fn drop_flows_of_door(&mut self, door: Key) {
        for key in self.flows.keys(|flow| flow.place.door && flow.place.at == door) {
            self.drop_flow(key);
        }
    }

    /// Ends flows that nobody uses.
    pub fn sweep_flows(&mut self) {
        let now = self.now;
        let over =
            |flow: &Flow| now.saturating_duration_since(flow.used) >= if flow.answered { ANSWERED } else { UNANSWERED };
        for key in self.flows.keys(over) {
            self.drop_flow(key);
        }
    }
}

/// The same address and port, whatever the interface (of link-local addresses) is called.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    let plain = |a: SocketAddr| -> (IpAddr, u16) { (a.ip(), a.port()) };
    plain(a) == plain(b)
}
