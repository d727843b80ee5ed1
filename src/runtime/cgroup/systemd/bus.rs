//! A connection to a message bus: logging in, calls and their answers, and signals that come in between.

use super::wire::{self, ERROR, Message, REPLY, SIGNAL, Target, Writer};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// There is no bus, or it went away.
    #[error("the bus at {path:?} cannot be used")]
    Connection {
        /// Its socket.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What came is no D-Bus.
    #[error("the bus does not speak the protocol: {0}")]
    Protocol(&'static str),
    /// The call was refused.
    #[error("{message} ({name})")]
    Refused {
        /// The error's name.
        name: String,
        /// What it says.
        message: String,
    },
    /// Nothing came.
    #[error("no answer within {0} seconds")]
    Silent(u64),
}

const BUS: Target =
    Target { destination: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that is logged in.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    path: std::path::PathBuf,
    serial: u32,
    bytes: Vec<u8>,
    /// Signals that came while an answer was waited for.
    signals: Vec<Message>,
    deadline: Instant,
}

impl Bus {
    /// Connects to the socket `path`, as the user who the kernel says this process is: the bus asks it (`SO_PEERCRED`), so
    /// that it holds in a user namespace too.
    pub fn connect(path: &Path) -> Result<Bus, BusError> {
        let fail = |source| BusError::Connection { path: path.into(), source };
        let stream = UnixStream::connect(path).map_err(fail)?;
        let deadline = Instant::now() + PATIENCE;
        let mut bus = Bus { stream, path: path.into(), serial: 0, bytes: Vec::new(), signals: Vec::new(), deadline };
        bus.send(b"\0AUTH EXTERNAL\r\n")?;
        if !bus.line()?.starts_with(b"DATA") {
            return Err(BusError::Protocol("it does not let this user in"));
        }
        bus.send(b"DATA\r\n")?;
        if !bus.line()?.starts_with(b"OK ") {
            return Err(BusError::Protocol("it does not let this user in"));
        }
        bus.send(b"BEGIN\r\n")?;
        bus.call(BUS, "Hello", "", |_| {})?;
        Ok(bus)
    }

    /// Asks for the signals that `rule` matches.
    pub fn listen(&mut self, rule: &str) -> Result<(), BusError> {
        self.call(BUS, "AddMatch", "s", |w| w.text(rule)).map(drop)
    }

    /// Calls, and waits for the answer.
    pub fn call(
        &mut self,
        target: Target,
        member: &str,
        signature: &str,
        write: impl FnOnce(&mut Writer),
    ) -> Result<Message, BusError> {
        self.serial += 1;
        self.deadline = Instant::now() + PATIENCE;
        let (serial, message) = (self.serial, wire::call(target, member, self.serial, signature, write));
        self.send(&message)?;
        loop {
            let message = self.receive()?;
            match message.kind {
                REPLY if message.answers == serial => return Ok(message),
                ERROR if message.answers == serial => {
                    let text = message.texts().into_iter().next().unwrap_or_default();
                    return Err(BusError::Refused { name: message.error, message: text });
                }
                SIGNAL => self.signals.push(message),
                _ => {}
            }
        }
    }

    /// Waits for a signal `member` of which `wanted` makes something of its arguments.
    pub fn wait<T>(&mut self, member: &str, wanted: impl Fn(&[String]) -> Option<T>) -> Result<T, BusError> {
        self.deadline = Instant::now() + PATIENCE;
        let mut came = std::mem::take(&mut self.signals);
        loop {
            for message in came.drain(..).filter(|message| message.kind == SIGNAL && message.member == member) {
                if let Some(found) = wanted(&message.texts()) {
                    return Ok(found);
                }
            }
            came.push(self.receive()?);
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), BusError> {
        self.stream.write_all(bytes).map_err(|source| BusError::Connection { path: self.path.clone(), source })
    }

    /// A line of the log-in, without its end.
    fn line(&mut self) -> Result<Vec<u8>, BusError> {
        loop {
            if let Some(end) = self.bytes.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.bytes[..end].to_vec();
                self.bytes.drain(..end + 2);
                return Ok(line);
            }
            if self.bytes.len() > 4096 {
                return Err(BusError::Protocol("a line without end"));
            }
            self.more()?;
        }
    }

    fn receive(&mut self) -> Result<Message, BusError> {
        loop {
            if let Some(length) = wire::length(&self.bytes).map_err(BusError::Protocol)?
                && self.bytes.len() >= length
            {
                let message = Message::read(&self.bytes[..length]);
                self.bytes.drain(..length);
                return message.ok_or(BusError::Protocol("a message that ends too early"));
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> Result<(), BusError> {
        let fail = |source| BusError::Connection { path: self.path.clone(), source };
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(BusError::Silent(PATIENCE.as_secs()));
        }
        self.stream.set_read_timeout(Some(left)).map_err(fail)?;
        let mut piece = [0u8; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(fail(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                self.bytes.extend(&piece[..count]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(BusError::Silent(PATIENCE.as_secs()))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(fail(error)),
        }
    }
}
