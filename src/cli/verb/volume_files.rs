//! `volume export`, `import`, `mount`, `unmount`, `reload`.

use super::Verb;
use super::many::each;
use crate::failure::Failure;
use crate::flag::{Flag, short, value};
use crate::program::{Program, plain, print};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// What the flags of `volume export` fill.
#[derive(Default)]
pub struct Exported {
    output: Option<PathBuf>,
}

const EXPORT_FLAGS: &[Flag<Exported>] = &[short(
    'o',
    value("output", "string", "Write to this file (default: standard output)", |r: &mut Exported, v| {
        r.output = Some(v.into());
        Ok(())
    }),
)];

/// `volume export`.
pub const EXPORT: Verb<Exported> = Verb {
    path: "volume export",
    usage: "VOLUME",
    about: "Export the files of a volume as a tar archive",
    examples: &["--output data.tar data"],
    interspersed: true,
    flags: &[EXPORT_FLAGS],
    execute: |program, asked, names| {
        let [name] = names.as_slice() else {
            return Err(Failure::new(format!("accepts 1 arg(s), received {}", names.len())));
        };
        let engine = program.engine()?;
        let mut output: Box<dyn Write> = match &asked.output {
            Some(path) => {
                engine.volume(name).map_err(plain)?;
                Box::new(File::create(path).map_err(|e| Failure::new(format!("cannot create {path:?}: {e}")))?)
            }
            None if std::io::stdout().is_terminal() => {
                return Err(Failure::new("cannot write a tar archive to a terminal: use --output or redirect"));
            }
            None => Box::new(std::io::stdout().lock()),
        };
        engine.export_volume(name, &mut output).map_err(plain)?;
        output.flush().map_err(|e| Failure::new(format!("cannot write the archive: {e}")))?;
        Ok(0)
    },
};

/// `volume import`.
pub const IMPORT: Verb<()> = Verb {
    path: "volume import",
    usage: "VOLUME [SOURCE]",
    about: "Put the files of a tar archive into a volume",
    examples: &["data data.tar", "data - < data.tar"],
    interspersed: true,
    flags: &[],
    execute: |program, (), arguments| {
        let (name, source) = match arguments.as_slice() {
            [name] => (name, "-"),
            [name, source] => (name, source.as_str()),
            other => return Err(Failure::new(format!("accepts 2 arg(s), received {}", other.len()))),
        };
        let engine = program.engine()?;
        if source == "-" {
            engine.import_volume(name, &mut std::io::stdin().lock()).map_err(plain)?;
        } else {
            let mut file = File::open(source).map_err(|e| Failure::new(format!("open {source}: {e}")))?;
            engine.import_volume(name, &mut file).map_err(plain)?;
        }
        Ok(0)
    },
};

/// `volume mount`.
pub const MOUNT: Verb<()> = Verb {
    path: "volume mount",
    usage: "NAME [NAME...]",
    about: "Mount what volumes are made of, and print where",
    examples: &["data"],
    interspersed: true,
    flags: &[],
    execute: |program, (), names| {
        let engine = named(program, &names)?;
        each(&names, |name| print(&format!("{}\n", engine.mount_volume(name).map_err(plain)?)))
    },
};

/// `volume unmount`.
pub const UNMOUNT: Verb<()> = Verb {
    path: "volume unmount",
    usage: "NAME [NAME...]",
    about: "Unmount what volumes are made of, unless a running container uses it",
    examples: &["data"],
    interspersed: true,
    flags: &[],
    execute: |program, (), names| {
        let engine = named(program, &names)?;
        each(&names, |name| print(&format!("{}\n", engine.unmount_volume(name).map_err(plain)?)))
    },
};

/// `volume reload`: there are no plugins whose volumes could have changed.
pub const RELOAD: Verb<()> = Verb {
    path: "volume reload",
    usage: "",
    about: "Finish removals of volumes that were interrupted (there are no volume plugins)",
    examples: &[""],
    interspersed: true,
    flags: &[],
    execute: |program, (), names| {
        if !names.is_empty() {
            return Err(Failure::new("volume reload takes no arguments"));
        }
        program.engine()?.reload_volumes().map_err(plain)?;
        Ok(0)
    },
};

fn named(program: &Program, names: &[String]) -> Result<engine::Engine, Failure> {
    if names.is_empty() {
        return Err(Failure::new("requires at least 1 arg(s), only received 0"));
    }
    program.engine()
}
