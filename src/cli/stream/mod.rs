//! Between this process's standard streams and a monitor: input, output, window size, signals, until the container's
//! process ends or the user detaches.
//!
//! One loop with poll(2) and no thread. Packets to the monitor are queued and never waited for: a container that does
//! not read its input must not keep its output from being read.

mod keys;

pub use keys::Keys;

use crate::failure::Failure;
use crate::program::note;
use engine::{Engine, Session};
use ops::container::Kill;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use sys::reactor::Signals;
use sys::terminal::Raw;
use types::Signal;
use types::attach::{Frame, MAX_DATA};

/// How a stay with a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The process ended with this code.
    Exited(i32),
    /// The user left; it goes on.
    Detached,
    /// The monitor went without a word.
    Lost,
    /// This process ends before the container's: nobody reads its output, or a signal came for it.
    Left {
        /// The exit code of this process.
        code: u8,
        /// The process has ended meanwhile, and the monitor leaves the cleaning up to this client.
        exited: bool,
    },
}

/// What is carried.
#[derive(Debug, Clone)]
pub struct Streams {
    /// Standard input goes to the container.
    pub input: bool,
    /// Its standard output comes here.
    pub output: bool,
    /// Its standard error comes here.
    pub errors: bool,
    /// Signals that this process gets go to the container.
    pub signals: bool,
    /// Keys that detach.
    pub keys: Keys,
}

const SIGPIPE: i32 = 13;
const SIGWINCH: i32 = 28;
/// HUP INT QUIT TERM: the end of this process, which must leave the terminal as it was.
const DEADLY: [i32; 4] = [1, 2, 3, 15];
/// And USR1 USR2 ALRM CONT TSTP, which have a meaning only to the container.
const PROXIED: [i32; 9] = [1, 2, 3, 15, 10, 12, 14, 18, 20];

/// A client made ready before the process starts, so that no signal and no window size is lost.
pub struct Carrier<'a> {
    engine: &'a Engine,
    session: Session,
    streams: Streams,
    signals: Signals,
    // Dropped last of all: the terminal is raw as long as bytes are carried.
    raw: Option<Raw>,
    outgoing: VecDeque<Vec<u8>>,
}

