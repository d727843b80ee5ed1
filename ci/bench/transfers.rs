//! Rows of images on their way: pulled from a registry on this machine, pushed to another one, saved, removed.
//!
//! Both registries are Debian's docker-registry; the one that is pushed to is emptied before each turn.

use crate::images::Images;
use crate::report::{Reach, Report};
use crate::rows::{Contestant, Pair, take_turns};
use crate::{Asked, floors};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Megabytes that a pull may take, whatever the image.
const PEAK: f64 = 40.0;
/// Milliseconds that a pull of what is there may take beyond what the registry takes to answer.
const BEYOND: f64 = 5.0;
/// Name of the image.
const NAME: &str = "many";

/// A registry that ends with us.
struct Registry {
    child: Child,
    address: String,
    storage: PathBuf,
}

impl Registry {
    /// Starts one; none if it is not installed.
    fn start(work: &Path, name: &str) -> Result<Option<Registry>, String> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.map_err(|e| e.to_string())?.to_string();
        let (storage, file) = (work.join(name), work.join(format!("{name}.yml")));
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
            storage.display()
        );
        fs::write(&file, text).map_err(|e| e.to_string())?;
        let started = Command::new("docker-registry")
            .args(["serve".as_ref(), file.as_os_str()])
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = started else { return Ok(None) };
        let registry = Registry { child, address, storage };
        let begin = Instant::now();
        while TcpStream::connect(&registry.address).is_err() {
            if begin.elapsed() > Duration::from_secs(20) {
                return Err("docker-registry does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(registry))
    }

    /// Name of an image in it.
    fn name(&self, tag: &str) -> String {
        format!("{}/{NAME}:{tag}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// All rows of images.
pub fn rows(asked: &Asked, work: &Path, images: &Images, report: &mut Report) -> Result<(), String> {
    let pair = Pair::new(asked, work, false);
    let (Some(from), Some(to)) = (Registry::start(work, "from")?, Registry::start(work, "to")?) else {
        report.note("no docker-registry on this machine: images on their way were not measured");
        return Ok(());
    };
    let rounds = |full: usize| if asked.quick { 1 } else { full };
    for (archive, kind) in [(&images.many_gzip, "gzip"), (&images.many_zstd, "zstd")] {
        let image = from.name(kind);
        let source = format!("oci-archive:{}", archive.display());
        pair.ours.run(&["copy", "-q", "--dest-tls-verify=false", &source, &format!("docker://{image}")])?;
        let what = format!("`pull`, six layers, {kind}");
        let mut contestants = both(&pair, &["pull", "-q", "--tls-verify=false", &image], &[&["rmi", "-f", "-a"]], None);
        contestants.push(pull_floor(archive, work, kind)?);
        let row = take_turns(&what, rounds(3), contestants, Reach::wall(0.28).floor(1.4))?;
        report.limit(&what, "peak, MB", row.figures[0].peak(), PEAK);
        report.add(row);
    }
    present(&pair, &from, rounds(20), report)?;
    pushes(&pair, &from, &to, work, &rounds, report)?;
    saves(&pair, &from, work, &rounds, report)?;
    let image = from.name("gzip");
    let (pull, clear) = (["pull", "-q", "--tls-verify=false", &image], ["rmi", "-f", "-a"]);
    let contestants = both(&pair, &["rmi", &image], &[&clear, &pull], None);
    report.add(take_turns("`rmi`, six layers", rounds(3), contestants, Reach::wall(0.4))?);
    for (_, engine) in pair.engines() {
        engine.run(&clear)?;
    }
    Ok(())
}

/// Both engines with the same arguments, and what each does before.
fn both<'a>(pair: &'a Pair, args: &[&str], before: &[&[&'a str]], script: Option<&str>) -> Vec<Contestant<'a>> {
    let contestant = |(name, engine)| {
        let made = before.iter().fold(Contestant::engine(name, engine, args), |made, args| made.before(args));
        match script {
            Some(script) => made.script(script),
            None => made,
        }
    };
    pair.engines().map(contestant).collect()
}

/// The bare work of a pull: each layer inflated, hashed twice and unpacked, as many at once as there are processors.
fn pull_floor<'a>(archive: &Path, work: &Path, kind: &str) -> Result<Contestant<'a>, String> {
    let parts = work.join(format!("layers-{kind}"));
    let end = if kind == "zstd" { "zst" } else { "gz" };
    // What is larger than a document is a layer.
    let script = format!(
        "mkdir $1; tar -C $1 -xf $0; find $1 -type f -size -20k -delete; \
         for f in $(find $1/blobs -type f); do mv $f $1/$(basename $f).{end}; done"
    );
    let done =
        Command::new("sh").args(["-ec", &script]).arg(archive).arg(&parts).status().map_err(|e| e.to_string())?;
    if !done.success() {
        return Err("the layers cannot be taken out of their archive".into());
    }
    let inflate = floors::words(&["inflate"]).join(" ");
    let one = format!("{inflate} $0 on | tar -C $(mktemp -d tree.XXXXXX) --numeric-owner -xpf -");
    let all = format!("cd {} && ls *.{end} | xargs -P$(nproc) -n1 sh -ec '{one}'", parts.display());
    let clear = format!("rm -rf {}/tree.*", parts.display());
    Ok(Contestant::floor("inflate, sha256, tar -x", vec!["sh".into(), "-ec".into(), all]).script(&clear))
}

/// `pull` of an image that is there.
fn present(pair: &Pair, from: &Registry, rounds: usize, report: &mut Report) -> Result<(), String> {
    let image = from.name("gzip");
    for (_, engine) in pair.engines() {
        engine.run(&["pull", "-q", "--tls-verify=false", &image])?;
    }
    let mut contestants = both(pair, &["pull", "-q", "--tls-verify=false", &image], &[], None);
    let manifest = format!("/v2/{NAME}/manifests/gzip");
    contestants.push(Contestant::floor(
        "the registry's answers",
        floors::words(&["answer", &from.address, "/v2/", &manifest]),
    ));
    let what = "`pull` of what is there";
    let row = take_turns(what, rounds, contestants, Reach::default())?;
    let answer = row.figures.last().map_or(0.0, |floor| floor.wall().0);
    report.limit(what, "beyond the registry's answers, ms", row.figures[0].wall().0 - answer, BEYOND);
    report.add(row);
    Ok(())
}

/// `push` of an image that was pulled, and of one whose layers were never compressed.
fn pushes(
    pair: &Pair,
    from: &Registry,
    to: &Registry,
    work: &Path,
    rounds: &dyn Fn(usize) -> usize,
    report: &mut Report,
) -> Result<(), String> {
    let (image, there) = (from.name("gzip"), to.name("pushed"));
    let empty = format!("rm -rf {}/docker", to.storage.display());
    let push = ["push", "-q", "--tls-verify=false", &image, &there];
    let contestants = both(pair, &push, &[], Some(&empty));
    report.add(take_turns("`push` of what was pulled", rounds(3), contestants, Reach::wall(0.15))?);

    let plain = work.join("plain.tar").display().to_string();
    pair.ours.run(&["save", "-q", "-o", &plain, &image])?;
    let (clear, load) = (["rmi", "-f", "-a"], ["load", "-q", "-i", plain.as_str()]);
    for (_, engine) in pair.engines() {
        engine.run(&clear)?;
        engine.run(&load)?;
    }
    let contestants = both(pair, &push, &[], Some(&empty));
    report.add(take_turns("`push` of layers never compressed", rounds(3), contestants, Reach::wall(0.6))?);
    Ok(())
}

/// `save` in both archives' forms.
fn saves(
    pair: &Pair,
    from: &Registry,
    work: &Path,
    rounds: &dyn Fn(usize) -> usize,
    report: &mut Report,
) -> Result<(), String> {
    let image = from.name("gzip");
    for (_, engine) in pair.engines() {
        engine.run(&["rmi", "-f", "-a"])?;
        engine.run(&["pull", "-q", "--tls-verify=false", &image])?;
    }
    for (form, reach) in [("docker-archive", 0.35), ("oci-archive", 0.25)] {
        let file = work.join("saved.tar").display().to_string();
        let args = ["save", "-q", "--format", form, "-o", &file, &image];
        let contestants = both(pair, &args, &[], Some(&format!("rm -f {file}")));
        report.add(take_turns(&format!("`save`, {form}"), rounds(3), contestants, Reach::wall(reach))?);
    }
    Ok(())
}
