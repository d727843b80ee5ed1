//! Entering the namespaces that a container shares with others.
//!
//! The user namespace comes after those that our rights here are enough for: in it this process is somebody else. What needs
//! rights that are only had inside comes last.

use crate::create::namespace;
use crate::error::{Context, Error};
use crate::launch::Owner;
use crate::placement::Placement;
use crate::plan::{self, Namespaces};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use sys::clone::{NEW_MOUNT, NEW_USER};

/// Namespaces that are open and not yet entered.
#[derive(Debug)]
pub struct Joining {
    files: Vec<(u64, OwnedFd)>,
    /// Kinds that are not this process's own.
    foreign: u64,
}

impl Joining {
    /// Opens them, and makes sure that they are still those of `owners`.
    pub fn open(plan: &Namespaces, owners: &[Owner]) -> Result<Joining, Error> {
        let mut joining = Joining { files: Vec::with_capacity(plan.join.len()), foreign: 0 };
        for (kind, path) in &plan.join {
            let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|source| namespace(*kind, "open", source))?;
            // After it was opened: nobody else can have got the number before that, if the process still lives now.
            let owner = process_of(path).and_then(|pid| owners.iter().find(|owner| owner.pid == pid));
            if owner.is_some_and(|owner| !sys::process::is_alive(owner.pid, owner.start_time)) {
                return Err(namespace(*kind, "find the process whose it is", Errno::SRCH));
            }
            let theirs = rustix::fs::fstat(&file).map_err(|source| namespace(*kind, "look at", source))?;
            let ours = rustix::fs::stat(format!("/proc/self/ns/{}", plan::file(*kind)));
            let same = ours.is_ok_and(|ours| (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino));
            if same && *kind == NEW_MOUNT {
                return Err(Error::Unsupported {
                    what: format!("joining the runtime's own mount namespace ({})", path.display()),
                    instead: "its root would be taken away; leave the path out",
                });
            }
            if !same {
                joining.foreign |= kind;
            }
            joining.files.push((*kind, file));
        }
        Ok(joining)
    }

    /// Kinds that are not this process's own.
    pub fn foreign(&self) -> u64 {
        self.foreign
    }

    /// The user namespace among them.
    pub fn user(&self) -> Option<&OwnedFd> {
        self.files.iter().find(|(kind, _)| *kind == NEW_USER).map(|(_, file)| file)
    }

    /// Enters all but the mount namespace, which is returned: the container's first process enters it when it has no more to
    /// look for on the host.
    pub fn enter(self, placement: &mut Placement, keep_groups: bool) -> Result<Option<OwnedFd>, Error> {
        let (mut user, mut mount, mut later) = (None, None, Vec::new());
        for (kind, file) in self.files {
            match kind {
                NEW_USER if self.foreign & NEW_USER == 0 => {}
                NEW_USER => user = Some(file),
                NEW_MOUNT => mount = Some(file),
                _ => match sys::namespaces::enter(file.as_fd(), kind) {
                    Err(Errno::PERM) => later.push((kind, file)),
                    other => other.map_err(|source| namespace(kind, "join", source))?,
                },
            }
        }
        if let Some(file) = user {
            placement.enter_before_birth()?;
            sys::namespaces::enter(file.as_fd(), NEW_USER).map_err(|source| namespace(NEW_USER, "join", source))?;
            crate::create::become_root(keep_groups)?;
        }
        for (kind, file) in later {
            sys::namespaces::enter(file.as_fd(), kind).map_err(|source| namespace(kind, "join", source))?;
        }
        Ok(mount)
    }
}

/// Enters a mount namespace, with its root as the root and working directory.
pub fn enter_mounts(namespace: &OwnedFd) -> Result<(), Error> {
    sys::namespaces::enter(namespace.as_fd(), NEW_MOUNT).step("join the mount namespace")
}

/// The process of a path `/proc/PID/ns/...`.
fn process_of(path: &Path) -> Option<i32> {
    path.strip_prefix("/proc").ok()?.components().next()?.as_os_str().to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_processes() {
        assert_eq!(process_of(Path::new("/proc/77/ns/net")), Some(77));
        assert_eq!(process_of(Path::new("/run/netns/77")), None);
        assert_eq!(process_of(Path::new("/proc/self/ns/net")), None);
    }

    #[test]
    fn another_process_with_the_number_is_not_taken_for_it() {
        let pid = std::process::id() as i32;
        let mut plan = Namespaces {
            join: vec![(sys::clone::NEW_UTS, format!("/proc/{pid}/ns/uts").into())],
            ..Namespaces::default()
        };
        let start_time = sys::process::start_time(pid).unwrap();
        assert_eq!(Joining::open(&plan, &[Owner { pid, start_time }]).unwrap().foreign(), 0);
        let error = Joining::open(&plan, &[Owner { pid, start_time: start_time + 1 }]).unwrap_err();
        assert_eq!(error.to_string(), "namespace uts: find the process whose it is: No such process");
        plan.join = vec![(NEW_MOUNT, "/proc/self/ns/mnt".into())];
        assert!(Joining::open(&plan, &[]).unwrap_err().to_string().contains("own mount namespace"));
    }
}
