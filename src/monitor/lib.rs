//! The monitor: one small process per container or exec session. It parks and releases the first process, carries
//! standard input and output between it, its log and the clients, and records how it ended. Its clock says when a
//! process looks after the container's health, and when one starts it again.
//!
//! Must not know: the engine, images, the database. What needs the engine (cleaning up) it starts as a process.
//!
//! # The processes of one start
//!
//! ```text
//! caller ── spawn(&Launch) ──► monitor (role `monopod-monitor`) ── fork ──► worker: runtime::create, then it ends
//!    ▲                            │  ▲                                        │ clone3(CLONE_PARENT)
//!    └── socket: attach frames ───┘  └── parent of ── parked process ◄────────┘
//! ```
//!
//! The caller reads `Ready` or `Failed`, then sends `Start` and reads `Started` or `Failed`, then output, and at the
//! end `Exited`. If the caller goes before `Start`, the parked process is given up, unless [`Launch::stay_parked`].
//! The frames are in [`types::attach`], the files in [`record`] and [`log`].

mod client;
mod clients;
mod clock;
mod end;
mod launch;
pub mod log;
pub mod lost;
mod park;
mod process;
pub mod record;
mod relay;
mod worker;

pub use client::Client;
pub use clock::{Again, Clock, Probe, STARTING_UP};
pub use launch::{Handle, Launch, LogFile, Task, spawn};
pub use worker::main;

use std::path::PathBuf;

/// What may fail around a monitor.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("cannot hand the launch over to a monitor")]
    HandOver(#[source] rustix::io::Errno),
    #[error("cannot start a monitor")]
    Spawn(#[source] std::io::Error),
    #[error("cannot understand the launch")]
    Launch(#[source] serde_json::Error),
    #[error("cannot connect to the monitor at {path:?}")]
    Connect {
        path: PathBuf,
        #[source]
        source: rustix::io::Errno,
    },
    #[error("cannot listen for clients at {path:?}")]
    Listen {
        path: PathBuf,
        #[source]
        source: rustix::io::Errno,
    },
    #[error("the connection to the monitor broke")]
    Connection(#[source] rustix::io::Errno),
    #[error("the monitor sent what cannot be understood: {0}")]
    Frame(#[from] types::Invalid),
    #[error("the log {path:?} cannot be read")]
    Log {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the record {path:?} cannot be written")]
    Record {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests;
