//! Requests and replies about images.

use serde::{Deserialize, Serialize};
use types::Digest;

/// Asks for an image to be brought from `source` into the store: a transport reference (`oci-archive:FILE[:NAME]`,
/// `docker-archive:FILE[:NAME]`, `oci:DIR[:NAME]`, `dir:`, `docker://…`) or a name to pull from its registry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pull {
    /// Where from.
    pub source: String,
    /// `OS/ARCH[/VARIANT]`.
    pub platform: Option<String>,
    /// `missing`, `always`, `never`, `newer`.
    pub policy: Option<String>,
    /// All tags of the repository.
    pub all_tags: bool,
    /// Blobs go when their layers are unpacked; none means as it is configured.
    pub no_blobs: Option<bool>,
    /// How the registry is talked to.
    pub access: Access,
}

/// How registries are talked to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Access {
    /// `USER:PASSWORD` for the registry.
    pub credentials: Option<String>,
    /// No credentials at all are shown.
    pub anonymous: bool,
    /// Where a Docker daemon listens: `unix:///PATH`, `tcp://HOST:PORT`.
    pub daemon: Option<String>,
    /// Every image is accepted, whatever the policies say.
    pub any_signature: bool,
    /// File with credentials of registries.
    pub auth_file: Option<String>,
    /// Directory with certificates: `*.crt` are trusted, `*.cert` with `*.key` are shown.
    pub certificates: Option<std::path::PathBuf>,
    /// File that says which images are accepted, in place of the user's and the host's.
    pub signature_policy: Option<std::path::PathBuf>,
    /// Check the registry's certificate and demand TLS (default true).
    pub tls_verify: Option<bool>,
    /// How often a request that failed is tried again (default 3).
    pub retry: Option<u32>,
    /// How long to wait before that (default: 0.3 seconds, then three times as long each time).
    pub retry_delay: Option<std::time::Duration>,
    /// Files with private keys that open encrypted layers.
    pub decryption_keys: Vec<String>,
}

/// Asks for layers to be encrypted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Encryption {
    /// `jwe:FILE`: public keys of those who are to open them.
    pub recipients: Vec<String>,
    /// Places of the layers, negative ones from the top; none means all.
    pub layers: Vec<i64>,
}

/// Asks for an image to be copied to, from or between other machines.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecureCopy {
    /// `HOST::IMAGE`, or an image of the store.
    pub source: String,
    /// `HOST::`; none means this machine.
    pub destination: Option<String>,
    /// `oci-archive` (default) or `docker-archive`.
    pub format: Option<String>,
}

/// Asks for images of the store to be saved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Save {
    /// Names or ids of the images; without `several`, those after the first are further names of the first.
    pub images: Vec<String>,
    /// All of `images` are images.
    pub several: bool,
    /// `docker-archive` (default), `oci-archive`, `oci-dir`, `docker-dir`.
    pub format: Option<String>,
    /// Where to; none means standard output.
    pub output: Option<std::path::PathBuf>,
    /// Compress plain layers in a `docker-dir`.
    pub compress: bool,
    /// Leave plain layers plain in the OCI formats.
    pub uncompressed: bool,
    /// `OS/ARCH[/VARIANT]`: of a list, the image for this platform.
    pub platform: Option<String>,
}

/// Asks for an image of the store to be written to a registry, or to any other transport.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Push {
    /// Name or id of the image.
    pub image: String,
    /// Where to; none means the image's name. Without a transport it is a registry.
    pub destination: Option<String>,
    /// `oci` or `v2s2`; none means the form the image has.
    pub format: Option<String>,
    /// How layers are compressed.
    pub compression: Compression,
    /// Who may read it.
    pub encryption: Encryption,
    /// Who signs it.
    pub signing: Signing,
    /// How the registry is talked to.
    pub access: Access,
}

/// What becomes of the signatures of an image, and who signs it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Signing {
    /// Those it has stay behind.
    pub remove: bool,
    /// A file with a secret key of OpenPGP, as `gpg --export-secret-keys` writes it.
    pub openpgp: Option<std::path::PathBuf>,
    /// A file with a private key of sigstore, as `cosign generate-key-pair` writes it.
    pub sigstore: Option<std::path::PathBuf>,
    /// A file that names a private key of sigstore and the file of its passphrase (containers-sigstore-signing-params.yaml(5)).
    pub sigstore_parameters: Option<std::path::PathBuf>,
    /// A file whose first line is the passphrase of these keys.
    pub passphrase: Option<std::path::PathBuf>,
    /// The name that is signed, if it is not that of the destination.
    pub identity: Option<String>,
}

/// How layers are compressed on their way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compression {
    /// `gzip` or `zstd`; none means gzip, for plain layers.
    pub format: Option<String>,
    /// Level; none means the usual one of the format.
    pub level: Option<i32>,
    /// Layers that are compressed otherwise are compressed anew (default: if a format was named).
    pub force: Option<bool>,
    /// Compress plain layers in a `dir:`.
    pub compress: bool,
}

