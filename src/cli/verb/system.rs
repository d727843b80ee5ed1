//! `system prune`, `check`, `reset`, `renumber`, `migrate`, `boot`; and `unshare`.

use super::Verb;
use super::disk_usage::{human, whole};
use super::prune::confirmed;
use crate::failure::Failure;
use crate::flag::{Flag, list, short, switch, text, value};
use crate::program::{Program, note, plain, print};
use engine::Engine;
use ops::container::{List, Remove, Status};
use ops::system::Check;
use ops::{Fault, image, volume};

/// What the flags of `system prune` fill.
#[derive(Default)]
pub struct Pruned {
    all: bool,
    volumes: bool,
    force: bool,
    filters: Vec<String>,
}

const PRUNE_FLAGS: &[Flag<Pruned>] = &[
    short('a', switch("all", "Also images with a name, if no container is made of them", |r, on| r.all = on)),
    // Nothing is built here yet, and no other program has containers in this store.
    switch("build", "Also what builds keep: there is nothing of that kind", |_, _| {}),
    switch("external", "Also containers of other programs: there are none", |_, _| {}),
    list("filter", "Only what these conditions choose (label=, label!=, until=)", |r, v| r.filters.push(v)),
    short('f', switch("force", "Do not ask", |r, on| r.force = on)),
    switch("volumes", "Also volumes that no container uses", |r, on| r.volumes = on),
];

/// `system prune`.
pub const PRUNE: Verb<Pruned> = Verb {
    path: "system prune",
    usage: "",
    about: "Remove unused data",
    examples: &["--force", "--all --volumes --filter until=24h"],
    interspersed: true,
    flags: &[PRUNE_FLAGS],
    execute: prune,
};

fn prune(program: &Program, asked: Pruned, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new("system prune takes no arguments"));
    }
    let images = if asked.all {
        "all images without at least one container associated with them"
    } else {
        "all dangling images"
    };
    let volumes = if asked.volumes { "\t- all volumes not used by at least one container\n" } else { "" };
    let warning = format!(
        "WARNING! This command removes:\n\t- all stopped containers\n\t- all networks not used by at least one container\n{volumes}\t- {images}\n"
    );
    if !confirmed(&warning, asked.force)? {
        return Ok(0);
    }
    let engine = program.engine()?;
    let before = whole(&engine.disk_usage().map_err(plain)?);
    let told = |title: &str, names: Vec<String>| match names.is_empty() {
        true => Ok(()),
        false => print(&format!("Deleted {title}\n{}\n", names.join("\n"))),
    };
    told("Containers", stopped(&engine, &asked.filters).map_err(plain)?)?;
    if asked.volumes {
        told("Volumes", unused_volumes(&engine, &asked.filters).map_err(plain)?)?;
    }
    let request = image::Prune { all: asked.all, filters: asked.filters.clone() };
    let images = engine.prune_images(&request).map_err(plain)?;
    told("Images", images.iter().map(types::Digest::hex).collect())?;
    told("Networks", engine.network_prune(&asked.filters).map_err(plain)?)?;
    let after = whole(&engine.disk_usage().map_err(plain)?);
    print(&format!("Total reclaimed space: {}\n", human(before.saturating_sub(after)))).map(|()| 0)
}

/// Removes the containers that have ended or never ran; gives their ids.
fn stopped(engine: &Engine, filters: &[String]) -> Result<Vec<String>, Fault> {
    let mut removed = Vec::new();
    for container in engine.list(&List { all: true, filters: filters.to_vec(), ..List::default() })? {
        if matches!(container.status, Status::Created | Status::Exited) && !container.restarting {
            let request = Remove { name: container.id.to_string(), ignore: true, ..Remove::default() };
            removed.extend(engine.remove(&request)?.map(|id| id.to_string()));
        }
    }
    Ok(removed)
}

fn unused_volumes(engine: &Engine, filters: &[String]) -> Result<Vec<String>, Fault> {
    let filters = [filters, &["dangling=true".to_owned()]].concat();
    let mut removed = Vec::new();
    for volume in engine.volumes(&volume::List { filters })? {
        let request = volume::Remove { name: volume.name, force: false, timeout: None };
        match engine.remove_volume(&request) {
            Ok(name) => removed.push(name),
            // Somebody has made a container with it meanwhile.
            Err(fault) if fault.kind == ops::Kind::Conflict => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(removed)
}

const CHECK_FLAGS: &[Flag<Check>] = &[
    short('f', switch("force", "Remove damaged containers too", |r, on| r.force = on)),
    short(
        'm',
        value("max", "duration", "Age below which what nobody knows is left alone (default 24h)", |r, v| {
            r.age = Some(types::span::parse(v).map_err(|e| e.to_string())?.as_secs());
            Ok(())
        }),
    ),
    short('q', switch("quick", "Do not read contents", |r, on| r.quick = on)),
    short('r', switch("repair", "Remove what is damaged", |r, on| r.repair = on)),
];

/// `system check`.
pub const CHECK: Verb<Check> = Verb {
    path: "system check",
    usage: "",
    about: "Check storage consistency",
    examples: &["--quick", "--repair --force"],
    interspersed: true,
    flags: &[CHECK_FLAGS],
    execute: check,
};

fn check(program: &Program, asked: Check, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new("system check takes no arguments"));
    }
    let asked = Check { repair: asked.repair || asked.force, ..asked };
    let checked = program.engine()?.check(&asked).map_err(plain)?;
    let mut text: String = checked.damage.iter().map(|line| format!("Damage detected in {line}\n")).collect();
    text.extend(checked.containers.iter().map(|id| format!("Deleted damaged container: {id}\n")));
    text.extend(checked.images.iter().map(|id| format!("Deleted damaged image: {}\n", id.hex())));
    print(&text)?;
    match checked.left {
        false => Ok(0),
        true if asked.repair => {
            Err(Failure::new("damage is left, since containers have what is damaged: use --force to remove them too"))
        }
        true => Err(Failure::new("damage detected in local storage: use --repair to remove what is damaged")),
    }
}

