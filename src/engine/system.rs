//! The whole: room on the disk, damage, and the end of everything.

use crate::{Engine, fault};
use ops::container::{List, Remove};
use ops::system::{Check, Checked, ContainerUsage, DiskUsage, ImageUsage, VolumeUsage};
use ops::{Fault, Kind, image, volume};
use std::collections::HashMap;
use std::time::Duration;
use types::Digest;

/// For which what no row knows is left alone, in seconds: Podman's day.
const AGE: u64 = 24 * 3600;

impl Engine {
    /// Room that images, containers and volumes take.
    pub fn disk_usage(&self) -> Result<DiskUsage, Fault> {
        self.host()?;
        let layers = self.store()?.layers().map_err(fault::store)?;
        let mut users: HashMap<Digest, (u64, u64)> = HashMap::new();
        for layer in layers.values().flatten() {
            let (count, size) = users.entry(layer.diff_id).or_default();
            *count += 1;
            *size = layer.size;
        }
        let images = self.images(&image::List::default())?.into_iter().map(|image| {
            let own = layers.get(&image.id).map(Vec::as_slice).unwrap_or_default();
            let shared = own.iter().filter(|l| users.get(&l.diff_id).is_some_and(|(count, _)| *count > 1));
            let shared: u64 = shared.map(|layer| layer.size).sum();
            ImageUsage {
                id: image.id,
                names: image.names,
                created: image.created,
                size: image.size,
                shared,
                unique: image.size.saturating_sub(shared),
                containers: image.containers,
            }
        });
        let images = images.collect();
        let mut volumes = Vec::new();
        let mut of_containers: HashMap<String, u64> = HashMap::new();
        for volume in self.volumes(&volume::List { filters: Vec::new() })? {
            for id in &volume.users {
                *of_containers.entry(id.clone()).or_default() += 1;
            }
            // One whose directory is damaged is listed all the same.
            let size = store::tree_size(&self.volume_data(&volume.name)).unwrap_or(0);
            volumes.push(VolumeUsage { name: volume.name, links: volume.users.len() as u64, size });
        }
        let containers = self.list(&List { all: true, sizes: true, ..List::default() })?.into_iter();
        let containers = containers.map(|container| ContainerUsage {
            volumes: of_containers.get(container.id.as_str()).copied().unwrap_or(0),
            container,
        });
        Ok(DiskUsage {
            images,
            layers: users.values().map(|(_, size)| size).sum(),
            containers: containers.collect(),
            volumes,
        })
    }

    /// Looks for damage, and repairs what can be: by removing it.
    pub fn check(&self, asked: &Check) -> Result<Checked, Fault> {
        self.host()?;
        let store = self.store()?;
        let age = Duration::from_secs(asked.age.unwrap_or(AGE));
        let damage = store.check(!asked.quick, age).map_err(fault::store)?;
        let mut checked = Checked::default();
        checked.damage.extend(damage.images.iter().map(|(id, why)| format!("image {}: {why}", id.hex())));
        checked.damage.extend(damage.containers.iter().map(|(id, why)| format!("container {id}: {why}")));
        checked.damage.extend(damage.stray_layers.iter().map(|name| format!("layer {name}: no image has it")));
        checked.damage.extend(damage.stray_blobs.iter().map(|hex| format!("blob {hex}: no image has it")));
        let strays = damage.stray_snapshots.iter();
        checked.damage.extend(strays.map(|name| format!("files of container {name}: there is no such container")));
        checked.left = !damage.is_none();
        if !asked.repair || damage.is_none() {
            return Ok(checked);
        }
        for id in damage.containers.keys().filter(|_| asked.force) {
            self.remove(&Remove { name: id.to_string(), force: true, ignore: true, ..Remove::default() })?;
            checked.containers.push(id.clone());
        }
        for id in damage.images.keys() {
            match self.remove_image(&image::Remove { name: id.to_string(), force: asked.force, ignore: true }) {
                Ok(_) => checked.images.push(*id),
                Err(refused) if refused.kind == Kind::Conflict => {}
                Err(other) => return Err(other),
            }
        }
        store.remove_strays(&damage).map_err(fault::store)?;
        checked.left = !store.check(!asked.quick, age).map_err(fault::store)?.is_none();
        Ok(checked)
    }

