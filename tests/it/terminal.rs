//! Terminals: `-t` gives the container one, and the caller's own is passed through and put back.

use crate::home::{Home, PATIENCE};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A pair of terminal ends; what comes out is collected.
pub struct Pair {
    near: File,
    far: OwnedFd,
    heard: Receiver<Vec<u8>>,
    text: String,
}

impl Pair {
    pub fn new() -> Pair {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty");
        grantpt(&near).expect("own pty");
        unlockpt(&near).expect("own pty");
        let name = ptsname(&near, Vec::new()).expect("own pty");
        let far =
            rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).expect("own pty");
        tcsetwinsize(&near, Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 }).expect("own pty");
        let near = File::from(near);
        let mut source = near.try_clone().expect("own descriptor");
        let (sender, heard) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = source.read(&mut bytes) {
                if count == 0 || sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Pair { near, far, heard, text: String::new() }
    }

    /// Starts a command with this as its controlling terminal.
    pub fn start(&self, command: Command) -> Child {
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args()).current_dir("/");
        let end = || Stdio::from(self.far.try_clone().expect("own descriptor"));
        session.stdin(end()).stdout(end()).stderr(end()).spawn().expect("setsid of util-linux")
    }

    /// Reads until `word` has come.
    #[track_caller]
    pub fn expect(&mut self, word: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        while !self.text.contains(word) {
            match self.heard.recv_timeout(Duration::from_millis(100)) {
                Ok(bytes) => self.text += &String::from_utf8_lossy(&bytes),
                Err(_) => assert!(Instant::now() < end, "no {word:?} in {:?}", self.text),
            }
        }
        let after = self.text.find(word).expect("just seen") + word.len();
        self.text.drain(..after);
    }

    pub fn say(&mut self, text: &str) {
        self.near.write_all(text.as_bytes()).expect("own pty");
    }
}

#[track_caller]
pub fn code(mut child: Child) -> i32 {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("own child") {
            return status.code().unwrap_or(-1);
        }
        assert!(Instant::now() < end, "the command does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_terminal_inside() {
    let home = Home::new();
    let image = home.busybox();
    let mut pair = Pair::new();
    let script = "tty; test -t 0 && test -t 1 && echo terminal; stty size; read line; echo \"said $line\"; exit 6";
    let child = pair.start(home.command(&["run", "--rm", "-i", "-t", &image, "sh", "-c", script]));
    pair.expect("/dev/pts/0");
    pair.expect("terminal");
    pair.expect("33 99");
    pair.say("something\r");
    pair.expect("said something\r\n");
    assert_eq!(code(child), 6);
    let modes = tcgetattr(&pair.far).unwrap().local_modes;
    assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "the terminal was not put back");
}

#[test]
fn a_change_of_size_is_passed_on() {
    let home = Home::new();
    let image = home.busybox();
    let mut pair = Pair::new();
    let script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done";
    let child = pair.start(home.command(&["run", "--rm", "-it", &image, "sh", "-c", script]));
    pair.expect("ready");
    tcsetwinsize(&pair.near, Winsize { ws_row: 40, ws_col: 123, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    pair.expect("40 123");
    assert_eq!(code(child), 0);
}

#[test]
fn keys_reach_the_container_and_detach() {
    let home = Home::new();
    home.load();
    let mut pair = Pair::new();
    let script = "trap 'echo interrupted' INT; echo ready; while :; do sleep 0.05; done";
    let child = pair.start(home.command(&["run", "-it", "--name", "one", "busybox", "sh", "-c", script]));
    pair.expect("ready");
    pair.say("\x03");
    pair.expect("interrupted");
    pair.say("\x10\x11");
    assert_eq!(code(child), 0);
    assert_eq!(home.inspect("one", "{{.State.Running}}"), "true");
    // And back again.
    let child = pair.start(home.command(&["attach", "one"]));
    std::thread::sleep(Duration::from_millis(300));
    pair.say("\x03");
    pair.expect("interrupted");
    home.run(&["kill", "one"]).quiet();
    assert_eq!(code(child), 137);
}

#[test]
fn exec_with_a_terminal() {
    let home = Home::new();
    home.load();
    home.run(&["run", "-d", "--name", "one", "busybox", "sleep", "100"]).quiet();
    let mut pair = Pair::new();
    let child = pair.start(home.command(&["exec", "-it", "one", "sh", "-c", "tty; stty size; read x; exit 8"]));
    pair.expect("/dev/pts/");
    pair.expect("33 99");
    pair.say("\r");
    assert_eq!(code(child), 8);
}

#[test]
fn a_terminal_without_one_outside() {
    let home = Home::new();
    let out = home.sh(&["-t"], "test -t 1 && echo terminal").code(0);
    assert!(out.out.contains("terminal\r\n"), "{:?}", out.out);
    home.load();
    let id = home.run(&["run", "-d", "-t", "busybox", "sh", "-c", "tty; sleep 100"]).quiet();
    home.until("it has written", || home.run(&["logs", &id]).ok().contains("/dev/pts/0"));
}
