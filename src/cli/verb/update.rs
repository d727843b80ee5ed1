//! `update`: changes a container that there is: its limits, variables, health checks and restart policy.

use super::create_flags::Asked;
use super::many::latest;
use super::{Verb, life_flags, resource_flags};
use crate::environment;
use crate::failure::Failure;
use crate::flag::{Flag, list, short, switch, value};
use crate::program::{Program, plain, print};
use ops::container::Update;

const FLAGS: &[Flag<Asked>] = &[
    short(
        'e',
        value("env", "string", "Set a variable, from the next start on (KEY=VALUE, KEY)", |r, v| {
            r.create.environment.extend(environment::resolve(&[v.to_owned()]));
            Ok(())
        }),
    ),
    short('l', switch("latest", "Act on the container made last", |r, on| r.latest = on)),
    list("unsetenv", "Take variables away, from the next start on", |r, v| r.create.unset_environment.push(v)),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "update",
    usage: "CONTAINER",
    about: "Update the limits, variables, health checks or restart policy of an existing container",
    examples: &["--cpus 2 web", "--memory 512m --pids-limit 100 web", "--health-interval 10s --env LEVEL=debug web"],
    interspersed: true,
    flags: &[resource_flags::LIMITS, resource_flags::PROCESS, life_flags::RESTART, life_flags::HEALTH, FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let create = asked.create;
    let mut update = Update {
        name: String::new(),
        resources: create.resources,
        ulimits: create.ulimits,
        environment: create.environment,
        unset_environment: create.unset_environment,
        health: create.life.health,
        restart: create.life.restart,
    };
    if update == Update::default() {
        return Err(Failure::new(
            "update needs at least one limit, variable, health option or restart policy to change",
        ));
    }
    let engine = program.engine()?;
    update.name = match (arguments.as_slice(), asked.latest) {
        ([name], false) => name.clone(),
        ([], true) => latest(&engine)?.id.to_string(),
        (_, true) => return Err(Failure::new("--latest and containers cannot be used together")),
        (_, false) => return Err(Failure::new("update takes the name of one container")),
    };
    let id = engine.update(&update).map_err(plain)?;
    print(&format!("{id}\n")).map(|()| 0)
}
