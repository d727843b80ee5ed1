//! `kill`, `pause` and `resume`.
//!
//! Must not know: how a container is made or taken away.

use super::failure::Failure;
use super::flags::Words;
use super::state::Status;
use super::{Program, members};
use crate::cgroup::Host;
use rustix::io::Errno;
use types::Signal;

/// `kill`; with `--regex`, for all whose ids match.
pub(crate) fn kill(program: &Program, words: &Words) -> Result<u8, Failure> {
    let signal: Signal = words.arguments.get(1).map_or(Ok(Signal::TERM), |text| text.parse())?;
    program.each(words, |id| send(program, id, signal, words.has("all"))).map(|()| 0)
}

/// A signal for the first process, or for `all` of them. One that is parked gets it too.
fn send(program: &Program, id: &str, signal: Signal, all: bool) -> Result<(), Failure> {
    let record = program.containers()?.find(id)?.record()?;
    let failed = |source| Failure::Kernel { step: "send the signal", source };
    if all {
        // Also when the first one has ended: others may live on. Nobody left is no failure, as for runc.
        for pid in members::pids(&record)? {
            let sent = sys::process::start_time(pid).and_then(|start| sys::process::kill(pid, start, signal.0));
            match sent {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        return Ok(());
    }
    let first = record.first.filter(|first| first.is_alive()).ok_or(Failure::NotRunning)?;
    match sys::process::kill(first.pid, first.start_time, signal.0) {
        Ok(()) => {}
        Err(Errno::SRCH) => return Err(Failure::NotRunning),
        Err(error) => return Err(failed(error)),
    }
    // Version 1's freezer keeps even this signal from being acted on.
    if signal == Signal::KILL
        && let Some(group) = record.group(&Host::probe())?.filter(|group| group.is_frozen())
    {
        group.thaw().map_err(Failure::cgroup)?;
    }
    Ok(())
}

/// `pause`.
pub(crate) fn pause(program: &Program, words: &Words) -> Result<u8, Failure> {
    let place = program.containers()?.find(words.container())?;
    let record = place.record()?;
    match place.status(Some(&record))? {
        Status::Running | Status::Created => {}
        status => return Err(Failure::Status { action: "pause", id: place.id.clone(), status }),
    }
    record.group_to_be(&Host::probe(), "paused")?.freeze().map(|()| 0).map_err(Failure::cgroup)
}

/// `resume`.
pub(crate) fn resume(program: &Program, words: &Words) -> Result<u8, Failure> {
    let place = program.containers()?.find(words.container())?;
    let record = place.record()?;
    let group = record.group_to_be(&Host::probe(), "resumed")?;
    if !group.is_frozen() {
        let status = place.status(Some(&record))?;
        return Err(Failure::Status { action: "resume", id: place.id.clone(), status });
    }
    group.thaw().map(|()| 0).map_err(Failure::cgroup)
}
