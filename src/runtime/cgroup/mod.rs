//! Limits, the device filter, the freezer: control groups of version 2, of version 1, and hybrids of both.
//!
//! [`Host`] says what this machine has; [`Group`] is one container's group in all hierarchies that it needs. In version 2 that is
//! one directory; in version 1 one in each hierarchy that carries a limit which was asked for. On hybrid hosts the group
//! also exists in version 2's hierarchy, where freezing and killing are, whoever has the controllers; devices are filtered by
//! version 1's controller where it is mounted (a third of the time of loading a program), and by a program elsewhere.
//!
//! **Joining is slow in one way and quick in two.** Writing a pid to `cgroup.procs` takes a lock that waits for all processors
//! (about 10 ms when it was not just taken). A process that is *born* in a group (`CLONE_INTO_CGROUP`, [`Group::directory`]) and a
//! thread that moves *itself* in version 1 (`0` written to `tasks`, [`Group::doors`]) do without it: 60 µs.
//!
//! Processes are never moved out of the way: a group that has processes cannot hand controllers on, and that is said.
//!
//! Where systemd runs, a group named `SLICE:PREFIX:NAME` is a scope of its (`systemd/`); elsewhere the same path.
//!
//! Must not know: containers, images, flags; what limits are the default.

mod control;
mod convert;
mod devices;
mod directories;
mod error;
mod group;
mod host;
mod limit;
mod mounts;
mod realtime;
mod resources;
mod statistics;
mod systemd;
#[cfg(test)]
mod tests;
mod usage;

pub use convert::{cpu_weight, io_weight, swap_max};
pub use devices::{BadRule, with_defaults};
pub use error::Error;
pub use group::{Group, enter};
pub use host::{Host, Layout};
pub use limit::{Limit, Reason};
pub use resources::Unfit;
pub use statistics::text;
pub use statistics::{
    Access, BlockIo, Counter, Cpu, CpuUsage, Cpuset, HugePages, Memory, Pids, Pressure, Rdma, Stall, Statistics,
    Throttling,
};
pub use systemd::BusError;
pub use usage::Usage;
