//! Requests and replies about containers. An operation works on one object, named by `name`: a name, an id, or an
//! unambiguous prefix of an id.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use types::{Id, Signal};

/// Asks for a new container. What is `None` or empty is decided by the engine's `resolve`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Create {
    /// Image name, id, or transport reference such as `oci-archive:FILE`.
    pub image: String,
    /// `image` is no image but a directory of the host, absolute, with options: `DIR[:O][,idmap]`.
    pub root_directory: bool,
    /// Command and arguments, in place of the image's.
    pub command: Vec<String>,
    /// In place of the image's entry point; `Some([])` clears it.
    pub entrypoint: Option<Vec<String>>,
    /// Name; one is made up otherwise.
    pub name: Option<String>,
    /// Replace a container of the same name.
    pub replace: bool,
    /// `KEY=VALUE`, or `KEY` to take the caller's value, in order (later wins). The command line resolves `KEY`.
    pub environment: Vec<String>,
    /// `KEY=VALUE` that weigh less than the image's.
    pub default_environment: Vec<String>,
    /// `KEY=VALUE` in which `$NAME` and `${NAME}` stand for values of the image.
    pub environment_merge: Vec<String>,
    /// Variables that the image or the engine would set, and are not to be there.
    pub unset_environment: Vec<String>,
    /// None of them are to be there.
    pub unset_all_environment: bool,
    /// Pass the caller's proxy variables (default true).
    pub http_proxy: Option<bool>,
    /// Time zone: `local`, or a name as `Europe/Paris`.
    pub timezone: Option<String>,
    /// Labels `KEY=VALUE`.
    pub labels: Vec<String>,
    /// Annotations `KEY=VALUE`.
    pub annotations: Vec<String>,
    /// Working directory.
    pub working_directory: Option<String>,
    /// `USER[:GROUP]`, by name or number.
    pub user: Option<String>,
    /// Additional groups, by name or number; `keep-groups` alone keeps those of the caller.
    pub additional_groups: Vec<String>,
    /// Lines are added to /etc/passwd and /etc/group for a user that they lack (default true).
    pub passwd: Option<bool>,
    /// The line of /etc/passwd, with `$USERNAME`, `$UID`, `$GID`, `$NAME`, `$HOME`.
    pub passwd_entry: Option<String>,
    /// The line of /etc/group, with `$GROUPNAME`, `$GID`, `$USERLIST`.
    pub group_entry: Option<String>,
    /// Users of the host who get a line in /etc/passwd.
    pub host_users: Vec<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Allocate a terminal.
    pub terminal: bool,
    /// Keep standard input open.
    pub interactive: bool,
    /// Remove the container when it ends.
    pub remove: bool,
    /// Remove its image with it, unless other containers are made of that.
    pub remove_image: bool,
    /// Root file system read-only.
    pub read_only: bool,
    /// With `read_only`: tmpfs on /run, /tmp, /var/tmp (default true).
    pub read_only_tmpfs: Option<bool>,
    /// `SRC:DST[:OPTIONS]`, as `-v` takes it.
    pub volumes: Vec<String>,
    /// `type=…,source=…,destination=…`, as `--mount` takes it.
    pub mounts: Vec<String>,
    /// `DST[:OPTIONS]`, as `--tmpfs` takes it.
    pub tmpfs: Vec<String>,
    /// `CONTAINER[:ro|rw|z]`, as `--volumes-from` takes it.
    pub volumes_from: Vec<String>,
    /// What becomes of the image's volumes: `anonymous` (default), `tmpfs`, `ignore`.
    pub image_volume: Option<String>,
    /// Size of /dev/shm in bytes.
    pub shm_size: Option<u64>,
    /// `HOST[:CONTAINER][:PERMISSIONS]`, or `VENDOR/CLASS=NAME`, as `--device` takes it.
    pub devices: Vec<String>,
    /// `all`, or numbers of NVIDIA's, as `--gpus` takes it.
    pub gpus: Vec<String>,
    /// `TYPE MAJOR:MINOR ACCESS`, as `--device-cgroup-rule` takes it.
    pub device_cgroup_rules: Vec<String>,
    /// `none`, `host`, `NAME[:OPTIONS]`, …, each as `--network` takes it.
    pub networks: Vec<String>,
    /// Address in the one network.
    pub ip: Option<String>,
    /// IPv6 address there.
    pub ip6: Option<String>,
    /// Hardware address there.
    pub mac_address: Option<String>,
    /// Names in all networks beside the container's own.
    pub network_aliases: Vec<String>,
    /// `[[IP:][HOST]:]CONTAINER[/PROTOCOL]`, as `-p` takes it.
    pub publish: Vec<String>,
    /// All exposed ports are published at free ports of the host.
    pub publish_all: bool,
    /// `PORT[-PORT][/PROTOCOL]`, as `--expose` takes it.
    pub expose: Vec<String>,
    /// `private`, `host`, `container:NAME`, `ns:PATH`.
    pub pid: Option<String>,
    /// As `pid`, for System V IPC.
    pub ipc: Option<String>,
    /// As `pid`, for the host name.
    pub uts: Option<String>,
    /// As `pid`, for cgroups.
    pub cgroupns: Option<String>,
    /// `host`, `auto[:size=N]`, `keep-id[:uid=,gid=]`, `nomap`, `private`, `container:NAME`, `ns:PATH`.
    pub userns: Option<String>,
    /// `[FLAGS]CONTAINER:HOST[:AMOUNT]`, as `--uidmap` takes it.
    pub uid_maps: Vec<String>,
    /// The same of groups.
    pub gid_maps: Vec<String>,
    /// Whose line of /etc/subuid is the map.
    pub sub_uid_name: Option<String>,
    /// Whose line of /etc/subgid is the map.
    pub sub_gid_name: Option<String>,
    /// Capabilities in place of the usual ones.
    pub default_capabilities: Option<Vec<String>>,
    /// Capabilities to add (`ALL` too).
    pub cap_add: Vec<String>,
    /// Capabilities to drop (`ALL` too).
    pub cap_drop: Vec<String>,
    /// `no-new-privileges[:BOOL]`, `seccomp=FILE|unconfined`, `mask=`, `unmask=`, `label=`, `apparmor=`, `proc-opts=`.
    pub security_options: Vec<String>,
    /// `default`, or `image`: the filter is the one in the image's label `io.containers.seccomp.profile`.
    pub seccomp_policy: Option<String>,
    /// All capabilities, all devices, no masks, no seccomp.
    pub privileged: bool,
    /// `KEY=VALUE` kernel parameters in place of the usual ones, where the container has the namespace they belong to.
    pub default_sysctls: Option<Vec<String>>,
    /// `KEY=VALUE` kernel parameters.
    pub sysctl: Vec<String>,
    /// `NAME=SOFT[:HARD]`, or `host`.
    pub ulimits: Vec<String>,
    /// Limits.
    pub resources: Resources,
    /// OOM score adjustment, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// File mode mask, octal.
    pub umask: Option<String>,
    /// Run the built-in init as process 1.
    pub init: bool,
    /// Run this program of the host's as process 1 instead of the built-in init.
    pub init_path: Option<PathBuf>,
    /// `true`: prepared for systemd if the command is one; `always`; `false`.
    pub systemd: Option<String>,
    /// Size of the file systems in memory that are made for systemd, in bytes.
    pub shm_size_systemd: Option<u64>,
    /// Execution domain: `LINUX` or `LINUX32`.
    pub personality: Option<String>,
    /// Containers that must run before this one.
    pub requires: Vec<String>,
    /// Signal that `stop` sends.
    pub stop_signal: Option<Signal>,
    /// Seconds that `stop` waits.
    pub stop_timeout: Option<u32>,
    /// Restarts, health checks, and who is told.
    pub life: crate::life::Life,
    /// `k8s-file`, `json-file`, `none`.
    pub log_driver: Option<String>,
    /// `path=…`, `max-size=…`, `tag=…`.
    pub log_options: Vec<String>,
    /// `missing`, `always`, `never`, `newer`.
    pub pull: Option<String>,
    /// `OS/ARCH[/VARIANT]`.
    pub platform: Option<String>,
    /// How registries are talked to, if the image must be pulled.
    pub access: crate::image::Access,
    /// `HOST:IP` lines for /etc/hosts.
    pub add_hosts: Vec<String>,
    /// Do not make an /etc/hosts.
    pub no_hosts: bool,
    /// What /etc/hosts starts from: a file of the host, `image` or `none` (default: the host's).
    pub hosts_file: Option<String>,
    /// The address of `host.containers.internal`, or `none` for no such line; else that by which the host is reached.
    pub host_address: Option<String>,
    /// Do not make an /etc/hostname.
    pub no_hostname: bool,
    /// `NAME[,type=mount|env][,target=…][,uid=…][,gid=…][,mode=…]`, as `--secret` takes it.
    pub secrets: Vec<String>,
    /// Directories inside in which the files that the container is given in /etc are to be, too.
    pub chroot_directories: Vec<String>,
    /// Name servers for resolv.conf.
    pub dns: Vec<String>,
    /// Search domains for resolv.conf.
    pub dns_search: Vec<String>,
    /// Options for resolv.conf.
    pub dns_options: Vec<String>,
    /// File to write the id to.
    pub cid_file: Option<PathBuf>,
    /// Parent cgroup.
    pub cgroup_parent: Option<String>,
    /// `enabled`, `disabled`, `no-conmon`, `split`.
    pub cgroups: Option<String>,
    /// The command line that asked, for inspect's `CreateCommand`.
    pub create_command: Vec<String>,
}

