//! The roles of the one executable, and how a process starts itself again in another one.
//!
//! The role is the name by which the executable was called (`argv[0]`), as [`Role::name`] has them; every other name is the
//! command line. A role other than the command line gets two descriptors in place of standard input and
//! standard output; what they are is between both ends of that role.
//!
//! Must not know: what a role does.

use crate::mount::{Change, READ_ONLY, change};
use rustix::fs::{CWD, MemfdFlags, SealFlags};
use rustix::io::{Errno, Result};
use rustix::mount::OpenTreeFlags;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What this process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads flags and does what they ask.
    CommandLine,
    /// Keeps one container's output and its end (`monitor::main`).
    Monitor,
    /// Makes a container or a process in one, for another engine (`runtime::command`).
    Runtime,
    /// Carries what the containers of a user without root send and get (`usernet::main`).
    Network,
    /// Takes down networks that nobody is in, and answers for names (`network::keeper`).
    Ground,
}

impl Role {
    /// The role that `argv[0]` asks for. `main` must call this first, before anything that needs memory.
    pub fn of(name: &OsStr) -> Role {
        let roles = [Role::Monitor, Role::Runtime, Role::Network, Role::Ground];
        roles.into_iter().find(|role| name == role.name()).unwrap_or(Role::CommandLine)
    }

    /// The `argv[0]` of the role.
    pub fn name(self) -> &'static str {
        match self {
            Role::CommandLine => "monopod",
            Role::Monitor => "monopod-monitor",
            Role::Runtime => "monopod-runtime",
            Role::Network => "monopod-network",
            Role::Ground => "monopod-ground",
        }
    }
}

/// The file this process executes, even if it was replaced or removed since. Without /proc, the path by which it was
/// executed (`AT_EXECFN`, getauxval(3)).
pub fn executable() -> PathBuf {
    let link = Path::new("/proc/self/exe");
    if rustix::fs::access(link, rustix::fs::Access::EXEC_OK).is_ok() {
        return link.to_owned();
    }
    PathBuf::from(OsStr::from_bytes(rustix::param::linux_execfn().to_bytes()))
}

/// Starts this executable again as `role`: `input` becomes its descriptor 0, `output` 1 and 2. `arguments` are there for
/// those who list processes.
///
/// What it executes cannot be written to by way of its `/proc/PID/exe`, which a container may come to see (CVE-2019-5736).
pub fn spawn(role: Role, arguments: &[&OsStr], input: OwnedFd, output: OwnedFd) -> io::Result<Child> {
    let errors = output.try_clone()?;
    let image = unwritable()?;
    let path = format!("/proc/self/fd/{}", image.as_raw_fd());
    Command::new(path).arg0(role.name()).args(arguments).stdin(input).stdout(output).stderr(errors).spawn()
}

/// Goes on as `role`, with `arguments`, the standard streams and all that programs inherit; executed as by [`spawn`]. Comes
/// back only with the reason why not.
pub fn become_role(role: Role, arguments: &[OsString]) -> io::Error {
    match unwritable() {
        Ok(image) => {
            let path = format!("/proc/self/fd/{}", image.as_raw_fd());
            Command::new(path).arg0(role.name()).args(arguments).exec()
        }
        Err(error) => error.into(),
    }
}

