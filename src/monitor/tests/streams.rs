//! Bytes in and out.

use super::{Monitored, hear, hear_until, is_there, until};
use crate::log::{self, Driver, Stream};
use crate::{Client, LogFile};
use std::os::fd::AsFd;
use std::time::Duration;
use types::attach::{Frame, MAX_DATA};

/// 200,000 numbered lines.
const NUMBERS: &str = "i=0; while [ $i -lt 200 ]; do seq $((i*1000)) $((i*1000+999)); i=$((i+1)); done";

fn numbers() -> Vec<u8> {
    (0..200_000).flat_map(|n| format!("{n}\n").into_bytes()).collect()
}

fn logged(monitored: &Monitored, stream: Stream) -> Vec<u8> {
    let mut text = Vec::new();
    for line in log::read(&monitored.dir.join("log"), Driver::K8sFile, log::Options::default()).unwrap() {
        let line = line.unwrap();
        if line.stream == stream {
            text.extend_from_slice(&line.text);
            if !line.partial {
                text.push(b'\n');
            }
        }
    }
    text
}

fn with_log(launch: &mut crate::Launch) {
    let path = launch.run_dir.as_ref().unwrap().join("log");
    launch.log = Some(LogFile { driver: Driver::K8sFile, path, max_size: None });
}

