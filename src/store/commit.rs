//! Publishing an image: layers, blobs, documents and names, all at once or not at all.

use crate::candidate::Candidate;
use crate::image::{give_name, image};
use crate::{Configuration, Error, Image, Manifest, Result, Store, format, removal};
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use rustix::fs::{self, AtFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};
use types::Digest;

/// An image to be published.
pub struct NewImage<'a> {
    /// Its manifest, verbatim.
    pub manifest: &'a [u8],
    /// Media type of the manifest.
    pub media_type: &'a str,
    /// Its configuration, verbatim.
    pub config: &'a [u8],
    /// Its names, complete ([`types::Reference::normalised`]). Images that have them lose them.
    pub names: &'a [String],
    /// Layers that were brought in for it. Others must be in the store ([`Store::has_layer`]).
    pub candidates: Vec<Candidate>,
}

/// A layer of the image: digest of its blob, size of the blob, diff id.
struct Wanted {
    digest: Digest,
    size: u64,
    diff_id: Digest,
}

impl Store {
    /// Publishes an image. Its manifest, configuration and layers must fit each other: digests, sizes, diff ids and their
    /// number. What is in the candidates is on disk before the image is. After an error the store is as before.
    pub fn commit_image(&self, new: NewImage<'_>) -> Result<Image> {
        let (wanted, configuration) = check(&new)?;
        let mut candidates: HashMap<Digest, Candidate> = HashMap::new();
        for candidate in new.candidates {
            if wanted.iter().any(|layer| layer.digest == candidate.digest) {
                candidates.entry(candidate.digest).or_insert(candidate);
            }
        }
        for layer in &wanted {
            if let Some(candidate) = candidates.get(&layer.digest) {
                check_candidate(candidate, layer)?;
            }
        }
        let published = self.move_in(&candidates).and_then(|()| {
            let document = Document {
                manifest: new.manifest,
                media_type: new.media_type,
                config: new.config,
                names: new.names,
                configuration: &configuration,
            };
            self.insert(&wanted, &candidates, &document)
        });
        // Whatever did not become part of the store goes; so do blobs of an older manifest of the same image.
        for candidate in candidates.values() {
            let discarded = self.discard(&candidate.place);
            if published.is_ok() {
                discarded?;
            }
        }
        let (image, unused) = published?;
        self.free(unused)?;
        self.keep_ballast();
        Ok(image)
    }

    /// Puts blobs and trees where they belong, and waits until they are on disk.
    fn move_in(&self, candidates: &HashMap<Digest, Candidate>) -> Result<()> {
        if candidates.is_empty() {
            return Ok(());
        }
        for candidate in candidates.values() {
            if candidate.dropped.is_none() {
                self.link_blob(candidate)?;
            } else if candidate.unpacked.is_some() {
                self.move_recipe(candidate)?;
            }
            if candidate.unpacked.is_some() {
                let layer = self.root().join(format::LAYERS).join(candidate.place.name());
                fs::renameat(candidate.place.directory(), format::TREE, fs::CWD, &layer)
                    .map_err(Error::path("create", layer))?;
            }
        }
        self.writeback.finish()
    }

    fn link_blob(&self, candidate: &Candidate) -> Result<()> {
        let hex = candidate.digest.hex();
        let blob = self.root().join(format::BLOBS).join(&hex);
        match fs::linkat(candidate.place.directory(), &hex, fs::CWD, &blob, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            // A file system without hard links: the same name again is the same file again.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => {
                fs::renameat(candidate.place.directory(), &hex, fs::CWD, &blob).map_err(Error::path("create", blob))
            }
            // There it has been moved already.
            Err(Errno::NOENT) if fs::stat(&blob).is_ok() => Ok(()),
            Err(errno) => Err(Error::path("create", blob)(errno)),
        }
    }

    fn insert(
        &self,
        wanted: &[Wanted],
        candidates: &HashMap<Digest, Candidate>,
        document: &Document<'_>,
    ) -> Result<(Image, removal::Unused)> {
        let connection = self.connection();
        let fail = self.failed("publish an image in");
        let change = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate).map_err(&fail)?;
        let mut layers = Vec::with_capacity(wanted.len());
        let mut size = 0i64;
        for layer in wanted {
            let candidate = candidates.get(&layer.digest);
            if let Some(candidate) = candidate {
                // Somebody may have removed an image with the same blob since it was linked.
                if candidate.dropped.is_none() {
                    self.link_blob(candidate)?;
                }
                insert_layer(&change, candidate).map_err(&fail)?;
            }
            let (name, bytes) =
                stored_layer(&change, layer).map_err(&fail)?.ok_or(Error::MissingLayer { digest: layer.digest })?;
            // Somebody may have brought the same layer meanwhile, with its blob in another form.
            if candidate.is_some_and(|candidate| candidate.dropped.is_some()) && !self.has_recipe(&name) {
                return Err(Error::MissingLayer { digest: layer.digest });
            }
            size += bytes;
            layers.push((name, layer.digest));
        }
        let row = document.insert(&change, size).map_err(&fail)?;
        change.execute("DELETE FROM main.image_layers WHERE image = ?1", [row]).map_err(&fail)?;
        for (position, (name, digest)) in (0i64..).zip(&layers) {
            let query = "INSERT INTO main.image_layers VALUES (?1, ?2, ?3, ?4)";
            change.execute(query, params![row, position, name, digest.as_bytes()]).map_err(&fail)?;
        }
        let image = image(&change, row).map_err(&fail)?;
        let unused = self.forget_unused(&change)?;
        change.commit().map_err(&fail)?;
        Ok((image, unused))
    }
}

