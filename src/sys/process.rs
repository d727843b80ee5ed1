//! Processes: who is one (start time), descriptors it must not inherit, and `prctl(2)` and `personality(2)` bits.
//!
//! Must not know: what the process is for.

use rustix::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::{Errno, Result};
use rustix::process::{Pid, PidfdFlags, Signal};
use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

/// The time at which process `pid` started, in clock ticks since boot: field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
/// With it, a later process with the same number is not taken for this one. `ESRCH` if there is no such process.
pub fn start_time(pid: i32) -> Result<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).map_err(|e| match e.raw_os_error() {
        Some(libc::ENOENT) | None => Errno::SRCH,
        Some(number) => Errno::from_raw_os_error(number),
    })?;
    parse_start_time(&stat).ok_or(Errno::PROTO)
}

/// The name (field 2) is in brackets and may hold anything, brackets and spaces too: fields are counted from the last one.
fn parse_start_time(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|b| *b == b')')?;
    let field = stat.get(end + 2..)?.split(|b| *b == b' ').nth(19)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// A descriptor of process `pid`, or `ESRCH` if it is gone or another process has its number now (pidfd_open(2), 5.3).
pub fn open(pid: i32, started: u64) -> Result<OwnedFd> {
    let fd = rustix::process::pidfd_open(Pid::from_raw(pid).ok_or(Errno::SRCH)?, PidfdFlags::empty())?;
    if start_time(pid)? != started {
        return Err(Errno::SRCH);
    }
    Ok(fd)
}

/// True if process `pid` that started at `started` lives (a zombie does not).
pub fn is_alive(pid: i32, started: u64) -> bool {
    let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.iter().rposition(|b| *b == b')').and_then(|end| stat.get(end + 2));
    parse_start_time(&stat) == Some(started) && !matches!(state, Some(b'Z' | b'X'))
}

/// Sends signal `number` (0 only asks) to process `pid` that started at `started`, by pidfd; by number on kernels before 5.3.
pub fn kill(pid: i32, started: u64, number: i32) -> Result<()> {
    match open(pid, started) {
        Ok(fd) => pidfd_send_signal(fd.as_fd(), number),
        Err(Errno::NOSYS) if is_alive(pid, started) => check(raw_kill(pid, number)).map(drop),
        Err(Errno::NOSYS) => Err(Errno::SRCH),
        Err(error) => Err(error),
    }
}

/// Sends signal `number` to the process behind a pidfd; 0 only asks whether it is there.
pub fn pidfd_send_signal(fd: BorrowedFd<'_>, number: i32) -> Result<()> {
    match Signal::from_named_raw(number) {
        Some(signal) => rustix::process::pidfd_send_signal(fd, signal),
        None => {
            use std::os::fd::AsRawFd;
            // SAFETY: the call reads no memory: the info pointer is null.
            check(unsafe {
                libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), number, std::ptr::null::<libc::c_void>(), 0)
            })
            .map(drop)
        }
    }
}

fn raw_kill(pid: i32, number: i32) -> libc::c_long {
    // SAFETY: kill(2) touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_kill, pid, number) }
}

/// Marks all descriptors from `first` on close-on-exec (close_range(2), 5.11), by `/proc/self/fd` where the kernel is older.
pub fn close_on_exec_from(first: RawFd) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: close_range(2) with this flag only sets a flag of descriptors.
    match check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) }) {
        // A filter that does not know the call may say that it is not permitted.
        Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => {}
        other => return other.map(drop),
    }
    for fd in open_from(first)? {
        // SAFETY: F_SETFD on any number only sets its flag, or fails with EBADF.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Lets programs inherit the `count` descriptors from `first` on. One that is not open is `EBADF`.
pub fn inherit(first: RawFd, count: u32) -> Result<()> {
    (first..first.saturating_add_unsigned(count)).try_for_each(|number| {
        // SAFETY: F_SETFD on any number only sets its flag, or fails with EBADF.
        check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }.into()).map(drop)
    })
}

/// The numbers of open descriptors from `first` on.
fn open_from(first: RawFd) -> Result<Vec<RawFd>> {
    let entries = std::fs::read_dir("/proc/self/fd").map_err(errno)?;
    Ok(entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).filter(|fd| *fd >= first).collect())
}

/// Closes all descriptors from `first` on (close_range(2), 5.9; before that one by one).
///
/// For a process that just began, or is about to do nothing but wait: whatever owned one of them must not be used again.
pub fn close_from(first: RawFd) {
    // SAFETY: the caller gives these descriptors up; closing numbers that are not open does nothing.
    if check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) }).is_err() {
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1024).min(1 << 16);
        open_from(first).unwrap_or_else(|_| (first..most as RawFd).collect()).into_iter().for_each(|number| {
            // SAFETY: as above.
            unsafe { libc::close(number) };
        });
    }
}

