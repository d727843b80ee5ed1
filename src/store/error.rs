//! What can go wrong in the store: a variant per failed intent, with the object it failed on.

use rustix::io::Errno;
use std::io;
use std::path::PathBuf;
use types::Digest;

/// Result of the store's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory of the store could not be used.
    #[error("cannot {action} {path:?}")]
    Path {
        /// What was tried, e.g. `create`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The database could not be opened, read or written.
    #[error("cannot {action} the database {path:?}")]
    Database {
        /// What was tried, e.g. `open`.
        action: &'static str,
        /// The database file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: rusqlite::Error,
    },
    /// The database is not one, or its pages are damaged.
    #[error(
        "the database {path:?} is damaged ({detail}); move it away to start with an empty store, `sqlite3 {path:?} .recover` may save what was in it"
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What SQLite found.
        detail: String,
    },
    /// The database was written by a newer monopod.
    #[error(
        "the database {path:?} has format {found}, and this monopod knows formats up to {known}; use a newer monopod"
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Format found.
        found: i64,
        /// Newest format known.
        known: i64,
    },
    /// An archive could not be read from where it comes from.
    #[error("cannot read the archive")]
    ReadArchive {
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// An entry of an archive is damaged, or does not fit what is there.
    #[error("archive: entry {entry:?}: {why}")]
    ArchiveEntry {
        /// Name of the entry, bytes that are not UTF-8 replaced.
        entry: String,
        /// What is wrong with it.
        why: String,
    },
    /// Who was to take an archive did not.
    #[error("cannot write the archive")]
    Write {
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A blob could not be read from where it comes from.
    #[error("cannot read blob {blob}")]
    Read {
        /// The blob: its digest, or `layer` where none was announced.
        blob: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A blob could not be unpacked beside being read: the user or the cgroup may have no more threads.
    #[error("cannot start a thread to unpack blob {blob}")]
    Thread {
        /// The blob: its digest or the name it has where it comes from.
        blob: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A blob is compressed in a way that is not understood, or its compressed stream is damaged.
    #[error("blob {blob} cannot be decompressed: {why}")]
    Compression {
        /// The blob.
        blob: String,
        /// What is wrong with it.
        why: String,
    },
    /// A blob is not what was announced.
    #[error("blob {blob}: {what} is {found}, expected {expected}")]
    Mismatch {
        /// The blob.
        blob: String,
        /// `digest`, `size` or `diff id`.
        what: &'static str,
        /// What the bytes say.
        found: String,
        /// What was announced.
        expected: String,
    },
    /// An entry of a layer is damaged, hostile or not supported.
    #[error("layer {blob}: entry {entry:?}: {why}")]
    Entry {
        /// The blob.
        blob: String,
        /// Name of the entry, bytes that are not UTF-8 replaced.
        entry: String,
        /// What is wrong with it.
        why: String,
    },
    /// An entry of a layer could not be created.
    #[error("layer {blob}: cannot {action} {entry:?}")]
    Unpack {
        /// The blob.
        blob: String,
        /// Name of the entry, bytes that are not UTF-8 replaced.
        entry: String,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Unpacking stopped before the disk was full.
    #[error(
        "layer {blob}: {path:?} has only {free} bytes and {inodes} inodes left, and a reserve is kept: free some space"
    )]
    NoSpace {
        /// The blob.
        blob: String,
        /// The store's root.
        path: PathBuf,
        /// Bytes left.
        free: u64,
        /// Inodes left.
        inodes: u64,
    },
    /// Overlay was asked for, and this host has none for the store.
    #[error("overlay was asked for, and cannot be had here: {why}")]
    NoOverlay {
        /// Why not.
        why: String,
    },
    /// A manifest or configuration is damaged, too large, or does not fit its layers.
    #[error("{what} {digest}: {why}")]
    Document {
        /// `manifest` or `configuration`.
        what: &'static str,
        /// Digest of its bytes.
        digest: Digest,
        /// What is wrong with it.
        why: String,
    },
    /// An image refers to a layer that is neither in the store nor among the candidates.
    #[error("layer {digest} of the image is not in the store (was it removed meanwhile?)")]
    MissingLayer {
        /// Digest of the layer's blob.
        digest: Digest,
    },
    /// No image has this name or id.
    #[error("{name}: image not known")]
    NoSuchImage {
        /// What was asked for.
        name: String,
    },
    /// An additional store cannot be used.
    #[error("additional store {path:?}: {why}")]
    Lent {
        /// Its root.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// Something of an additional store was to be changed.
    #[error("{name} is in an additional store, which is read-only: nothing of it can be removed from here")]
    ReadOnly {
        /// Name or id of the image.
        name: String,
    },
    /// An image has a layer that is nowhere.
    #[error(
        "layer {layer} of the image is not there: it was in an additional store, which must be among those that are used \
         (additionalimagestores in storage.conf, or --imagestore)"
    )]
    LayerAway {
        /// Path of its directory.
        layer: String,
    },
    /// More than one image fits.
    #[error("{name}: ambiguous, it fits {}", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Names or short ids that fit.
        candidates: Vec<String>,
    },
    /// An image has several names, and was asked to be removed by its id.
    #[error("unable to delete image {id:?} by ID with more than one tag ({}): please force removal", names.join(", "))]
    SeveralNames {
        /// Hex digits of the image's id.
        id: String,
        /// Its names.
        names: Vec<String>,
    },
    /// An image is used by containers.
    #[error("image used by {}: image is in use by a container: consider listing external containers and force-removing image", containers.join(", "))]
    InUse {
        /// Ids of the containers.
        containers: Vec<String>,
    },
    /// A container has no snapshot.
    #[error("container {container} has no snapshot")]
    NoSnapshot {
        /// Id of the container.
        container: types::Id,
    },
    /// Neither a temporary directory nor a layer's directory could be named: all random names tried are taken.
    #[error("no free name for a directory in {path:?}")]
    NoName {
        /// The directory searched.
        path: PathBuf,
    },
    /// Leftovers or unused layers could not be removed completely; the rest is tried again the next time.
    #[error("{} of the store's unused files could not be removed, first {path:?}", count)]
    Leftovers {
        /// How many.
        count: usize,
        /// The first of them.
        path: PathBuf,
        /// Why the first failed.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// An error about a file or directory of the store.
    pub(crate) fn path(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(Errno) -> Error {
        let path = path.into();
        move |errno| Error::Path { action, path, source: errno.into() }
    }

    /// True if the disk is full or the quota used up.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Error::NoSpace { .. } => true,
            Error::Path { source, .. } | Error::Unpack { source, .. } => {
                matches!(source.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::NOSPC | Errno::DQUOT))
            }
            Error::Database { source, .. } => source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            _ => false,
        }
    }
}
