//! One loop for all that happens to a run: reports, clients, standard streams, the end.
//!
//! A run goes through these phases: the worker makes the process; it is parked; `Start` releases it; it has executed its
//! program; it has ended and its output is read to the end. [`crate::end`] does what follows.

use crate::clients::{Clients, MAX_CLIENTS};
use crate::clock::Ticks;
use crate::park::Ends;
use crate::record::Running;
use crate::{Clock, Error, Launch, log};
use jiff::Timestamp;
use runtime::{Report, Reports};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::WaitOptions;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::entry::Image;
use sys::reactor::Signals;
use types::attach::{Frame, MAX_DATA};

/// Quiet for this long, the memory used for output is given back.
const QUIET: Duration = Duration::from_millis(500);
/// After the end, a terminal that somebody else keeps open is read for this long.
const LINGER: Duration = Duration::from_millis(100);
/// Once the process has ended, whoever takes no output for this long does not keep the end from being recorded.
const PATIENCE: Duration = Duration::from_secs(1);
/// Reads of one stream before the others get their turn.
const TURN: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Making,
    Parked,
    Starting,
    Running,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Report,
    Listener,
    Stdin,
    Output(log::Stream),
    Client(usize),
}

/// A run.
pub(crate) struct Run {
    pub launch: Launch,
    pub clients: Clients,
    pub listener: Option<OwnedFd>,
    pub log: Option<log::Writer>,
    /// The first process, once it is known.
    pub running: Option<Running>,
    /// Why it could not be made or started: exit code and text.
    pub failure: Option<(u8, String)>,
    /// Its exit code, 128 + n after signal n.
    pub code: Option<i32>,
    /// Nobody waits for it to be started any more.
    pub given_up: bool,
    /// The end is recorded already, while a client still has output to take: whether the kernel killed a process for want
    /// of memory.
    pub recorded: Option<bool>,
    /// Since when the process has ended and somebody takes no output.
    stuck_since: Option<Instant>,
    /// The process that makes the first one.
    worker: i32,
    ends: Ends,
    signals: Signals,
    reports: Reports,
    phase: Phase,
    start_wanted: bool,
    /// Children that ended before the report of the first process came: it may have been one of them.
    early: Vec<(i32, i32)>,
    window: Option<(u16, u16)>,
    heard: Vec<u8>,
    input: Vec<u8>,
    input_ends: bool,
    /// Nobody has the terminal open just now: somebody may open it again.
    hung: bool,
    linger_until: Option<Instant>,
    rested: bool,
    image: Image,
    /// Only if something is due in its time.
    pub ticks: Option<Box<Ticks>>,
}

impl Run {
    /// A run whose worker is at work.
    pub fn new(
        launch: Launch,
        caller: OwnedFd,
        ends: Ends,
        signals: Signals,
        log: Option<log::Writer>,
        worker: i32,
    ) -> Run {
        let mut clients = Clients::default();
        clients.add(caller);
        Run {
            launch,
            clients,
            listener: None,
            log,
            running: None,
            failure: None,
            code: None,
            given_up: false,
            recorded: None,
            stuck_since: None,
            worker,
            ends,
            signals,
            reports: Reports::default(),
            phase: Phase::Making,
            start_wanted: false,
            early: Vec::new(),
            window: None,
            heard: Vec::new(),
            input: Vec::new(),
            input_ends: false,
            hung: false,
            linger_until: None,
            rested: false,
            image: Image::find(),
            ticks: None,
        }
    }

