//! `init`: makes containers ready to start, with their first process parked.

use super::Verb;
use super::many::{Choice, each};
use crate::failure::Failure;
use crate::flag::{Flag, short, switch};
use crate::program::{Program, plain, print};
use ops::container::Status;

const FLAGS: &[Flag<Choice>] = &[
    short('a', switch("all", "Act on all containers that were never started or have ended", |r, on| r.all = on)),
    short('l', switch("latest", "Act on the container made last", |r, on| r.latest = on)),
];

/// The verb.
pub const VERB: Verb<Choice> = Verb {
    path: "init",
    usage: "CONTAINER [CONTAINER...]",
    about: "Initialize one or more containers",
    examples: &["3c45ef19d893"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, choice: Choice, arguments: Vec<String>) -> Result<u8, Failure> {
    let engine = program.engine()?;
    each(&choice.names(&engine, arguments, &[Status::Created, Status::Exited])?, |name| {
        if engine.status(name).map_err(plain)? == Status::Initialized {
            let id = engine.find(name).map_err(plain)?;
            return Err(Failure::new(format!(
                "container {id} has already been created in runtime: container state improper"
            )));
        }
        engine.init_with(name, None, true).map_err(plain)?;
        print(&format!("{name}\n"))
    })
}
