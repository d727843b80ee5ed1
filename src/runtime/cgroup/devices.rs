//! The device filter: a specification's rules as a program of eBPF (version 2) or as lines (version 1).
//!
//! Each of the accesses asked for (read, write, make) is decided by the last rule that speaks of it; what no rule speaks of is
//! refused. The program sees `struct bpf_cgroup_dev_ctx` of `linux/bpf.h`: access and type, major, minor, 32 bits each.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use sys::bpf::Instruction;

/// What every container may use, as it has nodes of them: null, zero, full, random, urandom, tty, console, ptmx, and all
/// terminals. Other runtimes add the same to what a specification says.
const DEFAULT: [(i64, Option<i64>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// `rules` of a specification with those for what every container has. If it `makes_nodes` (`CAP_MKNOD`), it may make any; to
/// open them is another thing. No rules stay none: nothing is filtered then.
pub fn with_defaults(rules: &[LinuxDeviceCgroup], makes_nodes: bool) -> Vec<LinuxDeviceCgroup> {
    let mut all = rules.to_vec();
    let last = rules.iter().rposition(|r| rule(r).is_ok_and(|r| r.is_everything()));
    let open = last.is_some_and(|at| rules[at].allow() && rules[at..].iter().all(LinuxDeviceCgroup::allow));
    if rules.is_empty() || open {
        return all;
    }
    let mut allow = |kind, major, minor, access: &str| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true).set_typ(Some(kind)).set_major(major).set_minor(minor).set_access(Some(access.into()));
        if !rules.contains(&rule) {
            all.push(rule);
        }
    };
    for (major, minor) in DEFAULT {
        allow(LinuxDeviceType::C, Some(major), minor, "rwm");
    }
    if makes_nodes {
        allow(LinuxDeviceType::C, None, None, "m");
        allow(LinuxDeviceType::B, None, None, "m");
    }
    all
}

/// A rule in the kernel's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    allow: bool,
    /// `BPF_DEVCG_DEV_*`: 1 block, 2 character; any if none.
    kind: Option<i32>,
    major: Option<i32>,
    minor: Option<i32>,
    /// `BPF_DEVCG_ACC_*`: 1 make, 2 read, 4 write.
    access: i32,
}

impl Rule {
    fn is_everything(&self) -> bool {
        self.kind.or(self.major).or(self.minor).is_none() && self.access == ALL
    }
}

const MAKE: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;
const ALL: i32 = MAKE | READ | WRITE;

/// A rule that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid device rule \"{0}\"")]
pub struct BadRule(String);

/// The rules that count: those before one that speaks of everything do not.
fn read(rules: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>, BadRule> {
    let rules = rules.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    let first = rules.iter().rposition(Rule::is_everything).unwrap_or(0);
    Ok(rules[first..].to_vec())
}

fn rule(rule: &LinuxDeviceCgroup) -> Result<Rule, BadRule> {
    let bad = || BadRule(rule.to_string());
    let kind = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::A => None,
        LinuxDeviceType::B => Some(1),
        LinuxDeviceType::C | LinuxDeviceType::U => Some(2),
        LinuxDeviceType::P => return Err(bad()),
    };
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => i32::try_from(number).ok().filter(|n| *n >= 0).map(Some).ok_or_else(bad),
    };
    let mut access = 0;
    for letter in rule.access().as_deref().unwrap_or("rwm").chars() {
        access |= match letter {
            'm' => MAKE,
            'r' => READ,
            'w' => WRITE,
            _ => return Err(bad()),
        };
    }
    Ok(Rule { allow: rule.allow(), kind, major: number(rule.major())?, minor: number(rule.minor())?, access })
}

