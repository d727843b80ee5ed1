//! Telling the service manager (sd_notify(3)): the socket that `NOTIFY_SOCKET` names, for a container that tells by itself, and the
//! messages of the engine.

use super::config::Config;
use crate::Engine;
use monitor::record::Running;
use ops::Fault;
use ops::life::Notify;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::path::{Path, PathBuf};
use types::Id;

/// The socket's path inside.
pub(crate) const INSIDE: &str = "/run/notify/notify.sock";

impl Engine {
    /// The socket that a container is to tell of its readiness itself. Abstract ones cannot be mounted.
    pub(crate) fn socket_for(&self, config: &Config) -> Option<PathBuf> {
        let path = self.settings.notify_socket.as_ref().filter(|_| config.life.notify == Notify::Container)?;
        path.starts_with("/").then(|| path.clone())
    }

    /// After a start: which process is the main one, and, if the engine is to say so, that it is ready.
    #[inline(never)]
    pub(crate) fn tell_started(&self, id: &Id) -> Result<(), Fault> {
        let Some(record) = self.database()?.record(id)? else { return Ok(()) };
        let config = self.database()?.config(record.seq)?;
        if config.life.notify == Notify::Ignore {
            return Ok(());
        }
        let Some(running) = Running::read(&self.run_directory(id, record.run)) else { return Ok(()) };
        let ready = if config.life.notify == Notify::Conmon { "\nREADY=1" } else { "" };
        self.send_notice(&format!("MAINPID={}{ready}", running.monitor_pid))
    }

    /// That the container is ready.
    pub(crate) fn tell_ready(&self, id: &Id) -> Result<(), Fault> {
        let monitor = match self.database()?.record(id)? {
            Some(record) => Running::read(&self.run_directory(id, record.run)),
            None => None,
        };
        let main = monitor.map(|r| format!("MAINPID={}\n", r.monitor_pid)).unwrap_or_default();
        self.send_notice(&format!("{main}READY=1"))
    }

    fn send_notice(&self, text: &str) -> Result<(), Fault> {
        let Some(path) = &self.settings.notify_socket else { return Ok(()) };
        send(path, text.as_bytes()).map_err(|e| Fault::internal(format!("cannot notify {}: {e}", path.display())))
    }
}

fn send(path: &Path, message: &[u8]) -> rustix::io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name)?,
        None => SocketAddrUnix::new(path)?,
    };
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::sendto(socket, message, SendFlags::NOSIGNAL, &address).map(drop)
}
