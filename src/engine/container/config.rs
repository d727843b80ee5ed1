//! Decided: everything about a container that does not change while it lives. Made by [`super::resolve`], stored as
//! JSON in the database, turned into an OCI runtime specification by [`super::lower`].

use ops::container::Resources;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use types::{Id, IdMap, Signal};

/// A decided container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Its id.
    pub id: Id,
    /// Its name when it was made (the database has the present one).
    pub name: String,
    /// The image's name as it was asked for, normalised; its id if it was asked for by id.
    pub image: String,
    /// The image's id: 64 hex digits.
    pub image_id: String,
    /// Its root is this directory of the host, and no image's files.
    #[serde(default, skip_serializing_if = "is_default")]
    pub root_directory: Option<RootDirectory>,
    /// Entry point, for inspect; part of `arguments`.
    pub entrypoint: Vec<String>,
    /// Command, for inspect; part of `arguments`.
    pub command: Vec<String>,
    /// Program and arguments.
    pub arguments: Vec<String>,
    /// `KEY=VALUE`, each key once. `HOME` is added by the runtime, which reads the user's passwd line.
    pub environment: Vec<String>,
    /// Labels of image and container.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the container; never the image's, so that no image can steer the runtime.
    pub annotations: BTreeMap<String, String>,
    /// Where the program starts.
    pub working_directory: String,
    /// It is made if it is missing: the image's, not one that was asked for.
    #[serde(default)]
    pub make_working_directory: bool,
    /// `USER[:GROUP]`; empty is root.
    pub user: String,
    /// Additional groups, by name or number.
    pub additional_groups: Vec<String>,
    /// The caller's groups stay.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keep_groups: bool,
    /// What is added to its /etc/passwd and /etc/group.
    #[serde(default, skip_serializing_if = "is_default")]
    pub accounts: Accounts,
    /// Host name; empty keeps that of the joined UTS namespace.
    pub hostname: String,
    /// The program has a terminal.
    pub terminal: bool,
    /// Its standard input is open.
    pub interactive: bool,
    /// It goes when it ends.
    pub remove: bool,
    /// Its image goes with it, unless others use that.
    #[serde(default, skip_serializing_if = "is_default")]
    pub remove_image: bool,
    /// Root file system read-only.
    pub read_only: bool,
    /// Mounts beyond those that every container has, sorted so that a parent comes before what it contains.
    pub mounts: Vec<Mount>,
    /// Bytes of /dev/shm.
    pub shm_size: u64,
    /// Devices beyond the default ones.
    pub devices: Vec<Device>,
    /// Names of devices of vendors (`VENDOR/CLASS=NAME`), looked up for each start.
    #[serde(default, skip_serializing_if = "is_default")]
    pub vendor_devices: Vec<String>,
    /// Rules of devices that may be used, beyond those of `devices`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub device_rules: Vec<DeviceRule>,
    /// Which namespaces are new, shared or joined.
    pub namespaces: Namespaces,
    /// Networks that it is in, if its network namespace is its own.
    #[serde(default)]
    pub attachments: Vec<network::Attachment>,
    /// Its published ports; all have a number.
    #[serde(default)]
    pub ports: Vec<types::port::Published>,
    /// Ports that it says it answers at: the first, how many, of which protocol.
    #[serde(default)]
    pub exposed: Vec<(u16, u16, types::port::Protocol)>,
    /// Bits of the bounding set, and for root also of the permitted and effective sets.
    pub capabilities: u64,
    /// Bits that a program of another user than root gets (permitted, effective, inheritable, ambient).
    pub user_capabilities: u64,
    /// Programs cannot gain privileges.
    pub no_new_privileges: bool,
    /// System call filter.
    pub seccomp: Seccomp,
    /// AppArmor profile, if one was asked for.
    pub apparmor: Option<String>,
    /// Paths hidden inside.
    pub masked_paths: Vec<String>,
    /// Paths read-only inside.
    pub read_only_paths: Vec<String>,
    /// Options of the /proc mount beyond the default ones (`hidepid=2`).
    pub proc_options: Vec<String>,
    /// All devices, writable /sys and cgroups.
    pub privileged: bool,
    /// Kernel parameters of its namespaces.
    pub sysctl: BTreeMap<String, String>,
    /// Resource limits of its processes.
    pub rlimits: Vec<Rlimit>,
    /// Limits by cgroup. All decided: `nano_cpus` is a quota here.
    pub resources: Resources,
    /// OOM score adjustment.
    pub oom_score_adj: Option<i32>,
    /// File mode mask.
    pub umask: u32,
    /// The built-in init is process 1.
    pub init: bool,
    /// This program of the host's is, instead.
    #[serde(default, skip_serializing_if = "is_default")]
    pub init_path: Option<PathBuf>,
    /// Prepared for systemd: its cgroup can be written to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub systemd: bool,
    /// Execution domain.
    #[serde(default, skip_serializing_if = "is_default")]
    pub personality: Option<String>,
    /// Containers that must run before this one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requires: Vec<Id>,
    /// Secrets that it is handed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub secrets: Vec<SecretUse>,
    /// Time zone: `local`, or a name below /usr/share/zoneinfo.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timezone: Option<String>,
    /// Directories in which the files in /etc are, too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub chroot_directories: Vec<String>,
    /// What `stop` sends.
    pub stop_signal: Signal,
    /// Seconds that `stop` waits.
    pub stop_timeout: u32,
    /// Where output is kept.
    pub log: Log,
    /// The files in /etc that are made for it.
    pub names: Names,
    /// A private network behind the user's router (users without root); without one it has the loopback device only.
    #[serde(default)]
    pub private_network: Option<usernet::options::Options>,
    /// Nobody asked for that network: where it cannot be had, there is none.
    #[serde(default)]
    pub network_by_default: bool,
    /// It has left all networks that it was in, and may join others.
    #[serde(default)]
    pub unconnected: bool,
    /// Cgroup under which its own is made; empty is the default place.
    pub cgroup_parent: String,
    /// It has none of its own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_cgroup: bool,
    /// File to which its id was written; removed with it.
    pub cid_file: Option<PathBuf>,
    /// What becomes of it while nobody looks.
    #[serde(default, skip_serializing_if = "super::life::Life::is_plain")]
    pub life: super::life::Life,
    /// The command line that asked.
    pub create_command: Vec<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What is added to /etc/passwd and /etc/group of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Accounts {
    /// Nothing at all.
    pub none: bool,
    /// The user's line, with `$USERNAME`, `$UID`, `$GID`, `$NAME`, `$HOME`.
    pub passwd_entry: Option<String>,
    /// The group's line, with `$GROUPNAME`, `$GID`, `$USERLIST`.
    pub group_entry: Option<String>,
    /// The caller, who is the user inside: fields of the host's passwd(5).
    pub caller: Option<Account>,
    /// Users of the host who are to be known inside.
    pub host_users: Vec<Account>,
}