/// Limits; `None` is the engine's default, which for most is none at all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes below which memory is not reclaimed first.
    pub memory_reservation: Option<u64>,
    /// Bytes of memory and swap together; -1 is unlimited.
    pub memory_swap: Option<i64>,
    /// Processors, in billionths.
    pub nano_cpus: Option<u64>,
    /// Relative weight, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// Microseconds of a period.
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time a period; -1 is unlimited.
    pub cpu_quota: Option<i64>,
    /// Processors, as in `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    pub cpuset_mems: Option<String>,
    /// Processes; 0 and -1 are unlimited. `None`: 2048 where the host can.
    pub pids: Option<i64>,
    /// Microseconds of a period of realtime processor time.
    pub cpu_rt_period: Option<u64>,
    /// Microseconds of realtime processor time a period.
    pub cpu_rt_runtime: Option<i64>,
    /// Percent of swappiness, 0 to 100; -1 is the host's.
    pub memory_swappiness: Option<i64>,
    /// The kernel kills no process of it for want of memory.
    pub oom_kill_disable: bool,
    /// Files of cgroup v2 and their values.
    pub unified: std::collections::BTreeMap<String, String>,
    /// Relative io weight, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// `DEVICE:WEIGHT`, the same for one device.
    pub blkio_weight_device: Vec<String>,
    /// `DEVICE:BYTES` a second, reading.
    pub device_read_bps: Vec<String>,
    /// `DEVICE:BYTES` a second, writing.
    pub device_write_bps: Vec<String>,
    /// `DEVICE:OPERATIONS` a second, reading.
    pub device_read_iops: Vec<String>,
    /// `DEVICE:OPERATIONS` a second, writing.
    pub device_write_iops: Vec<String>,
}

