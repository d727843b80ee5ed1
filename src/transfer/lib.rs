//! Images on the move: archives, layout directories and registries into the store.
//!
//! One design serves them all: the documents (index, manifest, configuration) are read and checked first or kept in
//! memory, the layers go to the store several at a time, each verified while it is read and never copied aside, and
//! the image is committed last, in one transaction. A failure at any point leaves the store as it was.
//!
//! Must not know: containers, flags, the environment, where credentials and proxies come from.

mod archive;
pub mod artifact;
mod between;
mod compress;
mod containers;
mod convert;
mod copy;
mod daemon;
mod destination;
mod document;
mod encryption;
mod error;
mod intake;
pub mod list;
mod logins;
mod origin;
mod parts;
mod plan;
mod reel;
mod registries;
mod registry;
mod send;
mod shelf;
mod sign;
pub mod source;
mod stream;
mod tape;
mod tarball;
mod trust;

pub use archive::{fetch, load};
pub use stream::{compression, decompressed};

pub use between::{Examined, archive_tags, copy, examine, raw, referrers, tags};
pub use containers::{additional_stores, graph_root};
pub use convert::Form;
pub use copy::{Change, Signatures, Written};
pub use document::Descriptor;
pub use encryption::Keys;
pub use error::{Error, Result};
pub use intake::Compression;
pub use logins::{check_login, forget_login, forget_logins, keep_login, known_login};
pub use registries::Registries;
pub use registry::search::{Hit, delete, search};
pub use send::{Output, Saving, Wishes, push, save};
pub use sign::{Signer, sign_image, verify_message};
pub use source::{Choice, Source};
pub use tarball::{Tarball, import};
pub use trust::{Lookaside, Policy, Rule, Signature, openpgp, parameters};

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;
use types::{Digest, Platform};

/// What [`load`] reads.
pub enum Input<'a> {
    /// A file with an archive, or a directory with an OCI layout.
    Path(PathBuf),
    /// Bytes of an archive that come once: standard input.
    Reader(&'a mut (dyn Read + Send)),
    /// The address of an archive, of http or https.
    Url(String),
}

/// How an image is fetched.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Take the image of this platform; none means the platform this file was built for.
    pub platform: Option<Platform>,
    /// What only registries need.
    pub registry: Registry,
    /// Which images are accepted; none means all.
    pub policy: Option<Policy>,
    /// Blobs go when their layers are unpacked ([`store::Store::drop_blob`]).
    pub drop_blobs: bool,
}

/// How registries are talked to. Read from the environment by nobody in this room.
#[derive(Debug, Clone)]
pub struct Registry {
    /// User and password, in place of those in `auth_files`.
    pub credentials: Option<(String, String)>,
    /// Files with credentials (containers-auth.json(5)), the first that knows the registry counts. They may be missing.
    pub auth_files: Vec<PathBuf>,
    /// Demand TLS and check the registry's certificate. A registry on a loopback address may speak plain HTTP all the
    /// same.
    pub tls_verify: bool,
    /// The proxies to use.
    pub proxies: Proxies,
    /// Where names lead to, and which registries may be spoken to without TLS.
    pub registries: Registries,
    /// Where signatures of images are kept.
    pub lookaside: Lookaside,
    /// Directory with certificates for the registry, beside those of `certificate_roots`.
    pub certificates: Option<PathBuf>,
    /// Directories with a directory of certificates for each registry, `HOST[:PORT]` (containers-certs.d(5)).
    pub certificate_roots: Vec<PathBuf>,
    /// Attempts of one request, at least 1.
    pub attempts: u32,
    /// How long to wait after a first failed attempt; none means 0.3 seconds, then three times as long each time.
    pub delay: Option<Duration>,
    /// How long to wait for a connection, and for the next byte of an answer.
    pub patience: Duration,
    /// The store of Podman and its kin, where none is named.
    pub containers: PathBuf,
    /// Where a Docker daemon listens: `unix:///PATH`, `tcp://HOST:PORT`.
    pub daemon: String,
}

impl Default for Registry {
    fn default() -> Registry {
        Registry {
            credentials: None,
            auth_files: Vec::new(),
            tls_verify: true,
            proxies: Proxies::default(),
            registries: Registries::default(),
            lookaside: Lookaside::default(),
            certificates: None,
            certificate_roots: Vec::new(),
            attempts: 4,
            delay: None,
            patience: Duration::from_secs(30),
            daemon: daemon::SOCKET.into(),
            containers: "/var/lib/containers/storage".into(),
        }
    }
}

/// The values of `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, as the caller found them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http` addresses.
    pub http: Option<String>,
    /// For `https` addresses.
    pub https: Option<String>,
    /// Hosts that are spoken to directly: names, `.suffixes`, addresses, networks (`10.0.0.0/8`), each with an optional
    /// port, separated by commas; `*` is all.
    pub none: String,
}

/// A number that nobody can guess.
fn random() -> u64 {
    let mut bytes = [0; 8];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u64::from_ne_bytes(bytes)
}

/// An image that is in the store now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its id: the digest of its configuration.
    pub id: Digest,
    /// The names it got, normalised; empty if it has none.
    pub names: Vec<String>,
    /// It was there already, with these names: nothing was written.
    pub known: bool,
}

/// Told what a transfer does, from several threads.
pub trait Progress: Sync {
    /// The transfer has begun and its signatures would be looked at now.
    fn begin(&self) {}
    /// A layer is about to be read: the digest of its blob or, where that is not known before, of what is in it; none
    /// where neither is known. `size` as announced.
    fn blob(&self, _digest: Option<&Digest>, _size: Option<u64>) {}
    /// A layer is in the store already and is not read.
    fn skipped(&self, _digest: &Digest) {}
    /// More bytes of a layer were read; `digest` as [`Progress::blob`] was told.
    fn bytes(&self, _digest: Option<&Digest>, _count: u64) {}
    /// A layer was read to its end.
    fn done(&self, _digest: Option<&Digest>) {}
    /// The configuration of an image is written.
    fn config(&self, _digest: &Digest) {}
    /// The manifest of an image is written, the last step.
    fn manifest(&self) {}
}

/// No progress is told.
impl Progress for () {}
