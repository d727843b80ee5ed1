//! Lists: indexes that are put together of images wherever those are, changed entry by entry, and written together with
//! their images.
//!
//! What is known about an entry is read from the image once, when it is added: digest, size, and the platform that its
//! configuration tells. Its layers are read when the list is written, from where the image was found.
//!
//! Must not know: where lists are kept.

use crate::copy::{self, Change, Written};
use crate::destination::Destination;
use crate::document::{self, Descriptor, Either, OCI_INDEX};
use crate::origin::{Original, Stored};
use crate::plan::{self, Wanted};
use crate::trust::Subject;
use crate::{Compression, Error, Options, Progress, Result, Source, Wishes, between, send};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use store::{Image, Store};
use types::{Digest, Platform};

/// An index that is put together.
#[derive(Debug, Clone, PartialEq)]
pub struct Index(Map<String, Value>);

/// What is noted beside an entry, or the index itself. What is none or empty stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Annotations.
    pub annotations: Vec<(String, String)>,
    /// Architecture.
    pub architecture: Option<String>,
    /// Features of the processor.
    pub features: Vec<String>,
    /// Operating system.
    pub os: Option<String>,
    /// Features of the operating system.
    pub os_features: Vec<String>,
    /// Version of the operating system.
    pub os_version: Option<String>,
    /// Variant of the architecture.
    pub variant: Option<String>,
}

/// An image that may be in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its descriptor.
    descriptor: Value,
}

/// Where an image of a list is.
pub enum Member {
    /// In the store.
    Stored(Box<Image>),
    /// Elsewhere, among what this source holds.
    Elsewhere(Source),
}

impl Default for Index {
    fn default() -> Index {
        let Value::Object(made) = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}) else {
            return Index(Map::new());
        };
        Index(made)
    }
}

impl Entry {
    /// The entry of an image of the store.
    pub fn stored(store: &Store, image: &Image) -> Result<Entry> {
        let original = Original::stored(store, image)?;
        let size = original.manifest.as_ref().map_or(0, |(bytes, _)| bytes.len());
        Ok(Entry::new(image.manifest, size, &image.media_type, platform(&original.configuration)))
    }

    /// The entry of a manifest of `size` bytes.
    pub fn new(digest: Digest, size: usize, media_type: &str, platform: Value) -> Entry {
        let mut descriptor = json!({"mediaType": media_type, "digest": digest, "size": size});
        if !platform.is_null() {
            descriptor["platform"] = platform;
        }
        Entry { digest, descriptor }
    }

    /// What others say to refer to it: media type, digest and size.
    pub fn reference(&self) -> Value {
        let mut reference = self.descriptor.clone();
        if let Value::Object(fields) = &mut reference {
            fields.retain(|key, _| matches!(key.as_str(), "mediaType" | "digest" | "size"));
        }
        reference
    }

    /// The same, which is an artifact of type `kind`.
    pub fn artifact(mut self, kind: &str) -> Entry {
        self.descriptor["artifactType"] = kind.into();
        self
    }
}

/// The entries of what `from` names: of an index the one for the platform of `options` or, with `all`, every one.
pub fn entries(from: &Source, options: &Options, all: bool) -> Result<Vec<Entry>> {
    between::reading(from, options, |whole, documents, _| {
        let crate::parts::Whole::Document { bytes, media_type } = whole else {
            let why = "it has no manifest: copy the image to an `oci-archive:` first, or load it".into();
            return Err(Error::Unknown { archive: from.to_string(), why });
        };
        if all && let Either::Index(_) = document::either("", &media_type, &bytes)? {
            let index: Map<String, Value> = document::read("index", &from.to_string(), &bytes)?;
            return Ok(Index(index).entries().cloned().filter_map(known).collect());
        }
        let wanted = Wanted::new(options.platform.as_ref());
        // What an index tells of its image counts, beside what the image tells of itself.
        let told = match document::either("", &media_type, &bytes)? {
            Either::Index(_) => Some(Index(document::read("index", &from.to_string(), &bytes)?)),
            Either::Manifest(..) => None,
        };
        let found = plan::top(documents, &media_type, bytes, &wanted)?;
        if let Some(entry) =
            told.and_then(|index| index.entries().cloned().filter_map(known).find(|e| e.digest == found.digest))
        {
            return Ok(vec![entry]);
        }
        let (digest, size, media_type) = (found.digest, found.bytes.len(), found.media_type);
        let original = Original::of(documents, found)?;
        Ok(vec![Entry::new(digest, size, media_type, platform(&original.configuration))])
    })
}

