//! Manifests of one form made into the other: OCI's and Docker's schema 2 differ in media types and little else.
//!
//! A manifest whose form and layers stay is never touched: its bytes have a digest that others know. Configurations
//! stay as they are in either form, so that the image keeps its id; readers of both accept each other's.
//!
//! Must not know: where images are.

use crate::document::{self, DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::encryption;
use crate::intake::Compression;
use crate::origin::Original;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use types::Digest;

/// Media type of OCI's configuration.
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A form of manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// OCI image specification 1.
    Oci,
    /// Docker's schema 2.
    Docker,
}

impl Form {
    /// The form of a media type.
    pub fn of(media_type: &str) -> Form {
        if matches!(media_type, DOCKER_MANIFEST | DOCKER_LIST) { Form::Docker } else { Form::Oci }
    }

    /// Media type of a manifest.
    pub fn manifest(self) -> &'static str {
        match self {
            Form::Oci => OCI_MANIFEST,
            Form::Docker => DOCKER_MANIFEST,
        }
    }

    /// Media type of an index.
    pub fn index(self) -> &'static str {
        match self {
            Form::Oci => OCI_INDEX,
            Form::Docker => DOCKER_LIST,
        }
    }

    /// Media type of an image's configuration.
    pub fn configuration(self) -> &'static str {
        match self {
            Form::Oci => OCI_CONFIG,
            Form::Docker => DOCKER_CONFIG,
        }
    }

    /// Media type of a layer.
    pub fn layer(self, compression: Compression) -> &'static str {
        match (self, compression) {
            (Form::Oci, Compression::Plain) => "application/vnd.oci.image.layer.v1.tar",
            (Form::Oci, Compression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Form::Oci, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Form::Docker, Compression::Plain) => "application/vnd.docker.image.rootfs.diff.tar",
            (Form::Docker, Compression::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Form::Docker, Compression::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        }
    }
}

/// The compression that the media type of a layer tells of; none if it tells nothing of layers.
pub fn compression(media_type: &str) -> Option<Compression> {
    if !media_type.contains(".tar") {
        return None;
    }
    Some(match media_type {
        kind if kind.ends_with("gzip") => Compression::Gzip,
        kind if kind.ends_with("zstd") => Compression::Zstd,
        _ => Compression::Plain,
    })
}

/// A layer as it will be.
#[derive(Debug, Clone)]
pub struct Layer {
    /// How it is compressed; none for what is no layer of an image, which keeps its media type.
    pub compression: Option<Compression>,
    /// It was compressed anew, encrypted or decrypted.
    pub changed: bool,
    /// It is encrypted.
    pub encrypted: bool,
    pub digest: Digest,
    pub size: u64,
    /// What is noted beside it.
    pub annotations: BTreeMap<String, String>,
}

/// True of an image, false of anything else that has a manifest.
pub fn is_image(original: &Original) -> bool {
    matches!(original.kind.as_str(), "" | OCI_CONFIG | DOCKER_CONFIG)
}

/// The manifest of `original` in `form`, with its layers as they will be: its own bytes if nothing changes.
pub fn manifest(original: &Original, form: Form, layers: &[Layer]) -> Result<(Vec<u8>, String)> {
    let own = original.manifest.as_ref();
    if let Some((bytes, media_type)) = own
        && Form::of(media_type) == form
        && layers.iter().all(|layer| !layer.changed)
    {
        return Ok((bytes.clone(), media_type.clone()));
    }
    let is_image = is_image(original);
    if form == Form::Docker && !is_image {
        let why = format!("an artifact ({:?}) has no form in Docker's schema 2: use the OCI format", original.kind);
        return Err(Error::Document { what: "manifest", name: Digest::of(&original.configuration).to_string(), why });
    }
    let mut made: Map<String, Value> = match own {
        // Annotations and what else OCI's manifests hold is kept, as long as it stays one.
        Some((bytes, media_type)) if Form::of(media_type) == Form::Oci && form == Form::Oci => {
            document::read("manifest", "", bytes)?
        }
        _ => Map::new(),
    };
    let config_kind = if is_image { form.configuration() } else { &original.kind };
    let mut config = json!({
        "mediaType": config_kind, "size": original.configuration.len(), "digest": Digest::of(&original.configuration),
    });
    if let Some(Value::Object(old)) = made.get("config") {
        for (key, value) in old.iter().filter(|(key, _)| !matches!(key.as_str(), "mediaType" | "size" | "digest")) {
            config[key] = value.clone();
        }
    }
    let list: Vec<Value> = layers
        .iter()
        .zip(&original.layers)
        .map(|(layer, leaf)| {
            let kind = layer.compression.map_or(leaf.kind.as_str(), |compression| form.layer(compression));
            let kind = if layer.encrypted { format!("{kind}{}", encryption::SUFFIX) } else { kind.to_owned() };
            let mut descriptor = json!({"mediaType": kind, "size": layer.size, "digest": layer.digest});
            if form == Form::Oci && !layer.annotations.is_empty() {
                descriptor["annotations"] = json!(layer.annotations);
            }
            descriptor
        })
        .collect();
    made.insert("schemaVersion".into(), 2.into());
    made.insert("mediaType".into(), form.manifest().into());
    made.insert("config".into(), config);
    made.insert("layers".into(), list.into());
    Ok((serde_json::to_vec(&made).unwrap_or_default(), form.manifest().into()))
}

