//! The role as `main` calls it: how the runtime is asked to make the process, and to clear away after it.

use crate::{Error, Launch, Task, process};
use runtime::cgroup::{Group, Host};
use runtime::{Channels, Report};
use std::fs::File;
use std::os::fd::AsFd;

/// The role `monopod-monitor`: descriptor 0 is the caller's connection, descriptor 1 the launch. Returns the exit code of
/// the process, which nobody needs.
pub fn main() -> u8 {
    match run() {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn run() -> Result<(), Error> {
    let io = |error| Error::HandOver(sys::process::errno(error));
    // What the caller had open beside its standard streams, and does not hand on, is not ours: somebody may wait for its end.
    let given = File::from(std::io::stdout().as_fd().try_clone_to_owned().map_err(io)?);
    let kept = Launch::read(&given).map(|launch| launch.kept).unwrap_or_default();
    drop(given);
    sys::process::close_all_but(3, &kept);
    for number in &kept {
        sys::process::close_on_exec(*number).map_err(Error::HandOver)?;
    }
    let caller = std::io::stdin().as_fd().try_clone_to_owned().map_err(io)?;
    let file = File::from(std::io::stdout().as_fd().try_clone_to_owned().map_err(io)?);
    process::detach()?;
    let launch = match Launch::read(&file) {
        Ok(launch) => launch,
        Err(error) => return process::refuse(&caller, error),
    };
    let _held = launch.hold.as_ref().and_then(|path| File::open(path).ok());
    let is_container = matches!(launch.task, Task::Container(_));
    let clear_away = |cgroup: Option<&str>| is_container && cgroup.is_some_and(clear_away);
    process::serve(launch, caller, file, make, clear_away)
}

/// The worker: makes what the launch in `file` asks for. It runs in a process of its own.
fn make(task: &Task, file: &File, channels: Channels) {
    let refuse = |channels: &Channels, what: &str, error: &dyn std::fmt::Display| {
        let line = Report::Failed { code: 125, message: format!("cannot understand what to {what}: {error}") }.line();
        // There is nobody else to tell.
        let _ = rustix::io::write(channels.report.as_fd(), &line);
    };
    let text = match Launch::read_task(file) {
        Ok(text) => text,
        Err(error) => return refuse(&channels, "make", &error),
    };
    match task {
        Task::Container(_) => match serde_json::from_str(&text) {
            Ok(create) => runtime::create(&create, channels),
            Err(error) => refuse(&channels, "create", &error),
        },
        Task::Exec(_) => match serde_json::from_str(&text) {
            Ok(exec) => runtime::exec(&exec, channels),
            Err(error) => refuse(&channels, "execute", &error),
        },
    }
}

/// Ends what is left in a container's cgroup and removes it; says whether the kernel killed a process in it for want of
/// memory.
fn clear_away(cgroup: &str) -> bool {
    let Ok(group) = Group::open(&Host::probe(), cgroup) else { return false };
    let oom = group.oom_kills() > 0;
    // A group that stays is removed by the engine, whose cleanup knows its name too.
    let _ = group.kill();
    let _ = group.remove();
    oom
}
