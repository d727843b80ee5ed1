//! Events: lines of JSON ([`ops::event::Event`]) in `RUNROOT/events/events.log`, which is turned over to `events.log.1` when it is
//! full. The directory belongs to the boot, as Podman's does.
//!
//! A process keeps the lines in memory until it has done the next thing that is to be told, and writes them at once, in one
//! write(2) that appends: so a `run --rm` writes twice. Who is killed in between has not told its last lines.

use crate::Engine;
use crate::container::config::Config;
use crate::container::now;
use crate::database::Record;
use jiff::tz::TimeZone;
use ops::Fault;
use ops::event::{Asked, Backend, Event};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes at which the file is turned over, as Podman's default.
const FULL: u64 = 1_000_000;
/// Longest wait between two looks at the time.
const LOOK: Duration = Duration::from_millis(500);

/// Whom events of a container are about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subject {
    id: String,
    name: String,
    image: String,
    labels: Vec<(String, String)>,
}

impl From<&Record> for Subject {
    fn from(record: &Record) -> Subject {
        Subject {
            id: record.id.to_string(),
            name: record.name.clone(),
            image: record.image.clone(),
            labels: record.labels.clone(),
        }
    }
}

impl From<&Config> for Subject {
    fn from(config: &Config) -> Subject {
        Subject {
            id: config.id.to_string(),
            name: config.name.clone(),
            image: config.image.clone(),
            labels: config.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        }
    }
}

impl Engine {
    /// Tells what happened to a container.
    pub(crate) fn tell(&self, subject: impl Into<Subject>, status: &str) {
        self.tell_more(subject, status, |_| {});
    }

    /// As [`Engine::tell`]; `add` knows more.
    pub(crate) fn tell_more(&self, subject: impl Into<Subject>, status: &str, add: impl FnOnce(&mut Event)) {
        if self.settings.events == Backend::None {
            return;
        }
        let subject = subject.into();
        let mut event = Event {
            id: subject.id,
            name: subject.name,
            image: subject.image,
            status: status.to_owned(),
            kind: "container".to_owned(),
            attributes: subject.labels.into_iter().collect(),
            ..Event::default()
        };
        add(&mut event);
        self.note_event(event);
    }

    /// Tells what happened to an `image`, `volume`, `network` or the `system`.
    pub(crate) fn tell_of(&self, kind: &str, status: &str, id: &str, name: &str) {
        if self.settings.events == Backend::None {
            return;
        }
        let [id, name, status, kind] = [id, name, status, kind].map(str::to_owned);
        self.note_event(Event { id, name, status, kind, ..Event::default() });
    }

    fn note_event(&self, mut event: Event) {
        event.time = moment(now());
        let mut lines = self.events.borrow_mut();
        // Strings and a number always become JSON.
        if serde_json::to_writer(&mut *lines, &event).is_ok() {
            lines.push(b'\n');
        }
    }

    /// Writes what was told. That it cannot be written stops nothing.
    pub(crate) fn write_events(&self) {
        let lines = std::mem::take(&mut *self.events.borrow_mut());
        if !lines.is_empty() {
            let _ = append(&self.event_log(), &lines);
        }
    }

    fn event_log(&self) -> PathBuf {
        self.settings.run_root.join("events").join("events.log")
    }

