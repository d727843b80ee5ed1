//! The functions of templates: those of Go's text/template and those that Podman adds.

use super::evaluate::{is_true, text};
use serde_json::Value;

const NAMES: [&str; 23] = [
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "printf", "println",
    "json", "join", "split", "upper", "lower", "title", "pad", "truncate",
];

/// True if there is a function of this name.
pub fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function. The error says what is wrong with the arguments.
pub fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let enough = match name {
        "not" | "len" | "json" | "upper" | "lower" | "title" | "printf" | "and" | "or" | "index" | "slice" => 1,
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "join" | "split" | "truncate" => 2,
        "pad" => 3,
        _ => 0,
    };
    if arguments.len() < enough {
        return Err(format!("wrong number of args for {name}: want at least {enough} got {}", arguments.len()));
    }
    let first = arguments.first().unwrap_or(&Value::Null);
    let second = arguments.get(1).unwrap_or(&Value::Null);
    Ok(match name {
        "and" => arguments.iter().find(|v| !is_true(v)).or(arguments.last()).cloned().unwrap_or_default(),
        "or" => arguments.iter().find(|v| is_true(v)).or(arguments.last()).cloned().unwrap_or_default(),
        "not" => Value::Bool(!is_true(first)),
        "eq" => Value::Bool(arguments[1..].iter().any(|v| same(first, v))),
        "ne" => Value::Bool(!same(first, second)),
        "lt" => Value::Bool(order(first, second)?.is_lt()),
        "le" => Value::Bool(order(first, second)?.is_le()),
        "gt" => Value::Bool(order(first, second)?.is_gt()),
        "ge" => Value::Bool(order(first, second)?.is_ge()),
        "len" => Value::from(length(first)?),
        "index" => index(first, &arguments[1..])?,
        "slice" => slice(first, &arguments[1..])?,
        "print" => Value::String(print(arguments)),
        "println" => Value::String(format!("{}\n", arguments.iter().map(text).collect::<Vec<_>>().join(" "))),
        "printf" => Value::String(printf(&text(first), &arguments[1..])),
        "json" => Value::String(serde_json::to_string(first).map_err(|e| e.to_string())?),
        "join" => match first {
            Value::Array(list) => Value::String(list.iter().map(text).collect::<Vec<_>>().join(&text(second))),
            Value::Null => Value::String(String::new()),
            _ => return Err("join: expected a list".into()),
        },
        "split" => text(first).split(&text(second)).map(Value::from).collect(),
        "upper" => Value::String(text(first).to_uppercase()),
        "lower" => Value::String(text(first).to_lowercase()),
        "title" => Value::String(title(&text(first))),
        "truncate" => Value::String(text(first).chars().take(count(second)?).collect()),
        "pad" => {
            let word = text(first);
            let spaces = |n: usize| " ".repeat(if word.is_empty() { 0 } else { n });
            Value::String(format!("{}{word}{}", spaces(count(second)?), spaces(count(&arguments[2])?)))
        }
        _ => return Err(format!("function {name:?} not defined")),
    })
}

fn count(value: &Value) -> Result<usize, String> {
    value
        .as_f64()
        .filter(|n| *n >= 0.0 && *n < 1e6)
        .map(|n| n as usize)
        .ok_or_else(|| format!("{} is no count", text(value)))
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn order(a: &Value, b: &Value) -> Result<std::cmp::Ordering, String> {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
    .ok_or_else(|| "incompatible types for comparison".into())
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(list) => Ok(list.len()),
        Value::Object(map) => Ok(map.len()),
        Value::Null => Ok(0),
        _ => Err(format!("len of type {}", kind(value))),
    }
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Array(list), Value::Number(_)) => {
                let at = count(key)?;
                list.get(at).cloned().ok_or_else(|| format!("error calling index: index out of range: {at}"))?
            }
            // A map without the key gives the zero value, which for Podman's maps of strings is empty.
            (Value::Object(map), Value::String(key)) => map.get(key).cloned().unwrap_or(Value::String(String::new())),
            (Value::Null, _) => return Err("error calling index: index of untyped nil".into()),
            _ => return Err(format!("error calling index: can't index item of type {}", kind(&value))),
        };
    }
    Ok(value)
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let length = length(value)?;
    let bound = |at: usize, otherwise: usize| bounds.get(at).map_or(Ok(otherwise), count);
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if from > to || to > length {
        return Err(format!("error calling slice: index out of range: {to}"));
    }
    match value {
        Value::String(text) => {
            text.get(from..to).map(Value::from).ok_or_else(|| "error calling slice: not at a character".into())
        }
        Value::Array(list) => Ok(list[from..to].iter().cloned().collect()),
        _ => Err(format!("error calling slice: can't slice item of type {}", kind(value))),
    }
}

/// Go's name of the type, as far as JSON has types.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Go's `Sprint`: a space between operands when neither is a string.
fn print(arguments: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in arguments.iter().enumerate() {
        if at > 0 && !value.is_string() && !arguments[at - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&text(value));
    }
    out
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut begins = true;
    for c in text.chars() {
        if begins {
            out.extend(c.to_uppercase())
        } else {
            out.push(c)
        }
        begins = !c.is_alphanumeric() && c != '_' && c != '\'';
    }
    out
}

/// Go's `Sprintf` with the verbs `%s %v %d %q %t %x %f %%`, width, `-`, `0` and precision.
fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut values = arguments.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = String::new();
        while let Some(c) = chars.peek().filter(|c| matches!(c, '0'..='9' | '-' | '+' | '.' | ' ' | '#')) {
            spec.push(*c);
            chars.next();
        }
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let flags = spec.trim_start_matches(['-', '+', '0', ' ', '#']);
        let (width, precision) =
            flags.split_once('.').map_or((flags, None), |(w, p)| (w, Some(p.parse().unwrap_or(0).min(1000))));
        // Go refuses more than a million, too.
        let width: usize = width.parse().unwrap_or(0).min(1_000_000);
        let marks = &spec[..spec.len() - flags.len()];
        let shown = conversion(verb, value, precision);
        let fill = width.saturating_sub(shown.chars().count());
        match (marks.contains('-'), marks.contains('0')) {
            (true, _) => out.extend([shown.as_str(), &" ".repeat(fill)]),
            (_, true) => out.extend(["0".repeat(fill).as_str(), &shown]),
            _ => out.extend([" ".repeat(fill).as_str(), &shown]),
        }
    }
    if values.len() > 0 {
        let extra: Vec<_> = values.map(|v| format!("{}={}", kind(v), text(v))).collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn conversion(verb: char, value: &Value, precision: Option<usize>) -> String {
    match (verb, value) {
        ('v', _) => text(value),
        ('s', Value::Array(_) | Value::Object(_)) => text(value),
        ('s', Value::String(text)) => text.chars().take(precision.unwrap_or(usize::MAX)).collect(),
        ('q', Value::String(text)) => format!("{text:?}"),
        ('t', Value::Bool(_)) => text(value),
        ('d', Value::Number(n)) if !n.is_f64() => n.to_string(),
        ('f', Value::Number(n)) => format!("{:.*}", precision.unwrap_or(6), n.as_f64().unwrap_or(0.0)),
        ('x', Value::Number(n)) if n.as_i64().is_some() => format!("{:x}", n.as_i64().unwrap_or(0)),
        ('x', Value::String(text)) => types::digest::hex(text.as_bytes()),
        _ => format!("%!{verb}({}={})", kind(value), text(value)),
    }
}
