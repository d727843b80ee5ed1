//! Mounts: those of `-v`, `--tmpfs`, `--volumes-from` and the image's volumes, in Podman's notation; `--mount` is in
//! [`super::mount_flag`]. What was asked for by `-v`, `--mount` and `--tmpfs` comes before what another container has, and
//! that before what the image wishes.

use super::mount_flag;
use crate::container::config::{Mount, MountKind, Overlay};
use crate::container::facts::Facts;
use ops::container::Create;
use ops::{Fault, Kind};
use std::collections::BTreeMap;
use std::path::PathBuf;
use types::{Digest, Id, IdMap, size};

/// What is written to when the root file system is read-only.
const WRITABLE: [&str; 3] = ["/run", "/tmp", "/var/tmp"];

/// Where mounts come from, beside what was asked.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The host.
    pub facts: &'a Facts,
    /// The container: what it has by no name is named after it.
    pub id: &'a Id,
    /// The map of the container's own user namespace.
    pub user: Option<&'a IdMap>,
}

/// All mounts that were asked for, parents first. `wished` are the paths of the image's volumes, `needed` what the program
/// cannot do without.
pub fn mounts(
    asked: &Create,
    wished: &BTreeMap<String, serde_json::Value>,
    needed: Vec<Mount>,
    context: Context<'_>,
) -> Result<Vec<Mount>, Fault> {
    let mut all: Vec<Mount> = Vec::new();
    for text in &asked.volumes {
        add(&mut all, volume(text, context)?)?;
    }
    for text in &asked.mounts {
        for mount in mount_flag::parse(text, context)? {
            add(&mut all, mount)?;
        }
    }
    for text in &asked.tmpfs {
        let (destination, options) = text.split_once(':').unwrap_or((text, ""));
        let options: Vec<&str> = options.split(',').filter(|o| !o.is_empty()).collect();
        add(&mut all, tmpfs(destination, &options)?)?;
    }
    for text in &asked.volumes_from {
        for mount in from_container(text, context.facts)? {
            supplement(&mut all, mount);
        }
    }
    for mount in needed {
        supplement(&mut all, mount);
    }
    let wish = asked.image_volume.as_deref().unwrap_or("anonymous");
    for path in wished.keys() {
        let path = destination(path)?;
        match wish {
            "" | "bind" | "anonymous" => supplement(&mut all, anonymous(path, context.id)),
            "tmpfs" => supplement(&mut all, tmpfs(&path, &[])?),
            "ignore" => {}
            _ => {
                return Err(Fault::invalid(format!("invalid --image-volume type {wish:?}"))
                    .hint("use anonymous, tmpfs or ignore"));
            }
        }
    }
    if asked.read_only && asked.read_only_tmpfs.unwrap_or(true) {
        for path in WRITABLE {
            supplement(&mut all, tmpfs(path, &[])?);
        }
    }
    all.sort_by_key(|m| m.destination.matches('/').count());
    Ok(all)
}

fn add(all: &mut Vec<Mount>, mount: Mount) -> Result<(), Fault> {
    match all.iter().find(|m| m.destination == mount.destination) {
        // The same said twice is said.
        Some(known) if *known == mount => {}
        Some(_) => return Err(Fault::invalid(format!("{}: duplicate mount destination", mount.destination))),
        None => all.push(mount),
    }
    Ok(())
}

/// Adds a mount unless there is one in its place.
fn supplement(all: &mut Vec<Mount>, mount: Mount) {
    if all.iter().all(|m| m.destination != mount.destination) {
        all.push(mount);
    }
}

/// A volume without a name, known by the container and its place there.
pub fn anonymous(destination: String, id: &Id) -> Mount {
    let name = Digest::of(format!("{id}{destination}").as_bytes()).hex();
    let options = ["nosuid", "nodev", "rbind", "rprivate"].map(String::from).to_vec();
    Mount::new(MountKind::Volume { name, anonymous: true }, destination, options)
}

/// `--volumes-from`: what another container has of volumes and of the host.
fn from_container(text: &str, facts: &Facts) -> Result<Vec<Mount>, Fault> {
    let (name, options) = text.split_once(':').unwrap_or((text, ""));
    let mut mode = None;
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match option {
            "ro" | "rw" if mode.is_none() => mode = Some(option),
            "z" if !facts.selinux => {}
            _ => {
                return Err(Fault::invalid(format!("invalid options {options:?} for --volumes-from {name}"))
                    .hint("use ro, rw or z"));
            }
        }
    }
    let mounts = facts.volumes_from.get(name).ok_or_else(|| {
        Fault::new(Kind::NotFound, format!("no container with name or ID {name:?} found: no such container"))
    })?;
    Ok(mounts
        .iter()
        .filter(|m| matches!(m.kind, MountKind::Bind { .. } | MountKind::Volume { .. }))
        .map(|mount| {
            let mut mount = mount.clone();
            if let Some(mode) = mode {
                mount.options.retain(|o| o != "ro" && o != "rw");
                mount.options.push(mode.to_owned());
            }
            mount
        })
        .collect())
}

