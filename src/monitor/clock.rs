//! The clock of a run: probes of its health while it runs, its limit of time, and its next start after its end. A run without any
//! of these has no clock.
//!
//! Must not know: what a probe does. It is a command that is started; its exit code says how soon the next one is due.

use crate::record::Exit;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

/// The exit code of a probe whose container is still starting up: the next one is due after [`Probe::startup_ms`].
pub const STARTING_UP: i32 = 64;

/// The exit code of a container that was killed because its time was over, as conmon has it: one that waits for it ends
/// with 255.
pub const OUT_OF_TIME: i32 = -1;
const KILLED: i32 = 128 + 9;

/// A run that lasted so long begins with the shortest pause anew.
const LASTING: Duration = Duration::from_secs(10);
/// The pause before the second restart in a row; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What is due while a run lasts, and after it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clock {
    /// It is started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
    /// Its health is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// Seconds after its start at which it is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Again {
    /// Not after exit code 0.
    pub only_failures: bool,
    /// How many restarts in a row came after a short run.
    pub step: u32,
    /// Arguments (without `argv[0]`) of this executable, which starts it; the next `step` is added.
    pub command: Vec<String>,
}

/// Probes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Milliseconds between the end of one and the next.
    pub interval_ms: u64,
    /// The same while the container is starting up; `None`: it does not start up.
    pub startup_ms: Option<u64>,
    /// Arguments (without `argv[0]`) of this executable.
    pub command: Vec<String>,
}

/// The clock of a run that has begun.
#[derive(Debug)]
pub(crate) struct Ticks {
    begun: Instant,
    limit: Option<Instant>,
    next_probe: Option<Instant>,
    probing: Option<i32>,
}

impl Ticks {
    /// Begins. The first probe is due at once, as Podman's is.
    #[inline(never)]
    pub fn begin(clock: &Clock) -> Box<Ticks> {
        let begun = Instant::now();
        let limit = clock.limit.map(|seconds| begun + Duration::from_secs(seconds.into()));
        Box::new(Ticks { begun, limit, next_probe: clock.probe.as_ref().map(|_| begun), probing: None })
    }

    /// How long until something is due.
    #[inline(never)]
    pub fn left(&self) -> Option<Duration> {
        let next = [self.limit, self.next_probe].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Starts what is due; true if the run has had its time.
    #[inline(never)]
    pub fn tick(&mut self, clock: &Clock) -> bool {
        let now = Instant::now();
        if let (Some(probe), Some(due)) = (&clock.probe, self.next_probe)
            && due <= now
        {
            self.probing = start(&probe.command);
            // One that cannot be started (no memory, no processes) is tried again in its time.
            self.next_probe = if self.probing.is_some() { None } else { Some(now + pause(probe, false)) };
        }
        let over = self.limit.is_some_and(|limit| limit <= now);
        if over {
            self.limit = None;
        }
        over
    }

    /// The exit code of a container whose first process ended with `code`.
    #[inline(never)]
    pub fn code(&self, clock: &Clock, code: i32) -> i32 {
        let killed = code == KILLED && clock.limit.is_some() && self.limit.is_none();
        if killed { OUT_OF_TIME } else { code }
    }

    /// Told of every child that ended.
    #[inline(never)]
    pub fn reaped(&mut self, clock: &Clock, pid: i32, code: i32) {
        if self.probing == Some(pid) {
            self.probing = None;
            let next = |probe| Instant::now() + pause(probe, code == STARTING_UP);
            self.next_probe = clock.probe.as_ref().map(next);
        }
    }

    /// Told that there are other probes. The first of them is due at once, or in its time after the one that runs.
    #[inline(never)]
    pub fn changed(&mut self, clock: &Clock) {
        self.next_probe = clock.probe.as_ref().filter(|_| self.probing.is_none()).map(|_| Instant::now());
    }
}

fn pause(probe: &Probe, starting_up: bool) -> Duration {
    let startup = probe.startup_ms.filter(|_| starting_up);
    Duration::from_millis(startup.unwrap_or(probe.interval_ms))
}

/// How long to wait before the next start of a run that ended with `code` after `lasted`, and the step after it; `None` if there
/// is none.
pub(crate) fn next_start(clock: &Clock, code: i32, lasted: Option<Duration>) -> Option<(Duration, u32)> {
    let again = clock.again.as_ref().filter(|again| code != 0 || !again.only_failures)?;
    let step = if lasted.is_none_or(|lasted| lasted >= LASTING) { 0 } else { again.step };
    Some((pause_of(step), step + 1))
}

/// As Docker's: at once, then after 100 ms, 200 ms, … at most a minute.
fn pause_of(step: u32) -> Duration {
    match step.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_PAUSE.saturating_mul(1 << doublings.min(16)).min(LONGEST_PAUSE),
    }
}