/// An image was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pushed {
    /// Digest of its manifest there.
    pub digest: Digest,
}

/// Asks for all images of an archive. `None` reads standard input.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// A file, an OCI layout directory, or `http://…` and `https://…`.
    pub input: Option<std::path::PathBuf>,
    /// File that says which images are accepted, in place of the user's and the host's.
    pub signature_policy: Option<std::path::PathBuf>,
    /// Blobs go when their layers are unpacked; none means as it is configured.
    #[serde(default)]
    pub no_blobs: Option<bool>,
}

/// An image is in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// Its id: the digest of its configuration.
    pub id: Digest,
    /// Its names, normalised; empty if it has none.
    pub names: Vec<String>,
}

/// One row of the list of images: an image has a row for each of its names, or one without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its id: the digest of its configuration.
    pub id: Digest,
    /// Digest of its manifest.
    pub digest: Digest,
    /// All its names.
    pub names: Vec<String>,
    /// Names that it had before, the last one first.
    #[serde(default)]
    pub former_names: Vec<String>,
    /// Seconds since 1970, from its configuration.
    pub created: i64,
    /// Bytes of its layers, unpacked.
    pub size: u64,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// How many containers are made of it.
    pub containers: u64,
    /// It is a list of images: id and digest are those of the list and of its index.
    pub list: bool,
    /// It is in an additional store, of which nothing can be removed.
    #[serde(default)]
    pub read_only: bool,
}

/// Asks which images there are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// Only images of this name.
    pub name: Option<String>,
    /// `key=value`, as `--filter` takes it.
    pub filters: Vec<String>,
    /// Lists of images, too.
    pub lists: bool,
}

/// Asks for an image or one of its names to be removed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Remove {
    /// Name or id.
    pub name: String,
    /// With all names, and with the containers made of it.
    pub force: bool,
    /// An image that does not exist is no error.
    pub ignore: bool,
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Removed {
    /// Names taken away.
    pub untagged: Vec<String>,
    /// Images deleted.
    pub deleted: Vec<Digest>,
}

/// Asks for more names for an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tag {
    /// Name or id.
    pub image: String,
    /// The new names. Images that have them lose them.
    pub names: Vec<String>,
}

/// Asks for names of an image to be taken away; the image stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Untag {
    /// Name or id.
    pub image: String,
    /// Which names; all if there are none.
    pub names: Vec<String>,
}

/// A step in the making of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The image that the store has of what there was after this step.
    pub id: Option<Digest>,
    /// All names of that image.
    pub names: Vec<String>,
    /// When (RFC 3339), as written.
    pub created: String,
    /// The same in seconds since 1970; 0 if it does not say.
    pub created_seconds: i64,
    /// By what.
    pub created_by: String,
    /// Bytes of the files of its layer; 0 if it made none.
    pub size: u64,
    /// Remark.
    pub comment: String,
}

/// The layers of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// Id of the image.
    pub id: Digest,
    /// Its names.
    pub names: Vec<String>,
    /// Bytes of its layers, unpacked.
    pub size: u64,
    /// Its layers, bottom first.
    pub layers: Vec<TreeLayer>,
    /// Images that are built on this one.
    pub children: Vec<Summary>,
}

/// A layer in a tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TreeLayer {
    /// Digest of its uncompressed tar.
    pub diff_id: Digest,
    /// Bytes of its files.
    pub size: u64,
    /// Names of all images that this layer and those below it are.
    pub top_of: Vec<String>,
}

/// Asks for an image to be made of a root file system in a tar archive.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Import {
    /// A file, or `http://` or `https://` and so on; none or `-` means standard input.
    pub source: Option<String>,
    /// Name for the image.
    pub name: Option<String>,
    /// Instructions of a Containerfile.
    pub changes: Vec<String>,
    /// Remark in the history.
    pub message: String,
    /// Architecture, in Go's words; none means this machine's.
    pub architecture: Option<String>,
    /// Operating system; none means Linux.
    pub os: Option<String>,
    /// Variant of the architecture.
    pub variant: Option<String>,
}

/// Asks for images to be removed that no container is made of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prune {
    /// Those that have names, too.
    pub all: bool,
    /// `key=value`, as `--filter` takes it.
    pub filters: Vec<String>,
}

/// Asks for an image to be copied from one place to another without the store; a name without a transport is an image
/// of the store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Copy {
    /// Where from.
    pub source: String,
    /// Where to.
    pub destination: String,
    /// An image for several platforms is copied whole.
    pub all: bool,
    /// Otherwise the one for this platform, `OS/ARCH[/VARIANT]`.
    pub platform: Option<String>,
    /// `oci` or `v2s2`; none means the form the image has.
    pub format: Option<String>,
    /// How layers are compressed.
    pub compression: Compression,
    /// Leave plain layers plain in `oci:` and `oci-archive:`.
    pub uncompressed: bool,
    /// Fail rather than change the manifest's digest.
    pub preserve_digests: bool,
    /// More tags for an image in a `docker-archive:`.
    pub tags: Vec<String>,
    /// Who may read it.
    pub encryption: Encryption,
    /// Who signs it.
    pub signing: Signing,
    /// How the registry is talked to that is read from.
    pub from: Access,
    /// How the registry is talked to that is written to.
    pub to: Access,
}

