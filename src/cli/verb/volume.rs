//! `volume create`, `ls`, `inspect`, `exists`, `rm`, `prune`.

use super::Verb;
use super::many::each;
use super::prune::confirmed;
use crate::failure::Failure;
use crate::flag::{Flag, integer, short, switch, value};
use crate::format::{Column, Format, document, indented, table_of};
use crate::program::{Program, plain, print};
use crate::time::rfc3339;
use ops::Kind;
use ops::volume::{Create, List, Remove, Volume};
use serde_json::{Map, Value, json};

const CREATE_FLAGS: &[Flag<Create>] = &[
    short(
        'd',
        value("driver", "string", "Driver: local", |r: &mut Create, v| {
            r.driver = Some(v.into());
            Ok(())
        }),
    ),
    value("gid", "uint", "Group that its directory belongs to", |r, v| {
        r.gid = Some(integer(v)?);
        Ok(())
    }),
    switch("ignore", "A volume of that name is no error", |r, on| r.ignore = on),
    short(
        'l',
        value("label", "string", "Set a label (key=value)", |r, v| {
            r.labels.push(v.into());
            Ok(())
        }),
    ),
    short(
        'o',
        value("opt", "string", "What is mounted in it (type=, device=, o=)", |r, v| {
            r.options.push(v.into());
            Ok(())
        }),
    ),
    value("uid", "uint", "User that its directory belongs to", |r, v| {
        r.uid = Some(integer(v)?);
        Ok(())
    }),
];

/// `volume create`.
pub const CREATE: Verb<Create> = Verb {
    path: "volume create",
    usage: "[NAME]",
    about: "Create a volume",
    examples: &["", "data", "--label app=web data", "--opt type=tmpfs --opt o=size=100M scratch"],
    interspersed: true,
    flags: &[CREATE_FLAGS],
    execute: |program, mut asked, names| {
        if names.len() > 1 {
            return Err(Failure::new("too many arguments, create takes at most 1 argument"));
        }
        asked.name = names.into_iter().next();
        let name = program.engine()?.create_volume(&asked).map_err(plain)?;
        print(&format!("{name}\n"))?;
        Ok(0)
    },
};

/// What the flags of `volume ls` fill.
#[derive(Default)]
pub struct Listed {
    filters: Vec<String>,
    format: Option<String>,
    no_heading: bool,
    quiet: bool,
}

const LIST_FLAGS: &[Flag<Listed>] = &[
    short(
        'f',
        value("filter", "string", "Show the volumes that these conditions choose", |r: &mut Listed, v| {
            r.filters.push(v.into());
            Ok(())
        }),
    ),
    value("format", "string", "Print as JSON, or with a Go template", |r, v| {
        r.format = Some(v.into());
        Ok(())
    }),
    short('n', switch("noheading", "Print no headings", |r, on| r.no_heading = on)),
    short('q', switch("quiet", "Print only names", |r, on| r.quiet = on)),
];

/// `volume ls`.
pub const LIST: Verb<Listed> = Verb {
    path: "volume ls",
    usage: "",
    about: "List volumes",
    examples: &["--filter dangling=true", "--format '{{.Name}} {{.Mountpoint}}'"],
    interspersed: true,
    flags: &[LIST_FLAGS],
    execute: listed,
};

const COLUMNS: &[Column] = &[
    ("Anonymous", "ANONYMOUS"),
    ("CreatedAt", "CREATED AT"),
    ("Driver", "DRIVER"),
    ("GID", "GID"),
    ("Labels", "LABELS"),
    ("MountCount", "MOUNT COUNT"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Name", "VOLUME NAME"),
    ("NeedsChown", "NEEDS CHOWN"),
    ("NeedsCopyUp", "NEEDS COPY UP"),
    ("Options", "OPTIONS"),
    ("Scope", "SCOPE"),
    ("UID", "UID"),
];

fn listed(program: &Program, asked: Listed, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new("volume ls takes no arguments"));
    }
    if asked.quiet && asked.format.is_some() {
        return Err(Failure::new("quiet and format are mutually exclusive"));
    }
    let format = asked.format.as_deref().map(|text| Format::parse("volume ls", text)).transpose()?;
    let volumes = program.engine()?.volumes(&List { filters: asked.filters }).map_err(plain)?;
    let text = match format {
        _ if asked.quiet => volumes.iter().map(|v| format!("{}\n", v.name)).collect(),
        Some(format) => {
            let mut rows: Vec<Value> = volumes.iter().map(object).collect();
            if !matches!(format, Format::Json) {
                rows.iter_mut().for_each(|row| row["Labels"] = json!(labels(&row["Labels"])));
            }
            format.print(&rows, COLUMNS, asked.no_heading)?
        }
        None if volumes.is_empty() => String::new(),
        None => {
            let cells: Vec<_> = volumes.iter().map(|v| vec!["local".into(), v.name.clone()]).collect();
            table_of(&["DRIVER", "VOLUME NAME"], &cells, asked.no_heading)
        }
    };
    print(&text)?;
    Ok(0)
}

