//! The mounts of a container: those that every one has, the files in /etc, and those that were asked for.

use super::{Place, vendor};
use crate::container::config::{Config, MountKind, Namespace};
use crate::container::facts::Facts;
use crate::container::resolve::idmap;
use ops::Fault;
use serde_json::{Value, json};
use std::path::Path;
use types::IdRange;

/// In the order in which they are made.
pub fn mounts(config: &Config, facts: &Facts, place: &Place, vendors: &[vendor::Made]) -> Result<Vec<Value>, Fault> {
    let given = vendor::mounts(&place.edits);
    let mut all = vec![proc(config, facts), dev(), pts(config, facts), sys(config, facts)];
    all.extend(mqueue(config, facts));
    all.push(shm(config, place));
    // What is bound from the host's /sys brings the host's cgroups with it.
    if !binds_sys(config, facts) && facts.controllers.version != 0 {
        let mode = if config.privileged || config.systemd { "rw" } else { "ro" };
        all.push(mount(
            "cgroup",
            "cgroup",
            "/sys/fs/cgroup",
            &["rprivate", "nosuid", "noexec", "nodev", "relatime", mode],
        ));
    }
    if config.namespaces.no_shared_memory {
        all.retain(|m| m["destination"] != "/dev/shm");
    }
    let by_vendor = |path: &str| given.iter().any(|(destination, _)| *destination == path);
    let replaced = |path: &str| by_vendor(path) || config.mounts.iter().any(|m| m.destination == path);
    all.retain(|m| !m["destination"].as_str().is_some_and(replaced));
    // `/run` must be there before `/run/.containerenv`.
    let mut rest: Vec<(usize, Value)> = Vec::new();
    let depth = |path: &str| path.matches('/').count();
    for (source, destination) in place.files.iter().filter(|(_, d)| !replaced(d)) {
        let mut options = vec!["bind", "rprivate"];
        if config.read_only {
            options.extend(["ro", "nosuid", "noexec", "nodev"]);
        }
        rest.push((
            depth(destination),
            json!({ "type": "bind", "source": source, "destination": destination, "options": options }),
        ));
    }
    for asked in config.mounts.iter().filter(|m| !by_vendor(&m.destination)) {
        let mount = match (place.mounts.get(&asked.destination), &asked.kind) {
            (Some(made), _) if made.kind == "bind" => bound(config, &made.source, &asked.destination, &made.options)?,
            (Some(made), _) => {
                json!({ "type": made.kind, "source": made.source, "destination": asked.destination, "options": made.options })
            }
            (None, MountKind::Bind { source }) => bound(config, source, &asked.destination, &asked.options)?,
            (None, MountKind::Devpts) => {
                json!({ "type": "devpts", "source": "devpts", "destination": asked.destination, "options": asked.options })
            }
            (None, MountKind::Ramfs) => {
                json!({ "type": "ramfs", "source": "ramfs", "destination": asked.destination, "options": asked.options })
            }
            (None, MountKind::Tmpfs) => {
                json!({ "type": "tmpfs", "source": "tmpfs", "destination": asked.destination, "options": asked.options })
            }
            (None, MountKind::Volume { .. } | MountKind::Image { .. }) => {
                return Err(Fault::internal(format!("nothing was made ready for the mount at {}", asked.destination)));
            }
        };
        rest.push((depth(&asked.destination), mount));
    }
    if let Some(source) = &config.init_path {
        let options = ["bind", "rprivate", "ro"];
        rest.push((
            depth(super::INIT),
            json!({ "type": "bind", "source": source, "destination": super::INIT, "options": options }),
        ));
    }
    rest.extend(given.iter().map(|(destination, mount)| (depth(destination), mount.clone())));
    rest.sort_by_key(|(depth, _)| *depth);
    all.extend(rest.into_iter().map(|(_, mount)| mount));
    if facts.rootless {
        all.extend(config.devices.iter().filter(|d| place.devices.contains_key(&d.source)).map(|d| {
            let mode = if d.permissions.contains('w') { "rw" } else { "ro" };
            json!({ "type": "bind", "source": d.source, "destination": d.destination, "options": ["bind", "rprivate", "nosuid", "noexec", mode] })
        }));
        all.extend(vendors.iter().map(|made| {
            let mode = if made.access.contains('w') { "rw" } else { "ro" };
            json!({ "type": "bind", "source": made.source, "destination": made.path, "options": ["bind", "rprivate", "nosuid", "noexec", mode] })
        }));
    }
    Ok(all)
}

