//! Artifacts: files under the name of an image, in an OCI layout of their own (image specification, "Guidelines for
//! Artifact Usage"). They are brought and sent as images are; no container is made of them.
//!
//! Must not know: the store of images.

use crate::destination::layout::{Layout, put};
use crate::destination::{Blob, Destination};
use crate::document::{self, OCI_MANIFEST};
use crate::list::Entry;
use crate::{Choice, Error, Keys, Options, Progress, Result, Signatures, Source, Wishes, between};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use types::{Digest, Hasher};

/// Annotation with the name of a file.
pub const TITLE: &str = "org.opencontainers.image.title";
/// Annotation with the name of an image in a layout.
const NAME: &str = "org.opencontainers.image.ref.name";
/// Media type of a configuration that says nothing.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Bytes by which the kind of a file is told.
const START: u64 = 512;

/// The artifacts of a directory. Whoever changes it waits for whoever reads it, and the other way round.
pub struct Artifacts {
    path: PathBuf,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Its name, with a tag.
    pub name: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its manifest.
    pub manifest: Map<String, Value>,
    /// Its files.
    pub files: Vec<Piece>,
}

/// A file of an artifact.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Digest of its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// What it is called, if it is called anything.
    pub title: Option<String>,
}

/// What an artifact is made of.
#[derive(Debug, Clone, Default)]
pub struct Making {
    /// Its name, with a tag.
    pub name: String,
    /// The files.
    pub files: Vec<PathBuf>,
    /// Its type.
    pub kind: Option<String>,
    /// Media type of the files; none means that their first bytes tell it.
    pub file_kind: Option<String>,
    /// Noted beside each file.
    pub annotations: BTreeMap<String, String>,
    /// The files join those that are there.
    pub append: bool,
    /// The files have no names.
    pub untitled: bool,
    /// Its configuration and that one's media type; none means one that says nothing.
    pub configuration: Option<(Vec<u8>, String)>,
    /// The image that it is about.
    pub subject: Option<Entry>,
}

impl Artifacts {
    /// Those of the directory `path`, which is made if it is missing.
    pub fn open(path: &Path) -> Result<Artifacts> {
        std::fs::create_dir_all(path).map_err(|source| Error::File { action: "create", path: path.into(), source })?;
        Ok(Artifacts { path: path.into() })
    }

    /// Until the file is dropped, nobody else changes (or, if `alone`, reads) anything.
    fn lock(&self, alone: bool) -> Result<File> {
        let path = self.path.join("lock");
        let failed = |source| Error::File { action: "lock", path: path.clone(), source };
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
        let how = if alone { FlockOperation::LockExclusive } else { FlockOperation::LockShared };
        rustix::io::retry_on_intr(|| flock(&file, how)).map_err(|e| failed(e.into()))?;
        Ok(file)
    }

    /// All of them, in the order of their names.
    pub fn list(&self) -> Result<Vec<Artifact>> {
        let _lock = self.lock(false)?;
        self.read()
    }

    /// Names that begin with `prefix`, of those that are no names of images and so are not listed.
    pub fn hidden(&self, prefix: &str) -> Result<Vec<String>> {
        let _lock = self.lock(false)?;
        let index = self.entries()?;
        let entries = index.get("manifests").and_then(Value::as_array).into_iter().flatten();
        let names = entries.filter_map(|entry| entry["annotations"][NAME].as_str());
        Ok(names.filter(|name| name.starts_with(prefix) && !name.contains('/')).map(str::to_owned).collect())
    }