struct Document<'a> {
    manifest: &'a [u8],
    media_type: &'a str,
    config: &'a [u8],
    names: &'a [String],
    configuration: &'a Configuration,
}

impl Document<'_> {
    /// Inserts the image, or brings it up to date; its row is returned.
    fn insert(&self, change: &Transaction<'_>, size: i64) -> rusqlite::Result<i64> {
        let (manifest, config) = (Digest::of(self.manifest), Digest::of(self.config));
        for (digest, bytes) in [(&manifest, self.manifest), (&config, self.config)] {
            change
                .execute("INSERT OR IGNORE INTO main.documents VALUES (?1, ?2)", params![digest.as_bytes(), bytes])?;
        }
        let labels: Vec<_> = self.configuration.config.labels.iter().collect();
        let labels = serde_json::to_string(&labels).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        // An image that is loaded again in another compression has the same id: the newer manifest counts.
        let row = change.query_row(
            "INSERT INTO main.images (config, manifest, media_type, created, size, labels, loaded)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (config) DO UPDATE SET manifest = ?2, media_type = ?3, size = ?5, loaded = ?7 RETURNING id",
            params![
                config.as_bytes(),
                manifest.as_bytes(),
                self.media_type,
                self.configuration.created_seconds(),
                size,
                labels,
                now.cast_signed()
            ],
            |row| row.get(0),
        )?;
        for name in self.names {
            give_name(change, row, name)?;
        }
        Ok(row)
    }
}

/// Checks that manifest and configuration fit, and tells which layers they want.
fn check(new: &NewImage<'_>) -> Result<(Vec<Wanted>, Configuration)> {
    let manifest = Manifest::parse(new.manifest)?;
    let configuration = Configuration::parse(new.config)?;
    let found = Digest::of(new.config);
    let mismatch = |what, found: String, expected: String| {
        Err(Error::Mismatch { blob: manifest.config.digest.to_string(), what, found, expected })
    };
    if found != manifest.config.digest {
        return mismatch("digest", found.to_string(), manifest.config.digest.to_string());
    }
    if new.config.len() as u64 != manifest.config.size {
        return mismatch("size", new.config.len().to_string(), manifest.config.size.to_string());
    }
    let diff_ids = &configuration.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let why = format!("it has {} layers, and the configuration {}", manifest.layers.len(), diff_ids.len());
        return Err(Error::Document { what: "manifest", digest: Digest::of(new.manifest), why });
    }
    let wanted = manifest.layers.iter().zip(diff_ids);
    let wanted = wanted.map(|(blob, diff_id)| Wanted { digest: blob.digest, size: blob.size, diff_id: *diff_id });
    Ok((wanted.collect(), configuration))
}

fn check_candidate(candidate: &Candidate, layer: &Wanted) -> Result<()> {
    let mismatch = |what, found: String, expected: String| {
        Err(Error::Mismatch { blob: layer.digest.to_string(), what, found, expected })
    };
    if candidate.size != layer.size {
        return mismatch("size", candidate.size.to_string(), layer.size.to_string());
    }
    if candidate.diff_id != layer.diff_id {
        return mismatch("diff id", candidate.diff_id.to_string(), layer.diff_id.to_string());
    }
    Ok(())
}

/// Adds a candidate's layer, if nobody was faster, and its blob.
fn insert_layer(change: &Transaction<'_>, candidate: &Candidate) -> rusqlite::Result<()> {
    let (diff_id, digest) = (candidate.diff_id.as_bytes(), candidate.digest.as_bytes());
    if let Some(unpacked) = &candidate.unpacked {
        change.execute(
            "INSERT OR IGNORE INTO main.layers VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                candidate.place.name(),
                diff_id,
                unpacked.bytes.cast_signed(),
                unpacked.entries.cast_signed(),
                unpacked.root_listed,
                unpacked.root_opaque
            ],
        )?;
    }
    // A blob that comes again is kept from now on.
    let query = "INSERT INTO main.blobs (digest, size, diff_id, dropped) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (digest) DO UPDATE SET dropped = NULL WHERE excluded.dropped IS NULL";
    change.execute(query, params![digest, candidate.size.cast_signed(), diff_id, candidate.dropped])?;
    Ok(())
}

/// Directory and bytes of a layer, if the store has it, its blob, and both belong together.
fn stored_layer(change: &Transaction<'_>, layer: &Wanted) -> rusqlite::Result<Option<(String, i64)>> {
    let query =
        "SELECT name, bytes FROM blobs JOIN layers USING (diff_id) WHERE digest = ?1 AND diff_id = ?2 AND size = ?3";
    let values = params![layer.digest.as_bytes(), layer.diff_id.as_bytes(), layer.size.cast_signed()];
    change.query_row(query, values, |row| Ok((row.get(0)?, row.get(1)?))).optional()
}
