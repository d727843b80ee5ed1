//! The whole way: what a profile says, what the program answers in an interpreter of BPF, and what the kernel does with it.

use super::compile::{KILL_PROCESS, architectures};
use super::*;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};
use proptest::prelude::*;
use sys::seccomp::Instruction;

/// `struct seccomp_data`: what the kernel shows to a program.
#[derive(Debug, Clone, Copy)]
struct Call {
    number: u32,
    token: u32,
    arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.token,
            16..64 => (self.arguments[(offset as usize - 16) / 8] >> (offset % 8 * 8)) as u32,
            _ => panic!("load from {offset}"),
        }
    }
}

/// Executes a program as the kernel would; gives the answer and the number of executed instructions.
fn interpret(program: &[Instruction], call: &Call) -> (u32, usize) {
    let (mut at, mut register, mut steps) = (0, 0u32, 0);
    loop {
        let Instruction { code, jump_true, jump_false, operand } = program[at];
        steps += 1;
        at += 1;
        let holds = match code {
            0x20 => {
                register = call.word(operand);
                continue;
            }
            0x54 => {
                register &= operand;
                continue;
            }
            0x05 => {
                at += operand as usize;
                continue;
            }
            0x06 => return (operand, steps),
            0x15 => register == operand,
            0x25 => register > operand,
            0x35 => register >= operand,
            _ => panic!("instruction {code:#x}"),
        };
        at += usize::from(if holds { jump_true } else { jump_false });
    }
}

thread_local! {
    static NAMES: std::collections::HashMap<(usize, u32), &'static str> = Architecture::ALL
        .iter()
        .flat_map(|architecture| names().map(move |name| (name, *architecture)))
        .filter(|(name, _)| *name != "arm_sync_file_range")
        .filter_map(|(name, architecture)| Some(((architecture as usize, super::table::number(name, architecture)?), name)))
        .collect();
}

/// By their function, from 1 on.
const SOCKETCALLS: &str = "socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom \
    shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg";

const IPC: [(u64, &str); 12] = [
    (1, "semop"),
    (2, "semget"),
    (3, "semctl"),
    (4, "semtimedop"),
    (11, "msgsnd"),
    (12, "msgrcv"),
    (13, "msgget"),
    (14, "msgctl"),
    (21, "shmat"),
    (22, "shmdt"),
    (23, "shmget"),
    (24, "shmctl"),
];

/// The profile's meaning, read straight from its rules.
fn meaning(profile: &LinuxSeccomp, native: Architecture, call: &Call) -> u32 {
    let default = profile.default_action().as_u32(profile.default_errno_ret());
    let architecture = architectures(profile, native).into_iter().find(|architecture| {
        let x32 = call.number >= 0x4000_0000 && call.number != u32::MAX;
        architecture.token() == call.token && (call.token != 0xc000_003e || (*architecture == Architecture::X32) == x32)
    });
    let Some(architecture) = architecture else { return KILL_PROCESS };
    let called = NAMES.with(|names| names.get(&(architecture as usize, call.number)).copied());
    let mut first_match = None;
    for rule in profile.syscalls().iter().flatten() {
        let action = rule.action().as_u32(rule.errno_ret());
        if action == default {
            continue;
        }
        let arguments = rule.args().clone().unwrap_or_default();
        // Two names of one call on Arm.
        fn plain(name: &str) -> &str {
            if name == "arm_sync_file_range" { "sync_file_range2" } else { name }
        }
        let named = rule.names().iter().any(|name| called.is_some_and(|called| plain(name) == called));
        if named && arguments.is_empty() {
            return action;
        }
        let behind = match call.number {
            102 => SOCKETCALLS.split(' ').nth(call.arguments[0].wrapping_sub(1) as usize),
            117 => IPC.iter().find(|(function, _)| *function == call.arguments[0]).map(|(_, name)| *name),
            _ => None,
        };
        let door = architecture == Architecture::X86
            && arguments.is_empty()
            && rule.names().iter().any(|name| Some(name.as_str()) == behind);
        let mut indices: Vec<_> = arguments.iter().map(LinuxSeccompArg::index).collect();
        indices.sort();
        let twice = indices.windows(2).any(|pair| pair[0] == pair[1]);
        let mut holds = arguments.iter().map(|a| holds(a, call.arguments[a.index()]));
        let matches = if twice { holds.any(|h| h) } else { holds.all(|h| h) };
        if (door || named && matches) && first_match.is_none() {
            first_match = Some(action);
        }
    }
    first_match.unwrap_or(default)
}

