//! Durations in Go's notation (`1h30m`, `250ms`), and how long ago something was, in words.

use crate::Invalid;
use std::time::Duration;

/// A duration as Go's `time.ParseDuration` reads it, without a sign: `1h30m`, `1.5s`, `250ms`, `0`.
pub fn parse(text: &str) -> Result<Duration, Invalid> {
    let invalid = || Invalid::new("duration", text, "expected numbers with units ns, us, ms, s, m or h, as in 1h30m");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(invalid()),
            };
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| invalid())
}

/// `Less than a second`, `5 seconds`, `About a minute`, `3 hours`, … as go-units' `HumanDuration`.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (duration.as_secs_f64() / 3600.0).round() as u64);
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        assert_eq!(parse("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(parse("1.5s").unwrap(), Duration::from_millis(1500));
        for text in ["", "5", "h", "1x", "-1s", "1..2s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn words() {
        assert_eq!(human(Duration::from_millis(20)), "Less than a second");
        assert_eq!(human(Duration::from_secs(61)), "About a minute");
        assert_eq!(human(Duration::from_secs(3 * 3600)), "3 hours");
        assert_eq!(human(Duration::from_secs(86400 * 3)), "3 days");
    }
}
