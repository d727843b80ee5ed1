//! `search`: what registries have.

use super::Verb;
use super::registry_flags::{self, HasAccess};
use crate::failure::Failure;
use crate::flag::{Flag, integer, short, switch, value};
use crate::format::{Column, Format};
use crate::program::{Program, plain, print};
use ops::image::{Access, Hit, Search};
use serde_json::{Value, json};

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    search: Search,
    format: Option<String>,
    full: bool,
    compatible: bool,
}

impl HasAccess for Asked {
    fn access(&mut self) -> &mut Access {
        &mut self.search.access
    }
}

const FLAGS: &[Flag<Asked>] = &[
    registry_flags::auth_file(),
    registry_flags::cert_dir(),
    registry_flags::creds(),
    registry_flags::tls_verify(),
    switch("compatible", "Show stars, and what is official and automated", |r, on| r.compatible = on),
    short(
        'f',
        value("filter", "filter", "Only those: stars=N, is-official, is-automated (=true or =false)", |r, v| {
            r.search.filters.push(v.into());
            Ok(())
        }),
    ),
    value("format", "string", "Print as JSON, or with a Go template", |r, v| {
        r.format = Some(v.into());
        Ok(())
    }),
    value("limit", "int", "Most results of each registry (default 25)", |r, v| {
        r.search.limit = Some(integer(v)?);
        Ok(())
    }),
    switch("list-tags", "List the tags of the repository that is named", |r, on| r.search.tags = on),
    switch("no-trunc", "Cut nothing short", |r, on| r.full = on),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "search",
    usage: "TERM",
    about: "Search registries for images",
    examples: &["--limit 3 quay.io/podman", "--list-tags quay.io/podman/hello"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

const COLUMNS: &[Column] = &[
    ("Automated", "AUTOMATED"),
    ("Description", "DESCRIPTION"),
    ("Index", "INDEX"),
    ("Name", "NAME"),
    ("Official", "OFFICIAL"),
    ("Stars", "STARS"),
    ("Tag", "TAG"),
];

/// Longest description that is shown whole, in characters.
const DESCRIPTION: usize = 44;

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    let [term] = <[String; 1]>::try_from(arguments)
        .map_err(|other| Failure::new(format!("search requires exactly one argument, received {}", other.len())))?;
    if asked.search.tags && !asked.search.filters.is_empty() {
        return Err(Failure::new("filters are not applicable to list tags result"));
    }
    let otherwise = match (asked.search.tags, asked.compatible) {
        (true, _) => "table {{.Name}}\t{{.Tag}}",
        (false, true) => "table {{.Name}}\t{{.Description}}\t{{.Stars}}\t{{.Official}}\t{{.Automated}}",
        (false, false) => "table {{.Name}}\t{{.Description}}",
    };
    let format = Format::parse("search", asked.format.as_deref().unwrap_or(otherwise))?;
    let hits = program.engine()?.search(&Search { term, ..asked.search.clone() }).map_err(plain)?;
    if hits.is_empty() && asked.format.is_none() {
        return Ok(0);
    }
    let rows: Vec<Value> = match (&format, asked.search.tags) {
        (Format::Json, true) => tagged(&hits),
        _ => hits.iter().map(|hit| row(hit, asked.full)).collect(),
    };
    print(&format.print(&rows, COLUMNS, false)?).map(|()| 0)
}

fn row(hit: &Hit, full: bool) -> Value {
    let mark = |on: bool| if on { "[OK]" } else { "" };
    let mut description = hit.description.clone();
    if !full && description.chars().count() > DESCRIPTION {
        description = description.chars().take(DESCRIPTION).collect::<String>() + "...";
    }
    json!({
        "Automated": mark(hit.automated),
        "Description": description,
        "Index": hit.registry,
        "Name": hit.name,
        "Official": mark(hit.official),
        "Stars": hit.stars,
        "Tag": hit.tag,
    })
}

/// One object for each repository with all its tags.
fn tagged(hits: &[Hit]) -> Vec<Value> {
    let mut rows: Vec<(&str, Vec<&str>)> = Vec::new();
    for hit in hits {
        match rows.last_mut() {
            Some((name, tags)) if *name == hit.name => tags.push(&hit.tag),
            _ => rows.push((&hit.name, vec![&hit.tag])),
        }
    }
    rows.into_iter().map(|(name, tags)| json!({"Name": name, "Tags": tags})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_tags() {
        let hit = |tag: &str| Hit {
            name: "a.b/c".into(),
            description: "x".repeat(50),
            tag: tag.into(),
            official: true,
            ..Hit::default()
        };
        let found = row(&hit(""), false);
        assert_eq!(found["Description"], "x".repeat(44) + "...");
        assert_eq!((&found["Official"], &found["Automated"]), (&json!("[OK]"), &json!("")));
        assert_eq!(row(&hit(""), true)["Description"], "x".repeat(50));
        assert_eq!(tagged(&[hit("1"), hit("2")]), [json!({"Name": "a.b/c", "Tags": ["1", "2"]})]);
        let names: Vec<_> = found.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, COLUMNS.iter().map(|(field, _)| *field).collect::<Vec<_>>());
    }
}
