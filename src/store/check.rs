//! Looking for damage: what the database knows and the disk lacks, and the other way round.

use crate::place::Place;
use crate::removal::Unused;
use crate::{Error, Result, Store, format};
use rustix::fs::{self, CWD, Mode, OFlags};
use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};
use types::{Digest, Id};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Damage {
    /// Images with what they lack.
    pub images: BTreeMap<Digest, String>,
    /// Containers with what they lack.
    pub containers: BTreeMap<Id, String>,
    /// Layers that no row knows.
    pub stray_layers: Vec<String>,
    /// Blobs that no row knows, hex.
    pub stray_blobs: Vec<String>,
    /// Directories of containers that no row knows.
    pub stray_snapshots: Vec<String>,
}

impl Damage {
    /// Nothing is wrong.
    pub fn is_none(&self) -> bool {
        *self == Damage::default()
    }
}

impl Store {
    /// Looks at everything. With `contents`, blobs are read and their digests compared, which takes as long as reading them does.
    /// What no row knows counts only if it is older than `age`: it may be on its way.
    pub fn check(&self, contents: bool, age: Duration) -> Result<Damage> {
        let mut damage = Damage::default();
        let fail = self.failed("check");
        let query = "SELECT config, layer, entries, lower(hex(blob)), blobs.size, dropped IS NOT NULL FROM main.image_layers AS image_layers
            JOIN main.images AS images ON images.id = image LEFT JOIN layers ON layers.name = layer
            LEFT JOIN blobs ON blobs.digest = blob";
        type Row = ([u8; 32], String, Option<i64>, String, Option<i64>, bool);
        let rows: Vec<Row> = {
            let connection = self.connection();
            let mut statement = connection.prepare(query).map_err(&fail)?;
            let row = |row: &rusqlite::Row<'_>| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
            };
            statement.query_map([], row).and_then(Iterator::collect).map_err(&fail)?
        };
        let (mut layers, mut blobs) = (BTreeMap::new(), BTreeMap::new());
        for (image, layer, entries, blob, size, dropped) in rows {
            let bad_layer = layers.entry(layer.clone()).or_insert_with(|| self.layer_fault(&layer, entries));
            let bad_blob = blobs.entry(blob.clone()).or_insert_with(|| match dropped {
                true => self.recipe_fault(&layer, contents),
                false => self.blob_fault(&blob, size, contents),
            });
            if let Some(why) = bad_layer.as_ref().or(bad_blob.as_ref()) {
                damage.images.entry(Digest::from_bytes(image)).or_insert_with(|| why.clone());
            }
        }
        for id in self.snapshots()? {
            if !self.root().join(format::SNAPSHOTS).join(id.as_str()).is_dir() {
                damage.containers.insert(id, "its directory is missing".into());
            }
        }
        damage.stray_layers = self.strays(format::LAYERS, "SELECT name FROM main.layers", age)?;
        let recipes = self.strays(format::RECIPES, "SELECT name FROM main.layers", age)?;
        damage.stray_layers.extend(recipes);
        damage.stray_layers.sort();
        damage.stray_layers.dedup();
        damage.stray_blobs = self.strays(format::BLOBS, "SELECT lower(hex(digest)) FROM main.blobs", age)?;
        damage.stray_snapshots = self.strays(format::SNAPSHOTS, "SELECT container FROM snapshots", age)?;
        Ok(damage)
    }

    /// Removes what no row knows, unless one has come to know it.
    pub fn remove_strays(&self, damage: &Damage) -> Result<()> {
        for id in damage.stray_snapshots.iter().filter_map(|name| name.parse::<Id>().ok()) {
            if !self.snapshots()?.contains(&id) {
                self.remove_snapshot_files(&id)?;
            }
        }
        if damage.stray_layers.is_empty() && damage.stray_blobs.is_empty() {
            return Ok(());
        }
        let place = Place::create(self.root())?;
        let layers = damage.stray_layers.iter().map(|layer| format!("{}{layer}", format::MARK));
        for mark in layers.chain(damage.stray_blobs.iter().cloned()) {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
            fs::openat(place.directory(), &mark, flags, Mode::RUSR | Mode::WUSR)
                .map_err(Error::path("create", place.path(&mark)))?;
        }
        self.free(Unused::marked(place))
    }

    fn layer_fault(&self, name: &str, entries: Option<i64>) -> Option<String> {
        let Some(entries) = entries else { return Some(format!("layer {name} is not in the database")) };
        let path = self.root().join(format::LAYERS).join(name);
        match std::fs::read_dir(&path).map(|mut all| all.next().is_some()) {
            Err(e) => Some(format!("layer {name} cannot be read: {e}")),
            Ok(false) if entries > 1 => Some(format!("layer {name} is empty")),
            Ok(_) => None,
        }
    }

    fn blob_fault(&self, hex: &str, size: Option<i64>, contents: bool) -> Option<String> {
        let Some(size) = size else { return Some(format!("blob {hex} is not in the database")) };
        let places = std::iter::once(self.root()).chain(self.lenders().iter().map(|root| root.as_path()));
        let mut places = places.map(|root| root.join(format::BLOBS).join(hex));
        let own = self.root().join(format::BLOBS).join(hex);
        let path = places.find(|path| path.exists()).unwrap_or(own);
        match std::fs::metadata(&path) {
            Err(e) => return Some(format!("blob {hex} cannot be read: {e}")),
            Ok(meta) if meta.len() != size.cast_unsigned() => {
                return Some(format!("blob {hex} has {} bytes where it had {size}", meta.len()));
            }
            Ok(_) => {}
        }
        match contents.then(|| digest_of(&path)) {
            Some(Err(e)) => Some(format!("blob {hex} cannot be read: {e}")),
            Some(Ok(found)) if found != hex => Some(format!("blob {hex} has other contents")),
            _ => None,
        }
    }

    fn recipe_fault(&self, layer: &str, contents: bool) -> Option<String> {
        if !self.has_recipe(layer) {
            return Some(format!("layer {layer} has neither its blob nor a recipe for it"));
        }
        match contents.then(|| crate::recipe::holds(self.root(), layer)) {
            Some(Err(e)) => Some(format!("the recipe of layer {layer} cannot be read: {e}")),
            Some(Ok(false)) => Some(format!("layer {layer} has other contents")),
            _ => None,
        }
    }

    /// Names in a directory that the rows of a query do not have.
    fn strays(&self, directory: &str, query: &str, age: Duration) -> Result<Vec<String>> {
        let fail = self.failed("check");
        let path = self.root().join(directory);
        let Ok(opened) = fs::openat(CWD, &path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        else {
            return Ok(Vec::new());
        };
        use std::os::fd::AsFd;
        let names = sys::removal::names(opened.as_fd()).map_err(Error::path("list", &path))?;
        // Rows come before files are asked for their age: what is in neither is no stray.
        let known: HashSet<String> = {
            let connection = self.connection();
            let mut statement = connection.prepare(query).map_err(&fail)?;
            statement.query_map([], |row| row.get(0)).and_then(Iterator::collect).map_err(&fail)?
        };
        let old = |name: &str| {
            // When it came to its place: its time of modification is the image's.
            let changed = std::fs::symlink_metadata(path.join(name)).map(|meta| meta.ctime());
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            changed.is_ok_and(|time| now.saturating_sub(Duration::from_secs(time.unsigned_abs())) >= age)
        };
        let mut strays: Vec<String> = names.into_iter().filter_map(|(name, _)| name.into_string().ok()).collect();
        strays.retain(|name| !known.contains(name) && old(name));
        strays.sort();
        Ok(strays)
    }
}

fn digest_of(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut hasher = types::Hasher::new();
    let mut file = std::fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish().hex()),
            length => hasher.update(&buffer[..length]),
        }
    }
}
