//! What a container really does: its row, and for an active one the records that its monitor keeps in
//! `RUNROOT/containers/ID.RUN`.
//!
//! | row | boot | `exit` | `pid` | process | monitor | then it is |
//! |---|---|---|---|---|---|---|
//! | active | another | | | | | exited, 137 |
//! | active | this | there | | | | exited, as recorded; not started at all if it has an error and no start |
//! | active | this | – | – | | lives, and bears its id | running: somebody took the records away |
//! | active | this | – | – | | – | being removed if it has no directory; being started if its lock is held, else as before |
//! | active | this | – | there | lives | | running, or parked (initialized) while its start is not recorded |
//! | active | this | – | there | – | lives | stopping: the record is about to be written |
//! | active | this | – | there | – | – | exited, 137: its monitor was killed, so nobody knows better; as before if it was never released |

use crate::Engine;
use crate::database::{Ended, Mark, Record};
use monitor::record::{Exit, Running};
use ops::Fault;
use ops::container::Status;

/// What was observed.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// In Podman's words.
    pub status: Status,
    /// The first process and the monitor, if there is something to them.
    pub running: Option<Running>,
    /// For an active row: that it is over, and how.
    pub over: Option<Over>,
}

/// An active row that is active no more.
#[derive(Debug, Clone, PartialEq)]
pub enum Over {
    /// It ran and ended.
    Ended(Ended),
    /// It did not come to run; the text says why, if that is known.
    NeverRan(String),
}

/// The exit code of a container whose end nobody saw.
const UNSEEN: i32 = 137;

impl Engine {
    /// Observes without changing anything.
    pub(crate) fn observe(&self, record: &Record) -> State {
        self.look(record, false)
    }

    /// As [`Engine::observe`], by whoever has the container's lock: then nobody else is starting it.
    pub(crate) fn observe_locked(&self, record: &Record) -> State {
        self.look(record, true)
    }

    fn look(&self, record: &Record, locked: bool) -> State {
        let state = self.look_once(record, locked);
        let is_guess = match &state.over {
            Some(Over::Ended(ended)) => ended.exit_code == UNSEEN,
            Some(Over::NeverRan(_)) => true,
            None => false,
        };
        if locked || !is_guess {
            return state;
        }
        // Whoever cleans up records the end, and only then takes the files of the run away: what lacks them may be recorded by now.
        match self.database().and_then(|database| database.record(&record.id)) {
            Ok(Some(now)) if now.mark == Mark::Exited => over(Over::Ended(Ended {
                started: now.started,
                finished: now.finished,
                exit_code: now.exit_code,
                oom: now.oom,
                error: now.error,
            })),
            Ok(Some(now)) if now.mark != record.mark || now.run != record.run => self.look_once(&now, locked),
            Ok(None) => State { status: Status::Removing, running: None, over: None },
            _ => state,
        }
    }

    fn look_once(&self, record: &Record, locked: bool) -> State {
        match record.mark {
            Mark::Created => State { status: Status::Created, running: None, over: None },
            Mark::Exited => State { status: Status::Exited, running: None, over: None },
            Mark::Removing => State { status: Status::Removing, running: None, over: None },
            Mark::Active => self.look_at_active(record, locked),
        }
    }

    fn look_at_active(&self, record: &Record, locked: bool) -> State {
        let directory = self.run_directory(&record.id, record.run);
        let unseen = |started: i64, why: &str| {
            over(Over::Ended(Ended {
                started,
                finished: super::now(),
                exit_code: UNSEEN,
                oom: false,
                error: why.to_owned(),
            }))
        };
        if record.boot != self.boot() {
            return unseen(record.started, "");
        }
        let started = |running: &Option<Running>| running.as_ref().map_or(0, |running| running.started_ns);
        let (running, exit) = monitor::record::read_both(&directory);
        if let Some(exit) = exit {
            return ended(exit, started(&running));
        }
        let running = match running {
            Some(running) => running,
            None if !locked && super::lock::is_held(&self.container_directory(&record.id)) => {
                let status = if record.started == 0 { Status::Created } else { Status::Exited };
                return State { status, running: None, over: None };
            }
            // Whoever removes it takes its directory away, and its row last of all.
            None if !locked && !self.container_directory(&record.id).exists() => {
                return State { status: Status::Removing, running: None, over: None };
            }
            // Whoever started it may have come to the end of that between both looks: it lets go of the lock last.
            None => match (Running::read(&directory), Exit::read(&directory)) {
                (running, Some(exit)) => return ended(exit, running.map_or(0, |r| r.started_ns)),
                (Some(running), None) => running,
                // Unless somebody took away the records of what runs.
                (None, None) => match monitor::lost::find(&record.id) {
                    Some(running) => running,
                    None => return over(Over::NeverRan(String::new())),
                },
            },
        };
        if sys::process::is_alive(running.pid, running.start_time) {
            let status = match (running.started_ns, record.paused) {
                (0, _) => Status::Initialized,
                (_, true) => Status::Paused,
                _ => Status::Running,
            };
            return State { status, running: Some(running), over: None };
        }
        if running.monitor_lives() {
            return State { status: Status::Stopping, running: Some(running), over: None };
        }
        // The monitor may have written the record between both looks. One that was never released was given up.
        let started = running.started_ns;
        match (Exit::read(&directory), started) {
            (Some(exit), _) => ended(exit, started),
            (None, 0) => over(Over::NeverRan(String::new())),
            (None, _) => unseen(started, "its exit code is not known: the monitor was killed while it ran"),
        }
    }

    /// Writes down that an active container is over, if it is. Gives the record as it then is; `None` if somebody removed
    /// the container meanwhile.
    pub(crate) fn settle(&self, record: Record) -> Result<Option<Record>, Fault> {
        let over = self.observe(&record).over;
        self.record_end(record, over)
    }

    /// As [`Engine::settle`], by whoever has the container's lock.
    pub(crate) fn settle_locked(&self, record: Record) -> Result<Option<Record>, Fault> {
        let over = self.observe_locked(&record).over;
        self.record_end(record, over)
    }

    fn record_end(&self, record: Record, over: Option<Over>) -> Result<Option<Record>, Fault> {
        let Some(over) = over else { return Ok(Some(record)) };
        match over {
            Over::Ended(ended) => {
                if self.database()?.finish(&record.id, record.run, &ended)? {
                    self.tell_more(&record, "died", |event| event.container_exit_code = Some(ended.exit_code));
                }
            }
            Over::NeverRan(error) => self.database()?.deactivate(&record.id, record.run, &error)?,
        }
        self.database()?.record(&record.id)
    }
}

fn over(over: Over) -> State {
    let status = if matches!(over, Over::Ended(_)) { Status::Exited } else { Status::Created };
    State { status, running: None, over: Some(over) }
}

fn ended(exit: Exit, started: i64) -> State {
    if started == 0 && !exit.error.is_empty() {
        return over(Over::NeverRan(exit.error));
    }
    over(Over::Ended(Ended {
        started,
        finished: exit.finished_ns,
        exit_code: exit.code,
        oom: exit.oom,
        error: exit.error,
    }))
}
