//! What follows the end of a run: the cgroup goes, the record comes, clients are told, and what the engine keeps is
//! cleaned up by a process of its own.

use crate::Launch;
use crate::clock::{self, Clock};
use crate::record::{ATTACH, Exit};
use crate::relay::{Run, now_ns};
use rustix::event::{PollFd, PollFlags};
use std::ffi::OsString;
use types::attach::Frame;

/// Longest text of a failure that is passed on, in bytes.
const MAX_TEXT: usize = 4096;

/// Ends `run`. `clear_away` removes what the runtime made (its argument is the cgroup) and says whether the kernel killed a
/// process for want of memory.
pub(crate) fn end(mut run: Run, clear_away: impl Fn(Option<&str>) -> bool) {
    let oom = run.recorded.unwrap_or_else(|| cleared(&run, clear_away));
    let code = match &run.failure {
        Some((code, _)) => i32::from(*code),
        None => run.code.unwrap_or(137),
    };
    if let Some((_, text)) = &mut run.failure {
        let end = (0..=MAX_TEXT.min(text.len())).rfind(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    let again = match run.failure {
        None => clock::next_start(&run.launch.clock, code, run.ticks.as_ref().map(|ticks| ticks.lasted())),
        Some(_) => None,
    };
    // Who is in the queue yet is told too.
    run.accept();
    let cleaner_waits = run.clients.all.iter().any(|c| c.cleans_up && !c.deaf);
    let was_told = run.failure.is_some() && run.clients.all.iter().any(|c| !c.deaf);
    if let Some(run_dir) = run.launch.run_dir.as_ref().filter(|_| !run.given_up && run.recorded.is_none()) {
        let error = run.failure.as_ref().map(|(_, text)| text.clone()).unwrap_or_default();
        let finished_ns = now_ns();
        let again_ns = again.map_or(0, |(wait, _)| finished_ns.saturating_add(wait.as_nanos() as i64));
        let exit = Exit { code, oom, finished_ns, error, again_ns };
        // A client that waits for the end records it itself, in the database: then this is only for readers of logs.
        // If it cannot be written, the run counts as killed: 137.
        let _ = exit.write(run_dir, !cleaner_waits && !was_told);
    }
    run.listener = None;
    if let Some(run_dir) = &run.launch.run_dir {
        let _ = std::fs::remove_file(run_dir.join(ATTACH));
    }
    let frame = match &run.failure {
        Some((code, text)) => Frame::Failed { code: *code, text },
        None => Frame::Exited { code, oom },
    };
    run.clients.send(&frame);
    if run.recorded.is_none() && !cleaner_waits && !was_told {
        clean_up(&run.launch.cleanup);
    }
    let mut told = was_told;
    while run.clients.is_owing() {
        settle(&mut run);
    }
    told |= run.clients.all.iter().any(|c| c.cleans_up && !c.gone && !c.deaf);
    if run.recorded.is_none() && (cleaner_waits || was_told) && !told {
        clean_up(&run.launch.cleanup);
    }
    let Launch { clock: Clock { again: plan, .. }, run_dir, .. } = run.launch;
    run.clients.all.clear();
    if let (Some((wait, step)), Some(plan), Some(run_dir), false) = (again, plan, run_dir, run.given_up) {
        clock::start_again(&plan, wait, step, &run_dir);
    }
}

/// Records the end of a process that has ended while a client has yet to take what it wrote: nobody else has to wait for
/// that client, which is told the end when it has taken all.
pub(crate) fn record_early(run: &mut Run, clear_away: impl Fn(Option<&str>) -> bool) {
    let oom = cleared(run, clear_away);
    run.recorded = Some(oom);
    if let Some(run_dir) = &run.launch.run_dir {
        let error = run.failure.as_ref().map(|(_, text)| text.clone()).unwrap_or_default();
        let exit = Exit { code: run.code.unwrap_or(137), oom, finished_ns: now_ns(), error, again_ns: 0 };
        let _ = exit.write(run_dir, true);
    }
    clean_up(&run.launch.cleanup);
}

fn cleared(run: &Run, clear_away: impl Fn(Option<&str>) -> bool) -> bool {
    run.running.as_ref().is_some_and(|running| clear_away(running.cgroup.as_deref()))
}

/// Waits until a client can take what it is owed.
fn settle(run: &mut Run) {
    let owing: Vec<usize> = (0..run.clients.all.len()).filter(|at| run.clients.all[*at].owed).collect();
    let mut descriptors: Vec<PollFd<'_>> =
        owing.iter().map(|at| PollFd::new(&run.clients.all[*at].socket, PollFlags::OUT)).collect();
    let failed = sys::reactor::wait(&mut descriptors, None).is_err();
    for at in owing {
        run.clients.settle(at);
        run.clients.all[at].owed &= !failed;
    }
}

fn clean_up(arguments: &[String]) {
    if !arguments.is_empty() {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        // Nobody is left to tell; the next command finds the exit record.
        let _ = sys::role::spawn_command(&arguments);
    }
}
