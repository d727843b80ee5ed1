//! Sizes in bytes, as flags take them (`64m`, `1.5GiB`) and tables print them (`2.24 MB`).

use crate::Invalid;

/// Bytes of a flag's value: a number with an optional unit b, k, m, g, t, p (powers of 1024; `kb`, `kib` mean the
/// same), as Docker's `RAMInBytes`.
pub fn parse(text: &str) -> Result<u64, Invalid> {
    of_base(text, 1024.0)
}

/// The same with powers of 1000, as Docker's `FromHumanSize`: sizes of logs.
pub fn parse_decimal(text: &str) -> Result<u64, Invalid> {
    of_base(text, 1000.0)
}

fn of_base(text: &str, base: f64) -> Result<u64, Invalid> {
    let invalid = || Invalid::new("size", text, "expected a number with an optional unit b, k, m, g, t or p");
    let lower = text.trim().to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let number: f64 = lower[..end].parse().map_err(|_| invalid())?;
    let power = match lower[end..].trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(invalid()),
    };
    let bytes = number * base.powi(power);
    if bytes.is_finite() && bytes < 9.2e18 { Ok(bytes as u64) } else { Err(invalid()) }
}

/// Decimal units with `precision` significant digits, as go-units' `HumanSizeWithPrecision`.
pub fn human(bytes: u64, precision: usize) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    format!("{} {}", significant(value, precision), UNITS[unit])
}

/// Go's `%.{precision}g`, for values from 0 to 1000.
fn significant(value: f64, precision: usize) -> String {
    let whole = if value < 1.0 { 1 } else { value.log10().floor() as usize + 1 };
    let text = format!("{:.*}", precision.saturating_sub(whole), value);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_as_docker_does() {
        for (text, bytes) in [("64m", 64 << 20), ("1.5g", 3 << 29), ("10", 10), ("2KiB", 2048), ("1 kb", 1024)] {
            assert_eq!(parse(text).unwrap(), bytes, "{text}");
        }
        assert_eq!(parse_decimal("3.019m").unwrap(), 3_019_000);
        for text in ["", "m", "-1", "5x", "1e9g", "999999999999p"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prints_as_podman_does() {
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (2_240_000, "2.24 MB"), (121_000_000, "121 MB"), (1000, "1 kB")]
        {
            assert_eq!(human(bytes, 3), text);
        }
    }
}
