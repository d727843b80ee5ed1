//! Those who are connected: frames in, output out to all of them.
//!
//! There is one packet of output at a time. Who cannot take it at once (a full queue) is owed it, and until nobody is owed
//! any, no more output is read: a slow client slows the container down, and one that is gone is owed nothing.

use rustix::event::PollFlags;
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use types::attach::{Frame, MAX_DATA};

/// Most clients at a time; later ones wait in the listener's queue.
pub(crate) const MAX_CLIENTS: usize = 64;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub socket: OwnedFd,
    /// The packet being sent has not reached it.
    pub owed: bool,
    /// It said that it cleans up after the end.
    pub cleans_up: bool,
    /// It sent standard input: its end is the end of the input.
    pub feeds: bool,
    /// It takes no output any more; what it sent before is still to be read.
    pub deaf: bool,
    /// It is gone.
    pub gone: bool,
}

/// All connections, and the packet being sent to them.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    pub all: Vec<Connection>,
    packet: Vec<u8>,
}

impl Clients {
    pub fn add(&mut self, socket: OwnedFd) {
        self.all.push(Connection { socket, owed: false, cleans_up: false, feeds: false, deaf: false, gone: false });
    }

    /// True while somebody has not taken the last packet.
    pub fn is_owing(&self) -> bool {
        self.all.iter().any(|c| c.owed)
    }

    /// Sends a frame to all. Nobody may be owed another.
    pub fn send(&mut self, frame: &Frame<'_>) {
        self.packet.clear();
        frame.encode(&mut self.packet);
        self.send_packet();
    }

    /// The packet's buffer for output that is read into it: the first byte is the kind.
    pub fn output(&mut self) -> &mut [u8] {
        self.packet.resize(1 + MAX_DATA, 0);
        &mut self.packet
    }

    /// Sends the first `length` bytes of [`Clients::output`] to all.
    pub fn send_output(&mut self, length: usize) {
        self.packet.truncate(length);
        self.send_packet();
    }

    fn send_packet(&mut self) {
        for at in 0..self.all.len() {
            self.all[at].owed = !self.all[at].gone && !self.all[at].deaf;
            self.settle(at);
        }
    }

    /// Tries again to send what a client is owed.
    pub fn settle(&mut self, at: usize) {
        let client = &mut self.all[at];
        if client.owed {
            match sys::channel::try_send(&client.socket, &self.packet) {
                // No memory for the queue just now is like a full queue; the poll comes back at once, but not for ever.
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => return,
                Err(_) => client.deaf = true,
                Ok(()) => {}
            }
            client.owed = false;
        }
    }

    /// What to wait for on a client; `None` for nothing. `input_full`: no more standard input can be taken.
    pub fn interest(&self, at: usize, input_full: bool) -> Option<PollFlags> {
        let client = &self.all[at];
        let mut flags = PollFlags::empty();
        if client.owed {
            flags |= PollFlags::OUT;
        }
        if !(client.feeds && input_full) {
            flags |= PollFlags::IN;
        }
        // Without interest even a hang-up would wake us, again and again.
        (!flags.is_empty()).then_some(flags)
    }

    /// Forgets those who are gone.
    pub fn sweep(&mut self) {
        self.all.retain(|c| !c.gone);
    }

    /// Gives back the memory that only output needs.
    pub fn rest(&mut self) {
        if !self.is_owing() {
            self.packet = Vec::new();
        }
        self.all.shrink_to_fit();
    }
}
