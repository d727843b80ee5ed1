//! Limits: cgroup resources, getrlimit(2) limits, kernel parameters.

use super::PIDS;
use crate::container::config::{Namespace, Namespaces, Rlimit};
use crate::container::facts::{Controllers, Facts};
use ops::container::Resources;
use ops::{Fault, Kind};
use std::collections::BTreeMap;

/// Decides the cgroup's limits. One that was asked for and cannot be had is an error; a default one is left out.
pub fn resources(asked: &Resources, facts: &Facts) -> Result<Resources, Fault> {
    let controllers = &facts.controllers;
    let mut decided = asked.clone();
    decided.pids = pids(asked.pids, controllers)?;
    cpu(&mut decided, controllers)?;
    memory(&mut decided, controllers)?;
    if decided.cpuset_cpus.is_some() || decided.cpuset_mems.is_some() {
        need(controllers, controllers.cpuset, "cpuset", "--cpuset-cpus and --cpuset-mems")?;
    }
    for (flag, text) in [("--cpuset-cpus", &decided.cpuset_cpus), ("--cpuset-mems", &decided.cpuset_mems)] {
        if let Some(text) = text
            && (text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b',' || b == b'-'))
        {
            return Err(Fault::invalid(format!(
                "invalid value {text:?} for {flag}: expected numbers and ranges, as in 0-2,4"
            )));
        }
    }
    if decided.blkio_weight.is_some_and(|w| !(10..=1000).contains(&w)) {
        return Err(Fault::invalid("--blkio-weight must be between 10 and 1000"));
    }
    let rates =
        [&decided.device_read_bps, &decided.device_write_bps, &decided.device_read_iops, &decided.device_write_iops];
    if decided.blkio_weight.is_some() || rates.iter().any(|r| !r.is_empty()) {
        need(controllers, controllers.io, "io", "--blkio-weight and --device-read-bps and the like")?;
    }
    Ok(decided)
}

/// 0 and -1 are no limit.
fn pids(asked: Option<i64>, controllers: &Controllers) -> Result<Option<i64>, Fault> {
    match asked {
        None => Ok(controllers.pids.then_some(PIDS)),
        Some(0 | -1) => Ok(None),
        Some(limit) if limit > 0 => need(controllers, controllers.pids, "pids", "--pids-limit").map(|()| Some(limit)),
        Some(limit) => {
            Err(Fault::invalid(format!("invalid value {limit} for --pids-limit: it must be -1, 0 or positive")))
        }
    }
}

fn cpu(decided: &mut Resources, controllers: &Controllers) -> Result<(), Fault> {
    if let Some(nano_cpus) = decided.nano_cpus.take() {
        if decided.cpu_period.is_some() {
            return Err(Fault::invalid("--cpu-period and --cpus cannot be set together"));
        }
        if decided.cpu_quota.is_some() {
            return Err(Fault::invalid("--cpu-quota and --cpus cannot be set together"));
        }
        if nano_cpus > 0 {
            const PERIOD: u64 = 100_000;
            let quota = i64::try_from(u128::from(nano_cpus) * u128::from(PERIOD) / 1_000_000_000)
                .map_err(|_| Fault::invalid("invalid value for --cpus: too many"))?;
            if quota < 1000 {
                return Err(Fault::invalid("invalid value for --cpus: the least is 0.01"));
            }
            decided.cpu_period = Some(PERIOD);
            decided.cpu_quota = Some(quota);
        }
    }
    decided.cpu_shares = decided.cpu_shares.filter(|s| *s != 0);
    if decided.cpu_quota.is_some() || decided.cpu_period.is_some() || decided.cpu_shares.is_some() {
        need(controllers, controllers.cpu, "cpu", "--cpus, --cpu-shares, --cpu-period and --cpu-quota")?;
    }
    Ok(())
}

/// Without a word about swap a container gets as much of it as of memory.
fn memory(decided: &mut Resources, controllers: &Controllers) -> Result<(), Fault> {
    decided.memory = decided.memory.filter(|m| *m != 0);
    decided.memory_reservation = decided.memory_reservation.filter(|m| *m != 0);
    decided.memory_swap = decided.memory_swap.filter(|m| *m != 0);
    if decided.memory.is_none() && decided.memory_reservation.is_none() && decided.memory_swap.is_none() {
        return Ok(());
    }
    need(controllers, controllers.memory, "memory", "--memory and --memory-reservation")?;
    match (decided.memory, decided.memory_swap) {
        (None, Some(_)) => {
            return Err(Fault::invalid("minimum memory limit should be set if memory swap is set")
                .hint("use --memory together with --memory-swap"));
        }
        (Some(memory), Some(swap)) if swap != -1 && (swap < 0 || (swap as u64) < memory) => {
            return Err(Fault::invalid("minimum memoryswap limit should be larger than memory limit, see usage"));
        }
        (Some(_), Some(_)) => need(controllers, controllers.swap, "swap", "--memory-swap")?,
        (Some(memory), None) if controllers.swap => {
            decided.memory_swap = i64::try_from(memory.saturating_mul(2)).ok();
        }
        _ => {}
    }
    if let (Some(memory), Some(reservation)) = (decided.memory, decided.memory_reservation)
        && memory < reservation
    {
        return Err(Fault::invalid("minimum memory limit cannot be less than memory reservation limit, see usage"));
    }
    if decided.memory.is_some_and(|m| m < 512 * 1024) {
        return Err(Fault::invalid("minimum memory limit allowed is 512KB"));
    }
    Ok(())
}

