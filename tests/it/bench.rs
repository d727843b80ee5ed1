//! The bench of `ci/bench` runs: a few samples, no verdict about time.

use crate::home::built;
use std::process::Command;

#[test]
fn the_bench_runs() {
    if !crate::home::am_root() {
        return;
    }
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    std::fs::create_dir_all(&directory).unwrap();
    let report = directory.join("RESULTS.md");
    let output = Command::new(env!("CARGO"))
        .args(["run", "-q", "--locked", "-p", "bench", "--", "--quick", "--monopod"])
        .arg(built())
        .arg("--report")
        .arg(&report)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(report).unwrap();
    for row in [
        "commit",
        "export",
        "logs",
        "stats",
        "--version",
        "run --rm",
        "exec",
        "ps -a",
        "load",
        "monitor",
        "fsync",
        "pull",
        "push",
        "save",
        "rmi",
        "delete --force",
        "executed again",
    ] {
        assert!(text.contains(row), "no {row:?} in the report:\n{text}\n{said}");
    }
}
