//! What a specification says about each system call, before it becomes a program.
//!
//! Where several rules name one call, libseccomp's meaning is kept: one without arguments outdoes those with, and the first of
//! several stands; of those with arguments, the first that matches stands. A rule whose action is the default one says
//! nothing. All arguments of a rule must match, but if it names one argument twice each condition is a rule of its own (as
//! runc and crun read it).

use super::architecture::Architecture;
use super::table;
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator,
};

/// A specification that no filter can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No program for this processor.
    #[error("seccomp filters are not supported on {0}: run with \"--security-opt seccomp=unconfined\"")]
    Machine(&'static str),
    /// The index of an argument is not 0 to 5.
    #[error("seccomp rule for {call:?}: no argument {index}, a system call has 0 to 5")]
    Argument {
        /// The call.
        call: String,
        /// What was given.
        index: usize,
    },
    /// An errno with an action that gives none.
    #[error("seccomp action {action} takes no errno (given {errno})")]
    Errno {
        /// The action.
        action: LinuxSeccompAction,
        /// What was given.
        errno: u32,
    },
    /// An errno that the kernel cannot give.
    #[error("seccomp errno {0} is out of range, 4095 is the largest")]
    ErrnoRange(u32),
    /// The listener itself would wait for the answer.
    #[error("seccomp action SCMP_ACT_NOTIFY cannot be used {0}")]
    Notify(&'static str),
    /// More than the kernel takes.
    #[error("the seccomp filter has {0} instructions, the kernel takes 4096")]
    TooLong(usize),
}

const EPERM: u32 = 1;

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Always this (`SECCOMP_RET_*`).
    Always(u32),
    /// The first of these that matches, else the default.
    First(Vec<Condition>),
}

/// Comparisons that must all hold, and what happens then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Never empty.
    pub comparisons: Vec<LinuxSeccompArg>,
    /// `SECCOMP_RET_*` with its data.
    pub action: u32,
}

/// The kernel's word for `action` with `errno` (`EPERM` if an action needs one and none is given).
pub fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32, Error> {
    match (action, errno) {
        (LinuxSeccompAction::ScmpActErrno | LinuxSeccompAction::ScmpActTrace, Some(errno)) if errno > 4095 => {
            Err(Error::ErrnoRange(errno))
        }
        (LinuxSeccompAction::ScmpActErrno | LinuxSeccompAction::ScmpActTrace, errno) => {
            Ok(action.as_u32(Some(errno.unwrap_or(EPERM))))
        }
        (action, Some(errno)) => Err(Error::Errno { action, errno }),
        (action, None) => Ok(action.as_u32(None)),
    }
}

/// A specification with its names looked up.
pub struct Rules<'a> {
    named: Vec<Named<'a>>,
}

/// A call that a rule names.
struct Named<'a> {
    numbers: &'static table::Numbers,
    arguments: &'a [LinuxSeccompArg],
    action: u32,
    door: Option<(u32, u64)>,
}

/// A rule about one number; behind a door, about one function of it.
struct Found<'a> {
    number: u32,
    arguments: &'a [LinuxSeccompArg],
    function: Option<u64>,
    action: u32,
}

