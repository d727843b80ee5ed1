//! Decided → executed: a pure function from [`Config`] and facts about the host to what the runtime is told.

mod mounts;
mod vendor;

use super::config::{Config, Namespace, Seccomp};
use super::facts::Facts;
use super::volumes::Realized;
use crate::{cdi, hooks};
use oci_spec::runtime::{LinuxPersonality, LinuxSeccomp, Process, Spec};
use ops::container::Resources;
use ops::{Fault, Kind};
use runtime::Rootfs;
use runtime::seccomp::{Architecture, profile};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use types::{Id, IdRange, capability};

/// What is known only when the container is about to be made.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its root file system.
    pub rootfs: Rootfs,
    /// Its directory.
    pub directory: PathBuf,
    /// Files to be bound: path on the host and inside, /etc/hosts and the like.
    pub files: Vec<(PathBuf, String)>,
    /// `KEY=VALUE` for the program alone, stored nowhere.
    pub variables: Vec<String>,
    /// What the mounts that are more than a directory of the host or memory have become, by their destination.
    pub mounts: BTreeMap<String, Realized>,
    /// Device nodes of the host by path, for the devices of the configuration.
    pub devices: BTreeMap<PathBuf, DeviceNode>,
    /// What devices of vendors add.
    pub edits: cdi::Edits,
    /// Hooks of the host.
    pub hooks: hooks::Chosen,
    /// First processes of the containers whose namespaces are joined.
    pub joined: BTreeMap<Id, runtime::Owner>,
    /// Rows and columns of the terminal, if they are known.
    pub terminal_size: Option<(u16, u16)>,
}

/// What stat(2) says of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNode {
    /// `c` or `b`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Its group.
    pub gid: u32,
}

