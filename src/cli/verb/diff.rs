//! `diff`: what a container changed of its image, or an image's top layer of those below.

use super::Verb;
use super::many::latest;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::format::indented;
use crate::program::{Program, plain, print};
use serde_json::json;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    json: bool,
    latest: bool,
}

const FLAGS: &[Flag<Asked>] = &[
    value("format", "string", "Print as JSON (json)", |r, v| {
        if v != "json" {
            return Err(format!("only \"json\" is supported, not {v:?}"));
        }
        r.json = true;
        Ok(())
    }),
    short('l', switch("latest", "Act on the container made last", |r, on| r.latest = on)),
];

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
    let changes = engine.diff(name).map_err(plain)?;
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
