//! Reading the host for [`Facts`].

use crate::Engine;
use crate::container::accounts;
use crate::container::facts::{Controllers, Facts, JoinedUser};
use ops::container::Create;
use ops::{Fault, Kind};
use runtime::cgroup::{self, Limit};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use types::{IdMap, IdRange, idmap};

/// Where `--userns auto` takes its ids from if /etc/subuid has no line for "containers": a quarter of all ids, from a
/// place that neither users nor the ranges of useradd(8) and systemd reach.
const AUTO: (u32, u32) = (0x4000_0000, 0x4000_0000);

impl Engine {
    /// What every container is decided by.
    pub(crate) fn read_facts(&self) -> Result<Facts, Fault> {
        let host = self.host()?;
        let limit = |resource| {
            let limit = rustix::process::getrlimit(resource);
            (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX))
        };
        let capabilities = capabilities();
        Ok(Facts {
            rootless: host.in_user_namespace,
            single_id: host.single_id,
            id_map: host.map.clone(),
            uid: self.settings.uid,
            gid: self.settings.gid,
            host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            kernel: kernel(),
            capabilities,
            nofile: limit(rustix::process::Resource::Nofile),
            nproc: limit(rustix::process::Resource::Nproc),
            // In a user namespace CAP_SYS_RESOURCE does not count for limits.
            can_raise_limits: !host.in_user_namespace && capabilities >> 24 & 1 == 1,
            controllers: controllers(),
            selinux: Path::new("/sys/fs/selinux/enforce").exists(),
            no_message_queues: !std::path::Path::new("/dev/mqueue").exists(),
            apparmor: std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|t| t.first() == Some(&b'Y')),
            thermal_throttle: thermal_throttle(),
            proxies: self.settings.proxies.clone(),
            ..Facts::default()
        })
    }

    /// With what the options of one container need beyond that.
    pub(crate) fn facts_for(&self, asked: &Create) -> Result<Facts, Fault> {
        let mut facts = self.facts()?.clone();
        let others = [&asked.pid, &asked.ipc, &asked.uts, &asked.cgroupns].into_iter().flatten();
        for option in others.chain(&asked.networks) {
            if let Some(name) = option.strip_prefix("container:") {
                facts.containers.insert(name.to_owned(), self.find(name)?);
            }
        }
        if let Some(name) = asked.ipc.as_deref().and_then(|ipc| ipc.strip_prefix("container:")) {
            let spaces = self.database()?.config(self.record_of(name)?.seq)?.namespaces;
            facts.closed_ipc = spaces.closed_ipc || spaces.no_shared_memory;
        }
        for name in &asked.requires {
            facts.containers.insert(name.to_owned(), self.find(name)?);
        }
        for text in &asked.secrets {
            let name = crate::container::resolve::secrets::name(text);
            facts.secrets.insert(name.to_owned(), self.secret(name)?.id);
        }
        self.identity_facts(asked, &mut facts)?;
        for option in &asked.security_options {
            if let Some(("seccomp", path)) = option.split_once(['=', ':'])
                && !matches!(path, "" | "unconfined" | "default" | "builtin")
            {
                let text = std::fs::read_to_string(path).map_err(|e| {
                    let why = if e.kind() == std::io::ErrorKind::NotFound {
                        "no such file or directory".into()
                    } else {
                        e.to_string()
                    };
                    Fault::new(Kind::NotFound, format!("opening seccomp profile failed: open {path}: {why}"))
                })?;
                facts.profiles.insert(path.to_owned(), text);
            }
        }
        for text in &asked.volumes_from {
            let name = text.split(':').next().unwrap_or_default();
            let config = self.database()?.config(self.record_of(name)?.seq)?;
            facts.volumes_from.insert(name.to_owned(), config.mounts);
        }
        for text in &asked.mounts {
            use crate::container::resolve::mount_flag;
            if let Some(name) = mount_flag::image_name(text) {
                let image = self.store()?.find_image(name).map_err(crate::fault::store)?;
                facts.images.insert(name.to_owned(), image.id.hex());
            }
            if let Some(pattern) = mount_flag::pattern(text) {
                facts.globs.insert(pattern.to_owned(), super::glob::matching(pattern));
            }
        }
        if asked.privileged {
            facts.devices = devices(Path::new("/dev"));
        }
        for text in &asked.devices {
            let path = text.split(':').next().unwrap_or_default();
            if path.starts_with('/') && Path::new(path).is_dir() {
                let nodes = devices(Path::new(path));
                if nodes.is_empty() {
                    return Err(Fault::new(Kind::NotFound, format!("no devices found in {path:?}")));
                }
                facts.device_directories.insert(path.to_owned(), nodes);
            }
        }
        if asked.userns.as_deref().is_some_and(|u| u.starts_with("auto")) {
            facts.free_ids = self.free_ids()?;
        }
        Ok(facts)
    }

    /// With what is known of users and ids.
    fn identity_facts(&self, asked: &Create, facts: &mut Facts) -> Result<(), Fault> {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let userns = asked.userns.as_deref().unwrap_or_default();
        if !asked.host_users.is_empty() || userns.starts_with("keep-id") {
            let (passwd, group) = (text("/etc/passwd"), text("/etc/group"));
            for wanted in &asked.host_users {
                let is = |name: &str, uid: u32| name == wanted || wanted.parse() == Ok(uid);
                facts.accounts.extend(accounts::of_host(&passwd, &group, is).map(|account| (wanted.clone(), account)));
            }
            let caller = accounts::of_host(&passwd, &group, |_, uid| uid == facts.uid);
            facts.accounts.extend(caller.map(|account| (String::new(), account)));
        }
        for (name, path, ranges) in [
            (&asked.sub_uid_name, "/etc/subuid", &mut facts.sub_uids),
            (&asked.sub_gid_name, "/etc/subgid", &mut facts.sub_gids),
        ] {
            let Some(name) = name.as_ref().or(asked.sub_uid_name.as_ref()).or(asked.sub_gid_name.as_ref()) else {
                continue;
            };
            *ranges = subordinate(&text(path), name);
            if ranges.is_empty() {
                return Err(Fault::new(Kind::NotFound, format!("no ranges of user {name:?} are in {path}")));
            }
        }
        if let Some(name) = userns.strip_prefix("container:") {
            let record = self.record_of(name)?;
            let map = self.database()?.config(record.seq)?.namespaces.user;
            facts.joined_user = Some(JoinedUser { container: Some(record.id), map });
        } else if let Some(path) = userns.strip_prefix("ns:") {
            let fail = |e: rustix::io::Errno| Fault::new(Kind::NotFound, format!("--userns {userns}: {e}"));
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
            let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(fail)?;
            let own = sys::namespaces::is_own(file.as_fd(), "user").map_err(fail)?;
            let maps = if own { None } else { Some(sys::namespaces::maps_of(file.as_fd()).map_err(fail)?) };
            let map = maps.map(|(uids, gids)| IdMap { uids: idmap::parse(&uids), gids: idmap::parse(&gids) });
            facts.joined_user = Some(JoinedUser { container: None, map });
        }
        Ok(())
    }

    /// Ids that no container with a user namespace of its own has.
    pub(crate) fn free_ids(&self) -> Result<Vec<(u32, u32)>, Fault> {
        let host = self.host()?;
        let (first, count) = if host.in_user_namespace {
            let all = |ranges: &[IdRange]| ranges.iter().map(|r| r.size).sum::<u32>();
            (1, all(&host.map.uids).min(all(&host.map.gids)).saturating_sub(1))
        } else {
            let text = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
            containers_range(&text).unwrap_or(AUTO)
        };
        let mut taken: Vec<IdRange> = self
            .database()?
            .configs_with_user_namespace()?
            .into_iter()
            .filter(|c| c.namespaces.user_mode.starts_with("auto"))
            .filter_map(|c| c.namespaces.user)
            .flat_map(|map| map.uids.into_iter().chain(map.gids))
            .collect();
        taken.sort_by_key(|r| r.host);
        Ok(gaps(first, count, &taken))
    }
}

