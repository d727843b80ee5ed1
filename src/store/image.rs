//! Images: their names, and how they are found.

use crate::{Error, Result, Store, format};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::collections::HashMap;
use std::fs::File;
use types::{Digest, Reference};

/// An image of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id: the digest of its configuration.
    pub id: Digest,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Media type of its manifest.
    pub media_type: String,
    /// Its names, sorted.
    pub names: Vec<String>,
    /// Names that it had before and has no more, the last one first.
    pub former: Vec<String>,
    /// The name by which [`Store::find_image`] found it; none if it was the id, or not asked by name.
    pub matched: Option<String>,
    /// When it was built, in seconds since 1970; 0 if it does not say.
    pub created: i64,
    /// When it came into the store, in seconds since 1970.
    pub loaded: i64,
    /// Bytes of its files, layer by layer.
    pub size: u64,
    /// How many layers it has.
    pub layers: u32,
    /// Its labels, sorted.
    pub labels: Vec<(String, String)>,
    /// It is in an additional store: see [`Store::with_lent`].
    pub lent: bool,
}

/// A layer of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLayer {
    /// Digest of its uncompressed tar.
    pub diff_id: Digest,
    /// Bytes of its files.
    pub size: u64,
}

/// Columns of an image, as [`read`] wants them.
const COLUMNS: &str = "id, config, manifest, media_type, created, loaded, size, labels,
    (SELECT count(*) FROM image_layers WHERE image = images.id)";

impl Store {
    /// All images, newest first.
    pub fn images(&self) -> Result<Vec<Image>> {
        let connection = self.connection();
        let fail = self.failed("list images in");
        let mut names: HashMap<i64, Vec<String>> = HashMap::new();
        let mut statement = connection.prepare("SELECT image, name FROM names ORDER BY name").map_err(&fail)?;
        let mut rows = statement.query([]).map_err(&fail)?;
        while let Some(row) = rows.next().map_err(&fail)? {
            let name = row.get(1).map_err(&fail)?;
            names.entry(row.get(0).map_err(&fail)?).or_default().push(name);
        }
        let mut former = former(&connection, None).map_err(&fail)?;
        let query = format!("SELECT {COLUMNS} FROM images ORDER BY created DESC, loaded DESC, id DESC");
        let mut statement = connection.prepare(&query).map_err(&fail)?;
        let images = statement.query_map([], read).map_err(&fail)?;
        images
            .map(|read| {
                let (row, mut image) = read.map_err(&fail)?;
                image.names = names.remove(&row).unwrap_or_default();
                image.former = former.remove(&row).unwrap_or_default();
                image.former.retain(|name| !image.names.contains(name));
                Ok(image)
            })
            .collect()
    }

