//! The monitor's process from its start to its end.

use crate::relay::Run;
use crate::{Error, Launch, Task, end, log, park, record};
use runtime::Channels;
use std::fs::File;
use std::os::fd::OwnedFd;
use sys::reactor::{self, Signals};
use types::attach::Frame;

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGPIPE: i32 = 13;
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;
const SIGTSTP: i32 = 20;
const SIGTTIN: i32 = 21;
const SIGTTOU: i32 = 22;
const SIGXFSZ: i32 = 25;

/// Leaves everything of the caller's behind: session, directory, standard streams, signals meant for it.
pub(crate) fn detach() -> Result<(), Error> {
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    let _ = rustix::thread::set_name(c"monopod-monitor");
    let nothing = park::empty()?;
    for number in 0..3 {
        let copy = nothing.try_clone().map_err(|e| Error::HandOver(sys::process::errno(e)))?;
        sys::process::place(copy, number).map_err(Error::HandOver)?;
    }
    Ok(())
}

/// Serves one run to its end. `make` runs in the worker, with the launch's `file`; `clear_away` is as in [`end::end`].
pub(crate) fn serve(
    launch: Launch,
    caller: OwnedFd,
    file: File,
    make: impl FnOnce(&Task, &File, Channels),
    clear_away: impl Fn(Option<&str>) -> bool,
) -> Result<(), Error> {
    reactor::ignore(&[SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGXFSZ])
        .map_err(Error::HandOver)?;
    let signals = Signals::collect(&[SIGCHLD]).map_err(Error::HandOver)?;
    // Processes that lose their parent in a container without a process namespace of its own come here to be reaped.
    let _ = rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1));
    if let Some(run_dir) = &launch.run_dir {
        record::clear(run_dir);
    }
    let log = match launch.log.clone().map(log::Writer::open).transpose() {
        Ok(log) => log,
        Err(source) => {
            let path = launch.log.map(|log| log.path).unwrap_or_default();
            return refuse(&caller, Error::Log { path, source });
        }
    };
    let (ends, channels) = match park::connect(&launch) {
        Ok(connected) => connected,
        Err(error) => return refuse(&caller, error),
    };
    // The worker keeps nothing of this side: a pipe's end is its end only when nobody else holds it.
    let mut ours = Some((caller, ends, signals, log));
    let worker = sys::role::fork(|| {
        drop(ours.take());
        // Ignored signals would be inherited by programs; it cannot fail but for numbers that are no signals.
        let _ = sys::signals::reset();
        make(&launch.task, &file, channels);
        0
    })
    .map_err(Error::HandOver)?;
    drop(file);
    launch.kept.iter().for_each(|number| sys::process::close(*number));
    let Some((caller, ends, signals, log)) = ours.take() else { return Ok(()) };
    let mut run = Run::new(launch, caller, ends, signals, log, worker);
    while !run.carry()? {
        end::record_early(&mut run, &clear_away);
    }
    end::end(run, clear_away);
    Ok(())
}

/// Tells the caller why there will be no run.
pub(crate) fn refuse(caller: &OwnedFd, error: Error) -> Result<(), Error> {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    let mut packet = Vec::new();
    Frame::Failed { code: 125, text: &text }.encode(&mut packet);
    let _ = sys::channel::send(caller, &packet);
    Err(error)
}
