//! Waiting for changes of a file or directory (inotify(7)), where the kernel tells of them; a short pause where it does not.
//!
//! Must not know: what the change is. Whoever waits looks for itself, before the first wait too.

use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// Between two looks where the kernel does not tell.
const PAUSE: Duration = Duration::from_millis(100);

/// Tells of changes from now on.
#[derive(Debug)]
pub struct Watch(Option<OwnedFd>);

impl Watch {
    /// Of what is written to, made in, moved to and removed from `path`, and of its own end.
    pub fn on(path: &Path) -> Watch {
        let flags = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO;
        let made = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .and_then(|watch| add_watch(&watch, path, flags).map(|_| watch));
        Watch(made.ok())
    }

    /// Waits for a change, at most for `limit`; it may come back earlier, without one.
    pub fn wait(&self, limit: Duration) {
        let Some(watch) = &self.0 else {
            std::thread::sleep(limit.min(PAUSE));
            return;
        };
        // Whatever is wrong with it, whoever waits looks again.
        let ready = crate::reactor::wait(&mut [PollFd::new(watch, PollFlags::IN)], Some(limit));
        if ready.is_err() {
            std::thread::sleep(limit.min(PAUSE));
        }
        while rustix::io::read(watch, &mut [0; 4096]).is_ok_and(|length| length > 0) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_ends_the_wait() {
        let directory = std::env::temp_dir().join(format!("watch-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let watch = Watch::on(&directory);
        std::fs::write(directory.join("x"), "y").unwrap();
        watch.wait(Duration::from_secs(3600));
        std::fs::remove_dir_all(&directory).unwrap();
        watch.wait(Duration::from_secs(3600));
        Watch::on(&directory).wait(Duration::from_millis(1));
    }
}
