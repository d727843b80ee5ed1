//! Verbs that take several names: one operation each, all of them tried, every failure told.

use crate::failure::Failure;
use crate::program::plain;
use engine::Engine;
use ops::container::{List, Status, Summary};
use std::path::PathBuf;

/// The containers that a verb is to act on, as its flags choose them.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// `--all`.
    pub all: bool,
    /// `--latest`.
    pub latest: bool,
    /// `--filter`.
    pub filters: Vec<String>,
    /// `--cidfile`.
    pub id_files: Vec<PathBuf>,
    /// A file that is not there is no error.
    pub ignore: bool,
}

impl Choice {
    /// The names to act on. With `--all` and `--filter`, only containers in one of the states `fit`; names beside `--filter`
    /// are those of them that it chooses.
    pub fn names(&self, engine: &Engine, named: Vec<String>, fit: &[Status]) -> Result<Vec<String>, Failure> {
        let conflict = match (self.all, self.latest, !self.id_files.is_empty(), !named.is_empty()) {
            (true, true, false, _) => Some("--all and --latest cannot be used together"),
            (true, _, true, _) | (_, true, true, _) => Some("--all, --latest, and --cidfile cannot be used together"),
            (true, _, _, true) => Some("no arguments are needed with --all"),
            (_, true, _, true) => Some("--latest and containers cannot be used together"),
            (false, false, false, false) if self.filters.is_empty() => Some("you must provide at least one name or id"),
            _ => None,
        };
        if let Some(conflict) = conflict {
            return Err(Failure::new(conflict));
        }
        let mut names = named;
        for file in &self.id_files {
            match std::fs::read_to_string(file) {
                Ok(text) => names.push(text.lines().next().unwrap_or("").trim().to_owned()),
                Err(e) if self.ignore && e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Failure::new(format!("reading container id file {file:?}: {e}"))),
            }
        }
        if self.latest {
            names.push(latest(engine)?.id.to_string());
        }
        if self.all || !self.filters.is_empty() {
            let list = List { all: true, filters: self.filters.clone(), ..List::default() };
            let list = engine.list(&list).map_err(plain)?;
            let only = names.iter().map(|name| engine.find(name).map_err(plain)).collect::<Result<Vec<_>, _>>()?;
            let chosen = |c: &&Summary| fit.contains(&c.status) && (only.is_empty() || only.contains(&c.id));
            names = list.iter().filter(chosen).map(|c| c.id.to_string()).collect();
        }
        Ok(names)
    }

    /// What is printed for a name: itself, or the whole id if the flags chose it.
    pub fn chosen(&self) -> bool {
        self.all || self.latest || !self.filters.is_empty()
    }
}

/// The container that was made last.
pub fn latest(engine: &Engine) -> Result<Summary, Failure> {
    let list =
        engine.list(&List { all: true, filters: Vec::new(), last: Some(1), ..List::default() }).map_err(plain)?;
    list.into_iter().next().ok_or_else(|| Failure::new("no containers found: no such container"))
}

/// The states in which a container has processes.
pub const ALIVE: &[Status] = &[Status::Running, Status::Paused, Status::Stopping, Status::Initialized];

/// Every state.
pub const ANY: &[Status] = &[
    Status::Created,
    Status::Initialized,
    Status::Running,
    Status::Paused,
    Status::Stopping,
    Status::Exited,
    Status::Removing,
];

/// Does `act` for each of `names`. The failure, if any, has the message of each and the code of the last.
pub fn each(names: &[String], mut act: impl FnMut(&str) -> Result<(), Failure>) -> Result<u8, Failure> {
    let mut failed: Option<Failure> = None;
    for name in names {
        if let Err(failure) = act(name) {
            let before = failed.take().map(|f| f.messages).unwrap_or_default();
            failed = Some(Failure { messages: [before, failure.messages].concat(), ..failure });
        }
    }
    failed.map_or(Ok(0), Err)
}
