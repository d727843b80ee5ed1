//! Mapped layers: copies of layers whose files have the owners that they would have in a user namespace with a certain
//! map of ids, for containers whose layers cannot be mounted with other owners (as those of a user without root).
//!
//! A copy is made once for each layer and map, whoever asks. Where overlay has data layers it costs an inode for each
//! file, and no contents.
//!
//! Must not know: what the map is for.

use crate::copy::Purpose;
use crate::place::Place;
use crate::snapshot::Lower;
use crate::{Error, Result, Store, format};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::io::Read;
use sys::beneath::Root;
use types::{Digest, Id, IdMap, idmap};

/// The lower directories of a snapshot.
pub(crate) struct Lowest {
    /// Where they are, in the store.
    pub directory: &'static str,
    /// Their names there, top first.
    pub names: Vec<String>,
    /// Files in some of them refer to those of [`format::LAYERS`].
    pub referring: bool,
}

impl Lowest {
    /// Layers as they are.
    pub fn stored(names: Vec<String>) -> Lowest {
        Lowest { directory: format::LAYERS, names, referring: false }
    }
}

/// The text by which rows know a map.
pub(crate) fn key(map: &IdMap) -> String {
    format!("{}/{}", idmap::render(&map.uids), idmap::render(&map.gids))
}

/// The map of a [`key`].
pub(crate) fn map_of(key: &str) -> IdMap {
    let (uids, gids) = key.split_once('/').unwrap_or((key, ""));
    IdMap { uids: idmap::parse(uids), gids: idmap::parse(gids) }
}

