//! What becomes of a container while nobody looks: its restart policy, its health checks, and who is told of its start.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use types::Invalid;

/// When a container that has ended is started again (podman-run(1), `--restart`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// After an exit code other than 0, at most so many times; 0 is without an end.
    OnFailure(u32),
    /// Always, unless it was stopped; after a reboot too.
    Always,
    /// As `Always`, but after a reboot only if it was not stopped before.
    UnlessStopped,
}

impl Restart {
    /// Its name without the number.
    pub fn name(self) -> &'static str {
        match self {
            Restart::No => "no",
            Restart::OnFailure(_) => "on-failure",
            Restart::Always => "always",
            Restart::UnlessStopped => "unless-stopped",
        }
    }

    /// Most restarts in a row; 0 is without an end.
    pub fn most(self) -> u32 {
        if let Restart::OnFailure(most) = self { most } else { 0 }
    }

    /// True if a container that ended with `code`, after `count` restarts, is to be started again.
    pub fn wants(self, code: i32, count: u32) -> bool {
        match self {
            Restart::No => false,
            Restart::OnFailure(most) => code != 0 && (most == 0 || count < most),
            Restart::Always | Restart::UnlessStopped => true,
        }
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Restart::OnFailure(most) if *most > 0 => write!(f, "on-failure:{most}"),
            other => f.write_str(other.name()),
        }
    }
}

impl FromStr for Restart {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Restart, Invalid> {
        let invalid = |why: &'static str| Invalid::new("restart policy", text, why);
        let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        match (name, number) {
            ("no" | "", None) => Ok(Restart::No),
            ("always", None) => Ok(Restart::Always),
            ("unless-stopped", None) => Ok(Restart::UnlessStopped),
            ("on-failure", None) => Ok(Restart::OnFailure(0)),
            ("on-failure", Some(number)) => {
                number.parse().map(Restart::OnFailure).map_err(|_| invalid("the number of retries is no number"))
            }
            ("no" | "always" | "unless-stopped", Some(_)) => Err(invalid("only on-failure takes a number of retries")),
            _ => Err(invalid("use no, on-failure[:RETRIES], always or unless-stopped")),
        }
    }
}

/// What is done with a container that has become unhealthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Nothing.
    #[default]
    None,
    /// It gets SIGKILL.
    Kill,
    /// It is stopped and started again.
    Restart,
    /// It is stopped.
    Stop,
}

impl OnFailure {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            OnFailure::None => "none",
            OnFailure::Kill => "kill",
            OnFailure::Restart => "restart",
            OnFailure::Stop => "stop",
        }
    }
}

impl FromStr for OnFailure {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<OnFailure, Invalid> {
        [OnFailure::None, OnFailure::Kill, OnFailure::Restart, OnFailure::Stop]
            .into_iter()
            .find(|action| action.name() == text)
            .ok_or_else(|| Invalid::new("on-failure action for health check", text, "use none, kill, restart or stop"))
    }
}

/// Health checks as they are asked for; times in nanoseconds. What is `None` is the image's, or Podman's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// A command for a shell, or a JSON list of words; `none` is no check.
    pub command: Option<String>,
    /// No check, whatever the image says.
    pub none: bool,
    /// Between two checks; 0: only when somebody asks.
    pub interval: Option<i64>,
    /// Failures in a row that make a container unhealthy.
    pub retries: Option<i64>,
    /// Longest a check may take.
    pub timeout: Option<i64>,
    /// After a start, during which failures do not count.
    pub start_period: Option<i64>,
    /// What is done with an unhealthy container.
    pub on_failure: Option<OnFailure>,
    /// The command of start-up checks, which come before the ordinary ones.
    pub startup_command: Option<String>,
    /// Between two of them.
    pub startup_interval: Option<i64>,
    /// Failures in a row after which the container is restarted; 0 is never.
    pub startup_retries: Option<i64>,
    /// Successes after which the ordinary checks begin.
    pub startup_success: Option<i64>,
    /// Longest one of them may take.
    pub startup_timeout: Option<i64>,
    /// Results that are kept; 0 is all.
    pub log_count: Option<u32>,
    /// Bytes that are kept of what a check printed; 0 is all.
    pub log_size: Option<u32>,
    /// Where results are kept, too: `local` (nowhere), `events_logger`, or the absolute path of a directory.
    pub log_destination: Option<String>,
}

/// Who tells the service manager that the container is ready (sd_notify(3)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Notify {
    /// The container: it gets the socket.
    #[default]
    Container,
    /// The engine, as soon as the container runs.
    Conmon,
    /// The engine, as soon as the container is healthy.
    Healthy,
    /// Nobody.
    Ignore,
}

impl Notify {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Notify::Container => "container",
            Notify::Conmon => "conmon",
            Notify::Healthy => "healthy",
            Notify::Ignore => "ignore",
        }
    }
}

impl FromStr for Notify {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Notify, Invalid> {
        [Notify::Container, Notify::Conmon, Notify::Healthy, Notify::Ignore]
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| Invalid::new("sdnotify value", text, "must be container, conmon, healthy or ignore"))
    }
}

/// The part of a request for a container that tells how it lives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Life {
    /// When it is started again.
    pub restart: Option<Restart>,
    /// How its health is checked.
    pub health: Health,
    /// Seconds after which it is killed; 0 is never.
    pub timeout: u32,
    /// Who tells that it is ready.
    pub notify: Option<Notify>,
    /// File for the process id of its first process.
    pub pid_file: Option<PathBuf>,
    /// File for the process id of its monitor.
    pub monitor_pid_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        for (text, policy, shown) in [
            ("no", Restart::No, "no"),
            ("", Restart::No, "no"),
            ("on-failure", Restart::OnFailure(0), "on-failure"),
            ("on-failure:3", Restart::OnFailure(3), "on-failure:3"),
            ("always", Restart::Always, "always"),
            ("unless-stopped", Restart::UnlessStopped, "unless-stopped"),
        ] {
            assert_eq!(text.parse::<Restart>().unwrap(), policy);
            assert_eq!(policy.to_string(), shown);
        }
        for text in ["sometimes", "always:3", "on-failure:x", "on-failure:-1", "on-failure:"] {
            assert!(text.parse::<Restart>().is_err(), "{text}");
        }
        assert!(Restart::OnFailure(2).wants(1, 1) && !Restart::OnFailure(2).wants(1, 2));
        assert!(!Restart::OnFailure(0).wants(0, 0) && Restart::OnFailure(0).wants(137, 1000));
        assert!(Restart::Always.wants(0, 9) && !Restart::No.wants(1, 0));
    }
}
