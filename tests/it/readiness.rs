//! The runtime hands on to a service manager that a container is ready (`NOTIFY_SOCKET`).

use crate::bundle::Bench;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::{Child, Stdio};

const SCRIPT: &str = "echo $NOTIFY_SOCKET; sleep 1000";

/// A command of a service, whose output is found in the file `out`.
fn service(bench: &Bench, words: &[&str], manager: &str) -> Child {
    let file = |name| fs::File::options().append(true).create(true).open(bench.home.path(name)).unwrap();
    let mut command = bench.command(words);
    command.env("NOTIFY_SOCKET", manager).stdout(file("out")).stderr(file("said")).spawn().unwrap()
}

/// Says something as a process of the running container `one` would; the path is what its variable names.
fn say(bench: &Bench, text: &str) {
    bench.home.until("it has told where it speaks", || {
        fs::read_to_string(bench.home.path("out")).is_ok_and(|out| out.ends_with(".sock\n"))
    });
    let out = fs::read_to_string(bench.home.path("out")).unwrap();
    let inside = out.lines().last().unwrap();
    let path = PathBuf::from(format!("/proc/{}/root{inside}", bench.state("one")["pid"]));
    UnixDatagram::unbound().unwrap().send_to(text.as_bytes(), path).unwrap();
}

fn heard(manager: &UnixDatagram) -> String {
    let mut bytes = [0; 1000];
    let length = manager.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

fn nothing_more(manager: &UnixDatagram) {
    manager.set_nonblocking(true).unwrap();
    let more = manager.recv(&mut [0; 1000]);
    assert_eq!(more.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    manager.set_nonblocking(false).unwrap();
}

/// What ends before the container has told which process is the main one from then on.
#[test]
fn a_service_that_is_left_alone() {
    let Some(bench) = Bench::new() else { return };
    let path = bench.home.path("manager");
    let manager = UnixDatagram::bind(&path).unwrap();
    bench.specify(SCRIPT, |_| ());
    for words in [&["run", "-d", "one"][..], &["start", "one"]] {
        if words[0] == "start" {
            assert!(service(&bench, &["create", "one"], path.to_str().unwrap()).wait().unwrap().success());
        }
        let mut child = service(&bench, words, path.to_str().unwrap());
        say(&bench, "STATUS=nearly");
        say(&bench, "STATUS=up\nREADY=1");
        let pid = bench.state("one")["pid"].to_string();
        assert_eq!(heard(&manager), format!("MAINPID={pid}\nREADY=1"), "{words:?}");
        // By then it still was there to be asked for.
        assert_eq!(heard(&manager), "BARRIER=1");
        assert!(child.wait().unwrap().success(), "{words:?}");
        nothing_more(&manager);
        bench.run(&["delete", "-f", "one"]).ok();
        fs::remove_file(bench.home.path("out")).unwrap();
    }
    assert_eq!(fs::read_to_string(bench.home.path("said")).unwrap(), "");
}

/// What waits for the container is the main process itself; here of a manager whose socket has no path.
#[test]
fn a_service_that_is_waited_for() {
    let Some(bench) = Bench::new() else { return };
    let name = bench.home.path("manager");
    let name = name.to_str().unwrap();
    let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
    bench.specify(SCRIPT, |_| ());
    let mut child = service(&bench, &["run", "one"], &format!("@{name}"));
    say(&bench, "READY=1");
    assert_eq!(heard(&manager), "READY=1");
    assert_eq!(heard(&manager), "BARRIER=1");
    bench.run(&["kill", "one", "KILL"]).ok();
    assert_eq!(child.wait().unwrap().code(), Some(137));
    nothing_more(&manager);
}

#[test]
fn services_that_never_are_ready() {
    let Some(bench) = Bench::new() else { return };
    let path = bench.home.path("manager");
    let manager = UnixDatagram::bind(&path).unwrap();
    // One that ends.
    bench.specify("exit 3", |_| ());
    assert!(service(&bench, &["run", "-d", "one"], path.to_str().unwrap()).wait().unwrap().success());
    nothing_more(&manager);
    bench.run(&["delete", "one"]).ok();
    // One that was made for nobody who would want to know.
    bench.specify("echo [$NOTIFY_SOCKET]; sleep 1000", |_| ());
    bench.run(&["create", "one"]).ok();
    assert!(service(&bench, &["start", "one"], path.to_str().unwrap()).wait().unwrap().success());
    bench.home.until("it runs", || fs::read_to_string(bench.home.path("out")).is_ok_and(|out| out == "[]\n"));
    nothing_more(&manager);
    bench.run(&["delete", "-f", "one"]).ok();
    // A manager that cannot be told: the container runs all the same.
    bench.specify(SCRIPT, |_| ());
    let nobody = bench.home.path("nobody");
    let mut child = bench.command(&["run", "one"]);
    let out = fs::File::create(bench.home.path("out")).unwrap();
    let mut child = child.env("NOTIFY_SOCKET", &nobody).stdout(out).stderr(Stdio::piped()).spawn().unwrap();
    say(&bench, "READY=1");
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert!(line.contains("level=warning") && line.contains("service manager"), "{line}");
    assert_eq!(bench.state("one")["status"], "running");
    bench.run(&["kill", "one", "KILL"]).ok();
    assert_eq!(child.wait().unwrap().code(), Some(137));
}
