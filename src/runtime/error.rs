//! Why a container could not be made, or its program not be executed.

use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// A failed intent, with its object.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    /// Words as crun's and Podman's: scripts look for them.
    #[error(
        "executable file `{program}` not found in $PATH: No such file or directory: OCI runtime attempted to invoke a command that was not found"
    )]
    NotFound { program: String },
    #[error("open executable `{program}`: {}: OCI permission denied", text(*source))]
    NotExecutable { program: String, source: Errno },
    #[error(
        "exec container process `{program}`: No such file or directory: OCI runtime attempted to invoke a command that was not found"
    )]
    NoInterpreter { program: String },
    #[error("exec container process `{program}`: {}", text(*source))]
    Execute { program: String, source: Errno },
    #[error("workdir {cwd:?} does not exist on container {container}")]
    NoWorkingDirectory { cwd: PathBuf, container: String },
    #[error("workdir {cwd:?} exists on container {container}, but is not a directory")]
    NoDirectory { cwd: PathBuf, container: String },
    #[error("chdir `{cwd}`: No such file or directory: OCI runtime attempted to invoke a command that was not found")]
    NoPlaceToExecute { cwd: String },
    #[error("chdir to {cwd:?}: {}", text(*source))]
    WorkingDirectory { cwd: PathBuf, source: Errno },
    #[error("working directory {cwd:?} is outside of the container's root")]
    WorkingDirectoryOutside { cwd: PathBuf },
    #[error("unable to find user {name}: no matching entries in passwd file")]
    NoUser { name: String },
    #[error("unable to find group {name}: no matching entries in group file")]
    NoGroup { name: String },
    #[error("{path}: {why}")]
    AccountFile { path: &'static str, why: &'static str },
    #[error("{what} {id} is not mapped in the container's user namespace; choose a mapped one, or a map that has it")]
    NotMapped { what: &'static str, id: u32 },
    #[error("mount `{source_path}` to `{destination}`: {step}: {}", text(*source))]
    Mount { source_path: String, destination: String, step: String, source: Errno },
    #[error("mount to `{destination}`: {why}")]
    MountRefused { destination: String, why: String },
    #[error("mount option {option:?} of `{destination}` is not known")]
    MountOption { destination: String, option: String },
    #[error("root file system {what}: {step}: {}", text(*source))]
    Root { what: String, step: &'static str, source: Errno },
    #[error("{path:?} in the root file system: {step}: {}", text(*source))]
    InRoot { path: PathBuf, step: &'static str, source: Errno },
    #[error("device {path:?}: {step}: {}", text(*source))]
    Device { path: PathBuf, step: &'static str, source: Errno },
    #[error("sysctl {name:?}: {}", text(*source))]
    Sysctl { name: String, source: Errno },
    #[error("sysctl {name:?}: {why}")]
    SysctlRefused { name: String, why: &'static str },
    #[error("namespace {kind}: {step}: {}", text(*source))]
    Namespace { kind: String, step: &'static str, source: Errno },
    #[error("{what} is not supported: {instead}")]
    Unsupported { what: String, instead: &'static str },
    #[error("{moment} hook {path:?}: {why}")]
    Hook { moment: &'static str, path: PathBuf, why: String },
    #[error(
        "make a session keyring: this user has as many keys as the kernel allows; remove containers, or write a larger number to /proc/sys/kernel/keys/maxkeys"
    )]
    NoMoreKeys,
    #[error("container {id} is not running")]
    NotRunning { id: String },
    #[error("{step}: {}", text(*source))]
    Step { step: &'static str, source: Errno },
    #[error("cgroup: {0}")]
    Cgroup(String),
    #[error("network device {name:?}: {step}: {}", text(*source))]
    NetDevice { name: String, step: &'static str, source: Errno },
    #[error("set {what}: {}", text(*source))]
    Schedule { what: &'static str, source: Errno },
    #[error("specification: {0}")]
    Specification(String),
    #[error("seccomp: {0}")]
    Seccomp(String),
}

impl Error {
    /// The exit code of the command: 127 no such program, 126 cannot be executed, 125 anything else.
    pub fn code(&self) -> u8 {
        match self {
            Error::NotFound { .. } | Error::NoInterpreter { .. } | Error::NoPlaceToExecute { .. } => 127,
            Error::NotExecutable { .. } | Error::Execute { .. } => 126,
            // Podman's code for these, although nothing was executed.
            Error::NoUser { .. }
            | Error::NoGroup { .. }
            | Error::NoWorkingDirectory { .. }
            | Error::NoDirectory { .. } => 126,
            _ => 125,
        }
    }

    /// The same failure of a process that is added to a container, and its exit code: Podman's words and codes, which are
    /// others there.
    pub(crate) fn of_added(self) -> (u8, Error) {
        match self {
            Error::NoWorkingDirectory { cwd, .. } => {
                let error = Error::NoPlaceToExecute { cwd: cwd.display().to_string() };
                (error.code(), error)
            }
            Error::NoDirectory { cwd, .. } => (255, Error::WorkingDirectory { cwd, source: Errno::NOTDIR }),
            Error::NoUser { .. } | Error::NoGroup { .. } => (255, self),
            _ => (self.code(), self),
        }
    }
}

/// The message of an errno without Rust's `(os error N)`.
pub(crate) fn text(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Names the step that a bare errno comes from.
pub(crate) trait Context<T> {
    /// A step without an object.
    fn step(self, step: &'static str) -> Result<T, Error>;
    /// A step on a path below the root.
    fn in_root(self, path: &Path, step: &'static str) -> Result<T, Error>;
    /// A step of the root file system itself.
    fn root(self, what: &str, step: &'static str) -> Result<T, Error>;
}

impl<T> Context<T> for Result<T, Errno> {
    fn step(self, step: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Step { step, source })
    }

    fn in_root(self, path: &Path, step: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::InRoot { path: path.to_owned(), step, source })
    }

    fn root(self, what: &str, step: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Root { what: what.to_owned(), step, source })
    }
}