/// This executable as a file that nobody who has it open, or sees it executed, can write to.
fn unwritable() -> Result<OwnedFd> {
    // A process that was itself started so sees its file through such a mount, which has no path.
    if let Ok(own) = rustix::fs::open(
        executable(),
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    ) && rustix::fs::fstatvfs(&own).is_ok_and(|v| v.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
    {
        return Ok(own);
    }
    // Kernels before 5.12, and a file that is not at its path any more, leave a copy.
    read_only_view().or_else(|_| sealed_copy())
}

/// The same file seen through a read-only mount of its own, which is attached nowhere.
fn read_only_view() -> Result<OwnedFd> {
    // Not the link itself: after unshare(2) it leads to a mount of the namespace that was left, which cannot be cloned.
    let path = rustix::fs::readlink("/proc/self/exe", Vec::new())?;
    let view = rustix::mount::open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let (found, own) = (rustix::fs::fstat(&view)?, rustix::fs::stat("/proc/self/exe")?);
    if (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino) {
        return Err(Errno::STALE);
    }
    change(view.as_fd(), false, Change { set: READ_ONLY, ..Change::default() })?;
    Ok(view)
}

/// A copy in memory that is sealed: it never changes again.
fn sealed_copy() -> Result<OwnedFd> {
    let own = rustix::fs::open(
        executable(),
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = match rustix::fs::memfd_create("monopod", flags | MemfdFlags::EXEC) {
        // The flag came with 6.3; before, all of them can be executed.
        Err(Errno::INVAL) => rustix::fs::memfd_create("monopod", flags)?,
        other => other?,
    };
    crate::reflink::copy(&own, &copy, &mut false)?;
    rustix::fs::fcntl_add_seals(&copy, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(copy)
}

/// Starts this executable again as a command line with `arguments`, its standard streams closed off.
pub fn spawn_command(arguments: &[OsString]) -> io::Result<Child> {
    let mut command = Command::new(executable());
    command.arg0(Role::CommandLine.name()).args(arguments);
    if Path::new("/dev/null").exists() {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    }
    command.spawn()
}

/// Runs `work` in a child process with a copy of this process's memory, which ends with the code that `work` returns;
/// returns the child's id. This process must have one thread.
pub fn fork(work: impl FnOnce() -> u8) -> Result<i32> {
    // SAFETY: with one thread no lock can be held by a thread that the child lacks.
    match unsafe { nix::unistd::fork() }.map_err(|e| Errno::from_raw_os_error(e as i32))? {
        nix::unistd::ForkResult::Parent { child } => Ok(child.as_raw()),
        nix::unistd::ForkResult::Child => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(125);
            // SAFETY: _exit ends the process without running what belongs to the parent.
            unsafe { libc::_exit(i32::from(code)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides() {
        for role in [Role::CommandLine, Role::Monitor, Role::Runtime, Role::Network] {
            assert_eq!(Role::of(OsStr::new(role.name())), role);
        }
        for name in ["monopod", "podman", "/usr/bin/monopod", ""] {
            assert_eq!(Role::of(OsStr::new(name)), Role::CommandLine, "{name}");
        }
    }

    #[test]
    fn the_executable_is_found() {
        assert!(executable().exists());
    }

    /// What opening `file` by its name in /proc for writing, and writing to it, comes to.
    fn written(file: &OwnedFd) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        io::Write::write_all(&mut std::fs::OpenOptions::new().append(true).open(path)?, b"x")
    }

    #[test]
    fn what_is_executed_again_cannot_be_written_to() {
        let own = std::fs::read(executable()).unwrap();
        let copy = sealed_copy().unwrap();
        assert_eq!(written(&copy).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(std::fs::read(format!("/proc/self/fd/{}", copy.as_raw_fd())).unwrap() == own, "it is the same program");
        assert_eq!(
            Command::new(format!("/proc/self/fd/{}", copy.as_raw_fd())).arg("--list").output().unwrap().status.code(),
            Some(0)
        );
        match read_only_view() {
            Err(Errno::PERM | Errno::NOSYS) => {
                eprintln!("SKIPPED: the read-only view: this host does not let us make one")
            }
            view => {
                let view = view.unwrap();
                let flags = rustix::fs::fstatvfs(&view).unwrap().f_flag;
                assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY));
                // That of a program which is being executed is busy first; emptying it asks for the mount before.
                let path = format!("/proc/self/fd/{}", view.as_raw_fd());
                let error = std::fs::OpenOptions::new().write(true).truncate(true).open(path).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
            }
        }
    }
}