    /// Until the file is dropped, nobody else makes hidden ones. None if somebody does, and `wait` is not wanted.
    pub fn hiding(&self, wait: bool) -> Result<Option<File>> {
        let path = self.path.join("hiding");
        let failed = |source| Error::File { action: "lock", path: path.clone(), source };
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
        let how = if wait { FlockOperation::LockExclusive } else { FlockOperation::NonBlockingLockExclusive };
        match rustix::io::retry_on_intr(|| flock(&file, how)) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    fn entries(&self) -> Result<Map<String, Value>> {
        let path = self.path.join("index.json");
        match std::fs::read(&path) {
            Ok(bytes) => document::read("index", &path.display().to_string(), &bytes),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
            Err(source) => Err(Error::File { action: "read", path, source }),
        }
    }

    fn read(&self) -> Result<Vec<Artifact>> {
        let index = self.entries()?;
        let mut found = Vec::new();
        for entry in index.get("manifests").and_then(Value::as_array).into_iter().flatten() {
            let digest = entry["digest"].as_str().and_then(|digest| digest.parse::<Digest>().ok());
            // What has no name is a signature, or no artifact of ours.
            let (Some(name), Some(digest)) = (entry["annotations"][NAME].as_str(), digest) else { continue };
            if !name.contains('/') {
                continue;
            }
            found.push(Artifact::of(name, digest, &self.bytes(&digest)?)?);
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs/sha256").join(digest.hex())
    }

    fn bytes(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.blob(digest);
        let failed = |source| Error::File { action: "read", path: path.clone(), source };
        let mut bytes = Vec::new();
        File::open(&path).map_err(failed)?.take(document::MANIFEST + 1).read_to_end(&mut bytes).map_err(failed)?;
        let found = Digest::of(&bytes);
        if found != *digest {
            let found = found.to_string();
            return Err(Error::Mismatch { what: "manifest", digest: *digest, property: "digest", found });
        }
        Ok(bytes)
    }

    /// Makes one; one of that name is replaced, or gets more files. Gives the digest of its manifest.
    ///
    /// # Errors
    /// Two files would have one title; a file cannot be read; there is nothing to append to.
    pub fn make(&self, making: &Making) -> Result<Digest> {
        let _lock = self.lock(true)?;
        let bad = |why: String| Error::Document { what: "artifact", name: making.name.clone(), why };
        let before = self.read()?.into_iter().find(|artifact| artifact.name == making.name);
        let (mut manifest, mut titles) = match (making.append, before) {
            (true, None) => return Err(bad("it does not exist, and nothing can be appended to it".into())),
            (true, Some(artifact)) => {
                let titles = artifact.files.iter().filter_map(|file| file.title.clone()).collect();
                (artifact.manifest, titles)
            }
            (false, _) => (Map::new(), BTreeSet::new()),
        };
        let layout = Layout::directory(&self.path, Some(making.name.clone()), true)?;
        let mut layers = match manifest.remove("layers") {
            Some(Value::Array(layers)) => layers,
            _ => Vec::new(),
        };
        for path in &making.files {
            let title = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if !is_title(&title) {
                return Err(bad(format!("{path:?} is no name of a file")));
            }
            if !making.untitled && !titles.insert(title.clone()) {
                return Err(bad(format!("it would have two files {title:?}")));
            }
            layers.push(add(&layout, path, title, making)?);
        }
        manifest.insert("schemaVersion".into(), 2.into());
        manifest.insert("mediaType".into(), OCI_MANIFEST.into());
        if !making.append {
            manifest.insert(
                "artifactType".into(),
                making.kind.as_deref().unwrap_or("application/vnd.unknown.artifact.v1").into(),
            );
            manifest.insert("config".into(), configuration(&layout, making)?);
            if let Some(subject) = &making.subject {
                manifest.insert("subject".into(), subject.reference());
            }
        }
        manifest.insert("layers".into(), layers.into());
        let bytes = serde_json::to_vec(&manifest).unwrap_or_default();
        layout.manifest(&bytes, OCI_MANIFEST, true)?;
        layout.finish()?;
        self.sweep()?;
        Ok(Digest::of(&bytes))
    }

    /// Brings one from `from` under `name`; files that are encrypted are opened by `keys`. Gives the digest of its manifest.
    pub fn bring(
        &self,
        from: &Source,
        name: &str,
        options: &Options,
        keys: Keys,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        let _lock = self.lock(false)?;
        let to = Source::OciDirectory(self.path.clone(), Choice::Named(name.into()));
        let mut wishes = Wishes { plain: true, ..Wishes::default() };
        wishes.change.signatures = Signatures::IfValid;
        wishes.change.keys = keys;
        Ok(between::copy(from, options, &to, &Options::default(), &wishes, false, progress)?.digest)
    }

    /// Sends the one called `name` to `to`. Gives the digest of its manifest there.
    pub fn send(
        &self,
        name: &str,
        to: &Source,
        options: &Options,
        wishes: &Wishes,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        let _lock = self.lock(false)?;
        let from = Source::OciDirectory(self.path.clone(), Choice::Named(name.into()));
        Ok(between::copy(&from, &Options::default(), to, options, wishes, false, progress)?.digest)
    }

    /// The entry that a list has for what was made as `name`, with the manifest `digest`.
    ///
    /// # Errors
    /// Its manifest cannot be read.
    pub fn entry(&self, name: &str, digest: &Digest) -> Result<Entry> {
        let _lock = self.lock(false)?;
        let bytes = self.bytes(digest)?;
        let artifact = Artifact::of(name, *digest, &bytes)?;
        let kind = artifact.manifest.get("artifactType").and_then(Value::as_str).unwrap_or_default();
        Ok(Entry::new(*digest, bytes.len(), OCI_MANIFEST, Value::Null).artifact(kind))
    }

    /// Where the one called `name` is, for those who copy it.
    pub fn source(&self, name: &str) -> Source {
        Source::OciDirectory(self.path.clone(), Choice::Named(name.into()))
    }

    /// Removes the one called `name`; nothing happens if there is none.
    pub fn remove(&self, name: &str) -> Result<()> {
        let _lock = self.lock(true)?;
        let mut index = self.entries()?;
        if let Some(Value::Array(entries)) = index.get_mut("manifests") {
            entries.retain(|entry| entry["annotations"][NAME].as_str() != Some(name));
        }
        let path = self.path.join("index.json");
        let bytes = serde_json::to_vec(&index).unwrap_or_default();
        put(&path, |file| {
            file.write_all(&bytes).map_err(|source| Error::File { action: "write", path: path.clone(), source })
        })?;
        self.sweep()
    }

    /// Removes the blobs that no artifact has. The caller has the lock, alone.
    fn sweep(&self) -> Result<()> {
        let mut used = BTreeSet::new();
        for entry in self.entries()?.get("manifests").and_then(Value::as_array).into_iter().flatten() {
            let Some(digest) = entry["digest"].as_str().and_then(|digest| digest.parse::<Digest>().ok()) else {
                continue;
            };
            used.insert(digest.hex());
            let manifest: Value = document::read("manifest", "", &self.bytes(&digest)?)?;
            let layers = manifest["layers"].as_array().into_iter().flatten();
            used.extend(
                layers
                    .chain([&manifest["config"]])
                    .filter_map(|d| Some(d["digest"].as_str()?.parse::<Digest>().ok()?.hex())),
            );
        }
        let path = self.path.join("blobs/sha256");
        let failed = |source| Error::File { action: "read", path: path.clone(), source };
        let files = match std::fs::read_dir(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            files => files.map_err(failed)?,
        };
        for file in files {
            let file = file.map_err(failed)?;
            if !used.contains(&*file.file_name().to_string_lossy()) {
                std::fs::remove_file(file.path()).map_err(|source| Error::File {
                    action: "remove",
                    path: file.path(),
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// Writes the bytes of `piece` into a new file at `to`, which takes the place of one that is there.
    pub fn extract(&self, piece: &Piece, to: &Path) -> Result<()> {
        let _lock = self.lock(false)?;
        let path = self.blob(&piece.digest);
        let mut from = File::open(&path).map_err(|source| Error::File { action: "open", path, source })?;
        put(to, |file| {
            let failed = |source| Error::File { action: "write", path: to.into(), source };
            let (mut hasher, mut bytes) = (Hasher::new(), vec![0; 256 << 10]);
            loop {
                let got = from.read(&mut bytes).map_err(failed)?;
                if got == 0 {
                    break;
                }
                hasher.update(&bytes[..got]);
                file.write_all(&bytes[..got]).map_err(failed)?;
            }
            let found = hasher.finish();
            match found == piece.digest {
                true => Ok(()),
                false => Err(Error::Mismatch {
                    what: "file",
                    digest: piece.digest,
                    property: "digest",
                    found: found.to_string(),
                }),
            }
        })
    }
}

impl Artifact {
    fn of(name: &str, digest: Digest, bytes: &[u8]) -> Result<Artifact> {
        let manifest: Map<String, Value> = document::read("manifest", name, bytes)?;
        let piece = |layer: &Value| {
            Some(Piece {
                digest: layer["digest"].as_str()?.parse().ok()?,
                size: layer["size"].as_u64()?,
                title: layer["annotations"][TITLE].as_str().map(str::to_owned),
            })
        };
        let layers = manifest.get("layers").and_then(Value::as_array).into_iter().flatten();
        let files = layers.filter_map(piece).collect();
        Ok(Artifact { name: name.into(), digest, manifest, files })
    }

    /// Bytes of its files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).fold(0, u64::saturating_add)
    }
}

/// Adds the file at `path`; gives its descriptor.
fn add(layout: &Layout, path: &Path, title: String, making: &Making) -> Result<Value> {
    let failed = |source| Error::File { action: "read", path: path.into(), source };
    let mut start = Vec::new();
    File::open(path).map_err(failed)?.take(START).read_to_end(&mut start).map_err(failed)?;
    let open = || -> Result<Box<dyn Read + Send + '_>> { Ok(Box::new(File::open(path).map_err(failed)?)) };
    let blob = Blob { digest: None, size: None, open: &open, laborious: false, announced: None, progress: &() };
    let (digest, size) = layout.write(&blob)?;
    let kind = making.file_kind.as_deref().unwrap_or_else(|| kind_of(&start));
    let mut annotations = making.annotations.clone();
    if !making.untitled {
        annotations.insert(TITLE.into(), title);
    }
    let mut descriptor = json!({"mediaType": kind, "digest": digest, "size": size});
    if !annotations.is_empty() {
        descriptor["annotations"] = json!(annotations);
    }
    Ok(descriptor)
}

/// Writes the configuration; gives its descriptor.
fn configuration(layout: &Layout, making: &Making) -> Result<Value> {
    let Some((bytes, kind)) = &making.configuration else {
        layout.configuration(b"{}")?;
        return Ok(json!({"mediaType": EMPTY, "digest": Digest::of(b"{}"), "size": 2, "data": "e30="}));
    };
    layout.configuration(bytes)?;
    Ok(json!({"mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len()}))
}

/// What a file is, by its first bytes.
fn kind_of(start: &[u8]) -> &'static str {
    const KINDS: &[(&[u8], &str)] = &[
        (b"\x1f\x8b", "application/x-gzip"),
        (b"\x28\xb5\x2f\xfd", "application/zstd"),
        (b"PK\x03\x04", "application/zip"),
        (b"%PDF-", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"\0asm", "application/wasm"),
    ];
    if let Some((_, kind)) = KINDS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return kind;
    }
    let control = |byte: &u8| *byte < 0x20 && !matches!(*byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b);
    if start.iter().any(control) { "application/octet-stream" } else { "text/plain; charset=utf-8" }
}

/// True of what can be the name of a file in a directory.
pub fn is_title(title: &str) -> bool {
    !title.is_empty() && !matches!(title, "." | "..") && !title.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("monopod-artifact-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn made_appended_replaced_extracted_and_removed() {
        let path = directory("made");
        let (a, b) = (path.join("a.txt"), path.join("b.bin"));
        std::fs::write(&a, "text").unwrap();
        std::fs::write(&b, [0, 1, 2]).unwrap();
        let artifacts = Artifacts::open(&path.join("artifacts")).unwrap();
        let making = |files: &[&PathBuf], append| Making {
            name: "localhost/a:1".into(),
            files: files.iter().map(|path| (*path).clone()).collect(),
            kind: Some("application/x.mine".into()),
            annotations: BTreeMap::from([("k".into(), "v".into())]),
            append,
            ..Making::default()
        };
        assert!(artifacts.make(&making(&[&a], true)).unwrap_err().to_string().contains("does not exist"));
        let first = artifacts.make(&making(&[&a], false)).unwrap();
        let second = artifacts.make(&making(&[&b], true)).unwrap();
        assert_ne!(first, second);
        assert!(artifacts.make(&making(&[&b], true)).unwrap_err().to_string().contains("two files"));
        let [made] = &artifacts.list().unwrap()[..] else { panic!("one") };
        assert_eq!((made.digest, made.size(), made.files.len()), (second, 7, 2));
        assert_eq!(made.manifest["artifactType"], "application/x.mine");
        assert_eq!(made.manifest["layers"][0]["mediaType"], "text/plain; charset=utf-8");
        assert_eq!(made.manifest["layers"][1]["mediaType"], "application/octet-stream");
        assert_eq!(made.manifest["layers"][1]["annotations"]["k"], "v");
        // The manifest that was replaced is gone.
        assert!(!artifacts.blob(&first).exists());

        let to = path.join("out");
        artifacts.extract(&made.files[1], &to).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), [0, 1, 2]);
        std::fs::write(artifacts.blob(&made.files[1].digest), "other").unwrap();
        assert!(artifacts.extract(&made.files[1], &to).unwrap_err().to_string().contains("digest"));
        assert_eq!(std::fs::read(&to).unwrap(), [0, 1, 2], "a file that is there stays after a failure");

        artifacts.remove("localhost/a:1").unwrap();
        assert!(artifacts.list().unwrap().is_empty());
        assert_eq!(std::fs::read_dir(path.join("artifacts/blobs/sha256")).unwrap().count(), 0);
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn titles_stay_in_their_directory() {
        for (title, fits) in [
            ("a", true),
            ("..a", true),
            ("", false),
            ("..", false),
            (".", false),
            ("a/b", false),
            ("/etc/passwd", false),
        ] {
            assert_eq!(is_title(title), fits, "{title}");
        }
    }
}
