//! Signals by name and number (signal(7), the numbers of x86-64 and arm64).

use crate::Invalid;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A signal that can be sent, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal(pub i32);

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

impl Signal {
    /// SIGKILL.
    pub const KILL: Signal = Signal(9);
    /// SIGTERM.
    pub const TERM: Signal = Signal(15);

    /// `SIGTERM`, `SIGRTMIN+3`, …
    pub fn name(self) -> String {
        match self.0 {
            n @ 1..=31 => format!("SIG{}", NAMES[n as usize - 1]),
            34 => "SIGRTMIN".into(),
            n @ 35..=63 => format!("SIGRTMIN+{}", n - 34),
            64 => "SIGRTMAX".into(),
            n => n.to_string(),
        }
    }
}

impl FromStr for Signal {
    type Err = Invalid;

    /// Accepts `15`, `TERM`, `SIGTERM`, `RTMIN+3`, `SIGRTMAX-1`, in either case.
    fn from_str(text: &str) -> Result<Signal, Invalid> {
        let invalid = || Invalid::new("signal", text, "expected a name such as SIGTERM or a number from 1 to 64");
        if let Ok(number) = text.parse::<i32>() {
            return if (1..=64).contains(&number) { Ok(Signal(number)) } else { Err(invalid()) };
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(index) = NAMES.iter().position(|n| *n == name) {
            return Ok(Signal(index as i32 + 1));
        }
        let number = match name {
            "IOT" => Some(6),
            "CLD" => Some(17),
            "POLL" => Some(29),
            "RTMIN" => Some(34),
            "RTMAX" => Some(64),
            _ => name
                .strip_prefix("RTMIN+")
                .and_then(|n| n.parse::<i32>().ok())
                .map(|n| 34i32.saturating_add(n))
                .or_else(|| {
                    name.strip_prefix("RTMAX-").and_then(|n| n.parse::<i32>().ok()).map(|n| 64i32.saturating_sub(n))
                }),
        };
        number.filter(|n| (34..=64).contains(n) || matches!(n, 6 | 17 | 29)).map(Signal).ok_or_else(invalid)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}
