//! `container prune`, `image prune` and `system prune`: remove what nothing uses.

use super::Verb;
use super::many::each;
use crate::failure::Failure;
use crate::flag::{Flag, list, short, switch};
use crate::program::{Program, note, plain, print};
use engine::Engine;
use ops::container::{List, Remove, Status};
use ops::image::Prune;
use std::io::{IsTerminal, Write};

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    all: bool,
    filters: Vec<String>,
    force: bool,
}

const FORCE: Flag<Asked> = short('f', switch("force", "Do not ask", |r, on| r.force = on));

const CONTAINER_FLAGS: &[Flag<Asked>] =
    &[list("filter", "Only what these conditions choose (label=, until=)", |r, v| r.filters.push(v)), FORCE];

/// `container prune`.
pub const CONTAINER: Verb<Asked> = Verb {
    path: "container prune",
    usage: "",
    about: "Remove all non running containers",
    examples: &["--force", "--filter until=24h"],
    interspersed: true,
    flags: &[CONTAINER_FLAGS],
    execute: container,
};

fn container(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new("container prune takes no arguments"));
    }
    if !confirmed("WARNING! This will remove all non running containers.", asked.force)? {
        return Ok(0);
    }
    containers(&program.engine()?, &asked.filters)
}

const IMAGE_FLAGS: &[Flag<Asked>] = &[
    short('a', switch("all", "Also images with a name, if no container is made of them", |r, on| r.all = on)),
    // Nothing is built here yet, and no other program has containers in this store.
    switch("build-cache", "Also what builds keep: there is nothing of that kind", |_, _| {}),
    switch("external", "Also images of containers of other programs: there are none", |_, _| {}),
    list("filter", "Only what these conditions choose (label=, label!=, until=)", |r, v| r.filters.push(v)),
    FORCE,
];

/// `image prune`.
pub const IMAGE: Verb<Asked> = Verb {
    path: "image prune",
    usage: "",
    about: "Remove unused images",
    examples: &["--force", "--all --filter until=24h"],
    interspersed: true,
    flags: &[IMAGE_FLAGS],
    execute: image,
};

fn image(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new("image prune takes no arguments"));
    }
    let warning = match asked.all {
        true => "WARNING! This command removes all images without at least one container associated with them.",
        false => "WARNING! This command removes all dangling images.",
    };
    if !confirmed(warning, asked.force)? {
        return Ok(0);
    }
    let request = Prune { all: asked.all, filters: asked.filters };
    let pruned = program.engine()?.prune_images(&request).map_err(plain)?;
    print(&pruned.iter().map(|id| id.hex() + "\n").collect::<String>()).map(|()| 0)
}

/// Removes the containers that have ended or never ran, and prints their ids.
pub fn containers(engine: &Engine, filters: &[String]) -> Result<u8, Failure> {
    let list = List { all: true, filters: filters.to_vec(), ..List::default() };
    let stopped: Vec<String> = engine
        .list(&list)
        .map_err(plain)?
        .into_iter()
        .filter(|c| matches!(c.status, Status::Created | Status::Exited))
        .map(|c| c.id.to_string())
        .collect();
    each(&stopped, |id| {
        let request = Remove { name: id.to_owned(), force: false, timeout: None, ignore: true, volumes: false };
        engine.remove(&request).map_err(plain)?;
        print(&format!("{id}\n"))
    })
}

/// True if the user wants it: `--force`, or `y` typed after the warning.
pub fn confirmed(warning: &str, force: bool) -> Result<bool, Failure> {
    if force {
        return Ok(true);
    }
    note(warning);
    let mut error = std::io::stderr();
    // Where the question cannot be shown, nobody answers it.
    let _ = write!(error, "Are you sure you want to continue? [y/N] ").and_then(|()| error.flush());
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|e| Failure::new(format!("cannot read the answer: {e}")))?;
    if !std::io::stdin().is_terminal() {
        note("");
    }
    Ok(line.trim().to_lowercase().starts_with('y'))
}
