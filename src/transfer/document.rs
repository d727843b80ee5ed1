//! The documents of an image: index, manifest, configuration (OCI image specification: image-index.md, manifest.md,
//! config.md; Docker's schema 2 has the same fields under other media types), and `manifest.json` of `docker save`.
//!
//! Only the fields that a transfer needs are read; the bytes are kept as they are, since digests are of the bytes.
//! What comes from strangers is bounded before it gets here.
//!
//! Must not know: where bytes come from, the store.

use crate::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use types::{Digest, Platform};

/// Largest index or manifest, in bytes (distribution specification, "Pushing Manifests").
pub const MANIFEST: u64 = 4 << 20;
/// Largest configuration, in bytes.
pub const CONFIGURATION: u64 = 8 << 20;
/// Bytes that all documents of an archive may have together.
pub const DOCUMENTS: usize = 64 << 20;
/// Most layers of an image.
pub const LAYERS: usize = 500;
/// Deepest nesting of indexes.
pub const DEPTH: usize = 4;
/// Most entries of an index, and most manifests read for one image.
pub const ENTRIES: usize = 1000;

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What points to a blob.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    #[serde(default, deserialize_with = "or_default")]
    /// What is noted beside it.
    pub annotations: BTreeMap<String, String>,
    /// The platform it is for.
    #[serde(default)]
    pub platform: Option<Platform>,
}

/// Images of several platforms, or of several names.
#[derive(Debug, Deserialize)]
pub struct Index {
    #[serde(default, deserialize_with = "or_default")]
    pub manifests: Vec<Descriptor>,
}

/// One image.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    pub config: Descriptor,
    #[serde(default, deserialize_with = "or_default")]
    pub layers: Vec<Descriptor>,
}

/// What a manifest says it is, before it is read as what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u64>,
    #[serde(default)]
    media_type: String,
    manifests: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
}

/// What is checked of a configuration.
#[derive(Debug, Deserialize)]
pub struct Configuration {
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub variant: String,
    pub rootfs: Rootfs,
}

/// The layers of a configuration.
#[derive(Debug, Deserialize)]
pub struct Rootfs {
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

/// One image of `manifest.json` as `docker save` writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Saved {
    pub config: String,
    #[serde(default, deserialize_with = "or_default")]
    pub repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub layers: Vec<String>,
}

