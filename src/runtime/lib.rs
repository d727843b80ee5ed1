//! The OCI runtime: from a specification to a parked process, and into a running one.
//!
//! The caller (the monitor) forks an intermediate without threads, which calls [`create()`] or [`exec()`] and exits. The
//! container's first process is cloned with `CLONE_PARENT`, so that it is the caller's child and not the intermediate's.
//! All that happens is told through the report pipe ([`report`]).
//!
//! Must not know: images, networks, the engine's database, terminals' bytes.

pub mod cgroup;
mod cgroup_mount;
pub mod command;
mod copy_up;
mod create;
mod devices;
mod error;
mod exec;
pub mod features;
mod finish;
pub mod hooks;
mod id_maps;
mod init;
mod joining;
mod labels;
pub mod launch;
mod masks;
mod mounts;
mod net_devices;
mod notify;
pub mod options;
mod outside;
mod paths;
mod placement;
mod plan;
mod privileges;
mod program;
pub mod report;
mod rootfs;
mod scheduling;
pub mod seccomp;
pub mod specification;
mod sysctl;
mod terminal;
mod times;
mod trees;
pub mod user;

/// The version of the OCI runtime specification that this runtime keeps.
pub const OCI_VERSION: &str = "1.3.0";

pub use create::create;
pub use error::Error;
pub use exec::exec;
pub use launch::{Channels, Create, Exec, Owner, Ready, Rootfs, Stdio};
pub use report::{Report, Reports};
pub use rootfs::mount_detached;
