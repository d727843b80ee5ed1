//! `update`: changes limits of a container, and its restart policy.

use super::create_flags::Asked;
use super::{Verb, life_flags, resource_flags};
use crate::failure::Failure;
use crate::program::{Program, plain, print};
use ops::container::{Resources, Update};

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "update",
    usage: "CONTAINER",
    about: "Update the limits or the restart policy of an existing container",
    examples: &["--cpus 2 web", "--memory 512m --pids-limit 100 web"],
    interspersed: true,
    flags: &[resource_flags::LIMITS, life_flags::RESTART],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let [name] = arguments.as_slice() else {
        return Err(Failure::new("update takes the name of one container"));
    };
    let (resources, restart) = (asked.create.resources, asked.create.life.restart);
    if resources == Resources::default() && restart.is_none() {
        return Err(Failure::new("update needs at least one limit, or a restart policy, to change"));
    }
    let id = program.engine()?.update(&Update { name: name.clone(), resources, restart }).map_err(plain)?;
    print(&format!("{id}\n")).map(|()| 0)
}
