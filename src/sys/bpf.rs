//! Programs that the kernel asks about devices: `bpf(2)`, assembled and attached without a library.
//!
//! Must not know: which devices a container gets.

use crate::process::check;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::{Errno, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// One instruction of eBPF (`struct bpf_insn` of `linux/bpf.h`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instruction {
    /// What to do.
    pub code: u8,
    /// The destination register in the lower half, the source register in the upper.
    pub registers: u8,
    /// Of a jump or a load.
    pub offset: i16,
    /// The operand.
    pub immediate: i32,
}

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// The start of `union bpf_attr` for loading a program; the kernel takes the rest for zero.
#[repr(C)]
struct Load {
    program_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Asks the kernel (4.15) to let `program` decide on each opening and making of a device by processes in the cgroup2 directory
/// `group` and below. All programs on the way down must agree. It ends with the group.
///
/// `EPERM` without `CAP_SYS_ADMIN` in the initial user namespace, `EINVAL` on a kernel built without such programs.
pub fn filter_devices(group: BorrowedFd<'_>, program: &[Instruction]) -> Result<()> {
    let loaded = match load(program) {
        // Before 5.11 programs counted as locked memory, of which the usual limit is soon reached.
        Err(Errno::PERM) => {
            // For this one call: what is made by this process inherits the limit.
            let before = getrlimit(Resource::Memlock);
            setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).map_err(|_| Errno::PERM)?;
            let loaded = load(program);
            setrlimit(Resource::Memlock, before)?;
            loaded?
        }
        other => other?,
    };
    let attach = Attach {
        target: group.as_raw_fd() as u32,
        program: loaded.as_fd().as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: the kernel reads `size_of` bytes from a structure of that size.
    check(unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &attach, size_of::<Attach>()) }).map(drop)
}

fn load(program: &[Instruction]) -> Result<OwnedFd> {
    let license = c"Apache-2.0";
    let load = Load {
        program_type: PROG_TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads the structure, `count` instructions and the license, all alive during the call.
    let fd = check(unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &load, size_of::<Load>()) })?;
    // SAFETY: a success is a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
