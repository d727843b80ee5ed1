//! `docker-archive:` — what `docker save` writes: `manifest.json`, configurations, and layers as plain tar files named by
//! their diff ids. A layer that several images have is there once.

use super::{Blob, Destination, Packing};
use crate::convert::Form;
use crate::document;
use crate::reel::{Reel, Room};
use crate::trust::Signature;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use types::Digest;

/// An archive that is being written.
pub struct DockerArchive {
    reel: Reel,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Names of the image that is being written.
    names: Vec<String>,
    /// Blobs that are there, and places of those that will be.
    there: HashMap<Digest, u64>,
    rooms: HashMap<Digest, Room>,
    images: BTreeMap<usize, (Digest, Value)>,
}

impl DockerArchive {
    /// An archive written to `reel`.
    pub fn new(reel: Reel) -> DockerArchive {
        DockerArchive { reel, state: Mutex::default() }
    }

    /// The image that comes next has these names.
    pub fn next(&self, names: Vec<String>) {
        self.state().names = names;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a layer lies.
fn layer(digest: &Digest) -> String {
    format!("{}.tar", digest.hex())
}

impl Destination for DockerArchive {
    fn title(&self) -> String {
        self.reel.title().into()
    }

    fn form(&self) -> Option<Form> {
        Some(Form::Docker)
    }

    fn packing(&self) -> Packing {
        Packing::Plain
    }

    fn threads(&self) -> usize {
        if self.reel.is_file() { crate::intake::threads() } else { 1 }
    }

    fn announce(&self, blobs: &[(Digest, Option<u64>)]) -> Result<()> {
        let mut state = self.state();
        for (digest, size) in blobs {
            if let Some(size) = size
                && !state.there.contains_key(digest)
                && !state.rooms.contains_key(digest)
                && let Some(room) = self.reel.reserve(&layer(digest), *size)?
            {
                state.rooms.insert(*digest, room);
            }
        }
        Ok(())
    }

    fn has(&self, blob: &Digest, _size: Option<u64>, _repositories: &[(String, String)]) -> Result<bool> {
        Ok(self.state().there.contains_key(blob))
    }

    fn write(&self, blob: &Blob<'_>) -> Result<(Digest, u64)> {
        let room = blob.digest.and_then(|digest| self.state().rooms.remove(&digest));
        let (digest, size) = match room {
            Some(room) => self.reel.fill(&room, blob)?,
            None => self.reel.append(blob, &layer)?,
        };
        self.state().there.insert(digest, size);
        Ok((digest, size))
    }

    fn manifest(&self, bytes: &[u8], media_type: &str, top: bool) -> Result<()> {
        let unfit = |why: &str| Error::Document {
            what: "manifest",
            name: Digest::of(bytes).to_string(),
            why: format!("{why}, and `docker-archive:` holds images alone"),
        };
        let document::Either::Manifest(manifest, _) = document::either("", media_type, bytes)? else {
            return Err(unfit("it is an index"));
        };
        document::check_image("", &manifest).map_err(|_| unfit("it is no image"))?;
        if !top {
            return Err(unfit("it is one of several"));
        }
        let mut state = self.state();
        let names = std::mem::take(&mut state.names);
        let id = manifest.config.digest;
        // One image under two names is one entry.
        if let Some((_, entry)) = state.images.values_mut().find(|(known, _)| *known == id) {
            if let Some(tags) = entry["RepoTags"].as_array_mut() {
                for name in names.into_iter().map(Value::from) {
                    if !tags.contains(&name) {
                        tags.push(name);
                    }
                }
            }
            return Ok(());
        }
        let layers: Vec<String> = manifest.layers.iter().map(|l| layer(&l.digest)).collect();
        let entry = json!({"Config": format!("{}.json", id.hex()), "RepoTags": names, "Layers": layers});
        let at = state.images.len();
        state.images.insert(at, (id, entry));
        Ok(())
    }

    fn configuration(&self, bytes: &[u8]) -> Result<()> {
        let digest = Digest::of(bytes);
        if self.state().there.insert(digest, bytes.len() as u64).is_none() {
            self.reel.add(&format!("{}.json", digest.hex()), bytes)?;
        }
        Ok(())
    }

    fn signatures(&self, _manifest: &Digest, _signatures: &[Signature], _top: bool) -> Result<()> {
        // Its images have no manifests that could be signed.
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        let images: Vec<Value> = self.state().images.values().map(|(_, entry)| entry.clone()).collect();
        self.reel.add("manifest.json", &serde_json::to_vec(&images).unwrap_or_default())?;
        self.reel.finish()
    }
}
