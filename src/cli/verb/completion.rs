//! `completion`: a script that teaches a shell to complete command lines.

use super::Verb;
use crate::complete::script;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::program::{Program, print};
use std::path::PathBuf;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    file: Option<PathBuf>,
    plain: bool,
}

const FLAGS: &[Flag<Asked>] = &[
    short(
        'f',
        value("file", "string", "Write to this file", |r, v| {
            r.file = Some(v.into());
            Ok(())
        }),
    ),
    switch("no-desc", "Without descriptions of what can be chosen", |r, on| r.plain = on),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "completion",
    usage: "{bash|zsh|fish}",
    about: "Generate a completion script for a shell",
    examples: &["bash > /etc/bash_completion.d/monopod", "zsh -f _monopod", "fish --no-desc"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let [shell] = arguments.as_slice() else {
        return Err(Failure::new("completion takes the name of one shell: bash, zsh or fish"));
    };
    let mut text = script(shell, &program.name)?;
    if asked.plain {
        text = text.replace("__complete ", "__completeNoDesc ");
    }
    match asked.file {
        None => print(&text)?,
        Some(path) => std::fs::write(&path, text).map_err(|e| Failure::new(format!("cannot write {path:?}: {e}")))?,
    }
    Ok(0)
}
