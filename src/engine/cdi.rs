//! Devices of vendors: files of the Container Device Interface (its SPEC.md, versions 0.3.0 to 1.1.0) say what a container is given
//! for a device `VENDOR/CLASS=NAME`: nodes, mounts, variables, hooks, groups. A file is JSON or YAML, by its name.
//!
//! Must not know: how a container is made (see [`crate::container::lower`]).

use ops::{Fault, Kind};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Where the files are if nothing says otherwise; those of a later directory win over those of an earlier one.
pub const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// Versions of the specification that files may name.
const VERSIONS: [&str; 8] = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];
/// Largest file that is read, in bytes: what a machine full of devices needs is a tenth of it.
const LARGEST: u64 = 8 << 20;
/// The name that stands for all devices of a class of which none is called so.
const ALL: &str = "all";

/// What is done to a container for the devices that it was given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Edits {
    /// `KEY=VALUE`, in place of what the container has.
    pub env: Vec<String>,
    /// Nodes of devices.
    pub device_nodes: Vec<Node>,
    /// Network devices of the host that move into it (1.1.0).
    pub net_devices: Vec<NetDevice>,
    /// What is mounted.
    pub mounts: Vec<Mount>,
    /// Programs that are run at moments of its life.
    pub hooks: Vec<Hook>,
    /// Groups of its process; 0 does not count.
    pub additional_gids: Vec<u32>,
    /// Limits of resctrl, which are not made here.
    pub intel_rdt: Option<serde_json::Value>,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Node {
    /// Path inside.
    pub path: String,
    /// Path on the host, if it is another one.
    #[serde(default)]
    pub host_path: String,
    /// `b`, `c`, `u`, `p`; what the host has, if it is empty.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Number; what the host has, if neither is there.
    #[serde(default)]
    pub major: i64,
    /// Number.
    #[serde(default)]
    pub minor: i64,
    /// Permission bits inside.
    pub file_mode: Option<u32>,
    /// `r`, `w`, `m`; all if it is empty.
    #[serde(default)]
    pub permissions: String,
    /// Owner inside.
    pub uid: Option<u32>,
    /// Group inside.
    pub gid: Option<u32>,
}

impl Node {
    /// Where it is on the host.
    pub fn source(&self) -> PathBuf {
        PathBuf::from(if self.host_path.is_empty() { &self.path } else { &self.host_path })
    }

    /// What the cgroup allows.
    pub fn access(&self) -> &str {
        if self.permissions.is_empty() { "rwm" } else { &self.permissions }
    }
}

/// A network device of the host's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetDevice {
    /// Its name there.
    pub host_interface_name: String,
    /// Its name inside.
    pub name: String,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// What is mounted.
    pub host_path: String,
    /// Where.
    pub container_path: String,
    /// Options of mount(8).
    #[serde(default)]
    pub options: Vec<String>,
    /// File system.
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// A hook.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hook {
    /// The moment, as the OCI runtime specification calls it.
    pub hook_name: String,
    /// The program.
    pub path: String,
    /// Its arguments, its own name first.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its variables.
    #[serde(default)]
    pub env: Vec<String>,
    /// Seconds that it may take.
    pub timeout: Option<i64>,
}

/// A file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(rename = "cdiVersion")]
    version: String,
    kind: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Device {
    name: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    #[serde(default)]
    container_edits: Edits,
}

/// True if `text` is the name of a device of a vendor (`VENDOR/CLASS=NAME`), and no path.
pub fn is_name(text: &str) -> bool {
    split(text).is_some()
}

/// The kind of a device's name, and what it is called among its kind.
fn split(text: &str) -> Option<(&str, &str)> {
    let (kind, name) = text.split_once('=')?;
    (is_kind(kind) && is_word(name, false, b"_-.:")).then_some((kind, name))
}

fn is_kind(kind: &str) -> bool {
    let is = |(vendor, class): (&str, &str)| is_word(vendor, true, b"_-.") && is_word(class, true, b"_-.");
    kind.split_once('/').is_some_and(is)
}

/// Letters, digits and some of `more` between a beginning and an end without them.
fn is_word(text: &str, begins_with_letter: bool, more: &[u8]) -> bool {
    let (Some(first), Some(last)) = (text.bytes().next(), text.bytes().next_back()) else { return false };
    let begins = if begins_with_letter { first.is_ascii_alphabetic() } else { first.is_ascii_alphanumeric() };
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
    begins && last.is_ascii_alphanumeric() && text.bytes().all(inside)
}

