//! Processor, input and output, and memory: how a specification wants its process scheduled, in the kernel's terms.
//!
//! Real-time policies need rights of the host, which a process in a user namespace of its own has not: so the first process of
//! a container is set from the host's side ([`crate::outside`]), and an added one before it enters.

use crate::error::Error;
use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxMemoryPolicy, LinuxSchedulerFlag, LinuxSchedulerPolicy,
    MemoryPolicyFlagType, MemoryPolicyModeType, Process, Scheduler,
};
use rustix::io::Errno;
use rustix::thread::CpuSet;
use sys::scheduling::Attributes;

/// What a process asks for, understood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduling {
    attributes: Option<Attributes>,
    /// Class and level.
    io: Option<(u8, u8)>,
}

impl Scheduling {
    /// Reads it.
    pub fn read(process: &Process) -> Result<Scheduling, Error> {
        Ok(Scheduling {
            attributes: process.scheduler().as_ref().map(attributes).transpose()?,
            io: process.io_priority().as_ref().map(io_priority).transpose()?,
        })
    }

    /// Whether it asks for anything.
    pub fn is_asked(&self) -> bool {
        *self != Scheduling::default()
    }

    /// Sets it for process `pid`, 0 for the calling one.
    pub fn apply(&self, pid: i32) -> Result<(), Error> {
        if let Some(attributes) = &self.attributes {
            sys::scheduling::set(pid, attributes)
                .map_err(|source| Error::Schedule { what: "the scheduling policy", source })?;
        }
        if let Some((class, level)) = self.io {
            sys::scheduling::set_io_priority(pid, class, level)
                .map_err(|source| Error::Schedule { what: "the priority of input and output", source })?;
        }
        Ok(())
    }
}

fn invalid(what: impl Into<String>) -> Error {
    Error::Specification(what.into())
}

fn attributes(asked: &Scheduler) -> Result<Attributes, Error> {
    let policy = match asked.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        // Its number is reserved, and no kernel has it.
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flag = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    let priority = asked.priority().unwrap_or(0);
    if *asked.policy() == LinuxSchedulerPolicy::SchedDeadline {
        times(asked)?;
    }
    Ok(Attributes {
        policy,
        flags: asked.flags().iter().flatten().map(flag).fold(0, |flags, flag| flags | flag),
        nice: asked.nice().unwrap_or(0),
        priority: u32::try_from(priority)
            .map_err(|_| invalid(format!("scheduler priority {priority} is less than zero")))?,
        runtime: asked.runtime().unwrap_or(0),
        deadline: asked.deadline().unwrap_or(0),
        period: asked.period().unwrap_or(0),
    })
}

/// What the kernel wants of the times of `SCHED_DEADLINE` (sched(7)), which it refuses without a word about which one is wrong.
fn times(asked: &Scheduler) -> Result<(), Error> {
    let needs = |why: String| Err(invalid(format!("scheduler policy SCHED_DEADLINE needs {why}")));
    let time = |time: Option<u64>| time.filter(|time| *time > 0);
    let Some(runtime) = time(*asked.runtime()) else { return needs("a runtime".into()) };
    let Some(deadline) = time(*asked.deadline()) else { return needs("a deadline".into()) };
    // Without one, the deadline is the period too.
    let period = time(*asked.period()).unwrap_or(deadline);
    if runtime < 1024 {
        return needs(format!("a runtime of 1024 ns at least, and not {runtime}"));
    }
    if runtime > deadline || deadline > period {
        return needs(format!(
            "a runtime ({runtime} ns) that is no longer than the deadline ({deadline} ns), and that no longer than the period ({period} ns)"
        ));
    }
    // The kernel counts them with a sign.
    if i64::try_from(period).is_err() {
        return needs(format!("a period of less than 2^63 ns, and not {period}"));
    }
    Ok(())
}

fn io_priority(asked: &LinuxIOPriority) -> Result<(u8, u8), Error> {
    let class = match asked.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u8::try_from(asked.priority()) {
        Ok(level) if level <= 7 => Ok((class, level)),
        _ => Err(invalid(format!("ioPriority {} is not one of 0 to 7", asked.priority()))),
    }
}

/// Numbers of a list like `0-3,7`, each less than `most`.
fn list(text: &str, most: usize) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= most {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

/// Moves the calling process to the processors of `list` (`execCPUAffinity`); an empty one changes nothing.
pub fn set_affinity(text: Option<&String>) -> Result<(), Error> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(()) };
    let cpus = list(text, CpuSet::MAX_CPU)
        .ok_or_else(|| invalid(format!("execCPUAffinity {text:?} is not a list of processors")))?;
    let mut set = CpuSet::new();
    cpus.into_iter().for_each(|cpu| set.set(cpu));
    rustix::thread::sched_setaffinity(None, &set)
        .map_err(|source| Error::Schedule { what: "the processors of execCPUAffinity", source })
}

