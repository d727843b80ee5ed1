//! The one error that reaches users and clients.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What sort of failure it is; decides the exit code and, later, the HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The request itself is wrong: a bad value, a combination that makes no sense.
    Invalid,
    /// The named object does not exist.
    NotFound,
    /// The object's state or another object's forbids it.
    Conflict,
    /// The host or this version cannot do it; the message names what is missing.
    Unsupported,
    /// The caller may not do it.
    Denied,
    /// The container's command was not found (exit code 127).
    CommandNotFound,
    /// The container's command could not be executed (exit code 126).
    CommandFailed,
    /// Anything else that went wrong on the way.
    Internal,
}

/// A failure: what happened, and what would fix it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The sort of failure.
    pub kind: Kind,
    /// One lower-case sentence without a full stop, names quoted; Podman's words where scripts match them.
    pub message: String,
    /// What the user can do about it; empty if nothing is known.
    pub hint: String,
}

impl Fault {
    /// A fault without a hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Fault {
        Fault { kind, message: message.into(), hint: String::new() }
    }

    /// The same fault with advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = hint.into();
        self
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Fault {
        Fault::new(Kind::Invalid, message)
    }

    /// Something unforeseen went wrong.
    pub fn internal(message: impl fmt::Display) -> Fault {
        Fault::new(Kind::Internal, message.to_string())
    }

    /// The exit code of `run`, `create`, `start` and `exec` for this fault (podman-run(1), "Exit Status").
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::CommandNotFound => 127,
            Kind::CommandFailed => 126,
            _ => 125,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, ": {}", self.hint) }
    }
}

impl std::error::Error for Fault {}

impl From<types::Invalid> for Fault {
    fn from(invalid: types::Invalid) -> Fault {
        Fault::invalid(invalid.to_string())
    }
}
