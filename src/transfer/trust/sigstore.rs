//! Signatures of sigstore: the keys, and the manifests in which registries and OCI layouts keep signatures.
//!
//! Such a manifest is tagged `sha256-HEX.sig`, HEX being that of the manifest that is signed (cosign, SIGNATURE_SPEC.md): each of
//! its layers is a payload, and the signature is an annotation of the layer's descriptor. In layouts, where those of OpenPGP would
//! have no place otherwise, they are layers, too, of a media type of their own.
//!
//! Must not know: policies, where the bytes come from.

use super::signature::{LARGEST, MOST, Signature, Sigstore};
use crate::document::{self, Descriptor, Manifest};
use crate::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature as sign;
use serde_json::{Value, json};
use types::Digest;

/// Annotation with the signature, in base64.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Media type of a payload.
pub const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Type of the artifacts that cosign lets refer to what it has signed.
pub const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// Media type of a message of OpenPGP in a layout: JSON with base64 in it, so that it is known for a document in a pipe.
const MESSAGE: &str = "application/vnd.monopod.simple-signing.v1+json";
/// Largest payload, in bytes.
const LARGEST_PAYLOAD: u64 = 256 << 10;

/// Object identifiers, as they are encoded.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// A public key.
pub struct Key {
    algorithm: &'static dyn sign::VerificationAlgorithm,
    bytes: Vec<u8>,
    elliptic: bool,
    der: Vec<u8>,
}

impl Key {
    /// Reads a key in PEM (`PUBLIC KEY`); `name` is for errors.
    pub fn parse(name: &str, pem: &[u8]) -> Result<Key> {
        let bad = |why: &str| Error::Document { what: "key", name: name.into(), why: why.into() };
        let der = super::pem::first(pem, "PUBLIC KEY").map_err(|why| bad(&why))?;
        Key::of(&der).ok_or_else(|| {
            bad("it is no key for ECDSA on the curves P-256 or P-384, Ed25519 or RSA, and others are not supported")
        })
    }

    /// The key of a `SubjectPublicKeyInfo` (RFC 5280).
    pub fn of(der: &[u8]) -> Option<Key> {
        let mut outer = super::der::Reader::new(der);
        let mut info = outer.sequence()?;
        let mut algorithm = info.sequence()?;
        let kind = algorithm.identifier()?;
        let curve = algorithm.identifier();
        let bytes = info.bits()?.to_vec();
        let algorithm: &'static dyn sign::VerificationAlgorithm = match (kind, curve) {
            (EC, Some(P256)) => &sign::ECDSA_P256_SHA256_ASN1,
            (EC, Some(P384)) => &sign::ECDSA_P384_SHA256_ASN1,
            (RSA, _) => &sign::RSA_PKCS1_2048_8192_SHA256,
            (ED25519, _) => &sign::ED25519,
            _ => return None,
        };
        outer.is_empty().then(|| Key { algorithm, bytes, elliptic: kind == EC, der: der.to_vec() })
    }

    /// True if it is for ECDSA.
    pub fn is_elliptic(&self) -> bool {
        self.elliptic
    }

    /// Its `SubjectPublicKeyInfo`.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// True if the key has signed `payload`.
    pub fn signed(&self, payload: &[u8], signature: &[u8]) -> bool {
        sign::UnparsedPublicKey::new(self.algorithm, &self.bytes).verify(payload, signature).is_ok()
    }
}

/// Name of the tag under which signatures of a manifest lie.
pub fn tag(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

/// The signatures that a manifest lists; `blob` reads payloads. Layers that are none are passed over.
pub fn of_manifest(bytes: &[u8], blob: &dyn Fn(&Descriptor, u64) -> Result<Vec<u8>>) -> Result<Vec<Signature>> {
    let manifest: Manifest = document::read("manifest", "of signatures", bytes)?;
    let mut found = Vec::new();
    let is_known = |layer: &&Descriptor| layer.media_type == PAYLOAD || layer.media_type == MESSAGE;
    for layer in manifest.layers.iter().filter(is_known).take(MOST) {
        let limit = if layer.media_type == PAYLOAD { LARGEST_PAYLOAD } else { LARGEST };
        if layer.size > limit || layer.media_type == PAYLOAD && !layer.annotations.contains_key(SIGNATURE) {
            continue;
        }
        let payload = blob(layer, limit)?;
        document::verify("signature", layer, &payload)?;
        found.push(match layer.media_type.as_str() {
            PAYLOAD => {
                let (kind, annotations) = (layer.media_type.clone(), layer.annotations.clone());
                Signature::Sigstore(Sigstore { kind, payload, annotations })
            }
            _ => {
                let message: Message = document::read("signature", &layer.digest.to_string(), &payload)?;
                let bad = |_| Error::Document {
                    what: "signature",
                    name: layer.digest.to_string(),
                    why: "it is not base64".into(),
                };
                Signature::Simple(STANDARD.decode(message.message).map_err(bad)?)
            }
        });
    }
    Ok(found)
}

/// A message of OpenPGP as a document.
#[derive(serde::Serialize, serde::Deserialize)]
struct Message {
    message: String,
}

/// A manifest of signatures, its configuration, and the blobs it lists.
pub struct Attachment {
    pub manifest: Vec<u8>,
    pub configuration: Vec<u8>,
    pub blobs: Vec<Vec<u8>>,
}

/// The manifest that lists `signatures`, behind those that `before` lists already.
pub fn attachment(before: Option<&[u8]>, signatures: &[Signature]) -> Result<Attachment> {
    let mut layers: Vec<Value> = match before {
        Some(bytes) => {
            let read: Value = document::read("manifest", "of signatures", bytes)?;
            read["layers"].as_array().cloned().unwrap_or_default()
        }
        None => Vec::new(),
    };
    let mut blobs = Vec::new();
    for signature in signatures {
        let (kind, bytes, annotations) = match signature {
            Signature::Sigstore(signature) => {
                (signature.kind.as_str(), signature.payload.clone(), json!(signature.annotations))
            }
            Signature::Simple(message) => {
                let message = Message { message: STANDARD.encode(message) };
                (MESSAGE, serde_json::to_vec(&message).unwrap_or_default(), Value::Null)
            }
        };
        let mut layer = json!({"mediaType": kind, "digest": Digest::of(&bytes), "size": bytes.len()});
        if !annotations.is_null() {
            layer["annotations"] = annotations;
        }
        // The same signature of the same manifest is there once.
        if !layers.contains(&layer) {
            layers.push(layer);
            blobs.push(bytes);
        }
    }
    let diff_ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
    let configuration = json!({
        "architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let configuration = serde_json::to_vec(&configuration).unwrap_or_default();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": document::OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::of(&configuration), "size": configuration.len(),
        },
        "layers": layers,
    });
    Ok(Attachment { manifest: serde_json::to_vec(&manifest).unwrap_or_default(), configuration, blobs })
}
