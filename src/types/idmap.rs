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

impl IdMap {
    /// The map with the one id of an ordinary user seen as root.
    pub fn single(uid: u32, gid: u32) -> IdMap {
        IdMap {
            uids: vec![IdRange { container: 0, host: uid, size: 1 }],
            gids: vec![IdRange { container: 0, host: gid, size: 1 }],
        }
    }

    /// True if no namespace was asked for.
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }
}

/// The id outside that `id` inside stands for, if it is mapped.
pub fn to_host(ranges: &[IdRange], id: u32) -> Option<u32> {
    ranges.iter().find_map(|r| (id >= r.container && id - r.container < r.size).then(|| r.host + (id - r.container)))
}

/// The id inside by which `id` outside is seen, if it is mapped.
pub fn to_container(ranges: &[IdRange], id: u32) -> Option<u32> {
    ranges.iter().find_map(|r| (id >= r.host && id - r.host < r.size).then(|| r.container + (id - r.host)))
}

/// The lines that `/proc/PID/uid_map` takes.
pub fn render(ranges: &[IdRange]) -> String {
    ranges.iter().map(|r| format!("{} {} {}\n", r.container, r.host, r.size)).collect()
}
