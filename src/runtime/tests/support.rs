//! A small monitor: makes a root file system of busybox, launches, feeds and waits.

use oci_spec::runtime::{Process, Spec};
use runtime::{Channels, Create, Exec, Report, Reports, Rootfs, Stdio};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use sys::clone::{Clone, Side, clone, exit_now};

/// Why nothing can be tested here.
pub fn cannot_run() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root");
    }
    (!Path::new("/bin/busybox").exists()).then_some("no /bin/busybox (install busybox-static)")
}

/// A directory that goes with the test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("monopod-runtime-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A container to be: change `create` as the test wants.
pub struct Box {
    pub scratch: Scratch,
    pub create: Create,
}

/// How a container ended.
#[derive(Debug, Default)]
pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    pub reports: Vec<Report>,
}

impl Outcome {
    /// Code and message of a failure.
    pub fn failure(&self) -> (u8, String) {
        self.reports
            .iter()
            .find_map(|r| match r {
                Report::Failed { code, message } => Some((*code, message.clone())),
                _ => None,
            })
            .unwrap_or_else(|| panic!("it did not fail: {self:?}"))
    }
}

pub const CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

fn specification(arguments: &[&str]) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "hostname": "inside",
        "root": {"path": "rootfs"},
        "process": {
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": arguments, "env": ["PATH=/bin", "A=b"],
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1000, "hard": 1000}],
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rprivate", "nosuid", "noexec", "nodev", "relatime", "ro"]},
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

impl Box {
    /// A container of busybox on an overlay, which executes `arguments`.
    pub fn new(arguments: &[&str]) -> Box {
        let scratch = Scratch::new();
        let layer = scratch.0.join("1");
        for directory in ["bin", "etc", "tmp", "proc", "sys", "dev", "root", "home/bob"] {
            fs::create_dir_all(layer.join(directory)).unwrap();
        }
        fs::copy("/bin/busybox", layer.join("bin/busybox")).unwrap();
        for applet in [
            "sh", "cat", "echo", "id", "ls", "true", "false", "mount", "stat", "touch", "sleep", "tty", "stty",
            "hostname", "kill", "grep", "ps", "pwd", "ip", "chown", "mkdir", "env", "readlink", "wc", "head", "umount",
            "mknod", "dd", "ulimit",
        ] {
            std::os::unix::fs::symlink("busybox", layer.join("bin").join(applet)).unwrap();
        }
        fs::write(layer.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n")
            .unwrap();
        fs::write(layer.join("etc/group"), "root:x:0:\nbob:x:1000:\naudio:x:29:bob\n").unwrap();
        for directory in ["u", "w"] {
            fs::create_dir_all(scratch.0.join(directory)).unwrap();
        }
        let rootfs = Rootfs::Overlay {
            data: None,
            base: scratch.0.clone(),
            lower: vec!["1".into()],
            upper: Some(scratch.0.join("u")),
            work: Some(scratch.0.join("w")),
            user_xattr: false,
            volatile: false,
            idmap: None,
        };
        let create = Create {
            spec: serde_json::from_value(specification(arguments)).unwrap(),
            rootfs,
            bundle: scratch.0.clone(),
            ..Create::new("test", Spec::default(), Rootfs::Directory(PathBuf::new()))
        };
        Box { scratch, create }
    }

    /// A shell script in a container.
    pub fn script(script: &str) -> Box {
        Box::new(&["sh", "-c", script])
    }

    /// The layer's directory.
    pub fn layer(&self) -> PathBuf {
        self.scratch.0.join("1")
    }

    /// Changes the specification as JSON.
    pub fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::to_value(&self.create.spec).unwrap();
        change(&mut value);
        self.create.spec = serde_json::from_value::<Spec>(value).unwrap();
    }

    /// Adds a mount.
    pub fn mount(&mut self, mount: Value) {
        self.edit(|spec| spec["mounts"].as_array_mut().unwrap().push(mount));
    }

    /// Launches, starts, and waits for the end.
    pub fn run(&self) -> Outcome {
        let mut running = self.launch();
        running.start();
        running.wait()
    }

    /// Launches with pipes as streams.
    pub fn launch(&self) -> Running {
        launch(|channels| runtime::create(&self.create, channels), None)
    }

    /// Launches with a terminal, whose master is returned.
    pub fn launch_on_terminal(&self) -> (Running, OwnedFd) {
        on_terminal(|channels| runtime::create(&self.create, channels))
    }

    /// Panics unless `script` printed `want` and succeeded.
    pub fn prints(&self, want: &str) {
        let outcome = self.run();
        assert_eq!((outcome.out.trim(), outcome.code), (want, Some(0)), "{outcome:?}");
    }
}

/// A launched container or process.
pub struct Running {
    start: Option<OwnedFd>,
    out: File,
    err: File,
    report: File,
    /// What was reported so far.
    pub reports: Vec<Report>,
    /// The first process, if it was made.
    pub pid: Option<(i32, u64)>,
}

