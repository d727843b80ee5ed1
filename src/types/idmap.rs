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
    let inside = |r: &IdRange| id.checked_sub(r.container).filter(|offset| *offset < r.size);
    // A range that leads beyond the last id maps nothing there: the kernel refuses it.
    ranges.iter().find_map(|r| r.host.checked_add(inside(r)?))
}

/// Reads lines of a map as the kernel shows them (user_namespaces(7)); those that are none are left out.
pub fn parse(text: &str) -> Vec<IdRange> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(|n| n.parse::<u32>().ok());
        Some(IdRange { container: numbers.next()??, host: numbers.next()??, size: numbers.next()?? })
    };
    text.lines().filter_map(line).collect()
}

/// The lines that `/proc/PID/uid_map` takes.
pub fn render(ranges: &[IdRange]) -> String {
    ranges.iter().map(|r| format!("{} {} {}\n", r.container, r.host, r.size)).collect()
}
