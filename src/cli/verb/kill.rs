//! `kill`: sends a signal to the first process of containers.

use super::Verb;
use super::many::{ALIVE, Choice, each};
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::program::{Program, plain, print};
use ops::container::Kill;
use types::Signal;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    choice: Choice,
    signal: Option<String>,
}

const FLAGS: &[Flag<Asked>] = &[
    short('a', switch("all", "Signal all running containers", |r, on| r.choice.all = on)),
    value("cidfile", "string", "Read the container's id from this file", |r, v| {
        r.choice.id_files.push(v.into());
        Ok(())
    }),
    short('l', switch("latest", "Act on the container made last", |r, on| r.choice.latest = on)),
    short(
        's',
        value("signal", "string", "Signal to send (default KILL)", |r, v| {
            r.signal = Some(v.into());
            Ok(())
        }),
    ),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "kill",
    usage: "CONTAINER [CONTAINER...]",
    about: "Kill one or more running containers with a specific signal",
    examples: &["mywebserver", "--signal TERM 860a4b23"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let signal = asked.signal.as_deref().map_or(Ok(Signal::KILL), signal)?;
    let engine = program.engine()?;
    let names = asked.choice.names(&engine, arguments, ALIVE)?;
    each(&names, |name| {
        engine.kill(&Kill { name: name.into(), signal }).map_err(plain)?;
        print(&format!("{name}\n"))
    })
}

/// A signal by number or name; Podman's words for what is none.
fn signal(text: &str) -> Result<Signal, Failure> {
    let text = text.trim_start_matches('-');
    match text.parse::<u64>() {
        Ok(number) if number > 64 => Err(Failure::new("valid signals are 1 through 64")),
        _ => text.parse().map_err(|_| Failure::new(format!("invalid signal: {text}"))),
    }
}
