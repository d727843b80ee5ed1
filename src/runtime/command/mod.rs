//! The runtime's command line of its own, runc's and crun's: for engines that run it as a program.
//!
//! # Processes
//!
//! What makes a process of a container is executed as a file that the container cannot write to ([`sys::role::become_role`]).
//! It forks the intermediate ([`crate::create()`], [`crate::exec()`]), writes down what that reports, and ends: the
//! container's first process is left to whoever adopts orphans (conmon, the shim of containerd), with the streams of the
//! caller. Nothing of this program stays; only `run` and `exec` without `--detach` wait.
//!
//! # State
//!
//! A directory for each container ([`state`]). Its first process is parked on a FIFO there, and tells through another whether
//! its program could be executed.
//!
//! Must not know: engines, images; the flags of `cli`.

mod checkpoint;
mod create;
mod criu;
mod delete;
mod events;
mod exec;
mod failure;
mod filters;
mod flags;
mod foreground;
mod list;
mod log;
mod make;
mod members;
mod readiness;
mod restore;
mod signal;
mod start;
mod state;
mod table;
mod template;
mod unprivileged;
mod update;

use failure::Failure;
use flags::{Reading, Verb, Words};
use log::Log;
use state::Containers;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use sys::role::Role;

/// What all verbs are told.
#[derive(Debug)]
pub(crate) struct Program {
    /// By what it was called, for messages: `runc`, `crun`, `monopod runtime`.
    name: String,
    /// Where errors are written to.
    log: Log,
    /// The directory of all containers' state.
    root: Option<PathBuf>,
    /// `cgroupsPath` is a slice, a prefix and a name of systemd's.
    systemd: bool,
    /// The program CRIU, where it is named.
    criu: Option<PathBuf>,
}

impl Program {
    fn containers(&self) -> Result<Containers, Failure> {
        match &self.root {
            Some(root) => Ok(Containers::at(root)),
            None => Ok(Containers::at(&default_root().ok_or(Failure::NoRoot)?)),
        }
    }

