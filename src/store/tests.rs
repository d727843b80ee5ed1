//! Tests of the whole room, and what they share: scratch stores, archives made by hand, images made of them.

mod full;
mod hostile;
mod images;
mod killed;
mod layers;
mod mapped;
mod random;
mod recipes;
mod snapshots;

use crate::{Candidate, Descriptor, Error, Expect, Image, Manifest, NewImage, Options, Result, Store};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use types::Digest;

/// A directory that is removed at the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("store-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.0.join("root"), options()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let parent = std::fs::File::open(self.0.parent().unwrap()).unwrap();
        sys::removal::remove_tree(std::os::fd::AsFd::as_fd(&parent), self.0.file_name().unwrap().as_encoded_bytes());
    }
}

/// Options that work for whoever runs the tests.
pub(crate) fn options() -> Options {
    let root = rustix::process::geteuid().is_root();
    Options { in_user_namespace: !root, single_id: !root, ..Options::default() }
}

/// An archive being written, with headers as odd as wanted.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn new() -> Tar {
        Tar::default()
    }

    /// An entry with these bytes as its name.
    pub(crate) fn entry(self, kind: u8, name: &[u8], link: &[u8], mode: u32, data: &[u8]) -> Tar {
        self.owned(kind, name, link, mode, (0, 0), data)
    }

    pub(crate) fn owned(mut self, kind: u8, name: &[u8], link: &[u8], mode: u32, ids: (u64, u64), data: &[u8]) -> Tar {
        if name.len() > 100 {
            self = self.entry(b'L', b"././@LongLink", b"", 0, &[name, b"\0"].concat());
        }
        if link.len() > 100 {
            self = self.entry(b'K', b"././@LongLink", b"", 0, &[link, b"\0"].concat());
        }
        let mut header = tar::Header::new_gnu();
        let old = header.as_old_mut();
        old.name[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        old.linkname[..link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        old.linkflag[0] = kind;
        header.set_mode(mode);
        header.set_uid(ids.0);
        header.set_gid(ids.1);
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        if let b'3' | b'4' = kind {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.data(data)
    }

    pub(crate) fn data(mut self, data: &[u8]) -> Tar {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Tar {
        self.entry(b'0', name.as_bytes(), b"", 0o644, data)
    }

    pub(crate) fn directory(self, name: &str, mode: u32) -> Tar {
        self.entry(b'5', name.as_bytes(), b"", mode, b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Tar {
        self.entry(b'2', name.as_bytes(), target.as_bytes(), 0o777, b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Tar {
        self.entry(b'1', name.as_bytes(), target.as_bytes(), 0o644, b"")
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Tar {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (1..).find(|length: &usize| length.to_string().len() + rest == *length).unwrap();
            write!(bytes, "{length} {key}=").unwrap();
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        self.entry(b'x', b"PaxHeaders/x", b"", 0, &bytes)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    /// Without an end.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn ingest(store: &Store, blob: &[u8]) -> Result<Candidate> {
    store.ingest_layer(blob, Expect::default())
}

/// Where a candidate's files are.
pub(crate) fn tree(candidate: &Candidate) -> PathBuf {
    candidate.place.path(crate::format::TREE)
}

/// Manifest and configuration of an image of these layers (blob, its tar), with something that makes it unlike others.
pub(crate) fn documents(layers: &[(Vec<u8>, Vec<u8>)], label: &str) -> (Vec<u8>, Vec<u8>) {
    let diff_ids: Vec<_> = layers.iter().map(|(_, tar)| Digest::of(tar)).collect();
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64", "created": "2024-01-02T03:04:05Z",
        "config": {"Labels": {"label": label}}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let descriptor = |(blob, _): &(Vec<u8>, Vec<u8>)| Descriptor {
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
        digest: Digest::of(blob),
        size: blob.len() as u64,
    };
    (Manifest::synthesise(&config, layers.iter().map(descriptor).collect()), config)
}

/// Publishes an image of these tars, gzipped.
pub(crate) fn publish(store: &Store, tars: &[Vec<u8>], label: &str, names: &[&str]) -> Result<Image> {
    let layers: Vec<_> = tars.iter().map(|tar| (gzip(tar), tar.clone())).collect();
    let (manifest, config) = documents(&layers, label);
    let candidates = layers.iter().map(|(blob, _)| ingest(store, blob)).collect::<Result<_>>()?;
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    store.commit_image(NewImage {
        manifest: &manifest,
        media_type: crate::OCI_MANIFEST,
        config: &config,
        names: &names,
        candidates,
    })
}

/// Files and directories of a store that hold images, layers or leftovers, but not the database.
pub(crate) fn contents(store: &Store) -> Vec<String> {
    let mut found = Vec::new();
    use crate::format::{BLOBS, LAYERS, MAPPED, RECIPES, SNAPSHOTS, WORK};
    for directory in [BLOBS, LAYERS, MAPPED, RECIPES, WORK, SNAPSHOTS] {
        for entry in std::fs::read_dir(store.root().join(directory)).unwrap() {
            found.push(format!("{directory}/{}", entry.unwrap().file_name().to_string_lossy()));
        }
    }
    found.sort();
    found
}

/// The error's words, with its sources'.
pub(crate) fn words(problem: &Error) -> String {
    let mut text = problem.to_string();
    let mut source = std::error::Error::source(problem);
    while let Some(problem) = source {
        text.push_str(": ");
        text.push_str(&problem.to_string());
        source = problem.source();
    }
    text
}
