//! Other engines on the runtime: Debian's podman, containerd and Docker run containers that monopod makes for them.
//!
//! Each has everything of its own (root, state, socket, /run, cgroup), in a private mount namespace. An engine that is not
//! installed is skipped, and said so.

use crate::home::{Home, Output, Who};
use crate::image::{self, Image};
use crate::terminal::{Pair, code};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const IMAGE: &str = "localhost/busy:1";
const DOCKER_IMAGE: &str = "busy:1";

/// What all engines see of the machine: an empty /run and /dev/shm.
const APART: &str = "mount -t tmpfs -o mode=755 none /run; mount -t tmpfs -o mode=1777 none /dev/shm";

/// Docker's daemon writes a key into /etc/docker.
const OWN_ETC: &str = "mkdir $HOME_DIR/upper $HOME_DIR/work; \
    mount -t overlay -o lowerdir=/etc,upperdir=$HOME_DIR/upper,workdir=$HOME_DIR/work none /etc";

/// True if `program` is there; says loudly that a test is skipped otherwise.
fn installed(program: &str) -> bool {
    let found = ["/usr/bin", "/usr/sbin", "/usr/local/bin"].iter().any(|place| Path::new(place).join(program).exists());
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

/// An engine with a machine of its own.
struct Engine {
    home: Home,
    /// What stands before an engine's words.
    words: Vec<String>,
    /// `NAME=VALUE`.
    variables: Vec<String>,
    image: &'static str,
    /// A parent for its cgroups; a user without root has none.
    cgroup: Option<String>,
    daemon: Option<Child>,
}

impl Engine {
    fn on(home: Home, words: &[&str]) -> Engine {
        let cgroup = match home.who {
            Who::Me => home.directory.file_name().map(|name| format!("/{}", name.to_string_lossy())),
            _ => None,
        };
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Engine { home, words, variables: Vec::new(), image: IMAGE, cgroup, daemon: None }
    }

    /// A link to the file by the name of a runtime, which engines tell its abilities by.
    fn runtime(home: &Home, name: &str) -> String {
        let path = home.path(name);
        std::os::unix::fs::symlink(home.path("monopod"), &path).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.home.enter();
        // By words: a terminal's session is given no variables.
        if self.home.who != Who::Me {
            command.args(["setpriv", "--reuid", "61234", "--regid", "61234", "--clear-groups", "--", "env", "-i"]);
            command.arg("PATH=/usr/bin:/bin:/usr/sbin:/sbin").arg(format!("HOME={}", self.home.path("home").display()));
            command.arg(format!("XDG_RUNTIME_DIR={}", self.home.path("run").display()));
        } else {
            command.arg("env");
        }
        command.args(&self.variables).args(&self.words).args(words);
        command
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> Output {
        Output::of(self.command(words))
    }

    /// `run` with the flags that every container needs.
    fn with_run<'a>(&'a self, flags: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
        let mut words = vec!["run", "--network", "none"];
        if let Some(cgroup) = &self.cgroup {
            words.extend(["--cgroup-parent", cgroup]);
        }
        words.extend(flags);
        words.push(self.image);
        words.extend(rest);
        words
    }

    /// What podman's and Docker's command lines are asked, and must answer.
    fn drill(&self) {
        let run = |flags: &[&str], rest: &[&str]| self.run(&self.with_run(flags, rest));
        assert_eq!(run(&["--rm"], &["echo", "hi"]).ok(), "hi");
        run(&["--rm"], &["sh", "-c", "exit 5"]).code(5);
        let missing = run(&["--rm"], &["nope"]).code(127);
        assert!(missing.err.contains("executable file not found in $PATH"), "{missing:?}");
        run(&["--rm"], &["/etc"]).code(126);
        let limits: &[&str] = if self.cgroup.is_some() { &["--memory", "64m", "--pids-limit", "50"] } else { &[] };
        let script = "echo out; echo err >&2; trap 'exit 7' TERM; while :; do sleep 0.05; done";
        run(&[&["-d", "--name", "one"], limits].concat(), &["sh", "-c", script]).ok();
        let exec = self.run(&["exec", "one", "sh", "-c", "echo in; exit 4"]).code(4);
        assert_eq!(exec.out, "in\n");
        let missing = self.run(&["exec", "one", "nope"]);
        assert!(matches!(missing.code, 126 | 127), "{missing:?}");
        assert_eq!(self.run(&["exec", "--user", "5:6", "one", "id", "-u"]).ok(), "5");
        self.home.until("it wrote both", || {
            let logs = self.run(&["logs", "one"]).code(0);
            logs.out == "out\n" && logs.err == "err\n"
        });
        let pid = self.run(&["inspect", "--format", "{{.State.Pid}}", "one"]).ok();
        if self.cgroup.is_some() {
            assert_eq!(limit(&pid, "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
            assert_eq!(limit(&pid, "pids", "pids.max", "pids.max"), "50");
            self.run(&["pause", "one"]).ok();
            let state = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
            assert!(!state.is_empty());
            assert_eq!(self.run(&["inspect", "--format", "{{.State.Status}}", "one"]).ok(), "paused");
            self.run(&["unpause", "one"]).ok();
            let stats = self.run(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "one"]).ok();
            assert!(stats.contains("67.11MB") || stats.contains("64MiB"), "{stats}");
        }
        assert!(self.run(&["top", "one"]).ok().contains("sh -c"));
        let mut pair = Pair::new();
        let child =
            pair.start(self.command(&["exec", "-it", "one", "sh", "-c", "tty; read line; echo \"said $line\""]));
        pair.expect("/dev/pts/");
        pair.say("something\r");
        pair.expect("said something");
        assert_eq!(code(child), 0);
        self.run(&["stop", "-t", "20", "one"]).ok();
        assert_eq!(self.run(&["inspect", "--format", "{{.State.ExitCode}}", "one"]).ok(), "7");
        self.run(&["start", "one"]).ok();
        self.run(&["kill", "one"]).ok();
        self.home
            .until("it is dead", || self.run(&["inspect", "--format", "{{.State.ExitCode}}", "one"]).ok() == "137");
        self.run(&["rm", "one"]).ok();
        let mut pair = Pair::new();
        let words = self.with_run(&["--rm", "-it"], &["sh", "-c", "tty; test -t 1 && echo terminal; exit 3"]);
        let child = pair.start(self.command(&words));
        pair.expect("/dev/pts/0");
        pair.expect("terminal");
        assert_eq!(code(child), 3);
        assert_eq!(self.run(&["ps", "-a", "-q"]).ok(), "");
    }

    /// Processes that have this engine's directory in their words.
    fn processes(&self) -> Vec<i32> {
        let own = self.home.directory.to_str().unwrap();
        let all = fs::read_dir("/proc").unwrap().flatten();
        let mine = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).filter(|pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            // That which holds the mount namespace ends with the home.
            let text = String::from_utf8_lossy(&words);
            text.contains(own) && !text.contains("read line")
        });
        mine.collect()
    }
}

