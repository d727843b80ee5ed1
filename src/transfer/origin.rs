//! Where an image is copied from: one face for the store, archives, directories and registries.
//!
//! What is copied is one manifest with its configuration and its layers, as they are; nothing is unpacked and nothing
//! must be known of what the layers hold.
//!
//! Must not know: where it is copied to.

use crate::convert::Form;
use crate::document::Descriptor;
use crate::intake::Compression;
use crate::parts::{Archive, Supply};
use crate::plan::{self, Documents, Found, Image, Layer, Place};
use crate::registry::Repository;
use crate::trust::{self, Signature};
use crate::{Error, Result, document};
use std::collections::BTreeMap;
use std::io::Read;
use store::Store;
use types::Digest;

/// Something that layers are read from.
pub trait Origin: Sync {
    /// What it is, for errors.
    fn title(&self) -> &str;
    /// The bytes of a layer, from their beginning; may be asked for again.
    fn layer(&self, leaf: &Leaf) -> Result<Box<dyn Read + Send + '_>>;
    /// The repository that the blobs lie in, if it is one of a registry: its domain and path.
    fn repositories(&self, _blob: &Digest) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// One manifest with what it refers to.
#[derive(Debug, Clone)]
pub struct Original {
    /// Its bytes and media type; none where the source has none and one is to be made.
    pub manifest: Option<(Vec<u8>, String)>,
    /// Media type of its configuration; empty if unknown.
    pub kind: String,
    /// Its configuration.
    pub configuration: Vec<u8>,
    /// Its layers, lowest first.
    pub layers: Vec<Leaf>,
    /// The signatures of its manifest that came with it.
    pub signatures: Vec<Signature>,
}

/// A layer, or any other blob that a manifest lists beside its configuration.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// Its media type; empty if unknown.
    pub kind: String,
    /// What the manifest notes beside it.
    pub annotations: BTreeMap<String, String>,
    /// Digest of what is in it; none for what is no layer of an image.
    pub diff_id: Option<Digest>,
    /// Size of what is in it, where that is known.
    pub plain_size: Option<u64>,
    /// Where its bytes are.
    pub place: Place,
    /// The layer as it came, where these bytes are not there any more: this one is what was in them.
    pub instead: Option<Box<Leaf>>,
}

impl Original {
    /// What a manifest that was found stands for.
    pub fn of(documents: &dyn Documents, found: Found) -> Result<Original> {
        let signatures = documents.signatures(&found.digest, trust::Wanted::Known)?;
        let descriptor = &found.manifest.config;
        if descriptor.size > document::CONFIGURATION {
            let why = format!("it has {} bytes, at most {} are accepted", descriptor.size, document::CONFIGURATION);
            return Err(Error::Document { what: "configuration", name: descriptor.digest.to_string(), why });
        }
        let configuration = documents.blob("configuration", descriptor, document::CONFIGURATION)?;
        document::verify("configuration", descriptor, &configuration)?;
        // Only an image's configuration tells of diff ids.
        let diff_ids = match document::configuration("", &configuration, found.manifest.layers.len()) {
            Ok(configuration) => configuration.rootfs.diff_ids.into_iter().map(Some).collect(),
            Err(_) => vec![None; found.manifest.layers.len()],
        };
        Ok(Original {
            kind: descriptor.media_type.clone(),
            configuration,
            layers: found.manifest.layers.into_iter().zip(diff_ids).map(|(layer, id)| Leaf::of(layer, id)).collect(),
            manifest: Some((found.bytes, found.media_type.into())),
            signatures,
        })
    }

    /// The same of an image of `docker save`.
    pub fn saved(image: Image) -> Original {
        let leaf = |layer: Layer| Leaf {
            kind: String::new(),
            annotations: BTreeMap::new(),
            diff_id: Some(layer.diff_id),
            plain_size: None,
            place: layer.place,
            instead: None,
        };
        Original {
            manifest: None,
            kind: String::new(),
            configuration: image.configuration,
            layers: image.layers.into_iter().map(leaf).collect(),
            signatures: Vec::new(),
        }
    }

    /// An image of the store, by its manifest's digest.
    pub fn stored(store: &Store, image: &store::Image) -> Result<Original> {
        let bytes = store.document(&image.manifest)?.ok_or_else(|| Error::Document {
            what: "manifest",
            name: image.manifest.to_string(),
            why: "it is not in the store".into(),
        })?;
        let mut original = Original::of(&Stored::new(store), plan::manifest(&image.media_type, bytes)?)?;
        for leaf in &mut original.layers {
            leaf.rebuild(store, Form::of(&image.media_type))?;
        }
        Ok(original)
    }
}

