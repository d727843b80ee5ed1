//! `info`: about the host and the store.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::format::{document, indented};
use crate::program::{Program, plain, print};
use serde_json::Value;

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    format: Option<String>,
    debug: bool,
}

const FLAGS: &[Flag<Asked>] = &[
    short('D', switch("debug", "Tell of containers.conf too", |r: &mut Asked, on| r.debug = on)),
    short(
        'f',
        value("format", "string", "Print as JSON, or with a Go template", |r, v| {
            r.format = Some(v.into());
            Ok(())
        }),
    ),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "info",
    usage: "",
    about: "Display system information",
    examples: &["--format '{{.host.kernel}}'"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new(format!("`{} info` takes no arguments", program.name)));
    }
    let engine = program.engine()?;
    let mut info = engine.info().map_err(plain)?.document;
    if asked.debug {
        info["containersConf"] = engine.configuration_report().map_err(plain)?;
    }
    let text = match asked.format.as_deref() {
        Some("json") => format!("{}\n", indented(&info, b"  ")),
        Some(template) => {
            alias(&mut info);
            document("info", template, &info)?
        }
        None => yaml(&info),
    };
    print(&text)?;
    Ok(0)
}

/// Adds what templates call by another name than the document: Podman's fields, where they differ from their keys in JSON by
/// more than their letters' case.
fn alias(info: &mut Value) {
    for (section, key, name) in
        [("/host", "cgroupVersion", "CgroupsVersion"), ("/host/security", "capabilities", "DefaultCapabilities")]
    {
        if let Some(section) = info.pointer_mut(section)
            && let Some(value) = section.get(key).cloned()
        {
            section[name] = value;
        }
    }
}

/// The document as YAML, in blocks.
fn yaml(value: &Value) -> String {
    let mut text = String::new();
    block(&mut text, value, 0);
    text
}

fn block(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                text.push_str(&format!("{indent}{}:", scalar(key)));
                below(text, value, depth + 1);
            }
        }
        Value::Array(list) => {
            for value in list {
                let mut item = String::new();
                block(&mut item, value, depth + 1);
                text.push_str(&format!("{indent}- {}", item.trim_start_matches(' ')));
            }
        }
        other => text.push_str(&format!("{indent}{}\n", leaf(other))),
    }
}

fn below(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            block(text, value, depth);
        }
        Value::Array(list) if !list.is_empty() => {
            text.push('\n');
            block(text, value, depth - 1);
        }
        other => text.push_str(&format!(" {}\n", leaf(other))),
    }
}

fn leaf(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// A string, in quotes where it would be read as something else.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_alphabetic() || matches!(c, '/' | '_' | '.'))
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with([':', ' '])
        && !text.contains(|c: char| c.is_control())
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn blocks() {
        let value =
            json!({"host": {"cpus": 2, "none": {}, "list": ["a", 1], "maps": [{"k": "v", "w": true}]}, "on": "yes"});
        assert_eq!(
            yaml(&value),
            "host:\n  cpus: 2\n  list:\n  - a\n  - 1\n  maps:\n  - k: v\n    w: true\n  none: {}\n\"on\": \"yes\"\n"
        );
        for (text, shown) in
            [("", "\"\""), ("6.1", "\"6.1\""), ("a: b", "\"a: b\""), ("/run", "/run"), ("v1.2", "v1.2")]
        {
            assert_eq!(scalar(text), shown);
        }
    }
}
