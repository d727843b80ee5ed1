//! What the process is told of a container: one file each, so that a process started in place of one that was killed
//! knows what its predecessor knew.
//!
//! ```text
//! DIRECTORY/lock            flock(2): shared by whoever needs the process to be there, taken alone to start or end it
//! DIRECTORY/router          inode of the router's network namespace, decimal, and a word of [`crate::Way`]
//! DIRECTORY/control         where the process listens, see `control`
//! DIRECTORY/attached/ID     an [`Attachment`] as JSON
//! ```

use crate::{Error, Policy};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A container that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The container's id.
    pub id: String,
    /// Its first process: when that ends, it is served no longer.
    pub pid: i32,
    /// When that process started ([`sys::process::start_time`]).
    pub start_time: u64,
    /// What it can be reached through.
    pub interfaces: Vec<Interface>,
    /// Its published ports.
    pub ports: Vec<Port>,
}

/// An interface of the router, of one container or (a bridge) of several: then all of them say the same of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name in the router's network namespace.
    pub name: String,
    /// What holds for what comes in there.
    pub policy: Policy,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Of which protocol.
    pub protocol: Protocol,
    /// The host's address; `None` is all of them, of both versions.
    pub host_ip: Option<IpAddr>,
    /// The host's port.
    pub host: u16,
    /// The container's port.
    pub container: u16,
    /// The name of the interface behind which the container is.
    pub interface: String,
    /// The container's addresses there, at most one of each version.
    pub to: Vec<IpAddr>,
}

impl Port {
    /// True if `other` is the same port of the host.
    pub fn is_at(&self, other: &Port) -> bool {
        (self.protocol, self.host_ip, self.host) == (other.protocol, other.host_ip, other.host)
    }
}

/// Protocols whose ports can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// As it is written in `80/tcp`.
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

impl Attachment {
    /// Its file.
    pub fn path(directory: &Path, id: &str) -> PathBuf {
        directory.join("attached").join(id)
    }

    /// Writes it, whole or not at all.
    pub fn write(&self, directory: &Path) -> Result<(), Error> {
        let path = Attachment::path(directory, &self.id);
        let new = directory.join(format!("{}.new", self.id));
        let failed = |source| Error::Record { path: path.clone(), source };
        let text = serde_json::to_vec(self).map_err(|e| failed(e.into()))?;
        std::fs::create_dir_all(directory.join("attached")).map_err(failed)?;
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &path)).map_err(failed)
    }

    /// Reads it.
    pub fn read(directory: &Path, id: &str) -> Result<Attachment, Error> {
        let path = Attachment::path(directory, id);
        let failed = |source| Error::Record { path: path.clone(), source };
        let text = std::fs::read(&path).map_err(failed)?;
        serde_json::from_slice(&text).map_err(|e| failed(e.into()))
    }

    /// All that are there and can be read.
    pub fn all(directory: &Path) -> Vec<Attachment> {
        let entries = std::fs::read_dir(directory.join("attached")).into_iter().flatten().flatten();
        entries.filter_map(|e| Attachment::read(directory, e.file_name().to_str()?).ok()).collect()
    }
}
