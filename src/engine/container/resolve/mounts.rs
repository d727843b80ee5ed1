//! `-v`, `--mount`, `--tmpfs`, `--read-only-tmpfs` and `--device`, in Podman's notation.

use crate::container::config::{Device, Mount, MountKind};
use crate::container::facts::Facts;
use ops::container::Create;
use ops::{Fault, Kind};
use std::path::PathBuf;
use types::size;

/// What is written to when the root file system is read-only.
const WRITABLE: [&str; 3] = ["/run", "/tmp", "/var/tmp"];

/// All mounts that were asked for, parents first.
pub fn mounts(asked: &Create, facts: &Facts) -> Result<Vec<Mount>, Fault> {
    let mut all: Vec<Mount> = Vec::new();
    for text in &asked.volumes {
        add(&mut all, volume(text, facts)?)?;
    }
    for text in &asked.mounts {
        add(&mut all, mount(text, facts)?)?;
    }
    for text in &asked.tmpfs {
        let (destination, options) = text.split_once(':').unwrap_or((text, ""));
        let options: Vec<&str> = options.split(',').filter(|o| !o.is_empty()).collect();
        add(&mut all, tmpfs(destination, &options)?)?;
    }
    if asked.read_only && asked.read_only_tmpfs.unwrap_or(true) {
        for path in WRITABLE {
            if all.iter().all(|m| m.destination != path) {
                all.push(tmpfs(path, &[])?);
            }
        }
    }
    all.sort_by_key(|m| m.destination.matches('/').count());
    Ok(all)
}

fn add(all: &mut Vec<Mount>, mount: Mount) -> Result<(), Fault> {
    if all.iter().any(|m| m.destination == mount.destination) {
        return Err(Fault::invalid(format!("{:?}: duplicate mount destination", mount.destination)));
    }
    all.push(mount);
    Ok(())
}

