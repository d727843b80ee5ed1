//! The parts of an archive or directory by name, however they are reached, and the three layouts that they may have:
//!
//! - OCI: `oci-layout`, `index.json`, `blobs/sha256/HEX` (OCI image specification, image-layout.md);
//! - `docker save`'s: `manifest.json`, an array of images with paths of configurations and layers, which may be links;
//! - `dir:`: `manifest.json`, the manifest of one image, and blobs called by their hex digits beside it.
//!
//! Newer `docker save` writes the first two at once; the OCI layout is taken then, since it has digests.
//!
//! Must not know: how layers get into the store.

use crate::document::{self, Descriptor, Index, Saved};
use crate::intake::Compression;
use crate::plan::{self, Documents, Found, Image, Layer, Place, Wanted};
use crate::trust::{self, Policy, Signature, Subject};
use crate::{Choice, Error, Result};
use std::io::Read;
use store::Candidate;
use types::Digest;

/// Parts by name.
pub trait Parts: Sync {
    /// What they are parts of, for errors.
    fn title(&self) -> &str;
    /// All bytes of a document, at most `limit`; none if there is no such part.
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>>;
    /// Where the layer `name` is, once links are followed.
    fn place(&self, name: &str) -> Result<Place>;
    /// True if layers were read before anything was asked for.
    fn begun(&self) -> bool {
        false
    }
    /// A layer.
    fn layer(&self, name: &str, diff_id: &Digest) -> Result<Supply<'_>>;
}

/// How a layer comes.
pub enum Supply<'a> {
    /// To be read.
    Bytes(Box<dyn Read + Send + 'a>),
    /// Read already while it passed by.
    Ready(Box<Candidate>, Compression),
}

/// What lies where.
#[derive(Debug)]
pub enum Layout {
    /// An OCI layout with its index.
    Oci(Index),
    /// What `docker save` writes.
    Docker(Vec<Saved>),
    /// `dir:`, with the manifest's bytes.
    Directory(Vec<u8>),
}

/// The layout that is demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Whichever it is.
    Any,
    /// `oci-archive:` and `oci:`.
    Oci,
    /// `docker-archive:`.
    Docker,
    /// `dir:`.
    Directory,
}

/// Parts with their layout.
pub struct Archive<'a> {
    parts: &'a dyn Parts,
    pub layout: Layout,
    /// Manifests of signatures, in an OCI layout.
    signed: Vec<Descriptor>,
}

/// What an archive holds for a name, as it stands there.
pub enum Whole {
    /// A manifest or an index, with its media type, which may be empty.
    Document { bytes: Vec<u8>, media_type: String },
    /// An image of `docker save`, which has no manifest.
    Saved(Box<Image>),
}

/// An image of an archive, before its configuration was looked at.
pub enum Pending<'a> {
    /// Of an OCI layout or a directory.
    Found(Box<Found>),
    /// Of `docker save`.
    Saved(&'a Saved),
}

