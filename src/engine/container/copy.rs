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

/// Bytes of a file whose removal takes longer than a thread to start.
const WORTH_A_THREAD: i64 = 16 << 20;

/// A path below an open root.
struct Point {
    root: OwnedFd,
    /// How the root is called in errors.
    place: PathBuf,
    /// Below the root, cleaned of `.` and `//`.
    path: Vec<u8>,
    /// The path as the user wrote it, for errors.
    said: String,
    /// The container it is in, as the user called it; none for the host.
    container: Option<String>,
    /// It ended with `/.`: what is in the directory is meant.
    contents: bool,
    /// It ended with `/`: it must be a directory.
    directory: bool,
    /// Keeps a container's files mounted, and its lock.
    tree: Option<Tree>,
}

impl Point {
    /// As the user wrote it, the container too.
    fn called(&self) -> String {
        self.container.as_ref().map_or_else(|| self.said.clone(), |name| format!("{name}:{}", self.said))
    }
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
                let path = match existing(&to) {
                    Ok((path, stat)) if is_directory(&stat) => path,
                    Err(fault) if fault.kind != Kind::NotFound => return Err(fault),
                    _ => {
                        return Err(Fault::invalid("destination must be a directory when copying from stdin"));
                    }
                };
                let how = self.spreading(asked, &to)?;
                let root = duplicate(&to.root)?;
                // A pipe gives what its writer wrote at once, which may be less than a header.
                let mut beginning = Vec::new();
                let unread = |e| Fault::internal(format!("cannot read the input: {e}"));
                (&mut *input).take(512).read_to_end(&mut beginning).map_err(unread)?;
                let beginning = &beginning[..];
                let mut input = BufReader::with_capacity(1 << 18, beginning.chain(input));
                // The sum of a header's bytes, and the magic, begin here (tar(5)); an archive without any entry is zeros.
                let packed = transfer::compression(beginning).is_some();
                let plain = beginning.len() >= 512
                    && (beginning[..512].iter().all(|b| *b == 0) || &beginning[257..262] == b"ustar");
                if !packed && !plain {
                    return Err(Fault::invalid("source must be a (compressed) tar archive when copying from stdin"));
                }
                let spread = |reader: &mut dyn std::io::BufRead| {
                    store::spread::spread(root, &to.place, &path, reader, how).map_err(fault::store)
                };
                match packed {
                    false => spread(&mut input),
                    true => {
                        let mut input: &mut (dyn Read + Send) = &mut input;
                        let inside = transfer::decompressed(&mut input, "standard input").map_err(fault::transfer)?;
                        let inside = inside.ok_or_else(|| Fault::internal("the input changed while it was read"))?;
                        spread(&mut BufReader::with_capacity(1 << 18, inside))
                    }
                }
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
            Ok((_, stat)) if to.container.is_none() && !is_plain(&stat) => return Err(neither(to)),
            Ok((path, stat)) => Some((path, stat)),
            Err(Errno::NOENT) => None,
            // A descriptor of this process, say: what /dev/stdout is.
            Err(Errno::LOOP) if to.container.is_none() => return Err(neither(to)),
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
                    return Err(Fault::invalid("destination must be a directory when copying a directory"));
                }
                if to.directory {
                    return Err(Fault::invalid(format!("destination {:?} is not a directory", to.called())));
                }
                split(&path, to)?
            }
            None => {
                if to.directory && !is_directory(&stat) {
                    return Err(absent(to));
                }
                let root = Root::new(duplicate(&to.root)?);
                let (parent, name) = split(&follow(&root, &to.path).map_err(|_| absent(to))?, to)?;
                root.resolve(&parent, OFlags::PATH | OFlags::DIRECTORY).map_err(|_| absent(to))?;
                (parent, name)
            }
        };
        if !asked.overwrite
            && let Ok(directory) = Root::new(duplicate(&to.root)?).resolve(&parent, OFlags::PATH | OFlags::DIRECTORY)
            && let Ok(old) = fs::statat(&directory, &*name, AtFlags::SYMLINK_NOFOLLOW)
            && is_directory(&old) != is_directory(&stat)
        {
            return Err(in_the_way(to, &parent, &name));
        }
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
        let (reader, mut writer) = store::pipe::pipe();
        let root = duplicate(&from.root)?;
        let target = duplicate(&to.root)?;
        let (packed, spread) = std::thread::scope(|scope| {
            let packer = scope.spawn(move || store::pack::pack_entry(root, &from.place, source, name, &mut writer));
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
            return Ok(Point { root, place: "/".into(), path, said, container: None, contents, directory, tree: None });
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
            let bound = match &covering {
                Some((inside, mount)) => match &mount.kind {
                    MountKind::Bind { source } => Some((inside, source.clone())),
                    MountKind::Volume { name, .. } => Some((inside, self.volume_files(name)?)),
                    // Nothing is there while it does not run.
                    MountKind::Tmpfs | MountKind::Ramfs | MountKind::Devpts | MountKind::Image { .. } => None,
                },
                None => None,
            };
            if let Some((inside, source)) = bound {
                if source.is_dir() {
                    root = open(&source)?;
                    let part = covering.as_ref().and_then(|(_, mount)| mount.subpath.as_deref()).unwrap_or_default();
                    path = clean(&[part.as_bytes(), b"/", &path[inside.len()..]].concat());
                    place = source;
                } else {
                    let parent = source.parent().unwrap_or(Path::new("/")).to_owned();
                    root = open(&parent)?;
                    path = source.file_name().map(|n| n.as_encoded_bytes().to_vec()).unwrap_or_default();
                    place = parent;
                }
            }
        }
        let container = Some(name.clone());
        Ok(Point { root, place, path, said, container, contents, directory, tree: Some(tree) })
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
    // What is replaced is given back to the disk while the new file is written: that takes time, too.
    let mut replaced = None;
    match fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {}
        Ok(old) if is_directory(&old) && !how.overwrite => {
            return Err(in_the_way(to, parent, name));
        }
        Ok(old) if (old.st_dev, old.st_ino) == (stat.st_dev, stat.st_ino) => {
            return Err(Fault::invalid(format!("{:?} and {:?} are the same file", from.called(), to.called())));
        }
        Ok(old) => {
            if old.st_size > WORTH_A_THREAD {
                replaced =
                    fs::openat(&directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok();
            }
            if let Some((_, errno)) = sys::removal::remove_tree(directory.as_fd(), name).first {
                return Err(at(to, "replace", errno));
            }
        }
        Err(errno) => return Err(at(to, "look at", errno)),
    }
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = fs::openat(&directory, name, create, Mode::RUSR | Mode::WUSR).map_err(|e| at(to, "create", e))?;
    let copied = (|| {
        std::thread::scope(|scope| {
            if let Some(replaced) = replaced {
                scope.spawn(move || drop(replaced));
            }
            sys::reflink::copy(&file, &made, &mut true)
        })?;
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
        path = match fs::readlinkat(&directory, name, Vec::new()) {
            Ok(target) => led(parent, target.as_bytes()),
            Err(Errno::INVAL) => return Ok((path, stat)),
            Err(errno) => return Err(errno),
        };
    }
    Err(Errno::LOOP)
}

fn existing(point: &Point) -> Result<(Vec<u8>, fs::Stat), Fault> {
    match resolve(point) {
        Ok((path, stat)) if point.directory && !is_directory(&stat) => {
            let _ = path;
            Err(Fault::invalid(format!("{:?} is not a directory", point.called())))
        }
        Ok(found) => Ok(found),
        Err(Errno::NOENT | Errno::NOTDIR) => Err(absent(point)),
        // A descriptor of this process, as /dev/stdin is: the file that it leads to, if it is one.
        Err(Errno::LOOP) if point.container.is_none() => {
            let path = std::fs::canonicalize(&point.said).map_err(|_| absent(point))?;
            let stat = fs::lstat(&path).map_err(|_| absent(point))?;
            let path = clean(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
            if is_plain(&stat) { Ok((path, stat)) } else { Err(at(point, "copy from", Errno::LOOP)) }
        }
        Err(errno) => Err(at(point, "look at", errno)),
    }
}

/// Podman's words for a path that is not there.
fn absent(point: &Point) -> Fault {
    let place = point.container.as_ref().map_or_else(|| "the host".to_owned(), |name| format!("container {name}"));
    Fault::new(Kind::NotFound, format!("{:?} could not be found on {place}: no such file or directory", point.said))
}

/// And for one that is a device, a socket or a pipe of the host's.
fn neither(to: &Point) -> Fault {
    Fault::invalid(format!("invalid destination: {:?} must be a directory or a regular file", to.said))
}

/// And for a directory where a file is to go, and the other way round. A place on the host is told from where the copy goes.
fn in_the_way(to: &Point, parent: &[u8], name: &[u8]) -> Fault {
    let path = match to.container {
        Some(_) => [parent, b"/", name].concat(),
        None => name.to_vec(),
    };
    let path = format!("/{}", String::from_utf8_lossy(&path).trim_start_matches('/'));
    Fault::invalid(format!("copying to {:?}: error creating {path:?}: it is of another kind: file exists", to.called()))
        .hint("give --overwrite")
}

/// What `path` stands for if it is a link to something that is not there yet: that.
fn follow(root: &Root, path: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut path = path.to_vec();
    for _ in 0..40 {
        let (parent, name) = sys::beneath::split(&path).ok_or(Errno::INVAL)?;
        let directory = root.resolve(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        match fs::readlinkat(&directory, name, Vec::new()) {
            Ok(target) => path = led(parent, target.as_bytes()),
            Err(Errno::INVAL | Errno::NOENT) => return Ok(path),
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::LOOP)
}

/// Where a link in `parent` leads.
fn led(parent: &[u8], target: &[u8]) -> Vec<u8> {
    if target.starts_with(b"/") { clean(target) } else { clean(&[parent, b"/", target].concat()) }
}

fn at(point: &Point, action: &str, errno: Errno) -> Fault {
    Fault::internal(format!("cannot {action} {:?}: {errno}", point.called()))
}

fn split(path: &[u8], point: &Point) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let (parent, name) =
        sys::beneath::split(path).ok_or_else(|| Fault::invalid(format!("{:?} has no name", point.called())))?;
    Ok((parent.to_vec(), name.to_vec()))
}

fn last(path: &[u8]) -> Vec<u8> {
    sys::beneath::split(path).map_or_else(|| b".".to_vec(), |(_, name)| name.to_vec())
}

/// A directory or a regular file.
fn is_plain(stat: &fs::Stat) -> bool {
    matches!(FileType::from_raw_mode(stat.st_mode), FileType::Directory | FileType::RegularFile)
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
