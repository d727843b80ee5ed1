//! The words of monopod: values that every room speaks, parsed once and then trusted.
//!
//! Must not know: input or output of any kind, the clock, the environment, other rooms.

pub mod attach;
pub mod capability;
pub mod digest;
pub mod id;
pub mod idmap;
pub mod pattern;
pub mod platform;
pub mod port;
pub mod reference;
pub mod signal;
pub mod size;
pub mod span;
pub mod subnet;

pub use digest::{Digest, Hasher};
pub use id::Id;
pub use idmap::{IdMap, IdRange};
pub use pattern::Pattern;
pub use platform::Platform;
pub use reference::Reference;
pub use signal::Signal;
pub use subnet::Subnet;

/// A word that could not be understood: what was given, and what was expected instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} {given:?}: {why}")]
pub struct Invalid {
    /// The kind of word, e.g. `digest`.
    pub what: &'static str,
    /// The text that was given.
    pub given: String,
    /// Why it was not accepted.
    pub why: String,
}

impl Invalid {
    /// Builds the error for a `what` given as `given`.
    pub fn new(what: &'static str, given: impl Into<String>, why: impl Into<String>) -> Self {
        Invalid { what, given: given.into(), why: why.into() }
    }
}
