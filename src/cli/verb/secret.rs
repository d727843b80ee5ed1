//! `secret create`, `exists`, `inspect`, `ls`, `rm`.

use super::Verb;
use super::many::each;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, text};
use crate::format::{Column, Format, document, indented, table_of};
use crate::program::{Program, plain, print};
use crate::time::{ago, now, rfc3339};
use ops::Kind;
use ops::secret::{Create, List, Secret};
use serde_json::{Value, json};
use std::io::Read;

/// What the flags of `secret create` fill.
#[derive(Default)]
pub struct Made {
    create: Create,
    environment: bool,
}

const CREATE_FLAGS: &[Flag<Made>] = &[
    short('d', text("driver", "Who keeps it: file, shell", |r: &mut Made, v| r.create.driver = Some(v.into()))),
    text("driver-opts", "Option of the driver (key=value)", |r, v| r.create.driver_options.push(v.into())),
    switch("env", "Take the variable of that name instead of a file", |r, on| r.environment = on),
    switch("ignore", "One of that name is no error, and stays", |r, on| r.create.ignore = on),
    short('l', text("label", "Set a label (key=value)", |r: &mut Made, v| r.create.labels.push(v.into()))),
    switch("replace", "Replace one of that name", |r, on| r.create.replace = on),
];

/// `secret create`.
pub const CREATE: Verb<Made> = Verb {
    path: "secret create",
    usage: "NAME FILE|-",
    about: "Create a secret",
    examples: &["password password.txt", "--env token TOKEN", "key -"],
    interspersed: true,
    flags: &[CREATE_FLAGS],
    execute: |program, asked, arguments| {
        let [name, source] = arguments.as_slice() else {
            return Err(Failure::new(format!("accepts 2 arg(s), received {}", arguments.len())));
        };
        let mut request = asked.create;
        request.name.clone_from(name);
        request.data = match (asked.environment, source.as_str()) {
            (true, variable) => std::env::var(variable)
                .map_err(|_| {
                    Failure::new(format!("cannot create store secret data: environment variable {variable} is not set"))
                })?
                .into_bytes(),
            (false, "-") => {
                if rustix::termios::isatty(std::io::stdin()) {
                    return Err(Failure::new("if `-` is used, data must be passed into stdin"));
                }
                read(std::io::stdin(), "standard input")?
            }
            (false, path) => {
                read(std::fs::File::open(path).map_err(|e| Failure::new(format!("cannot open {path:?}: {e}")))?, path)?
            }
        };
        let id = program.engine()?.create_secret(&request).map_err(plain)?;
        print(&format!("{id}\n"))?;
        Ok(0)
    },
};

/// No more than shows that it is too much.
fn read(source: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut data = Vec::new();
    source.take(512_000).read_to_end(&mut data).map_err(|e| Failure::new(format!("cannot read {name}: {e}")))?;
    Ok(data)
}

/// What the flags of `secret ls` fill.
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
        text("filter", "Show those that a condition chooses (name=, id=)", |r: &mut Listed, v| {
            r.filters.push(v.into())
        }),
    ),
    text("format", "Print as JSON, or with a Go template", |r, v| r.format = Some(v.into())),
    short('n', switch("noheading", "Print no headings", |r, on| r.no_heading = on)),
    short('q', switch("quiet", "Print only ids", |r, on| r.quiet = on)),
];

/// `secret ls`.
pub const LIST: Verb<Listed> = Verb {
    path: "secret ls",
    usage: "",
    about: "List secrets",
    examples: &["--filter name=data", "--format '{{.Name}}'"],
    interspersed: true,
    flags: &[LIST_FLAGS],
    execute: listed,
};

const COLUMNS: &[Column] =
    &[("ID", "ID"), ("Name", "NAME"), ("Driver", "DRIVER"), ("CreatedAt", "CREATED"), ("UpdatedAt", "UPDATED")];

fn listed(program: &Program, asked: Listed, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new("secret ls takes no arguments"));
    }
    let format = asked.format.as_deref().map(|text| Format::parse("secret ls", text)).transpose()?;
    let secrets = program.engine()?.secrets_listed(&List { filters: asked.filters }).map_err(plain)?;
    let age = |time: i64| ago(time / 1_000_000_000, now());
    let text = match format {
        _ if asked.quiet => secrets.iter().map(|s| format!("{}\n", s.id)).collect(),
        Some(Format::Json) => {
            format!("{}\n", indented(&secrets.iter().map(|s| object(s, None)).collect::<Vec<_>>(), b"    "))
        }
        Some(format) => {
            let rows: Vec<Value> = secrets
                .iter()
                .map(|s| {
                    json!({ "ID": s.id, "Name": s.name, "Driver": s.driver, "CreatedAt": age(s.created),
                            "UpdatedAt": age(s.updated), "Spec": object(s, None)["Spec"] })
                })
                .collect();
            format.print(&rows, COLUMNS, asked.no_heading)?
        }
        None => {
            let cell =
                |s: &Secret| vec![s.id.clone(), s.name.clone(), s.driver.clone(), age(s.created), age(s.updated)];
            let cells: Vec<_> = secrets.iter().map(cell).collect();
            table_of(&COLUMNS.iter().map(|(_, title)| *title).collect::<Vec<_>>(), &cells, asked.no_heading)
        }
    };
    print(&text)?;
    Ok(0)
}

