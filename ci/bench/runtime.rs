//! Rows of the runtime by itself, as other engines call it, beside Debian's crun and runc: the life of a bundle, a process
//! more in one that runs, and what it takes to be executed again as a file that no container can write to.
//!
//! The bundle is what Podman makes of busybox, with its default seccomp profile and with limits.

use crate::Asked;
use crate::engines::Engine;
use crate::images::Images;
use crate::report::{Figure, Reach, Report};
use crate::rows::{Contestant, take_turns};
use crate::sample;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where their groups are.
const GROUP: &str = "/monopod-bench";

/// All of them. Without podman there is no bundle, and a remark instead.
pub fn rows(asked: &Asked, work: &Path, images: &Images, report: &mut Report) -> Result<(), String> {
    let Some(podman) = Engine::podman(work, false) else {
        report.note("no podman on this machine, which the bundle is from: the runtime by itself was not measured");
        return Ok(());
    };
    let spec = specification(&podman, work, images)?;
    let mut all = Vec::new();
    for (name, file) in runtimes(asked, work, report)? {
        all.push(Runtime::prepare(name, file, &spec, work)?);
    }
    life(&all, asked, report)?;
    exec(&all, asked, report)?;
    again(&all[0], asked, work, report)
}

/// monopod first, under a name by which it is the runtime; then those of the others that are installed.
fn runtimes(asked: &Asked, work: &Path, report: &mut Report) -> Result<Vec<(&'static str, PathBuf)>, String> {
    let ours = work.join("monopod.runtime/runc");
    let copied =
        fs::create_dir_all(ours.parent().expect("in a directory")).and_then(|()| fs::copy(&asked.monopod, &ours));
    copied.map_err(|e| format!("{}: {e}", ours.display()))?;
    let mut all = vec![("monopod", ours)];
    for name in ["crun", "runc"] {
        match Command::new(name).arg("--version").stdout(Stdio::null()).status() {
            Ok(_) => all.push((name, name.into())),
            Err(_) => report.note(&format!("no {name} on this machine to measure the runtime beside")),
        }
    }
    Ok(all)
}

