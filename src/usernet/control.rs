//! How commands speak to the process: packets over a socket in its directory, one request and one answer each.
//!
//! A request is a word, and a container's id: `attach ID` (its record is there), `detach ID`, or `router`, whose answer
//! brings a descriptor of the router's network namespace, and the path by which that can be opened. An answer is `ok` with
//! what was asked for, or `error` with a [`Told`] as JSON.

use crate::record::Attachment;
use crate::serve::{Server, kind};
use crate::slab::{Key, Word};
use crate::{Error, Told};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The socket's name in the directory.
pub(crate) const NAME: &str = "control";
/// Longer than any request or answer.
pub(crate) const PACKET: usize = 4096;
/// Commands that are connected at once; more wait.
const CLIENTS: usize = 128;

/// A command that is connected.
#[derive(Debug)]
pub(crate) struct Client {
    socket: OwnedFd,
}

/// The file whose lock says that somebody needs the process.
pub(crate) fn lock_file(directory: &Path) -> Result<OwnedFd, Error> {
    let path = directory.join("lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600))
        .map_err(|source| Error::Record { path, source: source.into() })
}

/// Takes the place of a predecessor, who is gone: the caller has seen to that.
pub(crate) fn listen(directory: &Path) -> Result<OwnedFd, Error> {
    let path = directory.join(NAME);
    let _ = std::fs::remove_file(&path);
    sys::channel::listen(&path).map_err(|source| Error::Record { path, source: source.into() })
}

impl Server {
    /// A command connects.
    pub fn accept_client(&mut self) {
        let Ok(socket) = sys::channel::accept(&self.listener) else { return };
        if self.clients.len() >= CLIENTS {
            return;
        }
        self.add_client(socket);
    }

    /// Serves a command that is connected.
    pub fn add_client(&mut self, socket: OwnedFd) {
        let key = self.clients.insert(Client { socket });
        let told =
            self.clients.get(key).map(|c| self.poll.source(&c.socket, Word { kind: kind::CLIENT, part: 0, key }));
        if !matches!(told, Some(Ok(()))) {
            self.clients.remove(key);
        }
    }

    /// A command asks, or has gone.
    pub fn answer(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        let mut packet = [0; PACKET];
        let request = match sys::channel::try_receive(&client.socket, &mut packet) {
            Ok(length) if length > 0 => String::from_utf8_lossy(&packet[..length]).into_owned(),
            Err(rustix::io::Errno::AGAIN) => return,
            _ => {
                self.clients.remove(key);
                return;
            }
        };
        let (answer, with) = match self.do_as_asked(&request) {
            Ok(true) => {
                let number = std::os::fd::AsRawFd::as_raw_fd(&self.namespace);
                (format!("ok/proc/{}/fd/{number}", std::process::id()), true)
            }
            Ok(false) => ("ok".to_owned(), false),
            Err(error) => (format!("error{}", serde_json::to_string(&Told::of(&error)).unwrap_or_default()), false),
        };
        let Some(client) = self.clients.get(key) else { return };
        let descriptors: &[BorrowedFd<'_>] = if with { &[self.namespace.as_fd()] } else { &[] };
        if sys::channel::send_descriptors(&client.socket, answer.as_bytes(), descriptors).is_err() {
            self.clients.remove(key);
        }
    }

    /// True if the namespace is to go with the answer.
    fn do_as_asked(&mut self, request: &str) -> Result<bool, Error> {
        match request.split_once(' ').unwrap_or((request, "")) {
            ("router", _) => return Ok(true),
            ("attach", id) => {
                let attachment = Attachment::read(&self.directory, id)?;
                self.attach(attachment)?;
            }
            ("detach", id) => {
                if let Some(key) = self.attached_id(id) {
                    self.detach(key);
                }
            }
            _ => return Err(Error::Request(request.to_owned())),
        }
        Ok(false)
    }
}