/// The names of devices that `--gpus` means: `all`, or numbers and names of some, in Docker's spelling too (`device=0`).
pub fn of_gpus(texts: &[String]) -> Vec<String> {
    let words = texts.iter().flat_map(|text| text.split(',')).map(|word| word.trim_matches(['"', '\'', ' ']));
    words
        .filter(|word| !word.is_empty())
        .map(|word| format!("nvidia.com/gpu={}", word.strip_prefix("device=").unwrap_or(word)))
        .collect()
}

/// All edits for the devices called `names`: those of each file once, before those of its first device.
///
/// # Errors
/// A device that no file has, or two of the same weight have; the files that could not be read are named then. A device that
/// needs what is not made here.
pub fn edits(directories: &[PathBuf], names: &[String]) -> Result<Edits, Fault> {
    let mut shelf = Shelf::default();
    for (weight, directory) in directories.iter().enumerate() {
        shelf.fill(directory, weight);
    }
    shelf.edits(directories, names)
}

/// All that the files have.
#[derive(Default)]
struct Shelf {
    documents: Vec<Document>,
    /// The weight of the directory that a device is in, and where it is: in several places if files of one weight have it.
    devices: HashMap<String, (usize, Vec<(usize, usize)>)>,
    faults: Vec<String>,
}

impl Shelf {
    fn fill(&mut self, directory: &Path, weight: usize) {
        let Ok(entries) = std::fs::read_dir(directory) else { return };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in files {
            let end = file.extension().and_then(|end| end.to_str()).unwrap_or_default();
            if !matches!(end, "json" | "yaml") {
                continue;
            }
            match read(&file).and_then(|text| parse(&text, end == "json")) {
                Ok(document) => self.add(document, weight),
                Err(why) => self.faults.push(format!("{}: {why}", file.display())),
            }
        }
    }

    fn add(&mut self, document: Document, weight: usize) {
        let at = self.documents.len();
        for (number, device) in document.devices.iter().enumerate() {
            let place = self.devices.entry(format!("{}={}", document.kind, device.name)).or_default();
            if place.0 != weight {
                *place = (weight, Vec::new());
            }
            place.1.push((at, number));
        }
        self.documents.push(document);
    }

    fn edits(&self, directories: &[PathBuf], names: &[String]) -> Result<Edits, Fault> {
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for name in names {
            match self.find(name) {
                places if places.is_empty() => missing.push(name.as_str()),
                places => found.extend(places),
            }
        }
        if !missing.is_empty() {
            return Err(self.unresolvable(directories, &missing));
        }
        let (mut all, mut seen, mut given) = (Edits::default(), Vec::new(), Vec::new());
        for (at, number) in found {
            let Some(document) = self.documents.get(at) else { continue };
            if !seen.contains(&at) {
                seen.push(at);
                all.add(&document.container_edits);
            }
            if !given.contains(&(at, number)) {
                given.push((at, number));
                all.add(&document.devices[number].container_edits);
            }
        }
        if all.intel_rdt.is_some() {
            let names = names.join(", ");
            return Err(Fault::new(
                Kind::Unsupported,
                format!("CDI device {names} wants a group of resctrl (intelRdt), which is not made here"),
            )
            .hint("take intelRdt out of its file, and limit the container by --cpuset-cpus and --cpu-shares"));
        }
        Ok(all)
    }

    /// Where the device is; of `all`, where no device is called so, all of its kind are.
    fn find(&self, name: &str) -> Vec<(usize, usize)> {
        let only = |places: &[(usize, usize)]| match places {
            [place] => Some(*place),
            _ => None,
        };
        if let Some((_, places)) = self.devices.get(name) {
            return only(places).into_iter().collect();
        }
        let Some((kind, ALL)) = split(name) else { return Vec::new() };
        let of_kind = self.devices.iter().filter(|(name, _)| split(name).is_some_and(|(own, _)| own == kind));
        let mut all: Vec<_> = of_kind.filter_map(|(_, (_, places))| only(places)).collect();
        all.sort_unstable();
        all
    }

