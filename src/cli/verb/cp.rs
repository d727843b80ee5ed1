//! `cp`: copies files between a container and the host.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch};
use crate::program::{Program, plain};
use engine::Engine;
use ops::Kind;
use ops::container::{Copy, Location};
use std::io::{IsTerminal, Write};

/// What the flags fill.
pub struct Asked {
    archive: bool,
    overwrite: bool,
}

impl Default for Asked {
    fn default() -> Asked {
        Asked { archive: true, overwrite: false }
    }
}

const FLAGS: &[Flag<Asked>] = &[
    short(
        'a',
        switch("archive", "What comes into a container belongs to its user (default true)", |r, on| r.archive = on),
    ),
    switch("pause", "Deprecated: nothing has to be paused for a copy", |_, _| {}),
    switch("overwrite", "Let a file take the place of a directory, and the other way round", |r, on| r.overwrite = on),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "cp",
    usage: "[CONTAINER:]SRC_PATH [CONTAINER:]DEST_PATH",
    about: "Copy files/folders between a container and the local filesystem",
    examples: &["web:/etc/hosts .", "page.html web:/srv/", "web:/srv - > srv.tar"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let [from, to] = arguments.as_slice() else {
        return Err(Failure::new("cp takes a source and a destination: [CONTAINER:]SRC_PATH [CONTAINER:]DEST_PATH"));
    };
    let engine = program.engine()?;
    let copy = Copy {
        from: location(&engine, from)?,
        to: location(&engine, to)?,
        archive: asked.archive,
        overwrite: asked.overwrite,
    };
    if copy.to == Location::Stream && std::io::stdout().is_terminal() {
        return Err(Failure::new("refusing to write an archive to a terminal: redirect the standard output"));
    }
    let mut output = std::io::BufWriter::with_capacity(1 << 18, std::io::stdout());
    engine.copy(&copy, &mut std::io::stdin(), &mut output).map_err(plain)?;
    output.flush().map_err(|e| Failure::new(format!("cannot write the output: {e}")))?;
    Ok(0)
}

/// `CONTAINER:PATH` if there is such a container, else a path of the host; `-` is a stream.
fn location(engine: &Engine, text: &str) -> Result<Location, Failure> {
    if text == "-" {
        return Ok(Location::Stream);
    }
    let host = || Location::Host(text.to_owned());
    if text.starts_with(['/', '.']) {
        return Ok(host());
    }
    let Some((name, path)) = text.split_once(':') else { return Ok(host()) };
    match engine.runs(name) {
        Ok(_) => Ok(Location::Container { name: name.to_owned(), path: path.to_owned() }),
        // A file whose name holds a colon.
        Err(fault) if fault.kind == Kind::NotFound && std::fs::symlink_metadata(text).is_ok() => Ok(host()),
        Err(fault) => Err(plain(fault)),
    }
}
