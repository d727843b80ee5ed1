//! Sends to the disk what an image brings, while more of it is still being unpacked: whoever publishes the image waits
//! for all of it, and the kernel alone begins only when a tenth of the memory is dirty.
//!
//! Must not know: what is written.

use crate::{Error, Result};
use rustix::fs::{self, Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A round begins whenever this many bytes are new: often enough that little is left in the end, and seldom enough that
/// tables of inodes, which each round writes anew, do not count.
const ROUND: u64 = 128 << 20;

/// Rounds of syncfs(2) for one store, one at a time, in a thread of their own.
pub(crate) struct Writeback {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Bytes written since the last round began.
    fresh: u64,
    round: Option<JoinHandle<rustix::io::Result<()>>>,
    /// What a round ended with. The kernel tells a failed write once; without this it would be lost.
    failed: Option<rustix::io::Errno>,
}

impl State {
    /// Waits for the round under way.
    fn join(&mut self) {
        if let Some(round) = self.round.take() {
            let ended = round.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            self.failed = self.failed.or(ended.err());
        }
    }
}

impl Writeback {
    pub(crate) fn new(root: &Path) -> Writeback {
        Writeback { root: root.to_owned(), state: Mutex::default() }
    }

    /// `bytes` more were written. Begins a round if it is time for one; never waits.
    pub(crate) fn wrote(&self, bytes: u64) {
        let mut state = self.state();
        state.fresh += bytes;
        if state.fresh < ROUND || state.round.as_ref().is_some_and(|round| !round.is_finished()) {
            return;
        }
        state.join();
        // What cannot begin (no thread, no descriptor) is made up for by `finish`.
        let Ok(root) = self.open() else { return };
        let round = std::thread::Builder::new().spawn(move || fs::syncfs(root));
        state.round = round.ok();
        state.fresh = 0;
    }

    /// Waits until all that was written is on disk. No thread is left.
    ///
    /// # Errors
    /// Something could not be written, now or in an earlier round.
    pub(crate) fn finish(&self) -> Result<()> {
        let mut state = self.state();
        state.join();
        state.fresh = 0;
        let earlier = state.failed.take().map_or(Ok(()), Err);
        let last = self.open().and_then(fs::syncfs);
        earlier.and(last).map_err(Error::path("write to disk what is in", &self.root))
    }

    fn open(&self) -> rustix::io::Result<OwnedFd> {
        fs::open(&self.root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writeback {
    /// A process that goes on without the store may want to be alone, to enter a user namespace.
    fn drop(&mut self) {
        self.state().join();
    }
}
