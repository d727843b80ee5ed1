//! A container's volumes, images and overlays of directories, made ready for one run: what they are mounted from, who owns
//! them, and what the image brings into a volume that is new.

use super::config::{Config, Mount, MountKind};
use super::lock;
use crate::volume::options;
use crate::volume::table::Row;
use crate::{Engine, fault};
use ops::{Fault, Kind};
use runtime::Rootfs;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use store::{Mounts, Owners};
use sys::beneath::Root;
use types::{Digest, Id};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What a mount of the configuration has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realized {
    /// Type of a mount of the runtime specification.
    pub kind: String,
    /// Its source.
    pub source: PathBuf,
    /// Its options.
    pub options: Vec<String>,
}

/// All mounts that are more than a directory of the host.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// By their destination.
    pub mounts: BTreeMap<String, Realized>,
    /// Parts of volumes, as they were found: some of `mounts` name them by these descriptors, which must stay open until the
    /// runtime has opened its sources. So nobody who writes to the volume can put something else in their place.
    pub parts: Vec<OwnedFd>,
}

/// The container's root, mounted where nobody sees it for as long as somebody looks into it.
pub(super) struct View<'a> {
    rootfs: &'a Rootfs,
    config: &'a Config,
    root: OnceCell<OwnedFd>,
}

impl<'a> View<'a> {
    /// Nothing is mounted yet.
    pub(super) fn new(rootfs: &'a Rootfs, config: &'a Config) -> View<'a> {
        View { rootfs, config, root: OnceCell::new() }
    }

    /// The root's descriptor; the first call mounts it.
    pub(super) fn root(&self) -> Result<&OwnedFd, Fault> {
        if let Some(root) = self.root.get() {
            return Ok(root);
        }
        let mut rootfs = self.rootfs.clone();
        if let Rootfs::Overlay { volatile, .. } = &mut rootfs {
            *volatile = false;
        }
        let root = runtime::mount_detached(&rootfs).map_err(|e| Fault::internal(fault::sentence(&e)))?;
        Ok(self.root.get_or_init(|| root))
    }

    /// The ids of the container's user as they are outside of its own user namespace.
    fn owner(&self) -> Result<(u32, u32), Fault> {
        let user = &self.config.user;
        let (uid, gid) = if matches!(user.as_str(), "" | "0" | "root" | "0:0") {
            (0, 0)
        } else {
            let who = runtime::user::resolve(self.root()?.as_fd(), user, &[])
                .map_err(|e| Fault::invalid(fault::sentence(&e)))?;
            (who.uid, who.gid)
        };
        Ok(match &self.config.namespaces.user {
            Some(map) => (
                types::idmap::to_host(&map.uids, uid).unwrap_or(uid),
                types::idmap::to_host(&map.gids, gid).unwrap_or(gid),
            ),
            None => (uid, gid),
        })
    }
}

impl Engine {
    /// Makes the mounts ready that are more than a directory of the host, and gives each by its destination.
    pub(super) fn realize(&self, config: &Config, view: &View<'_>, run_directory: &Path) -> Result<Ready, Fault> {
        let mut ready = Ready::default();
        let mut held = Vec::new();
        for (number, mount) in config.mounts.iter().enumerate() {
            let made = match &mount.kind {
                MountKind::Tmpfs | MountKind::Ramfs | MountKind::Devpts => continue,
                MountKind::Bind { .. } if !mount.chown && mount.overlay.is_none() => continue,
                MountKind::Bind { source } => plain(source.clone(), mount),
                MountKind::Volume { name, .. } => self.realize_volume(name, mount, view, &mut held)?,
                MountKind::Image { id, .. } => self.realize_image(id, mount, config)?,
            };
            let made = match &mount.subpath {
                Some(path) => part(made, path, &mut ready.parts)?,
                None => made,
            };
            if mount.chown && made.kind == "bind" && !self.host()?.single_id {
                give(&made.source, view.owner()?)?;
            }
            let made = if mount.overlay.is_some() { self.overlay_of(made, mount, number, view)? } else { made };
            ready.mounts.insert(mount.destination.clone(), made);
        }
        if !held.is_empty() {
            self.note_held_volumes(run_directory, &held)?;
        }
        Ok(ready)
    }

