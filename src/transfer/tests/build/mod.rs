//! Builds small images and archives of them, byte by byte, and gives each test a store of its own.
#![allow(dead_code)] // Each test file is a program of its own and uses a part of this one.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use store::Store;
use types::Digest;

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

pub const PACKINGS: [Packing; 3] = [Packing::Plain, Packing::Gzip, Packing::Zstd];

impl Packing {
    pub fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Packing::Plain => bytes.to_vec(),
            Packing::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Packing::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Packing::Plain => "",
            Packing::Gzip => "+gzip",
            Packing::Zstd => "+zstd",
        }
    }
}

/// A directory that goes with the test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("monopod-transfer-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn store(&self) -> Store {
        Store::open(&self.path("store"), store::Options::default()).unwrap()
    }

    /// Everything below the store that a failure must not leave behind.
    pub fn left(&self) -> Vec<PathBuf> {
        let mut left = Vec::new();
        for part in ["layers", "blobs/sha256", "work"] {
            let Ok(entries) = std::fs::read_dir(self.path("store").join(part)) else { continue };
            left.extend(entries.map(|e| e.unwrap().path()));
        }
        left
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A tar archive of `files`.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Tar::default();
    for (name, bytes) in files {
        builder.file(name, bytes);
    }
    builder.finish()
}

/// A tar archive, member by member; names are not checked.
#[derive(Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> &mut Tar {
        self.member(name, tar::EntryType::Regular, "", bytes, bytes.len() as u64)
    }

    pub fn link(&mut self, name: &str, kind: tar::EntryType, target: &str) -> &mut Tar {
        self.member(name, kind, target, &[], 0)
    }

    /// A member that claims `size` bytes and has `bytes`.
    pub fn member(&mut self, name: &str, kind: tar::EntryType, target: &str, bytes: &[u8], size: u64) -> &mut Tar {
        let mut header = tar::Header::new_gnu();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn finish(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.0);
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }
}

/// An image: its layers as tars, and how they are packed.
#[derive(Clone)]
pub struct Image {
    pub layers: Vec<Vec<u8>>,
    pub packing: Packing,
    pub architecture: &'static str,
    pub names: Vec<String>,
}

impl Image {
    /// An image with a file for each of `contents`, one a layer.
    pub fn new(contents: &[&str], packing: Packing) -> Image {
        let layer = |(at, text): (usize, &&str)| tar(&[(&format!("file{at}"), text.as_bytes())]);
        Image {
            layers: contents.iter().enumerate().map(layer).collect(),
            packing,
            architecture: native(),
            names: Vec::new(),
        }
    }

    pub fn named(mut self, name: &str) -> Image {
        self.names.push(name.into());
        self
    }

    pub fn config(&self) -> Vec<u8> {
        let diff_ids: Vec<Digest> = self.layers.iter().map(|l| Digest::of(l)).collect();
        serde_json::to_vec(&serde_json::json!({
            "created": "2024-01-02T03:04:05Z", "os": "linux", "architecture": self.architecture,
            "config": {"Cmd": ["true"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }))
        .unwrap()
    }

    pub fn id(&self) -> Digest {
        Digest::of(&self.config())
    }

    /// Puts the blobs of this image into `blobs`; the descriptor of its manifest is returned.
    pub fn put(&self, blobs: &mut Blobs) -> serde_json::Value {
        let config = blobs.put("application/vnd.oci.image.config.v1+json", self.config());
        let kind = format!("application/vnd.oci.image.layer.v1.tar{}", self.packing.suffix());
        let layers: Vec<_> = self.layers.iter().map(|l| blobs.put(&kind, self.packing.pack(l))).collect();
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
        blobs.put("application/vnd.oci.image.manifest.v1+json", serde_json::to_vec(&manifest).unwrap())
    }
}

pub fn native() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// Blobs of an OCI layout.
#[derive(Default, Clone)]
pub struct Blobs(pub BTreeMap<Digest, Vec<u8>>);

impl Blobs {
    pub fn put(&mut self, media_type: &str, bytes: Vec<u8>) -> serde_json::Value {
        let descriptor =
            serde_json::json!({"mediaType": media_type, "digest": Digest::of(&bytes), "size": bytes.len()});
        self.0.insert(Digest::of(&bytes), bytes);
        descriptor
    }

    /// The files of the layout, the index last as podman writes it.
    pub fn files(&self, manifests: &[serde_json::Value]) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<(String, Vec<u8>)> =
            self.0.iter().map(|(digest, bytes)| (format!("blobs/sha256/{}", digest.hex()), bytes.clone())).collect();
        files.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
        let index = serde_json::json!({"schemaVersion": 2, "manifests": manifests});
        files.push(("index.json".into(), serde_json::to_vec(&index).unwrap()));
        files
    }
}

/// The files of an OCI layout of `images`.
pub fn oci_files(images: &[Image]) -> Vec<(String, Vec<u8>)> {
    let mut blobs = Blobs::default();
    let mut manifests = Vec::new();
    for image in images {
        let descriptor = image.put(&mut blobs);
        for name in &image.names {
            let mut named = descriptor.clone();
            named["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": name});
            manifests.push(named);
        }
        if image.names.is_empty() {
            manifests.push(descriptor);
        }
    }
    blobs.files(&manifests)
}

pub fn packed(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    tar(&files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect::<Vec<_>>())
}

/// An `oci-archive` of `images`.
pub fn oci(images: &[Image]) -> Vec<u8> {
    packed(&oci_files(images))
}

/// What `docker save` writes of `images`: with `linked`, in its old form, where a layer that occurs again is a link.
pub fn docker(images: &[Image], linked: bool) -> Vec<u8> {
    let mut builder = Tar::default();
    let mut manifest = Vec::new();
    let mut seen: BTreeMap<Digest, String> = BTreeMap::new();
    for (number, image) in images.iter().enumerate() {
        let mut layers = Vec::new();
        for (at, layer) in image.layers.iter().enumerate() {
            let diff_id = Digest::of(layer);
            let name = if linked { format!("{number}{at}/layer.tar") } else { format!("{}.tar", diff_id.hex()) };
            match seen.get(&diff_id) {
                Some(first) if linked => {
                    builder.link(&name, tar::EntryType::Symlink, &format!("../{first}"));
                }
                Some(_) => {}
                None => {
                    builder.file(&name, &image.packing.pack(layer));
                    seen.insert(diff_id, name.clone());
                }
            }
            layers.push(name);
        }
        let config = format!("{}.json", image.id().hex());
        builder.file(&config, &image.config());
        manifest.push(serde_json::json!({"Config": config, "RepoTags": image.names, "Layers": layers}));
    }
    builder.file("manifest.json", &serde_json::to_vec(&manifest).unwrap());
    builder.finish()
}

/// Writes `files` below `directory`.
pub fn spread(directory: &Path, files: &[(String, Vec<u8>)]) {
    for (name, bytes) in files {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