/// A secret in the shape of `podman secret inspect`.
fn object(secret: &Secret, data: Option<&[u8]>) -> Value {
    let mut object = json!({
        "ID": secret.id,
        "CreatedAt": rfc3339(secret.created / 1_000_000_000),
        "UpdatedAt": rfc3339(secret.updated / 1_000_000_000),
        "Spec": {
            "Name": secret.name,
            "Driver": { "Name": secret.driver, "Options": secret.driver_options },
            "Labels": secret.labels,
        },
    });
    if let Some(data) = data {
        object["SecretData"] = json!(String::from_utf8_lossy(data));
    }
    object
}

/// What the flags of `secret inspect` fill.
#[derive(Default)]
pub struct Inspected {
    format: Option<String>,
    pretty: bool,
    show: bool,
}

const INSPECT_FLAGS: &[Flag<Inspected>] = &[
    short('f', text("format", "Print with a Go template", |r: &mut Inspected, v| r.format = Some(v.into()))),
    switch("pretty", "Print for people", |r, on| r.pretty = on),
    switch("showsecret", "Print what is secret, too", |r, on| r.show = on),
];

/// `secret inspect`.
pub const INSPECT: Verb<Inspected> = Verb {
    path: "secret inspect",
    usage: "SECRET [SECRET...]",
    about: "Display what is known of secrets",
    examples: &["password", "--format '{{.Spec.Driver.Name}}' password"],
    interspersed: true,
    flags: &[INSPECT_FLAGS],
    execute: inspected,
};

fn inspected(program: &Program, asked: Inspected, names: Vec<String>) -> Result<u8, Failure> {
    if names.is_empty() {
        return Err(Failure::new("requires at least 1 arg(s), only received 0"));
    }
    if asked.pretty && asked.format.is_some() {
        return Err(Failure::new("--pretty and --format cannot be used together"));
    }
    let engine = program.engine()?;
    let (mut found, mut messages) = (Vec::new(), Vec::new());
    for name in &names {
        let one = engine.secret(name).and_then(|secret| {
            let data = if asked.show { Some(engine.secret_data(&secret)?) } else { None };
            Ok(object(&secret, data.as_deref()))
        });
        match one {
            Ok(value) => found.push(value),
            Err(fault) => messages.push(fault.to_string()),
        }
    }
    match asked.format.as_deref() {
        Some(template) if template.trim() != "json" => {
            for value in &found {
                print(&document("secret inspect", template, value)?)?;
            }
        }
        None if asked.pretty => found.iter().try_for_each(|value| print(&pretty(value)))?,
        _ => print(&format!("{}\n", indented(&found, b"    ")))?,
    }
    if messages.is_empty() { Ok(0) } else { Err(Failure { code: 125, messages, advice: String::new() }) }
}

fn pretty(secret: &Value) -> String {
    let word = |path: &str| secret.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let mut text = String::new();
    for (title, path) in [
        ("ID", "/ID"),
        ("Name", "/Spec/Name"),
        ("Driver", "/Spec/Driver/Name"),
        ("Created", "/CreatedAt"),
        ("Updated", "/UpdatedAt"),
    ] {
        text.push_str(&format!("{:<20}{}\n", format!("{title}:"), word(path)));
    }
    for (key, value) in secret.pointer("/Spec/Labels").and_then(Value::as_object).into_iter().flatten() {
        text.push_str(&format!("{:<20}{key}={}\n", "Label:", value.as_str().unwrap_or_default()));
    }
    if secret.get("SecretData").is_some() {
        text.push_str(&format!("{:<20}{}\n", "Secret:", word("/SecretData")));
    }
    text
}

/// `secret exists`.
pub const EXISTS: Verb<()> = Verb {
    path: "secret exists",
    usage: "SECRET",
    about: "Check if a secret exists: exit code 0 or 1",
    examples: &["password"],
    interspersed: true,
    flags: &[],
    execute: |program, (), names| {
        let [name] = names.as_slice() else {
            return Err(Failure::new(format!("accepts 1 arg(s), received {}", names.len())));
        };
        match program.engine()?.secret(name) {
            Ok(_) => Ok(0),
            Err(fault) if fault.kind == Kind::NotFound => Ok(1),
            Err(fault) => Err(plain(fault)),
        }
    },
};

/// What the flags of `secret rm` fill.
#[derive(Default)]
pub struct Removed {
    all: bool,
    ignore: bool,
}

const REMOVE_FLAGS: &[Flag<Removed>] = &[
    short('a', switch("all", "Remove all secrets", |r: &mut Removed, on| r.all = on)),
    short('i', switch("ignore", "One that does not exist is no error", |r: &mut Removed, on| r.ignore = on)),
];

/// `secret rm`.
pub const REMOVE: Verb<Removed> = Verb {
    path: "secret rm",
    usage: "SECRET [SECRET...]",
    about: "Remove one or more secrets",
    examples: &["password", "--all"],
    interspersed: true,
    flags: &[REMOVE_FLAGS],
    execute: |program, asked, mut names| {
        if asked.all != names.is_empty() {
            return Err(Failure::new(match asked.all {
                true => "no arguments are needed with --all",
                false => "requires at least 1 arg(s), only received 0",
            }));
        }
        let engine = program.engine()?;
        if asked.all {
            names = engine.secrets_listed(&List::default()).map_err(plain)?.into_iter().map(|s| s.id).collect();
        }
        each(&names, |name| match engine.remove_secret(name) {
            Ok(id) => print(&format!("{id}\n")),
            Err(fault) if fault.kind == Kind::NotFound && asked.ignore => Ok(()),
            Err(fault) => Err(plain(fault)),
        })
    },
};
