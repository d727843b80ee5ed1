//! `containers-storage:` written: an image for Podman and its kin on the same machine, in the layout that
//! [`crate::containers`] reads.
//!
//! Layers are unpacked in a store of our own below theirs, on the same file system; when all of them are there, they are
//! moved to their places and listed under the store's locks: layers first, the image last. A command that is killed in
//! between leaves layers that no image has, which that store knows how to deal with.
//!
//! Must not know: where images come from.

use super::{Blob, Destination, Packing};
use crate::containers::{self, file_name, split};
use crate::convert::Form;
use crate::document::{self, Either};
use crate::intake::Compression;
use crate::trust::Signature;
use crate::{Error, Result, reel};
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use store::{Candidate, Expect, Store};
use types::{Digest, Hasher};

/// Letters of a link's name.
const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// How many of them it has.
const LINK: usize = 26;

/// An image on its way into the store.
pub struct Containers {
    root: PathBuf,
    name: String,
    state: Mutex<State>,
    /// Goes before the directory that it lies in.
    scratch: Option<Store>,
    below: PathBuf,
}

#[derive(Default)]
struct State {
    layers: HashMap<Digest, Ready>,
    configuration: Vec<u8>,
    manifest: Option<(Vec<u8>, Digest)>,
    /// As they lie in files.
    signatures: Vec<Vec<u8>>,
}

/// A layer that is unpacked.
struct Ready {
    candidate: Candidate,
    diff_id: Digest,
    diff_size: u64,
    size: u64,
    compression: Compression,
}

