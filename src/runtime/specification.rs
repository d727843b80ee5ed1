//! Reading a bundle's `config.json`, and the process of an `exec`, as other engines write them.
//!
//! What the types of `oci-spec` cannot hold is mended on the way: capabilities that this runtime does not know, which the
//! specification wants told and left out (config.md, "Linux Process"), and two scheduling flags whose names differ there.

use crate::error::Error;
use oci_spec::runtime::{Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What was read, and what is to be told about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read<T> {
    /// The content.
    pub content: T,
    /// A sentence for each thing that was left out.
    pub warnings: Vec<String>,
}

/// Reads a `config.json`. Its version must be one of 1.
pub fn read(json: &[u8]) -> Result<Read<Spec>, Error> {
    let read: Read<Spec> = parse(json, |value| value.get_mut("process"))?;
    let version = read.content.version();
    match version.split('.').next() {
        Some("1") => Ok(read),
        _ => Err(Error::Specification(format!("version {version:?} is not supported, only those of 1 are"))),
    }
}

/// Reads a process alone, as `exec --process` is given one.
pub fn read_process(json: &[u8]) -> Result<Read<Process>, Error> {
    parse(json, |value| Some(value))
}

fn parse<T: DeserializeOwned>(
    json: &[u8],
    process: impl FnOnce(&mut Value) -> Option<&mut Value>,
) -> Result<Read<T>, Error> {
    let fail = |error: serde_json::Error| Error::Specification(error.to_string());
    if let Ok(content) = serde_json::from_slice(json) {
        return Ok(Read { content, warnings: Vec::new() });
    }
    let mut value: Value = serde_json::from_slice(json).map_err(fail)?;
    let mut warnings = Vec::new();
    if let Some(process) = process(&mut value) {
        leave_out_unknown_capabilities(process, &mut warnings);
        rename_scheduling_flags(process);
    }
    // From the text again where nothing was mended: its errors tell the line.
    let content = match serde_json::from_value(value) {
        Ok(content) => content,
        Err(error) if warnings.is_empty() => {
            return Err(serde_json::from_slice::<T>(json).err().map_or_else(|| fail(error), fail));
        }
        Err(error) => return Err(fail(error)),
    };
    Ok(Read { content, warnings })
}

fn leave_out_unknown_capabilities(process: &mut Value, warnings: &mut Vec<String>) {
    let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) else { return };
    for (set, names) in sets {
        let Some(names) = names.as_array_mut() else { continue };
        names.retain(|name| {
            let known = name.as_str().is_none_or(|name| types::capability::number(name).is_some());
            if !known {
                warnings.push(format!("capability {name} is not known and left out of the {set} set"));
            }
            known
        });
    }
}

fn rename_scheduling_flags(process: &mut Value) {
    let flags = process.get_mut("scheduler").and_then(|s| s.get_mut("flags")).and_then(Value::as_array_mut);
    for flag in flags.into_iter().flatten() {
        match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => *flag = "SCHED_RESET_ON_FORK".into(),
            Some("SCHED_FLAG_DL_OVERRUN") => *flag = "SCHED_FLAG_D_L_OVERRUN".into(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::LinuxSchedulerFlag;

    #[test]
    fn what_the_types_cannot_hold_is_mended() {
        let json = br#"{"ociVersion": "1.2.1", "process": {"cwd": "/", "user": {"uid": 0, "gid": 0},
            "capabilities": {"bounding": ["CAP_CHOWN", "CAP_OF_TOMORROW"], "permitted": null},
            "scheduler": {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"]}}}"#;
        let read = read(json).unwrap();
        let process = read.content.process().as_ref().unwrap();
        assert_eq!(process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap().len(), 1);
        let flags = [LinuxSchedulerFlag::SchedResetOnFork, LinuxSchedulerFlag::SchedFlagDLOverrun];
        assert_eq!(process.scheduler().as_ref().unwrap().flags().as_deref(), Some(&flags[..]));
        let warning = "capability \"CAP_OF_TOMORROW\" is not known and left out of the bounding set";
        assert_eq!(read.warnings, [warning]);
        let process = br#"{"cwd": "/", "user": {"uid": 0, "gid": 0}, "capabilities": {"ambient": ["CAP_X"]}}"#;
        assert_eq!(read_process(process).unwrap().warnings.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let text = |json: &[u8]| read(json).unwrap_err().to_string();
        assert!(text(b"{\n\"ociVersion\": \"1.0.2\",\n\"mounts\": 7}").contains("line 3"));
        assert!(text(b"{\"ociVersion\": \"2.0.0\"}").contains("version \"2.0.0\" is not supported"));
        assert!(text(b"{}").contains("version \"\" is not supported"));
        assert!(read(b"{\"ociVersion\": \"1.0.0\", \"of tomorrow\": {}}").unwrap().warnings.is_empty());
    }
}
