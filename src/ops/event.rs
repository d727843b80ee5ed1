//! Events: what happened to containers, images, volumes, networks and the system.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where events are written to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// A file in the run root.
    #[default]
    File,
    /// Nowhere.
    None,
}

/// One event, in the shape of the lines of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Event {
    /// Id of the container; for an image its id, for others empty.
    #[serde(rename = "ID", skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Image of the container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Name.
    pub name: String,
    /// Network that a container joins or leaves.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// What happened: `create`, `start`, `died`, …
    pub status: String,
    /// When, RFC 3339 with nanoseconds.
    pub time: String,
    /// `container`, `image`, `volume`, `network` or `system`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Exit code, of `died` and `exec_died`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_exit_code: Option<i32>,
    /// Of `health_status`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub health_status: String,
    /// What a check printed, of `health_status`, if that is to be told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub health_log: String,
    /// What went wrong, of `hook_failed`: a hook of the end, which keeps nothing from ending.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// Asks for events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// `key=value`, as `--filter` takes it.
    pub filters: Vec<String>,
    /// Not before; as `--since` takes it.
    pub since: Option<String>,
    /// Not after; as `--until` takes it.
    pub until: Option<String>,
    /// Go on with what happens from now on.
    pub stream: bool,
}
