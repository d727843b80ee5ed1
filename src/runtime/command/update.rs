//! `update`: other limits for a container that runs.
//!
//! Must not know: how limits are set.

use super::Program;
use super::failure::Failure;
use super::flags::Words;
use super::state::Status;
use crate::cgroup::{self, Host};
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value};
use std::io::Read;
use std::path::PathBuf;

/// A flag, and the place of its number or text in the specification's `linux.resources`.
const PLACES: &[(&str, &str, &str, Kind)] = &[
    ("blkio-weight", "blockIO", "weight", Kind::Number),
    ("cpu-period", "cpu", "period", Kind::Number),
    ("cpu-quota", "cpu", "quota", Kind::Number),
    ("cpu-share", "cpu", "shares", Kind::Number),
    ("cpu-rt-period", "cpu", "realtimePeriod", Kind::Number),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", Kind::Number),
    ("cpu-burst", "cpu", "burst", Kind::Number),
    ("cpu-idle", "cpu", "idle", Kind::Number),
    ("cpuset-cpus", "cpu", "cpus", Kind::Text),
    ("cpuset-mems", "cpu", "mems", Kind::Text),
    ("memory", "memory", "limit", Kind::Size),
    ("memory-reservation", "memory", "reservation", Kind::Size),
    ("memory-swap", "memory", "swap", Kind::Size),
    ("pids-limit", "pids", "limit", Kind::Number),
];

#[derive(Clone, Copy)]
enum Kind {
    Number,
    /// Bytes, with a unit; -1 is unlimited.
    Size,
    Text,
}

/// `update`.
pub(crate) fn update(program: &Program, words: &Words) -> Result<u8, Failure> {
    let place = program.containers()?.find(words.container())?;
    let record = place.record()?;
    if place.status(Some(&record))? == Status::Stopped {
        return Err(Failure::NotRunning);
    }
    for flag in ["l3-cache-schema", "mem-bw-schema"] {
        if words.value(flag).is_some() {
            return Err(Failure::Unsupported {
                what: format!("--{flag}"),
                instead: "leave it out: intelRdt is not built",
            });
        }
    }
    for flag in ["kernel-memory", "kernel-memory-tcp"] {
        if words.value(flag).is_some() {
            return Err(Failure::Unsupported {
                what: format!("--{flag}"),
                instead: "use --memory: kernels since 5.16 have no such limit",
            });
        }
    }
    let mut resources = match words.value("resources") {
        Some(path) => from_file(path)?,
        None => from_flags(words)?,
    };
    if let Some(rules) = resources.devices().as_ref().filter(|rules| !rules.is_empty()) {
        // What every container may use it may use still; and one that may make nodes may make them still.
        let makes_nodes = place.specification().is_ok_and(|spec| crate::create::makes_nodes(&spec));
        let rules = cgroup::with_defaults(rules, makes_nodes);
        resources.set_devices(Some(rules));
    }
    let host = Host::probe();
    let mut group = record.group_to_be(&host, "limited")?;
    group.update(&host, &resources).map_err(Failure::cgroup)?;
    Ok(0)
}

fn from_file(path: &str) -> Result<LinuxResources, Failure> {
    let failed = |source| Failure::File { step: "read", path: PathBuf::from(path), source };
    let mut text = Vec::new();
    match path {
        "-" => std::io::stdin().read_to_end(&mut text).map_err(failed).map(drop)?,
        path => text = std::fs::read(path).map_err(failed)?,
    }
    serde_json::from_slice(&text).map_err(|source| Failure::Json { path: path.into(), source })
}

fn from_flags(words: &Words) -> Result<LinuxResources, Failure> {
    let mut resources = Map::new();
    for (flag, group, key, kind) in PLACES {
        let Some(text) = words.value(flag) else { continue };
        let value: Value = match kind {
            Kind::Text => text.into(),
            Kind::Number => text
                .parse::<i64>()
                .map_err(|_| Failure::Value { flag, value: text.into(), expected: "a number" })?
                .into(),
            Kind::Size if text == "-1" => Value::from(-1),
            Kind::Size => types::size::parse(text)?.into(),
        };
        let group = resources.entry(*group).or_insert_with(|| Value::Object(Map::new()));
        group[*key] = value;
    }
    let path = PathBuf::from("the flags of update");
    serde_json::from_value(Value::Object(resources)).map_err(|source| Failure::Json { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::flags::{Reading, read};
    use crate::command::table;

    #[test]
    fn flags_become_resources() {
        let verb = table::VERBS.iter().find(|verb| verb.name == "update").unwrap();
        let line =
            "--memory 64m --memory-swap -1 --cpu-quota 5000 --cpuset-cpus 0-1 --pids-limit=7 --blkio-weight 20 id";
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let resources = from_flags(&read(verb.flags, &words, Reading::Mixed, "x").unwrap()).unwrap();
        assert_eq!(resources.memory().unwrap().limit(), Some(64 << 20));
        assert_eq!(resources.memory().unwrap().swap(), Some(-1));
        assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(5000));
        assert_eq!(resources.cpu().as_ref().unwrap().cpus().as_deref(), Some("0-1"));
        assert_eq!(resources.pids().unwrap().limit(), 7);
        assert_eq!(resources.block_io().as_ref().unwrap().weight(), Some(20));
        for (flag, ..) in PLACES {
            assert!(verb.flags.iter().any(|known| known.long == *flag), "{flag}");
        }
    }
}