/// The most nodes that any kernel is built for (`CONFIG_NODES_SHIFT`).
const MOST_NODES: usize = 1024;

/// Sets the memory policy of the calling process, which what it executes keeps.
pub fn set_memory_policy(asked: &LinuxMemoryPolicy) -> Result<(), Error> {
    let (mode, nodes) = memory_policy(asked)?;
    sys::scheduling::set_memory_policy(mode, &nodes).map_err(|source| match source {
        Errno::NOSYS => Error::Unsupported {
            what: "linux.memoryPolicy".into(),
            instead: "this kernel is built without CONFIG_NUMA; leave it out",
        },
        source => Error::Schedule { what: "the memory policy", source },
    })
}

/// `MPOL_*` with its flags (linux/mempolicy.h), and the mask of nodes.
fn memory_policy(asked: &LinuxMemoryPolicy) -> Result<(u32, Vec<u64>), Error> {
    let mode = match asked.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flag = |flag: &MemoryPolicyFlagType| match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    };
    let text = asked.nodes().as_deref().unwrap_or_default();
    let nodes = list(text, MOST_NODES)
        .ok_or_else(|| invalid(format!("memoryPolicy nodes {text:?} are not a list of nodes")))?;
    let mut mask = vec![0u64; nodes.iter().max().map_or(0, |most| most / 64 + 1)];
    nodes.into_iter().for_each(|node| mask[node / 64] |= 1 << (node % 64));
    Ok((asked.flags().iter().flatten().map(flag).fold(mode, |mode, flag| mode | flag), mask))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists() {
        assert_eq!(list("0-2, 7,", 8), Some(vec![0, 1, 2, 7]));
        assert_eq!(list("", 8), Some(vec![]));
        for wrong in ["8", "2-1", "a", "-1", "1-", "0-99999999999999999999"] {
            assert_eq!(list(wrong, 8), None, "{wrong}");
        }
    }

    #[test]
    fn policies() {
        let read = |json| serde_json::from_value::<Process>(json).unwrap();
        let process = |more: serde_json::Value| {
            let mut json = json!({"cwd": "/", "user": {"uid": 0, "gid": 0}});
            json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            read(json)
        };
        let asked = Scheduling::read(&process(json!({
            "scheduler": {"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 2048, "period": 3072,
                "flags": ["SCHED_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_UTIL_CLAMP_MAX"]},
            "ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 7},
        })))
        .unwrap();
        let times = Attributes { runtime: 1024, deadline: 2048, period: 3072, ..Attributes::default() };
        let wanted = Attributes { policy: 6, flags: 0x43, ..times };
        assert_eq!((asked.attributes, asked.io), (Some(wanted), Some((1, 7))));
        assert!(!Scheduling::read(&process(json!({}))).unwrap().is_asked());
        for wrong in [
            json!({"scheduler": {"policy": "SCHED_FIFO", "priority": -1}}),
            json!({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}),
        ] {
            assert!(Scheduling::read(&process(wrong.clone())).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_of_deadlines() {
        let read = |runtime: u64, deadline: u64, period: u64| {
            let json = json!({"policy": "SCHED_DEADLINE", "runtime": runtime, "deadline": deadline, "period": period});
            attributes(&serde_json::from_value(json).unwrap()).map_err(|error| error.to_string())
        };
        for right in [(1024, 1024, 1024), (2000, 3000, 0), (1024, 2048, i64::MAX as u64)] {
            assert!(read(right.0, right.1, right.2).is_ok(), "{right:?}");
        }
        for (runtime, deadline, period, words) in [
            (0, 2000, 2000, "needs a runtime"),
            (2000, 0, 2000, "needs a deadline"),
            (1023, 2000, 2000, "1024 ns at least, and not 1023"),
            (2001, 2000, 2000, "a runtime (2001 ns) that is no longer than the deadline (2000 ns)"),
            (2000, 3000, 2999, "than the period (2999 ns)"),
            (2000, 3000, 1 << 63, "less than 2^63 ns"),
        ] {
            let error = read(runtime, deadline, period).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn memory_policies() {
        let read = |json| memory_policy(&serde_json::from_value(json).unwrap());
        let nodes = json!({"mode": "MPOL_INTERLEAVE", "nodes": "0,64-65", "flags": ["MPOL_F_STATIC_NODES"]});
        assert_eq!(read(nodes).unwrap(), (3 | 1 << 15, vec![1, 3]));
        assert_eq!(read(json!({"mode": "MPOL_LOCAL"})).unwrap(), (4, vec![]));
        assert!(read(json!({"mode": "MPOL_BIND", "nodes": "1024"})).is_err());
    }
}
