//! What this machine has: which hierarchies are mounted where, which controllers they carry, and what can be had of them.

use rustix::fs::{Access, AtFlags, CWD, FsWord, StatVfsMountFlags};
use std::cell::OnceCell;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// How control groups are set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Version 2 alone.
    Unified,
    /// Version 2 beside hierarchies of version 1.
    Hybrid,
    /// Version 1 alone.
    Legacy,
    /// Nothing is mounted.
    None,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::Unified => "v2",
            Layout::Hybrid => "hybrid",
            Layout::Legacy => "v1",
            Layout::None => "none",
        })
    }
}

/// What can be asked of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Bytes of memory.
    Memory,
    /// Bytes of swap.
    Swap,
    /// A share or a quota of processor time.
    Cpu,
    /// Which processors and memory nodes.
    Cpuset,
    /// A share or a rate of block devices.
    Io,
    /// The number of processes.
    Pids,
    /// Bytes of huge pages.
    Hugetlb,
    /// Handles of RDMA devices.
    Rdma,
    /// Which devices may be opened.
    Devices,
    /// Pausing.
    Freezer,
}

impl Limit {
    /// The controller's name in version 2.
    pub(super) fn unified(self) -> Option<&'static str> {
        match self {
            Limit::Memory | Limit::Swap => Some("memory"),
            Limit::Cpu => Some("cpu"),
            Limit::Cpuset => Some("cpuset"),
            Limit::Io => Some("io"),
            Limit::Pids => Some("pids"),
            Limit::Hugetlb => Some("hugetlb"),
            Limit::Rdma => Some("rdma"),
            Limit::Devices | Limit::Freezer => None,
        }
    }

    /// The controller's name in version 1.
    pub(super) fn legacy(self) -> &'static str {
        match self {
            Limit::Io => "blkio",
            Limit::Devices => "devices",
            Limit::Freezer => "freezer",
            other => other.unified().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Memory => "memory",
            Limit::Swap => "swap",
            Limit::Cpu => "cpu",
            Limit::Cpuset => "cpuset",
            Limit::Io => "block io",
            Limit::Pids => "pids",
            Limit::Hugetlb => "huge page",
            Limit::Rdma => "rdma",
            Limit::Devices => "device",
            Limit::Freezer => "freezer",
        })
    }
}

/// Why a limit cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}; {fix}")]
pub struct Reason {
    /// What is missing.
    pub why: String,
    /// What would mend it.
    pub fix: String,
}

impl Reason {
    fn new(why: impl Into<String>, fix: impl Into<String>) -> Reason {
        Reason { why: why.into(), fix: fix.into() }
    }
}

/// Where a limit is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// In version 2's hierarchy.
    Unified,
    /// In this hierarchy of version 1.
    Legacy(&'a Hierarchy),
}

/// A mounted hierarchy of version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Its controllers' names.
    pub controllers: Vec<String>,
    /// Mounted read-only, or not ours to write.
    pub writable: bool,
}

/// The control groups of this machine, as this process sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// How they are set up.
    pub layout: Layout,
    /// Where version 2 is mounted.
    pub(super) unified: Option<PathBuf>,
    pub(super) hierarchies: Vec<Hierarchy>,
    /// In a user namespace, or without root's rights: only what is delegated can be had.
    pub(super) rootless: bool,
    /// The group of version 2 below which ours are made, as a path from the mount.
    base: Result<String, Reason>,
    /// What the base has, read when it is first asked for.
    inventory: OnceCell<Inventory>,
}

/// What a group of version 2 has for those below it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Inventory {
    /// Controllers that it hands on.
    enabled: String,
    /// Controllers that it could hand on.
    available: String,
    /// Processes of its own keep it from handing on more.
    busy: bool,
}

const STANDARD: &str = "/sys/fs/cgroup";
const CGROUP_SUPER_MAGIC: FsWord = 0x0027_e0eb;
const CGROUP2_SUPER_MAGIC: FsWord = 0x6367_7270;

impl Host {
    /// Looks at this machine; some 50 µs. It reads `/proc/self/mountinfo`, which is slow,
    /// only where hierarchies are not in their usual places.
    pub fn probe() -> Host {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let own_namespace = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
        let rootless = !rustix::process::geteuid().is_root() || !(map.is_empty() || own_namespace);
        let own = || fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        if is_mount_of(Path::new(STANDARD), CGROUP2_SUPER_MAGIC) {
            return Host::new(Some(STANDARD.into()), Vec::new(), rootless, own);
        }
        let (unified, hierarchies) = usual(&own()).unwrap_or_else(|| {
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            let (unified, mut hierarchies) = parse(&mounts);
            // What was mounted over is listed all the same.
            hierarchies.retain(|hierarchy| is_mount_of(&hierarchy.mount, CGROUP_SUPER_MAGIC));
            (unified.filter(|mount| is_mount_of(mount, CGROUP2_SUPER_MAGIC)), hierarchies)
        });
        Host::new(unified, hierarchies, rootless, own)
    }

