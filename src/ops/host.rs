//! Replies about the host: `info` and `version`.

use serde::{Deserialize, Serialize};

/// A fact of `info`, in the order of its sections; the value is JSON so that lists and numbers stay what they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// The document, in Podman's shape (`host`, `store`, `version`, …).
    pub document: serde_json::Value,
}

/// `version`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Version of this file.
    pub version: String,
    /// Version of Podman's interface that is spoken.
    pub api_version: String,
    /// `linux/amd64`.
    pub platform: String,
}
