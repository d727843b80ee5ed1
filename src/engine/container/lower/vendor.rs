//! What devices of vendors add to a specification (see [`crate::cdi`]).

use super::Place;
use crate::cdi::Edits;
use crate::container::config::Config;
use ops::{Fault, Kind};
use serde_json::{Value, json};
use std::path::PathBuf;

/// A device node as it is made, or bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Path inside.
    pub path: String,
    /// Path on the host.
    pub source: PathBuf,
    /// `b`, `c`, `u`, `p`.
    pub kind: String,
    /// Number.
    pub major: i64,
    /// Number.
    pub minor: i64,
    /// What the cgroup allows.
    pub access: String,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Made {
    /// As the runtime specification has it.
    pub fn specified(&self) -> Value {
        json!({ "path": self.path, "type": self.kind, "major": self.major, "minor": self.minor,
                "fileMode": self.mode, "uid": self.uid, "gid": self.gid })
    }

    /// The rule by which it may be used.
    pub fn rule(&self) -> Option<Value> {
        // A pipe is no device of the kernel's.
        let kind = if self.kind == "b" { "b" } else { "c" };
        (self.kind != "p").then(
            || json!({ "allow": true, "type": kind, "major": self.major, "minor": self.minor, "access": self.access }),
        )
    }
}

/// The nodes, with what the files leave out as the host has it. Later ones win.
///
/// # Errors
/// One that the host does not have, or has as something else.
pub fn nodes(config: &Config, place: &Place) -> Result<Vec<Made>, Fault> {
    let mut all: Vec<Made> = Vec::new();
    let (uid, gid) = owner(&config.user);
    for node in &place.edits.device_nodes {
        let source = node.source();
        let fail = |why: &str| Fault::new(Kind::NotFound, format!("CDI device node {}: {why}", source.display()));
        let whole = node.kind == "p" || !node.kind.is_empty() && node.major != 0;
        let (kind, major, minor) = if whole {
            (node.kind.clone(), node.major, node.minor)
        } else {
            let there = place.devices.get(&source).ok_or_else(|| fail("no such device on the host"))?;
            let kind = there.kind.to_string();
            if !node.kind.is_empty() && (node.kind == "b") != (kind == "b") {
                return Err(fail(&format!("its type is {kind:?} on the host, and {:?} in its file", node.kind)));
            }
            (kind, i64::from(there.major), i64::from(there.minor))
        };
        let made = Made {
            path: node.path.clone(),
            source,
            kind,
            major,
            minor,
            access: node.access().to_owned(),
            mode: node.file_mode.unwrap_or(0o666),
            uid: node.uid.unwrap_or(uid),
            gid: node.gid.unwrap_or(gid),
        };
        all.retain(|other| other.path != made.path);
        all.push(made);
    }
    Ok(all)
}

/// Nodes whose file names no owner are those of the program's user, as far as the numbers are known now.
fn owner(user: &str) -> (u32, u32) {
    let (user, group) = user.split_once(':').unwrap_or((user, ""));
    (user.parse().unwrap_or(0), group.parse().unwrap_or(0))
}

/// The mounts: destination and mount; the last one of a destination counts.
pub fn mounts(edits: &Edits) -> Vec<(&str, Value)> {
    let mut all: Vec<(&str, Value)> = Vec::new();
    for mount in &edits.mounts {
        let is_bind = mount.options.iter().any(|option| option == "bind" || option == "rbind");
        let mut options = mount.options.clone();
        let kind = match mount.kind.as_str() {
            "" if !is_bind => {
                options.push("bind".into());
                "bind"
            }
            "" => "bind",
            kind => kind,
        };
        all.retain(|(other, _)| *other != mount.container_path);
        let specified =
            json!({ "type": kind, "source": mount.host_path, "destination": mount.container_path, "options": options });
        all.push((&mount.container_path, specified));
    }
    all
}

/// The network devices that move into the container, by their names on the host; `None` if there are none.
pub fn net_devices(edits: &Edits) -> Option<Value> {
    let all = edits.net_devices.iter().map(|d| (d.host_interface_name.clone(), json!({ "name": d.name })));
    (!edits.net_devices.is_empty()).then(|| Value::Object(all.collect()))
}
