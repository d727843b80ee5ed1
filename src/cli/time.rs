//! Times as lists print them and as flags take them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;

/// Nanoseconds since 1970, now.
pub fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// `5 minutes ago`, of seconds since 1970.
pub fn ago(then: i64, now: i64) -> String {
    format!("{} ago", since(then, now))
}

/// `5 minutes`, of seconds since 1970 and nanoseconds now.
pub fn since(then: i64, now: i64) -> String {
    let passed = u64::try_from(now / 1_000_000_000 - then).unwrap_or(0);
    types::span::human(Duration::from_secs(passed))
}

/// `2023-11-14 22:13:20 +0000 UTC`, as Go prints a time.
pub fn go(seconds: i64) -> String {
    let zone = TimeZone::system();
    match Timestamp::from_second(seconds) {
        Ok(time) => time.to_zoned_datetime(zone).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string(),
        Err(_) => String::new(),
    }
}

/// `2023-11-14T22:13:20Z`.
pub fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

/// `2023-11-14T22:13:20.000000123+01:00`, of nanoseconds since 1970: what stands before a line of a log.
pub fn stamp(nanoseconds: i64, zone: &TimeZone) -> String {
    let Ok(time) = Timestamp::from_nanosecond(i128::from(nanoseconds)) else { return String::new() };
    let local = time.to_zoned_datetime(zone.clone());
    let text = local.strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string();
    match text.strip_suffix("+00:00") {
        Some(utc) => format!("{utc}Z"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000_000_000;

    #[test]
    fn words() {
        assert_eq!(ago(NOW / 1_000_000_000 - 120, NOW), "2 minutes ago");
        assert_eq!(since(NOW / 1_000_000_000 + 5, NOW), "Less than a second");
        assert_eq!(stamp(NOW + 1, &TimeZone::UTC), "2023-11-14T22:13:20.000000001Z");
        let east = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(stamp(NOW, &east), "2023-11-15T00:13:20.000000000+02:00");
        assert_eq!(rfc3339(NOW / 1_000_000_000), "2023-11-14T22:13:20Z");
    }
}
