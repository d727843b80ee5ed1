//! Against a bus that plays systemd: it reads what it is asked by the protocol's own rules, not by ours.

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

/// A value by its type, as text: another reader than ours.
fn show(signature: &mut std::str::Chars<'_>, bytes: &[u8], at: &mut usize) -> String {
    let align = |at: &mut usize, to: usize| *at = at.div_ceil(to) * to;
    let number = |at: &mut usize| {
        align(at, 4);
        *at += 4;
        u32::from_le_bytes(bytes[*at - 4..*at].try_into().unwrap())
    };
    match signature.next().unwrap() {
        'u' => number(at).to_string(),
        'b' => (number(at) == 1).to_string(),
        'y' => {
            *at += 1;
            bytes[*at - 1].to_string()
        }
        't' => {
            align(at, 8);
            *at += 8;
            u64::from_le_bytes(bytes[*at - 8..*at].try_into().unwrap()).to_string()
        }
        's' | 'o' => {
            let length = number(at) as usize;
            *at += length + 1;
            assert_eq!(bytes[*at - 1], 0);
            String::from_utf8(bytes[*at - length - 1..*at - 1].to_vec()).unwrap()
        }
        'g' => {
            let length = usize::from(bytes[*at]);
            *at += length + 2;
            String::from_utf8(bytes[*at - length - 1..*at - 1].to_vec()).unwrap()
        }
        'v' => {
            let inner = show(&mut "g".chars(), bytes, at);
            show(&mut inner.chars(), bytes, at)
        }
        '(' => {
            align(at, 8);
            let mut parts = Vec::new();
            while !signature.as_str().starts_with(')') {
                parts.push(show(signature, bytes, at));
            }
            signature.next();
            format!("({})", parts.join(" "))
        }
        'a' => {
            let length = number(at) as usize;
            let element = signature.as_str();
            align(
                at,
                if element.starts_with(['(', 't']) {
                    8
                } else if element.starts_with('y') {
                    1
                } else {
                    4
                },
            );
            let end = *at + length;
            let mut parts = Vec::new();
            let mut after = element.chars();
            // Also for an empty array the type of its elements is passed over.
            skip(&mut after);
            while *at < end {
                parts.push(show(&mut element.chars(), bytes, at));
            }
            assert_eq!(*at, end);
            *signature = after;
            format!("[{}]", parts.join(", "))
        }
        other => panic!("type {other}"),
    }
}

fn skip(signature: &mut std::str::Chars<'_>) {
    match signature.next() {
        Some('a') => skip(signature),
        Some('(') => {
            while !signature.as_str().starts_with(')') {
                skip(signature);
            }
            signature.next();
        }
        _ => {}
    }
}

/// A message with `fields` (code, type, text) and a body, as a bus writes it.
fn message(kind: u8, answers: u32, fields: &[(u8, &str, &str)], body: &[&str]) -> Vec<u8> {
    let mut out = vec![b'l', kind, 0, 1];
    let pad = |out: &mut Vec<u8>, to: usize| out.resize(out.len().div_ceil(to) * to, 0);
    let mut written = Vec::new();
    for text in body {
        pad(&mut written, 4);
        match text.parse::<u32>() {
            Ok(number) => written.extend(number.to_le_bytes()),
            Err(_) => {
                written.extend((text.len() as u32).to_le_bytes());
                written.extend(text.as_bytes());
                written.push(0);
            }
        }
    }
    out.extend((written.len() as u32).to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out.extend([0; 4]);
    if answers != 0 {
        out.extend([5, 1, b'u', 0]);
        out.extend(answers.to_le_bytes());
    }
    for (code, kind, text) in fields {
        pad(&mut out, 8);
        out.extend([*code, 1, kind.as_bytes()[0], 0]);
        if *kind == "g" {
            out.push(text.len() as u8);
        } else {
            out.extend((text.len() as u32).to_le_bytes());
        }
        out.extend(text.as_bytes());
        out.push(0);
    }
    let length = (out.len() - 16) as u32;
    out[12..16].copy_from_slice(&length.to_le_bytes());
    pad(&mut out, 8);
    out.extend(written);
    out
}

/// What the bus does with a call: `serial` and its text, to the bytes that it sends.
type Answer = fn(u32, &str) -> Vec<u8>;

/// Serves `connections` on a socket of its own, and gives the calls as text.
fn bus(connections: usize, answer: Answer) -> (Manager, JoinHandle<Vec<String>>) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let socket = std::env::temp_dir().join(format!("monopod-bus-{}-{number}", std::process::id()));
    let listener = UnixListener::bind(&socket).unwrap();
    let manager = Manager { socket: socket.clone(), root: String::new() };
    let served = std::thread::spawn(move || {
        let mut calls = Vec::new();
        for _ in 0..connections {
            serve(listener.accept().unwrap().0, answer, &mut calls);
        }
        std::fs::remove_file(socket).unwrap();
        calls
    });
    (manager, served)
}

