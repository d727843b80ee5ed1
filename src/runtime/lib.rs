//! The OCI runtime: from a specification to a parked process, and into a running one.
//!
//! The caller (the monitor) forks an intermediate without threads, which calls `create` or `exec` and exits. The
//! container's first process is cloned with `CLONE_PARENT`, so that it is the caller's child and not the intermediate's.
//! All that happens is told through the report pipe ([`report`]).
//!
//! Must not know: images, networks, the engine's database, terminals' bytes.

pub mod cgroup;
pub mod launch;
pub mod report;
pub mod seccomp;

pub use launch::{Channels, Create, Exec, Rootfs, Stdio};
pub use report::{Report, Reports};
