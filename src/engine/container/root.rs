//! A container's root file system: its snapshot, as the runtime mounts it.

use super::config::Config;
use crate::{Engine, fault};
use ops::Fault;
use runtime::Rootfs;
use store::Mounts;
use types::{Digest, Id};

impl Engine {
    /// The root of a container; its snapshot is made the first time.
    pub(crate) fn root_file_system(&self, id: &Id, config: &Config) -> Result<Rootfs, Fault> {
        let store = self.store()?;
        let snapshot = match store.snapshot(id).map_err(fault::store)? {
            Some(snapshot) => snapshot,
            None => {
                let image: Digest = format!("sha256:{}", config.image_id).parse()?;
                store.create_snapshot(id, &image).map_err(fault::store)?
            }
        };
        Ok(match snapshot.mounts {
            Mounts::Directory(path) => Rootfs::Directory(path),
            Mounts::Overlay { base, lower, upper, work, user_xattr } => Rootfs::Overlay {
                base,
                lower,
                upper: Some(upper),
                work: Some(work),
                user_xattr,
                // What goes when it ends need not outlast a crash.
                volatile: config.remove,
                idmap: if self.host()?.in_user_namespace { None } else { config.namespaces.user.clone() },
            },
        })
    }

    /// How snapshots are made, and why, if it is not the best way.
    pub(crate) fn driver_report(&self) -> Result<(String, String), Fault> {
        let report = self.store()?.driver().map_err(fault::store)?;
        Ok((report.driver.name().to_owned(), report.reason))
    }

    /// Name of the way in which snapshots are made.
    pub(crate) fn store_driver(&self) -> String {
        self.driver_report().map_or_else(|_| "unknown".to_owned(), |(name, _)| name)
    }
}
