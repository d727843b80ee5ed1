//! The store: blobs → layers → snapshots → image names, on one directory and one database.
//!
//! Nothing here counts before it is whole: a layer is unpacked beside the store and moved in by the same
//! transaction that names its image, so that a kill at any moment leaves only garbage that the next open collects.
//! The format on disk is documented in [`format`].
//!
//! Must not know: registries, archives of images, containers (but for the ids that snapshots are made for).

mod archive;
mod blob_file;
mod candidate;
mod changes;
mod check;
pub mod chunked;
mod collect;
mod commit;
pub mod configuration;
mod copy;
pub mod database;
mod driver;
mod error;
pub mod format;
mod image;
mod ingest;
mod lent;
pub mod limits;
mod list;
mod manifest;
mod mapped;
pub mod pack;
pub mod pipe;
mod place;
mod recipe;
mod removal;
mod size;
mod snapshot;
pub mod spread;
mod stream;
mod tee;
#[cfg(test)]
mod tests;
mod unpack;
mod writeback;

pub use candidate::{Candidate, Expect, Unpacked};
pub use changes::{Change, Kind as ChangeKind};
pub use check::Damage;
pub use collect::Collected;
pub use commit::NewImage;
pub use configuration::Configuration;
pub use copy::{copy_tree, take_attributes};
pub use driver::{Driver, DriverReport, OwnersReport};
pub use error::{Error, Result};
pub use image::{Image, ImageLayer, is_image};
pub use list::List;
pub use manifest::{DOCKER_MANIFEST, Descriptor, Manifest, OCI_CONFIGURATION, OCI_MANIFEST};
pub use recipe::Rebuilt;
pub use removal::{Removal, Removed, Users};
pub use size::{SnapshotSize, tree_size};
pub use snapshot::{Mounts, Owners, Snapshot};

use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

/// How the store's files are written and mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The process is in a user namespace: overlay keeps its marks in `user.*` attributes, devices are left out.
    pub in_user_namespace: bool,
    /// Only one id is mapped: owners are kept aside in the attribute `user.containers.override_stat`.
    pub single_id: bool,
    /// Leftovers of killed commands are removed while opening.
    pub collect: bool,
    /// How new snapshots are made; none: in the best way that the host has.
    pub wanted: Option<Wanted>,
}

/// The way of making snapshots that somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The kernel's overlay, and nothing else.
    Overlay,
    /// A copy of all layers.
    Copy,
}

impl Default for Options {
    fn default() -> Options {
        Options { in_user_namespace: false, single_id: false, collect: true, wanted: None }
    }
}

/// An open store. Usable from several threads; any number of processes may have the same one open.
pub struct Store {
    root: PathBuf,
    options: Options,
    connection: database::Handle,
    writeback: writeback::Writeback,
    /// Roots of the additional stores.
    lenders: Vec<PathBuf>,
}

impl Store {
    /// Opens the store below `root` (created if missing), brings its database up to date and, if the options say so,
    /// collects what killed commands left.
    pub fn open(root: &Path, options: Options) -> Result<Store> {
        Store::with(database::Handle::open(root)?, root, options)
    }

    /// As [`Store::open`], on a connection to the database below `root` that the process has already.
    pub fn with(connection: database::Handle, root: &Path, options: Options) -> Result<Store> {
        database::migrate(&connection.lock(), root)?;
        let writeback = writeback::Writeback::new(root);
        let store = Store { root: root.to_owned(), options, connection, writeback, lenders: Vec::new() };
        if options.collect {
            // A full or read-only disk must not keep anybody from listing: what could not be collected waits.
            let _ = store.collect();
        }
        Ok(store)
    }

    /// The same, with the images and layers of the stores below `others` behind its own, as far as there are stores. Nothing is
    /// written there.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn with_lent(mut self, others: &[PathBuf]) -> Result<Store> {
        self.lenders = lent::attach(&self.connection.lock(), &self.root, others)?;
        Ok(self)
    }

    /// The directory the store lives in.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The options it was opened with.
    pub fn options(&self) -> Options {
        self.options
    }

    /// The connection, for one short use.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock()
    }

    /// An error of the database while doing `action`.
    fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> Error + '_ {
        move |source| database::error(&self.root, action, source)
    }
}
