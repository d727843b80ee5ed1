//! `delete`: what is left of a container goes, in whatever state it is.
//!
//! Must not know: how a container is made.

use super::Program;
use super::failure::Failure;
use super::flags::Words;
use super::state::{Place, Process, Record, Status};
use crate::cgroup::{Group, Host};
use crate::hooks::{self, Moment};
use oci_spec::runtime::Spec;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);
/// A process that was killed has ended by then, unless somebody put it where it is frozen.
const SOON: Duration = Duration::from_millis(100);

/// `delete`. One that does not exist is no failure with `--force`; with `--regex`, all whose ids match are meant.
pub(crate) fn delete(program: &Program, words: &Words) -> Result<u8, Failure> {
    let force = words.has("force");
    program.each(words, |id| delete_one(program, id, force)).map(|()| 0)
}

fn delete_one(program: &Program, id: &str, force: bool) -> Result<(), Failure> {
    let place = match program.containers()?.find(id) {
        Err(Failure::NoContainer { .. }) if force => return Ok(()),
        other => other?,
    };
    let record = match place.read() {
        // Nothing that can be read must keep it here.
        Err(failure) if force => {
            program.log.warning(&failure.text());
            None
        }
        other => other?,
    };
    match place.status(record.as_ref())? {
        Status::Stopped | Status::Created => {}
        _ if force => {}
        status => return Err(Failure::Status { action: "delete", id: place.id.clone(), status }),
    }
    take_away(program, &place, record.as_ref())
}

/// Ends what lives of it, and removes its cgroup and its state.
pub(crate) fn take_away(program: &Program, place: &Place, record: Option<&Record>) -> Result<(), Failure> {
    let own = Process::own()?;
    // Only where something is to be found in it.
    let needed = record.is_none_or(|record| record.has_hooks || record.cgroup.is_none());
    let mut spec = needed.then(|| place.specification().ok()).flatten();
    match record {
        Some(Record { first: Some(first), .. }) => end(*first)?,
        Some(Record { maker, .. }) if *maker != own && maker.is_alive() => end(*maker)?,
        _ => {}
    }
    // One that was made, but not written down any more; and what may be on its way to make one.
    place.give_up()?;
    place.settled()?;
    let host = Host::probe();
    let named = record.and_then(|record| record.cgroup.clone()).or_else(|| {
        // What a killed creation may have made, by the name that it would have had.
        let spec = spec.as_mut()?;
        program.name_cgroup(spec, &place.id).ok()?;
        let path = spec.linux().as_ref()?.cgroups_path().as_ref().map(|path| path.to_string_lossy().into_owned());
        Some(path.filter(|path| !path.is_empty()).unwrap_or_else(|| place.id.clone()))
    });
    // Whatever it is that cannot be opened, it is not one that this program made.
    let group = named.and_then(|path| Group::open(&host, &path).ok());
    if let Some(group) = &group {
        if let Some(Record { first: Some(first), own_pids, .. }) = record {
            // Version 1's freezer keeps them from ending.
            if group.is_frozen() {
                group.thaw().map_err(Failure::cgroup)?;
            }
            // Others of its processes may live on where they had no pid namespace to go with.
            if !own_pids {
                group.kill().map_err(Failure::cgroup)?;
            }
            gone(*first)?;
        }
        group.remove().map_err(Failure::cgroup)?;
    } else if let Some(Record { first: Some(first), .. }) = record {
        gone(*first)?;
    }
    if let (Some(spec), Some(record)) = (spec, record) {
        poststop(program, place, &spec, record.clone())?;
    }
    place.remove()
}

/// Runs the hooks of the end. Each is written down before it begins: killed in between, the next deletion goes on after it, so
/// that none is left out, and one that never ends is not begun again.
fn poststop(program: &Program, place: &Place, spec: &Spec, mut record: Record) -> Result<(), Failure> {
    let moment = Moment::Poststop;
    let state = hooks::state(spec, &place.id, &record.bundle, moment.status(), None);
    for hook in moment.hooks(spec).iter().skip(record.poststops) {
        record.poststops += 1;
        // What cannot be written (a full disk) must not keep the container from being taken away.
        if let Err(failure) = place.write(&record) {
            program.log.warning(&failure.text());
        }
        for failure in hooks::run_all(moment, std::slice::from_ref(hook), &state) {
            program.log.warning(&failure.to_string());
        }
    }
    Ok(())
}

/// Kills a process, if it lives.
fn end(process: Process) -> Result<(), Failure> {
    match sys::process::kill(process.pid, process.start_time, 9) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(source) => Err(Failure::Kernel { step: "kill the first process", source }),
    }
}

/// Waits until a process that was killed is gone, or a zombie.
fn gone(process: Process) -> Result<(), Failure> {
    let began = Instant::now();
    let pidfd = sys::process::open(process.pid, process.start_time).ok();
    let mut is_released = false;
    while process.is_alive() {
        let waited = began.elapsed();
        if waited >= PATIENCE {
            return Err(Failure::Kernel { step: "wait for the end of the first process", source: Errno::TIMEDOUT });
        }
        if waited >= SOON && !is_released {
            is_released = true;
            Group::of(&Host::probe(), process.pid).and_then(|group| group.let_end()).map_err(Failure::cgroup)?;
        }
        let left = if is_released { PATIENCE } else { SOON };
        match &pidfd {
            // Readable from when it is a zombie.
            Some(pidfd) => sys::reactor::wait(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(left))
                .map(drop)
                .map_err(|source| Failure::Kernel { step: "wait for the end of the first process", source })?,
            // Kernels before 5.3.
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    Ok(())
}
