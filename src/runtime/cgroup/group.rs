//! One container's group: made, limited, joined and removed, in each hierarchy that it needs.

use super::devices;
use super::directories::{make_directories, make_unified, remove};
use super::error::Error;
use super::host::{Host, Layout, Place, no_swap};
use super::limit::{Limit, Reason};
use super::realtime;
use super::resources::{self, Setting, Version};
use super::systemd::{Manager, Unit};
use oci_spec::runtime::LinuxResources;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

/// A group in all hierarchies that it needs. Dropping it changes nothing: [`Group::remove`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub(super) path: String,
    /// In version 2.
    pub(super) unified: Option<PathBuf>,
    /// In version 1, with the controllers of each.
    pub(super) legacy: Vec<(Vec<String>, PathBuf)>,
}

impl Group {
    /// Makes the group `path` (absolute, or relative to [`Host::parent`]) with `resources`: limits, and rules for devices if
    /// there are any. If that fails, what was made is removed again. A group that exists is used as it is.
    ///
    /// In a user namespace the device filter is left out: the kernel takes it from the host's root alone, and devices are
    /// out of reach there by their owners; and where neither version 2 nor the controller of version 1 is mounted. `None` on a machine without cgroups, if nothing was asked for.
    ///
    /// `SLICE:PREFIX:NAME` is a scope of systemd's, in which the calling process then is too; where no systemd runs, the same
    /// path as a plain group.
    pub fn create(host: &Host, path: &str, resources: &LinuxResources) -> Result<Option<Group>, Error> {
        match unit(path, host.rootless)? {
            Some(unit) => Group::create_unit(host, &unit, resources),
            None => Group::create_plain(host, path, resources),
        }
    }

    fn create_unit(host: &Host, unit: &Unit, resources: &LinuxResources) -> Result<Option<Group>, Error> {
        // What makes no sense is not begun.
        settings(host, resources)?;
        let Some(manager) = Manager::find(host.rootless, &own_path()) else {
            return Group::create_plain(host, &plain(host, unit), resources);
        };
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let legacy = matches!(host.place(Limit::Memory), Ok(Place::Legacy(_)));
        let fail = |source| Error::Manager { what: "start", unit: unit.name.clone(), source };
        manager.start(unit, own, resources, legacy).map_err(fail)?;
        // In the scope, which is delegated, a user can do what could not be done before.
        Group::create_plain(&Host::probe(), &manager.path(unit), resources)
    }

    fn create_plain(host: &Host, path: &str, resources: &LinuxResources) -> Result<Option<Group>, Error> {
        let settings = settings(host, resources)?;
        if let Some(setting) = settings.first()
            && host.layout == Layout::None
        {
            let reason = host.can(setting.limit).expect_err("no limit can be had without cgroups");
            return Err(Error::Unavailable { limit: setting.limit, reason });
        }
        let path = match (absolute(host, path)?, host.layout) {
            (Ok(path), _) => path,
            (Err(_), _) if settings.is_empty() => return Ok(None),
            (Err(reason), _) => return Err(Error::Unavailable { limit: settings[0].limit, reason }),
        };
        let mut group = Group { unified: host.unified_directory(&path), path, legacy: Vec::new() };
        if group.unified.is_none() && host.hierarchies.iter().all(|hierarchy| !hierarchy.writable) {
            return match settings.first() {
                None => Ok(None),
                Some(setting) => {
                    let reason = host.can(setting.limit).err().unwrap_or_else(no_swap);
                    Err(Error::Unavailable { limit: setting.limit, reason })
                }
            };
        }
        match group.build(host, &settings, resources) {
            Ok(()) => Ok(Some(group)),
            Err(error) => {
                // The first error is the one to tell.
                let _ = group.remove();
                Err(error)
            }
        }
    }

    /// The manager of the scope that the group is, if systemd runs and it can be one.
    fn manager(&self) -> Option<(Manager, Unit)> {
        let unit = Unit::at(&self.path)?;
        Some((Manager::find(self.path.contains("/user@"), &self.path)?, unit))
    }

