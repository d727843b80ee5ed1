//! Questions that others answer: passed on to servers as they are, over UDP from a port of their own each, over TCP in the
//! thread of the connection that they came by.
//!
//! Must not know: whose questions they are.

use super::packet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How long a server has to answer.
const PATIENCE: Duration = Duration::from_millis(2500);
/// Servers that are asked about one question.
const TRIES: usize = 3;
const PORT: u16 = 53;

/// A question on its way over UDP.
pub(crate) struct Pending {
    socket: UdpSocket,
    query: Vec<u8>,
    end: usize,
    own: u16,
    servers: Vec<IpAddr>,
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
        listener: usize,
        client: SocketAddr,
    ) -> Option<Pending> {
        for asked in 0..servers.len().min(TRIES) {
            if let Some((socket, own)) = send(query, servers[asked]) {
                let (query, until) = (query.to_vec(), Instant::now() + PATIENCE);
                return Some(Pending { socket, query, end, own, servers, asked, until, listener, client });
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
            if let Some((socket, own)) = send(&self.query, self.servers[self.asked]) {
                (self.socket, self.own, self.until) = (socket, own, Instant::now() + PATIENCE);
                return None;
            }
        }
        Some(packet::refusal(&self.query, self.end, packet::FAILED))
    }
}

/// From a port that the kernel chooses, with a number of its own: neither can be guessed.
fn send(query: &[u8], server: IpAddr) -> Option<(UdpSocket, u16)> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
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
pub(crate) fn over_tcp(query: &[u8], end: usize, servers: &[IpAddr]) -> Vec<u8> {
    let ask = |server: &IpAddr| -> Option<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(*server, PORT), PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(&[&(query.len() as u16).to_be_bytes(), query].concat()).ok()?;
        let answer = read_frame(&mut stream)?;
        (answer.get(..2) == query.get(..2) && packet::answers(&answer, query, end)).then_some(answer)
    };
    servers.iter().take(TRIES).find_map(ask).unwrap_or_else(|| packet::refusal(query, end, packet::FAILED))
}

/// A packet after its length (RFC 1035, 4.2.2).
pub(crate) fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut packet = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut packet).ok()?;
    Some(packet)
}
