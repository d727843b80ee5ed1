//! `events`: what a container uses, and when it ran out of memory, as lines of JSON in runc's shape.
//!
//! Must not know: how it is counted.

use super::failure::Failure;
use super::flags::Words;
use super::state::Record;
use super::{Program, print};
use crate::cgroup::{Host, Statistics};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use serde::Serialize;
use std::time::Instant;

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
    let kernel = |step| move |source| Failure::Kernel { step, source };
    let watch = group.watch_oom().map_err(Failure::cgroup)?;
    // Kernels before 5.3 have no pidfd: there it is asked at each interval.
    let ended = record.first.and_then(|first| sys::process::open(first.pid, first.start_time).ok());
    let (mut kills, mut next) = (group.oom_kills(), Instant::now() + interval);
    while lives(&record) {
        let mut polled: Vec<PollFd<'_>> = watch.iter().chain(&ended).map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let left = next.saturating_duration_since(Instant::now());
        sys::reactor::wait(&mut polled, Some(left)).map_err(kernel("wait for events"))?;
        if let Some(watch) = &watch {
            match rustix::io::read(watch, &mut [0u8; 4096]) {
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(source) => return Err(kernel("read events")(source)),
            }
        }
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