/// A bind mount; `idmap=MAPS` among its options is a map of its own, which the specification has in a place of its own.
fn bound(config: &Config, source: &Path, destination: &str, options: &[String]) -> Result<Value, Fault> {
    let own = options.iter().find_map(|option| Some((option.as_str(), option.strip_prefix("idmap=")?)));
    let rest: Vec<&String> = options.iter().filter(|option| own.is_none_or(|(own, _)| *option != own)).collect();
    let mut mount = json!({ "type": "bind", "source": source, "destination": destination, "options": rest });
    if let Some((_, text)) = own {
        let map = idmap::of_mount(text, config.namespaces.user.as_ref())?;
        let ranges = |ranges: &[IdRange]| -> Vec<Value> {
            ranges.iter().map(|r| json!({ "containerID": r.container, "hostID": r.host, "size": r.size })).collect()
        };
        mount["uidMappings"] = json!(ranges(&map.uids));
        mount["gidMappings"] = json!(ranges(&map.gids));
    }
    Ok(mount)
}

fn mount(kind: &str, source: &str, destination: &str, options: &[&str]) -> Value {
    json!({ "type": kind, "source": source, "destination": destination, "options": options })
}

/// The process namespace of the host can be shown by a new mount only to its owner; others bind what is there.
fn proc(config: &Config, facts: &Facts) -> Value {
    if config.namespaces.pid != Namespace::Private && in_user_namespace(config, facts) {
        return mount("bind", "/proc", "/proc", &["rbind", "rprivate", "nosuid", "noexec", "nodev"]);
    }
    let mut options = vec!["nosuid", "noexec", "nodev"];
    options.extend(config.proc_options.iter().map(String::as_str));
    mount("proc", "proc", "/proc", &options)
}

fn dev() -> Value {
    mount("tmpfs", "tmpfs", "/dev", &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"])
}

/// Group 5 is `tty` everywhere; where it is not mapped the terminal's group is that of its owner.
fn pts(config: &Config, facts: &Facts) -> Value {
    let mut options = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    let has_group = match &config.namespaces.user {
        Some(map) => types::idmap::to_host(&map.gids, 5).is_some(),
        None => !facts.single_id,
    };
    if has_group {
        options.push("gid=5");
    }
    mount("devpts", "devpts", "/dev/pts", &options)
}

/// sysfs shows the network namespace, and can be mounted only by whose namespace owns that.
fn binds_sys(config: &Config, facts: &Facts) -> bool {
    config.namespaces.network != Namespace::Private && in_user_namespace(config, facts)
}

fn sys(config: &Config, facts: &Facts) -> Value {
    let mode = if config.privileged { "rw" } else { "ro" };
    if binds_sys(config, facts) {
        return mount("bind", "/sys", "/sys", &["rbind", "rprivate", "nosuid", "noexec", "nodev", mode]);
    }
    mount("sysfs", "sysfs", "/sys", &["nosuid", "noexec", "nodev", mode])
}

/// Message queues are of an IPC namespace, and can be mounted by whoever owns that.
fn mqueue(config: &Config, facts: &Facts) -> Option<Value> {
    match config.namespaces.ipc {
        Namespace::Host if !facts.no_message_queues => {
            Some(mount("bind", "/dev/mqueue", "/dev/mqueue", &["bind", "rprivate", "nosuid", "noexec", "nodev"]))
        }
        Namespace::Host if in_user_namespace(config, facts) => None,
        _ => Some(mount("mqueue", "mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"])),
    }
}

fn shm(config: &Config, place: &Place) -> Value {
    let bound = |source: &str| mount("bind", source, "/dev/shm", &["bind", "rprivate", "nosuid", "noexec", "nodev"]);
    match &config.namespaces.ipc {
        Namespace::Host => return bound("/dev/shm"),
        // Memory that POSIX names is a file system, which goes with the namespace of the other kind.
        Namespace::Container(id) => {
            if let Some(owner) = place.joined.get(id) {
                return bound(&format!("/proc/{}/root/dev/shm", owner.pid));
            }
        }
        Namespace::Private | Namespace::Path(_) => {}
    }
    let size = format!("size={}", config.shm_size);
    mount("tmpfs", "shm", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", &size])
}

fn in_user_namespace(config: &Config, facts: &Facts) -> bool {
    facts.rootless || config.namespaces.user.is_some()
}