/// Launches by `make` in a forked intermediate, and reads reports until the process is parked or gone.
pub fn launch(make: impl FnOnce(Channels), terminal: Option<OwnedFd>) -> Running {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).unwrap();
    let ((wait, start), (out, out_write), (err, err_write), (report, report_write)) = (pipe(), pipe(), pipe(), pipe());
    let intermediate = match clone(Clone::default()).unwrap() {
        Side::Child => {
            drop((start, out, err, report));
            let stdio = match terminal {
                Some(socket) => Stdio::Terminal(socket),
                None => Stdio::Descriptors([File::open("/dev/null").unwrap().into(), out_write, err_write]),
            };
            make(Channels { stdio, start: Some(wait), report: report_write });
            exit_now(0)
        }
        Side::Parent(pid) => pid,
    };
    drop((wait, out_write, err_write, report_write, terminal));
    let status = waitpid(Pid::from_raw(intermediate), WaitOptions::empty()).unwrap().unwrap().1;
    assert_eq!(status.exit_status(), Some(0), "the intermediate");
    let mut running = Running {
        start: Some(start),
        out: out.into(),
        err: err.into(),
        report: report.into(),
        reports: Vec::new(),
        pid: None,
    };
    running.read_reports();
    running
}

/// Launches with a terminal and receives its master.
pub fn on_terminal(make: impl FnOnce(Channels)) -> (Running, OwnedFd) {
    let (ours, theirs) = sys::channel::pair().unwrap();
    let running = launch(make, Some(theirs));
    let (_, mut passed) = sys::channel::receive_descriptors(&ours, &mut [0u8; 64]).unwrap();
    let master = passed.pop().unwrap_or_else(|| panic!("no terminal came: {:?}", running.reports));
    (running, master)
}

impl Running {
    fn read_reports(&mut self) {
        let mut reports = Reports::default();
        let mut piece = [0u8; 512];
        loop {
            let length = self.report.read(&mut piece).unwrap();
            let new = reports.push(&piece[..length]);
            let last = length == 0 || new.contains(&Report::Parked);
            self.reports.extend(new);
            if last {
                break;
            }
        }
        self.pid = self.reports.iter().find_map(|r| match r {
            Report::Created { pid, start_time, .. } => Some((*pid, *start_time)),
            _ => None,
        });
    }

    /// True if it waits for its start.
    pub fn is_parked(&self) -> bool {
        self.reports.contains(&Report::Parked)
    }

    /// The container's cgroup.
    pub fn cgroup(&self) -> Option<String> {
        self.reports.iter().find_map(|r| match r {
            Report::Created { cgroup, .. } => cgroup.clone(),
            _ => None,
        })
    }

    /// Releases the process. If it is gone already, there is nothing to release.
    pub fn start(&mut self) {
        if let Some(start) = self.start.take() {
            let _ = rustix::io::write(&start, b"s");
        }
    }

    /// Waits until the started process has executed its program: its name is another then. Before that it cannot be traced,
    /// nor its namespaces entered, by who has no rights where this test was executed.
    pub fn until_executed(&self) {
        let name = |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        let own = name(std::process::id() as i32);
        let began = std::time::Instant::now();
        while name(self.pid.unwrap().0) == own {
            assert!(began.elapsed().as_secs() < 10, "it was not executed");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Gives the process up.
    pub fn give_up(&mut self) {
        self.start = None;
    }

    /// Reads all that comes, and reaps.
    pub fn wait(mut self) -> Outcome {
        let mut outcome = Outcome::default();
        self.read_reports();
        // A process that fails closes its streams; so their ends are read after the reports.
        self.out.read_to_string(&mut outcome.out).unwrap();
        self.err.read_to_string(&mut outcome.err).unwrap();
        outcome.reports = std::mem::take(&mut self.reports);
        if let Some(pid) = outcome.reports.iter().find_map(|r| match r {
            Report::Created { pid, .. } => Pid::from_raw(*pid),
            _ => None,
        }) {
            let status = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap().1;
            outcome.code = status.exit_status().or_else(|| status.terminating_signal().map(|s| 128 + s));
        }
        outcome
    }

    /// Kills the process.
    pub fn kill(&self) {
        let (pid, start) = self.pid.unwrap();
        sys::process::kill(pid, start, 9).unwrap();
    }

    /// Adds a process to the container, and waits for its end.
    pub fn exec(&self, arguments: &[&str], change: impl FnOnce(&mut Exec)) -> Outcome {
        let exec = self.exec_of(arguments, change);
        let mut running = launch(|channels| runtime::exec(&exec, channels), None);
        running.start();
        running.wait()
    }

    /// An [`Exec`] for this container.
    pub fn exec_of(&self, arguments: &[&str], change: impl FnOnce(&mut Exec)) -> Exec {
        let process: Process = serde_json::from_value(specification(arguments)["process"].clone()).unwrap();
        let (pid, start_time) = self.pid.unwrap();
        let mut exec = Exec::new("test", pid, start_time, process);
        change(&mut exec);
        exec
    }
}