impl Containers {
    /// The image `name` in the store below `root`, which is made if it is missing. `user_namespace`: overlay's marks are
    /// those of a user namespace.
    pub fn create(root: &Path, name: String, user_namespace: bool) -> Result<Containers> {
        for (directory, mode) in
            [("overlay", 0o700), ("overlay/l", 0o755), ("overlay-images", 0o700), ("overlay-layers", 0o700)]
        {
            make(&root.join(directory), mode)?;
        }
        let below = root.join("overlay").join(format!(".monopod-{}-{}", std::process::id(), crate::random()));
        let options =
            store::Options { in_user_namespace: user_namespace, single_id: false, collect: false, wanted: None };
        make(&below, 0o700)?;
        let scratch = Store::open(&below, options).inspect_err(|_| drop(std::fs::remove_dir_all(&below)))?;
        Ok(Containers { root: root.into(), name, state: Mutex::default(), scratch: Some(scratch), below })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unpacks a blob; gives its digest and size.
    fn unpack(&self, blob: &Blob<'_>) -> Result<(Digest, u64)> {
        let failed = |source| Error::Blob { blob: blob.name(), source };
        let mut reader = blob.read()?;
        let mut start = Vec::new();
        (&mut reader).take(6).read_to_end(&mut start).map_err(failed)?;
        let compression = Compression::of(&start);
        let whole = io::Cursor::new(start).chain(&mut reader);
        let mut plain = Plain { file: reel::unnamed().map_err(failed)?, hasher: Hasher::new(), size: 0 };
        match compression {
            Compression::Plain => io::copy(&mut { whole }, &mut plain),
            Compression::Gzip => io::copy(&mut flate2::read::MultiGzDecoder::new(whole), &mut plain),
            Compression::Zstd => {
                zstd::stream::read::Decoder::new(whole).and_then(|mut reader| io::copy(&mut reader, &mut plain))
            }
        }
        .map_err(failed)?;
        // What follows the compressed bytes is part of the blob.
        io::copy(&mut reader, &mut io::sink()).map_err(failed)?;
        let (digest, size) = reader.result().ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
        let Plain { mut file, hasher, size: diff_size } = plain;
        let diff_id = hasher.finish();
        file.rewind().map_err(failed)?;
        let scratch = self.scratch.as_ref().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let expect = Expect { diff_id: Some(diff_id), ..Expect::default() };
        let candidate = scratch.ingest_layer(&mut file, expect)?;
        if let Some(tree) = candidate.tree() {
            let rest = self.rest(diff_id);
            let written = |source| Error::File { action: "write", path: rest.clone(), source };
            let to = File::create(&rest).map_err(written)?;
            split(&file, &tree, to).map_err(written)?;
        }
        self.state().layers.insert(digest, Ready { candidate, diff_id, diff_size, size, compression });
        Ok((digest, size))
    }

    /// Moves the layers to their places and lists them; gives the id of the top one.
    fn place(&self, rows: &mut Vec<Value>, wanted: &[(Digest, Digest)], state: &State) -> Result<String> {
        let mut parent = String::new();
        let mut moved: HashMap<Digest, String> = HashMap::new();
        for (blob, diff_id) in wanted {
            let own = diff_id.hex();
            let id = if parent.is_empty() { own } else { Digest::of(format!("{parent}+{own}").as_bytes()).hex() };
            if !rows.iter().any(|row| row["id"] == id.as_str()) {
                let ready = state.layers.get(blob).filter(|ready| ready.diff_id == *diff_id);
                let ready = ready.ok_or(store::Error::MissingLayer { digest: *blob })?;
                match moved.get(diff_id) {
                    None => self.move_in(&id, &parent, &ready.candidate, *diff_id)?,
                    Some(first) => self.move_in_again(&id, &parent, first, *diff_id)?,
                }
                moved.insert(*diff_id, id.clone());
                let mut row = json!({
                    "id": id,
                    "compressed-diff-digest": blob,
                    "compressed-size": ready.size,
                    "diff-digest": diff_id,
                    "diff-size": ready.diff_size,
                });
                if let Some(number) = number(ready.compression) {
                    row["compression"] = number.into();
                }
                if !parent.is_empty() {
                    row["parent"] = parent.as_str().into();
                }
                rows.push(row);
            }
            parent = id;
        }
        Ok(parent)
    }

    /// An image may have a layer twice, each with a directory of its own: the second is made of the first, `like`.
    fn move_in_again(&self, id: &str, parent: &str, like: &str, diff_id: Digest) -> Result<()> {
        let scratch = self.scratch.as_ref().ok_or(store::Error::MissingLayer { digest: diff_id })?;
        let archive = containers::layer(&self.root, like)?;
        let candidate = scratch.ingest_layer(archive, Expect { diff_id: Some(diff_id), ..Expect::default() })?;
        let (from, to) = (containers::rest(&self.root, like), self.rest(diff_id));
        std::fs::copy(from, &to).map_err(|source| Error::File { action: "write", path: to, source })?;
        self.move_in(id, parent, &candidate, diff_id)
    }

    /// Where all of a layer's archive that is not in a file is kept until it is moved.
    fn rest(&self, diff_id: Digest) -> PathBuf {
        self.below.join(format!("{}.rest", diff_id.hex()))
    }

    fn move_in(&self, id: &str, parent: &str, candidate: &Candidate, diff_id: Digest) -> Result<()> {
        let overlay = self.root.join("overlay");
        let at = overlay.join(id);
        let failed = |action| {
            let at = at.clone();
            move |source| Error::File { action, path: at, source }
        };
        // What is there and listed nowhere is what a killed command left.
        if at.exists() {
            std::fs::remove_dir_all(&at).map_err(failed("remove"))?;
        }
        make(&at, 0o700)?;
        let tree = candidate.tree().ok_or(store::Error::MissingLayer { digest: diff_id })?;
        std::fs::rename(tree, at.join("diff")).map_err(failed("create"))?;
        for below in ["work", "merged"].into_iter().chain(parent.is_empty().then_some("empty")) {
            make(&at.join(below), 0o700)?;
        }
        let link: String = (0..LINK).map(|_| char::from(LETTERS[(crate::random() & 31) as usize])).collect();
        std::os::unix::fs::symlink(format!("../{id}/diff"), overlay.join("l").join(&link)).map_err(failed("link"))?;
        std::fs::write(at.join("link"), &link).map_err(failed("create"))?;
        if !parent.is_empty() {
            let above = overlay.join(parent);
            let mut lower = format!("l/{}", std::fs::read_to_string(above.join("link")).map_err(failed("read"))?);
            if let Ok(more) = std::fs::read_to_string(above.join("lower")) {
                lower = format!("{lower}:{more}");
            }
            std::fs::write(at.join("lower"), lower).map_err(failed("create"))?;
        }
        std::fs::rename(self.rest(diff_id), containers::rest(&self.root, id)).map_err(failed("create"))
    }

    /// Writes what is kept beside the image, and its row.
    fn list(&self, rows: &mut Vec<Value>, top: &str, state: &State) -> Result<()> {
        let Some((manifest, digest)) = &state.manifest else { return Ok(()) };
        let id = Digest::of(&state.configuration);
        let sizes_of_signatures: Vec<usize> = state.signatures.iter().map(Vec::len).collect();
        let directory = self.root.join("overlay-images").join(id.hex());
        make(&directory, 0o700)?;
        let (own, signature) = (format!("manifest-{digest}"), format!("signature-{}", digest.hex()));
        let kept: [(&str, &[u8]); 4] = [
            (&id.to_string(), &state.configuration),
            (&own, manifest),
            ("manifest", manifest),
            // One behind the other; an image without signatures has none in it.
            (&signature, &state.signatures.concat()),
        ];
        let known = rows.iter().position(|row| row["id"] == id.hex().as_str());
        let mut row = known.map_or_else(|| json!({"id": id.hex()}), |at| rows.remove(at));
        let (mut sizes, mut digests) = (map(&row, "big-data-sizes"), map(&row, "big-data-digests"));
        let mut keys: Vec<Value> = row["big-data-names"].as_array().cloned().unwrap_or_default();
        for (key, bytes) in kept {
            let path = directory.join(file_name(key));
            std::fs::write(&path, bytes).map_err(|source| Error::File { action: "write", path, source })?;
            sizes.insert(key.into(), bytes.len().into());
            digests.insert(key.into(), json!(Digest::of(bytes)));
            if !keys.contains(&json!(key)) {
                keys.push(key.into());
            }
        }
        // A name is that of one image.
        let own_name = json!(self.name);
        for other in rows.iter_mut() {
            if let Some(names) = other.get_mut("names").and_then(Value::as_array_mut) {
                names.retain(|name| *name != own_name);
            }
        }
        for list in ["names", "names-history"] {
            let mut names = row[list].as_array().cloned().unwrap_or_default();
            if !names.contains(&own_name) {
                names.insert(0, own_name.clone());
            }
            row[list] = names.into();
        }
        row["digest"] = json!(digest);
        row["layer"] = top.into();
        row["metadata"] = json!({"signatures-sizes": {digest.to_string(): sizes_of_signatures}}).to_string().into();
        row["big-data-names"] = keys.into();
        row["big-data-sizes"] = sizes.into();
        row["big-data-digests"] = digests.into();
        let created: Option<Value> = serde_json::from_slice(&state.configuration).ok();
        if let Some(created) = created.and_then(|c| Some(c.get("created")?.as_str()?.to_owned())) {
            row["created"] = created.into();
        }
        rows.push(row);
        Ok(())
    }
}

/// The object in a field, or an empty one.
fn map(row: &Value, field: &str) -> Map<String, Value> {
    row[field].as_object().cloned().unwrap_or_default()
}

/// Their numbers of compressions (`archive.Compression`); plain is 0 and left out.
fn number(compression: Compression) -> Option<u32> {
    match compression {
        Compression::Plain => None,
        Compression::Gzip => Some(2),
        Compression::Zstd => Some(4),
    }
}

fn make(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|source| Error::File { action: "create", path: path.into(), source })
}

