//! `containers-storage:` — images of Podman, Buildah, CRI-O and Skopeo on the same machine, in the overlay layout of their
//! store (github.com/containers/storage), read under its locks.
//!
//! That store keeps no blobs. A layer is a directory, and beside it stands all of its archive that is not in a file
//! (github.com/vbatts/tar-split): both together are the archive again, byte for byte, which its digest proves.
//!
//! ```text
//! overlay-images/images.json     ids, names, top layers; images.lock
//! overlay-images/ID/KEY          manifest, configuration
//! overlay-layers/layers.json     ids, parents, digests, sizes; layers.lock
//! overlay-layers/ID.tar-split.gz what is not in files
//! overlay/ID/diff/               files
//! ```
//!
//! Must not know: where the store is if nobody says.

use crate::document;
use crate::origin::{Leaf, Origin};
use crate::plan::{self, Documents, Image, Layer, Place};
use crate::{Descriptor, Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{FlockOperation, OFlags};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use sys::beneath::Root;
use types::{Digest, Reference};

/// Largest list of images or layers, in bytes.
const LIST: u64 = 256 << 20;
/// Longest entry of what is not in files, in bytes.
const ENTRY: u64 = 64 << 20;
/// Bytes that are read at once.
const PIECE: u64 = 256 << 10;
/// Most layers of an image.
const LAYERS: usize = 500;

/// Somebody else's store, whose layers nobody changes while this lives.
pub struct Containers {
    root: PathBuf,
    title: String,
    layers: Vec<LayerRow>,
    images: Vec<ImageRow>,
    /// Held until we are done.
    _locks: Vec<OwnedFd>,
}

#[derive(Debug, Clone, Deserialize)]
struct ImageRow {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    layer: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LayerRow {
    id: String,
    #[serde(default)]
    parent: String,
    #[serde(default)]
    diff_digest: Option<Digest>,
    #[serde(default)]
    diff_size: Option<u64>,
}

impl Containers {
    /// Opens the store below `root`, for reading.
    pub fn open(root: &Path) -> Result<Containers> {
        let title = format!("containers-storage:[overlay@{}]", root.display());
        if !root.join("overlay-images").is_dir() {
            let why = "there are no images of the overlay driver in it, the only one that is supported".into();
            return Err(Error::Unknown { archive: title, why });
        }
        let lock = |name: &str| -> Result<OwnedFd> {
            let path = root.join(name);
            let failed =
                |source: rustix::io::Errno| Error::File { action: "lock", path: path.clone(), source: source.into() };
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let file = rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).map_err(failed)?;
            rustix::fs::fcntl_lock(&file, FlockOperation::LockShared).map_err(failed)?;
            Ok(file)
        };
        // Layers before images, as everybody takes them.
        let locks = vec![lock("overlay-layers/layers.lock")?, lock("overlay-images/images.lock")?];
        Ok(Containers {
            layers: list(&root.join("overlay-layers/layers.json"))?,
            images: list(&root.join("overlay-images/images.json"))?,
            root: root.into(),
            title,
            _locks: locks,
        })
    }

    /// The image `wanted`: a name, or an id or the first digits of one. With the names that it is to have here.
    pub fn image(&self, wanted: &str) -> Result<Image> {
        let (row, names) = self.find(wanted)?;
        let id: Digest =
            format!("sha256:{}", row.id).parse().map_err(|_| self.damaged(format!("{:?} is no id", row.id)))?;
        let configuration = self.document(&row.id, &id.to_string(), document::CONFIGURATION)?;
        if Digest::of(&configuration) != id {
            return Err(self.damaged(format!("the configuration of image {id} is another one")));
        }
        let layers = self.chain(&row.layer)?;
        document::configuration(&row.id, &configuration, layers.len())?;
        Ok(Image { manifest: None, configuration, id, names, layers })
    }

    fn find(&self, wanted: &str) -> Result<(&ImageRow, Vec<String>)> {
        let digits = wanted.trim_start_matches('@').trim_start_matches("sha256:");
        if let Ok(name) = wanted.parse::<Reference>() {
            let library = crate::source::complete(&name).to_string();
            for name in [name.normalised("localhost").to_string(), library] {
                let has = |row: &&ImageRow| row.names.iter().flatten().any(|known| *known == name);
                if let Some(row) = self.images.iter().find(has) {
                    return Ok((row, vec![name]));
                }
            }
        }
        let mut fits = self.images.iter().filter(|row| digits.len() >= 3 && row.id.starts_with(digits));
        match (fits.next(), fits.next()) {
            (Some(row), None) => Ok((row, Vec::new())),
            (found, _) => {
                let held = self.images.iter().flat_map(|row| row.names.iter().flatten().cloned()).take(20).collect();
                let archive = self.title.clone();
                match found {
                    Some(_) => Err(Error::Ambiguous { archive, held }),
                    None => Err(Error::NoSuchImage { archive, wanted: wanted.into(), held }),
                }
            }
        }
    }

    /// The layers below `top` and itself, lowest first.
    fn chain(&self, top: &str) -> Result<Vec<Layer>> {
        let mut layers = Vec::new();
        let mut next = top;
        while !next.is_empty() {
            let row = self.layers.iter().find(|row| row.id == next);
            let row = row.ok_or_else(|| self.damaged(format!("layer {next:?} is missing")))?;
            let diff_id = row.diff_digest.ok_or_else(|| self.damaged(format!("layer {next:?} has no digest")))?;
            layers.push(Layer { diff_id, place: Place::Member { name: row.id.clone(), size: row.diff_size } });
            if layers.len() > LAYERS {
                return Err(self.damaged(format!("image {top:?} has more than {LAYERS} layers")));
            }
            next = &row.parent;
        }
        layers.reverse();
        Ok(layers)
    }

    /// What is kept beside an image under `key`.
    fn document(&self, id: &str, key: &str, limit: u64) -> Result<Vec<u8>> {
        let path = self.root.join("overlay-images").join(id).join(file_name(key));
        read(&path, limit)
    }

    /// The archive of the layer `id`.
    pub fn layer(&self, id: &str) -> Result<Joined> {
        // It is a name of files below the store, and the list that it comes from may be another user's.
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(self.damaged(format!("{id:?} is no id of a layer")));
        }
        layer(&self.root, id)
    }

    fn damaged(&self, why: String) -> Error {
        Error::Unknown { archive: self.title.clone(), why }
    }
}

