//! What a specification asks of the runtime, checked before anything is done: namespaces, and what is not built.

use crate::error::Error;
use crate::launch::Ready;
use crate::seccomp::{self, Filter};
use oci_spec::runtime::{Linux, LinuxSeccomp, Process, Spec};
use std::path::PathBuf;
use sys::clone::{NEW_CGROUP, NEW_IPC, NEW_MOUNT, NEW_NET, NEW_PID, NEW_TIME, NEW_USER, NEW_UTS};
use types::IdRange;

/// The namespaces of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// New ones, as `NEW_*` bits.
    pub new: u64,
    /// Those to join, in the specification's order.
    pub join: Vec<(u64, PathBuf)>,
    /// Clocks of a new time namespace, as the kernel is told them.
    pub clocks: String,
    /// Maps of a new user namespace.
    pub uids: Vec<IdRange>,
    /// Maps of a new user namespace.
    pub gids: Vec<IdRange>,
}

/// The name of a `NEW_*` bit in messages.
pub fn name(kind: u64) -> &'static str {
    match kind {
        NEW_MOUNT => "mount",
        NEW_CGROUP => "cgroup",
        NEW_UTS => "uts",
        NEW_IPC => "ipc",
        NEW_USER => "user",
        NEW_PID => "pid",
        NEW_NET => "network",
        NEW_TIME => "time",
        _ => "unknown",
    }
}

/// Its name below `/proc/PID/ns`.
pub fn file(kind: u64) -> &'static str {
    match kind {
        NEW_MOUNT => "mnt",
        NEW_NET => "net",
        other => name(other),
    }
}

/// Reads the namespaces. A container always has a mount namespace that is not the runtime's.
pub fn namespaces(linux: &Linux) -> Result<Namespaces, Error> {
    let mut plan = Namespaces::default();
    for namespace in linux.namespaces().iter().flatten() {
        // The specification's types are numbered as the kernel's flags.
        let kind = namespace.typ() as u64;
        if plan.new & kind != 0 || plan.join.iter().any(|(joined, _)| *joined == kind) {
            return Err(Error::Specification(format!("namespace {} is given twice", name(kind))));
        }
        match namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => plan.join.push((kind, path.clone())),
            None => plan.new |= kind,
        }
    }
    let unsupported = |what: &str, instead| Err(Error::Unsupported { what: what.to_owned(), instead });
    let joins = |wanted| plan.join.iter().any(|(kind, _)| *kind == wanted);
    if plan.new & NEW_MOUNT == 0 && !joins(NEW_MOUNT) {
        return unsupported(
            "a container without a mount namespace of its own",
            "add {\"type\": \"mount\"} to its namespaces",
        );
    }
    let ranges = |maps: &Option<Vec<_>>| maps.as_ref().map(|m| crate::mounts::ranges(m)).unwrap_or_default();
    (plan.uids, plan.gids) = (ranges(linux.uid_mappings()), ranges(linux.gid_mappings()));
    if plan.new & NEW_USER != 0 && (plan.uids.is_empty() || plan.gids.is_empty()) {
        return unsupported("a user namespace without maps", "give uidMappings and gidMappings");
    }
    if plan.new & NEW_USER == 0 && !plan.uids.is_empty() && !joins(NEW_USER) {
        return unsupported("id maps without a user namespace", "add {\"type\": \"user\"} to its namespaces");
    }
    if let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) {
        if plan.new & NEW_TIME == 0 {
            return unsupported(
                "timeOffsets without a time namespace of its own",
                "add {\"type\": \"time\"} to its namespaces",
            );
        }
        plan.clocks = crate::times::lines(offsets)?;
    }
    Ok(plan)
}

