//! Requests and replies about artifacts: files that are kept and moved under the names of images.

use crate::image::{Access, Signing};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use types::Digest;

/// Asks for an artifact to be made of files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Add {
    /// Its name.
    pub name: String,
    /// The files.
    pub files: Vec<PathBuf>,
    /// Its type.
    pub kind: Option<String>,
    /// Media type of the files; none means that their bytes tell it.
    pub file_kind: Option<String>,
    /// `KEY=VALUE`, noted beside each file.
    pub annotations: Vec<String>,
    /// The files join those of the artifact that has the name.
    pub append: bool,
    /// An artifact that has the name is replaced.
    pub replace: bool,
    /// The image that it is about: where it is pushed to, it is listed among what refers to that.
    pub subject: Option<String>,
    /// How registries are talked to, to find that image.
    pub access: crate::image::Access,
}

/// Asks for an artifact to be brought from a registry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pull {
    /// Its name, or where it is in whatever other place images are.
    pub source: String,
    /// How the registry is talked to.
    pub access: Access,
}

/// Asks for an artifact to be sent to a registry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Push {
    /// Its name or digest.
    pub name: String,
    /// Where to; none means its name.
    pub destination: Option<String>,
    /// Who signs it.
    pub signing: Signing,
    /// How the registry is talked to.
    pub access: Access,
}

/// Asks for files of an artifact.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extract {
    /// Name or digest of the artifact.
    pub name: String,
    /// A directory or, for one file, the file's place.
    pub to: PathBuf,
    /// Only the file of this digest.
    pub digest: Option<String>,
    /// Only the file of this title.
    pub title: Option<String>,
}

/// An artifact that is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its name, with a tag.
    pub name: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Bytes of its files.
    pub size: u64,
    /// Its manifest, as JSON.
    pub manifest: serde_json::Value,
}
