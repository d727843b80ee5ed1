//! `restore`: a container is made of the files of a checkpoint and of its bundle, by the program CRIU.
//!
//! Its cgroup is made with its limits first; CRIU begins there, in a mount namespace of its own in which the root is a mount. What it
//! restores is this process's child, as one that was made.
//!
//! Must not know: how a checkpoint is made.

use super::checkpoint::{STREAMS, network, refuse_terminal};
use super::create::{self, Order};
use super::criu::{Criu, NETWORK};
use super::failure::Failure;
use super::flags::Words;
use super::state::{Place, Process, Record};
use super::{Program, delete, foreground, make, start};
use crate::hooks::Moment;
use crate::placement::Placement;
use crate::privileges;
use oci_spec::runtime::Spec;
use rustix::io::{Errno, FdFlags};
use rustix::process::{Pid, WaitOptions};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::ExitStatus;

/// `restore`.
pub(crate) fn restore(program: &Program, words: &Words) -> Result<u8, Failure> {
    refuse_flags(words)?;
    let order = Order::read(program, words)?;
    let spec = &order.create.spec;
    refuse_terminal(spec)?;
    refuse_hooks(spec)?;
    let record = order.record()?;
    let mut criu = Criu::new(program, words, "restore", &record.rootfs)?;
    if words.has("ext-unix") {
        criu.switch("--ext-unix-sk");
    }
    relabel(&mut criu, words)?;
    criu.make_directories()?;
    let signals = if words.has("detach") { None } else { Some(foreground::prepare(!words.has("no-subreaper"))?) };
    let place = program.containers()?.add(&order.create.id)?;
    let result = (|| {
        place.write(&record)?;
        place.keep(&order.text)?;
        let record = revive(&mut criu, spec, &place, record)?;
        let pid = record.first.map_or(0, |first| first.pid);
        words.value("pid-file").map_or(Ok(()), |path| make::write_pid(Path::new(path), pid))?;
        start::poststart(spec, &record)?;
        match signals {
            None => Ok(0),
            Some(signals) => foreground::wait(pid, &signals, None, None),
        }
    })();
    match &result {
        Ok(_) if words.has("detach") => {}
        Ok(_) => delete::take_away(program, &place, place.read()?.as_ref())?,
        Err(_) => create::undo(program, &place),
    }
    result
}

/// Flags that runc has and that would change nothing here.
fn refuse_flags(words: &Words) -> Result<(), Failure> {
    let refused = [
        ("console-socket", words.value("console-socket").is_some(), "leave it out: a checkpoint has no terminal"),
        ("no-pivot", words.has("no-pivot"), "leave it out: CRIU changes the root, and by its own ways"),
    ];
    match refused.into_iter().find(|(_, given, _)| *given) {
        Some((flag, _, instead)) => Err(Failure::Unsupported { what: format!("restore --{flag}"), instead }),
        None => Ok(()),
    }
}

/// Labels of security modules that take the place of those in the checkpoint.
fn relabel(criu: &mut Criu, words: &Words) -> Result<(), Failure> {
    if let Some(profile) = words.value("lsm-profile") {
        if !matches!(profile.split_once(':'), Some(("apparmor" | "selinux", label)) if !label.is_empty()) {
            let expected = "apparmor:PROFILE or selinux:LABEL";
            return Err(Failure::Value { flag: "lsm-profile", value: profile.into(), expected });
        }
        criu.pair("--lsm-profile", profile.into());
    }
    if let Some(label) = words.value("lsm-mount-context") {
        criu.pair("--lsm-mount-context", label.into());
    }
    Ok(())
}

/// Hooks that would have to run between steps of CRIU's.
fn refuse_hooks(spec: &Spec) -> Result<(), Failure> {
    let early = [Moment::Prestart, Moment::CreateRuntime, Moment::CreateContainer, Moment::StartContainer];
    match early.into_iter().find(|moment| !moment.hooks(spec).is_empty()) {
        Some(moment) => Err(Failure::Unsupported {
            what: format!("restoring a container with {} hooks", moment.name()),
            instead: "leave them out of the bundle: what they did is in the checkpoint, or to be done before",
        }),
        None => Ok(()),
    }
}

/// Restores the processes, and writes down that they are there.
fn revive(criu: &mut Criu, spec: &Spec, place: &Place, mut record: Record) -> Result<Record, Failure> {
    let missing = |what: &'static str| Failure::Unsupported {
        what: format!("a specification without {what}"),
        instead: "add it",
    };
    let linux = spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
    let process = spec.process().as_ref().ok_or_else(|| missing("process"))?;
    let pid_file = place.file("restored");
    criu.pair("--pidfile", pid_file.display().to_string());
    criu.switch("--restore-detached");
    criu.switch("--restore-sibling");
    let file = criu.images.join(STREAMS);
    let text = std::fs::read(&file).map_err(|source| Failure::File { step: "open", path: file.clone(), source })?;
    let streams: [String; 3] = serde_json::from_slice(&text).map_err(|source| Failure::Json { path: file, source })?;
    for (number, name) in streams.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        criu.pair("--inherit-fd", format!("fd[{number}]:{name}"));
    }
    let network = match network(spec) {
        Some(path) => Some(File::open(&path).map_err(|source| Failure::File { step: "open", path, source })?),
        None => None,
    };
    if let Some(network) = &network {
        criu.pair("--inherit-fd", format!("fd[{}]:{NETWORK}", network.as_raw_fd()));
    }
    let makes_nodes = privileges::may_gain(process, sys::capability::MKNOD);
    let failed = |error: crate::Error| Failure::reported(error.code(), error.to_string());
    let mut placement = Placement::create(linux, &place.id, true, makes_nodes).map_err(failed)?;
    record.cgroup = placement.name();
    place.write(&record)?;
    for root in placement.roots() {
        criu.pair("--cgroup-root", root);
    }
    let rootfs = record.rootfs.clone();
    let kernel = |step: &'static str| move |source: Errno| Failure::Kernel { step, source };
    let child = sys::role::fork(|| {
        let prepared = (|| {
            sys::userns::own_mounts().map_err(kernel("make a mount namespace"))?;
            rustix::mount::mount_bind_recursive(&rootfs, &rootfs).map_err(kernel("bind the root"))?;
            placement.enter_before_birth().map_err(failed)?;
            network.as_ref().map_or(Ok(()), |network| {
                rustix::io::fcntl_setfd(network, FdFlags::empty()).map_err(kernel("keep the network namespace open"))
            })
        })();
        let failure = match prepared {
            Ok(()) => Failure::criu(criu.command().exec()),
            Err(failure) => failure,
        };
        eprintln!("{}", failure.text());
        125
    })
    .map_err(kernel("make a process"))?;
    let child = Pid::from_raw(child).ok_or(Failure::Killed)?;
    let ended = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(child), WaitOptions::empty()));
    let (_, status) = ended.map_err(kernel("wait for CRIU"))?.ok_or(Failure::Killed)?;
    criu.check(ExitStatus::from_raw(status.as_raw()))?;
    let text = std::fs::read_to_string(&pid_file);
    let text = text.map_err(|source| Failure::File { step: "read", path: pid_file.clone(), source })?;
    let pid = text.trim().parse().map_err(|_| Failure::Killed)?;
    let start_time = sys::process::start_time(pid).map_err(kernel("find the first process"))?;
    record.first = Some(Process { pid, start_time });
    place.write(&record)?;
    Ok(record)
}