/// A container was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// What the user should know: a default limit left out, say.
    pub warnings: Vec<String>,
}

/// What a container is doing, in Podman's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Status {
    Created,
    Initialized,
    Running,
    Paused,
    Stopping,
    Exited,
    Removing,
}

impl Status {
    /// Podman's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Initialized => "initialized",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopping => "stopping",
            Status::Exited => "exited",
            Status::Removing => "removing",
        }
    }
}

/// Asks for one container to be sent a signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kill {
    /// Which container.
    pub name: String,
    /// Which signal.
    pub signal: Signal,
}

/// Asks for one container to end: its stop signal, then SIGKILL.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// Which container.
    pub name: String,
    /// Seconds between the two; the container's own value if `None`.
    pub timeout: Option<u32>,
    /// A container that does not exist is no error.
    pub ignore: bool,
}

/// A container has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stopped {
    /// Its id.
    pub id: Id,
    /// What the user should know: that it took SIGKILL.
    pub warning: Option<String>,
}

/// Asks for one container to be removed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Remove {
    /// Which container.
    pub name: String,
    /// Stop it first, and remove it in whatever state it is.
    pub force: bool,
    /// Seconds to wait before SIGKILL.
    pub timeout: Option<u32>,
    /// A container that does not exist is no error.
    pub ignore: bool,
    /// Its anonymous volumes go with it.
    pub volumes: bool,
}

