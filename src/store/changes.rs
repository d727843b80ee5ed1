//! What a container, or the top layer of an image, changed of what lies below it.
//!
//! With overlay that is what the upper directory holds. A root that is a copy is compared with its layers, file by
//! file: by kind, owner, mode, time, size and link, as every tool that has no overlay does.

use crate::copy::Purpose;
use crate::pack::{Packing, is_opaque, pack};
use crate::unpack::is_whiteout;
use crate::{Driver, Error, Mounts, Result, Store, format};
use rusqlite::OptionalExtension;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use types::{Digest, Id, IdMap};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It, or something in it, is not as it was.
    Changed,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Where, without a leading `/`.
    pub path: Vec<u8>,
    /// What.
    pub kind: Kind,
}

/// Layers seen as one tree, top first.
struct Union {
    layers: Vec<PathBuf>,
}

impl Union {
    /// What `path` is, in the topmost layer that says so.
    fn find(&self, path: &[u8]) -> Option<(usize, Stat)> {
        for (at, layer) in self.layers.iter().enumerate() {
            match look(layer, path) {
                Look::Found(stat) => return Some((at, *stat)),
                Look::Hidden => return None,
                Look::Nothing => {}
            }
        }
        None
    }

    /// Names in the directory `path`.
    fn children(&self, path: &[u8]) -> BTreeSet<Vec<u8>> {
        let mut names = BTreeSet::new();
        for layer in &self.layers {
            let Some(directory) = open(layer, path) else {
                match look(layer, path) {
                    Look::Nothing => continue,
                    // A file or a whiteout: what lies below is not seen.
                    Look::Found(_) | Look::Hidden => break,
                }
            };
            for (name, _) in sys::removal::names(directory.as_fd()).unwrap_or_default() {
                names.insert(name.into_bytes());
            }
            if is_opaque(&directory) {
                break;
            }
        }
        names.retain(|name| self.find(&join(path, name)).is_some());
        names
    }
}

enum Look {
    Found(Box<Stat>),
    /// The layer hides whatever lower ones have there.
    Hidden,
    Nothing,
}

fn look(layer: &Path, path: &[u8]) -> Look {
    let Ok(mut directory) = fs::open(layer, DIRECTORY, Mode::empty()) else { return Look::Nothing };
    let mut hidden = false;
    let mut components = path.split(|byte| *byte == b'/').filter(|c| !c.is_empty()).peekable();
    if components.peek().is_none() {
        return fs::fstat(&directory).map_or(Look::Nothing, |stat| Look::Found(Box::new(stat)));
    }
    while let Some(component) = components.next() {
        let Ok(stat) = fs::statat(&directory, component, AtFlags::SYMLINK_NOFOLLOW) else {
            return if hidden { Look::Hidden } else { Look::Nothing };
        };
        if is_whiteout(&directory, component) {
            return Look::Hidden;
        }
        if components.peek().is_none() {
            return Look::Found(Box::new(stat));
        }
        match fs::openat(&directory, component, DIRECTORY, Mode::empty()) {
            Ok(next) => directory = next,
            Err(_) => return Look::Hidden,
        }
        hidden |= is_opaque(&directory);
    }
    Look::Nothing
}

