//! What the list of containers shows of one of them: cells of the table, fields of templates, JSON.

use crate::format::Column;
use crate::paint::Paint;
use crate::time::{ago, go, since};
use ops::container::{Size, Status, Summary};
use serde_json::{Value, json};

/// Headings of the table.
pub const HEADINGS: [&str; 7] = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];

/// And of the one with namespaces.
pub const NAMESPACE_HEADINGS: [&str; 10] =
    ["CONTAINER ID", "NAMES", "PID", "CGROUPNS", "IPC", "MNT", "NET", "PIDNS", "USERNS", "UTS"];

/// Fields of templates and their headings.
pub const COLUMNS: &[Column] = &[
    ("AutoRemove", "AUTOREMOVE"),
    ("CGROUPNS", "CGROUPNS"),
    ("Command", "COMMAND"),
    ("Created", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedHuman", "CREATED"),
    ("ExitCode", "EXIT CODE"),
    ("Exited", "EXITED"),
    ("ExitedAt", "EXITED AT"),
    ("ID", "CONTAINER ID"),
    ("IPC", "IPC"),
    ("Image", "IMAGE"),
    ("ImageID", "IMAGE ID"),
    ("IsInfra", "ISINFRA"),
    ("Labels", "LABELS"),
    ("MNT", "MNT"),
    ("Mounts", "MOUNTS"),
    ("NET", "NET"),
    ("Names", "NAMES"),
    ("Namespaces", "NAMESPACES"),
    ("Networks", "NETWORKS"),
    ("PIDNS", "PIDNS"),
    ("Pid", "PID"),
    ("Pod", "POD ID"),
    ("PodName", "PODNAME"),
    ("Ports", "PORTS"),
    ("Restarts", "RESTARTS"),
    ("RunningFor", "RUNNING FOR"),
    ("Size", "SIZE"),
    ("StartedAt", "STARTED AT"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("USERNS", "USERNS"),
    ("UTS", "UTS"),
];

/// The id, cut short unless it is wanted in full.
pub fn id(container: &Summary, full: bool) -> String {
    if full { container.id.to_string() } else { container.id.short().to_owned() }
}

fn command(container: &Summary, full: bool) -> String {
    let text = container.command.join(" ");
    match text.char_indices().nth(17) {
        Some((end, _)) if !full && text.chars().count() > 20 => format!("{}...", &text[..end]),
        _ => text,
    }
}

/// What it does, in words.
pub fn status(container: &Summary, now: i64) -> String {
    match container.status {
        Status::Created => "Created".into(),
        Status::Initialized => "Initialized".into(),
        Status::Running if !container.health.is_empty() => {
            format!("Up {} ({})", since(container.started, now), container.health)
        }
        Status::Running => format!("Up {}", since(container.started, now)),
        Status::Paused => "Paused".into(),
        Status::Stopping => "Stopping".into(),
        Status::Exited => format!("Exited ({}) {}", container.exit_code, ago(container.finished, now)),
        Status::Removing => "Removing".into(),
    }
}

/// A line of the table.
pub fn cells(container: &Summary, now: i64, full: bool, pod: bool, paint: &Paint) -> Vec<String> {
    let status_now = status(container, now);
    let mut cells = vec![
        id(container, full),
        container.image.clone(),
        command(container, full),
        ago(container.created, now),
        match container.status {
            Status::Running => paint.green(&status_now),
            Status::Exited if container.exit_code != 0 => paint.red(&status_now),
            Status::Paused | Status::Stopping | Status::Removing => paint.yellow(&status_now),
            _ => status_now,
        },
        ports(container),
        container.name.clone(),
    ];
    if pod {
        cells.extend([String::new(), String::new()]);
    }
    cells.extend(container.size.map(size));
    cells
}

/// A line of the table with namespaces.
pub fn namespaces(container: &Summary, full: bool) -> Vec<String> {
    let spaces = container.namespaces.clone().unwrap_or_default();
    let pid = container.pid.to_string();
    let first = [id(container, full), container.name.clone(), pid, spaces.cgroup, spaces.ipc, spaces.mount];
    first.into_iter().chain([spaces.network, spaces.pid, spaces.user, spaces.uts]).collect()
}

/// `12.3kB (virtual 5.6MB)`.
fn size(size: Size) -> String {
    let human = |bytes| types::size::human(bytes, 3).replace(' ', "");
    format!("{} (virtual {})", human(size.written), human(size.whole))
}

/// What templates see.
pub fn fields(container: &Summary, now: i64, full: bool) -> Value {
    let image_id = container.image_id.trim_start_matches("sha256:");
    let spaces = container.namespaces.clone().unwrap_or_default();
    json!({
        "AutoRemove": container.remove,
        "CGROUPNS": spaces.cgroup,
        "IPC": spaces.ipc,
        "IsInfra": false,
        "MNT": spaces.mount,
        "NET": spaces.network,
        "Namespaces": space_names(container),
        "PIDNS": spaces.pid,
        "Size": container.size.map(size).unwrap_or_default(),
        "USERNS": spaces.user,
        "UTS": spaces.uts,
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
        "Networks": networks(container).join(","),
        "Pid": container.pid,
        "Pod": "",
        "PodName": "",
        "Ports": ports(container),
        "Restarts": container.restarts,
        "RunningFor": ago(container.created, now),
        "StartedAt": container.started,
        "State": container.status.word(),
        "Status": status(container, now),
    })
}

/// What `--format json` prints.
pub fn object(container: &Summary, now: i64) -> Value {
    let size = container.size.map(|size| json!({ "rootFsSize": size.whole, "rwSize": size.written }));
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
        "Namespaces": space_names(container),
        "Networks": networks(container),
        "Pid": container.pid,
        "Pod": "",
        "PodName": "",
        "Ports": container.ports.iter().map(port).collect::<Vec<_>>(),
        "Size": size,
        "Restarts": container.restarts,
        "StartedAt": container.started,
        "State": container.status.word(),
        "Status": status(container, now),
    })
}

/// The namespaces in Podman's shape.
fn space_names(container: &Summary) -> Value {
    let Some(spaces) = &container.namespaces else { return json!({}) };
    json!({
        "Cgroup": spaces.cgroup,
        "Ipc": spaces.ipc,
        "Mnt": spaces.mount,
        "Net": spaces.network,
        "Pidns": spaces.pid,
        "Userns": spaces.user,
        "Uts": spaces.uts,
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

/// Networks that containers share; how else one is connected is no network's name (as in Podman).
fn networks(container: &Summary) -> Vec<&str> {
    let ways = ["none", "host", "pasta", "slirp4netns"];
    let names = container.networks.iter().map(String::as_str);
    names.filter(|name| !ways.contains(name) && !name.contains(':')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::table_of;
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
            size: None,
            restarts: 0,
            restarting: false,
            health: String::new(),
            namespaces: None,
        }
    }

    #[test]
    fn the_table() {
        let now = 1120 * 1_000_000_000;
        assert_eq!(
            table_of(&HEADINGS, &[cells(&container(), now, false, false, &Paint::none())], false),
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
