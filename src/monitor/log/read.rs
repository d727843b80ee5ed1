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
const BLOCK: usize = 256 * 1024;

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
    /// Where the line that begins there ends, if that is known.
    end: Option<usize>,
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
    Ok(Reader { path, driver, options, files, at, buffer, given: 0, end: None, watch, ended: false })
}

impl Reader {
    /// True if the next record is there already: to read it waits for nobody.
    pub fn is_at_hand(&mut self) -> bool {
        if self.end.is_none() {
            self.end = memchr::memchr(b'\n', &self.buffer[self.given..]).map(|at| self.given + at);
        }
        self.end.is_some()
    }

    /// The next whole line of the file, without its end; it stays in the buffer.
    fn next_raw(&mut self) -> Result<Option<(usize, usize)>, Error> {
        let mut searched = self.given;
        loop {
            let found = self.end.take();
            let found = found.or_else(|| memchr::memchr(b'\n', &self.buffer[searched..]).map(|at| searched + at));
            if let Some(end) = found {
                let raw = (self.given, end);
                self.given = end + 1;
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
    if let Some(time) = usual_time(text.as_bytes()) {
        return Some(time);
    }
    i64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()).ok()
}

/// A time as this program writes it, `2023-11-14T22:13:20.000000001+01:00` with nine digits of a fraction: read by hand,
/// because a log has millions of them.
fn usual_time(text: &[u8]) -> Option<i64> {
    let (date, zone) = text.split_at_checked(29)?;
    let number = |from: usize, to: usize| {
        date[from..to]
            .iter()
            .try_fold(0i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.')];
    if !marks.iter().all(|(at, mark)| date[*at] == *mark) {
        return None;
    }
    let offset = match zone {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1 @ b'0'..=b'2', h2 @ b'0'..=b'9', b':', m1 @ b'0'..=b'5', m2 @ b'0'..=b'9'] => {
            let two = |tens: &u8, ones: &u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
            (two(h1, h2) * 3600 + two(m1, m2) * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // What is rare (leap seconds, years that nanoseconds do not reach, days that no month has) is left to others.
    if !(1970..2262).contains(&year) || !(1..=12).contains(&month) || !(1..=28).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since 1970, the year beginning in March ("chrono-Compatible Low-Level Date Algorithms", days_from_civil).
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second - offset;
    seconds.checked_mul(1_000_000_000)?.checked_add(number(20, 29)?)
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

#[cfg(test)]
mod tests {
    use super::usual_time;

    #[test]
    fn times_by_hand_are_those_of_the_calendar() {
        for text in [
            "1970-01-01T00:00:00.000000000Z",
            "2023-11-14T22:13:20.000000001+01:00",
            "2024-02-28T23:59:59.999999999-11:30",
            "2024-03-01T00:00:00.120000000+00:00",
            "2100-12-28T12:00:00.000000000+14:00",
        ] {
            let wanted = text.parse::<jiff::Timestamp>().unwrap().as_nanosecond();
            assert_eq!(usual_time(text.as_bytes()).map(i128::from), Some(wanted), "{text}");
        }
        for text in ["", "2023-11-14T22:13:20Z", "2023-02-30T22:13:20.000000001Z", "2023-11-14T25:13:20.000000001Z"] {
            assert_eq!(usual_time(text.as_bytes()), None, "{text}");
        }
    }
}
