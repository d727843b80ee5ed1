//! `wait`: blocks until containers have ended, and prints their exit codes.

use super::Verb;
use super::many::{ANY, Choice};
use crate::failure::Failure;
use crate::flag::{Flag, list, short, switch, value};
use crate::program::{Program, plain, print};
use ops::Kind;
use ops::container::{List, Status};
use std::time::Duration;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    choice: Choice,
    conditions: Vec<String>,
    interval: Option<Duration>,
    ignore: bool,
    first: bool,
}

const FLAGS: &[Flag<Asked>] = &[
    list("condition", "State to wait for (default stopped)", |r, v| r.conditions.push(v)),
    switch("exit-first-match", "Wait for one of the containers only, whichever is first", |r, on| r.first = on),
    switch("ignore", "A container that does not exist is no error; its code is -1", |r, on| r.ignore = on),
    short(
        'i',
        value("interval", "string", "Time between two looks, for --condition (default 250ms)", |r, v| {
            let milliseconds = v.parse::<u64>().map(Duration::from_millis);
            r.interval = Some(milliseconds.or_else(|_| types::span::parse(v)).map_err(|e| e.to_string())?);
            Ok(())
        }),
    ),
    short('l', switch("latest", "Act on the container made last", |r, on| r.choice.latest = on)),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "wait",
    usage: "CONTAINER [CONTAINER...]",
    about: "Block on one or more containers",
    examples: &["ctrID", "--condition running ctrID"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let conditions = asked.conditions.iter().map(|text| condition(text)).collect::<Result<Vec<_>, _>>()?;
    let engine = program.engine()?;
    let interval = asked.interval.unwrap_or(Duration::from_millis(250));
    let names = asked.choice.names(&engine, arguments, ANY)?;
    if asked.first {
        let code = first(&engine, &names, &conditions, interval, asked.ignore).map_err(plain)?;
        return print(&format!("{code}\n")).map(|()| 0);
    }
    for name in names {
        // The ordinary wait is one wait for the end; only for another state does one have to look again and again.
        let code = if conditions.iter().all(|condition| *condition == Condition::Is(Status::Exited)) {
            engine.wait(&name).map(|exit| exit.code)
        } else {
            until(&engine, &name, &conditions, interval)
        };
        match code {
            Ok(code) => print(&format!("{code}\n"))?,
            Err(fault) if asked.ignore && fault.kind == Kind::NotFound => print("-1\n")?,
            Err(fault) => return Err(plain(fault)),
        }
    }
    Ok(0)
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Condition {
    Is(Status),
    Health(&'static str),
}

fn condition(text: &str) -> Result<Condition, Failure> {
    Ok(Condition::Is(match text {
        "configured" | "created" => Status::Created,
        "initialized" => Status::Initialized,
        "running" => Status::Running,
        "paused" => Status::Paused,
        "stopping" => Status::Stopping,
        "exited" | "stopped" => Status::Exited,
        "removing" => Status::Removing,
        "healthy" => return Ok(Condition::Health("healthy")),
        "unhealthy" => return Ok(Condition::Health("unhealthy")),
        _ => return Err(Failure::new(format!("unknown container state: {text}: invalid argument"))),
    }))
}

/// Looks every `interval` until one of the conditions holds. Returns its exit code, -1 if it has none.
fn until(engine: &engine::Engine, name: &str, conditions: &[Condition], interval: Duration) -> Result<i32, ops::Fault> {
    let id = engine.find(name)?;
    loop {
        if let Some(code) = matching(engine, &id, conditions)? {
            return Ok(code);
        }
        std::thread::sleep(interval);
    }
}

/// The same for several, of which one is enough; with `ignore`, one that does not exist is such a one.
fn first(
    engine: &engine::Engine,
    names: &[String],
    conditions: &[Condition],
    interval: Duration,
    ignore: bool,
) -> Result<i32, ops::Fault> {
    let gone = |fault: ops::Fault| if ignore && fault.kind == Kind::NotFound { Ok(-1) } else { Err(fault) };
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        match engine.find(name) {
            Ok(id) => ids.push(id),
            Err(fault) => return gone(fault),
        }
    }
    loop {
        for id in &ids {
            match matching(engine, id, conditions) {
                Ok(Some(code)) => return Ok(code),
                Ok(None) => {}
                Err(fault) => return gone(fault),
            }
        }
        std::thread::sleep(interval);
    }
}

/// The exit code of a container (-1 if it has none) for which one of the conditions holds. With none of them, it is that it does
/// not run, as in an ordinary wait.
fn matching(engine: &engine::Engine, id: &types::Id, conditions: &[Condition]) -> Result<Option<i32>, ops::Fault> {
    let list = engine.list(&List { all: true, filters: vec![format!("id={id}")], ..List::default() })?;
    let Some(container) = list.into_iter().find(|c| c.id == *id) else {
        let gone = || ops::Fault::new(Kind::NotFound, format!("no container with ID {id} found: no such container"));
        // It was there: one that is removed when it ends has ended.
        return engine.exit_of(id)?.map(|exit| Some(exit.code)).ok_or_else(gone);
    };
    if conditions.is_empty() && matches!(container.status, Status::Created | Status::Exited) {
        return Ok(Some(container.exit_code));
    }
    let runs = container.status == Status::Running;
    let holds = |condition: &Condition| match condition {
        Condition::Is(status) => *status == container.status,
        Condition::Health(word) => runs && *word == container.health,
    };
    let code = if container.status == Status::Exited { container.exit_code } else { -1 };
    Ok(conditions.iter().any(holds).then_some(code))
}
