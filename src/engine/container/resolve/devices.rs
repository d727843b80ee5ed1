//! `--device` and `--gpus`, in Podman's notation.

use super::mounts::destination;
use crate::cdi;
use crate::container::config::{Device, DeviceRule};
use crate::container::facts::Facts;
use ops::container::Create;
use ops::{Fault, Kind};

/// The devices that were asked for, or with `--privileged` all of the host.
pub fn devices(asked: &Create, facts: &Facts, systemd: bool) -> Result<Vec<Device>, Fault> {
    let all = |path: &String| Device { source: path.into(), destination: path.clone(), permissions: "rwm".into() };
    let mut devices: Vec<Device> = if asked.privileged {
        facts.devices.iter().filter(|path| !systemd || !is_terminal(path)).map(all).collect()
    } else {
        Vec::new()
    };
    for text in asked.devices.iter().filter(|text| !cdi::is_name(text)) {
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
        if !from.starts_with('/') {
            let fault = invalid();
            return Err(match from.contains('=') {
                true => fault.hint("a device of a vendor is VENDOR/CLASS=NAME"),
                false => fault,
            });
        }
        let to = destination(to)?;
        match facts.device_directories.get(from) {
            // All that is in a directory, at the same place below `to`.
            Some(nodes) => devices.extend(nodes.iter().map(|node| Device {
                source: node.into(),
                destination: format!("{to}/{}", node.strip_prefix(from).unwrap_or(node).trim_start_matches('/')),
                permissions: mode.into(),
            })),
            None => devices.push(Device { source: from.into(), destination: to, permissions: mode.into() }),
        }
    }
    Ok(devices)
}

/// Terminals of the machine, which systemd would take for its own.
fn is_terminal(path: &str) -> bool {
    path.strip_prefix("/dev/tty").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Those of vendors, each once.
pub fn of_vendors(asked: &Create) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in asked.devices.iter().filter(|text| cdi::is_name(text)).cloned().chain(cdi::of_gpus(&asked.gpus)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// `--device-cgroup-rule`: `TYPE MAJOR:MINOR ACCESS`, as the kernel's device controller wrote them.
pub fn rules(asked: &Create, facts: &Facts) -> Result<Vec<DeviceRule>, Fault> {
    if facts.rootless && !asked.device_cgroup_rules.is_empty() {
        return Err(Fault::new(
            Kind::Unsupported,
            "device cgroup rules are not supported in rootless mode: the kernel takes filters of devices from root only",
        )
        .hint("bind the device with --device"));
    }
    asked.device_cgroup_rules.iter().map(|text| rule(text)).collect()
}

fn rule(text: &str) -> Result<DeviceRule, Fault> {
    // Podman's words, which scripts look for.
    let number = |text: &str| match text {
        "*" => Ok(None),
        text => text
            .parse::<u32>()
            .map(|n| Some(i64::from(n)))
            .map_err(|_| Fault::invalid(format!("strconv.ParseUint: parsing {text:?}: invalid syntax"))),
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let [kind, numbers, access] = words.as_slice() else {
        return Err(Fault::invalid(format!(
            "invalid device cgroup rule requires type, major:Minor, and access rules: {text:?}"
        )));
    };
    let (major, minor) = numbers.split_once(':').unwrap_or((numbers, "*"));
    if !matches!(*kind, "a" | "b" | "c") {
        return Err(Fault::invalid(format!("invalid device type in device-access-add: {kind}")));
    }
    if let Some(other) = access.chars().find(|c| !"rwm".contains(*c)) {
        return Err(Fault::invalid(format!("invalid device access in device-access-add: {other}")));
    }
    Ok(DeviceRule {
        kind: kind.chars().next().unwrap_or('a'),
        major: number(major)?,
        minor: number(minor)?,
        access: (*access).to_owned(),
    })
}
