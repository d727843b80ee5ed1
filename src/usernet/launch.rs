//! Starting the process, and its beginning.

use crate::Error;
use crate::serve::Server;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use sys::role::Role;

/// The host's list of resolvers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Signals of a terminal's or a session's end, which are not meant for it.
const IGNORED: [i32; 8] = [1, 2, 3, 13, 20, 21, 22, 25];

/// Starts the process for the router `namespace`, as a child of the caller, with the caller connected.
pub(crate) fn spawn(directory: &Path, namespace: &OwnedFd) -> Result<OwnedFd, Error> {
    let (ours, theirs) = sys::channel::pair().map_err(Error::Connection)?;
    let nothing = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(Error::Start)?;
    sys::role::spawn(Role::Network, &[], theirs, nothing).map_err(|e| Error::Start(sys::process::errno(e)))?;
    sys::channel::send_descriptors(&ours, directory.as_os_str().as_bytes(), &[namespace.as_fd()])
        .map_err(Error::Connection)?;
    Ok(ours)
}

/// The role `monopod-network`: descriptor 0 is the caller's connection, which brings the directory and the router's
/// namespace. Returns the exit code of the process, which nobody needs.
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
    let _ = rustix::thread::set_name(c"monopod-network");
    sys::reactor::ignore(&IGNORED).map_err(Error::Start)?;
    raise_descriptors();
    let mut packet = [0; 4096];
    let (length, mut descriptors) =
        sys::channel::receive_descriptors(&caller, &mut packet).map_err(Error::Connection)?;
    let namespace = descriptors.pop().ok_or(Error::Start(Errno::BADF))?;
    let directory = PathBuf::from(std::ffi::OsString::from_vec(packet[..length].to_vec()));
    let mut server = Server::start(directory, namespace, PathBuf::from(RESOLV_CONF))?;
    server.add_client(caller);
    server.serve()
}

/// Every connection takes two.
fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What it has will do for fewer connections.
    let _ = setrlimit(Resource::Nofile, limit);
}
