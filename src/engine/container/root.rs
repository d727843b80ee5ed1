//! A container's root file system: its snapshot, as the runtime mounts it.

use super::config::{Config, RootDirectory};
use crate::{Engine, fault};
use ops::Fault;
use runtime::Rootfs;
use std::collections::BTreeMap;
use std::path::Path;
use store::{Mounts, Owners};
use types::{Digest, Id};

impl Engine {
    /// The root of a container; its snapshot is made the first time.
    pub(crate) fn root_file_system(&self, id: &Id, config: &Config) -> Result<Rootfs, Fault> {
        if let Some(path) = self.mounted_root(id) {
            return Ok(Rootfs::Directory(path));
        }
        if let Some(root) = &config.root_directory {
            return self.given_root(root, id, config);
        }
        let store = self.store()?;
        let snapshot = match store.snapshot(id).map_err(fault::store)? {
            Some(snapshot) => snapshot,
            None => {
                let image: Digest = format!("sha256:{}", config.image_id).parse()?;
                let owners = match (config.namespaces.user.as_ref(), self.owner_way(config)?) {
                    (Some(map), OwnerWay::Mounts) => Owners::Mounts(map),
                    (Some(map), OwnerWay::Layers) => Owners::Layers { map, kept: is_kept(config) },
                    _ => Owners::AsStored,
                };
                store.create_snapshot(id, &image, owners).map_err(fault::store)?
            }
        };
        let idmap = match config.namespaces.user.as_ref().filter(|_| !snapshot.mapped) {
            Some(map) if self.owner_way(config)? == OwnerWay::Mounts => Some(map.clone()),
            _ => None,
        };
        Ok(match snapshot.mounts {
            Mounts::Directory(path) => Rootfs::Directory(path),
            Mounts::Overlay { base, lower, data, upper, work, user_xattr } => Rootfs::Overlay {
                base,
                lower,
                data,
                upper: Some(upper),
                work: Some(work),
                user_xattr,
                // What goes when it ends need not outlast a crash.
                volatile: config.remove,
                idmap,
            },
        })
    }

    /// A directory of the host, or an overlay of it whose upper directory is the container's.
    fn given_root(&self, root: &RootDirectory, id: &Id, config: &Config) -> Result<Rootfs, Fault> {
        if !root.overlay {
            return Ok(Rootfs::Directory(root.path.clone()));
        }
        let own = self.container_directory(id).join("overlay/root");
        let (upper, work) = (own.join("upper"), own.join("work"));
        if !work.exists() {
            let fail = |e: std::io::Error| Fault::internal(format!("cannot make {own:?}: {e}"));
            std::fs::create_dir_all(&upper).map_err(fail)?;
            // The overlay's root is this directory.
            let there = std::fs::metadata(&root.path).map_err(fail)?;
            std::fs::set_permissions(&upper, there.permissions()).map_err(fail)?;
            std::fs::create_dir_all(&work).map_err(fail)?;
        }
        let in_user_namespace = self.host()?.in_user_namespace;
        Ok(Rootfs::Overlay {
            base: "/".into(),
            lower: vec![root.path.clone()],
            data: None,
            upper: Some(upper),
            work: Some(work),
            user_xattr: in_user_namespace,
            volatile: config.remove,
            idmap: config.namespaces.user.clone().filter(|_| root.idmap),
        })
    }

    /// What `inspect` tells of it, in Podman's words; with a user namespace, also how files get their owners.
    pub(crate) fn snapshot_described(&self, id: &Id, config: &Config) -> BTreeMap<&'static str, String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let snapshot = self.store().and_then(|store| store.snapshot(id).map_err(fault::store));
        // Before the first start there is none.
        let Ok(Some(snapshot)) = snapshot else { return BTreeMap::new() };
        let mut told = match &snapshot.mounts {
            Mounts::Directory(path) => BTreeMap::from([("Dir", text(path))]),
            Mounts::Overlay { base, lower, upper, work, .. } => BTreeMap::from([
                ("LowerDir", lower.iter().map(|layer| text(&base.join(layer))).collect::<Vec<_>>().join(":")),
                ("UpperDir", text(upper)),
                ("WorkDir", text(work)),
            ]),
        };
        if config.namespaces.user.is_some() {
            let way = match (snapshot.mapped, self.owner_way(config)) {
                (true, _) => "layers made for this map of ids",
                (_, Ok(OwnerWay::Mounts)) => "idmapped mounts of the layers",
                _ => "as stored: one id is all there is",
            };
            told.insert("Owners", way.to_owned());
        }
        told
    }

    /// How the files of an image get the owners that they have in the container's user namespace: a matter of its map, and
    /// of what the kernel can do with the file system of the store.
    pub(crate) fn owner_way(&self, config: &Config) -> Result<OwnerWay, Fault> {
        if config.namespaces.user.is_none() || self.host()?.single_id {
            return Ok(OwnerWay::AsStored);
        }
        let report = self.store()?.owners().map_err(fault::store)?;
        Ok(if report.mounts { OwnerWay::Mounts } else { OwnerWay::Layers })
    }

    /// How snapshots are made, and why, if it is not the best way.
    pub(crate) fn driver_report(&self) -> Result<store::DriverReport, Fault> {
        self.store()?.driver().map_err(fault::store)
    }

    /// Name of the way in which a container's snapshot was made or, before there is one, is going to be.
    pub(crate) fn snapshot_driver(&self, id: &Id) -> String {
        match self.store().and_then(|store| store.snapshot(id).map_err(fault::store)) {
            Ok(Some(snapshot)) => driver_name(snapshot.driver).to_owned(),
            _ => self.store_driver(),
        }
    }

    /// Name of the way in which snapshots are made.
    pub(crate) fn store_driver(&self) -> String {
        self.driver_report().map_or("unknown", |report| driver_name(report.driver)).to_owned()
    }
}

/// How a container's files get their owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnerWay {
    /// They have them already.
    AsStored,
    /// Layers are mounted with other owners.
    Mounts,
    /// Layers with other owners are made.
    Layers,
}

/// Maps that the next container may have, too, but not those that are made for one of them alone.
pub(crate) fn is_kept(config: &Config) -> bool {
    !config.namespaces.user_mode.starts_with("auto")
}

/// The word that Podman has for it, and scripts look for: overlay is overlay, wherever its marks are kept.
pub(crate) fn driver_name(driver: store::Driver) -> &'static str {
    match driver {
        store::Driver::Copy => "vfs",
        _ => "overlay",
    }
}
