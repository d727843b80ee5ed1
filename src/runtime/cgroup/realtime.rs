//! Budgets of real-time processor time in version 1 (the kernel's `scheduler/sched-rt-group`): what groups have is taken
//! from the group above them, and a new group has none. Those that are ours alone get what the groups below them ask for.

use super::error::Error;
use super::limit::Limit;
use std::fs;
use std::path::Path;

const RUNTIME: &str = "cpu.rt_runtime_us";
const PERIOD: &str = "cpu.rt_period_us";

/// Makes the budget of `group` and of those above it, up to and without `outside`, large enough for the groups below each and
/// for `microseconds` of each period of `child`, which is below `group`. What a group has already it keeps: nobody takes it
/// back when the groups below go, and the next ones find it.
pub(super) fn provide(outside: &Path, child: &Path, microseconds: i64) -> Result<(), Error> {
    let Some(group) = child.parent().filter(|group| *group != outside && group.starts_with(outside)) else {
        return Ok(());
    };
    let share = microseconds as f64 / period(child) as f64;
    let children = fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
    let others: f64 = children
        .filter(|other| other != child && other.is_dir())
        .map(|other| number(&other, RUNTIME).max(0) as f64 / period(&other) as f64)
        .sum();
    let needed = ((share + others) * period(group) as f64).ceil() as i64;
    if number(group, RUNTIME) >= needed {
        return Ok(());
    }
    provide(outside, group, needed)?;
    let (path, value) = (group.join(RUNTIME), needed.to_string());
    fs::write(&path, &value).map_err(|source| Error::Set { limit: Limit::Cpu, path, value, source })
}

/// That of a group, in microseconds; never 0.
fn period(group: &Path) -> i64 {
    number(group, PERIOD).max(1)
}

/// The number in a file, 0 if there is none.
fn number(group: &Path, name: &str) -> i64 {
    fs::read_to_string(group.join(name)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