impl<'a> Archive<'a> {
    /// Finds out which layout the parts have.
    pub fn open(parts: &'a dyn Parts, demand: Demand) -> Result<Archive<'a>> {
        let title = parts.title();
        // The list of the other layout is there: it is that one that is meant.
        let missing = |member: &str| {
            let (other, meant) = if member == "index.json" {
                ("manifest.json", "Docker's, named with docker-archive:")
            } else {
                ("index.json", "OCI's, named with oci-archive: or oci:")
            };
            let is_other = parts.read(other, document::MANIFEST).is_ok_and(|found| found.is_some());
            let hint = if is_other { format!(" (it is {meant})") } else { String::new() };
            let what = format!("the list of its images{hint}");
            Error::Missing { archive: title.into(), what, member: member.into() }
        };
        if matches!(demand, Demand::Any | Demand::Oci)
            && let Some(bytes) = parts.read("index.json", document::MANIFEST)?
        {
            let mut index: Index = document::read("index", "index.json", &bytes)?;
            // They are told from images by their names, and are none.
            let (signed, manifests) = index.manifests.into_iter().partition(plan::is_signature);
            index.manifests = manifests;
            return Ok(Archive { parts, layout: Layout::Oci(index), signed });
        }
        if demand == Demand::Oci {
            return Err(missing("index.json"));
        }
        let Some(bytes) = parts.read("manifest.json", document::MANIFEST)? else {
            return Err(match demand {
                Demand::Any if parts.read("repositories", document::MANIFEST)?.is_some() => Error::Unknown {
                    archive: title.into(),
                    why: "it was saved by a Docker older than 1.10, without manifest.json: save it again".into(),
                },
                Demand::Any => Error::Unknown {
                    archive: title.into(),
                    why: "it has neither index.json (OCI) nor manifest.json (docker save)".into(),
                },
                _ => missing("manifest.json"),
            });
        };
        let is_list = bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[');
        match (demand, is_list) {
            (Demand::Any | Demand::Docker, true) => {
                let saved: Vec<Saved> = document::read("manifest", "manifest.json", &bytes)?;
                if saved.len() > document::ENTRIES {
                    let why = format!("it lists {} images, at most {} are accepted", saved.len(), document::ENTRIES);
                    return Err(Error::Document { what: "manifest", name: "manifest.json".into(), why });
                }
                Ok(Archive { parts, layout: Layout::Docker(saved), signed: Vec::new() })
            }
            (Demand::Any | Demand::Directory, false) => {
                Ok(Archive { parts, layout: Layout::Directory(bytes), signed: Vec::new() })
            }
            (demand, _) => Err(Error::Unknown {
                archive: title.into(),
                why: format!(
                    "its manifest.json is not that of `{}`",
                    if demand == Demand::Docker { "docker-archive:" } else { "dir:" }
                ),
            }),
        }
    }

    /// All images.
    pub fn all(&self, wanted: &Wanted) -> Result<Vec<Pending<'_>>> {
        let images: Vec<Pending> = match &self.layout {
            Layout::Oci(index) => plan::all(self, index, wanted)?.into_iter().map(found).collect(),
            Layout::Docker(saved) => saved.iter().map(Pending::Saved).collect(),
            Layout::Directory(bytes) => vec![found(plan::top(self, "", bytes.clone(), wanted)?)],
        };
        if images.is_empty() {
            return Err(Error::Unknown { archive: self.title().into(), why: "it holds no image".into() });
        }
        Ok(images)
    }

    /// Judges an image by `policy`; `subject` is how it is called there. Gives the signatures that came with it.
    pub fn judge(&self, pending: &Pending<'_>, policy: Option<&Policy>, subject: &Subject) -> Result<Vec<Signature>> {
        let manifest = match pending {
            Pending::Found(found) => Some(&found.digest),
            Pending::Saved(_) => None,
        };
        if let Some(policy) = policy {
            policy.check(subject, manifest, &|digest, wanted| self.signatures(digest, wanted))?;
        }
        manifest.map_or(Ok(Vec::new()), |digest| self.signatures(digest, trust::Wanted::Known))
    }

    /// The image that `choice` means.
    pub fn chosen(&self, choice: &Choice, wanted: &Wanted) -> Result<Pending<'_>> {
        let saved = match &self.layout {
            Layout::Oci(index) => return Ok(found(plan::chosen(self, index, choice, wanted)?)),
            Layout::Directory(bytes) => return Ok(found(plan::top(self, "", bytes.clone(), wanted)?)),
            Layout::Docker(saved) => saved,
        };
        let held = || saved.iter().map(|s| s.repo_tags.first().unwrap_or(&s.config).clone()).collect::<Vec<_>>();
        let at = match choice {
            Choice::Only if saved.len() > 1 => {
                return Err(Error::Ambiguous { archive: self.title().into(), held: held() });
            }
            Choice::Only => Some(0),
            Choice::At(at) => Some(*at),
            Choice::Named(name) => saved
                .iter()
                .position(|s| plan::position(s.repo_tags.iter().map(|tag| Some(tag.as_str())), name).is_some()),
        };
        at.and_then(|at| saved.get(at)).map(Pending::Saved).ok_or_else(|| plan::no_such(self.title(), choice, held()))
    }