/// A list that is changed under its lock.
struct List {
    path: PathBuf,
    lock: OwnedFd,
    rows: Vec<Value>,
}

impl List {
    fn open(root: &Path, kind: &str) -> Result<List> {
        let directory = root.join(format!("overlay-{kind}"));
        let file = directory.join(format!("{kind}.lock"));
        let failed =
            |source: rustix::io::Errno| Error::File { action: "lock", path: file.clone(), source: source.into() };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let lock = rustix::fs::open(&file, flags, Mode::from_raw_mode(0o644)).map_err(failed)?;
        rustix::fs::fcntl_lock(&lock, FlockOperation::LockExclusive).map_err(failed)?;
        let path = directory.join(format!("{kind}.json"));
        let rows = containers::list(&path)?;
        Ok(List { path, lock, rows })
    }

    /// Puts the list in the old one's place, and leaves a mark by which others see that they must read it again.
    fn write(&self) -> Result<()> {
        let failed = |source| Error::File { action: "write", path: self.path.clone(), source };
        let beside = self.path.with_extension("json.monopod");
        let mut file = File::create(&beside).map_err(failed)?;
        std::fs::set_permissions(&beside, std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(failed)?;
        file.write_all(&serde_json::to_vec(&self.rows).unwrap_or_default()).map_err(failed)?;
        file.sync_all().and_then(|()| std::fs::rename(&beside, &self.path)).map_err(failed)?;
        let mark: Vec<u8> = (0..8).flat_map(|_| crate::random().to_ne_bytes()).collect();
        rustix::io::pwrite(&self.lock, &mark, 0).map_err(|errno| failed(errno.into()))?;
        Ok(())
    }
}

/// Plain bytes on their way to a file.
struct Plain {
    file: File,
    hasher: Hasher,
    size: u64,
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Destination for Containers {
    fn title(&self) -> String {
        format!("containers-storage:[overlay@{}]{}", self.root.display(), self.name)
    }

    fn form(&self) -> Option<Form> {
        None
    }

    fn packing(&self) -> Packing {
        Packing::AsTheyAre
    }

    fn threads(&self) -> usize {
        crate::intake::threads()
    }

    fn has(&self, blob: &Digest, _size: Option<u64>, _repositories: &[(String, String)]) -> Result<bool> {
        Ok(self.state().layers.contains_key(blob))
    }

    fn write(&self, blob: &Blob<'_>) -> Result<(Digest, u64)> {
        self.unpack(blob)
    }

    fn configuration(&self, bytes: &[u8]) -> Result<()> {
        self.state().configuration = bytes.to_vec();
        Ok(())
    }

    fn manifest(&self, bytes: &[u8], _media_type: &str, top: bool) -> Result<()> {
        let digest = Digest::of(bytes);
        if !top {
            let why = "it is one of several, and `containers-storage:` takes one image: leave out --all".into();
            return Err(Error::Document { what: "manifest", name: digest.to_string(), why });
        }
        self.state().manifest = Some((bytes.to_vec(), digest));
        Ok(())
    }

    fn signatures(&self, manifest: &Digest, signatures: &[Signature], _top: bool) -> Result<()> {
        let mut state = self.state();
        if state.manifest.as_ref().is_some_and(|(_, digest)| digest == manifest) {
            state.signatures.extend(signatures.iter().map(Signature::filed));
        }
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        let state = self.state();
        let Some((manifest, digest)) = &state.manifest else { return Ok(()) };
        let Either::Manifest(parsed, _) = document::either(&digest.to_string(), "", manifest)? else {
            let why = "it is an index, and `containers-storage:` takes one image".into();
            return Err(Error::Document { what: "manifest", name: digest.to_string(), why });
        };
        document::check_image(&digest.to_string(), &parsed)?;
        let configuration = document::configuration("", &state.configuration, parsed.layers.len())?;
        let blobs = parsed.layers.iter().map(|layer| layer.digest);
        let wanted: Vec<(Digest, Digest)> = blobs.zip(configuration.rootfs.diff_ids).collect();
        let mut layers = List::open(&self.root, "layers")?;
        let mut images = List::open(&self.root, "images")?;
        let top = self.place(&mut layers.rows, &wanted, &state)?;
        let failed =
            |errno: rustix::io::Errno| Error::File { action: "sync", path: self.root.clone(), source: errno.into() };
        let root = rustix::fs::open(&self.root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        root.and_then(rustix::fs::syncfs).map_err(failed)?;
        layers.write()?;
        self.list(&mut images.rows, &top, &state)?;
        images.write()
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        // Layers that were not moved go with their candidates, and the store before its directory.
        self.state().layers.clear();
        drop(self.scratch.take());
        if let (Some(parent), Some(name)) = (self.below.parent(), self.below.file_name())
            && let Ok(parent) = File::open(parent)
        {
            sys::removal::remove_tree(std::os::fd::AsFd::as_fd(&parent), name.as_encoded_bytes());
        }
    }
}
