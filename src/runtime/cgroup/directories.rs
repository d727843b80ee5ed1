//! The directories that are groups: made with what they need to be usable, and removed.

use super::error::Error;
use super::host::{busy, is_busy};
use super::limit::{Limit, Reason};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Makes `directory` below `mount`. A cpuset without processors and nodes takes no process: each gets its parent's.
pub(super) fn make_directories(mount: &Path, directory: &Path, cpuset: bool) -> Result<(), Error> {
    if directory == mount {
        return Ok(());
    }
    let created = match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_directories(mount, directory.parent().unwrap_or(mount), cpuset)?;
            fs::create_dir(directory)
        }
        other => other,
    };
    match created {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.map_err(|source| Error::Create { path: directory.into(), source })?,
    }
    if !cpuset {
        return Ok(());
    }
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let file = directory.join(name);
        let inherit = || -> io::Result<()> {
            if fs::read_to_string(&file)?.trim().is_empty() {
                fs::write(&file, fs::read(directory.parent().unwrap_or(mount).join(name))?)?;
            }
            Ok(())
        };
        inherit().map_err(|source| Error::Use { path: file.clone(), source })?;
    }
    Ok(())
}

/// Makes `directory` and hands `controllers` on to it, from `base` down.
pub(super) fn make_unified(
    mount: &Path,
    base: &str,
    path: &str,
    directory: &Path,
    controllers: &[(Limit, &'static str)],
) -> Result<(), Error> {
    let parent = directory.parent().unwrap_or(mount);
    make_directories(mount, parent, false)?;
    // Above the base nothing is ours; a path outside it is asked of the host as it is.
    let base = Path::new(base);
    let wanted = Path::new(path).parent().unwrap_or(base);
    let mut steps: Vec<&Path> = wanted.ancestors().take_while(|step| step.starts_with(base)).collect();
    steps.reverse();
    if steps.is_empty() {
        steps.push(wanted);
    }
    // Usually the last one says that all is done.
    if !controllers.is_empty() && !missing(parent, controllers).is_empty() {
        for step in steps {
            let at = mount.join(step.strip_prefix("/").unwrap_or(step));
            let missing = missing(&at, controllers);
            // The kernel would take some controllers, and then no process in the groups below.
            if let Some((limit, controller)) = missing.first()
                && is_busy(&at)
            {
                return Err(Error::Unavailable { limit: *limit, reason: busy(&step.to_string_lossy(), controller) });
            }
            hand_on(&at, &step.to_string_lossy(), &missing)?;
        }
    }
    make_directories(mount, directory, false)
}

fn missing(directory: &Path, controllers: &[(Limit, &'static str)]) -> Vec<(Limit, &'static str)> {
    let enabled = fs::read_to_string(directory.join("cgroup.subtree_control")).unwrap_or_default();
    controllers.iter().filter(|(_, c)| !enabled.split_ascii_whitespace().any(|known| known == *c)).copied().collect()
}

fn hand_on(directory: &Path, path: &str, controllers: &[(Limit, &'static str)]) -> Result<(), Error> {
    for (limit, controller) in controllers {
        let file = directory.join("cgroup.subtree_control");
        fs::write(&file, format!("+{controller}")).map_err(|source| {
            let reason = match source.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::BUSY) => busy(path, controller),
                Some(Errno::NOENT) => Reason {
                    why: format!("the {controller} controller is not available in cgroup {path:?}"),
                    fix: format!("hand it down to this cgroup, or boot with it enabled (cgroup_enable={controller})"),
                },
                _ => Reason {
                    why: format!("{file:?} cannot be written ({source})"),
                    fix: "run as root, or in a cgroup that is delegated to this user".into(),
                },
            };
            Error::Unavailable { limit: *limit, reason }
        })?;
    }
    Ok(())
}

/// Removes `directory` with the groups below it.
pub(super) fn remove(directory: &Path, deadline: Instant) -> Result<(), Error> {
    let mut pause = Duration::from_micros(200);
    loop {
        let error = match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => error,
        };
        if error.raw_os_error() != Some(Errno::BUSY.raw_os_error()) {
            return Err(Error::Use { path: directory.into(), source: error });
        }
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path(), deadline)?;
            }
        }
        if Instant::now() >= deadline {
            let pids = super::control::processes(directory);
            return Err(match pids.is_empty() {
                true => Error::Use { path: directory.into(), source: error },
                false => Error::Populated { path: directory.into(), pids },
            });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
