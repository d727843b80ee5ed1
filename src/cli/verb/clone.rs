//! `container clone`: a new container that is as another one.

use super::create_flags::Asked;
use super::{Verb, resource_flags};
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, text};
use crate::program::{Program, plain, print};
use ops::container::{Duplicate, Remove};

const FLAGS: &[Flag<Asked>] = &[
    switch("destroy", "Remove the old container", |r, on| r.destroy = on),
    short('f', switch("force", "With --destroy: also if it runs", |r, on| r.force = on)),
    text("name", "Name of the new container (default: the old one's with \"-clone\")", |r, v| {
        r.create.name = Some(v.into());
    }),
    switch("run", "Start the new container", |r, on| r.run = on),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "container clone",
    usage: "CONTAINER [NAME [IMAGE]]",
    about: "Make a new container that is as an existing one",
    examples: &["web", "--cpus 2 --run web web2", "--destroy web web busybox:latest"],
    interspersed: true,
    flags: &[resource_flags::LIMITS, FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, mut arguments: Vec<String>) -> Result<u8, Failure> {
    if arguments.is_empty() || arguments.len() > 3 {
        return Err(Failure::new("must specify at least 1 argument: a container, and maybe a name and an image"));
    }
    if asked.force && !asked.destroy {
        return Err(Failure::new("cannot set --force without --destroy: invalid argument"));
    }
    let image = if arguments.len() > 2 { arguments.pop() } else { None };
    let named = if arguments.len() > 1 { arguments.pop() } else { None };
    if named.is_some() && asked.create.name.is_some() {
        return Err(Failure::new("the new name is given twice: by --name and as an argument"));
    }
    let name = arguments.remove(0);
    let engine = program.engine()?;
    let old = engine.find(&name).map_err(plain)?;
    if asked.destroy && !asked.force && engine.runs(&name).map_err(plain)? {
        return Err(Failure::new(format!("container {name} runs, and is not removed without --force")));
    }
    let mut new_name = named.or(asked.create.name);
    // A clone may take the name of the one that goes.
    let takes_name = asked.destroy && new_name.as_deref() == Some(&name);
    let set_aside = format!("{name}-{}", old.short());
    if takes_name {
        engine.rename(&name, &set_aside).map_err(plain)?;
        new_name = Some(name.clone());
    }
    let request = Duplicate { name: old.to_string(), new_name, image, resources: asked.create.resources };
    let created = engine.duplicate(&request).map_err(|fault| {
        if takes_name && let Err(also) = engine.rename(&set_aside, &name) {
            return plain(also);
        }
        plain(fault)
    })?;
    if asked.destroy {
        let request = Remove { name: old.to_string(), force: asked.force, ..Remove::default() };
        engine.remove(&request).map_err(plain)?;
    }
    if asked.run {
        let mut session = engine.init(created.id.as_str()).map_err(plain)?;
        engine.start(&mut session).map_err(plain)?;
    }
    print(&format!("{}\n", created.id)).map(|()| 0)
}
