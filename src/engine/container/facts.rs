//! Facts about the host that decide what a container gets. Plain values: [`super::resolve`] and [`super::lower`] stay
//! pure, and their tests name a host in one line.

use super::config::{Account, Mount};
use ops::{Fault, Kind};
use std::collections::BTreeMap;
use types::{Id, IdMap, IdRange};

/// What is known of the host when a container is made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The engine works in a user namespace of its own (rootless).
    pub rootless: bool,
    /// That namespace has one id only.
    pub single_id: bool,
    /// The engine's own namespace, seen from its parent; empty for root.
    pub id_map: IdMap,
    /// The user who asks, outside of that namespace.
    pub uid: u32,
    /// Their group.
    pub gid: u32,
    /// The host's name.
    pub host_name: String,
    /// Version of the kernel: major, minor.
    pub kernel: (u32, u32),
    /// Capabilities that the engine can hand on.
    pub capabilities: u64,
    /// Soft and hard limits of open files.
    pub nofile: (u64, u64),
    /// Soft and hard limits of processes.
    pub nproc: (u64, u64),
    /// Hard limits can be raised.
    pub can_raise_limits: bool,
    /// Controllers of the cgroup that containers get.
    pub controllers: Controllers,
    /// SELinux is on.
    pub selinux: bool,
    /// AppArmor is on.
    pub apparmor: bool,
    /// `thermal_throttle` directories of the processors, to be masked.
    pub thermal_throttle: Vec<String>,
    /// Ids for `--userns auto`: stretches of the engine's namespace that no container uses, first id and length.
    pub free_ids: Vec<(u32, u32)>,
    /// For the same: the largest id that the image speaks of.
    pub largest_id: u32,
    /// `KEY=VALUE` of the caller's proxy variables.
    pub proxies: Vec<String>,
    /// Containers named by `container:NAME` and `--requires`.
    pub containers: BTreeMap<String, Id>,
    /// Nothing is mounted on the host's /dev/mqueue, and a container with its IPC namespace has nothing to be given.
    pub no_message_queues: bool,
    /// The container that `--ipc container:NAME` names keeps its IPC namespace for itself.
    pub closed_ipc: bool,
    /// The user namespace that `--userns container:NAME` and `ns:PATH` name.
    pub joined_user: Option<JoinedUser>,
    /// Ids of the secrets that `--secret` names, by that name.
    pub secrets: BTreeMap<String, String>,
    /// Ids of the host that `--subuidname` names.
    pub sub_uids: Vec<IdRange>,
    /// Ids of the host that `--subgidname` names.
    pub sub_gids: Vec<IdRange>,
    /// Users of the host that `--hostuser` names, by that name; and the caller by "" where it matters.
    pub accounts: BTreeMap<String, Account>,
    /// Text of the files named by `--security-opt seccomp=FILE`.
    pub profiles: BTreeMap<String, String>,
    /// Networks that were named, by the word that was used.
    pub networks: BTreeMap<String, network::Definition>,
    /// Why there can be no bridges here; `None`: there can.
    pub no_bridges: Option<String>,
    /// There is no packet filter: bridges are behind a router, as those of an ordinary user.
    pub unfiltered: bool,
    /// Free ports of the host, in the order in which they are needed.
    pub free_ports: Vec<u16>,
    /// Mounts of the containers named by `--volumes-from`.
    pub volumes_from: BTreeMap<String, Vec<Mount>>,
    /// Ids of the images named by `--mount type=image`, by the word that was used.
    pub images: BTreeMap<String, String>,
    /// Files of the host that match the patterns of `--mount type=glob`.
    pub globs: BTreeMap<String, Vec<String>>,
    /// Device nodes in the directories of the host that `--device` names, by that name.
    pub device_directories: BTreeMap<String, Vec<String>>,
    /// Device nodes of the host, for `--privileged`.
    pub devices: Vec<String>,
}

impl Facts {
    /// The container that was named.
    pub fn container(&self, name: &str) -> Result<Id, Fault> {
        self.containers.get(name).cloned().ok_or_else(|| {
            Fault::new(Kind::NotFound, format!("no container with name or ID {name:?} found: no such container"))
        })
    }
}

/// A user namespace that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedUser {
    /// Of which container; `None` if a file keeps it.
    pub container: Option<Id>,
    /// Its maps, seen from the engine's; `None` if it is the engine's.
    pub map: Option<IdMap>,
}

/// Which limits can be had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Controllers {
    /// Memory can be limited.
    pub memory: bool,
    /// Swap can be limited.
    pub swap: bool,
    /// Processor time can be limited.
    pub cpu: bool,
    /// Processors can be chosen.
    pub cpuset: bool,
    /// Input and output can be limited.
    pub io: bool,
    /// Processes can be limited.
    pub pids: bool,
    /// Processes can be frozen.
    pub freezer: bool,
    /// 0 none mounted, 1 (hybrid too), 2.
    pub version: u8,
    /// Cgroup below which those of containers go; `None` if none can be had.
    pub parent: Option<String>,
    /// For each that is missing, by its name: why, and what would fix that.
    pub missing: BTreeMap<String, (String, String)>,
}
