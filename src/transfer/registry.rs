//! Images from registries (OCI distribution specification, "Pull"; Docker's registry API v2 is the same).
//!
//! Must not know: what short names mean (the caller names the registry), the environment.

pub mod address;
mod blob;
mod client;
pub mod credential;
mod page;
pub mod push;
mod referrers;
pub mod search;
mod tls;
mod token;

use crate::document::{self, Descriptor};
use crate::parts::Supply;
use crate::plan::{self, Documents, Found, Layer, Wanted};
use crate::registries::Place;
use crate::trust::{self, Signature};
use crate::{Error, Registry, Result};
pub use address::full_name;
use blob::Blob;
pub use client::escaped;
use client::{Client, Content};
pub use page::Page;
use std::sync::atomic::{AtomicUsize, Ordering};
pub use token::known;
use types::{Digest, Reference};
use ureq::http::Method;

/// Layers that are fetched at once.
pub const THREADS: usize = 3;
/// Most pages of a list of tags.
const PAGES: usize = 1000;

/// A repository of a registry.
pub struct Repository<'a> {
    /// Where it is: mirrors, then the registry itself.
    places: Vec<Client<'a>>,
    /// The place that has answered.
    chosen: AtomicUsize,
    name: Reference,
    title: String,
}

impl<'a> Repository<'a> {
    /// The repository of `name`. Nothing is sent yet.
    ///
    /// # Errors
    /// The configuration blocks it.
    pub fn new(name: &Reference, options: &'a Registry) -> Result<Repository<'a>> {
        let name = address::full_name(name);
        let client = |place: Place| {
            let at = address::full_name(&place.name);
            Client::new(options, &at.domain.unwrap_or_default(), &at.path, "pull").without_tls(place.insecure)
        };
        let places = options.registries.places(&name)?.into_iter().map(client).collect();
        Ok(Repository { places, chosen: AtomicUsize::new(0), title: name.to_string(), name })
    }

    fn client(&self) -> &Client<'a> {
        // There is one at least, and the number is that of one of them.
        &self.places[self.chosen.load(Ordering::Relaxed)]
    }

    /// The manifest or index that the name stands for, with its media type, which may be empty. The first place that has
    /// it serves the rest, too.
    pub fn top(&self) -> Result<(Vec<u8>, String)> {
        let mut result = self.top_here();
        for next in 1..self.places.len() {
            if result.is_ok() {
                break;
            }
            self.chosen.store(next, Ordering::Relaxed);
            result = self.top_here();
        }
        result
    }

