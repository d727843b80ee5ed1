//! Questions that others answer: passed on to servers as they are, over UDP from a port of their own each, over TCP in the
//! thread of the connection that they came by.
//!
//! Must not know: whose questions they are.

use super::packet;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How long a server has to answer.
const PATIENCE: Duration = Duration::from_millis(2500);
/// Servers that are asked about one question.
const TRIES: usize = 3;
const PORT: u16 = 53;

/// How servers are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As the kernel's routes lead.
    Free,
    /// By way of the loopback device, where somebody stands in for them.
    Loopback,
}

impl Way {
    fn prepare(self, socket: impl AsFd, v6: bool) -> Option<()> {
        match self {
            Way::Free => Some(()),
            // The kernel gives it the server's address as its own, which this host need not have.
            Way::Loopback => {
                let tied = sys::transparent::to_device(&socket, "lo");
                tied.and_then(|()| sys::transparent::transparent(socket, v6)).ok()
            }
        }
    }
}

/// A question on its way over UDP.
pub(crate) struct Pending {
    socket: UdpSocket,
    query: Vec<u8>,
    end: usize,
    own: u16,
    servers: Vec<IpAddr>,
    way: Way,
    asked: usize,
    until: Instant,
    /// Which listener it came by.
    pub listener: usize,
    /// Who asked.
    pub client: SocketAddr,
}

impl Pending {
    /// Asks the first server. `None` if none can be asked.
    pub fn start(
        query: &[u8],
        end: usize,
        servers: Vec<IpAddr>,
        way: Way,
        listener: usize,
        client: SocketAddr,
    ) -> Option<Pending> {
        for asked in 0..servers.len().min(TRIES) {
            if let Some((socket, own)) = send(query, servers[asked], way) {
                let (query, until) = (query.to_vec(), Instant::now() + PATIENCE);
                return Some(Pending { socket, query, end, own, servers, way, asked, until, listener, client });
            }
        }
        None
    }

    /// Where the answer comes.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// When the next server is to be asked.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Takes what came; the answer, if it is one to the question.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Option<Vec<u8>> {
        loop {
            match self.socket.recv(buffer) {
                Ok(length) => {
                    let answer = &buffer[..length];
                    // Others may try to answer in a server's place: the number and the question must be ours.
                    if answer.get(..2) == Some(&self.own.to_be_bytes()[..])
                        && packet::answers(answer, &self.query, self.end)
                    {
                        let mut answer = answer.to_vec();
                        answer[..2].copy_from_slice(&self.query[..2]);
                        return Some(answer);
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
                    self.until = Instant::now();
                    return None;
                }
                Err(_) => return None,
            }
        }
    }

    /// Time is over: asks the next server. The answer that nobody answered, if there is none.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        while self.asked + 1 < self.servers.len().min(TRIES) {
            self.asked += 1;
            if let Some((socket, own)) = send(&self.query, self.servers[self.asked], self.way) {
                (self.socket, self.own, self.until) = (socket, own, Instant::now() + PATIENCE);
                return None;
            }
        }
        Some(packet::refusal(&self.query, self.end, packet::FAILED))
    }
}

/// From a port that the kernel chooses, with a number of its own: neither can be guessed.
fn send(query: &[u8], server: IpAddr, way: Way) -> Option<(UdpSocket, u16)> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    way.prepare(&socket, server.is_ipv6())?;
    socket.set_nonblocking(true).ok()?;
    socket.connect((server, PORT)).ok()?;
    let mut number = [0; 2];
    rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty()).ok()?;
    let mut query = query.to_vec();
    query[..2].copy_from_slice(&number);
    socket.send(&query).ok()?;
    Some((socket, u16::from_be_bytes(number)))
}

/// Asks over TCP, one server after the other, and waits.
pub(crate) fn over_tcp(query: &[u8], end: usize, servers: &[IpAddr], way: Way) -> Vec<u8> {
    let ask = |server: &IpAddr| -> Option<Vec<u8>> {
        let mut stream = connect(*server, way)?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(&[&(query.len() as u16).to_be_bytes(), query].concat()).ok()?;
        let answer = read_frame(&mut stream)?;
        (answer.get(..2) == query.get(..2) && packet::answers(&answer, query, end)).then_some(answer)
    };
    servers.iter().take(TRIES).find_map(ask).unwrap_or_else(|| packet::refusal(query, end, packet::FAILED))
}

fn connect(server: IpAddr, way: Way) -> Option<TcpStream> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).ok()?;
    way.prepare(&socket, server.is_ipv6())?;
    // What sending may take is what connecting may take (socket(7), SO_SNDTIMEO).
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE)).ok()?;
    rustix::net::connect(&socket, &SocketAddr::new(server, PORT)).ok()?;
    Some(socket.into())
}

/// A packet after its length (RFC 1035, 4.2.2).
pub(crate) fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut packet = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut packet).ok()?;
    Some(packet)
}