fn holds(argument: &LinuxSeccompArg, given: u64) -> bool {
    let value = argument.value();
    match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => given != value,
        LinuxSeccompOperator::ScmpCmpLt => given < value,
        LinuxSeccompOperator::ScmpCmpLe => given <= value,
        LinuxSeccompOperator::ScmpCmpEq => given == value,
        LinuxSeccompOperator::ScmpCmpGe => given >= value,
        LinuxSeccompOperator::ScmpCmpGt => given > value,
        LinuxSeccompOperator::ScmpCmpMaskedEq => given & value == argument.value_two().unwrap_or(0) & value,
    }
}

/// Numbers around every number that any architecture knows, and the odd ones.
fn numbers() -> impl Iterator<Item = u32> {
    (0..600).chain(0x4000_0000..0x4000_0240).chain(0xf0000..0xf0008).chain([
        u32::MAX,
        u32::MAX - 1,
        0x3fff_ffff,
        1 << 31,
    ])
}

const TOKENS: [u32; 5] = [0xc000_003e, 0x4000_0003, 0xc000_00b7, 0x4000_0028, 0x1234];

fn agree(profile: &LinuxSeccomp, native: Architecture, calls: impl Iterator<Item = Call>) {
    let filter = compile_for(profile, native).unwrap();
    for call in calls {
        let expected = meaning(profile, native, &call);
        assert_eq!(interpret(filter.instructions(), &call).0, expected, "{call:?} native {native:?}");
    }
}

/// What a profile's rules compare with, and what lies around it, each alone in its place and beside nothing but ones.
fn around(profile: &LinuxSeccomp) -> Vec<[u64; 6]> {
    let mut samples = Vec::new();
    for argument in profile.syscalls().iter().flatten().flat_map(|rule| rule.args().iter().flatten()) {
        let (value, second) = (argument.value(), argument.value_two().unwrap_or(0));
        for value in [value, value.wrapping_sub(1), value.wrapping_add(1), value ^ 1 << 32, !value, second] {
            for others in [0, u64::MAX] {
                let mut sample = [others; 6];
                sample[argument.index()] = value;
                samples.push(sample);
            }
        }
    }
    samples.sort_unstable();
    samples.dedup();
    samples
}

#[test]
fn the_default_profile_means_what_it_says() {
    let samples = [
        [0; 6],
        [8, 0, 0, 0, 0, 0],
        [16, 3, 9, 0, 0, 0],
        [16, 3, 0, 0, 0, 0],
        [2, 1, 9, 0, 0, 0],
        [0xffff_ffff; 6],
        [u64::MAX; 6],
    ];
    for native in [Architecture::X86_64, Architecture::Aarch64] {
        for capabilities in [types::capability::DEFAULT, 0, u64::MAX] {
            let profile = profile::default(capabilities, native);
            let asks = |rule: &&LinuxSyscall| rule.args().as_ref().is_some_and(|arguments| !arguments.is_empty());
            let compared = profile.syscalls().iter().flatten().filter(asks).flat_map(|rule| rule.names());
            let compared: std::collections::HashSet<u32> = compared
                .flat_map(|name| Architecture::ALL.map(|architecture| super::table::number(name, architecture)))
                .flatten()
                .collect();
            let around = around(&profile);
            assert!(around.len() > 20 && compared.len() > 3);
            let calls = TOKENS.iter().flat_map(|token| numbers().map(move |number| (*token, number)));
            let calls = calls.flat_map(|(token, number)| {
                let more = if compared.contains(&number) { &around[..] } else { &[] };
                samples.iter().chain(more).map(move |arguments| Call { number, token, arguments: *arguments })
            });
            agree(&profile, native, calls);
        }
    }
}

