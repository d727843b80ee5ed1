//! Adding a process to a running container: the intermediate's side, and the new process's side up to [`crate::finish`].
//!
//! The container's file system is a stranger's all the way here: nothing of the host is open in the new process, and others
//! cannot trace it before it executes its program (CVE-2016-9962).

use crate::create::{become_root, read_exactly};
use crate::error::{Context, Error};
use crate::finish::{self, Finish, Streams};
use crate::labels::Labels;
use crate::launch::{Channels, Exec, Stdio};
use crate::notify::{self, Notify};
use crate::paths;
use crate::placement::Placement;
use crate::plan;
use crate::privileges;
use crate::report::Report;
use crate::scheduling::{self, Scheduling};
use crate::seccomp::Filter;
use oci_spec::runtime::{ContainerState, State};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use sys::clone::{NEW_CGROUP, NEW_IPC, NEW_MOUNT, NEW_NET, NEW_PID, NEW_TIME, NEW_USER, NEW_UTS, Side};

/// Adds the process, as a child of the caller's parent, and returns when it is on its way; as [`crate::create`].
pub fn exec(exec: &Exec, channels: Channels) {
    let report = match sys::process::out_of_the_way(channels.report) {
        Ok(report) => report,
        Err(_) => return,
    };
    if let Err(error) = launch(exec, channels.stdio, channels.start, report.as_fd()) {
        fail_added(report.as_fd(), error);
    }
}

/// Reports `error`, and gives the exit code.
fn fail_added(report: BorrowedFd<'_>, error: Error) -> u8 {
    let (code, error) = error.of_added();
    let _ = rustix::io::write(report, &Report::Failed { code, message: error.to_string() }.line());
    code
}

/// The container's namespaces that are not ours.
struct Target {
    pid: i32,
    fd: Option<OwnedFd>,
    kinds: u64,
}

impl Target {
    fn open(exec: &Exec) -> Result<Target, Error> {
        let gone = || Error::NotRunning { id: exec.id.clone() };
        let fd = match sys::process::open(exec.pid, exec.start_time) {
            Ok(fd) => Some(fd),
            Err(Errno::NOSYS) if sys::process::is_alive(exec.pid, exec.start_time) => None,
            Err(Errno::SRCH | Errno::NOSYS) => return Err(gone()),
            Err(error) => return Err(error).step("open the container's first process"),
        };
        let mut kinds = 0;
        for (kind, name) in [
            (NEW_USER, "user"),
            (NEW_CGROUP, "cgroup"),
            (NEW_IPC, "ipc"),
            (NEW_UTS, "uts"),
            (NEW_NET, "net"),
            (NEW_PID, "pid"),
            (NEW_TIME, "time"),
            (NEW_MOUNT, "mnt"),
        ] {
            // Entering one's own user namespace is an error, and others may need rights that are not had after it.
            let theirs = match rustix::fs::stat(format!("/proc/{}/ns/{name}", exec.pid)) {
                Ok(status) => status,
                // No such kind in this kernel, or the process ended; the latter is seen below.
                Err(Errno::NOENT) => continue,
                Err(Errno::SRCH) => return Err(gone()),
                Err(source) => return Err(Error::Namespace { kind: name.into(), step: "find", source }),
            };
            let ours = rustix::fs::stat(format!("/proc/self/ns/{name}")).map_err(|source| Error::Namespace {
                kind: name.into(),
                step: "find",
                source,
            })?;
            if (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino) {
                kinds |= kind;
            }
        }
        if !sys::process::is_alive(exec.pid, exec.start_time) {
            return Err(gone());
        }
        Ok(Target { pid: exec.pid, fd, kinds })
    }

    /// Enters those of its namespaces that are in `kinds`.
    fn enter(&self, kinds: u64) -> Result<(), Error> {
        let kinds = self.kinds & kinds;
        if kinds == 0 {
            return Ok(());
        }
        let entered = match &self.fd {
            Some(fd) => sys::namespaces::enter(fd.as_fd(), kinds),
            None => Err(Errno::INVAL),
        };
        match entered {
            // Kernels before 5.8 do not take pidfds here.
            Err(Errno::INVAL) => sys::namespaces::enter_by_files(self.pid, kinds),
            other => other,
        }
        .map_err(|source| {
            let kind = (0..64)
                .map(|bit| 1 << bit)
                .filter(|bit| kinds & bit != 0)
                .map(plan::name)
                .collect::<Vec<_>>()
                .join(", ");
            Error::Namespace { kind, step: "enter", source }
        })
    }
}

