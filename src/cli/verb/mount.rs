//! `mount`, `unmount`, `image mount` and `image unmount`: files where everybody on the host sees them.

use super::Verb;
use super::many::{ANY, Choice, each};
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::format::{Column, Format, table_of};
use crate::program::{plain, print};
use engine::Mounted;
use serde_json::json;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    choice: Choice,
    format: Option<String>,
    full: bool,
}

const ALL: Flag<Asked> = short('a', switch("all", "All of them", |r: &mut Asked, on| r.choice.all = on));
const FORMAT: Flag<Asked> =
    value("format", "string", "Print as JSON (json), or with a Go template", |r: &mut Asked, v| {
        r.format = Some(v.into());
        Ok(())
    });
const LATEST: Flag<Asked> =
    short('l', switch("latest", "Act on the container made last", |r: &mut Asked, on| r.choice.latest = on));

const COLUMNS: &[Column] = &[("ID", "ID"), ("Path", "PATH"), ("Repositories", "REPOSITORIES")];

/// `mount`.
pub const MOUNT: Verb<Asked> = Verb {
    path: "mount",
    usage: "[CONTAINER...]",
    about: "Mount a container's files for the host, and print where",
    examples: &["web", "", "--format json"],
    interspersed: true,
    flags: &[&[ALL, FORMAT, LATEST, NO_TRUNC]],
    execute: |program, asked, names| {
        let engine = program.engine()?;
        if names.is_empty() && !asked.choice.all && !asked.choice.latest {
            return show(&asked, &engine.mounted().map_err(plain)?, |one| {
                if asked.full { one.id.clone() } else { one.id.chars().take(12).collect() }
            });
        }
        let single = names.len() == 1 || asked.choice.latest;
        let named = !names.is_empty();
        each(&asked.choice.names(&engine, names, ANY)?, |name| {
            let path = engine.mount_container(name).map_err(plain)?;
            let said = if named || single { name.to_owned() } else { name.chars().take(12).collect() };
            print(&if single { format!("{path}\n") } else { format!("{said}  {path}\n") })
        })
    },
};

/// `--no-trunc`, which is called `--notruncate` too.
const NO_TRUNC: Flag<Asked> =
    crate::flag::aliases(&["notruncate"], switch("no-trunc", "Cut no id short", |r: &mut Asked, on| r.full = on));

const FORCE: Flag<Asked> =
    short('f', switch("force", "Also if it was mounted several times: it is at one place only", |_: &mut Asked, _| {}));

/// `unmount`.
pub const UNMOUNT: Verb<Asked> = Verb {
    path: "unmount",
    usage: "CONTAINER [CONTAINER...]",
    about: "Take the mounts of containers' files away",
    examples: &["web", "--all"],
    interspersed: true,
    flags: &[&[ALL, FORCE, LATEST]],
    execute: |program, asked, names| {
        let engine = program.engine()?;
        let all = asked.choice.all;
        each(&asked.choice.names(&engine, names, ANY)?, |name| {
            let was = engine.unmount_container(name).map_err(plain)?;
            if was || !all { print(&format!("{name}\n")) } else { Ok(()) }
        })
    },
};

/// `image mount`.
pub const IMAGE_MOUNT: Verb<Asked> = Verb {
    path: "image mount",
    usage: "[IMAGE...]",
    about: "Mount an image's files for the host, read-only, and print where",
    examples: &["busybox", "", "--all"],
    interspersed: true,
    flags: &[&[ALL, FORMAT]],
    execute: |program, asked, mut names| {
        let engine = program.engine()?;
        if asked.choice.all && !names.is_empty() {
            return Err(Failure::new("when using the --all switch, you may not pass any image names or IDs"));
        }
        if names.is_empty() && !asked.choice.all {
            return show(&asked, &engine.mounted_images().map_err(plain)?, called);
        }
        if asked.choice.all {
            names = engine.images(&Default::default()).map_err(plain)?.iter().map(|image| image.id.hex()).collect();
        }
        let single = names.len() == 1 && !asked.choice.all;
        let mut mounted = Vec::new();
        let done = each(&names, |name| {
            let path = engine.mount_image(name).map_err(plain)?;
            mounted.push(path);
            Ok(())
        });
        if single {
            print(&mounted.iter().map(|path| format!("{path}\n")).collect::<String>())?;
        } else {
            let all = engine.mounted_images().map_err(plain)?;
            let wanted: Vec<Mounted> = all.into_iter().filter(|one| mounted.contains(&one.path)).collect();
            show(&asked, &wanted, called)?;
        }
        done
    },
};

/// `image unmount`.
pub const IMAGE_UNMOUNT: Verb<Asked> = Verb {
    path: "image unmount",
    usage: "IMAGE [IMAGE...]",
    about: "Take the mounts of images' files away",
    examples: &["busybox", "--all"],
    interspersed: true,
    flags: &[&[ALL, FORCE]],
    execute: |program, asked, mut names| {
        let engine = program.engine()?;
        match (asked.choice.all, names.is_empty()) {
            (true, false) => {
                return Err(Failure::new("when using the --all switch, you may not pass any image names or IDs"));
            }
            (true, true) => {
                names = engine.mounted_images().map_err(plain)?.into_iter().map(|one| one.id).collect();
            }
            (false, true) => return Err(Failure::new("image name or ID must be specified")),
            (false, false) => {}
        }
        each(&names, |name| match engine.unmount_image(name).map_err(plain)? {
            Some(id) => print(&format!("{}\n", id.hex())),
            None => Ok(()),
        })
    },
};

/// The name of a mounted image, or its id.
fn called(one: &Mounted) -> String {
    one.names.first().cloned().unwrap_or_else(|| one.id.clone())
}

/// What is mounted, a line each.
fn show(asked: &Asked, mounted: &[Mounted], called: impl Fn(&Mounted) -> String) -> Result<u8, Failure> {
    let Some(format) = &asked.format else {
        let rows: Vec<_> = mounted.iter().map(|one| vec![called(one), one.path.clone()]).collect();
        return print(&table_of(&[], &rows, true)).map(|()| 0);
    };
    let json = format == "json";
    let rows: Vec<_> = mounted
        .iter()
        .map(|one| match json {
            true => json!({ "id": one.id, "Names": one.names, "Repositories": one.names, "mountpoint": one.path }),
            false => json!({ "ID": called(one), "Path": one.path, "Repositories": one.names.join(",") }),
        })
        .collect();
    print(&Format::parse("mount", format)?.print(&rows, COLUMNS, false)?).map(|()| 0)
}