#[test]
fn the_default_profiles_golden_answers() {
    let answer = |profile: &LinuxSeccomp, name: &str, arguments: [u64; 6]| {
        let number = super::table::number(name, Architecture::X86_64).unwrap();
        let filter = compile_for(profile, Architecture::X86_64).unwrap();
        interpret(filter.instructions(), &Call { number, token: 0xc000_003e, arguments }).0
    };
    const ALLOW: u32 = 0x7fff_0000;
    let errno = |number: u32| 0x5_0000 | number;
    let default = profile::default(types::capability::DEFAULT, Architecture::X86_64);
    for (name, arguments, expected) in [
        ("read", [0; 6], ALLOW),
        ("mount", [0; 6], ALLOW),
        ("clone3", [0; 6], ALLOW),
        ("fchmodat2", [0; 6], ALLOW),
        ("chroot", [0; 6], ALLOW),
        ("arch_prctl", [0; 6], ALLOW),
        ("bpf", [0; 6], errno(1)),
        ("setns", [0; 6], ALLOW),
        ("sethostname", [0; 6], errno(1)),
        ("userfaultfd", [0; 6], errno(1)),
        ("io_uring_setup", [0; 6], errno(38)),
        ("mseal", [0; 6], errno(38)),
        ("add_key", [0; 6], errno(38)),
        ("personality", [8, 0, 0, 0, 0, 0], ALLOW),
        ("personality", [0x40000, 0, 0, 0, 0, 0], errno(38)),
        ("socket", [16, 3, 9, 0, 0, 0], errno(22)),
        ("socket", [16, 3, 0, 0, 0, 0], ALLOW),
        ("socket", [2, 1, 9, 0, 0, 0], ALLOW),
    ] {
        assert_eq!(answer(&default, name, arguments), expected, "{name} {arguments:?}");
    }
    let admin = profile::default(u64::MAX, Architecture::X86_64);
    for name in ["bpf", "setns", "perf_event_open", "kcmp", "ioperm"] {
        assert_eq!(answer(&admin, name, [0; 6]), ALLOW, "{name}");
    }
    assert_eq!(answer(&admin, "socket", [16, 3, 9, 0, 0, 0]), ALLOW);
    let mut single = profile::default(types::capability::DEFAULT, Architecture::X86_64);
    profile::ignore_chown(&mut single);
    for name in ["chown", "fchown", "lchown", "fchownat"] {
        assert_eq!(answer(&default, name, [0; 6]), ALLOW);
        assert_eq!(answer(&single, name, [0; 6]), errno(0), "{name}");
    }
    let mut open = profile::unconfined(Architecture::X86_64);
    profile::ignore_chown(&mut open);
    assert_eq!(answer(&open, "fchownat", [0; 6]), errno(0));
    assert_eq!(answer(&open, "bpf", [0; 6]), ALLOW);
}