/// Closes all descriptors from `first` on but those in `kept`; the same holds as for [`close_from`].
pub fn close_all_but(first: RawFd, kept: &[RawFd]) {
    if kept.is_empty() {
        return close_from(first);
    }
    let most = RawFd::MAX;
    for number in open_from(first).unwrap_or_else(|_| (first..most.min(1 << 16)).collect()) {
        if !kept.contains(&number) {
            close(number);
        }
    }
}

/// Closes the descriptor `number`, which no owner of ours has; one that is not open is fine.
pub fn close(number: RawFd) {
    // SAFETY: the caller gives it up; closing a number that is not open does nothing.
    unsafe { libc::close(number) };
}

/// Lets no program inherit descriptor `number`. One that is not open is `EBADF`.
pub fn close_on_exec(number: RawFd) -> Result<()> {
    // SAFETY: F_SETFD on any number only sets its flag, or fails with EBADF.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }.into()).map(drop)
}

/// Sends signal `number` to our own child `pid`, whose number cannot have been given to another before we reap it.
pub fn kill_number(pid: i32, number: i32) {
    let _ = raw_kill(pid, number);
}

/// Makes `fd` descriptor number `number` (dup3(2)), inherited by programs; what was there is closed.
pub fn place(fd: OwnedFd, number: RawFd) -> Result<()> {
    use std::os::fd::{AsRawFd, IntoRawFd};
    if fd.as_raw_fd() == number {
        // SAFETY: F_SETFD on a descriptor that we own.
        check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }.into())?;
        let _ = fd.into_raw_fd();
        return Ok(());
    }
    // SAFETY: replacing `number` is what the caller asks for; nothing in this process owns 0, 1 and 2.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into()).map(drop)
}

/// A duplicate of `fd` at a number of 3 or more, close-on-exec: so that placing streams at 0, 1 and 2 cannot hit it.
pub fn out_of_the_way(fd: OwnedFd) -> Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    // SAFETY: F_DUPFD_CLOEXEC gives a new descriptor, which nobody else owns.
    let number = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) }.into())?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(number as RawFd) })
}

/// Sets the execution domain, `PER_*` with flags (personality(2)).
pub fn set_personality(persona: u64) -> Result<()> {
    // SAFETY: personality(2) takes a number.
    check(unsafe { libc::syscall(libc::SYS_personality, persona) }).map(drop)
}

/// Whether others of the same user may trace this process and read its memory and `/proc` links (PR_SET_DUMPABLE).
pub fn set_dumpable(yes: bool) -> Result<()> {
    // SAFETY: prctl(2) with plain numbers.
    check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_DUMPABLE, libc::c_ulong::from(yes), 0, 0, 0) }).map(drop)
}

/// Sets the NIS domain name (setdomainname(2)).
pub fn set_domain_name(name: &[u8]) -> Result<()> {
    // SAFETY: pointer and length are those of one slice.
    check(unsafe { libc::syscall(libc::SYS_setdomainname, name.as_ptr(), name.len()) }).map(drop)
}

/// Executes a program (execve(2)); comes back only with the reason why not.
pub fn execute(program: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: C strings and null-terminated arrays of them, all of which live through the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    errno(std::io::Error::last_os_error())
}

/// The result of a raw system call, or the errno it left.
pub(crate) fn check(result: libc::c_long) -> Result<libc::c_long> {
    if result >= 0 { Ok(result) } else { Err(errno(std::io::Error::last_os_error())) }
}

/// The errno inside an error of the standard library; `EIO` if it has none.
pub fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_not_misled_by_the_name() {
        let mut stat = b"42 (a) R (b) S ".to_vec();
        stat.extend((4..=52).map(|n| format!("{n} ")).collect::<String>().bytes());
        assert_eq!(parse_start_time(&stat), Some(22));
        assert_eq!(parse_start_time(b"42 (a"), None);
    }

    #[test]
    fn this_process_lives_and_another_start_is_another_process() {
        let pid = std::process::id() as i32;
        let started = start_time(pid).unwrap();
        assert!(is_alive(pid, started));
        assert!(!is_alive(pid, started + 1));
        kill(pid, started, 0).unwrap();
        assert_eq!(kill(pid, started + 1, 0), Err(Errno::SRCH));
        assert_eq!(start_time(i32::MAX), Err(Errno::SRCH));
    }
}