/// An index in `form`, of which some manifests have become others.
pub fn index(bytes: &[u8], form: Form, changed: &BTreeMap<Digest, (Digest, u64, String)>) -> Result<Vec<u8>> {
    let mut made: Map<String, Value> = document::read("index", "", bytes)?;
    made.insert("mediaType".into(), form.index().into());
    for entry in made.get_mut("manifests").and_then(Value::as_array_mut).into_iter().flatten() {
        let digest = entry["digest"].as_str().and_then(|digest| digest.parse().ok());
        if let Some((digest, size, media_type)) = digest.and_then(|digest: Digest| changed.get(&digest)) {
            entry["digest"] = json!(digest);
            entry["size"] = json!(size);
            entry["mediaType"] = json!(media_type);
        }
    }
    Ok(serde_json::to_vec(&made).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Leaf;
    use crate::plan::Place;

    fn original(kind: &str, media_type: &str) -> Original {
        let digest = Digest::of(b"layer");
        let manifest = json!({
            "schemaVersion": 2, "config": {"mediaType": kind, "digest": Digest::of(b"{}"), "size": 2},
            "annotations": {"a": "b"}, "layers": [{"mediaType": "x", "digest": digest, "size": 5}],
        });
        Original {
            manifest: Some((serde_json::to_vec(&manifest).unwrap(), media_type.into())),
            kind: kind.into(),
            configuration: b"{}".to_vec(),
            layers: vec![Leaf {
                kind: Form::Oci.layer(Compression::Gzip).into(),
                annotations: BTreeMap::new(),
                diff_id: None,
                plain_size: None,
                place: Place::Blob(digest, 5),
                instead: None,
            }],
            signatures: Vec::new(),
        }
    }

    fn layer(compression: Compression, changed: bool) -> Layer {
        let annotations = BTreeMap::from([("k".into(), "v".into())]);
        Layer {
            compression: Some(compression),
            changed,
            encrypted: false,
            digest: Digest::of(b"new"),
            size: 3,
            annotations,
        }
    }

    #[test]
    fn what_does_not_change_keeps_its_bytes() {
        let original = original(OCI_CONFIG, OCI_MANIFEST);
        let (bytes, kind) = manifest(&original, Form::Oci, &[layer(Compression::Gzip, false)]).unwrap();
        assert_eq!(Some((bytes, kind)), original.manifest);
    }

    #[test]
    fn forms_and_layers_change() {
        let own = original(OCI_CONFIG, OCI_MANIFEST);
        let (bytes, kind) = manifest(&own, Form::Docker, &[layer(Compression::Gzip, false)]).unwrap();
        assert_eq!(kind, DOCKER_MANIFEST);
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["config"]["mediaType"], DOCKER_CONFIG);
        assert_eq!(value["config"]["digest"], Digest::of(b"{}").to_string());
        assert_eq!(value["layers"][0]["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.gzip");
        assert_eq!((&value["annotations"], &value["layers"][0]["annotations"]), (&Value::Null, &Value::Null));

        let (bytes, _) = manifest(&own, Form::Oci, &[layer(Compression::Zstd, true)]).unwrap();
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["annotations"]["a"], "b");
        assert_eq!(value["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
        assert_eq!(value["layers"][0]["annotations"]["k"], "v");
    }

    #[test]
    fn artifacts_have_no_docker_form() {
        let own = original("application/vnd.example+json", OCI_MANIFEST);
        let error = manifest(&own, Form::Docker, &[layer(Compression::Gzip, false)]).unwrap_err().to_string();
        assert!(error.contains("artifact") && error.contains("OCI"), "{error}");
    }

    #[test]
    fn an_index_follows_its_manifests() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let index = json!({"schemaVersion": 2, "manifests": [{"digest": old, "size": 1, "platform": {"os": "linux"}}]});
        let changed = BTreeMap::from([(old, (new, 7, DOCKER_MANIFEST.to_owned()))]);
        let made = super::index(&serde_json::to_vec(&index).unwrap(), Form::Docker, &changed).unwrap();
        let value: Value = serde_json::from_slice(&made).unwrap();
        assert_eq!(value["mediaType"], DOCKER_LIST);
        assert_eq!(value["manifests"][0]["digest"], new.to_string());
        assert_eq!(value["manifests"][0]["platform"]["os"], "linux");
    }
}