impl<'a> Rules<'a> {
    /// Checks the rules of `seccomp`, and looks up their names.
    pub fn read(seccomp: &'a LinuxSeccomp) -> Result<Rules<'a>, Error> {
        let default = action(seccomp.default_action(), seccomp.default_errno_ret())?;
        let mut named = Vec::with_capacity(512);
        for rule in seccomp.syscalls().iter().flatten() {
            let action = action(rule.action(), rule.errno_ret())?;
            let arguments = rule.args().as_deref().unwrap_or_default();
            check(rule.names(), arguments, rule.action())?;
            if action == default {
                continue;
            }
            let mut finder = table::Finder::default();
            named.extend(rule.names().iter().filter_map(|name| {
                let door = if arguments.is_empty() { multiplexed(name) } else { None };
                Some(Named { numbers: finder.find(name)?, arguments, action, door })
            }));
        }
        Ok(Rules { named })
    }

    /// What happens to each call of `architecture` that some rule names, by ascending number.
    pub fn verdicts(&self, architecture: Architecture) -> Vec<(u32, Verdict)> {
        let mut found: Vec<Found> = Vec::with_capacity(self.named.len());
        for Named { numbers, arguments, action, door } in &self.named {
            if let Some(number) = table::of(numbers, architecture) {
                found.push(Found { number, arguments, function: None, action: *action });
            }
            if let (Architecture::X86, Some((number, function))) = (architecture, *door) {
                found.push(Found { number, arguments, function: Some(function), action: *action });
            }
        }
        // Stable: rules keep their order.
        found.sort_by_key(|found| found.number);
        let verdict = |same: &[Found]| match same.iter().find(|f| f.arguments.is_empty() && f.function.is_none()) {
            Some(always) => Verdict::Always(always.action),
            None => Verdict::First(same.iter().flat_map(Found::conditions).collect()),
        };
        found.chunk_by(|a, b| a.number == b.number).map(|same| (same[0].number, verdict(same))).collect()
    }
}

impl Found<'_> {
    fn conditions(&self) -> Vec<Condition> {
        let condition = |comparisons: &[_]| Condition { comparisons: comparisons.to_vec(), action: self.action };
        if let Some(function) = self.function {
            return vec![condition(&[comparison(0, LinuxSeccompOperator::ScmpCmpEq, function)])];
        }
        let arguments = self.arguments;
        let twice = arguments.iter().enumerate().any(|(at, a)| arguments[..at].iter().any(|b| a.index() == b.index()));
        if twice { arguments.chunks(1).map(condition).collect() } else { vec![condition(arguments)] }
    }
}

fn check(names: &[String], arguments: &[LinuxSeccompArg], action: LinuxSeccompAction) -> Result<(), Error> {
    if let Some(wrong) = arguments.iter().find(|argument| argument.index() > 5) {
        return Err(Error::Argument { call: names.join(" "), index: wrong.index() });
    }
    if action == LinuxSeccompAction::ScmpActNotify && names.iter().any(|name| name == "sendmsg") {
        return Err(Error::Notify("with \"sendmsg\": the listener is handed over by that call"));
    }
    Ok(())
}

/// `argument OP value` as the specification's type.
pub(super) fn comparison(argument: usize, op: LinuxSeccompOperator, value: u64) -> LinuxSeccompArg {
    LinuxSeccompArgBuilder::default().index(argument).op(op).value(value).build().expect("all its fields have defaults")
}

/// On 32-bit x86, `socketcall` and `ipc` are doors to calls which rules name (socketcall(2), ipc(2)): the door's number, and its
/// first argument that means the call. A rule that looks at arguments cannot be kept behind a door: those are in memory there.
fn multiplexed(name: &str) -> Option<(u32, u64)> {
    let at = DOORS.binary_search_by(|(known, ..)| (*known).cmp(name)).ok()?;
    Some((DOORS[at].1, DOORS[at].2))
}

/// `SYS_*` of `linux/net.h`
const SOCKETCALL: u32 = 102;
/// `linux/ipc.h`
const IPC: u32 = 117;

/// Sorted by name.
static DOORS: [(&str, u32, u64); 32] = [
    ("accept", SOCKETCALL, 5),
    ("accept4", SOCKETCALL, 18),
    ("bind", SOCKETCALL, 2),
    ("connect", SOCKETCALL, 3),
    ("getpeername", SOCKETCALL, 7),
    ("getsockname", SOCKETCALL, 6),
    ("getsockopt", SOCKETCALL, 15),
    ("listen", SOCKETCALL, 4),
    ("msgctl", IPC, 14),
    ("msgget", IPC, 13),
    ("msgrcv", IPC, 12),
    ("msgsnd", IPC, 11),
    ("recv", SOCKETCALL, 10),
    ("recvfrom", SOCKETCALL, 12),
    ("recvmmsg", SOCKETCALL, 19),
    ("recvmsg", SOCKETCALL, 17),
    ("semctl", IPC, 3),
    ("semget", IPC, 2),
    ("semop", IPC, 1),
    ("semtimedop", IPC, 4),
    ("send", SOCKETCALL, 9),
    ("sendmmsg", SOCKETCALL, 20),
    ("sendmsg", SOCKETCALL, 16),
    ("sendto", SOCKETCALL, 11),
    ("setsockopt", SOCKETCALL, 14),
    ("shmat", IPC, 21),
    ("shmctl", IPC, 24),
    ("shmdt", IPC, 22),
    ("shmget", IPC, 23),
    ("shutdown", SOCKETCALL, 13),
    ("socket", SOCKETCALL, 1),
    ("socketpair", SOCKETCALL, 8),
];
