//! Requests and replies about volumes: directories that outlast containers, each known by a name.

use serde::{Deserialize, Serialize};

/// Asks for a new volume.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Create {
    /// Its name; one is made up otherwise.
    pub name: Option<String>,
    /// `local`, which is the default and all there is.
    pub driver: Option<String>,
    /// Labels `KEY=VALUE`.
    pub labels: Vec<String>,
    /// `type=…`, `device=…`, `o=…`, `copy`, `nocopy`: what is mounted in it, in the words of mount(8).
    pub options: Vec<String>,
    /// One of that name is no error.
    pub ignore: bool,
    /// Owner of its directory, as containers see it.
    pub uid: Option<u32>,
    /// Group of its directory, as containers see it.
    pub gid: Option<u32>,
}

/// Asks which volumes there are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct List {
    /// `key=value`, as `--filter` takes it.
    pub filters: Vec<String>,
}

/// Asks for one volume to be removed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Remove {
    /// Which volume.
    pub name: String,
    /// The containers that use it are stopped and removed first.
    pub force: bool,
    /// Seconds that those have between their stop signal and SIGKILL.
    pub timeout: Option<u32>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Directory of the host in which its files are.
    pub mountpoint: String,
    /// When it was made, in nanoseconds since 1970.
    pub created: i64,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// What is mounted in it: key and value.
    pub options: Vec<(String, String)>,
    /// It was made for one container, by no name.
    pub anonymous: bool,
    /// No container has used it yet: the first brings what its image has there.
    pub needs_copy: bool,
    /// It takes its owner of the next container that uses it.
    pub needs_owner: bool,
    /// Owner that was asked for.
    pub uid: Option<u32>,
    /// Group that was asked for.
    pub gid: Option<u32>,
    /// Ids of the containers that use it.
    pub users: Vec<String>,
    /// Something is mounted in it now.
    pub mounted: bool,
}
