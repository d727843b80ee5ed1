//! `export`: all files of a container as a tar archive.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, short, value};
use crate::program::{Program, plain};
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::PathBuf;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    output: Option<PathBuf>,
}

const FLAGS: &[Flag<Asked>] = &[short(
    'o',
    value("output", "file", "Write to this file (default: standard output, which must be redirected)", |r, v| {
        r.output = Some(v.into());
        Ok(())
    }),
)];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "export",
    usage: "CONTAINER",
    about: "Export container's filesystem contents as a tar archive",
    examples: &["mycontainer > files.tar", "--output files.tar mycontainer"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let [name] = arguments.as_slice() else {
        return Err(Failure::new("export takes the name of one container"));
    };
    let engine = program.engine()?;
    let failed = |e: std::io::Error| Failure::new(format!("cannot write the archive: {e}"));
    let Some(path) = asked.output else {
        if std::io::stdout().is_terminal() {
            return Err(Failure::new("refusing to export to terminal. Use -o flag or redirect"));
        }
        let mut output = BufWriter::with_capacity(1 << 18, std::io::stdout());
        engine.export(name, &mut output).map_err(plain)?;
        return output.flush().map_err(failed).map(|()| 0);
    };
    // A name that names nothing leaves no file behind.
    engine.runs(name).map_err(plain)?;
    let file = File::create(&path).map_err(|e| Failure::new(format!("cannot create {path:?}: {e}")))?;
    // What was there and is no file (a device, a pipe) is not ours to remove.
    let ours = file.metadata().is_ok_and(|meta| meta.is_file());
    let mut output = BufWriter::with_capacity(1 << 18, file);
    let done = engine.export(name, &mut output).map_err(plain).and_then(|()| output.flush().map_err(failed));
    if done.is_err() && ours {
        // Half an archive is none; if it cannot be removed either, the error says what happened.
        let _ = std::fs::remove_file(&path);
    }
    done.map(|()| 0)
}
