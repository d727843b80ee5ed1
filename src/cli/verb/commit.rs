//! `commit`: makes an image of a container.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::program::{Program, plain, print};
use ops::container::Commit;
use std::path::PathBuf;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    commit: Commit,
    id_file: Option<PathBuf>,
}

const FLAGS: &[Flag<Asked>] = &[
    short(
        'a',
        value("author", "string", "Author of the image", |r, v| {
            r.commit.author = v.into();
            Ok(())
        }),
    ),
    short(
        'c',
        value("change", "string", "Apply an instruction of a Containerfile, as in CMD=/bin/sh", |r, v| {
            r.commit.changes.push(v.into());
            Ok(())
        }),
    ),
    value("config", "file", "Put the configuration in this file (Docker's, as JSON) over the container's", |r, v| {
        let text = std::fs::read_to_string(v).map_err(|e| e.to_string())?;
        r.commit.configuration = Some(text);
        Ok(())
    }),
    short(
        'f',
        value("format", "string", "Format of the manifest: oci or docker (default \"oci\")", |r, v| {
            r.commit.docker = match v {
                "oci" => false,
                "docker" => true,
                _ => return Err(format!("unrecognized image format {v:?}: use oci or docker")),
            };
            Ok(())
        }),
    ),
    value("iidfile", "file", "Write the image's id to this file", |r, v| {
        r.id_file = Some(v.into());
        Ok(())
    }),
    switch("include-volumes", "Volumes of the container become volumes of the image", |r, on| {
        r.commit.include_volumes = on;
    }),
    short(
        'm',
        value("message", "string", "Remark in the history of the image", |r, v| {
            r.commit.message = v.into();
            Ok(())
        }),
    ),
    short('p', switch("pause", "Pause the container while it is read", |r, on| r.commit.pause = on)),
    // Nothing is ever said but the id.
    short('q', switch("quiet", "Say nothing of what is being done", |_, _| {})),
    short('s', switch("squash", "Make one layer of all", |r, on| r.commit.squash = on)),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "commit",
    usage: "CONTAINER [IMAGE]",
    about: "Create new image based on the changed container",
    examples: &["-q --message \"with the tools\" mycontainer myimage", "--change CMD=/bin/sh mycontainer myimage"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, mut arguments: Vec<String>) -> Result<u8, Failure> {
    let mut commit = asked.commit;
    (commit.image, commit.name) = match arguments.len() {
        1 => (None, arguments.remove(0)),
        2 => (arguments.pop(), arguments.remove(0)),
        _ => return Err(Failure::new("commit takes a container and, if it is to have one, a name for the image")),
    };
    let engine = program.engine()?;
    let id = engine.commit(&commit).map_err(plain)?;
    if let Some(path) = asked.id_file {
        std::fs::write(&path, id.hex())
            .map_err(|e| Failure::new(format!("failed to write image ID to file {path:?}: {e}")))?;
    }
    print(&format!("{}\n", id.hex())).map(|()| 0)
}
