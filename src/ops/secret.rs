//! Requests and replies about secrets: small texts or bytes that containers are handed, and nobody else.

use serde::{Deserialize, Serialize};

/// Asks for a new secret.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Create {
    /// Its name.
    pub name: String,
    /// Its bytes: 1 to 511999.
    pub data: Vec<u8>,
    /// Who keeps it: `file` (default) or `shell`.
    pub driver: Option<String>,
    /// `KEY=VALUE` for the driver.
    pub driver_options: Vec<String>,
    /// Labels `KEY=VALUE`.
    pub labels: Vec<String>,
    /// One of that name is replaced.
    pub replace: bool,
    /// One of that name is no error, and stays.
    pub ignore: bool,
}

/// Asks which secrets there are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct List {
    /// `id=`, `name=`, as `--filter` takes them.
    pub filters: Vec<String>,
}

/// A secret, without what is secret about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Secret {
    /// Its id: 25 hex digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Who keeps it.
    pub driver: String,
    /// Options of the driver.
    pub driver_options: std::collections::BTreeMap<String, String>,
    /// Labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// When it was made, in nanoseconds since 1970.
    pub created: i64,
    /// When it was replaced last, in nanoseconds since 1970.
    pub updated: i64,
}
