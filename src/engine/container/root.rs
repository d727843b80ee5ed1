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
    pub(crate) fn driver_report(&self) -> Result<store::DriverReport, Fault> {
        self.store()?.driver().map_err(fault::store)
    }

    /// Name of the way in which snapshots are made.
    pub(crate) fn store_driver(&self) -> String {
        self.driver_report().map_or("unknown", |report| driver_name(report.driver)).to_owned()
    }
}

/// The word that Podman has for it, and scripts look for: overlay is overlay, wherever its marks are kept.
pub(crate) fn driver_name(driver: store::Driver) -> &'static str {
    match driver {
        store::Driver::Copy => "vfs",
        _ => "overlay",
    }
}
