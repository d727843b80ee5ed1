//! What a runtime is told: the shapes of a container to create and of a process to add to one.
//!
//! Plain data can cross a process border as JSON ([`Create`], [`Exec`]); descriptors cannot, and travel in [`Channels`].

use crate::seccomp::Filter;
use oci_spec::runtime::{LinuxMemoryPolicy, LinuxPersonality, LinuxSeccomp, Process, Spec};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use types::IdMap;

/// A container to create.
///
/// Of the specification's parts, the cgroup is `linux.cgroupsPath` with `linux.resources`, the terminal is
/// `process.terminal` with `process.consoleSize`, and maps of a user namespace are `linux.uidMappings` and `gidMappings`.
/// `root.path` is not read: [`Create::rootfs`] stands in for it (`root.readonly` counts).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Create {
    /// The container's identifier, for messages and hooks.
    pub id: String,
    /// What to execute and how to confine it.
    pub spec: Spec,
    /// Where its root comes from.
    pub rootfs: Rootfs,
    /// The bundle directory told to hooks, and what relative mount sources start from.
    #[serde(default)]
    pub bundle: PathBuf,
    /// `USER[:GROUP]` by name or number, looked up in the container's own `/etc/passwd` and `/etc/group`; it overrides the
    /// specification's uid, gid and additional gids. `HOME` is set from it when the environment lacks it.
    #[serde(default)]
    pub user: Option<String>,
    /// More groups by name or number, looked up in the container's `/etc/group` (`--group-add`).
    #[serde(default)]
    pub groups: Vec<String>,
    /// The caller's additional groups stay, and no others are set (`--group-add keep-groups`).
    #[serde(default)]
    pub keep_groups: bool,
    /// Create the working directory in the root if it is missing (an image's `WORKDIR`); otherwise it is an error.
    #[serde(default)]
    pub create_cwd: bool,
    /// Run the program as the child of a small built-in init that reaps, and forwards signals (`--init`).
    #[serde(default)]
    pub init: bool,
    /// Change the root by chroot(2), for hosts whose root cannot be left by pivot_root(2) (`--no-pivot`).
    #[serde(default)]
    pub no_pivot: bool,
    /// Leave the session keyring as it is; otherwise the container gets a new one (`--no-new-keyring`).
    #[serde(default)]
    pub keep_keyring: bool,
    /// Who must still be the processes behind namespace paths `/proc/PID/ns/...`: otherwise another one could have got
    /// the number since, and its namespaces would be joined.
    #[serde(default)]
    pub owners: Vec<Owner>,
    /// Descriptors from 3 on that the program inherits as they are; they must be open in the caller.
    #[serde(default)]
    pub preserved: u32,
    /// Further descriptors, by number, that the program inherits as they are.
    #[serde(default)]
    pub kept: Vec<i32>,
    /// Be in a group of one's own in every hierarchy of version 1, as engines expect that look there; otherwise only where a limit is.
    #[serde(default)]
    pub everywhere: bool,
    /// A filter that need not be compiled; `linux.seccomp` must be absent then.
    #[serde(default)]
    pub filter: Option<Ready>,
}

impl Create {
    /// Of a specification and a root alone, with nothing looked up or made for it.
    pub fn new(id: impl Into<String>, spec: Spec, rootfs: Rootfs) -> Create {
        Create {
            id: id.into(),
            spec,
            rootfs,
            bundle: PathBuf::new(),
            user: None,
            groups: Vec::new(),
            keep_groups: false,
            create_cwd: false,
            init: false,
            no_pivot: false,
            keep_keyring: false,
            owners: Vec::new(),
            preserved: 0,
            kept: Vec::new(),
            everywhere: false,
            filter: None,
        }
    }
}

/// A filter that need not be compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ready {
    /// That of the default profile for this bounding set ([`crate::seccomp::default`]): so what nearly all containers have is neither
    /// written nor read.
    Default(u64),
    /// One that was compiled before.
    Compiled(Filter),
}

/// A process, and when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its number.
    pub pid: i32,
    /// Its start time ([`sys::process::start_time`]).
    pub start_time: u64,
}

