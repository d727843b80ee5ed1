//! How snapshots are made on this host: probed once, and remembered until the next boot.

use crate::place::Place;
use crate::{Error, Result, Store, Wanted};
use rusqlite::OptionalExtension;
use rustix::fs;
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How snapshots are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Driver {
    /// The kernel's overlay, with marks in `trusted.overlay.*`.
    Overlay,
    /// The kernel's overlay in a user namespace, with marks in `user.overlay.*`.
    OverlayUserXattr,
    /// A copy of all layers, sharing blocks where the file system can.
    Copy,
}

impl Driver {
    /// Its name, as `info` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Driver::Overlay => "overlay",
            Driver::OverlayUserXattr => "overlay-userxattr",
            Driver::Copy => "copy",
        }
    }

    pub(crate) fn from_name(name: &str) -> Driver {
        match name {
            "overlay" => Driver::Overlay,
            "overlay-userxattr" => Driver::OverlayUserXattr,
            _ => Driver::Copy,
        }
    }
}

/// The driver, and why it is that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverReport {
    /// The driver.
    pub driver: Driver,
    /// Why it is not overlay; empty if it is.
    pub reason: String,
    /// File system that the store lies on, e.g. `ext4`.
    pub filesystem: String,
}

/// How owners of files are shown through a container's map of ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnersReport {
    /// Layers can be mounted with other owners.
    pub mounts: bool,
    /// Layers with other owners can take the contents of files from those that they are made of.
    pub references: bool,
    /// Why layers cannot be mounted with other owners; empty if they can.
    pub reason: String,
}

/// What is remembered.
#[derive(Serialize, Deserialize)]
struct Remembered<T> {
    boot: String,
    device: u64,
    report: T,
}

impl Store {
    /// How new snapshots are made: as was asked for, or in the best way. The first time after a boot, an overlay is mounted
    /// where nobody sees it.
    ///
    /// # Errors
    /// Overlay was asked for, and cannot be had.
    pub fn driver(&self) -> Result<DriverReport> {
        let best = self.best_driver()?;
        match self.options().wanted {
            Some(Wanted::Copy) => Ok(DriverReport {
                driver: Driver::Copy,
                reason: "it was asked for".into(),
                filesystem: best.filesystem,
            }),
            Some(Wanted::Overlay) if best.driver == Driver::Copy => Err(Error::NoOverlay { why: best.reason }),
            _ => Ok(best),
        }
    }

    fn best_driver(&self) -> Result<DriverReport> {
        self.remembered(if self.options().in_user_namespace { "driver in a user namespace" } else { "driver" }, || {
            self.probe()
        })
    }

    /// How owners are shown through a map of ids, found out in the same way.
    pub fn owners(&self) -> Result<OwnersReport> {
        let in_user_namespace = self.options().in_user_namespace;
        self.remembered(if in_user_namespace { "owners in a user namespace" } else { "owners" }, || self.probe_owners())
    }

    /// What is known of this boot and this device, or `probe` finds out.
    fn remembered<T: Serialize + DeserializeOwned>(&self, fact: &str, probe: impl FnOnce() -> Result<T>) -> Result<T> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let device = fs::stat(self.root()).map_err(Error::path("look at", self.root()))?.st_dev;
        let connection = self.connection();
        let value: Option<String> = connection
            .query_row("SELECT value FROM facts WHERE name = ?1", [fact], |row| row.get(0))
            .optional()
            .map_err(self.failed("read a fact from"))?;
        if let Some(known) = value.and_then(|text| serde_json::from_str::<Remembered<T>>(&text).ok())
            && known.boot == boot
            && known.device == device
            && !boot.is_empty()
        {
            return Ok(known.report);
        }
        drop(connection);
        let remembered = Remembered { boot, device, report: probe()? };
        let value = serde_json::to_string(&remembered).unwrap_or_default();
        // On a read-only disk it is probed every time.
        let _ = self.connection().execute("INSERT OR REPLACE INTO facts VALUES (?1, ?2)", [fact, &value]);
        Ok(remembered.report)
    }

    fn probe_owners(&self) -> Result<OwnersReport> {
        let place = Place::create(self.root())?;
        let scratch = |name: &str| -> Result<std::path::PathBuf> {
            let path = place.path(name);
            fs::mkdir(&path, fs::Mode::RWXU).map_err(Error::path("create", &path))?;
            Ok(path)
        };
        let user_xattr = self.options().in_user_namespace;
        let reason = if user_xattr {
            "only root may mount files with other owners".to_owned()
        } else {
            match sys::overlay::probe_mapped_mounts(&scratch("mapped")?) {
                Ok(()) => String::new(),
                Err(Errno::NOSYS) => "idmapped mounts need Linux 5.12, and below overlay 5.19".to_owned(),
                Err(errno) => format!("layers cannot be mounted with other owners here ({errno})"),
            }
        };
        let references = sys::overlay::probe_references(&scratch("references")?, user_xattr).is_ok();
        Ok(OwnersReport { mounts: reason.is_empty(), references, reason })
    }

    fn probe(&self) -> Result<DriverReport> {
        let place = Place::create(self.root())?;
        let user_xattr = self.options().in_user_namespace;
        let scratch = place.path("probe");
        fs::mkdir(&scratch, fs::Mode::RWXU).map_err(Error::path("create", &scratch))?;
        let filesystem = fs::statfs(self.root()).map(|stat| filesystem(stat.f_type as u64)).unwrap_or_default();
        let driver = if user_xattr { Driver::OverlayUserXattr } else { Driver::Overlay };
        Ok(match sys::overlay::probe(&scratch, user_xattr) {
            Ok(()) => DriverReport { driver, reason: String::new(), filesystem },
            Err(errno) => {
                let hint = match errno {
                    Errno::NODEV => "the kernel has no overlay: load or build in the module `overlay`".to_owned(),
                    Errno::PERM if user_xattr => {
                        "overlay cannot be mounted in a user namespace: Linux 5.11 or newer is needed".to_owned()
                    }
                    Errno::PERM => "mounting is not permitted: CAP_SYS_ADMIN is needed".to_owned(),
                    Errno::INVAL | Errno::OPNOTSUPP => {
                        format!("overlay does not take {filesystem} as its upper file system ({errno})")
                    }
                    _ => format!("overlay cannot be mounted ({errno})"),
                };
                DriverReport { driver: Driver::Copy, reason: hint, filesystem }
            }
        })
    }
}

/// Name of a file system by the magic of statfs(2).
fn filesystem(magic: u64) -> String {
    let name = match magic as u32 {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x794c_7630 => "overlay",
        0x6969 => "nfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0xca45_1a4e => "bcachefs",
        0x6573_5546 => "fuse",
        0x7371_7368 => "squashfs",
        0xe0f5_e1e2 => "erofs",
        0x0102_1997 => "9p",
        other => return format!("{other:#x}"),
    };
    name.to_owned()
}
