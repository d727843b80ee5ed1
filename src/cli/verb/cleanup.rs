//! `container cleanup`: what a monitor starts when its container has ended and no client takes care of it.

use super::Verb;
use super::many::{Choice, each};
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, text};
use crate::program::{Program, plain, print};
use ops::container::{Remove, Status};

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    choice: Choice,
    exec: Option<String>,
    remove: bool,
    remove_image: bool,
}

const FLAGS: &[Flag<Asked>] = &[
    short('a', switch("all", "Clean up all containers that have ended", |r, on| r.choice.all = on)),
    text("exec", "Clean up this exec session alone, which does so by itself", |r, v| r.exec = Some(v.into())),
    short('l', switch("latest", "Act on the container made last", |r, on| r.choice.latest = on)),
    switch("rm", "Remove the containers too", |r, on| r.remove = on),
    switch("rmi", "Remove their images too", |r, on| r.remove_image = on),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "container cleanup",
    usage: "CONTAINER [CONTAINER...]",
    about: "Free what ended containers held",
    examples: &["ctrID", "--rm ctrID"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let engine = program.engine()?;
    if asked.exec.is_some() {
        if arguments.len() != 1 || asked.choice.all || asked.choice.latest {
            return Err(Failure::new("exec option requires exactly one container"));
        }
        if asked.remove || asked.remove_image {
            return Err(Failure::new("exec option conflicts with --rm and --rmi"));
        }
        // A session leaves nothing behind: all that can be wrong is the container.
        return engine.find(&arguments[0]).map(|_| 0).map_err(plain);
    }
    each(&asked.choice.names(&engine, arguments, &[Status::Exited])?, |name| {
        // A monitor gives the whole id; of a container that is already gone nothing is left to clean up.
        let id = match name.parse() {
            Ok(id) => id,
            Err(_) => engine.find(name).map_err(plain)?,
        };
        engine.cleanup(&id).map_err(plain)?;
        if asked.remove || asked.remove_image {
            let image = if asked.remove_image { engine.image_of(&id).map_err(plain)? } else { None };
            let request = Remove { name: id.to_string(), ignore: true, ..Remove::default() };
            engine.remove(&request).map_err(plain)?;
            if let Some(name) = image {
                engine.remove_image(&ops::image::Remove { name, force: false, ignore: true }).map_err(plain)?;
            }
        }
        print(&format!("{name}\n"))
    })
}
