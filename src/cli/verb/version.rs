//! `version`.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, short, value};
use crate::format::{document, indented};
use crate::program::{Program, print};
use crate::table::align;
use crate::time::go;
use engine::Engine;
use serde_json::json;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    format: Option<String>,
}

const FLAGS: &[Flag<Asked>] = &[short(
    'f',
    value("format", "string", "Print as JSON, or with a Go template", |r, v| {
        r.format = Some(v.into());
        Ok(())
    }),
)];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "version",
    usage: "",
    about: "Display the version",
    examples: &["--format '{{.Client.Version}}'"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new(format!("`{} version` takes no arguments", program.name)));
    }
    let version = Engine::version();
    let built = built();
    let own = json!({
        "APIVersion": version.api_version,
        "Version": version.version,
        "GoVersion": "none: it is written in Rust",
        "GitCommit": "",
        "BuiltTime": go(built),
        "Built": built,
        "OsArch": version.platform,
        "Os": version.platform.split('/').next(),
        "Arch": version.platform.split('/').nth(1),
    });
    // Docker's command has a server, which here is the same file.
    let value = match program.name.as_str() {
        "docker" => json!({ "Client": own, "Server": own }),
        _ => json!({ "Client": own }),
    };
    let text = match asked.format.as_deref() {
        Some("json") => format!("{}\n", indented(&value, b"  ")),
        Some(template) => document("version", template, &value)?,
        None if program.name == "docker" => docker(&version, built),
        None => align(&format!(
            "Client:\t{}\nVersion:\t{}\nAPI Version:\t{}\nGo Version:\tnone\nBuilt:\t{}\nOS/Arch:\t{}\n",
            if program.name == "podman" { "Podman Engine (monopod)" } else { "Monopod" },
            version.version,
            version.api_version,
            clock(built),
            version.platform
        )),
    };
    print(&text)?;
    Ok(0)
}

/// As Docker's command prints it.
fn docker(version: &ops::host::Version, built: i64) -> String {
    let part = |title: &str, indent: &str| {
        format!(
            "{title}\n{indent}Version:           {}\n{indent}API version:       {}\n{indent}Go version:        none\n\
             {indent}Built:             {}\n{indent}OS/Arch:           {}\n",
            version.version,
            version.api_version,
            clock(built),
            version.platform
        )
    };
    format!("{}\n{}", part("Client: monopod", " "), part("Server: monopod\n Engine:", "  "))
}

/// The day on which the file was made, as ISO 8601 has it.
pub fn built_on() -> String {
    jiff::Timestamp::from_second(built()).map(|time| time.strftime("%F").to_string()).unwrap_or_default()
}

/// When the file was made, in seconds since 1970: what its own time says.
fn built() -> i64 {
    let modified = std::env::current_exe().and_then(std::fs::metadata).and_then(|file| file.modified());
    let since = modified.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since.and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}

/// `Tue Nov 14 22:13:20 2023`, as ctime(3) writes it.
fn clock(seconds: i64) -> String {
    let zone = jiff::tz::TimeZone::system();
    let time = jiff::Timestamp::from_second(seconds).map(|time| time.to_zoned_datetime(zone));
    time.map(|time| time.strftime("%a %b %e %H:%M:%S %Y").to_string()).unwrap_or_default()
}