/// A clean absolute path: no `.`, no empty parts; `..` is refused rather than guessed at.
pub fn destination(text: &str) -> Result<String, Fault> {
    if !text.starts_with('/') {
        return Err(Fault::invalid(format!("invalid container path {text:?}, must be an absolute path")));
    }
    let parts: Vec<&str> = text.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    if parts.is_empty() {
        return Err(Fault::invalid(format!("invalid container path {text:?}: the root itself cannot be mounted over")));
    }
    if parts.contains(&"..") {
        return Err(Fault::invalid(format!("invalid container path {text:?}: it holds \"..\"")));
    }
    Ok(format!("/{}", parts.join("/")))
}

/// An absolute path of the host, or the name of a volume.
pub fn source(text: &str) -> Result<MountKind, Fault> {
    if text.starts_with('/') {
        return Ok(MountKind::Bind { source: PathBuf::from(text) });
    }
    Ok(MountKind::Volume { name: crate::volume::checked(text)?.to_owned(), anonymous: false })
}

/// `-v`.
fn volume(text: &str, context: Context<'_>) -> Result<Mount, Fault> {
    let parts: Vec<&str> = text.split(':').collect();
    let (from, to, options) = match parts.as_slice() {
        [to] => return Ok(anonymous(destination(to)?, context.id)),
        [from, to] => (from, to, ""),
        [from, to, options] => (from, to, *options),
        _ => {
            return Err(Fault::invalid(format!(
                "incorrect volume format {text:?}, should be [host-dir:]ctr-dir[:option]"
            )));
        }
    };
    if from.is_empty() {
        return Err(Fault::invalid("host directory cannot be empty"));
    }
    let options: Vec<&str> = options.split(',').filter(|o| !o.is_empty()).collect();
    bound(source(from)?, destination(to)?, &options, context)
}

const PROPAGATIONS: [&str; 8] =
    ["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"];

/// A directory of the host or a volume, with options as `-v` has them.
pub fn bound(kind: MountKind, destination: String, asked: &[&str], context: Context<'_>) -> Result<Mount, Fault> {
    let is_volume = matches!(kind, MountKind::Volume { .. });
    let mut mount = Mount::new(kind, destination, Vec::new());
    let mut groups: Vec<&str> = Vec::new();
    for option in asked {
        let mut word = *option;
        let group = match word {
            "ro" | "rw" => "ro or rw",
            "bind" | "rbind" => "bind or rbind",
            "exec" | "noexec" => "exec or noexec",
            "suid" | "nosuid" => "suid or nosuid",
            "dev" | "nodev" => "dev or nodev",
            "z" | "Z" if context.facts.selinux => {
                return Err(Fault::new(
                    Kind::Unsupported,
                    format!("mount option {option:?} is not supported yet: files are not relabelled"),
                )
                .hint("relabel the files with chcon, or run with --security-opt label=disable and without it"));
            }
            // Without SELinux there is nothing to relabel, and nothing is lost.
            "z" | "Z" => continue,
            "copy" | "nocopy" if is_volume => {
                mount.no_copy = word == "nocopy";
                continue;
            }
            "copy" | "nocopy" => continue,
            "U" | "chown" => {
                mount.chown = true;
                continue;
            }
            "O" => {
                mount.overlay.get_or_insert_with(Overlay::default);
                continue;
            }
            "idmap" if context.user.is_none() => {
                return Err(Fault::invalid("mount option \"idmap\" needs a user namespace of the container's own")
                    .hint("use it with --userns auto or --uidmap"));
            }
            "idmap" => "idmap",
            "no-dereference" => {
                word = "src-nofollow";
                "no-dereference"
            }
            option if PROPAGATIONS.contains(&option) => "one propagation",
            option => match option.split_once('=') {
                Some((key @ ("upperdir" | "workdir"), path)) if path.starts_with('/') => {
                    let overlay = mount.overlay.get_or_insert_with(Overlay::default);
                    if key == "upperdir" {
                        overlay.upper = Some(path.into())
                    } else {
                        overlay.work = Some(path.into())
                    }
                    continue;
                }
                Some(("idmap", map)) => {
                    super::idmap::of_mount(map, context.user)?;
                    "idmap"
                }
                Some(("subpath", path)) if is_volume => {
                    mount.subpath = Some(path.to_owned()).filter(|path| !path.is_empty());
                    continue;
                }
                _ => return Err(Fault::invalid(format!("invalid mount option {option:?}"))),
            },
        };
        if groups.contains(&group) {
            return Err(Fault::invalid(format!("invalid option {option:?}: cannot pass more than one of {group}")));
        }
        groups.push(group);
        mount.options.push(word.to_owned());
    }
    if let Some(overlay) = &mount.overlay
        && overlay.upper.is_some() != overlay.work.is_some()
    {
        return Err(Fault::invalid("must specify both upperdir and workdir"));
    }
    if is_volume {
        for (group, word) in [("suid or nosuid", "nosuid"), ("dev or nodev", "nodev")] {
            if !groups.contains(&group) {
                mount.options.push(word.into());
            }
        }
    }
    if !groups.contains(&"bind or rbind") {
        mount.options.insert(0, "rbind".into());
    }
    if !groups.contains(&"one propagation") {
        mount.options.push("rprivate".into());
    }
    Ok(mount)
}

