//! Commands of the runtime that are killed, and what they leave.

use crate::bundle::Bench;
use serde_json::{Value, json};
use std::fs;
use std::process::Stdio;
use std::time::Instant;

/// Killed anywhere, `create` leaves nothing that cannot be seen and taken away, and no process.
#[test]
fn a_killed_creation_can_be_taken_away() {
    let Some(bench) = Bench::new() else { return };
    bench.specify("sleep 1000", |_| ());
    let begun = Instant::now();
    bench.run(&["create", "whole"]).ok();
    let whole = begun.elapsed();
    bench.run(&["delete", "whole"]).ok();
    const STEPS: u32 = 40;
    for step in 0..STEPS {
        let mut child = bench.command(&["create", "one"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * step / STEPS);
        child.kill().unwrap();
        child.wait().unwrap();
        let listed = bench.run(&["list"]).ok();
        let force = if listed.contains("one") && listed.contains("created") {
            &["delete", "one"][..]
        } else {
            &["delete", "-f", "one"]
        };
        bench.run(force).ok();
        assert_eq!(bench.run(&["list", "-q"]).ok(), "", "step {step}");
        bench.home.until("no process is left", || bench.home.processes().is_empty());
        assert!(bench.groups().is_empty(), "step {step}: {:?}", bench.groups());
    }
}

/// So does `delete`: what it leaves is deleted the next time.
#[test]
fn a_killed_deletion_can_be_repeated() {
    let Some(bench) = Bench::new() else { return };
    bench.specify("sleep 1000", |_| ());
    bench.run(&["run", "-d", "one"]).ok();
    let begun = Instant::now();
    bench.run(&["delete", "-f", "one"]).ok();
    let whole = begun.elapsed();
    const STEPS: u32 = 20;
    for step in 0..STEPS {
        bench.run(&["run", "-d", "one"]).ok();
        let mut child = bench.command(&["delete", "-f", "one"]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * step / STEPS);
        child.kill().unwrap();
        child.wait().unwrap();
        bench.run(&["list"]).ok();
        bench.run(&["delete", "-f", "one"]).ok();
        assert_eq!(bench.run(&["list", "-q"]).ok(), "", "step {step}");
        assert!(bench.groups().is_empty(), "step {step}: {:?}", bench.groups());
    }
}

/// So does every other command: the container is in a state that is told, and goes.
#[test]
fn a_killed_command_leaves_a_state_that_is_told() {
    let Some(bench) = Bench::new() else { return };
    bench.specify("sleep 1000", |_| ());
    const STEPS: u32 = 6;
    let cases: [(&[&[&str]], &[&str], &[&str]); 7] = [
        (&[&["create", "one"]], &["start", "one"], &["created", "running"]),
        (&[], &["run", "-d", "one"], &["creating", "created", "running", "stopped"]),
        (&[&["run", "-d", "one"]], &["exec", "-d", "one", "sleep", "1000"], &["running"]),
        (&[&["run", "-d", "one"]], &["pause", "one"], &["running", "paused"]),
        (&[&["run", "-d", "one"], &["pause", "one"]], &["resume", "one"], &["running", "paused"]),
        (&[&["run", "-d", "one"]], &["update", "--pids-limit", "9", "one"], &["running"]),
        (&[&["run", "-d", "one"]], &["kill", "--all", "one", "KILL"], &["running", "stopped"]),
    ];
    for (before, words, states) in cases {
        let mut whole = std::time::Duration::ZERO;
        for step in 0..=STEPS {
            before.iter().for_each(|words| drop(bench.run(words).ok()));
            let begun = Instant::now();
            let mut child = bench.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            if step == 0 {
                // As long as it takes.
                child.wait().unwrap();
                whole = begun.elapsed();
            } else {
                std::thread::sleep(whole * (step - 1) / STEPS);
                child.kill().unwrap();
                child.wait().unwrap();
            }
            let listed: Value = serde_json::from_str(&bench.run(&["list", "-f", "json"]).ok()).unwrap();
            let told = listed[0]["status"].as_str();
            let is_there = !before.is_empty() || step == 0;
            assert!(told.map_or(!is_there, |status| states.contains(&status)), "{words:?} {step}: {listed}");
            bench.run(&["delete", "-f", "one"]).ok();
            assert_eq!(bench.run(&["list", "-q"]).ok(), "", "{words:?} {step}");
            bench.home.until("no process is left", || bench.home.processes().is_empty());
            assert!(bench.groups().is_empty(), "{words:?} {step}: {:?}", bench.groups());
        }
    }
}

/// Killed while a hook keeps it from going on, it is not made any more: nothing of it comes later, and its deletion need not
/// wait for the hook. The cgroup that the specification does not name is found too.
#[test]
fn a_killed_creation_is_not_gone_on_with() {
    let Some(bench) = Bench::new() else { return };
    let told = bench.home.path("told");
    let id = bench.cgroup[1..].to_string();
    for (verb, named) in [("create", true), ("run", true), ("create", false), ("run", false)] {
        let _ = fs::remove_file(&told);
        bench.specify("sleep 1000", |spec| {
            let hook = format!("echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000", told.display());
            spec["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", hook]}]});
            if !named {
                spec["linux"]["cgroupsPath"].take();
                spec["linux"]["resources"].take();
            }
        });
        let group = if named { bench.cgroup.clone() } else { format!("/monopod{}", bench.cgroup) };
        let mut child = bench.command(&[verb, &id]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        bench.home.until("the hook runs", || told.exists());
        assert!(!bench.groups_at(&group).is_empty(), "{verb} {named}: there is no cgroup yet");
        assert_eq!(bench.state(&id)["status"], "creating");
        child.kill().unwrap();
        child.wait().unwrap();
        bench.run(&["delete", "-f", &id]).ok();
        assert_eq!(bench.groups_at(&group), Vec::<std::path::PathBuf>::new(), "{verb} {named}");
        assert_eq!(bench.run(&["list", "-q"]).ok(), "", "{verb} {named}");
        let hook = fs::read_to_string(&told).unwrap();
        assert!(std::process::Command::new("kill").args(["-9", hook.trim()]).status().unwrap().success());
        bench.home.until("no process is left", || bench.home.processes().is_empty());
    }
}

/// What was killed before it wrote anything down is told of by its id, and goes.
#[test]
fn one_of_which_only_the_name_is_known() {
    let Some(bench) = Bench::new() else { return };
    let place = bench.home.path("state/one");
    fs::create_dir_all(&place).unwrap();
    let state = bench.state("one");
    assert_eq!(
        (&state["id"], &state["status"], &state["pid"]),
        (&json!("one"), &json!("stopped"), &json!(0)),
        "{state}"
    );
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{state}");
    // Somebody makes it: what is held while one is made is a lock on its directory.
    let directory = fs::File::open(&place).unwrap();
    directory.lock_shared().unwrap();
    assert_eq!(bench.state("one")["status"], "creating");
    bench.run(&["delete", "one"]).fails(1, "it is creating");
    drop(directory);
    bench.run(&["delete", "one"]).ok();
    bench.run(&["state", "one"]).fails(1, "does not exist");
}