fn serve(mut stream: UnixStream, answer: Answer, calls: &mut Vec<String>) {
    let expect = |line: &[u8]| {
        let mut came = vec![0; line.len()];
        (&stream).read_exact(&mut came).unwrap();
        assert_eq!(came, line);
    };
    expect(b"\0AUTH EXTERNAL\r\n");
    (&stream).write_all(b"DATA\r\n").unwrap();
    expect(b"DATA\r\n");
    // In two pieces, as streams may.
    (&stream).write_all(b"OK 12").unwrap();
    (&stream).write_all(b"34\r\n").unwrap();
    expect(b"BEGIN\r\n");
    let mut head = [0; 16];
    while stream.read_exact(&mut head).is_ok() {
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let (body, serial, fields) = (number(4) as usize, number(8), number(12) as usize);
        let mut rest = vec![0; fields.div_ceil(8) * 8 + body];
        stream.read_exact(&mut rest).unwrap();
        let whole = [&head[..], &rest].concat();
        let header = show(&mut "a(yv)".chars(), &whole, &mut 12);
        let field = |code: &str| {
            header.split('(').find_map(|part| part.strip_prefix(code)?.split(')').next().map(str::to_owned))
        };
        let (member, signature) = (field("3 ").unwrap(), field("8 ").unwrap_or_default());
        let signature = match member.as_str() {
            // The field's own parentheses end the split above.
            "StartTransientUnit" => "ssa(sv)a(sa(sv))".to_owned(),
            "SetUnitProperties" => "sba(sv)".to_owned(),
            _ => signature,
        };
        let body = &whole[whole.len() - body..];
        let (mut types, mut at, mut text) = (signature.chars(), 0, member);
        while !types.as_str().is_empty() {
            text += &format!(" {}", show(&mut types, body, &mut at));
        }
        assert_eq!(at, body.len(), "{text}");
        let bytes = match text.split(' ').next().unwrap() {
            "Hello" | "AddMatch" => message(2, serial, &[], &[]),
            _ => answer(serial, &text),
        };
        calls.push(text);
        stream.write_all(&bytes).unwrap();
    }
}

const REMOVED: &[(u8, &str, &str)] = &[(3, "s", "JobRemoved"), (8, "g", "uoss")];

fn resources() -> LinuxResources {
    serde_json::from_str(
        r#"{"memory": {"limit": 1000}, "cpu": {"cpus": "0-1"}, "devices": [{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]}"#,
    )
    .unwrap()
}