#[test]
fn both_streams_and_the_code_arrive() {
    let mut monitored = Monitored::new("echo out; echo err >&2; exit 7", with_log);
    monitored.start();
    let heard = monitored.hear();
    assert_eq!((&heard.stdout[..], &heard.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(heard.exited, Some((7, false)));
    assert_eq!(logged(&monitored, Stream::Stdout), b"out\n");
    assert_eq!(logged(&monitored, Stream::Stderr), b"err\n");
    let exit = monitored.exit();
    assert_eq!((exit.code, exit.oom, exit.error.as_str()), (7, false, ""));
    assert!(exit.finished_ns > 1_700_000_000_000_000_000);
}

#[test]
fn megabytes_arrive_whole_and_in_order() {
    let mut monitored = Monitored::new(NUMBERS, with_log);
    monitored.start();
    let heard = monitored.hear();
    assert!(heard.stdout == numbers());
    assert_eq!(heard.exited, Some((0, false)));
    assert!(logged(&monitored, Stream::Stdout) == numbers());
}

#[test]
fn a_slow_client_slows_the_container_and_loses_nothing() {
    let mut monitored = Monitored::new(&format!("{NUMBERS}; touch $DIR/done"), with_log);
    monitored.ready();
    let mut quick = Client::connect(&monitored.dir).unwrap();
    monitored.client.send(&Frame::Start).unwrap();
    assert_eq!(quick.receive().unwrap(), Some(Frame::Started));
    let reader = std::thread::spawn(move || hear(&mut quick));
    std::thread::sleep(Duration::from_millis(400));
    assert!(!monitored.dir.join("done").exists(), "the container ran ahead of a client that reads nothing");
    assert_eq!(monitored.client.receive().unwrap(), Some(Frame::Started));
    assert!(monitored.hear().stdout == numbers());
    assert!(reader.join().unwrap().stdout == numbers());
    assert!(monitored.dir.join("done").exists());
}

#[test]
fn a_client_that_dies_without_reading_stops_nobody() {
    let mut monitored = Monitored::new(NUMBERS, with_log);
    monitored.ready();
    // One that holds the connection in a process of its own, reads nothing, and is killed.
    let held = Client::connect(&monitored.dir).unwrap();
    let holder = sys::role::fork(|| {
        std::thread::sleep(Duration::from_secs(60));
        0
    })
    .unwrap();
    drop(held);
    monitored.client.send(&Frame::Start).unwrap();
    assert_eq!(monitored.client.receive().unwrap(), Some(Frame::Started));
    std::thread::sleep(Duration::from_millis(100));
    sys::reactor::send_to_child(holder, 9).unwrap();
    rustix::process::waitpid(rustix::process::Pid::from_raw(holder), rustix::process::WaitOptions::empty()).unwrap();
    assert!(monitored.hear().stdout == numbers());
    assert!(logged(&monitored, Stream::Stdout) == numbers());
}

#[test]
fn output_goes_on_into_the_log_when_the_caller_is_gone() {
    let mut monitored = Monitored::new(NUMBERS, with_log);
    monitored.start();
    let (ours, _) = sys::channel::pair().unwrap();
    drop(std::mem::replace(&mut monitored.client, Client::new(ours)));
    assert_eq!(monitored.exit().code, 0);
    assert!(logged(&monitored, Stream::Stdout) == numbers());
}

#[test]
fn input_comes_back_through_cat() {
    let mut monitored = Monitored::new("cat", |launch| launch.stdin = true);
    monitored.start();
    let sent = numbers();
    let mut writer = Client::connect(&monitored.dir).unwrap();
    let copy = sent.clone();
    // A client has to listen while it speaks: it is as slow as its slower half.
    let mut listener = Client::new(writer.as_fd().try_clone_to_owned().unwrap());
    let thread = std::thread::spawn(move || hear(&mut listener));
    std::thread::spawn(move || {
        for piece in copy.chunks(MAX_DATA) {
            writer.send(&Frame::Stdin(piece)).unwrap();
        }
        writer.send(&Frame::CloseStdin).unwrap();
    });
    let heard = monitored.hear();
    assert!(heard.stdout == sent);
    assert_eq!(heard.exited, Some((0, false)));
    assert!(thread.join().unwrap().stdout == sent);
}

#[test]
fn without_input_there_is_an_empty_one() {
    let mut monitored = Monitored::new("cat; while [ ! -e $DIR/sent ]; do sleep 0.01; done; echo end", |_| {});
    monitored.start();
    monitored.client.send(&Frame::Stdin(b"lost")).unwrap();
    std::fs::write(monitored.dir.join("sent"), "").unwrap();
    assert_eq!(monitored.hear().stdout, b"end\n");
}

#[test]
fn input_ends_with_a_client_that_vanishes_but_not_with_one_that_detaches() {
    let mut monitored =
        Monitored::new("while read line; do echo \"got $line\"; done; echo end", |launch| launch.stdin = true);
    monitored.start();
    let mut detaching = Client::connect(&monitored.dir).unwrap();
    detaching.send(&Frame::Stdin(b"one\n")).unwrap();
    detaching.send(&Frame::Detach).unwrap();
    drop(detaching);
    hear_until(&mut monitored.client, "got one\n");
    // A client that only listens ends nothing either.
    drop(Client::connect(&monitored.dir).unwrap());
    let mut vanishing = Client::connect(&monitored.dir).unwrap();
    vanishing.send(&Frame::Stdin(b"two\n")).unwrap();
    drop(vanishing);
    assert_eq!(monitored.hear().stdout, b"got two\nend\n");
}

#[test]
fn input_left_open_survives_its_clients() {
    let mut monitored = Monitored::new("while read line; do echo \"got $line\"; done; echo end", |launch| {
        launch.stdin = true;
        launch.leave_stdin_open = true;
    });
    let pid = monitored.start();
    let mut first = Client::connect(&monitored.dir).unwrap();
    first.send(&Frame::Stdin(b"one\n")).unwrap();
    first.send(&Frame::CloseStdin).unwrap();
    drop(first);
    hear_until(&mut monitored.client, "got one\n");
    monitored.client.send(&Frame::Stdin(b"two\n")).unwrap();
    hear_until(&mut monitored.client, "got two\n");
    assert!(is_there(pid));
    monitored.client.send(&Frame::Signal(9)).unwrap();
    assert_eq!(monitored.hear().exited, Some((137, false)));
}

#[test]
fn a_full_input_keeps_no_signal_from_another_connection() {
    let mut monitored = Monitored::new("exec sleep 60", |launch| launch.stdin = true);
    let pid = monitored.start();
    let mut writer = Client::connect(&monitored.dir).unwrap();
    let thread = std::thread::spawn(move || {
        let piece = [b'x'; MAX_DATA];
        while writer.send(&Frame::Stdin(&piece)).is_ok() {}
    });
    std::thread::sleep(Duration::from_millis(200));
    assert!(is_there(pid));
    Client::connect(&monitored.dir).unwrap().send(&Frame::Signal(15)).unwrap();
    assert_eq!(monitored.hear().exited, Some((143, false)));
    thread.join().unwrap();
}

#[test]
fn a_terminal_has_the_size_it_was_given() {
    let script = "trap 'stty size; exit 3' WINCH; stty size; while :; do sleep 0.05; done";
    let mut monitored = Monitored::new(script, |launch| {
        launch.terminal = true;
        launch.stdin = true;
    });
    monitored.client.send(&Frame::Resize { rows: 12, columns: 34 }).unwrap();
    monitored.start();
    assert_eq!(hear_until(&mut monitored.client, "34\r\n"), "12 34\r\n");
    monitored.client.send(&Frame::Resize { rows: 56, columns: 78 }).unwrap();
    let heard = monitored.hear();
    assert_eq!(String::from_utf8(heard.stdout).unwrap(), "56 78\r\n");
    assert_eq!(heard.exited, Some((3, false)));
}

#[test]
fn a_terminal_echoes_what_is_typed_and_gives_all_it_shows() {
    let mut monitored = Monitored::new("read word; seq 1 20000; echo \"<$word>\"", |launch| {
        launch.terminal = true;
        launch.stdin = true;
    });
    monitored.start();
    monitored.client.send(&Frame::Stdin(b"typed\n")).unwrap();
    let shown = String::from_utf8(monitored.hear().stdout).unwrap();
    let numbers: String = (1..=20_000).map(|n| format!("{n}\r\n")).collect();
    assert!(shown == format!("typed\r\n{numbers}<typed>\r\n"), "{} bytes", shown.len());
}

#[test]
fn a_terminal_that_nobody_has_open_may_be_opened_again() {
    let script = "tty=$(tty); exec </dev/null >/dev/null 2>&1; sleep 0.3; echo again >$tty; sleep 0.2; exit 4";
    let mut monitored = Monitored::new(script, |launch| launch.terminal = true);
    monitored.start();
    let heard = monitored.hear();
    assert_eq!((heard.stdout, heard.exited), (b"again\r\n".to_vec(), Some((4, false))));
}

#[test]
fn a_second_client_hears_what_comes_after_it() {
    let mut monitored = Monitored::new("echo one; read x; echo two", |launch| launch.stdin = true);
    monitored.start();
    hear_until(&mut monitored.client, "one\n");
    let mut second = Client::connect(&monitored.dir).unwrap();
    second.send(&Frame::Stdin(b"\n")).unwrap();
    assert_eq!(hear(&mut second).stdout, b"two\n");
    assert_eq!(monitored.hear().stdout, b"two\n");
    until("the end of the listener", || Client::connect(&monitored.dir).is_err());
}
