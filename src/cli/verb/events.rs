//! `events`: what happened, and what happens from now on.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, list, short, switch, value};
use crate::format::document;
use crate::program::{Program, plain, print};
use jiff::tz::TimeZone;
use ops::event::{Asked as Request, Event};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What the flags fill.
pub struct Asked {
    request: Request,
    format: Option<String>,
    cut: bool,
}

impl Default for Asked {
    fn default() -> Asked {
        Asked { request: Request { stream: true, ..Request::default() }, format: None, cut: false }
    }
}

const FLAGS: &[Flag<Asked>] = &[
    short('f', list("filter", "Show the events that these conditions choose", |r, v| r.request.filters.push(v))),
    value("format", "string", "Print as JSON, or with a Go template", |r, v| {
        r.format = Some(v.into());
        Ok(())
    }),
    switch("no-trunc", "Cut no ids short (default true)", |r, on| r.cut = !on),
    value("since", "string", "Show the events since this time", |r, v| {
        r.request.since = Some(v.into());
        Ok(())
    }),
    switch("stream", "Go on with what happens from now on (default true)", |r, on| r.request.stream = on),
    value("until", "string", "Show the events until this time", |r, v| {
        r.request.until = Some(v.into());
        Ok(())
    }),
];

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "events",
    usage: "",
    about: "Show events",
    examples: &["--filter event=create", "--format '{{.ID}} {{.Status}}'", "--since 1h30m --stream=false"],
    interspersed: true,
    flags: &[FLAGS],
    execute,
};

fn execute(program: &Program, asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    if !arguments.is_empty() {
        return Err(Failure::new(format!("`{} events` takes no arguments", program.name)));
    }
    // A template that is wrong is said before anything is waited for.
    if let Some(template) = asked.format.as_deref().filter(|format| *format != "json") {
        crate::template::Template::parse("events", template).map_err(|e| Failure::new(e.to_string()))?;
    }
    let zone = TimeZone::system();
    let mut failed = None;
    let mut take = |event: &Event| {
        let text = match asked.format.as_deref() {
            None => Ok(line(event, asked.cut, &zone)),
            Some("json") => Ok(serde_json::to_string(event).unwrap_or_default() + "\n"),
            Some(template) => document("events", template, &fields(event)),
        };
        failed = text.and_then(|text| print(&text)).err();
        failed.is_none()
    };
    program.engine()?.events(&asked.request, &mut take).map_err(plain)?;
    failed.map_or(Ok(0), Err)
}

/// One line for people.
fn line(event: &Event, cut: bool, zone: &TimeZone) -> String {
    let time = event.time.parse::<jiff::Timestamp>().map(|time| {
        let local = time.to_zoned_datetime(zone.clone());
        local.strftime("%Y-%m-%d %H:%M:%S.%9f %z %Z").to_string()
    });
    let time = time.unwrap_or_default();
    let id = if cut { event.id.get(..12).unwrap_or(&event.id) } else { &event.id };
    let mut text = format!("{time} {} {}", event.kind, event.status);
    match event.kind.as_str() {
        "container" => {
            let _ = write!(text, " {id} (image={}, name={}", event.image, event.name);
            if !event.network.is_empty() {
                let _ = write!(text, ", network={}", event.network);
            }
            if !event.health_status.is_empty() {
                let _ = write!(text, ", health_status={}", event.health_status);
            }
            for (key, value) in [("health_log", &event.health_log), ("error", &event.error)] {
                if !value.is_empty() {
                    let _ = write!(text, ", {key}={}", value.trim_end());
                }
            }
            for (key, value) in &event.attributes {
                let _ = write!(text, ", {key}={value}");
            }
            text.push(')');
        }
        "system" => {}
        "image" => {
            let _ = write!(text, " {id} {}", event.name);
        }
        _ => {
            let _ = write!(text, " {}", event.name);
        }
    }
    text + "\n"
}

/// What templates see.
fn fields(event: &Event) -> Value {
    let nanoseconds = event.time.parse::<jiff::Timestamp>().map_or(0, |time| time.as_nanosecond() as i64);
    json!({
        "Attributes": event.attributes,
        "ContainerExitCode": event.container_exit_code.unwrap_or(0),
        "Error": event.error,
        "HealthLog": event.health_log,
        "HealthStatus": event.health_status,
        "ID": event.id,
        "Image": event.image,
        "Name": event.name,
        "Network": event.network,
        "PodID": "",
        "Status": event.status,
        "Time": event.time,
        "TimeNano": nanoseconds,
        "Type": event.kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_people() {
        let mut event = Event {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            image: "busybox".into(),
            status: "died".into(),
            kind: "container".into(),
            time: "2026-11-24T01:02:03.000000004Z".into(),
            container_exit_code: Some(3),
            attributes: [("a".to_owned(), "b".to_owned())].into(),
            ..Event::default()
        };
        let time = "2026-11-24 01:02:03.000000004 +0000 UTC";
        assert_eq!(
            line(&event, true, &TimeZone::UTC),
            format!("{time} container died 0123456789ab (image=busybox, name=web, a=b)\n")
        );
        event.kind = "volume".into();
        assert_eq!(line(&event, false, &TimeZone::UTC), format!("{time} volume died web\n"));
        event.kind = "image".into();
        assert_eq!(line(&event, false, &TimeZone::UTC), format!("{time} image died 0123456789abcdef web\n"));
        assert_eq!(fields(&event)["TimeNano"], json!(1_795_482_123_000_000_004_i64));
    }
}
