//! `stop`: ends containers with their stop signal, then SIGKILL.

use super::Verb;
use super::many::{ALIVE, Choice, each};
use crate::failure::Failure;
use crate::flag::{Flag, aliases, integer, list, short, switch, value};
use crate::program::{Program, plain, print};
use ops::container::Stop;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    choice: Choice,
    timeout: Option<u32>,
}

const FLAGS: &[Flag<Asked>] = &[
    short('a', switch("all", "Stop all running containers", |r, on| r.choice.all = on)),
    value("cidfile", "string", "Read the container's id from this file", |r, v| {
        r.choice.id_files.push(v.into());
        Ok(())
    }),
    short('f', list("filter", "Stop the containers that these conditions choose", |r, v| r.choice.filters.push(v))),
    short('i', switch("ignore", "A container that does not exist is no error", |r, on| r.choice.ignore = on)),
    short('l', switch("latest", "Act on the container made last", |r, on| r.choice.latest = on)),
    aliases(
        &["timeout"],
        short(
            't',
            value("time", "int", "Seconds between the stop signal and SIGKILL; -1 waits for ever", |r, v| {
                r.timeout = Some(if v == "-1" { u32::MAX } else { integer(v)? });
                Ok(())
            }),
        ),
    ),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "stop",
    usage: "CONTAINER [CONTAINER...]",
    about: "Stop one or more containers",
    examples: &["ctrID", "--time 2 ctrID1 ctrID2"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let engine = program.engine()?;
    let names = asked.choice.names(&engine, arguments, ALIVE)?;
    each(&names, |name| {
        let request = Stop { name: name.into(), timeout: asked.timeout, ignore: asked.choice.ignore };
        match engine.stop(&request).map_err(plain)? {
            Some(stopped) => {
                if let Some(warning) = stopped.warning {
                    program.warn(&format!("Warning: {warning}"));
                }
                print(&format!("{name}\n"))
            }
            None => Ok(()),
        }
    })
}
