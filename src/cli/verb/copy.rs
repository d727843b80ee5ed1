//! `copy` and `list-tags`: Skopeo's verbs, images from one place to another without the store.

use super::Verb;
use super::registry_flags::{self, HasAccess};
use super::signing_flags::{self, HasSigning};
use crate::failure::Failure;
use crate::flag::{Flag, integer, list, short, switch, value};
use crate::program::{Program, plain, print};
use crate::progress::Progress;
use ops::image::{Access, Copy, CopyMany, Signing, Tags};
use std::time::Duration;
use types::Platform;

/// What the flags of `copy` fill.
#[derive(Default)]
pub struct Asked {
    /// How images are copied.
    pub copy: Copy,
    /// What `sync` is asked beside that.
    pub sync: CopyMany,
    digest_file: Option<String>,
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
    quiet: bool,
}

impl HasSigning for Asked {
    fn signing(&mut self) -> &mut Signing {
        &mut self.copy.signing
    }
}

/// Flags that `sync` has, too.
pub const SHARED: &[Flag<Asked>] = &[
    signing_flags::remove(),
    signing_flags::by(),
    signing_flags::by_sigstore(),
    signing_flags::by_sigstore_parameters(),
    signing_flags::passphrase(),
    short('a', switch("all", "Copy an image for several platforms whole", |r, on| r.copy.all = on)),
    value("authfile", "string", "File with credentials of registries", |r, v| {
        r.copy.from.auth_file = Some(v.into());
        r.copy.to.auth_file = Some(v.into());
        Ok(())
    }),
    value("dest-authfile", "string", "The same for the destination", |r, v| {
        r.copy.to.auth_file = Some(v.into());
        Ok(())
    }),
    value("dest-cert-dir", "string", "Directory with certificates for the destination", |r, v| {
        r.copy.to.certificates = Some(v.into());
        Ok(())
    }),
    value("dest-creds", "username[:password]", "Credentials for the destination", |r, v| {
        r.copy.to.credentials = Some(v.into());
        Ok(())
    }),
    switch("dest-no-creds", "Show the destination no credentials", |r, on| r.copy.to.anonymous = on),
    value("dest-password", "string", "Password of the destination (all users can see it)", |r, v| {
        registry_flags::set_password(&mut r.copy.to, v);
        Ok(())
    }),
    value("dest-username", "string", "User of the destination", |r, v| {
        registry_flags::set_user(&mut r.copy.to, v);
        Ok(())
    }),
    switch("dest-tls-verify", "Demand TLS of the destination (default true)", |r, on| r.copy.to.tls_verify = Some(on)),
    short(
        'f',
        value("format", "string", "Form of the manifest: oci or v2s2 (default: the one it has)", |r, v| {
            r.copy.format = Some(v.into());
            Ok(())
        }),
    ),
    switch("preserve-digests", "Fail rather than change the manifest", |r, on| r.copy.preserve_digests = on),
    value("retry-times", "int", "How often a request that failed is tried again (default 3)", |r, v| {
        let times = integer(v)?;
        r.copy.from.retry = Some(times);
        r.copy.to.retry = Some(times);
        Ok(())
    }),
    value("retry-delay", "string", "How long to wait before that, e.g. 2s", |r, v| {
        let delay: Duration = types::span::parse(v).map_err(|e| e.to_string())?;
        r.copy.from.retry_delay = Some(delay);
        r.copy.to.retry_delay = Some(delay);
        Ok(())
    }),
    value("src-authfile", "string", "File with credentials for the source", |r, v| {
        r.copy.from.auth_file = Some(v.into());
        Ok(())
    }),
    value("src-cert-dir", "string", "Directory with certificates for the source", |r, v| {
        r.copy.from.certificates = Some(v.into());
        Ok(())
    }),
    value("src-creds", "username[:password]", "Credentials for the source", |r, v| {
        r.copy.from.credentials = Some(v.into());
        Ok(())
    }),
    switch("src-no-creds", "Show the source no credentials", |r, on| r.copy.from.anonymous = on),
    value("src-password", "string", "Password of the source (all users can see it)", |r, v| {
        registry_flags::set_password(&mut r.copy.from, v);
        Ok(())
    }),
    value("src-username", "string", "User of the source", |r, v| {
        registry_flags::set_user(&mut r.copy.from, v);
        Ok(())
    }),
    switch("src-tls-verify", "Demand TLS of the source (default true)", |r, on| r.copy.from.tls_verify = Some(on)),
];

