//! `rm`: removes containers.

use super::Verb;
use super::many::{ANY, Choice, each};
use crate::failure::Failure;
use crate::flag::{Flag, integer, list, short, switch, value};
use crate::program::{Program, plain, print};
use engine::Engine;
use ops::Kind;
use ops::container::Remove;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    choice: Choice,
    depend: bool,
    force: bool,
    timeout: Option<u32>,
    volumes: bool,
}

const FLAGS: &[Flag<Asked>] = &[
    short('a', switch("all", "Remove all containers", |r, on| r.choice.all = on)),
    value("cidfile", "string", "Read the container's id from this file", |r, v| {
        r.choice.id_files.push(v.into());
        Ok(())
    }),
    switch("depend", "Remove the containers that need it first", |r, on| r.depend = on),
    list("filter", "Remove the containers that these conditions choose", |r, v| r.choice.filters.push(v)),
    short('f', switch("force", "Remove running and unusable containers too", |r, on| r.force = on)),
    short('i', switch("ignore", "A container that does not exist is no error", |r, on| r.choice.ignore = on)),
    short('l', switch("latest", "Act on the container made last", |r, on| r.choice.latest = on)),
    short(
        't',
        value("time", "int", "Seconds between the stop signal and SIGKILL; implies --force", |r, v| {
            r.timeout = Some(if v == "-1" { u32::MAX } else { integer(v)? });
            Ok(())
        }),
    ),
    short('v', switch("volumes", "Remove the container's anonymous volumes too", |r, on| r.volumes = on)),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "rm",
    usage: "CONTAINER [CONTAINER...]",
    about: "Remove one or more containers",
    examples: &["mywebserver", "--force --all"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    if asked.timeout.is_some() && !asked.force {
        return Err(Failure::new("--force option must be specified to use the --time option"));
    }
    let engine = program.engine()?;
    let mut names = asked.choice.names(&engine, arguments, ANY)?;
    if asked.depend {
        names = with_dependents(&engine, &names)?;
    }
    // One that is needed by another of them can go after that one.
    let mut waiting = Vec::new();
    let one = |name: &str| {
        let ignore = asked.choice.ignore || asked.force || asked.depend || asked.choice.chosen();
        let request =
            Remove { name: name.into(), force: asked.force, timeout: asked.timeout, ignore, volumes: asked.volumes };
        match engine.remove(&request) {
            Ok(Some(_)) => print(&format!("{name}\n")),
            Ok(None) => Ok(()),
            Err(fault) => {
                // podman-rm(1), "Exit Status": 1 if there is no such container, 2 if it is running or paused.
                let code = match fault.kind {
                    Kind::NotFound => 1,
                    Kind::Conflict if fault.message.contains("has dependent containers") => 125,
                    Kind::Conflict => 2,
                    _ => 125,
                };
                Err(Failure::from(fault).code(code))
            }
        }
    };
    let several = names.len() > 1;
    let named = several && !asked.choice.chosen() && !asked.depend;
    let first = each(&names, |name| match named && engine.dependents(name).is_ok_and(|needing| !needing.is_empty()) {
        true => {
            waiting.push(name.to_owned());
            Ok(())
        }
        false => one(name),
    });
    match (first, each(&waiting, one)) {
        (Ok(_), second) => second,
        (first, Ok(_)) => first,
        (Err(first), Err(second)) => Err(Failure { messages: [first.messages, second.messages].concat(), ..second }),
    }
}

/// The containers and all that need them, those that are needed last.
fn with_dependents(engine: &Engine, names: &[String]) -> Result<Vec<String>, Failure> {
    let mut all: Vec<String> = Vec::new();
    let mut open: Vec<String> = names.to_vec();
    while let Some(name) = open.pop() {
        if engine.exists(&name).map_err(plain)? {
            open.extend(engine.dependents(&name).map_err(plain)?.iter().map(ToString::to_string));
        }
        all.retain(|known| *known != name);
        all.push(name);
    }
    all.reverse();
    Ok(all)
}
