//! What containers use, and what they may use while they run: `stats` and `update`.

use super::config::Config;
use crate::Engine;
use monitor::record::Running;
use ops::container::{Resources, Status, Update, Usage};
use ops::life::Restart;
use ops::{Fault, Kind};
use runtime::cgroup::{Group, Host};
use std::io::Read;
use types::Id;

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
            usages.push((usage, running));
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

    /// Changes the limits of a container: at once if it runs, and for its next runs.
    pub fn update(&self, asked: &Update) -> Result<Id, Fault> {
        self.host()?;
        let record = self.record_of(&asked.name)?;
        let held = super::lock::wait(&self.container_directory(&record.id))?;
        let record = self
            .database()?
            .record(&record.id)?
            .map(|record| self.settle_locked(record))
            .transpose()?
            .flatten()
            .ok_or_else(|| super::init::no_such(&asked.name))?;
        let mut config = self.database()?.config(record.seq)?;
        let limited = asked.resources != Resources::default();
        if limited {
            config.resources = super::resolve::resources(&merged(&config.resources, &asked.resources), self.facts()?)?;
        }
        if let Some(restart) = asked.restart {
            if record.remove && restart != Restart::No {
                return Err(Fault::invalid("a container that is removed when it ends (--rm) is not started again"));
            }
            config.life.restart = restart;
            if restart == Restart::No {
                self.call_off(&record);
            }
        }
        let state = self.observe_locked(&record);
        if let Some(running) = &state.running
            && limited
            && matches!(state.status, Status::Running | Status::Paused | Status::Initialized)
        {
            self.apply(&config, running)?;
        }
        self.database()?.reconfigure(record.seq, &config)?;
        drop(held);
        self.tell(&record, "update");
        Ok(record.id)
    }

    fn apply(&self, config: &Config, running: &Running) -> Result<(), Fault> {
        let Some(cgroup) = &running.cgroup else {
            return Err(Fault::new(Kind::Unsupported, "the container has no cgroup whose limits could be changed"));
        };
        let fail = |e: runtime::cgroup::Error| Fault::new(Kind::Unsupported, crate::fault::sentence(&e));
        let host = Host::probe();
        let mut limits = super::lower::limits(&config.resources, &super::init::device_nodes(config));
        // Rules of devices stay what they are.
        if let Some(limits) = limits.as_object_mut() {
            limits.remove("devices");
        }
        let resources = serde_json::from_value(limits).map_err(Fault::internal)?;
        Group::open(&host, cgroup).and_then(|mut group| group.update(&host, &resources)).map_err(fail)
    }
}

/// What was asked takes the place of what was decided, value by value.
pub(crate) fn merged(decided: &Resources, asked: &Resources) -> Resources {
    let list = |new: &Vec<String>, old: &Vec<String>| if new.is_empty() { old.clone() } else { new.clone() };
    let times = asked.nano_cpus.is_none();
    let swap = match (asked.memory, asked.memory_swap) {
        // The old limit of both together may be below the new one of memory: as for a new container.
        (Some(_), None) if decided.memory_swap != Some(-1) => None,
        _ => asked.memory_swap.or(decided.memory_swap),
    };
    Resources {
        memory: asked.memory.or(decided.memory),
        memory_reservation: asked.memory_reservation.or(decided.memory_reservation),
        memory_swap: swap,
        nano_cpus: asked.nano_cpus,
        cpu_shares: asked.cpu_shares.or(decided.cpu_shares),
        cpu_period: asked.cpu_period.or(decided.cpu_period.filter(|_| times)),
        cpu_quota: asked.cpu_quota.or(decided.cpu_quota.filter(|_| times)),
        cpuset_cpus: asked.cpuset_cpus.clone().or(decided.cpuset_cpus.clone()),
        cpuset_mems: asked.cpuset_mems.clone().or(decided.cpuset_mems.clone()),
        pids: asked.pids.or(decided.pids).or(Some(-1)),
        cpu_rt_period: asked.cpu_rt_period.or(decided.cpu_rt_period),
        cpu_rt_runtime: asked.cpu_rt_runtime.or(decided.cpu_rt_runtime),
        memory_swappiness: asked.memory_swappiness.or(decided.memory_swappiness),
        oom_kill_disable: decided.oom_kill_disable,
        unified: decided.unified.clone(),
        blkio_weight_device: list(&asked.blkio_weight_device, &decided.blkio_weight_device),
        blkio_weight: asked.blkio_weight.or(decided.blkio_weight),
        device_read_bps: list(&asked.device_read_bps, &decided.device_read_bps),
        device_write_bps: list(&asked.device_write_bps, &decided.device_write_bps),
        device_read_iops: list(&asked.device_read_iops, &decided.device_read_iops),
        device_write_iops: list(&asked.device_write_iops, &decided.device_write_iops),
    }
}

fn measure_all(part: &mut [(Usage, Option<Running>)], host: &Host) {
    for (usage, running) in part {
        if let Some(running) = running {
            measure(usage, running, host);
        }
    }
}

fn measure(usage: &mut Usage, running: &Running, host: &Host) {
    usage.started = running.started_ns;
    usage.network = network(running.pid);
    let Some(group) = running.cgroup.as_deref().and_then(|path| Group::open(host, path).ok()) else { return };
    let used = group.usage();
    usage.cpu = used.cpu;
    usage.memory = used.memory;
    usage.memory_limit = used.memory_limit.map_or(usage.memory_limit, |limit| limit.min(usage.memory_limit));
    usage.block = used.block;
    usage.pids = used.pids;
}

/// Bytes received and sent by all interfaces but the loopback's, in the process's network namespace.
fn network(pid: i32) -> (u64, u64) {
    // Read at once: without a size to be asked for, it would be read in small pieces.
    let mut text = String::with_capacity(4096);
    if let Ok(mut file) = std::fs::File::open(format!("/proc/{pid}/net/dev"))
        && file.read_to_string(&mut text).is_err()
    {
        text.clear();
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_takes_the_place_of_what_was() {
        let decided = Resources {
            memory: Some(64 << 20),
            memory_swap: Some(128 << 20),
            cpu_period: Some(100_000),
            cpu_quota: Some(50_000),
            pids: Some(10),
            ..Resources::default()
        };
        let asked = Resources { memory: Some(256 << 20), ..Resources::default() };
        let both = merged(&decided, &asked);
        assert_eq!((both.memory, both.memory_swap, both.cpu_quota), (Some(256 << 20), None, Some(50_000)));
        let both = merged(&decided, &Resources { nano_cpus: Some(1), ..Resources::default() });
        assert_eq!((both.nano_cpus, both.cpu_period, both.cpu_quota, both.pids), (Some(1), None, None, Some(10)));
    }
}
