//! Verbs that Skopeo alone has: `delete`, `manifest-digest`.

use super::Verb;
use super::registry_flags::{self, HasAccess};
use crate::failure::Failure;
use crate::program::{plain, print};
use ops::image::Access;
use types::Digest;

/// Largest manifest, in bytes.
const MANIFEST: u64 = 4 << 20;

/// What the flags of `delete` fill.
#[derive(Default)]
pub struct Deleting(Access);

impl HasAccess for Deleting {
    fn access(&mut self) -> &mut Access {
        &mut self.0
    }
}

/// `delete`.
pub const DELETE: Verb<Deleting> = Verb {
    path: "skopeo delete",
    usage: "docker://IMAGE",
    about: "Delete an image from its registry",
    examples: &["docker://localhost:5000/busybox:1"],
    interspersed: true,
    flags: &[&[
        registry_flags::auth_file(),
        registry_flags::cert_dir(),
        registry_flags::creds(),
        registry_flags::no_creds(),
        registry_flags::password(),
        registry_flags::retry_times(),
        registry_flags::tls_verify(),
        registry_flags::username(),
    ]],
    execute: |program, Deleting(access), arguments| {
        let [source] = one(arguments)?;
        program.engine()?.delete_image(&source, &access).map_err(plain)?;
        Ok(0)
    },
};

/// `manifest-digest`.
pub const MANIFEST_DIGEST: Verb<()> = Verb {
    path: "skopeo manifest-digest",
    usage: "FILE",
    about: "Print the digest of a manifest in a file",
    examples: &["manifest.json"],
    interspersed: true,
    flags: &[],
    execute: |_, (), arguments| {
        let [path] = one(arguments)?;
        let failed = |why: String| Failure::new(format!("cannot read the manifest {path:?}: {why}"));
        let size = std::fs::metadata(&path).map_err(|e| failed(e.to_string()))?.len();
        if size > MANIFEST {
            return Err(failed(format!("it has {size} bytes, at most {MANIFEST} are accepted")));
        }
        let bytes = std::fs::read(&path).map_err(|e| failed(e.to_string()))?;
        print(&format!("{}\n", Digest::of(&bytes))).map(|()| 0)
    },
};

fn one(arguments: Vec<String>) -> Result<[String; 1], Failure> {
    <[String; 1]>::try_from(arguments)
        .map_err(|other| Failure::new(format!("accepts 1 arg(s), received {}", other.len())))
}