/// A line of passwd(5), as far as it matters inside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Full name.
    pub full_name: String,
    /// Home directory.
    pub home: String,
    /// Name of the group, if it has one.
    pub group: String,
}

/// A directory of the host that is a container's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootDirectory {
    /// Its absolute path.
    pub path: PathBuf,
    /// What is written goes elsewhere, and stays as long as the container (`O`).
    pub overlay: bool,
    /// Its files have the owners of the container's user namespace (`idmap`).
    pub idmap: bool,
}

/// A secret that a container is handed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    /// Its name when the container was made.
    pub name: String,
    /// Its id then.
    pub id: String,
    /// How.
    pub place: SecretPlace,
}

/// How a container is handed a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretPlace {
    /// As a file.
    File {
        /// Absolute path inside.
        path: String,
        /// Owner inside.
        uid: u32,
        /// Group inside.
        gid: u32,
        /// Permission bits.
        mode: u32,
    },
    /// As a variable of this name, of the program alone.
    Variable(String),
}

/// A rule of the cgroup's device filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// `a`, `b`, `c`.
    pub kind: char,
    /// `None` is any.
    pub major: Option<i64>,
    /// `None` is any.
    pub minor: Option<i64>,
    /// `r`, `w`, `m`.
    pub access: String,
}

/// A mount that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// Absolute path inside.
    pub destination: String,
    /// Options of mount(8): `ro`, `nosuid`, `rprivate`, `size=64m`, …
    pub options: Vec<String>,
    /// All its files are given to the container's user before each start (`U`).
    #[serde(default)]
    pub chown: bool,
    /// What is written goes into another directory (`O`).
    #[serde(default)]
    pub overlay: Option<Overlay>,
    /// A new volume does not get what the image has in its place (`nocopy`).
    #[serde(default)]
    pub no_copy: bool,
    /// Only this of the volume is mounted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub subpath: Option<String>,
}

