//! The roles of the one executable, and how a process starts itself again in another one.
//!
//! The role is the name by which the executable was called (`argv[0]`): `monopod-monitor` is the monitor, everything
//! else the command line. A role other than the command line gets two descriptors in place of standard input and
//! standard output; what they are is between both ends of that role.
//!
//! Must not know: what a role does.

use rustix::io::{Errno, Result};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
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
}

impl Role {
    /// The role that `argv[0]` asks for. `main` must call this first, before anything that needs memory.
    pub fn of(name: &OsStr) -> Role {
        if name == Role::Monitor.name() { Role::Monitor } else { Role::CommandLine }
    }

    /// The `argv[0]` of the role.
    pub fn name(self) -> &'static str {
        match self {
            Role::CommandLine => "monopod",
            Role::Monitor => "monopod-monitor",
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
pub fn spawn(role: Role, arguments: &[&OsStr], input: OwnedFd, output: OwnedFd) -> io::Result<Child> {
    let errors = output.try_clone()?;
    Command::new(executable()).arg0(role.name()).args(arguments).stdin(input).stdout(output).stderr(errors).spawn()
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
        assert_eq!(Role::of(OsStr::new("monopod-monitor")), Role::Monitor);
        for name in ["monopod", "podman", "/usr/bin/monopod", ""] {
            assert_eq!(Role::of(OsStr::new(name)), Role::CommandLine, "{name}");
        }
    }

    #[test]
    fn the_executable_is_found() {
        assert!(executable().exists());
    }
}