/// The program for `rules`; none if they allow everything.
pub(super) fn program(rules: &[LinuxDeviceCgroup]) -> Result<Option<Vec<Instruction>>, BadRule> {
    let rules = read(rules)?;
    if matches!(rules[..], [Rule { allow: true, kind: None, major: None, minor: None, access: ALL }]) {
        return Ok(None);
    }
    const LOAD: u8 = 0x61; // BPF_LDX | BPF_W | BPF_MEM
    const MOVE: u8 = 0xbf; // BPF_ALU64 | BPF_MOV | BPF_X
    const SET: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
    const AND: u8 = 0x57; // BPF_ALU64 | BPF_AND | BPF_K
    const SHIFT: u8 = 0x77; // BPF_ALU64 | BPF_RSH | BPF_K
    const JUMP_EQUAL: u8 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const JUMP_DIFFERENT: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
    const EXIT: u8 = 0x95;
    // What is asked: its type, the accesses that no rule has decided yet, its numbers. Register 1 is the context at first.
    const KIND: u8 = 2;
    const LEFT: u8 = 3;
    const MAJOR: u8 = 4;
    const MINOR: u8 = 5;
    let op =
        |code, to: u8, from: u8, offset, immediate| Instruction { code, registers: to | from << 4, offset, immediate };
    let mut program = vec![
        op(LOAD, KIND, 1, 0, 0),
        op(MOVE, LEFT, KIND, 0, 0),
        op(AND, KIND, 0, 0, 0xffff),
        op(SHIFT, LEFT, 0, 0, 16),
        op(LOAD, MAJOR, 1, 4, 0),
        op(LOAD, MINOR, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let end: &[Instruction] = if rule.allow {
            &[
                op(AND, LEFT, 0, 0, ALL & !rule.access),
                op(JUMP_DIFFERENT, LEFT, 0, 2, 0),
                op(SET, 0, 0, 0, 1),
                op(EXIT, 0, 0, 0, 0),
            ]
        } else {
            &[
                op(MOVE, 1, LEFT, 0, 0),
                op(AND, 1, 0, 0, rule.access),
                op(JUMP_EQUAL, 1, 0, 2, 0),
                op(SET, 0, 0, 0, 0),
                op(EXIT, 0, 0, 0, 0),
            ]
        };
        let tests = [(KIND, rule.kind), (MAJOR, rule.major), (MINOR, rule.minor)];
        let mut left = tests.iter().filter(|(_, value)| value.is_some()).count();
        for (register, value) in tests {
            if let Some(value) = value {
                left -= 1;
                program.push(op(JUMP_DIFFERENT, register, 0, (left + end.len()) as i16, value));
            }
        }
        program.extend(end);
    }
    program.extend([op(SET, 0, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]);
    Ok(Some(program))
}

/// The rules in systemd's words (`DeviceAllow=`), if they refuse everything but what they allow: node and accesses of each. It
/// knows devices by their numbers, or all of a driver by its name in /proc/devices.
pub(super) fn allowed(rules: &[LinuxDeviceCgroup]) -> Option<Vec<(String, String)>> {
    let rules = read(rules).ok()?;
    let rules = match rules.first() {
        Some(Rule { allow: false, kind: None, major: None, minor: None, access: ALL }) => &rules[1..],
        _ => return None,
    };
    let drivers = std::fs::read_to_string("/proc/devices").unwrap_or_default();
    let mut list = Vec::new();
    for rule in rules {
        let (true, Some(kind)) = (rule.allow, rule.kind) else { return None };
        let (kind, title) = if kind == 1 { ("block", "Block devices:") } else { ("char", "Character devices:") };
        let node = match (rule.major, rule.minor) {
            (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
            (Some(major), None) => {
                let mut lines = drivers.split_once(title)?.1.lines().skip(1).take_while(|line| !line.is_empty());
                let name = lines.find_map(|line| line.trim().strip_prefix(&format!("{major} ")))?;
                format!("{kind}-{name}")
            }
            (None, None) => format!("{kind}-*"),
            (None, Some(_)) => return None,
        };
        list.push((node, letters(rule.access)));
    }
    Some(list)
}

fn letters(access: i32) -> String {
    [(READ, 'r'), (WRITE, 'w'), (MAKE, 'm')].iter().filter(|(bit, _)| access & bit != 0).map(|(_, c)| c).collect()
}

/// Lines for version 1, with whether each is for `devices.allow` or `devices.deny`; it starts by refusing everything.
pub(super) fn lines(rules: &[LinuxDeviceCgroup]) -> Result<Vec<(bool, String)>, BadRule> {
    let mut lines = vec![(false, "a".to_string())];
    for rule in read(rules)? {
        let (major, minor) = (rule.major, rule.minor);
        let number = |number: Option<i32>| number.map_or("*".into(), |number| number.to_string());
        let access = letters(rule.access);
        match rule.kind {
            // `a` alone means everything to the kernel, whatever follows.
            None if major.or(minor).is_none() && rule.access == ALL => lines.push((rule.allow, "a".into())),
            None => {
                for kind in ['b', 'c'] {
                    lines.push((rule.allow, format!("{kind} {}:{} {access}", number(major), number(minor))));
                }
            }
            Some(kind) => {
                let kind = if kind == 1 { 'b' } else { 'c' };
                lines.push((rule.allow, format!("{kind} {}:{} {access}", number(major), number(minor))));
            }
        }
    }
    if lines.get(1).is_some_and(|line| *line == (false, "a".to_string())) {
        lines.remove(0);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(json: &str) -> Vec<LinuxDeviceCgroup> {
        serde_json::from_str(json).unwrap()
    }

    /// Executes a program as the kernel would.
    fn interpret(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0u64; 6];
        let mut at = 0;
        loop {
            let Instruction { code, registers: both, offset, immediate } = program[at];
            let (to, from, operand) = (usize::from(both & 15), usize::from(both >> 4), immediate as i64 as u64);
            at += 1;
            let jumps = match code {
                0x61 => {
                    assert_eq!(from, 1);
                    registers[to] = context[offset as usize / 4].into();
                    false
                }
                0xbf => {
                    registers[to] = registers[from];
                    false
                }
                0xb7 => {
                    registers[to] = operand;
                    false
                }
                0x57 => {
                    registers[to] &= operand;
                    false
                }
                0x77 => {
                    registers[to] >>= operand;
                    false
                }
                0x15 => registers[to] == operand,
                0x55 => registers[to] != operand,
                0x95 => return registers[0] == 1,
                _ => panic!("instruction {code:#x}"),
            };
            if jumps {
                at = at.strict_add_signed(offset.into());
            }
        }
    }

    /// Each access by the last rule that speaks of it.
    fn meaning(rules: &[LinuxDeviceCgroup], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        [(1, 'm'), (2, 'r'), (4, 'w')].iter().filter(|(bit, _)| access & bit != 0).all(|(_, letter)| {
            let speaks = |rule: &&LinuxDeviceCgroup| {
                let of_kind = match rule.typ().unwrap_or_default() {
                    LinuxDeviceType::A => true,
                    LinuxDeviceType::B => kind == 1,
                    _ => kind == 2,
                };
                let number = |rule: Option<i64>, given: u32| rule.is_none_or(|n| n == -1 || n == i64::from(given));
                of_kind
                    && number(rule.major(), major)
                    && number(rule.minor(), minor)
                    && rule.access().as_deref().unwrap_or("rwm").contains(*letter)
            };
            rules.iter().rev().find(speaks).is_some_and(|rule| rule.allow())
        })
    }

    const USUAL: &str = r#"[{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
        {"allow": true, "type": "c", "major": 136, "access": "rwm"}, {"allow": true, "type": "b", "access": "m"}]"#;

    #[test]
    fn the_usual_rules() {
        let program = program(&rules(USUAL)).unwrap().unwrap();
        for (kind, access, major, minor, expected) in [
            (2, 6, 1, 3, true),
            (1, 6, 1, 3, false),
            (2, 2, 1, 4, false),
            (2, 7, 136, 99, true),
            (1, 1, 8, 0, true),
            (1, 3, 8, 0, false),
        ] {
            assert_eq!(interpret(&program, kind, access, major, minor), expected, "{kind} {access} {major}:{minor}");
        }
        let expected = [(false, "a"), (true, "c 1:3 rwm"), (true, "c 136:* rwm"), (true, "b *:* m")];
        assert_eq!(lines(&rules(USUAL)).unwrap(), expected.map(|(allow, line)| (allow, line.to_string())));
    }

    #[test]
    fn everything_allowed_needs_no_program() {
        assert_eq!(
            program(&rules(r#"[{"allow": false, "access": "rwm"}, {"allow": true, "access": "rwm"}]"#)),
            Ok(None)
        );
        assert!(program(&[]).unwrap().is_some_and(|program| !interpret(&program, 2, 2, 1, 3)));
    }

    #[test]
    fn what_every_container_has_is_allowed_once() {
        let deny = r#"{"allow": false, "access": "rwm"}"#;
        let all = with_defaults(&rules(&format!("[{deny}]")), false);
        assert_eq!(all.len(), 10);
        assert_eq!(with_defaults(&all, false), all);
        let program = program(&with_defaults(&all, true)).unwrap().unwrap();
        for (kind, access, major, minor, expected) in
            [(2, 6, 1, 3, true), (2, 7, 136, 4, true), (1, 1, 8, 0, true), (1, 2, 8, 0, false), (2, 3, 1, 1, false)]
        {
            assert_eq!(interpret(&program, kind, access, major, minor), expected, "{kind} {access} {major}:{minor}");
        }
        for none in ["[]", r#"[{"allow": false, "access": "rwm"}, {"allow": true, "access": "rwm"}]"#] {
            assert_eq!(with_defaults(&rules(none), true), rules(none));
        }
    }

    #[test]
    fn bad_rules_are_refused() {
        for rule in [
            r#"{"allow": true, "access": "x"}"#,
            r#"{"allow": true, "major": -7, "access": "r"}"#,
            r#"{"allow": true, "type": "p", "access": "r"}"#,
        ] {
            assert!(program(&rules(&format!("[{rule}]"))).is_err(), "{rule}");
        }
    }

    fn any_rule() -> impl Strategy<Value = LinuxDeviceCgroup> {
        let number = || prop::sample::select(vec![None, Some(-1i64), Some(1), Some(2), Some(3)]);
        let access = prop::sample::select(vec!["r", "w", "m", "rw", "rwm", "wm"]);
        let kind = prop::sample::select(vec!["a", "b", "c"]);
        (any::<bool>(), kind, number(), number(), access).prop_map(|(allow, kind, major, minor, access)| {
            let json =
                serde_json::json!({"allow": allow, "type": kind, "major": major, "minor": minor, "access": access});
            serde_json::from_value(json).unwrap()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn programs_mean_their_rules(rules in prop::collection::vec(any_rule(), 0..8)) {
            let program = program(&rules).unwrap();
            for (kind, access, major, minor) in
                (1..3).flat_map(|k| (1..8).flat_map(move |a| (1..5).flat_map(move |x| (1..5).map(move |y| (k, a, x, y)))))
            {
                let answer = program.as_ref().is_none_or(|program| interpret(program, kind, access, major, minor));
                assert_eq!(answer, meaning(&rules, kind, access, major, minor), "{kind} {access} {major}:{minor}");
            }
        }
    }
}