/// The ranges of `name` in the text of /etc/subuid or /etc/subgid, one after another inside.
fn subordinate(text: &str, name: &str) -> Vec<IdRange> {
    let mut container = 0;
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.strip_prefix(name)?.strip_prefix(':')?.split(':');
        Some((fields.next()?.trim().parse::<u32>().ok()?, fields.next()?.trim().parse::<u32>().ok()?))
    });
    let mut ranges = Vec::new();
    for (host, size) in lines.filter(|(_, size)| *size > 0) {
        ranges.push(IdRange { container, host, size });
        container += size;
    }
    ranges
}

/// The line of the user "containers", for whom administrators set ids aside.
fn containers_range(text: &str) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.strip_prefix("containers:")?.split(':');
        Some((fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?))
    })
}

/// The stretches of `count` ids from `first` between the `taken` ones, which are sorted.
fn gaps(first: u32, count: u32, taken: &[IdRange]) -> Vec<(u32, u32)> {
    let end = first.saturating_add(count);
    let mut at = first;
    let mut gaps = Vec::new();
    for range in taken.iter().map(|r| (r.host, r.host.saturating_add(r.size))).chain([(end, end)]) {
        let until = range.0.min(end);
        if until > at {
            gaps.push((at, until - at));
        }
        at = at.max(range.1);
    }
    gaps
}

