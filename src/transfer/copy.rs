//! One image from any origin to any destination: which blobs go as they are, which are compressed anew, what becomes of
//! the manifest; several layers at once.
//!
//! Must not know: what origins and destinations are.

use crate::compress;
use crate::convert::{self, Form, Layer};
use crate::destination::{Blob, Destination, Packing};
use crate::document;
use crate::encryption::{self, Keys, Opening, Sealing};
use crate::intake::Compression;
use crate::origin::{Leaf, Origin, Original};
use crate::plan::Place;
use crate::trust::Signature;
use crate::{Error, Progress, Result};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use store::chunked::{self, Chunked, Noted};
use types::Digest;

/// What is to become of an image on its way.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The form of the manifest; none means the one it has, if the destination takes that.
    pub form: Option<Form>,
    /// How plain layers are compressed where the destination wants them so; none means gzip.
    pub compression: Option<Compression>,
    /// Layers compressed in another way are compressed anew.
    pub force: bool,
    /// What is compressed by zstd becomes zstd:chunked.
    pub chunked: bool,
    /// Level of compression; none means the usual one.
    pub level: Option<i32>,
    /// Fail rather than change the manifest's digest.
    pub preserve: bool,
    /// What becomes of signatures.
    pub signatures: Signatures,
    /// Whose layers are decrypted, and for whom they are encrypted.
    pub keys: Keys,
}

/// What becomes of the signatures that an image came with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Signatures {
    /// They go along, and the manifest must not be changed.
    #[default]
    Keep,
    /// They go along if the manifest is not changed.
    IfValid,
    /// They stay behind.
    Drop,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its media type.
    pub media_type: String,
}

/// What becomes of one layer.
#[derive(Debug, Clone)]
struct Step {
    from: Option<Compression>,
    to: Option<Compression>,
    /// It becomes zstd:chunked.
    chunked: bool,
    /// It is decrypted before anything else.
    opening: Option<Opening>,
    /// It is encrypted after all else.
    sealing: Option<Sealing>,
    /// It takes the place of a layer as it came.
    instead: bool,
}

impl Step {
    /// It goes as it is.
    const NONE: Step = Step { from: None, to: None, chunked: false, opening: None, sealing: None, instead: false };

    fn recompresses(&self) -> bool {
        self.from != self.to || self.chunked
    }

    fn changes(&self) -> bool {
        self.recompresses() || self.opening.is_some() || self.sealing.is_some() || self.instead
    }
}

/// Copies `original`; `top` if it is the image that was asked for, and not one of an index.
pub fn copy(
    origin: &dyn Origin,
    original: &Original,
    destination: &dyn Destination,
    change: &Change,
    top: bool,
    progress: &dyn Progress,
) -> Result<Written> {
    let form = form(original, destination, change);
    let original = &as_it_came(origin, original, destination, form, change)?;
    let steps = original
        .layers
        .iter()
        .enumerate()
        .map(|(at, leaf)| match convert::is_image(original) {
            true => step(origin, leaf, (at, original.layers.len()), destination.packing(), form, change),
            // What an artifact holds is a file, whatever it is called.
            false => Ok(Step::NONE),
        })
        .collect::<Result<Vec<Step>>>()?;
    let own_form = original.manifest.as_ref().map(|(_, media_type)| Form::of(media_type));
    if form == Form::Docker && steps.iter().any(|step| step.sealing.is_some()) {
        let why = "encrypted layers have no place in Docker's schema 2: use the OCI format".into();
        return Err(Error::NoPlace { image: destination.title(), why });
    }
    if own_form != Some(form) || steps.iter().any(|step| step.changes()) {
        if change.preserve {
            return Err(Error::NotPreserved { destination: destination.title() });
        }
        if change.signatures == Signatures::Keep && !original.signatures.is_empty() {
            return Err(Error::Unsigned { destination: destination.title() });
        }
    }
    let mut coming: Vec<(Digest, Option<u64>)> = Vec::new();
    for (leaf, step) in original.layers.iter().zip(&steps) {
        if let Some((digest, size)) = known(leaf, step)
            && !coming.iter().any(|(other, _)| *other == digest)
        {
            coming.push((digest, size));
        }
    }
    destination.announce(&coming)?;
    let layers = layers(origin, original, destination, &steps, change, progress)?;
    progress.config(&Digest::of(&original.configuration));
    destination.configuration(&original.configuration)?;
    let (bytes, media_type) = convert::manifest(original, form, &layers)?;
    progress.manifest();
    destination.manifest(&bytes, &media_type, top)?;
    let digest = Digest::of(&bytes);
    let same = original.manifest.as_ref().is_some_and(|(own, _)| *own == bytes);
    let valid = if same && change.signatures != Signatures::Drop { &original.signatures[..] } else { &[] };
    destination.signatures(&digest, valid, top)?;
    Ok(Written { digest, bytes, media_type })
}

