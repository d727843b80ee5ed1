//! Additional stores: other roots of ours, whose images and layers are used as if they were here, and which are never
//! written to.
//!
//! Their databases are attached to ours, and temporary views put their rows behind our own: so whoever reads `images`, `names`, `layers`
//! and their kin sees all of them, and whoever writes names the table `main.…`. In the views an image of another store has a
//! number that none of ours has, and a layer is called by the path of its directory, which is what it stays called when an
//! image of ours, or a container, has it.
//!
//! What is in our own store counts more than what others have, and a store that was named before counts more than the next.

use crate::{Error, Result, Store, database, format};
use rusqlite::{Connection, OptionalExtension, params};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use types::Digest;

/// Most additional stores: SQLite attaches so many databases to one.
const MOST: usize = 10;
/// What the rows of images of the first additional store are moved by; those of the next by twice as much.
const APART: i64 = 1 << 40;

/// True if the row of an image is that of another store.
pub(crate) fn is_lent(row: i64) -> bool {
    row >= APART
}

/// The file of a store that has its place in `directory` under a name made of the layer's.
pub(crate) fn beside(root: &Path, directory: &str, layer: &str) -> PathBuf {
    // The path of a layer of another store: what belongs to it is there, too.
    match Path::new(layer).parent().and_then(Path::parent).zip(Path::new(layer).file_name()) {
        Some((other, name)) if layer.starts_with('/') => other.join(directory).join(name),
        _ => root.join(directory).join(layer),
    }
}

/// Puts the stores below `roots` behind the one on this connection. Gives the roots of those that there are; a directory
/// without a store, or none at all, is passed over.
///
/// # Errors
/// A store cannot be read, or was written by a newer monopod; its path cannot be an option of a mount; there are too many.
pub(crate) fn attach(connection: &Connection, root: &Path, roots: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let own = std::fs::metadata(root).map(|meta| (meta.dev(), meta.ino())).ok();
    let mut attached: Vec<PathBuf> = Vec::new();
    let mut seen = vec![own];
    for other in roots {
        let Ok(other) = other.canonicalize() else { continue };
        if !database::path(&other).exists() {
            continue;
        }
        let identity = std::fs::metadata(&other).map(|meta| (meta.dev(), meta.ino())).ok();
        if seen.contains(&identity) {
            continue;
        }
        seen.push(identity);
        let unfit = |why: &'static str| Error::Lent { path: other.clone(), why };
        if other
            .as_os_str()
            .as_bytes()
            .iter()
            .any(|byte| matches!(byte, b':' | b',' | b'\\' | b'"' | b'\n' | b'%' | b'?' | b'#'))
            || other.to_str().is_none()
        {
            return Err(unfit("a path with `:`, `,`, `\\`, `\"`, `%`, `?` or `#` in it cannot be mounted"));
        }
        if attached.len() == MOST {
            return Err(unfit("there are ten additional stores already, and no more can be used"));
        }
        attached.push(other);
    }
    // Those on disks that nobody writes to come last: how they are opened is what holds for all that come after.
    let mut versions = vec![0; attached.len()];
    for read_only in [false, true] {
        for (at, other) in attached.iter().enumerate() {
            if database::on_read_only_disk(other) == read_only {
                versions[at] = open(connection, other, at + 1, read_only)?;
            }
        }
    }
    if !attached.is_empty() {
        let views = format!("PRAGMA temp_store=MEMORY;\n{}", views(&attached, &versions));
        connection
            .execute_batch(&views)
            .map_err(|source| database::error(root, "show additional stores beside", source))?;
    }
    Ok(attached)
}

/// Attaches the database below `other` as `lentN`; gives the version of its tables.
fn open(connection: &Connection, other: &Path, number: usize, read_only_disk: bool) -> Result<i64> {
    let file = database::path(other);
    let fail = |source| database::error(other, "open", source);
    let schema = format!("lent{number}");
    let attach =
        |how: &str| connection.execute(&format!("ATTACH ?1 AS {schema}"), [format!("file:{}?{how}", file.display())]);
    if read_only_disk {
        // There can be no locks, and need not be: the index of the log is kept in memory, as long as nobody else may write. That is
        // said of all databases before one is opened, and taken back of our own.
        let said = connection.execute_batch("PRAGMA locking_mode=EXCLUSIVE");
        let done = said.and_then(|()| attach("mode=ro&vfs=unix-none"));
        connection.execute_batch("PRAGMA main.locking_mode=NORMAL; PRAGMA temp.locking_mode=NORMAL").map_err(fail)?;
        done.map_err(fail)?;
    } else {
        attach("mode=ro").map_err(fail)?;
    }
    let all: i64 =
        connection.query_row(&format!("PRAGMA {schema}.user_version"), [], |row| row.get(0)).map_err(fail)?;
    let (found, known) = (all & 0xff, database::version());
    match found {
        found if found > known => Err(Error::Newer { path: file, found, known }),
        0 => Err(Error::Lent { path: other.to_owned(), why: "its database has no tables yet" }),
        found => Ok(found),
    }
}

