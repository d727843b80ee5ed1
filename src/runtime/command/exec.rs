//! `exec`: one more process in a container that runs.
//!
//! Must not know: how it gets there.

use super::Program;
use super::failure::Failure;
use super::flags::Words;
use super::foreground::{self, Console};
use super::make::{self, Making};
use super::state::Status;
use super::unprivileged;
use crate::launch::{Channels, Exec, Stdio};
use crate::specification;
use oci_spec::runtime::{Capability, LinuxCapabilities, Process, Spec, User};
use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// `exec`. A failure of its own has a code that programs seldom end with.
pub(crate) fn exec(program: &Program, words: &Words) -> Result<u8, Failure> {
    execute(program, words).map_err(|failure| Failure::Exec { source: Box::new(failure) })
}

fn execute(program: &Program, words: &Words) -> Result<u8, Failure> {
    let (preserved, _) = make::preserved(words.number("preserve-fds")?.unwrap_or(0))?;
    let containers = program.containers()?;
    let place = containers.find(words.container())?;
    let record = place.record()?;
    let status = place.status(Some(&record))?;
    let first = match (status, record.first) {
        (Status::Paused, _) if !words.has("ignore-paused") => return Err(Failure::Paused { id: place.id.clone() }),
        (Status::Running | Status::Created | Status::Paused, Some(first)) => first,
        _ => return Err(Failure::Status { action: "exec in", id: place.id.clone(), status }),
    };
    let (read, filter) = place.read_specification(|text| containers.filters().read(text))?;
    let spec = read.content;
    let process = process(program, words, &spec)?;
    let terminal = process.terminal().unwrap_or(false);
    let exec = Exec {
        filter,
        bundle: record.bundle.clone(),
        annotations: record.annotations.clone().into_iter().collect(),
        personality: spec.linux().as_ref().and_then(|linux| linux.personality().clone()),
        memory_policy: spec.linux().as_ref().and_then(|linux| linux.memory_policy().clone()),
        preserved,
        cgroup: cgroup(words)?,
        ..Exec::new(place.id.clone(), first.pid, first.start_time, process)
    };
    let detach = words.has("detach");
    let own = (terminal && words.value("console-socket").is_none() && !detach).then(Console::prepare).transpose()?;
    let (mut console, theirs) = own.unzip();
    let stdio = streams(terminal, words, theirs)?;
    let signals = if detach { None } else { Some(foreground::prepare(false)?) };
    let (reader, report) = make::pipe()?;
    let channels = Channels { stdio, start: None, report };
    let mut making = Making::begin(channels, reader, None, |channels| {
        let joined = if unprivileged::is_meant() { unprivileged::join(exec.pid) } else { Ok(()) };
        match joined {
            Ok(()) => crate::exec(&exec, channels),
            Err(error) => crate::create::fail(channels.report.as_fd(), &error),
        }
    })?;
    let made = (|| {
        making.executed()?;
        let created = making.created.clone().ok_or(Failure::Killed)?;
        words.value("pid-file").map_or(Ok(()), |path| make::write_pid(Path::new(path), created.pid))?;
        console.as_mut().map_or(Ok(()), Console::attach)?;
        Ok(created.pid)
    })();
    let pid = match made {
        Ok(pid) => pid,
        Err(failure) => {
            making.abandon();
            return Err(failure);
        }
    };
    making.reap_intermediate();
    match signals {
        None => Ok(0),
        Some(signals) => foreground::wait(pid, &signals, console, None),
    }
}

fn streams(terminal: bool, words: &Words, own: Option<OwnedFd>) -> Result<Stdio, Failure> {
    match (terminal, own, words.value("console-socket")) {
        (true, Some(socket), _) => Ok(Stdio::Terminal(socket)),
        (true, None, Some(path)) => make::console(Path::new(path)).map(Stdio::Terminal),
        (true, None, None) => Err(Failure::Unsupported {
            what: "a terminal that nobody takes".into(),
            instead: "give --console-socket, or leave --detach out",
        }),
        // An engine may give one always.
        (false, ..) => make::own_streams(),
    }
}

/// The group to go to, from the container's own. runc takes `CONTROLLER:PATH` too, which only makes sense in version 1.
fn cgroup(words: &Words) -> Result<Option<PathBuf>, Failure> {
    let mut paths = words.all("cgroup");
    let first = paths.next();
    if paths.next().is_some() || first.is_some_and(|path| path.contains(':')) {
        return Err(Failure::Unsupported {
            what: "--cgroup for single controllers".into(),
            instead: "give one path, which counts in all hierarchies that have it",
        });
    }
    Ok(first.map(PathBuf::from))
}

