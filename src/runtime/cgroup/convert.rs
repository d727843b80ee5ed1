//! From the specification's numbers, which are version 1's, to version 2's.

/// `cpu.weight` (1 to 10000, 100 is usual) for `cpu.shares` (2 to 262144, 1024 is usual): the curve through these three points
/// that runc 1.4 and crun 1.23 use too. The straight line of older ones makes 39 of 1024.
pub fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            // What lies a rounding error above a whole number is that number.
            (10f64.powf(exponent) - 1e-6).ceil() as u64
        }
    }
}

/// `io.weight` (1 to 10000, 100 is usual) for `blkio.weight` (10 to 1000): a straight line.
pub fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).clamp(10, 1000) - 10) * 9999 / 990
}

/// `memory.swap.max`, which is swap alone, for a limit of memory and swap together; -1 is unlimited, `None` is not set.
pub fn swap_max(both: i64, memory: Option<i64>) -> Result<Option<String>, &'static str> {
    match (both, memory.filter(|memory| *memory != 0)) {
        (0, _) => Ok(None),
        (i64::MIN..0, _) => Ok(Some("max".into())),
        (_, None | Some(i64::MIN..0)) => Err("a limit of memory and swap needs a limit of memory"),
        (both, Some(memory)) if both < memory => Err("the limit of memory and swap is below that of memory"),
        (both, Some(memory)) => Ok(Some((both - memory).to_string())),
    }
}

/// A number of bytes as both versions take it, where a negative one is unlimited; `None` is not set.
pub(super) fn bytes(number: Option<i64>, unlimited: &str) -> Option<String> {
    match number {
        None | Some(0) => None,
        Some(i64::MIN..0) => Some(unlimited.into()),
        Some(number) => Some(number.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        let golden = [
            (0, 1),
            (1, 1),
            (2, 1),
            (512, 59),
            (1024, 100),
            (2048, 174),
            (4096, 303),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ];
        for (shares, weight) in golden {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        assert!((2..262_144).all(|shares| cpu_weight(shares) <= cpu_weight(shares + 1)));
    }

    #[test]
    fn io_weights() {
        for (weight, expected) in [(0, 1), (10, 1), (100, 910), (500, 4950), (1000, 10_000), (u16::MAX, 10_000)] {
            assert_eq!(io_weight(weight), expected, "{weight}");
        }
    }

    #[test]
    fn swap_is_what_is_left() {
        for (both, memory, expected) in [
            (0, Some(10), Ok(None)),
            (-1, Some(10), Ok(Some("max"))),
            (-1, None, Ok(Some("max"))),
            (10, Some(10), Ok(Some("0"))),
            (30, Some(10), Ok(Some("20"))),
        ] {
            assert_eq!(swap_max(both, memory), expected.map(|e| e.map(String::from)), "{both} {memory:?}");
        }
        assert!(swap_max(5, Some(10)).is_err());
        assert!(swap_max(5, None).is_err());
        assert!(swap_max(5, Some(-1)).is_err());
    }
}