    fn new(
        unified: Option<PathBuf>,
        mut hierarchies: Vec<Hierarchy>,
        rootless: bool,
        own: impl Fn() -> String,
    ) -> Host {
        for hierarchy in &mut hierarchies {
            // Root's to write, unless mounted read-only.
            hierarchy.writable &= !rootless;
        }
        let layout = match (&unified, hierarchies.is_empty()) {
            (Some(_), true) => Layout::Unified,
            (Some(_), false) => Layout::Hybrid,
            (None, false) => Layout::Legacy,
            (None, true) => Layout::None,
        };
        let base = base(unified.as_deref(), rootless, own);
        Host { layout, unified, hierarchies, rootless, base, inventory: OnceCell::new() }
    }

    /// Whether `limit` can be set on groups made below [`Host::parent`]; if not, why.
    pub fn can(&self, limit: Limit) -> Result<(), Reason> {
        match self.place(limit)? {
            Place::Legacy(hierarchy) if limit == Limit::Swap => {
                if hierarchy.mount.join("memory.memsw.limit_in_bytes").exists() { Ok(()) } else { Err(no_swap()) }
            }
            Place::Legacy(_) => Ok(()),
            Place::Unified => match (limit.unified(), &self.unified, &self.base) {
                (Some(controller), Some(mount), Ok(base)) => {
                    let inventory = self.inventory.get_or_init(|| Inventory::read(&mount.join(&base[1..])));
                    inventory.has(base, controller)
                }
                _ => Ok(()),
            },
        }
    }

    /// The group below which groups go unless told otherwise: `/monopod`, or one in the part that is delegated to the user.
    pub fn parent(&self) -> Result<String, Reason> {
        match (&self.base, self.layout) {
            (Ok(base), Layout::Unified) => Ok(format!("{}/monopod", base.trim_end_matches('/'))),
            (Ok(base), _) if self.rootless => Ok(format!("{}/monopod", base.trim_end_matches('/'))),
            (Err(reason), Layout::Unified) => Err(reason.clone()),
            (_, Layout::None) => Err(not_mounted()),
            (Err(reason), _) if self.rootless => Err(reason.clone()),
            _ => Ok("/monopod".into()),
        }
    }

    /// True if only what is delegated to a user can be had.
    pub fn is_rootless(&self) -> bool {
        self.rootless
    }

    /// The names of the controllers that can be had, sorted, in version 2's words.
    pub fn controllers(&self) -> Vec<&'static str> {
        use Limit::*;
        let all = [Cpu, Cpuset, Hugetlb, Io, Memory, Pids, Rdma];
        all.into_iter().filter(|limit| self.can(*limit).is_ok()).filter_map(Limit::unified).collect()
    }

    /// Where `limit` is set on this machine.
    pub(super) fn place(&self, limit: Limit) -> Result<Place<'_>, Reason> {
        if self.layout == Layout::None {
            return Err(not_mounted());
        }
        let legacy = self.hierarchies.iter().find(|h| h.controllers.iter().any(|c| c == limit.legacy()));
        match (legacy, &self.base) {
            // Version 2 freezes without a controller, even where that of version 1 is mounted too.
            (_, Ok(_)) if limit == Limit::Freezer => Ok(Place::Unified),
            (Some(hierarchy), _) if hierarchy.writable => Ok(Place::Legacy(hierarchy)),
            (Some(_), _) if self.rootless => Err(Reason::new(
                format!("the {} controller is on cgroup v1, which cannot be delegated to users", limit.legacy()),
                "boot with cgroup v2 alone (systemd.unified_cgroup_hierarchy=1), or run as root",
            )),
            (Some(hierarchy), _) => Err(Reason::new(
                format!("{:?} is not writable", hierarchy.mount),
                "mount the cgroup hierarchy read-write",
            )),
            (None, base) => base.as_ref().map(|_| Place::Unified).map_err(Reason::clone),
        }
    }

    /// The directory of version 2's hierarchy that `path` names, if groups can be made there.
    pub(super) fn unified_directory(&self, path: &str) -> Option<PathBuf> {
        let mount = self.unified.as_ref().filter(|_| self.base.is_ok())?;
        Some(mount.join(path.trim_start_matches('/')))
    }

    /// The part of `path` that exists without us: nothing is created or asked above it.
    pub(super) fn base(&self) -> Result<&str, &Reason> {
        self.base.as_deref()
    }
}

