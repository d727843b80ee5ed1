//! Archives that come once: standard input, pipes, and files that are compressed as a whole. One pass, no copy aside.
//!
//! What a member is can be known only when the manifests have been read, and they may come last. So small members that
//! look like JSON are kept in memory, members that look like layers (gzip, zstd or tar by their first bytes) go to the
//! store as they pass, unpublished, and the rest is dropped. In the end the manifests say which of the layers count;
//! the others are deleted with what was unpacked of them, and whether they were damaged is nobody's concern.
//!
//! A layer goes through a queue to a worker, so that reading goes on while the one before is still being unpacked.
//!
//! Must not know: what the documents say.

use crate::document;
use crate::intake::{self, Compression};
use crate::parts::{Parts, Supply};
use crate::plan::Place;
use crate::shelf::{follow, is_contents};
use crate::tape::{self, Feed, Kind, Member, Tape};
use crate::{Error, Progress, Result};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};
use store::{Candidate, Expect, Store};
use types::Digest;

/// Size of a piece of a layer, and how many of them wait for its worker: enough to begin the next layer while the one
/// before is still being unpacked; more only costs memory.
const PIECE: usize = 128 << 10;
const QUEUE: usize = 8;
/// Largest dictionary of xz that is unpacked, in KiB: what `xz -9` makes needs 65 MiB.
const XZ_MEMORY: u32 = 100 << 10;
/// Most layers in an archive of several images.
const LAYERS: usize = 4 * document::LAYERS;

/// What was kept of an archive that passed by.
pub struct Passed {
    title: String,
    members: HashMap<String, Part>,
    layers: Mutex<HashMap<String, Result<Candidate>>>,
}

/// A member that passed by.
enum Part {
    Document(Vec<u8>),
    Link(Kind),
    Layer(Compression),
    /// Why it was not kept.
    Dropped(&'static str),
}

/// Where layers go.
struct Sink<'s, 'env> {
    store: &'env Store,
    drop_blobs: bool,
    progress: &'env dyn Progress,
    running: Vec<(String, ScopedJoinHandle<'s, Result<Candidate>>)>,
    done: HashMap<String, Result<Candidate>>,
}

/// Reads the archive `input`, called `title`, to its end; it may be compressed by gzip or zstd. Layers lose their blobs at once if
/// `drop_blobs`.
pub fn pass(
    store: &Store,
    input: &mut (dyn Read + Send),
    title: &str,
    drop_blobs: bool,
    progress: &dyn Progress,
) -> Result<Passed> {
    progress.begin();
    let mut input = BufReader::with_capacity(PIECE, input);
    let magic = input.fill_buf().map_err(|source| Error::Read { archive: title.into(), source })?;
    match compression(magic) {
        Some(kind) => {
            let input = BufReader::with_capacity(PIECE, inflate(kind, input, title)?);
            walk(store, input, title, drop_blobs, progress)
        }
        None => walk(store, input, title, drop_blobs, progress),
    }
}

/// What is in `input` if it is compressed as a whole.
pub fn decompressed<'r>(input: &'r mut (dyn Read + Send), title: &str) -> Result<Option<Box<dyn Read + Send + 'r>>> {
    let mut input = BufReader::with_capacity(PIECE, input);
    let magic = input.fill_buf().map_err(|source| Error::Read { archive: title.into(), source })?;
    compression(magic).map(|kind| inflate(kind, input, title)).transpose()
}

/// A reader of what is compressed by `kind`. Memory that a stream asks for is bounded by each package itself: zstd's
/// windows have at most 128 MB, xz's dictionaries what we allow.
fn inflate<'r>(kind: &str, input: impl BufRead + Send + 'r, title: &str) -> Result<Box<dyn Read + Send + 'r>> {
    Ok(match kind {
        "gzip" => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        "zstd" => Box::new(
            zstd::stream::read::Decoder::with_buffer(input)
                .map_err(|source| Error::Read { archive: title.into(), source })?,
        ),
        "xz" => Box::new(lzma_rust2::XzReader::new_mem_limit(input, true, XZ_MEMORY)),
        _ => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
    })
}

