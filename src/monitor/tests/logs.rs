//! Logs as files: their formats to the byte, rotation, and reading from the end, between times and onwards.

use super::Monitored;
use crate::LogFile;
use crate::log::{Driver, Line, Options, Stream, Writer, read};
use crate::record::{Exit, Running};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use types::attach::Frame;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = std::env::temp_dir().join(format!("logs-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Place(dir)
    }

    fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    fn writer(&self, driver: Driver, max_size: Option<u64>) -> Writer {
        Writer::open(LogFile { driver, path: self.log(), max_size }).unwrap()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::new(1_767_225_600 + seconds, 5).unwrap()
}

fn lines(path: &Path, driver: Driver, options: Options) -> Vec<Line> {
    read(path, driver, options).unwrap().map(Result::unwrap).collect()
}

fn texts(lines: &[Line]) -> Vec<String> {
    lines.iter().map(|line| String::from_utf8(line.text.clone()).unwrap()).collect()
}

#[test]
fn k8s_file_to_the_byte() {
    let place = Place::new("k8s");
    let mut writer = place.writer(Driver::K8sFile, None);
    writer.append(Stream::Stdout, b"one\n\ntw", at(0));
    writer.append(Stream::Stderr, b"err\r\n", at(1));
    writer.append(Stream::Stdout, b"o\xff\n", at(2));
    let expected = b"2026-01-01T00:00:00.000000005+00:00 stdout F one\n\
        2026-01-01T00:00:00.000000005+00:00 stdout F \n\
        2026-01-01T00:00:00.000000005+00:00 stdout P tw\n\
        2026-01-01T00:00:01.000000005+00:00 stderr F err\r\n\
        2026-01-01T00:00:02.000000005+00:00 stdout F o\xff\n";
    assert_eq!(std::fs::read(place.log()).unwrap(), expected);
    let lines = lines(&place.log(), Driver::K8sFile, Options::default());
    let parts: Vec<_> = lines.iter().map(|l| (l.stream, &l.text[..], l.partial)).collect();
    let out = Stream::Stdout;
    assert_eq!(
        parts,
        [
            (out, &b"one"[..], false),
            (out, b"", false),
            (out, b"tw", true),
            (Stream::Stderr, b"err\r", false),
            (out, b"o\xff", false),
        ]
    );
    assert_eq!(lines[0].time, 1_767_225_600_000_000_005);
}

#[test]
fn json_file_to_the_byte() {
    let place = Place::new("json");
    let mut writer = place.writer(Driver::JsonFile, None);
    writer.append(Stream::Stdout, b"say \"hi\"\\\t\x1b[0m\n", at(0));
    // A character cut by the end of a read, and bytes that are none.
    writer.append(Stream::Stdout, b"t\xc3", at(1));
    writer.append(Stream::Stdout, b"\xa4st\xfe\n\xe2\x82", at(1));
    writer.finish();
    assert_eq!(
        place.text(),
        "{\"log\":\"say \\\"hi\\\"\\\\\\t\\u001b[0m\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00.000000005+00:00\"}\n\
         {\"log\":\"t\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:01.000000005+00:00\"}\n\
         {\"log\":\"äst\u{fffd}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:01.000000005+00:00\"}\n\
         {\"log\":\"\u{fffd}\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:01.000000005+00:00\"}\n"
    );
    let lines = lines(&place.log(), Driver::JsonFile, Options::default());
    assert_eq!(texts(&lines), ["say \"hi\"\\\t\u{1b}[0m", "t", "äst\u{fffd}", "\u{fffd}"]);
    assert_eq!(lines.iter().map(|l| l.partial).collect::<Vec<_>>(), [false, true, false, true]);
}

#[test]
fn a_line_longer_than_every_buffer_is_one_line() {
    for driver in [Driver::K8sFile, Driver::JsonFile] {
        let place = Place::new("long");
        let mut writer = place.writer(driver, None);
        let long = "\u{1}ä".repeat(100_000);
        for piece in long.as_bytes().chunks(32_767) {
            writer.append(Stream::Stdout, piece, at(0));
        }
        writer.append(Stream::Stdout, b"\nlast\n", at(0));
        let lines = lines(&place.log(), driver, Options::default());
        let (last, parts) = lines.split_last().unwrap();
        assert!(parts.concat_texts() == long.as_bytes());
        assert!(parts.iter().rev().skip(1).all(|p| p.partial) && !parts.last().unwrap().partial);
        assert_eq!((&last.text[..], last.partial), (&b"last"[..], false));
        let tail = read(&place.log(), driver, Options { tail: Some(2), ..Options::default() }).unwrap();
        assert_eq!(tail.count(), lines.len(), "the long line and the last");
    }
}

trait Texts {
    fn concat_texts(&self) -> Vec<u8>;
}

impl Texts for [Line] {
    fn concat_texts(&self) -> Vec<u8> {
        self.iter().flat_map(|line| line.text.clone()).collect()
    }
}

#[test]
fn the_tail_is_found_from_the_end_in_both_files() {
    for driver in [Driver::K8sFile, Driver::JsonFile] {
        let place = Place::new("tail");
        let mut writer = place.writer(driver, Some(4500));
        for number in 0..100 {
            writer.append(Stream::Stdout, format!("line {number}\n").as_bytes(), at(number));
        }
        assert!(place.0.join("log.1").exists(), "it was not rotated");
        for wanted in [0, 1, 7, 99, 100, 1000] {
            let tail = Options { tail: Some(wanted), ..Options::default() };
            let got = texts(&lines(&place.log(), driver, tail));
            let kept = lines(&place.log(), driver, Options::default()).len() as u64;
            assert!(kept >= 60);
            let first = 100 - wanted.min(kept);
            assert_eq!(got, (first..100).map(|n| format!("line {n}")).collect::<Vec<_>>(), "{wanted} of {kept}");
        }
    }
}

#[test]
fn an_unfinished_line_counts_as_one() {
    let place = Place::new("unfinished");
    let mut writer = place.writer(Driver::K8sFile, None);
    writer.append(Stream::Stdout, b"one\ntwo\nthr", at(0));
    writer.append(Stream::Stdout, b"ee", at(1));
    let tail = |n| texts(&lines(&place.log(), Driver::K8sFile, Options { tail: Some(n), ..Options::default() }));
    assert_eq!(tail(0), [""; 0]);
    assert_eq!(tail(1), ["thr", "ee"]);
    assert_eq!(tail(2), ["two", "thr", "ee"]);
}

#[test]
fn between_two_times() {
    let place = Place::new("times");
    let mut writer = place.writer(Driver::K8sFile, None);
    for number in 0..10 {
        writer.append(Stream::Stdout, format!("{number}\n").as_bytes(), at(number));
    }
    let ns = |n: i64| at(n).as_nanosecond() as i64;
    let options = Options { since: Some(ns(3)), until: Some(ns(5)), ..Options::default() };
    assert_eq!(texts(&lines(&place.log(), Driver::K8sFile, options)), ["3", "4", "5"]);
    let long_ago = Options { until: Some(0), ..Options::default() };
    assert!(lines(&place.log(), Driver::K8sFile, long_ago).is_empty());
}

#[test]
fn what_is_no_record_is_passed_over() {
    let place = Place::new("damage");
    std::fs::write(
        place.log(),
        b"\n\xff\xfe\nnot a record\n2026-01-01T00:00:00Z stdout F yes\n2026-01-01T00:00:00Z stdout F cut",
    )
    .unwrap();
    assert_eq!(texts(&lines(&place.log(), Driver::K8sFile, Options::default())), ["yes"]);
    let tail = Options { tail: Some(5), ..Options::default() };
    assert_eq!(texts(&lines(&place.log(), Driver::K8sFile, tail)), ["yes"]);
    assert!(lines(&place.0.join("none"), Driver::JsonFile, Options::default()).is_empty());
}

#[test]
fn a_follower_loses_nothing_to_rotation_and_ends_with_the_run() {
    let place = Place::new("follow");
    let own = std::process::id() as i32;
    let start = sys::process::start_time(own).unwrap();
    let running =
        Running { pid: own, start_time: start, monitor_pid: own, monitor_start_time: start, ..Running::default() };
    running.write(&place.0).unwrap();
    let mut writer = place.writer(Driver::K8sFile, Some(20_000));
    let (log, run_dir) = (place.log(), place.0.clone());
    let reader = std::thread::spawn(move || {
        texts(&lines(&log, Driver::K8sFile, Options { follow: Some(run_dir), ..Options::default() }))
    });
    for number in 0..3000 {
        writer.append(Stream::Stdout, format!("line {number}\n").as_bytes(), at(0));
        if number % 100 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    Exit::default().write(&place.0, false).unwrap();
    assert_eq!(reader.join().unwrap(), (0..3000).map(|n| format!("line {n}")).collect::<Vec<_>>());
}

#[test]
fn a_follower_of_a_container_ends_with_it() {
    for kill_the_monitor in [false, true] {
        let mut monitored = Monitored::new("echo one; read x; echo two; exec sleep 60", |launch| {
            let path = launch.run_dir.as_ref().unwrap().join("log");
            launch.log = Some(LogFile { driver: Driver::JsonFile, path, max_size: None });
            launch.stdin = true;
        });
        monitored.start();
        let follow = Some(monitored.dir.clone());
        let mut reader =
            read(&monitored.dir.join("log"), Driver::JsonFile, Options { follow, ..Options::default() }).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().text, b"one");
        monitored.client.send(&Frame::Stdin(b"\n")).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().text, b"two");
        let running = Running::read(&monitored.dir).unwrap();
        if kill_the_monitor {
            sys::process::kill(running.monitor_pid, running.monitor_start_time, 9).unwrap();
        }
        sys::process::kill(running.pid, running.start_time, 9).unwrap();
        assert!(reader.next().is_none());
        assert_eq!(Exit::read(&monitored.dir).is_some(), !kill_the_monitor);
    }
}

#[test]
fn rotation_keeps_the_size() {
    let place = Place::new("size");
    let mut writer = place.writer(Driver::K8sFile, Some(4096));
    for number in 0..1000 {
        writer.append(Stream::Stderr, format!("{number} {}\n", "x".repeat(number % 50)).as_bytes(), at(0));
        let size = |name: &str| std::fs::metadata(place.0.join(name)).map_or(0, |m| m.len());
        assert!(size("log") <= 4096 && size("log.1") <= 4096);
    }
    // Opened again, it goes on where it was.
    let before = place.text().len();
    place.writer(Driver::K8sFile, Some(1 << 20)).append(Stream::Stdout, b"again\n", at(0));
    assert_eq!(place.text().len(), before + "2026-01-01T00:00:00.000000005+00:00 stdout F again\n".len());
}
