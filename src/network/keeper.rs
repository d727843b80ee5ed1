//! The keeper of a ground: one process for each network namespace, there only while it is needed. It takes down networks
//! that nobody is in any more, a moment later: a bridge that goes costs 50 ms, and mostly the next container comes before.
//!
//! It has flock(2) on the file `keeper` of the ground while it lives; whoever finds that free starts another.

use crate::Error;
use crate::ground::Ground;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::time::Duration;
use sys::role::Role;

/// How long networks stay that nobody is in.
const GRACE: Duration = Duration::from_secs(1);

/// The keeper's lock, if it is free. The file goes with the ground.
pub(crate) fn lock(ground: &Ground) -> Option<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(ground.path("keeper"), flags, Mode::from_raw_mode(0o600)).ok()?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(file)
}

/// Starts one for `ground`; if there is one it ends again at once.
pub(crate) fn start(ground: &Ground) -> Result<(), Error> {
    let nothing = || -> rustix::io::Result<OwnedFd> {
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .or_else(|_| rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map(|(read, _)| read))
    };
    let (input, output) = (nothing().map_err(Error::Socket)?, nothing().map_err(Error::Socket)?);
    let arguments = [ground.directory().as_os_str(), OsStr::new(ground.boot())];
    let fail = |source| Error::File { what: "start the keeper of", path: ground.directory().to_owned(), source };
    sys::role::spawn(Role::Ground, &arguments, input, output).map(drop).map_err(fail)
}

/// The role's `main`: its arguments are the directory of the ground and the boot.
pub fn main() -> u8 {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let [directory, boot] = words.as_slice() else { return 125 };
    // Whoever started it may have a terminal, which is not ours to end with.
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
    let ground = Ground::at(directory.into(), &boot.to_string_lossy());
    let Some(lock) = lock(&ground) else { return 0 };
    let mut lock = Some(lock);
    loop {
        std::thread::sleep(GRACE);
        match ground.settle(&mut lock) {
            Ok(true) => {}
            Ok(false) => return 0,
            Err(_) => return 1,
        }
    }
}
