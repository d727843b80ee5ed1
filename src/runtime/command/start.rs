//! `start`: releases the parked process.

use super::Program;
use super::failure::Failure;
use super::flags::Words;
use super::readiness::Readiness;
use super::state::{Record, Status};
use super::{create, make};
use crate::hooks::{self, Moment};
use oci_spec::runtime::Spec;

/// `start`.
pub(crate) fn start(program: &Program, words: &Words) -> Result<u8, Failure> {
    let place = program.containers()?.find(words.container())?;
    let record = place.record()?;
    let refused = |status| Failure::Status { action: "start", id: place.id.clone(), status };
    let Some(door) = record.first.and_then(|_| place.door().transpose()).transpose()? else {
        return Err(refused(place.status(Some(&record))?));
    };
    if !record.first.is_some_and(|first| first.is_alive()) {
        return Err(refused(Status::Stopped));
    }
    // Before it is released: so that nothing of what it says is lost.
    let reports = place.reports()?;
    let readiness = Readiness::listen(&place)?;
    rustix::io::write(&door, b"s").map_err(|source| Failure::Kernel { step: "release the first process", source })?;
    drop(door);
    let outcome = make::outcome(&reports);
    place.close_doors();
    outcome?;
    // Without hooks the specification need not be read.
    if record.has_hooks {
        poststart(&place.specification()?, &record).inspect_err(|_| create::undo(program, &place))?;
    }
    if let (Some(readiness), Some(first)) = (readiness, record.first) {
        readiness.hand_on(first, &program.log);
    }
    Ok(0)
}

/// Runs the hooks that come after the start; if one fails, the container is ended, and the caller deletes it (runtime.md, "Lifecycle").
pub(crate) fn poststart(spec: &Spec, record: &Record) -> Result<(), Failure> {
    let moment = Moment::Poststart;
    let hooks = moment.hooks(spec);
    let Some(first) = record.first.filter(|_| !hooks.is_empty()) else { return Ok(()) };
    let state = hooks::state(spec, &record.id, &record.bundle, moment.status(), Some(first.pid));
    hooks::run(moment, hooks, &state).map_err(Failure::Hook).inspect_err(|_| {
        // Ended already: as well.
        let _ = sys::process::kill(first.pid, first.start_time, 9);
    })
}
