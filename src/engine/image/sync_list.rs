//! The part of YAML in which lists of images are written: mappings and sequences by indentation, short ones in brackets,
//! and scalars of one line, which are all text. What goes beyond that is an error with its line.
//!
//! Must not know: what a list says.

use serde_json::{Map, Value};

/// Deepest nesting.
const DEPTH: usize = 16;

/// A line that is not empty.
struct Line<'a> {
    number: usize,
    indent: usize,
    text: &'a str,
}

/// Reads a document.
///
/// # Errors
/// What is wrong, and in which line.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        let bare = without_comment(line).trim_end();
        let body = bare.trim_start_matches(' ');
        if body.is_empty() || bare == "---" && lines.is_empty() {
            continue;
        }
        if bare == "---" || bare == "..." {
            return Err(format!("line {number}: only one document is read"));
        }
        if body.starts_with('\t') {
            return Err(format!("line {number}: a tab cannot indent"));
        }
        lines.push(Line { number, indent: bare.len() - body.len(), text: body });
    }
    let Some(first) = lines.first() else { return Ok(Value::Null) };
    let (indent, mut rest) = (first.indent, &lines[..]);
    let value = block(&mut rest, indent, 0)?;
    match rest.first() {
        None => Ok(value),
        Some(line) => Err(format!("line {}: it is indented like nothing before it", line.number)),
    }
}