impl<'a> Carrier<'a> {
    /// Prepares the terminal and the signals for `session`.
    pub fn new(engine: &'a Engine, session: Session, mut streams: Streams) -> Result<Carrier<'a>, Failure> {
        streams.input &= session.interactive;
        let caught = if streams.signals { PROXIED.as_slice() } else { DEADLY.as_slice() };
        // A reader of our output that goes must not take us along before the monitor knows who cleans up.
        sys::reactor::ignore(&[SIGPIPE]).map_err(|e| Failure::new(format!("cannot ignore SIGPIPE: {e}")))?;
        let signals = Signals::collect(&[caught, &[SIGWINCH]].concat())
            .map_err(|e| Failure::new(format!("cannot collect signals: {e}")))?;
        let mut carrier = Carrier { engine, session, streams, signals, raw: None, outgoing: VecDeque::new() };
        if carrier.session.terminal {
            let input = rustix::stdio::stdin();
            if carrier.streams.input && sys::terminal::is_terminal(input) {
                let raw =
                    Raw::enter(input).map_err(|e| Failure::new(format!("cannot put the terminal in raw mode: {e}")))?;
                carrier.raw = Some(raw);
            } else if carrier.streams.input {
                note(
                    "Warning: The input device is not a TTY. The --tty and --interactive flags might not work properly",
                );
            }
            carrier.resize();
        }
        carrier.engine.tell_attached(&carrier.session);
        Ok(carrier)
    }

    /// Releases the process.
    pub fn start(&mut self) -> Result<(), ops::Fault> {
        self.engine.start(&mut self.session)
    }

    /// Tells the monitor that this client cleans up after the end.
    pub fn will_clean_up(&mut self) {
        self.queue(&Frame::Cleanup);
    }

    /// Carries until the end.
    pub fn carry(mut self) -> Result<End, Failure> {
        for packet in std::mem::take(&mut self.session.pending) {
            if let Some(end) = self.receive(&packet)? {
                return Ok(end);
            }
        }
        let mut packet = vec![0; 1 + MAX_DATA];
        loop {
            let ready = self.wait()?;
            if ready.signals
                && let Some(end) = self.take_signals()?
            {
                return Ok(end);
            }
            if ready.output {
                match sys::channel::try_receive(&self.session.socket, &mut packet) {
                    Ok(0) => return Ok(End::Lost),
                    Ok(length) => {
                        if let Some(end) = self.receive(&packet[..length])? {
                            return Ok(end);
                        }
                    }
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(e) => return Err(Failure::new(format!("the connection to the monitor broke: {e}"))),
                }
            }
            if ready.input && self.read_input(&mut packet[..MAX_DATA]) {
                self.flush();
                return Ok(End::Detached);
            }
            self.flush();
        }
    }

    fn wait(&self) -> Result<Ready, Failure> {
        let socket = if self.outgoing.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let input = rustix::stdio::stdin();
        let mut polled = vec![
            PollFd::from_borrowed_fd(self.session.socket.as_fd(), socket),
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
        ];
        if self.streams.input && self.outgoing.is_empty() {
            polled.push(PollFd::from_borrowed_fd(input, PollFlags::IN));
        }
        sys::reactor::wait(&mut polled, None)
            .map_err(|e| Failure::new(format!("cannot wait for the container: {e}")))?;
        let came = |at: usize| polled.get(at).is_some_and(|p| p.revents().intersects(!PollFlags::OUT));
        Ok(Ready { output: came(0), signals: came(1), input: came(2) })
    }

    /// One packet of the monitor.
    fn receive(&mut self, packet: &[u8]) -> Result<Option<End>, Failure> {
        let frame = Frame::decode(packet).map_err(|e| Failure::new(format!("the monitor sent {e}")))?;
        let written = match frame {
            Frame::Stdout(bytes) if self.streams.output => write_all(rustix::stdio::stdout(), bytes),
            Frame::Stderr(bytes) if self.streams.errors => write_all(rustix::stdio::stderr(), bytes),
            Frame::Exited { code, .. } => {
                self.engine.tell_exec_died(&self.session, code);
                return Ok(Some(End::Exited(code)));
            }
            Frame::Failed { code, text } => return Err(Failure::new(text).code(code)),
            _ => Ok(()),
        };
        match written {
            Ok(()) => Ok(None),
            Err(Errno::PIPE) => Ok(Some(self.leave(128 + SIGPIPE as u8))),
            Err(error) => {
                note(&format!("Error: cannot write the output: {error}"));
                Ok(Some(self.leave(125)))
            }
        }
    }

    /// Tells the monitor that this client goes, and waits until it knows: it ends the connection, unless the process has
    /// just ended, which it told before it heard.
    fn leave(&mut self, code: u8) -> End {
        self.outgoing.clear();
        let mut packet = Vec::new();
        Frame::Detach.encode(&mut packet);
        // A monitor that has gone cannot be told, but what it said last is still to be read.
        let _ = sys::channel::send(&self.session.socket, &packet);
        let mut exited = false;
        let mut packet = vec![0; 1 + MAX_DATA];
        while let Ok(length @ 1..) = sys::channel::receive(&self.session.socket, &mut packet) {
            exited |= matches!(Frame::decode(&packet[..length]), Ok(Frame::Exited { .. }));
        }
        End::Left { code, exited }
    }

    /// Passes on what was typed. True if it was the keys that detach.
    fn read_input(&mut self, buffer: &mut [u8]) -> bool {
        match rustix::io::read(rustix::stdio::stdin(), &mut *buffer) {
            Ok(0) => {}
            Ok(length) => {
                let detach = if self.session.terminal {
                    let (typed, detach) = self.streams.keys.pass(&buffer[..length]);
                    if !typed.is_empty() {
                        self.queue(&Frame::Stdin(&typed));
                    }
                    detach
                } else {
                    self.queue(&Frame::Stdin(&buffer[..length]));
                    false
                };
                if detach {
                    self.queue(&Frame::Detach);
                }
                return detach;
            }
            Err(Errno::AGAIN | Errno::INTR) => return false,
            // A terminal that is gone, or not ours any more, is the end of input.
            Err(_) => {}
        }
        self.streams.input = false;
        self.queue(&Frame::CloseStdin);
        false
    }

    fn take_signals(&mut self) -> Result<Option<End>, Failure> {
        while let Some(number) = self.signals.take() {
            if number == SIGWINCH {
                self.resize();
            } else if !self.streams.signals {
                return Ok(Some(self.leave(128 + number as u8)));
            } else if self.session.interactive && self.session.exec.is_none() {
                // Input the container does not read may be before it in the socket, so it takes the other way. A container
                // that is just ending cannot be signalled: its end is what comes next.
                let _ = self.engine.kill(&Kill { name: self.session.container.to_string(), signal: Signal(number) });
            } else {
                self.queue(&Frame::Signal(number));
            }
        }
        Ok(None)
    }

    /// Tells the window's size, as seen by whichever of our streams is a terminal.
    fn resize(&mut self) {
        let streams: [BorrowedFd<'_>; 2] = [rustix::stdio::stdin(), rustix::stdio::stdout()];
        if !self.session.terminal {
            return;
        }
        if let Some((rows, columns)) = streams.into_iter().find_map(|fd| sys::terminal::size(fd).ok()) {
            self.queue(&Frame::Resize { rows, columns });
        }
    }

    fn queue(&mut self, frame: &Frame<'_>) {
        let mut packet = Vec::new();
        frame.encode(&mut packet);
        self.outgoing.push_back(packet);
        self.flush();
    }

    /// Sends what the socket takes now. A socket that is broken says so when it is read.
    fn flush(&mut self) {
        while let Some(packet) = self.outgoing.front() {
            match sys::channel::try_send(&self.session.socket, packet) {
                Ok(()) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return,
                Err(_) => return self.outgoing.clear(),
            }
            self.outgoing.pop_front();
        }
    }
}

struct Ready {
    output: bool,
    signals: bool,
    input: bool,
}

/// Writes all of `bytes`, also where somebody made the stream non-blocking.
fn write_all(stream: BorrowedFd<'_>, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(stream, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut polled = [PollFd::from_borrowed_fd(stream, PollFlags::OUT)];
                sys::reactor::wait(&mut polled, None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