/// A clean absolute path: no `.`, no empty parts; `..` is refused rather than guessed at.
fn destination(text: &str) -> Result<String, Fault> {
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

fn source(text: &str, flag: &str) -> Result<PathBuf, Fault> {
    if text.starts_with('/') {
        return Ok(PathBuf::from(text));
    }
    Err(Fault::new(Kind::Unsupported, format!("{flag}: {text:?} names a volume, and volumes are not supported yet"))
        .hint("give the absolute path of a directory of the host"))
}

fn volume(text: &str, facts: &Facts) -> Result<Mount, Fault> {
    let parts: Vec<&str> = text.split(':').collect();
    let (from, to, options) = match parts.as_slice() {
        [_] => return Err(source("", "--volume").unwrap_err()),
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
    let kind = MountKind::Bind { source: source(from, "--volume")? };
    Ok(Mount { kind, destination: destination(to)?, options: bind_options(&options, facts)? })
}

const PROPAGATIONS: [&str; 8] =
    ["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"];

fn bind_options(asked: &[&str], facts: &Facts) -> Result<Vec<String>, Fault> {
    let mut options: Vec<String> = Vec::new();
    let mut groups: Vec<&str> = Vec::new();
    for option in asked {
        let group = match *option {
            "ro" | "rw" => "ro or rw",
            "bind" | "rbind" => "bind or rbind",
            "exec" | "noexec" => "exec or noexec",
            "suid" | "nosuid" => "suid or nosuid",
            "dev" | "nodev" => "dev or nodev",
            "z" | "Z" if facts.selinux => {
                return Err(Fault::new(
                    Kind::Unsupported,
                    format!("mount option {option:?} is not supported yet: files are not relabelled"),
                )
                .hint("relabel the files with chcon, or run with --security-opt label=disable and without it"));
            }
            // Without SELinux there is nothing to relabel, and nothing is lost.
            "z" | "Z" => continue,
            "copy" | "nocopy" => continue,
            "U" | "O" | "idmap" | "chown" => {
                return Err(Fault::new(Kind::Unsupported, format!("mount option {option:?} is not supported yet")));
            }
            option if PROPAGATIONS.contains(&option) => "one propagation",
            option => return Err(Fault::invalid(format!("invalid mount option {option:?}"))),
        };
        if groups.contains(&group) {
            return Err(Fault::invalid(format!("invalid option {option:?}: cannot pass more than one of {group}")));
        }
        groups.push(group);
        options.push((*option).to_owned());
    }
    if !groups.contains(&"bind or rbind") {
        options.insert(0, "rbind".into());
    }
    if !groups.contains(&"one propagation") {
        options.push("rprivate".into());
    }
    Ok(options)
}

fn tmpfs(path: &str, asked: &[&str]) -> Result<Mount, Fault> {
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
    Ok(Mount { kind: MountKind::Tmpfs, destination: destination(path)?, options })
}

fn mount(text: &str, facts: &Facts) -> Result<Mount, Fault> {
    let (mut kind, mut from, mut to) = ("volume", None, None);
    let mut rest: Vec<(&str, Option<&str>)> = Vec::new();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').map_or((part, None), |(k, v)| (k, Some(v)));
        match (key, value) {
            ("type", Some(value)) => kind = value,
            ("source" | "src", Some(value)) => from = Some(value),
            ("destination" | "dst" | "target", Some(value)) => to = Some(value),
            _ => rest.push((key, value)),
        }
    }
    let to = to.ok_or_else(|| Fault::invalid(format!("invalid mount {text:?}: must set volume destination")))?;
    let switch = |value: Option<&str>| match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(Fault::invalid(format!("invalid mount {text:?}: {other:?} is not a boolean"))),
    };
    let mut options: Vec<String> = Vec::new();
    for (key, value) in rest {
        match (kind, key) {
            (_, "ro" | "readonly") => options.push(if switch(value)? { "ro" } else { "rw" }.into()),
            (_, "rw") => options.push(if switch(value)? { "rw" } else { "ro" }.into()),
            ("bind", "bind-propagation") => options.push(value.unwrap_or_default().into()),
            ("bind", "bind-nonrecursive") => options.push(if switch(value)? { "bind" } else { "rbind" }.into()),
            ("bind", "relabel") => options.push(if value == Some("private") { "Z" } else { "z" }.into()),
            ("tmpfs", "tmpfs-size") => options.push(format!("size={}", value.unwrap_or_default())),
            ("tmpfs", "tmpfs-mode") => options.push(format!("mode={}", value.unwrap_or_default())),
            (_, key) => options.push(value.map_or_else(|| key.to_owned(), |v| format!("{key}={v}"))),
        }
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    match kind {
        "bind" => {
            let from =
                from.ok_or_else(|| Fault::invalid(format!("invalid mount {text:?}: must set source for bind mounts")))?;
            Ok(Mount {
                kind: MountKind::Bind { source: source(from, "--mount")? },
                destination: destination(to)?,
                options: bind_options(&options, facts)?,
            })
        }
        "tmpfs" if from.is_some() => Err(Fault::invalid(format!(
            "invalid mount {text:?}: \"source\" option not supported for \"tmpfs\" mount types"
        ))),
        "tmpfs" => tmpfs(to, &options),
        "volume" | "image" | "devpts" | "glob" | "ramfs" | "artifact" => {
            Err(Fault::new(Kind::Unsupported, format!("mounts of type {kind:?} are not supported yet"))
                .hint("use bind or tmpfs"))
        }
        other => Err(Fault::invalid(format!("invalid filesystem type {other:?}"))),
    }
}

/// The devices that were asked for, or with `--privileged` all of the host.
pub fn devices(asked: &Create, facts: &Facts) -> Result<Vec<Device>, Fault> {
    let all = |path: &String| Device { source: path.into(), destination: path.clone(), permissions: "rwm".into() };
    let mut devices: Vec<Device> = if asked.privileged { facts.devices.iter().map(all).collect() } else { Vec::new() };
    for text in &asked.devices {
        let invalid =
            || Fault::invalid(format!("invalid device specification: {text}")).hint("expected HOST[:CONTAINER][:rwm]");
        let permissions = |p: &str| !p.is_empty() && p.bytes().all(|b| b"rwm".contains(&b));
        let parts: Vec<&str> = text.split(':').collect();
        let (from, to, mode) = match parts.as_slice() {
            [from] => (*from, *from, "rwm"),
            [from, mode] if permissions(mode) => (*from, *from, *mode),
            [from, to] => (*from, *to, "rwm"),
            [from, to, mode] if permissions(mode) => (*from, *to, *mode),
            _ => return Err(invalid()),
        };
        if from.contains('=') {
            return Err(Fault::new(Kind::Unsupported, format!("device {text:?}: CDI devices are not supported yet")));
        }
        if !from.starts_with('/') {
            return Err(invalid());
        }
        devices.push(Device { source: from.into(), destination: destination(to)?, permissions: mode.into() });
    }
    Ok(devices)
}
