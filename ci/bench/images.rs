//! The workload images: those of a directory, or our own of the same shape. The same seed gives the same bytes.

use crate::Asked;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The archives that are loaded and run.
pub struct Images {
    /// An OCI archive with a static busybox, named `localhost/busybox:latest`.
    pub busybox: PathBuf,
    /// One large layer, gzip; its layer alone, compressed and not, for the floors.
    pub single: PathBuf,
    /// Six layers, gzip.
    pub many_gzip: PathBuf,
    /// Six layers, zstd.
    pub many_zstd: PathBuf,
    /// In words, for the report.
    pub described: String,
}

/// Finds or makes the images in `work`.
pub fn prepare(asked: &Asked, work: &Path) -> Result<Images, String> {
    let busybox = work.join("busybox.oci.tar");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../build/busybox-image.sh");
    let made =
        Command::new(script).arg(&busybox).arg("localhost/busybox:latest").status().map_err(|e| e.to_string())?;
    if !made.success() {
        return Err("no busybox image".into());
    }
    if let Some(given) = &asked.images {
        return Ok(Images {
            busybox,
            single: given.join("debian.docker.tar"),
            many_gzip: given.join("many.oci.tar"),
            many_zstd: given.join("many.oci-zstd.tar"),
            described: "a Debian minbase root file system in one layer; six layers of Python and Node.js like trees"
                .into(),
        });
    }
    let (scale, names) = if asked.quick { (50, "small ") } else { (1, "") };
    let single = vec![layer(1, 9000 / scale, 170_000_000 / scale)];
    let many: Vec<_> = (2..8).map(|seed| layer(seed, 6600 / scale, 78_000_000 / scale)).collect();
    let images = Images {
        busybox,
        single: work.join("single.tar"),
        many_gzip: work.join("many.tar"),
        many_zstd: work.join("many-zstd.tar"),
        described: format!("{names}generated trees of text-like files, one layer and six"),
    };
    pack(&single, false, "localhost/single", &images.single);
    pack(&many, false, "localhost/many", &images.many_gzip);
    pack(&many, true, "localhost/many", &images.many_zstd);
    Ok(images)
}

/// A tree of `files` files with `bytes` bytes that compress about as well as programs and texts do.
fn layer(seed: u64, files: usize, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = move || {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    let vocabulary: Vec<String> = (0..3000).map(|_| format!("{:x} ", random() >> (24 + random() % 32))).collect();
    let mut builder = tar::Builder::new(Vec::with_capacity(bytes + files * 1024));
    for n in 0..files {
        let size = (bytes / files / 4 + random() as usize % (bytes / files * 3 / 2)).max(1);
        let mut data = Vec::with_capacity(size + 16);
        while data.len() < size {
            data.extend_from_slice(vocabulary[random() as usize % vocabulary.len()].as_bytes());
        }
        data.truncate(size);
        let mut header = tar::Header::new_gnu();
        header.set_size(size as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        let name = format!("usr/lib/tree-{seed}/{:03}/file-{n}", n / 40);
        builder.append_data(&mut header, name, data.as_slice()).expect("memory");
    }
    builder.into_inner().expect("memory")
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Packs layers as an OCI archive.
fn pack(layers: &[Vec<u8>], zstandard: bool, name: &str, at: &Path) {
    let mut builder = tar::Builder::new(fs::File::create(at).expect("own file"));
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).expect("own file");
    };
    let mut blob = |media: &str, bytes: &[u8]| {
        add(&format!("blobs/sha256/{}", sha256(bytes)), bytes);
        serde_json::json!({"mediaType": media, "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len()})
    };
    let kind = if zstandard { "zstd" } else { "gzip" };
    let media = format!("application/vnd.oci.image.layer.v1.tar+{kind}");
    let compressed = |bytes: &[u8]| match zstandard {
        true => zstd::encode_all(bytes, 3).expect("memory"),
        false => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            encoder.write_all(bytes).expect("memory");
            encoder.finish().expect("memory")
        }
    };
    let descriptors: Vec<_> = layers.iter().map(|layer| blob(&media, &compressed(layer))).collect();
    let diff_ids: Vec<_> = layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
    let config = serde_json::json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let media = "application/vnd.oci.image.manifest.v1+json";
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": media, "config": config, "layers": descriptors});
    let mut manifest = blob(media, manifest.to_string().as_bytes());
    manifest["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": name});
    add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    add("index.json", serde_json::json!({"schemaVersion": 2, "manifests": [manifest]}).to_string().as_bytes());
    builder.finish().expect("own file");
}
