//! `ps`: the list of containers.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, integer, list, short, switch, value};
use crate::format::{Column, Format, table_of};
use crate::program::{Program, plain, print};
use crate::time::{ago, go, now, since};
use ops::container::{List, Status, Summary};
use serde_json::{Value, json};

/// What the flags fill.
#[derive(Default)]
pub struct Asked {
    list: List,
    format: Option<String>,
    full: bool,
    no_heading: bool,
    quiet: bool,
    sort: Option<String>,
}

const SORTS: [&str; 7] = ["command", "created", "id", "image", "names", "runningfor", "status"];

const FLAGS: &[Flag<Asked>] = &[
    short('a', switch("all", "Show all containers, not only those that run", |r, on| r.list.all = on)),
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
    switch("no-trunc", "Cut nothing short", |r, on| r.full = on),
    switch("noheading", "Print no headings", |r, on| r.no_heading = on),
    short('q', switch("quiet", "Print only ids", |r, on| r.quiet = on)),
    value("sort", "choice", "Sort by command, created, id, image, names, runningfor, status", |r, v| {
        if v == "size" {
            return Err("sizes of containers are not built into this version of monopod".into());
        }
        if !SORTS.contains(&v) {
            return Err(format!("{v:?} is not a valid value.  Choose from: {:?}", SORTS.join(", ")));
        }
        r.sort = Some(v.into());
        Ok(())
    }),
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

const HEADINGS: [&str; 7] = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];

const COLUMNS: &[Column] = &[
    ("AutoRemove", "AUTOREMOVE"),
    ("Command", "COMMAND"),
    ("Created", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedHuman", "CREATED"),
    ("ExitCode", "EXIT CODE"),
    ("Exited", "EXITED"),
    ("ExitedAt", "EXITED AT"),
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("ImageID", "IMAGE ID"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("Names", "NAMES"),
    ("Networks", "NETWORKS"),
    ("Pid", "PID"),
    ("Pod", "POD ID"),
    ("PodName", "PODNAME"),
    ("Ports", "PORTS"),
    ("RunningFor", "RUNNING FOR"),
    ("StartedAt", "STARTED AT"),
    ("State", "STATE"),
    ("Status", "STATUS"),
];

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new(format!("`{} ps` takes no arguments", program.name)));
    }
    if asked.quiet && asked.format.is_some() {
        return Err(Failure::new("quiet and format cannot be used together"));
    }
    let format = asked.format.as_deref().map(|text| Format::parse("ps", text)).transpose()?;
    let mut containers = program.engine()?.list(&asked.list).map_err(plain)?;
    sort(&mut containers, asked.sort.as_deref().unwrap_or("created"));
    let now = now();
    let text = match format {
        _ if asked.quiet => containers.iter().map(|c| format!("{}\n", id(c, asked.full))).collect(),
        None => {
            let rows: Vec<_> = containers.iter().map(|c| cells(c, now, asked.full)).collect();
            table_of(&HEADINGS, &rows, asked.no_heading)
        }
        Some(format @ Format::Json) => {
            let rows: Vec<_> = containers.iter().map(|c| object(c, now)).collect();
            format.print(&rows, COLUMNS, false)?
        }
        Some(format) => {
            let rows: Vec<_> = containers.iter().map(|c| fields(c, now, asked.full)).collect();
            format.print(&rows, COLUMNS, asked.no_heading)?
        }
    };
    print(&text)?;
    Ok(0)
}

fn sort(containers: &mut [Summary], key: &str) {
    match key {
        "command" => containers.sort_by_key(|c| c.command.join(" ")),
        "id" => containers.sort_by(|a, b| a.id.cmp(&b.id)),
        "image" => containers.sort_by(|a, b| a.image.cmp(&b.image)),
        "names" => containers.sort_by(|a, b| a.name.cmp(&b.name)),
        "runningfor" => containers.sort_by_key(|c| c.started),
        "status" => containers.sort_by_key(|c| c.status.word()),
        _ => containers.sort_by_key(|c| c.created),
    }
}

fn id(container: &Summary, full: bool) -> String {
    if full { container.id.to_string() } else { container.id.short().to_owned() }
}

fn command(container: &Summary, full: bool) -> String {
    let text = container.command.join(" ");
    match text.char_indices().nth(17) {
        Some((end, _)) if !full && text.chars().count() > 20 => format!("{}...", &text[..end]),
        _ => text,
    }
}

fn status(container: &Summary, now: i64) -> String {
    match container.status {
        Status::Created => "Created".into(),
        Status::Initialized => "Initialized".into(),
        Status::Running => format!("Up {}", since(container.started, now)),
        Status::Paused => "Paused".into(),
        Status::Stopping => "Stopping".into(),
        Status::Exited => format!("Exited ({}) {}", container.exit_code, ago(container.finished, now)),
        Status::Removing => "Removing".into(),
    }
}

