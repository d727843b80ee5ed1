//! `pause` and `unpause`: freeze and thaw all processes of containers.

use super::Verb;
use super::many::{Choice, each};
use crate::failure::Failure;
use crate::flag::{Flag, list, short, switch, value};
use crate::program::{Program, plain, print};
use ops::container::Status;

const FLAGS: &[Flag<Choice>] = &[
    short('a', switch("all", "Act on all containers for which it makes sense", |r, on| r.all = on)),
    value("cidfile", "string", "Read the container's id from this file", |r, v| {
        r.id_files.push(v.into());
        Ok(())
    }),
    short('f', list("filter", "Act on the containers that these conditions choose", |r, v| r.filters.push(v))),
    short('l', switch("latest", "Act on the container made last", |r, on| r.latest = on)),
];

/// `pause`.
pub const PAUSE: Verb<Choice> = Verb {
    path: "pause",
    usage: "CONTAINER [CONTAINER...]",
    about: "Pause all the processes in one or more containers",
    examples: &["mywebserver", "--all"],
    interspersed: true,
    flags: &[FLAGS],
    execute: pause,
};

/// `unpause`.
pub const UNPAUSE: Verb<Choice> = Verb {
    path: "unpause",
    usage: "CONTAINER [CONTAINER...]",
    about: "Unpause the processes in one or more containers",
    examples: &["mywebserver", "--all"],
    interspersed: true,
    flags: &[FLAGS],
    execute: unpause,
};

fn pause(program: &Program, choice: Choice, arguments: Vec<String>) -> Result<u8, Failure> {
    let engine = program.engine()?;
    each(&choice.names(&engine, arguments, &[Status::Running])?, |name| {
        engine.pause(name).map_err(plain)?;
        print(&format!("{name}\n"))
    })
}

fn unpause(program: &Program, choice: Choice, arguments: Vec<String>) -> Result<u8, Failure> {
    let engine = program.engine()?;
    each(&choice.names(&engine, arguments, &[Status::Paused])?, |name| {
        engine.unpause(name).map_err(plain)?;
        print(&format!("{name}\n"))
    })
}