/// An entry of somebody's index, if it has what it takes.
fn known(descriptor: Value) -> Option<Entry> {
    let read: Descriptor = serde_json::from_value(descriptor.clone()).ok()?;
    Some(Entry { digest: read.digest, descriptor })
}

/// The platform that a configuration tells; null if it tells none.
fn platform(configuration: &[u8]) -> Value {
    let Ok(Value::Object(told)) = serde_json::from_slice::<Value>(configuration) else { return Value::Null };
    let mut made = Map::new();
    for key in ["architecture", "os", "os.version", "os.features", "variant"] {
        if let Some(value) = told.get(key).filter(|value| !value.is_null() && *value != "") {
            made.insert(key.into(), value.clone());
        }
    }
    if made.is_empty() { Value::Null } else { made.into() }
}

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8]) -> Result<Index> {
        match document::either("of the list", "", bytes)? {
            Either::Index(_) => Ok(Index(document::read("index", "of the list", bytes)?)),
            Either::Manifest(..) => {
                let why = "it is the manifest of one image".into();
                Err(Error::Document { what: "index", name: "of the list".into(), why })
            }
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    fn entries(&self) -> impl Iterator<Item = &Value> {
        self.0.get("manifests").and_then(Value::as_array).into_iter().flatten()
    }

    fn list(&mut self) -> &mut Vec<Value> {
        let list = self.0.entry("manifests").or_insert_with(|| json!([]));
        if !list.is_array() {
            *list = json!([]);
        }
        match list {
            Value::Array(list) => list,
            _ => unreachable!("made a list above"),
        }
    }

    /// The manifests it lists.
    pub fn digests(&self) -> Vec<Digest> {
        self.entries().filter_map(digest).collect()
    }

    /// The manifest for a platform.
    pub fn for_platform(&self, wanted: &Platform) -> Option<Digest> {
        self.entries().find_map(|entry| {
            let platform: Platform = serde_json::from_value(entry.get("platform")?.clone()).ok()?;
            platform.serves(wanted).then(|| digest(entry)).flatten()
        })
    }

    /// Adds an entry; one of the same manifest is replaced.
    ///
    /// # Errors
    /// The list is full.
    pub fn add(&mut self, entry: Entry) -> Result<()> {
        let list = self.list();
        list.retain(|other| digest(other) != Some(entry.digest));
        if list.len() >= document::ENTRIES {
            let why = format!("it lists {} manifests already, at most {}", list.len(), document::ENTRIES);
            return Err(Error::Document { what: "index", name: "of the list".into(), why });
        }
        list.push(entry.descriptor);
        Ok(())
    }

    /// Takes an entry away. False if there is none of this manifest.
    pub fn remove(&mut self, manifest: &Digest) -> bool {
        let before = self.entries().count();
        self.list().retain(|entry| digest(entry) != Some(*manifest));
        self.entries().count() < before
    }

    /// Notes something beside the entry of `manifest`. False if there is no such entry.
    pub fn note(&mut self, manifest: &Digest, notes: &Notes) -> bool {
        let entry = self.list().iter_mut().find(|entry| digest(entry) == Some(*manifest));
        let Some(Value::Object(entry)) = entry else { return false };
        annotate(entry, &notes.annotations);
        let texts = [
            ("architecture", &notes.architecture),
            ("os", &notes.os),
            ("os.version", &notes.os_version),
            ("variant", &notes.variant),
        ];
        let lists = [("features", &notes.features), ("os.features", &notes.os_features)];
        if texts.iter().all(|(_, text)| text.is_none()) && lists.iter().all(|(_, list)| list.is_empty()) {
            return true;
        }
        let platform = entry.entry("platform").or_insert_with(|| json!({}));
        if !platform.is_object() {
            *platform = json!({});
        }
        for (key, text) in texts {
            if let Some(text) = text {
                platform[key] = text.as_str().into();
            }
        }
        for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            platform[key] = json!(list);
        }
        // Both are there in any platform (image-index.md), known or not.
        for key in ["architecture", "os"] {
            if platform.get(key).is_none() {
                platform[key] = "".into();
            }
        }
        true
    }

    /// Notes something beside the index itself.
    pub fn note_all(&mut self, annotations: &[(String, String)]) {
        annotate(&mut self.0, annotations);
    }

    /// Says which manifest the index refers to.
    pub fn refer(&mut self, subject: &Entry) {
        self.0.insert("subject".into(), subject.reference());
    }
}

