//! `save`: images into an archive or a directory.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::program::{Program, plain};
use crate::progress::Progress;
use ops::image::Save;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    save: Save,
    quiet: bool,
}

const FLAGS: &[Flag<Asked>] = &[
    switch("compress", "Compress plain layers, with --format docker-dir", |r, on| r.save.compress = on),
    value("format", "string", "docker-archive (default), oci-archive, oci-dir, docker-dir", |r, v| {
        r.save.format = Some(v.into());
        Ok(())
    }),
    short('m', switch("multi-image-archive", "Each argument is an image", |r, on| r.save.several = on)),
    short(
        'o',
        value("output", "string", "Write to this file or directory instead of standard output", |r, v| {
            if v.is_empty() {
                return Err("a file name is missing".into());
            }
            r.save.output = Some(v.into());
            Ok(())
        }),
    ),
    value("platform", "string", "Of a list, save the image for this platform (os/arch[/variant])", |r, v| {
        r.save.platform = Some(v.into());
        Ok(())
    }),
    short('q', switch("quiet", "Print no progress", |r, on| r.quiet = on)),
    switch("uncompressed", "Leave plain layers plain in the OCI formats", |r, on| r.save.uncompressed = on),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "save",
    usage: "IMAGE [NAME...]",
    about: "Save images to an archive or a directory",
    examples: &["-o image.tar busybox", "--format oci-archive -o image.tar busybox", "-m -o all.tar one two"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    if arguments.is_empty() {
        return Err(Failure::new("requires at least 1 arg(s), only received 0"));
    }
    let format = asked.save.format.as_deref().unwrap_or("docker-archive");
    if asked.save.compress && format != "docker-dir" {
        return Err(Failure::new("--compress can only be set when --format is 'docker-dir'"));
    }
    if asked.save.several && format != "docker-archive" {
        return Err(Failure::new("--multi-image-archive can only be set when --format is 'docker-archive'"));
    }
    if asked.save.output.is_none() && sys::terminal::is_terminal(rustix::stdio::stdout()) {
        return Err(Failure::new("refusing to save to terminal. Use -o flag or redirect"));
    }
    let request = Save { images: arguments, ..asked.save };
    let progress = Progress::new(asked.quiet);
    let engine = program.engine()?;
    engine.save(&request, Box::new(std::io::stdout()), &|step| progress.tell(step)).map_err(plain)?;
    Ok(0)
}