fn kernel() -> (u32, u32) {
    let name = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = name.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Capabilities that a container can be given: permitted and in the bounding set.
fn capabilities() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = |name: &str| text.lines().find_map(|l| u64::from_str_radix(l.strip_prefix(name)?.trim(), 16).ok());
    match (set("CapPrm:"), set("CapBnd:")) {
        (Some(permitted), Some(bounding)) => permitted & bounding,
        // Without /proc nobody can tell; the kernel cuts what is too much.
        _ => (1 << types::capability::NAMES.len()) - 1,
    }
}

/// To be masked in containers; most virtual machines have none.
fn thermal_throttle() -> Vec<String> {
    const CPUS: &str = "/sys/devices/system/cpu";
    if !Path::new(CPUS).join("cpu0/thermal_throttle").exists() {
        return Vec::new();
    }
    let Ok(entries) = std::fs::read_dir(CPUS) else { return Vec::new() };
    let mut paths: Vec<String> = entries
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| {
            n.strip_prefix("cpu").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()) && !rest.is_empty())
        })
        .map(|n| format!("{CPUS}/{n}/thermal_throttle"))
        .filter(|p| Path::new(p).exists())
        .collect();
    paths.sort();
    paths
}

/// All device nodes below `top` but for what every container has of its own.
fn devices(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![(top.to_owned(), 0)];
    while let Some((directory, depth)) = left.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            let Some(text) = path.to_str() else { continue };
            if kind.is_dir()
                && depth < 4
                && !matches!(text, "/dev/pts" | "/dev/shm" | "/dev/mqueue" | "/dev/fd" | "/dev/hugepages")
            {
                left.push((path, depth + 1));
            } else if (kind.is_char_device() || kind.is_block_device()) && !own(text) {
                found.push(text.to_owned());
            }
        }
    }
    found.sort();
    found
}

fn own(path: &str) -> bool {
    let name = path.strip_prefix("/dev/").unwrap_or(path);
    matches!(name, "null" | "zero" | "full" | "random" | "urandom" | "tty" | "console" | "ptmx")
}

/// What the cgroup of containers can limit.
pub(crate) fn controllers() -> Controllers {
    let host = cgroup::Host::probe();
    let mut missing = BTreeMap::new();
    let mut can = |limit: Limit, name: &str| match host.can(limit) {
        Ok(()) => true,
        Err(reason) => {
            missing.insert(name.to_owned(), (reason.why, reason.fix));
            false
        }
    };
    let (memory, swap, cpu) = (can(Limit::Memory, "memory"), can(Limit::Swap, "swap"), can(Limit::Cpu, "cpu"));
    let (cpuset, io, pids) = (can(Limit::Cpuset, "cpuset"), can(Limit::Io, "io"), can(Limit::Pids, "pids"));
    Controllers {
        memory,
        swap,
        cpu,
        cpuset,
        io,
        pids,
        freezer: can(Limit::Freezer, "freezer"),
        version: match host.layout {
            cgroup::Layout::Unified => 2,
            cgroup::Layout::None => 0,
            cgroup::Layout::Hybrid | cgroup::Layout::Legacy => 1,
        },
        parent: host.parent().ok(),
        missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_gap_is_found() {
        let range = |host, size| IdRange { container: 0, host, size };
        assert_eq!(gaps(100, 1000, &[]), [(100, 1000)]);
        assert_eq!(gaps(100, 1000, &[range(100, 10)]), [(110, 990)]);
        assert_eq!(gaps(100, 1000, &[range(100, 10), range(900, 50)]), [(110, 790), (950, 150)]);
        assert_eq!(gaps(100, 1000, &[range(0, 5000)]), []);
        assert_eq!(containers_range("a:1:2\ncontainers:2147483647:2147483648\n"), Some((2_147_483_647, 2_147_483_648)));
    }
}
