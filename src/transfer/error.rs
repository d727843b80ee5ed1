//! What can go wrong while images move: a variant per failed intent, with the archive, blob or registry it failed on.

use std::io;
use std::path::PathBuf;
use types::{Digest, Platform};

/// Result of the transfers.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a transfer. The store is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A source could not be understood.
    #[error("invalid source {given:?}: {why}")]
    Source {
        /// What was given.
        given: String,
        /// What is wrong with it.
        why: String,
    },
    /// A transport that Podman has and that is not built here.
    #[error("the transport {transport:?} is not supported: {instead}")]
    Transport {
        /// The transport, with its colon.
        transport: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// A source that this function does not fetch from.
    #[error("{0} names no archive, directory or registry to fetch from")]
    NotFetched(String),
    /// A name is none.
    #[error(transparent)]
    Invalid(#[from] types::Invalid),
    /// A file or directory could not be opened or read.
    #[error("cannot {action} {path:?}")]
    File {
        /// What was tried, e.g. `open`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The policy does not accept an image.
    #[error("Source image rejected: {image} is refused by {}: {why}", file.display())]
    Refused {
        /// The image.
        image: String,
        /// The policy.
        file: PathBuf,
        /// Which requirement does not hold.
        why: String,
    },
    /// Signatures of an image can be written nowhere.
    #[error("signatures of {image} have no place: {why}")]
    NoPlace {
        /// The image.
        image: String,
        /// What is missing.
        why: String,
    },
    /// The manifest of an image that is signed would have to be changed.
    #[error(
        "{destination}: the manifest would get another digest there, and its signatures would not be valid any more: --remove-signatures copies the image without them"
    )]
    Unsigned {
        /// Where to.
        destination: String,
    },
    /// A file of the web could not be had.
    #[error("cannot get {url}: {why}")]
    Page {
        /// Its address.
        url: String,
        /// What came instead.
        why: String,
    },
    /// The archive could not be read to its end.
    #[error("cannot read {archive}")]
    Read {
        /// The archive.
        archive: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The archive could not be written.
    #[error("cannot write {archive}")]
    Write {
        /// The archive or directory.
        archive: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A blob could not be read to its end, or is not what was announced.
    #[error("cannot copy blob {blob}")]
    Blob {
        /// Its digest.
        blob: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// An image's registry is blocked by configuration.
    #[error("{name}: registry {prefix} is blocked in registries.conf")]
    Blocked {
        /// The image.
        name: String,
        /// What is blocked.
        prefix: String,
    },
    /// A short name may mean several images.
    #[error(
        "short-name resolution enforced: {name:?} could be of {}: write the registry before the name, or an alias in registries.conf",
        searched.join(", ")
    )]
    Unclear {
        /// The short name.
        name: String,
        /// The registries that are searched.
        searched: Vec<String>,
    },
    /// Several images for a place that takes one.
    #[error("only docker-archive takes several images: save them one by one, or choose that format")]
    OneImage,
    /// A manifest would have to be changed, which was forbidden.
    #[error("{destination}: the manifest would get another digest there, and digests are to be preserved")]
    NotPreserved {
        /// Where to.
        destination: String,
    },
    /// The input is no image archive in any format known.
    #[error("{archive} is no image archive: {why}")]
    Unknown {
        /// The archive.
        archive: String,
        /// What was found instead.
        why: String,
    },
    /// The archive ends too early.
    #[error("{archive} is truncated: {what} is incomplete")]
    Truncated {
        /// The archive.
        archive: String,
        /// What is cut off.
        what: String,
    },
    /// A member of the archive is damaged, hostile or not supported.
    #[error("{archive}: member {member:?}: {why}")]
    Member {
        /// The archive.
        archive: String,
        /// Its member, bytes that are not UTF-8 replaced.
        member: String,
        /// What is wrong with it.
        why: String,
    },
    /// Something that the archive refers to is not in it.
    #[error("{archive}: {what} is missing: expected it at {member:?}")]
    Missing {
        /// The archive.
        archive: String,
        /// What refers to it, or what it is.
        what: String,
        /// Where it should be.
        member: String,
    },
    /// An index, manifest or configuration is damaged or not supported.
    #[error("{what} {name}: {why}")]
    Document {
        /// `index`, `manifest`, `configuration`, `layer`, …
        what: &'static str,
        /// Its digest, or its name in the archive.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A blob is not what its descriptor says.
    #[error("{what} {digest}: {property} is {found}")]
    Mismatch {
        /// `index`, `manifest`, `configuration`.
        what: &'static str,
        /// The digest announced.
        digest: Digest,
        /// `digest` or `size`.
        property: &'static str,
        /// What the bytes say.
        found: String,
    },
    /// No image of the source has the name asked for.
    #[error("{archive}: no image {wanted:?}; it holds {}", listed(held))]
    NoSuchImage {
        /// The source.
        archive: String,
        /// The name asked for.
        wanted: String,
        /// What it holds instead.
        held: Vec<String>,
    },
    /// The source holds several images, and none was chosen.
    #[error("{archive}: more than one image, choose one by adding `:NAME` or `:@POSITION`; it holds {}", listed(held))]
    Ambiguous {
        /// The source.
        archive: String,
        /// What it holds.
        held: Vec<String>,
    },
    /// No image is for the platform asked for.
    #[error("no image found in {what} for platform {wanted}; there is {}", listed(held))]
    NoPlatform {
        /// The index.
        what: String,
        /// The platform asked for.
        wanted: Platform,
        /// Platforms there are.
        held: Vec<String>,
    },
    /// A registry could not be reached, or what it said was not understood.
    #[error("{registry}: cannot {action}: {why}")]
    Registry {
        /// Host and port of the registry.
        registry: String,
        /// What was tried.
        action: String,
        /// Why it failed.
        why: String,
        /// The same may work when it is tried again.
        again: bool,
    },
    /// A Docker daemon could not be reached, or refused.
    #[error("the Docker daemon at {host}: {why}")]
    Daemon {
        /// Where it listens.
        host: String,
        /// Why it failed.
        why: String,
    },
    /// The registry has no such image.
    #[error("{name}: manifest unknown: the registry has no such image, or it may be read only after a login")]
    ManifestUnknown {
        /// The name asked for.
        name: String,
    },
    /// The registry wants credentials, or other ones.
    #[error("{registry}: unauthorized: {why}")]
    Unauthorized {
        /// Host and port of the registry.
        registry: String,
        /// What it said.
        why: String,
    },
    /// A registry does not take the user and password that were given for it. Scripts know it by these words.
    #[error("invalid username/password")]
    InvalidLogin,
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

fn listed(held: &[String]) -> String {
    if held.is_empty() { "nothing".into() } else { held.join(", ") }
}
