//! The sockets of the name server: one of UDP and one of TCP at the host's address in each network, one loop, and a thread
//! for each connection over TCP.
//!
//! Must not know: what names there are ([`super::Names`]).

use super::forward::{Pending, Way, over_tcp, read_frame};
use super::packet::{self, Wrong};
use super::{Decision, Names};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use std::collections::HashMap;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Connections over TCP at one time, and those of one container: who holds all of its own holds up nobody else.
const CONNECTIONS: usize = 256;
const CONNECTIONS_OF_ONE: usize = 64;
/// Questions on their way to others at one time, and those of one container.
const PENDING: usize = 512;
const PENDING_OF_ONE: usize = 128;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(10);
const PORT: u16 = 53;

struct Listener {
    network: String,
    address: IpAddr,
    udp: UdpSocket,
    tcp: TcpListener,
}

/// The server.
pub(crate) struct Server {
    names: Arc<Mutex<Arc<Names>>>,
    listeners: Vec<Listener>,
    pending: Vec<Pending>,
    connections: Arc<Mutex<HashMap<IpAddr, usize>>>,
    way: Way,
}

impl Server {
    /// One that listens nowhere yet, and asks others in this way.
    pub fn new(way: Way) -> Server {
        Server {
            way,
            names: Arc::new(Mutex::new(Arc::new(Names::default()))),
            listeners: Vec::new(),
            pending: Vec::new(),
            connections: Arc::default(),
        }
    }

    /// Answers by other names from now on. Sockets that stay keep what waits in them. Gives the networks that are served.
    pub fn reload(&mut self, names: Names) -> Vec<String> {
        let wanted = names.listeners();
        let before = self.listeners.len();
        self.listeners.retain(|l| wanted.iter().any(|(n, a)| *n == l.network && *a == l.address));
        if self.listeners.len() != before {
            // Their places in the list have changed: whoever asked asks again.
            self.pending.clear();
        }
        for (network, address) in wanted {
            if !self.listeners.iter().any(|l| l.network == network && l.address == address)
                && let Ok((udp, tcp)) = open(address)
            {
                self.listeners.push(Listener { network, address, udp, tcp });
            }
        }
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(names);
        let mut served: Vec<String> = self.listeners.iter().map(|l| l.network.clone()).collect();
        served.dedup();
        served
    }