/// Devices that every container may use: null zero full random urandom tty, the terminal's own, and pseudo-terminals.
const ALLOWED: [(i64, Option<i64>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// All that the runtime needs to make the container.
pub fn lower(config: &Config, facts: &Facts, place: Place) -> Result<runtime::Create, Fault> {
    let made = vendor::nodes(config, &place)?;
    let mut document = json!({
        "ociVersion": "1.2.0",
        "process": process(config, &arguments(config), &environment(config, &place), place.terminal_size),
        "root": { "path": "rootfs", "readonly": config.read_only },
        "hostname": hostname(config),
        "mounts": mounts::mounts(config, facts, &place, &made)?,
        "annotations": config.annotations,
        "linux": linux(config, facts, &place, &made)?,
    });
    if let Some(hooks) = all_hooks(&place) {
        document["hooks"] = hooks;
    }
    let mut spec: Spec = serde_json::from_value(document).map_err(|e| {
        Fault::internal(format!("container {} cannot be put into an OCI specification: {e}", config.id.short()))
    })?;
    let Filter { specified, ready } = filter(config, facts)?;
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(specified);
        if config.personality.is_some() {
            linux.set_personality(personality(config)?);
        }
    }
    Ok(runtime::Create {
        id: config.id.to_string(),
        spec,
        rootfs: place.rootfs,
        bundle: place.directory,
        user: Some(config.user.clone()),
        groups: groups(config, &place.edits),
        keep_groups: config.keep_groups,
        create_cwd: config.make_working_directory,
        init: config.init,
        no_pivot: false,
        keep_keyring: false,
        owners: place.joined.into_values().collect(),
        preserved: 0,
        kept: Vec::new(),
        everywhere: false,
        filter: ready,
    })
}

/// The container's variables, with those of devices and the secret ones in place.
fn environment(config: &Config, place: &Place) -> Vec<String> {
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let added: Vec<&String> = place.edits.env.iter().chain(&place.variables).collect();
    let mut all: Vec<String> = config.environment.clone();
    for entry in added {
        match all.iter_mut().find(|own| key(own) == key(entry)) {
            Some(own) => own.clone_from(entry),
            None => all.push(entry.clone()),
        }
    }
    all
}

/// Those that devices of vendors want, then those of the host.
fn all_hooks(place: &Place) -> Option<Value> {
    let mut all = hooks::Chosen::default();
    for hook in &place.edits.hooks {
        let (path, args, env) = (hook.path.clone(), hook.args.clone(), hook.env.clone());
        all.push(&hook.hook_name, hooks::Program { path, args, env, timeout: hook.timeout });
    }
    all.hooks.extend(place.hooks.hooks.iter().cloned());
    all.specified()
}

/// The program's further groups.
fn groups(config: &Config, edits: &cdi::Edits) -> Vec<String> {
    let added = edits.additional_gids.iter().filter(|gid| **gid != 0).map(u32::to_string);
    config.additional_groups.iter().cloned().chain(added).collect()
}

/// Where the host's init is seen inside.
const INIT: &str = "/run/podman-init";

/// The program and its arguments, after the init of the host's if there is one.
fn arguments(config: &Config) -> Vec<String> {
    let init = config.init_path.iter().flat_map(|_| [INIT.to_owned(), "--".to_owned()]);
    init.chain(config.arguments.iter().cloned()).collect()
}

/// The execution domain of the container's processes.
pub fn personality(config: &Config) -> Result<Option<LinuxPersonality>, Fault> {
    let domain = config.personality.as_ref().map(|domain| json!({ "domain": domain }));
    domain.map(serde_json::from_value).transpose().map_err(Fault::internal)
}

/// The process of `exec`: the container's, with another program.
pub fn process_of(
    config: &Config,
    arguments: &[String],
    environment: &[String],
    terminal_size: Option<(u16, u16)>,
) -> Result<Process, Fault> {
    serde_json::from_value(process(config, arguments, environment, terminal_size))
        .map_err(|e| Fault::internal(format!("the process cannot be put into an OCI specification: {e}")))
}

/// The filter of the container's processes, if one of the two is there.
#[derive(Debug, Default)]
pub struct Filter {
    /// A profile.
    pub specified: Option<LinuxSeccomp>,
    /// The runtime's own.
    pub ready: Option<runtime::Ready>,
}

/// The filter. Where only one id is mapped no owner can be changed, and the filter says that it was.
pub fn filter(config: &Config, facts: &Facts) -> Result<Filter, Fault> {
    let Some(architecture) = Architecture::native() else {
        return match (&config.seccomp, facts.single_id) {
            (Seccomp::Unconfined, false) => Ok(Filter::default()),
            _ => Err(Fault::new(Kind::Unsupported, "filters of system calls cannot be made for this processor")
                .hint("use --security-opt seccomp=unconfined")),
        };
    };
    let mut filter = match &config.seccomp {
        Seccomp::Unconfined if !facts.single_id => return Ok(Filter::default()),
        Seccomp::Default if !facts.single_id => {
            let ready = Some(runtime::Ready::Default(config.capabilities));
            return Ok(Filter { ready, specified: None });
        }
        Seccomp::Unconfined => profile::unconfined(architecture),
        Seccomp::Default => profile::default(config.capabilities, architecture),
        Seccomp::Profile { path, text } => {
            runtime::seccomp::parse(text.as_bytes(), config.capabilities, architecture, facts.kernel)
                .map_err(|e| Fault::invalid(format!("loading seccomp profile ({path}) failed: {e}")))?
        }
    };
    if facts.single_id {
        profile::ignore_chown(&mut filter);
    }
    Ok(Filter { specified: Some(filter), ready: None })
}

/// Bits that the container's first process has.
pub fn effective_capabilities(config: &Config) -> u64 {
    if is_root(config) { config.capabilities } else { config.user_capabilities }
}

fn is_root(config: &Config) -> bool {
    matches!(config.user.split(':').next(), None | Some("" | "0" | "root"))
}

fn process(config: &Config, arguments: &[String], environment: &[String], terminal_size: Option<(u16, u16)>) -> Value {
    let held = capability::names(effective_capabilities(config));
    let kept: &[String] = if is_root(config) { &[] } else { &held };
    let mut process = json!({
        "terminal": config.terminal,
        "user": { "uid": 0, "gid": 0, "umask": config.umask },
        "args": arguments,
        "env": environment,
        "cwd": config.working_directory,
        "capabilities": {
            "bounding": capability::names(config.capabilities),
            "effective": held, "permitted": held, "inheritable": kept, "ambient": kept,
        },
        "rlimits": config.rlimits.iter().map(|r| json!({ "type": r.name, "soft": r.soft, "hard": r.hard })).collect::<Vec<_>>(),
        "noNewPrivileges": config.no_new_privileges,
    });
    if let Some(profile) = &config.apparmor {
        process["apparmorProfile"] = json!(profile);
    }
    if let Some((rows, columns)) = terminal_size {
        process["consoleSize"] = json!({ "height": rows, "width": columns });
    }
    if let Some(score) = config.oom_score_adj {
        process["oomScoreAdj"] = json!(score);
    }
    process
}

/// A host name belongs to a new UTS namespace only: to set it in a shared one would rename others.
fn hostname(config: &Config) -> Value {
    if config.namespaces.uts == Namespace::Private { json!(config.hostname) } else { Value::Null }
}

fn linux(config: &Config, facts: &Facts, place: &Place, vendors: &[vendor::Made]) -> Result<Value, Fault> {
    let mut linux = json!({
        "namespaces": namespaces(config, place)?,
        "resources": if config.no_cgroup { Value::Null } else { resources(config, place, vendors) },
        "sysctl": config.sysctl,
        "maskedPaths": config.masked_paths,
        "readonlyPaths": config.read_only_paths,
        "rootfsPropagation": "private",
    });
    if let Some(map) = &config.namespaces.user {
        let ranges = |ranges: &[IdRange]| -> Vec<Value> {
            ranges.iter().map(|r| json!({ "containerID": r.container, "hostID": r.host, "size": r.size })).collect()
        };
        linux["uidMappings"] = json!(ranges(&map.uids));
        linux["gidMappings"] = json!(ranges(&map.gids));
    }
    if let Some(path) = cgroup_path(config, facts).filter(|_| !config.no_cgroup) {
        linux["cgroupsPath"] = json!(path);
    }
    // In a user namespace a device node cannot be made: there the host's is bound (see `mounts`).
    if !facts.rootless {
        let made: Vec<Value> = nodes(config, place)
            .map(|(device, node)| {
                json!({ "path": device.destination, "type": node.kind.to_string(), "major": node.major,
                        "minor": node.minor, "fileMode": node.mode, "uid": 0, "gid": node.gid })
            })
            .filter(|made| vendors.iter().all(|vendor| made["path"] != vendor.path))
            .chain(vendors.iter().map(vendor::Made::specified))
            .collect();
        linux["devices"] = json!(made);
    }
    if let Some(devices) = vendor::net_devices(&place.edits) {
        linux["netDevices"] = devices;
    }
    Ok(linux)
}

/// `PARENT/ID`; the parent is the host's default unless one was asked for.
fn cgroup_path(config: &Config, facts: &Facts) -> Option<String> {
    let parent = match config.cgroup_parent.trim_end_matches('/') {
        "" => facts.controllers.parent.as_deref()?,
        asked => asked,
    };
    let slash = if parent.starts_with('/') { "" } else { "/" };
    Some(format!("{slash}{parent}/{}", config.id))
}

fn nodes<'a>(config: &'a Config, place: &'a Place) -> impl Iterator<Item = (&'a super::config::Device, DeviceNode)> {
    config.devices.iter().filter_map(|d| Some((d, *place.devices.get(&d.source)?)))
}

