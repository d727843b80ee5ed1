//! `events`: what a container uses, and when it ran out of memory, as lines of JSON in runc's shape.
//!
//! Must not know: how it is counted.

use super::failure::Failure;
use super::flags::Words;
use super::state::Record;
use super::{Program, print};
use crate::cgroup::{Host, Statistics};
use serde::Serialize;
use std::time::{Duration, Instant};

/// How often it is looked whether the container ran out of memory, or ended.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Statistics>,
}

/// `events`: with `--stats` once, else every `--interval` until the container ends.
pub(crate) fn events(program: &Program, words: &Words) -> Result<u8, Failure> {
    let interval = types::span::parse(words.value("interval").unwrap_or("5s"))?;
    if interval.is_zero() {
        return Err(Failure::Value { flag: "interval", value: "0".into(), expected: "more than nothing" });
    }
    let record = program.containers()?.find(words.container())?.record()?;
    let lives = |record: &Record| record.first.is_some_and(|first| first.is_alive());
    if !lives(&record) {
        return Err(Failure::NotRunning);
    }
    let group = record.group_to_be(&Host::probe(), "watched")?;
    let tell = |kind, data| {
        let line = serde_json::to_string(&Event { kind, id: &record.id, data }).unwrap_or_default();
        print(&(line + "\n"))
    };
    if words.has("stats") {
        return tell("stats", Some(group.statistics())).map(|()| 0);
    }
    let (mut kills, mut next) = (group.oom_kills(), Instant::now() + interval);
    while lives(&record) {
        std::thread::sleep(LOOK.min(interval));
        let now = group.oom_kills();
        for _ in kills..now {
            tell("oom", None)?;
        }
        kills = now;
        if Instant::now() >= next && lives(&record) {
            tell("stats", Some(group.statistics()))?;
            next += interval;
        }
    }
    Ok(0)
}
