//! The end of a run: stop, kill, pause, wait, and cleaning up after it.

use super::lock;
use crate::database::{Ended, Mark, Record, StoppedBy};
use crate::{Engine, event};
use monitor::record::Running;
use ops::container::{Exit, Kill, Status, Stop, Stopped};
use ops::life::Restart;
use ops::{Fault, Kind};
use rustix::io::Errno;
use std::time::{Duration, Instant};
use types::{Id, Signal};

/// How long a killed process may take to go, and a monitor to write its record.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at files that cannot be waited for.
const PAUSE: Duration = Duration::from_millis(2);

impl Engine {
    /// After `Exited` came, by a client that sent `Cleanup`; and by the monitor's cleanup process: records the end,
    /// frees what the container held, and removes it if it was made with `--rm`. A container already gone is no error.
    pub fn cleanup(&self, id: &Id) -> Result<(), Fault> {
        self.host()?;
        let directory = self.container_directory(id);
        // Locking makes the directory: not that of a container which is gone.
        if !directory.exists() && self.database()?.record(id)?.is_none() {
            return Ok(());
        }
        let held = lock::wait(&directory)?;
        let Some(record) = self.database()?.record(id)? else {
            let _ = std::fs::remove_dir(directory);
            return Ok(());
        };
        let unplanned = self.has_no_plan(&record);
        let run = record.run;
        self.tidy(record, held)?;
        if unplanned { self.start_again(id, run, 1) } else { Ok(()) }
    }

