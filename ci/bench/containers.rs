//! Rows of what is done with containers beside running one: their whole life, many at once, lists with sizes, statistics,
//! logs of a gigabyte, copies, commit and export.

use crate::Asked;
use crate::engines::Engine;
use crate::images::Images;
use crate::report::{Reach, Report};
use crate::rows::{Contestant, Pair, take_turns};
use std::path::Path;
use std::process::Command;

const IMAGE: &str = "localhost/busybox:latest";

/// All of them.
pub fn rows(asked: &Asked, work: &Path, images: &Images, report: &mut Report) -> Result<(), String> {
    let rounds = |full: usize| if asked.quick { 1 } else { full };
    let pair = Pair::new(asked, work, false);
    for (_, engine) in pair.engines() {
        engine.run(&["load", "-q", "-i", &images.busybox.display().to_string()])?;
    }
    let life =
        format!(r#""$@" create --network none --name x {IMAGE} sleep 1000; "$@" start x; "$@" stop -t 0 x; "$@" rm x"#);
    let what = "`create`, `start`, `stop`, `rm`";
    if asked.wants(what) {
        report.add(take_turns(what, rounds(10), scripts(&pair, &life, None), Reach::wall(0.1))?);
    }

    let count = if asked.quick { 5 } else { 100 };
    let many = format!(
        r#"all=""; for n in $(seq {count}); do "$@" run --rm --network none {IMAGE} true & all="$all $!"; done
        for one in $all; do wait $one; done"#
    );
    let what = format!("{count} `run --rm` at once, all of which must succeed");
    if asked.wants(&what) {
        report.add(take_turns(&what, rounds(2), scripts(&pair, &many, None), Reach::wall(0.1))?);
    }
    if asked.wants("ps --size") || asked.wants("stats") {
        lists(&pair, asked, count, report)?;
    }
    if asked.wants("logs") {
        logs(&pair, asked, report)?;
    }
    files(&pair, asked, work, images, report)
}

/// `ps --size` and `stats` of `count` containers that run.
fn lists(pair: &Pair, asked: &Asked, count: usize, report: &mut Report) -> Result<(), String> {
    for (_, engine) in pair.engines() {
        for n in 0..count {
            let name = format!("r{n}");
            engine.run(&["run", "-d", "--network", "none", "--name", &name, IMAGE, "sleep", "1000000"])?;
        }
    }
    let verbs: [(&str, &[&str]); 2] =
        [("`ps --size`", &["ps", "--size"]), ("`stats --no-stream`", &["stats", "--no-stream"])];
    for (what, args) in verbs {
        let contestants = pair.engines().map(|(name, engine)| Contestant::engine(name, engine, args)).collect();
        let what = format!("{what}, {count} containers that run");
        report.add(take_turns(&what, if asked.quick { 1 } else { 5 }, contestants, Reach::wall(0.1))?);
    }
    for (_, engine) in pair.engines() {
        engine.run(&["rm", "-f", "-a", "-t", "0"])?;
    }
    Ok(())
}

/// `logs` of many lines.
fn logs(pair: &Pair, asked: &Asked, report: &mut Report) -> Result<(), String> {
    let bytes = if asked.quick { 1_000_000 } else { 1_000_000_000 };
    let script = format!("yes {} | head -c {bytes}", "a line of a log that is as long as lines of logs are ".repeat(2));
    for (_, engine) in pair.engines() {
        let run =
            ["run", "--network", "none", "--log-driver", "k8s-file", "--name", "log", "-d", IMAGE, "sh", "-c", &script];
        engine.run(&run)?;
        engine.run(&["wait", "log"])?;
    }
    let contestants = pair.engines().map(|(name, engine)| Contestant::engine(name, engine, &["logs", "log"])).collect();
    let what = format!("`logs` of {} MB", bytes / 1_000_000);
    report.add(take_turns(&what, if asked.quick { 1 } else { 2 }, contestants, Reach::wall(0.5))?);
    for (_, engine) in pair.engines() {
        engine.run(&["rm", "-f", "log"])?;
    }
    Ok(())
}

/// `cp`, `commit` and `export`.
fn files(pair: &Pair, asked: &Asked, work: &Path, images: &Images, report: &mut Report) -> Result<(), String> {
    let rounds = if asked.quick { 1 } else { 3 };
    let megabytes = if asked.quick { 1 } else { 1000 };
    let big = work.join("big").display().to_string();
    let archive = work.join("tree.tar").display().to_string();
    let make = format!("head -c {megabytes}000000 /dev/urandom >{big}; sync");
    let made = Command::new("sh").args(["-ec", &make]).status().map_err(|e| e.to_string())?;
    if !made.success() {
        return Err("no file to copy could be made".into());
    }
    for (_, engine) in pair.engines() {
        engine.run(&["load", "-q", "-i", &images.many_gzip.display().to_string()])?;
        engine.run(&["create", "--network", "none", "--name", "small", IMAGE, "true"])?;
    }
    // Each copy goes to a place of its own, emptied before; what is written is not waited for.
    let script = format!(r#""$@" cp {big} small:/big"#);
    let mut contestants = Vec::new();
    for (contestant, (_, engine)) in scripts(pair, &script, None).into_iter().zip(pair.engines()) {
        let [remove, create] =
            [&["rm", "small"][..], &["create", "--network", "none", "--name", "small", IMAGE, "true"]]
                .map(|verb| format!("{} >/dev/null", engine.verb(verb).join(" ")));
        contestants.push(contestant.script(&format!("{remove}; {create}; sync")));
    }
    let copy = format!("exec cp {big} {big}.copy");
    contestants.push(
        Contestant::floor("plain `cp`", ["sh", "-c", &copy].map(String::from).into())
            .script(&format!("rm -f {big}.copy; sync")),
    );
    if asked.wants("cp") {
        report.add(take_turns(&format!("`cp` of {megabytes} MB"), rounds, contestants, Reach::default().floor(1.2))?);
    }
    if !asked.wants("export") && !asked.wants("commit") {
        return Ok(());
    }

    let name = |engine: &Engine| -> Result<String, String> {
        let all = engine.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?;
        all.lines().find(|line| *line != IMAGE).map(Into::into).ok_or("the image of six layers has no name".into())
    };
    for (_, engine) in pair.engines() {
        engine.run(&["create", "--network", "none", "--name", "whole", &name(engine)?, "true"])?;
    }
    let script = format!(r#""$@" export -o {archive} whole"#);
    report.add(take_turns("`export` of six layers", rounds, scripts(pair, &script, Some("sync")), Reach::wall(0.4))?);
    // What was exported is written into a container, and becomes the layer of an image.
    for (_, engine) in pair.engines() {
        let feed = format!(r#"exec "$@" cp - small:/tmp <{archive}"#);
        let done =
            Command::new("sh").args(["-ec", &feed, "sh"]).args(engine.verb(&[])).status().map_err(|e| e.to_string())?;
        if !done.success() {
            return Err(format!("what was exported cannot be copied into a container: {done}"));
        }
    }
    let contestants = pair
        .engines()
        .map(|(name, engine)| {
            Contestant::engine(name, engine, &["commit", "-q", "small", "localhost/made:1"]).script("sync")
        })
        .collect();
    report.add(take_turns("`commit` of a container that wrote that much", rounds, contestants, Reach::wall(0.4))?);
    Ok(())
}

/// Both engines doing a script of sh, whose `"$@"` is the engine.
fn scripts<'a>(pair: &'a Pair, script: &str, before: Option<&str>) -> Vec<Contestant<'a>> {
    let of = |name: &str, engine: &Engine| {
        let mut words: Vec<String> = ["sh", "-ec", script, "sh"].map(String::from).into();
        words.extend(engine.verb(&[]));
        let contestant = Contestant::floor(name, words);
        match before {
            Some(before) => contestant.script(before),
            None => contestant,
        }
    };
    pair.engines().map(|(name, engine)| of(name, engine)).collect()
}
