//! Snapshots: the layers of an image with a writable one on top, for one container.

use crate::copy::Purpose;
use crate::mapped::Lowest;
use crate::removal::Unused;
use crate::{Driver, Error, Result, Store, format};
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use types::idmap::to_host;
use types::{Digest, Id, IdMap};

/// The files of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The container it is for.
    pub container: Id,
    /// How it is made.
    pub driver: Driver,
    /// Its own directory, which [`Store::remove_snapshot`] removes.
    pub directory: PathBuf,
    /// Files have the owners that they have in the container's user namespace: see [`Owners::Layers`].
    pub mapped: bool,
    /// What is to be mounted. The store mounts nothing.
    pub mounts: Mounts,
}

/// Whose the files of a snapshot are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners<'a> {
    /// Those that the image says.
    AsStored,
    /// Those that they have in a user namespace with this map; whoever mounts the layers shows them with such owners.
    Mounts(&'a IdMap),
    /// The same, by layers that have such owners.
    Layers {
        /// The map.
        map: &'a IdMap,
        /// Layers that are made for it stay as long as the image, for the next container with this map.
        kept: bool,
    },
}

impl<'a> Owners<'a> {
    /// The map, where there is one.
    pub(crate) fn map(self) -> Option<&'a IdMap> {
        match self {
            Owners::AsStored => None,
            Owners::Mounts(map) | Owners::Layers { map, .. } => Some(map),
        }
    }
}

/// What a container's root is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mounts {
    /// This directory, as it is.
    Directory(PathBuf),
    /// An overlay.
    Overlay {
        /// Directory that `lower` is relative to; with it as working directory 500 layers fit the options of mount(2).
        base: PathBuf,
        /// Lower directories, top first.
        lower: Vec<PathBuf>,
        /// A data layer: what files of lower directories refer to. Relative to `base`, too.
        data: Option<PathBuf>,
        /// Upper directory (absolute).
        upper: PathBuf,
        /// Work directory (absolute), of the same file system.
        work: PathBuf,
        /// The option `userxattr` is needed.
        user_xattr: bool,
    },
}

/// A layer below: its directory's name, and whether it says who owns the root.
pub(crate) struct Lower {
    pub name: String,
    root_listed: bool,
}

impl Store {
    /// Makes a snapshot of an image for a container. Its layers stay until it is removed, even if the image is not. If the
    /// container has one already (left by a command that was killed), that is replaced.
    pub fn create_snapshot(&self, container: &Id, image: &Digest, owners: Owners<'_>) -> Result<Snapshot> {
        // Given up on a full disk, and there is room again.
        self.keep_ballast();
        let driver = self.driver()?.driver;
        let directory = self.snapshot_directory(container);
        let lower = self.record(container, image, driver, owners)?;
        let made = match fs::mkdir(&directory, Mode::from_raw_mode(0o711)) {
            Err(Errno::EXIST) => self.remove_files(container).and_then(|()| {
                fs::mkdir(&directory, Mode::from_raw_mode(0o711)).map_err(Error::path("create", &directory))
            }),
            other => other.map_err(Error::path("create", &directory)),
        };
        let filled = made.and_then(|()| self.fill(&directory, driver, &lower, owners)).and_then(|()| match owners {
            Owners::Layers { map, kept } if driver != Driver::Copy => self.map_layers(&lower, map, kept).map(Some),
            _ => Ok(None),
        });
        match filled {
            Ok(mapped) => {
                let names = lower.into_iter().map(|layer| layer.name).collect();
                let mounts = self.mounts(&directory, driver, mapped.unwrap_or(Lowest::stored(names)));
                let mapped = matches!(owners, Owners::Layers { .. });
                Ok(Snapshot { container: container.clone(), driver, directory, mapped, mounts })
            }
            Err(problem) => {
                let _ = self.remove_snapshot(container);
                Err(problem)
            }
        }
    }