/// The file with all that is not in files of the layer `id`.
pub fn rest(root: &Path, id: &str) -> PathBuf {
    root.join("overlay-layers").join(format!("{id}.tar-split.gz"))
}

/// The archive of the layer `id` of the store below `root`.
pub fn layer(root: &Path, id: &str) -> Result<Joined> {
    let failed = |path: PathBuf| move |source: io::Error| Error::File { action: "open", path, source };
    let rest = rest(root, id);
    let entries = File::open(&rest).map_err(failed(rest))?;
    let files = root.join("overlay").join(id).join("diff");
    let files = Root::open(&files).map_err(|errno| failed(files)(errno.into()))?;
    let entries = BufReader::new(flate2::read::MultiGzDecoder::new(BufReader::new(entries)));
    Ok(Joined { entries, files, now: Part::Bytes(io::Cursor::default()) })
}

/// The name of the file that keeps what is called `key`.
pub fn file_name(key: &str) -> String {
    let plain = |byte: u8| byte == b'.' || byte.is_ascii_digit() || byte.is_ascii_lowercase();
    if key.bytes().all(plain) { key.into() } else { format!("={}", STANDARD.encode(key)) }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let failed = |source| Error::File { action: "read", path: path.into(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {limit} bytes"))));
    }
    Ok(bytes)
}

/// A list of theirs; empty where there is none.
pub fn list<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    match read(path, LIST) {
        // A store in which nothing was ever kept.
        Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => document::read("list", &path.display().to_string(), &other?),
    }
}

/// The directory that a storage.conf (containers-storage.conf(5)) names.
pub fn graph_root(text: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Settings {
        storage: Storage,
    }
    #[derive(Deserialize)]
    struct Storage {
        graphroot: PathBuf,
    }
    toml::from_str::<Settings>(text).ok().map(|settings| settings.storage.graphroot)
}

/// The additional stores that the text of a storage.conf names; none if there are none, or if it is damaged.
pub fn additional_stores(text: &str) -> Vec<PathBuf> {
    #[derive(Deserialize)]
    struct Settings {
        storage: Storage,
    }
    #[derive(Deserialize)]
    struct Storage {
        #[serde(default)]
        options: Options,
    }
    #[derive(Default, Deserialize)]
    struct Options {
        #[serde(default)]
        additionalimagestores: Vec<PathBuf>,
    }
    let settings: Option<Settings> = toml::from_str(text).ok();
    settings.map(|settings| settings.storage.options.additionalimagestores).unwrap_or_default()
}

/// An archive, put together from its files and the rest.
pub struct Joined {
    entries: BufReader<flate2::read::MultiGzDecoder<BufReader<File>>>,
    files: Root,
    now: Part,
}