/// The mapped layers of a snapshot.
pub(crate) fn lowest(connection: &Connection, container: &Id, map: &str) -> rusqlite::Result<Lowest> {
    let query = "SELECT name, referring FROM snapshot_layers JOIN mapped_layers USING (layer)
        WHERE container = ?1 AND map = ?2 ORDER BY position";
    let mut statement = connection.prepare(query)?;
    let rows = statement.query_map([container.as_str(), map], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(String, bool)> = rows.collect::<rusqlite::Result<_>>()?;
    let referring = rows.iter().any(|(_, referring)| *referring);
    Ok(Lowest { directory: format::MAPPED, names: rows.into_iter().map(|(name, _)| name).collect(), referring })
}

impl Store {
    /// The largest id that an image speaks of: that owns one of its files, or that its `/etc/passwd` and `/etc/group` know,
    /// but for nobody's.
    pub fn largest_id(&self, image: &Digest) -> Result<u32> {
        let mut largest = 0;
        for layer in self.layers_of(image)? {
            crate::changes::walk(&layer, |directory, name, _| {
                if let Ok(stat) = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    largest = largest.max(stat.st_uid).max(stat.st_gid);
                }
                true
            })?;
            let root = Root::open(&layer).map_err(Error::path("open", &layer))?;
            for (file, columns) in [("etc/passwd", &[2, 3][..]), ("etc/group", &[2])] {
                largest = largest.max(largest_listed(&root, file, columns).unwrap_or(0));
            }
        }
        Ok(largest)
    }

    /// The layers of a snapshot with other owners; what is missing is made. The snapshot's rows are there already, so that
    /// nobody takes away what it needs.
    pub(crate) fn map_layers(&self, lower: &[Lower], map: &IdMap, kept: bool) -> Result<Lowest> {
        let key = key(map);
        let mut lowest = Lowest { directory: format::MAPPED, names: Vec::with_capacity(lower.len()), referring: false };
        let mut missing = Vec::new();
        for layer in lower {
            if self.mapped_layer(&layer.name, &key, kept)?.is_none() {
                missing.push(layer.name.as_str());
            }
        }
        if !missing.is_empty() {
            // All in the same order, for everybody holds the locks of all that they make.
            missing.sort_unstable();
            self.make_mapped(&missing, map, &key, kept)?;
        }
        for layer in lower {
            let made = self.mapped_layer(&layer.name, &key, kept)?;
            let (name, referring) =
                made.ok_or(Errno::NOENT).map_err(Error::path("find the copy of layer", &layer.name))?;
            lowest.names.push(name);
            lowest.referring |= referring;
        }
        Ok(lowest)
    }

    fn mapped_layer(&self, layer: &str, key: &str, kept: bool) -> Result<Option<(String, bool)>> {
        let connection = self.connection();
        let fail = self.failed("look up a layer in");
        let query = "SELECT name, referring, kept FROM mapped_layers WHERE layer = ?1 AND map = ?2";
        let found = connection
            .query_row(query, [layer, key], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, bool>(2)?)))
            .optional()
            .map_err(&fail)?;
        let Some((name, referring, was_kept)) = found else { return Ok(None) };
        if kept && !was_kept {
            let query = "UPDATE mapped_layers SET kept = 1 WHERE layer = ?1 AND map = ?2";
            connection.execute(query, [layer, key]).map_err(&fail)?;
        }
        Ok(Some((name, referring)))
    }

    /// Makes those that are still missing. Others who want the same wait.
    fn make_mapped(&self, layers: &[&str], map: &IdMap, key: &str, kept: bool) -> Result<()> {
        let directory = self.root().join(format::MAPPED);
        match fs::mkdir(&directory, Mode::from_raw_mode(0o711)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::path("create", directory)(errno)),
        }
        let referring = self.owners()?.references;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let (mut locks, mut made) = (Vec::new(), Vec::new());
        let published = layers
            .iter()
            .try_for_each(|layer| {
                let source = self.root().join(format::LAYERS).join(layer);
                let lock = fs::open(&source, flags, Mode::empty()).map_err(Error::path("open", &source))?;
                rustix::io::retry_on_intr(|| fs::flock(&lock, FlockOperation::LockExclusive))
                    .map_err(Error::path("lock", &source))?;
                locks.push(lock);
                if self.mapped_layer(layer, key, kept)?.is_some() {
                    return Ok(());
                }
                let place = Place::create(self.root())?;
                // What files refer to is in the store's own directory.
                let filled = self.fill_mapped(&place, layer, map, referring && !layer.starts_with('/'));
                let target = directory.join(place.name());
                let moved = filled.and_then(|()| {
                    fs::renameat(place.directory(), format::TREE, fs::CWD, &target)
                        .map_err(Error::path("create", target))
                });
                made.push((*layer, place));
                moved
            })
            .and_then(|()| match locks.first() {
                Some(any) if !made.is_empty() => {
                    fs::syncfs(any).map_err(Error::path("write to disk what is in", self.root()))
                }
                _ => Ok(()),
            })
            .and_then(|()| self.insert_mapped(&made, key, kept, referring));
        if published.is_err() {
            for (_, place) in &made {
                let _ = self.discard(place);
            }
        }
        published
    }

    fn insert_mapped(&self, made: &[(&str, Place)], key: &str, kept: bool, referring: bool) -> Result<()> {
        let connection = self.connection();
        let fail = self.failed("add layers to");
        let change = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate).map_err(&fail)?;
        for (layer, place) in made {
            let query = "INSERT INTO mapped_layers VALUES (?1, ?2, ?3, ?4, ?5)";
            change
                .execute(query, params![place.name(), layer, key, kept, referring && !layer.starts_with('/')])
                .map_err(&fail)?;
        }
        change.commit().map_err(&fail)
    }

    fn fill_mapped(&self, place: &Place, layer: &str, map: &IdMap, referring: bool) -> Result<()> {
        let path = place.path(format::TREE);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let tree = fs::mkdir(&path, Mode::RWXU)
            .and_then(|()| fs::open(&path, flags, Mode::empty()))
            .map_err(Error::path("create", path))?;
        let purpose = Purpose {
            owners: Some(map),
            layer: true,
            refer: referring.then_some(layer),
            user_xattr: self.options().in_user_namespace,
        };
        let source = self.root().join(format::LAYERS).join(layer);
        crate::copy::apply(&source, &tree, purpose)?;
        crate::copy::take_attributes_of(&source, &tree, purpose)
    }
}

/// The largest number in these columns of a file like passwd(5); none if there is no such regular file of sane size.
fn largest_listed(root: &Root, file: &str, columns: &[usize]) -> Option<u32> {
    const SANE: u64 = 1 << 20;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = root.resolve(file.as_bytes(), flags).ok()?;
    let stat = fs::fstat(&opened).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_size.cast_unsigned() > SANE {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::from(opened).take(SANE).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().filter(|line| !line.starts_with("nobody:") && !line.starts_with("nogroup:"));
    let fields = lines.flat_map(|line| columns.iter().filter_map(|column| line.split(':').nth(*column)));
    fields.filter_map(|field| field.trim().parse().ok()).max()
}
