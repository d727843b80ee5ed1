//! Hooks: programs that a specification wants executed at six moments of a container's life (OCI runtime specification,
//! config.md, "POSIX-platform Hooks"), each with the container's state as JSON on its standard input.
//!
//! [`crate::create()`] runs those of creation and of the program's start. Who starts and who deletes a container runs those
//! that come after: [`run`] the `poststart` ones, and [`run_all`] the `poststop` ones, on every way a container can end.
//!
//! Must not know: what a hook is for.

use crate::error::Error;
use oci_spec::runtime::{ContainerState, Hook, Spec, State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A moment at which hooks are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Deprecated; right before the next one.
    Prestart,
    /// All is there but the root is not changed yet; on the host's side.
    CreateRuntime,
    /// Right after; in the container's namespaces, with the host's paths.
    CreateContainer,
    /// Right before the program; inside the container.
    StartContainer,
    /// Right after the program was executed; on the host's side.
    Poststart,
    /// After the container has been deleted; on the host's side.
    Poststop,
}

impl Moment {
    /// All, in their order.
    pub const ALL: [Moment; 6] = [
        Moment::Prestart,
        Moment::CreateRuntime,
        Moment::CreateContainer,
        Moment::StartContainer,
        Moment::Poststart,
        Moment::Poststop,
    ];

    /// The specification's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Moment::Prestart => "prestart",
            Moment::CreateRuntime => "createRuntime",
            Moment::CreateContainer => "createContainer",
            Moment::StartContainer => "startContainer",
            Moment::Poststart => "poststart",
            Moment::Poststop => "poststop",
        }
    }

    /// The state that hooks of this moment are told.
    pub fn status(self) -> ContainerState {
        match self {
            Moment::Prestart | Moment::CreateRuntime | Moment::CreateContainer => ContainerState::Creating,
            Moment::StartContainer => ContainerState::Created,
            Moment::Poststart => ContainerState::Running,
            Moment::Poststop => ContainerState::Stopped,
        }
    }

    /// The hooks that `spec` has for it.
    #[allow(deprecated)]
    pub fn hooks(self, spec: &Spec) -> &[Hook] {
        let Some(hooks) = spec.hooks() else { return &[] };
        match self {
            Moment::Prestart => hooks.prestart(),
            Moment::CreateRuntime => hooks.create_runtime(),
            Moment::CreateContainer => hooks.create_container(),
            Moment::StartContainer => hooks.start_container(),
            Moment::Poststart => hooks.poststart(),
            Moment::Poststop => hooks.poststop(),
        }
        .as_deref()
        .unwrap_or_default()
    }
}

/// The state of container `id` (OCI runtime specification, runtime.md, "State"): `pid` is its first process as the runtime
/// sees it, none once it is gone.
pub fn state(spec: &Spec, id: &str, bundle: &std::path::Path, status: ContainerState, pid: Option<i32>) -> State {
    let mut state = State::default();
    state
        .set_version(spec.version().clone())
        .set_id(id.to_owned())
        .set_status(status)
        .set_pid(pid)
        .set_bundle(bundle.to_owned())
        .set_annotations(spec.annotations().clone());
    state
}

/// Runs `hooks` in their order, in this process's namespaces. The first that fails ends it: the container must be stopped then.
pub fn run(moment: Moment, hooks: &[Hook], state: &State) -> Result<(), Error> {
    hooks.iter().try_for_each(|hook| run_one(moment, hook, state, None))
}

/// The same in the container, where nothing of this process's environment is to be seen: a hook without an environment of its
/// own has that of the container's process.
pub(crate) fn run_inside(moment: Moment, hooks: &[Hook], state: &State, environment: &[String]) -> Result<(), Error> {
    hooks.iter().try_for_each(|hook| run_one(moment, hook, state, Some(environment)))
}

/// Runs all `hooks` whatever becomes of each, and returns the failures, which are to be told as warnings (`poststop`).
pub fn run_all(moment: Moment, hooks: &[Hook], state: &State) -> Vec<Error> {
    hooks.iter().filter_map(|hook| run_one(moment, hook, state, None).err()).collect()
}

