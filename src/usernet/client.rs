//! The commands' side: finding the process of a user, or starting it.

use crate::control::{NAME, PACKET, lock_file};
use crate::launch::spawn;
use crate::{Error, Told, Way};
use rustix::fs::FlockOperation;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A connection to the process. While there is one, the process stays.
#[derive(Debug)]
pub struct Stack {
    directory: PathBuf,
    socket: OwnedFd,
    namespace: OwnedFd,
    held: String,
    _lock: OwnedFd,
}

impl Stack {
    /// Connects to the process that keeps its records in `directory`, and starts it if it does not run. `make` makes and
    /// furnishes a network namespace for it; unless its predecessor's is still there: held by one of `holders`, processes
    /// that keep a descriptor of it.
    pub fn join(
        directory: &Path,
        holders: impl FnOnce() -> Vec<i32>,
        make: impl FnOnce() -> Result<(OwnedFd, Way), Error>,
    ) -> Result<Stack, Error> {
        std::fs::create_dir_all(directory).map_err(|source| Error::Record { path: directory.to_owned(), source })?;
        let lock = lock_file(directory)?;
        let locked = |how| {
            rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, how))
                .map_err(|source| Error::Record { path: directory.join("lock"), source: source.into() })
        };
        locked(FlockOperation::LockShared)?;
        let mut found = connect(directory);
        if found.is_none() {
            // Alone: others may be about to do the same.
            locked(FlockOperation::Unlock)?;
            locked(FlockOperation::LockExclusive)?;
            found = connect(directory);
            if found.is_none() {
                let (namespace, way) = match survivor(directory, &holders()) {
                    Some(namespace) => (namespace, Way::of(directory)),
                    None => {
                        let _ = std::fs::remove_dir_all(directory.join("attached"));
                        make()?
                    }
                };
                remember(directory, &namespace, way)?;
                found = Some((spawn(directory, &namespace)?, namespace, String::new()));
            }
            // The socket is made when the new process answers for the first time; who comes before that starts it again,
            // so it must have answered before others may look.
            found = found.map(|(socket, ..)| routed(socket)).transpose()?;
            locked(FlockOperation::LockShared)?;
        }
        let (socket, namespace, held) = found.ok_or(Error::Gone)?;
        Ok(Stack { directory: directory.to_owned(), socket, namespace, held, _lock: lock })
    }

    /// Connects to the process if it runs.
    pub fn find(directory: &Path) -> Option<Stack> {
        if !directory.join(NAME).exists() {
            return None;
        }
        let lock = lock_file(directory).ok()?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::LockShared)).ok()?;
        let (socket, namespace, held) = connect(directory)?;
        Some(Stack { directory: directory.to_owned(), socket, namespace, held, _lock: lock })
    }

    /// The router's network namespace.
    pub fn namespace(&self) -> &OwnedFd {
        &self.namespace
    }

    /// How it is served.
    pub fn way(&self) -> Way {
        Way::of(&self.directory)
    }

    /// Where another process of the user can open that namespace, while the process runs. Whoever has it open keeps it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(&self.held)
    }

    /// Serves a container: its ports are open when this returns.
    pub fn attach(&self, attachment: &crate::Attachment) -> Result<(), Error> {
        attachment.write(&self.directory)?;
        ask(&self.socket, &format!("attach {}", attachment.id)).map(drop)
    }

    /// Serves it no longer.
    pub fn detach(&self, id: &str) -> Result<(), Error> {
        ask(&self.socket, &format!("detach {id}")).map(drop)
    }
}

/// A connection, the router's namespace, and where it can be opened.
type Found = (OwnedFd, OwnedFd, String);

fn connect(directory: &Path) -> Option<Found> {
    let socket = sys::channel::connect(&directory.join(NAME)).ok()?;
    routed(socket).ok()
}

fn routed(socket: OwnedFd) -> Result<Found, Error> {
    let (path, namespace) = ask(&socket, "router")?;
    Ok((socket, namespace.ok_or(Error::Gone)?, path))
}

/// Asks, and returns what the answer says beyond `ok`, and the descriptor that came with it.
fn ask(socket: &OwnedFd, request: &str) -> Result<(String, Option<OwnedFd>), Error> {
    sys::channel::send(socket, request.as_bytes()).map_err(Error::Connection)?;
    let mut packet = [0; PACKET];
    let (length, mut descriptors) =
        sys::channel::receive_descriptors(socket, &mut packet).map_err(Error::Connection)?;
    let answer = &packet[..length];
    if let Some(json) = answer.strip_prefix(b"error") {
        return Err(Error::Told(serde_json::from_slice(json).unwrap_or_else(|_| Told::unknown())));
    }
    let rest = answer.strip_prefix(b"ok").ok_or(Error::Gone)?;
    Ok((String::from_utf8_lossy(rest).into_owned(), descriptors.pop()))
}

/// Writes down which namespace it is, and how it is served.
fn remember(directory: &Path, namespace: &OwnedFd, way: Way) -> Result<(), Error> {
    let path = directory.join("router");
    let inode = rustix::fs::fstat(namespace).map_err(Error::Connection)?.st_ino;
    std::fs::write(&path, format!("{inode} {}", way.word())).map_err(|source| Error::Record { path, source })
}

/// The namespace that was written down, if a process still holds it.
fn survivor(directory: &Path, holders: &[i32]) -> Option<OwnedFd> {
    let text = std::fs::read_to_string(directory.join("router")).ok()?;
    let inode = text.split_whitespace().next()?;
    let name = format!("net:[{inode}]");
    for pid in holders {
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            if std::fs::read_link(entry.path()).is_ok_and(|link| link.to_str() == Some(&name)) {
                let file = std::fs::File::open(entry.path()).ok()?;
                // Not another one since.
                return (file.metadata().ok()?.ino().to_string() == inode).then(|| file.into());
            }
        }
    }
    None
}
