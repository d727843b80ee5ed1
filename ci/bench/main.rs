//! The bench: monopod and Debian's podman + crun side by side, interleaved, in one run; and beside them what this machine
//! takes for the bare work. Writes a table in Markdown.
//!
//!     bench --monopod FILE [--group engine|runtime|containers|images|networks] [--only WORD] [--images DIR] [--report FILE]
//!         [--quick]
//!
//! Runs as root, in a mount namespace of its own: there it hides the `unified` hierarchy of a hybrid host (newer crun
//! refuses such hosts), and gives both engines an empty /run and /dev/shm, so that no other container of the machine is
//! touched. Without podman and crun it measures monopod alone. `--images` names a directory with larger workloads
//! (`debian.docker.tar`, `many.oci.tar`, `many.oci-zstd.tar`); without it the bench makes its own. `--group` measures one
//! group of rows alone, `--only` of those of containers the ones with that word (`stats`, `cp`, `export`); those of the
//! runtime have runc beside them too, those of images need Debian's docker-registry, those of networks netavark,
//! aardvark-dns, passt, slirp4netns, iperf3 and apache2-utils.

mod containers;
mod engines;
mod floors;
mod images;
mod networks;
mod report;
mod rows;
mod runtime;
mod sample;
mod transfers;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// What was asked on the command line.
pub struct Asked {
    /// The file that is measured.
    pub monopod: PathBuf,
    /// Workload images made elsewhere.
    pub images: Option<PathBuf>,
    /// Where the table goes.
    pub report: PathBuf,
    /// The only group of rows that is measured.
    pub group: Option<String>,
    /// Of a group's rows only those whose description has this in it, where the group can tell them apart.
    pub only: Option<String>,
    /// Few samples of small workloads: only proves that the bench works.
    pub quick: bool,
}

impl Asked {
    /// True if a row of this description is to be measured.
    pub fn wants(&self, what: &str) -> bool {
        self.only.as_deref().is_none_or(|only| what.contains(only) || only.contains(what))
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("--sample") => return sample::main(&words[1..]),
        Some("--floor") => return floors::main(&words[1..]),
        Some("--names") => return networks::ask(&words[1..]),
        _ => {}
    }
    let Some((asked, inside)) = parse(&words) else {
        eprintln!(
            "usage: bench --monopod FILE [--group engine|runtime|containers|images|networks] [--only WORD] [--images DIR] [--report FILE] [--quick]"
        );
        return ExitCode::from(2);
    };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("the bench needs root: it hides and mounts things in a namespace of its own");
        return ExitCode::from(2);
    }
    if !inside {
        let error = enter(&words);
        eprintln!("unshare: {error}");
        return ExitCode::FAILURE;
    }
    let work = PathBuf::from(format!("/var/tmp/monopod-bench-{}", std::process::id()));
    let result = rows::all(&asked, &work);
    // What is left are containers that were stopped, and files of them.
    Command::new("rm").arg("-rf").arg(&work).status().ok();
    match result {
        Ok(report) => {
            std::fs::write(&asked.report, &report).expect("the report can be written");
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(words: &[String]) -> Option<(Asked, bool)> {
    let report = "ci/bench/RESULTS.md".into();
    let mut asked = Asked { monopod: PathBuf::new(), images: None, report, group: None, only: None, quick: false };
    let mut inside = false;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--monopod" => asked.monopod = std::fs::canonicalize(words.next()?).ok()?,
            "--images" => asked.images = Some(std::fs::canonicalize(words.next()?).ok()?),
            "--report" => asked.report = words.next()?.into(),
            "--group" => asked.group = Some(words.next().filter(|name| rows::GROUPS.contains(&name.as_str()))?.clone()),
            "--only" => asked.only = Some(words.next()?.clone()),
            "--quick" => asked.quick = true,
            "--inside" => inside = true,
            _ => return None,
        }
    }
    asked.monopod.is_file().then_some((asked, inside))
}

/// Becomes the same program in a mount namespace of its own. The strangers of the rootless rows live only there.
fn enter(words: &[String]) -> std::io::Error {
    let script = r#"
        umount -l /sys/fs/cgroup/unified 2>/dev/null
        mount -t tmpfs none /run && mount -t tmpfs none /dev/shm && chmod 1777 /dev/shm || exit 1
        etc=/run/bench-etc; mkdir $etc
        { cat /etc/passwd; echo 'bench-stranger:x:61233:61233::/:/bin/sh'; } >$etc/passwd
        { cat /etc/group; echo 'bench-stranger:x:61233:'; } >$etc/group
        echo 'bench-stranger:2100000:65536' >$etc/subuid; cp $etc/subuid $etc/subgid
        # podman asks for more open files than a host may allow, and fails instead of taking what there is.
        printf '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n' >$etc/containers.conf
        export CONTAINERS_CONF=$etc/containers.conf
        for name in passwd group subuid subgid; do
            [ -e /etc/$name ] || : >/etc/$name
            mount --bind $etc/$name /etc/$name || exit 1
        done
        exec "$@" --inside"#;
    let own = std::env::current_exe().expect("/proc is mounted");
    Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "bench"])
        .arg(own)
        .args(words)
        .exec()
}