    /// The snapshot of a container, if it has one.
    pub fn snapshot(&self, container: &Id) -> Result<Option<Snapshot>> {
        let connection = self.connection();
        let fail = self.failed("look up a snapshot in");
        let query = "SELECT driver, map FROM snapshots WHERE container = ?1";
        let found: Option<(String, Option<String>)> = connection
            .query_row(query, [container.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(&fail)?;
        let Some((driver, map)) = found else { return Ok(None) };
        let driver = Driver::from_name(&driver);
        let lowest = match &map {
            Some(map) if driver != Driver::Copy => crate::mapped::lowest(&connection, container, map).map_err(&fail)?,
            _ => {
                let query = "SELECT layer FROM snapshot_layers WHERE container = ?1 ORDER BY position";
                let mut statement = connection.prepare(query).map_err(&fail)?;
                let layers = statement.query_map([container.as_str()], |row| row.get(0)).map_err(&fail)?;
                Lowest::stored(layers.collect::<rusqlite::Result<_>>().map_err(&fail)?)
            }
        };
        let directory = self.snapshot_directory(container);
        let mounts = self.mounts(&directory, driver, lowest);
        Ok(Some(Snapshot { container: container.clone(), driver, directory, mapped: map.is_some(), mounts }))
    }

    /// Containers that have a snapshot.
    pub fn snapshots(&self) -> Result<Vec<Id>> {
        let connection = self.connection();
        let fail = self.failed("list snapshots in");
        let mut statement = connection.prepare("SELECT container FROM snapshots").map_err(&fail)?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(&fail)?;
        let names: Vec<String> = rows.collect::<rusqlite::Result<_>>().map_err(&fail)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Removes a container's snapshot, whatever state it is in; it is no error if there is none. Layers whose image is gone
    /// go with the last snapshot of them.
    pub fn remove_snapshot(&self, container: &Id) -> Result<()> {
        self.remove_snapshot_files(container)?;
        self.forget_snapshot(container, |_| Ok(()))
    }

    /// The first half of [`Store::remove_snapshot`]: its files.
    pub fn remove_snapshot_files(&self, container: &Id) -> Result<()> {
        self.remove_files(container)
    }

    /// The second half, whose files are gone: its rows, and in the same transaction what `also` takes away.
    pub fn forget_snapshot(
        &self,
        container: &Id,
        also: impl Fn(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<()> {
        self.with_ballast(|| {
            let unused = {
                let connection = self.connection();
                let fail = self.failed("remove a snapshot from");
                let change = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate).map_err(&fail)?;
                let query = "DELETE FROM snapshots WHERE container = ?1
                    RETURNING map IS NULL AND EXISTS (SELECT 1 FROM images WHERE config = image)";
                let all_used: Option<bool> =
                    change.query_row(query, [container.as_str()], |row| row.get(0)).optional().map_err(&fail)?;
                if all_used.is_some() {
                    let query = "DELETE FROM snapshot_layers WHERE container = ?1";
                    change.execute(query, [container.as_str()]).map_err(&fail)?;
                }
                // As long as the image is there, it uses all layers of the snapshot, if they are its own.
                let unused = if all_used == Some(false) { self.forget_unused(&change)? } else { Unused::default() };
                also(&change).map_err(&fail)?;
                change.commit().map_err(&fail)?;
                unused
            };
            self.free(unused)
        })
    }

    fn snapshot_directory(&self, container: &Id) -> PathBuf {
        self.root().join(format::SNAPSHOTS).join(container.as_str())
    }

    fn remove_files(&self, container: &Id) -> Result<()> {
        let directory = self.snapshot_directory(container);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match fs::open(&directory, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(Error::path("open", &directory))?,
        };
        let outcome = sys::removal::empty(opened.as_fd(), &[]);
        if let Some((name, errno)) = outcome.first {
            let path = directory.join(String::from_utf8_lossy(&name).as_ref());
            return Err(Error::Leftovers { count: outcome.failures, path, source: errno.into() });
        }
        match fs::rmdir(&directory) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::path("remove", directory)(errno)),
        }
    }

    /// Writes down which layers the snapshot needs; they are returned, top first.
    fn record(&self, container: &Id, image: &Digest, driver: Driver, owners: Owners<'_>) -> Result<Vec<Lower>> {
        let connection = self.connection();
        let fail = self.failed("record a snapshot in");
        let change = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate).map_err(&fail)?;
        let query = "SELECT id FROM images WHERE config = ?1 ORDER BY id";
        let row: Option<i64> =
            change.query_row(query, [image.as_bytes()], |row| row.get(0)).optional().map_err(&fail)?;
        let row = row.ok_or_else(|| Error::NoSuchImage { name: image.to_string() })?;
        let mut lower: Vec<Lower> = Vec::new();
        {
            let mut statement = change
                .prepare(
                    "SELECT layer, root_listed, root_opaque, name IS NULL FROM image_layers LEFT JOIN layers ON name = layer
                     WHERE image = ?1 ORDER BY position DESC",
                )
                .map_err(&fail)?;
            let mut rows = statement.query([row]).map_err(&fail)?;
            while let Some(row) = rows.next().map_err(&fail)? {
                let name: String = row.get(0).map_err(&fail)?;
                if row.get(3).map_err(&fail)? {
                    return Err(Error::LayerAway { layer: name });
                }
                // The same layer twice is the same as its upper one, and overlay refuses it.
                if !lower.iter().any(|above| above.name == name) {
                    lower.push(Lower { name, root_listed: row.get(1).map_err(&fail)? });
                }
                // This layer hides all below it.
                if row.get(2).map_err(&fail)? {
                    break;
                }
            }
        }
        let map = match owners {
            Owners::Layers { map, .. } => Some(crate::mapped::key(map)),
            _ => None,
        };
        let query = "INSERT OR REPLACE INTO snapshots VALUES (?1, ?2, ?3, ?4)";
        change.execute(query, params![container.as_str(), driver.name(), image.as_bytes(), map]).map_err(&fail)?;
        change.execute("DELETE FROM snapshot_layers WHERE container = ?1", [container.as_str()]).map_err(&fail)?;
        for (position, layer) in (0i64..).zip(&lower) {
            let query = "INSERT INTO snapshot_layers VALUES (?1, ?2, ?3)";
            change.execute(query, params![container.as_str(), position, layer.name]).map_err(&fail)?;
        }
        change.commit().map_err(&fail)?;
        Ok(lower)
    }

    fn fill(&self, directory: &Path, driver: Driver, lower: &[Lower], owners: Owners<'_>) -> Result<()> {
        let purpose = Purpose { owners: owners.map(), ..Purpose::default() };
        let layers = self.root().join(format::LAYERS);
        let make = |name: &str, mode: u32| -> Result<OwnedFd> {
            let path = directory.join(name);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            fs::mkdir(&path, Mode::RWXU)
                .and_then(|()| fs::open(&path, flags, Mode::empty()))
                .and_then(|made| fs::fchmod(&made, Mode::from_raw_mode(mode)).map(|()| made))
                .map_err(Error::path("create", path))
        };
        // mkdir(2) goes by the umask of whoever called.
        fs::chmod(directory, Mode::from_raw_mode(0o711)).map_err(Error::path("set the mode of", directory))?;
        // One that no layer lists has the mode that Podman's store gives it.
        let root = match driver {
            Driver::Copy => make("root", 0o555)?,
            Driver::Overlay | Driver::OverlayUserXattr => {
                make("work", 0o700)?;
                make("upper", 0o555)?
            }
        };
        if driver == Driver::Copy {
            for layer in lower.iter().rev() {
                crate::copy::apply(&layers.join(&layer.name), &root, purpose)?;
            }
        }
        // The root directory looks as the topmost layer that lists it says.
        if let Some(layer) = lower.iter().find(|layer| layer.root_listed) {
            crate::copy::take_attributes_of(&layers.join(&layer.name), &root, purpose)?;
        } else if let Some(map) = owners.map() {
            let (uid, gid) = (to_host(&map.uids, 0), to_host(&map.gids, 0));
            fs::fchown(&root, uid.map(fs::Uid::from_raw), gid.map(fs::Gid::from_raw))
                .map_err(Error::path("give away the root in", directory))?;
        }
        Ok(())
    }

    fn mounts(&self, directory: &Path, driver: Driver, lowest: Lowest) -> Mounts {
        if driver == Driver::Copy {
            return Mounts::Directory(directory.join("root"));
        }
        let mut lower: Vec<PathBuf> = lowest.names.into_iter().map(PathBuf::from).collect();
        if lower.is_empty() {
            // Overlay wants one: an image without layers gets an empty directory that nobody writes to.
            lower.push(Path::new("..").join(format::EMPTY));
        }
        Mounts::Overlay {
            base: self.root().join(lowest.directory),
            lower,
            data: lowest.referring.then(|| Path::new("..").join(format::LAYERS)),
            upper: directory.join("upper"),
            work: directory.join("work"),
            user_xattr: driver == Driver::OverlayUserXattr,
        }
    }
}