/// How `bytes`, the beginning of a file, are compressed.
pub fn compression(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some("zstd"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some("xz"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some("bzip2"),
        _ => None,
    }
}

fn walk(store: &Store, input: impl BufRead, title: &str, drop_blobs: bool, progress: &dyn Progress) -> Result<Passed> {
    std::thread::scope(|scope| {
        let mut sink = Sink { store, drop_blobs, progress, running: Vec::new(), done: HashMap::new() };
        let mut tape = Tape::new(Buffered(input), title);
        let members = members(&mut tape, scope, &mut sink, title)?;
        tape.drain();
        sink.finish(0);
        Ok(Passed { title: title.into(), members, layers: Mutex::new(sink.done) })
    })
}

fn members<'s, 'env, B: BufRead>(
    tape: &mut Tape<Buffered<B>>,
    scope: &'s Scope<'s, 'env>,
    sink: &mut Sink<'s, 'env>,
    title: &str,
) -> Result<HashMap<String, Part>> {
    let mut members: HashMap<String, Part> = HashMap::new();
    let (mut documents, mut layers) = (0, 0);
    while let Some(member) = tape.next()? {
        if member.kind == Kind::Other {
            continue;
        }
        if members.contains_key(&member.name) {
            if is_contents(&member.name) {
                return Err(Error::Member {
                    archive: title.into(),
                    member: member.name,
                    why: "it is there twice".into(),
                });
            }
            continue;
        }
        let part = match &member.kind {
            Kind::Link(_) => Part::Link(member.kind.clone()),
            _ => {
                let mut start = vec![0; tape::RECORD.min(member.size) as usize];
                let mut filled = 0;
                while filled < start.len() {
                    filled += tape.read(&member, &mut start[filled..])?;
                }
                match look(&start, member.size) {
                    Looks::Document => {
                        documents += member.size;
                        if documents > document::DOCUMENTS as u64 {
                            let why = format!("its documents have more than {} bytes together", document::DOCUMENTS);
                            return Err(Error::Unknown { archive: title.into(), why });
                        }
                        while (start.len() as u64) < member.size {
                            let filled = start.len();
                            start.resize(member.size as usize, 0);
                            let got = tape.read(&member, &mut start[filled..])?;
                            start.truncate(filled + got);
                        }
                        Part::Document(start)
                    }
                    Looks::Layer if sink.known(&member.name)? => {
                        Part::Dropped("its name is that of a layer in the store")
                    }
                    Looks::Layer => {
                        layers += 1;
                        if layers > LAYERS {
                            let why = format!("it has more than {LAYERS} members that look like layers");
                            return Err(Error::Unknown { archive: title.into(), why });
                        }
                        let compression = Compression::of(&start);
                        sink.feed(scope, tape, &member, start)?;
                        Part::Layer(compression)
                    }
                    Looks::Neither(why) => Part::Dropped(why),
                }
            }
        };
        members.insert(member.name, part);
    }
    Ok(members)
}

enum Looks {
    Document,
    Layer,
    Neither(&'static str),
}

/// What a member is, by its first record and its size.
fn look(start: &[u8], size: u64) -> Looks {
    match compression(start) {
        Some("gzip" | "zstd") => return Looks::Layer,
        Some("xz") => return Looks::Neither("it is compressed by xz, which is not supported"),
        Some(_) => return Looks::Neither("it is compressed by bzip2, which is not supported"),
        None => {}
    }
    // A layer without any entry is two records of zeros.
    if tape::is_header(start) || size >= tape::RECORD && start.iter().all(|&b| b == 0) {
        return Looks::Layer;
    }
    match start.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{' | b'[') if size <= document::CONFIGURATION => Looks::Document,
        Some(b'{' | b'[') => Looks::Neither("it is too large for a document"),
        _ => Looks::Neither("it is neither a document nor a layer compressed by gzip, zstd or nothing"),
    }
}

/// The digest that a member is named by: `blobs/sha256/HEX`, `HEX.tar`, `HEX`.
fn named(member: &str) -> Option<Digest> {
    let last = member.rsplit('/').next()?;
    format!("sha256:{}", last.strip_suffix(".tar").unwrap_or(last)).parse().ok()
}

impl<'s, 'env> Sink<'s, 'env> {
    /// True if the member is named by a digest and the store has that layer.
    fn known(&self, member: &str) -> Result<bool> {
        named(member).map_or(Ok(false), |digest| intake::has(self.store, &digest))
    }

    /// Sends a layer that began with `start` to a worker.
    fn feed<B: BufRead>(
        &mut self,
        scope: &'s Scope<'s, 'env>,
        tape: &mut Tape<Buffered<B>>,
        member: &Member,
        start: Vec<u8>,
    ) -> Result<()> {
        self.finish(intake::threads().max(2) - 1);
        let digest = member.name.starts_with("blobs/sha256/").then(|| named(&member.name)).flatten();
        let (store, drop_blobs, progress) = (self.store, self.drop_blobs, self.progress);
        let (send, pieces) = sync_channel(QUEUE);
        let expect = Expect { digest, size: Some(member.size), diff_id: None };
        progress.blob(digest.as_ref(), Some(member.size));
        let queued = Queued { pieces, piece: start, at: 0, ended: false };
        let worker = std::thread::Builder::new()
            .spawn_scoped(scope, move || {
                let mut candidate = store.ingest_layer(queued, expect)?;
                if drop_blobs {
                    store.drop_blob(&mut candidate)?;
                }
                Ok(candidate)
            })
            .map_err(|source| store::Error::Thread { blob: member.name.clone(), source })?;
        self.running.push((member.name.clone(), worker));
        self.pump(tape, member, digest.as_ref(), send)?;
        progress.done(digest.as_ref());
        Ok(())
    }

    fn pump<B: BufRead>(
        &self,
        tape: &mut Tape<Buffered<B>>,
        member: &Member,
        digest: Option<&Digest>,
        send: SyncSender<Vec<u8>>,
    ) -> Result<()> {
        loop {
            let mut piece = vec![0; PIECE.min(member.size as usize)];
            let mut filled = 0;
            while filled < piece.len() {
                match tape.read(member, &mut piece[filled..])? {
                    0 => break,
                    got => filled += got,
                }
            }
            piece.truncate(filled);
            self.progress.bytes(digest, filled as u64);
            let last = filled == 0;
            // An empty piece is the end; a queue nobody reads any more belongs to a worker that failed, and says why.
            if send.send(piece).is_err() || last {
                return Ok(());
            }
        }
    }

    /// Waits until at most `leave` workers are running.
    fn finish(&mut self, leave: usize) {
        while self.running.len() > leave {
            let done = self.running.iter().position(|(_, worker)| worker.is_finished()).unwrap_or(0);
            let (name, worker) = self.running.remove(done);
            let candidate = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            self.done.insert(name, candidate);
        }
    }
}

/// A layer as its worker reads it.
struct Queued {
    pieces: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for Queued {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() && !self.ended {
            // Without its last piece the archive broke off, and what came until then is no layer.
            let cut = |_| io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends before");
            self.piece = self.pieces.recv().map_err(cut)?;
            self.at = 0;
            self.ended = self.piece.is_empty();
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// A feed that is read through.
struct Buffered<B>(B);

impl<B: BufRead> Feed for Buffered<B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }

    fn skip(&mut self, mut count: u64) -> io::Result<bool> {
        while count > 0 {
            let there = match self.0.fill_buf() {
                Ok(there) => there.len() as u64,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if there == 0 {
                return Ok(count < tape::RECORD); // The padding after the last member may be missing.
            }
            let step = there.min(count);
            self.0.consume(step as usize);
            count -= step;
        }
        Ok(true)
    }
}

impl<B: BufRead> Tape<Buffered<B>> {
    /// Reads what follows the end of the archive, so that who writes it into a pipe is not killed for it. A few
    /// records of padding are usual; of anything longer the rest is not ours.
    fn drain(&mut self) {
        let _ = self.feed().skip(1 << 20);
    }
}

impl Passed {
    fn resolve(&self, name: &str) -> Result<String> {
        fn kind(part: &Part) -> &Kind {
            match part {
                Part::Link(kind) => kind,
                _ => &Kind::File,
            }
        }
        follow(&self.title, &self.members, kind, name)
    }
}

impl Parts for Passed {
    fn title(&self) -> &str {
        &self.title
    }

    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let name = self.resolve(name)?;
        let refuse = |why: String| Err(Error::Member { archive: self.title.clone(), member: name.clone(), why });
        match self.members.get(&name) {
            None | Some(Part::Link(_)) => Ok(None),
            Some(Part::Document(bytes)) if bytes.len() as u64 > limit => {
                refuse(format!("it has {} bytes, at most {limit} are accepted", bytes.len()))
            }
            Some(Part::Document(bytes)) => Ok(Some(bytes.clone())),
            Some(Part::Layer(_)) => refuse("it is a layer, where a document is expected".into()),
            Some(Part::Dropped(why)) => refuse((*why).into()),
        }
    }

    fn place(&self, name: &str) -> Result<Place> {
        Ok(Place::Member { name: self.resolve(name)?, size: None })
    }

    fn begun(&self) -> bool {
        true
    }

    fn layer(&self, name: &str, diff_id: &Digest) -> Result<Supply<'_>> {
        let name = self.resolve(name)?;
        let taken = self.layers.lock().unwrap_or_else(|poison| poison.into_inner()).remove(&name);
        if let (Some(candidate), Some(Part::Layer(compression))) = (taken, self.members.get(&name)) {
            return Ok(Supply::Ready(Box::new(candidate?), *compression));
        }
        Err(match self.members.get(&name) {
            Some(Part::Dropped(why)) => {
                Error::Member { archive: self.title.clone(), member: name, why: format!("layer {diff_id}: {why}") }
            }
            Some(Part::Document(_)) => Error::Member {
                archive: self.title.clone(),
                member: name,
                why: format!("it is a document, where layer {diff_id} is expected"),
            },
            _ => Error::Missing { archive: self.title.clone(), what: format!("layer {diff_id}"), member: name },
        })
    }
}
