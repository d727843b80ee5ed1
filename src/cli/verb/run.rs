//! `run`: create, start, and stay until the end.

use super::create::create;
use super::create_flags::{self, Asked};
use super::{Verb, life_flags, program_flags, resource_flags};
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::program::{Program, note, print};
use crate::stream::{Carrier, End, Keys, Streams};
use engine::Engine;
use ops::container::{Create, Created, Remove};
use types::Id;

const FLAGS: &[Flag<Asked>] = &[
    short('d', switch("detach", "Run in the background and print the container's id", |r, on| r.detach = on)),
    value("detach-keys", "string", "Keys that detach (default \"ctrl-p,ctrl-q\")", |r, v| {
        r.detach_keys = Some(v.into());
        Ok(())
    }),
    value("preserve-fd", "ints", "Descriptors of the caller that the program inherits", |r, v| r.handed_on.add(v)),
    value("preserve-fds", "uint", "How many descriptors from 3 on the program inherits", |r, v| r.handed_on.count(v)),
    switch("rmi", "Remove container and image when it ends, unless others use the image", |r, on| {
        r.create.remove_image = on;
        r.create.remove |= on;
    }),
    switch("sig-proxy", "Pass signals to the container (default true)", |r, on| r.signal_proxy = Some(on)),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "run",
    usage: "IMAGE [COMMAND [ARG...]]",
    about: "Run a command in a new container",
    examples: &["--rm busybox ls -l /etc", "--rm -it oci-archive:image.tar sh", "-d --name db -v /srv/db:/data image"],
    interspersed: false,
    flags: &[
        create_flags::FLAGS,
        program_flags::PROGRAM,
        resource_flags::LIMITS,
        resource_flags::FIXED,
        resource_flags::PROCESS,
        life_flags::RESTART,
        life_flags::HEALTH,
        life_flags::FLAGS,
        FLAGS,
    ],
    execute,
};

fn execute(program: &Program, mut asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    if asked.create.remove_image && asked.stays {
        return Err(Failure::new("the --rmi option does not work without --rm"));
    }
    let mut request = asked.finish(program, arguments)?;
    let streams = streams(&asked, &mut request)?;
    let shows = streams.output || streams.errors;
    let engine = program.engine()?;
    engine.hand_on(asked.handed_on.all()?)?;
    let created = create(program, &engine, &request, asked.quiet)?;
    let carrier = match start(&engine, &created, asked.detach, streams) {
        Ok(carrier) => carrier,
        Err(failure) => {
            if request.remove {
                remove(&engine, &created);
            }
            return Err(failure);
        }
    };
    match carrier {
        None => {
            print(&format!("{}\n", created.id))?;
            Ok(0)
        }
        Some(carrier) => {
            // Nobody sees what it writes: all that is said of it is its name.
            if !shows {
                print(&format!("{}\n", created.id))?;
            }
            stay(&engine, &created.id, carrier)
        }
    }
}

/// Which streams `-a`, `-i` and `-d` ask for.
fn streams(asked: &Asked, request: &mut Create) -> Result<Streams, Failure> {
    if asked.detach && !asked.attach.is_empty() {
        return Err(Failure::new("cannot specify both --attach and --detach"));
    }
    let all = asked.attach.is_empty();
    let mut streams = Streams {
        input: all && request.interactive,
        output: all,
        errors: all,
        signals: asked.signal_proxy.unwrap_or(true),
        keys: keys(asked.detach_keys.as_deref())?,
    };
    for name in &asked.attach {
        match name.to_ascii_lowercase().as_str() {
            "stdin" => streams.input = true,
            "stdout" => streams.output = true,
            "stderr" => streams.errors = true,
            _ => {
                return Err(Failure::new(format!(
                    "invalid stream {name:?} for --attach - must be one of stdin, stdout, or stderr: invalid argument"
                )));
            }
        }
    }
    request.interactive |= streams.input;
    Ok(streams)
}

/// Reads `--detach-keys`.
pub fn keys(text: Option<&str>) -> Result<Keys, Failure> {
    text.map_or(Ok(Keys::default()), |text| {
        Keys::parse(text).map_err(|why| Failure::new(format!("invalid detach keys: {why}")))
    })
}

/// Starts it; returns what carries its streams, unless it is left alone.
fn start<'a>(
    engine: &'a Engine,
    created: &Created,
    detach: bool,
    streams: Streams,
) -> Result<Option<Carrier<'a>>, Failure> {
    let mut session = engine.init(created.id.as_str())?;
    if detach {
        engine.start(&mut session)?;
        return Ok(None);
    }
    let mut carrier = Carrier::new(engine, session, streams)?;
    carrier.will_clean_up();
    carrier.start()?;
    Ok(Some(carrier))
}

/// Stays until the end of a container, which is cleaned up then. Returns its exit code, or that of whoever leaves it.
pub fn stay(engine: &Engine, id: &Id, carrier: Carrier<'_>) -> Result<u8, Failure> {
    // Whoever asks how the command went is told that, also where something of the container could not be cleaned up.
    let clean_up = || {
        if let Err(fault) = engine.cleanup(id) {
            note(&format!("Error: cleaning up container {id}: {fault}"));
        }
    };
    match carrier.carry()? {
        End::Exited(code) => {
            clean_up();
            Ok(code as u8)
        }
        End::Detached => Ok(0),
        End::Left { code, exited } => {
            if exited {
                clean_up();
            }
            Ok(code)
        }
        End::Lost => {
            let code = engine.wait(id.as_str())?.code as u8;
            clean_up();
            Ok(code)
        }
    }
}

/// After a start that failed, with `--rm`.
fn remove(engine: &Engine, created: &Created) {
    let request = Remove { name: created.id.to_string(), force: true, timeout: Some(0), ignore: true, volumes: true };
    if let Err(fault) = engine.remove(&request) {
        note(&format!("Error: removing container {}: {fault}", created.id));
    }
}
