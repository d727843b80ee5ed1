//! What a runtime tells its caller through the report pipe, one JSON object a line.
//!
//! A creation that goes well: `created`, `parked`, then (after the start byte) end of file, which means that the program
//! is being executed. One that goes wrong: `failed`, then end of file, at any point. End of file before `parked` without
//! `failed`: the process was killed.

use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The first process exists, as a child of the caller.
    Created {
        /// Its process id as the caller sees it.
        pid: i32,
        /// Its start time in clock ticks since boot ([`sys::process::start_time`]).
        start_time: u64,
        /// The cgroup it is in, as [`crate::cgroup`] reopens it; none if the host has none to give.
        cgroup: Option<String>,
    },
    /// It is ready to execute its program and waits for the start byte.
    Parked,
    /// It could not be made or its program could not be executed; the process is gone or goes.
    Failed {
        /// 125: the container could not be made; 126: the program cannot be executed; 127: there is no such program.
        code: u8,
        /// One sentence.
        message: String,
    },
}

impl Report {
    /// The line that carries it.
    pub fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Puts reports together from the pieces in which a pipe delivers them.
#[derive(Debug, Default)]
pub struct Reports {
    rest: Vec<u8>,
}

impl Reports {
    /// Takes bytes that were read and returns the reports that are now whole. Lines that are none are skipped.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Report> {
        self.rest.extend_from_slice(bytes);
        let mut reports = Vec::new();
        while let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            reports.extend(serde_json::from_slice::<Report>(&line));
        }
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_survive_a_pipe_that_cuts_them() {
        let sent = [
            Report::Created { pid: 7, start_time: 99, cgroup: Some("/a".into()) },
            Report::Parked,
            Report::Failed { code: 127, message: "executable file `a\nb` not found".into() },
        ];
        let bytes: Vec<u8> = sent.iter().flat_map(Report::line).collect();
        for size in 1..bytes.len() {
            let mut reports = Reports::default();
            let got: Vec<Report> = bytes.chunks(size).flat_map(|piece| reports.push(piece)).collect();
            assert_eq!(got, sent, "pieces of {size}");
        }
    }
}
