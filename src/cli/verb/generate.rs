//! `generate systemd` and `generate init`: files by which a machine's service manager runs containers.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, aliases, integer, short, switch, text, value};
use crate::program::{Program, plain, print};
use ops::unit::{File, Manager, Unit};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What the flags of `generate systemd` fill.
#[derive(Default)]
pub struct Asked {
    unit: Unit,
    /// `--new` was given, and as this.
    new: Option<bool>,
    files: bool,
    format: Option<String>,
    environment: Vec<String>,
}

const UNIT: &[Flag<Asked>] = &[
    text("after", "Units that it comes after", |r, v| r.unit.after.push(v.into())),
    text("container-prefix", "Beginning of the unit's name (default container)", |r, v| r.unit.prefix = Some(v.into())),
    short(
        'e',
        text("env", "Variable of the unit (key=value, or key to take the caller's)", |r, v| {
            r.environment.push(v.into())
        }),
    ),
    short('f', switch("files", "Write NAME.service into the working directory", |r, on| r.files = on)),
    value("format", "string", "Print as json", |r, v| match v {
        "json" => {
            r.format = Some(v.into());
            Ok(())
        }
        _ => Err(format!("unknown --format argument: {v}: use json")),
    }),
    short('n', switch("name", "Call the container by its name, not by its id", |r, on| r.unit.by_name = on)),
    switch("new", "Make the container for each start, by the command that made this one", |r, on| r.new = Some(on)),
    switch("no-header", "Leave out who wrote it and when", |r, on| r.unit.no_header = on),
    text("requires", "Units that it cannot be without", |r, v| r.unit.requires.push(v.into())),
    text("restart-policy", "When systemd starts it again (default on-failure)", |r, v| {
        r.unit.restart_policy = Some(v.into());
    }),
    value("restart-sec", "uint", "Seconds before that", |r, v| {
        r.unit.restart_seconds = Some(integer(v)?);
        Ok(())
    }),
    text("separator", "Between prefix and name (default \"-\")", |r, v| r.unit.separator = Some(v.into())),
    value("start-timeout", "uint", "Seconds that a start may take", |r, v| {
        r.unit.start_timeout = Some(integer(v)?);
        Ok(())
    }),
    short(
        't',
        aliases(
            &["time"],
            value("stop-timeout", "uint", "Seconds that stop waits (default: the container's own)", |r, v| {
                r.unit.stop_timeout = Some(integer(v)?);
                Ok(())
            }),
        ),
    ),
    switch("template", "A template: %i is a part of the container's name", |r, on| r.unit.template = on),
    text("wants", "Units that are wanted", |r, v| r.unit.wants.push(v.into())),
];

/// `generate systemd`.
pub const SYSTEMD: Verb<Asked> = Verb {
    path: "generate systemd",
    usage: "CONTAINER",
    about: "Write a unit of systemd that runs a container",
    examples: &["--new --name web > /etc/systemd/system/web.service", "--files --name --restart-policy always web"],
    interspersed: true,
    flags: &[UNIT],
    execute: systemd,
};

fn systemd(program: &Program, mut asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let [name] = arguments.as_slice() else {
        return Err(Failure::new(format!("accepts 1 arg(s), received {}", arguments.len())));
    };
    if asked.unit.template && asked.new == Some(false) {
        return Err(Failure::new("--template cannot be set with --new=false"));
    }
    asked.unit.new = asked.new.unwrap_or(asked.unit.template);
    asked.unit.environment = crate::environment::resolve(&asked.environment);
    let time = crate::time::rfc3339(crate::time::now() / 1_000_000_000);
    let unit = Unit { name: name.clone(), executable: executable()?, time, ..asked.unit };
    let written = program.engine()?.systemd_unit(&unit).map_err(plain)?;
    for warning in &written.warnings {
        program.warn(warning);
    }
    let mut shown = Vec::new();
    for file in &written.files {
        // Names of files without their end, and with --files where they are instead of what is in them.
        let called = file.name.trim_end_matches(".service").to_owned();
        shown.push((called, if asked.files { write(file)? } else { file.text.clone() }));
    }
    if asked.format.is_some() {
        let all: serde_json::Map<String, serde_json::Value> = shown.into_iter().map(|(k, v)| (k, v.into())).collect();
        return print(&format!("{}\n", crate::format::indented(&all, b" "))).map(|()| 0);
    }
    let lines = shown.iter().map(|(_, text)| if asked.files { format!("{text}\n") } else { text.clone() });
    print(&lines.collect::<String>()).map(|()| 0)
}

/// What the flags of `generate init` fill.
#[derive(Default)]
pub struct Boot {
    manager: Option<Manager>,
    files: bool,
}

/// `generate init`, which Podman leaves to systemd.
pub const INIT: Verb<Boot> = Verb {
    path: "generate init",
    usage: "",
    about: "Write what makes the machine's init start containers again",
    examples: &["--type openrc > /etc/init.d/monopod", "--type runit --files", "--type busybox >> /etc/inittab"],
    interspersed: true,
    flags: &[&[
        short('f', switch("files", "Write files into the working directory", |r, on| r.files = on)),
        value("type", "string", "Whose: openrc, runit, sysv, busybox, systemd", |r, v| {
            r.manager = Some(v.parse().map_err(|e: types::Invalid| e.to_string())?);
            Ok(())
        }),
    ]],
    execute: init,
};

fn init(program: &Program, asked: Boot, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new("generate init takes no arguments"));
    }
    let manager = asked.manager.ok_or_else(|| {
        let all: Vec<&str> = Manager::ALL.iter().map(|manager| manager.name()).collect();
        Failure::new(format!("generate init needs --type: {}", all.join(", ")))
    })?;
    let files = program.engine()?.boot_files(manager, &executable()?).map_err(plain)?;
    let mut text = String::new();
    for file in &files {
        if asked.files {
            text.push_str(&format!("{}\n", write(file)?));
        } else if files.len() > 1 {
            text.push_str(&format!("# {} ({})\n{}\n", file.name, file.place, file.text));
        } else {
            text.push_str(&file.text);
        }
    }
    if asked.files {
        text.extend(files.iter().take(1).map(|file| format!("To be copied to {}\n", file.place)));
    }
    print(&text).map(|()| 0)
}

/// Writes a file into the working directory; gives its path.
fn write(file: &File) -> Result<String, Failure> {
    let here = std::env::current_dir().map_err(|e| Failure::new(format!("getting current working directory: {e}")))?;
    let path = here.join(&file.name);
    let mode = if file.executable { 0o755 } else { 0o644 };
    path.parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&path, &file.text))
        .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)))
        .map_err(|e| Failure::new(format!("cannot write {path:?}: {e}")))?;
    Ok(path.display().to_string())
}

/// This program's own file, as services are to start it.
fn executable() -> Result<String, Failure> {
    let path =
        std::env::current_exe().map_err(|e| Failure::new(format!("cannot tell which file this program is: {e}")))?;
    Ok(Path::new(&path).display().to_string())
}