fn labels(value: &Value) -> String {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
}

/// A volume in the shape of `podman volume inspect`.
pub fn object(volume: &Volume) -> Value {
    let map = |pairs: &[(String, String)]| -> Map<String, Value> {
        pairs.iter().map(|(key, value)| (key.clone(), json!(value))).collect()
    };
    json!({
        "Name": volume.name,
        "Driver": "local",
        "Mountpoint": volume.mountpoint,
        "CreatedAt": rfc3339(volume.created / 1_000_000_000),
        "Labels": map(&volume.labels),
        "Scope": "local",
        "Options": map(&volume.options),
        "UID": volume.uid.unwrap_or(0),
        "GID": volume.gid.unwrap_or(0),
        "Anonymous": volume.anonymous,
        "MountCount": u32::from(volume.mounted),
        "NeedsCopyUp": volume.needs_copy,
        "NeedsChown": volume.needs_owner,
    })
}

/// What the flags of `volume inspect` fill.
#[derive(Default)]
pub struct Inspected {
    all: bool,
    format: Option<String>,
}

const INSPECT_FLAGS: &[Flag<Inspected>] = &[
    short('a', switch("all", "Inspect all volumes", |r: &mut Inspected, on| r.all = on)),
    short(
        'f',
        value("format", "string", "Print with a Go template", |r, v| {
            r.format = Some(v.into());
            Ok(())
        }),
    ),
];

/// `volume inspect`.
pub const INSPECT: Verb<Inspected> = Verb {
    path: "volume inspect",
    usage: "VOLUME [VOLUME...]",
    about: "Display the configuration of volumes",
    examples: &["data", "--format '{{.Mountpoint}}' data", "--all"],
    interspersed: true,
    flags: &[INSPECT_FLAGS],
    execute: inspected,
};

fn inspected(program: &Program, asked: Inspected, names: Vec<String>) -> Result<u8, Failure> {
    if asked.all != names.is_empty() {
        return Err(Failure::new("provide one or more volume names or use --all"));
    }
    let engine = program.engine()?;
    let mut found = Vec::new();
    let mut messages = Vec::new();
    if asked.all {
        found.extend(engine.volumes(&List::default()).map_err(plain)?.iter().map(object));
    }
    for name in &names {
        match engine.volume(name) {
            Ok(volume) => found.push(object(&volume)),
            Err(fault) => messages.push(fault.to_string()),
        }
    }
    match asked.format.as_deref() {
        Some(template) if template.trim() != "json" => {
            for value in &found {
                print(&document("volume inspect", template, value)?)?;
            }
        }
        _ => print(&format!("{}\n", indented(&found, b"     ")))?,
    }
    if messages.is_empty() { Ok(0) } else { Err(Failure { code: 125, messages, advice: String::new() }) }
}

/// `volume exists`.
pub const EXISTS: Verb<()> = Verb {
    path: "volume exists",
    usage: "VOLUME",
    about: "Check if a volume exists: exit code 0 or 1",
    examples: &["data"],
    interspersed: true,
    flags: &[],
    execute: |program, (), names| {
        let [name] = names.as_slice() else {
            return Err(Failure::new(format!("accepts 1 arg(s), received {}", names.len())));
        };
        Ok(u8::from(!program.engine()?.volume_exists(name).map_err(plain)?))
    },
};

/// What the flags of `volume rm` fill.
#[derive(Default)]
pub struct Removed {
    all: bool,
    force: bool,
    timeout: Option<u32>,
}

const REMOVE_FLAGS: &[Flag<Removed>] = &[
    short('a', switch("all", "Remove all volumes", |r: &mut Removed, on| r.all = on)),
    short(
        'f',
        switch("force", "Remove the containers that use it first; none of the name is no error", |r, on| r.force = on),
    ),
    short(
        't',
        value("time", "int", "Seconds between the stop signal of those containers and SIGKILL", |r, v| {
            r.timeout = Some(if v == "-1" { u32::MAX } else { integer(v)? });
            Ok(())
        }),
    ),
];