    /// Waits until one of `others` is ready, or `limit` is over, and answers meanwhile. Gives which one it was.
    pub fn run(&mut self, others: &[BorrowedFd<'_>], limit: Option<Instant>) -> Option<usize> {
        let mut buffer = vec![0; 65535];
        loop {
            let next = self.pending.iter().map(Pending::until).chain(limit).min();
            let timeout = next.map(|n| n.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
            let ready = {
                let sockets = self.listeners.iter().flat_map(|l| [l.udp.as_fd(), l.tcp.as_fd()]);
                let all = others.iter().copied().chain(sockets).chain(self.pending.iter().map(Pending::fd));
                let mut polled: Vec<PollFd<'_>> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
                if sys::reactor::wait(&mut polled, timeout).is_err() {
                    return None;
                }
                polled.iter().map(|p| !p.revents().is_empty()).collect::<Vec<bool>>()
            };
            // Names first: a container that was started after its name was written down is known.
            if let Some(other) = ready[..others.len()].iter().position(|r| *r) {
                return Some(other);
            }
            let (sockets, pending) = ready[others.len()..].split_at(self.listeners.len() * 2);
            self.take_answers(pending, &mut buffer);
            for (at, ready) in sockets.chunks(2).enumerate() {
                if ready[0] {
                    self.take_packets(at, &mut buffer);
                }
                if ready[1] {
                    self.take_connections(at);
                }
            }
            if limit.is_some_and(|l| l <= Instant::now()) {
                return None;
            }
        }
    }

    fn names(&self) -> Arc<Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take_packets(&mut self, at: usize, buffer: &mut [u8]) {
        let names = self.names();
        // Not for ever: others wait too.
        for _ in 0..64 {
            let listener = &self.listeners[at];
            let Ok((length, client)) = listener.udp.recv_from(buffer) else { return };
            let query = &buffer[..length];
            let answer = match consider(&names, &listener.network, client.ip(), query, packet::UDP_LIMIT) {
                Considered::Answer(answer) => answer,
                Considered::Silent => continue,
                Considered::Forward(end, _) if self.is_full(client.ip()) => packet::refusal(query, end, packet::FAILED),
                Considered::Forward(end, servers) => match Pending::start(query, end, servers, self.way, at, client) {
                    Some(pending) => {
                        self.pending.push(pending);
                        continue;
                    }
                    None => packet::refusal(query, end, packet::FAILED),
                },
            };
            // Whoever asked may be gone.
            let _ = listener.udp.send_to(&answer, client);
        }
    }

    fn is_full(&self, client: IpAddr) -> bool {
        self.pending.len() >= PENDING
            || self.pending.iter().filter(|pending| pending.client.ip() == client).count() >= PENDING_OF_ONE
    }

    fn take_answers(&mut self, ready: &[bool], buffer: &mut [u8]) {
        let now = Instant::now();
        let mut at = 0;
        for ready in ready {
            let pending = &mut self.pending[at];
            let answer = if *ready { pending.receive(buffer) } else { None };
            let answer = answer.or_else(|| if pending.until() <= now { pending.next() } else { None });
            match answer {
                Some(answer) => {
                    let pending = self.pending.remove(at);
                    let _ = self.listeners[pending.listener].udp.send_to(&answer, pending.client);
                }
                None => at += 1,
            }
        }
    }

    fn take_connections(&mut self, at: usize) {
        while let Ok((stream, client)) = self.listeners[at].tcp.accept() {
            if !self.begin_connection(client.ip()) {
                continue;
            }
            let (names, connections) = (self.names.clone(), self.connections.clone());
            let (network, way) = (self.listeners[at].network.clone(), self.way);
            let serve = move || {
                converse(stream, client.ip(), &network, &names, way);
                end_connection(&connections, client.ip());
            };
            if std::thread::Builder::new().stack_size(64 << 10).spawn(serve).is_err() {
                end_connection(&self.connections, client.ip());
            }
        }
    }

    /// False if there are too many already.
    fn begin_connection(&self, client: IpAddr) -> bool {
        let mut all = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if all.values().sum::<usize>() >= CONNECTIONS || all.get(&client).is_some_and(|n| *n >= CONNECTIONS_OF_ONE) {
            return false;
        }
        *all.entry(client).or_default() += 1;
        true
    }
}

fn end_connection(connections: &Mutex<HashMap<IpAddr, usize>>, client: IpAddr) {
    let mut all = connections.lock().unwrap_or_else(PoisonError::into_inner);
    match all.get_mut(&client) {
        Some(count) if *count > 1 => *count -= 1,
        _ => drop(all.remove(&client)),
    }
}

/// Answers what comes by a connection, until it ends or is silent.
fn converse(mut stream: TcpStream, client: IpAddr, network: &str, names: &Mutex<Arc<Names>>, way: Way) {
    let ready = stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(SILENCE)));
    if ready.and_then(|()| stream.set_write_timeout(Some(SILENCE))).is_err() {
        return;
    }
    while let Some(query) = read_frame(&mut stream) {
        let now = names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = match consider(&now, network, client, &query, usize::from(u16::MAX)) {
            Considered::Answer(answer) => answer,
            Considered::Silent => return,
            Considered::Forward(end, servers) => over_tcp(&query, end, &servers, way),
        };
        if stream.write_all(&[&(answer.len() as u16).to_be_bytes(), &answer[..]].concat()).is_err() {
            return;
        }
    }
}

enum Considered {
    Answer(Vec<u8>),
    Forward(usize, Vec<IpAddr>),
    Silent,
}

fn consider(names: &Names, network: &str, client: IpAddr, query: &[u8], limit: usize) -> Considered {
    let question = match packet::read(query) {
        Ok(question) => question,
        Err(Wrong::Silent) => return Considered::Silent,
        Err(Wrong::Code(code)) => return Considered::Answer(packet::refusal(query, 0, code)),
    };
    let end = question.end;
    match names.decide(network, client, &question) {
        Decision::Answer(records) => Considered::Answer(packet::answer(query, end, &records, limit)),
        Decision::Unknown => Considered::Answer(packet::refusal(query, end, packet::NO_NAME)),
        Decision::Refuse => Considered::Answer(packet::refusal(query, end, packet::REFUSED)),
        Decision::Forward(servers) => Considered::Forward(end, servers),
    }
}

/// Both sockets at an address, which the host need not have yet.
fn open(address: IpAddr) -> rustix::io::Result<(UdpSocket, TcpListener)> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = |kind, protocol| -> rustix::io::Result<OwnedFd> {
        let socket = rustix::net::socket_with(family, kind, flags, Some(protocol))?;
        match address {
            IpAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
            IpAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
        }
        sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &SocketAddr::new(address, PORT))?;
        Ok(socket)
    };
    let tcp = socket(SocketType::STREAM, ipproto::TCP)?;
    rustix::net::listen(&tcp, 128)?;
    Ok((socket(SocketType::DGRAM, ipproto::UDP)?.into(), tcp.into()))
}