impl Drop for Engine {
    /// Ends the engine and what it left: its processes, and the groups above its containers' own.
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let pid = rustix::process::Pid::from_child(&daemon);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
            daemon.wait().ok();
        }
        let pause = ["run/libpod/tmp/pause.pid", "run/tmp/pause.pid"].map(|path| self.home.path(path));
        for pid in pause.iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok()) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
        }
        let end = Instant::now() + Duration::from_secs(10);
        while !self.processes().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        for pid in self.processes().into_iter().filter_map(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
        if let Some(cgroup) = &self.cgroup {
            for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
                remove_groups(&hierarchy.path().join(&cgroup[1..]));
            }
            remove_groups(&Path::new("/sys/fs/cgroup").join(&cgroup[1..]));
        }
    }
}

/// Removes a group and those below it, as far as they are empty.
fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        remove_groups(&entry.path());
    }
    fs::remove_dir(group).ok();
}

/// The limit that holds for process `pid`: a file of version 1's controller, or one of version 2.
#[track_caller]
fn limit(pid: &str, controller: &str, one: &str, two: &str) -> String {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mut lines = groups.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
    let legacy = lines.clone().find(|fields| fields[1].split(',').any(|name| name == controller));
    let path = match legacy {
        Some(fields) => format!("/sys/fs/cgroup/{controller}{}/{one}", fields[2]),
        None => format!("/sys/fs/cgroup{}/{two}", lines.find(|fields| fields[0] == "0").unwrap()[2]),
    };
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_owned()
}

/// Podman with nothing of the machine's, on the file called `name`.
fn podman(who: Who, name: &str) -> Option<Engine> {
    if !installed("podman") || !installed("conmon") {
        return None;
    }
    let home = Home::bent(who, APART)?;
    let runtime = Engine::runtime(&home, name);
    let place = |part: &str| home.path(part).to_str().unwrap().to_owned();
    let (root, run, tmp) = (place("home/pr"), place("run/pr"), place("run/tmp"));
    let mut words = vec!["podman", "--root", &root, "--runroot", &run, "--tmpdir", &tmp, "--runtime", &runtime];
    words.extend(["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--storage-driver", "vfs"]);
    let engine = Engine::on(home, &words.iter().map(|word| &**word).collect::<Vec<_>>());
    let archive = image::archive(&image::oci(&[Image::busybox(IMAGE)]));
    let file = engine.home.write("busy.tar", &archive);
    engine.run(&["load", "-q", "-i", file.to_str().unwrap()]).code(0);
    Some(engine)
}

