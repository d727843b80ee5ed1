//! Signatures of sigstore: a payload that names an image and a manifest, signed with ECDSA on P-256.
//!
//! In registries and OCI layouts they are layers of a manifest tagged `sha256-HEX.sig`, HEX being that of the manifest that is
//! signed (cosign, SIGNATURE_SPEC.md): each layer is a payload, and the signature is an annotation of its descriptor.
//!
//! Must not know: policies, where the bytes come from.

use crate::document::{self, Descriptor, Manifest};
use crate::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use types::Digest;

/// Annotation with the signature, in base64.
const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// Media type of a payload.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Largest payload, in bytes.
const LARGEST: u64 = 1 << 20;
/// Most signatures of an image.
const MOST: usize = 100;
/// What a public key on the curve P-256 begins with (RFC 5480): the point of 65 bytes follows.
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A public key.
pub struct Key(Vec<u8>);

impl Key {
    /// Reads a key in PEM (`PUBLIC KEY`); `name` is for errors.
    pub fn parse(name: &str, pem: &[u8]) -> Result<Key> {
        let bad = |why: &str| Error::Document { what: "key", name: name.into(), why: why.into() };
        let text = std::str::from_utf8(pem).map_err(|_| bad("it is not PEM"))?;
        let (_, rest) =
            text.split_once("-----BEGIN PUBLIC KEY-----").ok_or_else(|| bad("it holds no public key in PEM"))?;
        let (body, _) = rest.split_once("-----END PUBLIC KEY-----").ok_or_else(|| bad("its PEM has no end"))?;
        let der =
            STANDARD.decode(body.split_whitespace().collect::<String>()).map_err(|_| bad("its PEM is damaged"))?;
        match der.strip_prefix(&P256) {
            Some(point) if point.len() == 65 && point[0] == 4 => Ok(Key(point.to_vec())),
            _ => Err(bad("it is no key for ECDSA on the curve P-256, and others are not supported")),
        }
    }

    /// The same in base64 once more.
    pub fn parse_base64(name: &str, data: &str) -> Result<Key> {
        let bad = |_| Error::Document { what: "key", name: name.into(), why: "it is not base64".into() };
        Key::parse(name, &STANDARD.decode(data.trim()).map_err(bad)?)
    }

    fn signed(&self, payload: &[u8], signature: &[u8]) -> bool {
        ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_ASN1, &self.0)
            .verify(payload, signature)
            .is_ok()
    }
}

/// A signature with what was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub(super) payload: Vec<u8>,
    signature: Vec<u8>,
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
    /// The name that was signed together with the manifest `digest`, or why that cannot be believed. Nothing of the payload is
    /// looked at before its signature was verified.
    pub fn verify(&self, keys: &[Key], digest: &Digest) -> std::result::Result<String, String> {
        if !keys.iter().any(|key| key.signed(&self.payload, &self.signature)) {
            return Err("a signature was not made with the key that is demanded".into());
        }
        let payload: Payload =
            serde_json::from_slice(&self.payload).map_err(|e| format!("the payload of a signature: {e}"))?;
        let critical = payload.critical;
        if critical.kind != "cosign container image signature" && critical.kind != "atomic container signature" {
            return Err(format!("a signature is of {:?}, not of an image", critical.kind));
        }
        if critical.image.digest != *digest {
            return Err(format!("a signature is of manifest {}", critical.image.digest));
        }
        Ok(critical.identity.reference)
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
    for layer in manifest.layers.iter().filter(|layer| layer.media_type == PAYLOAD).take(MOST) {
        let Some(signature) = layer.annotations.get(ANNOTATION).and_then(|text| STANDARD.decode(text).ok()) else {
            continue;
        };
        if layer.size > LARGEST {
            continue;
        }
        let payload = blob(layer, LARGEST)?;
        document::verify("signature", layer, &payload)?;
        found.push(Signature { payload, signature });
    }
    Ok(found)
}
