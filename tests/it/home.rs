//! A home: one user's root and run root in a directory of their own, and commands run there. Where a test bends the
//! machine (another user, a hidden program, a full disk), a process holds a private mount namespace in which all
//! commands of the home run, so nothing of it is seen outside and nothing is left behind.
//!
//! When a home is dropped, its containers are removed and the home checks that no process, mount or cgroup of it is left.

use crate::image;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// Longer than any command needs on a loaded machine; a command that takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// The user id of homes that are not root's: no user of the machine has it.
const STRANGER: u32 = 61_234;

/// Who runs the commands of a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The user who runs the tests.
    Me,
    /// A user with a range of ids in /etc/subuid and newuidmap to map them.
    Subuid,
    /// A user with neither.
    Single,
}

/// What one command said and how it ended.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub out: String,
    pub err: String,
    /// `out` before it became text.
    pub raw: Vec<u8>,
    said: String,
}

impl Output {
    /// Runs a command of another program to its end.
    #[track_caller]
    pub fn of(command: Command) -> Output {
        let said: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        start(command, &said).wait()
    }

    /// Fails the test unless the command ended with `code`.
    #[track_caller]
    pub fn code(self, code: i32) -> Output {
        assert_eq!(self.code, code, "unexpected exit code of {}", self.said);
        self
    }

    /// Fails the test unless the command succeeded; gives its standard output without the last line's end.
    #[track_caller]
    pub fn ok(self) -> String {
        self.code(0).out.trim_end_matches('\n').to_string()
    }

    /// Fails the test unless the command succeeded and printed nothing on standard error.
    #[track_caller]
    pub fn quiet(self) -> String {
        assert_eq!(self.err, "", "a success that complains: {}", self.said);
        self.ok()
    }

    /// Fails the test unless the command failed with `code` and one `Error:` line, besides one that
    /// points to the help, and unless that line contains each of `words`.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> Output {
        assert_eq!(self.code, code, "unexpected exit code of {}", self.said);
        // What was told of images on their way comes before.
        const PROGRESS: [&str; 4] = ["Trying to pull ", "Getting image ", "Copying ", "Writing manifest "];
        let told = |line: &&str| PROGRESS.iter().any(|start| line.starts_with(start));
        let mut lines = self.err.lines().skip_while(told);
        assert!(lines.next().is_some_and(|line| line.starts_with("Error: ")), "no `Error: ` in {}", self.said);
        let more = lines.filter(|line| !line.starts_with("See '") && !line.starts_with("Try '"));
        assert_eq!(more.count(), 0, "more than one line of error in {}", self.said);
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in the error of {}", self.said);
        }
        self
    }
}

/// A command that still runs.
pub struct Running {
    pub child: Child,
    out: Option<JoinHandle<Vec<u8>>>,
    err: Option<JoinHandle<Vec<u8>>>,
    said: String,
}

impl Running {
    /// Waits for the end of the command and of its output.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let status = match wait(&mut self.child, PATIENCE) {
            Some(status) => status,
            None => {
                self.child.kill().ok();
                panic!("still running after {PATIENCE:?}: {}", self.said)
            }
        };
        self.finish(status)
    }

    #[track_caller]
    fn finish(self, status: ExitStatus) -> Output {
        let bytes = |reader: Option<JoinHandle<Vec<u8>>>| {
            let Some(reader) = reader else { return Vec::new() };
            let end = Instant::now() + Duration::from_secs(20);
            while !reader.is_finished() {
                assert!(Instant::now() < end, "the command ended, but something holds its output open: {}", self.said);
                sleep(Duration::from_millis(2));
            }
            reader.join().expect("the reader does not panic")
        };
        let (raw, err) = (bytes(self.out), bytes(self.err));
        let [out, err] = [&raw, &err].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let code = code_of(status);
        assert!(
            !err.contains("panicked") && !err.contains("please report this"),
            "a panic reached the user of `{}`: {err}",
            self.said
        );
        let said = format!("`{}`: code {code}\n--- stdout\n{out}\n--- stderr\n{err}\n---", self.said);
        Output { code, out, err, raw, said }
    }

    /// Ends the command at once, by SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        wait(&mut self.child, PATIENCE).expect("a killed child ends");
    }

    /// Closes the command's standard input.
    pub fn close(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Writes to the command's standard input.
    pub fn write(&mut self, bytes: &[u8]) {
        self.child.stdin.as_mut().expect("standard input is a pipe").write_all(bytes).expect("the command reads");
    }
}