/// A line of the table.
fn cells(container: &Summary, now: i64, full: bool) -> Vec<String> {
    vec![
        id(container, full),
        container.image.clone(),
        command(container, full),
        ago(container.created, now),
        status(container, now),
        ports(container),
        container.name.clone(),
    ]
}

/// What templates see.
fn fields(container: &Summary, now: i64, full: bool) -> Value {
    let image_id = container.image_id.trim_start_matches("sha256:");
    json!({
        "AutoRemove": container.remove,
        "Command": command(container, full),
        "Created": go(container.created),
        "CreatedAt": go(container.created),
        "CreatedHuman": ago(container.created, now),
        "ExitCode": container.exit_code,
        "Exited": container.status == Status::Exited,
        "ExitedAt": container.finished,
        "ID": id(container, full),
        "Image": container.image,
        "ImageID": if full { image_id } else { &image_id[..image_id.len().min(12)] },
        "Labels": labels(container),
        "Mounts": container.mounts.join(","),
        "Names": container.name,
        "Networks": container.networks.join(","),
        "Pid": container.pid,
        "Pod": "",
        "PodName": "",
        "Ports": ports(container),
        "RunningFor": ago(container.created, now),
        "StartedAt": container.started,
        "State": container.status.word(),
        "Status": status(container, now),
    })
}

/// What `--format json` prints.
fn object(container: &Summary, now: i64) -> Value {
    json!({
        "AutoRemove": container.remove,
        "Command": container.command,
        "Created": container.created,
        "CreatedAt": ago(container.created, now),
        "ExitCode": container.exit_code,
        "Exited": container.status == Status::Exited,
        "ExitedAt": container.finished,
        "Id": container.id,
        "Image": container.image,
        "ImageID": container.image_id.trim_start_matches("sha256:"),
        "IsInfra": false,
        "Labels": labels(container),
        "Mounts": container.mounts,
        "Names": [container.name],
        "Networks": container.networks,
        "Pid": container.pid,
        "Pod": "",
        "PodName": "",
        "Ports": container.ports.iter().map(port).collect::<Vec<_>>(),
        "StartedAt": container.started,
        "State": container.status.word(),
        "Status": status(container, now),
    })
}

fn ports(container: &Summary) -> String {
    container.ports.iter().map(|port| port.to_string()).collect::<Vec<_>>().join(", ")
}

/// A published port in Podman's shape.
fn port(port: &types::port::Published) -> Value {
    json!({
        "host_ip": port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
        "container_port": port.container,
        "host_port": port.host,
        "range": port.count,
        "protocol": port.protocol,
    })
}

fn labels(container: &Summary) -> Value {
    container.labels.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Id;

    fn container() -> Summary {
        Summary {
            id: Id::from_random([0xab; 32]),
            name: "web".into(),
            image: "localhost/busybox:latest".into(),
            image_id: "b1ebdb96359e4306".into(),
            command: ["sh", "-c", "echo a long command indeed"].map(Into::into).into(),
            created: 1000,
            status: Status::Exited,
            started: 1001,
            finished: 1002,
            exit_code: 3,
            pid: 0,
            remove: false,
            labels: vec![("a".into(), "1".into())],
            mounts: Vec::new(),
            networks: Vec::new(),
            ports: Vec::new(),
        }
    }

    #[test]
    fn the_table() {
        let now = 1120 * 1_000_000_000;
        assert_eq!(
            table_of(&HEADINGS, &[cells(&container(), now, false)], false),
            "CONTAINER ID  IMAGE                     COMMAND               CREATED        STATUS                    PORTS       NAMES\n\
             abababababab  localhost/busybox:latest  sh -c echo a long...  2 minutes ago  Exited (3) 2 minutes ago              web\n"
                .replace("2 minutes ago              web", "About a minute ago              web")
                .replace("STATUS                    PORTS", "STATUS                         PORTS")
        );
    }

    #[test]
    fn commands_are_cut() {
        let mut container = container();
        assert_eq!(command(&container, true), "sh -c echo a long command indeed");
        container.command = vec!["12345678901234567890".into()];
        assert_eq!(command(&container, false), "12345678901234567890");
        container.command = vec!["ä".repeat(21)];
        assert_eq!(command(&container, false), format!("{}...", "ä".repeat(17)));
    }

    #[test]
    fn every_column_is_a_field() {
        let fields = fields(&container(), 0, false);
        let names: Vec<_> = fields.as_object().unwrap().keys().map(String::as_str).collect();
        let mut columns: Vec<_> = COLUMNS.iter().map(|(field, _)| *field).collect();
        columns.sort_unstable();
        assert_eq!(names, columns);
    }
}
