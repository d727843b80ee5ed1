//! The user namespace of an ordinary user: one for all commands and monitors of a user, entered before anything of the
//! store is touched.
//!
//! Its members are listed in `RUNROOT/members`, a line `PID START-TIME` each, rewritten under a lock on the directory
//! `RUNROOT`. Whoever comes joins the namespace of a member that lives, or makes a new one if there is none. The maps with
//! which the store was made are kept in `ROOT/idmap` and never change: owners of files on disk depend on them.

use crate::Settings;
use ops::{Fault, Kind};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use types::{IdMap, IdRange, idmap};

/// In which namespace the process works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// It is not the initial one.
    pub in_user_namespace: bool,
    /// One id is mapped.
    pub single_id: bool,
    /// Its maps, seen from its parent; empty for the initial one.
    pub map: IdMap,
}

/// Enters the namespace where that is needed. The process must have no threads.
pub fn enter(settings: &Settings) -> Result<Host, Fault> {
    make_run_root(settings)?;
    if settings.uid == 0 || settings.is_inside {
        return Ok(here());
    }
    let lock = lock(&settings.run_root)?;
    let members = living(&settings.run_root);
    if !members.iter().any(|(pid, _)| sys::userns::join(*pid).is_ok()) {
        create(settings)?;
    }
    sys::userns::own_mounts().map_err(|e| refused("make a mount namespace", e))?;
    let host = here();
    keep_map(&settings.root, &host.map)?;
    let own = rustix::process::getpid().as_raw_nonzero().get();
    write_members(&settings.run_root, &members, own);
    drop(lock);
    Ok(host)
}

/// Lists a monitor that was started from here, so that later commands join its namespace.
pub fn add_member(settings: &Settings, pid: i32) -> Result<(), Fault> {
    let _lock = lock(&settings.run_root)?;
    write_members(&settings.run_root, &living(&settings.run_root), pid);
    Ok(())
}

/// What the process finds itself in.
pub(crate) fn here() -> Host {
    let read = |name: &str| idmap::parse(&std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default());
    let map = IdMap { uids: read("uid_map"), gids: read("gid_map") };
    let count: u64 = map.uids.iter().map(|r| u64::from(r.size)).sum();
    // The initial namespace maps all ids onto themselves; without /proc there is nothing to tell another one by.
    if map.uids.is_empty() || matches!(map.uids.as_slice(), [IdRange { container: 0, host: 0, size: u32::MAX }]) {
        return Host { in_user_namespace: false, single_id: false, map: IdMap::default() };
    }
    Host { in_user_namespace: true, single_id: count == 1, map }
}

/// A directory that only the caller can have made: names in /tmp can be taken by others.
fn make_run_root(settings: &Settings) -> Result<(), Fault> {
    let path = &settings.run_root;
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(_) => {
            let mode = if settings.uid == 0 { 0o711 } else { 0o700 };
            let make = |path: &Path, mode| std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
            // What is above it is nobody's in particular.
            path.parent()
                .map_or(Ok(()), |above| make(above, 0o755))
                .and_then(|()| make(path, mode))
                .and_then(|()| std::fs::symlink_metadata(path))
                .map_err(|e| {
                    Fault::internal(format!("cannot create directory {path:?}: {e}"))
                        .hint("choose another with --runroot")
                })?
        }
    };
    let own = if settings.is_inside { 0 } else { settings.uid };
    if settings.uid != 0 && (!meta.is_dir() || meta.uid() != own || meta.mode() & 0o022 != 0) {
        return Err(Fault::new(
            Kind::Denied,
            format!("{path:?} is not a directory that only user {} can write to", settings.uid),
        )
        .hint("remove it, or choose another with --runroot"));
    }
    Ok(())
}

fn lock(run_root: &Path) -> Result<OwnedFd, Fault> {
    let fail = |e: rustix::io::Errno| Fault::internal(format!("cannot lock {run_root:?}: {e}"));
    let directory = rustix::fs::open(run_root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(fail)?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&directory, FlockOperation::LockExclusive)).map_err(fail)?;
    Ok(directory)
}

