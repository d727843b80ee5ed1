//! The small init of `--init`: the first process stays, and the program is its child. It reaps what is left to it, passes
//! signals on, and ends with the program's code (128 + the signal that killed it).

use crate::error::{Context, Error};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};
use sys::clone::{Clone, Side};

/// Divides the process: returns in the child, which goes on to execute the program; the first process never returns.
pub fn divide(terminal: bool) -> Result<(), Error> {
    sys::signals::block_all().step("block signals")?;
    match sys::clone::clone(Clone::default()).step("make the program's process")? {
        Side::Child => {
            sys::signals::reset().step("reset signals")?;
            // In a group of its own, in front of the terminal: else it would hear the terminal's signals twice.
            rustix::process::setpgid(None, None).step("make a process group")?;
            if terminal {
                sys::signals::block_all().step("block signals")?;
                rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid())
                    .step("come to the front")?;
                sys::signals::reset().step("reset signals")?;
            }
            Ok(())
        }
        Side::Parent(child) => sys::clone::exit_now(serve(child)),
    }
}

fn serve(child: i32) -> i32 {
    const SIGCHLD: i32 = 17;
    sys::process::close_from(3);
    loop {
        match sys::signals::wait() {
            Ok(SIGCHLD) => {
                if let Some(code) = reap(child) {
                    return code;
                }
            }
            Ok(number) => sys::process::kill_number(child, number),
            Err(_) => return 125,
        }
    }
}

/// Reaps all that ended; the program's code if it was among them.
fn reap(child: i32) -> Option<i32> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if Some(pid) == Pid::from_raw(child) => {
                return Some(
                    status.exit_status().or_else(|| status.terminating_signal().map(|n| 128 + n)).unwrap_or(125),
                );
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}
