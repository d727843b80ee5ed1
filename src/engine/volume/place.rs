//! The directories of volumes, and what is mounted in them.

use super::options;
use super::table::Row;
use crate::container::lock;
use crate::{Engine, fault};
use ops::{Fault, Kind};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use types::Id;

/// File in a run's directory that names the volumes in which something was mounted for it.
const HELD: &str = "volumes";

impl Engine {
    pub(crate) fn volume_directory(&self, name: &str) -> PathBuf {
        self.settings.volumes.join(name)
    }

    /// Where the files of a volume are.
    pub(crate) fn volume_data(&self, name: &str) -> PathBuf {
        self.volume_directory(name).join("_data")
    }

    /// Makes the directory of a volume if it is missing, with the owner that was asked for.
    pub(crate) fn make_volume_directory(&self, row: &Row) -> Result<PathBuf, Fault> {
        let data = self.volume_data(&row.name);
        let fail = |e: std::io::Error| {
            let fault = Fault::internal(format!("cannot create directory {data:?}: {e}"));
            if e.kind() == std::io::ErrorKind::StorageFull {
                fault.hint("free some space on the disk of the store")
            } else {
                fault
            }
        };
        let outer = data.parent().unwrap_or(&data);
        std::fs::DirBuilder::new().recursive(true).mode(0o711).create(outer).map_err(fail)?;
        match rustix::fs::mkdir(&data, Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(data),
            Err(errno) => return Err(fail(errno.into())),
        }
        let number = |key: &str| -> Option<u32> {
            options::words(&row.options).iter().find_map(|w| w.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
        };
        let (uid, gid) = (row.uid.or_else(|| number("uid")), row.gid.or_else(|| number("gid")));
        if uid.is_some() || gid.is_some() {
            rustix::fs::chown(&data, uid.map(Uid::from_raw), gid.map(Gid::from_raw)).map_err(|errno| {
                let _ = rustix::fs::rmdir(&data);
                Fault::new(Kind::Denied, format!("cannot give volume {} to {uid:?}:{gid:?}: {errno}", row.name))
                    .hint("an ordinary user can give it only to ids of their own ranges in /etc/subuid and /etc/subgid")
            })?;
        }
        Ok(data)
    }

    /// Removes the directory of a volume, with all that is in it. It is no error if there is none.
    pub(crate) fn remove_volume_directory(&self, name: &str) -> Result<(), Fault> {
        let directory = self.volume_directory(name);
        if !directory.exists() {
            return Ok(());
        }
        let _lock = lock::wait(&directory)?;
        unmount(&self.volume_data(name))?;
        let parent = &self.settings.volumes;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(parent, flags, Mode::empty())
            .map_err(|e| Fault::internal(format!("cannot open {parent:?}: {e}")))?;
        match sys::removal::remove_tree(opened.as_fd(), name.as_bytes()).first {
            None => Ok(()),
            Some((path, errno)) => Err(Fault::internal(format!(
                "cannot remove {:?} of volume {name}: {errno}",
                String::from_utf8_lossy(&path)
            ))),
        }
    }

    /// Mounts what a volume is made of, unless that is done; the volume's lock is held. True if it has such a thing.
    pub(crate) fn mount_volume_locked(&self, row: &Row) -> Result<bool, Fault> {
        let data = self.make_volume_directory(row)?;
        if !options::needs_mount(&row.options) {
            return Ok(false);
        }
        if self.host()?.in_user_namespace {
            return Err(Fault::new(
                Kind::Unsupported,
                format!("what volume {} is made of can be mounted only by root: no mount of a user without root outlasts its command", row.name),
            )
            .hint("use it in a container, or make it of a plain directory"));
        }
        if !is_mount_point(&data) {
            mount(row, &data)?;
        }
        Ok(true)
    }

    /// Mounts what a volume is made of, for whoever looks at it from outside. Returns its directory.
    pub fn mount_volume(&self, name: &str) -> Result<String, Fault> {
        self.host()?;
        let row = self.volume_row(name)?;
        let _lock = lock::wait(&self.volume_directory(&row.name))?;
        match self.mount_volume_locked(&row) {
            Err(_) if options::is_bind(&row.options) => Ok(row.options["device"].clone()),
            other => other.map(|_| self.volume_data(&row.name).to_string_lossy().into_owned()),
        }
    }

    /// Takes what is mounted in a volume away again, unless a running container uses it. Returns its name.
    pub fn unmount_volume(&self, name: &str) -> Result<String, Fault> {
        self.host()?;
        let row = self.volume_row(name)?;
        let _lock = lock::wait(&self.volume_directory(&row.name))?;
        let nobody: Id = "0".repeat(64).parse()?;
        if !self.database()?.volume_is_held(&row.name, &nobody)? {
            unmount(&self.volume_data(&row.name))?;
        }
        Ok(row.name)
    }

    /// Notes in a run's directory which volumes it keeps mounted.
    pub(crate) fn note_held_volumes(&self, run_directory: &Path, names: &[String]) -> Result<(), Fault> {
        let path = run_directory.join(HELD);
        std::fs::write(&path, names.join("\n")).map_err(|e| Fault::internal(format!("cannot write {path:?}: {e}")))
    }

    /// What a run kept mounted goes, unless another container uses it.
    pub(crate) fn release_volumes(&self, id: &Id, run_directory: &Path) {
        let Ok(text) = std::fs::read_to_string(run_directory.join(HELD)) else { return };
        for name in text.lines() {
            let Ok(_lock) = lock::wait(&self.volume_directory(name)) else { continue };
            // What cannot be taken away now is taken away with the volume.
            if self.database().and_then(|d| d.volume_is_held(name, id)).is_ok_and(|held| !held) {
                let _ = unmount(&self.volume_data(name));
            }
        }
    }

    /// The directory of the host in which a volume's files can be seen by us now.
    pub(crate) fn volume_files(&self, name: &str) -> Result<PathBuf, Fault> {
        let row = self.volume_row(name)?;
        if options::is_bind(&row.options) {
            return Ok(PathBuf::from(&row.options["device"]));
        }
        let _lock = lock::wait(&self.volume_directory(&row.name))?;
        self.mount_volume_locked(&row)?;
        Ok(self.volume_data(&row.name))
    }
}

/// Something is mounted at `path`.
pub(crate) fn is_mount_point(path: &Path) -> bool {
    any_mount(path, |place, path| place == path)
}

/// Something is mounted below `path`, or there.
pub(crate) fn holds_mounts(path: &Path) -> bool {
    any_mount(path, |place, path| place.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// True if `fits` says so of a mount point and `path`, both as the table of mounts has them.
fn any_mount(path: &Path, fits: impl Fn(&str, &str) -> bool) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let escaped = path.to_string_lossy().replace('\\', "\\134").replace(' ', "\\040");
    table.lines().any(|line| line.split(' ').nth(4).is_some_and(|place| fits(place, &escaped)))
}

fn mount(row: &Row, data: &Path) -> Result<(), Fault> {
    const MS_BIND: u64 = 1 << 12;
    const MS_REMOUNT: u64 = 1 << 5;
    const PROPERTIES: u64 = 1 | 2 | 4 | 8 | 1024 | 2048 | 1 << 21;
    let (flags, text) = options::mount_flags(&row.options);
    let of = |key: &str, other: &str| row.options.get(key).cloned().filter(|v| !v.is_empty()).unwrap_or(other.into());
    let kind = if flags & MS_BIND != 0 { String::new() } else { of("type", "") };
    let string =
        |text: String| CString::new(text).map_err(|_| Fault::invalid("an option of a volume holds a zero byte"));
    let (source, kind, text) = (string(of("device", &kind))?, string(kind)?, string(text)?);
    let target = CString::new(data.as_os_str().as_bytes()).map_err(|_| Fault::internal("a path holds a zero byte"))?;
    let mounted = sys::mount::classic(&source, &target, &kind, flags, &text).and_then(|()| {
        // A bind takes its properties only in a second step (mount(2), "Creating a bind mount").
        if flags & MS_BIND == 0 || flags & PROPERTIES == 0 {
            return Ok(());
        }
        let done = sys::mount::classic(c"", &target, c"", flags | MS_REMOUNT, c"");
        if done.is_err() {
            let _ = rustix::mount::unmount(data, rustix::mount::UnmountFlags::DETACH);
        }
        done
    });
    mounted.map_err(|errno| {
        let why = fault::sentence(&std::io::Error::from(errno));
        Fault::internal(format!("mounting volume {}: {:?} as {:?}: {why}", row.name, source, kind))
    })
}

/// Takes all that is mounted at `path` away.
fn unmount(path: &Path) -> Result<(), Fault> {
    while is_mount_point(path) {
        rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH)
            .map_err(|e| Fault::internal(format!("cannot unmount {path:?}: {e}")))?;
    }
    Ok(())
}