/// The process: that of `--process`, or the container's own with what the flags change.
fn process(program: &Program, words: &Words, spec: &Spec) -> Result<Process, Failure> {
    if let Some(path) = words.value("process") {
        let path = PathBuf::from(path);
        let text = std::fs::read(&path).map_err(|source| Failure::File { step: "open", path: path.clone(), source })?;
        let read = specification::read_process(&text).map_err(|source| Failure::Read { path, source })?;
        read.warnings.iter().for_each(|warning| program.log.warning(warning));
        let mut process = read.content;
        if words.has("tty") {
            process.set_terminal(Some(true));
        }
        return Ok(process);
    }
    let Some((_, arguments)) = words.arguments.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return Err(Failure::Arguments {
            usage: format!("{} exec [options] CONTAINER COMMAND [ARGUMENT...], or --process FILE", program.name),
        });
    };
    let mut process = spec.process().clone().unwrap_or_default();
    process.set_args(Some(arguments.to_vec())).set_terminal(Some(words.has("tty"))).set_console_size(None);
    if let Some(directory) = words.value("cwd") {
        process.set_cwd(directory.into());
    }
    if let Some(user) = words.value("user") {
        let user = numbers(user, process.user())?;
        process.set_user(user);
    }
    let groups: Vec<u32> = words
        .all("additional-gids")
        .flat_map(|list| list.split(','))
        .map(|gid| gid.parse().map_err(|_| invalid("additional-gids", gid, "a number")))
        .collect::<Result<_, _>>()?;
    if !groups.is_empty() {
        let mut user = process.user().clone();
        user.set_additional_gids(Some([user.additional_gids().clone().unwrap_or_default(), groups].concat()));
        process.set_user(user);
    }
    let mut environment = process.env().clone().unwrap_or_default();
    for entry in words.all("env") {
        let key = entry.split('=').next().unwrap_or_default();
        environment.retain(|known| known.split('=').next() != Some(key));
        environment.push(entry.to_owned());
    }
    process.set_env(Some(environment));
    if words.has("no-new-privs") {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(profile) = words.value("apparmor") {
        process.set_apparmor_profile(Some(profile.into()));
    }
    if let Some(label) = words.value("process-label") {
        process.set_selinux_label(Some(label.into()));
    }
    add_capabilities(&mut process, words)?;
    Ok(process)
}

/// `UID[:GID]`.
fn numbers(text: &str, before: &User) -> Result<User, Failure> {
    let number = |part: &str| part.parse().map_err(|_| invalid("user", text, "UID or UID:GID, in numbers"));
    let mut user = before.clone();
    match text.split_once(':') {
        Some((uid, gid)) => user.set_uid(number(uid)?).set_gid(number(gid)?),
        None => user.set_uid(number(text)?),
    };
    Ok(user)
}

fn invalid(flag: &'static str, value: &str, expected: &'static str) -> Failure {
    Failure::Value { flag, value: value.into(), expected }
}

/// In the sets of root; for another user also in those that survive the change and the execution.
fn add_capabilities(process: &mut Process, words: &Words) -> Result<(), Failure> {
    let mut more = HashSet::new();
    for name in words.all("cap") {
        let full = name.to_ascii_uppercase();
        let full = full.strip_prefix("CAP_").unwrap_or(&full);
        more.insert(Capability::from_str(full).map_err(|_| invalid("cap", name, "a capability's name"))?);
    }
    if more.is_empty() {
        return Ok(());
    }
    let mut all = process.capabilities().clone().unwrap_or_else(none);
    let with = |set: &Option<HashSet<Capability>>| Some(set.iter().flatten().chain(&more).copied().collect());
    let (bounding, effective, permitted) = (with(all.bounding()), with(all.effective()), with(all.permitted()));
    all.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    if process.user().uid() != 0 {
        let (inheritable, ambient) = (with(all.inheritable()), with(all.ambient()));
        all.set_inheritable(inheritable).set_ambient(ambient);
    }
    process.set_capabilities(Some(all));
    Ok(())
}

/// No capabilities: those of the type's own default are not asked for by anybody.
fn none() -> LinuxCapabilities {
    let mut all = LinuxCapabilities::default();
    all.set_bounding(None).set_effective(None).set_inheritable(None).set_permitted(None).set_ambient(None);
    all
}
