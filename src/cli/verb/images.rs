//! `images`: the list of images.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, list, short, switch, value};
use crate::format::{Column, Format, table_of};
use crate::program::{Program, plain, print};
use crate::time::{ago, go, now, rfc3339};
use ops::image::{List, Summary};
use serde_json::{Value, json};

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    digests: bool,
    filters: Vec<String>,
    format: Option<String>,
    full: bool,
    history: bool,
    no_heading: bool,
    quiet: bool,
    sort: Option<String>,
}

const FLAGS: &[Flag<Asked>] = &[
    // An image without a name is listed in any case, and there are no hidden ones between.
    short('a', switch("all", "Show all images", |_, _| {})),
    switch("digests", "Show the digests of the manifests", |r, on| r.digests = on),
    short('f', list("filter", "Show the images that these conditions choose", |r, v| r.filters.push(v))),
    value("format", "string", "Print as JSON, or with a Go template", |r, v| {
        r.format = Some(v.into());
        Ok(())
    }),
    switch("history", "Show all names that each image has or had", |r, on| r.history = on),
    switch("no-trunc", "Cut nothing short", |r, on| r.full = on),
    short('n', switch("noheading", "Print no headings", |r, on| r.no_heading = on)),
    short('q', switch("quiet", "Print only ids", |r, on| r.quiet = on)),
    value("sort", "string", "Sort by tag, created, id, repository, size", |r, v| {
        r.sort = Some(v.into());
        Ok(())
    }),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "images",
    usage: "[IMAGE]",
    about: "List images in local storage",
    examples: &["--format json", "--sort repository --format \"table {{.ID}} {{.Repository}} {{.Tag}}\""],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

const COLUMNS: &[Column] = &[
    ("Containers", "CONTAINERS"),
    ("Created", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("CreatedTime", "CREATED"),
    ("Digest", "DIGEST"),
    ("History", "HISTORY"),
    ("ID", "IMAGE ID"),
    ("Id", "IMAGE ID"),
    ("Labels", "LABELS"),
    ("Names", "NAMES"),
    ("ReadOnly", "R/O"),
    ("Repository", "REPOSITORY"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
];

/// A line of the table: an image under one of its names.
struct Row<'a> {
    image: &'a Summary,
    repository: String,
    tag: String,
}

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    if arguments.len() > 1 {
        return Err(Failure::new(format!("`{} images` accepts at most one argument", program.name)));
    }
    if asked.quiet && asked.format.is_some() {
        return Err(Failure::new("quiet and format are mutually exclusive"));
    }
    if !arguments.is_empty() && !asked.filters.is_empty() {
        return Err(Failure::new("cannot specify an image and a filter(s)"));
    }
    let format = asked.format.as_deref().map(|text| Format::parse("images", text)).transpose()?;
    let request = List { name: arguments.into_iter().next(), filters: asked.filters.clone(), lists: true };
    let mut images = program.engine()?.images(&request).map_err(plain)?;
    let now = now();
    if let Some(format @ Format::Json) = &format {
        let objects: Vec<_> = images.iter().map(object).collect();
        print(&format.print(&objects, COLUMNS, false)?)?;
        return Ok(0);
    }
    images.sort_by_key(|image| std::cmp::Reverse(image.created));
    let mut rows: Vec<Row<'_>> = images.iter().flat_map(rows_of).collect();
    sort(&mut rows, asked.sort.as_deref().unwrap_or("created"))?;
    let text = match format {
        _ if asked.quiet => ids(&rows, asked.full),
        Some(format) => {
            let values: Vec<_> = rows.iter().map(|row| fields(row, now, asked.full)).collect();
            format.print(&values, COLUMNS, asked.no_heading)?
        }
        None => {
            let mut headings = vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
            if asked.digests {
                headings.insert(2, "DIGEST");
            }
            if asked.history {
                headings.push("HISTORY");
            }
            let mut cells: Vec<_> = rows.iter().map(|row| cells(row, now, &asked)).collect();
            if rows.iter().any(|row| row.image.read_only) {
                headings.push("R/O");
                for (cells, row) in cells.iter_mut().zip(&rows) {
                    cells.push(row.image.read_only.to_string());
                }
            }
            table_of(&headings, &cells, asked.no_heading)
        }
    };
    print(&text)?;
    Ok(0)
}

fn rows_of(image: &Summary) -> Vec<Row<'_>> {
    let none = || "<none>".to_owned();
    if image.names.is_empty() {
        return vec![Row { image, repository: none(), tag: none() }];
    }
    let row = |name: &String| match name.parse::<types::Reference>() {
        Ok(name) => Row { image, repository: name.repository(), tag: name.tag.unwrap_or_else(none) },
        Err(_) => Row { image, repository: name.clone(), tag: none() },
    };
    image.names.iter().map(row).collect()
}