/// Asks for lines of a container's log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Logs {
    /// Which container.
    pub name: String,
    /// Go on until the container ends.
    pub follow: bool,
    /// Only the last lines; `None` is all.
    pub tail: Option<u64>,
    /// Not before this time, in nanoseconds since 1970.
    pub since: Option<i64>,
    /// Not after this time.
    pub until: Option<i64>,
}

/// Which output a log line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Nanoseconds since 1970.
    pub time: i64,
    /// Where it came from.
    pub stream: Stream,
    /// The bytes without the end of line.
    pub text: Vec<u8>,
    /// True if the line goes on in the next record.
    pub partial: bool,
}

/// Asks for a process in a running container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exec {
    /// Which container.
    pub name: String,
    /// Command and arguments.
    pub command: Vec<String>,
    /// `KEY=VALUE`, added to the container's.
    pub environment: Vec<String>,
    /// In place of the container's.
    pub user: Option<String>,
    /// In place of the container's.
    pub working_directory: Option<String>,
    /// Allocate a terminal.
    pub terminal: bool,
    /// Keep standard input open.
    pub interactive: bool,
    /// With all capabilities.
    pub privileged: bool,
    /// Do not wait: nobody reads the output.
    pub detach: bool,
    /// Nobody is told of it.
    pub no_session: bool,
}

/// Asks which containers there are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// Not only those that run.
    pub all: bool,
    /// `key=value`, as `--filter` takes it.
    pub filters: Vec<String>,
    /// Only the newest of them.
    pub last: Option<usize>,
    /// With the room that their files take, which has to be measured.
    pub sizes: bool,
    /// With the namespaces of those that run.
    pub namespaces: bool,
}

/// One row of the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// The image's name as it was asked for, or its id.
    pub image: String,
    /// The image's id (64 hex digits).
    pub image_id: String,
    /// Command and arguments.
    pub command: Vec<String>,
    /// Seconds since 1970.
    pub created: i64,
    /// What it is doing.
    pub status: Status,
    /// Seconds since 1970; 0 if it never ran.
    pub started: i64,
    /// Seconds since 1970; 0 if it did not end.
    pub finished: i64,
    /// Exit code of the last run.
    pub exit_code: i32,
    /// The first process, as the host sees it; 0 if none.
    pub pid: i32,
    /// It goes when it ends.
    pub remove: bool,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// Paths of its mounts inside.
    pub mounts: Vec<String>,
    /// Name of its networks.
    pub networks: Vec<String>,
    /// Its published ports.
    pub ports: Vec<types::port::Published>,
    /// Room that its files take, if that was asked for.
    pub size: Option<Size>,
    /// Numbers of the namespaces of its first process, if they were asked for and it runs.
    pub namespaces: Option<Namespaces>,
    /// How often it was started again by its policy.
    pub restarts: u32,
    /// It will be started again soon.
    pub restarting: bool,
    /// What its health checks say (`starting`, `healthy`, `unhealthy`); empty without checks.
    pub health: String,
}

/// Room that the files of a container take, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// What it wrote.
    pub written: u64,
    /// All that it sees, its image's files too.
    pub whole: u64,
}

