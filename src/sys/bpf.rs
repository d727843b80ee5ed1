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
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const PROG_QUERY: libc::c_long = 16;
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

/// The start of `union bpf_attr` for asking what is attached.
#[repr(C)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    unused: u32,
}

/// Asks the kernel (4.15) to let `program` decide on each opening and making of a device by processes in the cgroup2 directory
/// `group` and below. All programs on the way down must agree. It ends with the group.
///
/// `EPERM` without `CAP_SYS_ADMIN` in the initial user namespace, `EINVAL` on a kernel built without such programs.
pub fn filter_devices(group: BorrowedFd<'_>, program: &[Instruction]) -> Result<()> {
    attach(group, load_or_raise(program)?.as_fd(), PROG_ATTACH, ALLOW_MULTI)
}

/// As [`filter_devices`] on a group that lives: the programs that were attached to the group itself go when the new one is
/// there, so that at no moment more is allowed than by one of both. None: everything is allowed.
pub fn replace_device_filter(group: BorrowedFd<'_>, program: Option<&[Instruction]>) -> Result<()> {
    let before = attached(group)?;
    if let Some(program) = program {
        filter_devices(group, program)?;
    }
    for program in before {
        attach(group, program.as_fd(), PROG_DETACH, 0)?;
    }
    Ok(())
}

/// The programs on devices that are attached to `group` itself (4.15).
fn attached(group: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    // More than the kernel lets be attached to one group.
    let mut ids = [0u32; 64];
    let mut query = Query {
        target: group.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        unused: 0,
    };
    // SAFETY: the kernel reads and writes `size_of` bytes of the structure, and writes at most `count` ids, all alive here.
    check(unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &mut query, size_of::<Query>()) })?;
    let programs = ids.iter().take(query.count as usize).map(|id| {
        let ask = [*id, 0, 0];
        // SAFETY: the kernel reads `size_of` bytes of the array.
        let fd = check(unsafe { libc::syscall(libc::SYS_bpf, PROG_GET_FD_BY_ID, &ask, size_of_val(&ask)) })?;
        // SAFETY: a success is a new descriptor, which nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    });
    // One that is gone by now is none.
    programs.filter(|program| !matches!(program, Err(Errno::NOENT))).collect()
}

fn load_or_raise(program: &[Instruction]) -> Result<OwnedFd> {
    match load(program) {
        // Before 5.11 programs counted as locked memory, of which the usual limit is soon reached.
        Err(Errno::PERM) => {
            // For this one call: what is made by this process inherits the limit.
            let before = getrlimit(Resource::Memlock);
            setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).map_err(|_| Errno::PERM)?;
            let loaded = load(program);
            setrlimit(Resource::Memlock, before)?;
            loaded
        }
        other => other,
    }
}

/// Attaches or detaches `program`, as `call` says.
fn attach(group: BorrowedFd<'_>, program: BorrowedFd<'_>, call: libc::c_long, flags: u32) -> Result<()> {
    let attach = Attach {
        target: group.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        flags,
    };
    // SAFETY: the kernel reads `size_of` bytes from a structure of that size.
    check(unsafe { libc::syscall(libc::SYS_bpf, call, &attach, size_of::<Attach>()) }).map(drop)
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
