//! What a container sees at `/sys/fs/cgroup`: its own cgroup as the root.
//!
//! Version 2: the kernel's file system, seen through the cgroup namespace; without one, a bind of the container's own
//! directory. Version 1 and hybrid: a tmpfs with a bind of the own directory of every hierarchy that the container has one in,
//! and the links that name controllers mounted together. Of the others it sees nothing: they would be the host's. A host
//! without cgroups gets an empty directory.

use crate::error::Error;
use crate::mounts::Facts;
use crate::options::{self, Options};
use crate::paths::{self, Kind};
use crate::trees::{Failed, Interface, Place, Tree};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use sys::mount::{Change, READ_ONLY};

const HOST: &str = "/sys/fs/cgroup";

/// Mounts it at `place` with `options`.
pub fn attach(facts: &Facts, place: &Place<'_>, options: &Options) -> Result<OwnedFd, Error> {
    let error = |step: &str, source: Errno| Error::Mount {
        source_path: "cgroup".into(),
        destination: place.path.display().to_string(),
        step: step.into(),
        source,
    };
    let bare = Options { data: Vec::new(), ..options.clone() };
    match &facts.hierarchies[..] {
        [only] if only.unified && only.mounted == Path::new(HOST) => {
            let tree = match Tree::filesystem(facts.interface, "cgroup2", "cgroup", &bare) {
                Ok(tree) if facts.cgroup_namespace => tree,
                // Not in a user namespace without a cgroup namespace of its own (EPERM); and without a cgroup namespace
                // the file system would show all of the host's.
                _ => bind(facts.interface, only, options.set).map_err(|e| error("bind the own cgroup", e))?,
            };
            tree.attach(place).map_err(|e| error("attach", e))
        }
        _ => several(facts.interface, &facts.hierarchies, place, options).map_err(|Failed(step, e)| error(&step, e)),
    }
}

/// The hierarchies mounted on the host, with this process's own cgroups: to be read before the cgroup namespace is left, in
/// which all paths look different. Only those count in which the own cgroup is `group`, or below it; none if there is none.
pub fn own_hierarchies(group: Option<&str>) -> Vec<Hierarchy> {
    let Some(group) = group else { return Vec::new() };
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    hierarchies(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"), Path::new(group))
}

/// A mounted hierarchy of cgroups.
#[derive(Debug, PartialEq, Eq)]
pub struct Hierarchy {
    mounted: PathBuf,
    /// The own cgroup's directory below it.
    own: PathBuf,
    unified: bool,
}

fn bind(interface: Interface, hierarchy: &Hierarchy, properties: u64) -> Result<Tree, Errno> {
    let mut tree = Tree::bind_path(interface, &hierarchy.own, false, false).map_err(|Failed(_, errno)| errno)?;
    const MS_PRIVATE: u64 = 1 << 18;
    tree.change(false, Change { propagation: MS_PRIVATE, ..Change::default() })?;
    tree.change(false, Change { set: properties & 0xf, ..Change::default() })?;
    Ok(tree)
}

fn several(
    interface: Interface,
    hierarchies: &[Hierarchy],
    place: &Place<'_>,
    options: &Options,
) -> Result<OwnedFd, Failed> {
    let tmpfs = Options { set: options.set & !READ_ONLY, ..options::parse(&["mode=755", "size=1m"]) };
    let failed = |step: &str| {
        let step = step.to_owned();
        move |errno| Failed(step, errno)
    };
    let top =
        Tree::filesystem(interface, "tmpfs", "cgroup", &tmpfs)?.attach(place).map_err(failed("attach a tmpfs"))?;
    for hierarchy in hierarchies {
        let Some(name) = hierarchy.mounted.file_name() else { continue };
        let path = Path::new(name);
        let fd = paths::mountpoint(top.as_fd(), path, Kind::Directory).map_err(failed("make a directory"))?;
        let inner = Place { root: top.as_fd(), path: path.to_owned(), fd };
        match bind(interface, hierarchy, options.set) {
            // The own cgroup is not below what is mounted here (a container in a container): nothing to show.
            Err(Errno::NOENT) => {}
            tree => {
                drop(tree.map_err(failed("bind a hierarchy"))?.attach(&inner).map_err(failed("attach a hierarchy"))?)
            }
        }
        if let Some(joined) = name.to_str().filter(|name| name.contains(',')) {
            for controller in joined.split(',') {
                paths::link(joined, top.as_fd(), controller).map_err(failed("name a controller"))?;
            }
        }
    }
    if options.set & READ_ONLY != 0 {
        let set = match interface {
            Interface::New => sys::mount::change(top.as_fd(), false, Change { set: READ_ONLY, ..Change::default() }),
            Interface::Classic => {
                const REMOUNT_BIND: u64 = 1 << 5 | 1 << 12;
                let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&top));
                let path = std::ffi::CString::new(path).map_err(|_| Failed("name the tmpfs".into(), Errno::INVAL))?;
                sys::mount::classic(c"", &path, c"", REMOUNT_BIND | options.set & 0xf, c"")
            }
        };
        set.map_err(failed("make the tmpfs read-only"))?;
    }
    Ok(top)
}

/// The hierarchies mounted below `/sys/fs/cgroup`, from mountinfo (proc_pid_mountinfo(5)) and cgroup (cgroups(7)).
fn hierarchies(mountinfo: &str, cgroup: &str, group: &Path) -> Vec<Hierarchy> {
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let (Some(root), Some(mounted), Some(kind)) = (left.get(3), left.get(4), right.first()) else { continue };
        if !mounted.starts_with(HOST) || !matches!(*kind, "cgroup" | "cgroup2") {
            continue;
        }
        let unified = *kind == "cgroup2";
        let of_this = |controllers: &str| match unified {
            true => controllers.is_empty(),
            false => {
                !controllers.is_empty()
                    && controllers.split(',').all(|c| right.last().is_some_and(|o| o.split(',').any(|o| o == c)))
            }
        };
        let path = cgroup
            .lines()
            .filter_map(|l| l.split_once(':')?.1.split_once(':'))
            .find(|(c, _)| of_this(c))
            .map(|(_, path)| path);
        let path = path.filter(|path| Path::new(path).starts_with(group));
        let Some(below) = path.and_then(|path| Path::new(path).strip_prefix(root).ok()) else { continue };
        found.push(Hierarchy { mounted: mounted.into(), own: Path::new(mounted).join(below), unified });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_directories_of_a_hybrid_host() {
        let mountinfo = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            33 31 0:30 /pod /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let cgroup = "5:name=systemd:/\n4:memory:/pod/a\n3:cpu,cpuacct:/pod/a\n0::/pod/a\n";
        let own: Vec<_> = hierarchies(mountinfo, cgroup, Path::new("/pod/a"))
            .into_iter()
            .map(|h| (h.own.display().to_string(), h.unified))
            .collect();
        assert_eq!(
            own,
            [
                ("/sys/fs/cgroup/cpu,cpuacct/pod/a".into(), false),
                ("/sys/fs/cgroup/memory/a".into(), false),
                ("/sys/fs/cgroup/unified/pod/a".into(), true),
            ]
        );
    }

    #[test]
    fn the_unified_host() {
        let found = hierarchies("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", "0::/a/b", Path::new("/a/b"));
        assert_eq!(found, [Hierarchy { mounted: HOST.into(), own: Path::new(HOST).join("a/b"), unified: true }]);
        assert!(hierarchies("", "", Path::new("/")).is_empty());
    }
}