/// What is being read.
enum Part {
    Bytes(io::Cursor<Vec<u8>>),
    /// A file, of which so many bytes are left.
    File(File, u64),
}

/// An entry of the rest (tar-split's `storage.Entry`).
#[derive(Deserialize)]
struct Entry {
    r#type: u32,
    #[serde(default)]
    name: String,
    /// A name that is not UTF-8.
    #[serde(default)]
    name_raw: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    payload: Option<String>,
}

/// The types of an entry.
const FILE: u32 = 1;
const SEGMENT: u32 = 2;

impl Joined {
    /// The next part; none at the end.
    fn next(&mut self) -> io::Result<Option<Part>> {
        let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let mut line = Vec::new();
        (&mut self.entries).take(ENTRY).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        let entry: Entry = serde_json::from_slice(&line).map_err(|e| bad(format!("a damaged entry: {e}")))?;
        let decoded = |text: &str| STANDARD.decode(text).map_err(|e| bad(format!("a damaged entry: {e}")));
        match entry.r#type {
            SEGMENT => Ok(Some(Part::Bytes(io::Cursor::new(decoded(entry.payload.as_deref().unwrap_or(""))?)))),
            FILE if entry.size == 0 => Ok(Some(Part::Bytes(io::Cursor::default()))),
            FILE => {
                let name = if entry.name_raw.is_empty() { entry.name.into_bytes() } else { decoded(&entry.name_raw)? };
                let told = |errno: rustix::io::Errno| {
                    let source = io::Error::from(errno);
                    io::Error::new(source.kind(), format!("{:?}: {source}", String::from_utf8_lossy(&name)))
                };
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                Ok(Some(Part::File(self.files.resolve(&name[..], flags).map_err(told)?.into(), entry.size)))
            }
            other => Err(bad(format!("an entry of the unknown type {other}"))),
        }
    }
}

impl Read for Joined {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.now {
                Part::Bytes(bytes) => {
                    let got = bytes.read(buffer)?;
                    if got > 0 {
                        return Ok(got);
                    }
                }
                Part::File(_, 0) => {}
                Part::File(file, left) => {
                    let most = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let got = file.read(&mut buffer[..most])?;
                    if got == 0 {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file is shorter than it was"));
                    }
                    *left -= got as u64;
                    return Ok(got);
                }
            }
            match self.next()? {
                Some(part) => self.now = part,
                None => return Ok(0),
            }
        }
    }
}

impl Documents for Containers {
    fn blob(&self, what: &'static str, descriptor: &Descriptor, _limit: u64) -> Result<Vec<u8>> {
        let why = "there are no blobs in it".into();
        Err(Error::Document { what, name: descriptor.digest.to_string(), why })
    }

    fn title(&self) -> &str {
        &self.title
    }
}

impl Origin for Containers {
    fn title(&self) -> &str {
        &self.title
    }

    fn layer(&self, leaf: &Leaf) -> Result<Box<dyn Read + Send + '_>> {
        match &leaf.place {
            plan::Place::Member { name, .. } => Ok(Box::new(Containers::layer(self, name)?)),
            plan::Place::Blob(digest, _) => Err(Error::NotFetched(digest.to_string())),
        }
    }
}

/// Writes all of the archive `plain` that is not in a file below `tree`, into which it was unpacked, so that both
/// together are the archive again.
pub fn split(plain: &File, tree: &Path, to: File) -> io::Result<()> {
    let tree = Root::open(tree)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let length = plain.metadata()?.len();
    let mut files: Vec<(Vec<u8>, u64, u64)> = Vec::new();
    // Of several entries of one name, the last one's contents are in the file.
    let mut last = std::collections::HashMap::new();
    let mut reader = plain;
    reader.rewind()?;
    for entry in tar::Archive::new(reader).entries_with_seek()? {
        let entry = entry?;
        let kind = entry.header().entry_type();
        let name = entry.path_bytes().into_owned();
        let (offset, size) = (entry.raw_file_position(), entry.size());
        last.insert(cleaned(&name), files.len());
        let is_file = kind.is_file() || kind.is_contiguous();
        files.push((name, offset, if is_file { size } else { 0 }));
    }
    let mut out =
        Entries { to: flate2::write::GzEncoder::new(io::BufWriter::new(to), flate2::Compression::new(6)), position: 0 };
    let mut done = 0;
    for (at, (name, offset, size)) in files.iter().enumerate() {
        // Files with holes have other contents than the archive, and are kept here.
        let there = last.get(&cleaned(name)) == Some(&at)
            && *size > 0
            && tree
                .resolve(&name[..], flags)
                .is_ok_and(|file| File::from(file).metadata().is_ok_and(|m| m.len() == *size));
        out.segment(plain, done, *offset)?;
        done = *offset;
        let mut entry = serde_json::Map::new();
        match std::str::from_utf8(name) {
            Ok(name) => entry.insert("name".into(), name.into()),
            Err(_) => entry.insert("name_raw".into(), STANDARD.encode(name).into()),
        };
        let mut sum = serde_json::Value::Null;
        if there {
            entry.insert("size".into(), (*size).into());
            sum = STANDARD.encode(checksum(plain, *offset, *size)?.to_be_bytes()).into();
            done += size;
        }
        out.entry(FILE, entry, sum)?;
    }
    out.segment(plain, done, length)?;
    out.to.finish()?.flush()
}