    /// [`Engine::cleanup`] once the monitor has written its record.
    pub(crate) fn cleanup_soon(&self, id: &Id) -> Result<(), Fault> {
        let end = Instant::now() + PATIENCE;
        while let Some(record) = self.database()?.record(id)? {
            let state = self.observe(&record);
            if state.over.is_some() || record.mark != Mark::Active || Instant::now() > end {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        self.cleanup(id)
    }

    /// Waits until the end of a process that has just ended is written down; false if that takes too long.
    pub(crate) fn wait_for_monitor(&self, record: &Record) -> bool {
        let end = Instant::now() + PATIENCE;
        while self.observe_locked(record).status == Status::Stopping {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
        true
    }

    /// As [`Engine::cleanup`], with the lock.
    pub(crate) fn tidy(&self, record: Record, held: lock::Lock) -> Result<(), Fault> {
        let was_active = record.mark == Mark::Active;
        let over = self.observe_locked(&record).over;
        if was_active && over.is_none() {
            return Ok(());
        }
        // A monitor that wrote its record has removed the cgroup before.
        let directory = self.run_directory(&record.id, record.run);
        let cgroup = match monitor::record::Exit::read(&directory) {
            Some(_) => None,
            None => Running::read(&directory).and_then(|r| r.cgroup),
        };
        // One that was never started stays, whatever is stopped: it has not ended.
        if record.remove && record.run > 0 {
            let ended = match over {
                Some(super::state::Over::Ended(ended)) => ended,
                _ => Ended {
                    exit_code: record.exit_code,
                    oom: record.oom,
                    finished: record.finished.max(super::now()),
                    ..Ended::default()
                },
            };
            if was_active {
                self.tell_more(&record, "died", |event| event.container_exit_code = Some(ended.exit_code));
            }
            let config = self.remove_all(&record, cgroup, Some(&ended), false, held)?;
            return config.map_or(Ok(()), |config| self.remove_image_of(&config));
        }
        if let Some(record) = self.settle_locked(record)? {
            if self.is_restarting(&record) {
                self.free_connections(&record, cgroup);
            } else {
                self.free_run(&record, cgroup);
            }
            if was_active {
                self.tell(&record, "cleanup");
            }
        }
        Ok(())
    }

    /// Removes what a run held: its cgroup and its records. A restart that was due is called off.
    pub(crate) fn free_run(&self, record: &Record, cgroup: Option<String>) {
        if record.policy != Restart::No {
            self.call_off(record);
        }
        self.free_connections(record, cgroup);
        let _ = std::fs::remove_dir_all(self.run_directory(&record.id, record.run));
    }

    fn free_connections(&self, record: &Record, cgroup: Option<String>) {
        if let Some(cgroup) = cgroup {
            crate::host::remove_cgroup(&cgroup);
        }
        self.release_networks(&record.id);
        let directory = self.run_directory(&record.id, record.run);
        self.release_volumes(&record.id, &directory);
        self.run_last_hooks(record, &directory);
    }

    /// Hooks of the end keep nothing from ending: what fails is told.
    pub(crate) fn run_last_hooks(&self, record: &Record, run_directory: &std::path::Path) {
        for error in crate::hooks::after_end(run_directory) {
            self.tell_more(record, "hook_failed", |event| event.error = error);
        }
    }

    /// Tidies up after commands that were killed and hosts that went down. Cheap when there is nothing to do, and never
    /// waits for anybody.
    pub(crate) fn collect(&self) -> Result<(), Fault> {
        for record in self.database()?.unsettled(self.boot())? {
            let state = self.observe(&record);
            let lives = record.mark == Mark::Active && state.over.is_none();
            if !lives || state.status == Status::Removing {
                // What cannot be collected is still listed, and its own removal says why; it must not keep others from
                // being made.
                let _ = self.collect_one(&record.id);
            }
        }
        Ok(())
    }

    fn collect_one(&self, id: &Id) -> Result<(), Fault> {
        let directory = self.container_directory(id);
        let Some(held) = lock::attempt(&directory)? else { return Ok(()) };
        match self.database()?.record(id)? {
            Some(record) if record.mark == Mark::Removing => {
                self.remove_all(&record, None, None, false, held).map(drop)
            }
            Some(record) => self.tidy(record, held),
            None => {
                let _ = std::fs::remove_dir(directory);
                Ok(())
            }
        }
    }

    /// Ends a container: its stop signal, then SIGKILL. `None`: there is none, and that was to be ignored.
    pub fn stop(&self, asked: &Stop) -> Result<Option<Stopped>, Fault> {
        self.host()?;
        let record = match self.record_of(&asked.name) {
            Err(fault) if asked.ignore && fault.kind == Kind::NotFound => return Ok(None),
            other => other?,
        };
        let id = record.id.clone();
        let runs = self.observe(&record).running.is_some();
        let subject = event::Subject::from(&record);
        let warning = self.end(record, asked.timeout)?;
        if runs {
            self.tell(subject, "stop");
        }
        Ok(Some(Stopped { id, warning }))
    }

    /// Stops it if it runs. Tells if its stop signal was not enough.
    pub(crate) fn end(&self, record: Record, timeout: Option<u32>) -> Result<Option<String>, Fault> {
        self.end_by(record, timeout, StoppedBy::User)
    }

    /// As [`Engine::end`], as a container's policy is to see it.
    pub(crate) fn end_by(&self, record: Record, timeout: Option<u32>, by: StoppedBy) -> Result<Option<String>, Fault> {
        let mut warning = None;
        self.note_stop(&record, by)?;
        let (mut record, mut state) = (record.clone(), self.observe(&record));
        let being_started = record.mark == Mark::Active && state.over.is_none();
        if state.running.is_none() && (being_started || record.policy != Restart::No) {
            // It is being started, or may be by its policy: whoever does that has the lock until there is something to end.
            drop(lock::wait(&self.container_directory(&record.id))?);
            let Some(now) = self.database()?.record(&record.id)? else {
                let _ = std::fs::remove_dir(self.container_directory(&record.id));
                return Ok(None);
            };
            (state, record) = (self.observe(&now), now);
        }
        if let Some(running) = &state.running {
            // Once more: whoever started it meanwhile has taken the mark away.
            self.note_stop(&record, by)?;
            let config = self.database()?.config(record.seq)?;
            let seconds = timeout.unwrap_or(config.stop_timeout);
            let frozen = state.status == Status::Paused;
            if state.status == Status::Initialized || seconds == 0 {
                self.signal(running, Signal::KILL, frozen)?;
            } else {
                let _stopping = super::stopping::Mark::make(&self.run_directory(&record.id, record.run));
                self.signal(running, config.stop_signal, frozen)?;
                if !gone_within(running, Duration::from_secs(seconds.into()))? {
                    warning = Some(format!(
                        "StopSignal {} failed to stop container {} in {seconds} seconds, resorting to SIGKILL",
                        config.stop_signal, record.name
                    ));
                    self.signal(running, Signal::KILL, false)?;
                }
            }
            if !gone_within(running, PATIENCE)? {
                return Err(Fault::internal(format!("container {} did not end after SIGKILL", record.id))
                    .hint("one of its processes waits for a device or a network file system"));
            }
        }
        self.cleanup_soon(&record.id)?;
        Ok(warning)
    }

    /// Sends a signal; a frozen process is thawed so that it can take it.
    fn signal(&self, running: &Running, signal: Signal, frozen: bool) -> Result<(), Fault> {
        let sent = sys::process::kill(running.pid, running.start_time, signal.0);
        if frozen && let Some(cgroup) = &running.cgroup {
            crate::host::freeze_cgroup(cgroup, false)?;
        }
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(Fault::new(Kind::Denied, format!("cannot send {signal} to process {}: {e}", running.pid))),
        }
    }

    /// Sends a signal to the first process.
    pub fn kill(&self, asked: &Kill) -> Result<Id, Fault> {
        self.host()?;
        let record = self.record_of(&asked.name)?;
        let state = self.observe(&record);
        match (state.status, &state.running) {
            (Status::Running | Status::Paused | Status::Stopping | Status::Initialized, Some(running)) => {
                let thaw = state.status == Status::Paused && asked.signal == Signal::KILL;
                self.note_stop(&record, StoppedBy::User)?;
                self.signal(running, asked.signal, thaw)?;
                self.tell(&record, "kill");
                Ok(record.id)
            }
            (status, _) => {
                Err(improper(format!("can only kill running containers. {} is in state {}", record.id, status.word())))
            }
        }
    }

    /// Waits until the container has ended.
    pub fn wait(&self, name: &str) -> Result<Exit, Fault> {
        let record = self.record_of(name)?;
        let id = record.id.clone();
        let mut record = record;
        let mut removing = None;
        loop {
            let state = self.observe(&record);
            if record.mark == Mark::Active && state.status == Status::Removing {
                // The exit code is told when the row goes. Somebody was killed over it if that takes so long.
                if removing.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                    self.cleanup(&id)?;
                }
            }
            if let Some(super::state::Over::Ended(ended)) = &state.over {
                return Ok(Exit { code: ended.exit_code, oom: ended.oom });
            }
            match (state.status, &state.running) {
                (Status::Created | Status::Exited | Status::Removing, _) if record.mark != Mark::Active => {
                    return Ok(Exit { code: record.exit_code, oom: record.oom });
                }
                (Status::Running | Status::Paused | Status::Initialized, Some(running)) => {
                    gone_within(running, Duration::from_secs(3600))?;
                }
                // One whose start was killed has no process to wait for, and nobody but us may notice.
                _ if state.over.is_some() => drop(self.settle(record)?),
                _ => std::thread::sleep(PAUSE),
            }
            record = match self.database()?.record(&id)? {
                Some(record) => record,
                None => return self.database()?.exit_of(&id)?.ok_or_else(|| super::init::no_such(name)),
            };
        }
    }

    /// How a container ended that is no more, while that is known still.
    pub fn exit_of(&self, id: &Id) -> Result<Option<Exit>, Fault> {
        self.database()?.exit_of(id)
    }

    /// Freezes all processes of a container.
    pub fn pause(&self, name: &str) -> Result<Id, Fault> {
        self.freeze(name, true)
    }

    /// Thaws them.
    pub fn unpause(&self, name: &str) -> Result<Id, Fault> {
        self.freeze(name, false)
    }

    fn freeze(&self, name: &str, frozen: bool) -> Result<Id, Fault> {
        self.host()?;
        let found = self.record_of(name)?;
        let _held = lock::wait(&self.container_directory(&found.id))?;
        let record = self.record_of(found.id.as_str())?;
        let state = self.observe_locked(&record);
        let wanted = if frozen { Status::Running } else { Status::Paused };
        let Some(running) = state.running.filter(|_| state.status == wanted) else {
            let id = record.id.as_str();
            return Err(improper(match (frozen, state.status) {
                (true, Status::Paused) => format!("{id:?} is already paused"),
                (true, status) => format!("{:?} is not running, can't pause", status.word()),
                (false, _) => format!("{id:?} is not paused, can't unpause"),
            }));
        };
        let cgroup = running.cgroup.ok_or_else(|| {
            Fault::new(Kind::Unsupported, "containers cannot be paused here: the container has no cgroup of its own")
                .hint("mount a cgroup file system, or let the user have a cgroup of their own (systemd's Delegate=yes)")
        })?;
        // The mark is there before the processes are frozen and until they are thawed: a command killed in between leaves
        // a container that can be thawed, and not one that hangs and says it runs.
        if frozen {
            self.database()?.paused(&record.id, true)?;
        }
        let done = crate::host::freeze_cgroup(&cgroup, frozen);
        if frozen && done.is_err() {
            // What was frozen before the failure runs on.
            let _ = crate::host::freeze_cgroup(&cgroup, false);
        }
        if !frozen || done.is_err() {
            self.database()?.paused(&record.id, frozen && done.is_ok())?;
        }
        if done.is_ok() {
            self.tell(&record, if frozen { "pause" } else { "unpause" });
        }
        done.map(|()| record.id)
    }
}

/// The fault of an operation that the state forbids.
pub(crate) fn improper(what: String) -> Fault {
    Fault::new(Kind::Conflict, format!("{what}: container state improper"))
}

/// Waits for the first process to go: by its pidfd, or by looking on kernels before 5.3.
pub(crate) fn gone_within(running: &Running, limit: Duration) -> Result<bool, Fault> {
    let end = Instant::now() + limit;
    match sys::process::open(running.pid, running.start_time) {
        Err(Errno::SRCH) => Ok(true),
        Ok(pidfd) => loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout =
                rustix::event::Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let mut polled = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
            match rustix::event::poll(&mut polled, Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(e) => return Err(Fault::internal(format!("cannot wait for process {}: {e}", running.pid))),
            }
        },
        Err(_) => {
            while sys::process::is_alive(running.pid, running.start_time) {
                if Instant::now() > end {
                    return Ok(false);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(true)
        }
    }
}
