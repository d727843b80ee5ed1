//! `cp`: files between containers and the host. One file is copied directly; directories go as an archive through a pipe.
//!
//! Every path in a container is resolved below its root, so that links in there lead nowhere else; nothing of the host is
//! ever reached through what a container made.

use super::config::MountKind;
use super::tree::Tree;
use crate::{Engine, fault};
use ops::container::{Copy, Location};
use ops::{Fault, Kind};
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::io::{BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use store::spread::Spreading;
use sys::beneath::Root;

const SIGPIPE: i32 = 13;

/// A path below an open root.
struct Point {
    root: OwnedFd,
    /// How the root is called in errors.
    place: PathBuf,
    /// Below the root, cleaned of `.` and `//`.
    path: Vec<u8>,
    /// As the user wrote it, for errors.
    said: String,
    /// It ended with `/.`: what is in the directory is meant.
    contents: bool,
    /// It ended with `/`: it must be a directory.
    directory: bool,
    /// Keeps a container's files mounted, and its lock.
    tree: Option<Tree>,
}

impl Engine {
    /// Copies files. `input` and `output` are the streams of [`Location::Stream`].
    pub fn copy(&self, asked: &Copy, input: &mut (dyn Read + Send), output: &mut dyn Write) -> Result<(), Fault> {
        self.host()?;
        match (&asked.from, &asked.to) {
            (Location::Stream, Location::Stream) => Err(Fault::invalid("one side of a copy must be a container")),
            (Location::Host(_) | Location::Stream, Location::Host(_) | Location::Stream) => {
                Err(Fault::invalid("one side of a copy must be a container: use CONTAINER:PATH"))
            }
            (from, Location::Stream) => {
                let from = self.point(from)?;
                let (path, _) = existing(&from)?;
                let name = if from.contents { b".".to_vec() } else { last(&path) };
                let (root, place) = (duplicate(&from.root)?, from.place.clone());
                store::pack::pack_entry(root, &place, &path, &name, output).map_err(fault::store)
            }
            (Location::Stream, to) => {
                let to = self.point(to)?;
                let (path, stat) = existing(&to)?;
                if !is_directory(&stat) {
                    return Err(Fault::invalid(format!(
                        "destination must be a directory when copying from stdin: {:?}",
                        to.said
                    )));
                }
                let how = self.spreading(asked, &to)?;
                let root = duplicate(&to.root)?;
                store::spread::spread(root, &to.place, &path, BufReader::with_capacity(1 << 18, input), how)
                    .map_err(fault::store)
            }
            (from, to) => {
                let (from, to) = (self.point(from)?, self.point(to)?);
                self.copy_between(asked, &from, &to)
            }
        }
    }

    fn copy_between(&self, asked: &Copy, from: &Point, to: &Point) -> Result<(), Fault> {
        let (source, stat) = existing(from)?;
        let how = self.spreading(asked, to)?;
        let there = match resolve(to) {
            Ok((path, stat)) => Some((path, stat)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(at(to, "look at", errno)),
        };
        // Where it goes: the directory that gets it, and its name in there.
        let (parent, name) = match there {
            Some((path, old)) if is_directory(&old) => {
                if from.contents && is_directory(&stat) {
                    return self.copy_tree(from, &source, b".", to, &path, how);
                }
                (path, last(&source))
            }
            Some((path, _)) => {
                if is_directory(&stat) && !asked.overwrite {
                    return Err(Fault::invalid(format!(
                        "destination {:?} must be a directory when copying a directory",
                        to.said
                    )));
                }
                if to.directory {
                    return Err(Fault::invalid(format!("destination {:?} is not a directory", to.said)));
                }
                split(&path, to)?
            }
            None => {
                if to.directory && !is_directory(&stat) {
                    return Err(Fault::new(
                        Kind::NotFound,
                        format!("{:?} could not be found: no such file or directory", to.said),
                    ));
                }
                let (parent, name) = split(&to.path, to)?;
                match Root::new(duplicate(&to.root)?).resolve(&parent, OFlags::PATH | OFlags::DIRECTORY) {
                    Ok(_) => {}
                    Err(_) => {
                        return Err(Fault::new(
                            Kind::NotFound,
                            format!("{:?} could not be found: no such file or directory", to.said),
                        ));
                    }
                }
                (parent, name)
            }
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            return copy_file(from, &source, to, &parent, &name, how);
        }
        self.copy_tree(from, &source, &name, to, &parent, how)
    }

    fn spreading(&self, asked: &Copy, to: &Point) -> Result<Spreading, Fault> {
        let owner = match &to.tree {
            Some(tree) if asked.archive => Some(owner_in(tree)?),
            // On the host everything is the caller's, as far as the caller is not root.
            None if !asked.archive || self.host()?.in_user_namespace => {
                Some((rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()))
            }
            _ => None,
        };
        Ok(Spreading { owner, overwrite: asked.overwrite })
    }

    fn copy_tree(
        &self,
        from: &Point,
        source: &[u8],
        name: &[u8],
        to: &Point,
        top: &[u8],
        how: Spreading,
    ) -> Result<(), Fault> {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(Fault::internal)?;
        sys::reactor::ignore(&[SIGPIPE]).map_err(Fault::internal)?;
        let root = duplicate(&from.root)?;
        let target = duplicate(&to.root)?;
        let (packed, spread) = std::thread::scope(|scope| {
            let packer = scope.spawn(move || {
                let mut writer = std::io::BufWriter::with_capacity(1 << 18, std::fs::File::from(writer));
                store::pack::pack_entry(root, &from.place, source, name, &mut writer)
            });
            let reader = BufReader::with_capacity(1 << 18, std::fs::File::from(reader));
            let spread = store::spread::spread(target, &to.place, top, reader, how);
            (packer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), spread)
        });
        // If writing failed, reading failed for that alone.
        spread.map_err(fault::store)?;
        packed.map_err(fault::store)
    }

    /// The root that `location` is below, and the path there.
    fn point(&self, location: &Location) -> Result<Point, Fault> {
        let (name, said) = match location {
            Location::Container { name, path } => (Some(name), path.clone()),
            Location::Host(path) => (None, path.clone()),
            Location::Stream => return Err(Fault::invalid("a stream has no path")),
        };
        if said.is_empty() {
            return Err(Fault::invalid("the path of a copy is empty"));
        }
        let contents = said == "." || said.ends_with("/.");
        let directory = contents || said.ends_with('/') || said == ".." || said.ends_with("/..");
        let Some(name) = name else {
            let root = open(Path::new("/"))?;
            let absolute = std::path::absolute(&said).map_err(Fault::internal)?;
            let path = clean(std::os::unix::ffi::OsStrExt::as_bytes(absolute.as_os_str()));
            return Ok(Point { root, place: "/".into(), path, said, contents, directory, tree: None });
        };
        let tree = self.tree(name)?;
        let absolute =
            if said.starts_with('/') { said.clone() } else { format!("{}/{said}", tree.config.working_directory) };
        let mut path = clean(absolute.as_bytes());
        let mut root = duplicate(&tree.root)?;
        let mut place = tree.place.clone();
        if !tree.live {
            // What would be mounted if it ran.
            let places = tree.config.mounts.iter().map(|mount| (clean(mount.destination.as_bytes()), mount));
            let covering = places
                .filter(|(inside, _)| path == *inside || path.starts_with(&[&inside[..], b"/"].concat()))
                .max_by_key(|(inside, _)| inside.len());
            let bound = match covering {
                Some((inside, mount)) => match &mount.kind {
                    MountKind::Bind { source } => Some((inside, source.clone())),
                    MountKind::Volume { name, .. } => Some((inside, self.volume_files(name)?)),
                    // Nothing is there while it does not run.
                    MountKind::Tmpfs | MountKind::Devpts | MountKind::Image { .. } => None,
                },
                None => None,
            };
            if let Some((inside, source)) = bound {
                if source.is_dir() {
                    root = open(&source)?;
                    path = clean(&path[inside.len()..]);
                    place = source;
                } else {
                    let parent = source.parent().unwrap_or(Path::new("/")).to_owned();
                    root = open(&parent)?;
                    path = source.file_name().map(|n| n.as_encoded_bytes().to_vec()).unwrap_or_default();
                    place = parent;
                }
            }
        }
        Ok(Point { root, place, path, said: format!("{name}:{said}"), contents, directory, tree: Some(tree) })
    }
}

/// The ids that the container's user has, as they are on disk.
fn owner_in(tree: &Tree) -> Result<(u32, u32), Fault> {
    let who = runtime::user::resolve(tree.root.as_fd(), &tree.config.user, &[])
        .map_err(|e| Fault::invalid(fault::sentence(&e)))?;
    let (uid, gid) = (who.uid, who.gid);
    Ok(match &tree.owners {
        Some(map) => {
            (types::idmap::to_host(&map.uids, uid).unwrap_or(uid), types::idmap::to_host(&map.gids, gid).unwrap_or(gid))
        }
        None => (uid, gid),
    })
}

/// Copies the bytes of one file, shared with the source where the file system can.
fn copy_file(from: &Point, source: &[u8], to: &Point, parent: &[u8], name: &[u8], how: Spreading) -> Result<(), Fault> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = Root::new(duplicate(&from.root)?).resolve(source, read).map_err(|e| at(from, "open", e))?;
    let stat = fs::fstat(&file).map_err(|e| at(from, "look at", e))?;
    let directory = Root::new(duplicate(&to.root)?)
        .resolve(parent, OFlags::PATH | OFlags::DIRECTORY)
        .map_err(|e| at(to, "open", e))?;
    match fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {}
        Ok(old) if is_directory(&old) && !how.overwrite => {
            return Err(Fault::invalid(format!("cannot overwrite directory {:?} with a file", to.said)));
        }
        Ok(old) if (old.st_dev, old.st_ino) == (stat.st_dev, stat.st_ino) => {
            return Err(Fault::invalid(format!("{:?} and {:?} are the same file", from.said, to.said)));
        }
        Ok(_) => {
            if let Some((_, errno)) = sys::removal::remove_tree(directory.as_fd(), name).first {
                return Err(at(to, "replace", errno));
            }
        }
        Err(errno) => return Err(at(to, "look at", errno)),
    }
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = fs::openat(&directory, name, create, Mode::RUSR | Mode::WUSR).map_err(|e| at(to, "create", e))?;
    let copied = (|| {
        sys::reflink::copy(&file, &made, &mut true)?;
        let (uid, gid) = how.owner.unwrap_or((stat.st_uid, stat.st_gid));
        fs::fchown(&made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        fs::fchmod(&made, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        fs::futimens(
            &made,
            &fs::Timestamps {
                last_access: fs::Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
                last_modification: fs::Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
            },
        )
    })();
    copied.map_err(|errno| {
        // Half a file is none.
        let _ = fs::unlinkat(&directory, name, AtFlags::empty());
        at(to, "write", errno)
    })
}

/// What the point is, links followed within its root; the path is that of what was found.
fn resolve(point: &Point) -> Result<(Vec<u8>, fs::Stat), Errno> {
    let root = Root::new(point.root.try_clone().map_err(|_| Errno::MFILE)?);
    let found = root.resolve(&point.path, OFlags::PATH)?;
    let stat = fs::fstat(&found)?;
    let nofollow = root.resolve(&point.path, OFlags::PATH | OFlags::NOFOLLOW)?;
    let own = fs::fstat(&nofollow)?;
    if FileType::from_raw_mode(own.st_mode) != FileType::Symlink {
        return Ok((point.path.clone(), stat));
    }
    // A link: what it leads to is copied, found again by following it one step at a time.
    let mut path = point.path.clone();
    for _ in 0..40 {
        let (parent, name) = sys::beneath::split(&path).ok_or(Errno::INVAL)?;
        let directory = root.resolve(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        let target = match fs::readlinkat(&directory, name, Vec::new()) {
            Ok(target) => target.into_bytes(),
            Err(Errno::INVAL) => return Ok((path, stat)),
            Err(errno) => return Err(errno),
        };
        path = if target.starts_with(b"/") { clean(&target) } else { clean(&[parent, b"/", &target].concat()) };
    }
    Err(Errno::LOOP)
}

fn existing(point: &Point) -> Result<(Vec<u8>, fs::Stat), Fault> {
    match resolve(point) {
        Ok((path, stat)) if point.directory && !is_directory(&stat) => {
            let _ = path;
            Err(Fault::invalid(format!("{:?} is not a directory", point.said)))
        }
        Ok(found) => Ok(found),
        Err(Errno::NOENT | Errno::NOTDIR) => {
            Err(Fault::new(Kind::NotFound, format!("{:?} could not be found: no such file or directory", point.said)))
        }
        Err(errno) => Err(at(point, "look at", errno)),
    }
}

fn at(point: &Point, action: &str, errno: Errno) -> Fault {
    Fault::internal(format!("cannot {action} {:?}: {errno}", point.said))
}

fn split(path: &[u8], point: &Point) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let (parent, name) =
        sys::beneath::split(path).ok_or_else(|| Fault::invalid(format!("{:?} has no name", point.said)))?;
    Ok((parent.to_vec(), name.to_vec()))
}

fn last(path: &[u8]) -> Vec<u8> {
    sys::beneath::split(path).map_or_else(|| b".".to_vec(), |(_, name)| name.to_vec())
}

fn is_directory(stat: &fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Without a leading `/`, empty components and `.`; `..` takes the component before it away.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join(&b'/')
}

fn open(path: &Path) -> Result<OwnedFd, Fault> {
    fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Fault::internal(format!("cannot open {path:?}: {e}")))
}

fn duplicate(fd: &OwnedFd) -> Result<OwnedFd, Fault> {
    fd.try_clone().map_err(|e| Fault::internal(format!("no descriptor is left: {e}")))
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn paths_are_cleaned_as_a_shell_would() {
        for (path, cleaned) in
            [("/", ""), ("//a//b/", "a/b"), ("/a/./b/.", "a/b"), ("/a/../../b", "b"), ("a/b/..", "a"), (".", "")]
        {
            assert_eq!(clean(path.as_bytes()), cleaned.as_bytes(), "{path}");
        }
    }
}