impl Leaf {
    /// Takes the plain tar in the place of a compressed blob that the store has not kept.
    fn rebuild(&mut self, store: &Store, form: Form) -> Result<()> {
        let (Place::Blob(digest, _), Some(diff_id)) = (&self.place, self.diff_id) else { return Ok(()) };
        if *digest == diff_id || store.dropped(digest)?.is_none() {
            return Ok(());
        }
        let rebuilt = store.rebuilt(&diff_id)?.ok_or(store::Error::MissingLayer { digest: *digest })?;
        let plain = Leaf {
            kind: form.layer(Compression::Plain).into(),
            annotations: BTreeMap::new(),
            diff_id: self.diff_id,
            plain_size: Some(rebuilt.size()),
            place: Place::Blob(diff_id, rebuilt.size()),
            instead: None,
        };
        let before = std::mem::replace(self, plain);
        self.instead = Some(Box::new(before));
        Ok(())
    }

    fn of(layer: Descriptor, diff_id: Option<Digest>) -> Leaf {
        Leaf {
            kind: layer.media_type,
            annotations: layer.annotations,
            diff_id,
            plain_size: None,
            place: Place::Blob(layer.digest, layer.size),
            instead: None,
        }
    }
}

/// The store as an origin.
pub struct Stored<'s> {
    store: &'s Store,
}

impl<'s> Stored<'s> {
    pub fn new(store: &'s Store) -> Stored<'s> {
        Stored { store }
    }
}

impl Documents for Stored<'_> {
    fn blob(&self, what: &'static str, descriptor: &Descriptor, _limit: u64) -> Result<Vec<u8>> {
        self.store.document(&descriptor.digest)?.ok_or_else(|| Error::Document {
            what,
            name: descriptor.digest.to_string(),
            why: "it is not in the store".into(),
        })
    }

    fn signatures(&self, manifest: &Digest, _wanted: trust::Wanted) -> Result<Vec<Signature>> {
        trust::kept(self.store, manifest)
    }

    fn title(&self) -> &str {
        "the store"
    }
}

impl Origin for Stored<'_> {
    fn title(&self) -> &str {
        "the store"
    }

    fn layer(&self, leaf: &Leaf) -> Result<Box<dyn Read + Send + '_>> {
        let Place::Blob(digest, _) = &leaf.place else { return Err(Error::NotFetched("the store".into())) };
        if let Some(file) = self.store.blob(digest)? {
            return Ok(Box::new(file));
        }
        // A tar that was never compressed is its own blob.
        let rebuilt = self.store.rebuilt(digest)?.ok_or(store::Error::MissingLayer { digest: *digest })?;
        Ok(Box::new(rebuilt))
    }

    fn repositories(&self, blob: &Digest) -> Vec<(String, String)> {
        let names = self.store.names_with_blob(blob).unwrap_or_default();
        names
            .iter()
            .filter_map(|name| name.parse::<types::Reference>().ok())
            .filter_map(|name| Some((name.domain?, name.path)))
            .collect()
    }
}

impl Origin for Archive<'_> {
    fn title(&self) -> &str {
        Documents::title(self)
    }

    fn layer(&self, leaf: &Leaf) -> Result<Box<dyn Read + Send + '_>> {
        let diff_id = leaf.diff_id.unwrap_or_else(|| Digest::of(b""));
        match Archive::layer(self, &Layer { diff_id, place: leaf.place.clone() })? {
            Supply::Bytes(bytes) => Ok(bytes),
            Supply::Ready(..) => Err(Error::NotFetched(Documents::title(self).into())),
        }
    }
}

impl Origin for Repository<'_> {
    fn title(&self) -> &str {
        Documents::title(self)
    }

    fn layer(&self, leaf: &Leaf) -> Result<Box<dyn Read + Send + '_>> {
        match &leaf.place {
            Place::Blob(digest, size) => Ok(self.blob(*digest, *size)),
            Place::Member { name, .. } => Err(Error::NotFetched(name.clone())),
        }
    }

    fn repositories(&self, _blob: &Digest) -> Vec<(String, String)> {
        vec![self.place()]
    }
}
