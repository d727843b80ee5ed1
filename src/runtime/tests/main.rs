//! Containers made on the real kernel, by this process as their monitor. It needs root and /bin/busybox, and says so where it
//! has to skip. Forking wants a process without threads, so the tests run one by one on the main thread; the harness speaks
//! as much of libtest's command line as cargo and nextest use.
#![allow(missing_docs, clippy::new_without_default)]

mod breakouts;
mod confinement;
mod hooks;
mod hosts;
mod processes;
mod spec;
mod support;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tests: Vec<(&str, fn())> =
        [processes::TESTS, confinement::TESTS, breakouts::TESTS, hosts::TESTS, hooks::TESTS, spec::TESTS].concat();
    let has = |flag: &str| arguments.iter().any(|a| a == flag);
    if has("--list") {
        if !has("--ignored") {
            tests.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return;
    }
    let filters: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| match has("--exact") {
        true => filters.iter().any(|f| *f == name),
        false => filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str())),
    };
    if let Some(why) = support::cannot_run() {
        eprintln!("SKIPPED: containers on the real kernel: {why}");
        return;
    }
    let mut failed = Vec::new();
    for (name, test) in tests.iter().filter(|(name, _)| wanted(name)) {
        let passed = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        if !passed {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}
