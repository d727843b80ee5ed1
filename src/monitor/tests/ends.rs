//! How runs end, or never begin.

use super::{Monitored, is_there, until};
use crate::record::{Exit, Running};
use crate::{Client, LogFile};
use runtime::Report;
use std::time::{Duration, Instant};
use types::attach::Frame;

fn leave(monitored: &mut Monitored) {
    let (ours, _) = sys::channel::pair().unwrap();
    drop(std::mem::replace(&mut monitored.client, Client::new(ours)));
}

#[test]
fn a_signal_is_128_and_its_number() {
    let mut monitored = Monitored::new("kill -11 $$", |_| {});
    monitored.start();
    assert_eq!(monitored.hear().exited, Some((139, false)));
    assert_eq!(monitored.exit().code, 139);
}

#[test]
fn the_record_says_what_runs() {
    let mut monitored = Monitored::new("exec sleep 60", |_| {});
    let pid = monitored.ready();
    let parked = Running::read(&monitored.dir).unwrap();
    assert_eq!((parked.pid, parked.started_ns), (pid, 0));
    assert!(parked.process_lives() && parked.monitor_lives());
    monitored.client.send(&Frame::Start).unwrap();
    assert_eq!(monitored.client.receive().unwrap(), Some(Frame::Started));
    let running = Running::read(&monitored.dir).unwrap();
    assert!(running.started_ns > 1_700_000_000_000_000_000);
    assert_eq!(Running { started_ns: 0, ..running.clone() }, parked);
    monitored.client.send(&Frame::Signal(9)).unwrap();
    assert_eq!(monitored.hear().exited, Some((137, false)));
    assert!(!running.process_lives());
    until("the end of the monitor", || !running.monitor_lives());
}

#[test]
fn a_process_whose_caller_leaves_before_the_start_is_given_up() {
    let mut monitored = Monitored::new("touch $DIR/ran", |_| {});
    let pid = monitored.ready();
    leave(&mut monitored);
    until("the end of the parked process", || !is_there(pid));
    until("the end of the listener", || Client::connect(&monitored.dir).is_err());
    assert!(!monitored.dir.join("ran").exists());
    assert_eq!(Exit::read(&monitored.dir), None);
}

#[test]
fn one_that_stays_parked_is_started_by_another() {
    let mut monitored = Monitored::new("echo ran", |launch| launch.stay_parked = true);
    let pid = monitored.ready();
    leave(&mut monitored);
    std::thread::sleep(Duration::from_millis(100));
    assert!(is_there(pid));
    monitored.client = Client::connect(&monitored.dir).unwrap();
    monitored.client.send(&Frame::Start).unwrap();
    assert_eq!(monitored.client.receive().unwrap(), Some(Frame::Started));
    assert_eq!(monitored.hear().stdout, b"ran\n");
}

#[test]
fn one_killed_while_parked_has_ended() {
    let mut monitored = Monitored::new("echo ran", |_| {});
    monitored.ready();
    monitored.client.send(&Frame::Signal(9)).unwrap();
    let heard = monitored.hear();
    assert_eq!((heard.exited, &heard.stdout[..]), (Some((137, false)), &b""[..]));
    assert_eq!(monitored.exit().code, 137);
}

#[test]
fn what_the_runtime_says_reaches_the_caller_and_the_record() {
    let mut monitored = Monitored::with(
        |_| {},
        |_, channels| {
            let failed = Report::Failed { code: 127, message: "no such \"täst\"".into() };
            rustix::io::write(&channels.report, &failed.line()).unwrap();
            1
        },
    );
    assert_eq!(monitored.hear().failed, Some((127, "no such \"täst\"".into())));
    let exit = monitored.exit();
    assert_eq!((exit.code, exit.error.as_str()), (127, "no such \"täst\""));
}

#[test]
fn a_failure_after_the_start_is_one_too() {
    let mut monitored = Monitored::with(
        |_| {},
        |_, channels| {
            let pid = std::process::id() as i32;
            let start_time = sys::process::start_time(pid).unwrap();
            let report = |report: Report| rustix::io::write(&channels.report, &report.line()).unwrap();
            report(Report::Created { pid, start_time, cgroup: None });
            report(Report::Parked);
            rustix::io::read(channels.start.unwrap(), &mut [0; 1]).unwrap();
            report(Report::Failed { code: 126, message: "not executable".into() });
            126
        },
    );
    monitored.ready();
    monitored.client.send(&Frame::Start).unwrap();
    assert_eq!(monitored.hear().failed, Some((126, "not executable".into())));
}

