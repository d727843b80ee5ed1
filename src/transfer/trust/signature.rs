//! Signatures of images: what is signed (a payload that names an image and a manifest), and the two forms of signature.
//!
//! - *Simple signing*: a message of OpenPGP that holds the payload (containers-signature(5)).
//! - *sigstore*: the payload, and a signature of it among annotations (cosign, SIGNATURE_SPEC.md).
//!
//! As files (`signature-N` of `dir:`, of lookaside servers, and in the store) one of OpenPGP is the message itself, and any
//! other begins with a zero byte, the name of its form and a line end.
//!
//! Must not know: policies, where the bytes come from.

use super::openpgp::{self, Keyring};
use super::sigstore::{self, Key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use types::{Digest, Reference};

/// Largest signature as a file, in bytes: all that an image may have ([`MOST`]) are in memory at once. Real ones have a few
/// thousand.
pub const LARGEST: u64 = 512 << 10;
/// Most signatures of an image.
pub const MOST: usize = 128;
/// What a payload of simple signing says it is.
pub const SIMPLE_KIND: &str = "atomic container signature";
/// What a payload of sigstore says it is.
pub const SIGSTORE_KIND: &str = "cosign container image signature";
/// What stands before a signature of sigstore in a file.
const SIGSTORE: &[u8] = b"\0sigstore-json\n";
/// What may stand before a message of OpenPGP.
const SIMPLE: &[u8] = b"\0simple-signing\n";

/// A signature, nothing of which is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// Of simple signing.
    Simple(Vec<u8>),
    /// Of sigstore.
    Sigstore(Sigstore),
}

/// A signature of sigstore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sigstore {
    /// Media type of the payload.
    pub kind: String,
    /// What was signed.
    pub payload: Vec<u8>,
    /// The signature, certificates, and whatever else.
    pub annotations: BTreeMap<String, String>,
}

/// A signature of sigstore in a file.
#[derive(Serialize, Deserialize)]
struct Filed {
    #[serde(rename = "mimeType")]
    kind: String,
    payload: String,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

/// Whatever else is critical is not understood.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    identity: Name,
    image: Image,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Name {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

impl Signature {
    /// Reads a file.
    ///
    /// # Errors
    /// It is in a form that is not known.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Signature, String> {
        if let Some(json) = bytes.strip_prefix(SIGSTORE) {
            let filed: Filed = serde_json::from_slice(json).map_err(|e| format!("a signature of sigstore: {e}"))?;
            let payload = STANDARD.decode(&filed.payload).map_err(|_| "a payload that is not base64")?;
            let annotations = filed.annotations.unwrap_or_default();
            return Ok(Signature::Sigstore(Sigstore { kind: filed.kind, payload, annotations }));
        }
        let message = bytes.strip_prefix(SIMPLE).unwrap_or(bytes);
        match message.first() {
            None | Some(0) => Err("a signature in a form that is not known".into()),
            Some(_) => Ok(Signature::Simple(message.to_vec())),
        }
    }

    /// The signature as a file.
    pub fn filed(&self) -> Vec<u8> {
        match self {
            Signature::Simple(message) => message.clone(),
            Signature::Sigstore(signature) => {
                let filed = Filed {
                    kind: signature.kind.clone(),
                    payload: STANDARD.encode(&signature.payload),
                    annotations: Some(signature.annotations.clone()),
                };
                [SIGSTORE, &serde_json::to_vec(&filed).unwrap_or_default()].concat()
            }
        }
    }
}

/// Verifies a message of simple signing; gives the name that was signed together with the manifest `digest`.
pub fn verify_simple(message: &[u8], keys: &Keyring, digest: &Digest) -> std::result::Result<String, String> {
    let verified = openpgp::verify(message, keys, openpgp::now())?;
    named(&verified.contents, SIMPLE_KIND, digest)
}

/// Verifies a signature of sigstore; gives the name that was signed together with the manifest `digest`.
pub fn verify_sigstore(signature: &Sigstore, keys: &[Key], digest: &Digest) -> std::result::Result<String, String> {
    let Some(bytes) = signature.signature() else { return Err("a signature without one in it".into()) };
    if !keys.iter().any(|key| key.signed(&signature.payload, &bytes)) {
        return Err("a signature was not made with the key that is demanded".into());
    }
    named(&signature.payload, SIGSTORE_KIND, digest)
}

impl Sigstore {
    /// The signature itself.
    pub fn signature(&self) -> Option<Vec<u8>> {
        STANDARD.decode(self.annotations.get(sigstore::SIGNATURE)?.trim()).ok()
    }
}

/// The name in a payload whose signature was verified, if it is of the manifest.
pub fn named(payload: &[u8], kind: &str, digest: &Digest) -> std::result::Result<String, String> {
    let payload: Payload = serde_json::from_slice(payload).map_err(|e| format!("the payload of a signature: {e}"))?;
    let critical = payload.critical;
    if critical.kind != kind {
        return Err(format!("a signature is of {:?}, not of an image", critical.kind));
    }
    if critical.image.digest != *digest {
        return Err(format!("a signature is of manifest {}", critical.image.digest));
    }
    Ok(critical.identity.reference)
}

/// What is signed to say that a manifest is the image `name`; `now` in seconds since 1970.
pub fn payload(kind: &str, name: &Reference, digest: &Digest, now: u64) -> Vec<u8> {
    let made = json!({
        "critical": {"identity": {"docker-reference": name.to_string()}, "image": {"docker-manifest-digest": digest}, "type": kind},
        "optional": {"creator": concat!("monopod ", env!("CARGO_PKG_VERSION")), "timestamp": now},
    });
    serde_json::to_vec(&made).unwrap_or_default()
}