fn code_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 1000 + status.signal().unwrap_or(0))
}

fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        if Instant::now() > end {
            return None;
        }
        sleep(Duration::from_millis(3));
    }
}

/// One user's root and run root.
pub struct Home {
    /// Where root, run root and the test's own files are.
    pub directory: PathBuf,
    /// What is removed in the end; `directory` may be moved deeper into it.
    base: PathBuf,
    pub who: Who,
    /// The file under test, where the user can reach it.
    pub file: PathBuf,
    /// Device and inode of `file`, which may be moved away.
    identity: (u64, u64),
    holder: Option<Child>,
    /// The bent machine has a network of its own.
    networked: bool,
    variables: Vec<(String, String)>,
    /// Words of a program by which all commands go, as root: it calls the one whose words follow.
    pub through: Vec<String>,
    /// The test has removed its containers itself: the file is not where it was in the bent machine.
    pub emptied: bool,
}

impl Home {
    /// A home of the user who runs the tests.
    pub fn new() -> Home {
        Home::make(Who::Me, None)
    }

    /// A home of `who`; `None`, said loudly, where it cannot be had.
    pub fn of(who: Who) -> Option<Home> {
        let hide = "mkdir $HOME_DIR/bin; cp /usr/bin/setpriv $HOME_DIR/bin; mount --bind $HOME_DIR/bin /usr/bin";
        match who {
            Who::Me => Some(Home::new()),
            Who::Subuid => Home::bent(who, ""),
            // The loader of programs stays; every program of the machine goes, newuidmap too.
            Who::Single => Home::bent(who, hide),
        }
    }

