//! Numbers in tar headers.

/// A number of a header: octal text, or GNU's binary (first bit set, two's complement after it). Blank fields are
/// zero. None if it is neither, or does not fit.
pub(super) fn parse(field: &[u8]) -> Option<i64> {
    if let Some(first) = field.first().filter(|first| **first & 0x80 != 0) {
        let negative = first & 0x40 != 0;
        let start: i128 = if negative { -1 } else { 0 };
        let mut value = (start << 7) | i128::from(first & 0x7f);
        for byte in &field[1..] {
            value = value.checked_mul(256)? | i128::from(*byte);
        }
        return i64::try_from(value).ok();
    }
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii();
    // Some writers begin with zeros bytes.
    let text = if text.is_empty() { field.trim_ascii() } else { text };
    let text = text.iter().skip_while(|byte| **byte == 0).take_while(|byte| **byte != 0 && **byte != b' ');
    text.copied().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// A number of decimal digits, as PAX records hold them.
pub(super) fn decimal(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A time in seconds with a decimal fraction.
pub(super) fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let seconds: i64 = whole.parse().ok()?;
    let mut nanoseconds = 0u32;
    for place in 0..9 {
        let digit = match fraction.as_bytes().get(place) {
            None => 0,
            Some(digit) => char::from(*digit).to_digit(10)?,
        };
        nanoseconds = nanoseconds * 10 + digit;
    }
    if fraction.bytes().any(|byte| !byte.is_ascii_digit()) {
        return None;
    }
    if negative && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

/// Checksum of a header, over unsigned bytes as POSIX wants it and over signed ones as old Suns wrote it.
pub(crate) fn checksums(block: &[u8; 512]) -> (i64, i64) {
    // The field itself counts as spaces.
    const FIELD: std::ops::Range<usize> = 148..156;
    let unsigned: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let field: u32 = block[FIELD].iter().map(|byte| u32::from(*byte)).sum();
    let high = |bytes: &[u8]| bytes.iter().filter(|byte| **byte >= 0x80).count() as i64;
    let sum = i64::from(unsigned) - i64::from(field) + 8 * i64::from(b' ');
    (sum, sum - 256 * (high(block) - high(&block[FIELD])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_and_binary() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"    644 ", Some(0o644)),
            (b"644\0junk", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"0000648\0", None),
            (b"-1\0\0\0\0\0\0", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"77777777777\0", Some(0o77777777777)),
        ] {
            assert_eq!(parse(field), value, "{field:?}");
        }
    }

    #[test]
    fn times() {
        for (text, value) in [
            ("1", Some((1, 0))),
            ("1.5", Some((1, 500_000_000))),
            ("-1.5", Some((-2, 500_000_000))),
            ("-0.25", Some((-1, 750_000_000))),
            ("1.0000000019", Some((1, 1))),
            ("1.x", None),
            ("", None),
            ("1e5", None),
        ] {
            assert_eq!(time(text.as_bytes()), value, "{text}");
        }
    }
}
