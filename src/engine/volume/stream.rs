//! The files of a volume as a tar archive, out and in.

use crate::{Engine, fault};
use ops::{Fault, Kind};
use rustix::fs::{Mode, OFlags};
use std::io::{BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use store::pack::Packing;
use store::spread::Spreading;

impl Engine {
    /// Writes all files of a volume as a tar archive.
    pub fn export_volume(&self, name: &str, to: &mut dyn Write) -> Result<(), Fault> {
        self.host()?;
        let data = self.volume_files(name)?;
        let packing = Packing { single_id: self.host()?.single_id, ..Packing::default() };
        store::pack::pack(open(&data)?, &data, &packing, to).map_err(fault::store)
    }

    /// Puts the files of a tar archive into a volume, in the place of those of the same names.
    pub fn import_volume(&self, name: &str, from: &mut dyn Read) -> Result<(), Fault> {
        self.host()?;
        if self.database()?.volume(name)?.is_none_or(|row| row.removing) {
            return Err(super::no_such(name));
        }
        let data = self.volume_files(name)?;
        let how = Spreading { owner: None, overwrite: true };
        let reader = BufReader::with_capacity(1 << 18, from);
        store::spread::spread(open(&data)?, &data, b"", reader, how).map_err(fault::store)?;
        // It is not empty any more: what an image has in its place stays there.
        self.database()?.volume_is_used(name, false)
    }
}

fn open(path: &Path) -> Result<OwnedFd, Fault> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Fault::new(Kind::Internal, format!("cannot open {path:?}: {e}")))
}
