//! What containers use: `stats`.

use crate::Engine;
use monitor::record::Running;
use ops::Fault;
use ops::container::{Status, Usage};
use runtime::cgroup::{Group, Host};
use std::path::Path;

/// Containers whose numbers take longer to read than a thread to start.
const WORTH_A_THREAD: usize = 16;

impl Engine {
    /// What the named containers use; without a name, all that run. One that does not run uses nothing.
    pub fn usage(&self, names: &[String], all: bool) -> Result<Vec<Usage>, Fault> {
        self.host()?;
        let records = if names.is_empty() {
            self.database()?.all()?
        } else {
            names.iter().map(|name| self.record_of(name)).collect::<Result<_, _>>()?
        };
        let host = Host::probe();
        let memory = total_memory();
        let mut usages = Vec::with_capacity(records.len());
        for record in records {
            let state = self.observe(&record);
            let running = state.running.filter(|_| matches!(state.status, Status::Running | Status::Paused));
            if running.is_none() && names.is_empty() && !all {
                continue;
            }
            let usage = Usage {
                id: record.id.to_string(),
                name: record.name.clone(),
                time: super::now(),
                memory_limit: memory,
                ..Usage::default()
            };
            // What does not run uses nothing; of what runs it may be that nothing tells.
            let usage = match running {
                Some(_) => usage,
                None => Usage { cpu: Some(0), memory: Some(0), memory_limit: 0, pids: Some(0), ..usage },
            };
            let connected = !matches!(record.networks.as_slice(), [way] if matches!(way.as_str(), "none" | "host"));
            usages.push((usage, running.map(|running| (running, connected))));
        }
        // The kernel makes up the text of each of its small files: with many containers that is work for several processors.
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        let threads = processors.min(usages.len() / WORTH_A_THREAD).max(1);
        let part = usages.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            let mut parts = usages.chunks_mut(part);
            let own = parts.next();
            for part in parts {
                scope.spawn(|| measure_all(part, &host));
            }
            measure_all(own.unwrap_or_default(), &host);
        });
        Ok(usages.into_iter().map(|(usage, _)| usage).collect())
    }
}

/// With each container that runs: whether it has a network of its own.
fn measure_all(part: &mut [(Usage, Option<(Running, bool)>)], host: &Host) {
    for (usage, running) in part {
        if let Some((running, connected)) = running {
            measure(usage, running, host);
            if *connected {
                usage.network = network(running.pid);
            }
        }
    }
}

fn measure(usage: &mut Usage, running: &Running, host: &Host) {
    usage.started = running.started_ns;
    let Some(group) = running.cgroup.as_deref().and_then(|path| Group::named(host, path).ok()) else { return };
    let used = group.usage(running.pid);
    usage.cpu = used.cpu;
    usage.memory = used.memory;
    usage.memory_limit = used.memory_limit.map_or(usage.memory_limit, |limit| limit.min(usage.memory_limit));
    usage.block = used.block;
    usage.pids = used.pids;
}

/// Bytes received and sent by all interfaces but the loopback's, in the process's network namespace.
fn network(pid: i32) -> (u64, u64) {
    let text = runtime::cgroup::text(Path::new(&format!("/proc/{pid}/net/dev")));
    let (mut received, mut sent) = (0, 0);
    for (name, numbers) in text.lines().filter_map(|line| line.split_once(':')) {
        if name.trim() != "lo" {
            let mut numbers = numbers.split_whitespace().map(|n| n.parse::<u64>().unwrap_or(0));
            received += numbers.next().unwrap_or(0);
            sent += numbers.nth(7).unwrap_or(0);
        }
    }
    (received, sent)
}

fn total_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