    /// A home of `who` on a machine bent by `script`, which runs as root in a private mount namespace with `$HOME_DIR`
    /// set. `None`, said loudly, if the tests do not run as root.
    pub fn bent(who: Who, script: &str) -> Option<Home> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root: a mount namespace with {script:?} for {who:?}");
            return None;
        }
        Some(Home::make(who, Some(script)))
    }

    /// As [`Home::bent`], on a machine with a network of its own, which has nothing but what `script` gives it.
    pub fn with_network(who: Who, script: &str) -> Option<Home> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root: a network namespace with {script:?} for {who:?}");
            return None;
        }
        Some(Home::make_with(who, Some(script), true))
    }

    fn make(who: Who, script: Option<&str>) -> Home {
        Home::make_with(who, script, false)
    }

    fn make_with(who: Who, script: Option<&str>, networked: bool) -> Home {
        own_network();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("monopod-it-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Not /tmp: a tmpfs there could not hold what real machines hold.
        let directory = Path::new("/var/tmp").join(name);
        fs::create_dir(&directory).expect("a directory in /var/tmp");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("own directory");
        let file = directory.join("monopod");
        // A file of its own: a process whose executable it is belongs to this home, whatever else it does.
        fs::copy(built(), &file).expect("the built file can be copied");
        let identity = fs::metadata(&file).map(|file| (file.dev(), file.ino())).expect("own file");
        let (base, variables) = (directory.clone(), Vec::new());
        let mut home = Home {
            base,
            directory,
            who,
            file,
            identity,
            holder: None,
            networked,
            variables,
            through: Vec::new(),
            emptied: false,
        };
        for part in ["networks", "root", "run", "home"] {
            fs::create_dir(home.path(part)).expect("own directory");
            if who != Who::Me {
                std::os::unix::fs::chown(home.path(part), Some(STRANGER), Some(STRANGER)).expect("root may chown");
            }
        }
        if let Some(script) = script {
            home.hold(script);
        }
        home
    }

    /// Starts the process that holds the private mount namespace.
    fn hold(&mut self, script: &str) {
        let mut setup = String::from("set -e\n");
        if self.who == Who::Subuid {
            for (name, line) in [("passwd", "x:61234:61234::/:/bin/sh"), ("group", "x:61234:")] {
                let text = fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
                fs::write(self.path(name), format!("{text}monopod-stranger:{line}\n")).expect("own file");
                setup += &format!("mount --bind {} /etc/{name}\n", self.path(name).display());
            }
            for name in ["subuid", "subgid"] {
                fs::write(self.path(name), "monopod-stranger:2000000:65536\n").expect("own file");
                setup += &format!("[ -e /etc/{name} ] || : >/etc/{name}\n");
                setup += &format!("mount --bind {} /etc/{name}\n", self.path(name).display());
            }
        }
        setup += &format!("{script}\necho ready\nread line\n");
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .args(self.networked.then_some("--net"))
            .args(["sh", "-c", &setup])
            .env("HOME_DIR", &self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare of util-linux");
        let mut word = [0; 6];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut word).expect("the machine could not be bent");
        self.holder = Some(child);
    }

    /// A variable that every command of this home gets.
    pub fn variable(mut self, name: &str, value: &str) -> Home {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// A path in this home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file into this home, readable for its user.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("own file");
        path
    }

    /// `oci-archive:FILE` of the busybox image in this home.
    pub fn busybox(&self) -> String {
        let path = self.path("busybox.tar");
        if !path.exists() {
            fs::write(&path, image::busybox_archive()).expect("own file");
        }
        format!("oci-archive:{}", path.display())
    }

    /// Loads the busybox image under the name `busybox`.
    pub fn load(&self) {
        self.busybox();
        self.run(&["load", "-q", "-i", self.path("busybox.tar").to_str().expect("UTF-8")]).ok();
    }

    /// A command inside the bent machine, as root: its words are to be added.
    pub fn enter(&self) -> Command {
        let holder = self.holder.as_ref().expect("the machine is bent");
        let mut command = Command::new("nsenter");
        command.args(self.networked.then_some("--net"));
        command.args(["--mount", "-t", &holder.id().to_string(), "--"]).current_dir("/").stdin(Stdio::null());
        command
    }

    /// `program` inside the bent machine, as the user with the id `user`, with no other program in between.
    pub fn enter_as(&self, user: &str, program: &str) -> Command {
        let holder = self.holder.as_ref().expect("the machine is bent");
        let mut command = Command::new("/usr/bin/nsenter");
        command.args(["--mount", "-t", &holder.id().to_string(), "-S", user, "-G", user, "--", program]);
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// A command of monopod, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut words: Vec<String> = Vec::new();
        if let Some(holder) = &self.holder {
            words.push("nsenter".into());
            words.extend(self.networked.then(|| "--net".into()));
            words.extend(["--mount", "-t"].map(String::from));
            words.extend([holder.id().to_string(), "--".into()]);
        }
        words.extend(self.through.iter().cloned());
        if self.who != Who::Me {
            words.extend(["setpriv", "--reuid", "61234", "--regid", "61234", "--clear-groups", "--"].map(String::from));
        }
        words.push(self.file.display().to_string());
        words.extend(["--root".into(), self.path("root").display().to_string()]);
        words.extend(["--runroot".into(), self.path("run").display().to_string()]);
        words.extend(["--network-config-dir".into(), self.path("networks").display().to_string()]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(args).current_dir("/");
        if self.who != Who::Me {
            command.env_clear().env("HOME", self.path("home")).env("PATH", "/usr/bin:/bin");
        }
        command.env_remove("CONTAINER_HOST").envs(self.variables.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Starts a command with pipes for all three.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut command = self.command(args);
        command.stdin(Stdio::piped());
        start(command, args)
    }

    /// Runs a command to its end, with an empty standard input.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        command.stdin(Stdio::null());
        start(command, args).wait()
    }

    /// Runs a command to its end with `input` on its standard input.
    #[track_caller]
    pub fn feed(&self, args: &[&str], input: &[u8]) -> Output {
        let mut running = self.start(args);
        let mut pipe = running.child.stdin.take().expect("a pipe");
        let input = input.to_vec();
        // A command that fails early does not read it all.
        let writer = std::thread::spawn(move || pipe.write_all(&input).is_ok());
        let output = running.wait();
        writer.join().expect("the writer does not panic");
        output
    }

    /// `run --rm BUSYBOX sh -c SCRIPT` with `flags` before the image.
    #[track_caller]
    pub fn sh(&self, flags: &[&str], script: &str) -> Output {
        let image = self.busybox();
        let mut args = vec!["run", "--rm"];
        args.extend(flags);
        args.extend([image.as_str(), "sh", "-c", script]);
        self.run(&args)
    }

    /// What `inspect --format` says of a container.
    #[track_caller]
    pub fn inspect(&self, name: &str, format: &str) -> String {
        self.run(&["inspect", "--format", format, name]).ok()
    }

    /// The whole of `inspect` of a container.
    #[track_caller]
    pub fn document(&self, name: &str) -> serde_json::Value {
        let text = self.run(&["inspect", name]).ok();
        let list: serde_json::Value = serde_json::from_str(&text).expect("inspect prints JSON");
        list[0].clone()
    }

    /// Waits until `condition` holds.
    #[track_caller]
    pub fn until(&self, what: &str, condition: impl FnMut() -> bool) {
        assert!(self.comes(condition), "waited too long until {what}");
    }

    /// Waits until `condition` holds; false if it does not in all the time that a loaded machine may need.
    pub fn comes(&self, mut condition: impl FnMut() -> bool) -> bool {
        let end = Instant::now() + PATIENCE;
        while !condition() {
            if Instant::now() > end {
                return false;
            }
            sleep(Duration::from_millis(30));
        }
        true
    }

    /// Processes that run this home's file.
    pub fn processes(&self) -> Vec<i32> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // By identity: a monitor executes the file through a mount that has no path.
            if fs::metadata(entry.path().join("exe")).is_ok_and(|exe| (exe.dev(), exe.ino()) == self.identity) {
                found.push(pid);
            }
        }
        found
    }

    /// Ids of all containers.
    pub fn containers(&self) -> Vec<String> {
        self.run(&["ps", "-a", "-q", "--no-trunc"]).ok().lines().map(String::from).collect()
    }

    /// Removes all containers and looks for what is left of them; says what was wrong.
    fn close(&self) -> Result<(), String> {
        let run = |args: &[&str]| {
            let output = self.command(args).stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            match output.status.success() {
                true => Ok(text(&output.stdout)),
                false => Err(format!("the home cannot be emptied: {args:?}: {}", text(&output.stderr))),
            }
        };
        let containers = if self.emptied { String::new() } else { run(&["ps", "-a", "-q", "--no-trunc"])? };
        if !containers.is_empty() {
            run(&["rm", "-f", "-a", "-t", "0"])?;
        }
        let end = Instant::now() + Duration::from_secs(15);
        while !self.processes().is_empty() {
            if Instant::now() > end {
                return Err(format!("processes left behind: {}", self.describe_processes()));
            }
            sleep(Duration::from_millis(10));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|e| e.to_string())?;
        let own = self.base.to_str().expect("UTF-8");
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(own)).collect();
        if !left.is_empty() {
            return Err(format!("mounts left behind: {left:#?}"));
        }
        for id in containers.lines() {
            let mut find = Command::new("find");
            find.args(["/sys/fs/cgroup", "-maxdepth", "6", "-type", "d", "-name", &format!("*{id}*")]);
            let found = find.output().map_err(|e| e.to_string())?.stdout;
            if !found.is_empty() {
                return Err(format!("cgroups left behind: {}", String::from_utf8_lossy(&found)));
            }
        }
        Ok(())
    }

    fn describe_processes(&self) -> String {
        let line = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ");
        self.processes().into_iter().map(|pid| format!("{pid}: {}; ", line(pid))).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A test that has failed already says nothing more.
        let fault = self.close().err().filter(|_| !std::thread::panicking());
        for pid in self.processes().into_iter().filter_map(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
        if let Some(mut holder) = self.holder.take() {
            drop(holder.stdin.take());
            holder.wait().ok();
        }
        remove(&self.base);
        if let Some(fault) = fault {
            panic!("{fault}");
        }
    }
}

