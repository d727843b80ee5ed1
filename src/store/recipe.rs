//! Layers whose blob is not kept: how their tar is made again, byte for byte, of the files that were unpacked from it.
//!
//! The file `recipes/NAME`, NAME being that of the layer's directory, begins with eight bytes of magic, the size of the tar (8
//! bytes, little-endian) and its diff id (32 bytes). The rest is compressed by zstd:
//!
//! - `L`, a length (4 bytes, little-endian), and as many bytes of the tar: headers, padding, and whatever is in no file;
//! - `F`, the length of a name (2 bytes), the name, and a length (8 bytes): so much of the beginning of this file of the layer.
//!
//! A recipe is written by reading the blob once more beside what became of it. What is not in a file exactly as it is in
//! the tar (one of two entries of one name, a sparse file) stands in the recipe itself; so every tar has one.
//!
//! Must not know: images, what is done with the tar.

use crate::archive::{Archive, Entry, Fault, Kind};
use crate::place::{self, Place};
use crate::tee::Tee;
use crate::{Candidate, Error, Result, Store, format, lent};
use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use sys::beneath::Root;
use types::{Digest, Hasher};

/// What a recipe begins with.
const MAGIC: &[u8; 8] = b"recipe1\n";
/// Bytes before what is compressed.
const START: usize = 48;
/// Contents of at most so many bytes stand in the recipe: opening a file costs more than they do.
const SMALL: u64 = 256;
/// Bytes of a tar that are handled at once.
const PIECE: usize = 128 << 10;

impl Store {
    /// Gives up the blob of a candidate, once there is a recipe by which its tar can be made again. True if the blob is gone;
    /// it stays where the layer is in the store already, with its blob.
    ///
    /// # Errors
    /// The recipe cannot be written, or what was unpacked cannot be read.
    pub fn drop_blob(&self, candidate: &mut Candidate) -> Result<bool> {
        if candidate.dropped.is_some() {
            return Ok(true);
        }
        let place = &candidate.place;
        let blob = place.path(&candidate.digest.hex());
        let file = File::open(&blob).map_err(|source| Error::Path { action: "open", path: blob.clone(), source })?;
        let compression = compression_of(&file).map_err(|source| Error::Path { action: "read", path: blob, source })?;
        let has_recipe = match candidate.unpacked {
            Some(_) => write(place, file, compression, &candidate.diff_id)?,
            None => match self.layer_name(&candidate.diff_id)? {
                Some(layer) => self.has_recipe(&layer),
                None => false,
            },
        };
        if has_recipe {
            let gone = fs::unlinkat(place.directory(), candidate.digest.hex(), fs::AtFlags::empty());
            gone.map_err(Error::path("remove", place.path(&candidate.digest.hex())))?;
            candidate.dropped = Some(compression);
        }
        Ok(has_recipe)
    }

    /// How a blob was compressed that is not kept: `gzip`, `zstd`, or not at all (empty). None if it is kept, or not known.
    pub fn dropped(&self, blob: &Digest) -> Result<Option<String>> {
        use rusqlite::OptionalExtension;
        let query = "SELECT dropped FROM blobs WHERE digest = ?1 ORDER BY dropped IS NOT NULL";
        let connection = self.connection();
        let found = connection.query_row(query, [blob.as_bytes()], |row| row.get(0)).optional();
        found.map(Option::flatten).map_err(self.failed("look up a blob in"))
    }

    /// The tar of a layer by its recipe; none if the store has none.
    pub fn rebuilt(&self, diff_id: &Digest) -> Result<Option<Rebuilt>> {
        let Some(layer) = self.layer_name(diff_id)? else { return Ok(None) };
        let path = lent::beside(self.root(), format::RECIPES, &layer);
        let failed = |source| Error::Path { action: "read", path: path.clone(), source };
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed)?,
        };
        let tree = self.root().join(format::LAYERS).join(&layer);
        let root = Root::open(&tree).map_err(Error::path("open", tree))?;
        let rebuilt = Rebuilt::open(file, root).map_err(failed)?;
        match rebuilt.diff_id == *diff_id {
            true => Ok(Some(rebuilt)),
            false => Err(failed(damaged("it is that of another layer"))),
        }
    }

    pub(crate) fn has_recipe(&self, layer: &str) -> bool {
        place::exists(fs::CWD, lent::beside(self.root(), format::RECIPES, layer))
    }

    /// Puts the recipe of a candidate to the others.
    pub(crate) fn move_recipe(&self, candidate: &Candidate) -> Result<()> {
        let directory = self.root().join(format::RECIPES);
        match fs::mkdir(&directory, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::path("create", directory)(errno)),
        }
        let to = directory.join(candidate.place.name());
        fs::renameat(candidate.place.directory(), format::RECIPE, fs::CWD, &to).map_err(Error::path("create", to))
    }
}

fn compression_of(file: &File) -> io::Result<&'static str> {
    let mut start = [0; 4];
    let got = file.read_at(&mut start, 0)?;
    Ok(match &start[..got] {
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => "zstd",
        _ => "",
    })
}