    /// The group that was made as `path` (that of [`Group::create`], or [`Group::path`]), in all hierarchies where it is.
    pub fn open(host: &Host, path: &str) -> Result<Group, Error> {
        let path = match unit(path, host.rootless)? {
            Some(unit) => match Manager::find(host.rootless, &own_path()) {
                Some(manager) => manager.path(&unit),
                None => plain(host, &unit),
            },
            None => absolute(host, path)?.map_err(Error::Nowhere)?,
        };
        let unified = host.unified_directory(&path).filter(|directory| directory.is_dir());
        let legacy = host
            .hierarchies
            .iter()
            .map(|hierarchy| (hierarchy.controllers.clone(), hierarchy.mount.join(&path[1..])))
            .filter(|(_, directory)| directory.is_dir())
            .collect();
        Ok(Group { path, unified, legacy })
    }

    /// As [`Group::open`], without a look at which hierarchies have it: for who reads its files, and sees by that.
    pub fn named(host: &Host, path: &str) -> Result<Group, Error> {
        let path = absolute(host, path)?.map_err(Error::Nowhere)?;
        let unified = host.unified_directory(&path);
        let legacy = host.hierarchies.iter().map(|h| (h.controllers.clone(), h.mount.join(&path[1..]))).collect();
        Ok(Group { path, unified, legacy })
    }

    /// The groups in which process `pid` is and the calling process is not: where another process of the same container
    /// goes. They may lie below the one that was made, if the container divided it.
    pub fn of(host: &Host, pid: i32) -> Result<Group, Error> {
        let read = |path: String| fs::read_to_string(&path).map_err(|source| Error::Use { path: path.into(), source });
        let (theirs, own) = (read(format!("/proc/{pid}/cgroup"))?, read("/proc/self/cgroup".into())?);
        Group::parse(host, &theirs, &own)
    }

    /// The groups in which the calling process is: where it goes back to.
    pub fn own(host: &Host) -> Result<Group, Error> {
        let path = "/proc/self/cgroup";
        let own = fs::read_to_string(path).map_err(|source| Error::Use { path: path.into(), source })?;
        Group::parse(host, &own, "")
    }

    /// The groups that the lines of `theirs` name (cgroups(7)), but for those that are in `own` too.
    fn parse(host: &Host, theirs: &str, own: &str) -> Result<Group, Error> {
        let mut group = Group { path: String::new(), unified: None, legacy: Vec::new() };
        for line in theirs.lines().filter(|line| !own.lines().any(|own| own == *line)) {
            let mut fields = line.splitn(3, ':');
            let (Some(number), Some(names), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            // Outside of what this process sees.
            if path.split('/').any(|name| name == "..") {
                return Err(Error::Path(path.into()));
            }
            if number == "0" {
                group.unified = host.unified_directory(path);
            } else if let Some(hierarchy) =
                host.hierarchies.iter().find(|h| h.writable && h.controllers.join(",") == names)
            {
                group.legacy.push((hierarchy.controllers.clone(), hierarchy.mount.join(path.trim_start_matches('/'))));
            } else {
                continue;
            }
            group.path = path.into();
        }
        Ok(group)
    }

    /// The group at `path` from this one, in the hierarchies that have it; an error if none has.
    pub fn below(&self, path: &Path) -> Result<Group, Error> {
        let inside = path.strip_prefix("/").unwrap_or(path);
        if inside.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(Error::Path(path.to_string_lossy().into_owned()));
        }
        let mut group = self.clone();
        let into = |directory: &mut PathBuf| match directory.join(inside) {
            below if below.is_dir() => {
                *directory = below;
                true
            }
            _ => false,
        };
        let mut found = group.unified.as_mut().is_some_and(into);
        group.legacy.iter_mut().for_each(|(_, directory)| found |= into(directory));
        group.path = format!("{}/{}", self.path.trim_end_matches('/'), inside.display());
        if found { Ok(group) } else { Err(Error::Use { path: path.into(), source: Errno::NOENT.into() }) }
    }

    /// Its path from each hierarchy's root: what [`Group::open`] takes.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Changes limits of the living group; those that `resources` do not name stay. Rules for devices, if there are any, take
    /// the place of those that were there; what is open stays open.
    pub fn update(&mut self, host: &Host, resources: &LinuxResources) -> Result<(), Error> {
        let settings = settings(host, resources)?;
        if let Some(limit) =
            resources.memory().and_then(|m| m.limit().filter(|_| m.check_before_update() == Some(true)))
        {
            self.fits(limit)?;
        }
        if let Some((manager, unit)) = self.manager() {
            let legacy = matches!(host.place(Limit::Memory), Ok(Place::Legacy(_)));
            let fail = |source| Error::Manager { what: "change", unit: unit.name.clone(), source };
            manager.update(&unit, resources, legacy).map_err(fail)?;
        }
        let before = self.legacy.len();
        self.make(host, &settings)?;
        for at in before..self.legacy.len() {
            move_all(self, at)?;
        }
        self.set(host, &settings)?;
        let before = self.legacy.len();
        self.filter_devices(host, resources, true)?;
        (before..self.legacy.len()).try_for_each(|at| move_all(self, at))
    }

