//! Points in time as flags and filters name them.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

/// A point in time as `--since` and `--until` take it, in nanoseconds since 1970: RFC 3339, a local date or time, seconds
/// since 1970 (with a fraction), or a duration before `now`.
pub fn parse(text: &str, now: i64, zone: &TimeZone) -> Result<i64, String> {
    let nanoseconds = |time: Timestamp| i64::try_from(time.as_nanosecond()).ok();
    let seconds = || {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
            return None;
        }
        let nanoseconds: i64 = format!("{fraction:0<9}").parse().ok()?;
        whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
    };
    let local = || {
        let civil = text.parse::<civil::DateTime>().ok().or_else(|| text.parse::<civil::Date>().ok().map(Into::into));
        nanoseconds(civil?.to_zoned_datetime(zone.clone()).ok()?.timestamp())
    };
    let before = || {
        let span = types::span::parse(text.strip_prefix('-').unwrap_or(text)).ok()?;
        now.checked_sub(i64::try_from(span.as_nanos()).ok()?)
    };
    seconds()
        .or_else(before)
        .or_else(|| text.parse::<Timestamp>().ok().and_then(nanoseconds))
        .or_else(local)
        .ok_or_else(|| "unable to interpret time value".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000_000_000;

    #[test]
    fn points_in_time() {
        let zone = TimeZone::UTC;
        for (text, wanted) in [
            ("1700000000", NOW),
            ("1700000000.5", NOW + 500_000_000),
            ("10m", NOW - 600_000_000_000),
            ("1h30m", NOW - 5_400_000_000_000),
            ("2023-11-14T22:13:20Z", NOW),
            ("2023-11-14T23:13:20+01:00", NOW),
            ("2023-11-14T22:13:20.000000001Z", NOW + 1),
            ("2023-11-14T22:13:20", NOW),
            ("2023-11-14", NOW - 80_000_000_000_000),
        ] {
            assert_eq!(parse(text, NOW, &zone), Ok(wanted), "{text}");
        }
        for text in ["", "zz", "5", "2023-13-01", "1.2.3"] {
            assert_eq!(parse(text, NOW, &zone).is_err(), text != "5", "{text}");
        }
    }
}
