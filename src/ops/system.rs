//! Requests and replies about the whole: room on the disk, damage, what is left unused.

use serde::{Deserialize, Serialize};
use types::{Digest, Id};

/// Room on the disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskUsage {
    /// Images, a row for each.
    pub images: Vec<ImageUsage>,
    /// Bytes of all layers of images, each counted once.
    pub layers: u64,
    /// Containers with the sizes of what they wrote.
    pub containers: Vec<ContainerUsage>,
    /// Volumes.
    pub volumes: Vec<VolumeUsage>,
}

/// Room that an image takes, in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageUsage {
    /// Its id.
    pub id: Digest,
    /// Its names.
    pub names: Vec<String>,
    /// Seconds since 1970.
    pub created: i64,
    /// Of all its layers.
    pub size: u64,
    /// Of those that another image has too.
    pub shared: u64,
    /// Of those that only it has.
    pub unique: u64,
    /// Containers made of it.
    pub containers: u64,
}

/// Room that a container takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerUsage {
    /// What lists say of it, with its size.
    pub container: crate::container::Summary,
    /// Volumes that it has.
    pub volumes: u64,
}

/// Room that a volume takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeUsage {
    /// Its name.
    pub name: String,
    /// Containers that have it.
    pub links: u64,
    /// Bytes of its files.
    pub size: u64,
}

/// Asks for damage to be looked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Contents are not read.
    pub quick: bool,
    /// What is damaged is removed.
    pub repair: bool,
    /// Containers that are damaged, or made of damaged images, too.
    pub force: bool,
    /// Seconds for which what nobody knows is left alone; a day if `None`.
    pub age: Option<u64>,
}

/// What was found, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// What is wrong, a line each.
    pub damage: Vec<String>,
    /// Images that were removed.
    pub images: Vec<Digest>,
    /// Containers that were removed.
    pub containers: Vec<Id>,
    /// What is wrong still.
    pub left: bool,
}