    /// The image that `name` means: a name, also a short one (of `localhost/`, `docker.io/library/`, or of whatever
    /// registry if only one fits), `NAME@DIGEST`, `sha256:HEX`, or the first digits of an id.
    pub fn find_image(&self, name: &str) -> Result<Image> {
        let connection = self.connection();
        let fail = self.failed("look up an image in");
        if let Some((row, matched)) = find_by_name(&connection, name).map_err(&fail)?.one(name)? {
            let mut image = image(&connection, row).map_err(&fail)?;
            image.matched = matched;
            return Ok(image);
        }
        let digits = name.strip_prefix("sha256:").unwrap_or(name);
        if !digits.is_empty()
            && digits.len() <= 64
            && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            let query = "SELECT id, lower(hex(config)) FROM images WHERE substr(lower(hex(config)), 1, length(?1)) = ?1
                OR (length(?1) = 64 AND lower(hex(manifest)) = ?1) LIMIT 2";
            let mut statement = connection.prepare(query).map_err(&fail)?;
            let found: Vec<(i64, String)> = statement
                .query_map([digits], |row| Ok((row.get(0)?, row.get(1)?)))
                .and_then(Iterator::collect)
                .map_err(&fail)?;
            match found.as_slice() {
                [] => {}
                [(row, _)] => return image(&connection, *row).map_err(&fail),
                several => {
                    let candidates = several.iter().map(|(_, id)| id[..12].to_owned()).collect();
                    return Err(Error::Ambiguous { name: name.to_owned(), candidates });
                }
            }
        }
        Err(Error::NoSuchImage { name: name.to_owned() })
    }

    /// The layers of all images, by their ids, bottom first. An image without layers is not among them.
    pub fn layers(&self) -> Result<HashMap<Digest, Vec<ImageLayer>>> {
        let connection = self.connection();
        let fail = self.failed("list layers in");
        let query = "SELECT config, diff_id, bytes FROM image_layers JOIN images ON images.id = image
            JOIN layers ON layers.name = layer ORDER BY image, position";
        let mut statement = connection.prepare(query).map_err(&fail)?;
        let mut rows = statement.query([]).map_err(&fail)?;
        let mut layers: HashMap<Digest, Vec<ImageLayer>> = HashMap::new();
        while let Some(row) = rows.next().map_err(&fail)? {
            let digest = |column| row.get(column).map(Digest::from_bytes).map_err(&fail);
            let size: i64 = row.get(2).map_err(&fail)?;
            let layer = ImageLayer { diff_id: digest(1)?, size: size.cast_unsigned() };
            layers.entry(digest(0)?).or_default().push(layer);
        }
        Ok(layers)
    }

    /// Gives an image one more name, which is taken away from the image that had it. The name is complete
    /// ([`Reference::normalised`]).
    pub fn tag(&self, id: &Digest, name: &str) -> Result<()> {
        let connection = self.connection();
        let fail = self.failed("tag an image in");
        let change = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate).map_err(&fail)?;
        // What others have has the names that they give it, until it is one of ours, too.
        if !self.lenders.is_empty() {
            self.adopt(&change, id).map_err(&fail)?;
        }
        let row: Option<i64> = change
            .query_row("SELECT id FROM main.images WHERE config = ?1", [id.as_bytes()], |row| row.get(0))
            .optional()
            .map_err(&fail)?;
        let row = row.ok_or_else(|| Error::NoSuchImage { name: id.to_string() })?;
        give_name(&change, row, name).map_err(&fail)?;
        change.commit().map_err(&fail)
    }

    /// Takes a complete name away; the image stays, if need be without a name. Its id is returned.
    pub fn untag(&self, name: &str) -> Result<Digest> {
        let connection = self.connection();
        let fail = self.failed("untag an image in");
        let query = "DELETE FROM main.names WHERE name = ?1
            RETURNING (SELECT config FROM main.images WHERE id = image)";
        let id: Option<[u8; 32]> = connection.query_row(query, [name], |row| row.get(0)).optional().map_err(&fail)?;
        if let Some(id) = id {
            return Ok(Digest::from_bytes(id));
        }
        let lent = connection.query_row("SELECT 1 FROM names WHERE name = ?1", [name], |_| Ok(())).optional();
        Err(match lent.map_err(&fail)? {
            Some(()) => Error::ReadOnly { name: name.to_owned() },
            None => Error::NoSuchImage { name: name.to_owned() },
        })
    }

    /// The bytes of a manifest or configuration.
    pub fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let query = "SELECT bytes FROM documents WHERE digest = ?1";
        let connection = self.connection();
        connection
            .query_row(query, [digest.as_bytes()], |row| row.get(0))
            .optional()
            .map_err(self.failed("read a document from"))
    }

    /// What was kept of the signatures of a manifest.
    pub fn signatures(&self, manifest: &Digest) -> Result<Option<Vec<u8>>> {
        let query = "SELECT bytes FROM signatures WHERE manifest = ?1";
        let connection = self.connection();
        connection
            .query_row(query, [manifest.as_bytes()], |row| row.get(0))
            .optional()
            .map_err(self.failed("read signatures from"))
    }

    /// Keeps the signatures of a manifest, in place of those before, for as long as an image has it.
    pub fn keep_signatures(&self, manifest: &Digest, bytes: &[u8]) -> Result<()> {
        let query = "INSERT OR REPLACE INTO main.signatures
            SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM main.images WHERE manifest = ?1)";
        let connection = self.connection();
        connection
            .execute(query, params![manifest.as_bytes(), bytes])
            .map(drop)
            .map_err(self.failed("write signatures to"))
    }

    /// The blob of a layer, as it came.
    pub fn blob(&self, digest: &Digest) -> Result<Option<File>> {
        for root in std::iter::once(&self.root).chain(&self.lenders) {
            let path = root.join(format::BLOBS).join(digest.hex());
            match File::open(&path) {
                Ok(file) => return Ok(Some(file)),
                Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::Path { action: "open", path, source }),
            }
        }
        Ok(None)
    }

    /// True if the store has this blob, has verified that it is the layer `diff_id`, and has that unpacked: then it need
    /// not be brought in again.
    pub fn has_layer(&self, blob: &Digest, diff_id: &Digest) -> Result<bool> {
        let query = "SELECT 1 FROM blobs JOIN layers USING (diff_id) WHERE digest = ?1 AND diff_id = ?2";
        let connection = self.connection();
        let found = connection
            .query_row(query, [blob.as_bytes(), diff_id.as_bytes()], |_| Ok(()))
            .optional()
            .map_err(self.failed("look up a layer in"))?;
        Ok(found.is_some())
    }

    /// Digest and size of a blob that is the layer `digest` names, be it by its blob or by its diff id; none if the store
    /// has no such layer. If there are several blobs of a diff id, any of them, but rather one that is kept.
    pub fn known_blob(&self, digest: &Digest) -> Result<Option<(Digest, u64)>> {
        let query = "SELECT digest, size FROM blobs JOIN layers USING (diff_id) WHERE digest = ?1 OR diff_id = ?1
            ORDER BY dropped IS NOT NULL LIMIT 1";
        let connection = self.connection();
        connection
            .query_row(query, [digest.as_bytes()], |row| {
                Ok((Digest::from_bytes(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned()))
            })
            .optional()
            .map_err(self.failed("look up a layer in"))
    }

    /// Complete names of images that have the layer `blob`.
    pub fn names_with_blob(&self, blob: &Digest) -> Result<Vec<String>> {
        let query = "SELECT DISTINCT name FROM names JOIN image_layers USING (image) WHERE blob = ?1 ORDER BY name";
        let connection = self.connection();
        let fail = self.failed("look up a layer in");
        let mut statement = connection.prepare(query).map_err(&fail)?;
        let names = statement.query_map([blob.as_bytes()], |row| row.get(0)).map_err(&fail)?;
        names.collect::<rusqlite::Result<_>>().map_err(&fail)
    }

    /// Name of the directory of a layer.
    pub(crate) fn layer_name(&self, diff_id: &Digest) -> Result<Option<String>> {
        let query = "SELECT name FROM layers WHERE diff_id = ?1";
        let connection = self.connection();
        connection
            .query_row(query, [diff_id.as_bytes()], |row| row.get(0))
            .optional()
            .map_err(self.failed("look up a layer in"))
    }
}