fn launch(exec: &Exec, stdio: Stdio, start: Option<OwnedFd>, report: BorrowedFd<'_>) -> Result<(), Error> {
    sys::process::close_on_exec_from(3).step("close descriptors")?;
    sys::signals::ignore_broken_pipes().step("ignore broken pipes")?;
    plan::refuse_of_process(&exec.process)?;
    let filter = plan::filter(exec.seccomp.as_ref(), exec.filter.as_ref())?;
    let agent = notify::connect(filter.as_ref())?;
    Scheduling::read(&exec.process)?;
    let affinity = exec.process.exec_cpu_affinity().as_ref();
    let target = Target::open(exec)?;
    let stdio = match stdio {
        Stdio::Terminal(socket) => {
            Stdio::Terminal(sys::process::out_of_the_way(socket).step("move the terminal's socket")?)
        }
        Stdio::Descriptors(streams) => {
            let [a, b, c] = streams.map(sys::process::out_of_the_way);
            Stdio::Descriptors([a.step("move a stream")?, b.step("move a stream")?, c.step("move a stream")?])
        }
    };
    let start = start.map(sys::process::out_of_the_way).transpose().step("move the start pipe")?;
    if let Some(score) = exec.process.oom_score_adj() {
        // As for the first process: cut to what we may.
        let _ = std::fs::write("/proc/self/oom_score_adj", score.to_string());
    }
    privileges::raise_limits(exec.process.rlimits().as_deref().unwrap_or_default());
    scheduling::set_affinity(affinity.and_then(|affinity| affinity.initial().as_ref()))?;
    let mut placement = Placement::of(exec.pid, exec.cgroup.as_deref())?;
    let (wait, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("make a pipe")?;
    sys::process::set_dumpable(false).step("keep others from tracing")?;
    target.enter(NEW_PID)?;
    let pid = match placement.clone(0).step("make the process")? {
        Side::Child => {
            drop(go);
            let waits = agent.is_some();
            let error = match join(exec, &target, stdio, &wait, waits, &mut placement) {
                Ok((streams, labels, pid)) => {
                    let notify = agent
                        .zip(filter.as_ref())
                        .map(|(agent, filter)| Notify::new(agent, filter, pid, running(exec)));
                    finish(exec, filter.as_ref(), (labels, notify), start.as_ref(), report, streams)
                }
                Err(error) => error,
            };
            sys::clone::exit_now(i32::from(fail_added(report, error)))
        }
        Side::Parent(pid) => pid,
    };
    drop(wait);
    placement.settle(pid).inspect_err(|_| sys::process::kill_number(pid, 9))?;
    let start_time = sys::process::start_time(pid).step("read the start time of the process")?;
    let created = Report::Created { pid, start_time, cgroup: placement.name() };
    rustix::io::write(report, &created.line()).step("report")?;
    // The process may have failed and gone already: what it reported counts.
    let _ = rustix::io::write(&go, &pid.to_le_bytes());
    Ok(())
}

/// The container, as who listens to its filter is told.
fn running(exec: &Exec) -> State {
    let mut state = State::default();
    state
        .set_version(crate::OCI_VERSION.into())
        .set_id(exec.id.clone())
        .set_status(ContainerState::Running)
        .set_pid(Some(exec.pid))
        .set_bundle(exec.bundle.clone())
        .set_annotations(Some(exec.annotations.clone()).filter(|all| !all.is_empty()));
    state
}

/// The new process: into the container. Gives its streams, and its number as the original sees it if it `waits` for that.
fn join(
    exec: &Exec,
    target: &Target,
    stdio: Stdio,
    wait: &OwnedFd,
    waits: bool,
    placement: &mut Placement,
) -> Result<(Streams, Labels, i32), Error> {
    sys::signals::reset().step("reset signals")?;
    rustix::process::setsid().map(drop).step("start a session")?;
    placement.enter()?;
    let mut pid = [0u8; 4];
    if waits || placement.must_wait(&Default::default()) {
        read_exactly(wait, &mut pid)?;
    }
    // With the rights of the host's that are lost next.
    scheduling::set_affinity(exec.process.exec_cpu_affinity().as_ref().and_then(|a| a.cpu_affinity_final().as_ref()))?;
    Scheduling::read(&exec.process)?.apply(0)?;
    privileges::set_personality(exec.personality.as_ref())?;
    exec.memory_policy.as_ref().map_or(Ok(()), scheduling::set_memory_policy)?;
    let labels = Labels::open(&exec.process)?;
    target.enter(!NEW_PID)?;
    if target.kinds & NEW_USER != 0 {
        become_root(exec.keep_groups)?;
    }
    if !exec.keep_keyring {
        privileges::new_session_keyring()?;
    }
    let pts = match stdio {
        Stdio::Terminal(_) => Some(container_pts()?),
        Stdio::Descriptors(_) => None,
    };
    let streams = finish::streams(stdio, finish::size(&exec.process), pts.as_ref().map(|fd| fd.as_fd()))?;
    Ok((streams, labels, i32::from_le_bytes(pid)))
}

/// The container's `/dev/pts`, if it really is a devpts with a real ptmx in it: both are the container's to fake.
fn container_pts() -> Result<OwnedFd, Error> {
    const DEVPTS: u64 = 0x1cd1;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty()).step("open the container's root")?;
    let pts = paths::open(root.as_fd(), Path::new("/dev/pts"), flags).step("open the container's /dev/pts")?;
    let is_devpts = rustix::fs::fstatfs(&pts).step("look at the container's /dev/pts")?.f_type as u64 == DEVPTS;
    let node =
        rustix::fs::statat(&pts, c"ptmx", rustix::fs::AtFlags::SYMLINK_NOFOLLOW).step("look at /dev/pts/ptmx")?;
    let is_ptmx =
        FileType::from_raw_mode(node.st_mode) == FileType::CharacterDevice && node.st_rdev == rustix::fs::makedev(5, 2);
    if is_devpts && is_ptmx { Ok(pts) } else { Err(Errno::NODEV).step("find a devpts in the container") }
}

fn finish(
    exec: &Exec,
    filter: Option<&Filter>,
    (labels, notify): (Labels, Option<Notify>),
    start: Option<&OwnedFd>,
    report: BorrowedFd<'_>,
    streams: Streams,
) -> Error {
    Finish {
        process: &exec.process,
        container: &exec.id,
        user: exec.user.as_deref(),
        keep_groups: exec.keep_groups,
        groups: &exec.groups,
        create_cwd: false,
        init: false,
        preserved: exec.preserved,
        kept: &exec.kept,
        filter,
        report,
        start,
        labels,
        notify,
        hooks: None,
    }
    .run(streams)
}
