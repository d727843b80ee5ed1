//! `state` and `list`: what is known of one container, and of all.
//!
//! Must not know: how a state comes about.

use super::failure::Failure;
use super::flags::Words;
use super::state::{Place, Record, Status};
use super::{Program, print};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The state of the specification's `runtime.md`, with what runc and crun tell besides.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    oci_version: &'a str,
    id: &'a str,
    pid: i32,
    status: Status,
    bundle: String,
    rootfs: String,
    created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    owner: &'a str,
}

impl<'a> State<'a> {
    /// Of a container with this record, which is in this state.
    fn of(record: &'a Record, status: Status) -> State<'a> {
        let lives = !matches!(status, Status::Stopped | Status::Creating);
        State {
            oci_version: &record.version,
            id: &record.id,
            pid: record.first.filter(|_| lives).map_or(0, |first| first.pid),
            status,
            bundle: record.bundle.to_string_lossy().into_owned(),
            rootfs: record.rootfs.to_string_lossy().into_owned(),
            created: &record.created,
            annotations: &record.annotations,
            owner: &record.owner,
        }
    }
}

/// `state`.
pub(crate) fn state(program: &Program, words: &Words) -> Result<u8, Failure> {
    let place = program.containers()?.find(words.container())?;
    let (record, status) = known(&place)?;
    let state = State::of(&record, status);
    print(&(serde_json::to_string_pretty(&state).unwrap_or_default() + "\n")).map(|()| 0)
}

/// What is known of a container; also of one whose creation was killed before it wrote anything: it is there to be deleted.
fn known(place: &Place) -> Result<(Record, Status), Failure> {
    let record = place.read()?;
    let status = place.status(record.as_ref())?;
    Ok((record.unwrap_or_else(|| Record::of_nothing(&place.id)), status))
}

/// `list`.
pub(crate) fn list(program: &Program, words: &Words) -> Result<u8, Failure> {
    let containers = program.containers()?;
    let ids = containers.ids()?;
    let format = words.value("format").unwrap_or("table");
    if !matches!(format, "table" | "json") {
        return Err(Failure::Value { flag: "format", value: format.into(), expected: "table or json" });
    }
    if words.has("quiet") {
        return print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>()).map(|()| 0);
    }
    let mut all = Vec::new();
    for id in &ids {
        match containers.find(id).and_then(|place| known(&place)) {
            Ok(known) => all.push(known),
            Err(Failure::NoContainer { .. }) => {}
            Err(failure) => program.log.warning(&failure.text()),
        }
    }
    let states: Vec<_> = all.iter().map(|(record, status)| State::of(record, *status)).collect();
    let text = match format {
        "json" => serde_json::to_string(&states).unwrap_or_default() + "\n",
        _ => table(&states),
    };
    print(&text).map(|()| 0)
}

fn table(states: &[State]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows = states.iter().map(|state| {
        let State { id, pid, status, bundle, created, owner, .. } = state;
        [(*id).into(), pid.to_string(), status.to_string(), bundle.clone(), (*created).into(), (*owner).into()]
    });
    let rows: Vec<[String; 6]> = [header].into_iter().chain(rows).collect();
    let widths = (0..6).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let widths: Vec<usize> = widths.collect();
    rows.iter().fold(String::new(), |mut text, row| {
        let line: String = row.iter().zip(&widths).fold(String::new(), |mut line, (cell, width)| {
            let _ = write!(line, "{cell:width$}   ");
            line
        });
        text.push_str(line.trim_end());
        text.push('\n');
        text
    })
}