fn members_file(run_root: &Path) -> PathBuf {
    run_root.join("members")
}

pub(crate) fn living(run_root: &Path) -> Vec<(i32, u64)> {
    let text = std::fs::read_to_string(members_file(run_root)).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (pid, start) = line.split_once(' ')?;
            Some((pid.parse().ok()?, start.parse().ok()?))
        })
        .filter(|(pid, start)| sys::process::is_alive(*pid, *start))
        .collect()
}

/// A list that cannot be written is no reason to fail: the next command makes a namespace of its own, with equal maps.
fn write_members(run_root: &Path, members: &[(i32, u64)], new: i32) {
    let mut text = String::new();
    let new = (new, sys::process::start_time(new).unwrap_or(0));
    for (pid, start) in members.iter().filter(|m| **m != new).chain([&new]) {
        let _ = writeln!(text, "{pid} {start}");
    }
    let temporary = run_root.join("members.new");
    if std::fs::write(&temporary, text).is_ok() {
        let _ = std::fs::rename(&temporary, members_file(run_root));
    }
}

fn refused(what: &str, errno: rustix::io::Errno) -> Fault {
    let fault = Fault::new(Kind::Denied, format!("cannot {what} as an ordinary user: {errno}"));
    let parameter = |path: &str| {
        std::fs::read_to_string(format!("/proc/sys/{path}")).map(|t| t.trim().to_owned()).unwrap_or_default()
    };
    let advice = if parameter("kernel/apparmor_restrict_unprivileged_userns") == "1" {
        "AppArmor forbids it: set the kernel parameter kernel.apparmor_restrict_unprivileged_userns=0, or run as root"
    } else if parameter("kernel/unprivileged_userns_clone") == "0" {
        "set the kernel parameter kernel.unprivileged_userns_clone=1, or run as root"
    } else if parameter("user/max_user_namespaces") == "0" {
        "set the kernel parameter user.max_user_namespaces to 10000, say, or run as root"
    } else {
        "this kernel or the container around it forbids user namespaces: run as root"
    };
    fault.hint(advice)
}

/// With the maps of the store if there is one, else with all ids the caller may have.
fn create(settings: &Settings) -> Result<(), Fault> {
    let stored = std::fs::read_to_string(idmap_file(&settings.root)).ok().map(|t| parse_idmap_file(&t));
    if stored.is_none_or(|map| count(&map) != 1)
        && let Some((programs, map)) = subordinate(settings)
    {
        let told = sys::userns::create(|pid| {
            let run = |program: &Path, ranges: &[IdRange]| {
                let numbers = ranges.iter().flat_map(|r| [r.container, r.host, r.size]).map(|n| n.to_string());
                let mut command = Command::new(program);
                command
                    .arg(pid.to_string())
                    .args(numbers)
                    .env_clear()
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                command.status().is_ok_and(|s| s.success())
            };
            u8::from(!(run(&programs.0, &map.uids) && run(&programs.1, &map.gids)))
        })
        .map_err(|e| refused("make a user namespace", e))?;
        if told == 0 {
            return Ok(());
        }
        return Err(Fault::new(Kind::Denied, "newuidmap or newgidmap failed to map the ids of /etc/subuid and /etc/subgid")
            .hint("check that both programs have their file capabilities or set-user-id bits, and that the ranges belong to the user"));
    }
    sys::userns::create_single(settings.uid, settings.gid).map_err(|e| refused("make a user namespace", e))
}

/// The two programs and the maps that they may write, if all of it is there.
fn subordinate(settings: &Settings) -> Option<((PathBuf, PathBuf), IdMap)> {
    let programs = (program(settings, "newuidmap")?, program(settings, "newgidmap")?);
    let name = user_name(&std::fs::read_to_string("/etc/passwd").unwrap_or_default(), settings.uid);
    let ranges = |file: &str, own: u32| {
        let text = std::fs::read_to_string(file).ok()?;
        let ranges = subordinate_ranges(&text, name.as_deref(), settings.uid);
        (!ranges.is_empty()).then(|| map_of(own, &ranges))
    };
    Some((programs, IdMap { uids: ranges("/etc/subuid", settings.uid)?, gids: ranges("/etc/subgid", settings.gid)? }))
}

