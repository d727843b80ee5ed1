//! Collecting what killed commands left.

use crate::place::{self, Place};
use crate::{Error, Result, Store, format};
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::AsFd;

/// What was collected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Directories of killed commands that are gone.
    pub removed: usize,
    /// Those that could not be removed completely.
    pub kept: usize,
}

impl Store {
    /// Removes what killed commands left, but nothing that a living one works on. Costs two system calls if there is
    /// nothing.
    pub fn collect(&self) -> Result<Collected> {
        let mut collected = Collected::default();
        let work = self.root().join(format::WORK);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = fs::open(&work, flags, Mode::empty()).map_err(Error::path("open", &work))?;
        for (name, _) in sys::removal::names(directory.as_fd()).map_err(Error::path("list", &work))? {
            let Ok(name) = name.into_string() else { continue };
            let Some(place) = Place::take_over(self.root(), &name)? else { continue };
            // Without the database nobody can tell what is a leftover.
            self.discard(&place)?;
            match place.remove().failures {
                0 => collected.removed += 1,
                _ => collected.kept += 1,
            }
        }
        Ok(collected)
    }

    /// Takes layers and blobs that a place marks out of the store, unless the database knows them.
    pub(crate) fn discard(&self, place: &Place) -> Result<()> {
        let (mut layers, mut blobs) = (vec![place.name().to_owned()], Vec::new());
        for (name, _) in sys::removal::names(place.directory()).map_err(Error::path("list", place.path("")))? {
            let Ok(name) = name.into_string() else { continue };
            if let Some(layer) = name.strip_prefix(format::MARK) {
                layers.push(layer.to_owned());
            } else if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                blobs.push(name);
            }
        }
        let open = |path: &str| {
            let path = self.root().join(path);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            fs::open(&path, flags, Mode::empty()).map_err(Error::path("open", path))
        };
        let (layer_directory, blob_directory) = (open(format::LAYERS)?, open(format::BLOBS)?);
        layers.retain(|layer| place::exists(&layer_directory, layer));
        blobs.retain(|blob| place::exists(&blob_directory, blob));
        if layers.is_empty() && blobs.is_empty() {
            return Ok(());
        }
        // In a transaction, or somebody might publish an image with the blob between the look and the removal.
        let connection = self.connection();
        let fail = self.failed("look for leftovers in");
        let change = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate).map_err(&fail)?;
        let known = |query: &str, value: &str| -> Result<bool> {
            Ok(change.query_row(query, [value], |_| Ok(())).optional().map_err(&fail)?.is_some())
        };
        for layer in layers {
            if !known("SELECT 1 FROM layers WHERE name = ?1", &layer)? {
                let gone = format!("gone-{layer}");
                let moved = fs::renameat(&layer_directory, &layer, place.directory(), &gone);
                moved.map_err(Error::path("remove", self.root().join(format::LAYERS).join(&layer)))?;
            }
        }
        for blob in blobs {
            if !known("SELECT 1 FROM blobs WHERE digest = unhex(?1)", &blob)? {
                match fs::unlinkat(&blob_directory, &blob, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => {
                        return Err(Error::path("remove", self.root().join(format::BLOBS).join(blob))(errno));
                    }
                }
            }
        }
        change.commit().map_err(&fail)
    }
}
