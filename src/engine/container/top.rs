//! `top`: the processes of a container, read from /proc. No `ps` is needed inside.

use crate::Engine;
use ops::container::{Processes, Status, Top};
use ops::{Fault, Kind};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use types::{IdMap, IdRange, capability};

/// Ticks of the kernel's clock in a second: USER_HZ is 100 on every architecture this runs on.
const TICKS: u64 = 100;

/// A process as /proc shows it.
struct Process {
    pid: i32,
    /// Fields of `stat` after the name, from the state (field 3) on.
    stat: Vec<String>,
    name: String,
    command: String,
    status: BTreeMap<String, String>,
    label: String,
    age: u64,
}

/// What all cells of one table need.
struct View {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
    host_users: BTreeMap<u32, String>,
    host_groups: BTreeMap<u32, String>,
    /// Levels of pid namespaces above the container's.
    depth: usize,
    map: IdMap,
}

type Cell = fn(&Process, &View) -> String;

/// Descriptor, heading, and how the cell is made. Those of the format of ps(1) that Podman knows, and its own.
const COLUMNS: &[(&str, &str, Cell)] = &[
    ("args", "COMMAND", |p, _| p.command.clone()),
    ("capamb", "AMBIENT CAPS", |p, _| capabilities(p, "CapAmb")),
    ("capbnd", "BOUNDING CAPS", |p, _| capabilities(p, "CapBnd")),
    ("capeff", "EFFECTIVE CAPS", |p, _| capabilities(p, "CapEff")),
    ("capinh", "INHERITED CAPS", |p, _| capabilities(p, "CapInh")),
    ("capprm", "PERMITTED CAPS", |p, _| capabilities(p, "CapPrm")),
    ("comm", "COMMAND", |p, _| p.name.clone()),
    ("etime", "ELAPSED", |p, _| span(p.age)),
    ("group", "GROUP", |p, v| name(&v.groups, inside(&v.map.gids, p.id("Gid", 1)))),
    ("groups", "GROUPS", |p, v| {
        let groups = p.status.get("Groups").map(String::as_str).unwrap_or_default();
        let names = groups.split_whitespace().filter_map(|g| g.parse().ok());
        names.map(|g| name(&v.groups, inside(&v.map.gids, g))).collect::<Vec<_>>().join(",")
    }),
    ("hgroup", "HGROUP", |p, v| name(&v.host_groups, p.id("Gid", 1))),
    ("hpid", "HPID", |p, _| p.pid.to_string()),
    ("huser", "HUSER", |p, v| name(&v.host_users, p.id("Uid", 1))),
    ("label", "LABEL", |p, _| p.label.clone()),
    ("nice", "NI", |p, _| p.field(19)),
    ("pcpu", "%CPU", |p, _| {
        let used = p.number(14) + p.number(15);
        format!("{:.3}", if p.age == 0 { 0.0 } else { used as f64 / TICKS as f64 * 100.0 / p.age as f64 })
    }),
    ("pgid", "PGID", |p, v| p.level("NSpgid", v.depth)),
    ("pid", "PID", |p, v| p.level("NSpid", v.depth)),
    ("ppid", "PPID", |p, v| {
        // A parent outside of the namespace has no number in it.
        let parent: i32 = p.field(4).parse().unwrap_or(0);
        read(parent).map_or_else(|| "0".into(), |parent| parent.level_or("NSpid", v.depth, "0"))
    }),
    ("rgroup", "RGROUP", |p, v| name(&v.groups, inside(&v.map.gids, p.id("Gid", 0)))),
    ("rss", "RSS", |p, _| kilobytes(p, "VmRSS")),
    ("ruser", "RUSER", |p, v| name(&v.users, inside(&v.map.uids, p.id("Uid", 0)))),
    ("seccomp", "SECCOMP", |p, _| {
        match p.status.get("Seccomp").map(String::as_str) {
            Some("1") => "strict",
            Some("2") => "filter",
            _ => "disabled",
        }
        .into()
    }),
    ("state", "STATE", |p, _| p.field(3)),
    ("stime", "STIME", |p, _| {
        let started = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(p.age as i64);
        started.strftime("%H:%M:%S").to_string()
    }),
    ("time", "TIME", |p, _| span((p.number(14) + p.number(15)) / TICKS)),
    ("tty", "TTY", |p, _| terminal(p.number(7))),
    ("user", "USER", |p, v| name(&v.users, inside(&v.map.uids, p.id("Uid", 1)))),
    ("vsz", "VSZ", |p, _| kilobytes(p, "VmSize")),
];

