//! The cgroup of a process being made: how it gets there without the slow way of moving a process from outside.
//!
//! In version 2 it is born there; through the doors of version 1 it goes by itself. Only where the kernel knows neither
//! (before 5.7) is it moved, and waits for that.

use crate::cgroup::{self, Group, Host};
use crate::error::{Context, Error};
use crate::plan::Namespaces;
use oci_spec::runtime::Linux;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use sys::clone::{Clone, NEW_USER, Side};

/// Where a process goes.
#[derive(Debug, Default)]
pub struct Placement {
    group: Option<Group>,
    directory: Option<OwnedFd>,
    doors: Vec<OwnedFd>,
    /// It must be moved from outside.
    moved: bool,
    /// The caller itself went there, and its copy is born there.
    inherited: bool,
    /// Where the caller was before, if it is in the group itself.
    home: Option<Group>,
}

fn failed(error: cgroup::Error) -> Error {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {}", cause.to_string().split(" (os error").next().unwrap_or_default());
        source = cause.source();
    }
    Error::Cgroup(text)
}

impl Placement {
    /// The group of a new container, made with its limits. Without `cgroupsPath` and limits there is none.
    /// With `everywhere` it is in all hierarchies, whether it has limits there or not. `makes_nodes`: its processes may make
    /// device nodes.
    pub fn create(linux: &Linux, id: &str, everywhere: bool, makes_nodes: bool) -> Result<Placement, Error> {
        let mut resources = linux.resources().clone().unwrap_or_default();
        let rules = resources.devices().as_deref().unwrap_or_default();
        resources.set_devices(Some(cgroup::with_defaults(rules, makes_nodes)));
        let path = match linux.cgroups_path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => path.to_string_lossy().into_owned(),
            // Other engines pause and list what they gave no cgroup too.
            None if everywhere || linux.resources().is_some() => id.to_owned(),
            None => return Ok(Placement::default()),
        };
        let host = Host::probe().everywhere(everywhere);
        // A scope of systemd's begins with the process that asks for it.
        let home = if path.contains(':') { Group::own(&host).ok() } else { None };
        let created = Group::create(&host, &path, &resources);
        if let (Err(_), Some(home)) = (&created, &home) {
            let _ = home.attach(rustix::process::getpid().as_raw_nonzero().get());
        }
        Ok(Placement { home, ..Placement::into_group(created.map_err(failed)?)? })
    }

    /// The group of running process `pid`, for another one beside it, or in a group `below` that one.
    pub fn of(pid: i32, below: Option<&Path>) -> Result<Placement, Error> {
        let group = Group::of(&Host::probe(), pid).map_err(failed)?;
        Placement::into_group(Some(match below {
            Some(path) => group.below(path).map_err(failed)?,
            None => group,
        }))
    }

    fn into_group(group: Option<Group>) -> Result<Placement, Error> {
        let Some(group) = group else { return Ok(Placement::default()) };
        let directory = group.directory().map_err(failed)?;
        let doors = group.doors().map_err(failed)?;
        Ok(Placement { group: Some(group), directory, doors, moved: false, inherited: false, home: None })
    }

    /// Clones into the group, if the kernel can; else notes that the copy has to be moved.
    pub fn clone(&mut self, namespaces: u64) -> Result<Side, Errno> {
        let how = Clone { namespaces, sibling: true, cgroup: None };
        if self.inherited {
            return sys::clone::clone(how);
        }
        let Some(directory) = &self.directory else { return sys::clone::clone(how) };
        match sys::clone::clone(Clone { cgroup: Some(directory.as_fd()), ..how }) {
            // No clone3 (5.3), no such field (5.7).
            Err(Errno::NOSYS | Errno::TOOBIG | Errno::INVAL) => {
                self.moved = true;
                sys::clone::clone(how)
            }
            other => other,
        }
    }

    /// In the copy: whether it waits for the original, to be moved or for its id maps.
    pub fn must_wait(&self, plan: &Namespaces) -> bool {
        self.moved || plan.new & NEW_USER != 0
    }

    /// In the original: moves the copy, if it was not born there.
    pub fn settle(&self, pid: i32) -> Result<(), Error> {
        match &self.group {
            Some(group) if self.moved => group.attach(pid).map_err(failed),
            _ => Ok(()),
        }
    }

    /// In the copy: goes through the doors, with the rights and the namespaces of the original. The descriptors of the
    /// host's directories are closed: nothing of them may be open where the container's processes are.
    pub fn enter(&mut self) -> Result<(), Error> {
        self.directory = None;
        let doors = std::mem::take(&mut self.doors);
        if self.moved || self.inherited {
            return Ok(());
        }
        cgroup::enter(&doors).step("enter the cgroup")
    }

    /// Moves this process there, and its copies with it: for one that will lose the right to.
    pub fn enter_before_birth(&mut self) -> Result<(), Error> {
        if let Some(group) = &self.group {
            self.home = self.home.take().or(Group::own(&Host::probe()).ok());
            group.attach(rustix::process::getpid().as_raw_nonzero().get()).map_err(failed)?;
            self.inherited = true;
        }
        Ok(())
    }

    /// Its places as CRIU's `--cgroup-root` takes them: for each controller of version 1 beside its name, else for all.
    pub fn roots(&self) -> Vec<String> {
        let Some(group) = &self.group else { return Vec::new() };
        let all: Vec<String> = group.legacy_controllers().map(|name| format!("{name}:{}", group.path())).collect();
        if all.is_empty() { vec![group.path().to_owned()] } else { all }
    }

    /// The group's path, as [`Group::open`] takes it.
    pub fn name(&self) -> Option<String> {
        self.group.as_ref().map(|group| group.path().to_owned()).filter(|path| !path.is_empty())
    }

    /// Takes a new group away again, after a failure that is the one to report.
    pub fn remove(&self) {
        if let Some(group) = &self.group {
            // Out of it first: it would end, or be stopped, with the others.
            if let Some(home) = &self.home {
                let _ = home.attach(rustix::process::getpid().as_raw_nonzero().get());
            }
            let _ = group.kill();
            let _ = group.remove();
        }
    }
}
