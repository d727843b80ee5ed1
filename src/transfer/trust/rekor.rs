//! Entries of a Rekor log, as they lie beside signatures of sigstore: the log has signed what it holds (its key is in the policy),
//! and when that came. So whether something was signed while a certificate of minutes was good can be told years later, and
//! without asking the log.
//!
//! The signed promise (`SignedEntryTimestamp`) is ECDSA over the payload in canonical JSON (RFC 8785); the payload's body is an
//! entry of the kind `hashedrekord`, 0.0.1.
//!
//! Must not know: policies, certificates.

use super::pem;
use super::signature::Sigstore;
use super::sigstore::Key;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use types::Digest;

/// Annotation with the entry.
pub const ENTRY: &str = "dev.sigstore.cosign/bundle";
/// Annotation with the certificate of whoever signed.
pub const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
/// Annotation with the certificates above it.
pub const CHAIN: &str = "dev.sigstore.cosign/chain";
/// Largest number that is the same in all readers of JSON.
const EXACT: u64 = 1 << 53;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(rename = "SignedEntryTimestamp")]
    promise: String,
    #[serde(rename = "Payload")]
    payload: Payload,
}

/// The fields are in the order of RFC 8785, 3.2.3: so what is written again is canonical.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    body: String,
    #[serde(rename = "integratedTime")]
    time: u64,
    #[serde(rename = "logID")]
    log: String,
    #[serde(rename = "logIndex")]
    index: u64,
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "apiVersion")]
    version: String,
    kind: String,
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    data: Data,
    signature: Signed,
}

#[derive(Deserialize)]
struct Data {
    hash: Hash,
}

#[derive(Deserialize)]
struct Hash {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
struct Signed {
    content: String,
    #[serde(rename = "publicKey")]
    key: Content,
}

#[derive(Deserialize)]
struct Content {
    content: String,
}

/// Verifies that a log has this `signature`, made with the key or certificate `der`. `entry` is the text of the annotation, `logs` the
/// keys of which one must have signed it. Gives when that came, in seconds since 1970.
pub fn verify(entry: &str, logs: &[Key], der: &[u8], signature: &Sigstore) -> Result<u64, String> {
    let bad = |what: &str| format!("the log's entry beside a signature {what}");
    let text = |text: &str| STANDARD.decode(text).map_err(|_| bad("is not base64"));
    let entry: Entry = serde_json::from_str(entry).map_err(|e| bad(&format!("is damaged: {e}")))?;
    if entry.payload.time >= EXACT || entry.payload.index >= EXACT {
        return Err(bad("has numbers out of bounds"));
    }
    let canonical = serde_json::to_vec(&entry.payload).map_err(|e| bad(&e.to_string()))?;
    let promise = text(&entry.promise)?;
    if !logs.iter().any(|log| log.is_elliptic() && log.signed(&canonical, &promise)) {
        return Err(bad("was not signed by the log that is demanded"));
    }
    let body: Body = serde_json::from_slice(&text(&entry.payload.body)?)
        .map_err(|e| bad(&format!("is of a kind that is not known: {e}")))?;
    if (body.kind.as_str(), body.version.as_str()) != ("hashedrekord", "0.0.1") {
        return Err(bad(&format!("is of the kind {:?}, version {:?}, which is not known", body.kind, body.version)));
    }
    let key = text(&body.spec.signature.key.content)?;
    let blocks = ["PUBLIC KEY", "CERTIFICATE"].map(|title| pem::all(&key, title)).into_iter();
    let blocks: Vec<Vec<u8>> = blocks.collect::<Result<Vec<_>, _>>()?.concat();
    if blocks != [der] {
        return Err(bad("is of another key"));
    }
    if Some(text(&body.spec.signature.content)?) != signature.signature() {
        return Err(bad("is of another signature"));
    }
    let hash = body.spec.data.hash;
    if hash.algorithm != "sha256" || hash.value.to_ascii_lowercase() != Digest::of(&signature.payload).hex() {
        return Err(bad("is of another payload"));
    }
    Ok(entry.payload.time)
}
