//! What refers to a manifest: signatures, bills of materials, anything whose manifest names another as its `subject` (OCI distribution
//! specification 1.1, "Listing Referrers" and "Pushing Manifests with Subject").
//!
//! A registry that does not keep such lists has them under a tag, `sha256-HEX`, which whoever pushes such a manifest changes.
//!
//! Must not know: what the manifests mean.

use super::client::{self, Client, Content};
use super::{PAGES, Repository};
use crate::document::{self, OCI_INDEX};
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use types::Digest;
use ureq::http::{Method, StatusCode};

/// Most manifests that are listed.
const MOST: usize = 10_000;

/// The tag under which the list lies.
fn tag(manifest: &Digest) -> String {
    format!("sha256-{}", manifest.hex())
}

impl Repository<'_> {
    /// The descriptors of the manifests that refer to `manifest`; with `kind` only artifacts of that type.
    ///
    /// # Errors
    /// The registry refuses, or answers with what is no list.
    pub fn referrers(&self, manifest: &Digest, kind: Option<&str>) -> Result<Vec<Value>> {
        let mut found = match self.listed(manifest, kind)? {
            Some(found) => found,
            None => match self.manifest(&tag(manifest)) {
                Ok((bytes, _)) => entries(&bytes)?,
                Err(Error::ManifestUnknown { .. }) => Vec::new(),
                Err(error) => return Err(error),
            },
        };
        // Registries need not choose.
        found.retain(|entry| kind.is_none_or(|kind| entry["artifactType"] == kind));
        Ok(found)
    }

    /// What the registry's own list says; none if it keeps none.
    fn listed(&self, manifest: &Digest, kind: Option<&str>) -> Result<Option<Vec<Value>>> {
        let client = self.client();
        let action = format!("list what refers to {manifest}");
        let query = kind.map_or_else(String::new, |kind| format!("?artifactType={}", client::escaped(kind)));
        let mut next = Some(client.at(&format!("referrers/{manifest}{query}"))?);
        let mut found = Vec::new();
        for page in 0..PAGES {
            let Some(at) = next else { return Ok(Some(found)) };
            let mut answer = client.send(Method::GET, &action, &at, &[("accept", OCI_INDEX)], Content::None)?;
            let header = |name| answer.headers().get(name).and_then(|h| h.to_str().ok()).unwrap_or_default();
            match answer.status() {
                status if status.is_success() => {}
                StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED if page == 0 => {
                    return Ok(None);
                }
                _ => return Err(client.refused(&action, answer)),
            }
            // A page for people answers anything.
            if page == 0 && !header("content-type").starts_with(OCI_INDEX) {
                return Ok(None);
            }
            next = client::next_page(header("link")).and_then(|link| at.join(link)).filter(|next| next.same_host(&at));
            let bytes =
                client::read(answer.body_mut(), document::MANIFEST).map_err(|why| client.failed(&action, why))?;
            found.extend(entries(&bytes)?);
            if found.len() > MOST {
                return Err(client.failed(&action, format!("there are more than {MOST} of them")));
            }
        }
        Err(client.failed(&action, format!("there are more than {PAGES} pages of them")))
    }
}

/// The entries of a list; each has a digest.
fn entries(bytes: &[u8]) -> Result<Vec<Value>> {
    let index: Map<String, Value> = document::read("index", "of referrers", bytes)?;
    let entries = index.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_one = |entry: &Value| entry["digest"].as_str().is_some_and(|digest| digest.parse::<Digest>().is_ok());
    match entries.iter().find(|entry| !is_one(entry)) {
        None => Ok(entries),
        Some(_) => Err(Error::Document {
            what: "index",
            name: "of referrers".into(),
            why: "an entry of it has no digest, or one that is not sha256".into(),
        }),
    }
}

/// Lists a manifest that was written among those that refer to its subject, in a registry that does not do so itself.
pub fn list(client: &Client<'_>, manifest: &[u8], media_type: &str) -> Result<()> {
    let read: Value = document::read("manifest", "that was written", manifest)?;
    let Some(subject) = read["subject"]["digest"].as_str().and_then(|digest| digest.parse::<Digest>().ok()) else {
        return Ok(());
    };
    let action = format!("list what refers to {subject}");
    let path = format!("manifests/{}", tag(&subject));
    let before = match client.get(&action, &path, &[("accept", OCI_INDEX)]) {
        Ok(mut answer) => {
            let bytes =
                client::read(answer.body_mut(), document::MANIFEST).map_err(|why| client.failed(&action, why))?;
            entries(&bytes)?
        }
        Err(Error::ManifestUnknown { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    let digest = Digest::of(manifest);
    if before.iter().any(|entry| entry["digest"] == digest.to_string()) {
        return Ok(());
    }
    let mut entry = json!({"mediaType": media_type, "digest": digest, "size": manifest.len()});
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    // Of a manifest that names no type, its configuration's is it.
    if let Some(kind) = text(&read["artifactType"]).or_else(|| text(&read["config"]["mediaType"])) {
        entry["artifactType"] = kind.into();
    }
    if read["annotations"].is_object() {
        entry["annotations"] = read["annotations"].clone();
    }
    let mut all = before;
    all.push(entry);
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": all});
    let bytes = serde_json::to_vec(&index).unwrap_or_default();
    let answer = client.send(
        Method::PUT,
        &action,
        &client.at(&path)?,
        &[("content-type", OCI_INDEX)],
        Content::Bytes(&bytes),
    )?;
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(client.refused(&action, answer)),
    }
}
