//! Why a group cannot be made, limited, used or removed.

use super::devices;
use super::limit::{Limit, Reason};
use super::resources::Unfit;
use std::io;
use std::path::PathBuf;

/// A group that cannot be made, limited or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path that leads elsewhere.
    #[error("invalid cgroup path {0:?}: expected names separated by \"/\", without \"..\"")]
    Path(String),
    /// A path for systemd's manager that names no unit of it.
    #[error("invalid cgroup path {0:?}: expected SLICE.slice:PREFIX:NAME")]
    Systemd(String),
    /// systemd's manager was asked, and could not.
    #[error("systemd cannot {what} {unit:?}")]
    Manager {
        /// What it was asked for.
        what: &'static str,
        /// The unit.
        unit: String,
        /// Why.
        #[source]
        source: super::systemd::BusError,
    },
    /// What was asked for cannot be had on this machine.
    #[error("the {limit} limit cannot be set: {reason}")]
    Unavailable {
        /// What was asked for.
        limit: Limit,
        /// Why not.
        reason: Reason,
    },
    /// No group can be made at all.
    #[error("no cgroup can be made: {0}")]
    Nowhere(#[source] Reason),
    /// Resources that make no sense.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// A device rule that makes no sense.
    #[error(transparent)]
    Device(#[from] devices::BadRule),
    /// The kernel refused to make the directory.
    #[error("create cgroup {path:?}")]
    Create {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a value.
    #[error("set the {limit} limit: write {value:?} to {path:?}")]
    Set {
        /// What it is for.
        limit: Limit,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        value: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A limit of memory below what is in use, where that was to be checked.
    #[error("the memory limit cannot be set to {limit} bytes: {usage} are in use")]
    InUse {
        /// What was asked for.
        limit: u64,
        /// What is in use.
        usage: u64,
    },
    /// The kernel refused the device filter.
    #[error("filter devices of cgroup {path:?}")]
    Filter {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the group could not be used.
    #[error("use {path:?}")]
    Use {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something lives in it.
    #[error("remove cgroup {path:?}: processes {pids:?} are in it")]
    Populated {
        /// The directory.
        path: PathBuf,
        /// Who.
        pids: Vec<i32>,
    },
    /// It did not freeze or thaw, or its processes did not die.
    #[error("cgroup {path:?} is not {state} after {seconds} seconds")]
    Stuck {
        /// The directory.
        path: PathBuf,
        /// What it should be.
        state: &'static str,
        /// How long was waited.
        seconds: u64,
    },
}
