//! The service manager is told when a container is ready (sd_notify(3)): of what the container says at a socket of its own,
//! this one word is handed on to the socket that `NOTIFY_SOCKET` names. It does not get that socket itself: the manager
//! would not know its processes, which are in a group of their own, and believes those that it started.
//!
//! Must not know: how a container is made.

use super::failure::Failure;
use super::log::Log;
use super::state::{Place, Process};
use oci_spec::runtime::{MountBuilder, Spec};
use rustix::event::{PollFd, PollFlags};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// The directory with the socket, in the container.
const INSIDE: &str = "/run/notify";
const SOCKET: &str = "notify.sock";
const VARIABLE: &str = "NOTIFY_SOCKET";
/// How long the manager may take to see who has spoken.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the manager listens, if this process is a service that is to say that it is ready.
fn manager() -> Option<OsString> {
    std::env::var_os(VARIABLE).filter(|address| !address.is_empty())
}

/// Gives a container that is to be made the directory in which its socket will be, and tells its program of it.
pub(crate) fn offer(place: &Place, spec: &mut Spec) -> Result<(), Failure> {
    if manager().is_none() {
        return Ok(());
    }
    let directory = place.make_notify_directory()?;
    let options: Vec<String> = ["bind", "nosuid", "noexec", "nodev", "ro"].map(String::from).into();
    let mount = MountBuilder::default().destination(INSIDE).typ("bind").source(directory).options(options);
    let mount = mount.build().map_err(|source| Failure::Features { source })?;
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount);
    spec.set_mounts(Some(mounts));
    if let Some(process) = spec.process_mut() {
        let mut environment = process.env().clone().unwrap_or_default();
        environment.retain(|entry| entry.split('=').next() != Some(VARIABLE));
        environment.push(format!("{VARIABLE}={INSIDE}/{SOCKET}"));
        process.set_env(Some(environment));
    }
    Ok(())
}

/// A container's word, waited for.
#[derive(Debug)]
pub(crate) struct Readiness {
    socket: UnixDatagram,
    manager: OsString,
}

impl Readiness {
    /// Listens where a container speaks that is not started yet; `None` if nobody is to be told, or it was not told to.
    pub fn listen(place: &Place) -> Result<Option<Readiness>, Failure> {
        let Some(manager) = manager() else { return Ok(None) };
        let Some(socket) = place.bind_notify(SOCKET)? else { return Ok(None) };
        Ok(Some(Readiness { socket, manager }))
    }

    /// Waits until the container is ready, and tells the manager, together with which process is the main one now; or until
    /// that has ended. The container runs: a manager that cannot be told is a warning.
    pub fn hand_on(&self, first: Process, log: &Log) {
        if let Err(failure) = self.wait(first) {
            log.warning(&failure.text());
        }
    }

    fn wait(&self, first: Process) -> Result<(), Failure> {
        let failed = |source| Failure::Kernel { step: "wait until the container is ready", source };
        let first_ended = match sys::process::open(first.pid, first.start_time) {
            Ok(pidfd) => pidfd,
            // Ended already; on kernels before 5.3 nobody could tell when.
            Err(rustix::io::Errno::SRCH) => return self.carry(Some(first.pid)).map(drop),
            Err(error) => return Err(failed(error)),
        };
        loop {
            let mut waited = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&first_ended, PollFlags::IN)];
            sys::reactor::wait(&mut waited, None).map_err(failed)?;
            let ended = !waited[1].revents().is_empty();
            if self.carry(Some(first.pid))? || ended {
                return Ok(());
            }
        }
    }

    /// Takes what has been said, and hands on that the container is ready; true once that was among it. `main` is the process
    /// that takes the place of this one.
    pub fn carry(&self, main: Option<i32>) -> Result<bool, Failure> {
        let mut bytes = [0u8; 4096];
        loop {
            match self.socket.recv(&mut bytes) {
                Ok(length) if bytes[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") => {
                    let main = main.map(|pid| format!("MAINPID={pid}\n")).unwrap_or_default();
                    return self.tell(&format!("{main}READY=1")).map(|()| true).map_err(|source| Failure::File {
                        step: "tell the service manager at",
                        path: self.manager.clone().into(),
                        source,
                    });
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Failure::File { step: "read what is said at", path: SOCKET.into(), source });
                }
            }
        }
    }

    fn tell(&self, text: &str) -> std::io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        match self.manager.as_bytes().strip_prefix(b"@") {
            Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
            None => socket.connect(Path::new(&self.manager))?,
        }
        socket.send(text.as_bytes())?;
        // Who has ended when the message is read is nobody's process: so we stay until a descriptor that is sent after it is
        // closed (sd_notify_barrier(3)). A manager that takes no descriptors closes it at once.
        let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        sys::channel::send_descriptors(&socket, b"BARRIER=1", &[theirs.as_fd()])?;
        drop(theirs);
        sys::reactor::wait(&mut [PollFd::new(&ours, PollFlags::IN)], Some(PATIENCE))?;
        Ok(())
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