fn namespaces(config: &Config, place: &Place) -> Result<Vec<Value>, Fault> {
    let mut all = vec![json!({ "type": "mount" })];
    let spaces = &config.namespaces;
    let private = spaces.user.as_ref().map(|_| Namespace::Private);
    let user = spaces.user_joined.clone().or(private).unwrap_or(Namespace::Host);
    let named = [
        ("user", "user", &user),
        ("network", "net", &spaces.network),
        ("pid", "pid", &spaces.pid),
        ("ipc", "ipc", &spaces.ipc),
        ("uts", "uts", &spaces.uts),
        ("cgroup", "cgroup", &spaces.cgroup),
    ];
    for (kind, file, space) in named {
        match space {
            Namespace::Host => {}
            Namespace::Private => all.push(json!({ "type": kind })),
            Namespace::Path(path) => all.push(json!({ "type": kind, "path": path })),
            Namespace::Container(id) => {
                let owner = place.joined.get(id).ok_or_else(|| {
                    Fault::new(
                        Kind::Conflict,
                        format!("cannot join the {kind} namespace of container {}: it is not running", id.short()),
                    )
                })?;
                all.push(json!({ "type": kind, "path": format!("/proc/{}/ns/{file}", owner.pid) }));
            }
        }
    }
    Ok(all)
}

fn resources(config: &Config, place: &Place, vendors: &[vendor::Made]) -> Value {
    let mut all = limits(&config.resources, &place.devices);
    all["devices"] = Value::Array(device_rules(config, place, vendors));
    all
}

