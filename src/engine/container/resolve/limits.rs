//! Limits: cgroup resources, getrlimit(2) limits, kernel parameters.

use super::PIDS;
use crate::container::config::{Namespace, Namespaces, Rlimit};
use crate::container::facts::{Controllers, Facts};
use ops::container::{Create, Resources};
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
    versions(&decided, controllers)?;
    if decided.blkio_weight.is_some() || !decided.blkio_weight_device.is_empty() || rates.iter().any(|r| !r.is_empty())
    {
        need(controllers, controllers.io, "io", "--blkio-weight and --device-read-bps and the like")?;
    }
    Ok(decided)
}

/// `--cgroups`: true if the container gets none of its own. A limit needs one.
pub fn no_cgroup(asked: &Create) -> Result<bool, Fault> {
    match asked.cgroups.as_deref().unwrap_or("enabled") {
        // Monitors have no cgroup of their own in any case.
        "" | "enabled" | "no-conmon" => Ok(false),
        "disabled" if asked.resources != Resources::default() || !asked.device_cgroup_rules.is_empty() => {
            Err(Fault::invalid("--cgroups=disabled: limits and rules of devices need a cgroup"))
        }
        "disabled" if asked.cgroup_parent.as_deref().is_some_and(|p| !p.is_empty()) => {
            Err(Fault::invalid("--cgroups=disabled and --cgroup-parent cannot be set together"))
        }
        "disabled" => Ok(true),
        "split" => Err(Fault::new(
            Kind::Unsupported,
            "--cgroups=split is not supported: monitors stay in the cgroup of who starts them, which must then be \
             without controllers for groups below it",
        )
        .hint("use --cgroup-parent with a group below the unit's")),
        other => {
            Err(Fault::invalid(format!("invalid value {other:?} for --cgroups"))
                .hint("use enabled, disabled or no-conmon"))
        }
    }
}

/// What only one version of control groups has, and what makes no sense.
fn versions(asked: &Resources, controllers: &Controllers) -> Result<(), Fault> {
    let dropped = [
        ("--cpu-rt-period", asked.cpu_rt_period.is_some(), "version 2 has no limit of realtime processor time"),
        ("--cpu-rt-runtime", asked.cpu_rt_runtime.is_some(), "version 2 has no limit of realtime processor time"),
        ("--memory-swappiness", asked.memory_swappiness.is_some(), "version 2 has none for a group; limit its swap"),
        (
            "--oom-kill-disable",
            asked.oom_kill_disable,
            "version 2 has no such switch; --cgroup-conf memory.high=… slows down instead",
        ),
    ];
    if let Some((flag, _, why)) = dropped.iter().find(|(_, asked, _)| *asked)
        && controllers.version == 2
    {
        return Err(Fault::new(Kind::Unsupported, format!("{flag} is not supported on cgroup v2: {why}")));
    }
    let (memory, cpu) = (
        asked.memory_swappiness.is_some() || asked.oom_kill_disable,
        asked.cpu_rt_period.is_some() || asked.cpu_rt_runtime.is_some(),
    );
    if memory {
        need(controllers, controllers.memory, "memory", "--memory-swappiness and --oom-kill-disable")?;
    }
    if cpu {
        need(controllers, controllers.cpu, "cpu", "--cpu-rt-period and --cpu-rt-runtime")?;
    }
    if asked.memory_swappiness.is_some_and(|percent| !(0..=100).contains(&percent)) {
        return Err(Fault::invalid("invalid value for --memory-swappiness: it must be -1, or 0 to 100"));
    }
    if let Some((file, _)) = asked.unified.first_key_value() {
        if controllers.version != 2 {
            return Err(Fault::new(
                Kind::Unsupported,
                "--cgroup-conf needs cgroup v2, which this host does not have alone",
            )
            .hint("boot with cgroup v2 alone (systemd.unified_cgroup_hierarchy=1)"));
        }
        if !file.contains('.') {
            return Err(Fault::invalid(format!(
                "invalid --cgroup-conf {file:?}: expected FILE=VALUE, as in memory.high=1073741824"
            )));
        }
    }
    for text in &asked.blkio_weight_device {
        let weight = text
            .rsplit_once(':')
            .and_then(|(path, weight)| (path.starts_with('/')).then(|| weight.parse::<u16>().ok())?);
        if !weight.is_some_and(|w| (10..=1000).contains(&w)) {
            return Err(Fault::invalid(format!(
                "invalid --blkio-weight-device {text:?}: expected DEVICE:WEIGHT, with a weight of 10 to 1000"
            )));
        }
    }
    Ok(())
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

/// The limits of a container that had `before` when `asked` is to be changed of them; a limit that cannot be had is a fault.
pub fn updated_rlimits(before: &[Rlimit], asked: &[String], facts: &Facts) -> Result<Vec<Rlimit>, Fault> {
    let mut warnings = Vec::new();
    let new = rlimits(asked, facts, &mut warnings)?;
    if let Some(warning) = warnings.pop() {
        return Err(Fault::new(Kind::Denied, warning));
    }
    if new.is_empty() {
        return Ok(new);
    }
    let named = |limit: &Rlimit| {
        let bare = &limit.name["RLIMIT_".len()..];
        let mut names = asked.iter().filter_map(|entry| entry.split('=').next()).map(str::to_ascii_uppercase);
        names.any(|name| name.strip_prefix("RLIMIT_").unwrap_or(&name) == bare)
    };
    let mut all = before.to_vec();
    for limit in new.into_iter().filter(named) {
        all.retain(|old| old.name != limit.name);
        all.push(limit);
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// Those of the parameters that belong to a namespace of the container.
pub fn usual_sysctls(usual: &[String], namespaces: &Namespaces) -> Result<BTreeMap<String, String>, Fault> {
    let private = Namespaces {
        network: Namespace::Private,
        ipc: Namespace::Private,
        uts: Namespace::Private,
        ..namespaces.clone()
    };
    let mut all = sysctl(usual, &private)?;
    all.retain(|key, value| sysctl(&[format!("{key}={value}")], namespaces).is_ok());
    Ok(all)
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
