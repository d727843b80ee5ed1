//! Facts about the host: what `resolve` decides by, and what `info` and `version` tell.

mod facts;
mod given;
mod glob;
mod info;

use ops::{Fault, Kind};
use runtime::cgroup::{Group, Host};

/// Removes the cgroup of a container that has ended, with whatever is left in it; one that is gone already is fine.
pub(crate) fn remove_cgroup(name: &str) {
    if let Ok(group) = Group::open(&Host::probe(), name) {
        // What cannot be removed has processes that wait for the kernel; it is empty of memory and harmless.
        let _ = group.kill();
        let _ = group.remove();
    }
}

/// Freezes or thaws all processes of a container.
pub(crate) fn freeze_cgroup(name: &str, frozen: bool) -> Result<(), Fault> {
    let fail = |e: runtime::cgroup::Error| Fault::new(Kind::Unsupported, crate::fault::sentence(&e));
    let group = Group::open(&Host::probe(), name).map_err(fail)?;
    if frozen { group.freeze() } else { group.thaw() }.map_err(fail)
}

/// Numbers of the processes of a container's cgroup and of those below; `None` if there is no such cgroup.
pub(crate) fn cgroup_processes(name: &str) -> Option<Vec<i32>> {
    Group::open(&Host::probe(), name).ok().map(|group| group.pids())
}