    /// Refuses a limit of memory below what is in use, for which version 2 would kill (version 1 refuses it by itself).
    fn fits(&self, limit: i64) -> Result<(), Error> {
        let usage = self.statistics().memory.usage.usage.unwrap_or(0);
        match u64::try_from(limit) {
            Ok(limit) if limit > 0 && limit < usage => Err(Error::InUse { limit, usage }),
            _ => Ok(()),
        }
    }

    /// The directory in version 2's hierarchy, for `clone3(2)` with `CLONE_INTO_CGROUP` (5.7).
    pub fn directory(&self) -> Result<Option<OwnedFd>, Error> {
        self.unified.as_deref().map(|path| open(path, OFlags::RDONLY | OFlags::DIRECTORY)).transpose()
    }

    /// Descriptors through which a process without threads moves itself into the groups of version 1: see [`enter`]. They
    /// stay valid in other mount and cgroup namespaces.
    pub fn doors(&self) -> Result<Vec<OwnedFd>, Error> {
        self.legacy.iter().map(|(_, directory)| open(&directory.join("tasks"), OFlags::WRONLY)).collect()
    }

    /// Moves process `pid` into the group, in all hierarchies. Slow: see the module; for processes that cannot be born there.
    pub fn attach(&self, pid: i32) -> Result<(), Error> {
        let directories = self.unified.iter().chain(self.legacy.iter().map(|(_, directory)| directory));
        directories
            .map(|directory| directory.join("cgroup.procs"))
            .try_for_each(|file| fs::write(&file, pid.to_string()).map_err(|source| Error::Use { path: file, source }))
    }

    /// Removes the group and those made below it, everywhere. Processes that are just dying are waited for, a second at most.
    pub fn remove(&self) -> Result<(), Error> {
        // If it cannot be asked, the directories go all the same, and with them the scope.
        if let Some((manager, unit)) = self.manager() {
            let _ = manager.stop(&unit);
        }
        let deadline = Instant::now() + Duration::from_secs(1);
        let directories = self.unified.iter().chain(self.legacy.iter().map(|(_, directory)| directory));
        // One that cannot be removed does not keep the others.
        directories.map(|directory| remove(directory, deadline)).fold(Ok(()), Result::and)
    }

    fn build(&mut self, host: &Host, settings: &[Setting], resources: &LinuxResources) -> Result<(), Error> {
        self.make(host, settings)?;
        self.set(host, settings)?;
        self.filter_devices(host, resources, false)
    }

