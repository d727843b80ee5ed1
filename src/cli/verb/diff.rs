//! `diff`: what a container changed of its image, or an image's top layer of those below.

use super::Verb;
use super::many::latest;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::format::indented;
use crate::program::{Program, plain, print};
use ops::container::Change;
use serde_json::json;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    json: bool,
    latest: bool,
}

const FORMAT: Flag<Asked> = value("format", "string", "Print as JSON (json)", |r: &mut Asked, v| {
    if v != "json" {
        return Err(format!("only \"json\" is supported, not {v:?}"));
    }
    r.json = true;
    Ok(())
});

const FLAGS: &[Flag<Asked>] =
    &[FORMAT, short('l', switch("latest", "Act on the container made last", |r, on| r.latest = on))];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "diff",
    usage: "{CONTAINER|IMAGE}",
    about: "Display the changes to the object's file system",
    examples: &["mycontainer", "--format json redis:alpine"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

/// `image diff`.
pub const IMAGE: Verb<Asked> = Verb {
    path: "image diff",
    usage: "IMAGE",
    about: "Display the changes that the top layer of an image makes",
    examples: &["redis:alpine", "--format json redis:alpine"],
    interspersed: true,
    flags: &[&[FORMAT]],
    execute: |program, asked, arguments| {
        let [name] = arguments.as_slice() else {
            return Err(Failure::new("image diff needs the name of an image"));
        };
        show(&asked, &program.engine()?.image_diff(name).map_err(plain)?)
    },
};

fn execute(program: &Program, asked: Asked, mut arguments: Vec<String>) -> Result<u8, Failure> {
    let engine = program.engine()?;
    if asked.latest && arguments.is_empty() {
        arguments.push(latest(&engine)?.id.to_string());
    }
    let [name] = arguments.as_slice() else {
        return Err(Failure::new(if arguments.is_empty() {
            "diff needs the name of a container or image"
        } else {
            "comparing two containers or images with each other is not supported: diff takes one name"
        }));
    };
    show(&asked, &engine.diff(name).map_err(plain)?)
}

fn show(asked: &Asked, changes: &[Change]) -> Result<u8, Failure> {
    if asked.json {
        let of = |kind| changes.iter().filter(|c| c.kind == kind).map(|c| c.path.as_str()).collect::<Vec<_>>();
        let mut document = serde_json::Map::new();
        for (key, kind) in [("changed", 'C'), ("added", 'A'), ("deleted", 'D')] {
            if !of(kind).is_empty() {
                document.insert(key.into(), json!(of(kind)));
            }
        }
        return print(&format!("{}\n", indented(&document, b"     "))).map(|()| 0);
    }
    let text: String = changes.iter().map(|c| format!("{} {}\n", c.kind, c.path)).collect();
    print(&text).map(|()| 0)
}