/// An index or a manifest.
pub enum Either {
    Index(Index),
    /// With its media type, which the bytes may leave out.
    Manifest(Manifest, &'static str),
}

/// Go writes empty lists and maps as `null`.
fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    d: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// Reads `bytes` as the document `what` called `name`.
pub fn read<T: DeserializeOwned>(what: &'static str, name: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::Document { what, name: name.into(), why: e.to_string() })
}

/// Reads an index or a manifest; `media_type` is what its descriptor or the registry called it, if anything.
pub fn either(name: &str, media_type: &str, bytes: &[u8]) -> Result<Either> {
    let bad = |why: String| Error::Document { what: "manifest", name: name.into(), why };
    if bytes.len() as u64 > MANIFEST {
        return Err(bad(format!("it has {} bytes, at most {MANIFEST} are accepted", bytes.len())));
    }
    let shape: Shape = read("manifest", name, bytes)?;
    if shape.schema_version == Some(1) {
        return Err(bad("Docker's schema 1 is not supported: push the image again with a current tool".into()));
    }
    let said = if shape.media_type.is_empty() { media_type } else { &shape.media_type };
    match (shape.manifests.is_some(), shape.config.is_some()) {
        // One document that reads as both would be two images under one digest (CVE-2021-41190).
        (true, true) => Err(bad("it is an index and a manifest at once".into())),
        (true, false) if matches!(said, "" | OCI_INDEX | DOCKER_LIST) => {
            let index: Index = read("index", name, bytes)?;
            if index.manifests.len() > ENTRIES {
                return Err(bad(format!(
                    "it lists {} manifests, at most {ENTRIES} are accepted",
                    index.manifests.len()
                )));
            }
            Ok(Either::Index(index))
        }
        (false, true) if matches!(said, "" | OCI_MANIFEST | DOCKER_MANIFEST) => {
            let manifest: Manifest = read("manifest", name, bytes)?;
            let kind = if said == DOCKER_MANIFEST { DOCKER_MANIFEST } else { OCI_MANIFEST };
            if manifest.layers.len() > LAYERS {
                return Err(bad(format!("it has {} layers, at most {LAYERS} are accepted", manifest.layers.len())));
            }
            Ok(Either::Manifest(manifest, kind))
        }
        (false, false) => Err(bad("it is neither an index nor a manifest of an image".into())),
        _ => Err(bad(format!("its media type {said:?} does not fit its contents or is not supported"))),
    }
}

/// The media type that a document gives itself.
pub fn media_type(bytes: &[u8]) -> Option<String> {
    let shape: Shape = serde_json::from_slice(bytes).ok()?;
    Some(shape.media_type).filter(|media_type| !media_type.is_empty())
}

/// Checks that a manifest is that of an image, all of whose layers can be unpacked.
pub fn check_image(name: &str, manifest: &Manifest) -> Result<()> {
    if !matches!(manifest.config.media_type.as_str(), "" | DOCKER_CONFIG | "application/vnd.oci.image.config.v1+json") {
        let why =
            format!("it is no image but an artifact: its configuration is of type {:?}", manifest.config.media_type);
        return Err(Error::Document { what: "manifest", name: name.into(), why });
    }
    for layer in &manifest.layers {
        let refuse = |why: String| Err(Error::Document { what: "layer", name: layer.digest.to_string(), why });
        let kind = layer.media_type.as_str();
        let plain = kind.strip_suffix("+gzip").or(kind.strip_suffix("+zstd")).unwrap_or(kind);
        let docker = kind.strip_suffix(".gzip").or(kind.strip_suffix(".zstd")).unwrap_or(kind);
        if kind.ends_with("+encrypted") {
            return refuse("it is encrypted: --decryption-key FILE opens it, with one of its private keys".into());
        }
        if plain.contains("nondistributable") || docker.contains("foreign") {
            return refuse(
                "it is a foreign layer, which its vendor alone may distribute: such images are not supported".into(),
            );
        }
        let known = plain == "application/vnd.oci.image.layer.v1.tar"
            || docker == "application/vnd.docker.image.rootfs.diff.tar"
            || docker == "application/vnd.docker.image.rootfs.diff.tar+zstd"
            || kind.is_empty();
        if !known {
            return refuse(format!("its media type {kind:?} is not supported"));
        }
    }
    Ok(())
}

/// Reads a configuration and checks that it tells of as many layers as the manifest.
pub fn configuration(name: &str, bytes: &[u8], layers: usize) -> Result<Configuration> {
    let bad = |why: String| Error::Document { what: "configuration", name: name.into(), why };
    if bytes.len() as u64 > CONFIGURATION {
        return Err(bad(format!("it has {} bytes, at most {CONFIGURATION} are accepted", bytes.len())));
    }
    let configuration: Configuration = read("configuration", name, bytes)?;
    let diff_ids = configuration.rootfs.diff_ids.len();
    if diff_ids != layers {
        return Err(bad(format!("it lists {diff_ids} layers, and its image has {layers}")));
    }
    Ok(configuration)
}

/// Checks that `bytes` are what `descriptor` says.
pub fn verify(what: &'static str, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
    let mismatch = |property, found: String| Error::Mismatch { what, digest: descriptor.digest, property, found };
    if bytes.len() as u64 != descriptor.size {
        return Err(mismatch("size", format!("{}, expected {}", bytes.len(), descriptor.size)));
    }
    let digest = Digest::of(bytes);
    if digest != descriptor.digest {
        return Err(mismatch("digest", digest.to_string()));
    }
    Ok(())
}

impl Configuration {
    /// The platform it says it is for; none if it does not say.
    pub fn platform(&self) -> Option<Platform> {
        (!self.os.is_empty() && !self.architecture.is_empty()).then(|| Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn manifest(layer: &str, extra: &str) -> Vec<u8> {
        format!(r#"{{"schemaVersion":2,"config":{{"digest":"{D}","size":3}},"layers":[{{"mediaType":"{layer}","digest":"{D}","size":3}}]{extra}}}"#).into_bytes()
    }

    #[test]
    fn layers_that_are_not_supported_are_named() {
        for (kind, word) in [
            ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "encrypted"),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "foreign"),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "foreign"),
            ("application/wasm", "media type"),
        ] {
            let Ok(Either::Manifest(found, _)) = either("m", "", &manifest(kind, "")) else { panic!("{kind}") };
            let error = check_image("m", &found).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains(D), "{error}");
        }
        for kind in [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ] {
            let Ok(Either::Manifest(found, OCI_MANIFEST)) = either("m", "", &manifest(kind, "")) else {
                panic!("{kind}")
            };
            check_image("m", &found).unwrap();
        }
    }

    #[test]
    fn a_document_is_one_thing() {
        let layer = "application/vnd.oci.image.layer.v1.tar";
        assert!(either("m", "", &manifest(layer, r#","manifests":[]"#)).is_err());
        assert!(either("m", OCI_INDEX, &manifest(layer, "")).is_err());
        assert!(either("m", "", br#"{"schemaVersion":1,"config":{}}"#).is_err());
        assert!(either("m", "", br#"{"schemaVersion":2,"manifests":null,"layers":[]}"#).is_err());
        assert!(matches!(either("m", "", br#"{"manifests":[]}"#), Ok(Either::Index(_))));
        assert!(either("m", "", "[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn verified() {
        let descriptor = Descriptor {
            media_type: String::new(),
            digest: D.parse().unwrap(),
            size: 3,
            annotations: BTreeMap::new(),
            platform: None,
        };
        verify("manifest", &descriptor, b"abc").unwrap();
        assert!(verify("manifest", &descriptor, b"abd").unwrap_err().to_string().contains("digest"));
        assert!(verify("manifest", &descriptor, b"abcd").unwrap_err().to_string().contains("size"));
    }
}
