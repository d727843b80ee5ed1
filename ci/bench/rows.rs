//! The rows: what is measured, how often, beside what. All contestants of a row take turns, so that whatever else the
//! machine does meets all of them alike.

use crate::engines::Engine;
use crate::images::{self, Images};
use crate::report::{Figure, Reach, Report, Row};
use crate::sample::{self, Sample};
use crate::{Asked, floors};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Groups of rows.
pub const GROUPS: &[&str] = &["engine", "runtime", "containers", "images", "networks"];

/// Somebody who takes turns: what it runs, and what it runs before each turn, unmeasured.
pub struct Contestant<'a> {
    name: String,
    engine: Option<&'a Engine>,
    before: Vec<Vec<&'a str>>,
    /// A script of sh that runs before that, unmeasured.
    script: Option<String>,
    command: Vec<String>,
    /// How it ends.
    code: i32,
}

impl<'a> Contestant<'a> {
    pub fn engine(name: &str, engine: &'a Engine, args: &[&str]) -> Contestant<'a> {
        let command = engine.verb(args);
        Contestant { name: name.into(), engine: Some(engine), before: Vec::new(), script: None, command, code: 0 }
    }

    pub fn floor(name: &str, command: Vec<String>) -> Contestant<'a> {
        Contestant { name: name.into(), engine: None, before: Vec::new(), script: None, command, code: 0 }
    }

    pub fn before(mut self, args: &[&'a str]) -> Contestant<'a> {
        self.before.extend((!args.is_empty()).then(|| args.to_vec()));
        self
    }

    pub fn script(mut self, script: &str) -> Contestant<'a> {
        self.script = Some(script.into());
        self
    }

    /// One that fails, with `code`.
    pub fn ends_with(self, code: i32) -> Contestant<'a> {
        Contestant { code, ..self }
    }

    fn turn(&self) -> Result<Sample, String> {
        if let Some(script) = &self.script {
            let done = Command::new("sh").args(["-ec", script]).status().map_err(|e| e.to_string())?;
            if !done.success() {
                return Err(format!("`{script}` ended with {done}"));
            }
        }
        let as_user = match self.engine {
            Some(engine) => {
                for before in &self.before {
                    engine.run(before)?;
                }
                if !self.before.is_empty() {
                    // Who waits for the disk must not wait for what another left to be written.
                    nix::unistd::sync();
                }
                engine.as_user.as_slice()
            }
            None => &[],
        };
        sample::take(as_user, &self.command, self.code)
    }
}

/// Both engines as one user.
pub struct Pair {
    pub ours: Engine,
    pub theirs: Option<Engine>,
}

impl Pair {
    pub fn new(asked: &Asked, work: &Path, rootless: bool) -> Pair {
        let theirs = Engine::podman(work, rootless);
        Pair { ours: Engine::monopod(&asked.monopod, work, rootless), theirs }
    }

    pub fn engines(&self) -> impl Iterator<Item = (&'static str, &Engine)> {
        [("monopod", Some(&self.ours)), ("podman", self.theirs.as_ref())].into_iter().filter_map(|(n, e)| Some((n, e?)))
    }

    /// The contestants of a verb, with `floors` beside them.
    fn row(
        &self,
        what: &str,
        rounds: usize,
        args: &[&str],
        floors: Vec<Contestant>,
        reach: Reach,
    ) -> Result<Row, String> {
        self.row_before(what, rounds, &[], args, floors, reach)
    }

    fn row_before<'a>(
        &'a self,
        what: &str,
        rounds: usize,
        before: &[&'a str],
        args: &[&str],
        floors: Vec<Contestant<'a>>,
        reach: Reach,
    ) -> Result<Row, String> {
        let mut contestants: Vec<_> =
            self.engines().map(|(name, engine)| Contestant::engine(name, engine, args).before(before)).collect();
        contestants.extend(floors);
        take_turns(what, rounds, contestants, reach)
    }
}