impl Ticks {
    /// How long the run has lasted.
    pub fn lasted(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// Waits for the next start and starts it; ends early without one when the records of the run go: then somebody has stopped,
/// started or removed the container. Whoever does kills this process too; that is for those it cannot reach.
pub(crate) fn start_again(again: &Again, wait: Duration, step: u32, run_dir: &Path) {
    let until = Instant::now() + wait;
    let watch = sys::watch::Watch::on(run_dir);
    while Exit::read(run_dir).is_some() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let mut command = again.command.clone();
            command.push(step.to_string());
            let _ = start(&command);
            return;
        }
        watch.wait(left);
    }
}

/// Starts a command; its process id.
fn start(arguments: &[String]) -> Option<i32> {
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    sys::role::spawn_command(&arguments).ok().map(|child| child.id() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_begin_anew() {
        let again = |step, only_failures| Clock {
            again: Some(Again { only_failures, step, command: Vec::new() }),
            ..Clock::default()
        };
        let short = Some(Duration::from_secs(1));
        for (step, milliseconds) in [(0, 0), (1, 100), (2, 200), (5, 1600), (10, 51_200), (11, 60_000), (4000, 60_000)]
        {
            let wanted = Some((Duration::from_millis(milliseconds), step + 1));
            assert_eq!(next_start(&again(step, false), 0, short), wanted);
        }
        assert_eq!(next_start(&again(9, false), 1, Some(LASTING)), Some((Duration::ZERO, 1)));
        assert_eq!(next_start(&again(9, true), 0, short), None);
        assert_eq!(next_start(&again(1, true), 3, short), Some((FIRST_PAUSE, 2)));
        assert_eq!(next_start(&Clock::default(), 3, short), None);
    }

    #[test]
    fn probes_and_limits_are_due_in_their_time() {
        let probe = Probe { interval_ms: 60_000, startup_ms: Some(5_000), command: vec!["--version".into()] };
        let clock = Clock { probe: Some(probe), limit: Some(3600), ..Clock::default() };
        let mut ticks = Ticks::begin(&clock);
        assert_eq!(ticks.left(), Some(Duration::ZERO));
        assert!(!ticks.tick(&clock));
        let pid = ticks.probing.expect("the first probe starts at once");
        assert!(ticks.left().unwrap() > Duration::from_secs(3000), "no second one beside it");
        ticks.reaped(&clock, pid + 1, 0);
        assert_eq!(ticks.probing, Some(pid));
        ticks.reaped(&clock, pid, STARTING_UP);
        assert!(ticks.left().unwrap() <= Duration::from_secs(5));
        ticks.probing = Some(7);
        ticks.reaped(&clock, 7, 0);
        assert!(ticks.left().unwrap() > Duration::from_secs(50));
        ticks.changed(&clock);
        assert_eq!(ticks.left(), Some(Duration::ZERO), "other probes begin at once");
        ticks.probing = Some(7);
        ticks.changed(&clock);
        assert!(ticks.left().unwrap() > Duration::from_secs(3000), "after the one that runs");
        let none = Clock { probe: None, ..clock.clone() };
        ticks.reaped(&none, 7, 0);
        assert_eq!((ticks.probing, ticks.next_probe), (None, None));
        ticks.limit = Some(Instant::now());
        assert_eq!(ticks.code(&clock, 137), 137);
        assert!(ticks.tick(&clock) && !ticks.tick(&clock), "once");
        assert_eq!((ticks.code(&clock, 137), ticks.code(&clock, 3)), (OUT_OF_TIME, 3));
        let _ = rustix::process::waitpid(rustix::process::Pid::from_raw(pid), rustix::process::WaitOptions::empty());
    }
}
