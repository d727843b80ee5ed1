//! `pull`: brings images from a registry, an archive or a directory.

use super::Verb;
use super::many::each;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::program::{Program, note, plain, print};
use ops::image::Pull;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    pull: Pull,
    quiet: bool,
}

const FLAGS: &[Flag<Asked>] = &[
    value("authfile", "string", "File with credentials of registries", |r, v| {
        r.pull.auth_file = Some(v.into());
        Ok(())
    }),
    value("creds", "[username[:password]]", "Credentials for the registry", |r, v| {
        r.pull.credentials = Some(v.into());
        Ok(())
    }),
    value("platform", "string", "Take the image for this platform (os/arch[/variant])", |r, v| {
        r.pull.platform = Some(v.into());
        Ok(())
    }),
    value("policy", "string", "When to pull: always, missing, never, newer (default always)", |r, v| {
        r.pull.policy = Some(v.into());
        Ok(())
    }),
    short('q', switch("quiet", "Print only the image's id", |r, on| r.quiet = on)),
    switch("tls-verify", "Demand TLS and check certificates (default true)", |r, on| r.pull.tls_verify = Some(on)),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "pull",
    usage: "IMAGE [IMAGE...]",
    about: "Pull an image from a registry",
    examples: &["quay.io/podman/hello", "oci-archive:image.tar"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    if arguments.is_empty() {
        return Err(Failure::new("requires at least 1 arg(s), only received 0"));
    }
    let engine = program.engine()?;
    each(&arguments, |source| {
        let request = Pull { source: source.to_owned(), ..asked.pull.clone() };
        let loaded = engine.pull(&request, &mut |line| {
            if !asked.quiet {
                note(line);
            }
        });
        print(&format!("{}\n", loaded.map_err(plain)?.id.hex()))
    })
}