/// The image with those layers as they came whose bytes are not here any more, but where they go to, or in a place that they
/// can be taken from: then the manifest stays what it was.
fn as_it_came<'o>(
    origin: &dyn Origin,
    original: &'o Original,
    destination: &dyn Destination,
    form: Form,
    change: &Change,
) -> Result<Cow<'o, Original>> {
    let mut original = Cow::Borrowed(original);
    let count = original.layers.len();
    for at in 0..count {
        let Some(before) = original.layers[at].instead.clone() else { continue };
        let Place::Blob(digest, size) = before.place else { continue };
        let stays = !step(origin, &before, (at, count), destination.packing(), form, change)?.changes();
        if stays && destination.has(&digest, Some(size), &origin.repositories(&digest))? {
            original.to_mut().layers[at] = *before;
        }
    }
    Ok(original)
}

fn form(original: &Original, destination: &dyn Destination, change: &Change) -> Form {
    let own = original.manifest.as_ref().map(|(_, media_type)| Form::of(media_type));
    let form = destination.form().or(change.form).or(own).unwrap_or(Form::Oci);
    // zstd has no place in schema 2 that all readers know.
    let zstd = change.force && change.compression == Some(Compression::Zstd);
    let sealed = (0..original.layers.len()).any(|at| change.keys.seals(at, original.layers.len()));
    if (zstd || sealed) && destination.form().is_none() && change.form.is_none() { Form::Oci } else { form }
}

fn step(
    origin: &dyn Origin,
    leaf: &Leaf,
    (at, count): (usize, usize),
    packing: Packing,
    form: Form,
    change: &Change,
) -> Result<Step> {
    let plain = leaf.kind.strip_suffix(encryption::SUFFIX);
    let opening = match plain {
        // What only the holder of a key may read goes as it is.
        Some(_) if !change.keys.opens() => return Ok(Step::NONE),
        Some(_) => {
            let opened = change.keys.open(&leaf.annotations);
            let name = leaf.diff_id.map(|digest| digest.to_string()).unwrap_or_default();
            Some(opened.map_err(|why| Error::Document { what: "encrypted layer", name, why })?)
        }
        None => None,
    };
    let from = match convert::compression(plain.unwrap_or(&leaf.kind)) {
        None if leaf.kind.is_empty() => Some(look(origin, leaf)?),
        None => return Ok(Step::NONE),
        Some(compression) => Some(compression),
    };
    let wanted = change.compression.unwrap_or(Compression::Gzip);
    let to = match (packing, from) {
        (Packing::Plain, _) => Some(Compression::Plain),
        (Packing::Compressed, Some(Compression::Plain)) => Some(wanted),
        (_, Some(from)) if change.force && from != Compression::Plain && from != wanted => Some(wanted),
        (_, Some(Compression::Zstd)) if form == Form::Docker && packing != Packing::Plain => Some(Compression::Gzip),
        (_, from) => from,
    };
    // Forms that know no annotations, and readers that cannot see into a layer, have no use for a table.
    let chunked = change.chunked && to == Some(Compression::Zstd) && form == Form::Oci && !change.keys.seals(at, count);
    let has_table = leaf.annotations.contains_key(chunked::CHECKSUM);
    let chunked = chunked && (from != to || change.force && !has_table);
    let same = match &leaf.place {
        Place::Blob(digest, _) if from == to && !chunked => Some(*digest),
        _ => None,
    };
    let sealing = change.keys.seals(at, count).then(|| change.keys.seal(opening.as_ref().map_or(same, |o| o.digest)));
    Ok(Step { from, to, chunked, opening, sealing, instead: leaf.instead.is_some() })
}