fn digest(entry: &Value) -> Option<Digest> {
    entry.get("digest")?.as_str()?.parse().ok()
}

fn annotate(object: &mut Map<String, Value>, annotations: &[(String, String)]) {
    if annotations.is_empty() {
        return;
    }
    let noted = object.entry("annotations").or_insert_with(|| json!({}));
    if !noted.is_object() {
        *noted = json!({});
    }
    for (key, value) in annotations {
        noted[key.as_str()] = value.as_str().into();
    }
}

/// How a list is written.
pub struct Sending<'a> {
    /// Tells where an image is.
    pub member: &'a dyn Fn(&Digest) -> Result<Member>,
    /// How registries are talked to.
    pub options: &'a Options,
    /// What becomes of the images.
    pub wishes: &'a Wishes,
    /// With its images; otherwise they must be there.
    pub all: bool,
    /// Compressions in which each image is there, too.
    pub more: &'a [Twin],
}

/// A compression in which an image is there a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Twin {
    /// The compression.
    pub compression: Compression,
    /// Of zstd: zstd:chunked.
    pub chunked: bool,
}

/// Writes a list, with its images, to wherever `to` says.
pub fn push(
    store: &Store,
    index: &Index,
    to: &Source,
    sending: &Sending<'_>,
    progress: &dyn Progress,
) -> Result<Written> {
    let destination = send::open(to, sending.options, sending.wishes)?;
    progress.begin();
    let change = &sending.wishes.change;
    let bytes = index.bytes();
    let mut listed = index.clone();
    let written = if sending.all {
        let one = |entry: &Descriptor, change: &Change| {
            member(store, &(sending.member)(&entry.digest)?, entry, sending.options, &*destination, change, progress)
        };
        let mut changed = BTreeMap::new();
        let Either::Index(read) = document::either("of the list", OCI_INDEX, &bytes)? else {
            return Err(Error::Document { what: "index", name: "of the list".into(), why: "it is none".into() });
        };
        for entry in &read.manifests {
            let written = one(entry, change)?;
            if written.digest != entry.digest {
                changed.insert(entry.digest, (written.digest, written.bytes.len() as u64, written.media_type.clone()));
            }
            for Twin { compression, chunked } in sending.more {
                let more = Change { compression: Some(*compression), chunked: *chunked, force: true, ..change.clone() };
                let again = one(entry, &more)?;
                if again.digest != written.digest {
                    listed.twin(entry, &again, *compression);
                }
            }
        }
        copy::index(&listed.bytes(), OCI_INDEX, &[], &changed, &*destination, change)?
    } else {
        copy::index(&bytes, OCI_INDEX, &[], &BTreeMap::new(), &*destination, change)?
    };
    destination.finish()?;
    Ok(written)
}

