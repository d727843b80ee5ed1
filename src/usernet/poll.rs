//! Waiting for many descriptors (epoll(7)).
//!
//! Must not know: what they are.

use crate::slab::Word;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// What happened to one of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Happened {
    pub word: Word,
    /// There is something to read, or its end.
    pub readable: bool,
    /// It can be written to.
    pub writable: bool,
}

pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

/// Most that is told at once.
const ROUND: usize = 64;

impl Poll {
    pub fn new() -> Result<Poll> {
        Ok(Poll { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(ROUND) })
    }

    /// Tells whenever `socket` becomes readable or writable. Each is told once: who is told goes on until it would block.
    pub fn stream(&self, socket: impl AsFd, word: Word) -> Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, EventData::new_u64(word.to_number()), flags)
    }

    /// Tells as long as there is something to take.
    pub fn source(&self, socket: impl AsFd, word: Word) -> Result<()> {
        epoll::add(&self.epoll, socket, EventData::new_u64(word.to_number()), EventFlags::IN)
    }

    /// Tells of its end only.
    pub fn end(&self, socket: impl AsFd, word: Word) -> Result<()> {
        epoll::add(&self.epoll, socket, EventData::new_u64(word.to_number()), EventFlags::empty())
    }

    /// Tells nothing of this one any more.
    pub fn forget(&self, socket: impl AsFd) {
        // One that it does not know is forgotten already.
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Tells no more (or again) of what [`Poll::source`] was told.
    pub fn hold(&self, socket: impl AsFd, word: Word, held: bool) -> Result<()> {
        let flags = if held { EventFlags::empty() } else { EventFlags::IN };
        epoll::modify(&self.epoll, socket, EventData::new_u64(word.to_number()), flags)
    }

    /// Waits until something happened, or for `limit`.
    pub fn wait(&mut self, limit: Option<Duration>) -> Result<Vec<Happened>> {
        let limit =
            limit.map(|t| rustix::event::Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let gone = EventFlags::HUP | EventFlags::ERR;
        Ok(self
            .events
            .iter()
            .map(|event| {
                let flags = { event.flags };
                Happened {
                    word: Word::from_number({ event.data }.u64()),
                    readable: flags.intersects(EventFlags::IN | EventFlags::RDHUP | gone),
                    writable: flags.intersects(EventFlags::OUT | gone),
                }
            })
            .collect())
    }
}
