//! The filter of the default profile for the usual capabilities, which nearly every container gets: made beforehand and carried in
//! this file. To compile it at each start takes longer than all of its system calls, and touches the tables of all names.
//!
//! `static/seccomp-*.bin` are the bytes that [`Filter::to_bytes`] gives. A test holds them against the compiler, and writes them
//! anew when it is run with `MONOPOD_RENEW=1`.

use super::architecture::Architecture;
use super::compile::compile_for;
use super::filter::Filter;
use super::{Error, profile};

/// The machines that files are made for.
pub(super) const MADE: [(Architecture, &[u8]); 2] = [
    (Architecture::X86_64, include_bytes!("../../../static/seccomp-x86_64.bin")),
    (Architecture::Aarch64, include_bytes!("../../../static/seccomp-aarch64.bin")),
];

/// The filter of [`profile::default`] for a process whose bounding set is `capabilities`, on this machine.
pub fn default(capabilities: u64) -> Result<Filter, Error> {
    let native = Architecture::native().ok_or(Error::Machine(std::env::consts::ARCH))?;
    match made(capabilities, native) {
        Some(filter) => Ok(filter),
        None => compile_for(&profile::default(capabilities, native), native),
    }
}

/// The one that was made beforehand, if it is the same.
pub(super) fn made(capabilities: u64, native: Architecture) -> Option<Filter> {
    let (_, bytes) = MADE.iter().find(|(architecture, _)| *architecture == native)?;
    let is_usual = (capabilities ^ types::capability::DEFAULT) & profile::asked_about() == 0;
    is_usual.then(|| Filter::from_bytes(bytes).ok()).flatten()
}
