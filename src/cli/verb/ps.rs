//! `ps`: the list of containers.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, aliases, integer, list, short, switch, value};
use crate::format::{Format, table_of};
use crate::paint::Paint;
use crate::program::{Program, plain, print};
use crate::time::now;
use engine::Engine;
use ops::container::{List, Summary};
use std::io::IsTerminal;
use std::time::Duration;

pub mod rows;

/// Fields for which the namespaces have to be read.
const NAMESPACES: [&str; 8] = [".CGROUPNS", ".IPC", ".MNT", ".NET", ".PIDNS", ".USERNS", ".UTS", ".Namespaces"];

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    list: List,
    format: Option<String>,
    full: bool,
    no_heading: bool,
    pod: bool,
    quiet: bool,
    sort: Option<String>,
    watch: Option<u64>,
}

const SORTS: [&str; 9] = ["command", "created", "id", "image", "names", "pod", "runningfor", "size", "status"];

const FLAGS: &[Flag<Asked>] = &[
    short('a', switch("all", "Show all containers, not only those that run", |r, on| r.list.all = on)),
    // Nobody else keeps containers in this store.
    switch("external", "Also containers of other programs: there are none", |_, _| {}),
    short('f', list("filter", "Show the containers that these conditions choose", |r, v| r.list.filters.push(v))),
    value("format", "string", "Print as JSON, or with a Go template", |r, v| {
        r.format = Some(v.into());
        Ok(())
    }),
    short(
        'n',
        value("last", "int", "Show the n containers made last, in any state", |r, v| {
            let number: i64 = integer(v)?;
            r.list.last = usize::try_from(number).ok();
            r.list.all |= number >= 0;
            Ok(())
        }),
    ),
    short(
        'l',
        switch("latest", "Show the container made last", |r, on| {
            r.list.last = on.then_some(1);
            r.list.all |= on;
        }),
    ),
    aliases(&["ns"], switch("namespace", "Show the namespaces of the containers", |r, on| r.list.namespaces = on)),
    switch("no-trunc", "Cut nothing short", |r, on| r.full = on),
    switch("noheading", "Print no headings", |r, on| r.no_heading = on),
    short('p', switch("pod", "Show the id and the name of the containers' pods", |r, on| r.pod = on)),
    short('q', switch("quiet", "Print only ids", |r, on| r.quiet = on)),
    short('s', switch("size", "Show the room that the containers' files take", |r, on| r.list.sizes = on)),
    value("sort", "choice", "Sort by command, created, id, image, names, pod, runningfor, size, status", |r, v| {
        let word = v.to_lowercase();
        if !SORTS.contains(&word.as_str()) {
            return Err(format!("{v:?} is not a valid value.  Choose from: {:?}", SORTS.join(", ")));
        }
        r.list.sizes |= word == "size";
        r.sort = Some(word);
        Ok(())
    }),
    // What a list says is always what the kernel says at that moment.
    switch("sync", "Ask the kernel what the containers do: that is always done", |_, _| {}),
    short(
        'w',
        value("watch", "uint", "Print the list again and again, every so many seconds", |r, v| {
            r.watch = Some(integer(v)?);
            Ok(())
        }),
    ),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "ps",
    usage: "",
    about: "List containers",
    examples: &["-a", "-a --format \"{{.ID}} {{.Image}} {{.Labels}} {{.Mounts}}\"", "--sort names"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new(format!("`{} ps` takes no arguments", program.name)));
    }
    let sizes = asked.list.sizes && asked.sort.as_deref() != Some("size");
    if asked.quiet && (sizes || asked.list.namespaces) {
        return Err(Failure::new("quiet conflicts with size and namespace"));
    }
    if asked.list.namespaces && asked.list.sizes {
        return Err(Failure::new("size and namespace options conflict"));
    }
    if asked.watch == Some(0) {
        return Err(Failure::new("--watch takes a number of seconds that is not 0"));
    }
    let mut list = asked.list.clone();
    let format = asked.format.as_deref().map(|text| Format::parse("ps", text)).transpose()?;
    list.sizes |= asked.format.as_deref().is_some_and(|text| text.contains(".Size"));
    list.namespaces |= matches!(format, Some(Format::Json))
        || asked.format.as_deref().is_some_and(|text| NAMESPACES.iter().any(|name| text.contains(name)));
    let engine = program.engine()?;
    loop {
        let text = page(&engine, &asked, &list, format.as_ref())?;
        let Some(seconds) = asked.watch else { return print(&text).map(|()| 0) };
        // The cursor goes home, and what stood there is taken away.
        let clear = if std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        print(&format!("{clear}{text}"))?;
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

/// The list as it is now.
fn page(engine: &Engine, asked: &Asked, list: &List, format: Option<&Format>) -> Result<String, Failure> {
    let mut containers = engine.list(list).map_err(plain)?;
    sort(&mut containers, asked.sort.as_deref().unwrap_or("created"));
    let now = now();
    match format {
        None if asked.quiet => Ok(containers.iter().map(|c| format!("{}\n", rows::id(c, asked.full))).collect()),
        None if asked.list.namespaces => {
            let cells: Vec<_> = containers.iter().map(|c| rows::namespaces(c, asked.full)).collect();
            Ok(table_of(&rows::NAMESPACE_HEADINGS, &cells, asked.no_heading))
        }
        None => {
            let mut headings = rows::HEADINGS.to_vec();
            headings.extend(asked.pod.then_some(["POD ID", "PODNAME"]).into_iter().flatten());
            headings.extend(asked.list.sizes.then_some("SIZE"));
            let paint = Paint::stdout();
            let cells = containers.iter().map(|c| rows::cells(c, now, asked.full, asked.pod, &paint));
            Ok(table_of(&headings, &cells.collect::<Vec<_>>(), asked.no_heading))
        }
        Some(format @ Format::Json) => {
            let objects: Vec<_> = containers.iter().map(|c| rows::object(c, now)).collect();
            format.print(&objects, rows::COLUMNS, false)
        }
        Some(format) => {
            let fields: Vec<_> = containers.iter().map(|c| rows::fields(c, now, asked.full)).collect();
            format.print(&fields, rows::COLUMNS, asked.no_heading)
        }
    }
}

fn sort(containers: &mut [Summary], key: &str) {
    // Oldest first, where the key does not tell.
    containers.reverse();
    match key {
        "command" => containers.sort_by_key(|c| c.command.join(" ")),
        "id" => containers.sort_by(|a, b| a.id.cmp(&b.id)),
        "image" => containers.sort_by(|a, b| a.image.cmp(&b.image)),
        "names" => containers.sort_by(|a, b| a.name.cmp(&b.name)),
        "size" => containers.sort_by_key(|c| c.size.map(|size| size.written)),
        "runningfor" => containers.sort_by_key(|c| c.started),
        "status" => containers.sort_by_key(|c| c.status.word()),
        _ => containers.sort_by_key(|c| c.created),
    }
}
