//! Health checks: one run of a check, what it makes of the container's health, and what follows from that.
//!
//! The monitor keeps the clock and starts a process for each check (`container probe`), which comes here, as `healthcheck run`
//! does. What checks have said is in `ROOT/containers/ID/health`, JSON of [`Health`], written with the container's lock and
//! renamed into place; what is there of an earlier run counts as nothing.

use super::end::improper;
use super::life::{Check, Destination, Startup};
use super::{lock, now};
use crate::database::Record;
use crate::{Engine, Session};
use ops::container::{Exec, Kill, Status, Stop};
use ops::life::{Notify, OnFailure};
use ops::{Fault, Kind};
use rustix::event::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use types::attach::{Frame, MAX_DATA};
use types::{Id, Signal};

const FILE: &str = "health";
/// How long a killed check may take to go.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of output that are read into memory where all of it is to be kept.
const ALL: usize = 1 << 20;

/// What the checks of one run have said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// Failures since the last success.
    pub failing_streak: i64,
    /// The last results, oldest first.
    pub log: VecDeque<Line>,
    /// The run.
    run: i64,
    /// Start-up checks that succeeded.
    startup_successes: i64,
    /// They have succeeded often enough.
    started_up: bool,
}

/// One result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Line {
    /// RFC 3339.
    start: String,
    /// RFC 3339.
    end: String,
    /// Exit code; -1 if it took too long.
    exit_code: i32,
    /// The beginning of what it printed.
    output: String,
}

/// What one check has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The check itself succeeded.
    pub passed: bool,
    /// Failures do not count yet.
    pub starting: bool,
    /// The next check is one of the start-up again.
    pub starting_up: bool,
}

/// What follows from a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Nothing,
    BecameHealthy,
    Unhealthy,
    StartupFailed,
}

impl Engine {
    /// Checks the health of a running container, and does what its configuration says of an unhealthy one. `run`: only if the
    /// container is in its run of that number.
    pub fn check_health(&self, name: &str, run: Option<i64>) -> Result<Verdict, Fault> {
        self.host()?;
        let record = self.record_of(name)?;
        let config = self.database()?.config(record.seq)?;
        let check = config
            .life
            .check
            .as_ref()
            .ok_or_else(|| Fault::invalid(format!("container {} has no defined healthcheck", record.id)))?;
        let state = self.observe(&record);
        let running = state
            .running
            .filter(|_| state.status == Status::Running && run.is_none_or(|run| run == record.run))
            .ok_or_else(|| improper(format!("container {} is not running", record.id)))?;
        let before = self.health(&record).unwrap_or_default();
        let startup = check.startup.as_ref().filter(|_| !before.started_up);
        let (test, timeout) = match startup {
            Some(startup) => (&startup.test, startup.timeout),
            None => (&check.regular.test, check.regular.timeout),
        };
        let most = if check.log_size == 0 { ALL } else { check.log_size as usize };
        let line = self.run_check(&record.id, test, Duration::from_nanos(timeout.unsigned_abs()), most)?;
        let passed = line.exit_code == 0;
        let starting = now() < running.started_ns.saturating_add(check.regular.start_period);
        let Some((health, step)) = self.write_health(&record, |health| {
            let step = match startup {
                Some(startup) => health.take_startup(startup, passed),
                None => health.take(check, passed, starting),
            };
            health.push(line, check.log_count);
            step
        })?
        else {
            return Err(improper(format!("container {} is not running", record.id)));
        };
        self.tell_more(&record, "health_status", |event| {
            event.health_status.clone_from(&health.status);
            if check.log_destination == Destination::Events {
                event.health_log = health.log.back().map(|line| line.output.clone()).unwrap_or_default();
            }
        });
        if let Destination::Directory(directory) = &check.log_destination {
            keep(&health, directory, &record.id)?;
        }
        self.follow(&record.id, check, step, config.life.notify)?;
        let starting_up = check.startup.is_some() && !health.started_up;
        let starting = startup.is_some() || starting && health.status == STARTING;
        Ok(Verdict { passed, starting, starting_up })
    }

    /// What the checks have said of a container that has some, in its last run.
    pub(crate) fn health(&self, record: &Record) -> Option<Health> {
        if !record.checked {
            return None;
        }
        let bytes = std::fs::read(self.container_directory(&record.id).join(FILE)).unwrap_or_default();
        let health: Health = serde_json::from_slice(&bytes).unwrap_or_default();
        let fresh = || Health { status: STARTING.into(), run: record.run, ..Health::default() };
        Some(if health.run == record.run && !health.status.is_empty() { health } else { fresh() })
    }

