//! Starting the process, and its beginning.

use crate::Error;
use crate::serve::Server;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use sys::role::Role;

/// The host's list of resolvers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Signals of a terminal's or a session's end, which are not meant for it.
const IGNORED: [i32; 8] = [1, 2, 3, 13, 20, 21, 22, 25];
/// Processes that may end at once, one after the other, before it is left at that.
const DEATHS: u32 = 4;

/// Starts the process for the router `namespace`, as a child of the caller, with the caller connected.
pub(crate) fn spawn(directory: &Path, namespace: &OwnedFd) -> Result<OwnedFd, Error> {
    start(directory, &[namespace.as_fd()])
}

fn start(directory: &Path, descriptors: &[BorrowedFd<'_>]) -> Result<OwnedFd, Error> {
    let (ours, theirs) = sys::channel::pair().map_err(Error::Connection)?;
    let nothing = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(Error::Start)?;
    sys::role::spawn(Role::Network, &[], theirs, nothing).map_err(|e| Error::Start(sys::process::errno(e)))?;
    sys::channel::send_descriptors(&ours, directory.as_os_str().as_bytes(), descriptors).map_err(Error::Connection)?;
    Ok(ours)
}

/// The role `monopod-network`: descriptor 0 is the connection of who started it, which brings the directory and the router's
/// namespace; or that, and a pipe of somebody who serves already, in whose place it is to step (see [`stand_by`]). Returns
/// the exit code of the process, which nobody needs.
pub fn main() -> u8 {
    match run() {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn run() -> Result<(), Error> {
    sys::process::close_from(3);
    let io = |error| Error::Start(sys::process::errno(error));
    let caller = std::io::stdin().as_fd().try_clone_to_owned().map_err(io)?;
    let nothing = std::io::stdout().as_fd().try_clone_to_owned().map_err(io)?;
    sys::process::place(nothing, 0).map_err(Error::Start)?;
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    sys::reactor::ignore(&IGNORED).map_err(Error::Start)?;
    let mut packet = [0; 4096];
    let (length, mut descriptors) =
        sys::channel::receive_descriptors(&caller, &mut packet).map_err(Error::Connection)?;
    let second = if descriptors.len() > 1 { descriptors.pop() } else { None };
    let namespace = descriptors.pop().ok_or(Error::Start(Errno::BADF))?;
    let directory = PathBuf::from(std::ffi::OsString::from_vec(packet[..length].to_vec()));
    match second {
        Some(pipe) => {
            drop(caller);
            stand_by(&directory, &namespace, pipe, 0)
        }
        None => work(&directory, &namespace, Beginning { caller: Some(caller), ..Beginning::default() }, 0),
    }
}

/// What a process begins with beside its namespace, and those who step in later do not have.
#[derive(Debug, Default)]
struct Beginning {
    /// Who is connected from the start.
    caller: Option<OwnedFd>,
    /// The lock under which it starts.
    lock: Option<OwnedFd>,
}

/// Serves, with somebody beside who steps in if this process is killed. `deaths` is how many before it ended at once.
fn work(directory: &Path, namespace: &OwnedFd, beginning: Beginning, deaths: u32) -> Result<(), Error> {
    let (end, begin) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(Error::Start)?;
    let mut held = Some((begin, beginning));
    let mut watched = Some(end);
    // Before there is a second thread.
    sys::role::fork(|| {
        held.take();
        let done = watched.take().map(|end| stand_by(directory, namespace, end, deaths));
        u8::from(!matches!(done, Some(Ok(()))))
    })
    .map_err(Error::Start)?;
    drop(watched.take());
    let Some((begin, Beginning { caller, lock })) = held.take() else { return Ok(()) };
    let _ = rustix::thread::set_name(c"monopod-network");
    raise_descriptors();
    let second = namespace.try_clone().map_err(|e| Error::Start(sys::process::errno(e)))?;
    let mut server = Server::start(directory.to_owned(), second, PathBuf::from(RESOLV_CONF), Standby(begin))?;
    drop(lock);
    if let Some(caller) = caller {
        server.add_client(caller);
    }
    server.serve()
}

/// Who steps in if this process is killed: it reads a pipe, which ends with this process.
#[derive(Debug)]
pub(crate) struct Standby(OwnedFd);

impl Standby {
    /// The pipe: nobody reads it any more when that process is gone.
    pub fn pipe(&self) -> &OwnedFd {
        &self.0
    }

    /// Starts another: the one there was is gone. Without one it is the next command that notices the death of this process.
    pub fn renew(&mut self, directory: &Path, namespace: &OwnedFd) -> Result<(), Error> {
        let (end, begin) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(Error::Start)?;
        // It was a child, whose end somebody must take note of.
        while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
        start(directory, &[namespace.as_fd(), end.as_fd()])?;
        self.0 = begin;
        Ok(())
    }
}

impl Drop for Standby {
    /// An end that is meant.
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.0, b".");
    }
}

/// Waits for the end of who has the other end of `pipe`, and serves in its place if it was not meant to end.
fn stand_by(directory: &Path, namespace: &OwnedFd, pipe: OwnedFd, deaths: u32) -> Result<(), Error> {
    let _ = rustix::thread::set_name(c"monopod-standby");
    let since = Instant::now();
    let said = rustix::io::retry_on_intr(|| rustix::io::read(&pipe, &mut [0u8; 1])).map_err(Error::Start)?;
    drop(pipe);
    let deaths = if since.elapsed() < Duration::from_secs(1) { deaths + 1 } else { 0 };
    if said > 0 || deaths > DEATHS {
        return Ok(());
    }
    // Whoever has the lock may be starting another: then that one serves.
    let lock = crate::control::lock_file(directory)?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive))
        .map_err(Error::Start)?;
    if sys::channel::connect(&directory.join(crate::control::NAME)).is_ok() {
        return Ok(());
    }
    work(directory, namespace, Beginning { caller: None, lock: Some(lock) }, deaths)
}

/// Every connection takes two.
fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What it has will do for fewer connections.
    let _ = setrlimit(Resource::Nofile, limit);
}
