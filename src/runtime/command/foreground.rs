//! Waiting for a process of a container in the foreground: signals go to it, its terminal is relayed, its exit code is ours.
//!
//! Must not know: how the process was made.

use super::failure::Failure;
use super::log::Log;
use super::readiness::Readiness;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};
use std::os::fd::{AsFd, OwnedFd};
use sys::reactor::Signals;
use sys::terminal::Raw;

const SIGCHLD: i32 = 17;
const SIGWINCH: i32 = 28;
/// What is passed on: all but faults of our own, what cannot be caught, and what stops readers and writers of a terminal.
const SIGNALS: &[i32] = &[1, 2, 3, 10, 12, 14, 15, 16, SIGCHLD, 18, 20, 23, 24, 26, 27, SIGWINCH, 29, 30];

/// Collects signals from now on: one that comes while the process is made waits.
pub(crate) fn prepare(subreaper: bool) -> Result<Signals, Failure> {
    let failed = |source| Failure::Kernel { step: "collect signals", source };
    if subreaper {
        // What a container without a pid namespace of its own leaves comes to us, and not to the machine's first process.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(failed)?;
    }
    Signals::collect(SIGNALS).map_err(failed)
}

/// A terminal of the container, on ours.
#[derive(Debug)]
pub(crate) struct Console {
    socket: OwnedFd,
    attached: Option<(OwnedFd, Option<Raw>)>,
}

impl Console {
    /// The console, and the socket over which its terminal is to be sent.
    pub fn prepare() -> Result<(Console, OwnedFd), Failure> {
        let (socket, theirs) =
            sys::channel::pair().map_err(|source| Failure::Kernel { step: "make a console socket", source })?;
        Ok((Console { socket, attached: None }, theirs))
    }

    /// Takes the terminal, which was sent: gives it the size of ours, and puts ours in raw mode.
    pub fn attach(&mut self) -> Result<(), Failure> {
        let failed = |source| Failure::Kernel { step: "take the terminal", source };
        let (_, mut descriptors) = sys::channel::receive_descriptors(&self.socket, &mut [0; 64]).map_err(failed)?;
        let master = descriptors.pop().ok_or(failed(Errno::NOMSG))?;
        rustix::io::ioctl_fionbio(&master, true).map_err(failed)?;
        let input = rustix::stdio::stdin();
        let raw = sys::terminal::is_terminal(input).then(|| Raw::enter(input)).transpose().map_err(failed)?;
        resize(&master);
        self.attached = Some((master, raw));
        Ok(())
    }
}

/// The size of our terminal, if we have one, is that of the container's.
fn resize(master: &OwnedFd) {
    if let Ok((rows, columns)) = sys::terminal::size(rustix::stdio::stdin()) {
        let _ = sys::terminal::resize(master, rows, columns);
    }
}

/// Waits for our child `pid`; returns its exit code, 128 + n after signal n. Meanwhile the manager of services is told when
/// it is ready.
pub(crate) fn wait(
    pid: i32,
    signals: &Signals,
    console: Option<Console>,
    mut readiness: Option<(Readiness, &Log)>,
) -> Result<u8, Failure> {
    let failed = |source| Failure::Kernel { step: "wait for the process", source };
    let (master, _raw) = console.and_then(|console| console.attached).unzip();
    let mut relay = master.map(Relay::new);
    loop {
        let mut ready = [false; 3];
        let said;
        {
            let mut waited = vec![PollFd::new(signals, PollFlags::IN)];
            if let Some(relay) = &relay {
                relay.watch(&mut waited);
            }
            let streams = waited.len();
            waited.extend(readiness.as_ref().map(|(word, _)| PollFd::new(word, PollFlags::IN)));
            sys::reactor::wait(&mut waited, None).map_err(failed)?;
            ready.iter_mut().zip(&waited[..streams]).for_each(|(ready, fd)| *ready = !fd.revents().is_empty());
            said = waited[streams..].iter().any(|fd| !fd.revents().is_empty());
        }
        if let Some((word, log)) = readiness.take_if(|_| said) {
            match word.carry(None) {
                // It is ready once.
                Ok(true) => {}
                Ok(false) => readiness = Some((word, log)),
                Err(failure) => log.warning(&failure.text()),
            }
        }
        if let Some(relay) = &mut relay {
            relay.carry(ready[1], ready[2]);
        }
        while let Some(number) = ready[0].then(|| signals.take()).flatten() {
            match (number, &relay) {
                (SIGCHLD, _) => {
                    if let Some(code) = reap(pid) {
                        if let Some(relay) = &mut relay {
                            relay.carry(true, false);
                        }
                        return Ok(code);
                    }
                }
                (SIGWINCH, Some(relay)) => resize(&relay.master),
                // It may have ended just now.
                (number, _) => drop(sys::reactor::send_to_child(pid, number)),
            }
        }
    }
}

/// Reaps all that ended; the code of `pid` if it was among them.
fn reap(pid: i32) -> Option<u8> {
    let mut code = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((ended, status))) if Some(ended) == Pid::from_raw(pid) => {
                let number = status.exit_status().or_else(|| status.terminating_signal().map(|n| 128 + n));
                code = Some(number.unwrap_or(1) as u8);
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return code,
        }
    }
}

/// Bytes between our standard streams and the container's terminal.
struct Relay {
    master: OwnedFd,
    /// Typed, but not taken yet.
    typed: Vec<u8>,
    input_open: bool,
    output_open: bool,
}

impl Relay {
    fn new(master: OwnedFd) -> Relay {
        Relay { master, typed: Vec::new(), input_open: true, output_open: true }
    }

    /// What to wait for: the terminal, then our input. Input waits until what was typed is taken.
    fn watch<'a>(&'a self, waited: &mut Vec<PollFd<'a>>) {
        let mut wanted = PollFlags::empty();
        if self.output_open {
            wanted |= PollFlags::IN;
            wanted.set(PollFlags::OUT, !self.typed.is_empty());
            waited.push(PollFd::new(&self.master, wanted));
            if self.input_open && self.typed.is_empty() {
                waited.push(PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN));
            }
        }
    }

    fn carry(&mut self, terminal: bool, input: bool) {
        let mut bytes = [0u8; 8192];
        if input {
            match rustix::io::read(rustix::stdio::stdin(), &mut bytes) {
                Ok(0) | Err(Errno::IO) => self.input_open = false,
                Ok(count) => self.typed.extend_from_slice(&bytes[..count]),
                Err(_) => {}
            }
        }
        if !self.typed.is_empty()
            && let Ok(count) = rustix::io::write(&self.master, &self.typed)
        {
            self.typed.drain(..count);
        }
        while terminal && self.output_open {
            match rustix::io::read(self.master.as_fd(), &mut bytes) {
                Ok(0) | Err(Errno::IO) => self.output_open = false,
                Ok(count) => self.show(&bytes[..count]),
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
    }

    fn show(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match rustix::io::write(rustix::stdio::stdout(), bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let stdout = rustix::stdio::stdout();
                    let _ = sys::reactor::wait(&mut [PollFd::from_borrowed_fd(stdout, PollFlags::OUT)], None);
                }
                // Nobody looks: the container goes on.
                Err(_) => return,
            }
        }
    }
}
