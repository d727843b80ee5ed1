//! Networks of users without root, with no helper program.
//!
//! A user's containers are tied to one network namespace of the user, the router, in which the user may do everything
//! except reach the world. One process serves all of them: it takes what they send in the router, in the name of whoever
//! it is meant for (`IP_TRANSPARENT`, nftables' `tproxy`), does the same from the host with ordinary sockets, and ties
//! both together; and the other way round for published ports, in the name of the client.
//!
//! ```text
//! container ── veth ── router: nftables hands everything to port 1 of ─┐
//!                                                                      process ── the host's sockets ── the world
//! container ── veth ── router: sockets that stand in for clients  ─────┘
//! ```
//!
//! Where the kernel has no such filter, the process watches the links instead ([`Way`]).
//!
//! The process ends with the last container. It may be killed: its namespace is held by the containers' monitors, and by a
//! process that stands by to go on with the same records.
//!
//! Must not know: what a container is beyond its first process and its addresses; flags; images.

mod attach;
mod attempt;
mod client;
mod control;
mod echo;
mod launch;
pub mod options;
mod packet;
mod plan;
mod policy;
mod poll;
mod record;
mod relay;
mod resolver;
pub mod router;
mod serve;
mod slab;
mod sockets;
mod tcp;
mod udp;
mod watch;
mod way;

pub use attach::GATE_PORT;
pub use attempt::QUEUE;
pub use client::Stack;
pub use launch::main;
pub use plan::{HOST, Plan, RESOLVER, World, plan};
pub use policy::{Policy, Target};
pub use record::{Attachment, Interface, Port, Protocol};
pub use way::Way;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What may fail.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("cannot start the network's process: {0}")]
    Start(#[source] Errno),
    #[error("the connection to the network's process broke: {0}")]
    Connection(#[source] Errno),
    #[error("the network's process has ended")]
    Gone,
    #[error("cannot use {path:?}: {source}")]
    Record { path: PathBuf, source: std::io::Error },
    #[error("the network's process was asked for {0:?}, which it does not know")]
    Request(String),
    #[error("process {pid} cannot be watched: {source}")]
    Process { pid: i32, source: Errno },
    #[error("cannot take what comes from interface {name:?}: {source}")]
    Interface { name: String, source: Errno },
    #[error("cannot listen on port {}: {source}", port.host)]
    Port { port: Box<Port>, source: Errno },
    #[error("cannot read the host's network: {0}")]
    Host(#[source] Errno),
    #[error("interface {0:?} does not exist on the host")]
    Template(String),
    #[error("cannot {what}: {source}")]
    Router { what: &'static str, source: Errno },
    #[error("cannot set {path:?} of the router: {source}")]
    Sysctl { path: String, source: std::io::Error },
    #[error("{}", .0.text)]
    Told(Told),
}

/// A failure of the process, as a command is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What failed.
    pub text: String,
    /// The published port that it was about, and the kernel's number of what was wrong with it.
    pub port: Option<(Port, i32)>,
}

impl Told {
    fn of(error: &Error) -> Told {
        let port = match error {
            Error::Port { port, source } => Some(((**port).clone(), source.raw_os_error())),
            _ => None,
        };
        Told { text: error.to_string(), port }
    }

    fn unknown() -> Told {
        Told { text: "the network's process failed".into(), port: None }
    }
}
