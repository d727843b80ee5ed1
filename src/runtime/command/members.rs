//! Which processes are in a container, and `ps`, which lists them.
//!
//! Must not know: what is done to them.

use super::failure::Failure;
use super::flags::Words;
use super::state::Record;
use super::{Program, print};
use crate::cgroup::Host;
use std::fmt::Write as _;
use std::process::Command;

/// The container's processes: those of its cgroup; without one those of its pid namespace, if that is its own.
pub(crate) fn pids(record: &Record) -> Result<Vec<i32>, Failure> {
    if let Some(group) = record.group(&Host::probe())? {
        return Ok(group.pids());
    }
    let Some(first) = record.first.filter(|first| first.is_alive()) else { return Ok(Vec::new()) };
    let space = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let (own, theirs) = (space(rustix::process::getpid().as_raw_nonzero().get()), space(first.pid));
    if theirs.is_none() || theirs == own {
        return Ok(vec![first.pid]);
    }
    let entries =
        std::fs::read_dir("/proc").map_err(|source| Failure::File { step: "list", path: "/proc".into(), source })?;
    let all = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut pids: Vec<i32> = all.filter(|pid| space(*pid) == theirs).collect();
    pids.sort_unstable();
    Ok(pids)
}

/// `ps`: numbers alone as JSON; a table of our own, or that of the machine's `ps` where arguments for it are given.
pub(crate) fn ps(program: &Program, words: &Words) -> Result<u8, Failure> {
    let record = program.containers()?.find(words.container())?.record()?;
    if !record.first.is_some_and(|first| first.is_alive()) {
        return Err(Failure::NotRunning);
    }
    let pids = pids(&record)?;
    let text = match (words.value("format").unwrap_or("table"), &words.arguments[1..]) {
        ("json", _) => serde_json::to_string(&pids).unwrap_or_default() + "\n",
        ("table", []) => table(&pids),
        ("table", arguments) => by_program(&pids, arguments)?,
        (value, _) => {
            return Err(Failure::Value { flag: "format", value: value.into(), expected: "table or json" });
        }
    };
    print(&text).map(|()| 0)
}

fn table(pids: &[i32]) -> String {
    let mut text = format!("{:<8} {:>7} {:>7} {:>8} CMD\n", "UID", "PID", "PPID", "TIME");
    for pid in pids {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let status = String::from_utf8_lossy(&read("status")).into_owned();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().split_whitespace().next().unwrap_or("?").to_owned()
        };
        if status.is_empty() {
            continue;
        }
        let words = read("cmdline");
        let command = match words.is_empty() {
            true => format!("[{}]", field("Name")),
            false => String::from_utf8_lossy(words.strip_suffix(b"\0").unwrap_or(&words)).replace('\0', " "),
        };
        // What a container calls itself must not move the cursor.
        let command: String = command.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let seconds = processor_seconds(&read("stat"));
        let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        let _ = writeln!(text, "{:<8} {pid:>7} {:>7} {time:>8} {command}", field("Uid"), field("PPid"));
    }
    text
}

/// Fields 14 and 15 of `/proc/PID/stat`, in ticks (proc_pid_stat(5)).
fn processor_seconds(stat: &[u8]) -> u64 {
    let Some(end) = stat.iter().rposition(|byte| *byte == b')') else { return 0 };
    let rest = String::from_utf8_lossy(&stat[end + 1..]).into_owned();
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks / rustix::param::clock_ticks_per_second().max(1)
}

/// The lines of `ps ARGUMENTS` whose process is one of `pids`.
fn by_program(pids: &[i32], arguments: &[String]) -> Result<String, Failure> {
    let output = Command::new("ps").args(arguments).output().map_err(|source| Failure::File {
        step: "execute, for arguments of its own,",
        path: "ps".into(),
        source,
    })?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = listed.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|word| word == "PID").ok_or(Failure::Unsupported {
        what: format!("ps {}", arguments.join(" ")),
        instead: "choose a format that has a column PID",
    })?;
    let ours = |line: &&str| {
        line.split_whitespace()
            .nth(column)
            .and_then(|word| word.parse().ok())
            .is_some_and(|pid: i32| pids.contains(&pid))
    };
    Ok([header].into_iter().chain(lines.filter(ours)).map(|line| format!("{line}\n")).collect())
}
