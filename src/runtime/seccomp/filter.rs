//! A compiled filter: kept as bytes, carried as text, installed into a thread.
//!
//! Bytes, all numbers little-endian: `mpsf`, a version (1), a byte which is 1 if there is a listener, the number of instructions
//! in 2 bytes, flags in 4; each instruction as 2 bytes of code, 1 of jump if true, 1 of jump if false, 4 of operand; with a
//! listener the length of its path in 2 bytes, the path, and its metadata up to the end.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use sys::seccomp::Instruction;

/// A program that decides on each system call, and how it is installed. As JSON it is the hexadecimal text of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub(super) instructions: Vec<Instruction>,
    pub(super) flags: u32,
    pub(super) listener: Option<Listener>,
}

/// Who is asked about calls with action `SCMP_ACT_NOTIFY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The unix socket over which the listening descriptor is sent; empty if the specification names none.
    pub path: PathBuf,
    /// Sent along with it.
    pub metadata: String,
}

/// Bytes that are no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a compiled seccomp filter of this version")]
pub struct NotAFilter;

const MAGIC: &[u8; 5] = b"mpsf\x01";

impl Filter {
    /// The program.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Who must be sent the descriptor that [`Filter::install`] gives.
    pub fn listener(&self) -> Option<&Listener> {
        self.listener.as_ref()
    }

    /// Confines the calling thread and what it will fork and execute. Gives the listening descriptor if there is a listener.
    /// It does not allocate. `EACCES` without no_new_privs unless the thread has `CAP_SYS_ADMIN` in its user namespace.
    pub fn install(&self) -> rustix::io::Result<Option<OwnedFd>> {
        sys::seccomp::install(&self.instructions, self.flags)
    }

    /// The filter as bytes; see the module for their format.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(12 + 8 * self.instructions.len());
        bytes.extend(MAGIC);
        bytes.push(u8::from(self.listener.is_some()));
        bytes.extend((self.instructions.len() as u16).to_le_bytes());
        bytes.extend(self.flags.to_le_bytes());
        for instruction in &self.instructions {
            bytes.extend(instruction.code.to_le_bytes());
            bytes.extend([instruction.jump_true, instruction.jump_false]);
            bytes.extend(instruction.operand.to_le_bytes());
        }
        if let Some(listener) = &self.listener {
            let path = listener.path.as_os_str().as_bytes();
            bytes.extend((path.len() as u16).to_le_bytes());
            bytes.extend(path);
            bytes.extend(listener.metadata.bytes());
        }
        bytes
    }

    /// The reverse of [`Filter::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Filter, NotAFilter> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(NotAFilter)?;
        let ([has_listener, low, high], rest) = rest.split_first_chunk().ok_or(NotAFilter)?;
        let (flags, rest) = rest.split_first_chunk().ok_or(NotAFilter)?;
        let length = 8 * usize::from(u16::from_le_bytes([*low, *high]));
        let (program, rest) = rest.split_at_checked(length).ok_or(NotAFilter)?;
        let instructions = program
            .chunks_exact(8)
            .map(|c| Instruction {
                code: u16::from_le_bytes([c[0], c[1]]),
                jump_true: c[2],
                jump_false: c[3],
                operand: u32::from_le_bytes([c[4], c[5], c[6], c[7]]),
            })
            .collect();
        let listener = match (has_listener, rest) {
            (0, []) => None,
            (1, rest) => {
                let (length, rest) = rest.split_first_chunk().ok_or(NotAFilter)?;
                let (path, metadata) = rest.split_at_checked(u16::from_le_bytes(*length).into()).ok_or(NotAFilter)?;
                let metadata = String::from_utf8(metadata.to_vec()).map_err(|_| NotAFilter)?;
                Some(Listener { path: std::ffi::OsString::from_vec(path.to_vec()).into(), metadata })
            }
            _ => return Err(NotAFilter),
        };
        Ok(Filter { instructions, flags: u32::from_le_bytes(*flags), listener })
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&types::digest::hex(&self.to_bytes()))
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Filter, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes: Option<Vec<u8>> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| {
                let [high, low] = *pair else { return None };
                Some(((high as char).to_digit(16)? << 4 | (low as char).to_digit(16)?) as u8)
            })
            .collect();
        bytes.and_then(|bytes| Filter::from_bytes(&bytes).ok()).ok_or_else(|| serde::de::Error::custom(NotAFilter))
    }
}
