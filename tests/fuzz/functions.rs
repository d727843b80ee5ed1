//! What strangers send to the runtime, as functions of any bytes: each reads them as one format, and panics if what it makes of
//! them contradicts itself. libFuzzer (`targets/`) and the bounded run of every test run (`bounded.rs`) drive the same ones.
//!
//! The seccomp compiler is held against an interpreter of classic BPF beside its code (`src/runtime/seccomp/tests.rs`): every number
//! of a system call, with sample arguments. Here its reader of profiles is fed.

use runtime::seccomp::{self, Architecture};
use runtime::{options, specification, user};
use types::idmap;

/// A function of any bytes.
pub type Target = fn(&[u8]);

/// All of them, by the names of their targets.
pub const ALL: &[(&str, Target)] = &[
    ("specification", specification),
    ("seccomp", seccomp),
    ("mount_options", mount_options),
    ("id_maps", id_maps),
    ("accounts", accounts),
];

/// `config.json`, and the process of `exec --process`: what was read can be written, and reads the same then.
pub fn specification(bytes: &[u8]) {
    if let Ok(read) = specification::read(bytes) {
        let text = serde_json::to_vec(&read.content).expect("a specification can be written");
        let again = specification::read(&text).expect("what was written can be read");
        assert_eq!(again.content, read.content);
    }
    if let Ok(read) = specification::read_process(bytes) {
        let text = serde_json::to_vec(&read.content).expect("a process can be written");
        assert_eq!(specification::read_process(&text).expect("what was written can be read").content, read.content);
    }
}

/// Profile files, and what they compile to: a program that the kernel's bounds allow, or an error.
pub fn seccomp(bytes: &[u8]) {
    for architecture in [Architecture::X86_64, Architecture::Aarch64] {
        let Ok(profile) = seccomp::parse(bytes, 1 << 21, architecture, (6, 1)) else { continue };
        let Ok(filter) = seccomp::compile_for(&profile, architecture) else { continue };
        let bytes = filter.to_bytes();
        // BPF_MAXINSNS of linux/bpf_common.h.
        assert!(filter.instructions().len() <= 4096);
        assert_eq!(seccomp::Filter::from_bytes(&bytes).expect("what was written can be read").to_bytes(), bytes);
    }
}

/// Options of a mount, one a line: none is both set and cleared, and the order of what is unknown stays.
pub fn mount_options(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<&str> = text.lines().collect();
    let parsed = options::parse(&words);
    assert_eq!(parsed.set & parsed.clear & 0xf, 0, "{words:?}");
    for (key, value) in &parsed.data {
        let word = value.as_ref().map_or(key.clone(), |value| format!("{key}={value}"));
        assert!(words.iter().any(|given| *given == word), "{word:?} was not given in {words:?}");
    }
    let _ = words.first().map(|word| options::root_propagation(word));
}

/// `/proc/PID/uid_map`: what is read can be written and is the same then; an id that is mapped lies in one of the ranges.
pub fn id_maps(bytes: &[u8]) {
    let ranges = idmap::parse(&String::from_utf8_lossy(bytes));
    assert_eq!(idmap::parse(&idmap::render(&ranges)), ranges);
    for id in [0, 1, 999, 65_535, 65_536, u32::MAX - 1, u32::MAX] {
        if let Some(host) = idmap::to_host(&ranges, id) {
            let holds = |r: &types::IdRange| id >= r.container && host.wrapping_sub(r.host) == id - r.container;
            assert!(ranges.iter().any(holds), "{id} became {host}");
        }
    }
}

/// passwd and group files, in two parts around an empty line: nobody becomes "no change" (4294967295), for which setresuid(2) would
/// leave a process root.
pub fn accounts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (passwd, group) = text.split_once("\n\n").unwrap_or((&text, ""));
    let first = passwd.split([':', '\n']).next().unwrap_or_default();
    for user in ["", "root", "bob", "0", "1000", "4294967295", "bob:audio", "7:8", first] {
        let Ok(found) = user::find(user, &["audio".to_owned()], passwd, group) else { continue };
        assert!(found.uid != u32::MAX && found.gid != u32::MAX, "{user:?} {found:?}");
        assert!(found.groups.iter().all(|group| *group != u32::MAX), "{user:?} {found:?}");
        assert!(found.groups.is_sorted(), "{user:?} {found:?}");
    }
}
