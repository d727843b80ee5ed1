//! How much room the files of a container take.

use crate::changes::{Kind, walk};
use crate::{Mounts, Result, Store};
use rustix::fs::{self, AtFlags, FileType};
use rustix::io::Errno;
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use types::Id;

/// Bytes of the files of a container, as their lengths say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnapshotSize {
    /// Of what the container wrote.
    pub written: u64,
    /// Of all that it sees.
    pub whole: u64,
}

impl Store {
    /// How large the files of a container are; nothing at all if it has no snapshot yet, or none any more: somebody may be
    /// removing it, or have been killed while they did. The container may run.
    pub fn snapshot_size(&self, container: &Id) -> Result<SnapshotSize> {
        let Some(snapshot) = self.snapshot(container)? else { return Ok(SnapshotSize::default()) };
        let (Mounts::Overlay { upper: own, .. } | Mounts::Directory(own)) = &snapshot.mounts;
        match self.measured(container, &snapshot.mounts) {
            Err(_) if fs::lstat(own).err() == Some(Errno::NOENT) => Ok(SnapshotSize::default()),
            other => other,
        }
    }

    fn measured(&self, container: &Id, mounts: &Mounts) -> Result<SnapshotSize> {
        match mounts {
            Mounts::Overlay { upper, .. } => {
                let written = sum(upper, |_| true)?;
                Ok(SnapshotSize { written, whole: written + self.size_below(container)? })
            }
            Mounts::Directory(root) => {
                let changed = self.changes(container)?.into_iter().filter(|change| change.kind != Kind::Deleted);
                let changed: HashSet<Vec<u8>> = changed.map(|change| change.path).collect();
                let written = sum(root, |path| changed.contains(path))?;
                Ok(SnapshotSize { written, whole: sum(root, |_| true)? })
            }
        }
    }

    fn size_below(&self, container: &Id) -> Result<u64> {
        let query = "SELECT COALESCE(SUM(bytes), 0) FROM snapshot_layers JOIN layers ON layers.name = layer
            WHERE container = ?1";
        let connection = self.connection();
        let bytes: i64 = connection
            .query_row(query, [container.as_str()], |row| row.get(0))
            .map_err(self.failed("sum up the layers of"))?;
        Ok(bytes.cast_unsigned())
    }
}

/// Bytes of all files below a directory, as their lengths say; a file with several names counts once.
pub fn tree_size(top: &Path) -> Result<u64> {
    sum(top, |_| true)
}

/// Lengths of all files below `top` that `counts` names; a file with several names counts once.
fn sum(top: &Path, counts: impl Fn(&[u8]) -> bool) -> Result<u64> {
    let mut seen = HashSet::new();
    let mut bytes = 0u64;
    walk(top, |directory: &OwnedFd, name: &[u8], path: &[u8]| {
        let Ok(stat) = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return true;
        }
        if counts(path) && (stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino))) {
            bytes = bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
        }
        false
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_names_counts_once() {
        let scratch = crate::tests::Scratch::new();
        let top = scratch.path();
        std::fs::create_dir(top.join("d")).unwrap();
        std::fs::write(top.join("d/a"), [0; 100]).unwrap();
        std::fs::hard_link(top.join("d/a"), top.join("b")).unwrap();
        std::fs::write(top.join("c"), [0; 10]).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", top.join("l")).unwrap();
        assert_eq!(sum(top, |_| true).unwrap(), 110 + 11);
        assert_eq!(sum(top, |path| path == b"c").unwrap(), 10);
    }
}
