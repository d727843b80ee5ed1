//! Images from registries (OCI distribution specification, "Pull"; Docker's registry API v2 is the same).
//!
//! Must not know: short names and mirrors (the caller names the registry), the environment.

mod address;
mod blob;
mod client;
mod credential;

use crate::document::{self, Descriptor};
use crate::parts::Supply;
use crate::plan::{self, Documents, Found, Layer, Place, Wanted};
use crate::{Error, Registry, Result};
use blob::Blob;
use client::Client;
use types::{Digest, Reference};

/// Layers that are fetched at once.
pub const THREADS: usize = 3;

/// A repository of a registry.
pub struct Repository<'a> {
    client: Client<'a>,
    name: Reference,
    title: String,
}

impl<'a> Repository<'a> {
    /// The repository of `name`. Nothing is sent yet.
    pub fn new(name: &Reference, options: &'a Registry) -> Repository<'a> {
        let name = address::full_name(name);
        let domain = name.domain.clone().unwrap_or_default();
        Repository { client: Client::new(options, &domain, &name.path), title: name.to_string(), name }
    }

    /// Reads the manifest of the image, for the platform wanted.
    pub fn find(&self, wanted: &Wanted) -> Result<Found> {
        let (bytes, media_type) = match (&self.name.digest, &self.name.tag) {
            (Some(digest), _) => {
                let (bytes, media_type) = self.manifest(&digest.to_string())?;
                let found = Digest::of(&bytes);
                if found != *digest {
                    return Err(Error::Mismatch {
                        what: "manifest",
                        digest: *digest,
                        property: "digest",
                        found: found.to_string(),
                    });
                }
                (bytes, media_type)
            }
            (None, tag) => self.manifest(tag.as_deref().unwrap_or("latest"))?,
        };
        let mut found = plan::top(self, &media_type, bytes, wanted)?;
        found.names = vec![self.title.clone()];
        Ok(found)
    }

    /// A layer, to be read.
    pub fn layer(&self, layer: &Layer) -> Result<Supply<'_>> {
        match &layer.place {
            Place::Blob(digest, size) => Ok(Supply::Bytes(Box::new(Blob::new(&self.client, *digest, *size)))),
            Place::Member { name, .. } => Err(Error::Missing {
                archive: self.title.clone(),
                what: format!("layer {}", layer.diff_id),
                member: name.clone(),
            }),
        }
    }

    fn manifest(&self, reference: &str) -> Result<(Vec<u8>, String)> {
        let accept =
            [document::OCI_INDEX, document::OCI_MANIFEST, document::DOCKER_LIST, document::DOCKER_MANIFEST].join(", ");
        let action = format!("read manifest {reference}");
        let mut answer = self.client.get(&action, &format!("manifests/{reference}"), &[("accept", &accept)])?;
        let header = |name| answer.headers().get(name).and_then(|h| h.to_str().ok()).map(str::to_owned);
        let media_type = header("content-type").unwrap_or_default();
        let said: Option<Digest> = header("docker-content-digest").and_then(|d| d.parse().ok());
        let bytes =
            client::read(answer.body_mut(), document::MANIFEST).map_err(|why| self.client.failed(&action, why))?;
        let found = Digest::of(&bytes);
        if let Some(digest) = said.filter(|said| *said != found) {
            return Err(Error::Mismatch { what: "manifest", digest, property: "digest", found: found.to_string() });
        }
        let media_type = media_type.split(';').next().unwrap_or("").trim().to_owned();
        // Servers of plain files know no media types.
        Ok((bytes, if media_type.starts_with("application/vnd.") { media_type } else { String::new() }))
    }
}

impl Documents for Repository<'_> {
    fn blob(&self, what: &'static str, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        if what == "manifest" {
            return Ok(self.manifest(&descriptor.digest.to_string())?.0);
        }
        let action = format!("read {what} {}", descriptor.digest);
        let mut answer = self.client.get(&action, &format!("blobs/{}", descriptor.digest), &[])?;
        client::read(answer.body_mut(), limit).map_err(|why| self.client.failed(&action, why))
    }

    fn title(&self) -> &str {
        &self.title
    }
}
