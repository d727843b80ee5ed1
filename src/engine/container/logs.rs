//! Lines of a container's log.

use super::config::LogDriver;
use crate::{Engine, fault};
use monitor::log::{Driver, Options, Stream as Output};
use ops::container::{LogLine, Logs, Status, Stream};
use ops::{Fault, Kind};

impl Engine {
    /// Hands the lines of a log to `each` until there are no more, or `each` returns false.
    pub fn logs(&self, asked: &Logs, each: &mut dyn FnMut(LogLine) -> bool) -> Result<(), Fault> {
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
        for line in monitor::log::read(&self.log_path(&config), driver, options).map_err(fault::monitor)? {
            let line = line.map_err(fault::monitor)?;
            let stream = match line.stream {
                Output::Stdout => Stream::Stdout,
                Output::Stderr => Stream::Stderr,
            };
            if !each(LogLine { time: line.time, stream, text: line.text, partial: line.partial }) {
                break;
            }
        }
        Ok(())
    }
}
