//! The flags of `create` and `run` about what becomes of a container while nobody looks; `update` has the first two tables of them.

use super::create_flags::Asked;
use crate::flag::{Flag, integer, switch, value};
use ops::life::Health;

fn health(asked: &mut Asked) -> &mut Health {
    &mut asked.create.life.health
}

/// Go's durations; `disable` is none at all.
fn nanoseconds(text: &str) -> Result<i64, String> {
    if text == "disable" {
        return Ok(0);
    }
    let span = types::span::parse(text).map_err(|e| e.to_string())?;
    i64::try_from(span.as_nanos()).map_err(|_| format!("parsing {text:?}: too long"))
}

/// `--restart`.
pub const RESTART: &[Flag<Asked>] =
    &[value("restart", "string", "Start it again: no, on-failure[:retries], always, unless-stopped", |r, v| {
        r.create.life.restart = Some(v.parse().map_err(|e: types::Invalid| e.to_string())?);
        Ok(())
    })];

/// How health is checked.
pub const HEALTH: &[Flag<Asked>] = &[
    value("health-cmd", "string", "Command that checks the health (text for a shell, a JSON list, or none)", |r, v| {
        health(r).command = Some(v.into());
        Ok(())
    }),
    value("health-interval", "string", "Time between two checks, or disable (default 30s)", |r, v| {
        health(r).interval = Some(nanoseconds(v)?);
        Ok(())
    }),
    value("health-log-destination", "string", "Where results are kept: local, events_logger, a directory", |r, v| {
        let named = matches!(v, "" | "local" | "events_logger");
        let path = || absolute(v).map(|path| path.to_string_lossy().into_owned());
        health(r).log_destination = Some(if named { v.into() } else { path()? });
        Ok(())
    }),
    value("health-max-log-count", "uint", "Results that are kept, 0 for all (default 5)", |r, v| {
        health(r).log_count = Some(integer(v)?);
        Ok(())
    }),
    value("health-max-log-size", "uint", "Characters kept of each result, 0 for all (default 500)", |r, v| {
        health(r).log_size = Some(integer(v)?);
        Ok(())
    }),
    value("health-on-failure", "string", "With an unhealthy container: none, kill, restart, stop", |r, v| {
        health(r).on_failure = Some(v.parse().map_err(|e: types::Invalid| e.to_string())?);
        Ok(())
    }),
    value("health-retries", "uint", "Failures in a row that make it unhealthy (default 3)", |r, v| {
        health(r).retries = Some(integer(v)?);
        Ok(())
    }),
    value("health-start-period", "string", "Time after a start in which failures do not count (default 0s)", |r, v| {
        health(r).start_period = Some(nanoseconds(v)?);
        Ok(())
    }),
    value("health-startup-cmd", "string", "Command of checks that come before the ordinary ones", |r, v| {
        health(r).startup_command = Some(v.into());
        Ok(())
    }),
    value("health-startup-interval", "string", "Time between two of them (default 30s)", |r, v| {
        health(r).startup_interval = Some(nanoseconds(v)?);
        Ok(())
    }),
    value("health-startup-retries", "uint", "Failures in a row after which it is restarted, 0 for never", |r, v| {
        health(r).startup_retries = Some(integer(v)?);
        Ok(())
    }),
    value("health-startup-success", "uint", "Successes after which the ordinary checks begin (default 1)", |r, v| {
        health(r).startup_success = Some(integer(v)?);
        Ok(())
    }),
    value("health-startup-timeout", "string", "Longest time one of them may take (default 30s)", |r, v| {
        health(r).startup_timeout = Some(nanoseconds(v)?);
        Ok(())
    }),
    value("health-timeout", "string", "Longest time a check may take (default 30s)", |r, v| {
        health(r).timeout = Some(nanoseconds(v)?);
        Ok(())
    }),
    switch("no-healthcheck", "Check no health, whatever the image says", |r, on| health(r).none = on),
];

/// The others.
pub const FLAGS: &[Flag<Asked>] = &[
    value("conmon-pidfile", "string", "Write the process id of the monitor to this file", |r, v| {
        r.create.life.monitor_pid_file = Some(absolute(v)?);
        Ok(())
    }),
    value("pidfile", "string", "Write the process id of the first process to this file", |r, v| {
        r.create.life.pid_file = Some(absolute(v)?);
        Ok(())
    }),
    value("sdnotify", "string", "Who tells systemd that it is ready: container, conmon, healthy, ignore", |r, v| {
        r.create.life.notify = Some(v.parse().map_err(|e: types::Invalid| e.to_string())?);
        Ok(())
    }),
    value("timeout", "uint", "Seconds after which it is killed, 0 for never", |r, v| {
        r.create.life.timeout = integer(v)?;
        Ok(())
    }),
];

/// The file is written by processes that are elsewhere, and later.
fn absolute(text: &str) -> Result<std::path::PathBuf, String> {
    std::path::absolute(text).map_err(|e| format!("{text:?}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(nanoseconds("disable"), Ok(0));
        assert_eq!(nanoseconds("1m30s"), Ok(90_000_000_000));
        assert!(nanoseconds("often").is_err() && nanoseconds("-1s").is_err());
    }
}
