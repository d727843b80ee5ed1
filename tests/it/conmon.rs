//! CRI-O's way: Debian's conmon is called as that engine calls it, with this file for its runtime, and what it writes down for
//! the engine is read: its pipe, the log, the exit code, the sockets.

use crate::bundle::Bench;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A node of CRI-O's: one bundle, and the directories that conmon writes to.
struct Node {
    bench: Bench,
}

impl Node {
    /// `None`, said loudly, without root or conmon.
    fn new() -> Option<Node> {
        if Command::new("conmon").arg("--version").output().is_err() {
            eprintln!("SKIPPED: conmon is not installed");
            return None;
        }
        let bench = Bench::new()?;
        for directory in ["exits", "sockets", "kept"] {
            fs::create_dir(bench.home.path(directory)).unwrap();
        }
        Some(Node { bench })
    }

    fn text(&self, name: &str) -> String {
        self.bench.home.path(name).to_str().unwrap().to_owned()
    }

    /// Calls conmon with the engine's two pipes, as files: what it tells is found in the file `told`.
    fn conmon(&self, words: &[&str]) -> Value {
        let (told, go) = (self.text("told"), self.bench.home.write("go", b"\0"));
        let _ = fs::remove_file(&told);
        let line = format!("exec conmon \"$@\" 3>{told} 4<{} >/dev/null 2>{}", go.display(), self.text("conmon.err"));
        let mut command = Command::new("sh");
        command.args(["-c", &line, "conmon"]).args(words).current_dir(self.bench.home.path("bundle"));
        command.env_clear().envs([("_OCI_SYNCPIPE", "3"), ("_OCI_STARTPIPE", "4"), ("PATH", "/usr/bin:/bin")]);
        let status = command.status().unwrap();
        let read = || fs::read_to_string(&told).unwrap_or_default();
        let err = || fs::read_to_string(self.text("conmon.err")).unwrap_or_default();
        self.bench.home.until("conmon tells something", || read().ends_with('\n') || !status.success());
        let text = read();
        let last = text.lines().last().unwrap_or_else(|| panic!("{status}: {}", err()));
        serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {text:?} {}", err()))
    }

    /// Creates the container `id`, with `flags` besides.
    fn create(&self, id: &str, flags: &[&str]) -> Value {
        let bundle = self.text("bundle");
        let (exits, log, kept, sockets) =
            (self.text("exits"), self.text("log"), self.text("kept"), self.text("sockets"));
        let (runtime, root) = (self.text("runc"), format!("--root={}", self.text("state")));
        let (conmon_pid, pid) = (self.text("conmon.pid"), self.text("bundle/pidfile"));
        let mut words = vec!["-b", &bundle, "-c", id, "--exit-dir", &exits, "-l", &log, "--log-level", "info"];
        words.extend(["-n", "k8s_box", "-P", &conmon_pid, "-p", &pid, "--persist-dir", &kept, "-r", &runtime]);
        words.extend(["--runtime-arg", &root, "--socket-dir-path", &sockets, "--syslog", "-u", id]);
        words.extend(flags);
        self.conmon(&words)
    }

    /// What the engine does to have a command's output and code: `exec` by conmon, on a terminal if the container has one.
    fn exec(&self, id: &str, process: Value, flags: &[&str]) -> (Value, String) {
        let file = self.bench.home.write("process.json", process.to_string().as_bytes());
        let (pid, log, sockets) = (self.text("exec.pid"), self.text("exec.log"), self.text("sockets"));
        let (runtime, root) = (self.text("runc"), format!("--root={}", self.text("state")));
        let _ = fs::remove_file(&log);
        let mut words = vec!["-c", id, "-n", "k8s_box", "-r", &runtime, "-p", &pid, "-e", "-l", &log];
        words.extend(["--socket-dir-path", &sockets, "--log-level", "info", "--sync", "--exec-process-spec"]);
        words.extend([file.to_str().unwrap(), "--runtime-arg", &root]);
        words.extend(flags);
        let told = self.conmon(&words);
        (told, lines(&fs::read_to_string(&log).unwrap_or_default()).join("\n"))
    }

    fn exit_code(&self, id: &str) -> String {
        let file = self.bench.home.path("exits").join(id);
        self.bench.home.until("its exit code is written down", || file.exists());
        fs::read_to_string(file).unwrap()
    }

    /// A connection to the container's streams.
    fn attach(&self, id: &str) -> Attached {
        let path: PathBuf = self.bench.home.path("sockets").join(id).join("attach");
        self.bench.home.until("conmon listens", || path.exists());
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        rustix::net::connect(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        let patience = Some(Duration::from_secs(30));
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, patience).unwrap();
        Attached { socket, text: String::new() }
    }
}

/// An engine's end of the attach socket; every packet begins with the number of a stream.
struct Attached {
    socket: OwnedFd,
    text: String,
}

impl Attached {
    fn say(&self, text: &str) {
        rustix::net::send(&self.socket, text.as_bytes(), SendFlags::empty()).unwrap();
    }

