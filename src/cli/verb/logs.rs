//! `logs`: what containers have written.

use super::Verb;
use super::many::latest;
use crate::failure::Failure;
use crate::flag::{Flag, integer, short, switch, value};
use crate::program::{Program, plain};
use crate::time::{now, stamp};
use engine::moment::parse;
use jiff::tz::TimeZone;
use ops::container::{List, LogLine, Logs, Stream};
use std::io::Write;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    follow: bool,
    latest: bool,
    names: bool,
    since: Option<String>,
    tail: Option<u64>,
    timestamps: bool,
    until: Option<String>,
}

const FLAGS: &[Flag<Asked>] = &[
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
    if asked.follow && arguments.len() > 1 {
        return Err(Failure::new(format!(
            "--follow with several containers is not supported by monopod {} yet",
            env!("CARGO_PKG_VERSION")
        )));
    }
    let several = arguments.len() > 1;
    for name in arguments {
        let prefix = match (asked.names, several) {
            (true, _) => format!("{} ", name_of(&engine, &name)?),
            (_, true) => format!("{} ", engine.find(&name).map_err(plain)?.short()),
            _ => String::new(),
        };
        let request = Logs { name, follow: asked.follow, tail: asked.tail, since, until };
        let mut writer =
            Writer { prefix, timestamps: asked.timestamps, zone: zone.clone(), open: [false; 2], error: None };
        engine.logs(&request, &mut |line| writer.write(&line)).map_err(plain)?;
        if let Some(error) = writer.error {
            return Err(Failure::new(format!("cannot write the output: {error}")));
        }
    }
    Ok(0)
}

fn name_of(engine: &engine::Engine, name: &str) -> Result<String, Failure> {
    let id = engine.find(name).map_err(plain)?;
    let list = engine.list(&List { all: true, filters: vec![format!("id={id}")], ..List::default() }).map_err(plain)?;
    Ok(list.into_iter().find(|c| c.id == id).map_or_else(|| id.to_string(), |c| c.name))
}

struct Writer {
    prefix: String,
    timestamps: bool,
    zone: TimeZone,
    /// Of standard output and standard error: the line is not ended yet.
    open: [bool; 2],
    error: Option<std::io::Error>,
}

impl Writer {
    /// Writes a line where the container wrote it. False if that failed: the reader may stop.
    fn write(&mut self, line: &LogLine) -> bool {
        let bytes = self.render(line);
        let written = match line.stream {
            Stream::Stdout => {
                let mut out = std::io::stdout().lock();
                out.write_all(&bytes).and_then(|()| out.flush())
            }
            Stream::Stderr => std::io::stderr().lock().write_all(&bytes),
        };
        self.error = written.err();
        self.error.is_none()
    }

    fn render(&mut self, line: &LogLine) -> Vec<u8> {
        let open = &mut self.open[usize::from(line.stream == Stream::Stderr)];
        let mut bytes = Vec::with_capacity(line.text.len() + 40);
        if !*open {
            bytes.extend_from_slice(self.prefix.as_bytes());
            if self.timestamps {
                bytes.extend_from_slice(stamp(line.time, &self.zone).as_bytes());
                bytes.push(b' ');
            }
        }
        bytes.extend_from_slice(&line.text);
        if !line.partial {
            bytes.push(b'\n');
        }
        *open = line.partial;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_line_are_joined() {
        let mut writer =
            Writer { prefix: "web ".into(), timestamps: true, zone: TimeZone::UTC, open: [false; 2], error: None };
        let mut render = |text: &str, stream, partial| {
            let line = LogLine { time: 1_700_000_000_000_000_000, stream, text: text.into(), partial };
            String::from_utf8(writer.render(&line)).unwrap()
        };
        assert_eq!(render("a", Stream::Stdout, true), "web 2023-11-14T22:13:20.000000000Z a");
        assert_eq!(render("e", Stream::Stderr, false), "web 2023-11-14T22:13:20.000000000Z e\n");
        assert_eq!(render("b", Stream::Stdout, false), "b\n");
        assert_eq!(render("c", Stream::Stdout, false), "web 2023-11-14T22:13:20.000000000Z c\n");
    }
}