    /// Carries on until the process has ended, or could not be made or started, and its output is with the log and with
    /// all clients; or, once, until it has ended and a client takes nothing (it is stopped, say): then it is to be called
    /// again, and returns false.
    pub fn carry(&mut self) -> Result<bool, Error> {
        while !self.is_over() {
            if self.is_stuck() {
                return Ok(false);
            }
            let ready = self.wait()?;
            if !ready.is_empty() {
                self.rested = false;
            } else if self.hung {
                self.hung = false;
            } else if self.linger_until.is_none() {
                self.rest();
            }
            for (source, flags) in ready {
                self.serve(source, flags);
            }
            if self.ticks.is_some() {
                self.tick();
            }
            if self.code.is_some() {
                self.drain();
            }
            self.clients.sweep();
            if self.clients.all.is_empty() && self.phase < Phase::Starting && !self.launch.stay_parked {
                self.give_up();
            }
        }
        if let Some(log) = &mut self.log {
            log.finish();
        }
        Ok(true)
    }

    fn is_stuck(&mut self) -> bool {
        if self.recorded.is_some() || self.code.is_none() || !self.clients.is_owing() {
            self.stuck_since = None;
            return false;
        }
        self.stuck_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE
    }

    fn is_over(&self) -> bool {
        let failed = self.failure.is_some() || self.given_up;
        if failed && self.ends.report.is_none() && self.running.is_none() {
            return true;
        }
        let quiet = self.ends.stdout.is_none() && self.ends.stderr.is_none() && !self.clients.is_owing();
        self.code.is_some() && self.ends.report.is_none() && (failed || quiet)
    }