    fn expect(&mut self, word: &str) {
        let mut bytes = [0; 8193];
        while !self.text.contains(word) {
            let (count, _) = rustix::net::recv(&self.socket, &mut bytes, RecvFlags::empty())
                .unwrap_or_else(|e| panic!("{e}: no {word:?} in {:?}", self.text));
            assert!(count > 0, "no {word:?} in {:?}", self.text);
            self.text += &String::from_utf8_lossy(&bytes[1..count]);
        }
    }
}

/// `STREAM TEXT` of each line of a log in Kubernetes' format: `TIME STREAM F|P TEXT`.
fn lines(log: &str) -> Vec<String> {
    let parts = log.lines().map(|line| line.splitn(4, ' ').collect::<Vec<_>>());
    parts.map(|part| format!("{} {}", part[1], part[3].trim_end_matches('\r'))).collect()
}

fn process(script: &str, terminal: bool) -> Value {
    json!({"terminal": terminal, "user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/"})
}

#[test]
fn a_container_of_cri_o() {
    let Some(node) = Node::new() else { return };
    let script =
        "echo out; echo err >&2; read line; echo \"said $line\"; trap 'exit 7' TERM; while :; do sleep 0.05; done";
    node.bench.specify(script, |spec| spec["linux"]["resources"]["memory"] = json!({"limit": 64 << 20}));
    let told = node.create("box", &[]);
    assert_eq!(told["pid"], node.bench.state("box")["pid"], "{told}");
    assert_eq!(fs::read_to_string(node.text("bundle/pidfile")).unwrap(), told["pid"].to_string());
    assert_eq!(node.bench.state("box")["status"], "created");
    node.bench.run(&["delete", "box"]).ok();
    node.exit_code("box");
    fs::remove_file(node.bench.home.path("exits/box")).unwrap();

    node.create("box", &["-i", "--leave-stdin-open", "--log-size-max", "16384"]);
    let mut attached = node.attach("box");
    node.bench.run(&["start", "box"]).ok();
    attached.say("something\n");
    attached.expect("said something");
    let log = || lines(&fs::read_to_string(node.text("log")).unwrap());
    node.bench.home.until("its log is written", || log().len() >= 3);
    let mut seen = log();
    seen.sort();
    assert_eq!(seen, ["stderr err", "stdout out", "stdout said something"]);

    let (told, log) = node.exec("box", process("echo in; echo wrong >&2; exit 4", false), &[]);
    assert_eq!(told["exit_code"], 4, "{told}");
    assert!(log.contains("stdout in") && log.contains("stderr wrong"), "{log}");
    let (told, _) = node.exec("box", process("sleep 1000", false), &["-T", "1"]);
    assert_eq!(told["exit_code"], -1, "{told}");
    assert!(told["message"].as_str().unwrap().contains("timed out"), "{told}");
    let mut missing = process("", false);
    missing["args"] = json!(["nope"]);
    let (told, _) = node.exec("box", missing, &[]);
    assert_eq!(told["exit_code"], -1, "{told}");
    assert!(told["message"].as_str().unwrap().contains("executable file not found in $PATH"), "{told}");

    // The engine stops it by its runtime, and deletes it when conmon has written down how it ended.
    node.bench.run(&["kill", "box", "15"]).ok();
    assert_eq!(node.exit_code("box"), "7");
    assert_eq!(fs::read_to_string(node.text("kept/exit")).unwrap(), "7");
    node.bench.run(&["delete", "--force", "box"]).ok();
    assert!(node.bench.groups().is_empty(), "{:?}", node.bench.groups());
}

#[test]
fn a_container_of_cri_o_on_a_terminal() {
    let Some(node) = Node::new() else { return };
    node.bench.specify("tty; read line; stty size; exit 6", |spec| spec["process"]["terminal"] = true.into());
    node.create("box", &["-t"]);
    let mut attached = node.attach("box");
    let mut control = fs::File::options().write(true).open(node.bench.home.path("bundle/ctl")).unwrap();
    // A change of the size: 1, rows, columns.
    control.write_all(b"1 44 111\n").unwrap();
    node.bench.run(&["start", "box"]).ok();
    attached.expect("/dev/pts/0");
    let (told, log) = node.exec("box", process("tty; test -t 1 && echo terminal; exit 5", true), &["-t"]);
    assert_eq!(told["exit_code"], 5, "{told}");
    assert!(log.contains("/dev/pts/") && log.contains("terminal"), "{log}");
    attached.say("\n");
    attached.expect("44 111");
    assert_eq!(node.exit_code("box"), "6");
    node.bench.run(&["delete", "box"]).ok();
}

#[test]
fn cri_o_is_told_why_a_container_cannot_be_made() {
    let Some(node) = Node::new() else { return };
    node.bench.specify("true", |spec| spec["process"]["args"] = json!(["nope"]));
    let told = node.create("box", &[]);
    assert_eq!(told["pid"], -1, "{told}");
    assert!(told["message"].as_str().unwrap().contains("executable file not found in $PATH"), "{told}");
    assert_eq!(node.bench.run(&["list", "-q"]).ok(), "");
    assert!(node.bench.groups().is_empty());
    assert!(!Path::new(&node.text("exits/box")).exists());
}