/// How a layer is compressed that nobody tells of.
fn look(origin: &dyn Origin, leaf: &Leaf) -> Result<Compression> {
    let mut start = Vec::new();
    origin
        .layer(leaf)?
        .take(6)
        .read_to_end(&mut start)
        .map_err(|source| Error::Read { archive: origin.title().into(), source })?;
    Ok(Compression::of(&start))
}

/// Digest and size that the layer will have, as far as they are known before.
fn known(leaf: &Leaf, step: &Step) -> Option<(Digest, Option<u64>)> {
    if step.sealing.is_some() {
        return None;
    }
    if let (Some(opening), Place::Blob(_, size), false) = (&step.opening, &leaf.place, step.recompresses()) {
        // The cipher keeps the size.
        return opening.digest.map(|digest| (digest, Some(*size)));
    }
    match (&leaf.place, step.changes()) {
        (Place::Blob(digest, size), false) => Some((*digest, Some(*size))),
        (Place::Member { size, .. }, false) if step.to == Some(Compression::Plain) => {
            leaf.diff_id.map(|diff_id| (diff_id, *size))
        }
        (_, true) if step.to == Some(Compression::Plain) => leaf.diff_id.map(|diff_id| (diff_id, leaf.plain_size)),
        _ => None,
    }
}

