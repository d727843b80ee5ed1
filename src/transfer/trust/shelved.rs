//! Signatures in the store, beside the manifests of images: a list of files in base64.
//!
//! Must not know: what they are worth.

use super::signature::Signature;
use crate::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use store::Store;
use types::Digest;

/// The signatures that came with the image of a manifest.
pub fn kept(store: &Store, manifest: &Digest) -> Result<Vec<Signature>> {
    let Some(bytes) = store.signatures(manifest)? else { return Ok(Vec::new()) };
    let bad = |why: String| Error::Document { what: "signatures", name: manifest.to_string(), why };
    let list: Vec<String> = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
    let read = |text: &String| {
        let bytes = STANDARD.decode(text).map_err(|e| bad(e.to_string()))?;
        Signature::parse(&bytes).map_err(bad)
    };
    list.iter().map(read).collect()
}

/// Keeps signatures with those that the store has.
pub fn keep(store: &Store, manifest: &Digest, signatures: &[Signature]) -> Result<()> {
    if signatures.is_empty() {
        return Ok(());
    }
    let mut all = kept(store, manifest)?;
    let before = all.len();
    for signature in signatures {
        if !all.contains(signature) && all.len() < super::MOST {
            all.push(signature.clone());
        }
    }
    if all.len() == before {
        return Ok(());
    }
    let list: Vec<String> = all.iter().map(|signature| STANDARD.encode(signature.filed())).collect();
    store.keep_signatures(manifest, &serde_json::to_vec(&list).unwrap_or_default())?;
    Ok(())
}
