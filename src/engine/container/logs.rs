//! Lines of a container's log.

use super::config::LogDriver;
use crate::{Engine, fault};
use monitor::log::{Driver, Options, Stream as Output};
use ops::container::{LogLine, Logs, Status, Stream};
use ops::{Fault, Kind};

/// The lines of a container's log, oldest first. It may be read in a thread of its own.
pub struct LogLines(monitor::log::Reader);

impl Engine {
    /// The lines of a log.
    pub fn logs(&self, asked: &Logs) -> Result<LogLines, Fault> {
        let record = self.record_of(&asked.name)?;
        let config = self.database()?.config(record.seq)?;
        let driver = match config.log.driver {
            LogDriver::K8sFile => Driver::K8sFile,
            LogDriver::JsonFile => Driver::JsonFile,
            LogDriver::None => {
                return Err(Fault::new(
                    Kind::Unsupported,
                    "this container is using the 'none' log driver, cannot read logs: this container is not logging output",
                ));
            }
        };
        let runs = matches!(
            self.observe(&record).status,
            Status::Running | Status::Paused | Status::Stopping | Status::Initialized
        );
        let follow = (asked.follow && runs).then(|| self.run_directory(&record.id, record.run));
        let options = Options { tail: asked.tail, since: asked.since, until: asked.until, follow };
        monitor::log::read(&self.log_path(&config), driver, options).map(LogLines).map_err(fault::monitor)
    }
}

impl LogLines {
    /// True if the next line is there already: to read it waits for nobody.
    pub fn is_at_hand(&mut self) -> bool {
        self.0.is_at_hand()
    }
}

impl Iterator for LogLines {
    type Item = Result<LogLine, Fault>;

    fn next(&mut self) -> Option<Result<LogLine, Fault>> {
        let line = match self.0.next()? {
            Ok(line) => line,
            Err(error) => return Some(Err(fault::monitor(error))),
        };
        let stream = match line.stream {
            Output::Stdout => Stream::Stdout,
            Output::Stderr => Stream::Stderr,
        };
        Some(Ok(LogLine { time: line.time, stream, text: line.text, partial: line.partial }))
    }
}
