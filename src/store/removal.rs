//! Removing images, and with them what only they used.

use crate::place::Place;
use crate::{Error, Result, Store, format, image};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use rustix::fs::{self, Mode, OFlags};
use types::Digest;

/// What is asked to be removed.
#[derive(Clone, Copy)]
pub struct Removal<'a> {
    /// Id of the image.
    pub image: &'a Digest,
    /// The name it was asked by ([`Image::matched`](crate::Image::matched)): only the name goes if the image has others.
    pub name: Option<&'a str>,
    /// Also if it was asked by id and has several names.
    pub force: bool,
    /// Tells which containers are made of it: they keep it from being deleted (but not one of several names from going).
    /// Asked within the transaction that removes it, so that none can be made of it meanwhile.
    pub in_use: Users<'a>,
}

/// Tells the ids of the containers that are made of an image.
pub type Users<'a> = &'a dyn Fn(&Connection) -> rusqlite::Result<Vec<String>>;

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names taken away.
    pub untagged: Vec<String>,
    /// The image, if it is gone.
    pub deleted: Option<Digest>,
}

/// Layers and blobs that no row knows any more, marked in a place, still to be deleted.
#[derive(Default)]
pub(crate) struct Unused(Option<Place>);

impl Unused {
    /// What the marks in a place name.
    pub(crate) fn marked(place: Place) -> Unused {
        Unused(Some(place))
    }
}

impl Store {
    /// Removes an image or one of its names, and what nothing else uses. Works on a full disk, too.
    pub fn remove_image(&self, removal: Removal<'_>) -> Result<Removed> {
        self.with_ballast(|| {
            let (removed, unused) = self.forget_image(removal)?;
            self.free(unused)?;
            Ok(removed)
        })
    }