#[test]
fn a_scope_is_started_changed_and_stopped() {
    let (manager, served) = bus(3, |serial, text| {
        let ours = ["7", "/job/7", "monopod-1.scope", "done"];
        match text.split(' ').next().unwrap() {
            "StartTransientUnit" => [
                // The end of another's job, and of ours before the answer that names it.
                message(4, 0, REMOVED, &["6", "/job/6", "other.scope", "failed"]),
                message(4, 0, REMOVED, &ours),
                message(2, serial, &[(8, "g", "o")], &["/job/7"]),
            ]
            .concat(),
            "StopUnit" => message(2, serial, &[(8, "g", "o")], &["/job/8"]),
            _ => message(2, serial, &[], &[]),
        }
    });
    let unit = Unit::parse("a-b.slice:monopod:1", false).unwrap();
    manager.start(&unit, 4321, &resources(), false).unwrap();
    manager.update(&unit, &serde_json::from_str(r#"{"pids": {"limit": 5}}"#).unwrap(), false).unwrap();
    manager.stop(&unit).unwrap();
    let calls = served.join().unwrap();
    let rule = "AddMatch type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
    assert_eq!(
        calls,
        [
            "Hello",
            rule,
            "StartTransientUnit monopod-1.scope replace [(Description monopod container monopod-1), (Slice a-b.slice), \
             (PIDs [4321]), (Delegate true), (DefaultDependencies false), (MemoryAccounting true), (CPUAccounting true), \
             (IOAccounting true), (TasksAccounting true), (MemoryMax 1000), (AllowedCPUs [3]), (DevicePolicy strict), \
             (DeviceAllow [(/dev/char/1:3 rwm)])] []",
            "Hello",
            "SetUnitProperties monopod-1.scope true [(TasksMax 5)]",
            "Hello",
            "StopUnit monopod-1.scope replace",
        ]
    );
}

#[test]
fn what_systemd_refuses_is_told() {
    let (manager, served) = bus(1, |serial, _| {
        message(3, serial, &[(4, "s", "org.freedesktop.DBus.Error.AccessDenied"), (8, "g", "s")], &["not for you"])
    });
    let unit = Unit::parse("system.slice:monopod:2", false).unwrap();
    let error = manager.start(&unit, 1, &LinuxResources::default(), false).unwrap_err();
    assert_eq!(error.to_string(), "not for you (org.freedesktop.DBus.Error.AccessDenied)");
    served.join().unwrap();
    // A job that fails, for a name that is left over from one that failed.
    let (manager, served) = bus(1, |serial, text| {
        static TRIED: AtomicU32 = AtomicU32::new(0);
        match text.split(' ').next().unwrap() {
            "StartTransientUnit" if TRIED.fetch_add(1, Ordering::Relaxed) == 0 => {
                message(3, serial, &[(4, "s", "org.freedesktop.systemd1.UnitExists"), (8, "g", "s")], &["there"])
            }
            "StartTransientUnit" => [
                message(2, serial, &[(8, "g", "o")], &["/job/1"]),
                message(4, 0, REMOVED, &["1", "/job/1", "monopod-2.scope", "timeout"]),
            ]
            .concat(),
            _ => message(2, serial, &[], &[]),
        }
    });
    let error = manager.start(&unit, 1, &LinuxResources::default(), false).unwrap_err();
    let calls = served.join().unwrap();
    assert!(error.to_string().contains("timeout"), "{error}");
    assert_eq!(calls[3], "ResetFailedUnit monopod-2.scope");
}

#[test]
fn units_and_their_paths() {
    for (text, path) in [
        ("system.slice:monopod:1", Some("/system.slice/monopod-1.scope")),
        (":libpod:1", Some("/system.slice/libpod-1.scope")),
        ("a-b-c.slice::x", Some("/a.slice/a-b.slice/a-b-c.slice/x.scope")),
        ("-.slice:p:x", Some("/p-x.scope")),
        ("a:b:c", None),
        ("a.slice:b", None),
        ("a.slice:b:c:d", None),
        ("../x.slice:b:c", None),
        ("a.slice:b:c/d", None),
        ("-a.slice:b:c", None),
    ] {
        assert_eq!(Unit::parse(text, false).map(|unit| unit.path()).as_deref(), path, "{text}");
    }
    assert_eq!(Unit::parse(":p:x", true).unwrap().slice, "user.slice");
    let unit = Unit { name: "p-x.scope".into(), slice: "a-b.slice".into() };
    assert_eq!(Unit::at("/a.slice/a-b.slice/p-x.scope"), Some(unit));
    assert_eq!(Unit::at("/monopod/x"), None);
}

/// The real thing's log-in and errors, where one is installed.
#[test]
fn a_real_bus_understands() {
    let socket = std::env::temp_dir().join(format!("monopod-real-bus-{}", std::process::id()));
    let daemon = std::process::Command::new("dbus-daemon")
        .args(["--session", "--nofork", "--nosyslog", "--address"])
        .arg(format!("unix:path={}", socket.display()))
        .stderr(std::process::Stdio::null())
        .spawn();
    let Ok(mut daemon) = daemon else { return eprintln!("SKIPPED: needs dbus-daemon (Debian: dbus)") };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while UnixStream::connect(&socket).is_err() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let manager = Manager { socket: socket.clone(), root: String::new() };
    let unit = Unit::parse("system.slice:monopod:3", false).unwrap();
    let started = manager.start(&unit, 1, &resources(), false);
    let changed = manager.update(&unit, &resources(), false);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let _ = std::fs::remove_file(socket);
    // It lets us in, takes the rule, reads both calls, and knows no systemd to hand them to.
    for error in [started.unwrap_err(), changed.unwrap_err()] {
        assert!(
            matches!(&error, BusError::Refused { name, .. } if name.contains("ServiceUnknown") || name.contains("Spawn")),
            "{error}"
        );
    }
}