/// Namespaces of a process, by the kernel's numbers of them; an empty text is one that cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Namespaces {
    pub cgroup: String,
    pub ipc: String,
    pub mount: String,
    pub network: String,
    pub pid: String,
    pub user: String,
    pub uts: String,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// 0 to 255; 128 + n after a signal.
    pub code: i32,
    /// The kernel killed a process of it for want of memory.
    pub oom: bool,
}

/// A place that `cp` copies from or to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Location {
    /// A path in a container; one that is not absolute starts at its working directory.
    Container {
        /// Which container.
        name: String,
        /// Where in it.
        path: String,
    },
    /// A path of the host.
    Host(String),
    /// A tar archive on standard input or output.
    Stream,
}

/// Asks for files to be copied between a container and the host, or between two containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// What is copied. A directory whose name ends with `/.` stands for what is in it.
    pub from: Location,
    /// Where to: a directory into which it is put, or its new name.
    pub to: Location,
    /// What comes into a container belongs to its user; otherwise owners stay as they are.
    pub archive: bool,
    /// A file may take the place of a directory, and the other way round.
    pub overwrite: bool,
}

/// What became of a path of a container or image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `A` added, `C` changed, `D` deleted.
    pub kind: char,
    /// The absolute path; bytes that are not UTF-8 replaced.
    pub path: String,
}

/// Asks for an image to be made of what a container changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Commit {
    /// Which container.
    pub name: String,
    /// The image's name; none if it is to be known by its id.
    pub image: Option<String>,
    /// Who made it.
    pub author: String,
    /// Remark in its history.
    pub message: String,
    /// Instructions as in a Containerfile: `CMD`, `ENTRYPOINT`, `ENV`, `EXPOSE`, `LABEL`, `ONBUILD`, `STOPSIGNAL`, `USER`, `VOLUME`,
    /// `WORKDIR`.
    pub changes: Vec<String>,
    /// JSON of a configuration as Docker's images have it (`config`), put over the container's before `changes`.
    pub configuration: Option<String>,
    /// Nothing runs while it is read.
    pub pause: bool,
    /// All layers become one.
    pub squash: bool,
    /// The manifest is Docker's (schema 2) and not OCI's.
    pub docker: bool,
    /// Volumes of the container become volumes of the image.
    pub include_volumes: bool,
}

/// Asks for the processes of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// Which container.
    pub name: String,
    /// Descriptors of columns as `podman top` has them; empty for the usual ones.
    pub columns: Vec<String>,
}

/// A table of processes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Processes {
    /// Headings of the columns.
    pub titles: Vec<String>,
    /// A row for each process.
    pub rows: Vec<Vec<String>>,
}

/// What a running container uses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When this was read, in nanoseconds since 1970.
    pub time: i64,
    /// When it was started, in nanoseconds since 1970.
    pub started: i64,
    /// Nanoseconds of processor time; `None` where nothing counts it.
    pub cpu: Option<u64>,
    /// Bytes of memory in use.
    pub memory: Option<u64>,
    /// Bytes it may use: its limit, or all that the host has.
    pub memory_limit: u64,
    /// Bytes received and sent by its network interfaces.
    pub network: (u64, u64),
    /// Bytes read from and written to block devices.
    pub block: (u64, u64),
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// Asks for a container like another one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Duplicate {
    /// Which container.
    pub name: String,
    /// The new one's name; one is made of the old one's if it is left out.
    pub new_name: Option<String>,
    /// Another image than the old one's.
    pub image: Option<String>,
    /// Limits that differ.
    pub resources: Resources,
}

/// Asks for a container to be changed; what is not named stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Which container.
    pub name: String,
    /// Limits of its cgroup that change.
    pub resources: Resources,
    /// Limits of its first process that change (`NAME=SOFT[:HARD]`), or `host` alone: none of its own.
    pub ulimits: Vec<String>,
    /// Variables that change or come new, as `KEY=VALUE`, for its next runs and for what is executed in it.
    pub environment: Vec<String>,
    /// Names of variables that go.
    pub unset_environment: Vec<String>,
    /// How its health is checked, from now on.
    pub health: crate::life::Health,
    /// When it is started again, from now on.
    pub restart: Option<crate::life::Restart>,
}
