//! `--format`: JSON, or a template for each row, with a heading if it begins with `table`.

use crate::failure::Failure;
use crate::paint::Paint;
use crate::table::align;
use crate::template::Template;
use serde::Serialize;
use serde_json::Value;

/// A column of a list: the field of a row, and its heading.
pub type Column = (&'static str, &'static str);

/// What `--format` asks for.
#[derive(Debug, Clone)]
pub enum Format {
    /// `json`.
    Json,
    /// A template, for each row.
    Rows {
        /// The template.
        template: Template,
        /// With a heading.
        heading: bool,
    },
}

impl Format {
    /// Reads the value of `--format`; `verb` is for errors.
    pub fn parse(verb: &str, text: &str) -> Result<Format, Failure> {
        if text.trim() == "json" || text.trim() == "{{json .}}" && matches!(verb, "ps" | "images") {
            return Ok(Format::Json);
        }
        let (heading, template) = match text.strip_prefix("table") {
            Some(rest) if rest.starts_with([' ', '\t']) || rest.starts_with("\\t") => (true, table(rest)),
            _ => (false, text.to_owned()),
        };
        let template = unescape(&template);
        Ok(Format::Rows { template: Template::parse(verb, &template).map_err(failure)?, heading })
    }

    /// What is printed about `rows`; `columns` has the headings.
    pub fn print(&self, rows: &[Value], columns: &[Column], no_heading: bool) -> Result<String, Failure> {
        let (template, table) = match self {
            Format::Json => return Ok(format!("{}\n", indented(rows, b"  "))),
            Format::Rows { template, heading } => (template, *heading),
        };
        let titles: Value = columns.iter().map(|(field, title)| (field.to_string(), Value::from(*title))).collect();
        let mut text = String::new();
        for row in (table && !no_heading).then_some(&titles).into_iter().chain(rows) {
            text.push_str(&template.print(row).map_err(failure)?);
            if !text.ends_with('\n') {
                text.push('\n');
            }
        }
        // Only a table has columns: elsewhere a tab is a tab, at which scripts cut.
        Ok(if table { align(&text) } else { text })
    }
}

/// One document through a template, and a line end.
pub fn document(verb: &str, template: &str, value: &Value) -> Result<String, Failure> {
    let text = Template::parse(verb, &unescape(template)).and_then(|t| t.print(value)).map_err(failure)?;
    Ok(if text.ends_with('\n') { text } else { format!("{text}\n") })
}

/// A table with headings, of rows of cells; for people on a terminal the headings stand out.
pub fn table_of(headings: &[&str], rows: &[Vec<String>], no_heading: bool) -> String {
    let paint = Paint::stdout();
    let mut text = String::new();
    if !no_heading {
        let headings: Vec<String> = headings.iter().map(|heading| paint.bold(heading)).collect();
        text.push_str(&headings.join("\t"));
        text.push('\n');
    }
    for row in rows {
        text.push_str(&row.join("\t"));
        text.push('\n');
    }
    align(&text)
}

/// JSON indented by `indent`, as Go writes it.
pub fn indented<T: Serialize + ?Sized>(value: &T, indent: &[u8]) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Values of JSON and structs with text keys always serialise.
    let _ = value.serialize(&mut serializer);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Cells of a table are separated by tabs, where the user wrote spaces between fields.
fn table(rest: &str) -> String {
    rest.trim_start().trim_start_matches("\\t").replace("}} {{", "}}\t{{")
}

/// The shell passes `\t` and `\n` as two characters.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn failure(error: crate::template::Error) -> Failure {
    Failure::new(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: &[Column] = &[("ID", "CONTAINER ID"), ("Names", "NAMES")];

    fn print(format: &str) -> String {
        let rows = [json!({"ID": "abc", "Names": "web"}), json!({"ID": "def", "Names": "db"})];
        Format::parse("ps", format).and_then(|f| f.print(&rows, COLUMNS, false)).unwrap()
    }

    #[test]
    fn rows() {
        assert_eq!(print("{{.ID}} {{.Names}}"), "abc web\ndef db\n");
        assert_eq!(print("{{.ID}}\\t{{.Names}}"), "abc\tweb\ndef\tdb\n");
        assert_eq!(print("table {{.ID}} {{.Names}}"), "CONTAINER ID  NAMES\nabc           web\ndef           db\n");
        assert_eq!(print("table {{.ID}}\\t{{.Names}}"), "CONTAINER ID  NAMES\nabc           web\ndef           db\n");
        assert!(print("json").starts_with("[\n  {\n    \"ID\": \"abc\""));
        assert!(Format::parse("ps", "{{.ID").is_err());
    }
}
