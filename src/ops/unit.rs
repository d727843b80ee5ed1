//! Requests for files by which a machine's service manager runs containers.

use serde::{Deserialize, Serialize};

/// Asks for a unit of systemd that runs one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unit {
    /// Which container.
    pub name: String,
    /// The unit makes the container for each start, by the command that made this one; otherwise it starts this one.
    pub new: bool,
    /// The container is called by its name in the unit, and not by its id.
    pub by_name: bool,
    /// The unit is a template: `%i` is a part of the container's name.
    pub template: bool,
    /// Beginning of the unit's name; `container` if it is `None`.
    pub prefix: Option<String>,
    /// Between that and the container's name; `-` if it is `None`.
    pub separator: Option<String>,
    /// No lines that say who wrote it and when.
    pub no_header: bool,
    /// When systemd starts it again: `no`, `on-failure` (default), `always`, … (systemd.service(5)).
    pub restart_policy: Option<String>,
    /// Seconds before that.
    pub restart_seconds: Option<u32>,
    /// Seconds that a start may take.
    pub start_timeout: Option<u32>,
    /// Seconds that `stop` waits; the container's own if it is `None`.
    pub stop_timeout: Option<u32>,
    /// Units that are wanted.
    pub wants: Vec<String>,
    /// Units that it comes after.
    pub after: Vec<String>,
    /// Units that it cannot be without.
    pub requires: Vec<String>,
    /// `KEY=VALUE` of the unit.
    pub environment: Vec<String>,
    /// This program's absolute path.
    pub executable: String,
    /// When this is asked, as people read it; empty for no such line.
    pub time: String,
}

/// A program that starts the services of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// OpenRC.
    Openrc,
    /// runit.
    Runit,
    /// Scripts in /etc/init.d with LSB headers.
    Sysv,
    /// The init of BusyBox.
    Busybox,
    /// systemd.
    Systemd,
}

impl Manager {
    /// All.
    pub const ALL: [Manager; 5] = [Manager::Openrc, Manager::Runit, Manager::Sysv, Manager::Busybox, Manager::Systemd];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Manager::Openrc => "openrc",
            Manager::Runit => "runit",
            Manager::Sysv => "sysv",
            Manager::Busybox => "busybox",
            Manager::Systemd => "systemd",
        }
    }
}

impl std::str::FromStr for Manager {
    type Err = types::Invalid;

    fn from_str(text: &str) -> Result<Manager, types::Invalid> {
        Manager::ALL
            .into_iter()
            .find(|manager| manager.name() == text)
            .ok_or_else(|| types::Invalid::new("service manager", text, "use openrc, runit, sysv, busybox or systemd"))
    }
}

/// A file that was written for a service manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name, which may have a directory.
    pub name: String,
    /// Where it goes on a machine, for people.
    pub place: String,
    /// What is in it.
    pub text: String,
    /// It is a program.
    pub executable: bool,
}

/// What was written, and what the user should know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The files.
    pub files: Vec<File>,
    /// That the container has a restart policy of its own, say.
    pub warnings: Vec<String>,
}
