//! `history`: the steps in which an image was made.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use crate::format::{Column, Format, table_of};
use crate::program::{Program, plain, print};
use crate::time::{ago, go, now};
use ops::image::Step;
use serde_json::{Value, json};

/// What the flags fill.
pub struct Asked {
    format: Option<String>,
    human: bool,
    full: bool,
    quiet: bool,
}

impl Default for Asked {
    fn default() -> Asked {
        Asked { format: None, human: true, full: false, quiet: false }
    }
}

const FLAGS: &[Flag<Asked>] = &[
    value("format", "string", "Print as JSON, or with a Go template", |r, v| {
        r.format = Some(v.into());
        Ok(())
    }),
    short('H', switch("human", "Say how long ago it was (default true)", |r, on| r.human = on)),
    switch("no-trunc", "Cut nothing short", |r, on| r.full = on),
    short('q', switch("quiet", "Print only ids", |r, on| r.quiet = on)),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "history",
    usage: "IMAGE",
    about: "Show history of a specified image",
    examples: &["quay.io/fedora/fedora", "--format '{{.ID}} {{.CreatedBy}}' busybox"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

const COLUMNS: &[Column] = &[
    ("Comment", "COMMENT"),
    ("Created", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("CreatedSince", "CREATED"),
    ("ID", "ID"),
    ("Size", "SIZE"),
    ("Tags", "TAGS"),
];

/// Longest command that is shown whole, in characters.
const COMMAND: usize = 45;

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let [name] = arguments.as_slice() else {
        return Err(Failure::new(format!("accepts 1 arg(s), received {}", arguments.len())));
    };
    let format = asked.format.as_deref().map(|text| Format::parse("history", text)).transpose()?;
    let steps = program.engine()?.history(name).map_err(plain)?;
    let now = now();
    let text = match &format {
        _ if asked.quiet => steps.iter().map(|step| id(step, asked.full) + "\n").collect(),
        Some(format @ Format::Json) => format.print(&steps.iter().map(object).collect::<Vec<_>>(), COLUMNS, false)?,
        Some(format) => {
            let rows: Vec<_> = steps.iter().map(|step| fields(step, &asked, now)).collect();
            format.print(&rows, COLUMNS, false)?
        }
        None => {
            let row = |step| {
                let fields = fields(step, &asked, now);
                let text = |key: &str| fields[key].as_str().unwrap_or_default().to_owned();
                ["ID", "Created", "CreatedBy", "Size", "Comment"].map(text).to_vec()
            };
            let rows: Vec<_> = steps.iter().map(row).collect();
            table_of(&["ID", "CREATED", "CREATED BY", "SIZE", "COMMENT"], &rows, false)
        }
    };
    print(&text).map(|()| 0)
}

fn id(step: &Step, full: bool) -> String {
    match &step.id {
        Some(id) if full => id.hex(),
        Some(id) => id.short(),
        None => "<missing>".into(),
    }
}

/// What templates see.
fn fields(step: &Step, asked: &Asked, now: i64) -> Value {
    // A command of several lines is one cell, as are those with tabs.
    let mut command = step.created_by.replace(['\n', '\t'], " ");
    if !asked.full && command.chars().count() > COMMAND {
        command = command.chars().take(COMMAND - 3).collect::<String>() + "...";
    }
    let since = ago(step.created_seconds, now);
    let at = crate::time::rfc3339(step.created_seconds);
    json!({
        "Comment": step.comment.replace(['\n', '\t'], " "),
        "Created": if asked.human { since.clone() } else { at },
        "CreatedAt": go(step.created_seconds),
        "CreatedBy": command,
        "CreatedSince": since,
        "ID": id(step, asked.full),
        "Size": types::size::human(step.size, 3),
        "Tags": step.names,
    })
}

/// What `--format json` prints.
fn object(step: &Step) -> Value {
    json!({
        "id": step.id.map_or("<missing>".into(), |id| id.hex()),
        "created": step.created,
        "CreatedBy": step.created_by,
        "size": step.size,
        "comment": step.comment,
        "tags": step.names,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_are_cut_unless_all_is_wanted() {
        let step = Step {
            id: None,
            names: Vec::new(),
            created: String::new(),
            created_seconds: 0,
            created_by: format!("a\n{}", "é".repeat(60)),
            size: 10_240,
            comment: "x".into(),
        };
        let cut = fields(&step, &Asked::default(), 0);
        assert_eq!(cut["CreatedBy"], format!("a {}...", "é".repeat(40)));
        assert_eq!((&cut["ID"], &cut["Size"]), (&json!("<missing>"), &json!("10.2 kB")));
        let whole = fields(&step, &Asked { full: true, human: false, ..Asked::default() }, 0);
        assert_eq!(whole["CreatedBy"], format!("a {}", "é".repeat(60)));
        assert_eq!(whole["Created"], "1970-01-01T00:00:00Z");
        let names: Vec<_> = cut.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, COLUMNS.iter().map(|(field, _)| *field).collect::<Vec<_>>());
    }
}
