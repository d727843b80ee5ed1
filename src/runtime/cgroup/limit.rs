//! What can be asked of a group, and why it cannot be had.

use std::fmt;

/// What can be asked of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Bytes of memory.
    Memory,
    /// Bytes of swap.
    Swap,
    /// A share or a quota of processor time.
    Cpu,
    /// Which processors and memory nodes.
    Cpuset,
    /// A share or a rate of block devices.
    Io,
    /// The number of processes.
    Pids,
    /// Bytes of huge pages.
    Hugetlb,
    /// Handles of RDMA devices.
    Rdma,
    /// Scalar resources that the host knows.
    Misc,
    /// How the group itself is, whatever its controllers: threaded, how deep, how wide.
    Core,
    /// Which devices may be opened.
    Devices,
    /// Pausing.
    Freezer,
    /// By which packets are told apart.
    NetworkClass,
    /// The priority of packets, for each interface.
    NetworkPriority,
}

impl Limit {
    /// Those whose controllers count what a group uses.
    pub(super) const COUNTED: [Limit; 4] = [Limit::Memory, Limit::Cpu, Limit::Io, Limit::Pids];

    /// The controller's name in version 2.
    pub(super) fn unified(self) -> Option<&'static str> {
        match self {
            Limit::Memory | Limit::Swap => Some("memory"),
            Limit::Cpu => Some("cpu"),
            Limit::Cpuset => Some("cpuset"),
            Limit::Io => Some("io"),
            Limit::Pids => Some("pids"),
            Limit::Hugetlb => Some("hugetlb"),
            Limit::Rdma => Some("rdma"),
            Limit::Misc => Some("misc"),
            Limit::Core | Limit::Devices | Limit::Freezer | Limit::NetworkClass | Limit::NetworkPriority => None,
        }
    }

    /// The controller's name in version 1.
    pub(super) fn legacy(self) -> &'static str {
        match self {
            Limit::Io => "blkio",
            Limit::Devices => "devices",
            Limit::Freezer => "freezer",
            Limit::NetworkClass => "net_cls",
            Limit::NetworkPriority => "net_prio",
            other => other.unified().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Memory => "memory",
            Limit::Swap => "swap",
            Limit::Cpu => "cpu",
            Limit::Cpuset => "cpuset",
            Limit::Io => "block io",
            Limit::Pids => "pids",
            Limit::Hugetlb => "huge page",
            Limit::Rdma => "rdma",
            Limit::Misc => "misc",
            Limit::Core => "cgroup",
            Limit::Devices => "device",
            Limit::Freezer => "freezer",
            Limit::NetworkClass => "network class",
            Limit::NetworkPriority => "network priority",
        })
    }
}

/// Why a limit cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}; {fix}")]
pub struct Reason {
    /// What is missing.
    pub why: String,
    /// What would mend it.
    pub fix: String,
}

impl Reason {
    pub(super) fn new(why: impl Into<String>, fix: impl Into<String>) -> Reason {
        Reason { why: why.into(), fix: fix.into() }
    }
}