    /// Waits for something to do; nothing means that it was quiet for a while.
    fn wait(&self) -> Result<Vec<(Source, PollFlags)>, Error> {
        fn add<'a>(to: &mut (Vec<Source>, Vec<PollFd<'a>>), source: Source, fd: Option<&'a OwnedFd>, flags: PollFlags) {
            if let Some(fd) = fd {
                to.0.push(source);
                to.1.push(PollFd::new(fd, flags));
            }
        }
        let mut to = (Vec::with_capacity(8 + self.clients.all.len()), Vec::with_capacity(8 + self.clients.all.len()));
        add(&mut to, Source::Report, self.ends.report.as_ref(), PollFlags::IN);
        add(
            &mut to,
            Source::Listener,
            self.listener.as_ref().filter(|_| self.clients.all.len() < MAX_CLIENTS),
            PollFlags::IN,
        );
        if self.phase == Phase::Running && !self.clients.is_owing() {
            for (stream, end) in [(log::Stream::Stdout, &self.ends.stdout), (log::Stream::Stderr, &self.ends.stderr)] {
                add(&mut to, Source::Output(stream), end.as_ref().filter(|_| !self.hung), PollFlags::IN);
            }
        }
        if !self.input.is_empty() {
            add(&mut to, Source::Stdin, self.input_end(), PollFlags::OUT);
        }
        for (at, client) in self.clients.all.iter().enumerate() {
            if let Some(flags) = self.clients.interest(at, !self.input.is_empty()) {
                add(&mut to, Source::Client(at), Some(&client.socket), flags);
            }
        }
        let (mut sources, mut descriptors) = to;
        sources.push(Source::Signals);
        descriptors.push(PollFd::new(&self.signals, PollFlags::IN));
        match self.linger_until {
            Some(until) => sys::reactor::wait(&mut descriptors, Some(until.saturating_duration_since(Instant::now()))),
            None if self.hung || !self.rested || self.stuck_since.is_some() => {
                let due = self.ticks.as_ref().and_then(|ticks| ticks.left());
                sys::reactor::wait(&mut descriptors, Some(due.map_or(QUIET, |due| due.min(QUIET))))
            }
            None => self.image.wait_without(&mut descriptors, self.ticks.as_ref().and_then(|ticks| ticks.left())),
        }
        .map_err(Error::Connection)?;
        let flags = descriptors.iter().map(PollFd::revents);
        Ok(sources.into_iter().zip(flags).filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn serve(&mut self, source: Source, flags: PollFlags) {
        match source {
            Source::Signals => self.reap(),
            Source::Report => self.take_reports(),
            Source::Listener => self.accept(),
            Source::Stdin => self.feed(),
            Source::Output(stream) => {
                for _ in 0..TURN {
                    if !self.read_output(stream) {
                        break;
                    }
                }
            }
            Source::Client(at) => {
                if flags.contains(PollFlags::OUT) {
                    self.clients.settle(at);
                }
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.hear(at);
                }
            }
        }
    }

    /// Does what is due.
    fn tick(&mut self) {
        let over = self.ticks.as_mut().is_some_and(|ticks| ticks.tick(&self.launch.clock));
        if over {
            self.kill(9);
        }
    }

    /// Gives back memory that is needed only while something happens.
    fn rest(&mut self) {
        self.clients.rest();
        self.early = Vec::new();
        self.heard = Vec::new();
        self.input.shrink_to_fit();
        if let Some(log) = &mut self.log {
            log.rest();
        }
        self.rested = true;
    }

    fn reap(&mut self) {
        while self.signals.take().is_some() {}
        let mut worker_ended = false;
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let Some(code) = status.exit_status().or(status.terminating_signal().map(|n| 128 + n)) else { continue };
            let pid = pid.as_raw_nonzero().get();
            if let Some(ticks) = &mut self.ticks {
                ticks.reaped(&self.launch.clock, pid, code);
            }
            worker_ended |= pid == self.worker;
            match &self.running {
                Some(running) if running.pid == pid => {
                    let clock = &self.launch.clock;
                    self.code = Some(self.ticks.as_ref().map_or(code, |ticks| ticks.code(clock, code)));
                }
                Some(_) => {}
                None => self.early.push((pid, code)),
            }
        }
        if worker_ended {
            self.worker_ends();
        }
    }

    /// Killed before it told who the first process is: that one may be there, and nobody knows it. It goes when its start
    /// cannot come any more.
    fn worker_ends(&mut self) {
        self.take_reports();
        if self.running.is_none() && self.ends.report.is_some() {
            self.fail("the process that makes the container was killed".to_owned());
            self.ends.start = None;
        }
    }

    fn take_reports(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            let Some(report) = &self.ends.report else { return };
            match rustix::io::read(report, &mut bytes) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Ok(0) | Err(_) => {
                    self.ends.report = None;
                    self.reports_end();
                }
                Ok(length) => {
                    for report in self.reports.push(&bytes[..length]) {
                        self.take(report);
                    }
                }
            }
        }
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Created { pid, start_time, cgroup } => {
                self.code = self.early.iter().find(|(early, _)| *early == pid).map(|(_, code)| *code);
                let monitor_pid = std::process::id() as i32;
                let monitor_start_time = sys::process::start_time(monitor_pid).unwrap_or(0);
                let running = Running { pid, start_time, monitor_pid, monitor_start_time, started_ns: 0, cgroup };
                self.running = Some(running);
                if self.given_up {
                    self.kill(9);
                }
                if self.phase == Phase::Parked {
                    self.parked();
                }
            }
            // The first process and who made it report side by side: either may be the first.
            Report::Parked if self.running.is_none() => self.phase = Phase::Parked,
            Report::Parked => self.parked(),
            Report::Failed { code, message } => {
                self.failure.get_or_insert((code, message));
                self.kill(9);
            }
        }
    }

    fn parked(&mut self) {
        if let Some(console) = self.ends.console.take() {
            match sys::channel::receive_descriptors(&console, &mut [0; 64]) {
                Ok((_, mut passed)) if !passed.is_empty() => self.set_terminal(passed.swap_remove(0)),
                _ => self.fail("the runtime did not send the terminal".to_owned()),
            }
        }
        self.phase = Phase::Parked;
        if let Err(error) = self.publish() {
            self.fail(error.to_string());
        }
        let (Some(running), None) = (&self.running, &self.failure) else { return };
        let pid = running.pid;
        self.clients.send(&Frame::Ready { pid });
        if self.start_wanted {
            self.start();
        }
    }

    /// Makes the run known: its record, and the listener for clients.
    fn publish(&mut self) -> Result<(), Error> {
        let (Some(run_dir), Some(running)) = (&self.launch.run_dir, &self.running) else { return Ok(()) };
        let path = run_dir.join(crate::record::ATTACH);
        self.listener = Some(sys::channel::listen(&path).map_err(|source| Error::Listen { path, source })?);
        running.write(run_dir)
    }

    fn set_terminal(&mut self, terminal: OwnedFd) {
        let _ = rustix::io::ioctl_fionbio(&terminal, true);
        if let Some((rows, columns)) = self.window {
            let _ = sys::terminal::resize(&terminal, rows, columns);
        }
        self.ends.stdout = Some(terminal);
    }

    fn start(&mut self) {
        self.start_wanted = true;
        if self.phase != Phase::Parked || self.running.is_none() {
            return;
        }
        self.phase = Phase::Starting;
        if let Some(running) = &mut self.running {
            running.started_ns = now_ns();
            if let Some(run_dir) = &self.launch.run_dir {
                // The record of the parked process stands; without the time of its start, it still says what runs.
                let _ = running.write(run_dir);
            }
        }
        if let Some(start) = self.ends.start.take() {
            // If nobody reads, the end of the reports tells why.
            let _ = rustix::io::write(start, b"s");
        }
    }

    fn reports_end(&mut self) {
        match self.phase {
            Phase::Starting if self.failure.is_none() => {
                self.phase = Phase::Running;
                if self.launch.clock != Clock::default() {
                    self.ticks = Some(Ticks::begin(&self.launch.clock));
                }
                self.clients.send(&Frame::Started);
            }
            // Killed while it was parked: that is an end as any other.
            Phase::Parked if self.failure.is_none() => self.phase = Phase::Running,
            Phase::Making => self.fail("the process was killed while it was being made".to_owned()),
            _ => {}
        }
    }

    fn fail(&mut self, text: String) {
        self.failure.get_or_insert((125, text));
        self.kill(9);
    }

    fn give_up(&mut self) {
        if !self.given_up {
            self.given_up = true;
            self.ends.start = None;
            self.kill(9);
        }
    }

    /// Sends the signal to the first process. It cannot be another's: its number is not free before it is reaped here.
    fn kill(&self, number: i32) {
        if let (Some(running), None) = (&self.running, self.code) {
            // A number that is no signal, or a process about to be reaped: nothing to do.
            let _ = sys::reactor::send_to_child(running.pid, number);
        }
    }

    pub fn accept(&mut self) {
        while let Some(listener) = &self.listener {
            match sys::channel::accept(listener) {
                Ok(socket) => self.clients.add(socket),
                Err(_) => return,
            }
        }
    }

    /// Takes one frame of a client.
    fn hear(&mut self, at: usize) {
        let mut packet = std::mem::take(&mut self.heard);
        packet.resize(1 + MAX_DATA, 0);
        match sys::channel::try_receive(&self.clients.all[at].socket, &mut packet) {
            Err(Errno::AGAIN) => {}
            received => self.heed(at, &packet[..received.unwrap_or(0)]),
        }
        self.heard = packet;
    }

    /// Does what a packet asks for; an empty one is the end of the connection.
    fn heed(&mut self, at: usize, packet: &[u8]) {
        // Whatever is not a frame ends the connection, as its end does.
        let frame = Frame::decode(packet).unwrap_or(Frame::Detach);
        if packet.is_empty() && self.clients.all[at].feeds {
            self.end_input();
        }
        match frame {
            Frame::Stdin(data) => {
                self.clients.all[at].feeds = true;
                if !self.input_ends && self.takes_input() {
                    self.input.extend_from_slice(data);
                    self.feed();
                }
            }
            Frame::CloseStdin => self.end_input(),
            Frame::Resize { rows, columns } => {
                self.window = Some((rows, columns));
                if let Some(terminal) = self.ends.stdout.as_ref().filter(|_| self.launch.terminal) {
                    let _ = sys::terminal::resize(terminal, rows, columns);
                }
            }
            Frame::Signal(number) => self.kill(number),
            Frame::Start => self.start(),
            Frame::Cleanup => self.clients.all[at].cleans_up = true,
            Frame::Probe(json) => self.take_probe(json),
            _ => {
                self.clients.all[at].gone = true;
                self.clients.all[at].owed = false;
            }
        }
    }

    /// Its health is checked otherwise from now on; what is no JSON of that changes nothing.
    fn take_probe(&mut self, json: &[u8]) {
        let Ok(probe) = serde_json::from_slice(json) else { return };
        self.launch.clock.probe = probe;
        if self.phase != Phase::Running {
            return;
        }
        match &mut self.ticks {
            Some(ticks) => ticks.changed(&self.launch.clock),
            None => self.ticks = Some(Ticks::begin(&self.launch.clock)),
        }
    }

    /// Input can go somewhere, now or when the terminal has come.
    fn takes_input(&self) -> bool {
        self.launch.stdin && (self.input_end().is_some() || self.ends.console.is_some())
    }

    fn input_end(&self) -> Option<&OwnedFd> {
        if self.launch.terminal { self.ends.stdout.as_ref() } else { self.ends.stdin.as_ref() }
    }

    fn end_input(&mut self) {
        // A terminal has no end of input: its programs see the bytes that mean it.
        if !self.launch.leave_stdin_open && !self.launch.terminal {
            self.input_ends = true;
            self.feed();
        }
    }

    /// Passes input on as far as it is taken.
    fn feed(&mut self) {
        let mut written = 0;
        let mut broken = false;
        while let Some(end) = self.input_end().filter(|_| written < self.input.len()) {
            match rustix::io::write(end, &self.input[written..]) {
                Ok(length) => written += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        if broken {
            self.input.clear();
            self.ends.stdin = None;
        }
        self.input.drain(..written.min(self.input.len()));
        if self.input_ends && self.input.is_empty() {
            self.ends.stdin = None;
        }
    }

    /// Reads one piece of output and passes it on; false if there is no more just now.
    fn read_output(&mut self, stream: log::Stream) -> bool {
        if self.clients.is_owing() {
            return false;
        }
        let end = if stream == log::Stream::Stdout { &self.ends.stdout } else { &self.ends.stderr };
        let Some(end) = end else { return false };
        let packet = self.clients.output();
        packet[0] = if stream == log::Stream::Stdout { 1 } else { 2 };
        match rustix::io::read(end.as_fd(), &mut packet[1..]) {
            Ok(length) if length > 0 => {
                if let Some(log) = &mut self.log {
                    log.append(stream, &packet[1..=length], Timestamp::now());
                }
                self.clients.send_output(1 + length);
                true
            }
            Err(Errno::INTR) => true,
            Err(Errno::AGAIN) => false,
            // Closing a terminal would hang up on the processes that have it for their controlling one.
            Err(Errno::IO) if self.launch.terminal && self.code.is_none() => {
                self.hung = true;
                false
            }
            _ => {
                self.close_output(stream);
                false
            }
        }
    }

    fn close_output(&mut self, stream: log::Stream) {
        let end = if stream == log::Stream::Stdout { &mut self.ends.stdout } else { &mut self.ends.stderr };
        *end = None;
    }

    /// After the end: reads what is there. Other processes may keep the pipes open for ever, and are not waited for.
    fn drain(&mut self) {
        for stream in [log::Stream::Stdout, log::Stream::Stderr] {
            while self.read_output(stream) {}
        }
        if self.clients.is_owing() {
            return;
        }
        if self.launch.terminal && self.ends.stdout.is_some() {
            // What was written to a terminal reaches this side a little later; its hang-up comes after it.
            let until = *self.linger_until.get_or_insert_with(|| Instant::now() + LINGER);
            if Instant::now() < until {
                return;
            }
        }
        self.close_output(log::Stream::Stdout);
        self.close_output(log::Stream::Stderr);
        self.linger_until = None;
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