    /// Removes all containers, volumes, images and networks, and what is in both directories.
    pub fn reset(&self) -> Result<(), Fault> {
        self.host()?;
        // One that resists must not keep the others; it is told in the end.
        let mut failed = Vec::new();
        let mut note = |result: Result<(), Fault>| failed.extend(result.err());
        for record in self.database()?.all()? {
            let request =
                Remove { name: record.id.to_string(), force: true, timeout: Some(0), ignore: true, volumes: true };
            note(self.remove(&request).map(drop));
        }
        for mounted in self.mounted_images()? {
            note(self.unmount_image(&mounted.id).map(drop));
        }
        for volume in self.volumes(&volume::List { filters: Vec::new() })? {
            let request = volume::Remove { name: volume.name, force: true, timeout: Some(0) };
            note(self.remove_volume(&request).map(drop));
        }
        for image in self.store()?.images().map_err(fault::store)?.into_iter().filter(|image| !image.lent) {
            let request = image::Remove { name: image.id.to_string(), force: true, ignore: true };
            note(self.remove_image(&request).map(drop));
        }
        for network in self.network_list(&[])? {
            let name = network["name"].as_str().unwrap_or_default();
            if name != network::definition::DEFAULT {
                note(self.network_remove(name, true, Some(0)));
            }
        }
        if let Some(fault) = failed.into_iter().next() {
            return Err(fault.hint("what could be removed is gone: try again, or \"system check --repair --force\""));
        }
        self.events.borrow_mut().clear();
        for directory in [&self.settings.run_root, &self.settings.root] {
            empty(directory)?;
        }
        Ok(())
    }

    /// What an earlier version left is made that of this one: the tables are, when they are opened; all else is read as it is.
    pub fn migrate(&self) -> Result<(), Fault> {
        self.host()?;
        self.database().map(drop)
    }

    /// Locks have no numbers here: there is nothing to be numbered anew. Podman's event is told.
    pub fn renumber(&self) {
        self.tell_of("system", "renumber", "", "");
    }

    /// Goes on as another program that sees files as the containers of a user without root do. Comes back only with the reason
    /// why not. `with_network`: in the network namespace in which the bridges of containers are, too.
    pub fn unshare(&self, command: &[String], with_network: bool) -> Result<std::convert::Infallible, Fault> {
        use std::os::unix::process::CommandExt;
        if self.settings.uid == 0 {
            return Err(Fault::invalid("please use unshare with rootless"));
        }
        self.host()?;
        let (program, arguments) =
            command.split_first().ok_or_else(|| Fault::invalid("a program to execute is needed"))?;
        if with_network {
            self.enter_router()?;
        }
        // In a mount namespace of its own, so that what it mounts goes with it.
        sys::namespaces::unshare(sys::clone::NEW_MOUNT)
            .map_err(|e| Fault::new(Kind::Unsupported, format!("no mount namespace can be made: {e}")))?;
        let error = std::process::Command::new(program)
            .args(arguments)
            .env(crate::settings::INSIDE, self.settings.uid.to_string())
            .env("_CONTAINERS_USERNS_CONFIGURED", "done")
            .exec();
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => Kind::CommandNotFound,
            _ => Kind::CommandFailed,
        };
        Err(Fault::new(kind, format!("cannot execute {program:?}: {error}")))
    }
}

/// Removes what is in a directory, but not what others have put there.
fn empty(directory: &std::path::Path) -> Result<(), Fault> {
    const OWN: [&str; 18] = [
        "containers",
        "volumes",
        "events",
        "idmap",
        "monopod.db",
        "monopod.db-wal",
        "monopod.db-shm",
        "ballast",
        "blobs",
        "layers",
        "mapped",
        "recipes",
        "snapshots",
        "empty",
        "work",
        "networks",
        "network",
        "secrets",
    ];
    for name in OWN {
        let path = directory.join(name);
        // Of all roots; who keeps it takes it away when nobody holds anything.
        if path == std::path::Path::new(crate::container::network::HOLDINGS) {
            continue;
        }
        // What is mounted there is somebody's data elsewhere, which must not go with the place.
        if crate::volume::place::holds_mounts(&path) {
            return Err(Fault::new(Kind::Conflict, format!("{path:?} is not removed: something is mounted below it"))
                .hint("unmount it, and try again"));
        }
        let removed = match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(&path),
            Ok(_) => std::fs::remove_file(&path),
            Err(_) => Ok(()),
        };
        removed.map_err(|e| Fault::internal(format!("cannot remove {path:?}: {e}")))?;
    }
    Ok(())
}
