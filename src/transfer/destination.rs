//! Where an image is copied to: one face for archives, directories, registries, and the blobs that are handed to it.
//!
//! Blobs come first, several at once and in any order, then the manifest, last of all the end, which makes the whole
//! visible. Until then nothing that was there before is touched.
//!
//! Must not know: where images come from.

pub mod archive;
pub mod containers;
pub mod directory;
pub mod layout;

use crate::convert::Form;
use crate::trust::Signature;
use crate::{Error, Progress, Result};
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;
use types::{Digest, Hasher};

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;
/// Such pieces that are read before they are wanted.
const AHEAD: usize = 4;

/// How a destination wants layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As they are.
    AsTheyAre,
    /// Compressed: what is plain is not kept so.
    Compressed,
    /// Plain: decompressed where they are compressed.
    Plain,
}

/// Something that takes images.
pub trait Destination: Sync {
    /// What it is, for errors.
    fn title(&self) -> String;
    /// The only form of manifest that it takes.
    fn form(&self) -> Option<Form>;
    /// How it wants layers.
    fn packing(&self) -> Packing;
    /// How many blobs it takes at once.
    fn threads(&self) -> usize;
    /// The blobs that will come, with their sizes where those are known, in their order.
    fn announce(&self, _blobs: &[(Digest, Option<u64>)]) -> Result<()> {
        Ok(())
    }
    /// True if the blob is there already, or was taken over from one of the `repositories` of the same registry.
    fn has(&self, blob: &Digest, size: Option<u64>, repositories: &[(String, String)]) -> Result<bool>;
    /// Takes a blob; gives its digest and size, which are those that were announced if they were.
    fn write(&self, blob: &Blob<'_>) -> Result<(Digest, u64)>;
    /// Takes a configuration.
    fn configuration(&self, bytes: &[u8]) -> Result<()>;
    /// Takes a manifest (or index) whose blobs are there. `top` is the one that gets the name.
    fn manifest(&self, bytes: &[u8], media_type: &str, top: bool) -> Result<()>;
    /// Takes signatures of a manifest that it has; called several times for one, they are there all. What has no place for
    /// signatures drops them.
    fn signatures(&self, manifest: &Digest, signatures: &[Signature], top: bool) -> Result<()>;
    /// Makes all of it visible.
    fn finish(&self) -> Result<()>;
}

/// A blob to be written.
pub struct Blob<'a> {
    /// Its digest, if known.
    pub digest: Option<Digest>,
    /// Its size, if known.
    pub size: Option<u64>,
    /// Opens it at its beginning; may be done again.
    pub open: &'a (dyn Fn() -> Result<Box<dyn Read + Send + 'a>> + Sync),
    /// Reading it is work (it is decompressed), and is done beside what is done with it.
    pub laborious: bool,
    /// What it was announced as.
    pub announced: Option<Digest>,
    /// Is told of each byte.
    pub progress: &'a dyn Progress,
}

impl<'a> Blob<'a> {
    /// A reader of it that checks what it reads.
    pub fn read(&self) -> Result<Checked<'a>> {
        Ok(self.checked((self.open)()?))
    }

    /// The same; what is checked is read by a thread of its own, if there may be one.
    fn read_ahead<'s>(&self, scope: &'s Scope<'s, '_>) -> Result<Checked<'s>>
    where
        'a: 's,
    {
        let mut reader = (self.open)()?;
        let (full, pieces) = sync_channel(AHEAD);
        let work = move || {
            loop {
                let mut piece = vec![0; PIECE];
                let got = reader.read(&mut piece);
                let last = !matches!(&got, Err(e) if e.kind() == io::ErrorKind::Interrupted) && !matches!(got, Ok(1..));
                let sent = full.send(got.map(|got| {
                    piece.truncate(got);
                    piece
                }));
                if last || sent.is_err() {
                    return;
                }
            }
        };
        match std::thread::Builder::new().spawn_scoped(scope, work) {
            Ok(_) => Ok(self.checked(Box::new(Ahead { pieces, piece: io::Cursor::default() }))),
            Err(_) => self.read(),
        }
    }

    fn checked<'s>(&self, reader: Box<dyn Read + Send + 's>) -> Checked<'s>
    where
        'a: 's,
    {
        Checked {
            reader,
            hasher: Some(Hasher::new()),
            digest: self.digest,
            size: self.size,
            count: 0,
            done: None,
            announced: self.announced,
            progress: self.progress,
        }
    }

    /// What it is called in errors.
    pub fn name(&self) -> String {
        self.digest.map_or_else(|| "(without digest)".into(), |digest| digest.to_string())
    }
}

/// A reader that fails at the end of bytes that are not those expected, so that whoever passes them on does not end
/// regularly.
pub struct Checked<'a> {
    reader: Box<dyn Read + Send + 'a>,
    hasher: Option<Hasher>,
    digest: Option<Digest>,
    size: Option<u64>,
    count: u64,
    done: Option<Digest>,
    announced: Option<Digest>,
    progress: &'a dyn Progress,
}

impl Checked<'_> {
    /// Digest and size of what was read to its end.
    pub fn result(&self) -> Option<(Digest, u64)> {
        self.done.map(|digest| (digest, self.count))
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let wrong = |text: String| Err(io::Error::new(io::ErrorKind::InvalidData, text));
        let found = hasher.finish();
        if let Some(size) = self.size.filter(|size| *size != self.count) {
            return wrong(format!("size is {}, expected {size}", self.count));
        }
        if let Some(digest) = self.digest.filter(|digest| *digest != found) {
            return wrong(format!("digest is {found}, expected {digest}"));
        }
        self.done = Some(found);
        Ok(())
    }
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let got = self.reader.read(buffer)?;
        if got == 0 {
            self.end()?;
            return Ok(0);
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..got]);
        }
        self.count += got as u64;
        if let Some(size) = self.size.filter(|size| *size < self.count) {
            let why = format!("it has more than the {size} bytes expected");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        self.progress.bytes(self.announced.as_ref(), got as u64);
        // What has its length cannot have been read wrongly without anybody reading on.
        if self.size == Some(self.count) {
            let mut more = [0];
            match self.reader.read(&mut more)? {
                0 => self.end()?,
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "it has more bytes than expected")),
            }
        }
        Ok(got)
    }
}

/// What another thread reads.
struct Ahead {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.position() == self.piece.get_ref().len() as u64 {
            // The last piece is empty, or an error.
            self.piece = io::Cursor::new(self.pieces.recv().unwrap_or_else(|_| Ok(Vec::new()))?);
        }
        self.piece.read(buffer)
    }
}

/// Reads a blob to its end through `write`; gives its digest and size.
pub fn pass(blob: &Blob<'_>, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<(Digest, u64)> {
    std::thread::scope(|scope| {
        let reader = if blob.laborious { blob.read_ahead(scope)? } else { blob.read()? };
        drain(blob, reader, &mut write)
    })
}

fn drain(
    blob: &Blob<'_>,
    mut reader: Checked<'_>,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<(Digest, u64)> {
    let mut buffer = vec![0; PIECE];
    loop {
        let got = match reader.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(|source| Error::Blob { blob: blob.name(), source })?,
        };
        if got == 0 {
            break;
        }
        write(&buffer[..got])?;
    }
    reader.result().ok_or_else(|| Error::Blob { blob: blob.name(), source: io::ErrorKind::UnexpectedEof.into() })
}