/// What the flags of `system reset` fill.
#[derive(Default)]
pub struct Reset {
    force: bool,
}

/// `system reset`.
pub const RESET: Verb<Reset> = Verb {
    path: "system reset",
    usage: "",
    about: "Reset the storage: remove all containers, images, volumes and networks",
    examples: &["--force"],
    interspersed: true,
    flags: &[&[short('f', switch("force", "Do not ask", |r, on| r.force = on))]],
    execute: reset,
};

fn reset(program: &Program, asked: Reset, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new("system reset takes no arguments"));
    }
    let engine = program.engine()?;
    let (root, run) = (engine.settings().root.display(), engine.settings().run_root.display());
    let warning = format!(
        "WARNING! This will remove:\n\t- all containers\n\t- all images\n\t- all networks\n\t- all volumes\n\t- what monopod keeps in {root} and {run}"
    );
    if confirmed(&warning, asked.force)? {
        engine.reset().map_err(plain)?;
    }
    Ok(0)
}

/// `system renumber`.
pub const RENUMBER: Verb<()> = Verb {
    path: "system renumber",
    usage: "",
    about: "Does nothing: locks have no numbers here",
    examples: &[""],
    interspersed: true,
    flags: &[],
    execute: renumber,
};

fn renumber(program: &Program, (): (), arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new("system renumber takes no arguments"));
    }
    program.engine()?.renumber();
    Ok(0)
}

/// What the flags of `system migrate` fill.
#[derive(Default)]
pub struct Migrate {
    runtime: Option<String>,
}

/// `system migrate`.
pub const MIGRATE: Verb<Migrate> = Verb {
    path: "system migrate",
    usage: "",
    about: "Make what an earlier version left that of this one",
    examples: &[""],
    interspersed: true,
    flags: &[&[
        switch("migrate-db", "The tables too, which always are", |_, _| {}),
        text("new-runtime", "Refused: the runtime is built in", |r, v| r.runtime = Some(v.into())),
    ]],
    execute: migrate,
};

fn migrate(program: &Program, asked: Migrate, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new("system migrate takes no arguments"));
    }
    if let Some(runtime) = asked.runtime {
        return Err(Failure::new(format!("containers cannot be given the runtime {runtime:?}: monopod's is built in")));
    }
    program.engine()?.migrate().map_err(plain)?;
    Ok(0)
}

/// What the flags of `system boot` fill.
#[derive(Default)]
pub struct Boot {
    stop: bool,
}

/// `system boot`, which Podman leaves to systemd.
pub const BOOT: Verb<Boot> = Verb {
    path: "system boot",
    usage: "",
    about: "Start the containers that are to run after the machine has started",
    examples: &["", "--stop"],
    interspersed: true,
    flags: &[&[switch("stop", "The machine goes down: end them, and let them come back with it", |r, on| r.stop = on)]],
    execute: boot,
};

fn boot(program: &Program, asked: Boot, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new("system boot takes no arguments"));
    }
    let engine = program.engine()?;
    let done = if asked.stop { engine.shut_down_containers() } else { engine.boot_containers() };
    let mut code = 0;
    for (name, result) in done.map_err(plain)? {
        match result {
            Ok(()) => print(&format!("{name}\n"))?,
            Err(fault) => {
                note(&format!("Error: container {name}: {fault}"));
                code = 125;
            }
        }
    }
    Ok(code)
}

/// What the flags of `unshare` fill.
#[derive(Default)]
pub struct Unshare {
    with_network: bool,
}

/// `unshare`.
pub const UNSHARE: Verb<Unshare> = Verb {
    path: "unshare",
    usage: "[COMMAND [ARG...]]",
    about: "Run a command in the user namespace of containers",
    examples: &["id", "cat /proc/self/uid_map", "rm -rf $HOME/.local/share/monopod"],
    interspersed: false,
    flags: &[&[switch("rootless-netns", "In the network in which the bridges of containers are, too", |r, on| {
        r.with_network = on;
    })]],
    execute: unshare,
};

fn unshare(program: &Program, asked: Unshare, mut arguments: Vec<String>) -> Result<u8, Failure> {
    if arguments.is_empty() {
        arguments.push(std::env::var("SHELL").ok().filter(|shell| !shell.is_empty()).unwrap_or("/bin/sh".into()));
    }
    match program.engine()?.unshare(&arguments, asked.with_network) {
        Ok(never) => match never {},
        Err(fault) => Err(Failure::from(fault)),
    }
}
