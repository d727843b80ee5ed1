//! `oci:` and `oci-archive:` — the OCI image layout (image-layout.md): `oci-layout`, `index.json` and blobs by digest, in
//! a directory or in a tar archive. Signatures of an image are a manifest of their own, called `sha256-HEX.sig`. An index that is there already keeps its other images.

use super::{Blob, Destination, Packing};
use crate::convert::Form;
use crate::document;
use crate::reel::{Reel, Room};
use crate::trust::{self, Signature};
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use types::Digest;

/// What `oci-layout` says.
const VERSION: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// A layout that is being written.
pub struct Layout {
    place: Place,
    /// The name that the image gets in the index; it takes it from whichever had it.
    name: Option<String>,
    /// Plain layers may stay so.
    plain: bool,
    state: Mutex<State>,
}

enum Place {
    Directory(PathBuf),
    Archive(Reel),
}

#[derive(Default)]
struct State {
    there: HashMap<Digest, u64>,
    rooms: HashMap<Digest, Room>,
    tops: Vec<Value>,
    signed: BTreeMap<Digest, Vec<Signature>>,
}

impl Layout {
    /// A layout in the directory `path`, made if it is missing.
    pub fn directory(path: &Path, name: Option<String>, plain: bool) -> Result<Layout> {
        let blobs = path.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).map_err(|source| Error::File { action: "create", path: blobs, source })?;
        Ok(Layout { place: Place::Directory(path.into()), name, plain, state: Mutex::default() })
    }

    /// A layout in an archive.
    pub fn archive(reel: Reel, name: Option<String>, plain: bool) -> Layout {
        Layout { place: Place::Archive(reel), name, plain, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, bytes: &[u8]) -> Result<()> {
        let digest = Digest::of(bytes);
        if self.state().there.insert(digest, bytes.len() as u64).is_some() {
            return Ok(());
        }
        match &self.place {
            Place::Directory(path) => put(&path.join(blob(&digest)), |file| {
                file.write_all(bytes).map_err(|source| Error::Write { archive: self.title(), source })
            }),
            Place::Archive(reel) => reel.add(&blob(&digest), bytes),
        }
    }
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Writes a file that is at `path` only once it is complete.
pub fn put<T>(path: &Path, write: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { action, path, source }
    };
    let until = path.with_file_name(format!(
        ".{}-{}-{}",
        path.file_name().unwrap_or_default().to_string_lossy(),
        std::process::id(),
        crate::random()
    ));
    let mut file = File::create_new(&until).map_err(failed("create", &until))?;
    let done = write(&mut file).and_then(|value| {
        std::fs::rename(&until, path).map_err(failed("create", path))?;
        Ok(value)
    });
    if done.is_err() {
        let _ = std::fs::remove_file(&until);
    }
    done
}

impl Destination for Layout {
    fn title(&self) -> String {
        match &self.place {
            Place::Directory(path) => path.display().to_string(),
            Place::Archive(reel) => reel.title().into(),
        }
    }

    fn form(&self) -> Option<Form> {
        Some(Form::Oci)
    }

    fn packing(&self) -> Packing {
        if self.plain { Packing::AsTheyAre } else { Packing::Compressed }
    }

    fn threads(&self) -> usize {
        match &self.place {
            Place::Archive(reel) if !reel.is_file() => 1,
            _ => crate::intake::threads(),
        }
    }

    fn announce(&self, blobs: &[(Digest, Option<u64>)]) -> Result<()> {
        let Place::Archive(reel) = &self.place else { return Ok(()) };
        let mut state = self.state();
        for (digest, size) in blobs {
            if let Some(size) = size
                && !state.there.contains_key(digest)
                && !state.rooms.contains_key(digest)
                && let Some(room) = reel.reserve(&blob(digest), *size)?
            {
                state.rooms.insert(*digest, room);
            }
        }
        Ok(())
    }

    fn has(&self, digest: &Digest, size: Option<u64>, _repositories: &[(String, String)]) -> Result<bool> {
        if self.state().there.contains_key(digest) {
            return Ok(true);
        }
        let Place::Directory(path) = &self.place else { return Ok(false) };
        // What has the name but not the size is not the blob.
        let about = std::fs::symlink_metadata(path.join(blob(digest)));
        Ok(about.is_ok_and(|about| about.is_file() && size == Some(about.len())))
    }

    fn write(&self, from: &Blob<'_>) -> Result<(Digest, u64)> {
        let (digest, size) = match &self.place {
            Place::Archive(reel) => {
                let room = from.digest.and_then(|digest| self.state().rooms.remove(&digest));
                match room {
                    Some(room) => reel.fill(&room, from)?,
                    None => reel.append(from, &blob)?,
                }
            }
            Place::Directory(path) => {
                let blobs = path.join("blobs/sha256");
                let until = blobs.join(format!("layer-{}", crate::random()));
                let failed = |source| Error::Write { archive: self.title(), source };
                let done = put(&until, |file| super::pass(from, |bytes| file.write_all(bytes).map_err(failed)))?;
                let path = path.join(blob(&done.0));
                std::fs::rename(&until, &path).map_err(|source| Error::File { action: "create", path, source })?;
                done
            }
        };
        self.state().there.insert(digest, size);
        Ok((digest, size))
    }

