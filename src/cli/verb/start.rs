//! `start`: starts containers that were made before; with `-a` or `-i`, stays with one.

use super::Verb;
use super::many::{Choice, each};
use super::run::keys;
use crate::failure::Failure;
use crate::flag::{Flag, list, short, switch, value};
use crate::program::{Program, plain, print};
use crate::stream::{Carrier, Streams};
use engine::Engine;
use ops::container::Status;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    choice: Choice,
    attach: bool,
    interactive: bool,
    detach_keys: Option<String>,
    signal_proxy: Option<bool>,
}

const FLAGS: &[Flag<Asked>] = &[
    switch("all", "Start all containers that do not run", |r, on| r.choice.all = on),
    short('a', switch("attach", "Stay with the container and print its output", |r, on| r.attach = on)),
    value("detach-keys", "string", "Keys that detach (default \"ctrl-p,ctrl-q\")", |r, v| {
        r.detach_keys = Some(v.into());
        Ok(())
    }),
    short('f', list("filter", "Start the containers that these conditions choose", |r, v| r.choice.filters.push(v))),
    short('i', switch("interactive", "Pass standard input on, and stay", |r, on| r.interactive = on)),
    short('l', switch("latest", "Act on the container made last", |r, on| r.choice.latest = on)),
    switch("sig-proxy", "Pass signals to the container (default true with --attach)", |r, on| {
        r.signal_proxy = Some(on);
    }),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "start",
    usage: "CONTAINER [CONTAINER...]",
    about: "Start one or more containers",
    examples: &["860a4b23", "--interactive --attach imageID"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let stays = asked.attach || asked.interactive;
    let chosen = asked.choice.chosen();
    if arguments.is_empty() && !chosen {
        return Err(Failure::new("start requires at least one argument"));
    }
    if asked.choice.all && !arguments.is_empty() {
        return Err(Failure::new("either start all containers or the container(s) provided in the arguments"));
    }
    if stays && asked.choice.all {
        return Err(Failure::new("you cannot start and attach all containers at once"));
    }
    if stays && arguments.len() > 1 {
        return Err(Failure::new("you cannot start and attach multiple containers at once"));
    }
    if asked.signal_proxy == Some(true) && !asked.attach {
        return Err(Failure::new("you cannot use sig-proxy without --attach: invalid argument"));
    }
    let engine = program.engine()?;
    const STOPPED: &[Status] = &[Status::Created, Status::Initialized, Status::Exited];
    let names = asked.choice.names(&engine, arguments, STOPPED)?;
    if stays {
        return match names.as_slice() {
            [name] => attached(&engine, name, &asked),
            [] => Ok(0),
            _ => Err(Failure::new("you cannot start and attach multiple containers at once")),
        };
    }
    each(&names, |name| {
        // One that runs already is left alone, also where its monitor was killed and cannot be asked.
        if !engine.runs(name).map_err(plain)? {
            let mut session = engine.init(name).map_err(plain)?;
            engine.start(&mut session).map_err(plain)?;
        }
        print(&format!("{name}\n"))
    })
}

fn attached(engine: &Engine, name: &str, asked: &Asked) -> Result<u8, Failure> {
    let streams = Streams {
        input: asked.interactive,
        output: true,
        errors: true,
        signals: asked.signal_proxy.unwrap_or(true),
        keys: keys(asked.detach_keys.as_deref())?,
    };
    let session = engine.init(name)?;
    let id = session.container.clone();
    let mut carrier = Carrier::new(engine, session, streams)?;
    carrier.will_clean_up();
    carrier.start()?;
    super::run::stay(engine, &id, carrier)
}