fn layers(
    origin: &dyn Origin,
    original: &Original,
    destination: &dyn Destination,
    steps: &[Step],
    change: &Change,
    progress: &dyn Progress,
) -> Result<Vec<Layer>> {
    // Layers that occur twice are written once: the second takes the first one's result.
    let first: Vec<usize> = original
        .layers
        .iter()
        .enumerate()
        // Of two that are encrypted each has a key of its own, and one may be encrypted where the other is not.
        .map(|(at, leaf)| match steps.iter().any(|step| step.sealing.is_some()) {
            true => at,
            false => original.layers.iter().position(|other| other.place == leaf.place).unwrap_or(0),
        })
        .collect();
    let mut work: Vec<usize> = (0..first.len()).filter(|at| first[*at] == *at).collect();
    if destination.threads() > 1 {
        // The largest first: begun last, it would be waited for alone.
        let size = |at: &usize| match &original.layers[*at].place {
            Place::Blob(_, size) => Some(*size),
            Place::Member { size, .. } => *size,
        };
        work.sort_by_key(|at| std::cmp::Reverse(size(at)));
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<Result<Vec<Option<Layer>>>> = Mutex::new(Ok(vec![None; first.len()]));
    let run = || {
        loop {
            let Some(&at) = work.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            let result = layer(origin, &original.layers[at], destination, &steps[at], change, progress);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            match (done.as_mut(), result) {
                (Ok(layers), Ok(layer)) => layers[at] = Some(layer),
                // The first error counts, and ends the others after their layer.
                (Ok(_), Err(error)) => {
                    *done = Err(error);
                    next.store(work.len(), Ordering::Relaxed);
                }
                (Err(_), _) => {}
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..destination.threads().min(work.len()) {
            if std::thread::Builder::new().spawn_scoped(scope, run).is_err() {
                break;
            }
        }
        run();
    });
    let layers = done.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    Ok(first.iter().filter_map(|at| layers[*at].clone()).collect())
}

fn layer(
    origin: &dyn Origin,
    leaf: &Leaf,
    destination: &dyn Destination,
    step: &Step,
    change: &Change,
    progress: &dyn Progress,
) -> Result<Layer> {
    let known = known(leaf, step);
    let annotations = match step.recompresses() {
        true => Default::default(),
        false if step.opening.is_some() => encryption::others(&leaf.annotations),
        false => leaf.annotations.clone(),
    };
    let encrypted = step.sealing.is_some();
    let made =
        |(digest, size)| Layer { compression: step.to, changed: step.changes(), encrypted, digest, size, annotations };
    if let Some((digest, size)) = known
        && destination.has(&digest, size, &origin.repositories(&digest))?
    {
        progress.skipped(&digest);
        return Ok(made((digest, size.unwrap_or(0))));
    }
    let announced = match &leaf.place {
        Place::Blob(digest, _) => Some(*digest),
        Place::Member { .. } => leaf.diff_id,
    };
    let size = known.and_then(|(_, size)| size);
    progress.blob(announced.as_ref(), size);
    let failed = |source| Error::Read { archive: origin.title().into(), source };
    let table: Mutex<Noted> = Mutex::default();
    let open = || -> Result<Box<dyn Read + Send + '_>> {
        let mut bytes = origin.layer(leaf)?;
        if let Some(opening) = &step.opening {
            bytes = opening.reader(bytes);
        }
        if let (Some(from), true) = (step.from, step.chunked) {
            let plain = compress::convert(bytes, from, Compression::Plain, None).map_err(failed)?;
            let (reader, noted) = Chunked::new(plain, change.level.unwrap_or(compress::ZSTD)).map_err(failed)?;
            *table.lock().unwrap_or_else(PoisonError::into_inner) = noted;
            bytes = Box::new(reader);
        } else if let (Some(from), Some(to)) = (step.from, step.to)
            && from != to
        {
            bytes = compress::convert(bytes, from, to, change.level).map_err(failed)?;
        }
        Ok(match &step.sealing {
            Some(sealing) => sealing.reader(bytes),
            None => bytes,
        })
    };
    let laborious = step.recompresses() && step.to == Some(Compression::Plain);
    let digest = known.map(|(digest, _)| digest);
    let blob = Blob { digest, size, open: &open, laborious, announced, progress };
    let written = destination.write(&blob)?;
    progress.done(announced.as_ref());
    let mut layer = made(written);
    let table = table.into_inner().unwrap_or_else(PoisonError::into_inner);
    layer.annotations.extend(table.lock().unwrap_or_else(PoisonError::into_inner).clone());
    if let Some(sealing) = &step.sealing {
        let name = layer.digest.to_string();
        let noted = sealing.annotations().map_err(|why| Error::Document { what: "encrypted layer", name, why })?;
        layer.annotations.extend(noted);
    }
    Ok(layer)
}

/// Copies all that an index lists, and the index.
pub fn all(
    origin: &dyn Origin,
    read: &dyn Fn(&document::Descriptor) -> Result<Original>,
    (bytes, media_type, signatures): (&[u8], &str, &[Signature]),
    index: &document::Index,
    destination: &dyn Destination,
    change: &Change,
    progress: &dyn Progress,
) -> Result<Written> {
    let mut changed = Changed::new();
    for entry in &index.manifests {
        let written = copy(origin, &read(entry)?, destination, change, false, progress)?;
        if written.digest != entry.digest {
            changed.insert(entry.digest, (written.digest, written.bytes.len() as u64, written.media_type));
        }
    }
    self::index(bytes, media_type, signatures, &changed, destination, change)
}

/// Manifests that have become others: digest, size and media type by the digest they had.
pub type Changed = BTreeMap<Digest, (Digest, u64, String)>;

/// Writes an index, some of whose manifests have become others.
pub fn index(
    bytes: &[u8],
    media_type: &str,
    signatures: &[Signature],
    changed: &Changed,
    destination: &dyn Destination,
    change: &Change,
) -> Result<Written> {
    let form = destination.form().or(change.form).unwrap_or(Form::of(media_type));
    let same = changed.is_empty() && form == Form::of(media_type);
    let bytes = match same {
        true => bytes.to_vec(),
        false if change.signatures == Signatures::Keep && !signatures.is_empty() => {
            return Err(Error::Unsigned { destination: destination.title() });
        }
        false if change.preserve => return Err(Error::NotPreserved { destination: destination.title() }),
        false => convert::index(bytes, form, changed)?,
    };
    destination.manifest(&bytes, form.index(), true)?;
    let digest = Digest::of(&bytes);
    let valid = if same && change.signatures != Signatures::Drop { signatures } else { &[] };
    destination.signatures(&digest, valid, true)?;
    Ok(Written { digest, bytes, media_type: form.index().into() })
}
