//! Reading a log: the last lines without the rest, what is between two times, and what is still to come.

use super::{Driver, Line, Stream, tail};
use crate::{Error, record};
use rustix::fs::inotify;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of one read.
const BLOCK: usize = 64 * 1024;

/// Which records are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// Only the last lines; `None` is all.
    pub tail: Option<u64>,
    /// Not before this time, in nanoseconds since 1970.
    pub since: Option<i64>,
    /// Not after this time; with `follow`, a later record ends it.
    pub until: Option<i64>,
    /// Go on until the run in this directory ([`crate::Launch::run_dir`]) is over and its log read to the end.
    pub follow: Option<PathBuf>,
}

/// The records of a log, oldest first.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    driver: Driver,
    options: Options,
    /// The file being read and those to read after it.
    files: Vec<File>,
    /// Where the next read begins.
    at: u64,
    buffer: Vec<u8>,
    /// The first byte of `buffer` not given out.
    given: usize,
    watch: Option<OwnedFd>,
    ended: bool,
}

/// Opens the log at `path`. A log that does not exist yet is empty, not an error.
pub fn read(path: &Path, driver: Driver, options: Options) -> Result<Reader, Error> {
    let failed = |source| Error::Log { path: path.to_owned(), source };
    // Watching begins before the files are opened, or a rotation between the two would go unseen.
    let watch = options.follow.as_deref().and_then(|run_dir| watch(path, run_dir));
    let mut files = Vec::new();
    for path in [&older(path), path] {
        match File::open(path) {
            Ok(file) => files.push(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    if let [first, second] = &files[..] {
        // Renamed between the two.
        if same(first, second) {
            files.pop();
        }
    }
    let mut at = 0;
    if let Some(lines) = options.tail {
        let mut left = lines;
        let mut open_end = true;
        let mut first = files.len();
        while first > 0 {
            first -= 1;
            match tail::start(&files[first], driver, &mut left, &mut open_end).map_err(failed)? {
                Some(start) => {
                    at = start;
                    break;
                }
                None => at = 0,
            }
        }
        files.drain(..first);
    }
    let (path, buffer) = (path.to_owned(), Vec::new());
    Ok(Reader { path, driver, options, files, at, buffer, given: 0, watch, ended: false })
}

impl Reader {
    /// The next whole line of the file, without its end; it stays in the buffer.
    fn next_raw(&mut self) -> Result<Option<(usize, usize)>, Error> {
        let mut searched = self.given;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|b| *b == b'\n') {
                let raw = (self.given, searched + end);
                self.given = searched + end + 1;
                return Ok(Some(raw));
            }
            self.buffer.drain(..self.given);
            self.given = 0;
            searched = self.buffer.len();
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Appends to the buffer; false at the end of all there is and will be.
    fn fill(&mut self) -> Result<bool, Error> {
        loop {
            // Asked before reading: what was written before the end of the run is then surely read.
            let over = self.options.follow.as_deref().is_none_or(|run_dir| is_over(run_dir) || self.is_past());
            if self.read_block()? {
                return Ok(true);
            }
            if self.files.len() > 1 || self.reopen()? {
                continue;
            }
            if over {
                return Ok(false);
            }
            self.pause();
        }
    }

    /// True if every record still to come would be after `until`.
    fn is_past(&self) -> bool {
        self.options.until.is_some_and(|until| until < crate::relay::now_ns())
    }

    fn read_block(&mut self) -> Result<bool, Error> {
        let Some(file) = self.files.first() else { return Ok(false) };
        let length = self.buffer.len();
        self.buffer.resize(length + BLOCK, 0);
        let got = file.read_at(&mut self.buffer[length..], self.at);
        self.buffer.truncate(length + got.as_ref().copied().unwrap_or(0));
        let got = got.map_err(|source| Error::Log { path: self.path.clone(), source })?;
        self.at += got as u64;
        if got == 0 && self.files.len() > 1 {
            self.files.remove(0);
            self.at = 0;
            return self.read_block();
        }
        Ok(got > 0)
    }

    /// At the end of the last file: sees whether the log was begun anew, and queues what is new. True if there is more.
    fn reopen(&mut self) -> Result<bool, Error> {
        if self.options.follow.is_none() {
            return Ok(false);
        }
        let Ok(now) = File::open(&self.path) else { return Ok(false) };
        let Some(last) = self.files.last() else {
            self.files.push(now);
            self.at = 0;
            return Ok(true);
        };
        if same(last, &now) {
            // Something else emptied it.
            let shrunk = now.metadata().is_ok_and(|m| m.len() < self.at);
            if shrunk {
                self.at = 0;
            }
            return Ok(shrunk);
        }
        // Renamed twice since: what came between is the older file.
        if let Ok(older) = File::open(older(&self.path))
            && !same(last, &older)
            && !same(&older, &now)
        {
            self.files.push(older);
        }
        self.files.push(now);
        Ok(true)
    }

    /// Waits until something happened to the log or the run, or a moment.
    fn pause(&mut self) {
        let Some(watch) = &self.watch else {
            std::thread::sleep(Duration::from_millis(100));
            return;
        };
        let mut descriptors = [rustix::event::PollFd::new(watch, rustix::event::PollFlags::IN)];
        // A monitor that was killed leaves no event.
        let _ = sys::reactor::wait(&mut descriptors, Some(Duration::from_secs(1)));
        let mut events = [0; 4096];
        while rustix::io::read(watch, &mut events).is_ok_and(|n| n > 0) {}
    }
}

impl Iterator for Reader {
    type Item = Result<Line, Error>;

    fn next(&mut self) -> Option<Result<Line, Error>> {
        while !self.ended {
            let (start, end) = match self.next_raw() {
                Ok(Some(range)) => range,
                Ok(None) => break,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            };
            // What is no record (a write cut by a full disk, another program's lines) is passed over.
            let Some(line) = parse(self.driver, &self.buffer[start..end]) else { continue };
            if self.options.since.is_some_and(|since| line.time < since) {
                continue;
            }
            if self.options.until.is_some_and(|until| line.time > until) {
                break;
            }
            return Some(Ok(line));
        }
        self.ended = true;
        None
    }
}

/// Reads one record.
pub(super) fn parse(driver: Driver, raw: &[u8]) -> Option<Line> {
    match driver {
        Driver::K8sFile => {
            let mut fields = raw.splitn(4, |b| *b == b' ');
            let time = time(std::str::from_utf8(fields.next()?).ok()?)?;
            let stream = stream(fields.next()?)?;
            let partial = match fields.next()? {
                b"F" => false,
                b"P" => true,
                _ => return None,
            };
            Some(Line { time, stream, text: fields.next()?.to_vec(), partial })
        }
        Driver::JsonFile => {
            #[derive(serde::Deserialize)]
            struct Record<'a> {
                log: String,
                stream: &'a str,
                time: &'a str,
            }
            let record: Record<'_> = serde_json::from_slice(raw).ok()?;
            let mut text = record.log.into_bytes();
            let partial = text.pop_if(|b| *b == b'\n').is_none();
            Some(Line { time: time(record.time)?, stream: stream(record.stream.as_bytes())?, text, partial })
        }
    }
}

fn time(text: &str) -> Option<i64> {
    i64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()).ok()
}

fn stream(name: &[u8]) -> Option<Stream> {
    match name {
        b"stdout" => Some(Stream::Stdout),
        b"stderr" => Some(Stream::Stderr),
        _ => None,
    }
}

/// The file that a rotation leaves.
fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

fn same(one: &File, other: &File) -> bool {
    let id = |file: &File| file.metadata().map(|m| (m.dev(), m.ino())).ok();
    id(one).is_some() && id(one) == id(other)
}

/// True if nothing more will be written: there is an exit record, or no monitor any more.
fn is_over(run_dir: &Path) -> bool {
    record::Exit::read(run_dir).is_some()
        || !record::Running::read(run_dir).is_some_and(|running| running.monitor_lives())
}

fn watch(path: &Path, run_dir: &Path) -> Option<OwnedFd> {
    use inotify::WatchFlags;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok()?;
    let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF;
    inotify::add_watch(&watch, path.parent()?, flags).ok()?;
    inotify::add_watch(&watch, run_dir, flags).ok()?;
    Some(watch)
}
