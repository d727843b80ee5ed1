//! Writes the images that the tests run: layers as tar archives, and OCI and Docker archives around them. Everything
//! can be bent before it is packed, which is how hostile archives are made.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::Path;

/// How a layer, or a whole archive, is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Plain,
    Gzip,
    Zstd,
}

/// All three.
pub const COMPRESSIONS: [Compression; 3] = [Compression::Plain, Compression::Gzip, Compression::Zstd];

/// Compresses `bytes`.
pub fn compress(bytes: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::Plain => bytes.to_vec(),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).expect("memory");
            encoder.finish().expect("memory")
        }
        Compression::Zstd => zstd::encode_all(bytes, 3).expect("memory"),
    }
}

/// The hexadecimal SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A layer being written.
pub struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Layer {
        Layer(tar::Builder::new(Vec::new()))
    }

    /// An entry of any kind; its name and link are written as they are, however hostile.
    pub fn entry(
        mut self,
        name: &[u8],
        kind: tar::EntryType,
        link: &[u8],
        data: &[u8],
        mode: u32,
        owner: u32,
    ) -> Layer {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner.into());
        header.set_gid(owner.into());
        header.set_mtime(1_700_000_000);
        header.set_size(data.len() as u64);
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        self.0.append(&header, data).expect("memory");
        self
    }

    pub fn dir(self, name: &str, mode: u32) -> Layer {
        self.entry(format!("{name}/").as_bytes(), tar::EntryType::Directory, b"", b"", mode, 0)
    }

    pub fn file(self, name: &str, data: &[u8], mode: u32) -> Layer {
        self.entry(name.as_bytes(), tar::EntryType::Regular, b"", data, mode, 0)
    }

    pub fn symlink(self, name: &str, target: &str) -> Layer {
        self.entry(name.as_bytes(), tar::EntryType::Symlink, target.as_bytes(), b"", 0o777, 0)
    }

    pub fn hardlink(self, name: &str, target: &str) -> Layer {
        self.entry(name.as_bytes(), tar::EntryType::Link, target.as_bytes(), b"", 0o644, 0)
    }

    /// PAX records for the entry that follows.
    pub fn pax(mut self, records: &[(&str, &[u8])]) -> Layer {
        self.0.append_pax_extensions(records.iter().copied()).expect("memory");
        self
    }

    pub fn done(self) -> Vec<u8> {
        self.0.into_inner().expect("memory")
    }
}

/// The machine's busybox with a link for each applet, two users, and a file that belongs to one of them.
pub fn busybox_layer() -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let list = std::process::Command::new("/bin/busybox").arg("--list").output().expect("busybox runs").stdout;
    let mut layer = Layer::new();
    for name in ["bin", "dev", "etc", "home", "proc", "root", "run", "sys", "var"] {
        layer = layer.dir(name, 0o755);
    }
    layer = layer.dir("tmp", 0o1777).file("bin/busybox", &busybox, 0o755);
    for applet in String::from_utf8_lossy(&list).lines().filter(|name| *name != "busybox") {
        layer = layer.symlink(&format!("bin/{applet}"), "busybox");
    }
    layer
        .file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n", 0o644)
        .file("etc/group", b"root:x:0:\napp:x:1001:\nextra:x:1002:app\n", 0o644)
        .entry(b"home/app/", tar::EntryType::Directory, b"", b"", 0o755, 1000)
        .entry(b"home/app/own", tar::EntryType::Regular, b"", b"app's\n", 0o640, 1000)
        .done()
}

/// An image to be packed.
#[derive(Clone)]
pub struct Image {
    /// `NAME[:TAG]` of the archive's index; none if it has no name.
    pub name: Option<String>,
    /// Uncompressed layers, lowest first.
    pub layers: Vec<Vec<u8>>,
    /// The `config` section of its configuration.
    pub config: Value,
    /// How its layers are compressed.
    pub compression: Compression,
    /// Architecture, if it is not this machine's.
    pub architecture: Option<String>,
}

