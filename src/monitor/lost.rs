//! A run whose records somebody took away: its monitor is still there, and names the container in its arguments, so that
//! what runs can be told, stopped and removed as ever.
//!
//! Must not know: why the records are gone.

use crate::record::Running;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use sys::role::Role;
use types::Id;

/// What runs of `container` as /proc (proc(5)) tells it: the monitor that bears its id, of the caller's user and process
/// namespace, and the oldest of its children. `None` if there is none, or no /proc.
///
/// One that was not released yet does not count: it has executed nothing, and still bears the monitor's arguments.
/// `started_ns` is when it was made.
pub fn find(container: &Id) -> Option<Running> {
    let all = processes();
    let name = [Role::Monitor.name().as_bytes(), b"\0", container.as_str().as_bytes(), b"\0"].concat();
    let monitor = *all.iter().find(|pid| is_own(**pid) && read(**pid, "cmdline").is_some_and(|line| line == name))?;
    let children = all.iter().filter(|pid| parent(**pid) == Some(monitor));
    let children = children.filter(|pid| read(**pid, "cmdline").is_some_and(|line| line != name));
    let (start_time, pid) = children.filter_map(|pid| Some((sys::process::start_time(*pid).ok()?, *pid))).min()?;
    Some(Running {
        pid,
        start_time,
        monitor_pid: monitor,
        monitor_start_time: sys::process::start_time(monitor).ok()?,
        started_ns: since_1970(start_time),
        cgroup: cgroup(pid, container),
    })
}

/// Numbers of all processes that can be seen.
fn processes() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn read(pid: i32, file: &str) -> Option<Vec<u8>> {
    std::fs::read(place(pid, file)).ok()
}

fn place(pid: i32, file: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(file)
}

/// A process of the caller's user, in no container: anybody can give any arguments to a process in one.
fn is_own(pid: i32) -> bool {
    let space = |pid: &str| std::fs::read_link(Path::new("/proc").join(pid).join("ns/pid")).ok();
    std::fs::metadata(place(pid, "")).is_ok_and(|meta| meta.uid() == rustix::process::geteuid().as_raw())
        && space(&pid.to_string()).is_some_and(|theirs| space("self") == Some(theirs))
}

/// Field 4 of /proc/PID/stat (proc_pid_stat(5)); none for one that has ended.
fn parent(pid: i32) -> Option<i32> {
    let stat = read(pid, "stat")?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(stat.get(end + 2..)?).ok()?.split(' ');
    let state = fields.next()?;
    fields.next()?.parse().ok().filter(|_| !matches!(state, "Z" | "X"))
}

/// The moment `ticks` after the boot, in nanoseconds since 1970.
fn since_1970(ticks: u64) -> i64 {
    const SECOND: u64 = 1_000_000_000;
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok()).unwrap_or(0);
    let after = ticks.saturating_mul(SECOND / rustix::param::clock_ticks_per_second().max(1));
    i64::try_from(boot.saturating_mul(SECOND).saturating_add(after)).unwrap_or(i64::MAX)
}

/// The cgroup that was made for the container: of those above the process the one that bears its id.
fn cgroup(pid: i32, container: &Id) -> Option<String> {
    let text = String::from_utf8(read(pid, "cgroup")?).ok()?;
    text.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        let end = path.find(container.as_str())?;
        let end = path[end..].find('/').map_or(path.len(), |slash| end + slash);
        (!path.split('/').any(|name| name == "..")).then(|| path[..end].to_owned())
    })
}
