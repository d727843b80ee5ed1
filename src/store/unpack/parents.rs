//! Descriptors of the directories that entries are made in: archives list them one directory after the other.

use super::Unpacker;
use crate::Result;
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use sys::beneath::Root;

/// Descriptors kept. Several layers are unpacked at once, and 1024 is the usual limit of a process.
const KEPT: usize = 16;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// The directories used last, by the name they were asked for.
#[derive(Default)]
pub(super) struct Parents {
    kept: Vec<(Vec<u8>, Rc<OwnedFd>)>,
    oldest: usize,
    last: usize,
}

impl Parents {
    /// The directory `path` below `root`.
    pub(super) fn get(&mut self, root: &Root, path: &[u8]) -> rustix::io::Result<Rc<OwnedFd>> {
        if let Some((kept, directory)) = self.kept.get(self.last)
            && kept == path
        {
            return Ok(Rc::clone(directory));
        }
        if let Some(found) = self.kept.iter().position(|(kept, _)| kept == path) {
            self.last = found;
            return Ok(Rc::clone(&self.kept[found].1));
        }
        let directory = Rc::new(root.resolve(path, DIRECTORY)?);
        let new = (path.to_vec(), Rc::clone(&directory));
        if self.kept.len() < KEPT {
            self.last = self.kept.len();
            self.kept.push(new);
        } else {
            self.last = self.oldest;
            self.kept[self.oldest] = new;
            self.oldest = (self.oldest + 1) % KEPT;
        }
        Ok(directory)
    }

    /// Forgets all: a name may mean something else now.
    pub(super) fn forget(&mut self) {
        *self = Parents::default();
    }
}

impl Unpacker<'_> {
    /// The directory `path`, a cleaned name; made if the archive has not listed it, and then root's, mode 0755.
    pub(super) fn parent(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        match self.parents.get(&self.root, path) {
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            other => return other.map_err(|errno| self.fail("enter the directory of", errno)),
        }
        let mut end = 0;
        let mut above =
            self.parents.get(&self.root, b"").map_err(|errno| self.fail("enter the directory of", errno))?;
        for component in path.split(|byte| *byte == b'/') {
            let prefix = &path[..end + component.len()];
            end += component.len() + 1;
            let name = component;
            above = match self.parents.get(&self.root, prefix) {
                Ok(directory) => directory,
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    let hidden = match fs::mkdirat(&*above, name, Mode::from_raw_mode(0o755)) {
                        Err(Errno::EXIST) if super::node::is_whiteout(&above, name) => {
                            self.replace(&above, name)?;
                            fs::mkdirat(&*above, name, Mode::from_raw_mode(0o755)).map(|()| true)
                        }
                        Err(Errno::EXIST) => {
                            return Err(self
                                .bad(format!("{:?}, which it would be in, is not a directory", super::lossy(prefix))));
                        }
                        other => other.map(|()| false),
                    }
                    .map_err(|errno| self.fail("make the directory of", errno))?;
                    if hidden {
                        self.make_opaque(&above, name)?;
                    }
                    if self.own != (0, 0) && !self.options.single_id {
                        let root = (fs::Uid::ROOT, fs::Gid::ROOT);
                        fs::chownat(&*above, name, Some(root.0), Some(root.1), AtFlags::SYMLINK_NOFOLLOW)
                            .map_err(|errno| self.fail("set the owner of the directory of", errno))?;
                    }
                    self.parents.get(&self.root, prefix).map_err(|errno| self.fail("enter the directory of", errno))?
                }
                Err(errno) => return Err(self.fail("enter the directory of", errno)),
            };
        }
        Ok(above)
    }
}