#[test]
fn podman_as_root() {
    let Some(engine) = podman(Who::Me, "crun") else { return };
    engine.drill();
}

#[test]
fn podman_by_the_other_name() {
    let Some(engine) = podman(Who::Me, "runc") else { return };
    let run = |flags: &[&str], rest: &[&str]| engine.run(&engine.with_run(flags, rest));
    assert_eq!(run(&["--rm"], &["echo", "hi"]).ok(), "hi");
    // What other engines do with a runtime: a read-only root, capabilities, users, init, devices.
    let flags =
        ["--rm", "--read-only", "--cap-drop", "all", "--user", "1000:1000", "--security-opt", "no-new-privileges"];
    let seen =
        run(&flags, &["sh", "-c", "touch /x; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; id -u"]).code(0);
    let words: Vec<&str> = seen.out.split_whitespace().collect();
    assert_eq!(words, ["CapEff:", "0000000000000000", "NoNewPrivs:", "1", "Seccomp:", "2", "1000"], "{seen:?}");
    assert!(seen.err.contains("Read-only file system"), "{seen:?}");
    let volume = engine.home.path("volume");
    fs::create_dir(&volume).unwrap();
    let bind = format!("{}:/v:ro", volume.display());
    run(&["--rm", "-v", &bind, "--tmpfs", "/t"], &["sh", "-c", "touch /t/x && ! touch /v/x 2>/dev/null"]).code(0);
    run(&["--rm", "--pid", "host", "--uts", "host"], &["true"]).code(0);
    run(&["--rm", "--privileged"], &["true"]).code(0);
}

#[test]
fn podman_without_root() {
    let Some(engine) = podman(Who::Subuid, "crun") else { return };
    engine.drill();
}