/// What Podman tells its runtime of a container with limits, over a root of its own.
fn specification(podman: &Engine, work: &Path, images: &Images) -> Result<Value, String> {
    let root = work.join("runtime.rootfs");
    fs::create_dir_all(&root).map_err(|e| e.to_string())?;
    podman.run(&["load", "-q", "-i", &images.busybox.display().to_string()])?;
    let limits =
        ["--memory=256m", "--pids-limit=100", "--cpus=1.5", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
    let mut create = vec!["create", "--name", "spec", "--network", "none"];
    create.extend(limits);
    create.extend(["localhost/busybox:latest", "sleep", "1000000"]);
    podman.run(&create)?;
    // Without its runtime there is no specification; the container waits, and what is mounted for it stays.
    podman.run(&["init", "spec"])?;
    let path = podman.run(&["inspect", "--format", "{{.OCIConfigPath}}", "spec"])?;
    let text = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let mut spec: Value = serde_json::from_str(&text).map_err(|e| format!("{path}: {e}"))?;
    let archive = work.join("runtime.tar").display().to_string();
    podman.run(&["export", "-o", &archive, "spec"])?;
    let done = Command::new("tar").arg("-C").arg(&root).args(["-xf", &archive]).status().map_err(|e| e.to_string())?;
    if !done.success() {
        return Err(format!("the root file system cannot be unpacked: {done}"));
    }
    spec["root"]["path"] = json!(root);
    for (what, has) in [
        ("seccomp profile", spec["linux"]["seccomp"]["syscalls"].is_array()),
        ("limit of memory", spec["linux"]["resources"]["memory"]["limit"].is_number()),
        ("limit of processes", spec["linux"]["resources"]["pids"]["limit"].is_number()),
    ] {
        if !has {
            return Err(format!("podman's specification has no {what}"));
        }
    }
    Ok(spec)
}

/// One that is measured, with a bundle whose cgroup is its own.
struct Runtime {
    name: &'static str,
    file: PathBuf,
    bundle: PathBuf,
}

impl Runtime {
    fn prepare(name: &'static str, file: PathBuf, spec: &Value, work: &Path) -> Result<Runtime, String> {
        let bundle = work.join(format!("runtime.{name}"));
        let mut spec = spec.clone();
        spec["linux"]["cgroupsPath"] = json!(format!("{GROUP}/{name}"));
        let written =
            fs::create_dir_all(&bundle).and_then(|()| fs::write(bundle.join("config.json"), spec.to_string()));
        written.map_err(|e| format!("{}: {e}", bundle.display()))?;
        Ok(Runtime { name, file, bundle })
    }

    fn words(&self, words: &[&str]) -> Vec<String> {
        std::iter::once(self.file.display().to_string()).chain(words.iter().map(|word| word.to_string())).collect()
    }

    fn create(&self) -> Vec<String> {
        self.words(&["create", "--bundle", &self.bundle.display().to_string(), "bench"])
    }

    /// A command that is not measured.
    fn run(&self, words: Vec<String>) -> Result<(), String> {
        // The container's streams are the caller's: it must not hold a pipe of ours.
        let mut command = Command::new(&words[0]);
        let done = command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).status();
        match done.map_err(|e| format!("{}: {e}", self.name))? {
            done if done.success() => Ok(()),
            done => Err(format!("`{}` ended with {done}", words.join(" "))),
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Nothing that runs may be left behind, whatever went wrong before.
        self.run(self.words(&["delete", "--force", "bench"])).ok();
        let below = |hierarchy: &Path| hierarchy.join(&GROUP[1..]);
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        for hierarchy in hierarchies.chain(["/sys/fs/cgroup".into()]) {
            fs::remove_dir(below(&hierarchy)).ok();
        }
    }
}

/// `create`, `start`, `delete --force`.
fn life(all: &[Runtime], asked: &Asked, report: &mut Report) -> Result<(), String> {
    let contestants = all.iter().map(|runtime| {
        let then = || vec![sample::THEN.to_string()];
        let start = runtime.words(&["start", "bench"]);
        let delete = runtime.words(&["delete", "--force", "bench"]);
        Contestant::floor(runtime.name, [runtime.create(), then(), start, then(), delete].concat())
    });
    let what = "runtime: `create`, `start`, `delete --force` of a bundle";
    let row = take_turns(what, rounds(asked), contestants.collect(), Reach::default())?;
    let [ours, others @ ..] = &row.figures[..] else { unreachable!("monopod is measured") };
    for theirs in others {
        let most = if theirs.name == "crun" { 1.0 } else { 0.25 };
        report.limit(what, &format!("{}, wall", theirs.name), ours.wall().0 / theirs.wall().0, most);
        report.limit(what, &format!("{}, CPU", theirs.name), ours.cpu().0 / theirs.cpu().0, most);
    }
    peak(what, &row.figures, report);
    report.add(row);
    Ok(())
}

/// `exec` in a container that runs.
fn exec(all: &[Runtime], asked: &Asked, report: &mut Report) -> Result<(), String> {
    for runtime in all {
        runtime.run(runtime.create())?;
        runtime.run(runtime.words(&["start", "bench"]))?;
    }
    let contestants =
        all.iter().map(|runtime| Contestant::floor(runtime.name, runtime.words(&["exec", "bench", "/bin/true"])));
    let what = "runtime: `exec` of true";
    let row = take_turns(what, rounds(asked), contestants.collect(), Reach::default())?;
    let [ours, others @ ..] = &row.figures[..] else { unreachable!("monopod is measured") };
    for theirs in others.iter().filter(|theirs| theirs.name == "crun") {
        report.limit(what, "crun, wall", ours.wall().0 / theirs.wall().0, 1.0);
        report.limit(what, "crun, CPU", ours.cpu().0 / theirs.cpu().0, 1.0);
    }
    peak(what, &row.figures, report);
    report.add(row);
    Ok(())
}

/// At most 2 MB more than crun.
fn peak(what: &str, figures: &[Figure], report: &mut Report) {
    if let Some(theirs) = figures.iter().find(|figure| figure.name == "crun") {
        report.limit(what, "crun, MB of peak memory more", figures[0].peak() - theirs.peak(), 2.0);
    }
}

/// What it takes to be executed again: a `create` that fails for want of a bundle, beside the same one under the name that
/// is executed again, which goes on at once.
fn again(ours: &Runtime, asked: &Asked, work: &Path, report: &mut Report) -> Result<(), String> {
    const ROLE: &str = "monopod-runtime";
    let directory = ours.file.parent().expect("in a directory");
    fs::hard_link(&ours.file, directory.join(ROLE)).map_err(|e| format!("{ROLE}: {e}"))?;
    let nowhere = work.join("nowhere").display().to_string();
    let create = ["create", "--bundle", &nowhere, "bench"];
    // The role is a name to the letter, with no directory before it: so both are looked up.
    let path = format!("PATH={}", directory.display());
    let words = |name: &[&str]| {
        let words = ["env", &path].into_iter().chain(name.iter().copied()).chain(create);
        words.map(String::from).collect::<Vec<_>>()
    };
    let contestants = vec![
        Contestant::floor("monopod", words(&["runc"])).ends_with(1),
        Contestant::floor("not executed again", words(&[ROLE, "runc"])).ends_with(1),
    ];
    let what = "runtime: `create` without a bundle";
    let row = take_turns(what, if asked.quick { 2 } else { 200 }, contestants, Reach::default())?;
    let more = |figure: fn(&Figure) -> (f64, f64)| figure(&row.figures[0]).0 - figure(&row.figures[1]).0;
    report.limit("runtime: to be executed again", "ms of wall time more", more(Figure::wall), 0.2);
    report.add(row);
    Ok(())
}

fn rounds(asked: &Asked) -> usize {
    if asked.quick { 2 } else { 40 }
}