fn open(layer: &Path, path: &[u8]) -> Option<OwnedFd> {
    let mut directory = fs::open(layer, DIRECTORY, Mode::empty()).ok()?;
    for component in path.split(|byte| *byte == b'/').filter(|c| !c.is_empty()) {
        directory = fs::openat(&directory, component, DIRECTORY, Mode::empty()).ok()?;
    }
    Some(directory)
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

impl Store {
    /// What a container changed of its image, in the order of paths. The container may run.
    pub fn changes(&self, container: &Id) -> Result<Vec<Change>> {
        let Some(snapshot) = self.snapshot(container)? else { return Ok(Vec::new()) };
        match snapshot.mounts {
            Mounts::Overlay { base, lower, upper, .. } => {
                let layers = lower.iter().map(|layer| base.join(layer)).collect();
                from_upper(&upper, &Union { layers })
            }
            Mounts::Directory(root) => {
                compare(&root, &Union { layers: self.layers_below(container)? }, self.map_of(container)?.as_ref())
            }
        }
    }

    /// What the top layer of an image changed of those below it.
    pub fn image_changes(&self, image: &Digest) -> Result<Vec<Change>> {
        let mut layers = self.layers_of(image)?;
        if layers.is_empty() {
            return Ok(Vec::new());
        }
        let top = layers.remove(0);
        from_upper(&top, &Union { layers })
    }

    /// Writes what a container changed as the tar of a layer. `owners`: the container's map of ids, if its files have the
    /// ids outside of it. `without`: paths that are not part of it.
    pub fn pack_changes(
        &self,
        container: &Id,
        owners: Option<&IdMap>,
        without: &[Vec<u8>],
        to: &mut dyn Write,
    ) -> Result<()> {
        let single_id = self.options().single_id;
        let Some(snapshot) = self.snapshot(container)? else {
            return pack_nothing(to);
        };
        let open = |path: &Path| fs::open(path, DIRECTORY, Mode::empty()).map_err(Error::path("open", path));
        match (snapshot.driver, &snapshot.mounts) {
            (Driver::Overlay | Driver::OverlayUserXattr, Mounts::Overlay { upper, .. }) => {
                let packing = Packing { marks: true, single_id, owners, without, ..Packing::default() };
                pack(open(upper)?, upper, &packing, to)
            }
            (_, Mounts::Directory(root) | Mounts::Overlay { upper: root, .. }) => {
                let changes = self.changes(container)?;
                let removed: Vec<Vec<u8>> =
                    changes.iter().filter(|c| c.kind == Kind::Deleted).map(|c| c.path.clone()).collect();
                let only = changes.into_iter().filter(|c| c.kind != Kind::Deleted).map(|c| c.path).collect();
                let packing =
                    Packing { single_id, owners, without, only: Some(&only), removed: &removed, ..Packing::default() };
                pack(open(root)?, root, &packing, to)
            }
        }
    }

    /// The map whose owners the files of a snapshot have.
    fn map_of(&self, container: &Id) -> Result<Option<IdMap>> {
        let query = "SELECT map FROM snapshots WHERE container = ?1";
        let map: Option<Option<String>> = self
            .connection()
            .query_row(query, [container.as_str()], |row| row.get(0))
            .optional()
            .map_err(self.failed("look up a snapshot in"))?;
        Ok(map.flatten().map(|key| crate::mapped::map_of(&key)))
    }

    fn layers_below(&self, container: &Id) -> Result<Vec<PathBuf>> {
        let query = "SELECT layer FROM snapshot_layers WHERE container = ?1 ORDER BY position";
        self.layer_paths(query, container.as_str().to_owned().into())
    }

    pub(crate) fn layers_of(&self, image: &Digest) -> Result<Vec<PathBuf>> {
        let query = "SELECT layer FROM image_layers JOIN images ON images.id = image_layers.image
             WHERE images.config = ?1 ORDER BY position DESC";
        self.layer_paths(query, image.as_bytes().to_vec().into())
    }

    fn layer_paths(&self, query: &str, key: rusqlite::types::Value) -> Result<Vec<PathBuf>> {
        let connection = self.connection();
        let fail = self.failed("list layers in");
        let mut statement = connection.prepare(query).map_err(&fail)?;
        let rows = statement.query_map([key], |row| row.get::<_, String>(0)).map_err(&fail)?;
        let names: Vec<String> = rows.collect::<rusqlite::Result<_>>().map_err(&fail)?;
        Ok(names.iter().map(|name| self.root().join(format::LAYERS).join(name)).collect())
    }
}

fn pack_nothing(to: &mut dyn Write) -> Result<()> {
    to.write_all(&[0; 1024]).and_then(|()| to.flush()).map_err(|source| Error::Write { source })
}

/// What an upper directory says.
fn from_upper(upper: &Path, below: &Union) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    walk(upper, |directory, name, path| {
        let kind = match (is_whiteout(directory, name), below.find(path).is_some()) {
            (true, true) => Kind::Deleted,
            // It was made and removed again.
            (true, false) => return false,
            (false, true) => Kind::Changed,
            (false, false) => Kind::Added,
        };
        changes.push(Change { path: path.to_vec(), kind });
        if kind == Kind::Changed
            && let Ok(opened) = fs::openat(directory, name, DIRECTORY, Mode::empty())
            && is_opaque(&opened)
        {
            // All that was in it is gone, but what is there again.
            for name in below.children(path) {
                if !sys::beneath::exists(opened.as_fd(), &name) {
                    changes.push(Change { path: join(path, &name), kind: Kind::Deleted });
                }
            }
        }
        true
    })?;
    changes.sort();
    Ok(changes)
}

