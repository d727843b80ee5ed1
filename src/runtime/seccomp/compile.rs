//! From what a specification says to a classic BPF program.
//!
//! The program looks at `struct seccomp_data` of `linux/seccomp.h`: the call's number at byte 0, the architecture's token at 4,
//! six arguments of 64 bits from 16 on (the lower half first: both machines are little-endian). It first tells the
//! architecture; then a binary search over ranges of numbers that are treated alike ends in a return, or in comparisons of
//! arguments. Jumps go forward only, 255 instructions at most, so the program is written from its end: each target is
//! known when a jump to it is written.
//!
//! Calls of an architecture which the specification does not list kill the process, as do those of x32 if only x86_64 is listed.

use super::architecture::Architecture;
use super::filter::{Filter, Listener};
use super::rules::{self, Condition, Error, Rules, Verdict};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
};
use sys::seccomp::{self as kernel, Instruction};

/// The longest program that the kernel takes (`BPF_MAXINSNS`).
const MAX_LENGTH: usize = 4096;
/// `SECCOMP_RET_KILL_PROCESS`. Kernels before 4.14 take it for "kill the thread".
pub(super) const KILL_PROCESS: u32 = 0x8000_0000;
/// `__X32_SYSCALL_BIT`
const X32_BIT: u32 = 0x4000_0000;

/// Makes the filter for this machine. Names of calls that no architecture has are passed over.
pub fn compile(seccomp: &LinuxSeccomp) -> Result<Filter, Error> {
    compile_for(seccomp, Architecture::native().ok_or(Error::Machine(std::env::consts::ARCH))?)
}

/// Makes the filter for a machine whose own architecture is `native`, which is always part of it.
pub fn compile_for(seccomp: &LinuxSeccomp, native: Architecture) -> Result<Filter, Error> {
    if seccomp.default_action() == LinuxSeccompAction::ScmpActNotify {
        return Err(Error::Notify("as the default action: no program could be executed"));
    }
    let default = rules::action(seccomp.default_action(), seccomp.default_errno_ret())?;
    let rules = Rules::read(seccomp)?;
    let architectures = architectures(seccomp, native);
    let mut program = Program::default();
    let mut blocks = Vec::new();
    // x32 is found in the block of x86_64.
    for architecture in architectures.iter().copied().filter(|a| *a != Architecture::X32).rev() {
        let mut verdicts = rules.verdicts(architecture);
        if architecture == Architecture::X86_64 {
            if architectures.contains(&Architecture::X32) {
                verdicts.extend(rules.verdicts(Architecture::X32));
            } else {
                verdicts.push((X32_BIT, Verdict::Always(KILL_PROCESS)));
            }
        }
        let x32_is_refused = architecture == Architecture::X86_64 && !architectures.contains(&Architecture::X32);
        let ranges = ranges(verdicts, default, x32_is_refused);
        let search = program.search(&ranges, default);
        // Loading falls through: if all numbers are treated alike, their return may be elsewhere.
        program.within(search, 0);
        blocks.push((architecture.token(), program.load(0)));
    }
    let mut next = program.give(KILL_PROCESS);
    for (token, block) in blocks {
        next = program.branch(JUMP_EQUAL, token, block, next);
    }
    program.load(4);
    program.reversed.reverse();
    if program.reversed.len() > MAX_LENGTH {
        return Err(Error::TooLong(program.reversed.len()));
    }
    // Who is named as listener gets the descriptor, as from crun, also where the profile asks about nothing: it waits for it.
    let notifies = seccomp.syscalls().iter().flatten().any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
        || seccomp.listener_path().as_ref().is_some_and(|path| !path.as_os_str().is_empty());
    Ok(Filter {
        instructions: program.reversed,
        flags: flags(seccomp, notifies),
        listener: notifies.then(|| Listener {
            path: seccomp.listener_path().clone().unwrap_or_default(),
            metadata: seccomp.listener_metadata().clone().unwrap_or_default(),
        }),
    })
}

/// The architectures listed and the native one; x32 needs the block of x86_64.
pub(super) fn architectures(seccomp: &LinuxSeccomp, native: Architecture) -> Vec<Architecture> {
    let mut all = vec![native];
    for listed in seccomp.architectures().iter().flatten().filter_map(|arch| Architecture::from_oci(*arch)) {
        if !all.contains(&listed) {
            all.push(listed);
        }
    }
    if !all.contains(&Architecture::X86_64) {
        all.retain(|architecture| *architecture != Architecture::X32);
    }
    all
}

fn flags(seccomp: &LinuxSeccomp, notifies: bool) -> u32 {
    let mut flags = seccomp.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => kernel::FLAG_LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync => kernel::FLAG_TSYNC,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => kernel::FLAG_SPEC_ALLOW,
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => kernel::FLAG_WAIT_KILLABLE_RECV,
            }
    });
    if notifies {
        flags |= kernel::FLAG_NEW_LISTENER;
        if flags & kernel::FLAG_TSYNC != 0 {
            flags |= kernel::FLAG_TSYNC_ESRCH;
        }
    } else {
        // EINVAL without a listener.
        flags &= !kernel::FLAG_WAIT_KILLABLE_RECV;
    }
    flags
}