    /// Gives each event that was asked for to `take`, in their order, until that says `false` or there are no more.
    pub fn events(&self, asked: &Asked, mut take: impl FnMut(&Event) -> bool) -> Result<(), Fault> {
        if self.settings.events == Backend::None {
            return Err(Fault::invalid("cannot read events with the \"none\" backend"));
        }
        let filters = asked.filters.iter().map(|text| Filter::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let time = |text: &String| {
            crate::moment::parse(text, now(), &TimeZone::system())
                .map_err(|why| Fault::invalid(format!("parsing time {text:?}: {why}")))
        };
        // As Podman: a duration is before now where events begin, and after it where they end.
        let end = |text: &String| match types::span::parse(text) {
            Ok(span) if text.parse::<f64>().is_err() => Ok(now().saturating_add(span.as_nanos() as i64)),
            _ => time(text),
        };
        let (since, until) = (asked.since.as_ref().map(time).transpose()?, asked.until.as_ref().map(end).transpose()?);
        // As Podman: what was is told only to those who ask for it.
        let from = match (since, until) {
            (None, None) if asked.stream => now(),
            (since, _) => since.unwrap_or(0),
        };
        let until = until.unwrap_or(i64::MAX);
        let path = self.event_log();
        let watch = sys::watch::Watch::on(&directory(&path)?);
        let mut reader = Reader::begin(&path);
        loop {
            while let Some(event) = reader.next(&path) {
                let at = event.time.parse::<jiff::Timestamp>().map_or(0, |t| t.as_nanosecond() as i64);
                if at >= from && at <= until && Filter::pass(&filters, &event) && !take(&event) {
                    return Ok(());
                }
            }
            if !asked.stream || now() > until {
                return Ok(());
            }
            watch.wait(LOOK);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.write_events();
    }
}

/// RFC 3339 with all nine digits, so that lines of one second have an order.
fn moment(nanoseconds: i64) -> String {
    match jiff::Timestamp::from_nanosecond(nanoseconds.into()) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string(),
        Err(_) => String::new(),
    }
}

fn directory(path: &Path) -> Result<PathBuf, Fault> {
    let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
    std::fs::create_dir_all(&directory)
        .map_err(|e| Fault::internal(format!("cannot create directory {directory:?}: {e}")))?;
    Ok(directory)
}

fn append(path: &Path, lines: &[u8]) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let open = || rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o600));
    let file = match open() {
        Err(rustix::io::Errno::NOENT) => {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
            open()?
        }
        other => other?,
    };
    let mut file = File::from(file);
    file.write_all(lines)?;
    // At the end of the file after an appending write: how long it is.
    if file.stream_position()? > FULL {
        turn_over(path, &file)?;
    }
    Ok(())
}

/// Of those who find it full at the same time, one renames it.
fn turn_over(path: &Path, file: &File) -> std::io::Result<()> {
    rustix::fs::flock(file, FlockOperation::LockExclusive)?;
    if std::fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|ours| there.ino() == ours.ino())) {
        std::fs::rename(path, older(path))?;
    }
    Ok(())
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

/// The lines of both files, and of what is written meanwhile.
struct Reader {
    file: Option<BufReader<File>>,
    /// The older file is being read: the newer one follows.
    old: bool,
    /// The beginning of a line whose end is still to come.
    partial: String,
}

impl Reader {
    fn begin(path: &Path) -> Reader {
        let old = File::open(older(path)).ok();
        let is_old = old.is_some();
        Reader { file: old.or_else(|| File::open(path).ok()).map(BufReader::new), old: is_old, partial: String::new() }
    }

    /// The next event; `None` if there is none yet.
    fn next(&mut self, path: &Path) -> Option<Event> {
        loop {
            if let Some(file) = &mut self.file {
                while file.read_line(&mut self.partial).is_ok_and(|length| length > 0) {
                    if !self.partial.ends_with('\n') {
                        break;
                    }
                    let line = std::mem::take(&mut self.partial);
                    // A line that a full disk cut short is no event.
                    if let Ok(event) = serde_json::from_str(&line) {
                        return Some(event);
                    }
                }
            }
            if !self.go_on(path) {
                return None;
            }
        }
    }

    /// At the end of a file: true if there is another one to be read.
    fn go_on(&mut self, path: &Path) -> bool {
        let ino = |file: &File| file.metadata().map(|m| m.ino()).ok();
        let Ok(newest) = File::open(path) else { return false };
        if self.file.as_ref().is_some_and(|file| ino(file.get_ref()) == ino(&newest)) {
            return false;
        }
        // What was added between the last look and the renaming is still to be read.
        if let Some(file) = &mut self.file
            && !self.old
        {
            let (at, length) = (file.stream_position().unwrap_or(0), file.get_ref().metadata().map_or(0, |m| m.len()));
            if at < length && file.seek(SeekFrom::Start(at)).is_ok() {
                return true;
            }
        }
        self.old = false;
        self.partial.clear();
        self.file = Some(BufReader::new(newest));
        true
    }
}

