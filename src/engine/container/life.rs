//! Decided: what becomes of a container while nobody looks.

use ops::life::{Notify, OnFailure, Restart};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use store::configuration::Healthcheck;

/// The part of a container's configuration about its life.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Life {
    /// When it is started again.
    pub restart: Restart,
    /// How its health is checked, if it is.
    pub check: Option<Check>,
    /// Seconds after its start at which it is killed; 0 is never.
    pub timeout: u32,
    /// Who tells the service manager that it is ready.
    pub notify: Notify,
    /// File for the process id of its first process, removed with it.
    pub pid_file: Option<PathBuf>,
    /// File for the process id of its monitor, removed with it.
    pub monitor_pid_file: Option<PathBuf>,
}

impl Life {
    /// Nothing of it was asked for.
    pub fn is_plain(&self) -> bool {
        *self == Life::default()
    }
}

/// Health checks; times in nanoseconds, none of them inherited any more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What is run, how often, and what counts.
    pub regular: Healthcheck,
    /// What comes first.
    pub startup: Option<Startup>,
    /// What is done when the container has become unhealthy.
    pub on_failure: OnFailure,
    /// Results that are kept; 0 is all.
    pub log_count: u32,
    /// Bytes that are kept of what a check printed; 0 is all.
    pub log_size: u32,
    /// Where results are kept.
    #[serde(default)]
    pub log_destination: Destination,
}

/// Where results of health checks are kept, beside what the engine knows of the last ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    /// Nowhere else.
    #[default]
    Local,
    /// Events tell them.
    Events,
    /// In `ID-healthcheck.log` in this directory.
    Directory(PathBuf),
}

impl Destination {
    /// As it is asked for.
    pub fn name(&self) -> String {
        match self {
            Destination::Local => "local".into(),
            Destination::Events => "events_logger".into(),
            Destination::Directory(path) => path.to_string_lossy().into_owned(),
        }
    }
}

/// Start-up checks; times in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Startup {
    /// As [`Healthcheck::test`].
    pub test: Vec<String>,
    /// Between two checks.
    pub interval: i64,
    /// Longest a check may take.
    pub timeout: i64,
    /// Failures in a row after which the container is started again; 0 is never.
    pub retries: i64,
    /// Successes after which the regular checks begin.
    pub success: i64,
}