/// A process to add to a running container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exec {
    /// The container's identifier, for messages.
    pub id: String,
    /// The container's first process.
    pub pid: i32,
    /// Its start time ([`sys::process::start_time`]), so that a later process with the same number is not taken for it.
    pub start_time: u64,
    /// What to execute; capabilities, limits and `noNewPrivileges` are those of this process.
    pub process: Process,
    /// As [`Create::user`].
    #[serde(default)]
    pub user: Option<String>,
    /// As [`Create::groups`].
    #[serde(default)]
    pub groups: Vec<String>,
    /// As [`Create::keep_groups`], of this process's caller.
    #[serde(default)]
    pub keep_groups: bool,
    /// The container's filter.
    #[serde(default)]
    pub seccomp: Option<LinuxSeccomp>,
    /// As [`Create::filter`].
    #[serde(default)]
    pub filter: Option<Ready>,
    /// The container's bundle directory, for who listens to the filter.
    #[serde(default)]
    pub bundle: PathBuf,
    /// The container's annotations, for the same.
    #[serde(default)]
    pub annotations: HashMap<String, String>,
    /// As [`Create::keep_keyring`].
    #[serde(default)]
    pub keep_keyring: bool,
    /// The container's execution domain.
    #[serde(default)]
    pub personality: Option<LinuxPersonality>,
    /// The container's memory policy.
    #[serde(default)]
    pub memory_policy: Option<LinuxMemoryPolicy>,
    /// As [`Create::preserved`].
    #[serde(default)]
    pub preserved: u32,
    /// As [`Create::kept`].
    #[serde(default)]
    pub kept: Vec<i32>,
    /// A group below the container's own, from there, that exists: the process goes into it.
    #[serde(default)]
    pub cgroup: Option<PathBuf>,
}

impl Exec {
    /// A process for the container `id` whose first process is `pid`.
    pub fn new(id: impl Into<String>, pid: i32, start_time: u64, process: Process) -> Exec {
        Exec {
            id: id.into(),
            pid,
            start_time,
            process,
            user: None,
            groups: Vec::new(),
            keep_groups: false,
            seccomp: None,
            filter: None,
            bundle: PathBuf::new(),
            annotations: HashMap::new(),
            keep_keyring: false,
            personality: None,
            memory_policy: None,
            preserved: 0,
            kept: Vec::new(),
            cgroup: None,
        }
    }
}

/// Where a root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// A directory, which is bound onto itself.
    Directory(PathBuf),
    /// An overlay, mounted detached by the intermediate: nothing of it is seen on the host.
    Overlay {
        /// The directory that relative `lower` names start from.
        base: PathBuf,
        /// Lower directories, topmost first; short names relative to `base`, or absolute ones.
        lower: Vec<PathBuf>,
        /// A directory that is not seen, but from which files of lower ones take their contents (a data layer, kernel 6.5).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data: Option<PathBuf>,
        /// The writable directory; without one the root is read-only.
        upper: Option<PathBuf>,
        /// Overlay's scratch directory, beside `upper`.
        work: Option<PathBuf>,
        /// Use `user.overlay.*` attributes: needed in a user namespace.
        user_xattr: bool,
        /// Never sync (`volatile`). The kernel refuses to mount such an upper directory a second time, so this is for containers
        /// that are started once (`--rm`).
        volatile: bool,
        /// Show the lower directories' owners through this map (idmapped mounts, kernel 5.19 and later): owner `container` on
        /// disk becomes `host`. The upper directory is not mapped: what the container writes is owned by `host` ids on disk. It
        /// works in the initial user namespace only: in a nested one leave it out, and give the layers such owners.
        idmap: Option<IdMap>,
    },
}

/// The first process's standard streams.
#[derive(Debug)]
pub enum Stdio {
    /// Descriptors 0, 1 and 2.
    Descriptors([OwnedFd; 3]),
    /// A terminal made in the container; its master is sent as one `SCM_RIGHTS` message over this unix socket.
    Terminal(OwnedFd),
}

/// The descriptors that a runtime is given.
#[derive(Debug)]
pub struct Channels {
    /// The program's streams.
    pub stdio: Stdio,
    /// The reading end of a pipe: one byte executes the program, end of file or [`GIVE_UP`] gives it up. Without it the program
    /// is executed at once.
    pub start: Option<OwnedFd>,
    /// The writing end of a pipe for [`crate::Report`]s. The program's process closes it by executing.
    pub report: OwnedFd,
}

/// The byte that ends a parked process instead of executing its program: for those who hold its pipe open for both.
pub const GIVE_UP: u8 = b'x';