/// A row: one turn each that is thrown away, and then `rounds` of all of them.
pub fn take_turns(what: &str, rounds: usize, contestants: Vec<Contestant>, reach: Reach) -> Result<Row, String> {
    // One turn each to warm up, thrown away.
    for contestant in &contestants {
        contestant.turn().map_err(|e| format!("{what}, {}: {e}", contestant.name))?;
    }
    let mut samples = vec![Vec::new(); contestants.len()];
    for _ in 0..rounds {
        for (contestant, samples) in contestants.iter().zip(&mut samples) {
            samples.push(contestant.turn().map_err(|e| format!("{what}, {}: {e}", contestant.name))?);
        }
    }
    eprintln!("measured: {what}");
    let figures = contestants.iter().zip(samples).map(|(c, samples)| Figure { name: c.name.clone(), samples });
    Ok(Row { what: what.into(), reach, figures: figures.collect() })
}

/// All rows, or those of one group, as a report.
pub fn all(asked: &Asked, work: &Path) -> Result<String, String> {
    fs::create_dir_all(work).map_err(|e| e.to_string())?;
    let images = images::prepare(asked, work)?;
    let mut report = Report::new(asked.quick, &images.described);
    for group in GROUPS.iter().filter(|name| asked.group.as_deref().is_none_or(|only| only == **name)) {
        match *group {
            // The last one: it goes into a network namespace of its own.
            "networks" => crate::networks::rows(asked, &images, &mut report)?,
            "containers" => crate::containers::rows(asked, work, &images, &mut report)?,
            "runtime" => crate::runtime::rows(asked, work, &images, &mut report)?,
            "images" => crate::transfers::rows(asked, work, &images, &mut report)?,
            _ => engine(asked, work, &images, &mut report)?,
        }
    }
    Ok(report.finish())
}

/// Containers, and images from archives.
fn engine(asked: &Asked, work: &Path, images: &Images, report: &mut Report) -> Result<(), String> {
    let busybox = images.busybox.display().to_string();
    let rounds = |full: usize| if asked.quick { 2 } else { full };

    let root = Pair::new(asked, work, false);
    let user = Pair::new(asked, work, true);
    for (_, engine) in root.engines().chain(user.engines()) {
        engine.run(&["load", "-q", "-i", &busybox])?;
    }
    let bare = || Contestant::floor("bare fork + exec", vec!["/bin/busybox".into(), "true".into()]);
    let unshare = || Contestant::floor("bare unshare + exec", floors::words(&["unshare", "/bin/busybox", "true"]));
    for flag in ["--version", "--help"] {
        report.add(root.row(flag, rounds(60), &[flag], vec![bare()], Reach::wall(0.05).floor(2.0))?);
    }
    let run = ["run", "--rm", "--network", "none", "localhost/busybox:latest", "true"];
    let mut beside = vec![unshare()];
    if root.theirs.is_some() {
        beside.insert(0, bundle(&root, work)?);
    }
    let reach = Reach::both(0.08).floor(2.0).peak(0.15);
    report.add(root.row("`run --rm --network none busybox true`, root", rounds(30), &run, beside, reach)?);
    let reach = Reach::both(0.12);
    report.add(user.row(
        "`run --rm --network none busybox true`, rootless",
        rounds(30),
        &run,
        vec![unshare()],
        reach,
    )?);

    for (_, engine) in root.engines() {
        let sleep =
            ["run", "-d", "--name", "idle0", "--network", "none", "localhost/busybox:latest", "sleep", "1000000"];
        engine.run(&sleep)?;
    }
    report.add(root.row(
        "`exec` of true",
        rounds(30),
        &["exec", "idle0", "true"],
        vec![unshare()],
        Reach::both(0.08),
    )?);
    memory(&root, asked, report)?;
    syncs(&root, &run, work, report)?;

    let counts: &[usize] = if asked.quick { &[0, 10] } else { &[0, 100, 500] };
    for (_, engine) in root.engines() {
        engine.run(&["rm", "-f", "-a", "-t", "0"])?;
    }
    let mut made = 0;
    for &count in counts {
        for (_, engine) in root.engines() {
            for n in made..count {
                engine.run(&[
                    "create",
                    "--name",
                    &format!("c{n}"),
                    "--network",
                    "none",
                    "localhost/busybox:latest",
                    "true",
                ])?;
            }
        }
        made = count;
        let what = format!("`ps -a`, {count} containers");
        report.add(root.row(&what, rounds(20), &["ps", "-a"], vec![bare()], Reach::cpu(0.06))?);
    }
    for (_, engine) in root.engines() {
        engine.run(&["rm", "-f", "-a", "-t", "0"])?;
    }
    loads(&root, images, &rounds, report)
}