/// Refuses hooks that no runtime may run: before anything is made.
pub fn check(spec: &Spec) -> Result<(), Error> {
    for moment in Moment::ALL {
        for hook in moment.hooks(spec) {
            if !hook.path().is_absolute() {
                return Err(failed(moment, hook, "its path must be absolute"));
            }
            if hook.timeout().is_some_and(|seconds| seconds <= 0) {
                return Err(failed(moment, hook, "its timeout must be greater than zero"));
            }
        }
    }
    Ok(())
}

fn failed(moment: Moment, hook: &Hook, why: impl Into<String>) -> Error {
    Error::Hook { moment: moment.name(), path: hook.path().clone(), why: why.into() }
}

fn run_one(moment: Moment, hook: &Hook, state: &State, environment: Option<&[String]>) -> Result<(), Error> {
    let fail = |why: String| failed(moment, hook, why);
    let io = |step: &'static str| move |error: std::io::Error| fail(format!("{step}: {}", plain(&error)));
    let input = input(state).map_err(io("write its state"))?;
    let (output, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|error| fail(format!("make a pipe: {}", crate::error::text(error))))?;
    let mut command = Command::new(hook.path());
    if let Some((name, rest)) = hook.args().as_deref().and_then(|args| args.split_first()) {
        command.arg0(name).args(rest);
    }
    // Without `env` on the host's side it has this process's, as with runc and crun; an empty one is empty.
    if let Some(environment) = hook.env().as_deref().or(environment) {
        command.env_clear().envs(environment.iter().filter_map(|entry| entry.split_once('=')));
    }
    let copy = theirs.try_clone().map_err(io("copy a pipe"))?;
    // A group of its own: whatever it starts ends with it when its time is up.
    command.stdin(input).stdout(Stdio::from(copy)).stderr(Stdio::from(theirs)).process_group(0);
    let mut child = command.spawn().map_err(io("execute"))?;
    drop(command);
    let deadline = hook.timeout().map(|seconds| Instant::now() + Duration::from_secs(seconds.max(0) as u64));
    let (status, said) = wait(&mut child, output, deadline).map_err(io("wait for it"))?;
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let why = match status {
        Some(status) if status.success() => return Ok(()),
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("it ended with code {code}"),
            (None, signal) => format!("it was killed by signal {}", signal.unwrap_or_default()),
        },
        None => format!("it took longer than its timeout of {} s", hook.timeout().unwrap_or_default()),
    };
    Err(fail(if said.is_empty() { why } else { format!("{why}: {said}") }))
}

/// The message of an error without Rust's `(os error N)`.
fn plain(error: &std::io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or_default().to_owned()
}

/// The state as a file: a hook that does not read it holds nobody up.
fn input(state: &State) -> std::io::Result<OwnedFd> {
    let text = serde_json::to_vec(state)?;
    let mut file = std::fs::File::from(rustix::fs::memfd_create("state", MemfdFlags::CLOEXEC)?);
    file.write_all(&text)?;
    file.rewind()?;
    Ok(file.into())
}

/// The end of what a hook said is told if it fails.
const MOST_SAID: usize = 2048;

