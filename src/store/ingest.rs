//! Brings a layer in: two threads, one that reads and decompresses, one that hashes the tar and unpacks it.

use crate::archive::Archive;
use crate::candidate::Unpacked;
use crate::place::Place;
use crate::stream::{Intake, Received, Sink};
use crate::unpack::Unpacker;
use crate::writeback::Writeback;
use crate::{Candidate, Error, Expect, Options, Result, Store, format};
use rustix::fs::{self, Mode, OFlags};
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use sys::beneath::Root;
use types::{Digest, Hasher};

/// Size and number of the buffers between the threads: together they fit a cache of the second level.
const BUFFER: usize = 256 << 10;
const BUFFERS: usize = 6;

impl Store {
    /// Reads a layer to its end, keeps its blob as it came, unpacks it, and verifies what is expected of it. Layers may
    /// be brought in from several threads at once. The result is not part of the store until an image with it is
    /// committed. After an error, nothing is left.
    pub fn ingest_layer(&self, reader: impl Read + Send, expect: Expect) -> Result<Candidate> {
        let blob = expect.digest.or(expect.diff_id).map_or_else(|| "(without digest)".to_owned(), |d| d.to_string());
        // The layer may be here, and only this form of it new: then verifying is enough.
        let known = match expect.diff_id {
            Some(diff_id) => self.layer_name(&diff_id)?.is_some(),
            None => false,
        };
        let place = Place::create(self.root())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = fs::openat(place.directory(), format::BLOB, flags, Mode::RUSR | Mode::WUSR)
            .map_err(Error::path("create", place.path(format::BLOB)))?;
        let tree = if known { None } else { Some(make_tree(&place)?) };

        let (full_sender, full_receiver) = sync_channel(BUFFERS);
        let (empty_sender, empty_receiver) = channel();
        let drain = Drain {
            full: full_receiver,
            empty: empty_sender,
            piece: Vec::new(),
            length: 0,
            used: 0,
            hasher: Hasher::new(),
        };
        let mut feed = Feed { full: Some(full_sender), empty: empty_receiver, made: 0, piece: Vec::new(), filled: 0 };
        let (options, store, name) = (self.options(), self.root(), blob.as_str());
        let path = place.path(format::BLOB);
        let intake = Intake::new(reader, name, expect, file, path);
        let (read, unpacked) = std::thread::scope(|scope| -> Result<_> {
            let unpacker = std::thread::Builder::new()
                .spawn_scoped(scope, move || consume(drain, tree, options, name, store, &self.writeback))
                .map_err(|source| Error::Thread { blob: blob.clone(), source })?;
            let read = intake.run(&mut feed).map(|received| received.filter(|_| feed.flush()));
            if read.is_err() {
                // The end of the bytes would look like the end of the archive.
                feed.abandon();
            }
            drop(feed);
            let unpacked = unpacker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((read, unpacked))
        })?;
        let Some(received) = read? else {
            return Err(unpacked
                .err()
                .unwrap_or_else(|| Error::Read { blob, source: io::ErrorKind::BrokenPipe.into() }));
        };
        let (diff_id, unpacked) = unpacked?;
        self.finish(place, blob, expect, received, diff_id, unpacked)
    }

    /// As [`Store::ingest_layer`], for a layer that was packed here without compression, and that may be here already: its blob
    /// is kept first, and unpacked only if the layer is new. To unpack it and throw that away would be slow, and make slow
    /// what comes after: ext4 gives no inode away that was deleted in the last minutes, and looks at each of them
    /// (`recently_deleted` in fs/ext4/ialloc.c, Linux 3.14).
    pub fn ingest_packed(&self, reader: impl Read) -> Result<Candidate> {
        let blob = "(packed here)";
        let place = Place::create(self.root())?;
        let path = place.path(format::BLOB);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = fs::openat(place.directory(), format::BLOB, flags, Mode::RUSR | Mode::WUSR)
            .map_err(Error::path("create", &path))?;
        let again = file.try_clone().map_err(|source| Error::Read { blob: blob.into(), source })?;
        let mut sum = Sum { hasher: Hasher::new(), space: vec![0; BUFFER] };
        let received = Intake::new(reader, blob, Expect::default(), file, path.clone()).run(&mut sum)?;
        let received =
            received.ok_or_else(|| Error::Read { blob: blob.into(), source: io::ErrorKind::BrokenPipe.into() })?;
        let diff_id = sum.hasher.finish();
        let unpacked = match self.layer_name(&diff_id)? {
            Some(_) => None,
            None => {
                let tree = make_tree(&place)?;
                fs::seek(&again, fs::SeekFrom::Start(0)).map_err(Error::path("read", &path))?;
                // Only advice.
                let _ = fs::fadvise(&again, 0, None, fs::Advice::Sequential);
                let mut archive = Archive::new(io::BufReader::with_capacity(BUFFER, std::fs::File::from(again)));
                // A thread of its own: so is the umask then.
                let unpacked = std::thread::scope(|scope| -> Result<Unpacked> {
                    let unpacker = std::thread::Builder::new()
                        .spawn_scoped(scope, || {
                            sys::own_umask::clear().map_err(Error::path("set the umask for", self.root()))?;
                            Unpacker::new(tree, self.options(), blob, self.root(), &self.writeback).unpack(&mut archive)
                        })
                        .map_err(|source| Error::Thread { blob: blob.into(), source })?;
                    unpacker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })?;
                Some(unpacked)
            }
        };
        self.finish(place, blob.into(), Expect::default(), received, diff_id, unpacked)
    }

