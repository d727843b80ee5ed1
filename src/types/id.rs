//! Identifiers of containers and exec sessions: 64 lower-case hex digits, as Docker's and Podman's.

use crate::Invalid;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A full identifier.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// An identifier from 32 random bytes (the caller has the random source).
    pub fn from_random(bytes: [u8; 32]) -> Id {
        Id(crate::digest::hex(&bytes))
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, as lists print them.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for Id {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Id, Invalid> {
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(Invalid::new("id", text, "expected 64 lower-case hex digits"));
        }
        Ok(Id(text.to_owned()))
    }
}

impl TryFrom<String> for Id {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Id, Invalid> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// True if `name` may name a container: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, as Podman and Docker demand.
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}