/// The limits of a cgroup as the runtime specification has them, without rules of devices.
pub(crate) fn limits(asked: &Resources, nodes: &BTreeMap<PathBuf, DeviceNode>) -> Value {
    let mut all = Map::new();
    let mut group = |name: &str, entries: Vec<(&str, Option<Value>)>| {
        let there: Map<String, Value> = entries.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))).collect();
        if !there.is_empty() {
            all.insert(name.to_owned(), Value::Object(there));
        }
    };
    group(
        "memory",
        vec![
            ("limit", asked.memory.map(|v| json!(v))),
            ("reservation", asked.memory_reservation.map(|v| json!(v))),
            ("swap", asked.memory_swap.map(|v| json!(v))),
            ("swappiness", asked.memory_swappiness.map(|v| json!(v))),
            ("disableOOMKiller", asked.oom_kill_disable.then_some(json!(true))),
        ],
    );
    group(
        "cpu",
        vec![
            ("shares", asked.cpu_shares.map(|v| json!(v))),
            ("quota", asked.cpu_quota.map(|v| json!(v))),
            ("period", asked.cpu_period.map(|v| json!(v))),
            ("realtimePeriod", asked.cpu_rt_period.map(|v| json!(v))),
            ("realtimeRuntime", asked.cpu_rt_runtime.map(|v| json!(v))),
            ("cpus", asked.cpuset_cpus.as_ref().map(|v| json!(v))),
            ("mems", asked.cpuset_mems.as_ref().map(|v| json!(v))),
        ],
    );
    group("pids", vec![("limit", asked.pids.map(|v| json!(v)))]);
    let rates = |rates: &[String]| -> Option<Value> {
        let all: Vec<Value> = rates.iter().filter_map(|r| rate(r, nodes)).collect();
        (!all.is_empty()).then_some(Value::Array(all))
    };
    let weights: Vec<Value> = asked.blkio_weight_device.iter().filter_map(|w| weight(w, nodes)).collect();
    let weights = (!weights.is_empty()).then_some(Value::Array(weights));
    group(
        "blockIO",
        vec![
            ("weight", asked.blkio_weight.map(|v| json!(v))),
            ("weightDevice", weights),
            ("throttleReadBpsDevice", rates(&asked.device_read_bps)),
            ("throttleWriteBpsDevice", rates(&asked.device_write_bps)),
            ("throttleReadIOPSDevice", rates(&asked.device_read_iops)),
            ("throttleWriteIOPSDevice", rates(&asked.device_write_iops)),
        ],
    );
    if !asked.unified.is_empty() {
        all.insert("unified".to_owned(), json!(asked.unified));
    }
    Value::Object(all)
}

fn weight(text: &str, nodes: &BTreeMap<PathBuf, DeviceNode>) -> Option<Value> {
    let (path, weight) = text.rsplit_once(':')?;
    let node = nodes.get(&PathBuf::from(path))?;
    Some(json!({ "major": node.major, "minor": node.minor, "weight": weight.parse::<u16>().ok()? }))
}

/// `resolve` has checked the form, and making the container that the device is there.
fn rate(text: &str, nodes: &BTreeMap<PathBuf, DeviceNode>) -> Option<Value> {
    let (path, rate) = text.rsplit_once(':')?;
    let node = nodes.get(&PathBuf::from(path))?;
    Some(json!({ "major": node.major, "minor": node.minor, "rate": types::size::parse(rate).ok()? }))
}

fn device_rules(config: &Config, place: &Place, vendors: &[vendor::Made]) -> Vec<Value> {
    if config.privileged {
        return vec![json!({ "allow": true, "access": "rwm" })];
    }
    let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
    rules.extend(ALLOWED.iter().map(|(major, minor)| match minor {
        Some(minor) => json!({ "allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm" }),
        None => json!({ "allow": true, "type": "c", "major": major, "access": "rwm" }),
    }));
    rules.extend(nodes(config, place).map(|(device, node)| {
        json!({ "allow": true, "type": node.kind.to_string(), "major": node.major, "minor": node.minor,
                "access": device.permissions })
    }));
    rules.extend(vendors.iter().filter_map(vendor::Made::rule));
    rules.extend(config.device_rules.iter().map(|rule| {
        let mut all = json!({ "allow": true, "type": rule.kind.to_string(), "access": rule.access });
        for (key, number) in [("major", rule.major), ("minor", rule.minor)] {
            if let Some(number) = number {
                all[key] = json!(number);
            }
        }
        all
    }));
    rules
}

#[cfg(test)]
mod tests;
