//! Manifests of images: OCI's and Docker's (schema 2), which have the same shape.

use crate::{Error, Result, limits};
use serde::{Deserialize, Serialize};
use types::Digest;

/// Media type of OCI's image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of Docker's image manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of OCI's image configuration.
pub const OCI_CONFIGURATION: &str = "application/vnd.oci.image.config.v1+json";

/// What a manifest says about a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Its media type, e.g. `application/vnd.oci.image.layer.v1.tar+gzip`.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// The manifest of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Its media type, where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The image's configuration.
    pub config: Descriptor,
    /// Its layers, bottom first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
}

impl Manifest {
    /// Parses a manifest of at most [`limits::MANIFEST`] bytes and [`limits::LAYERS`] layers.
    pub fn parse(bytes: &[u8]) -> Result<Manifest> {
        let bad = |why: String| Error::Document { what: "manifest", digest: Digest::of(bytes), why };
        if bytes.len() > limits::MANIFEST {
            return Err(bad(format!("it has {} bytes, more than {}", bytes.len(), limits::MANIFEST)));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|problem| bad(problem.to_string()))?;
        if manifest.schema_version != 2 {
            return Err(bad(format!("its schema version is {}, and only 2 is supported", manifest.schema_version)));
        }
        if manifest.layers.len() > limits::LAYERS {
            return Err(bad(format!("it has {} layers, more than {}", manifest.layers.len(), limits::LAYERS)));
        }
        Ok(manifest)
    }

    /// An OCI manifest for an archive that has none: the bytes for a configuration and layers (bottom first).
    pub fn synthesise(configuration: &[u8], layers: Vec<Descriptor>) -> Vec<u8> {
        let config = Descriptor {
            media_type: OCI_CONFIGURATION.into(),
            digest: Digest::of(configuration),
            size: configuration.len() as u64,
        };
        let manifest = Manifest { schema_version: 2, media_type: Some(OCI_MANIFEST.into()), config, layers };
        serde_json::to_vec(&manifest).unwrap_or_default()
    }
}