    fn configuration(&self, bytes: &[u8]) -> Result<()> {
        self.add(bytes)
    }

    fn manifest(&self, bytes: &[u8], media_type: &str, top: bool) -> Result<()> {
        self.add(bytes)?;
        if top {
            let mut entry = json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()});
            if let Some(name) = &self.name {
                entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
            }
            self.state().tops.push(entry);
        }
        Ok(())
    }

    fn signatures(&self, manifest: &Digest, signatures: &[Signature], _top: bool) -> Result<()> {
        if !signatures.is_empty() {
            self.state().signed.entry(*manifest).or_default().extend_from_slice(signatures);
        }
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        let signed = std::mem::take(&mut self.state().signed);
        for (manifest, signatures) in signed {
            let made = trust::attachment(None, &signatures)?;
            made.blobs.iter().try_for_each(|blob| self.add(blob))?;
            self.add(&made.configuration)?;
            self.add(&made.manifest)?;
            let digest = Digest::of(&made.manifest);
            self.state().tops.push(json!({
                "mediaType": document::OCI_MANIFEST, "digest": digest, "size": made.manifest.len(),
                "annotations": {"org.opencontainers.image.ref.name": trust::tag(&manifest)},
            }));
        }
        let tops = std::mem::take(&mut self.state().tops);
        match &self.place {
            Place::Archive(reel) => {
                reel.add("oci-layout", VERSION)?;
                reel.add("index.json", &index(None, tops)?)?;
                reel.finish()
            }
            Place::Directory(path) => {
                let failed = |action, path: &Path| {
                    let path = path.to_owned();
                    move |source: std::io::Error| Error::File { action, path, source }
                };
                // Two commands that write into one directory at once must not forget each other's image.
                let lock = File::open(path).map_err(failed("open", path))?;
                rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
                    .map_err(|e| failed("lock", path)(e.into()))?;
                let at = path.join("index.json");
                let old = match std::fs::read(&at) {
                    Ok(old) if old.len() as u64 <= document::MANIFEST => Some(old),
                    Ok(_) => return Err(failed("read", &at)(std::io::ErrorKind::FileTooLarge.into())),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
                    Err(e) => return Err(failed("read", &at)(e)),
                };
                let bytes = index(old.as_deref(), tops)?;
                for (name, bytes) in [("oci-layout", VERSION), ("index.json", &bytes[..])] {
                    let path = path.join(name);
                    put(&path, |file| file.write_all(bytes).map_err(failed("write", &path)))?;
                }
                Ok(())
            }
        }
    }
}

/// The index with `tops` in it: an entry of the same name, or of the same digest without a name, is replaced.
fn index(old: Option<&[u8]>, tops: Vec<Value>) -> Result<Vec<u8>> {
    let mut made: Map<String, Value> = match old {
        Some(old) => document::read("index", "index.json", old)?,
        None => Map::new(),
    };
    let name = |entry: &Value| entry["annotations"]["org.opencontainers.image.ref.name"].as_str().map(str::to_owned);
    let mut entries: Vec<Value> = match made.remove("manifests") {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    };
    for top in tops {
        entries.retain(|entry| match (name(entry), name(&top)) {
            (Some(old), Some(new)) => old != new,
            (None, None) => entry["digest"] != top["digest"],
            _ => true,
        });
        entries.push(top);
    }
    made.insert("schemaVersion".into(), 2.into());
    made.insert("manifests".into(), entries.into());
    Ok(serde_json::to_vec(&made).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_keeps_other_images() {
        let entry = |name: Option<&str>, digest: &str| match name {
            Some(name) => json!({"digest": digest, "annotations": {"org.opencontainers.image.ref.name": name}}),
            None => json!({"digest": digest}),
        };
        let old = json!({"schemaVersion": 2, "annotations": {"k": "v"},
            "manifests": [entry(Some("a"), "1"), entry(Some("b"), "2"), entry(None, "3")]});
        let tops = vec![entry(Some("a"), "4"), entry(None, "3"), entry(None, "5")];
        let made: Value =
            serde_json::from_slice(&index(Some(&serde_json::to_vec(&old).unwrap()), tops).unwrap()).unwrap();
        assert_eq!(made["annotations"]["k"], "v");
        let digests: Vec<_> = made["manifests"].as_array().unwrap().iter().map(|e| e["digest"].clone()).collect();
        assert_eq!(digests, ["2", "4", "3", "5"]);
    }
}
