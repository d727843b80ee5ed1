//! Containers of a user who has no rights over the machine: the intermediate itself goes into the user namespace that a
//! specification asks for, and makes the rest from there, as root of it.
//!
//! Must not know: what the container is made of.

use crate::error::Error;
use crate::hooks;
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use rustix::io::Errno;
use std::process::{Command, Stdio};

/// Whether this process lacks what making a container takes.
pub(crate) fn is_meant() -> bool {
    sys::capability::get().is_ok_and(|sets| sets.effective & sys::capability::SYS_ADMIN == 0)
}

/// Enters a new user namespace with the maps of `spec`, if it asks for one, and takes it out of `spec`.
pub(crate) fn enter(spec: &mut Spec) -> Result<(), Error> {
    let refused = |what: &str, instead| Error::Unsupported { what: what.into(), instead };
    let missing =
        || refused("a container without a user namespace of its own", "run as root, or begin with spec --rootless");
    hooks::check(spec)?;
    let linux = spec.linux_mut().as_mut().ok_or_else(missing)?;
    let namespaces = linux.namespaces().clone().unwrap_or_default();
    let (user, others): (Vec<_>, Vec<_>) =
        namespaces.into_iter().partition(|n| n.typ() == LinuxNamespaceType::User && n.path().is_none());
    if user.is_empty() {
        return Err(missing());
    }
    let uids = linux.uid_mappings().clone().unwrap_or_default();
    let gids = linux.gid_mappings().clone().unwrap_or_default();
    linux.set_namespaces(Some(others)).set_uid_mappings(None).set_gid_mappings(None);
    match sys::userns::create(|pid| if write_maps(pid, &uids, &gids) { 0 } else { 1 }) {
        Ok(0) => {}
        Ok(_) => {
            return Err(refused(
                "this id map",
                "map the own user and group alone, or install newuidmap and newgidmap and give the user the ids in /etc/subuid \
                 and /etc/subgid",
            ));
        }
        Err(source) => return Err(Error::Namespace { kind: "user".into(), step: "make", source }),
    }
    sys::userns::own_mounts().map_err(|source| Error::Namespace { kind: "mount".into(), step: "make", source })
}

/// Enters the user namespace of the container's first process, for another one beside it.
pub(crate) fn join(pid: i32) -> Result<(), Error> {
    match sys::userns::join(pid) {
        // It is ours already.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(source) => Err(Error::Namespace { kind: "user".into(), step: "join", source }),
    }
}

/// Only the own ids may be mapped without help.
fn write_maps(pid: i32, uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> bool {
    let alone = |maps: &[LinuxIdMapping], own: u32| matches!(maps, [one] if one.size() == 1 && one.host_id() == own);
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if alone(uids, uid) && alone(gids, gid) {
        let line = |map: &LinuxIdMapping| format!("{} {} 1\n", map.container_id(), map.host_id());
        return sys::namespaces::write_maps(pid, &line(&uids[0]), &line(&gids[0]), true).is_ok();
    }
    let program = |name: &str, maps: &[LinuxIdMapping]| {
        let words = maps.iter().flat_map(|map| [map.container_id(), map.host_id(), map.size()]);
        let mut command = Command::new(name);
        command.arg(pid.to_string()).args(words.map(|number| number.to_string())).stdin(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    program("newuidmap", uids) && program("newgidmap", gids)
}
