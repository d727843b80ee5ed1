//! Sources whose parts can be read in any order: a plain tar file, a directory. Documents are read when asked for,
//! layers by several threads at once, and nothing is copied aside.
//!
//! Must not know: what the documents say, the store.

use crate::parts::{Parts, Supply};
use crate::plan::Place;
use crate::tape::{self, Feed, Kind, Member, Tape};
use crate::{Error, Result};
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use sys::beneath::Root;
use types::Digest;

/// Most links followed to find a member.
const LINKS: usize = 8;

/// A source that is open.
pub enum Shelf {
    /// A tar file whose headers were walked once.
    Tar {
        /// The file.
        file: File,
        /// Its members by name, the first of each.
        members: HashMap<String, Member>,
        /// Its name in errors.
        title: String,
    },
    /// A directory.
    Directory {
        /// The directory.
        directory: Root,
        /// Its name in errors.
        title: String,
    },
}

/// A part of a file, read from its beginning to its end without touching the file's position.
pub struct Window {
    file: File,
    position: u64,
    left: u64,
}

impl Shelf {
    /// Walks the headers of the tar archive `file`.
    pub fn tar(file: File, title: &str) -> Result<Shelf> {
        let length = file.metadata().map_err(|source| Error::Read { archive: title.into(), source })?.len();
        let mut tape = Tape::new(Jumping { file: &file, position: 0, length }, title);
        let mut members: HashMap<String, Member> = HashMap::new();
        while let Some(member) = tape.next()? {
            match (&member.kind, members.get(&member.name)) {
                (Kind::Other, _) => {}
                (_, Some(_)) if is_contents(&member.name) => {
                    return Err(Error::Member {
                        archive: title.into(),
                        member: member.name,
                        why: "it is there twice".into(),
                    });
                }
                (_, Some(_)) => {}
                (_, None) => drop(members.insert(member.name.clone(), member)),
            }
        }
        Ok(Shelf::Tar { file, members, title: title.into() })
    }

    /// Opens the directory `path`.
    pub fn directory(path: &Path) -> Result<Shelf> {
        let directory =
            Root::open(path).map_err(|e| Error::File { action: "open", path: path.into(), source: e.into() })?;
        Ok(Shelf::Directory { directory, title: path.display().to_string() })
    }

    fn find(&self, name: &str) -> Result<Option<Window>> {
        match self {
            Shelf::Tar { file, members, title } => {
                let found = follow(title, members, |m| &m.kind, name)?;
                let Some(member) = members.get(&found).filter(|m| m.kind == Kind::File) else { return Ok(None) };
                let file = file.try_clone().map_err(|source| Error::Read { archive: title.clone(), source })?;
                Ok(Some(Window { file, position: member.offset, left: member.size }))
            }
            Shelf::Directory { directory, title } => {
                let failed = |source: io::Error| Error::Read { archive: format!("{title}/{name}"), source };
                // A pipe put in place of a file must not make us wait.
                let file = match directory.resolve(name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC) {
                    Ok(file) => File::from(file),
                    Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
                    Err(e) => return Err(failed(e.into())),
                };
                let about = file.metadata().map_err(failed)?;
                if !about.is_file() {
                    let why = "it is no regular file".into();
                    return Err(Error::Member { archive: title.clone(), member: name.into(), why });
                }
                Ok(Some(Window { position: 0, left: about.len(), file }))
            }
        }
    }
}

impl Parts for Shelf {
    fn title(&self) -> &str {
        match self {
            Shelf::Tar { title, .. } | Shelf::Directory { title, .. } => title,
        }
    }

    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(mut window) = self.find(name)? else { return Ok(None) };
        if window.left > limit {
            let why = format!("it has {} bytes, at most {limit} are accepted", window.left);
            return Err(Error::Member { archive: self.title().into(), member: name.into(), why });
        }
        let mut bytes = Vec::with_capacity(window.left as usize);
        window.read_to_end(&mut bytes).map_err(|source| Error::Read { archive: self.title().into(), source })?;
        Ok(Some(bytes))
    }

    fn place(&self, name: &str) -> Result<Place> {
        let size = self.find(name)?.map(|window| window.left);
        match self {
            Shelf::Tar { members, title, .. } => {
                Ok(Place::Member { name: follow(title, members, |m| &m.kind, name)?, size })
            }
            Shelf::Directory { .. } => Ok(Place::Member { name: name.into(), size }),
        }
    }

    fn layer(&self, name: &str, diff_id: &Digest) -> Result<Supply<'_>> {
        match self.find(name)? {
            Some(window) => Ok(Supply::Bytes(Box::new(window))),
            None => Err(Error::Missing {
                archive: self.title().into(),
                what: format!("layer {diff_id}"),
                member: name.into(),
            }),
        }
    }
}

/// True for the members that say what is in the archive: two of them would be two answers.
pub fn is_contents(name: &str) -> bool {
    matches!(name, "index.json" | "manifest.json" | "oci-layout")
}

/// Follows links from `name` by names alone; the last name may not exist.
pub fn follow<'m, M>(
    title: &str,
    members: &'m HashMap<String, M>,
    kind: fn(&M) -> &Kind,
    name: &str,
) -> Result<String> {
    let mut name = clean(name);
    for _ in 0..LINKS {
        match members.get(&name).map(kind) {
            Some(Kind::Link(target)) => name = target.clone(),
            _ => return Ok(name),
        }
    }
    Err(Error::Member { archive: title.into(), member: name, why: format!("more than {LINKS} links lead to it") })
}

/// Names inside documents may be written with `./` too.
fn clean(name: &str) -> String {
    name.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/")
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let got = self.file.read_at(&mut buffer[..want], self.position)?;
        if got == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before"));
        }
        self.position += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}

/// A file as a feed: contents are jumped over.
struct Jumping<'a> {
    file: &'a File,
    position: u64,
    length: u64,
}

impl Feed for Jumping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read_at(buffer, self.position)?;
        self.position += got as u64;
        Ok(got)
    }

    fn skip(&mut self, count: u64) -> io::Result<bool> {
        self.position = self.position.saturating_add(count);
        // The padding after the last member may be missing.
        Ok(self.position < self.length.saturating_add(tape::RECORD))
    }
}
