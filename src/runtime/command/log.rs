//! Errors where engines read them: a file of JSON lines or of text ([`logrus`](https://github.com/sirupsen/logrus)'s two
//! formats, which runc and crun write), and standard error.

use super::failure::Failure;
use super::flags::Words;
use jiff::Timestamp;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::Write;

/// Where messages go.
#[derive(Debug, Default)]
pub(crate) struct Log {
    file: Option<File>,
    json: bool,
    least: Level,
}

/// How much is told: what weighs less is not.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Debug,
    #[default]
    Warning,
    Error,
}

#[derive(Serialize)]
struct Line<'a> {
    level: &'a str,
    msg: &'a str,
    time: String,
}

impl Log {
    /// What `--log`, `--log-format`, `--log-level` and `--debug` say. crun's `file:PATH` is understood.
    pub fn open(globals: &Words) -> Result<Log, Failure> {
        let json = match globals.value("log-format") {
            None | Some("text") => false,
            Some("json") => true,
            Some(value) => {
                return Err(Failure::Value { flag: "log-format", value: value.into(), expected: "text or json" });
            }
        };
        let file = match globals.value("log").map(|path| path.strip_prefix("file:").unwrap_or(path)) {
            None | Some("" | "/dev/stderr") => None,
            Some(place) if place.starts_with("syslog:") || place.starts_with("journald:") => {
                return Err(Failure::Unsupported { what: format!("--log {place}"), instead: "give a file" });
            }
            Some(path) => {
                Some(OpenOptions::new().append(true).create(true).open(path).map_err(|source| Failure::File {
                    step: "open the log",
                    path: path.into(),
                    source,
                })?)
            }
        };
        let least = match globals.value("log-level") {
            _ if globals.has("debug") => Level::Debug,
            None => Level::default(),
            Some("debug") => Level::Debug,
            Some("warning") => Level::Warning,
            Some("error") => Level::Error,
            Some(value) => {
                let expected = "debug, warning or error";
                return Err(Failure::Value { flag: "log-level", value: value.into(), expected });
            }
        };
        Ok(Log { file, json, least })
    }

    /// Why the command failed: in the log, and on standard error for those who look there only.
    pub fn error(&self, message: &str) {
        self.write("error", message);
        if self.file.is_some() {
            let _ = writeln!(std::io::stderr(), "{message}");
        }
    }

    /// What is done, with `--debug`.
    pub fn debug(&self, message: &str) {
        if self.least <= Level::Debug {
            self.write("debug", message);
        }
    }

    /// What is odd but no reason to fail.
    pub fn warning(&self, message: &str) {
        if self.least <= Level::Warning {
            self.write("warning", message);
        }
    }

    fn write(&self, level: &str, message: &str) {
        // There is nobody to tell that it cannot be told.
        let _ = match &self.file {
            Some(file) => (&*file).write_all(self.line(level, message).as_bytes()),
            None => std::io::stderr().write_all(self.line(level, message).as_bytes()),
        };
    }

    fn line(&self, level: &str, message: &str) -> String {
        let time = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default().to_string();
        if self.json {
            return serde_json::to_string(&Line { level, msg: message, time }).unwrap_or_default() + "\n";
        }
        format!("time={time:?} level={level} msg={message:?}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_engines_parse_them() {
        let json = Log { json: true, ..Log::default() }.line("error", "a \"b\"\n");
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((read["level"].as_str(), read["msg"].as_str()), (Some("error"), Some("a \"b\"\n")));
        assert!(read["time"].as_str().unwrap().parse::<Timestamp>().is_ok());
        assert!(json.ends_with("}\n"));
        let text = Log::default().line("error", "a b");
        assert!(text.starts_with("time=\"20") && text.ends_with("Z\" level=error msg=\"a b\"\n"), "{text}");
    }
}
