//! Root file systems in tar archives that are no images: from a file, a pipe or the web, as a layer into the store.
//!
//! What gzip or zstd has compressed is kept as it came; xz and bzip2, which no layer may have, are taken off.
//!
//! Must not know: what becomes of the layer.

use crate::intake::Compression;
use crate::registry::Page;
use crate::{Error, Registry, Result, stream};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use store::{Candidate, Expect, Store};

/// Where a tar archive is.
pub enum Tarball<'a> {
    /// A file.
    Path(&'a Path),
    /// Bytes that come once.
    Reader(&'a mut (dyn Read + Send)),
    /// An address of http or https.
    Url(&'a str),
}

/// Bytes looked at to see what it is.
const START: usize = 64 << 10;

/// Brings the files of an archive into the store as a layer that no image has yet.
///
/// # Errors
/// It cannot be read, or is no tar archive.
pub fn import(store: &Store, from: Tarball<'_>, options: &Registry) -> Result<(Candidate, Compression)> {
    match from {
        Tarball::Path(path) => {
            let failed = |source| Error::File { action: "open", path: path.into(), source };
            let mut file = File::open(path).map_err(failed)?;
            layer(store, &mut file, &path.display().to_string())
        }
        Tarball::Reader(reader) => layer(store, reader, "standard input"),
        Tarball::Url(url) => layer(store, &mut Page::get(url, options)?, url),
    }
}

fn layer(store: &Store, reader: &mut (dyn Read + Send), title: &str) -> Result<(Candidate, Compression)> {
    let mut reader = BufReader::with_capacity(START, reader);
    let start = reader.fill_buf().map_err(|source| Error::Read { archive: title.into(), source })?;
    if start.is_empty() {
        return Err(Error::Unknown { archive: title.into(), why: "it is empty".into() });
    }
    if !matches!(stream::compression(start), Some("xz" | "bzip2")) {
        let compression = Compression::of(start);
        return Ok((store.ingest_layer(reader, Expect::default())?, compression));
    }
    match stream::decompressed(&mut reader, title)? {
        Some(plain) => Ok((store.ingest_layer(plain, Expect::default())?, Compression::Plain)),
        None => Err(Error::Unknown { archive: title.into(), why: "it changed while it was read".into() }),
    }
}
