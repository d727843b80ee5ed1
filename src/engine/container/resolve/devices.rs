//! `--device`, in Podman's notation.

use super::mounts::destination;
use crate::container::config::Device;
use crate::container::facts::Facts;
use ops::container::Create;
use ops::{Fault, Kind};

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