impl Mount {
    /// A mount with nothing special.
    pub fn new(kind: MountKind, destination: String, options: Vec<String>) -> Mount {
        Mount { kind, destination, options, chown: false, overlay: None, no_copy: false, subpath: None }
    }
}

/// Where writes to an overlay of a directory go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// The directory; without one it is the container's own and empty at each start.
    pub upper: Option<PathBuf>,
    /// The kernel's own directory, of the same file system.
    pub work: Option<PathBuf>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// Its absolute path.
        source: PathBuf,
    },
    /// Memory.
    Tmpfs,
    /// Memory that is never swapped, and has no limit.
    Ramfs,
    /// A volume.
    Volume {
        /// Its name.
        name: String,
        /// It is made for this container.
        anonymous: bool,
    },
    /// An image's files.
    Image {
        /// Its name as it was asked for.
        name: String,
        /// Its id: 64 hex digits.
        id: String,
    },
    /// Pseudo-terminals.
    Devpts,
}

/// A device node of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    pub source: PathBuf,
    /// Path inside.
    pub destination: String,
    /// `r`, `w`, `m`.
    pub permissions: String,
}

/// Where a namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    /// A new one.
    Private,
    /// The host's.
    Host,
    /// That of another container.
    Container(Id),
    /// One kept by a file.
    Path(PathBuf),
}

/// All namespaces of a container (its mount namespace is always new).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Network; private is `none`: a loopback interface and nothing else.
    pub network: Namespace,
    /// Processes.
    pub pid: Namespace,
    /// System V IPC, POSIX message queues.
    pub ipc: Namespace,
    /// It was asked for as `none`: private, and nothing is at /dev/shm.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_shared_memory: bool,
    /// It was asked for as `private`: no other container may join it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub closed_ipc: bool,
    /// Host name.
    pub uts: Namespace,
    /// Cgroups.
    pub cgroup: Namespace,
    /// Users: `None` is that of the engine; a map is a new one with these ids, seen from the engine's.
    pub user: Option<IdMap>,
    /// How the user namespace was asked for, for inspect; empty if it was not.
    pub user_mode: String,
    /// The user namespace, if it is not a new one, is this; its maps are in `user`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub user_joined: Option<Namespace>,
}

/// System call filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// The containers profile.
    Default,
    /// None.
    Unconfined,
    /// A profile in Docker's JSON, as its file was when the container was made.
    Profile {
        /// Where it came from.
        path: String,
        /// The file's text.
        text: String,
    },
}

/// A limit of getrlimit(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE`, …
    pub name: String,
    /// The limit that applies; `u64::MAX` is none.
    pub soft: u64,
    /// The limit to which it can be raised.
    pub hard: u64,
}

/// Where output is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Form of the file.
    pub driver: LogDriver,
    /// The file; `None` is the container's own directory.
    pub path: Option<PathBuf>,
    /// Bytes after which it is turned over; 0 is never.
    pub max_size: u64,
    /// Tag, for inspect: neither form of file has a place for it.
    pub tag: String,
}

/// Form of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogDriver {
    /// Kubernetes' lines.
    K8sFile,
    /// Docker's JSON lines.
    JsonFile,
    /// No file.
    None,
}

impl LogDriver {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            LogDriver::K8sFile => "k8s-file",
            LogDriver::JsonFile => "json-file",
            LogDriver::None => "none",
        }
    }
}

/// What /etc/hosts and /etc/resolv.conf of a container are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// `NAME` and `IP` for /etc/hosts.
    pub add_hosts: Vec<(String, String)>,
    /// The image's /etc/hosts stays.
    pub no_hosts: bool,
    /// What /etc/hosts starts from: a file of the host, `image` or `none`; `None` is the host's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hosts_file: Option<String>,
    /// The address of the host in /etc/hosts, or `none`; `None` is that by which it is reached.
    #[serde(default, skip_serializing_if = "is_default")]
    pub host_address: Option<String>,
    /// The image's /etc/hostname stays.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_hostname: bool,
    /// Name servers in place of the host's.
    pub dns: Vec<String>,
    /// Search domains in place of the host's.
    pub dns_search: Vec<String>,
    /// Options in place of the host's.
    pub dns_options: Vec<String>,
}
