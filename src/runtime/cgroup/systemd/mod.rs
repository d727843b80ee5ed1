//! systemd's manager: a container's group as a transient scope of its, asked for over D-Bus, so that it is seen, limited and ended
//! as every other unit (systemd.scope(5), org.freedesktop.systemd1(5)).
//!
//! A group is named `SLICE:PREFIX:NAME`, which is the scope `PREFIX-NAME.scope` in `SLICE`. Where no systemd runs, the same
//! directories are made as plain ones. A scope begins with the process that asked for it, and ends with its last one.
//!
//! Must not know: files of groups.

mod bus;
mod properties;
#[cfg(test)]
mod tests;
mod wire;

use bus::Bus;
pub use bus::BusError;
use oci_spec::runtime::LinuxResources;
use std::path::{Path, PathBuf};
use wire::{Target, Value};

const MANAGER: Target = Target {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};

/// A scope by its name, and the slice in which it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// `PREFIX-NAME.scope`
    pub name: String,
    /// `SLICE`, with its end.
    pub slice: String,
}

impl Unit {
    /// Reads `SLICE:PREFIX:NAME`. An empty slice is that of the system's services, or of a user's. `None` if it is none.
    pub fn parse(path: &str, rootless: bool) -> Option<Unit> {
        let mut parts = path.split(':');
        let (Some(slice), Some(prefix), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let slice = match slice {
            "" if rootless => "user.slice",
            "" => "system.slice",
            slice => slice,
        };
        let stem = slice.strip_suffix(".slice")?;
        let name = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        // As systemd's own names (systemd.unit(5)); no dash at an end or beside another.
        let valid = |text: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "_.\\@-".contains(c);
            !text.is_empty() && text.len() < 240 && text.chars().all(known) && !matches!(text, "." | "..")
        };
        let dashes = stem == "-" || !stem.split('-').any(str::is_empty);
        (valid(stem) && dashes && valid(&name) && name != ".scope").then(|| Unit { name, slice: slice.into() })
    }

    /// The group's path below the manager's own: `/a.slice/a-b.slice/NAME` for slice `a-b.slice`.
    pub fn path(&self) -> String {
        let stem = self.slice.trim_end_matches(".slice");
        let mut path = String::new();
        if stem != "-" {
            for (at, _) in stem.match_indices('-').chain([(stem.len(), "")]) {
                path += &format!("/{}.slice", &stem[..at]);
            }
        }
        path + "/" + &self.name
    }

    /// The scope that has the group at `path`, if it can be one.
    pub fn at(path: &str) -> Option<Unit> {
        let (above, name) = path.rsplit_once('/')?;
        let slice = above.rsplit('/').next().filter(|slice| slice.ends_with(".slice")).unwrap_or("-.slice");
        (name.len() > ".scope".len() && name.ends_with(".scope"))
            .then(|| Unit { name: name.into(), slice: slice.into() })
    }
}

/// The manager of the system, or of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    socket: PathBuf,
    /// Where its groups are: `/` for the system's.
    root: String,
}

impl Manager {
    /// The one that runs here; `None` if there is none. `own` is this process's group of version 2: a user's manager is the one
    /// that it descends from.
    pub fn find(rootless: bool, own: &str) -> Option<Manager> {
        // sd_booted(3)
        if !Path::new("/run/systemd/system").is_dir() {
            return None;
        }
        if !rootless {
            return Some(Manager { socket: "/run/dbus/system_bus_socket".into(), root: String::new() });
        }
        let (above, rest) = own.split_once("/user@")?;
        let (uid, _) = rest.split_once(".service")?;
        uid.parse::<u32>().ok()?;
        let root = format!("{above}/user@{uid}.service");
        Some(Manager { socket: format!("/run/user/{uid}/bus").into(), root })
    }

    /// The path of a unit's group from the hierarchy's root.
    pub fn path(&self, unit: &Unit) -> String {
        format!("{}{}", self.root, unit.path())
    }

    /// Makes the scope with `pid` in it, and returns when that is done. One of that name that has failed is forgotten first.
    pub fn start(&self, unit: &Unit, pid: i32, resources: &LinuxResources, legacy: bool) -> Result<(), BusError> {
        let mut bus = Bus::connect(&self.socket)?;
        // Its end would be missed if it were listened for only after the call.
        bus.listen("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'")?;
        let on = || Value::Flag(true);
        let mut properties = vec![
            ("Description", Value::Text(format!("monopod container {}", unit.name.trim_end_matches(".scope")))),
            ("Slice", Value::Text(unit.slice.clone())),
            ("PIDs", Value::Numbers(vec![pid as u32])),
            // The group's files are ours to write, and groups below it ours to make.
            ("Delegate", on()),
            ("DefaultDependencies", Value::Flag(false)),
            ("MemoryAccounting", on()),
            ("CPUAccounting", on()),
            (if legacy { "BlockIOAccounting" } else { "IOAccounting" }, on()),
            ("TasksAccounting", on()),
        ];
        properties.extend(properties::of(resources, legacy));
        let start = |bus: &mut Bus| {
            bus.call(MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", |w| {
                w.text(&unit.name);
                w.text("replace");
                w.properties(&properties);
                w.array(8, |_| {});
            })
        };
        let job = match start(&mut bus) {
            // One that failed (by want of memory) keeps its name until it is forgotten.
            Err(BusError::Refused { name, .. }) if name == "org.freedesktop.systemd1.UnitExists" => {
                bus.call(MANAGER, "ResetFailedUnit", "s", |w| w.text(&unit.name))?;
                start(&mut bus)?
            }
            other => other?,
        };
        let job = job.texts().into_iter().next().ok_or(BusError::Protocol("a job without a name"))?;
        let result = bus.wait("JobRemoved", |told| match told {
            [_, path, _, result] if *path == job => Some(result.clone()),
            _ => None,
        })?;
        match result.as_str() {
            "done" => Ok(()),
            _ => Err(BusError::Refused { name: result, message: format!("{:?} was not started", unit.name) }),
        }
    }

    /// Changes limits of a scope until it ends.
    pub fn update(&self, unit: &Unit, resources: &LinuxResources, legacy: bool) -> Result<(), BusError> {
        let mut properties = properties::of(resources, legacy);
        if resources.devices().as_ref().is_none_or(|rules| rules.is_empty()) {
            properties.retain(|(name, _)| *name != "DevicePolicy");
        }
        if properties.is_empty() {
            return Ok(());
        }
        let mut bus = Bus::connect(&self.socket)?;
        bus.call(MANAGER, "SetUnitProperties", "sba(sv)", |w| {
            w.text(&unit.name);
            w.flag(true);
            w.properties(&properties);
        })
        .map(drop)
    }

    /// Ends a scope, with what is in it. One that is not there is no error.
    pub fn stop(&self, unit: &Unit) -> Result<(), BusError> {
        let mut bus = Bus::connect(&self.socket)?;
        let stopped = bus.call(MANAGER, "StopUnit", "ss", |w| {
            w.text(&unit.name);
            w.text("replace");
        });
        match stopped {
            Err(BusError::Refused { name, .. }) if name == "org.freedesktop.systemd1.NoSuchUnit" => Ok(()),
            other => other.map(drop),
        }
    }
}
