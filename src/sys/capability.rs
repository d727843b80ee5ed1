//! The five capability sets of a thread (capabilities(7)), as bits of a `u64`.
//!
//! Must not know: names, or which ones a container gets.

use rustix::io::{Errno, Result};
use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// `CAP_SYS_ADMIN`.
pub const SYS_ADMIN: u64 = 1 << 21;
/// `CAP_SYS_RESOURCE`.
pub const SYS_RESOURCE: u64 = 1 << 24;
/// `CAP_MKNOD`.
pub const MKNOD: u64 = 1 << 27;
/// `CAP_SETPCAP`.
pub const SETPCAP: u64 = 1 << 8;

/// The sets that capset(2) changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sets {
    /// What counts now.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What survives execve(2) if the file says so.
    pub inheritable: u64,
}

/// The sets of this thread.
pub fn get() -> Result<Sets> {
    let sets = thread::capabilities(None)?;
    Ok(Sets {
        effective: sets.effective.bits(),
        permitted: sets.permitted.bits(),
        inheritable: sets.inheritable.bits(),
    })
}

/// Sets the sets of this thread.
pub fn set(sets: Sets) -> Result<()> {
    thread::set_capabilities(
        None,
        CapabilitySets {
            effective: CapabilitySet::from_bits_retain(sets.effective),
            permitted: CapabilitySet::from_bits_retain(sets.permitted),
            inheritable: CapabilitySet::from_bits_retain(sets.inheritable),
        },
    )
}

/// Takes everything but `keep` out of the bounding set, up to the kernel's last capability.
pub fn bound(keep: u64) -> Result<()> {
    for number in (0..64).filter(|n| keep >> n & 1 == 0) {
        match thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The bounding set.
pub fn bounding() -> u64 {
    (0..64)
        .take_while(|n| thread::capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << n)).is_ok())
        .filter(|n| thread::capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << n)) == Ok(true))
        .fold(0, |set, n| set | 1 << n)
}

/// Makes the ambient set exactly `set` (kernel 4.3); each must be permitted and inheritable.
pub fn set_ambient(set: u64) -> Result<()> {
    match thread::clear_ambient_capability_set() {
        Err(Errno::INVAL) if set == 0 => return Ok(()),
        other => other?,
    }
    (0..64)
        .filter(|n| set >> n & 1 == 1)
        .try_for_each(|n| thread::configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(1 << n), true))
}
