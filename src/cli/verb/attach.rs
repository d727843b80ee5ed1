//! `attach`: joins a running container's streams.

use super::Verb;
use super::many::latest;
use super::run::keys;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::program::{Program, plain};
use crate::stream::{Carrier, End, Streams};

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    detach_keys: Option<String>,
    latest: bool,
    no_input: bool,
    signal_proxy: Option<bool>,
}

const FLAGS: &[Flag<Asked>] = &[
    value("detach-keys", "string", "Keys that detach (default \"ctrl-p,ctrl-q\")", |r, v| {
        r.detach_keys = Some(v.into());
        Ok(())
    }),
    short('l', switch("latest", "Act on the container made last", |r, on| r.latest = on)),
    switch("no-stdin", "Do not pass standard input on", |r, on| r.no_input = on),
    switch("sig-proxy", "Pass signals to the container (default true)", |r, on| r.signal_proxy = Some(on)),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "attach",
    usage: "CONTAINER",
    about: "Attach to a running container",
    examples: &["ctrID", "--no-stdin ctrID"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    if arguments.len() > 1 || (asked.latest && !arguments.is_empty()) {
        return Err(Failure::new(format!("`{} attach` accepts at most one argument", program.name)));
    }
    let engine = program.engine()?;
    let name = match arguments.into_iter().next() {
        Some(name) => name,
        None if asked.latest => latest(&engine)?.id.to_string(),
        None => return Err(Failure::new("attach requires the name or id of one running container or the latest flag")),
    };
    let streams = Streams {
        input: !asked.no_input,
        output: true,
        errors: true,
        signals: asked.signal_proxy.unwrap_or(true),
        keys: keys(asked.detach_keys.as_deref())?,
    };
    let session = engine.attach(&name).map_err(plain)?;
    let id = session.container.clone();
    match Carrier::new(&engine, session, streams)?.carry()? {
        End::Exited(code) => Ok(code as u8),
        End::Detached => Ok(0),
        End::Left { code, .. } => Ok(code),
        End::Lost => Ok(engine.wait(id.as_str()).map_err(plain)?.code as u8),
    }
}