#[test]
fn a_worker_that_dies_is_a_failure() {
    let mut monitored = Monitored::with(|_| {}, |_, _| 1);
    let (code, text) = monitored.hear().failed.unwrap();
    assert!(code == 125 && text.contains("killed while it was being made"), "{text}");
}

#[test]
fn a_log_that_cannot_be_opened_is_a_failure() {
    let mut monitored = Monitored::new("true", |launch| {
        launch.log = Some(LogFile { driver: crate::log::Driver::K8sFile, path: "/nowhere/log".into(), max_size: None });
    });
    let (code, text) = monitored.hear().failed.unwrap();
    assert!(code == 125 && text.contains("/nowhere/log") && text.contains("No such file"), "{text}");
}

#[test]
fn others_that_keep_the_output_open_hold_nothing_up() {
    for terminal in [false, true] {
        let script = "trap '' HUP; sleep 20 & echo $!; exit 3";
        let mut monitored = Monitored::new(script, |launch| launch.terminal = terminal);
        let begin = Instant::now();
        monitored.start();
        let heard = monitored.hear();
        assert_eq!(heard.exited, Some((3, false)));
        assert!(begin.elapsed() < Duration::from_secs(5));
        let sleeper: i32 = String::from_utf8(heard.stdout).unwrap().trim().parse().unwrap();
        // On a terminal the end of the session's leader may have ended it.
        let _ = sys::process::kill(sleeper, sys::process::start_time(sleeper).unwrap_or(0), 9);
    }
}

#[test]
fn what_an_earlier_run_left_is_gone() {
    let mut monitored = Monitored::new("exit 0", |launch| {
        Exit { code: 9, ..Exit::default() }.write(launch.run_dir.as_deref().unwrap(), false).unwrap();
    });
    monitored.ready();
    assert_eq!(Exit::read(&monitored.dir), None);
}

/// The cleanup of the next test, run as a process of its own: the last argument names the file to make.
#[test]
#[ignore = "is run by another test"]
fn leaves_a_mark() {
    std::fs::write(std::env::args().next_back().unwrap(), "").unwrap();
}

#[test]
fn a_cleanup_runs_unless_a_client_does_it() {
    for (client_cleans, client_dies, runs) in [(false, false, true), (true, false, false), (true, true, true)] {
        let mut monitored = Monitored::new("read x", |launch| {
            let mark = launch.run_dir.as_ref().unwrap().join("mark").into_os_string().into_string().unwrap();
            launch.cleanup = ["--ignored", "--exact", "tests::ends::leaves_a_mark", &mark].map(str::to_owned).to_vec();
            launch.stdin = true;
        });
        monitored.start();
        let mut other = Client::connect(&monitored.dir).unwrap();
        if client_cleans {
            monitored.client.send(&Frame::Cleanup).unwrap();
        }
        if client_dies {
            leave(&mut monitored);
        }
        other.send(&Frame::CloseStdin).unwrap();
        assert_eq!(super::hear(&mut other).exited, Some((1, false)));
        let mark = monitored.dir.join("mark");
        if runs {
            until("the cleanup", || mark.exists());
        } else {
            // The connection ended with the monitor, so a cleanup would have been started.
            std::thread::sleep(Duration::from_millis(300));
            assert!(!mark.exists());
        }
    }
}

#[test]
fn who_makes_the_process_is_killed_and_nobody_waits_for_ever() {
    let mut monitored = Monitored::with(
        |_| {},
        |_, channels| {
            let sibling = sys::clone::Clone { sibling: true, ..Default::default() };
            if sys::clone::clone(sibling).unwrap() == sys::clone::Side::Child {
                rustix::io::write(&channels.report, &Report::Parked.line()).unwrap();
                let given_up = rustix::io::read(channels.start.unwrap(), &mut [0; 1]) == Ok(0);
                sys::clone::exit_now(i32::from(!given_up));
            }
            sys::process::kill_number(std::process::id() as i32, 9);
            0
        },
    );
    let (code, text) = monitored.hear().failed.unwrap();
    assert_eq!(code, 125);
    assert!(text.contains("was killed"), "{text}");
    assert_eq!(monitored.exit().code, 125);
}