    fn unresolvable(&self, directories: &[PathBuf], missing: &[&str]) -> Fault {
        let twice = missing.iter().find(|name| self.devices.contains_key(**name));
        let fault = Fault::new(
            Kind::NotFound,
            format!("setting up CDI devices: unresolvable CDI devices {}", missing.join(", ")),
        );
        if let Some(name) = twice {
            return fault.hint(format!("two files of one directory have {name}"));
        }
        if !self.faults.is_empty() {
            return fault.hint(format!("not all files could be read: {}", self.faults.join("; ")));
        }
        let places: Vec<String> = directories.iter().map(|path| path.display().to_string()).collect();
        let mut known: Vec<&str> = self.devices.keys().map(String::as_str).collect();
        known.sort_unstable();
        known.truncate(10);
        match known.as_slice() {
            [] => fault.hint(format!("no file in {} has a device", places.join(", "))),
            known => fault.hint(format!("{} have {}", places.join(", "), known.join(", "))),
        }
    }
}

impl Edits {
    fn add(&mut self, more: &Edits) {
        self.env.extend(more.env.iter().cloned());
        self.device_nodes.extend(more.device_nodes.iter().cloned());
        self.net_devices.extend(more.net_devices.iter().cloned());
        self.mounts.extend(more.mounts.iter().cloned());
        self.hooks.extend(more.hooks.iter().cloned());
        self.additional_gids.extend(&more.additional_gids);
        self.intel_rdt = more.intel_rdt.clone().or(self.intel_rdt.take());
    }

    /// What is wrong with them.
    fn check(&self) -> Result<(), String> {
        for variable in &self.env {
            if variable.find('=').is_none_or(|at| at == 0) {
                return Err(format!("variable {variable:?} is not KEY=VALUE"));
            }
        }
        for node in &self.device_nodes {
            if !node.path.starts_with('/') || !(node.host_path.is_empty() || node.host_path.starts_with('/')) {
                return Err(format!("device node {:?}: paths must be absolute", node.path));
            }
            if !matches!(node.kind.as_str(), "" | "b" | "c" | "u" | "p") {
                return Err(format!("device node {:?}: its type {:?} is none of b, c, u, p", node.path, node.kind));
            }
            if node.permissions.bytes().any(|byte| !b"rwm".contains(&byte)) {
                return Err(format!("device node {:?}: its permissions are not of r, w, m", node.path));
            }
        }
        for device in &self.net_devices {
            if device.host_interface_name.is_empty() || device.name.is_empty() {
                return Err("a network device lacks a name".into());
            }
        }
        for mount in &self.mounts {
            if mount.host_path.is_empty() || !mount.container_path.starts_with('/') {
                return Err(format!("mount at {:?}: its path inside must be absolute", mount.container_path));
            }
        }
        for hook in &self.hooks {
            if runtime::hooks::Moment::ALL.iter().all(|moment| moment.name() != hook.hook_name) {
                return Err(format!("hook {:?}: there is no moment {:?}", hook.path, hook.hook_name));
            }
            if !hook.path.starts_with('/') {
                return Err(format!("hook {:?}: its path must be absolute", hook.path));
            }
            if hook.timeout.is_some_and(|seconds| seconds <= 0) {
                return Err(format!("hook {:?}: its timeout must be greater than zero", hook.path));
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > LARGEST { Err(format!("it is larger than {LARGEST} bytes")) } else { Ok(text) }
}

fn parse(text: &str, is_json: bool) -> Result<Document, String> {
    let document: Document = if is_json {
        serde_json::from_str(text).map_err(|e| e.to_string())?
    } else {
        // The message goes on with a picture of the place.
        let first = |e: serde_saphyr::Error| e.to_string().lines().next().unwrap_or_default().to_owned();
        serde_saphyr::from_str(text).map_err(first)?
    };
    let version = document.version.strip_prefix('v').unwrap_or(&document.version);
    if !VERSIONS.contains(&version) {
        return Err(format!("version {version:?} of the specification is not known"));
    }
    if !is_kind(&document.kind) {
        return Err(format!("kind {:?} is not VENDOR/CLASS", document.kind));
    }
    if document.devices.is_empty() {
        return Err("it has no devices".into());
    }
    document.container_edits.check()?;
    let mut names: Vec<&str> = Vec::new();
    for device in &document.devices {
        if !is_word(&device.name, false, b"_-.:") {
            return Err(format!(
                "device name {:?} is not made of letters, digits, \"_\", \"-\", \".\", \":\"",
                device.name
            ));
        }
        if names.contains(&device.name.as_str()) {
            return Err(format!("device {:?} is there twice", device.name));
        }
        names.push(&device.name);
        device.container_edits.check().map_err(|why| format!("device {:?}: {why}", device.name))?;
    }
    Ok(document)
}

#[cfg(test)]
mod tests;