/// Gives this thread, and all that it starts from now on, a network of its own: bridges and published ports of one test
/// are not seen by others, or by the machine.
pub fn own_network() {
    thread_local!(static DONE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
    if rustix::process::geteuid().is_root() && !DONE.replace(true) {
        sys::namespaces::unshare(sys::clone::NEW_NET).expect("root may have a network namespace");
        sys::loopback::up().expect("a loopback interface");
    }
}

/// Removes a tree; files of a rootless user's own id range too, as root.
fn remove(directory: &Path) {
    // rm copes with directories without permissions, and with what a failed test left in between.
    Command::new("chmod").args(["-R", "u+rwx"]).arg(directory).stderr(Stdio::null()).status().ok();
    Command::new("rm").arg("-rf").arg(directory).status().ok();
}

fn start(mut command: Command, args: &[&str]) -> Running {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the file can be executed");
    let out = child.stdout.take().map(collect);
    let err = child.stderr.take().map(collect);
    Running { child, out, err, said: format!("monopod {}", args.join(" ")) }
}

fn collect(mut source: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes).expect("a pipe can be read");
        bytes
    })
}

/// The file under test.
pub fn built() -> PathBuf {
    match std::env::var_os("MONOPOD") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_BIN_EXE_monopod")),
    }
}

/// True if the tests run as root; says loudly that a test is skipped otherwise.
pub fn am_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: needs root");
    }
    root
}
