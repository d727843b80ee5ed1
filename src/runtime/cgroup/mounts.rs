//! Where hierarchies are mounted.

use rustix::fs::{FsWord, StatVfsMountFlags};
use std::fs;
use std::path::{Path, PathBuf};

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

/// Where version 2 alone is mounted, as systemd does it.
pub(super) const STANDARD: &str = "/sys/fs/cgroup";
const CGROUP_SUPER_MAGIC: FsWord = 0x0027_e0eb;
pub(super) const CGROUP2_SUPER_MAGIC: FsWord = 0x6367_7270;

/// Version 2's mount and the hierarchies of version 1, for a process whose `/proc/self/cgroup` is `own`. It reads
/// `/proc/self/mountinfo`, which is slow, only where hierarchies are not in their usual places.
pub(super) fn find(own: &str) -> (Option<PathBuf>, Vec<Hierarchy>) {
    usual(own).unwrap_or_else(|| {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let (unified, mut hierarchies) = parse(&mounts);
        // What was mounted over is listed all the same.
        hierarchies.retain(|hierarchy| is_mount_of(&hierarchy.mount, CGROUP_SUPER_MAGIC));
        (unified.filter(|mount| is_mount_of(mount, CGROUP2_SUPER_MAGIC)), hierarchies)
    })
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

pub(super) fn is_mount_of(path: &Path, kind: FsWord) -> bool {
    rustix::fs::statfs(path).is_ok_and(|s| s.f_type == kind)
}

pub(super) fn is_read_only(path: &Path) -> bool {
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
}