/// Refuses what a specification may ask for and this runtime has not: nothing is ignored in silence.
pub fn refuse(spec: &Spec) -> Result<(), Error> {
    let unsupported = |what: &str, instead| Err(Error::Unsupported { what: what.to_owned(), instead });
    if let Some(linux) = spec.linux() {
        if linux.intel_rdt().is_some() {
            return unsupported(
                "linux.intelRdt",
                "this runtime makes no groups of resctrl (Intel RDT); leave it out, or limit by linux.resources.cpu",
            );
        }
        if let Some(flag) = linux.personality().as_ref().and_then(|p| p.flags().as_deref()?.first()) {
            // The specification knows none yet.
            return unsupported(&format!("flag {flag:?} of linux.personality"), "leave it out");
        }
    }
    spec.process().as_ref().map_or(Ok(()), refuse_of_process)
}

/// The same for a process alone.
pub fn refuse_of_process(process: &Process) -> Result<(), Error> {
    if process.args().as_ref().is_none_or(|arguments| arguments.is_empty()) {
        return Err(Error::Specification("process.args names no program".into()));
    }
    crate::privileges::check_limits(process.rlimits().as_deref().unwrap_or_default())
}

/// The filter: the one specified, or the one that need not be compiled.
pub fn filter(specified: Option<&LinuxSeccomp>, ready: Option<&Ready>) -> Result<Option<Filter>, Error> {
    match (specified, ready) {
        (None, None) => Ok(None),
        (Some(seccomp), None) => compile(seccomp).map(Some),
        (None, Some(Ready::Compiled(filter))) => Ok(Some(filter.clone())),
        (None, Some(Ready::Default(capabilities))) => {
            seccomp::default(*capabilities).map(Some).map_err(|error| Error::Seccomp(error.to_string()))
        }
        (Some(_), Some(_)) => Err(Error::Specification("two filters are given".into())),
    }
}

/// The compiled filter. One that asks a listener must say where it is: every call that it is asked about would fail.
fn compile(seccomp: &LinuxSeccomp) -> Result<Filter, Error> {
    let filter = seccomp::compile(seccomp).map_err(|e| Error::Seccomp(e.to_string()))?;
    let nowhere = seccomp.listener_path().as_ref().is_none_or(|path| path.as_os_str().is_empty());
    if nowhere && filter.listener().is_some() {
        return Err(Error::Seccomp("action SCMP_ACT_NOTIFY needs a listenerPath".into()));
    }
    if nowhere && seccomp.listener_metadata().as_ref().is_some_and(|text| !text.is_empty()) {
        return Err(Error::Seccomp("listenerMetadata is given without a listenerPath".into()));
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux(json: &str) -> Linux {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn new_and_joined() {
        let plan = namespaces(&linux(
            r#"{"namespaces":[{"type":"mount"},{"type":"pid"},{"type":"network","path":"/run/netns/a"},{"type":"cgroup"}]}"#,
        ))
        .unwrap();
        assert_eq!(plan.new, NEW_MOUNT | NEW_PID | NEW_CGROUP);
        assert_eq!(plan.join, [(NEW_NET, PathBuf::from("/run/netns/a"))]);
    }

    #[test]
    fn nonsense_is_refused() {
        for json in [
            r#"{"namespaces":[{"type":"pid"}]}"#,
            r#"{"namespaces":[{"type":"mount"},{"type":"pid"},{"type":"pid","path":"/x"}]}"#,
            r#"{"namespaces":[{"type":"mount"}],"timeOffsets":{"boottime":{"secs":1}}}"#,
            r#"{"namespaces":[{"type":"mount"},{"type":"user"}]}"#,
            r#"{"namespaces":[{"type":"mount"}],"uidMappings":[{"containerID":0,"hostID":5,"size":1}]}"#,
        ] {
            assert!(namespaces(&linux(json)).is_err(), "{json}");
        }
        let notify =
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#;
        assert!(compile(&serde_json::from_str(notify).unwrap()).unwrap_err().to_string().contains("listenerPath"));
        let metadata = r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"x"}"#;
        assert!(compile(&serde_json::from_str(metadata).unwrap()).unwrap_err().to_string().contains("listenerPath"));
    }
}