fn sort(rows: &mut [Row<'_>], key: &str) -> Result<(), Failure> {
    match key {
        "created" => rows.sort_by_key(|row| std::cmp::Reverse(row.image.created)),
        "tag" => rows.sort_by(|a, b| a.tag.cmp(&b.tag)),
        "id" => rows.sort_by_key(|row| row.image.id),
        "repository" => rows.sort_by(|a, b| a.repository.cmp(&b.repository)),
        "size" => rows.sort_by_key(|row| row.image.size),
        _ => {
            return Err(Failure::new(format!(
                "{key:?} is not a valid field for sorting. Choose from: tag, created, id, repository, size"
            )));
        }
    }
    Ok(())
}

fn id(image: &Summary, full: bool) -> String {
    if full { image.id.to_string() } else { image.id.short() }
}

/// Each id once, in the order of the rows.
fn ids(rows: &[Row<'_>], full: bool) -> String {
    let mut seen = Vec::new();
    for row in rows {
        let line = format!("{}\n", id(row.image, full));
        if !seen.contains(&line) {
            seen.push(line);
        }
    }
    seen.concat()
}

fn cells(row: &Row<'_>, now: i64, asked: &Asked) -> Vec<String> {
    let image = row.image;
    let mut cells = vec![
        row.repository.clone(),
        row.tag.clone(),
        id(image, asked.full),
        ago(image.created, now),
        types::size::human(image.size, 3),
    ];
    if asked.digests {
        cells.insert(2, image.digest.to_string());
    }
    if asked.history {
        cells.push(history(image));
    }
    cells
}

/// What templates see.
fn fields(row: &Row<'_>, now: i64, full: bool) -> Value {
    let image = row.image;
    json!({
        "Containers": image.containers,
        "Created": go(image.created),
        "CreatedAt": go(image.created),
        "CreatedSince": ago(image.created, now),
        "CreatedTime": go(image.created),
        "Digest": image.digest,
        "History": history(image),
        "ID": id(image, full),
        "Id": id(image, full),
        "Labels": labels(image),
        "Names": image.names,
        "ReadOnly": image.read_only,
        "Repository": row.repository,
        "Size": types::size::human(image.size, 3),
        "Tag": row.tag,
    })
}

/// What `--format json` prints.
fn object(image: &Summary) -> Value {
    let mut digests: Vec<_> = image.names.iter().filter_map(|name| name.parse::<types::Reference>().ok()).collect();
    digests.dedup_by_key(|name| name.repository());
    let digests: Vec<_> = digests.iter().map(|name| format!("{}@{}", name.repository(), image.digest)).collect();
    json!({
        "Id": image.id.hex(),
        "ParentId": "",
        "RepoTags": image.names,
        "RepoDigests": digests,
        "Size": image.size,
        "SharedSize": 0,
        "VirtualSize": image.size,
        "Labels": labels(image),
        "Containers": image.containers,
        "Names": image.names,
        "History": image.names.iter().chain(&image.former_names).collect::<Vec<_>>(),
        "Digest": image.digest,
        "Created": image.created,
        "CreatedAt": rfc3339(image.created),
        "IsManifestList": image.list,
        "ReadOnly": image.read_only,
    })
}

/// All names that an image has or had.
fn history(image: &Summary) -> String {
    image.names.iter().chain(&image.former_names).map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn labels(image: &Summary) -> Value {
    image.labels.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Digest;

    #[test]
    fn a_row_for_each_name() {
        let mut image = Summary {
            id: Digest::of(b"id"),
            digest: Digest::of(b"manifest"),
            names: vec!["localhost/busybox:latest".into(), "localhost:5000/a/b:1".into()],
            created: 1000,
            size: 2_141_805,
            labels: Vec::new(),
            former_names: Vec::new(),
            containers: 0,
            list: false,
            read_only: false,
        };
        let now = 1120 * 1_000_000_000;
        let of = |image: &Summary| -> Vec<Vec<String>> {
            rows_of(image).iter().map(|row| cells(row, now, &Asked::default())).collect()
        };
        let id = image.id.short();
        assert_eq!(of(&image)[0], ["localhost/busybox", "latest", &id, "2 minutes ago", "2.14 MB"]);
        assert_eq!(of(&image)[1][..2], ["localhost:5000/a/b", "1"]);
        assert_eq!(ids(&rows_of(&image), true), format!("{}\n", image.id));
        image.names.clear();
        assert_eq!(of(&image)[0][..2], ["<none>", "<none>"]);
        assert!(sort(&mut rows_of(&image), "foo").is_err());
    }

    #[test]
    fn every_column_is_a_field() {
        let image = Summary {
            id: Digest::of(b""),
            digest: Digest::of(b""),
            names: Vec::new(),
            created: 0,
            size: 0,
            labels: Vec::new(),
            former_names: Vec::new(),
            containers: 0,
            list: false,
            read_only: false,
        };
        let fields = fields(&rows_of(&image)[0], 0, false);
        let names: Vec<_> = fields.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, COLUMNS.iter().map(|(field, _)| *field).collect::<Vec<_>>());
    }
}