/// `load`, from nothing each time.
fn loads(pair: &Pair, images: &Images, rounds: &dyn Fn(usize) -> usize, report: &mut Report) -> Result<(), String> {
    let clear = ["rmi", "-f", "-a"];
    let work = images.busybox.parent().expect("in the work directory");
    let floor = layer_floor(&images.single, work)?;
    let single = images.single.display().to_string();
    let reach = Reach::both(0.4).floor_cpu(1.4).peak(0.4);
    let row =
        pair.row_before("`load`, one layer, gzip", rounds(8), &clear, &["load", "-q", "-i", &single], floor, reach)?;
    report.add(row);
    for (path, kind) in [(&images.many_gzip, "gzip"), (&images.many_zstd, "zstd")] {
        let path = path.display().to_string();
        let what = format!("`load`, six layers, {kind}");
        report.add(pair.row_before(
            &what,
            rounds(5),
            &clear,
            &["load", "-q", "-i", &path],
            Vec::new(),
            Reach::wall(0.25),
        )?);
    }
    Ok(())
}

/// The two bare works of one layer: inflating with both digests, and unpacking what is inflated already.
fn layer_floor<'a>(archive: &Path, work: &Path) -> Result<Vec<Contestant<'a>>, String> {
    let parts = work.join("parts");
    // The largest file of the archive is its layer, compressed or not.
    let script = "set -e; mkdir $1; tar -C $1 -xf $0; f=$(find $1 -type f -printf '%s %p\\n' | sort -n | tail -1 | cut -d' ' -f2-); \
        mv $f $1/layer.gz; gzip -dc $1/layer.gz >$1/layer.tar";
    let done = Command::new("sh").args(["-c", script]).arg(archive).arg(&parts).status().map_err(|e| e.to_string())?;
    if !done.success() {
        return Err("the layer cannot be taken out of its archive".into());
    }
    // A new tree each time: taking the last one away is no part of the work.
    let unpack = "exec tar -C $(mktemp -d $0/tree.XXXXXX) --numeric-owner -xpf $0/layer.tar";
    Ok(vec![
        Contestant::floor(
            "inflate + sha256",
            floors::words(&["inflate", &parts.join("layer.gz").display().to_string()]),
        ),
        Contestant::floor("tar -x", vec!["sh".into(), "-c".into(), unpack.into(), parts.display().to_string()]),
    ])
}

