//! `update`: what is changed of a container that there is. What the kernel or the monitor can change of a run is changed at
//! once: limits of the cgroup and of the first process, and when health is checked. The rest is for the next start.

use super::config::{Config, Rlimit};
use super::lower;
use crate::Engine;
use crate::database::Record;
use monitor::record::Running;
use ops::container::{Resources, Status, Update};
use ops::life::{Health, Notify, Restart};
use ops::{Fault, Kind};
use runtime::cgroup::{Group, Host};
use rustix::process::{Pid, Resource};
use types::Id;
use types::attach::Frame;

impl Engine {
    /// Changes a container: at once where that can be while it runs, and for its next runs.
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
        let before = self.database()?.config(record.seq)?;
        let config = self.changed(&before, asked)?;
        let ends_restarts = asked.restart == Some(Restart::No);
        if asked.restart.is_some() && !ends_restarts && record.remove {
            return Err(Fault::invalid("a container that is removed when it ends (--rm) is not started again"));
        }
        let state = self.observe_locked(&record);
        let alive = matches!(state.status, Status::Running | Status::Paused | Status::Initialized);
        let running = state.running.filter(|_| alive);
        if let Some(running) = &running {
            if let Some(gone) = before.rlimits.iter().find(|old| !config.rlimits.iter().any(|new| new.name == old.name))
            {
                let name = gone.name.trim_start_matches("RLIMIT_").to_ascii_lowercase();
                let text = format!("the {name} limit of a running container cannot become the host's");
                return Err(
                    Fault::new(Kind::Unsupported, text).hint("stop the container first, or name the limit's value")
                );
            }
            let changed = config.rlimits.iter().filter(|limit| !before.rlimits.contains(limit));
            let old = limit_process(running, changed)?;
            if asked.resources != Resources::default()
                && let Err(fault) = self.apply(&config, running)
            {
                // Nothing is changed by an update that fails; what was possible before is possible again.
                let _ = limit_process(running, old.iter());
                return Err(fault);
            }
        }
        self.database()?.reconfigure(record.seq, &config)?;
        if ends_restarts {
            self.call_off(&record);
        }
        if running.is_some() && config.life.check != before.life.check {
            self.tell_probe(&record, &config)?;
        }
        drop(held);
        self.tell(&record, "update");
        Ok(record.id)
    }

    /// What is decided of the container, with what is asked in its place.
    fn changed(&self, before: &Config, asked: &Update) -> Result<Config, Fault> {
        let mut config = before.clone();
        if asked.resources != Resources::default() {
            config.resources = super::resolve::resources(&merged(&config.resources, &asked.resources), self.facts()?)?;
        }
        if !asked.ulimits.is_empty() {
            config.rlimits = super::resolve::updated_rlimits(&config.rlimits, &asked.ulimits, self.facts()?)?;
        }
        super::resolve::change_environment(&mut config.environment, &asked.unset_environment, &asked.environment)?;
        if asked.health != Health::default() {
            config.life.check = super::resolve::updated_check(config.life.check.as_ref(), &asked.health)?;
            if config.life.notify == Notify::Healthy && config.life.check.is_none() {
                return Err(Fault::invalid("sdnotify policy \"healthy\" requires a healthcheck to be set"));
            }
        }
        config.life.restart = asked.restart.unwrap_or(config.life.restart);
        Ok(config)
    }

    /// Tells the monitor of a run when its health is checked from now on.
    fn tell_probe(&self, record: &Record, config: &Config) -> Result<(), Fault> {
        let probe = self.clock(config, record.run, 0).probe;
        let json = serde_json::to_vec(&probe).map_err(Fault::internal)?;
        let told = monitor::Client::connect(&self.run_directory(&record.id, record.run))
            .and_then(|mut client| client.send(&Frame::Probe(&json)).and_then(|()| client.send(&Frame::Detach)));
        // It may have ended meanwhile; else it has to know.
        match told {
            Err(e) if self.observe_locked(record).status == Status::Running => Err(Fault::internal(format!(
                "the health checks are changed from the next start on, as the monitor could not be told: {e}"
            ))),
            _ => Ok(()),
        }
    }

    fn apply(&self, config: &Config, running: &Running) -> Result<(), Fault> {
        let Some(cgroup) = &running.cgroup else {
            return Err(Fault::new(Kind::Unsupported, "the container has no cgroup whose limits could be changed"));
        };
        let fail = |e: runtime::cgroup::Error| Fault::new(Kind::Unsupported, crate::fault::sentence(&e));
        let host = Host::probe();
        let mut limits = lower::limits(&config.resources, &super::init::device_nodes(config));
        // Rules of devices stay what they are.
        if let Some(limits) = limits.as_object_mut() {
            limits.remove("devices");
        }
        let resources = serde_json::from_value(limits).map_err(Fault::internal)?;
        Group::open(&host, cgroup).and_then(|mut group| group.update(&host, &resources)).map_err(fail)
    }
}

