//! Labels of the kernel's security modules: the AppArmor profile and the SELinux label that a program gets when it is executed,
//! and the label of file systems.
//!
//! They are written to files of the host's procfs, which are opened while it is still there: the container's own `/proc` is
//! the container's to fake (CVE-2019-16884). A module that the kernel lacks, or has not enabled, is an error if it is asked for.

use crate::error::{Context, Error};
use oci_spec::runtime::{Linux, Process};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Open files of this process's attributes, and what is to be written there.
#[derive(Debug, Default)]
pub struct Labels {
    writes: Vec<(OwnedFd, String)>,
}

impl Labels {
    /// Opens what `process` needs: by the very process that will execute it, with the host's procfs at `/proc`.
    pub fn open(process: &Process) -> Result<Labels, Error> {
        let mut labels = Labels::default();
        if let Some(profile) = given(process.apparmor_profile()) {
            if has_apparmor() {
                let file = open("/proc/self/attr/apparmor/exec").or_else(|error| match error {
                    // Kernels before 5.8 have one file for all modules.
                    Errno::NOENT => open("/proc/self/attr/exec"),
                    other => Err(other),
                });
                labels.writes.push((file.step("open the AppArmor attribute")?, format!("exec {profile}")));
            } else if profile != "unconfined" {
                return Err(Error::Unsupported {
                    what: format!("the AppArmor profile {profile:?}"),
                    instead: "this kernel has no AppArmor, or has not enabled it; use --security-opt apparmor=unconfined",
                });
            }
        }
        if let Some(label) = given(process.selinux_label()) {
            selinux(&format!("the SELinux label {label:?}"))?;
            for (file, step) in [
                ("/proc/self/attr/exec", "open the SELinux attribute"),
                // Keys that the program makes are its own.
                ("/proc/self/attr/keycreate", "open the SELinux attribute of keys"),
            ] {
                labels.writes.push((open(file).step(step)?, label.to_owned()));
            }
        }
        Ok(labels)
    }

    /// Writes them: they count from the next execve(2) on.
    pub fn apply(&self) -> Result<(), Error> {
        for (file, text) in &self.writes {
            rustix::io::write(file, text.as_bytes()).map_err(|source| match source {
                Errno::NOENT | Errno::INVAL => Error::Unsupported {
                    what: format!("the label {text:?}"),
                    instead: "the host's policy has no such one; load it first",
                },
                source => Error::Step { step: "set the label of the program", source },
            })?;
        }
        Ok(())
    }
}

/// The label of the container's file systems.
pub fn of_mounts(linux: &Linux) -> Result<Option<&str>, Error> {
    let Some(label) = given(linux.mount_label()) else { return Ok(None) };
    selinux(&format!("linux.mountLabel {label:?}"))?;
    Ok(Some(label))
}

/// The kernel's own views have no labels of their own to choose.
pub fn is_of_file_system(kind: &str) -> bool {
    !matches!(kind, "proc" | "sysfs" | "mqueue" | "cgroup" | "cgroup2")
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn open(path: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
}

fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

fn selinux(what: &str) -> Result<(), Error> {
    const SELINUX_MAGIC: u64 = 0xf97c_ff8c;
    let is_mounted = |path: &&str| rustix::fs::statfs(Path::new(path)).is_ok_and(|s| s.f_type as u64 == SELINUX_MAGIC);
    if ["/sys/fs/selinux", "/selinux"].iter().any(is_mounted) {
        return Ok(());
    }
    Err(Error::Unsupported {
        what: what.to_owned(),
        instead: "this kernel has no SELinux, or has not enabled it; use --security-opt label=disable",
    })
}
