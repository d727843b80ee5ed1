//! How a process is scheduled: sched_setattr(2), ioprio_set(2), and set_mempolicy(2) for the memory it gets.
//!
//! Must not know: names of policies, or who wants one.

use crate::process::check;
use rustix::io::Result;

/// What sched_setattr(2) takes (`struct sched_attr` of `linux/sched/types.h`, kernel 3.14).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value, -20 to 19.
    pub nice: i32,
    /// Static priority of real-time policies.
    pub priority: u32,
    /// Nanoseconds, of `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// The flags `SCHED_FLAG_UTIL_CLAMP_MIN` and `_MAX`, for which the kernel wants a longer structure (5.3).
const UTIL_CLAMP: u64 = 0x60;

#[repr(C)]
struct Raw {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    least: u32,
    most: u32,
}

/// Sets the scheduling of process `pid`, 0 for the calling thread.
pub fn set(pid: i32, attributes: &Attributes) -> Result<()> {
    let Attributes { policy, flags, nice, priority, runtime, deadline, period } = *attributes;
    let size = if flags & UTIL_CLAMP == 0 { 48 } else { size_of::<Raw>() as u32 };
    let raw = Raw { size, policy, flags, nice, priority, runtime, deadline, period, least: 0, most: 0 };
    // SAFETY: the structure lives through the call, which reads as much of it as its size says.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw, 0) }).map(drop)
}

/// Sets the priority of input and output of process `pid`, 0 for the calling thread: `class` (1 real-time, 2 best effort,
/// 3 idle), and `level` 0 to 7.
pub fn set_io_priority(pid: i32, class: u8, level: u8) -> Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    let priority = libc::c_int::from(class) << 13 | libc::c_int::from(level);
    // SAFETY: ioprio_set(2) takes numbers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, priority) }).map(drop)
}

/// Sets from which nodes the calling thread, and what it executes, gets memory: `MPOL_*` with its flags, and a mask of nodes.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<()> {
    let mask = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // One bit less than what is said is read (set_mempolicy(2), "maxnode").
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    // SAFETY: the mask has as many bits as is said, less the one above.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode as libc::c_int, mask, bits) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn the_calling_thread_becomes_nicer() {
        // In a thread of its own: the attributes are its, and go with it.
        std::thread::spawn(|| {
            set(0, &Attributes { nice: 7, ..Attributes::default() }).unwrap();
            set_io_priority(0, 3, 0).unwrap();
            set_memory_policy(0, &[]).unwrap();
            assert_eq!(rustix::process::getpriority_process(None), Ok(7));
            assert_eq!(set(0, &Attributes { policy: 99, ..Attributes::default() }), Err(Errno::INVAL));
        })
        .join()
        .unwrap();
    }
}