/// A daemon that serves at a socket in the home.
fn serve(engine: &mut Engine, words: &[&str], ready: &[&str]) {
    let log = fs::File::create(engine.home.path("daemon.log")).unwrap();
    let mut command = engine.home.enter();
    command.args(words).stdout(log.try_clone().unwrap()).stderr(log);
    engine.daemon = Some(command.spawn().expect("nsenter of util-linux"));
    let end = Instant::now() + Duration::from_secs(60);
    while !engine.command(ready).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success() {
        let log = || fs::read_to_string(engine.home.path("daemon.log")).unwrap_or_default();
        assert!(Instant::now() < end, "{words:?} does not answer: {}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn docker_archive(home: &Home, name: &str) -> PathBuf {
    home.write("busy.tar", &image::archive(&image::docker(&[Image::busybox(name)])))
}

#[test]
fn docker() {
    if !installed("dockerd") || !installed("docker") {
        return;
    }
    let Some(home) = Home::bent(Who::Me, &format!("{APART}; {OWN_ETC}")) else { return };
    let runtime = Engine::runtime(&home, "runc");
    let place = |part: &str| home.path(part).to_str().unwrap().to_owned();
    let (root, exec, pid) = (place("root/d"), place("run/d"), place("run/d.pid"));
    let socket = format!("unix://{}", place("sock"));
    let mut engine = Engine::on(home, &["docker"]);
    engine.image = DOCKER_IMAGE;
    engine.variables =
        vec![format!("DOCKER_HOST={socket}"), format!("DOCKER_CONFIG={}", engine.home.path("home").display())];
    let added = format!("mono={runtime}");
    let mut words = vec!["dockerd", "--data-root", &root, "--exec-root", &exec, "--pidfile", &pid, "-H", &socket];
    words.extend(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver", "vfs"]);
    words.extend(["--add-runtime", &added, "--default-runtime", "mono"]);
    serve(&mut engine, &words, &["version"]);
    let file = docker_archive(&engine.home, DOCKER_IMAGE);
    engine.run(&["load", "-q", "-i", file.to_str().unwrap()]).code(0);
    engine.drill();
    engine.run(&engine.with_run(&["-d", "--name", "two"], &["sleep", "1000"])).ok();
    engine.run(&["update", "--memory", "32m", "--memory-swap", "32m", "two"]).ok();
    let pid = engine.run(&["inspect", "--format", "{{.State.Pid}}", "two"]).ok();
    assert_eq!(limit(&pid, "memory", "memory.limit_in_bytes", "memory.max"), "33554432");
    engine.run(&["rm", "-f", "two"]).ok();
}

#[test]
fn containerd() {
    if !installed("containerd") || !installed("ctr") {
        return;
    }
    let Some(home) = Home::bent(Who::Me, APART) else { return };
    let runtime = Engine::runtime(&home, "runc");
    let place = |part: &str| home.path(part).to_str().unwrap().to_owned();
    let socket = place("sock");
    let settings = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {socket:?}\n",
        place("root/c"),
        place("run/c"),
    );
    let settings = home.write("containerd.toml", settings.as_bytes());
    // Its namespaces are the parents of cgroups.
    let namespace = home.directory.file_name().unwrap().to_str().unwrap().to_owned();
    let mut engine = Engine::on(home, &["ctr", "-a", &socket, "-n", &namespace]);
    serve(&mut engine, &["containerd", "--config", settings.to_str().unwrap()], &["version"]);
    let file = docker_archive(&engine.home, DOCKER_IMAGE);
    engine.run(&["images", "import", "--snapshotter", "native", file.to_str().unwrap()]).code(0);
    let image = "docker.io/library/busy:1";
    let run = |flags: &[&str], rest: &[&str]| {
        let words = [&["run", "--runc-binary", &runtime, "--snapshotter", "native"], flags, &[image], rest].concat();
        engine.run(&words)
    };
    assert_eq!(run(&["--rm"], &["one", "echo", "hi"]).ok(), "hi");
    run(&["--rm"], &["one", "sh", "-c", "exit 5"]).code(5);
    let missing = run(&["--rm"], &["one", "nope"]).code(1);
    assert!(missing.err.contains("executable file not found in $PATH"), "{missing:?}");
    let log = format!("file://{}", engine.home.path("log").display());
    let script = "echo out; trap 'exit 7' TERM; while :; do sleep 0.05; done";
    run(&["-d", "--memory-limit", "67108864", "--log-uri", &log], &["two", "sh", "-c", script]).ok();
    let exec = |id: &str, words: &[&str]| engine.run(&[&["tasks", "exec", "--exec-id", id, "two"], words].concat());
    let done = exec("e1", &["sh", "-c", "echo in; exit 4"]).code(4);
    assert_eq!(done.out, "in\n");
    assert!(exec("e2", &["nope"]).code(1).err.contains("executable file not found in $PATH"));
    engine
        .home
        .until("its log is written", || fs::read_to_string(engine.home.path("log")).is_ok_and(|log| log == "out\n"));
    let listed = engine.run(&["tasks", "ls"]).ok();
    let line: Vec<&str> = listed.lines().find(|line| line.starts_with("two")).unwrap().split_whitespace().collect();
    assert_eq!(line[2], "RUNNING");
    assert_eq!(limit(line[1], "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    assert!(engine.run(&["tasks", "metrics", "two"]).ok().contains("67108864"));
    assert!(engine.run(&["tasks", "ps", "two"]).ok().contains(line[1]));
    engine.run(&["tasks", "pause", "two"]).ok();
    assert!(engine.run(&["tasks", "ls"]).ok().contains("PAUSED"));
    engine.run(&["tasks", "resume", "two"]).ok();
    let mut pair = Pair::new();
    let child = pair.start(engine.command(&[
        "tasks",
        "exec",
        "-t",
        "--exec-id",
        "e3",
        "two",
        "sh",
        "-c",
        "tty; read line; echo \"said $line\"",
    ]));
    pair.expect("/dev/pts/0");
    pair.say("something\r");
    pair.expect("said something");
    assert_eq!(code(child), 0);
    engine.run(&["tasks", "kill", "-s", "TERM", "two"]).ok();
    engine.home.until("it has stopped", || engine.run(&["tasks", "ls"]).ok().contains("STOPPED"));
    let removed = engine.run(&["tasks", "rm", "two"]);
    assert!(removed.err.contains("exit code 7"), "{removed:?}");
    engine.run(&["containers", "rm", "two"]).ok();
    let mut pair = Pair::new();
    let words = [
        "run",
        "--rm",
        "-t",
        "--runc-binary",
        &runtime,
        "--snapshotter",
        "native",
        image,
        "three",
        "sh",
        "-c",
        "tty; exit 3",
    ];
    let child = pair.start(engine.command(&words));
    pair.expect("/dev/pts/0");
    assert_eq!(code(child), 3);
}