/// True if there is an image of this id: for who writes in a transaction that it is in use.
pub fn is_image(connection: &Connection, id: &Digest) -> rusqlite::Result<bool> {
    let found = connection.query_row("SELECT 1 FROM images WHERE config = ?1", [id.as_bytes()], |_| Ok(())).optional();
    found.map(|found| found.is_some())
}

/// One image by its row.
pub(crate) fn image(connection: &Connection, row: i64) -> rusqlite::Result<Image> {
    let query = format!("SELECT {COLUMNS} FROM images WHERE id = ?1");
    let (_, mut image) = connection.query_row(&query, [row], read)?;
    image.names = names(connection, row)?;
    image.former = former(connection, Some(row))?.remove(&row).unwrap_or_default();
    image.former.retain(|name| !image.names.contains(name));
    Ok(image)
}

/// Writes down that an image got a name.
pub(crate) fn give_name(change: &Connection, row: i64, name: &str) -> rusqlite::Result<()> {
    change.execute("INSERT OR REPLACE INTO main.names VALUES (?1, ?2)", params![name, row])?;
    change.execute("INSERT OR REPLACE INTO main.given_names (image, name) VALUES (?1, ?2)", params![row, name])?;
    Ok(())
}

/// All names that were ever given to an image, or to all of them, by their rows, the last one first.
fn former(connection: &Connection, row: Option<i64>) -> rusqlite::Result<HashMap<i64, Vec<String>>> {
    let query = "SELECT image, name FROM main.given_names WHERE ?1 IS NULL OR image = ?1 ORDER BY number DESC";
    let mut statement = connection.prepare(query)?;
    let mut rows = statement.query([row])?;
    let mut found: HashMap<i64, Vec<String>> = HashMap::new();
    while let Some(row) = rows.next()? {
        found.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    Ok(found)
}

/// The names of an image, sorted.
pub(crate) fn names(connection: &Connection, row: i64) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("SELECT name FROM names WHERE image = ?1 ORDER BY name")?;
    statement.query_map([row], |row| row.get(0))?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<(i64, Image)> {
    let labels: String = row.get(7)?;
    let image = Image {
        id: Digest::from_bytes(row.get(1)?),
        manifest: Digest::from_bytes(row.get(2)?),
        media_type: row.get(3)?,
        names: Vec::new(),
        former: Vec::new(),
        matched: None,
        created: row.get(4)?,
        loaded: row.get(5)?,
        size: row.get::<_, i64>(6)?.cast_unsigned(),
        layers: row.get(8)?,
        labels: serde_json::from_str(&labels).unwrap_or_default(),
        lent: crate::lent::is_lent(row.get(0)?),
    };
    Ok((row.get(0)?, image))
}

/// Images that fit a name.
#[derive(Default)]
struct Found(Vec<(i64, Option<String>)>);

impl Found {
    /// The only one, or none.
    fn one(self, name: &str) -> Result<Option<(i64, Option<String>)>> {
        let mut rows = self.0;
        if rows.iter().any(|(row, _)| *row != rows[0].0) {
            let candidates = rows.into_iter().filter_map(|(_, name)| name).collect();
            return Err(Error::Ambiguous { name: name.to_owned(), candidates });
        }
        rows.truncate(1);
        Ok(rows.pop())
    }
}

fn find_by_name(connection: &Connection, text: &str) -> rusqlite::Result<Found> {
    let Ok(reference) = text.parse::<Reference>() else { return Ok(Found::default()) };
    let exact = |name: &Reference| -> rusqlite::Result<Option<(i64, Option<String>)>> {
        let name = name.to_string();
        let row =
            connection.query_row("SELECT image FROM names WHERE name = ?1", [&name], |row| row.get(0)).optional()?;
        Ok(row.map(|row| (row, Some(name))))
    };
    if let Some(digest) = reference.digest {
        // The digest of a manifest names an image, if the image also has a name of that repository.
        let query = "SELECT image, name FROM names JOIN images ON images.id = image WHERE manifest = ?1 OR config = ?1";
        let mut statement = connection.prepare(query)?;
        let rows =
            statement.query_map([digest.as_bytes()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        let wanted = Reference { tag: None, digest: None, ..reference.clone() };
        let mut found = Found::default();
        for row in rows {
            let (row, name) = row?;
            let repository = name.parse::<Reference>().map(|known| known.repository()).unwrap_or_default();
            if repository == wanted.repository() || repository.ends_with(&format!("/{}", wanted.repository())) {
                found.0.push((row, Some(name)));
            }
        }
        return Ok(found);
    }
    let library = if reference.path.contains('/') { "docker.io" } else { "docker.io/library" };
    for domain in ["localhost", library] {
        if let Some(found) = exact(&reference.normalised(domain))? {
            return Ok(Found(vec![found]));
        }
        if reference.domain.is_some() {
            return Ok(Found::default());
        }
    }
    let suffix = format!("/{}", Reference { tag: Some(reference.tag.unwrap_or("latest".into())), ..reference });
    let query = "SELECT image, name FROM names WHERE substr(name, -length(?1)) = ?1 ORDER BY name";
    let mut statement = connection.prepare(query)?;
    let rows = statement.query_map([suffix], |row| Ok((row.get(0)?, Some(row.get(1)?))))?;
    Ok(Found(rows.collect::<rusqlite::Result<_>>()?))
}
