//! Starting containers again by their policy. The monitor of the run that has ended keeps the clock ([`monitor::Clock`]) and
//! starts a process for it, which starts the container if the policy wants it still.
//!
//! While the monitor waits, the records of the run stay (`exit` tells when), so that everybody sees what is to come; whoever
//! stops, starts or removes the container ends the monitor and with it the wait.

use super::config::Config;
use super::end::improper;
use crate::Engine;
use crate::database::{Mark, Record, StoppedBy};
use monitor::record::{Exit, Running};
use monitor::{Clock, Probe};
use ops::container::{List, Status};
use ops::life::Restart;
use ops::{Fault, Kind};
use types::Id;

/// A start by the policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Again {
    /// The run after which it is.
    pub run: i64,
    /// How many of them in a row came after a short run.
    pub step: u32,
}

impl Again {
    /// A fault if the container is not to be started after that run any more.
    pub fn allowed(self, record: &Record) -> Result<(), Fault> {
        let wanted = record.policy.wants(record.exit_code, record.restarts);
        if record.mark == Mark::Exited && record.run == self.run && record.stopped == StoppedBy::Nobody && wanted {
            return Ok(());
        }
        Err(improper(format!("container {} is not to be started again", record.id)))
    }
}

/// The name of a container, and what became of it.
pub type Attempt = (String, Result<(), Fault>);

impl Engine {
    /// Starts a container after its run number `run`, as its policy wants; no error if that does not want it any more.
    pub fn start_again(&self, id: &Id, run: i64, step: u32) -> Result<(), Fault> {
        self.host()?;
        // Locking makes the directory: not that of a container which is gone.
        if self.database()?.record(id)?.is_none() {
            return Ok(());
        }
        let mut session = match self.begin(id.as_str(), None, false, Some(Again { run, step })) {
            Err(fault) if matches!(fault.kind, Kind::Conflict | Kind::NotFound) => return Ok(()),
            other => other?,
        };
        self.start(&mut session)
    }

    /// Starts what is to run after the machine has started: containers whose policy is `always`, and `unless-stopped` if nobody
    /// had stopped them. Gives the names with what became of each.
    pub fn boot_containers(&self) -> Result<Vec<Attempt>, Fault> {
        self.host()?;
        let mut started = Vec::new();
        for container in self.list(&List { all: true, ..List::default() })? {
            let Some(record) = self.database()?.record(&container.id)? else { continue };
            let wanted = match record.policy {
                Restart::Always => true,
                Restart::UnlessStopped => record.stopped != StoppedBy::User,
                Restart::No | Restart::OnFailure(_) => false,
            };
            // One that was made and never started stays so, as somebody's choice.
            if wanted && container.status == Status::Exited && !container.restarting {
                let attempt = self.init(record.id.as_str()).and_then(|mut session| self.start(&mut session));
                started.push((record.name, attempt));
            }
        }
        Ok(started)
    }

    /// What the monitor of run number `run` does in its time.
    #[inline(never)]
    pub(crate) fn clock(&self, config: &Config, run: i64, step: u32) -> Clock {
        let (life, id, run) = (&config.life, config.id.as_str(), run.to_string());
        let again = (life.restart != Restart::No).then(|| monitor::Again {
            only_failures: matches!(life.restart, Restart::OnFailure(_)),
            step,
            command: self.own_command(&["container", "again", id, &run]),
        });
        let milliseconds = |nanoseconds: i64| (nanoseconds / 1_000_000).max(1).unsigned_abs();
        let probe = life.check.as_ref().filter(|check| check.regular.interval > 0).map(|check| Probe {
            interval_ms: milliseconds(check.regular.interval),
            startup_ms: check.startup.as_ref().map(|startup| milliseconds(startup.interval)),
            command: self.own_command(&["container", "probe", id, &run]),
        });
        Clock { again, probe, limit: (life.timeout > 0).then_some(life.timeout) }
    }

    /// Ends what [`Engine::boot_containers`] starts, before the machine goes down; they come back with it.
    pub fn shut_down_containers(&self) -> Result<Vec<Attempt>, Fault> {
        self.host()?;
        let mut ended = Vec::new();
        for record in self.database()?.all()? {
            let runs = matches!(self.observe(&record).status, Status::Running | Status::Paused | Status::Stopping);
            let returns = matches!(record.policy, Restart::Always | Restart::UnlessStopped);
            if returns && (runs || self.is_restarting(&record)) {
                let name = record.name.clone();
                ended.push((name, self.end_by(record, None, StoppedBy::Shutdown).map(drop)));
            }
        }
        Ok(ended)
    }

    /// Somebody ends the container: its policy does not start it again.
    pub(crate) fn note_stop(&self, record: &Record, by: StoppedBy) -> Result<(), Fault> {
        match record.policy {
            Restart::No => Ok(()),
            _ => {
                self.database()?.stopped(&record.id, by)?;
                if record.mark == Mark::Exited {
                    self.call_off(record);
                }
                Ok(())
            }
        }
    }

    /// True if the monitor of its last run is about to start it again.
    pub(crate) fn is_restarting(&self, record: &Record) -> bool {
        record.policy != Restart::No
            && record.mark == Mark::Exited
            && record.stopped == StoppedBy::Nobody
            && self.waiting(record).is_some()
    }

    /// The monitor that waits.
    fn waiting(&self, record: &Record) -> Option<Running> {
        let directory = self.run_directory(&record.id, record.run);
        Exit::read(&directory).filter(|exit| exit.again_ns > 0)?;
        Running::read(&directory).filter(Running::monitor_lives)
    }

    /// Ends the monitor that waits, if there is one.
    pub(crate) fn call_off(&self, record: &Record) {
        if let Some(running) = self.waiting(record) {
            // It has written all that it had to write. If it is gone by itself, so much the better.
            let _ = sys::process::kill(running.monitor_pid, running.monitor_start_time, 9);
        }
    }

    /// True if the container has ended and its monitor, which knew an older policy, does not start it again. Somebody else may
    /// have recorded the end, and cleared it away, before.
    pub(crate) fn has_no_plan(&self, record: &Record) -> bool {
        record.policy != Restart::No
            && match Exit::read(&self.run_directory(&record.id, record.run)) {
                Some(exit) => exit.again_ns == 0 && exit.error.is_empty(),
                None => record.mark == Mark::Exited,
            }
    }
}