    /// What `choice` means, with all its platforms.
    pub fn whole(&self, choice: &Choice, wanted: &Wanted) -> Result<Whole> {
        match &self.layout {
            Layout::Oci(index) => {
                let (bytes, media_type) = plan::entry(self, index, choice, wanted)?;
                Ok(Whole::Document { bytes, media_type })
            }
            Layout::Directory(bytes) => Ok(Whole::Document { bytes: bytes.clone(), media_type: String::new() }),
            Layout::Docker(_) => {
                let image = self.complete(self.chosen(choice, wanted)?, wanted)?;
                Ok(Whole::Saved(Box::new(image)))
            }
        }
    }

    /// Reads the configuration of an image.
    pub fn complete(&self, pending: Pending<'_>, wanted: &Wanted) -> Result<Image> {
        match pending {
            Pending::Found(found) => plan::complete(self, *found, wanted),
            Pending::Saved(saved) => {
                let bytes = self.configuration(saved)?;
                plan::saved(self.title(), saved, bytes, |name| self.parts.place(name), wanted)
            }
        }
    }

    /// The configuration of an image of `docker save`.
    pub fn configuration(&self, saved: &Saved) -> Result<Vec<u8>> {
        self.part("configuration", &saved.config, document::CONFIGURATION)
    }

    /// The bytes of a layer.
    pub fn layer(&self, layer: &Layer) -> Result<Supply<'a>> {
        match &layer.place {
            Place::Blob(digest, _) => self.parts.layer(&self.name(digest), &layer.diff_id),
            Place::Member { name, .. } => self.parts.layer(name, &layer.diff_id),
        }
    }

    fn name(&self, digest: &Digest) -> String {
        match self.layout {
            Layout::Directory(_) => digest.hex(),
            _ => format!("blobs/sha256/{}", digest.hex()),
        }
    }

    fn part(&self, what: &str, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.parts.read(name, limit)?.ok_or_else(|| Error::Missing {
            archive: self.title().into(),
            what: what.into(),
            member: name.into(),
        })
    }
}

fn found<'a>(found: Found) -> Pending<'a> {
    Pending::Found(Box::new(found))
}

impl Documents for Archive<'_> {
    fn blob(&self, what: &'static str, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        let name = self.name(&descriptor.digest);
        // `dir:` keeps the manifests of a list under names of their own.
        if what == "manifest"
            && matches!(self.layout, Layout::Directory(_))
            && let Some(bytes) = self.parts.read(&format!("{name}.manifest.json"), limit)?
        {
            return Ok(bytes);
        }
        self.part(&format!("{what} {}", descriptor.digest), &name, limit)
    }

    fn signatures(&self, manifest: &Digest, _wanted: trust::Wanted) -> Result<Vec<Signature>> {
        let mut found = Vec::new();
        if let Layout::Directory(bytes) = &self.layout {
            let prefix = if Digest::of(bytes) == *manifest { String::new() } else { format!("{}.", manifest.hex()) };
            for number in 1..=trust::MOST {
                let name = format!("{prefix}signature-{number}");
                let Some(bytes) = self.parts.read(&name, trust::LARGEST_SIGNATURE)? else { break };
                let bad = |why| Error::Document { what: "signature", name: name.clone(), why };
                found.push(Signature::parse(&bytes).map_err(bad)?);
            }
        }
        for descriptor in
            self.signed.iter().filter(|d| plan::name_of(d).is_some_and(|n| n.ends_with(&trust::tag(manifest))))
        {
            let bytes = self.blob("manifest", descriptor, document::MANIFEST)?;
            document::verify("manifest", descriptor, &bytes)?;
            found.extend(trust::of_manifest(&bytes, &|layer, limit| self.blob("signature", layer, limit))?);
        }
        Ok(found)
    }

    fn title(&self) -> &str {
        self.parts.title()
    }
}
