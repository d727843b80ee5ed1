//! Time namespaces (time_namespaces(7), kernel 5.6): clocks that a container sees with an offset.
//!
//! Offsets can only be written before anybody is in the namespace. So the intermediate makes it for its children, writes them,
//! and its copy is born in it.

use crate::error::{Context, Error};
use oci_spec::runtime::LinuxTimeOffset;
use rustix::io::Errno;
use std::collections::HashMap;
use sys::clone::NEW_TIME;

/// The lines of `/proc/self/timens_offsets`.
pub fn lines(offsets: &HashMap<String, LinuxTimeOffset>) -> Result<String, Error> {
    let mut lines = String::new();
    for (clock, offset) in offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::Specification(format!("timeOffsets: {clock:?} is not monotonic or boottime")));
        }
        let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        if nanoseconds >= 1_000_000_000 {
            return Err(Error::Specification(format!("timeOffsets: {nanoseconds} nanosecs of {clock} are a second")));
        }
        lines += &format!("{clock} {seconds} {nanoseconds}\n");
    }
    Ok(lines)
}

/// Makes a time namespace for the children of this process.
pub fn make(lines: &str) -> Result<(), Error> {
    sys::namespaces::unshare(NEW_TIME).map_err(|source| crate::create::namespace(NEW_TIME, "make", source))?;
    if lines.is_empty() {
        return Ok(());
    }
    match std::fs::write("/proc/self/timens_offsets", lines).map_err(sys::process::errno) {
        Err(Errno::RANGE) => Err(Error::Specification("timeOffsets: a clock would be before its start".into())),
        other => other.step("write the offsets of the clocks"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn offsets() {
        let lines = |json: &str| super::lines(&serde_json::from_str(json).unwrap());
        assert_eq!(lines(r#"{"boottime": {"secs": -7, "nanosecs": 9}}"#).unwrap(), "boottime -7 9\n");
        assert_eq!(lines(r#"{"monotonic": {"secs": 1}}"#).unwrap(), "monotonic 1 0\n");
        assert!(lines(r#"{"realtime": {}}"#).unwrap_err().to_string().contains("realtime"));
        assert!(lines(r#"{"boottime": {"nanosecs": 1000000000}}"#).is_err());
    }
}