fn need(controllers: &Controllers, there: bool, controller: &str, flags: &str) -> Result<(), Fault> {
    if there {
        return Ok(());
    }
    let fault = |why: &str| {
        Fault::new(
            Kind::Unsupported,
            format!("{flags} cannot be had: the {controller} cgroup controller is missing{why}"),
        )
    };
    Err(match controllers.missing.get(controller) {
        Some((why, fix)) => fault(&format!(" ({why})")).hint(fix.clone()),
        None => fault(""),
    })
}

const RLIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Podman's defaults are 1048576 open files and 4194304 processes. Whoever cannot raise limits gets what there is of
/// them: the kernel would refuse the container otherwise.
pub fn rlimits(asked: &[String], facts: &Facts, warnings: &mut Vec<String>) -> Result<Vec<Rlimit>, Fault> {
    if asked.iter().any(|a| a == "host") {
        return match asked {
            [_] => Ok(Vec::new()),
            _ => Err(Fault::invalid("ulimit option \"host\" cannot be combined with others")),
        };
    }
    let mut all: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let fit = |wanted: u64, hard: u64| if facts.can_raise_limits { wanted } else { wanted.min(hard) };
    let (files, processes) = (fit(1_048_576, facts.nofile.1), fit(4_194_304, facts.nproc.1));
    all.insert("nofile", (files, files));
    all.insert("nproc", (processes, processes));
    for entry in asked {
        let invalid = |why: &str| Fault::invalid(format!("invalid ulimit argument {entry:?}: {why}"));
        let (name, limits) = entry.split_once('=').ok_or_else(|| invalid("expected NAME=SOFT[:HARD]"))?;
        let lower = name.to_ascii_lowercase();
        let bare = lower.strip_prefix("rlimit_").unwrap_or(&lower);
        let name = RLIMITS.iter().find(|n| **n == bare).ok_or_else(|| invalid("no such limit"))?;
        let number = |text: &str| match text {
            "-1" | "unlimited" => Ok(u64::MAX),
            text => text.parse::<u64>().map_err(|_| invalid("expected a number, or -1 for none")),
        };
        let (soft, hard) = match limits.split_once(':') {
            Some((soft, hard)) => (number(soft)?, number(hard)?),
            None => (number(limits)?, number(limits)?),
        };
        if soft > hard {
            return Err(invalid("the soft limit is above the hard one"));
        }
        let have = match *name {
            "nofile" => facts.nofile.1,
            "nproc" => facts.nproc.1,
            _ => u64::MAX,
        };
        if hard > have && !facts.can_raise_limits {
            warnings.push(format!("the {name} limit is {have} here and cannot be raised to {hard}"));
        }
        all.insert(name, (fit(soft, have), fit(hard, have)));
    }
    Ok(all
        .into_iter()
        .map(|(name, (soft, hard))| Rlimit { name: format!("RLIMIT_{}", name.to_ascii_uppercase()), soft, hard })
        .collect())
}

/// Only parameters that belong to a namespace of the container can be set for it.
pub fn sysctl(asked: &[String], namespaces: &Namespaces) -> Result<BTreeMap<String, String>, Fault> {
    let mut all = BTreeMap::new();
    for entry in asked {
        let (key, value) = entry.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
            Fault::invalid(format!("{entry:?} is invalid, sysctl values must be in the form of KEY=VALUE"))
        })?;
        if key.contains("..") || key.contains('\0') {
            return Err(Fault::invalid(format!("sysctl {key:?} is not allowed")));
        }
        let (namespace, name) = if key.starts_with("net.") {
            (&namespaces.network, "Network")
        } else if key.starts_with("fs.mqueue.")
            || key.starts_with("kernel.shm")
            || key.starts_with("kernel.msg")
            || key == "kernel.sem"
        {
            (&namespaces.ipc, "IPC")
        } else if key == "kernel.domainname" || key == "kernel.hostname" {
            (&namespaces.uts, "UTS")
        } else {
            return Err(Fault::invalid(format!("sysctl '{key}' is not allowed"))
                .hint("it does not belong to a namespace, so it would change the host"));
        };
        if *namespace == Namespace::Host {
            return Err(Fault::invalid(format!(
                "sysctl {key}={value} can't be set since {name} Namespace set to host"
            )));
        }
        all.insert(key.to_owned(), value.to_owned());
    }
    Ok(all)
}