    /// Changes what is written; `None` if the container is gone or in another run.
    fn write_health(
        &self,
        record: &Record,
        change: impl FnOnce(&mut Health) -> Step,
    ) -> Result<Option<(Health, Step)>, Fault> {
        let directory = self.container_directory(&record.id);
        if !directory.exists() {
            return Ok(None);
        }
        let _held = lock::wait(&directory)?;
        let Some(record) = self.database()?.record(&record.id)?.filter(|now| now.run == record.run) else {
            let _ = std::fs::remove_dir(&directory);
            return Ok(None);
        };
        let mut health = self.health(&record).unwrap_or_default();
        let step = change(&mut health);
        let new = directory.join("health.new");
        let written = std::fs::write(&new, serde_json::to_vec(&health).map_err(Fault::internal)?)
            .and_then(|()| std::fs::rename(&new, directory.join(FILE)));
        written.map_err(|e| Fault::internal(format!("cannot write the health of container {}: {e}", record.id)))?;
        Ok(Some((health, step)))
    }

    /// Without the lock: what is done takes it.
    fn follow(&self, id: &Id, check: &Check, step: Step, notify: Notify) -> Result<(), Fault> {
        let name = id.to_string();
        match step {
            Step::Nothing => Ok(()),
            Step::BecameHealthy if notify == Notify::Healthy => self.tell_ready(id),
            Step::BecameHealthy => Ok(()),
            Step::StartupFailed => self.restart(&name, None).map(drop),
            Step::Unhealthy => match check.on_failure {
                OnFailure::None => Ok(()),
                // Not as `kill` does it: a container that is ill is started again by its policy.
                OnFailure::Kill => self.kill_for_health(&Kill { name, signal: Signal::KILL }),
                OnFailure::Restart => self.restart(&name, None).map(drop),
                OnFailure::Stop => self.stop(&Stop { name, timeout: None, ignore: true }).map(drop),
            },
        }
    }

    fn kill_for_health(&self, asked: &Kill) -> Result<(), Fault> {
        let running = self.observe(&self.record_of(&asked.name)?).running;
        match running.map(|r| sys::process::kill(r.pid, r.start_time, asked.signal.0)) {
            Some(Err(e)) if e != rustix::io::Errno::SRCH => {
                Err(Fault::new(Kind::Denied, format!("cannot kill container {}: {e}", asked.name)))
            }
            _ => Ok(()),
        }
    }

    /// Runs a check to its end.
    fn run_check(&self, id: &Id, test: &[String], timeout: Duration, most: usize) -> Result<Line, Fault> {
        let command = match test.split_first() {
            Some((word, rest)) if word.eq_ignore_ascii_case("CMD-SHELL") => {
                ["/bin/sh".to_owned(), "-c".to_owned()].into_iter().chain([rest.join(" ")]).collect()
            }
            Some((word, rest)) if word.eq_ignore_ascii_case("CMD") => rest.to_vec(),
            _ => test.to_vec(),
        };
        let start = moment();
        let attempt = self.exec_quietly(&Exec { name: id.to_string(), command, ..Exec::default() }, None);
        let ended = attempt.and_then(|mut session| {
            self.start(&mut session)?;
            collect(&mut session, timeout, most)
        });
        let (exit_code, output) = match ended {
            Ok(ended) => ended,
            // There is no such program in the container: that is a failed check, and not a failure to check.
            Err(fault) if matches!(fault.kind, Kind::CommandNotFound | Kind::CommandFailed) => {
                (i32::from(fault.exit_code()), fault.message)
            }
            Err(fault) => return Err(fault),
        };
        Ok(Line { start, end: moment(), exit_code, output })
    }
}

/// Writes what checks have said into a directory of the host's, for whoever reads it there.
fn keep(health: &Health, directory: &std::path::Path, id: &Id) -> Result<(), Fault> {
    let path = directory.join(format!("{id}-healthcheck.log"));
    let all = serde_json::json!({ "Status": health.status, "FailingStreak": health.failing_streak, "Log": health.log });
    std::fs::write(&path, all.to_string())
        .map_err(|e| Fault::internal(format!("cannot write the health log {}: {e}", path.display())))
}

const STARTING: &str = "starting";

impl Health {
    /// Takes a result of a regular check; `starting`: within the start period.
    fn take(&mut self, check: &Check, passed: bool, starting: bool) -> Step {
        if passed {
            self.failing_streak = 0;
            let before = std::mem::replace(&mut self.status, "healthy".into());
            return if before == "healthy" { Step::Nothing } else { Step::BecameHealthy };
        }
        if starting && self.status == STARTING {
            return Step::Nothing;
        }
        self.failing_streak += 1;
        if self.failing_streak < check.regular.retries {
            return Step::Nothing;
        }
        self.status = "unhealthy".into();
        Step::Unhealthy
    }

