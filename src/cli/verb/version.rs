//! `version`.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, short, value};
use crate::format::{document, indented};
use crate::program::{Program, print};
use crate::table::align;
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
    let value = json!({"Client": {
        "APIVersion": version.api_version,
        "Version": version.version,
        "OsArch": version.platform,
        "Os": version.platform.split('/').next(),
    }});
    let text = match asked.format.as_deref() {
        Some("json") => format!("{}\n", indented(&value, b"  ")),
        Some(template) => document("version", template, &value)?,
        None => align(&format!(
            "Client:\tMonopod\nVersion:\t{}\nAPI Version:\t{}\nOS/Arch:\t{}\n",
            version.version, version.api_version, version.platform
        )),
    };
    print(&text)?;
    Ok(0)
}
