//! The emulated machine of `ci/vm`: a clean cgroup v2 host, and monopod as the first process of a machine.

use crate::home::built;
use std::path::Path;
use std::process::Command;

#[test]
fn a_minimal_host() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/vm/run.sh");
    if Command::new("qemu-system-x86_64").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "no qemu-system-x86_64");
        eprintln!("SKIPPED: no qemu-system-x86_64");
        return;
    }
    let output = Command::new(script).env("MONOPOD", built()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    assert!(output.status.success(), "{text}");
}