/// A reader that hashes what it gives.
struct Hashing<'a, R> {
    reader: R,
    hasher: &'a mut Hasher,
    size: &'a mut u64,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let got = self.reader.read(bytes)?;
        self.hasher.update(&bytes[..got]);
        *self.size += got as u64;
        Ok(got)
    }
}

/// Writes the recipe of the layer that was unpacked in `place` of `blob`. False if the blob cannot be read as the layer was:
/// then there is none.
fn write(place: &Place, blob: File, compression: &str, diff_id: &Digest) -> Result<bool> {
    let path = place.path(format::RECIPE);
    let failed = |source| Error::Path { action: "write", path: path.clone(), source };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = fs::openat(place.directory(), format::RECIPE, flags, Mode::RUSR | Mode::WUSR)
        .map_err(Error::path("create", &path))?;
    let mut file = File::from(file);
    let tree = Root::open(&place.path(format::TREE)).map_err(Error::path("open", place.path(format::TREE)))?;
    let (mut hasher, mut size) = (Hasher::new(), 0);
    file.write_all(&[0; START]).map_err(failed)?;
    let encoder = zstd::stream::write::Encoder::new(&file, 3).map_err(failed)?;
    let mut recipe = Recipe { to: io::BufWriter::with_capacity(PIECE, encoder), tree: &tree };
    let blob = BufReader::with_capacity(PIECE, blob);
    let plain: Box<dyn Read + Send> = match compression {
        "gzip" => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
        "zstd" => Box::new(zstd::stream::read::Decoder::with_buffer(blob).map_err(failed)?),
        _ => Box::new(blob),
    };
    let read = recipe.take(Tee::new(Box::new(Hashing { reader: plain, hasher: &mut hasher, size: &mut size })));
    match read {
        Ok(()) => {}
        Err(Problem::Write(source)) => return Err(failed(source)),
        Err(Problem::Read) => return Ok(false),
    }
    let encoder = recipe.to.into_inner().map_err(|e| failed(e.into_error()))?;
    encoder.finish().map_err(failed)?;
    if hasher.finish() != *diff_id {
        return Ok(false);
    }
    let start = [&MAGIC[..], &size.to_le_bytes(), diff_id.as_bytes()].concat();
    file.write_all_at(&start, 0).map_err(failed)?;
    Ok(true)
}

/// Why a recipe is not made.
enum Problem {
    /// It cannot be written.
    Write(io::Error),
    /// The blob is read in another way than when it was unpacked.
    Read,
}

impl From<Fault> for Problem {
    fn from(_: Fault) -> Problem {
        Problem::Read
    }
}

/// A recipe that is being written.
struct Recipe<'a, W: Write> {
    to: W,
    tree: &'a Root,
}

impl<W: Write> Recipe<'_, W> {
    fn take(&mut self, tar: Tee<'_>) -> std::result::Result<(), Problem> {
        let mut archive = Archive::new(tar);
        let mut entry = Entry::default();
        let mut there = vec![0; PIECE];
        loop {
            let more = archive.next(&mut entry)?;
            let headers = std::mem::take(&mut archive.reader().raw);
            self.literal(&headers)?;
            if !more {
                break;
            }
            archive.reader().keeps = false;
            let mut file = self.file(&entry);
            let mut same = 0;
            loop {
                let piece = archive.data()?;
                if piece.is_empty() {
                    break;
                }
                let count = piece.len().min(PIECE);
                let piece = &piece[..count];
                if let Some(opened) = &file {
                    let there = &mut there[..count];
                    if opened.read_exact_at(there, same).is_ok() && *there == *piece {
                        same += count as u64;
                    } else {
                        self.range(&entry.path, same)?;
                        file = None;
                    }
                }
                if file.is_none() {
                    self.literal(piece)?;
                }
                archive.consume(count);
            }
            if file.is_some() {
                self.range(&entry.path, same)?;
            }
            archive.reader().keeps = true;
        }
        let mut rest = archive.into_reader();
        rest.keeps = false;
        loop {
            let got = rest.read(&mut there).map_err(|_| Problem::Read)?;
            if got == 0 {
                return Ok(());
            }
            self.literal(&there[..got])?;
        }
    }

    /// What became of an entry, if that may be what is in the tar.
    fn file(&self, entry: &Entry) -> Option<File> {
        if entry.kind != Kind::File || entry.pieces.is_some() || entry.size <= SMALL {
            return None;
        }
        open(self.tree, &entry.path).ok()
    }

    fn literal(&mut self, bytes: &[u8]) -> std::result::Result<(), Problem> {
        for piece in bytes.chunks(PIECE) {
            let length = (piece.len() as u32).to_le_bytes();
            for part in [&b"L"[..], &length, piece] {
                self.to.write_all(part).map_err(Problem::Write)?;
            }
        }
        Ok(())
    }

    fn range(&mut self, name: &[u8], count: u64) -> std::result::Result<(), Problem> {
        if count == 0 {
            return Ok(());
        }
        let length = u16::try_from(name.len()).map_err(|_| Problem::Read)?.to_le_bytes();
        for part in [&b"F"[..], &length, name, &count.to_le_bytes()] {
            self.to.write_all(part).map_err(Problem::Write)?;
        }
        Ok(())
    }
}