/// Cuts all numbers into ranges, each from its number to the next one's, that are treated alike.
fn ranges(verdicts: Vec<(u32, Verdict)>, default: u32, x32_is_refused: bool) -> Vec<(u32, Verdict)> {
    let mut ranges: Vec<(u32, Verdict)> = vec![(0, Verdict::Always(default))];
    let mut add = |start: u32, verdict: Verdict| {
        if ranges.last().is_some_and(|last| last.0 == start) {
            ranges.pop();
        }
        if ranges.last().is_none_or(|last| last.1 != verdict) {
            ranges.push((start, verdict));
        }
    };
    for (number, verdict) in verdicts {
        add(number, verdict);
        if !(x32_is_refused && number == X32_BIT) {
            add(number + 1, Verdict::Always(default));
        }
    }
    if x32_is_refused {
        // A tracer makes -1 of a number to skip the call; that is no attempt to use x32.
        add(u32::MAX, Verdict::Always(default));
    }
    ranges
}

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_GREATER_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const MASK: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// A place in the program, counted from its end.
type Place = usize;

#[derive(Default)]
struct Program {
    reversed: Vec<Instruction>,
    returns: Vec<(u32, Place)>,
}

impl Program {
    fn push(&mut self, instruction: Instruction) -> Place {
        self.reversed.push(instruction);
        self.reversed.len() - 1
    }

    /// How far it is from an instruction written now to `place`.
    fn distance(&self, place: Place) -> usize {
        self.reversed.len() - place - 1
    }

    /// Falls through to what was written last.
    fn load(&mut self, offset: u32) -> Place {
        self.push(Instruction { code: LOAD, operand: offset, ..Default::default() })
    }

    /// A return of `action` near enough to be jumped to.
    fn give(&mut self, action: u32) -> Place {
        let known = self.returns.iter().position(|(a, _)| *a == action);
        if let Some(at) = known
            && self.distance(self.returns[at].1) < 200
        {
            return self.returns[at].1;
        }
        let place = self.push(Instruction { code: RETURN, operand: action, ..Default::default() });
        match known {
            Some(at) => self.returns[at].1 = place,
            None => self.returns.push((action, place)),
        }
        place
    }

    fn branch(&mut self, code: u16, operand: u32, yes: Place, no: Place) -> Place {
        // The second step may add an instruction, which lengthens the first way by one.
        let yes = self.within(yes, 254);
        let no = self.within(no, 255);
        let (jump_true, jump_false) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(Instruction { code, jump_true, jump_false, operand })
    }

    fn within(&mut self, place: Place, most: usize) -> Place {
        match self.distance(place) {
            near if near <= most => place,
            far => self.push(Instruction { code: JUMP, operand: far as u32, ..Default::default() }),
        }
    }

    fn search(&mut self, ranges: &[(u32, Verdict)], default: u32) -> Place {
        match ranges {
            [(_, verdict)] => self.verdict(verdict, default),
            // One number amid others.
            [(_, before), (number, verdict), (end, after)] if before == after && *end == number + 1 => {
                let others = self.verdict(before, default);
                let yes = self.verdict(verdict, default);
                self.branch(JUMP_EQUAL, *number, yes, others)
            }
            _ => {
                let middle = ranges.len() / 2;
                let above = self.search(&ranges[middle..], default);
                let below = self.search(&ranges[..middle], default);
                self.branch(JUMP_GREATER_EQUAL, ranges[middle].0, above, below)
            }
        }
    }

    fn verdict(&mut self, verdict: &Verdict, default: u32) -> Place {
        match verdict {
            Verdict::Always(action) => self.give(*action),
            Verdict::First(conditions) => {
                let mut next = self.give(default);
                for Condition { comparisons, action } in conditions.iter().rev() {
                    let mut place = self.give(*action);
                    for comparison in comparisons.iter().rev() {
                        place = self.compare(comparison, place, next);
                    }
                    next = place;
                }
                next
            }
        }
    }

    fn compare(&mut self, argument: &LinuxSeccompArg, yes: Place, no: Place) -> Place {
        let value = argument.value();
        match argument.op() {
            LinuxSeccompOperator::ScmpCmpEq => self.equal(argument, u64::MAX, value, yes, no),
            LinuxSeccompOperator::ScmpCmpNe => self.equal(argument, u64::MAX, value, no, yes),
            LinuxSeccompOperator::ScmpCmpMaskedEq => {
                self.equal(argument, value, argument.value_two().unwrap_or_default(), yes, no)
            }
            LinuxSeccompOperator::ScmpCmpGe => self.greater(argument, JUMP_GREATER_EQUAL, yes, no),
            LinuxSeccompOperator::ScmpCmpLt => self.greater(argument, JUMP_GREATER_EQUAL, no, yes),
            LinuxSeccompOperator::ScmpCmpGt => self.greater(argument, JUMP_GREATER, yes, no),
            LinuxSeccompOperator::ScmpCmpLe => self.greater(argument, JUMP_GREATER, no, yes),
        }
    }

    /// Whether the bits of `mask` are those of `value`.
    fn equal(&mut self, argument: &LinuxSeccompArg, mask: u64, value: u64, yes: Place, no: Place) -> Place {
        let mut yes = yes;
        for (half, offset) in [(0, 0), (32, 4)] {
            let (mask, value) = ((mask >> half) as u32, (value >> half) as u32);
            self.branch(JUMP_EQUAL, value & mask, yes, no);
            if mask != u32::MAX {
                self.push(Instruction { code: MASK, operand: mask, ..Default::default() });
            }
            yes = self.load(16 + 8 * argument.index() as u32 + offset);
        }
        yes
    }

    /// Whether the argument is greater; the lower halves, if the upper ones are equal, are compared by `lower`.
    fn greater(&mut self, argument: &LinuxSeccompArg, lower: u16, yes: Place, no: Place) -> Place {
        let (low, high, offset) =
            (argument.value() as u32, (argument.value() >> 32) as u32, 16 + 8 * argument.index() as u32);
        self.branch(lower, low, yes, no);
        let lower_half = self.load(offset);
        let equal = self.branch(JUMP_EQUAL, high, lower_half, no);
        self.branch(JUMP_GREATER, high, yes, equal);
        self.load(offset + 4)
    }
}
