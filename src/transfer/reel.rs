//! Writes tar archives: into a file, where members whose size is known get their places at once and are filled from
//! several threads, or into a pipe, one member after the other.
//!
//! A file appears under its name when it is complete, and until then what had that name stays.
//!
//! Must not know: what is in the members.

use crate::destination::{self, Blob};
use crate::tape::RECORD;
use crate::{Error, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use types::Digest;

/// An archive that is being written.
pub struct Reel {
    title: String,
    out: Mutex<Out>,
}

enum Out {
    /// A file, with the position where the next member begins.
    File { file: File, end: u64, name: Option<Name> },
    /// A pipe.
    Pipe(Box<dyn Write + Send>),
}

/// What a file will be called, and what it is called until then.
struct Name {
    path: PathBuf,
    /// None while it has no name at all.
    until: Option<PathBuf>,
}

/// A place for the contents of a member, to be filled from any thread.
pub struct Room {
    file: File,
    position: u64,
}

impl Reel {
    /// An archive that will be at `path`. What is there and is no regular file (a terminal, a named pipe) is written to
    /// directly.
    pub fn create(path: &Path) -> Result<Reel> {
        let failed = |action, source: io::Error| Error::File { action, path: path.into(), source };
        let title = path.display().to_string();
        if std::fs::metadata(path).is_ok_and(|about| !about.is_file()) {
            let file = std::fs::OpenOptions::new().write(true).open(path).map_err(|e| failed("open", e))?;
            return Ok(Reel::pipe(&title, Box::new(file)));
        }
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mode = Mode::from_raw_mode(0o666);
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        let (file, until) = match rustix::fs::open(directory, flags, mode) {
            Ok(file) => (file, None),
            // Not every file system has files without a name.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let until = beside(path);
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                (rustix::fs::open(&until, flags, mode).map_err(|e| failed("create", e.into()))?, Some(until))
            }
            Err(e) => return Err(failed("create", e.into())),
        };
        let name = Some(Name { path: path.into(), until });
        Ok(Reel { title, out: Mutex::new(Out::File { file: file.into(), end: 0, name }) })
    }

    /// An archive that is written into `writer`.
    pub fn pipe(title: &str, writer: Box<dyn Write + Send>) -> Reel {
        Reel { title: title.into(), out: Mutex::new(Out::Pipe(writer)) }
    }

    /// What it is called in errors.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// True if members can be filled from several threads.
    pub fn is_file(&self) -> bool {
        matches!(*self.lock(), Out::File { .. })
    }

    /// Adds a member with these contents.
    pub fn add(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let header = self.header(name, bytes.len() as u64)?;
        match &mut *self.lock() {
            Out::File { file, end, .. } => {
                file.write_all_at(&header, *end).map_err(|e| self.failed(e))?;
                file.write_all_at(bytes, *end + RECORD).map_err(|e| self.failed(e))?;
                *end += RECORD + padded(bytes.len() as u64);
            }
            Out::Pipe(pipe) => {
                let padding = vec![0; (padded(bytes.len() as u64) - bytes.len() as u64) as usize];
                for part in [&header[..], bytes, &padding] {
                    pipe.write_all(part).map_err(|e| self.failed(e))?;
                }
            }
        }
        Ok(())
    }

    /// A place for a member of `size` bytes; none in a pipe.
    pub fn reserve(&self, name: &str, size: u64) -> Result<Option<Room>> {
        let header = self.header(name, size)?;
        let Out::File { file, end, .. } = &mut *self.lock() else { return Ok(None) };
        file.write_all_at(&header, *end).map_err(|e| self.failed(e))?;
        let position = *end + RECORD;
        *end = position + padded(size);
        Ok(Some(Room { file: file.try_clone().map_err(|e| self.failed(e))?, position }))
    }

    /// Fills a place that was reserved with a blob of that size.
    pub fn fill(&self, room: &Room, blob: &Blob<'_>) -> Result<(Digest, u64)> {
        let mut position = room.position;
        destination::pass(blob, |bytes| {
            room.file.write_all_at(bytes, position).map_err(|e| self.failed(e))?;
            position += bytes.len() as u64;
            Ok(())
        })
    }

    /// Adds a blob as the next member; `name` is told its digest.
    pub fn append(&self, blob: &Blob<'_>, name: &dyn Fn(&Digest) -> String) -> Result<(Digest, u64)> {
        let mut out = self.lock();
        match &mut *out {
            Out::File { file, end, .. } => {
                let room = Room { file: file.try_clone().map_err(|e| self.failed(e))?, position: *end + RECORD };
                let (digest, size) = self.fill(&room, blob)?;
                file.write_all_at(&self.header(&name(&digest), size)?, *end).map_err(|e| self.failed(e))?;
                *end += RECORD + padded(size);
                Ok((digest, size))
            }
            Out::Pipe(pipe) => match (blob.digest, blob.size) {
                (Some(digest), Some(size)) => {
                    pipe.write_all(&self.header(&name(&digest), size)?).map_err(|e| self.failed(e))?;
                    let done = destination::pass(blob, |bytes| pipe.write_all(bytes).map_err(|e| self.failed(e)))?;
                    let padding = vec![0; (padded(size) - size) as usize];
                    pipe.write_all(&padding).map_err(|e| self.failed(e))?;
                    Ok(done)
                }
                // The header comes first, and needs what is only known in the end.
                _ => self.by_way_of_a_file(&mut **pipe, blob, name),
            },
        }
    }

    fn by_way_of_a_file(
        &self,
        pipe: &mut (dyn Write + Send),
        blob: &Blob<'_>,
        name: &dyn Fn(&Digest) -> String,
    ) -> Result<(Digest, u64)> {
        let mut file = unnamed().map_err(|e| self.failed(e))?;
        let (digest, size) = destination::pass(blob, |bytes| file.write_all(bytes).map_err(|e| self.failed(e)))?;
        file.rewind().map_err(|e| self.failed(e))?;
        pipe.write_all(&self.header(&name(&digest), size)?).map_err(|e| self.failed(e))?;
        io::copy(&mut (&mut file).take(size), pipe).map_err(|e| self.failed(e))?;
        pipe.write_all(&vec![0; (padded(size) - size) as usize]).map_err(|e| self.failed(e))?;
        Ok((digest, size))
    }

    /// Ends the archive, and gives it its name.
    pub fn finish(&self) -> Result<()> {
        match &mut *self.lock() {
            Out::File { file, end, name } => {
                file.set_len(*end + 2 * RECORD).map_err(|e| self.failed(e))?;
                let Some(name) = name.take() else { return Ok(()) };
                publish(file, name).map_err(|e| self.failed(e))
            }
            Out::Pipe(pipe) => {
                let end = [0; 2 * RECORD as usize];
                pipe.write_all(&end).and_then(|()| pipe.flush()).map_err(|e| self.failed(e))
            }
        }
    }

    fn header(&self, name: &str, size: u64) -> Result<[u8; RECORD as usize]> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).map_err(|e| self.failed(e))?;
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        // The same image saved twice gives the same bytes.
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        Ok(*header.as_bytes())
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Write { archive: self.title.clone(), source }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reel {
    fn drop(&mut self) {
        if let Out::File { name: Some(Name { until: Some(until), .. }), .. } = &*self.lock() {
            let _ = std::fs::remove_file(until);
        }
    }
}

/// Gives a file its name, in place of what had it.
fn publish(file: &File, name: Name) -> io::Result<()> {
    let until = match name.until {
        Some(until) => until,
        None => {
            let until = beside(&name.path);
            let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file.as_fd()));
            rustix::fs::linkat(CWD, own, CWD, &until, AtFlags::SYMLINK_FOLLOW)?;
            until
        }
    };
    std::fs::rename(&until, &name.path).inspect_err(|_| drop(std::fs::remove_file(&until)))
}

/// A name beside `path` that nobody else uses.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{}", std::process::id(), crate::random()));
    path.with_file_name(name)
}

/// A file for a while, which nobody else can open.
pub fn unnamed() -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let mut problem = io::Error::from(io::ErrorKind::NotFound);
    for directory in ["/var/tmp", "/tmp"] {
        match rustix::fs::open(directory, flags, mode) {
            Ok(file) => return Ok(file.into()),
            Err(errno) => problem = errno.into(),
        }
    }
    Err(problem)
}

fn padded(size: u64) -> u64 {
    size.next_multiple_of(RECORD)
}
