//! Limits and capabilities of the program's process, cut to what this host can give.

use crate::error::{Context, Error};
use oci_spec::runtime::{
    LinuxCapabilities, LinuxPersonality, LinuxPersonalityDomain, PosixRlimit, PosixRlimitType, Process,
};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::HashSet;
use std::fmt::Display;
use std::hash::Hash;

/// The five sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What may ever be gained.
    pub bounding: u64,
    /// The three of capset(2).
    pub sets: sys::capability::Sets,
    /// What a program without file capabilities keeps.
    pub ambient: u64,
}

/// Reads the sets, cut to what `permitted` (this process) has: a host may lack some, and so may its containers. No sets mean
/// none at all.
pub fn capabilities(asked: Option<&LinuxCapabilities>, permitted: u64) -> Capabilities {
    let Some(asked) = asked else { return Capabilities::default() };
    let sets = sys::capability::Sets {
        permitted: bits(asked.permitted().as_ref()) & permitted,
        effective: bits(asked.effective().as_ref()) & bits(asked.permitted().as_ref()) & permitted,
        inheritable: bits(asked.inheritable().as_ref()) & permitted,
    };
    Capabilities {
        bounding: bits(asked.bounding().as_ref()) & permitted,
        ambient: bits(asked.ambient().as_ref()) & sets.permitted & sets.inheritable,
        sets,
    }
}

/// Whether `process`, or what it executes, may ever have this one.
pub fn may_gain(process: &Process, capability: u64) -> bool {
    bits(process.capabilities().as_ref().and_then(|sets| sets.bounding().as_ref())) & capability != 0
}

fn bits<C: Display + Hash + Eq>(set: Option<&HashSet<C>>) -> u64 {
    set.into_iter().flatten().filter_map(|c| types::capability::number(&c.to_string())).fold(0, |bits, n| bits | 1 << n)
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

/// Refuses two values for one limit.
pub fn check_limits(limits: &[PosixRlimit]) -> Result<(), Error> {
    let twice = limits.iter().enumerate().find(|(at, limit)| limits[..*at].iter().any(|l| l.typ() == limit.typ()));
    match twice {
        Some((_, limit)) => Err(Error::Specification(format!("resource limit {} is given twice", limit.typ()))),
        None => Ok(()),
    }
}

/// On the host's side: raises hard limits that are asked for higher, as far as it may. In a user namespace of its own the
/// container's process could not.
pub fn raise_limits(limits: &[PosixRlimit]) {
    for limit in limits {
        let resource = resource(limit.typ());
        let now = getrlimit(resource);
        let higher = now.maximum.is_some_and(|now| limit.hard() > now);
        if higher {
            // Not allowed (EPERM) is fine: the limit is cut then.
            let _ = setrlimit(resource, Rlimit { current: now.current, maximum: finite(limit.hard()) });
        }
    }
}

/// Sets the limits, cut to the hard ones.
pub fn set_limits(limits: &[PosixRlimit]) -> Result<(), Error> {
    for limit in limits {
        let resource = resource(limit.typ());
        let cut = cut(limit.soft(), limit.hard(), getrlimit(resource).maximum);
        match setrlimit(resource, cut) {
            // The kernel has no more of this one (fs.nr_open): what it was is the most there is.
            Ok(()) | Err(Errno::PERM) => {}
            Err(error) => return Err(error).step("set a resource limit"),
        }
    }
    Ok(())
}

/// Sets the execution domain, if one is asked for.
pub fn set_personality(asked: Option<&LinuxPersonality>) -> Result<(), Error> {
    let domain = match asked.map(LinuxPersonality::domain) {
        None => return Ok(()),
        Some(LinuxPersonalityDomain::PerLinux) => 0,
        Some(LinuxPersonalityDomain::PerLinux32) => 8,
    };
    sys::process::set_personality(domain).step("set the personality")
}

/// Gives this process a session keyring of its own. Only where no process here can have keys may it do without: in a kernel
/// that has none, or under a filter that denies them, which the container inherits.
pub fn new_session_keyring() -> Result<(), Error> {
    match sys::keyring::join_new_session() {
        Ok(()) | Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        Err(Errno::DQUOT) => Err(Error::NoMoreKeys),
        Err(error) => Err(error).step("make a session keyring"),
    }
}

fn finite(limit: u64) -> Option<u64> {
    (limit != u64::MAX).then_some(limit)
}

fn cut(soft: u64, hard: u64, most: Option<u64>) -> Rlimit {
    let maximum = hard.min(most.unwrap_or(u64::MAX));
    Rlimit { current: finite(soft.min(maximum)), maximum: finite(maximum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_cut_to_the_hard_one() {
        let limit = |current, maximum| Rlimit { current, maximum };
        assert_eq!(cut(10, 20, None), limit(Some(10), Some(20)));
        assert_eq!(cut(10, 20, Some(5)), limit(Some(5), Some(5)));
        assert_eq!(cut(u64::MAX, u64::MAX, None), limit(None, None));
        assert_eq!(cut(u64::MAX, u64::MAX, Some(7)), limit(Some(7), Some(7)));
    }

    #[test]
    fn capabilities_are_cut_to_what_is_there() {
        let asked: LinuxCapabilities = serde_json::from_str(
            r#"{"bounding":["CAP_CHOWN","CAP_SYS_ADMIN"],"permitted":["CAP_CHOWN","CAP_SYS_ADMIN"],"effective":["CAP_CHOWN","CAP_KILL"],"inheritable":[],"ambient":["CAP_CHOWN"]}"#,
        )
        .unwrap();
        let got = capabilities(Some(&asked), 1 << 0 | 1 << 5);
        assert_eq!((got.bounding, got.sets.permitted, got.sets.effective, got.ambient), (1, 1, 1, 0));
        assert_eq!(capabilities(None, u64::MAX), Capabilities::default());
    }
}