/// Asks for many images to be copied.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CopyMany {
    /// How each of them is copied; its source and destination are those of all.
    pub copy: Copy,
    /// What the source is: `docker`, a repository or an image of one; `dir`, a tree of directories; `yaml`, a list.
    pub from: String,
    /// The same for the destination, below which they go.
    pub to: String,
    /// Names at the destination contain the whole name of the source.
    pub scoped: bool,
    /// Nothing is copied.
    pub dry_run: bool,
    /// One that fails does not end it.
    pub keep_going: bool,
    /// What names at the destination end with.
    pub suffix: String,
}

/// One of many images was copied.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Synced {
    /// Where it is.
    pub source: String,
    /// Where it went.
    pub destination: String,
}

/// Asks for what is known of an image that need not be in the store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Examine {
    /// Which, with its transport.
    pub source: String,
    /// The manifest or index itself.
    pub raw: bool,
    /// The configuration, or with `raw` its bytes.
    pub configuration: bool,
    /// Without the list of tags.
    pub no_tags: bool,
    /// For this platform, `OS/ARCH[/VARIANT]`.
    pub platform: Option<String>,
    /// How the registry is talked to.
    pub access: Access,
    /// What refers to the image in its registry, in place of what is known of it.
    pub referrers: bool,
    /// Of those, artifacts of this type alone.
    pub referrer_kind: Option<String>,
}

/// What was asked for about an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Examined {
    /// Bytes as they were found.
    Raw(Vec<u8>),
    /// A description.
    Described(serde_json::Value),
}

/// Asks for the tags of a repository.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tags {
    /// `docker://NAME`, or an archive of Docker's.
    pub source: String,
    /// How the registry is talked to.
    pub access: Access,
}

/// The tags of a repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// The repository, complete; none for an archive.
    pub repository: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
}

/// Asks which repositories a registry has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Search {
    /// `[REGISTRY/]TERM`; without a registry those are asked that short names are searched in.
    pub term: String,
    /// Most results of each registry; none means 25.
    pub limit: Option<u32>,
    /// `KEY=VALUE`, as `--filter` takes it: `stars`, `is-official`, `is-automated`.
    pub filters: Vec<String>,
    /// The tags of the one repository that is named, instead.
    pub tags: bool,
    /// How the registries are talked to.
    pub access: Access,
}

/// A repository that was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// The registry that has it.
    pub registry: String,
    /// Its complete name.
    pub name: String,
    /// What its owner says of it.
    pub description: String,
    /// How many people like it.
    pub stars: u64,
    /// The registry vouches for it.
    pub official: bool,
    /// It is built by the registry.
    pub automated: bool,
    /// A tag, if those were asked for.
    pub tag: String,
}

/// Asks to log in to a registry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Login {
    /// `HOST[:PORT][/REPOSITORY]`.
    pub registry: String,
    /// User; none means the one that is known.
    pub user: Option<String>,
    /// Password; none means the one that is known.
    pub password: Option<String>,
    /// Keep it in this file, as Docker's `config.json` has it.
    pub compat_auth_file: Option<String>,
    /// How the registry is talked to; its `auth_file` is where the login is kept.
    pub access: Access,
}

/// Somebody is logged in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// Who.
    pub user: String,
    /// Where that is kept.
    pub file: std::path::PathBuf,
}

/// Asks to forget a login.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Logout {
    /// Of which registry; none means of all.
    pub registry: Option<String>,
    /// File it is kept in.
    pub auth_file: Option<String>,
    /// The same, as Docker's `config.json` has it.
    pub compat_auth_file: Option<String>,
}

/// What a transfer does, as it goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Advance {
    /// This is about to be looked for.
    Trying(String),
    /// It was found, and is about to be copied.
    Begin,
    /// A layer is about to be copied.
    Layer {
        /// Digest of its blob or of what is in it, if known.
        digest: Option<Digest>,
        /// Its bytes, if known.
        size: Option<u64>,
    },
    /// More bytes of a layer were copied.
    Bytes {
        /// The layer, as it was announced.
        digest: Option<Digest>,
        /// How many more.
        count: u64,
    },
    /// A layer is complete.
    Done {
        /// The layer, as it was announced.
        digest: Option<Digest>,
    },
    /// A layer is there already.
    Skipped {
        /// The layer.
        digest: Digest,
    },
    /// The configuration is written.
    Config(Digest),
    /// The manifest is written, the last step.
    Manifest,
}

/// Is told of the steps, from several threads.
pub type Watch<'a> = dyn Fn(Advance) + Sync + 'a;
