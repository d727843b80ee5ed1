//! Requests and replies about images.

use serde::{Deserialize, Serialize};
use types::Digest;

/// Asks for an image to be brought from `source` into the store: a transport reference (`oci-archive:FILE[:NAME]`,
/// `docker-archive:FILE[:NAME]`, `oci:DIR[:NAME]`, `dir:`, `docker://…`) or a name to pull from its registry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pull {
    /// Where from.
    pub source: String,
    /// `OS/ARCH[/VARIANT]`.
    pub platform: Option<String>,
    /// `missing`, `always`, `never`, `newer`.
    pub policy: Option<String>,
    /// `USER:PASSWORD` for the registry.
    pub credentials: Option<String>,
    /// File with credentials of registries.
    pub auth_file: Option<String>,
    /// Check the registry's certificate and demand TLS (default true).
    pub tls_verify: Option<bool>,
}

/// Asks for all images of an archive. `None` reads standard input.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// A file, or an OCI layout directory.
    pub input: Option<std::path::PathBuf>,
}

/// An image is in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// Its id: the digest of its configuration.
    pub id: Digest,
    /// Its names, normalised; empty if it has none.
    pub names: Vec<String>,
}

/// One row of the list of images: an image has a row for each of its names, or one without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its id: the digest of its configuration.
    pub id: Digest,
    /// Digest of its manifest.
    pub digest: Digest,
    /// All its names.
    pub names: Vec<String>,
    /// Seconds since 1970, from its configuration.
    pub created: i64,
    /// Bytes of its layers, unpacked.
    pub size: u64,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// How many containers are made of it.
    pub containers: u64,
}

/// Asks which images there are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// Only images of this name.
    pub name: Option<String>,
    /// `key=value`, as `--filter` takes it.
    pub filters: Vec<String>,
}

/// Asks for an image or one of its names to be removed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Remove {
    /// Name or id.
    pub name: String,
    /// With all names, and with the containers made of it.
    pub force: bool,
    /// An image that does not exist is no error.
    pub ignore: bool,
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Removed {
    /// Names taken away.
    pub untagged: Vec<String>,
    /// Images deleted.
    pub deleted: Vec<Digest>,
}