    fn realize_volume(
        &self,
        name: &str,
        mount: &Mount,
        view: &View<'_>,
        held: &mut Vec<String>,
    ) -> Result<Realized, Fault> {
        let row =
            self.database()?.volume(name)?.filter(|row| !row.removing).ok_or_else(|| crate::volume::no_such(name))?;
        let needs_mount = options::needs_mount(&row.options);
        if !needs_mount && !row.needs_copy {
            return Ok(plain(self.make_volume_directory(&row)?, mount));
        }
        let _lock = lock::wait(&self.volume_directory(name))?;
        let in_user_namespace = self.host()?.in_user_namespace;
        if needs_mount && in_user_namespace && !options::is_bind(&row.options) {
            return self.private_volume(&row, mount, &view.config.id);
        }
        let source = if needs_mount && in_user_namespace {
            PathBuf::from(&row.options["device"])
        } else {
            if self.mount_volume_locked(&row)? {
                held.push(name.to_owned());
            }
            self.volume_data(name)
        };
        // Somebody may have come first while we waited for the lock.
        if let Some(row) = self.database()?.volume(name)?.filter(|row| row.needs_copy) {
            let copy = !mount.no_copy && !row.options.contains_key("nocopy");
            let empty = fill(&source, mount, &row, view, copy)?;
            if row.needs_owner || !empty {
                self.database()?.volume_is_used(name, empty)?;
            }
        }
        Ok(plain(source, mount))
    }

    /// A file system in memory that lives in one container: that of a user without root, whose mounts nobody else sees.
    fn private_volume(&self, row: &Row, mount: &Mount, id: &Id) -> Result<Realized, Fault> {
        let kind = row.options.get("type").map(String::as_str).unwrap_or_default();
        if kind != "tmpfs" {
            return Err(Fault::new(
                Kind::Denied,
                format!("volume {} is a file system of type {kind:?}, which only root can mount", row.name),
            )
            .hint("use a volume of type tmpfs or bind, or run as root"));
        }
        if self.database()?.volume_is_held(&row.name, id)? {
            return Err(Fault::new(
                Kind::Unsupported,
                format!(
                    "volume {} is memory that another running container of this user has, and cannot be shared",
                    row.name
                ),
            )
            .hint("use a volume without type=tmpfs, or run as root"));
        }
        let words = options::words(&row.options).into_iter().map(str::to_owned);
        let asked = mount.options.iter().filter(|o| !matches!(o.as_str(), "bind" | "rbind")).cloned();
        Ok(Realized { kind: kind.to_owned(), source: kind.into(), options: words.chain(asked).collect() })
    }

    /// An image's files: its layers stay for as long as the container is there.
    fn realize_image(&self, id: &str, mount: &Mount, config: &Config) -> Result<Realized, Fault> {
        let store = self.store()?;
        let single_id = self.host()?.single_id;
        let own = image_snapshot(&config.id, &mount.destination);
        let snapshot = match store.snapshot(&own).map_err(fault::store)? {
            Some(snapshot) => snapshot,
            None => {
                let image: Digest = format!("sha256:{id}").parse()?;
                // Mounts of the specification show their owners as they are.
                let owners = match config.namespaces.user.as_ref().filter(|_| !single_id) {
                    Some(map) => Owners::Layers { map, kept: super::root::is_kept(config) },
                    None => Owners::AsStored,
                };
                store.create_snapshot(&own, &image, owners).map_err(fault::store)?
            }
        };
        let writable = mount.options.iter().any(|o| o == "rw");
        let made = match snapshot.mounts {
            Mounts::Directory(path) => {
                let options = ["bind", "rprivate", if writable { "rw" } else { "ro" }].map(String::from).to_vec();
                return Ok(Realized { kind: "bind".into(), source: path, options });
            }
            Mounts::Overlay { base, lower, data, upper, work, user_xattr } => {
                let mut layers: Vec<PathBuf> = lower.iter().map(|l| base.join(l)).collect();
                if layers.len() == 1 && !writable && data.is_none() {
                    // Overlay wants two where nothing is written.
                    layers.push(self.settings.root.join(store::format::EMPTY));
                }
                let writable = writable.then_some((upper.as_path(), work.as_path()));
                let data = data.map(|data| base.join(data));
                overlay(&layers, data.as_deref(), writable, user_xattr)?
            }
        };
        Ok(made)
    }

