//! What this machine has: which hierarchies are mounted where, which controllers they carry, and what can be had of them.

use super::limit::{Limit, Reason};
use super::mounts::{self, CGROUP2_SUPER_MAGIC, Hierarchy, STANDARD, is_mount_of, is_read_only};
use rustix::fs::{Access, AtFlags, CWD};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

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

/// Where a limit is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// In version 2's hierarchy.
    Unified,
    /// In this hierarchy of version 1.
    Legacy(&'a Hierarchy),
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
    /// Groups are made in every hierarchy of version 1.
    pub(super) everywhere: bool,
    /// What the base has, read when it is first asked for.
    inventory: OnceLock<Inventory>,
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
        let (unified, hierarchies) = mounts::find(&own());
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
        Host { layout, unified, hierarchies, rootless, base, everywhere: false, inventory: OnceLock::new() }
    }

    /// The same host, on which groups are made in every hierarchy of version 1 if `yes`: otherwise only where they have a limit.
    pub fn everywhere(self, yes: bool) -> Host {
        Host { everywhere: yes, ..self }
    }

    /// Whether `limit` can be set on groups made below [`Host::parent`]; if not, why.
    pub fn can(&self, limit: Limit) -> Result<(), Reason> {
        match self.place(limit)? {
            Place::Legacy(hierarchy) if limit == Limit::Swap => {
                if hierarchy.mount.join("memory.memsw.limit_in_bytes").exists() { Ok(()) } else { Err(no_swap()) }
            }
            Place::Legacy(_) => Ok(()),
            Place::Unified if limit == Limit::Swap && !accounts_swap() => Err(no_swap()),
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
            (None, Err(_)) if self.layout == Layout::Legacy => Err(Reason::new(
                format!("no hierarchy of cgroup v1 with the {} controller is mounted", limit.legacy()),
                format!(
                    "mount one (mount -t cgroup -o {0} none /sys/fs/cgroup/{0}), or boot with cgroup v2",
                    limit.legacy()
                ),
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

/// The root of version 2 has no files that would tell.
fn accounts_swap() -> bool {
    let told_not_to = |text: String| text.split_ascii_whitespace().any(|word| word == "swapaccount=0");
    Path::new("/proc/swaps").exists() && !fs::read_to_string("/proc/cmdline").is_ok_and(told_not_to)
}

pub(super) fn no_swap() -> Reason {
    Reason::new("the kernel does not account swap", "boot with swapaccount=1")
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_controller_that_is_not_mounted_is_named() {
        let hierarchy = Hierarchy { mount: "/".into(), controllers: vec!["pids".into()], writable: true };
        let host = Host::new(None, vec![hierarchy], false, String::new);
        assert_eq!(host.can(Limit::Pids), Ok(()));
        assert!(host.can(Limit::Hugetlb).unwrap_err().why.contains("hugetlb"));
    }

    #[test]
    fn version_1_is_not_delegated() {
        let hierarchy = Hierarchy { mount: "/".into(), controllers: vec!["pids".into()], writable: true };
        let host = Host::new(None, vec![hierarchy], true, String::new);
        assert!(host.can(Limit::Pids).unwrap_err().why.contains("cgroup v1"));
        assert!(host.can(Limit::Memory).is_err());
    }
}