    fn top_here(&self) -> Result<(Vec<u8>, String)> {
        match (&self.name.digest, &self.name.tag) {
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
                Ok((bytes, media_type))
            }
            (None, tag) => self.manifest(tag.as_deref().unwrap_or("latest")),
        }
    }

    /// Reads the manifest of the image, for the platform wanted.
    pub fn find(&self, wanted: &Wanted) -> Result<Found> {
        let (bytes, media_type) = self.top()?;
        let mut found = plan::top(self, &media_type, bytes, wanted)?;
        found.names = vec![self.title.clone()];
        Ok(found)
    }

    /// The tags of the repository, page by page (distribution specification, "Listing Tags").
    pub fn tags(&self) -> Result<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let action = "list tags";
        let mut tags = Vec::new();
        let mut next = Some(self.client().at("tags/list")?);
        for _ in 0..PAGES {
            let Some(at) = next else { return Ok(tags) };
            let mut answer = self.client().send(Method::GET, action, &at, &[], Content::None)?;
            if !answer.status().is_success() {
                return Err(self.client().refused(action, answer));
            }
            let link = answer.headers().get("link").and_then(|h| h.to_str().ok()).and_then(client::next_page);
            next = link.and_then(|link| at.join(link)).filter(|next| next.same_host(&at));
            let bytes =
                client::read(answer.body_mut(), document::MANIFEST).map_err(|why| self.client().failed(action, why))?;
            let page: Page = serde_json::from_slice(&bytes).map_err(|e| self.client().failed(action, e.to_string()))?;
            tags.extend(page.tags.unwrap_or_default().into_iter().filter(|tag| types::reference::is_tag(tag)));
        }
        Err(self.client().failed(action, format!("there are more than {PAGES} pages of them")))
    }

    /// Domain and path of the repository.
    pub fn place(&self) -> (String, String) {
        (self.client().domain.clone(), self.client().path.clone())
    }

    /// A blob, to be read.
    pub fn blob(&self, digest: Digest, size: u64) -> Box<dyn std::io::Read + Send + '_> {
        Box::new(Blob::new(self.client(), digest, size))
    }

    /// A layer, to be read.
    pub fn layer(&self, layer: &Layer) -> Result<Supply<'_>> {
        match &layer.place {
            plan::Place::Blob(digest, size) => Ok(Supply::Bytes(Box::new(Blob::new(self.client(), *digest, *size)))),
            plan::Place::Member { name, .. } => Err(Error::Missing {
                archive: self.title.clone(),
                what: format!("layer {}", layer.diff_id),
                member: name.clone(),
            }),
        }
    }

    fn blob_bytes(&self, what: &str, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        let action = format!("read {what} {}", descriptor.digest);
        let mut answer = self.client().get(&action, &format!("blobs/{}", descriptor.digest), &[])?;
        // What is longer than announced is wrong, and need not be read.
        let limit = limit.min(descriptor.size);
        client::read(answer.body_mut(), limit).map_err(|why| self.client().failed(&action, why))
    }

    fn manifest(&self, reference: &str) -> Result<(Vec<u8>, String)> {
        let accept =
            [document::OCI_INDEX, document::OCI_MANIFEST, document::DOCKER_LIST, document::DOCKER_MANIFEST].join(", ");
        let action = format!("read manifest {reference}");
        let mut answer = self.client().get(&action, &format!("manifests/{reference}"), &[("accept", &accept)])?;
        let header = |name| answer.headers().get(name).and_then(|h| h.to_str().ok()).map(str::to_owned);
        let media_type = header("content-type").unwrap_or_default();
        let said: Option<Digest> = header("docker-content-digest").and_then(|d| d.parse().ok());
        let bytes =
            client::read(answer.body_mut(), document::MANIFEST).map_err(|why| self.client().failed(&action, why))?;
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
        self.blob_bytes(what, descriptor, limit)
    }

    fn signatures(&self, manifest: &Digest, wanted: trust::Wanted) -> Result<Vec<Signature>> {
        let (options, lookaside) = (self.client().options, &self.client().options.lookaside);
        let mut found = match wanted {
            trust::Wanted::Sigstore => Vec::new(),
            _ => lookaside.signatures(&self.name, manifest, options)?,
        };
        let attached = match wanted {
            trust::Wanted::Simple => false,
            trust::Wanted::Sigstore => true,
            trust::Wanted::Known => lookaside.attached(&self.name),
        };
        if !attached {
            return Ok(found);
        }
        found.extend(self.attached(manifest)?);
        if found.is_empty() {
            found.extend(self.referring(manifest)?);
        }
        Ok(found)
    }

    fn title(&self) -> &str {
        &self.title
    }
}

impl Repository<'_> {
    /// The signatures that are attached to a manifest.
    fn attached(&self, manifest: &Digest) -> Result<Vec<Signature>> {
        match self.manifest(&trust::tag(manifest)) {
            Ok((bytes, _)) => trust::of_manifest(&bytes, &|layer, limit| self.blob_bytes("signature", layer, limit)),
            Err(Error::ManifestUnknown { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Those that refer to a manifest, as cosign writes them where registries list such.
    fn referring(&self, manifest: &Digest) -> Result<Vec<Signature>> {
        let mut found = Vec::new();
        for entry in self.referrers(manifest, Some(trust::ARTIFACT))?.into_iter().take(trust::MOST) {
            let descriptor: Descriptor = serde_json::from_value(entry).map_err(|e| Error::Document {
                what: "index",
                name: "of referrers".into(),
                why: e.to_string(),
            })?;
            let (bytes, _) = self.manifest(&descriptor.digest.to_string())?;
            document::verify("manifest", &descriptor, &bytes)?;
            found.extend(trust::of_manifest(&bytes, &|layer, limit| self.blob_bytes("signature", layer, limit))?);
        }
        Ok(found)
    }
}

/// Tries the login of `options` at a registry.
pub fn check_login(domain: &str, options: &Registry) -> Result<()> {
    Client::new(options, domain, "", "pull").check_login().map(drop)
}