/// The parts of a name, without those that lead nowhere.
fn cleaned(name: &[u8]) -> Vec<Vec<u8>> {
    name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec).collect()
}

/// Entries on their way out.
struct Entries {
    to: flate2::write::GzEncoder<io::BufWriter<File>>,
    position: u64,
}

impl Entries {
    fn entry(
        &mut self,
        kind: u32,
        mut entry: serde_json::Map<String, serde_json::Value>,
        payload: serde_json::Value,
    ) -> io::Result<()> {
        entry.insert("type".into(), kind.into());
        entry.insert("payload".into(), payload);
        entry.insert("position".into(), self.position.into());
        self.position += 1;
        serde_json::to_writer(&mut self.to, &entry)?;
        self.to.write_all(b"\n")
    }

    /// The bytes of `plain` between two positions, in pieces.
    fn segment(&mut self, plain: &File, mut from: u64, to: u64) -> io::Result<()> {
        while from < to {
            let mut bytes = vec![0; PIECE.min(to - from) as usize];
            plain.read_exact_at(&mut bytes, from)?;
            from += bytes.len() as u64;
            self.entry(SEGMENT, serde_json::Map::new(), STANDARD.encode(bytes).into())?;
        }
        Ok(())
    }
}

/// CRC-64 of ISO 3309, as tar-split has it.
fn checksum(plain: &File, mut from: u64, size: u64) -> io::Result<u64> {
    let table: [u64; 256] = std::array::from_fn(|index| {
        (0..8)
            .fold(index as u64, |value, _| if value & 1 == 1 { value >> 1 ^ 0xd800_0000_0000_0000 } else { value >> 1 })
    });
    let (mut sum, mut buffer, end) = (!0u64, vec![0; PIECE as usize], from + size);
    while from < end {
        let piece = &mut buffer[..PIECE.min(end - from) as usize];
        plain.read_exact_at(piece, from)?;
        from += piece.len() as u64;
        sum = piece.iter().fold(sum, |sum, byte| table[usize::from(sum as u8 ^ byte)] ^ sum >> 8);
    }
    Ok(!sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_layers_do_not_lead_elsewhere() {
        let root = std::env::temp_dir().join(format!("monopod-containers-{}-{}", std::process::id(), crate::random()));
        for (directory, lock) in [("overlay-layers", "layers.lock"), ("overlay-images", "images.lock")] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
            std::fs::write(root.join(directory).join(lock), "").unwrap();
        }
        std::fs::create_dir_all(root.join("overlay/a1/diff")).unwrap();
        std::fs::write(rest(&root, "a1"), "").unwrap();
        let store = Containers::open(&root).unwrap();
        assert!(store.layer("a1").is_ok());
        for id in ["", ".", "../overlay-layers/a1", "a1/../a1", "/a1"] {
            let error = store.layer(id).err().unwrap().to_string();
            assert!(error.contains("is no id of a layer"), "{error}");
        }
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn keys_and_settings() {
        assert_eq!(file_name("manifest"), "manifest");
        assert_eq!(file_name("sha256:ab"), "=c2hhMjU2OmFi");
        let text = "[storage]\ndriver = \"overlay\"\ngraphroot = \"/a/b\"\n[storage.options]\nx = 1";
        assert_eq!(graph_root(text), Some("/a/b".into()));
        assert_eq!(graph_root("[storage]"), None);
        let text =
            "[storage]\ndriver = \"overlay\"\n[storage.options]\nadditionalimagestores = [\n\"/a\", \"/b\",\n]\n";
        assert_eq!(additional_stores(text), [PathBuf::from("/a"), "/b".into()]);
        assert!(additional_stores("[storage]").is_empty() && additional_stores("[").is_empty());
    }
}
