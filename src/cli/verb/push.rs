//! `push`: an image to a registry, or to any other transport.

use super::Verb;
use super::registry_flags::{self, HasAccess};
use super::signing_flags::{self, HasSigning};
use crate::failure::Failure;
use crate::flag::{Flag, integer, short, switch, value};
use crate::program::{Program, plain};
use crate::progress::Progress;
use ops::image::{Access, Push, Signing};

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    push: Push,
    digest_file: Option<String>,
    quiet: bool,
    all_tags: bool,
}

impl HasAccess for Asked {
    fn access(&mut self) -> &mut Access {
        &mut self.push.access
    }
}

impl HasSigning for Asked {
    fn signing(&mut self) -> &mut Signing {
        &mut self.push.signing
    }
}

const FLAGS: &[Flag<Asked>] = &[
    signing_flags::remove(),
    signing_flags::by(),
    signing_flags::by_sigstore(),
    signing_flags::by_sigstore_parameters(),
    signing_flags::by_sequoia(),
    signing_flags::passphrase(),
    registry_flags::auth_file(),
    registry_flags::cert_dir(),
    registry_flags::creds(),
    registry_flags::retry(),
    registry_flags::retry_delay(),
    registry_flags::tls_verify(),
    switch("all-tags", "Push all images of the repository", |r, on| r.all_tags = on),
    value("encryption-key", "string", "Encrypt layers for the holder of this key (jwe:FILE)", |r, v| {
        r.push.encryption.recipients.push(v.into());
        Ok(())
    }),
    value("encrypt-layer", "int", "Encrypt this layer alone (0 is the lowest, -1 the topmost)", |r, v| {
        r.push.encryption.layers.push(integer(v)?);
        Ok(())
    }),
    switch("compress", "Compress plain layers, to a `dir:`", |r, on| r.push.compression.compress = on),
    value("compression-format", "string", "Compress layers by gzip, zstd or zstd:chunked", |r, v| {
        r.push.compression.format = Some(v.into());
        Ok(())
    }),
    value("compression-level", "int", "Level of compression", |r, v| {
        r.push.compression.level = Some(integer(v)?);
        Ok(())
    }),
    value("digestfile", "string", "Write the manifest's digest to this file", |r, v| {
        r.digest_file = Some(v.into());
        Ok(())
    }),
    switch("disable-content-trust", "Accepted for Docker's sake, has no effect", |_, _| {}),
    switch("force-compression", "Compress anew what is compressed in another way", |r, on| {
        r.push.compression.force = Some(on);
    }),
    short(
        'f',
        value("format", "string", "Form of the manifest: oci or v2s2 (default: the one it has)", |r, v| {
            r.push.format = Some(v.into());
            Ok(())
        }),
    ),
    short('q', switch("quiet", "Print no progress", |r, on| r.quiet = on)),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "push",
    usage: "IMAGE [DESTINATION]",
    about: "Push an image to a registry, an archive or a directory",
    examples: &["busybox quay.io/me/busybox", "busybox oci-archive:image.tar:name"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let (image, destination) = match arguments.as_slice() {
        [image] => (image.clone(), None),
        [image, destination] => (image.clone(), Some(destination.clone())),
        other => return Err(Failure::new(format!("accepts between 1 and 2 arg(s), received {}", other.len()))),
    };
    let request = Push { image, destination, ..asked.push };
    let progress = Progress::new(asked.quiet);
    if asked.all_tags && asked.digest_file.is_some() {
        return Err(Failure::new("--digestfile is for one image, and cannot be used with --all-tags"));
    }
    let engine = program.engine()?;
    let mut pushed = None;
    for request in engine.push_names(&request, asked.all_tags).map_err(plain)? {
        pushed = Some(engine.push(&request, &|step| progress.tell(step)).map_err(plain)?);
    }
    if let (Some(path), Some(pushed)) = (asked.digest_file, pushed) {
        std::fs::write(&path, pushed.digest.to_string())
            .map_err(|e| Failure::new(format!("cannot write the digest to {path:?}: {e}")))?;
    }
    Ok(0)
}