/// `crun run` of a bundle with the same root file system and the same command.
fn bundle<'a>(pair: &Pair, work: &Path) -> Result<Contestant<'a>, String> {
    let at = work.join("bundle");
    fs::create_dir_all(at.join("rootfs")).map_err(|e| e.to_string())?;
    let theirs = pair.theirs.as_ref().expect("podman is here");
    theirs.run(&["create", "--name", "bundle", "localhost/busybox:latest", "true"])?;
    theirs.run(&["export", "-o", &at.join("rootfs.tar").display().to_string(), "bundle"])?;
    theirs.run(&["rm", "bundle"])?;
    let script = "cd $0 && tar -C rootfs -xf rootfs.tar && crun spec";
    let made = Command::new("sh").args(["-c", script]).arg(&at).status().map_err(|e| e.to_string())?;
    let path = at.join("config.json");
    let text = fs::read_to_string(&path).map_err(|e| format!("crun spec ({made}): {e}"))?;
    let mut spec: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    spec["process"]["args"] = serde_json::json!(["true"]);
    spec["process"]["terminal"] = serde_json::json!(false);
    fs::write(&path, spec.to_string()).map_err(|e| e.to_string())?;
    let words = ["crun", "--cgroup-manager", "cgroupfs", "run", "--bundle", &at.display().to_string(), "bench-bundle"];
    Ok(Contestant::floor("bare `crun run`", words.iter().map(|word| word.to_string()).collect()))
}

/// The monitor's memory while its container sleeps: its share (PSS) in kB, with one container and with eight.
fn memory(pair: &Pair, asked: &Asked, report: &mut Report) -> Result<(), String> {
    let count = if asked.quick { 2 } else { 8 };
    let mut lines = Vec::new();
    for (name, engine) in pair.engines() {
        for n in 1..count {
            let container = format!("idle{n}");
            engine.run(&[
                "run",
                "-d",
                "--name",
                &container,
                "--network",
                "none",
                "localhost/busybox:latest",
                "sleep",
                "1000000",
            ])?;
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
        let mut shares = Vec::new();
        for n in 0..count {
            let pid = engine.run(&["inspect", "--format", "{{.State.Pid}}", &format!("idle{n}")])?;
            let parent = field(&format!("/proc/{pid}/status"), "PPid:")?;
            shares.push(field(&format!("/proc/{parent}/smaps_rollup"), "Pss:")? as f64);
        }
        for n in 1..count {
            engine.run(&["rm", "-f", "-t", "0", &format!("idle{n}")])?;
        }
        let pid = engine.run(&["inspect", "--format", "{{.State.Pid}}", "idle0"])?;
        let parent = field(&format!("/proc/{pid}/status"), "PPid:")?;
        let alone = field(&format!("/proc/{parent}/smaps_rollup"), "Pss:")? as f64;
        lines.push((name, alone, sample::median(shares)));
    }
    report.plain("monitor of an idle container, PSS, alone", "kB", lines.iter().map(|l| (l.0, l.1)), 0.5);
    report.plain(&format!("the same, one of {count}"), "kB", lines.iter().map(|l| (l.0, l.2)), 0.5);
    Ok(())
}

/// The number in a line of one of the kernel's tables.
fn field(path: &str, name: &str) -> Result<i64, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or(format!("{path}: no {name}"))?;
    line.split_whitespace().next().and_then(|word| word.parse().ok()).ok_or(format!("{path}: {line}"))
}

/// Calls that wait for a disk in one `run --rm`, counted by strace in all processes.
fn syncs(pair: &Pair, run: &[&str], work: &Path, report: &mut Report) -> Result<(), String> {
    let table = work.join("strace");
    let mut counts = Vec::new();
    for (name, engine) in pair.engines() {
        let calls = "trace=fsync,fdatasync,sync,syncfs,sync_file_range,msync";
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-e", calls, "-o"]).arg(&table).args(engine.verb(run));
        match command.output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => return Err(format!("strace: {}", String::from_utf8_lossy(&output.stderr))),
            Err(_) => {
                report.note("no strace on this machine: fsync-class calls were not counted");
                return Ok(());
            }
        }
        let text = fs::read_to_string(&table).map_err(|e| e.to_string())?;
        let rows = text.lines().filter(|line| !line.ends_with("total"));
        let calls = rows.filter_map(|line| line.split_whitespace().nth(3)?.parse::<f64>().ok());
        counts.push((name, calls.fold(0.0, |sum, count| sum + count)));
    }
    report.plain("fsync-class calls in one `run --rm`", "calls", counts.into_iter(), f64::NAN);
    Ok(())
}