/// `volume rm`.
pub const REMOVE: Verb<Removed> = Verb {
    path: "volume rm",
    usage: "VOLUME [VOLUME...]",
    about: "Remove one or more volumes",
    examples: &["data", "--force data", "--all"],
    interspersed: true,
    flags: &[REMOVE_FLAGS],
    execute: removed,
};

fn removed(program: &Program, asked: Removed, mut names: Vec<String>) -> Result<u8, Failure> {
    if asked.all != names.is_empty() {
        return Err(Failure::new("choose either one or more volumes or all"));
    }
    if asked.timeout.is_some() && !asked.force {
        return Err(Failure::new("--force option must be specified to use the --time option"));
    }
    let engine = program.engine()?;
    if asked.all {
        names = engine.volumes(&List::default()).map_err(plain)?.into_iter().map(|v| v.name).collect();
    }
    each(&names, |name| {
        let request = Remove { name: name.into(), force: asked.force, timeout: asked.timeout };
        match engine.remove_volume(&request) {
            Ok(name) => print(&format!("{name}\n")),
            Err(fault) if fault.kind == Kind::NotFound && asked.force => Ok(()),
            Err(fault) => {
                // podman-volume-rm(1), "Exit Status": 1 if there is no such volume, 2 if it is in use.
                let code = match fault.kind {
                    Kind::NotFound => 1,
                    Kind::Conflict => 2,
                    _ => 125,
                };
                Err(Failure::from(fault).code(code))
            }
        }
    })
}

/// What the flags of `volume prune` fill.
#[derive(Default)]
pub struct Pruned {
    all: bool,
    dry_run: bool,
    filters: Vec<String>,
    force: bool,
}

const PRUNE_FLAGS: &[Flag<Pruned>] = &[
    short('a', switch("all", "Remove unused volumes with names too", |r: &mut Pruned, on| r.all = on)),
    switch("dry-run", "Only show what would be removed", |r, on| r.dry_run = on),
    value("filter", "string", "Only what these conditions choose (label=, until=, all=)", |r, v| {
        r.filters.push(v.into());
        Ok(())
    }),
    short('f', switch("force", "Do not ask", |r, on| r.force = on)),
];

/// `volume prune`.
pub const PRUNE: Verb<Pruned> = Verb {
    path: "volume prune",
    usage: "",
    about: "Remove unused anonymous volumes, or with --all all that no container uses",
    examples: &["--force", "--all --filter label!=keep"],
    interspersed: true,
    flags: &[PRUNE_FLAGS],
    execute: pruned,
};

fn pruned(program: &Program, mut asked: Pruned, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new("volume prune takes no arguments"));
    }
    asked.filters.retain(|filter| match filter.as_str() {
        "all=true" | "all=1" => {
            asked.all = true;
            false
        }
        other => !matches!(other, "all=false" | "all=0"),
    });
    let names_kind = asked.filters.iter().any(|filter| filter.starts_with("anonymous="));
    let mut filters = asked.filters;
    filters.push("dangling=true".into());
    if !asked.all && !names_kind {
        filters.push("anonymous=true".into());
    }
    let engine = program.engine()?;
    let unused = engine.volumes(&List { filters }).map_err(plain)?;
    let names: Vec<String> = unused.into_iter().map(|v| v.name).collect();
    if asked.dry_run {
        print(&names.iter().map(|name| format!("{name}\n")).collect::<String>())?;
        return Ok(0);
    }
    let what = if asked.all { "all volumes" } else { "all anonymous volumes" };
    let warning = format!(
        "WARNING! This will remove {what} not used by at least one container. The following volumes will be removed:\n{}",
        names.join("\n")
    );
    if !asked.force && names.is_empty() || !confirmed(&warning, asked.force)? {
        return Ok(0);
    }
    each(&names, |name| match engine.remove_volume(&Remove { name: name.into(), ..Remove::default() }) {
        Ok(name) => print(&format!("{name}\n")),
        // Somebody has begun to use it, or has removed it.
        Err(fault) if matches!(fault.kind, Kind::Conflict | Kind::NotFound) => Ok(()),
        Err(fault) => Err(plain(fault)),
    })
}