const FLAGS: &[Flag<Asked>] = &[
    value("encryption-key", "string", "Encrypt layers for the holder of this key (jwe:FILE)", |r, v| {
        r.copy.encryption.recipients.push(v.into());
        Ok(())
    }),
    value("encrypt-layer", "int", "Encrypt this layer alone (0 is the lowest, -1 the topmost)", |r, v| {
        r.copy.encryption.layers.push(integer(v)?);
        Ok(())
    }),
    value("decryption-key", "string", "Open encrypted layers with the private key in this file", |r, v| {
        r.copy.from.decryption_keys.push(v.into());
        Ok(())
    }),
    signing_flags::identity(),
    list("additional-tag", "More names for an image in a docker-archive", |r, v| r.copy.tags.push(v)),
    switch("dest-compress", "Compress plain layers, to a `dir:`", |r, on| r.copy.compression.compress = on),
    value("dest-compress-format", "string", "Compress layers by gzip, zstd or zstd:chunked", |r, v| {
        r.copy.compression.format = Some(v.into());
        Ok(())
    }),
    value("dest-compress-level", "int", "Level of compression", |r, v| {
        r.copy.compression.level = Some(integer(v)?);
        Ok(())
    }),
    value("dest-daemon-host", "HOST", "Where the Docker daemon listens that is written to", |r, v| {
        r.copy.to.daemon = Some(v.into());
        Ok(())
    }),
    switch("dest-force-compress-format", "Compress anew what is compressed in another way", |r, on| {
        r.copy.compression.force = Some(on);
    }),
    switch("dest-oci-accept-uncompressed-layers", "Leave plain layers plain in `oci:` and `oci-archive:`", |r, on| {
        r.copy.uncompressed = on;
    }),
    value("digestfile", "string", "Write the manifest's digest to this file", |r, v| {
        r.digest_file = Some(v.into());
        Ok(())
    }),
    value("override-arch", "string", "Copy the image for this architecture", |r, v| {
        r.architecture = Some(v.into());
        Ok(())
    }),
    value("override-os", "string", "Copy the image for this operating system", |r, v| {
        r.os = Some(v.into());
        Ok(())
    }),
    value("override-variant", "string", "Copy the image for this variant of the architecture", |r, v| {
        r.variant = Some(v.into());
        Ok(())
    }),
    short('q', switch("quiet", "Print no progress", |r, on| r.quiet = on)),
    value("src-daemon-host", "HOST", "Where the Docker daemon listens that is read from", |r, v| {
        r.copy.from.daemon = Some(v.into());
        Ok(())
    }),
];

/// `copy`.
pub const VERB: Verb<Asked> = Verb {
    path: "skopeo copy",
    usage: "SOURCE DESTINATION",
    about: "Copy an image from one place to another without keeping it",
    examples: &[
        "docker://busybox oci-archive:busybox.tar:latest",
        "--all docker://busybox docker://localhost:5000/busybox",
    ],
    interspersed: true,
    flags: &[SHARED, FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let [source, destination] = <[String; 2]>::try_from(arguments)
        .map_err(|other| Failure::new(format!("accepts 2 arg(s), received {}", other.len())))?;
    let before = program.globals.skopeo.clone();
    let platform =
        platform(asked.os.or(before.os), asked.architecture.or(before.architecture), asked.variant.or(before.variant));
    let mut request = Copy { source, destination, platform, ..asked.copy };
    (request.from.any_signature, request.from.signature_policy) = (before.any_signature, before.policy);
    let progress = Progress::new(asked.quiet);
    let written = program.engine()?.copy_image(&request, &|step| progress.tell(step)).map_err(plain)?;
    if let Some(path) = asked.digest_file {
        std::fs::write(&path, written.digest.to_string())
            .map_err(|e| Failure::new(format!("cannot write the digest to {path:?}: {e}")))?;
    }
    Ok(0)
}

/// `OS/ARCH[/VARIANT]` from its parts, of which those that are missing are the native ones; none if all are.
pub fn platform(os: Option<String>, architecture: Option<String>, variant: Option<String>) -> Option<String> {
    if os.is_none() && architecture.is_none() && variant.is_none() {
        return None;
    }
    let own = Platform::native();
    let (os, architecture) = (os.unwrap_or(own.os), architecture.unwrap_or(own.architecture));
    Some(Platform { os, architecture, variant: variant.unwrap_or_default() }.to_string())
}

/// What the flags of `list-tags` fill.
#[derive(Default)]
pub struct Listing(Tags);

impl HasAccess for Listing {
    fn access(&mut self) -> &mut Access {
        &mut self.0.access
    }
}

/// `list-tags`.
pub const LIST_TAGS: Verb<Listing> = Verb {
    path: "skopeo list-tags",
    usage: "SOURCE",
    about: "List the tags of a repository of a registry",
    examples: &["docker://quay.io/podman/hello"],
    interspersed: true,
    flags: &[&[
        registry_flags::auth_file(),
        registry_flags::cert_dir(),
        registry_flags::creds(),
        registry_flags::retry_delay(),
        registry_flags::tls_verify(),
        registry_flags::no_creds(),
        registry_flags::password(),
        registry_flags::retry_times(),
        registry_flags::username(),
    ]],
    execute: |program, Listing(asked), arguments| {
        let [source] = <[String; 1]>::try_from(arguments)
            .map_err(|other| Failure::new(format!("accepts 1 arg(s), received {}", other.len())))?;
        let listed = program.engine()?.tags(&Tags { source, ..asked }).map_err(plain)?;
        let mut made = serde_json::Map::new();
        if let Some(repository) = listed.repository {
            made.insert("Repository".into(), repository.into());
        }
        made.insert("Tags".into(), listed.tags.into());
        print(&format!("{}\n", crate::format::indented(&made, b"    ")))?;
        Ok(0)
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_platform() {
        let own = Platform::native().architecture;
        assert_eq!(platform(None, None, None), None);
        assert_eq!(platform(None, Some("arm64".into()), Some("v8".into())).as_deref(), Some("linux/arm64/v8"));
        assert_eq!(platform(Some("windows".into()), None, None), Some(format!("windows/{own}")));
    }
}