/// Opens the regular file of a layer that an entry of this name became.
fn open(tree: &Root, name: &[u8]) -> rustix::io::Result<File> {
    let mut path = Vec::new();
    if !crate::unpack::clean(name, &mut path) {
        return Err(Errno::INVAL);
    }
    let (parent, name) = tree.parent(&path)?;
    // Another entry of this name may have put a device there, which does something when it is opened. Nobody but us writes to a
    // layer: what it is now it is when it is opened.
    let stat = fs::statat(&parent, name, fs::AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(fs::openat(&parent, name, flags, Mode::empty())?))
}

/// A tar that is made again while it is read. Reading fails at its end if it is not the one that it was.
pub struct Rebuilt {
    recipe: BufReader<zstd::stream::read::Decoder<'static, BufReader<File>>>,
    tree: Root,
    size: u64,
    diff_id: Digest,
    now: Now,
    hasher: Option<Hasher>,
    given: u64,
}

/// Where the next bytes come from.
enum Now {
    /// The recipe: so many.
    Literal(u64),
    /// A file: from one position to another.
    File(File, u64, u64),
}

impl Rebuilt {
    fn open(mut file: File, tree: Root) -> io::Result<Rebuilt> {
        let mut start = [0; START];
        file.read_exact(&mut start)?;
        let (magic, rest) = start.split_at(MAGIC.len());
        let (size, diff_id) = rest.split_at(8);
        if magic != MAGIC {
            return Err(damaged("it is no recipe of a layer"));
        }
        let decoder = zstd::stream::read::Decoder::new(file)?;
        Ok(Rebuilt {
            recipe: BufReader::with_capacity(PIECE, decoder),
            tree,
            size: u64::from_le_bytes(size.try_into().unwrap_or_default()),
            diff_id: Digest::from_bytes(diff_id.try_into().unwrap_or_default()),
            now: Now::Literal(0),
            hasher: Some(Hasher::new()),
            given: 0,
        })
    }

    /// Bytes of the tar.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads what comes next; false at the end.
    fn step(&mut self) -> io::Result<bool> {
        let mut kind = [0];
        if self.recipe.read(&mut kind)? == 0 {
            return Ok(false);
        }
        match kind {
            [b'L'] => {
                let mut length = [0; 4];
                self.recipe.read_exact(&mut length)?;
                self.now = Now::Literal(u32::from_le_bytes(length).into());
            }
            [b'F'] => {
                let (mut length, mut count) = ([0; 2], [0; 8]);
                self.recipe.read_exact(&mut length)?;
                let mut name = vec![0; u16::from_le_bytes(length).into()];
                self.recipe.read_exact(&mut name)?;
                self.recipe.read_exact(&mut count)?;
                let file = open(&self.tree, &name).map_err(|errno| {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    io::Error::other(format!("file {name:?} of the layer: {}", io::Error::from(errno)))
                })?;
                self.now = Now::File(file, 0, u64::from_le_bytes(count));
            }
            _ => return Err(damaged("the recipe of a layer is damaged")),
        }
        Ok(true)
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        match hasher.finish() == self.diff_id && self.given == self.size {
            true => Ok(()),
            false => Err(damaged("a file of the layer is not what it was when the layer was unpacked")),
        }
    }
}

impl Read for Rebuilt {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let want = |left: u64| bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = loop {
            if bytes.is_empty() {
                return Ok(0);
            }
            match &mut self.now {
                Now::Literal(left) if *left > 0 => {
                    let count = want(*left);
                    self.recipe.read_exact(&mut bytes[..count])?;
                    *left -= count as u64;
                    break count;
                }
                Now::File(file, at, end) if *at < *end => {
                    let count = want(*end - *at);
                    let got = file.read_at(&mut bytes[..count], *at)?;
                    if got == 0 {
                        return Err(damaged("a file of the layer is shorter than it was"));
                    }
                    *at += got as u64;
                    break got;
                }
                _ => {
                    if !self.step()? {
                        return self.end().map(|()| 0);
                    }
                }
            }
        };
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes[..got]);
        }
        self.given += got as u64;
        Ok(got)
    }
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// True if the layer can be made again of its files.
pub(crate) fn holds(store: &Path, layer: &str) -> Result<bool> {
    let path = lent::beside(store, format::RECIPES, layer);
    let tree = store.join(format::LAYERS).join(layer);
    let failed = |source| Error::Path { action: "read", path: path.clone(), source };
    let root = Root::open(&tree).map_err(Error::path("open", tree))?;
    let mut rebuilt = File::open(&path).and_then(|file| Rebuilt::open(file, root)).map_err(failed)?;
    Ok(io::copy(&mut rebuilt, &mut io::sink()).is_ok())
}
