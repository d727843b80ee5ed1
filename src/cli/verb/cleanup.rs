//! `container cleanup`: what a monitor starts when its container has ended and no client takes care of it.

use super::Verb;
use super::many::{Choice, each};
use crate::failure::Failure;
use crate::flag::{Flag, short, switch};
use crate::program::{Program, plain, print};
use ops::container::Status;

const FLAGS: &[Flag<Choice>] = &[
    short('a', switch("all", "Clean up all containers that have ended", |r, on| r.all = on)),
    short('l', switch("latest", "Act on the container made last", |r, on| r.latest = on)),
];

/// The verb.
pub const VERB: Verb<Choice> = Verb {
    path: "container cleanup",
    usage: "CONTAINER [CONTAINER...]",
    about: "Free what ended containers held",
    examples: &["ctrID"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, choice: Choice, arguments: Vec<String>) -> Result<u8, Failure> {
    let engine = program.engine()?;
    each(&choice.names(&engine, arguments, &[Status::Exited])?, |name| {
        // A monitor gives the whole id; of a container that is already gone nothing is left to clean up.
        let id = match name.parse() {
            Ok(id) => id,
            Err(_) => engine.find(name).map_err(plain)?,
        };
        engine.cleanup(&id).map_err(plain)?;
        print(&format!("{name}\n"))
    })
}