/// The same by the codes of ps(1).
const CODES: &[(&str, &str)] = &[
    ("%C", "pcpu"),
    ("%G", "group"),
    ("%P", "ppid"),
    ("%U", "user"),
    ("%a", "args"),
    ("%c", "comm"),
    ("%g", "rgroup"),
    ("%n", "nice"),
    ("%p", "pid"),
    ("%r", "pgid"),
    ("%t", "etime"),
    ("%u", "ruser"),
    ("%x", "time"),
    ("%y", "tty"),
    ("%z", "vsz"),
];

const USUAL: [&str; 8] = ["user", "pid", "ppid", "pcpu", "etime", "tty", "time", "args"];

/// Names of all columns.
pub fn descriptors() -> Vec<&'static str> {
    COLUMNS.iter().map(|(name, ..)| *name).collect()
}

impl Engine {
    /// The processes of a running container.
    pub fn top(&self, asked: &Top) -> Result<Processes, Fault> {
        self.host()?;
        let columns = chosen(&asked.columns)?;
        let record = self.settle(self.record_of(&asked.name)?)?.ok_or_else(|| super::init::no_such(&asked.name))?;
        let state = self.observe(&record);
        let (Status::Running | Status::Paused, Some(running)) = (state.status, state.running) else {
            return Err(Fault::new(Kind::Conflict, "top can only be used on running containers"));
        };
        let gone = || Fault::new(Kind::Conflict, "the container has just ended");
        let first = read(running.pid).ok_or_else(gone)?;
        let files = self.tree(record.id.as_str())?;
        let accounts = |path: &'static str| {
            use std::os::fd::AsFd;
            runtime::user::names(files.root.as_fd(), path).unwrap_or_default()
        };
        let host = |path: &str| names(&std::fs::read_to_string(path).unwrap_or_default());
        let view = View {
            users: accounts("/etc/passwd"),
            groups: accounts("/etc/group"),
            host_users: host("/etc/passwd"),
            host_groups: host("/etc/group"),
            depth: first.status.get("NSpid").map_or(1, |line| line.split_whitespace().count()).saturating_sub(1),
            map: id_map(running.pid),
        };
        let rows = processes(running.pid, running.cgroup.as_deref())
            .into_iter()
            .filter_map(read)
            .map(|process| columns.iter().map(|(_, _, cell)| cell(&process, &view)).collect())
            .collect();
        Ok(Processes { titles: columns.iter().map(|(_, title, _)| (*title).to_owned()).collect(), rows })
    }
}

fn chosen(asked: &[String]) -> Result<Vec<(&'static str, &'static str, Cell)>, Fault> {
    let wanted: Vec<&str> = if asked.is_empty() {
        USUAL.to_vec()
    } else {
        asked.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|t| !t.is_empty()).collect()
    };
    wanted
        .into_iter()
        .map(|word| {
            let word = CODES.iter().find(|(code, _)| *code == word).map_or(word, |(_, name)| name);
            COLUMNS.iter().find(|(name, ..)| *name == word).copied().ok_or_else(|| {
                Fault::invalid(format!("unknown descriptor: {word:?}"))
                    .hint(format!("use some of {}", descriptors().join(", ")))
            })
        })
        .collect()
}

/// Numbers of the processes, as seen here: those of its cgroup and of the groups below; where it has none, those that
/// share its pid namespace.
fn processes(first: i32, cgroup: Option<&str>) -> Vec<i32> {
    if let Some(found) = cgroup.and_then(crate::host::cgroup_processes).filter(|found| found.contains(&first)) {
        return found;
    }
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(first);
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut found: Vec<i32> = all
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid == first || (own.is_some() && namespace(*pid) == own))
        .collect();
    found.sort_unstable();
    found
}

fn read(pid: i32) -> Option<Process> {
    let file = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let stat = file("stat")?;
    // The name may hold blanks and brackets: the last bracket ends it.
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
    let status = file("status")?
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect();
    let stat: Vec<String> = tail.split_whitespace().map(str::to_owned).collect();
    let started: u64 = stat.get(19)?.parse().ok()?;
    let boot = std::fs::read_to_string("/proc/uptime").ok()?;
    let up: f64 = boot.split_whitespace().next()?.parse().ok()?;
    let age = (up as u64).saturating_sub(started / TICKS);
    let label = file("attr/current").map(|l| l.trim_end_matches(['\0', '\n']).to_owned()).unwrap_or_default();
    let command = if command.is_empty() { format!("[{name}]") } else { command };
    Some(Process { pid, stat, name, command, status, label, age })
}

