//! Writing a log: everything that one read brought goes out in as few writes as fit the buffer.

use super::{Driver, Stream};
use crate::LogFile;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::Offset;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Bytes collected before they are written.
const BUFFER: usize = 32 * 1024;

/// The log of one container, being written.
///
/// A disk that is full costs records, not the container: what cannot be written is dropped, and the next record begins
/// on a line of its own.
#[derive(Debug)]
pub struct Writer {
    config: LogFile,
    file: File,
    /// Bytes in the file and in `buffer`.
    size: u64,
    buffer: Vec<u8>,
    /// The time of the records being written, as text.
    time: Vec<u8>,
    /// json-file: the bytes of a character cut by the end of a read, for each stream.
    cut: [Vec<u8>; 2],
    broken: bool,
}

impl Writer {
    /// Opens the log for appending; a missing one is made, readable by its owner only.
    pub fn open(config: LogFile) -> std::io::Result<Writer> {
        let file = append_to(&config.path)?;
        let size = file.metadata()?.len();
        let cut = [Vec::new(), Vec::new()];
        Ok(Writer { config, file, size, buffer: Vec::new(), time: Vec::new(), cut, broken: false })
    }

    /// Appends what was read from `stream` at `now`. Text after the last end of line becomes a partial record.
    pub fn append(&mut self, stream: Stream, data: &[u8], now: Timestamp) {
        self.time.clear();
        let printer = DateTimePrinter::new().precision(Some(9));
        // Writing to memory cannot fail.
        let _ = printer.print_timestamp_with_offset(&now, Offset::UTC, &mut self.time);
        let joined;
        let mut rest = data;
        if self.config.driver == Driver::JsonFile {
            let carry = &mut self.cut[stream as usize];
            if !carry.is_empty() {
                carry.extend_from_slice(data);
                joined = std::mem::take(carry);
                rest = &joined;
            }
            let whole = rest.len() - cut_character(rest);
            self.cut[stream as usize].extend_from_slice(&rest[whole..]);
            rest = &rest[..whole];
        }
        while !rest.is_empty() {
            match rest.iter().position(|b| *b == b'\n') {
                Some(end) => {
                    self.record(stream, &rest[..end], true);
                    rest = &rest[end + 1..];
                }
                None => {
                    self.record(stream, rest, false);
                    rest = &[];
                }
            }
        }
        self.flush();
    }

    /// Writes what a character cut at the very end left behind, and gives back memory that only output needs.
    pub fn finish(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.cut[stream as usize]);
            if !rest.is_empty() {
                self.record(stream, &rest, false);
            }
        }
        self.flush();
        self.rest();
    }

    /// Gives back the memory that only output needs.
    pub fn rest(&mut self) {
        self.buffer = Vec::new();
    }

    fn record(&mut self, stream: Stream, text: &[u8], whole: bool) {
        let name: &[u8] = if stream == Stream::Stdout { b"stdout" } else { b"stderr" };
        let overhead = match self.config.driver {
            Driver::K8sFile => self.time.len() + 11,
            Driver::JsonFile => self.time.len() + 41,
        };
        let length = (overhead + text.len()) as u64;
        if self.size > 0 && self.config.max_size.is_some_and(|max| self.size + length > max) {
            self.rotate();
        }
        let before = self.buffer.len() as u64;
        let mut flushed = 0;
        match self.config.driver {
            Driver::K8sFile => {
                self.buffer.extend_from_slice(&self.time);
                self.buffer.push(b' ');
                self.buffer.extend_from_slice(name);
                self.buffer.extend_from_slice(if whole { b" F " } else { b" P " });
                self.buffer.extend_from_slice(text);
                self.buffer.push(b'\n');
            }
            Driver::JsonFile => {
                self.buffer.extend_from_slice(b"{\"log\":\"");
                for chunk in text.utf8_chunks() {
                    for byte in chunk.valid().bytes() {
                        escape(byte, &mut self.buffer);
                        if self.buffer.len() >= BUFFER {
                            flushed += self.buffer.len() as u64;
                            self.flush();
                        }
                    }
                    if !chunk.invalid().is_empty() {
                        self.buffer.extend_from_slice("\u{fffd}".as_bytes());
                    }
                }
                self.buffer.extend_from_slice(if whole { b"\\n\",\"stream\":\"" } else { b"\",\"stream\":\"" });
                self.buffer.extend_from_slice(name);
                self.buffer.extend_from_slice(b"\",\"time\":\"");
                self.buffer.extend_from_slice(&self.time);
                self.buffer.extend_from_slice(b"\"}\n");
            }
        }
        self.size += flushed + self.buffer.len() as u64 - before;
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    fn rotate(&mut self) {
        self.flush();
        let mut older = self.config.path.clone().into_os_string();
        older.push(".1");
        if std::fs::rename(&self.config.path, PathBuf::from(older)).is_err() {
            return;
        }
        if let Ok(file) = append_to(&self.config.path) {
            self.file = file;
            self.size = 0;
        }
    }

    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if self.broken {
            self.broken = self.file.write_all(b"\n").is_err();
        }
        if !self.broken {
            self.broken = self.file.write_all(&self.buffer).is_err();
        }
        self.buffer.clear();
    }
}

/// How many bytes at the end of `data` begin a character of UTF-8 that goes on later: 0 to 3.
fn cut_character(data: &[u8]) -> usize {
    for length in 1..=3.min(data.len()) {
        let byte = data[data.len() - length];
        let needs = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if needs > length { length } else { 0 };
    }
    0
}

fn escape(byte: u8, to: &mut Vec<u8>) {
    match byte {
        b'"' => to.extend_from_slice(b"\\\""),
        b'\\' => to.extend_from_slice(b"\\\\"),
        b'\n' => to.extend_from_slice(b"\\n"),
        b'\r' => to.extend_from_slice(b"\\r"),
        b'\t' => to.extend_from_slice(b"\\t"),
        0..=0x1f | 0x7f => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            to.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]);
        }
        _ => to.push(byte),
    }
}

fn append_to(path: &std::path::Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