impl Index {
    /// Adds an image that is there in another compression, behind the one it was made of.
    fn twin(&mut self, of: &Descriptor, made: &Written, compression: Compression) {
        let list = self.list();
        let Some(at) = list.iter().position(|entry| digest(entry) == Some(of.digest)) else { return };
        let mut entry = list[at].clone();
        entry["digest"] = json!(made.digest);
        entry["size"] = json!(made.bytes.len());
        entry["mediaType"] = made.media_type.as_str().into();
        if let (Compression::Zstd, Value::Object(entry)) = (compression, &mut entry) {
            // By which readers that know zstd find it, and others pass it over.
            annotate(entry, &[("io.github.containers.compression.zstd".into(), "true".into())]);
        }
        list.push(entry);
    }
}

/// Copies one image of a list.
fn member(
    store: &Store,
    member: &Member,
    entry: &Descriptor,
    options: &Options,
    destination: &dyn Destination,
    change: &Change,
    progress: &dyn Progress,
) -> Result<Written> {
    match member {
        Member::Stored(image) => {
            copy::copy(&Stored::new(store), &Original::stored(store, image)?, destination, change, false, progress)
        }
        Member::Elsewhere(source) => between::reading(source, options, |_, documents, origin| {
            let bytes = documents.blob("manifest", entry, document::MANIFEST)?;
            document::verify("manifest", entry, &bytes)?;
            if let Some(policy) = &options.policy {
                let find = |digest: &Digest, wanted| documents.signatures(digest, wanted);
                policy.check(&Subject::of(source), Some(&entry.digest), &find)?;
            }
            let original = Original::of(documents, plan::manifest(&entry.media_type, bytes)?)?;
            copy::copy(origin, &original, destination, change, false, progress)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, architecture: &str) -> Entry {
        let platform = platform(format!(r#"{{"os":"linux","architecture":"{architecture}","variant":""}}"#).as_bytes());
        Entry::new(Digest::of(name.as_bytes()), 7, document::OCI_MANIFEST, platform)
    }

    #[test]
    fn entries_come_change_and_go() {
        let mut index = Index::default();
        index.add(entry("a", "amd64")).unwrap();
        index.add(entry("b", "arm64")).unwrap();
        index.add(entry("a", "amd64")).unwrap();
        assert_eq!(index.digests(), [Digest::of(b"b"), Digest::of(b"a")]);
        assert_eq!(index.for_platform(&"linux/arm64/v8".parse().unwrap()), Some(Digest::of(b"b")));
        assert_eq!(index.for_platform(&"linux/riscv64".parse().unwrap()), None);
        let notes = Notes {
            annotations: vec![("k".into(), "v".into())],
            variant: Some("v8".into()),
            os_features: vec!["x".into()],
            ..Notes::default()
        };
        assert!(index.note(&Digest::of(b"b"), &notes) && !index.note(&Digest::of(b"c"), &notes));
        index.note_all(&[("all".into(), "yes".into())]);
        index.refer(&entry("s", "amd64"));
        let read = Index::parse(&index.bytes()).unwrap();
        assert_eq!(read, index);
        let b = &read.0["manifests"][0];
        assert_eq!(
            b["platform"],
            json!({"os": "linux", "architecture": "arm64", "variant": "v8", "os.features": ["x"]})
        );
        assert_eq!((&b["annotations"], &read.0["annotations"]), (&json!({"k": "v"}), &json!({"all": "yes"})));
        assert_eq!(read.0["subject"]["digest"], Digest::of(b"s").to_string());
        assert_eq!(read.0["subject"].get("platform"), None);
        assert!(index.remove(&Digest::of(b"a")) && !index.remove(&Digest::of(b"a")));
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for bytes in ["", "{}", "[]", r#"{"schemaVersion":2,"config":{"digest":"x"}}"#, r#"{"manifests":{}}"#] {
            assert!(Index::parse(bytes.as_bytes()).is_err(), "{bytes}");
        }
        assert_eq!(platform(b"[]"), Value::Null);
        assert_eq!(platform(b"{}"), Value::Null);
        assert!(known(json!({"digest": "sha256:x", "size": 1})).is_none());
    }
}