    fn forget_image(&self, removal: Removal<'_>) -> Result<(Removed, Unused)> {
        let connection = self.connection();
        let fail = self.failed("remove an image from");
        let change = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate).map_err(&fail)?;
        // Our own, where others may have it, too.
        let query = "SELECT id FROM images WHERE config = ?1 ORDER BY id";
        let row: Option<i64> =
            change.query_row(query, [removal.image.as_bytes()], |row| row.get(0)).optional().map_err(&fail)?;
        let row = row.ok_or_else(|| Error::NoSuchImage { name: removal.image.to_string() })?;
        let lent = |name: &str| Error::ReadOnly { name: name.to_owned() };
        if crate::lent::is_lent(row) {
            return Err(lent(removal.name.unwrap_or(&removal.image.hex())));
        }
        let mut names = own_names(&change, row).map_err(&fail)?;
        if let Some(name) = removal.name.filter(|name| !names.iter().any(|known| known == name))
            && image::names(&change, row).map_err(&fail)?.iter().any(|known| known == name)
        {
            return Err(lent(name));
        }
        if let Some(name) = removal.name.filter(|_| names.len() > 1) {
            if !names.iter().any(|known| known == name) {
                return Err(Error::NoSuchImage { name: name.to_owned() });
            }
            change.execute("DELETE FROM main.names WHERE name = ?1 AND image = ?2", (name, row)).map_err(&fail)?;
            change.commit().map_err(&fail)?;
            return Ok((Removed { untagged: vec![name.to_owned()], deleted: None }, Unused(None)));
        }
        let containers = (removal.in_use)(&change).map_err(&fail)?;
        if !containers.is_empty() {
            return Err(Error::InUse { containers });
        }
        if names.len() > 1 && !removal.force {
            return Err(Error::SeveralNames { id: removal.image.hex(), names });
        }
        for table in ["names WHERE image", "given_names WHERE image", "image_layers WHERE image", "images WHERE id"] {
            change.execute(&format!("DELETE FROM main.{table} = ?1"), [row]).map_err(&fail)?;
        }
        let unused = self.forget_unused(&change)?;
        change.commit().map_err(&fail)?;
        names.sort();
        Ok((Removed { untagged: names, deleted: Some(*removal.image) }, unused))
    }

    /// Takes the rows of what nothing uses away, after leaving marks for whoever comes if we are killed.
    pub(crate) fn forget_unused(&self, change: &Transaction<'_>) -> Result<Unused> {
        let fail = self.failed("look for what is unused in");
        let list = |query: &str| -> rusqlite::Result<Vec<String>> {
            change.prepare(query)?.query_map([], |row| row.get(0))?.collect()
        };
        const LAYERS: &str = "FROM main.layers WHERE name NOT IN (SELECT layer FROM main.image_layers)
            AND name NOT IN (SELECT layer FROM snapshot_layers)";
        const MAPPED: &str = "FROM mapped_layers WHERE NOT (kept AND layer IN (SELECT layer FROM image_layers))
            AND (layer, map) NOT IN (SELECT layer, map FROM snapshot_layers JOIN snapshots USING (container)
                WHERE map IS NOT NULL)";
        const BLOBS: &str = "FROM main.blobs WHERE digest NOT IN (SELECT blob FROM main.image_layers)";
        let layers = list(&format!("SELECT name {LAYERS}")).map_err(&fail)?;
        let mapped = list(&format!("SELECT name {MAPPED}")).map_err(&fail)?;
        let blobs = list(&format!("SELECT lower(hex(digest)) {BLOBS}")).map_err(&fail)?;
        change
            .execute_batch(
                "DELETE FROM main.documents WHERE digest NOT IN (SELECT config FROM main.images)
                 AND digest NOT IN (SELECT manifest FROM main.images);
                 DELETE FROM main.signatures WHERE manifest NOT IN (SELECT manifest FROM main.images)",
            )
            .map_err(&fail)?;
        if layers.is_empty() && mapped.is_empty() && blobs.is_empty() {
            return Ok(Unused(None));
        }
        let place = Place::create(self.root())?;
        let marks = layers.iter().map(|layer| format!("{}{layer}", format::MARK)).chain(blobs);
        let marks = marks.chain(mapped.iter().map(|layer| format!("{}{layer}", format::MAPPED_MARK)));
        for mark in marks {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
            fs::openat(place.directory(), &mark, flags, Mode::RUSR | Mode::WUSR)
                .map_err(Error::path("create", place.path(&mark)))?;
        }
        change.execute_batch(&format!("DELETE {LAYERS}; DELETE {MAPPED}; DELETE {BLOBS};")).map_err(&fail)?;
        Ok(Unused(Some(place)))
    }

    /// Deletes what was marked, once its rows are gone.
    pub(crate) fn free(&self, unused: Unused) -> Result<()> {
        let Some(place) = unused.0 else { return Ok(()) };
        self.discard(&place)?;
        let path = place.path("");
        match place.remove() {
            sys::removal::Outcome { first: Some((name, errno)), failures } => Err(Error::Leftovers {
                count: failures,
                path: path.join(String::from_utf8_lossy(&name).as_ref()),
                source: errno.into(),
            }),
            _ => Ok(()),
        }
    }

    /// Does something that frees space. If the disk is too full even for that, the ballast goes first.
    pub(crate) fn with_ballast<T>(&self, mut remove: impl FnMut() -> Result<T>) -> Result<T> {
        match remove() {
            Err(problem) if problem.is_disk_full() => {
                let ballast = self.root().join(format::BALLAST);
                if std::fs::remove_file(ballast).is_err() {
                    return Err(problem);
                }
                remove()
            }
            other => other,
        }
    }

    /// Keeps some space for later, if there is none kept yet and plenty is left. No failure matters.
    pub(crate) fn keep_ballast(&self) {
        let ballast = self.root().join(format::BALLAST);
        let plenty = 4 * format::BALLAST_SIZE as u64;
        if !ballast.exists()
            && fs::statvfs(self.root()).is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) > plenty)
        {
            // Random enough for file systems that compress or keep zeros as holes.
            let mut bytes = vec![0u8; format::BALLAST_SIZE];
            let _ = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
            if std::fs::write(&ballast, bytes).is_err() {
                let _ = std::fs::remove_file(&ballast);
            }
        }
    }
}

/// The names of an image that are not those of other stores.
fn own_names(connection: &Connection, row: i64) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("SELECT name FROM main.names WHERE image = ?1 ORDER BY name")?;
    statement.query_map([row], |row| row.get(0))?.collect()
}
