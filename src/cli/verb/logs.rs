//! `logs`: what containers have written.

use super::Verb;
use super::many::latest;
use crate::failure::Failure;
use crate::flag::{Flag, integer, short, switch, value};
use crate::program::{Program, plain};
use crate::time::{now, stamp};
use engine::LogLines;
use engine::moment::parse;
use jiff::tz::TimeZone;
use ops::container::{List, LogLine, Logs, Stream};
use std::io::Write;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    color: bool,
    follow: bool,
    latest: bool,
    names: bool,
    since: Option<String>,
    tail: Option<u64>,
    timestamps: bool,
    until: Option<String>,
}

const FLAGS: &[Flag<Asked>] = &[
    switch("color", "Print the lines of each container in a colour of its own", |r, on| r.color = on),
    short('f', switch("follow", "Go on until the container ends", |r, on| r.follow = on)),
    short('l', switch("latest", "Act on the container made last", |r, on| r.latest = on)),
    short('n', switch("names", "Print the container's name before each line", |r, on| r.names = on)),
    value("since", "string", "Not before this time (RFC 3339, seconds since 1970, or a duration ago)", |r, v| {
        r.since = Some(v.into());
        Ok(())
    }),
    value("tail", "int", "Only the last lines (default all)", |r, v| {
        let number: i64 = if v == "all" { -1 } else { integer(v)? };
        r.tail = u64::try_from(number).ok();
        Ok(())
    }),
    short('t', switch("timestamps", "Print the time before each line", |r, on| r.timestamps = on)),
    value("until", "string", "Not after this time", |r, v| {
        r.until = Some(v.into());
        Ok(())
    }),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "logs",
    usage: "CONTAINER [CONTAINER...]",
    about: "Fetch the logs of one or more containers",
    examples: &["ctrID", "--tail 2 mywebserver", "--follow=true --since 10m ctrID"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, mut arguments: Vec<String>) -> Result<u8, Failure> {
    if asked.latest && !arguments.is_empty() {
        return Err(Failure::new("--latest and containers cannot be used together"));
    }
    let zone = TimeZone::system();
    let now = now();
    let point = |flag: &str, text: &Option<String>| match text {
        Some(text) => match parse(text, now, &zone) {
            Ok(time) => Ok(Some(time)),
            Err(why) => Err(Failure::new(format!("parsing --{flag} {text:?}: {why}"))),
        },
        None => Ok(None),
    };
    let (since, until) = (point("since", &asked.since)?, point("until", &asked.until)?);
    let engine = program.engine()?;
    if asked.latest {
        arguments.push(latest(&engine)?.id.to_string());
    }
    if arguments.is_empty() {
        return Err(Failure::new("specify at least one container name or ID to log"));
    }
    if asked.color && arguments.len() == 1 && !asked.names {
        program.warn("Warning: --color tells containers apart: it shows with several containers or with --names");
    }
    let several = arguments.len() > 1;
    let mut sources = Vec::new();
    for (at, name) in arguments.into_iter().enumerate() {
        let prefix = match (asked.names, several) {
            (true, _) => format!("{} ", name_of(&engine, &name)?),
            (_, true) => format!("{} ", engine.find(&name).map_err(plain)?.short()),
            _ => String::new(),
        };
        let color = (asked.color && !prefix.is_empty()).then_some(COLORS[at % COLORS.len()]);
        let request = Logs { name, follow: asked.follow, tail: asked.tail, since, until };
        let lines = engine.logs(&request).map_err(plain)?;
        let writer = Writer::new(prefix, color, asked.timestamps, zone.clone());
        sources.push((lines, writer));
    }
    if !asked.follow || !several {
        return sources.into_iter().try_for_each(|(lines, writer)| writer.copy(lines)).map(|()| 0);
    }
    // Each container's lines as they come, whole lines between those of the others.
    std::thread::scope(|scope| {
        let copying: Vec<_> =
            sources.into_iter().map(|(lines, writer)| scope.spawn(move || writer.copy(lines))).collect();
        let ends =
            copying.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ends.collect::<Result<Vec<()>, Failure>>().map(|_| 0)
    })
}

fn name_of(engine: &engine::Engine, name: &str) -> Result<String, Failure> {
    let id = engine.find(name).map_err(plain)?;
    let list = engine.list(&List { all: true, filters: vec![format!("id={id}")], ..List::default() }).map_err(plain)?;
    Ok(list.into_iter().find(|c| c.id == id).map_or_else(|| id.to_string(), |c| c.name))
}

/// Colours of containers, as escape sequences of terminals name them.
const COLORS: [&str; 6] = ["37", "31", "33", "34", "35", "32"];
/// Bytes that are collected before they are written.
const PIECE: usize = 64 * 1024;

/// Writes the lines of one container.
struct Writer {
    prefix: String,
    color: Option<&'static str>,
    timestamps: bool,
    zone: TimeZone,
    /// Of standard output and standard error: the line is not ended yet.
    open: [bool; 2],
    /// What is not written yet, and where it goes.
    waiting: Vec<u8>,
    stream: Stream,
}

impl Writer {
    fn new(prefix: String, color: Option<&'static str>, timestamps: bool, zone: TimeZone) -> Writer {
        Writer { prefix, color, timestamps, zone, open: [false; 2], waiting: Vec::new(), stream: Stream::Stdout }
    }

    /// Writes each line where the container wrote it, many at a time, and none later than the next is waited for.
    fn copy(mut self, mut lines: LogLines) -> Result<(), Failure> {
        while let Some(line) = lines.next() {
            let line = line.map_err(plain)?;
            if line.stream != self.stream {
                self.flush()?;
                self.stream = line.stream;
            }
            self.render(&line);
            if self.waiting.len() > PIECE || !lines.is_at_hand() {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let written = match self.stream {
            Stream::Stdout => {
                let mut out = std::io::stdout().lock();
                out.write_all(&self.waiting).and_then(|()| out.flush())
            }
            Stream::Stderr => std::io::stderr().lock().write_all(&self.waiting),
        };
        self.waiting.clear();
        written.map_err(|error| Failure::new(format!("cannot write the output: {error}")))
    }

    fn render(&mut self, line: &LogLine) {
        let open = &mut self.open[usize::from(line.stream == Stream::Stderr)];
        let bytes = &mut self.waiting;
        if !*open {
            if let Some(color) = self.color {
                bytes.extend_from_slice(format!("\x1b[{color}m").as_bytes());
            }
            bytes.extend_from_slice(self.prefix.as_bytes());
            if self.timestamps {
                bytes.extend_from_slice(stamp(line.time, &self.zone).as_bytes());
                bytes.push(b' ');
            }
        }
        bytes.extend_from_slice(&line.text);
        if !line.partial {
            bytes.extend_from_slice(if self.color.is_some() { b"\x1b[0m\n" } else { b"\n" });
        }
        *open = line.partial;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_line_are_joined() {
        let mut writer = Writer::new("web ".into(), None, true, TimeZone::UTC);
        let mut render = |text: &str, stream, partial| {
            writer.waiting.clear();
            writer.render(&LogLine { time: 1_700_000_000_000_000_000, stream, text: text.into(), partial });
            String::from_utf8(writer.waiting.clone()).unwrap()
        };
        assert_eq!(render("a", Stream::Stdout, true), "web 2023-11-14T22:13:20.000000000Z a");
        assert_eq!(render("e", Stream::Stderr, false), "web 2023-11-14T22:13:20.000000000Z e\n");
        assert_eq!(render("b", Stream::Stdout, false), "b\n");
        assert_eq!(render("c", Stream::Stdout, false), "web 2023-11-14T22:13:20.000000000Z c\n");
    }
}