fn not_mounted() -> Reason {
    Reason::new("no cgroup filesystem is mounted", "mount one: mount -t cgroup2 none /sys/fs/cgroup")
}

pub(super) fn no_swap() -> Reason {
    Reason::new("the kernel does not account swap", "boot with swapaccount=1")
}

/// The hierarchies that `/proc/self/cgroup` tells of (cgroups(7)), if all of version 1 are mounted where they usually are: below
/// `/sys/fs/cgroup`, by the names of their controllers.
fn usual(own: &str) -> Option<(Option<PathBuf>, Vec<Hierarchy>)> {
    let standard = Path::new(STANDARD);
    let mut hierarchies = Vec::new();
    for line in own.lines() {
        let mut fields = line.split(':');
        let (Some(number), Some(names)) = (fields.next(), fields.next()) else { continue };
        if number == "0" || names.starts_with("name=") {
            continue;
        }
        let mount = standard.join(names);
        if !is_mount_of(&mount, CGROUP_SUPER_MAGIC) {
            return None;
        }
        let writable = !is_read_only(&mount);
        hierarchies.push(Hierarchy { mount, controllers: names.split(',').map(String::from).collect(), writable });
    }
    let unified = Some(standard.join("unified")).filter(|path| is_mount_of(path, CGROUP2_SUPER_MAGIC));
    (!hierarchies.is_empty()).then_some((unified, hierarchies))
}

/// The hierarchies in a mountinfo file (proc_pid_mountinfo(5)): version 2's mount, and those of version 1.
fn parse(mounts: &str) -> (Option<PathBuf>, Vec<Hierarchy>) {
    let (mut unified, mut hierarchies) = (None, Vec::<Hierarchy>::new());
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - cgroup") else { continue };
        let mut fields = before.split(' ').skip(4);
        let (Some(mount), Some(options)) = (fields.next().map(unescape), fields.next()) else { continue };
        let mut after = after.splitn(3, ' ');
        let version = after.next();
        let super_options = after.nth(1).unwrap_or_default();
        let read_only = |options: &str| options.split(',').any(|option| option == "ro");
        if version == Some("2") {
            // The first is the one that the host set up; containers' own come later.
            unified.get_or_insert(mount);
        } else if !hierarchies.iter().any(|h| h.mount == mount) {
            let controllers: Vec<String> = super_options
                .split(',')
                .filter(|option| !matches!(*option, "rw" | "ro" | "xattr") && !option.contains('='))
                .map(String::from)
                .collect();
            let writable = !read_only(options) && !read_only(super_options);
            if !controllers.is_empty() {
                hierarchies.push(Hierarchy { mount, controllers, writable });
            }
        }
    }
    (unified, hierarchies)
}

/// Spaces and the like are written as `\040`.
fn unescape(field: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| tail.get(..3).and_then(|d| std::str::from_utf8(d).ok())).flatten();
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

/// The group of version 2 below which groups can be made: all of it for root, what is delegated for a user. A process may only
/// be born in a group if its parent may write to the nearest group above both, so that one must be writable too.
fn base(mount: Option<&Path>, rootless: bool, own: impl Fn() -> String) -> Result<String, Reason> {
    let mount = mount.ok_or_else(not_mounted)?;
    if !rootless {
        return if is_writable(mount) {
            Ok("/".into())
        } else {
            Err(Reason::new(format!("{mount:?} is not writable"), "mount the cgroup2 filesystem read-write"))
        };
    }
    let own = own();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let delegated = |path: &&Path| {
        let directory = mount.join(path.strip_prefix("/").unwrap_or(path));
        is_writable(&directory) && is_writable(&directory.join("cgroup.procs"))
    };
    // Above our own first: a group with processes in it cannot hand on controllers.
    let mut ancestors: Vec<&Path> = Path::new(own).ancestors().collect();
    ancestors.rotate_left(1);
    match ancestors.iter().find(|path| delegated(path)) {
        Some(path) if !own.contains("..") => Ok(path.to_str().unwrap_or("/").to_string()),
        _ => Err(Reason::new(
            "no cgroup is delegated to this user",
            "start a session that has one: systemd-run --user --scope -p Delegate=yes",
        )),
    }
}

