//! Maps of user or group ids between a user namespace and its parent (user_namespaces(7)).

use serde::{Deserialize, Serialize};

/// A range of ids: `size` ids from `container` inside are those from `host` outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// First id inside the namespace.
    pub container: u32,
    /// First id in the parent namespace.
    pub host: u32,
    /// How many ids.
    pub size: u32,
}

/// The two maps of a user namespace. Empty lists mean: no namespace of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// Ranges of user ids.
    pub uids: Vec<IdRange>,
    /// Ranges of group ids.
    pub gids: Vec<IdRange>,
}

/// The id outside that `id` inside stands for, if it is mapped.
pub fn to_host(ranges: &[IdRange], id: u32) -> Option<u32> {
    ranges.iter().find_map(|r| (id >= r.container && id - r.container < r.size).then(|| r.host + (id - r.container)))
}

/// The lines that `/proc/PID/uid_map` takes.
pub fn render(ranges: &[IdRange]) -> String {
    ranges.iter().map(|r| format!("{} {} {}\n", r.container, r.host, r.size)).collect()
}