/// One condition. Those of one key are alternatives.
#[derive(Debug, PartialEq)]
enum Filter {
    /// A kind, and a name or the beginning of an id.
    Object(&'static str, String),
    Status(String),
    Kind(String),
    Label(String, Option<String>),
}

impl Filter {
    fn parse(text: &str) -> Result<Filter, Fault> {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Fault::invalid(format!("invalid filter {text:?}: expected KEY=VALUE")).hint("use event=start, say")
        })?;
        let owned = value.to_owned();
        Ok(match key.to_ascii_lowercase().as_str() {
            "container" => Filter::Object("container", owned),
            "image" => Filter::Object("image", owned),
            "volume" => Filter::Object("volume", owned),
            "network" => Filter::Object("network", owned),
            // Docker's word for it.
            "event" | "status" if value == "die" => Filter::Status("died".into()),
            "event" | "status" => Filter::Status(owned),
            "type" => Filter::Kind(owned),
            "label" => match value.split_once('=') {
                Some((key, value)) => Filter::Label(key.to_owned(), Some(value.to_owned())),
                None => Filter::Label(owned, None),
            },
            _ => {
                return Err(Fault::invalid(format!("{key} is an invalid filter"))
                    .hint("use container, event, image, label, network, type or volume"));
            }
        })
    }

    fn pass(filters: &[Filter], event: &Event) -> bool {
        filters.iter().all(|filter| match filter {
            Filter::Label(..) => filter.holds(event),
            _ => {
                let same = |other: &&Filter| std::mem::discriminant(*other) == std::mem::discriminant(filter);
                filters.iter().filter(same).any(|other| other.holds(event))
            }
        })
    }

    fn holds(&self, event: &Event) -> bool {
        match self {
            Filter::Object(kind, name) if event.kind == *kind => event.name == *name || event.id.starts_with(name),
            // Of which image a container is.
            Filter::Object("image", name) => {
                let repository = event.image.rsplit_once(':').map_or(event.image.as_str(), |(name, _)| name);
                event.image == *name || repository == *name || repository.rsplit('/').next() == Some(name)
            }
            Filter::Object(..) => false,
            Filter::Status(status) => event.status == *status,
            Filter::Kind(kind) => event.kind == *kind,
            Filter::Label(key, value) => {
                event.attributes.get(key).is_some_and(|v| value.as_ref().is_none_or(|wanted| wanted == v))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, status: &str) -> Event {
        Event {
            id: "abcdef".into(),
            name: name.into(),
            image: "localhost/busybox:latest".into(),
            status: status.into(),
            kind: "container".into(),
            time: moment(5),
            attributes: [("k".to_owned(), "v".to_owned())].into(),
            ..Event::default()
        }
    }

    #[test]
    fn filters_of_one_key_are_alternatives() {
        let one = event("web", "start");
        for (texts, passes) in [
            (&["container=web"][..], true),
            (&["container=abc"], true),
            (&["container=db"], false),
            (&["event=stop", "event=start"], true),
            (&["event=stop", "container=web"], false),
            (&["image=busybox"], true),
            (&["image=localhost/busybox"], true),
            (&["image=other"], false),
            (&["type=container", "label=k=v"], true),
            (&["type=image"], false),
            (&["label=k", "label=x"], false),
            (&["volume=web"], false),
        ] {
            let filters: Vec<Filter> = texts.iter().map(|t| Filter::parse(t).unwrap()).collect();
            assert_eq!(Filter::pass(&filters, &one), passes, "{texts:?}");
        }
        assert!(Filter::parse("colour=red").is_err() && Filter::parse("web").is_err());
    }

    #[test]
    fn what_is_appended_is_read_across_files() {
        let root = std::env::temp_dir().join(format!("events-{}", std::process::id()));
        let path = root.join("events").join("events.log");
        let line = |name: &str| serde_json::to_string(&event(name, "start")).unwrap() + "\n";
        append(&path, line("a").as_bytes()).unwrap();
        let mut reader = Reader::begin(&path);
        let mut names =
            |path: &Path| -> Vec<String> { std::iter::from_fn(|| reader.next(path)).map(|e| e.name).collect() };
        assert_eq!(names(&path), ["a"]);
        append(&path, b"{\"Name\":\"cut").unwrap();
        assert!(names(&path).is_empty());
        append(&path, b"\"}\n").unwrap();
        append(&path, line("b").as_bytes()).unwrap();
        let full = line(&"x".repeat(FULL as usize));
        append(&path, full.as_bytes()).unwrap();
        append(&path, line("c").as_bytes()).unwrap();
        let after = names(&path);
        assert_eq!((after.len(), after[0].as_str(), after[1].as_str(), after[3].as_str()), (4, "cut", "b", "c"));
        assert!(older(&path).exists() && std::fs::metadata(&path).unwrap().len() < 1000);
        let mut both = Reader::begin(&path);
        assert_eq!(std::iter::from_fn(|| both.next(&path)).count(), 5);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