    /// Makes the directories that `settings` need; in version 2 with the controllers handed on to them.
    fn make(&mut self, host: &Host, settings: &[Setting]) -> Result<(), Error> {
        let mut controllers: Vec<(Limit, &'static str)> = Vec::new();
        for setting in settings {
            let limit = setting.limit;
            match host.place(limit).map_err(|reason| Error::Unavailable { limit, reason })? {
                Place::Legacy(hierarchy) => self.make_legacy(&hierarchy.mount, &hierarchy.controllers)?,
                Place::Unified => {
                    let Some(controller) = limit.unified() else { continue };
                    if !controllers.iter().any(|(_, known)| *known == controller) {
                        controllers.push((limit, controller));
                    }
                }
            }
        }
        if host.everywhere {
            for hierarchy in host.hierarchies.iter().filter(|hierarchy| hierarchy.writable) {
                self.make_legacy(&hierarchy.mount, &hierarchy.controllers)?;
            }
            // In version 2 what is not handed on is not counted either.
            for limit in Limit::COUNTED {
                let controller = limit.unified().expect("what counts is a controller");
                if matches!(host.place(limit), Ok(Place::Unified)) && host.can(limit).is_ok() {
                    controllers.push((limit, controller));
                }
            }
            controllers.sort_by_key(|(_, controller)| *controller);
            controllers.dedup_by_key(|(_, controller)| *controller);
        }
        if let (Some(directory), Some(mount)) = (&self.unified, &host.unified) {
            let base = host.base().map_err(|reason| Error::Nowhere(reason.clone()))?;
            return make_unified(mount, base, &self.path, directory, &controllers);
        }
        // Version 1 alone: pausing and killing need the freezer.
        match host.place(Limit::Freezer) {
            Ok(Place::Legacy(hierarchy)) => self.make_legacy(&hierarchy.mount, &hierarchy.controllers),
            _ => Ok(()),
        }
    }

    fn make_legacy(&mut self, mount: &Path, controllers: &[String]) -> Result<(), Error> {
        let directory = mount.join(&self.path[1..]);
        if self.legacy.iter().any(|(_, known)| *known == directory) {
            return Ok(());
        }
        let cpuset = controllers.iter().any(|controller| controller == "cpuset");
        // Known first: what is made by half is removed too.
        self.legacy.push((controllers.to_vec(), directory.clone()));
        make_directories(mount, &directory, cpuset)
    }

    fn set(&self, host: &Host, settings: &[Setting]) -> Result<(), Error> {
        for (at, setting) in settings.iter().enumerate() {
            let limit = setting.limit;
            let directory = match host.place(limit).map_err(|reason| Error::Unavailable { limit, reason })? {
                Place::Unified => self.unified.clone().unwrap_or_default(),
                Place::Legacy(hierarchy) => hierarchy.mount.join(&self.path[1..]),
            };
            match write(&directory, setting) {
                // Below what both together were limited to: that limit first.
                Err(Error::Set { source, .. })
                    if source.raw_os_error() == Some(Errno::INVAL.raw_os_error())
                        && setting.choices[0].0 == "memory.limit_in_bytes" =>
                {
                    settings[at..].iter().filter(|s| s.limit == Limit::Swap).try_for_each(|s| write(&directory, s))?;
                    write(&directory, setting)?;
                }
                // More than the group above has, which is ours.
                Err(Error::Set { source, .. })
                    if source.raw_os_error() == Some(Errno::INVAL.raw_os_error())
                        && setting.choices[0].0 == "cpu.rt_runtime_us" =>
                {
                    self.provide_realtime(host, &directory, &setting.choices[0].1)?;
                    write(&directory, setting)?;
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Gives the groups above `directory` that are ours what a budget of real-time processor time is taken from.
    fn provide_realtime(&self, host: &Host, directory: &Path, microseconds: &str) -> Result<(), Error> {
        let (Ok(parent), Ok(microseconds)) = (host.parent(), microseconds.parse()) else { return Ok(()) };
        match Path::new(&self.path).strip_prefix(&parent) {
            Ok(inside) => {
                // The hierarchy's root, above the parent.
                let depth = inside.components().count() + Path::new(&parent).components().count() - 1;
                let outside = directory.ancestors().nth(depth).unwrap_or(directory);
                realtime::provide(outside, directory, microseconds)
            }
            Err(_) => Ok(()),
        }
    }

    /// Sets the filter of a new group, or changes that of one that `lives`.
    fn filter_devices(&mut self, host: &Host, resources: &LinuxResources, lives: bool) -> Result<(), Error> {
        let Some(rules) = resources.devices().as_deref().filter(|rules| !rules.is_empty()) else { return Ok(()) };
        let program = devices::program(rules)?;
        if program.is_none() && !lives {
            return Ok(());
        }
        match host.place(Limit::Devices) {
            // Three times as quick as loading a program.
            Ok(Place::Legacy(hierarchy)) => self.make_legacy(&hierarchy.mount, &hierarchy.controllers)?,
            _ if host.rootless => return Ok(()),
            Ok(Place::Unified) => {
                let path = self.unified.clone().unwrap_or_default();
                let directory = open(&path, OFlags::RDONLY | OFlags::DIRECTORY)?;
                let filtered = match (&program, lives) {
                    (Some(program), false) => sys::bpf::filter_devices(directory.as_fd(), program),
                    (program, _) => sys::bpf::replace_device_filter(directory.as_fd(), program.as_deref()),
                };
                return filtered.map_err(|errno| Error::Filter { path, source: errno.into() });
            }
            // As on a machine without cgroups: who wants limits of another controller only has mounted that alone.
            Err(_) if !host.hierarchies.iter().any(|h| h.controllers.iter().any(|c| c == Limit::Devices.legacy())) => {
                return Ok(());
            }
            Err(reason) => return Err(Error::Unavailable { limit: Limit::Devices, reason }),
        }
        let Some((_, directory)) = self.legacy.iter().find(|(c, _)| c.iter().any(|c| c == "devices")) else {
            return Ok(());
        };
        for (allow, line) in devices::lines(rules)? {
            let path = directory.join(if allow { "devices.allow" } else { "devices.deny" });
            fs::write(&path, &line).map_err(|source| Error::Set {
                limit: Limit::Devices,
                path,
                value: line,
                source,
            })?;
        }
        Ok(())
    }
}

/// Moves the calling process, which has no other threads, through `doors` ([`Group::doors`]). It does not allocate.
pub fn enter(doors: &[OwnedFd]) -> rustix::io::Result<()> {
    doors.iter().try_for_each(|door| rustix::io::write(door, b"0").map(drop))
}

fn settings(host: &Host, resources: &LinuxResources) -> Result<Vec<Setting>, Error> {
    let version = |limit| match host.place(limit) {
        Ok(Place::Legacy(_)) => Version::One,
        _ => Version::Two,
    };
    Ok(resources::settings(resources, version)?)
}

/// The unit that `path` names; `None` if it is the path of a plain group.
fn unit(path: &str, rootless: bool) -> Result<Option<Unit>, Error> {
    if path.split(':').count() != 3 || path.contains('/') {
        return Ok(None);
    }
    Unit::parse(path, rootless).map(Some).ok_or_else(|| Error::Systemd(path.into()))
}

/// Where the group of a unit is when no systemd runs.
fn plain(host: &Host, unit: &Unit) -> String {
    let base = host.base().map_or("", |base| base.trim_end_matches('/'));
    format!("{base}{}", unit.path())
}

/// This process's group of version 2.
fn own_path() -> String {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned()
}

/// `path` from the hierarchies' roots, checked.
fn absolute(host: &Host, path: &str) -> Result<Result<String, Reason>, Error> {
    let inside = path.strip_prefix('/').unwrap_or(path);
    let names =
        |path: &str| path.split('/').all(|name| !matches!(name, "" | "." | "..") && !name.contains(['\0', '\n']));
    if !names(inside) || Path::new(inside).components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(Error::Path(path.into()));
    }
    Ok(match path.starts_with('/') {
        true => Ok(path.to_string()),
        false => host.parent().map(|parent| format!("{parent}/{path}")),
    })
}

fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
    openat(CWD, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
        .map_err(|errno| Error::Use { path: path.into(), source: errno.into() })
}

fn write(directory: &Path, setting: &Setting) -> Result<(), Error> {
    let mut choices = setting.choices.iter();
    let (mut file, mut value) = choices.next().map(|(file, value)| (directory.join(file), value)).expect("never empty");
    let mut result = write_existing(&file, value);
    for (name, other) in choices {
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            (file, value) = (directory.join(name), other);
            result = write_existing(&file, value);
        }
    }
    result.map_err(|source| match (source.kind(), setting.limit) {
        (io::ErrorKind::NotFound, Limit::Swap) => Error::Unavailable { limit: Limit::Swap, reason: no_swap() },
        (io::ErrorKind::NotFound, limit) => Error::Unavailable {
            limit,
            reason: Reason {
                why: format!("this kernel has no {file:?}"),
                fix: "leave this setting out, or boot a kernel that has it".into(),
            },
        },
        (_, limit) => Error::Set { limit, path: file, value: value.clone(), source },
    })
}

/// Never creates: these are the kernel's files.
fn write_existing(file: &Path, value: &str) -> io::Result<()> {
    let file = openat(CWD, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, value.as_bytes())?;
    Ok(())
}

/// Moves those of the group's processes that are not yet in its hierarchy number `at`.
fn move_all(group: &Group, at: usize) -> Result<(), Error> {
    let file = group.legacy[at].1.join("cgroup.procs");
    // Forks meanwhile: until a round finds no one else.
    for _ in 0..100 {
        let there = super::control::processes(&group.legacy[at].1);
        let all = group.pids();
        let mut left = all.iter().filter(|pid| !there.contains(pid)).peekable();
        if left.peek().is_none() {
            return Ok(());
        }
        for pid in left {
            match fs::write(&file, pid.to_string()) {
                Err(error) if error.raw_os_error() != Some(Errno::SRCH.raw_os_error()) => {
                    return Err(Error::Use { path: file, source: error });
                }
                _ => {}
            }
        }
    }
    Err(Error::Stuck { path: file, state: "holding all processes", seconds: 0 })
}