#[test]
fn what_is_made_beforehand_is_what_would_be_compiled() {
    for (architecture, carried) in ready::MADE {
        let usual = types::capability::DEFAULT;
        let compiled = compile_for(&profile::default(usual, architecture), architecture).unwrap();
        if std::env::var_os("MONOPOD_RENEW").is_some() {
            let name = architecture.profile_name().replace("amd64", "x86_64").replace("arm64", "aarch64");
            let path = format!("{}/../../static/seccomp-{name}.bin", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(path, compiled.to_bytes()).unwrap();
            continue;
        }
        assert!(carried == compiled.to_bytes(), "the default profile has changed: run this test with MONOPOD_RENEW=1");
        assert_eq!(ready::made(usual, architecture).as_ref(), Some(&compiled));
        // A capability that the profile does not ask about changes nothing; each that it asks about has a filter of its own.
        for number in 0..64 {
            let other = usual ^ 1 << number;
            let same = compile_for(&profile::default(other, architecture), architecture).unwrap() == compiled;
            let given = ready::made(other, architecture);
            assert!(given.is_none() || same, "capability {number} of {architecture:?}");
        }
        let asked = (0..64).filter(|number| ready::made(usual ^ 1 << number, architecture).is_none()).count();
        assert_eq!(asked, 12, "capabilities that the profile asks about");
    }
}

#[test]
fn every_name_of_the_default_profile_is_known() {
    let profile = profile::default(0, Architecture::Aarch64);
    let unknown: Vec<_> =
        profile.syscalls().iter().flatten().flat_map(|rule| rule.names()).filter(|name| !is_known(name)).collect();
    // Exists on machines that are not ours.
    assert_eq!(unknown, ["syscall"]);
}

#[test]
fn programs_are_small_and_shallow() {
    let profile = profile::default(types::capability::DEFAULT, Architecture::X86_64);
    let filter = compile_for(&profile, Architecture::X86_64).unwrap();
    let deepest = numbers()
        .map(|number| interpret(filter.instructions(), &Call { number, token: 0xc000_003e, arguments: [0; 6] }).1)
        .max()
        .unwrap();
    assert!(filter.instructions().len() < 500, "{} instructions", filter.instructions().len());
    assert!(deepest <= 22, "{deepest} steps");
}

#[test]
fn what_cannot_be_compiled_is_refused() {
    let rule = |names: &[&str], action, errno, arguments: Vec<LinuxSeccompArg>| {
        let mut rule = LinuxSyscall::default();
        rule.set_names(names.iter().map(|n| n.to_string()).collect()).set_action(action).set_errno_ret(errno);
        rule.set_args(Some(arguments));
        let mut profile = LinuxSeccomp::default();
        profile.set_syscalls(Some(vec![rule]));
        compile_for(&profile, Architecture::X86_64).map(|filter| filter.instructions().len())
    };
    use LinuxSeccompAction::*;
    let sixth = super::rules::comparison(6, LinuxSeccompOperator::ScmpCmpEq, 0);
    assert!(matches!(rule(&["read"], ScmpActErrno, None, vec![sixth]), Err(Error::Argument { index: 6, .. })));
    assert!(matches!(rule(&["read"], ScmpActKill, Some(1), vec![]), Err(Error::Errno { errno: 1, .. })));
    assert_eq!(rule(&["read"], ScmpActErrno, Some(4096), vec![]), Err(Error::ErrnoRange(4096)));
    assert!(matches!(rule(&["sendmsg"], ScmpActNotify, None, vec![]), Err(Error::Notify(_))));
    let mut profile = LinuxSeccomp::default();
    let many = names().enumerate().map(|(at, name)| {
        let mut rule = LinuxSyscall::default();
        let arguments = (0..6).map(|n| super::rules::comparison(n, LinuxSeccompOperator::ScmpCmpEq, at as u64));
        rule.set_names(vec![name.into()]).set_action(ScmpActErrno).set_args(Some(arguments.collect()));
        rule
    });
    profile.set_syscalls(Some(many.collect()));
    assert!(matches!(compile_for(&profile, Architecture::X86_64), Err(Error::TooLong(_))));
    assert!(rule(&["no_such_call"], ScmpActKill, None, vec![]).is_ok());
}

#[test]
fn bytes_and_text_bring_the_same_filter_back() {
    let mut filter = compile_for(&profile::default(0, Architecture::X86_64), Architecture::X86_64).unwrap();
    for listener in [None, Some(Listener { path: "/run/agent".into(), metadata: "who: me".into() })] {
        filter.listener = listener;
        assert_eq!(Filter::from_bytes(&filter.to_bytes()).as_ref(), Ok(&filter));
        let text = serde_json::to_string(&filter).unwrap();
        assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), filter);
        let bytes = filter.to_bytes();
        let cut = (0..bytes.len()).filter(|n| Filter::from_bytes(&bytes[..*n]).is_ok()).count();
        // Only metadata has no length of its own.
        assert_eq!(cut, filter.listener.as_ref().map_or(0, |l| l.metadata.len()));
    }
    assert!(serde_json::from_str::<Filter>("\"6d70zz\"").is_err());
}