impl Process {
    /// Field number `at` of proc(5)'s stat; 3 is the state.
    fn field(&self, at: usize) -> String {
        self.stat.get(at - 3).cloned().unwrap_or_default()
    }

    fn number(&self, at: usize) -> u64 {
        self.field(at).parse().unwrap_or(0)
    }

    /// One of the four ids on a line of status.
    fn id(&self, key: &str, at: usize) -> u32 {
        self.status.get(key).and_then(|line| line.split_whitespace().nth(at)?.parse().ok()).unwrap_or(u32::MAX)
    }

    /// The number in the namespace at this depth.
    fn level(&self, key: &str, depth: usize) -> String {
        self.level_or(key, depth, "?")
    }

    fn level_or(&self, key: &str, depth: usize, otherwise: &str) -> String {
        let line = self.status.get(key).map(String::as_str).unwrap_or_default();
        line.split_whitespace().nth(depth).unwrap_or(otherwise).to_owned()
    }
}

fn capabilities(process: &Process, key: &str) -> String {
    let bits = process.status.get(key).and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
    let names = capability::names(bits);
    if names.is_empty() {
        return "none".into();
    }
    let last: u32 = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(40);
    if bits.count_ones() > last {
        return "full".into();
    }
    names.iter().map(|name| name.trim_start_matches("CAP_")).collect::<Vec<_>>().join(",")
}

fn kilobytes(process: &Process, key: &str) -> String {
    let text = process.status.get(key).map(String::as_str).unwrap_or("0");
    text.split_whitespace().next().unwrap_or("0").to_owned()
}

fn name(names: &BTreeMap<u32, String>, id: u32) -> String {
    names.get(&id).cloned().unwrap_or_else(|| id.to_string())
}

/// Lines of passwd(5) or group(5).
fn names(text: &str) -> BTreeMap<u32, String> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), _, Some(Ok(id))) = (fields.next(), fields.next(), fields.next().map(str::parse)) {
            found.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    found
}

/// How ids seen here look in the process's user namespace.
fn id_map(pid: i32) -> IdMap {
    let ranges = |name: &str| -> Vec<IdRange> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        text.lines()
            .filter_map(|line| {
                let mut numbers = line.split_whitespace().map(str::parse);
                Some(IdRange {
                    container: numbers.next()?.ok()?,
                    host: numbers.next()?.ok()?,
                    size: numbers.next()?.ok()?,
                })
            })
            .collect()
    };
    let same = |one: &str| {
        let look = |path: String| std::fs::metadata(path).map(|meta| meta.ino()).ok();
        look(format!("/proc/{pid}/ns/{one}")) == look(format!("/proc/self/ns/{one}"))
    };
    if same("user") { IdMap::default() } else { IdMap { uids: ranges("uid_map"), gids: ranges("gid_map") } }
}

fn inside(ranges: &[IdRange], id: u32) -> u32 {
    if ranges.is_empty() {
        return id;
    }
    ranges.iter().find(|r| id >= r.host && id - r.host < r.size).map_or(65534, |r| r.container + (id - r.host))
}

/// As Go prints a duration: `1h2m3s`.
fn span(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// The name of a terminal by its device number.
fn terminal(number: u64) -> String {
    // major in bits 8 to 15; minor in bits 0 to 7 and 20 to 31 (proc(5), tty_nr).
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xfff00);
    match major {
        0 => "?".into(),
        136..=143 => format!("pts/{}", minor + ((major - 136) << 20)),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        _ => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_chosen_by_name_and_code() {
        assert_eq!(chosen(&[]).unwrap().len(), 8);
        let titles: Vec<_> =
            chosen(&["pid,%C".into(), "hpid".into()]).unwrap().into_iter().map(|(_, title, _)| title).collect();
        assert_eq!(titles, ["PID", "%CPU", "HPID"]);
        assert!(chosen(&["nothing".into()]).is_err());
        assert!(CODES.iter().all(|(_, name)| COLUMNS.iter().any(|(known, ..)| known == name)));
    }

    #[test]
    fn this_process_can_be_read() {
        let own = read(std::process::id() as i32).unwrap();
        assert_eq!(own.id("Uid", 1), rustix::process::geteuid().as_raw());
        assert!(!own.command.is_empty());
        assert!(matches!(own.field(3).as_str(), "R" | "S"), "{}", own.field(3));
    }

    #[test]
    fn spans_and_terminals() {
        assert_eq!([span(5), span(65), span(3661)], ["5s", "1m5s", "1h1m1s"]);
        assert_eq!([terminal(0), terminal(136 << 8 | 3), terminal(4 << 8 | 1)], ["?", "pts/3", "tty1"]);
    }
}