/// Sets limits of the first process, which its later children inherit. Gives those it had; if one cannot be set, none is.
fn limit_process<'a>(running: &Running, limits: impl Iterator<Item = &'a Rlimit>) -> Result<Vec<Rlimit>, Fault> {
    let mut old = Vec::new();
    for limit in limits {
        match set_limit(running, limit) {
            Ok(before) => old.push(before),
            Err(errno) => {
                for before in &old {
                    let _ = set_limit(running, before);
                }
                let name = limit.name.trim_start_matches("RLIMIT_").to_ascii_lowercase();
                let (soft, hard) = (limit.soft, limit.hard);
                let text = format!("cannot set the {name} limit of the running container to {soft}:{hard}: {errno}");
                let fault = Fault::new(Kind::Denied, text);
                return Err(match errno {
                    rustix::io::Errno::PERM => fault.hint("stop the container first, or choose a lower hard limit"),
                    _ => fault,
                });
            }
        }
    }
    Ok(old)
}

/// Sets one; gives what it was. A process that has ended meanwhile needs none.
fn set_limit(running: &Running, limit: &Rlimit) -> Result<Rlimit, rustix::io::Errno> {
    let (Some(pid), Some(resource)) = (Pid::from_raw(running.pid), resource(&limit.name)) else {
        return Err(rustix::io::Errno::INVAL);
    };
    if !sys::process::is_alive(running.pid, running.start_time) {
        return Ok(limit.clone());
    }
    let some = |number: u64| Some(number).filter(|number| *number != u64::MAX);
    let new = rustix::process::Rlimit { current: some(limit.soft), maximum: some(limit.hard) };
    let old = rustix::process::prlimit(Some(pid), resource, new)?;
    let number = |number: Option<u64>| number.unwrap_or(u64::MAX);
    Ok(Rlimit { name: limit.name.clone(), soft: number(old.current), hard: number(old.maximum) })
}

/// The kernel's number of a limit, by the name that the configuration has.
fn resource(name: &str) -> Option<Resource> {
    Some(match name.strip_prefix("RLIMIT_")? {
        "AS" => Resource::As,
        "CORE" => Resource::Core,
        "CPU" => Resource::Cpu,
        "DATA" => Resource::Data,
        "FSIZE" => Resource::Fsize,
        "LOCKS" => Resource::Locks,
        "MEMLOCK" => Resource::Memlock,
        "MSGQUEUE" => Resource::Msgqueue,
        "NICE" => Resource::Nice,
        "NOFILE" => Resource::Nofile,
        "NPROC" => Resource::Nproc,
        "RSS" => Resource::Rss,
        "RTPRIO" => Resource::Rtprio,
        "RTTIME" => Resource::Rttime,
        "SIGPENDING" => Resource::Sigpending,
        "STACK" => Resource::Stack,
        _ => return None,
    })
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