    fn finish(
        &self,
        place: Place,
        blob: String,
        expect: Expect,
        received: Received,
        diff_id: Digest,
        unpacked: Option<Unpacked>,
    ) -> Result<Candidate> {
        let digest = received.digest.unwrap_or(diff_id);
        for (what, found, expected) in [("digest", digest, expect.digest), ("diff id", diff_id, expect.diff_id)] {
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                return Err(Error::Mismatch { blob, what, found: found.to_string(), expected: expected.to_string() });
            }
        }
        fs::renameat(place.directory(), format::BLOB, place.directory(), digest.hex())
            .map_err(Error::path("rename", place.path(format::BLOB)))?;
        Ok(Candidate { place, digest, size: received.size, diff_id, unpacked, dropped: None })
    }
}

/// The directory to unpack into.
fn make_tree(place: &Place) -> Result<Root> {
    let fail = || Error::path("create", place.path(format::TREE));
    fs::mkdirat(place.directory(), format::TREE, Mode::RWXU).map_err(fail())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tree = fs::openat(place.directory(), format::TREE, flags, Mode::empty()).map_err(fail())?;
    // What is inherited from above must not show in the layer: group, set-group-id bit, default permissions.
    fs::fchown(&tree, Some(rustix::process::geteuid()), Some(rustix::process::getegid())).map_err(fail())?;
    fs::fchmod(&tree, Mode::from_raw_mode(0o755)).map_err(fail())?;
    sys::xattr::remove(&tree, b"system.posix_acl_default").map_err(fail())?;
    Ok(Root::new(tree))
}

/// The second thread.
fn consume(
    mut drain: Drain,
    tree: Option<Root>,
    options: Options,
    blob: &str,
    store: &Path,
    writeback: &Writeback,
) -> Result<(Digest, Option<Unpacked>)> {
    let unpacked = match tree {
        None => None,
        Some(tree) => {
            sys::own_umask::clear().map_err(Error::path("set the umask for", store))?;
            let mut archive = Archive::new(drain);
            let unpacked = Unpacker::new(tree, options, blob, store, writeback).unpack(&mut archive)?;
            drain = archive.into_reader();
            Some(unpacked)
        }
    };
    // What follows the end of the archive belongs to the diff id.
    let read = |source| Error::Read { blob: blob.to_owned(), source };
    loop {
        let length = drain.fill_buf().map_err(read)?.len();
        if length == 0 {
            break;
        }
        drain.consume(length);
    }
    Ok((drain.hasher.finish(), unpacked))
}

/// A filled buffer and the length of its contents; none if no more will come although the stream is not complete.
type Piece = Option<(Vec<u8>, usize)>;

/// The first thread's end of the channel.
struct Feed {
    full: Option<SyncSender<Piece>>,
    empty: Receiver<Vec<u8>>,
    made: usize,
    piece: Vec<u8>,
    filled: usize,
}

impl Feed {
    fn flush(&mut self) -> bool {
        if self.filled == 0 {
            return true;
        }
        let piece = std::mem::take(&mut self.piece);
        let length = std::mem::take(&mut self.filled);
        self.full.as_ref().is_some_and(|full| full.send(Some((piece, length))).is_ok())
    }

    fn abandon(&mut self) {
        if let Some(full) = self.full.take() {
            let _ = full.send(None);
        }
    }
}

impl Sink for Feed {
    fn space(&mut self) -> &mut [u8] {
        if self.piece.is_empty() {
            self.piece = if self.made < BUFFERS {
                self.made += 1;
                vec![0; BUFFER]
            } else {
                // When the other side is gone, the next send says so.
                self.empty.recv().unwrap_or_else(|_| vec![0; BUFFER])
            };
        }
        &mut self.piece[self.filled..]
    }

    fn filled(&mut self, count: usize) -> bool {
        self.filled += count;
        if self.filled == self.piece.len() { self.flush() } else { true }
    }
}

/// Hashes what comes, and keeps nothing.
struct Sum {
    hasher: Hasher,
    space: Vec<u8>,
}

impl Sink for Sum {
    fn space(&mut self) -> &mut [u8] {
        &mut self.space
    }

    fn filled(&mut self, count: usize) -> bool {
        self.hasher.update(&self.space[..count]);
        true
    }

    fn pass(&mut self, bytes: &[u8]) -> bool {
        self.hasher.update(bytes);
        true
    }
}

/// The second thread's end: hashes all that comes.
struct Drain {
    full: Receiver<Piece>,
    empty: Sender<Vec<u8>>,
    piece: Vec<u8>,
    length: usize,
    used: usize,
    hasher: Hasher,
}

impl Read for Drain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at_hand = self.fill_buf()?;
        let count = at_hand.len().min(buffer.len());
        buffer[..count].copy_from_slice(&at_hand[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Drain {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.length {
            let old = std::mem::take(&mut self.piece);
            if !old.is_empty() {
                let _ = self.empty.send(old);
            }
            (self.length, self.used) = (0, 0);
            match self.full.recv() {
                Ok(Some((piece, length))) => {
                    self.hasher.update(&piece[..length]);
                    (self.piece, self.length) = (piece, length);
                }
                Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(_) => {}
            }
        }
        Ok(&self.piece[self.used..self.length])
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
    }
}
