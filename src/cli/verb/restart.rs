//! `restart`: stops containers that run, and starts them again.

use super::Verb;
use super::many::{ANY, Choice, each};
use crate::failure::Failure;
use crate::flag::{Flag, integer, list, short, switch, value};
use crate::program::{Program, plain, print};
use ops::container::Status;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    choice: Choice,
    running: bool,
    timeout: Option<u32>,
}

const FLAGS: &[Flag<Asked>] = &[
    short('a', switch("all", "Restart all containers", |r, on| r.choice.all = on)),
    value("cidfile", "string", "Read the container's id from this file", |r, v| {
        r.choice.id_files.push(v.into());
        Ok(())
    }),
    short('f', list("filter", "Restart the containers that these conditions choose", |r, v| r.choice.filters.push(v))),
    short('l', switch("latest", "Act on the container made last", |r, on| r.choice.latest = on)),
    switch("running", "Restart only running containers", |r, on| r.running = on),
    short(
        't',
        value("time", "uint", "Seconds between the stop signal and SIGKILL (default 10)", |r, v| {
            r.timeout = Some(if v == "-1" { u32::MAX } else { integer(v)? });
            Ok(())
        }),
    ),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "restart",
    usage: "CONTAINER [CONTAINER...]",
    about: "Restart one or more containers",
    examples: &["web db", "--running"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, mut asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let engine = program.engine()?;
    let only_running = asked.running && arguments.is_empty();
    asked.choice.all |= only_running;
    let fit = if asked.running { &[Status::Running][..] } else { ANY };
    let names = asked.choice.names(&engine, arguments, fit)?;
    each(&names, |name| {
        engine.restart(name, asked.timeout).map_err(plain)?;
        print(&format!("{name}\n"))
    })
}