    /// Takes a result of a start-up check.
    fn take_startup(&mut self, startup: &Startup, passed: bool) -> Step {
        if passed {
            self.failing_streak = 0;
            self.startup_successes += 1;
            self.started_up = self.startup_successes >= startup.success;
            return Step::Nothing;
        }
        self.startup_successes = 0;
        self.failing_streak += 1;
        match startup.retries > 0 && self.failing_streak >= startup.retries {
            true => Step::StartupFailed,
            false => Step::Nothing,
        }
    }

    fn push(&mut self, line: Line, most: u32) {
        self.log.push_back(line);
        while most > 0 && self.log.len() > most as usize {
            self.log.pop_front();
        }
    }
}

/// Reads what a check prints, at most `most` bytes of it, until it ends or `timeout` is over: then it is killed.
fn collect(session: &mut Session, timeout: Duration, most: usize) -> Result<(i32, String), Fault> {
    let lost = |e: rustix::io::Errno| Fault::internal(format!("the connection to the monitor broke: {e}"));
    let mut end = Instant::now() + timeout;
    let (mut output, mut late) = (Vec::new(), false);
    let mut packet = Vec::new();
    loop {
        if let Some(pending) = session.pending.pop_front() {
            packet = pending;
        } else {
            let left = end.saturating_duration_since(Instant::now());
            let ready = sys::reactor::wait(&mut [PollFd::new(&session.socket, PollFlags::IN)], Some(left));
            if ready.map_err(lost)? == 0 {
                if late {
                    return Err(Fault::internal("a health check did not end after SIGKILL"));
                }
                let mut kill = Vec::new();
                Frame::Signal(Signal::KILL.0).encode(&mut kill);
                // One that has ended meanwhile has sent its code already.
                let _ = sys::channel::try_send(&session.socket, &kill);
                (late, end) = (true, Instant::now() + PATIENCE);
                continue;
            }
            packet.resize(1 + MAX_DATA, 0);
            let length = sys::channel::receive(&session.socket, &mut packet).map_err(lost)?;
            packet.truncate(length);
        }
        match Frame::decode(&packet) {
            Ok(Frame::Stdout(data) | Frame::Stderr(data)) => {
                output.extend_from_slice(&data[..data.len().min(most - output.len())]);
            }
            Ok(Frame::Exited { .. }) if late => {
                return Ok((-1, format!("Healthcheck command exceeded timeout of {}s", timeout.as_secs())));
            }
            Ok(Frame::Exited { code, .. }) => return Ok((code, String::from_utf8_lossy(&output).into_owned())),
            Ok(_) => {}
            Err(_) => return Err(Fault::internal("the monitor of a health check ended without a word")),
        }
    }
}

/// Now, as RFC 3339.
fn moment() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::configuration::Healthcheck;

    #[test]
    fn results_make_a_status() {
        let check =
            Check { regular: Healthcheck { retries: 2, ..Healthcheck::default() }, log_count: 2, ..Check::default() };
        let mut health = Health { status: STARTING.into(), ..Health::default() };
        for (passed, starting, status, streak, step) in [
            (false, true, STARTING, 0, Step::Nothing),
            (false, false, STARTING, 1, Step::Nothing),
            (true, false, "healthy", 0, Step::BecameHealthy),
            (true, false, "healthy", 0, Step::Nothing),
            (false, true, "healthy", 1, Step::Nothing),
            (false, false, "unhealthy", 2, Step::Unhealthy),
            (false, false, "unhealthy", 3, Step::Unhealthy),
            (true, false, "healthy", 0, Step::BecameHealthy),
        ] {
            assert_eq!(health.take(&check, passed, starting), step);
            assert_eq!((health.status.as_str(), health.failing_streak), (status, streak));
            health.push(Line::default(), check.log_count);
        }
        assert_eq!(health.log.len(), 2);
    }

    #[test]
    fn starting_up_takes_successes_or_a_restart() {
        let startup = Startup { retries: 2, success: 2, ..Startup::default() };
        let mut health = Health::default();
        assert_eq!(health.take_startup(&startup, true), Step::Nothing);
        assert_eq!(health.take_startup(&startup, false), Step::Nothing);
        assert!(!health.started_up);
        assert_eq!(health.take_startup(&startup, false), Step::StartupFailed);
        health.take_startup(&startup, true);
        health.take_startup(&startup, true);
        assert!(health.started_up);
    }
}
