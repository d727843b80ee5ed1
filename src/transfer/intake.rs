//! Brings images into the store: the layers that are missing, several at once, and then each image in one transaction.
//!
//! A layer that the store has in the same form (same blob, same diff id, both verified when it came) is not read again.
//!
//! Must not know: where layers come from.

use crate::parts::Supply;
use crate::plan::{Image, Layer, Place};
use crate::{Error, Loaded, Progress, Result};
use std::collections::HashMap;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use store::{Candidate, Descriptor, Expect, Manifest, NewImage, Store};
use types::Digest;

/// Where layers come from, by layer.
pub type Source<'a> = dyn Fn(&Layer) -> Result<Supply<'a>> + Sync + 'a;

/// Layers that are brought in at once from a file: each keeps two threads busy, but not evenly.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get()).min(8)
}

/// True if the store has the layer of this blob, or of this diff id.
pub fn has(store: &Store, digest: &Digest) -> Result<bool> {
    Ok(store.known_blob(digest)?.is_some())
}

/// The image `id`, if the store has it with all of `names` and, where that is known before, the same manifest.
pub fn known(store: &Store, id: &Digest, manifest: Option<&Digest>, names: Vec<String>) -> Result<Option<Loaded>> {
    let image = match store.find_image(&id.to_string()) {
        Ok(image) => image,
        Err(store::Error::NoSuchImage { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let same = image.id == *id
        && manifest.is_none_or(|digest| image.manifest == *digest)
        && names.iter().all(|name| image.names.contains(name));
    Ok(same.then_some(Loaded { id: *id, names, known: true }))
}

/// Brings `images` into the store, in their order, with up to `threads` layers at once, each of which loses its blob at once if
/// `drop_blobs`.
///
/// # Errors
/// The first that was met, before any image was committed; or that of a commit, which the images before it survive.
pub fn bring(
    store: &Store,
    images: Vec<Image>,
    source: &Source<'_>,
    threads: usize,
    drop_blobs: bool,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>> {
    // The store reads more of a configuration than has been read so far: what it would refuse must not come after an image that
    // it has taken.
    images.iter().try_for_each(|image| store::Configuration::parse(&image.configuration).map(drop))?;
    let missing = missing(store, &images, progress)?;
    let mut candidates = ingest(store, missing, source, threads, drop_blobs, progress)?;
    images.into_iter().map(|image| commit(store, image, &mut candidates, progress)).collect()
}

/// What was read, by [`key`].
type Candidates = HashMap<Digest, (Candidate, Compression)>;

/// What makes a layer the same as another: its blob or, where blobs have no digests, its contents.
fn key(layer: &Layer) -> Digest {
    match layer.place {
        Place::Blob(digest, _) => digest,
        Place::Member { .. } => layer.diff_id,
    }
}

/// Layers that must be read, each once, the largest first: the last one to end should be a small one.
fn missing(store: &Store, images: &[Image], progress: &dyn Progress) -> Result<Vec<Layer>> {
    let mut missing: Vec<Layer> = Vec::new();
    for layer in images.iter().flat_map(|image| &image.layers) {
        if missing.iter().any(|other| key(other) == key(layer)) {
            continue;
        }
        let (there, digest) = match &layer.place {
            Place::Blob(digest, _) => (store.has_layer(digest, &layer.diff_id)?, digest),
            Place::Member { .. } => (has(store, &layer.diff_id)?, &layer.diff_id),
        };
        if there {
            progress.skipped(digest);
        } else {
            missing.push(layer.clone());
        }
    }
    missing.sort_by_key(|layer| match layer.place {
        Place::Blob(_, size) => std::cmp::Reverse(size),
        Place::Member { size, .. } => std::cmp::Reverse(size.unwrap_or(0)),
    });
    Ok(missing)
}

fn ingest(
    store: &Store,
    layers: Vec<Layer>,
    source: &Source<'_>,
    threads: usize,
    drop_blobs: bool,
    progress: &dyn Progress,
) -> Result<Candidates> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Result<Candidates>> = Mutex::new(Ok(HashMap::new()));
    let work = || {
        loop {
            let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            let result = read(store, layer, source, progress).and_then(|(mut candidate, compression)| {
                if drop_blobs {
                    store.drop_blob(&mut candidate)?;
                }
                Ok((candidate, compression))
            });
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            match (done.as_mut(), result) {
                (Ok(candidates), Ok(read)) => drop(candidates.insert(key(layer), read)),
                // The first error counts, and ends the others after their layer.
                (Ok(_), Err(error)) => {
                    *done = Err(error);
                    next.store(layers.len(), Ordering::Relaxed);
                }
                (Err(_), _) => {}
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(layers.len()) {
            // Whoever may have no more threads does with those there are.
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn read(
    store: &Store,
    layer: &Layer,
    source: &Source<'_>,
    progress: &dyn Progress,
) -> Result<(Candidate, Compression)> {
    let (digest, size) = match &layer.place {
        Place::Blob(digest, size) => (Some(*digest), Some(*size)),
        Place::Member { size, .. } => (None, *size),
    };
    match source(layer)? {
        Supply::Ready(candidate, compression) => {
            check(&candidate, layer, digest, size)?;
            Ok((*candidate, compression))
        }
        Supply::Bytes(bytes) => {
            let announced = digest.unwrap_or(layer.diff_id);
            progress.blob(Some(&announced), size);
            let mut told = Told { bytes, progress, announced, start: [0; 4], seen: 0 };
            let expect = Expect { digest, size, diff_id: Some(layer.diff_id) };
            let candidate = store.ingest_layer(&mut told, expect)?;
            progress.done(Some(&announced));
            Ok((candidate, Compression::of(&told.start)))
        }
    }
}

/// Checks a layer that was read before anything was known about it.
fn check(candidate: &Candidate, layer: &Layer, digest: Option<Digest>, size: Option<u64>) -> Result<()> {
    let blob = digest.unwrap_or(candidate.digest()).to_string();
    let differs = |what, found: String, expected: String| {
        Err(Error::Store(store::Error::Mismatch { blob: blob.clone(), what, found, expected }))
    };
    if let Some(digest) = digest.filter(|digest| *digest != candidate.digest()) {
        return differs("digest", candidate.digest().to_string(), digest.to_string());
    }
    if let Some(size) = size.filter(|size| *size != candidate.size()) {
        return differs("size", candidate.size().to_string(), size.to_string());
    }
    if candidate.diff_id() != layer.diff_id {
        return differs("diff id", candidate.diff_id().to_string(), layer.diff_id.to_string());
    }
    Ok(())
}

fn commit(store: &Store, image: Image, candidates: &mut Candidates, progress: &dyn Progress) -> Result<Loaded> {
    progress.config(&image.id);
    let (manifest, media_type) = match image.manifest {
        Some((bytes, media_type)) => (bytes, media_type),
        None => (made(store, &image, candidates)?, store::OCI_MANIFEST),
    };
    progress.manifest();
    // Layers that images share come with the first of them.
    let candidates = image.layers.iter().filter_map(|layer| candidates.remove(&key(layer))).map(|(c, _)| c).collect();
    let committed = store.commit_image(NewImage {
        manifest: &manifest,
        media_type,
        config: &image.configuration,
        names: &image.names,
        candidates,
    })?;
    Ok(Loaded { id: committed.id, names: image.names, known: false })
}

/// A manifest for an image that came without one, from the layers as they came or as the store has them.
fn made(store: &Store, image: &Image, candidates: &Candidates) -> Result<Vec<u8>> {
    let mut layers = Vec::with_capacity(image.layers.len());
    for layer in &image.layers {
        let (digest, size, compression) = match candidates.get(&key(layer)) {
            Some((candidate, compression)) => (candidate.digest(), candidate.size(), *compression),
            None => {
                let gone = store::Error::MissingLayer { digest: layer.diff_id };
                let (digest, size) = store.known_blob(&layer.diff_id)?.ok_or(gone)?;
                (digest, size, stored(store, &digest)?)
            }
        };
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{}", compression.suffix());
        layers.push(Descriptor { media_type, digest, size });
    }
    Ok(Manifest::synthesise(&image.configuration, layers))
}

/// The compression of a blob of the store.
fn stored(store: &Store, digest: &Digest) -> Result<Compression> {
    if let Some(compression) = store.dropped(digest)? {
        return Ok(match compression.as_str() {
            "gzip" => Compression::Gzip,
            "zstd" => Compression::Zstd,
            _ => Compression::Plain,
        });
    }
    let mut start = [0; 4];
    let failed = |source| Error::File { action: "read", path: format!("blob {digest} of the store").into(), source };
    let file = store.blob(digest)?.ok_or(store::Error::MissingLayer { digest: *digest })?;
    let got = file.read_at(&mut start, 0).map_err(failed)?;
    Ok(Compression::of(&start[..got]))
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Told by the first bytes.
    pub fn of(start: &[u8]) -> Compression {
        match crate::stream::compression(start) {
            Some("gzip") => Compression::Gzip,
            Some("zstd") => Compression::Zstd,
            _ => Compression::Plain,
        }
    }

    /// What it adds to the media type of a layer.
    pub fn suffix(self) -> &'static str {
        match self {
            Compression::Plain => "",
            Compression::Gzip => "+gzip",
            Compression::Zstd => "+zstd",
        }
    }
}

/// A layer's bytes, with what is told and remembered of them on the way.
struct Told<'a> {
    bytes: Box<dyn Read + Send + 'a>,
    progress: &'a dyn Progress,
    announced: Digest,
    start: [u8; 4],
    seen: usize,
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.bytes.read(buffer)?;
        if self.seen < self.start.len() {
            let more = got.min(self.start.len() - self.seen);
            self.start[self.seen..self.seen + more].copy_from_slice(&buffer[..more]);
            self.seen += more;
        }
        self.progress.bytes(Some(&self.announced), got as u64);
        Ok(got)
    }
}