/// The line up to a comment, which stands after a blank and outside of quotes.
fn without_comment(line: &str) -> &str {
    let (mut quote, mut before) = (None, ' ');
    for (at, character) in line.char_indices() {
        match (quote, character) {
            (None, '#') if before.is_whitespace() => return &line[..at],
            (None, '"' | '\'') if matches!(before, ' ' | '[' | ',' | '{' | ':') => quote = Some(character),
            (Some('"'), _) if before == '\\' => {}
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
        before = if before == '\\' && character == '\\' { ' ' } else { character };
    }
    line
}

/// A mapping or a sequence whose lines are indented by `indent`.
fn block(lines: &mut &[Line<'_>], indent: usize, depth: usize) -> Result<Value, String> {
    let Some(first) = lines.first() else { return Ok(Value::Null) };
    if depth > DEPTH {
        return Err(format!("line {}: it is nested deeper than {DEPTH} levels", first.number));
    }
    if is_item(first.text) {
        let mut items = Vec::new();
        while let Some(line) = lines.first().filter(|line| line.indent == indent && is_item(line.text)) {
            let (number, text) = (line.number, line.text[1..].trim_start());
            *lines = &lines[1..];
            items.push(match text {
                "" => below(lines, indent, depth)?,
                text if key(text).is_some() => {
                    return Err(format!("line {number}: mappings as items of a sequence are not supported"));
                }
                text => scalar(text, number)?,
            });
        }
        return Ok(items.into());
    }
    let mut made = Map::new();
    while let Some(line) = lines.first().filter(|line| line.indent == indent) {
        let number = line.number;
        let (name, text) = key(line.text).ok_or_else(|| format!("line {number}: \"KEY: VALUE\" is expected"))?;
        let Value::String(name) = scalar(name, number)? else {
            return Err(format!("line {number}: the key is no text"));
        };
        *lines = &lines[1..];
        let value = match text {
            // Items of a sequence may stand below the key itself.
            "" if lines.first().is_some_and(|next| next.indent == indent && is_item(next.text)) => {
                block(lines, indent, depth + 1)?
            }
            "" => below(lines, indent, depth)?,
            text => scalar(text, number)?,
        };
        if made.insert(name.clone(), value).is_some() {
            return Err(format!("line {number}: {name:?} is there twice"));
        }
    }
    Ok(made.into())
}

/// What is indented more than `indent`; nothing if nothing is.
fn below(lines: &mut &[Line<'_>], indent: usize, depth: usize) -> Result<Value, String> {
    match lines.first().filter(|line| line.indent > indent) {
        Some(line) => block(lines, line.indent, depth + 1),
        None => Ok(Value::Null),
    }
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

/// The key of a line, and what follows it.
fn key(text: &str) -> Option<(&str, &str)> {
    let end = match text.as_bytes().first()? {
        quote @ (b'"' | b'\'') => 2 + text[1..].find(char::from(*quote))?,
        b'[' | b'{' => return None,
        _ => text.find(": ").or_else(|| text.ends_with(':').then(|| text.len() - 1))?,
    };
    let rest = text[end..].trim_start().strip_prefix(':')?;
    (rest.is_empty() || rest.starts_with(' ')).then(|| (text[..end].trim_end(), rest.trim()))
}

/// A scalar, or a sequence or mapping in brackets.
fn scalar(text: &str, number: usize) -> Result<Value, String> {
    let bad = |why: &str| Err(format!("line {number}: {why}"));
    let first = text.chars().next().unwrap_or(' ');
    match first {
        '[' => {
            let Some(inside) = text[1..].strip_suffix(']') else { return bad("a bracket is not closed") };
            if inside.contains(['[', ']', '{', '}']) {
                return bad("brackets inside of brackets are not supported");
            }
            let parts = inside.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(parts.map(|part| scalar(part, number)).collect::<Result<Vec<_>, _>>()?.into())
        }
        '{' if text[1..].trim_start() == "}" => Ok(Map::new().into()),
        '"' | '\'' => {
            let Some(inside) = text[1..].strip_suffix(first).filter(|_| text.len() > 1) else {
                return bad("a quote is not closed");
            };
            if first == '\'' {
                return Ok(inside.replace("''", "'").into());
            }
            // What is quoted so is JSON but for few escapes.
            serde_json::from_str::<String>(text).map(Value::from).or_else(|_| bad("an escape is not supported"))
        }
        '{' | '&' | '*' | '!' | '|' | '>' | '%' | '@' | '`' => bad(&format!("{first:?} is not supported here")),
        _ => Ok(match text {
            "~" | "null" => Value::Null,
            text => text.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_lists_are_written_in() {
        let text = "---\n# all\nregistry.example.com:   # ours\n    images:\n        busybox: []\n        redis:\n            - \"1.0\"\n\
                    \x20           - 2.0\n        alpine: [edge, '3']\n    credentials:\n        username: john\n        password: it's #1\n\
                    \x20   tls-verify: true\n\"quay.io:443\":\n  images:\n    a/b:\n    - latest\n    - x\n  empty:\n";
        let expected = json!({
            "registry.example.com": {
                "images": {"busybox": [], "redis": ["1.0", "2.0"], "alpine": ["edge", "3"]},
                "credentials": {"username": "john", "password": "it's"},
                "tls-verify": "true",
            },
            "quay.io:443": {"images": {"a/b": ["latest", "x"]}, "empty": null},
        });
        assert_eq!(parse(text).unwrap(), expected);
        assert_eq!(parse("a: \"x # y\"\nb: 'it''s'\nc: x#y").unwrap(), json!({"a": "x # y", "b": "it's", "c": "x#y"}));
        assert_eq!(parse("").unwrap(), Value::Null);
    }

    #[test]
    fn what_goes_beyond_is_told_with_its_line() {
        for (text, words) in [
            ("a: 1\na: 2", "line 2: \"a\" is there twice"),
            ("a:\n  b: 1\n c: 2", "line 3"),
            ("a: [1", "line 1: a bracket"),
            ("a: |\n  x", "line 1: '|'"),
            ("a: &x 1", "line 1: '&'"),
            ("just text", "line 1: \"KEY: VALUE\""),
            ("a:\n  - b: 1", "line 2: mappings"),
            ("a: 1\n---\nb: 2", "line 2: only one"),
            ("a:\n\tb: 1", "line 2: a tab"),
            ("a: \"x", "line 1: a quote"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text:?}: {error}");
        }
        let deep: String = (0..100).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        assert!(parse(&deep).unwrap_err().contains("nested"));
    }
}
