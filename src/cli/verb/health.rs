//! `healthcheck run`, and the two commands by which monitors keep their containers alive: `container probe` and
//! `container again`.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, switch};
use crate::program::{Program, plain, print};
use ops::Fault;
use types::Id;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    ignore_result: bool,
}

const FLAGS: &[Flag<Asked>] =
    &[switch("ignore-result", "Exit with 0 also if the check fails", |r, on| r.ignore_result = on)];

/// The verb.
pub const RUN: Verb<Asked> = Verb {
    path: "healthcheck run",
    usage: "CONTAINER",
    about: "Run the health check of a container",
    examples: &["mywebapp"],
    interspersed: true,
    flags: &[FLAGS],
    execute: run,
};

fn run(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let [name] = arguments.as_slice() else {
        return Err(Failure::new("healthcheck run takes the name of one container"));
    };
    let verdict = program.engine()?.check_health(name, None).map_err(plain)?;
    if verdict.passed {
        return Ok(0);
    }
    print(if verdict.starting { "starting\n" } else { "unhealthy\n" })?;
    Ok(u8::from(!asked.ignore_result))
}

/// A check in its time: the exit code tells the monitor when the next one is due.
pub const PROBE: Verb<()> = Verb {
    path: "container probe",
    usage: "ID RUN",
    about: "Check the health of a container, as its monitor asks",
    examples: &[],
    interspersed: true,
    flags: &[],
    execute: probe,
};

fn probe(program: &Program, (): (), arguments: Vec<String>) -> Result<u8, Failure> {
    let (id, numbers) = own_words(&arguments)?;
    let verdict = program.engine()?.check_health(id.as_str(), numbers.first().copied()).map_err(plain)?;
    Ok(if verdict.starting_up { engine::STARTING_UP } else { 0 })
}

/// A start by the restart policy.
pub const AGAIN: Verb<()> = Verb {
    path: "container again",
    usage: "ID RUN STEP",
    about: "Start a container that has ended, as its restart policy wants",
    examples: &[],
    interspersed: true,
    flags: &[],
    execute: again,
};

fn again(program: &Program, (): (), arguments: Vec<String>) -> Result<u8, Failure> {
    let (id, numbers) = own_words(&arguments)?;
    let [run, step] = numbers[..] else { return Err(Failure::new("takes an id, a run and a step")) };
    program.engine()?.start_again(&id, run, u32::try_from(step).unwrap_or(u32::MAX)).map_err(plain)?;
    Ok(0)
}

/// A whole id, and numbers.
fn own_words(arguments: &[String]) -> Result<(Id, Vec<i64>), Failure> {
    let invalid = || Failure::from(Fault::invalid("takes an id and numbers, as monitors give them"));
    let (id, numbers) = arguments.split_first().ok_or_else(invalid)?;
    let id = id.parse().map_err(|_| invalid())?;
    let numbers = numbers.iter().map(|number| number.parse().map_err(|_| invalid())).collect::<Result<_, _>>()?;
    Ok((id, numbers))
}
