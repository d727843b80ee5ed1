//! `import`: the files of a tar archive become an image.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::program::{Program, plain, print};
use ops::image::Import;

const FLAGS: &[Flag<Import>] = &[
    value("arch", "string", "Architecture of the image", |r, v| {
        r.architecture = Some(v.into());
        Ok(())
    }),
    short(
        'c',
        value("change", "string", "Apply an instruction of a Containerfile, as in CMD=/bin/sh", |r, v| {
            r.changes.push(v.into());
            Ok(())
        }),
    ),
    short(
        'm',
        value("message", "string", "Remark in the history of the image", |r, v| {
            r.message = v.into();
            Ok(())
        }),
    ),
    value("os", "string", "Operating system of the image", |r, v| {
        r.os = Some(v.into());
        Ok(())
    }),
    // Nothing is ever said but the id.
    short('q', switch("quiet", "Say nothing of what is being done", |_, _| {})),
    value("variant", "string", "Variant of the architecture", |r, v| {
        r.variant = Some(v.into());
        Ok(())
    }),
];

/// The verb.
pub const VERB: Verb<Import> = Verb {
    path: "import",
    usage: "PATH|URL|- [NAME]",
    about: "Import a tarball to create a filesystem image",
    examples: &["http://example.com/ctr.tar url-image", "-c CMD=/bin/sh -c 'ENV A=b' ctr.tar image-imported"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Import, arguments: Vec<String>) -> Result<u8, Failure> {
    let mut arguments = arguments.into_iter();
    let (source, name, more) = (arguments.next(), arguments.next(), arguments.next());
    if source.is_none() {
        return Err(Failure::new("need to give the path to the tarball, or must specify a tarball of '-' for stdin"));
    }
    if more.is_some() {
        return Err(Failure::new("too many arguments. Usage TARBALL [REFERENCE]"));
    }
    let id = program.engine()?.import(&Import { source, name, ..asked }).map_err(plain)?;
    print(&format!("{id}\n")).map(|()| 0)
}