/// Memory that is never swapped: the kernel takes a mode, and nothing else.
pub fn ramfs(destination: String, asked: &[&str]) -> Result<Mount, Fault> {
    let mut options: Vec<String> = Vec::new();
    for option in asked {
        match option.split_once('=').map_or((*option, None), |(k, v)| (k, Some(v))) {
            ("ro" | "rw" | "exec" | "noexec" | "suid" | "nosuid" | "dev" | "nodev" | "noatime", None) => {}
            ("mode", Some(value)) if u32::from_str_radix(value, 8).is_ok() => {}
            (key, None) if PROPAGATIONS.contains(&key) => {}
            ("size", _) => {
                return Err(Fault::invalid("a mount of type ramfs has no size: the kernel does not limit it")
                    .hint("use type=tmpfs"));
            }
            _ => return Err(Fault::invalid(format!("invalid ramfs option {option:?}"))),
        }
        options.push((*option).to_owned());
    }
    for (one, other) in [("nosuid", "suid"), ("nodev", "dev")] {
        if !options.iter().any(|o| o == one || o == other) {
            options.push(one.into());
        }
    }
    Ok(Mount::new(MountKind::Ramfs, destination, options))
}

/// `--tmpfs`: memory at `path`.
pub fn tmpfs(path: &str, asked: &[&str]) -> Result<Mount, Fault> {
    let mut options: Vec<String> = Vec::new();
    for option in asked {
        let (key, value) = option.split_once('=').map_or((*option, None), |(k, v)| (k, Some(v)));
        match (key, value) {
            (
                "ro" | "rw" | "exec" | "noexec" | "suid" | "nosuid" | "dev" | "nodev" | "noatime" | "tmpcopyup"
                | "notmpcopyup",
                None,
            ) => {
                options.push((*option).to_owned());
            }
            ("size", Some(value)) if value.ends_with('%') => options.push((*option).to_owned()),
            ("size", Some(value)) => options.push(format!("size={}", size::parse(value)?)),
            ("mode", Some(value)) if u32::from_str_radix(value, 8).is_ok() => options.push((*option).to_owned()),
            ("uid" | "gid" | "nr_inodes", Some(value)) if value.parse::<u32>().is_ok() => {
                options.push((*option).to_owned())
            }
            (key, None) if PROPAGATIONS.contains(&key) => options.push((*option).to_owned()),
            _ => return Err(Fault::invalid(format!("invalid tmpfs option {option:?}"))),
        }
    }
    let has = |options: &[String], names: &[&str]| options.iter().any(|o| names.contains(&o.as_str()));
    if !has(&options, &["ro", "rw"]) {
        options.push("rw".into());
    }
    if !has(&options, &PROPAGATIONS) {
        options.push("rprivate".into());
    }
    if !has(&options, &["suid", "nosuid"]) {
        options.push("nosuid".into());
    }
    if !has(&options, &["dev", "nodev"]) {
        options.push("nodev".into());
    }
    if !has(&options, &["tmpcopyup", "notmpcopyup"]) {
        options.push("tmpcopyup".into());
    }
    options.retain(|o| o != "notmpcopyup");
    Ok(Mount::new(MountKind::Tmpfs, destination(path)?, options))
}
