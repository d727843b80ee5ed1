//! A container's log on disk.
//!
//! Two formats, as their names promise to other programs:
//!
//! - `k8s-file`: `TIME STREAM TAG TEXT`, where TIME is RFC 3339 with nine digits and an offset, STREAM `stdout` or
//!   `stderr`, TAG `F` for the end of a line and `P` for a part that goes on in the next record of that stream;
//! - `json-file`: `{"log":"TEXT\n","stream":"stdout","time":"TIME"}`; a part lacks the `\n`. Bytes that are not UTF-8
//!   become U+FFFD, JSON having no others.
//!
//! A log that would grow beyond its size is renamed to `PATH.1`, in place of an older one, and begun anew.

mod read;
mod tail;
mod write;

pub use read::{Options, Reader, read};
pub use write::Writer;

use serde::{Deserialize, Serialize};

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// As CRI and Podman write it.
    K8sFile,
    /// As Docker writes it.
    JsonFile,
}

/// Which output something came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// One record of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Nanoseconds since 1970.
    pub time: i64,
    /// Where it came from.
    pub stream: Stream,
    /// The bytes without the end of line.
    pub text: Vec<u8>,
    /// True if the line goes on in the next record of the same stream.
    pub partial: bool,
}