/// Waits for the end of `child` or for the deadline (then it is killed, and there is no status), and keeps what it said last.
fn wait(
    child: &mut Child,
    output: OwnedFd,
    deadline: Option<Instant>,
) -> std::io::Result<(Option<ExitStatus>, Vec<u8>)> {
    let pid = Pid::from_raw(child.id() as i32);
    // Kernels before 5.3 have no pidfd: there it is asked for every few milliseconds.
    let ended = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
    rustix::io::ioctl_fionbio(&output, true)?;
    let (mut said, mut open) = (Vec::new(), true);
    loop {
        if let Some(status) = child.try_wait()? {
            take(&output, &mut said);
            return Ok((Some(status), said));
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            }
            child.kill()?;
            child.wait()?;
            take(&output, &mut said);
            return Ok((None, said));
        }
        let pause = if ended.is_some() { None } else { Some(Duration::from_millis(5)) };
        let timeout = [left, pause].into_iter().flatten().min();
        let timeout = timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos() as _ });
        let mut descriptors = Vec::with_capacity(2);
        descriptors.extend(ended.as_ref().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)));
        if open {
            descriptors.push(PollFd::new(&output, PollFlags::IN));
        }
        match poll(&mut descriptors, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => open = open && take(&output, &mut said),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads what is there; false at its end.
fn take(output: &OwnedFd, said: &mut Vec<u8>) -> bool {
    let mut piece = [0u8; MOST_SAID];
    loop {
        match rustix::io::read(output, &mut piece) {
            Ok(0) => return false,
            Ok(length) => {
                said.extend_from_slice(&piece[..length]);
                let more = said.len().saturating_sub(MOST_SAID);
                said.drain(..more);
            }
            Err(Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hook(json: serde_json::Value) -> Hook {
        serde_json::from_value(json).unwrap()
    }

    fn shell(script: &str, timeout: Option<i64>) -> Hook {
        hook(json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["A=b", "nonsense"], "timeout": timeout}))
    }

    fn a_state() -> State {
        let spec = serde_json::from_value(json!({"ociVersion": "1.2.0", "annotations": {"k": "v"}})).unwrap();
        state(&spec, "id", "/bundle".as_ref(), ContainerState::Running, Some(7))
    }

    #[test]
    fn a_hook_has_the_state_and_its_own_environment_only() {
        let path = std::env::temp_dir().join(format!("monopod-hook-{}", std::process::id()));
        let script = format!("cat > {0}; env | grep -c HOME >> {0}; echo $A >> {0}", path.display());
        run(Moment::Poststart, &[shell(&script, Some(60))], &a_state()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let (state, rest) = text.split_once('}').unwrap();
        assert_eq!(rest, "}0\nb\n");
        let state: serde_json::Value = serde_json::from_str(&format!("{state}}}}}")).unwrap();
        let wanted = json!({"ociVersion": "1.2.0", "id": "id", "status": "running", "pid": 7, "bundle": "/bundle",
            "annotations": {"k": "v"}});
        assert_eq!(state, wanted);
    }

    #[test]
    fn failures_say_which_hook_and_why() {
        let text = |hook| run(Moment::Poststop, &[hook], &a_state()).unwrap_err().to_string();
        assert_eq!(
            text(shell("echo words >&2; exit 3", None)),
            "poststop hook \"/bin/sh\": it ended with code 3: words"
        );
        assert_eq!(text(shell("kill -9 $$", None)), "poststop hook \"/bin/sh\": it was killed by signal 9");
        assert!(text(shell("sleep 1000 & wait", Some(1))).contains("longer than its timeout of 1 s"));
        assert!(text(hook(json!({"path": "/no/such"}))).contains("execute: No such file"));
        // All are run although the first fails; what a daemon keeps open is not waited for.
        let several = [shell("exit 1", None), shell("sleep 5 &", None), shell("exit 2", None)];
        assert_eq!(run_all(Moment::Poststop, &several, &a_state()).len(), 2);
        let long = shell("while :; do echo 0123456789; done | head -c 1000000; exit 1", None);
        assert!(text(long).len() < MOST_SAID + 100);
    }

    #[test]
    fn hooks_that_cannot_be_are_refused_first() {
        let spec =
            |hook| serde_json::from_value(json!({"ociVersion": "1.2.0", "hooks": {"poststop": [hook]}})).unwrap();
        assert!(check(&spec(json!({"path": "bin/true"}))).unwrap_err().to_string().contains("absolute"));
        assert!(check(&spec(json!({"path": "/bin/true", "timeout": 0}))).unwrap_err().to_string().contains("greater"));
        check(&spec(json!({"path": "/bin/true", "timeout": 1}))).unwrap();
    }
}