fn program(settings: &Settings, name: &str) -> Option<PathBuf> {
    let path = settings.path.clone().unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|d| d.is_absolute())
        .chain(["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from))
        .map(|d| d.join(name))
        .find(|p| rustix::fs::access(p, rustix::fs::Access::EXEC_OK).is_ok())
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Lines `NAME:FIRST:COUNT`, where NAME may be a number (subuid(5)).
fn subordinate_ranges(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            (Some(owner) == name || owner.parse() == Ok(uid)).then_some(range)
        })
        .filter(|(_, size)| *size > 0)
        .collect()
}

/// The caller is 0, then come the ranges one after the other.
fn map_of(own: u32, ranges: &[(u32, u32)]) -> Vec<IdRange> {
    let mut map = vec![IdRange { container: 0, host: own, size: 1 }];
    let mut next = 1u32;
    for (first, size) in ranges {
        let size = (*size).min(u32::MAX - next);
        map.push(IdRange { container: next, host: *first, size });
        next = next.saturating_add(size);
    }
    map
}

fn idmap_file(root: &Path) -> PathBuf {
    root.join("idmap")
}

fn count(map: &IdMap) -> u64 {
    map.uids.iter().map(|r| u64::from(r.size)).sum()
}

fn render(map: &IdMap) -> String {
    format!("uids\n{}gids\n{}", idmap::render(&map.uids), idmap::render(&map.gids))
}

fn parse_idmap_file(text: &str) -> IdMap {
    let (uids, gids) = text.split_once("gids").unwrap_or((text, ""));
    IdMap { uids: idmap::parse(uids), gids: idmap::parse(gids) }
}

/// Remembers the maps of a new store, and refuses to use an old one with others.
fn keep_map(root: &Path, map: &IdMap) -> Result<(), Fault> {
    let file = idmap_file(root);
    match std::fs::read_to_string(&file) {
        Ok(text) if parse_idmap_file(&text) == *map => Ok(()),
        Ok(text) => {
            let stored = parse_idmap_file(&text);
            let line = |ranges: &[IdRange]| idmap::render(ranges).trim_end().replace('\n', ", ");
            Err(Fault::new(
                Kind::Conflict,
                format!(
                    "the store {root:?} was made with the user ids \"{}\", and now they are \"{}\": the owners of its files would be wrong",
                    line(&stored.uids),
                    line(&map.uids)
                ),
            )
            .hint("restore newuidmap, newgidmap, /etc/subuid and /etc/subgid as they were, or choose another store with --root"))
        }
        Err(_) => {
            let write = || {
                std::fs::create_dir_all(root)?;
                let temporary = root.join("idmap.new");
                std::fs::write(&temporary, render(map))?;
                std::fs::rename(&temporary, &file)
            };
            write().map_err(|e| Fault::internal(format!("cannot write {file:?}: {e}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_by_name_and_by_number() {
        let text = "alice:100000:65536\n1000:300000:10\nbob:1:1\nbad\nalice:400000:0\n";
        assert_eq!(subordinate_ranges(text, Some("alice"), 1000), [(100_000, 65536), (300_000, 10)]);
        assert_eq!(subordinate_ranges(text, None, 1000), [(300_000, 10)]);
        assert_eq!(user_name("root:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n", 1000).as_deref(), Some("alice"));
    }

    #[test]
    fn the_caller_is_root_and_ranges_follow() {
        let map = map_of(1000, &[(100_000, 65536), (300_000, 10)]);
        assert_eq!(idmap::render(&map), "0 1000 1\n1 100000 65536\n65537 300000 10\n");
        let both = IdMap { uids: map.clone(), gids: map };
        assert_eq!(parse_idmap_file(&render(&both)), both);
    }
}
