//! Images from one place to another without the store, and what is told about an image without fetching it.
//!
//! Must not know: the store.

use crate::containers::Containers;
use crate::copy::{self, Written};
use crate::destination::Destination;
use crate::document::{self, Either};
use crate::origin::{Origin, Original};
use crate::parts::{Archive, Demand, Layout, Whole};
use crate::plan::{self, Documents, Wanted};
use crate::registry::Repository;
use crate::shelf::Shelf;
use crate::trust::{self, Subject};
use crate::{Choice, Error, Options, Progress, Result, Source, Wishes, daemon, reel, send, stream};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use types::Reference;

/// What is known of an image without its layers.
#[derive(Debug, Clone)]
pub struct Examined {
    /// The manifest as it was found: an index if it is one.
    pub raw: Vec<u8>,
    /// The manifest for the platform.
    pub manifest: Vec<u8>,
    /// Its configuration.
    pub configuration: Vec<u8>,
    /// Its layers: media type, digest, size, annotations.
    pub layers: Vec<document::Descriptor>,
}

/// Copies an image; with `all`, an index with everything that it lists.
///
/// # Errors
/// Names without a transport are the store's, and not for this function.
pub fn copy(
    from: &Source,
    from_options: &Options,
    to: &Source,
    to_options: &Options,
    wishes: &Wishes,
    all: bool,
    progress: &dyn Progress,
) -> Result<Written> {
    reading(from, from_options, |whole, documents, origin| {
        if let Some(policy) = &from_options.policy {
            let digest = match &whole {
                Whole::Saved(_) => None,
                Whole::Document { bytes, .. } if all => Some(types::Digest::of(bytes)),
                Whole::Document { bytes, media_type } => {
                    let wanted = Wanted::new(from_options.platform.as_ref());
                    Some(plan::top(documents, media_type, bytes.clone(), &wanted)?.digest)
                }
            };
            policy
                .check(&Subject::of(from), digest.as_ref(), &|digest, wanted| documents.signatures(digest, wanted))?;
        }
        let destination = send::open(to, to_options, wishes)?;
        progress.begin();
        let written = one(whole, documents, origin, from_options, &*destination, wishes, all, progress)?;
        destination.finish()?;
        Ok(written)
    })
}

#[allow(clippy::too_many_arguments)] // Both ends, and what is to happen between them.
fn one(
    whole: Whole,
    documents: &dyn Documents,
    origin: &dyn Origin,
    options: &Options,
    destination: &dyn Destination,
    wishes: &Wishes,
    all: bool,
    progress: &dyn Progress,
) -> Result<Written> {
    let wanted = Wanted::new(options.platform.as_ref());
    let original = match whole {
        Whole::Saved(image) => Original::saved(*image),
        Whole::Document { bytes, media_type } => {
            if all && let Either::Index(index) = document::either("", &media_type, &bytes)? {
                let media_type = document::media_type(&bytes).unwrap_or(media_type);
                let read = |entry: &document::Descriptor| {
                    let bytes = documents.blob("manifest", entry, document::MANIFEST)?;
                    document::verify("manifest", entry, &bytes)?;
                    Original::of(documents, plan::manifest(&entry.media_type, bytes)?)
                };
                let signatures = documents.signatures(&types::Digest::of(&bytes), trust::Wanted::Known)?;
                let top = (&bytes[..], media_type.as_str(), &signatures[..]);
                return copy::all(origin, &read, top, &index, destination, &wishes.change, progress);
            }
            Original::of(documents, plan::top(documents, &media_type, bytes, &wanted)?)?
        }
    };
    copy::copy(origin, &original, destination, &wishes.change, true, progress)
}

/// Reads what is told about an image: its manifest and configuration. Of an image for several platforms, the one that
/// the options name, or the native one.
pub fn examine(from: &Source, options: &Options) -> Result<Examined> {
    let wanted = Wanted::new(options.platform.as_ref());
    reading(from, options, |whole, documents, _| match whole {
        Whole::Saved(image) => {
            let layers = image.layers.iter().map(|layer| document::Descriptor {
                media_type: crate::Form::Docker.layer(crate::Compression::Plain).into(),
                digest: layer.diff_id,
                size: 0,
                annotations: Default::default(),
                platform: None,
            });
            let made = image.layers.iter().map(|layer| store::Descriptor {
                media_type: crate::Form::Docker.layer(crate::Compression::Plain).into(),
                digest: layer.diff_id,
                size: 0,
            });
            let manifest = store::Manifest::synthesise(&image.configuration, made.collect());
            Ok(Examined {
                raw: manifest.clone(),
                manifest,
                layers: layers.collect(),
                configuration: image.configuration,
            })
        }
        Whole::Document { bytes, media_type } => {
            let found = plan::top(documents, &media_type, bytes.clone(), &wanted)?;
            let (manifest, layers) = (found.bytes.clone(), found.manifest.layers.clone());
            Ok(Examined { raw: bytes, manifest, layers, configuration: Original::of(documents, found)?.configuration })
        }
    })
}