    /// Takes away what the container's image mounts keep of layers.
    pub(crate) fn remove_image_mounts(&self, config: &Config) -> Result<(), Fault> {
        for mount in config.mounts.iter().filter(|m| matches!(m.kind, MountKind::Image { .. })) {
            let own = image_snapshot(&config.id, &mount.destination);
            self.store()?.remove_snapshot(&own).map_err(fault::store)?;
        }
        Ok(())
    }

    /// The same directory, with all that is written going elsewhere.
    fn overlay_of(&self, lower: Realized, mount: &Mount, number: usize, view: &View<'_>) -> Result<Realized, Fault> {
        let config = view.config;
        let asked = mount.overlay.clone().unwrap_or_default();
        let own = self.container_directory(&config.id).join("overlay").join(number.to_string());
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |e: std::io::Error| Fault::internal(format!("cannot make {path:?} anew: {e}"))
        };
        let (upper, work) = match (asked.upper, asked.work) {
            (Some(upper), Some(work)) => (upper, work),
            _ => {
                match std::fs::remove_dir_all(&own) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(fail(&own)(e)),
                    _ => {}
                }
                let (upper, work) = (own.join("upper"), own.join("work"));
                std::fs::create_dir_all(&upper).map_err(fail(&upper))?;
                std::fs::create_dir_all(&work).map_err(fail(&work))?;
                // Its root is the upper directory's.
                let stat = rustix::fs::stat(&lower.source)
                    .map_err(|e| Fault::new(Kind::NotFound, format!("statfs {}: {e}", lower.source.display())))?;
                let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
                let _ = rustix::fs::chown(&upper, owner.0, owner.1);
                rustix::fs::chmod(&upper, Mode::from_raw_mode(stat.st_mode & 0o7777))
                    .map_err(|e| fail(&upper)(e.into()))?;
                (upper, work)
            }
        };
        let in_user_namespace = self.host()?.in_user_namespace || config.namespaces.user.is_some();
        let mut made = overlay(&[lower.source], None, Some((&upper, &work)), in_user_namespace)?;
        made.options
            .extend(lower.options.iter().filter(|o| matches!(o.as_str(), "nosuid" | "nodev" | "noexec")).cloned());
        Ok(made)
    }
}

/// The id under which the layers of an image mount are kept.
fn image_snapshot(container: &Id, destination: &str) -> Id {
    Id::from_random(*Digest::of(format!("image mount {container}{destination}").as_bytes()).as_bytes())
}

/// A part of a mount's source, found without leaving it.
fn part(whole: Realized, path: &str, parts: &mut Vec<OwnedFd>) -> Result<Realized, Fault> {
    if whole.kind != "bind" {
        return Err(Fault::new(
            Kind::Unsupported,
            format!("subpath {path:?}: a part of a volume that one container mounts for itself cannot be mounted"),
        )
        .hint("use a volume of plain directories, or run as root"));
    }
    let fail = |e: Errno| {
        let why = if e == Errno::NOENT { "no such file or directory".into() } else { e.to_string() };
        Fault::new(Kind::NotFound, format!("subpath {path:?} of {}: {why}", whole.source.display()))
    };
    let root = Root::open(&whole.source).map_err(fail)?;
    let found = root.resolve(path.trim_start_matches('/').as_bytes(), OFlags::PATH | OFlags::CLOEXEC).map_err(fail)?;
    let source = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&found)).into();
    parts.push(found);
    Ok(Realized { source, ..whole })
}

fn plain(source: PathBuf, mount: &Mount) -> Realized {
    Realized { kind: "bind".into(), source, options: mount.options.clone() }
}