/// The views, as SQL.
fn views(roots: &[PathBuf], versions: &[i64]) -> String {
    let quoted = |root: &Path| format!("'{}/{}/'", root.display().to_string().replace('\'', "''"), format::LAYERS);
    let all = |own: &str, of: &dyn Fn(usize, String) -> String| {
        let lent = (1..=roots.len()).map(|number| format!(" UNION ALL {}", of(number, format!("lent{number}"))));
        format!("{own}{}", lent.collect::<String>())
    };
    // Not in our own store, nor in one that counts more.
    let unknown = |number: usize, column: &str, table: &str| {
        let schemas = std::iter::once("main".to_owned()).chain((1..number).map(|before| format!("lent{before}")));
        schemas
            .map(|schema| format!("{column} NOT IN (SELECT {column} FROM {schema}.{table})"))
            .collect::<Vec<_>>()
            .join(" AND ")
    };
    let away = |number: usize| APART * number as i64;
    // The row under which an image of that store is shown.
    let row = |number: usize| {
        let before = (1..number)
            .map(|before| format!("(SELECT id + {} FROM lent{before}.images WHERE config = i.config), ", away(before)));
        let before: String = before.collect();
        format!("COALESCE((SELECT id FROM main.images WHERE config = i.config), {before}i.id + {})", away(number))
    };
    let has = |number: usize, version: i64| versions[number - 1] >= version;
    const IMAGE: &str = "config, manifest, media_type, created, size, labels, loaded";
    const LAYER: &str = "diff_id, bytes, entries, root_listed, root_opaque";
    let bodies = [
        (
            "layers",
            all(&format!("SELECT name, {LAYER} FROM main.layers"), &|number, schema| {
                format!("SELECT {} || name, {LAYER} FROM {schema}.layers", quoted(&roots[number - 1]))
            }),
        ),
        (
            "blobs",
            all("SELECT digest, size, diff_id, dropped FROM main.blobs", &|number, schema| {
                let dropped = if has(number, 4) { "dropped" } else { "NULL" };
                format!("SELECT digest, size, diff_id, {dropped} FROM {schema}.blobs")
            }),
        ),
        (
            "documents",
            all("SELECT digest, bytes FROM main.documents", &|_, schema| {
                format!("SELECT digest, bytes FROM {schema}.documents")
            }),
        ),
        (
            "images",
            all(&format!("SELECT id, {IMAGE} FROM main.images"), &|number, schema| {
                let new = unknown(number, "config", "images");
                format!("SELECT id + {}, {IMAGE} FROM {schema}.images WHERE {new}", away(number))
            }),
        ),
        (
            "image_layers",
            all("SELECT image, position, layer, blob FROM main.image_layers", &|number, schema| {
                // A layer that is from yet another store keeps its path.
                let layer =
                    format!("CASE WHEN layer LIKE '/%' THEN layer ELSE {} || layer END", quoted(&roots[number - 1]));
                format!("SELECT image + {}, position, {layer}, blob FROM {schema}.image_layers", away(number))
            }),
        ),
        (
            "names",
            all("SELECT name, image FROM main.names", &|number, schema| {
                let new = unknown(number, "name", "names");
                let row = row(number);
                format!("SELECT name, {row} FROM {schema}.names JOIN {schema}.images i ON i.id = image WHERE {new}")
            }),
        ),
        (
            "signatures",
            all("SELECT manifest, bytes FROM main.signatures", &|number, schema| match has(number, 2) {
                true => format!("SELECT manifest, bytes FROM {schema}.signatures"),
                false => "SELECT NULL, NULL WHERE 0".into(),
            }),
        ),
    ];
    bodies.iter().map(|(name, body)| format!("CREATE TEMP VIEW {name} AS {body};\n")).collect()
}

impl Store {
    /// The additional stores that there are.
    pub fn lenders(&self) -> &[PathBuf] {
        &self.lenders
    }

    /// Makes an image of another store one of ours, whose layers stay where they are: it can have names then. False if there
    /// is no such image.
    pub(crate) fn adopt(&self, connection: &Connection, id: &Digest) -> rusqlite::Result<bool> {
        let found: Option<i64> = connection
            .query_row("SELECT id FROM images WHERE config = ?1", [id.as_bytes()], |row| row.get(0))
            .optional()?;
        let Some(lent) = found.filter(|row| is_lent(*row)) else { return Ok(found.is_some()) };
        const IMAGE: &str = "config, manifest, media_type, created, size, labels, loaded";
        let query = format!("INSERT INTO main.images ({IMAGE}) SELECT {IMAGE} FROM images WHERE id = ?1 RETURNING id");
        // Before its row is one of ours, for then the other is not shown any more.
        let layers: Vec<(i64, String, [u8; 32])> = connection
            .prepare("SELECT position, layer, blob FROM image_layers WHERE image = ?1")?
            .query_map([lent], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        connection.execute(
            "INSERT OR IGNORE INTO main.documents SELECT digest, bytes FROM documents
                WHERE digest IN (SELECT config FROM images WHERE id = ?1 UNION SELECT manifest FROM images WHERE id = ?1)",
            [lent],
        )?;
        connection.execute(
            "INSERT OR IGNORE INTO main.signatures SELECT manifest, bytes FROM signatures
                WHERE manifest IN (SELECT manifest FROM images WHERE id = ?1)",
            [lent],
        )?;
        let row: i64 = connection.query_row(&query, [lent], |row| row.get(0))?;
        for (position, layer, blob) in layers {
            let query = "INSERT INTO main.image_layers VALUES (?1, ?2, ?3, ?4)";
            connection.execute(query, params![row, position, layer, blob])?;
        }
        Ok(true)
    }
}