/// The manifest or index of an image as it stands there, without anything that it refers to.
pub fn raw(from: &Source, options: &Options) -> Result<Vec<u8>> {
    reading(from, options, |whole, _, _| match whole {
        Whole::Document { bytes, .. } => Ok(bytes),
        Whole::Saved(_) => Err(Error::NotFetched(format!("{from} has no manifest of its own, and"))),
    })
}

/// An index of the manifests that refer to an image in its registry; with `kind` only of artifacts of that type.
pub fn referrers(name: &Reference, kind: Option<&str>, options: &Options) -> Result<Vec<u8>> {
    let repository = Repository::new(name, &options.registry)?;
    let manifest = match name.digest {
        Some(digest) => digest,
        None => types::Digest::of(&repository.top()?.0),
    };
    let found = repository.referrers(&manifest, kind)?;
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": document::OCI_INDEX, "manifests": found});
    Ok(serde_json::to_vec(&index).unwrap_or_default())
}

/// The tags of a repository, in the registry's order.
pub fn tags(name: &Reference, options: &Options) -> Result<Vec<String>> {
    Repository::new(name, &options.registry)?.tags()
}

/// The names of all images in an archive of Docker's.
pub fn archive_tags(path: &Path) -> Result<Vec<String>> {
    let shelf = open(path)?;
    match Archive::open(&shelf, Demand::Docker)?.layout {
        Layout::Docker(saved) => Ok(saved.into_iter().flat_map(|image| image.repo_tags).collect()),
        _ => Ok(Vec::new()),
    }
}

/// Opens `from`, and does something with what is in it.
pub(crate) fn reading<T>(
    from: &Source,
    options: &Options,
    act: impl FnOnce(Whole, &dyn Documents, &dyn Origin) -> Result<T>,
) -> Result<T> {
    let (path, choice, demand) = match from {
        Source::OciArchive(path, choice) => (path, choice, Demand::Oci),
        Source::DockerArchive(path, choice) => (path, choice, Demand::Docker),
        Source::OciDirectory(path, choice) => (path, choice, Demand::Oci),
        Source::Directory(path) => (path, &Choice::Only, Demand::Directory),
        Source::Registry(name) => {
            let repository = Repository::new(name, &options.registry)?;
            let (bytes, media_type) = repository.top()?;
            return act(Whole::Document { bytes, media_type }, &repository, &repository);
        }
        Source::Containers(root, name) => {
            let store = Containers::open(root.as_deref().unwrap_or(&options.registry.containers))?;
            return act(Whole::Saved(Box::new(store.image(name)?)), &store, &store);
        }
        Source::Daemon(name) => {
            let mut file = unnamed(&mut daemon::get(&options.registry.daemon, name)?, Path::new("docker save"))?;
            file.rewind().map_err(|source| Error::Read { archive: from.to_string(), source })?;
            let shelf = Shelf::tar(file, &from.to_string())?;
            let archive = Archive::open(&shelf, Demand::Docker)?;
            let whole = archive.whole(&Choice::Only, &Wanted::new(options.platform.as_ref()))?;
            return act(whole, &archive, &archive);
        }
        Source::Name(name) => return Err(Error::NotFetched(name.to_string())),
    };
    let shelf = open(path)?;
    let archive = Archive::open(&shelf, demand)?;
    let whole = archive.whole(choice, &Wanted::new(options.platform.as_ref()))?;
    act(whole, &archive, &archive)
}

/// Opens a directory or an archive; one that is compressed as a whole is decompressed into a file without a name.
fn open(path: &Path) -> Result<Shelf> {
    let failed = |action| move |source| Error::File { action, path: path.into(), source };
    let mut file = File::open(path).map_err(failed("open"))?;
    if file.metadata().map_err(failed("read"))?.is_dir() {
        return Shelf::directory(path);
    }
    let title = path.display().to_string();
    if let Some(mut reader) = stream::decompressed(&mut file, &title)? {
        return Shelf::tar(unnamed(&mut reader, path)?, &title);
    }
    file.rewind().map_err(failed("read"))?;
    Shelf::tar(file, &title)
}

/// What `reader` gives, in a file without a name.
fn unnamed(reader: &mut dyn Read, path: &Path) -> Result<File> {
    let failed = |source| Error::File { action: "unpack", path: path.into(), source };
    let mut plain = reel::unnamed().map_err(failed)?;
    std::io::copy(reader, &mut plain).map_err(failed)?;
    Ok(plain)
}
