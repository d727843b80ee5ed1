//! Why a command failed, in words that engines look for, and its exit code.

use super::state::Status;
use std::ffi::OsString;
use std::path::PathBuf;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0:?} is not UTF-8")]
    Text(OsString),
    #[error("{program}: unknown command {verb:?}; see {program} --help")]
    NoVerb { program: String, verb: String },
    #[error("{program}: unknown flag {flag}; see {program} --help")]
    NoFlag { program: String, flag: String },
    #[error("{program}: flag --{flag} needs a value")]
    Missing { program: String, flag: &'static str },
    #[error("invalid value {value:?} of --{flag}: expected {expected}")]
    Value { flag: &'static str, value: String, expected: &'static str },
    #[error("expected: {usage}")]
    Arguments { usage: String },
    #[error("no directory for the state of containers: set XDG_RUNTIME_DIR, or give --root")]
    NoRoot,
    /// Containerd's shim looks for "does not exist", podman too.
    #[error("container {id:?} does not exist")]
    NoContainer { id: String },
    #[error("container with id {id:?} exists already")]
    Exists { id: String },
    #[error("invalid container id {id:?}: letters, digits and the signs _ + - . are allowed")]
    Id { id: String },
    /// Containerd's shim looks for "container not running".
    #[error("container not running")]
    NotRunning,
    #[error("cannot {action} container {id:?}: it is {status}")]
    Status { action: &'static str, id: String, status: Status },
    #[error("cannot exec in the paused container {id:?}; use --ignore-paused to do it all the same")]
    Paused { id: String },
    #[error("{step} {path:?}: {}", reason(source))]
    File {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot understand {path:?}: {source}")]
    Json {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path:?}: {source}")]
    Read {
        path: PathBuf,
        #[source]
        source: crate::Error,
    },
    #[error("{0}")]
    Hook(#[source] crate::Error),
    #[error("{step}: {source}")]
    Kernel {
        step: &'static str,
        #[source]
        source: rustix::io::Errno,
    },
    #[error("criu {action} failed ({status}): {reason}; see {log:?}")]
    Criu { action: &'static str, status: std::process::ExitStatus, reason: String, log: PathBuf },
    #[error("cannot tell what there is: {source}")]
    Features {
        #[source]
        source: oci_spec::OciSpecError,
    },
    #[error("cannot print: {source}")]
    Print {
        #[source]
        source: std::io::Error,
    },
    /// What the runtime reports of a process that it could not make.
    #[error("{message}")]
    Runtime { message: String },
    #[error("{source}")]
    Exec {
        #[source]
        source: Box<Failure>,
    },
    #[error("the process was killed while it was made")]
    Killed,
    #[error("cgroup: {0}")]
    Cgroup(String),
    #[error("container {id:?} has no cgroup, so it cannot be {what}")]
    NoCgroup { id: String, what: &'static str },
    #[error("{what} is not supported: {instead}")]
    Unsupported { what: String, instead: &'static str },
    #[error("{0}")]
    Invalid(#[from] types::Invalid),
}

impl Failure {
    /// The sentence for people and for the log.
    pub fn text(&self) -> String {
        self.to_string()
    }

    /// The exit code: runc's and crun's.
    pub fn code(&self) -> u8 {
        if matches!(self, Failure::Exec { .. }) { 255 } else { 1 }
    }

    /// Of what the runtime reports, in words that engines look for: Docker's and containerd's are case-sensitive.
    pub fn reported(code: u8, message: String) -> Failure {
        let named = |before: &str| message.strip_prefix(before)?.split('`').next().map(str::to_owned);
        let message = match code {
            127 => named("executable file `")
                .map(|name| format!("exec: {name:?}: executable file not found in $PATH: no such file or directory")),
            126 => named("open executable `").map(|name| format!("exec: {name:?}: permission denied")),
            _ => None,
        }
        .unwrap_or(message);
        Failure::Runtime { message }
    }

    /// The program CRIU could not be executed.
    pub fn criu(source: std::io::Error) -> Failure {
        Failure::File { step: "execute", path: "criu".into(), source }
    }

    /// For a cgroup's error, with its causes.
    pub fn cgroup(error: crate::cgroup::Error) -> Failure {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Failure::Cgroup(text)
    }
}

/// The message of an error without Rust's `(os error N)`.
fn reason(error: &std::io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use rustix::io::Errno;

    #[test]
    fn what_is_reported_is_told_in_engines_words() {
        let told = |error: Error| Failure::reported(error.code(), error.to_string()).text();
        assert_eq!(
            told(Error::NotFound { program: "no pe".into() }),
            "exec: \"no pe\": executable file not found in $PATH: no such file or directory"
        );
        let refused = Error::NotExecutable { program: "/etc".into(), source: Errno::PERM };
        assert_eq!(told(refused), "exec: \"/etc\": permission denied");
        assert_eq!(
            told(Error::NoUser { name: "x".into() }),
            "unable to find user x: no matching entries in passwd file"
        );
    }
}
