//! The monitor on the real kernel, with a shell in place of a container: what it relays, survives and records.

mod ends;
mod logs;
mod streams;

use crate::record::Exit;
use crate::{Client, Launch, Task, process};
use runtime::{Channels, Report, Stdio};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use types::attach::Frame;

/// A monitor at work, its caller, and its directory, which goes with it.
struct Monitored {
    client: Client,
    dir: PathBuf,
}

impl Drop for Monitored {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What came until the end.
#[derive(Default)]
struct Heard {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    exited: Option<(i32, bool)>,
    failed: Option<(u8, String)>,
}

impl Monitored {
    /// A monitor whose process runs `script`; `$DIR` is its directory. `adjust` changes the launch.
    fn new(script: &str, adjust: impl FnOnce(&mut Launch)) -> Monitored {
        let script = script.to_owned();
        Monitored::with(adjust, move |dir, channels| shell(&script, dir, channels))
    }

    fn with(adjust: impl FnOnce(&mut Launch), make: impl FnOnce(&Path, Channels) -> u8) -> Monitored {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("monitor-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut launch = Launch {
            id: "test".into(),
            task: Task::Container(String::new()),
            run_dir: Some(dir.clone()),
            terminal: false,
            stdin: false,
            leave_stdin_open: false,
            stay_parked: false,
            log: None,
            hold: None,
            kept: Vec::new(),
            clock: crate::Clock::default(),
            cleanup: Vec::new(),
        };
        adjust(&mut launch);
        let (ours, theirs) = sys::channel::pair().unwrap();
        let mut ours = Some(ours);
        sys::role::fork(|| {
            drop(ours.take());
            process::detach().unwrap();
            let file = std::fs::File::open("/proc/self/exe").unwrap();
            process::serve(launch, theirs, file, |_, _, channels| _ = make(&dir, channels), |_| false).is_err().into()
        })
        .unwrap();
        Monitored { client: Client::new(ours.take().unwrap()), dir }
    }

    fn ready(&mut self) -> i32 {
        match self.client.receive().unwrap() {
            Some(Frame::Ready { pid }) => pid,
            other => panic!("{other:?} instead of ready"),
        }
    }

    fn start(&mut self) -> i32 {
        let pid = self.ready();
        self.client.send(&Frame::Start).unwrap();
        assert_eq!(self.client.receive().unwrap(), Some(Frame::Started));
        pid
    }

    fn hear(&mut self) -> Heard {
        hear(&mut self.client)
    }

    fn exit(&self) -> Exit {
        until("the exit record", || Exit::read(&self.dir).is_some());
        Exit::read(&self.dir).unwrap()
    }
}

/// Listens to the end of the connection.
fn hear(client: &mut Client) -> Heard {
    let mut heard = Heard::default();
    while let Some(frame) = client.receive().unwrap() {
        match frame {
            Frame::Stdout(data) => heard.stdout.extend_from_slice(data),
            Frame::Stderr(data) => heard.stderr.extend_from_slice(data),
            Frame::Exited { code, oom } => heard.exited = Some((code, oom)),
            Frame::Failed { code, text } => heard.failed = Some((code, text.to_owned())),
            other => panic!("{other:?} was not expected"),
        }
    }
    heard
}

/// Hears until the standard output ends with `text`.
fn hear_until(client: &mut Client, text: &str) -> String {
    let mut heard = String::new();
    while !heard.ends_with(text) {
        match client.receive().unwrap() {
            Some(Frame::Stdout(data)) => heard.push_str(std::str::from_utf8(data).unwrap()),
            other => panic!("{other:?} after {heard:?}"),
        }
    }
    heard
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_there(pid: i32) -> bool {
    sys::process::start_time(pid).is_ok()
}

/// A runtime whose container is the worker itself.
fn shell(script: &str, dir: &Path, channels: Channels) -> u8 {
    let report = |report: Report| rustix::io::write(&channels.report, &report.line()).unwrap();
    let pid = std::process::id() as i32;
    report(Report::Created { pid, start_time: sys::process::start_time(pid).unwrap(), cgroup: None });
    let streams = match channels.stdio {
        Stdio::Descriptors(streams) => streams,
        Stdio::Terminal(socket) => {
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
            let master = openpt(flags).unwrap();
            grantpt(&master).unwrap();
            unlockpt(&master).unwrap();
            let terminal = ioctl_tiocgptpeer(&master, flags).unwrap();
            sys::channel::send_descriptors(&socket, b"terminal", &[master.as_fd()]).unwrap();
            rustix::process::setsid().unwrap();
            rustix::process::ioctl_tiocsctty(&terminal).unwrap();
            [terminal.try_clone().unwrap(), terminal.try_clone().unwrap(), terminal]
        }
    };
    report(Report::Parked);
    if rustix::io::read(channels.start.unwrap(), &mut [0; 1]) != Ok(1) {
        return 0;
    }
    for (stream, number) in streams.into_iter().zip(0..) {
        sys::process::place(stream, number).unwrap();
    }
    let error = Command::new("/bin/sh").args(["-c", script]).env("DIR", dir).exec();
    let message = format!("cannot execute: {error}");
    rustix::io::write(&channels.report, &Report::Failed { code: 126, message }.line()).unwrap();
    126
}
