//! `exec`: a process in a running container.

use super::Verb;
use super::handed_on::HandedOn;
use super::many::latest;
use super::run::keys;
use crate::environment;
use crate::failure::Failure;
use crate::flag::{Flag, list, short, switch, value};
use crate::program::{Program, print};
use crate::stream::{Carrier, End, Streams};
use ops::container::Exec;
use ops::{Fault, Kind};
use std::path::PathBuf;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    exec: Exec,
    id_file: Option<PathBuf>,
    detach_keys: Option<String>,
    environment_files: Vec<PathBuf>,
    environment: Vec<String>,
    latest: bool,
    handed_on: HandedOn,
}

const FLAGS: &[Flag<Asked>] = &[
    value("cidfile", "string", "Read the container's id from this file", |r, v| {
        r.id_file = Some(v.into());
        Ok(())
    }),
    short('d', switch("detach", "Run in the background and print the session's id", |r, on| r.exec.detach = on)),
    value("detach-keys", "string", "Keys that detach (default \"ctrl-p,ctrl-q\")", |r, v| {
        r.detach_keys = Some(v.into());
        Ok(())
    }),
    short(
        'e',
        value("env", "string", "Set a variable (key=value, or key to pass the caller's)", |r, v| {
            r.environment.push(v.into());
            Ok(())
        }),
    ),
    list("env-file", "Read variables from a file", |r, v| r.environment_files.push(v.into())),
    short('i', switch("interactive", "Keep standard input open", |r, on| r.exec.interactive = on)),
    short('l', switch("latest", "Act on the container made last", |r, on| r.latest = on)),
    switch("no-session", "Tell nobody of it: neither that it begins nor how it ends", |r, on| r.exec.no_session = on),
    value("preserve-fd", "ints", "Descriptors of the caller that the process inherits", |r, v| r.handed_on.add(v)),
    value("preserve-fds", "uint", "How many descriptors from 3 on the process inherits", |r, v| r.handed_on.count(v)),
    switch("privileged", "With all capabilities", |r, on| r.exec.privileged = on),
    short('t', switch("tty", "Allocate a terminal", |r, on| r.exec.terminal = on)),
    short(
        'u',
        value("user", "string", "User of the process (name or number, [:group])", |r, v| {
            r.exec.user = Some(v.into());
            Ok(())
        }),
    ),
    short(
        'w',
        value("workdir", "string", "Working directory", |r, v| {
            r.exec.working_directory = Some(v.into());
            Ok(())
        }),
    ),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "exec",
    usage: "CONTAINER COMMAND [ARG...]",
    about: "Run a process in a running container",
    examples: &["-it ctrID ls", "-u 1000 -e KEY=value ctrID env"],
    interspersed: false,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let mut request = asked.exec;
    let mut words = arguments.into_iter();
    let id_file = asked.id_file.as_ref();
    let named = id_file.is_none() && !asked.latest;
    if named {
        let missing = || Failure::new("exec requires the name or ID of a container or the --latest flag");
        request.name = words.next().ok_or_else(missing)?;
    }
    request.command = words.collect();
    if request.command.is_empty() {
        return Err(
            Failure::new("must provide a non-empty command to start an exec session: invalid argument").code(255)
        );
    }
    for file in &asked.environment_files {
        request.environment.extend(environment::file(file)?);
    }
    request.environment.extend(environment::resolve(&asked.environment));
    let keys = keys(asked.detach_keys.as_deref())?;
    let engine = program.engine()?;
    engine.hand_on(asked.handed_on.all()?)?;
    if let Some(file) = id_file {
        let text = std::fs::read_to_string(file)
            .map_err(|e| Failure::new(format!("reading container id file {file:?}: {e}")))?;
        request.name = text.lines().next().unwrap_or("").trim().to_owned();
    } else if asked.latest {
        request.name = latest(&engine)?.id.to_string();
    }
    let refused = |fault: Fault| {
        // Podman's own code where the container does not run, or does not know the user.
        let code = if fault.kind == Kind::Conflict { 255 } else { fault.exit_code() };
        Failure::from(fault).code(code)
    };
    let mut session = engine.exec(&request).map_err(refused)?;
    if request.detach {
        let id = session.exec.clone();
        engine.start(&mut session)?;
        print(&id.map(|id| format!("{id}\n")).unwrap_or_default())?;
        return Ok(0);
    }
    let input = request.interactive;
    // Podman's exec passes no signals on: a signal ends the client.
    let streams = Streams { input, output: true, errors: true, signals: false, keys };
    let mut carrier = Carrier::new(&engine, session, streams)?;
    carrier.start()?;
    match carrier.carry()? {
        End::Exited(code) => Ok(code as u8),
        End::Detached => Ok(0),
        End::Left { code, .. } => Ok(code),
        End::Lost => Err(Failure::new("the exec session's monitor ended without telling an exit code")),
    }
}
