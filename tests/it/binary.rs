//! The file that is shipped: static, small enough, and all of it in one.

use crate::home::built;

fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    bytes[at..at + size].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// An ELF file with no interpreter and no library it needs (System V ABI: PT_INTERP 3, PT_DYNAMIC 2, DT_NEEDED 1).
#[test]
fn it_is_static() {
    let file = std::fs::read(built()).unwrap();
    assert_eq!(&file[..6], b"\x7fELF\x02\x01", "not a little-endian 64-bit ELF file");
    let (table, entry, count) =
        (number(&file, 32, 8) as usize, number(&file, 54, 2) as usize, number(&file, 56, 2) as usize);
    assert!(count > 0);
    for header in (0..count).map(|n| table + n * entry) {
        let (kind, offset, size) =
            (number(&file, header, 4), number(&file, header + 8, 8), number(&file, header + 32, 8));
        assert_ne!(kind, 3, "it asks for an interpreter");
        if kind == 2 {
            let entries = (offset..offset + size).step_by(16).map(|at| number(&file, at as usize, 8));
            assert!(entries.take_while(|tag| *tag != 0).all(|tag| tag != 1), "it needs a shared library");
        }
    }
}

#[test]
fn it_is_small_enough() {
    let size = std::fs::metadata(built()).unwrap().len();
    assert!(size <= 20_000_000 || std::env::var_os("MONOPOD").is_none(), "{size} bytes");
}

/// Names of files that the tests' own machine has and others lack would be seen in a trace of what is opened.
#[test]
fn it_opens_nothing_of_the_machine_for_its_version() {
    let trace = std::process::Command::new("strace")
        .args(["-f", "-e", "trace=open,openat,execve"])
        .arg(built())
        .arg("--version")
        .output();
    let Ok(trace) = trace else {
        eprintln!("SKIPPED: no strace");
        return;
    };
    let text = String::from_utf8_lossy(&trace.stderr).into_owned();
    if text.contains("PTRACE") {
        eprintln!("SKIPPED: no tracing here");
        return;
    }
    let opened: Vec<_> = text
        .lines()
        .filter(|line| line.contains("open") && !line.contains("/proc/") && !line.contains("/sys/"))
        .collect();
    assert!(opened.is_empty(), "{opened:#?}");
    assert_eq!(text.matches("execve(").count(), 1, "{text}");
}
