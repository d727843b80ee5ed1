//! Two streams tied together: what comes in on one goes out on the other, through a pipe in the kernel (splice(2)), so
//! that no byte is copied into this process.
//!
//! Must not know: whose streams they are.

use crate::sockets::break_off;
use rustix::io::{Errno, Result};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::os::fd::OwnedFd;

/// As much as the kernel gives one without privileges (`/proc/sys/fs/pipe-max-size`).
const PIPE: usize = 1 << 20;
/// What waits in a pipe before no more is taken: more would only grow cold on its way to a slow reader.
const HELD: usize = 1 << 20;
/// What one connection may move before others have their turn.
const TURN: usize = 4 << 20;
/// Empty pipes that are kept.
const KEPT: usize = 4;

/// Empty pipes: a connection holds one only while something is in it.
#[derive(Debug, Default)]
pub(crate) struct Pipes(Vec<Pipe>);

#[derive(Debug)]
struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

impl Pipes {
    fn take(&mut self) -> Result<Pipe> {
        if let Some(pipe) = self.0.pop() {
            return Ok(pipe);
        }
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A user who has many gets small ones.
        let _ = fcntl_setpipe_size(&into, PIPE);
        Ok(Pipe { out, into })
    }

    fn give(&mut self, pipe: Pipe) {
        if self.0.len() < KEPT {
            self.0.push(pipe);
        }
    }

    /// Gives all back: nobody may need them for a while.
    pub fn rest(&mut self) {
        self.0 = Vec::new();
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Direction {
    pipe: Option<Pipe>,
    /// Bytes in the pipe.
    held: usize,
    /// The other side takes no more: of that it tells when it does.
    blocked: bool,
    /// The source has ended.
    ended: bool,
    /// The other side was told.
    told: bool,
}

/// Two connected streams, neither of which blocks.
#[derive(Debug)]
pub(crate) struct Relay {
    sides: [OwnedFd; 2],
    directions: [Direction; 2],
}

/// How it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// When one of both tells that it is ready.
    Wait,
    /// At once, after others had their turn.
    Again,
    /// Both directions have ended.
    Over,
    /// One side broke off: [`Relay::break_off`].
    Broken,
}

impl Relay {
    pub fn new(a: OwnedFd, b: OwnedFd) -> Relay {
        Relay { sides: [a, b], directions: Default::default() }
    }

    pub fn sides(&self) -> &[OwnedFd; 2] {
        &self.sides
    }

    /// Whether side `side` has sent its end.
    pub fn has_ended(&self, side: usize) -> bool {
        self.directions[side].ended
    }

    /// Moves what can be moved in both directions.
    pub fn pump(&mut self, pipes: &mut Pipes) -> Next {
        self.directions.iter_mut().for_each(|direction| direction.blocked = false);
        self.pump_some([true; 2], pipes)
    }

    /// The same after side `side` told that it is `readable` or `writable`: a direction in whose pipe nothing is waits for
    /// its source alone.
    pub fn pump_after(&mut self, side: usize, readable: bool, writable: bool, pipes: &mut Pipes) -> Next {
        let mut which = [false; 2];
        which[side] = readable;
        if writable {
            let towards = &mut self.directions[1 - side];
            towards.blocked = false;
            which[1 - side] = towards.held > 0;
        }
        self.pump_some(which, pipes)
    }

    fn pump_some(&mut self, which: [bool; 2], pipes: &mut Pipes) -> Next {
        let mut again = false;
        for from in (0..2).filter(|from| which[*from]) {
            match self.directions[from].pump(&self.sides[from], &self.sides[1 - from], pipes) {
                Ok(more) => again |= more,
                Err(_) => return Next::Broken,
            }
        }
        match self.directions.iter().all(|d| d.told) {
            true => Next::Over,
            false if again => Next::Again,
            false => Next::Wait,
        }
    }

