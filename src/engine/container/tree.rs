//! The files of a container, whether it runs or not: what it changed, all of them as an archive.
//!
//! Of one that runs they are seen through its first process's root, mounts included. Of one that does not, its root is
//! mounted for as long as they are looked at, in no place where anybody else could see it; its lock is held meanwhile, so
//! that it is not started or removed.

use super::config::Config;
use super::lock::Lock;
use crate::{Engine, fault};
use monitor::record::Running;
use ops::container::{Change, Status};
use ops::{Fault, Kind};
use rustix::fs::{Mode, OFlags};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use store::ChangeKind;
use store::pack::Packing;
use types::{Id, IdMap};

/// Paths that the runtime makes in every container, and that nobody asked for: Podman does not show them either.
const OWN: &[&str] = &[
    "dev",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/resolv.conf",
    "proc",
    "run",
    "run/.containerenv",
    "run/notify",
    "run/secrets",
    "sys",
];

/// An open root.
pub(crate) struct Tree {
    /// The root directory.
    pub root: OwnedFd,
    /// Its name in errors.
    pub place: PathBuf,
    /// It is seen through a process, with what is mounted there.
    pub live: bool,
    /// What the container was decided to be.
    pub config: Config,
    /// Ids on disk are those outside of this map.
    pub owners: Option<IdMap>,
    _lock: Option<Lock>,
}

impl Engine {
    /// Opens the files of a container.
    pub(crate) fn tree(&self, name: &str) -> Result<Tree, Fault> {
        self.host()?;
        let record = self.settle(self.record_of(name)?)?.ok_or_else(|| super::init::no_such(name))?;
        let config = self.database()?.config(record.seq)?;
        let owners = self.owners(&config)?;
        let place = PathBuf::from(format!("{}:", record.name));
        let state = self.observe(&record);
        if let (Status::Running | Status::Paused | Status::Initialized, Some(running)) = (state.status, &state.running)
            && let Some(root) = live_root(running)
        {
            return Ok(Tree { root, place, live: true, config, owners, _lock: None });
        }
        let lock = super::lock::wait(&self.container_directory(&record.id))?;
        let record = self.database()?.record(&record.id)?.ok_or_else(|| super::init::no_such(name))?;
        let state = self.observe_locked(&record);
        if let Some(running) = &state.running {
            // Started meanwhile.
            let root = live_root(running).ok_or_else(|| Fault::internal("the container ended just now: try again"))?;
            return Ok(Tree { root, place, live: true, config, owners, _lock: None });
        }
        let mut rootfs = self.root_file_system(&record.id, &config)?;
        if let runtime::Rootfs::Overlay { volatile, .. } = &mut rootfs {
            *volatile = false;
        }
        let root = runtime::mount_detached(&rootfs).map_err(|e| Fault::internal(fault::sentence(&e)))?;
        Ok(Tree { root, place, live: false, config, owners, _lock: Some(lock) })
    }

    /// The map through which ids on disk are seen inside, where they differ.
    fn owners(&self, config: &Config) -> Result<Option<IdMap>, Fault> {
        Ok(if self.host()?.single_id { None } else { config.namespaces.user.clone() })
    }

    /// Writes all files of a container's root, without what is mounted in it, as a tar archive. One thread reads them while
    /// another writes the archive.
    pub fn export(&self, name: &str, to: &mut (dyn Write + Send)) -> Result<(), Fault> {
        // Before there is another thread: a user's namespace is entered alone.
        let tree = self.tree(name)?;
        let (mut reader, mut writer) = store::pipe::pipe();
        std::thread::scope(|scope| {
            let write = scope.spawn(move || reader.drain_to(to));
            let packed = self.pack_tree(tree, &mut writer);
            drop(writer);
            let written = write.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // A writer that stopped is why nothing more could be packed.
            written.map_err(|source| fault::store(store::Error::Write { source }))?;
            packed
        })?;
        self.tell(&self.record_of(name)?, "export");
        Ok(())
    }

    /// As [`Engine::export`], and nobody is told.
    pub(crate) fn export_quietly(&self, name: &str, to: &mut dyn Write) -> Result<(), Fault> {
        let tree = self.tree(name)?;
        self.pack_tree(tree, to)
    }

    fn pack_tree(&self, tree: Tree, to: &mut dyn Write) -> Result<(), Fault> {
        let packing = Packing {
            single_id: self.host()?.single_id,
            one_mount: true,
            owners: tree.owners.as_ref(),
            ..Packing::default()
        };
        store::pack::pack(tree.root, &tree.place, &packing, to).map_err(fault::store)
    }

    /// What a container changed of its image, or the top layer of an image of those below it.
    pub fn diff(&self, name: &str) -> Result<Vec<Change>, Fault> {
        self.host()?;
        match self.record_of(name) {
            Ok(record) => {
                let mut changes = self.store()?.changes(&record.id).map_err(fault::store)?;
                changes.retain(|change| !OWN.iter().any(|own| own.as_bytes() == change.path));
                Ok(told(changes))
            }
            Err(problem) if problem.kind == Kind::NotFound => self.image_diff(name).map_err(|fault| match fault.kind {
                Kind::NotFound => Fault::new(Kind::NotFound, format!("{name} not found: no such container or image")),
                _ => fault,
            }),
            Err(problem) => Err(problem),
        }
    }

    /// What the top layer of an image changed of those below it.
    pub fn image_diff(&self, name: &str) -> Result<Vec<Change>, Fault> {
        let image = self.store()?.find_image(name).map_err(fault::store)?;
        self.store()?.image_changes(&image.id).map(told).map_err(fault::store)
    }

    /// Writes what a container changed as the tar of a layer, without what the runtime made for its mounts.
    pub(crate) fn pack_layer(&self, id: &Id, config: &Config, to: &mut dyn Write) -> Result<(), store::Error> {
        let store =
            self.store().map_err(|fault| store::Error::Write { source: std::io::Error::other(fault.message) })?;
        let owners = self.owners(config).ok().flatten();
        let changes = store.changes(id)?;
        // Places of mounts that the image does not have: empty, and nobody's intent.
        let mounts: Vec<Vec<u8>> = config
            .mounts
            .iter()
            .map(|mount| mount.destination.trim_start_matches('/').as_bytes().to_vec())
            .chain(OWN.iter().map(|own| own.as_bytes().to_vec()))
            .collect();
        let inside =
            |path: &[u8], top: &[u8]| path.len() > top.len() && path.starts_with(top) && path[top.len()] == b'/';
        let without: Vec<Vec<u8>> = changes
            .iter()
            .filter(|c| c.kind == ChangeKind::Added && mounts.contains(&c.path))
            .filter(|c| !changes.iter().any(|other| inside(&other.path, &c.path) && !mounts.contains(&other.path)))
            .map(|c| c.path.clone())
            .collect();
        store.pack_changes(id, owners.as_ref(), &without, to)
    }
}

/// The root of a running container's first process; none if it has ended.
fn live_root(running: &Running) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{}/root", running.pid), flags, Mode::empty()).ok()?;
    // The number may have become another's between the look at the record and here.
    sys::process::is_alive(running.pid, running.start_time).then_some(root)
}

fn told(changes: Vec<store::Change>) -> Vec<Change> {
    let told = |change: store::Change| Change {
        kind: match change.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Changed => 'C',
            ChangeKind::Deleted => 'D',
        },
        path: format!("/{}", String::from_utf8_lossy(&change.path)),
    };
    changes.into_iter().map(told).collect()
}