/// An overlay as a mount of the specification; `lower` is top first.
fn overlay(
    lower: &[PathBuf],
    data: Option<&Path>,
    writable: Option<(&Path, &Path)>,
    user_xattr: bool,
) -> Result<Realized, Fault> {
    let text = |path: &Path| {
        path.to_str().filter(|p| !p.contains([':', ',', '\\'])).map(str::to_owned).ok_or_else(|| {
            Fault::invalid(format!("{path:?} cannot be part of an overlay: it holds a colon, a comma or a backslash"))
        })
    };
    let layers = lower.iter().map(|l| text(l)).collect::<Result<Vec<_>, _>>()?;
    let joined = layers.join(":");
    let mut options = Vec::new();
    // A string of fsconfig(2) has at most 255 bytes; since kernel 6.5 layers can be named one by one.
    if joined.len() < 256 && data.is_none() {
        options.push(format!("lowerdir={joined}"));
    } else {
        options.extend(layers.iter().map(|l| format!("lowerdir+={l}")));
    }
    if let Some(data) = data {
        options.push(format!("datadir+={}", text(data)?));
    }
    match writable {
        Some((upper, work)) => {
            options.push(format!("upperdir={}", text(upper)?));
            options.push(format!("workdir={}", text(work)?));
        }
        None => options.push("ro".into()),
    }
    if user_xattr {
        options.push("userxattr".into());
    }
    Ok(Realized { kind: "overlay".into(), source: "overlay".into(), options })
}

/// Brings what the image has at the mount's destination into a volume that is empty, and still is if that is nothing; where the
/// image has no such place, a new volume gets the container's user for its owner. Returns true if the volume is empty.
fn fill(volume: &Path, mount: &Mount, row: &Row, view: &View<'_>, copy: bool) -> Result<bool, Fault> {
    let fail = |what: &str, e: Errno| Fault::internal(format!("cannot {what} volume {}: {e}", row.name));
    let to = rustix::fs::open(volume, DIRECTORY, Mode::empty()).map_err(|e| fail("open", e))?;
    let empty = || Ok(sys::removal::names(to.as_fd()).map_err(|e| fail("list", e))?.is_empty());
    if !empty()? {
        return Ok(false);
    }
    let root = Root::new(view.root()?.try_clone().map_err(Fault::internal)?);
    // Whose it is, is settled: by who made it, or by a container before.
    let own = !row.needs_owner
        || row.uid.is_some()
        || row.gid.is_some()
        || options::words(&row.options).iter().any(|w| w.starts_with("uid="));
    match root.resolve(mount.destination.as_bytes(), DIRECTORY) {
        Ok(from) if copy => store::copy_tree(&from, &to, !own).map_err(fault::store)?,
        Ok(from) if !own => store::take_attributes(&from, &to).map_err(fault::store)?,
        Ok(_) => {}
        // It is not there, or is no directory: the runtime says so.
        Err(_) if own || options::needs_mount(&row.options) => {}
        Err(_) => {
            let (uid, gid) = view.owner()?;
            match rustix::fs::fchown(&to, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
                // An id that is not mapped here, as with one id nothing else can be.
                Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
                Err(e) => return Err(fail("give away", e)),
            }
        }
    }
    empty()
}

/// Gives `top` and all that is in it to an owner. No link is followed, and mounts in it are not entered by name.
fn give(top: &Path, (uid, gid): (u32, u32)) -> Result<(), Fault> {
    let fail = |path: &[u8], e: Errno| {
        Fault::internal(format!("cannot give {:?} in {top:?} to {uid}:{gid}: {e}", String::from_utf8_lossy(path)))
    };
    let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    let stat = rustix::fs::stat(top).map_err(|e| fail(b"", e))?;
    rustix::fs::chown(top, user, group).map_err(|e| fail(b"", e))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Directory {
        return Ok(());
    }
    let root = Root::open(top).map_err(|e| fail(b"", e))?;
    let mut waiting: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(path) = waiting.pop() {
        let directory = match root.resolve(&path, DIRECTORY | OFlags::NOFOLLOW) {
            // Somebody else removed it meanwhile.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !path.is_empty() => continue,
            other => other.map_err(|e| fail(&path, e))?,
        };
        for (name, kind) in sys::removal::names(directory.as_fd()).map_err(|e| fail(&path, e))? {
            let below = [&path[..], if path.is_empty() { b"" } else { b"/" }, name.as_bytes()].concat();
            match rustix::fs::chownat(&directory, &name, user, group, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(fail(&below, e)),
            }
            if kind == rustix::fs::FileType::Directory || kind == rustix::fs::FileType::Unknown {
                waiting.push(below);
            }
        }
    }
    Ok(())
}