impl Inventory {
    fn read(directory: &Path) -> Inventory {
        let text = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
        let (enabled, available) = (text("cgroup.subtree_control"), text("cgroup.controllers"));
        Inventory { enabled, available, busy: is_busy(directory) }
    }

    /// Whether the group at `path` hands `controller` to its children, or could.
    fn has(&self, path: &str, controller: &str) -> Result<(), Reason> {
        let lists = |text: &str| text.split_ascii_whitespace().any(|known| known == controller);
        if lists(&self.enabled) || lists(&self.available) && !self.busy {
            return Ok(());
        }
        if lists(&self.available) {
            return Err(busy(path, controller));
        }
        let fix = match path {
            "/" => format!("boot a kernel that has it enabled (cgroup_enable={controller})"),
            _ => format!("delegate it to this cgroup (systemd: Delegate={controller})"),
        };
        Err(Reason::new(format!("the {controller} controller is not available in cgroup {path:?}"), fix))
    }
}

/// A group with processes cannot hand controllers on, except the hierarchy's root (cgroups(7), "no internal processes").
pub(super) fn is_busy(directory: &Path) -> bool {
    directory.join("cgroup.type").exists()
        && fs::read_to_string(directory.join("cgroup.procs")).is_ok_and(|procs| !procs.is_empty())
}

pub(super) fn busy(path: &str, controller: &str) -> Reason {
    Reason::new(
        format!(
            "cgroup {path:?} has processes of its own, so it cannot hand the {controller} controller to groups below it"
        ),
        "start monopod from a cgroup of its own, or name another with --cgroup-parent",
    )
}

fn is_writable(path: &Path) -> bool {
    rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok() && !is_read_only(path)
}

fn is_mount_of(path: &Path, kind: FsWord) -> bool {
    rustix::fs::statfs(path).is_ok_and(|s| s.f_type == kind)
}

fn is_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|s| s.f_flag.contains(StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read() {
        let text = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:3 - cgroup cgroup rw,cpu,cpuacct\n\
            33 31 0:30 / /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n\
            34 31 0:31 / /odd\\040place rw - cgroup cgroup rw,pids\n\
            40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
            42 31 0:38 / /elsewhere rw - cgroup2 cgroup2 rw\n\
            50 1 0:50 / / rw - ext4 /dev/vda rw\n";
        let (unified, hierarchies) = parse(text);
        assert_eq!(unified, Some("/sys/fs/cgroup/unified".into()));
        let found: Vec<_> =
            hierarchies.iter().map(|h| (h.mount.to_str().unwrap(), h.controllers.join(","), h.writable)).collect();
        assert_eq!(
            found,
            [
                ("/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct".to_string(), true),
                ("/sys/fs/cgroup/memory", "memory".to_string(), false),
                ("/odd place", "pids".to_string(), true),
            ]
        );
    }

    #[test]
    fn usual_places_are_what_mountinfo_says() {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let Some((unified, hierarchies)) = usual(&own) else {
            return eprintln!("skipped: no hierarchies of version 1 in their usual places");
        };
        let (expected, mut all) = parse(&fs::read_to_string("/proc/self/mountinfo").unwrap());
        all.retain(|hierarchy| is_mount_of(&hierarchy.mount, CGROUP_SUPER_MAGIC));
        let expected = expected.filter(|mount| is_mount_of(mount, CGROUP2_SUPER_MAGIC));
        all.sort_by(|a, b| a.mount.cmp(&b.mount));
        let mut found = hierarchies;
        found.sort_by(|a, b| a.mount.cmp(&b.mount));
        assert_eq!((unified, found), (expected, all));
    }

    #[test]
    fn a_host_without_cgroups_says_so() {
        let host = Host::new(None, Vec::new(), false, String::new);
        assert_eq!(host.layout, Layout::None);
        let reason = host.can(Limit::Memory).unwrap_err();
        assert_eq!(
            reason.to_string(),
            "no cgroup filesystem is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup"
        );
        assert!(host.parent().is_err());
    }

    #[test]
    fn version_1_is_not_delegated() {
        let hierarchy = Hierarchy { mount: "/".into(), controllers: vec!["pids".into()], writable: true };
        let host = Host::new(None, vec![hierarchy], true, String::new);
        assert!(host.can(Limit::Pids).unwrap_err().why.contains("cgroup v1"));
        assert!(host.can(Limit::Memory).is_err());
    }
}