fn any_argument() -> impl Strategy<Value = LinuxSeccompArg> {
    (0..6usize, 1..8usize, any_value(), any_value()).prop_map(|(index, op, value, second)| {
        use LinuxSeccompOperator::*;
        let op = [ScmpCmpNe, ScmpCmpLt, ScmpCmpLe, ScmpCmpEq, ScmpCmpGe, ScmpCmpGt, ScmpCmpMaskedEq][op - 1];
        serde_json::from_value(serde_json::json!({"index": index, "value": value, "valueTwo": second, "op": op}))
            .unwrap()
    })
}

fn any_value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..4u64,
        prop::sample::select(vec![
            0xffff_ffff,
            0x1_0000_0000,
            0x1_0000_0001,
            0x7_0000_0003,
            u64::MAX,
            1 << 63,
            0xff00_0000_00ff
        ]),
        any::<u64>(),
    ]
}

fn any_rule() -> impl Strategy<Value = LinuxSyscall> {
    let name = prop::sample::select(
        ["socket", "accept", "sendmmsg", "semop", "shmctl"].into_iter().chain(names()).collect::<Vec<_>>(),
    );
    let mostly = prop::sample::select(vec!["read", "write", "ioctl", "personality", "socket", "socketcall", "ipc"]);
    (
        prop::collection::vec(prop_oneof![name, mostly], 1..12),
        0..8usize,
        1..200u32,
        prop::collection::vec(any_argument(), 0..4),
    )
        .prop_map(|(names, action, errno, arguments)| {
            use LinuxSeccompAction::*;
            let action = [
                ScmpActKill,
                ScmpActKillThread,
                ScmpActKillProcess,
                ScmpActTrap,
                ScmpActErrno,
                ScmpActTrace,
                ScmpActLog,
                ScmpActAllow,
            ][action];
            let mut rule = LinuxSyscall::default();
            rule.set_names(names.into_iter().map(String::from).collect()).set_action(action).set_args(Some(arguments));
            rule.set_errno_ret(matches!(action, ScmpActErrno | ScmpActTrace).then_some(errno));
            rule
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn programs_agree_with_their_profiles(
        rules in prop::collection::vec(any_rule(), 0..10),
        allow in any::<bool>(),
        listed in prop::collection::vec(prop::sample::select(Architecture::ALL.to_vec()), 0..4),
        native in prop::sample::select(vec![Architecture::X86_64, Architecture::Aarch64]),
        values in prop::collection::vec(any_value(), 6),
    ) {
        use LinuxSeccompAction::*;
        let mut profile = LinuxSeccomp::default();
        profile
            .set_default_action(if allow { ScmpActAllow } else { ScmpActErrno })
            .set_architectures(Some(listed.iter().map(|a| a.to_oci()).collect()));
        // Arguments at, below and above what rules compare with, in each place.
        let mut seeds = values.clone();
        for argument in rules.iter().flat_map(|rule: &LinuxSyscall| rule.args().iter().flatten()) {
            let value = argument.value();
            seeds.extend([value, value.wrapping_sub(1), value.wrapping_add(1), argument.value_two().unwrap_or(0), value ^ 1 << 32]);
        }
        let mut interesting: Vec<u32> = rules
            .iter()
            .flat_map(|rule| rule.names())
            .flat_map(|name| Architecture::ALL.map(|architecture| super::table::number(name, architecture)))
            .flatten()
            .flat_map(|number| [number.wrapping_sub(1), number, number + 1])
            .chain([0, 102, 117, 0x4000_0000, u32::MAX, 0x8000_0000])
            .collect();
        interesting.sort();
        interesting.dedup();
        profile.set_syscalls(Some(rules));
        let samples: Vec<[u64; 6]> = (0..seeds.len())
            .map(|at| std::array::from_fn(|n| seeds[(at + n * (at % 3)) % seeds.len()]))
            .chain([[1; 6], [5; 6], [20; 6], [24; 6]])
            .collect();
        let calls = TOKENS.iter().flat_map(|token| interesting.iter().map(move |number| (*token, *number)));
        let calls = calls.flat_map(|(token, number)| samples.iter().map(move |arguments| Call { number, token, arguments: *arguments }));
        agree(&profile, native, calls);
    }
}

/// Filters bind one thread, so that a thread of the test is confined.
fn confined<T: Send + 'static>(
    profile: LinuxSeccomp,
    act: impl FnOnce(Option<std::os::fd::OwnedFd>) -> T + Send + 'static,
) -> T {
    std::thread::spawn(move || {
        let filter = compile(&profile).unwrap();
        rustix::thread::set_no_new_privs(true).unwrap();
        act(filter.install().unwrap())
    })
    .join()
    .unwrap()
}

fn set_own_hostname() -> rustix::io::Result<()> {
    rustix::system::sethostname(rustix::system::uname().nodename().to_bytes())
}

#[test]
fn the_kernel_takes_the_default_profile_and_keeps_it() {
    use rustix::io::Errno;
    let Some(native) = Architecture::native() else { return eprintln!("skipped: no filters for this processor") };
    let mut profile = profile::default(types::capability::DEFAULT, native);
    profile::ignore_chown(&mut profile);
    confined(profile, |listener| {
        assert!(listener.is_none());
        assert_eq!(set_own_hostname(), Err(Errno::PERM));
        assert_eq!(sys::process::set_personality(0xffff_ffff), Ok(()));
        assert_eq!(sys::process::set_personality(0x4_0000), Err(Errno::NOSYS));
        let audit = rustix::net::netlink::AUDIT;
        let socket = |protocol| {
            rustix::net::socket(rustix::net::AddressFamily::NETLINK, rustix::net::SocketType::RAW, protocol).map(drop)
        };
        assert_eq!(socket(Some(audit)), Err(Errno::INVAL));
        assert_eq!(socket(None), Ok(()));
        std::os::unix::fs::chown("/no/such/file", Some(1), Some(1)).unwrap();
        assert!(std::fs::read("/proc/self/status").unwrap().len() > 100);
    });
}

#[test]
fn a_listener_is_given_and_its_end_ends_the_calls() {
    let mut rule = LinuxSyscall::default();
    rule.set_names(vec!["sethostname".into()]).set_action(LinuxSeccompAction::ScmpActNotify);
    let mut profile = LinuxSeccomp::default();
    profile.set_syscalls(Some(vec![rule])).set_listener_path(Some("/run/agent".into()));
    assert_eq!(compile(&profile).unwrap().listener().unwrap().path.to_str(), Some("/run/agent"));
    confined(profile, |listener| {
        drop(listener.unwrap());
        assert_eq!(set_own_hostname(), Err(rustix::io::Errno::NOSYS));
    });
}

#[test]
fn a_forbidden_call_kills_the_process() {
    const CHILD: &str = "MONOPOD_TEST_SECCOMP_KILL";
    if std::env::var_os(CHILD).is_some() {
        let mut rule = LinuxSyscall::default();
        rule.set_names(vec!["sethostname".into()]).set_action(LinuxSeccompAction::ScmpActKillProcess);
        let mut profile = LinuxSeccomp::default();
        profile.set_syscalls(Some(vec![rule]));
        return confined(profile, |_| set_own_hostname().unwrap_or_default());
    }
    let this = "seccomp::tests::a_forbidden_call_kills_the_process";
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this, "--nocapture"])
        .env(CHILD, "1")
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(31), "{status}");
}
