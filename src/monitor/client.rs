//! The client's side of a connection to a monitor.

use crate::Error;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use types::attach::{Frame, MAX_DATA};

/// A connection to a monitor.
///
/// Frames are taken in order. While the container does not read its standard input, a `Signal` or `Resize` waits behind
/// the `Stdin` frames already sent: a client that must get through has a second connection for it.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    packet: Vec<u8>,
}

impl Client {
    /// Around a socket that a monitor's frames come from.
    pub fn new(socket: OwnedFd) -> Client {
        Client { socket, packet: Vec::new() }
    }

    /// Connects to the monitor of a running or parked container, by the `run_dir` of its launch. Output from now on is
    /// received. `ENOENT` or `ECONNREFUSED` in the error: there is no monitor any more.
    pub fn connect(run_dir: &Path) -> Result<Client, Error> {
        let path = run_dir.join(crate::record::ATTACH);
        match sys::channel::connect(&path) {
            Ok(socket) => Ok(Client::new(socket)),
            Err(source) => Err(Error::Connect { path, source }),
        }
    }

    /// Sends one frame, waiting while the monitor's queue is full.
    pub fn send(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        self.packet.clear();
        frame.encode(&mut self.packet);
        sys::channel::send(&self.socket, &self.packet).map_err(Error::Connection)
    }

    /// Waits for the next frame; `None` when the monitor is gone.
    pub fn receive(&mut self) -> Result<Option<Frame<'_>>, Error> {
        self.packet.resize(1 + MAX_DATA, 0);
        match sys::channel::receive(&self.socket, &mut self.packet) {
            Ok(0) => Ok(None),
            Ok(length) => Ok(Some(Frame::decode(&self.packet[..length])?)),
            Err(source) => Err(Error::Connection(source)),
        }
    }

    /// The socket, for those who poll.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