    /// Does something with the container that is named or, with `--regex`, with all whose ids match: one with which it fails
    /// does not keep the others from it.
    fn each(&self, words: &Words, mut action: impl FnMut(&str) -> Result<(), Failure>) -> Result<(), Failure> {
        if !words.has("regex") {
            return action(words.container());
        }
        let mut failed = None;
        for id in self.containers()?.matching(words.container())? {
            if let Err(failure) = action(&id) {
                failed.replace(failure).iter().for_each(|earlier| self.log.error(&earlier.text()));
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// True if `words` (the program's name first) call the runtime.
pub fn is_meant(words: &[OsString]) -> bool {
    let name = words.first().map(|name| Path::new(name).file_name().unwrap_or_default());
    name.is_some_and(|name| name == "runc" || name == "crun") || words.get(1).is_some_and(|word| word == "runtime")
}

/// Does what `words` (the program's name first) ask; returns the exit code.
pub fn main(words: &[OsString]) -> u8 {
    // As the role, what the program was called comes first.
    let (name, rest, unwritable) = match words.split_first() {
        Some((name, rest)) if Role::of(name) == Role::Runtime => match rest.split_first() {
            Some((called, rest)) => (called.to_string_lossy().into_owned(), rest, true),
            None => (name.to_string_lossy().into_owned(), rest, true),
        },
        Some((name, rest)) => match Path::new(name).file_name().unwrap_or_default() {
            name if name == "runc" || name == "crun" => (name.to_string_lossy().into_owned(), rest, false),
            name => (format!("{} runtime", name.to_string_lossy()), rest.get(1..).unwrap_or_default(), false),
        },
        None => return 1,
    };
    match Called::read(&name, rest) {
        Ok(called) => called.perform(name, rest, unwritable),
        Err(failure) => {
            Log::default().error(&failure.text());
            failure.code()
        }
    }
}

/// A command line that was understood.
struct Called {
    globals: Words,
    verb: Option<(&'static Verb, Words)>,
}

impl Called {
    fn read(name: &str, words: &[OsString]) -> Result<Called, Failure> {
        let texts: Vec<String> = words
            .iter()
            .map(|word| word.to_str().map(str::to_owned).ok_or_else(|| Failure::Text(word.clone())))
            .collect::<Result<_, _>>()?;
        let globals = flags::read(table::GLOBALS, &texts, Reading::InOrder, name)?;
        let Some((verb, rest)) = globals.arguments.split_first() else { return Ok(Called { globals, verb: None }) };
        if verb == "help" {
            return Ok(Called { globals: Words::asking_for_help(), verb: None });
        }
        let verb = table::VERBS
            .iter()
            .find(|known| known.name == verb)
            .ok_or_else(|| Failure::NoVerb { program: name.into(), verb: verb.clone() })?;
        let words = flags::read(verb.flags, rest, verb.reading, &format!("{name} {}", verb.name))?;
        Ok(Called { globals, verb: Some((verb, words)) })
    }

    fn perform(self, name: String, words: &[OsString], unwritable: bool) -> u8 {
        let text = match &self.verb {
            _ if self.globals.has("version") => Some(table::version(&name)),
            Some((verb, words)) if words.asks_for_help() => Some(verb.help(&name)),
            None => Some(table::help(&name)),
            Some(_) => None,
        };
        if let Some(text) = text {
            // Asked for nothing, it does nothing: as runc and crun.
            return print(&text).map_or(1, |()| 0);
        }
        let Some((verb, verb_words)) = self.verb else { return 1 };
        if verb.makes && !unwritable {
            let mut again = vec![OsString::from(name)];
            again.extend_from_slice(words);
            let error = sys::role::become_role(Role::Runtime, &again);
            Log::default().error(&format!("cannot execute this file again: {error}"));
            return 1;
        }
        let result = Log::open(&self.globals).and_then(|log| {
            let program = Program {
                name,
                log,
                root: self.globals.value("root").map(PathBuf::from),
                systemd: systemd(&self.globals)?,
                criu: self.globals.value("criu").map(PathBuf::from),
            };
            program.log.debug(&format!("{} {} {:?}", program.name, verb.name, verb_words.arguments));
            verb.check(&verb_words, &program.name).and_then(|()| (verb.execute)(&program, &verb_words)).or_else(
                |failure| {
                    program.log.error(&failure.text());
                    Ok(failure.code())
                },
            )
        });
        result.unwrap_or_else(|failure| {
            Log::default().error(&failure.text());
            failure.code()
        })
    }
}

/// The manager of control groups: runc's switch or crun's word.
fn systemd(globals: &Words) -> Result<bool, Failure> {
    // Whether permissions of control groups are forgiven is found out: both words are true of what is done.
    match globals.value("rootless") {
        None | Some("auto" | "true" | "false") => {}
        Some(value) => {
            return Err(Failure::Value { flag: "rootless", value: value.into(), expected: "true, false or auto" });
        }
    }
    match globals.value("cgroup-manager") {
        None => Ok(globals.has("systemd-cgroup")),
        Some("systemd") => Ok(true),
        Some("cgroupfs" | "disabled") => Ok(false),
        Some(value) => Err(Failure::Value {
            flag: "cgroup-manager",
            value: value.into(),
            expected: "cgroupfs, systemd or disabled",
        }),
    }
}

/// Where state lives unless told otherwise: in the machine's run directory for root, in the user's for others.
fn default_root() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() && sys::namespaces::in_initial_user_namespace() {
        return Some("/run/monopod/runtime".into());
    }
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty());
    let own = own.map(|directory| PathBuf::from(directory).join("monopod/runtime"));
    own.or_else(|| rustix::process::geteuid().is_root().then(|| "/run/monopod/runtime".into()))
}

/// Writes to standard output.
fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(|source| Failure::Print { source })
}