/// What a copy says, compared with what it was made of.
fn compare(root: &Path, below: &Union, owners: Option<&IdMap>) -> Result<Vec<Change>> {
    let purpose = Purpose { owners, ..Purpose::default() };
    let mut changes = BTreeSet::new();
    let touch = |changes: &mut BTreeSet<Change>, path: &[u8], kind| {
        changes.insert(Change { path: path.to_vec(), kind });
        // The directories that lead there have changed, too.
        let mut rest = path;
        while let Some((parent, _)) = sys::beneath::split(rest).filter(|(parent, _)| !parent.is_empty()) {
            let known = |kind| changes.contains(&Change { path: parent.to_vec(), kind });
            if known(Kind::Added) || known(Kind::Changed) {
                break;
            }
            changes.insert(Change { path: parent.to_vec(), kind: Kind::Changed });
            rest = parent;
        }
    };
    walk(root, |directory, name, path| {
        let Ok(stat) = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let Some((layer, before)) = below.find(path) else {
            touch(&mut changes, path, Kind::Added);
            return is_directory;
        };
        let links_differ = || {
            let (parent, _) = sys::beneath::split(path).unwrap_or((b"", path));
            let old =
                open(&below.layers[layer], parent).and_then(|parent| fs::readlinkat(parent, name, Vec::new()).ok());
            old != fs::readlinkat(directory, name, Vec::new()).ok()
        };
        let (uid, gid, mapped) = purpose.owner(&before);
        let special = if mapped { 0 } else { 0o6000 };
        let differs = (before.st_mode & !special, uid.as_raw(), gid.as_raw(), before.st_rdev)
            != (stat.st_mode & !special, stat.st_uid, stat.st_gid, stat.st_rdev)
            || (!is_directory
                && (before.st_size, before.st_mtime, before.st_mtime_nsec)
                    != (stat.st_size, stat.st_mtime, stat.st_mtime_nsec))
            || (FileType::from_raw_mode(stat.st_mode) == FileType::Symlink && links_differ());
        if differs {
            touch(&mut changes, path, Kind::Changed);
        }
        if is_directory && FileType::from_raw_mode(before.st_mode) == FileType::Directory {
            for gone in below.children(path) {
                let there = fs::openat(directory, name, DIRECTORY, Mode::empty())
                    .is_ok_and(|opened| sys::beneath::exists(opened.as_fd(), &gone));
                if !there {
                    touch(&mut changes, &join(path, &gone), Kind::Deleted);
                }
            }
        }
        is_directory
    })?;
    let top = fs::open(root, DIRECTORY, Mode::empty()).map_err(Error::path("open", root))?;
    for gone in below.children(b"") {
        if !sys::beneath::exists(top.as_fd(), &gone) {
            changes.insert(Change { path: gone, kind: Kind::Deleted });
        }
    }
    Ok(changes.into_iter().collect())
}

/// Visits what is below `top`; `visit` says whether to go into it. What vanishes meanwhile is passed over.
pub(crate) fn walk(top: &Path, mut visit: impl FnMut(&OwnedFd, &[u8], &[u8]) -> bool) -> Result<()> {
    let root = sys::beneath::Root::open(top).map_err(Error::path("open", top))?;
    let mut waiting = vec![Vec::new()];
    while let Some(path) = waiting.pop() {
        let directory = match root.resolve(&path, DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            other => {
                other.map_err(|errno| Error::path("open", top.join(String::from_utf8_lossy(&path).as_ref()))(errno))?
            }
        };
        let names = sys::removal::names(directory.as_fd()).map_err(Error::path("list", top))?;
        for (name, _) in names {
            let name = name.into_bytes();
            let below = join(&path, &name);
            let enter = visit(&directory, &name, &below);
            let is_directory = fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
            if enter && is_directory {
                waiting.push(below);
            }
        }
    }
    Ok(())
}