    /// Tells both sides that the connection is broken.
    pub fn break_off(self) {
        self.sides.into_iter().for_each(break_off);
    }
}

impl Direction {
    /// True if there may be more to move.
    fn pump(&mut self, from: &OwnedFd, to: &OwnedFd, pipes: &mut Pipes) -> Result<bool> {
        if self.told {
            return Ok(false);
        }
        let mut moved = 0;
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        while moved < TURN {
            let mut stuck = true;
            // The source has told that it is readable, and is asked until it has nothing, or until there is enough; then again
            // when the other side has taken some.
            if !self.ended && self.held < HELD {
                if self.pipe.is_none() {
                    self.pipe = Some(pipes.take()?);
                }
                let Some(pipe) = &self.pipe else { return Ok(false) };
                // EAGAIN: nothing there, or no room in the pipe; the latter changes by what is done below.
                match retry(|| splice(from, None, &pipe.into, None, PIPE, flags)) {
                    Ok(0) => self.ended = true,
                    Ok(count) => {
                        self.held += count;
                        stuck = false;
                    }
                    Err(Errno::AGAIN) => {}
                    Err(error) => return Err(error),
                }
            }
            if let Some(pipe) = self.pipe.as_ref().filter(|_| self.held > 0 && !self.blocked) {
                match retry(|| splice(&pipe.out, None, to, None, self.held, flags)) {
                    Ok(0) => return Err(Errno::PIPE),
                    Ok(count) => {
                        self.held -= count.min(self.held);
                        moved += count;
                        stuck = false;
                    }
                    Err(Errno::AGAIN) => self.blocked = true,
                    Err(error) => return Err(error),
                }
            }
            if self.held == 0 && self.ended {
                self.rest(pipes);
                self.told = true;
                // Whoever has closed both directions hears nothing more.
                let _ = rustix::net::shutdown(to, rustix::net::Shutdown::Write);
                return Ok(false);
            }
            if stuck {
                if self.held == 0 {
                    self.rest(pipes);
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn rest(&mut self, pipes: &mut Pipes) {
        if let Some(pipe) = self.pipe.take() {
            pipes.give(pipe);
        }
    }
}

fn retry<T>(mut action: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match action() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    /// A connection: the one who connected, and the end that was accepted, which does not block.
    fn connection() -> (TcpStream, OwnedFd) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        server.set_nonblocking(true).unwrap();
        (client, server.into())
    }

    #[test]
    fn bytes_and_ends_go_both_ways() {
        let ((mut left, a), (mut right, b)) = (connection(), connection());
        let (mut relay, mut pipes) = (Relay::new(a, b), Pipes::default());
        assert_eq!(relay.pump(&mut pipes), Next::Wait);
        assert_eq!(pipes.0.len(), 1, "an idle connection holds no pipe");
        left.write_all(b"question").unwrap();
        left.shutdown(Shutdown::Write).unwrap();
        assert_eq!(relay.pump(&mut pipes), Next::Wait);
        let mut text = String::new();
        right.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        assert!(relay.has_ended(0) && !relay.has_ended(1));
        right.write_all(b"answer").unwrap();
        drop(right);
        assert_eq!(relay.pump(&mut pipes), Next::Over);
        text.clear();
        left.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer");
    }

    #[test]
    fn what_is_much_waits_for_a_slow_reader() {
        let ((left, a), (mut right, b)) = (connection(), connection());
        let (mut relay, mut pipes) = (Relay::new(a, b), Pipes::default());
        let bytes: Vec<u8> = (0..30u32 << 20).map(|n| (n / 7) as u8).collect();
        let sent = bytes.clone();
        let sender = std::thread::spawn(move || (&left).write_all(&sent).map(|()| drop(left)));
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            right.read_to_end(&mut got).map(|_| (got, right))
        });
        while !sender.is_finished() || !reader.is_finished() {
            assert_ne!(relay.pump(&mut pipes), Next::Broken);
            std::thread::yield_now();
        }
        sender.join().unwrap().unwrap();
        let (got, _right) = reader.join().unwrap().unwrap();
        assert!(got == bytes);
    }

    #[test]
    fn one_who_breaks_off_breaks_the_other() {
        let ((left, a), (mut right, b)) = (connection(), connection());
        let (mut relay, mut pipes) = (Relay::new(a, b), Pipes::default());
        break_off(left.into());
        assert_eq!(relay.pump(&mut pipes), Next::Broken);
        relay.break_off();
        assert_eq!(right.read(&mut [0; 9]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
}
