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
        // A name is one of a layer or of a mapped layer, and a place does not know which it becomes. A recipe goes with its layer.
        const TREES: [&str; 3] = [format::LAYERS, format::MAPPED, format::RECIPES];
        let mut trees = TREES.map(|directory| (directory, vec![place.name().to_owned()]));
        let mut blobs = Vec::new();
        for (name, _) in sys::removal::names(place.directory()).map_err(Error::path("list", place.path("")))? {
            let Ok(name) = name.into_string() else { continue };
            if let Some(layer) = name.strip_prefix(format::MARK) {
                trees[0].1.push(layer.to_owned());
                trees[2].1.push(layer.to_owned());
            } else if let Some(layer) = name.strip_prefix(format::MAPPED_MARK) {
                trees[1].1.push(layer.to_owned());
            } else if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                blobs.push(name);
            }
        }
        let path = |directory: &str, name: &str| self.root().join(directory).join(name);
        for (directory, names) in &mut trees {
            names.retain(|name| place::exists(fs::CWD, path(directory, name)));
        }
        blobs.retain(|blob| place::exists(fs::CWD, path(format::BLOBS, blob)));
        if trees.iter().all(|(_, names)| names.is_empty()) && blobs.is_empty() {
            return Ok(());
        }
        // In a transaction, or somebody might publish an image with the blob between the look and the removal.
        let connection = self.connection();
        let fail = self.failed("look for leftovers in");
        let change = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate).map_err(&fail)?;
        let known = |query: &str, value: &str| -> Result<bool> {
            Ok(change.query_row(query, [value], |_| Ok(())).optional().map_err(&fail)?.is_some())
        };
        for ((directory, names), table) in trees.iter().zip(["layers", "mapped_layers", "layers"]) {
            for name in names {
                if !known(&format!("SELECT 1 FROM main.{table} WHERE name = ?1"), name)? {
                    let gone = format!("gone-{directory}-{name}");
                    let moved = fs::renameat(fs::CWD, path(directory, name), place.directory(), &gone);
                    moved.map_err(Error::path("remove", path(directory, name)))?;
                }
            }
        }
        for blob in blobs {
            if !known("SELECT 1 FROM main.blobs WHERE digest = unhex(?1)", &blob)? {
                match fs::unlinkat(fs::CWD, path(format::BLOBS, &blob), AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => {
                        return Err(Error::path("remove", path(format::BLOBS, &blob))(errno));
                    }
                }
            }
        }
        change.commit().map_err(&fail)
    }
}
