//! `pull`: brings images from a registry, an archive or a directory.

use super::Verb;
use super::many::each;
use super::registry_flags::{self, HasAccess};
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::program::{Program, plain, print};
use crate::progress::Progress;
use ops::image::{Access, Pull};

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    pull: Pull,
    quiet: bool,
    architecture: Option<String>,
    os: Option<String>,
    variant: Option<String>,
}

impl HasAccess for Asked {
    fn access(&mut self) -> &mut Access {
        &mut self.pull.access
    }
}

const FLAGS: &[Flag<Asked>] = &[
    registry_flags::auth_file(),
    registry_flags::cert_dir(),
    registry_flags::creds(),
    registry_flags::decryption_key(),
    registry_flags::retry(),
    registry_flags::retry_delay(),
    registry_flags::signature_policy(),
    registry_flags::tls_verify(),
    switch("disable-content-trust", "Accepted for Docker's sake, has no effect", |_, _| {}),
    short('a', switch("all-tags", "Pull all tags of the repository", |r, on| r.pull.all_tags = on)),
    value("arch", "string", "Take the image for this architecture", |r, v| {
        r.architecture = Some(v.into());
        Ok(())
    }),
    value("os", "string", "Take the image for this operating system", |r, v| {
        r.os = Some(v.into());
        Ok(())
    }),
    value("variant", "string", "Take the image for this variant of the architecture", |r, v| {
        r.variant = Some(v.into());
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
    switch("no-blobs", registry_flags::NO_BLOBS, |r, on| r.pull.no_blobs = Some(on)),
    short('q', switch("quiet", "Print only the image's id", |r, on| r.quiet = on)),
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
    let parts = super::copy::platform(asked.os, asked.architecture, asked.variant);
    if parts.is_some() && asked.pull.platform.is_some() {
        return Err(Failure::new("--platform option can not be specified with --arch, --os or --variant"));
    }
    let pull = Pull { platform: asked.pull.platform.clone().or(parts), ..asked.pull };
    let engine = program.engine()?;
    let progress = Progress::new(asked.quiet);
    each(&arguments, |source| {
        let request = Pull { source: source.to_owned(), ..pull.clone() };
        for name in engine.pull_names(&request).map_err(plain)? {
            let loaded = engine.pull(&Pull { source: name, ..request.clone() }, &|step| progress.tell(step));
            print(&format!("{}\n", loaded.map_err(plain)?.id.hex()))?;
        }
        Ok(())
    })
}