impl Image {
    /// The busybox image under `name`.
    pub fn busybox(name: &str) -> Image {
        Image::of(name, vec![busybox_layer()])
    }

    /// An image of `layers` under `name`.
    pub fn of(name: &str, layers: Vec<Vec<u8>>) -> Image {
        let config = json!({"Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "FROM_IMAGE=yes"], "Cmd": ["sh"]});
        Image { name: Some(name.into()), layers, config, compression: Compression::Gzip, architecture: None }
    }

    /// The whole configuration document.
    pub fn document(&self) -> Value {
        let diff_ids: Vec<_> = self.layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
        let own = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        json!({
            "architecture": self.architecture.as_deref().unwrap_or(own), "os": "linux",
            "created": "2023-11-14T22:13:20Z", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
    }
}

/// The files of a layout or an archive, in order.
pub type Files = Vec<(String, Vec<u8>)>;

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn media(compression: Compression) -> &'static str {
    match compression {
        Compression::Plain => "application/vnd.oci.image.layer.v1.tar",
        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}

/// Adds `bytes` as a blob and gives its descriptor.
pub fn blob(files: &mut Files, media: &str, bytes: Vec<u8>) -> Value {
    let descriptor = json!({"mediaType": media, "digest": format!("sha256:{}", sha256(&bytes)), "size": bytes.len()});
    let name = format!("blobs/sha256/{}", sha256(&bytes));
    if !files.iter().any(|(known, _)| *known == name) {
        files.push((name, bytes));
    }
    descriptor
}

/// Adds an image's blobs and gives the descriptor of its manifest.
pub fn oci_manifest(files: &mut Files, image: &Image) -> Value {
    let layers: Vec<_> = image
        .layers
        .iter()
        .map(|layer| blob(files, media(image.compression), compress(layer, image.compression)))
        .collect();
    let config = blob(files, "application/vnd.oci.image.config.v1+json", text(&image.document()));
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
    let mut descriptor = blob(files, kind, text(&manifest));
    if let Some(name) = &image.name {
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    }
    descriptor
}

/// The files of an OCI layout with `images`.
pub fn oci(images: &[Image]) -> Files {
    let mut files = Files::new();
    let manifests: Vec<_> = images.iter().map(|image| oci_manifest(&mut files, image)).collect();
    files.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    files.push(("index.json".into(), text(&json!({"schemaVersion": 2, "manifests": manifests}))));
    files
}

/// The files of a Docker archive with `images`.
pub fn docker(images: &[Image]) -> Files {
    let (mut files, mut manifest) = (Files::new(), Vec::new());
    for image in images {
        let mut layers = Vec::new();
        for layer in &image.layers {
            let bytes = compress(layer, image.compression);
            let name = format!("{}.tar", sha256(&bytes));
            layers.push(name.clone());
            files.push((name, bytes));
        }
        let config = text(&image.document());
        let name = format!("{}.json", sha256(&config));
        let tags: Vec<_> = image.name.iter().collect();
        manifest.push(json!({"Config": name, "RepoTags": tags, "Layers": layers}));
        files.push((name, config));
    }
    files.push(("manifest.json".into(), text(&Value::Array(manifest))));
    files
}

/// Packs files into a tar archive.
pub fn archive(files: &Files) -> Vec<u8> {
    let mut layer = Layer::new();
    for (name, bytes) in files {
        layer = layer.file(name, bytes, 0o644);
    }
    layer.done()
}

/// Writes files as a directory.
pub fn directory(files: &Files, at: &Path) {
    for (name, bytes) in files {
        let path = at.join(name);
        std::fs::create_dir_all(path.parent().expect("below a directory")).expect("own directory");
        std::fs::write(path, bytes).expect("own file");
    }
}

/// An OCI archive with the busybox image under the name `busybox`.
pub fn busybox_archive() -> Vec<u8> {
    archive(&oci(&[Image::busybox("localhost/busybox:latest")]))
}
