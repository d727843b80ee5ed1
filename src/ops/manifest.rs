//! Requests and replies about lists: images for several platforms under one name, kept in the store until they are pushed.

use crate::image::{Access, Compression, Signing};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use types::Digest;

/// Asks for a new list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Create {
    /// Its name.
    pub name: String,
    /// Images that are in it from the beginning.
    pub images: Vec<String>,
    /// Of an image for several platforms, all are taken.
    pub all: bool,
    /// A list of this name may exist; the images are added to it.
    pub amend: bool,
    /// `KEY=VALUE` for the list itself.
    pub annotations: Vec<String>,
    /// How registries are talked to.
    pub access: Access,
}

/// Asks for an image to be added to a list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Add {
    /// The list.
    pub list: String,
    /// An image of the store or of any transport; a name that the store does not know is a registry's.
    pub image: String,
    /// Of an image for several platforms, all are taken.
    pub all: bool,
    /// What is noted of it in the list.
    pub notes: Notes,
    /// How registries are talked to.
    pub access: Access,
}

/// Asks for an artifact to be made of files, and added to a list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddArtifact {
    /// The list.
    pub list: String,
    /// The files.
    pub files: Vec<PathBuf>,
    /// Its type.
    pub kind: Option<String>,
    /// A file with its configuration; none means one that says nothing.
    pub configuration: Option<PathBuf>,
    /// Media type of the configuration.
    pub configuration_kind: Option<String>,
    /// Media type of the files; none means that their bytes tell it.
    pub file_kind: Option<String>,
    /// The files have no names.
    pub untitled: bool,
    /// The image that it is about.
    pub subject: Option<String>,
    /// What is noted of it in the list.
    pub notes: Notes,
    /// How registries are talked to.
    pub access: Access,
}

/// What a list notes of an image. What is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// `KEY=VALUE`.
    pub annotations: Vec<String>,
    /// Architecture, in Go's words.
    pub architecture: Option<String>,
    /// Features of the processor that it needs.
    pub features: Vec<String>,
    /// Operating system.
    pub os: Option<String>,
    /// Features of the operating system that it needs.
    pub os_features: Vec<String>,
    /// Version of the operating system.
    pub os_version: Option<String>,
    /// Variant of the architecture.
    pub variant: Option<String>,
}

/// Asks for what a list notes to be changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Annotate {
    /// The list.
    pub list: String,
    /// An image of it, by its digest or its name; none means the list itself.
    pub image: Option<String>,
    /// What to note.
    pub notes: Notes,
    /// An image that the list refers to.
    pub subject: Option<String>,
    /// How registries are talked to.
    pub access: Access,
}

/// Asks for a list to be written to a registry or any other transport.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Push {
    /// The list.
    pub list: String,
    /// Where to; none means the list's name. Without a transport it is a registry.
    pub destination: Option<String>,
    /// With its images (default true).
    pub all: Option<bool>,
    /// `oci` or `v2s2`; none means the form it has.
    pub format: Option<String>,
    /// How layers are compressed.
    pub compression: Compression,
    /// Who signs the list and its images.
    pub signing: Signing,
    /// `gzip`, `zstd`, `zstd:chunked`: each image is there in this compression, too.
    pub more_compressions: Vec<String>,
    /// Remove the list when it is pushed.
    pub remove: bool,
    /// How the registry is talked to.
    pub access: Access,
}

/// A list of the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its id.
    pub id: Digest,
    /// Its name.
    pub name: String,
}

impl From<crate::image::Push> for Push {
    /// A list is pushed as an image is: with all that is in it. Nothing of it is encrypted.
    fn from(asked: crate::image::Push) -> Push {
        let crate::image::Push { image, destination, format, compression, signing, access, .. } = asked;
        Push { list: image, destination, format, compression, signing, access, ..Push::default() }
    }
}
