//! One sample: a process that starts the measured command, adopts and reaps everything the command leaves behind, and
//! tells what it all took. It is a process of its own so that the kernel's counters of children start at nothing.
//!
//! Must not know: what is measured.

use nix::errno::Errno;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use serde::{Deserialize, Serialize};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// What one command took.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds until the command ended.
    pub wall: f64,
    /// Seconds of processor time, of the command and of all it left behind.
    pub cpu: f64,
    /// Largest resident size of one process, in kB.
    pub peak: f64,
    /// Exit code.
    pub code: i32,
}

/// The word between commands that are one sample: each begins when the one before has ended with 0.
pub const THEN: &str = ";";

/// Takes a sample of `command`, which must end with `code`, as the user of `as_user`'s words (empty: this one).
pub fn take(as_user: &[String], command: &[String], code: i32) -> Result<Sample, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut words = as_user.to_vec();
    words.push(own.display().to_string());
    words.push("--sample".into());
    words.extend(command.iter().cloned());
    let output = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let sample: Sample = serde_json::from_str(text.trim())
        .map_err(|e| format!("{}: {e}: {text}{}", command.join(" "), String::from_utf8_lossy(&output.stderr)))?;
    match sample.code {
        ended if ended == code => Ok(sample),
        ended => {
            Err(format!("`{}` ended with {ended}: {}", command.join(" "), String::from_utf8_lossy(&output.stderr)))
        }
    }
}

/// The role of the measuring process.
pub fn main(command: &[String]) -> ExitCode {
    nix::sys::prctl::set_child_subreaper(true).expect("PR_SET_CHILD_SUBREAPER");
    let begin = Instant::now();
    let mut code = 0;
    for command in command.split(|word| word == THEN) {
        let child = Command::new(&command[0]).args(&command[1..]).stdout(Stdio::null()).spawn();
        code = child.and_then(|mut child| child.wait()).map(|status| status.code().unwrap_or(-1)).unwrap_or(-2);
        if code != 0 {
            break;
        }
    }
    let wall = begin.elapsed().as_secs_f64();
    // Monitors and clean-up commands end a little later; what stays for good is not waited for.
    let patience = Instant::now() + Duration::from_secs(4);
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => break,
            Ok(WaitStatus::StillAlive) if Instant::now() > patience => break,
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(2)),
            _ => {}
        }
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage");
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let sample = Sample {
        wall,
        cpu: seconds(usage.user_time()) + seconds(usage.system_time()),
        peak: usage.max_rss() as f64,
        code,
    };
    println!("{}", serde_json::to_string(&sample).expect("numbers"));
    ExitCode::SUCCESS
}

/// The median of `values`.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

/// The least of `values`.
pub fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::min)
}
