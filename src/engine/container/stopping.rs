//! That a command just waits for a container to end: a file `stopping` in the directory of the run, with the command's
//! process id and start time. It is believed only as long as that process lives.

use super::state::State;
use crate::Engine;
use crate::database::Record;
use ops::container::Status;
use std::path::{Path, PathBuf};

const NAME: &str = "stopping";

/// The file, taken away when this is dropped.
#[derive(Debug)]
pub struct Mark(PathBuf);

impl Mark {
    /// Makes it. Where that fails, lists say that the container runs: that is true, too.
    pub fn make(run_directory: &Path) -> Mark {
        let path = run_directory.join(NAME);
        let pid = std::process::id().cast_signed();
        if let Ok(started) = sys::process::start_time(pid) {
            let _ = std::fs::write(&path, format!("{pid} {started}"));
        }
        Mark(path)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Engine {
    /// What lists and inspect say that a container does: one that runs while a command waits for its end is stopping.
    pub(crate) fn shown(&self, record: &Record, state: &State) -> Status {
        match state.status {
            Status::Running if is_marked(&self.run_directory(&record.id, record.run)) => Status::Stopping,
            status => status,
        }
    }
}

fn is_marked(run_directory: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(run_directory.join(NAME)) else { return false };
    let mut numbers = text.split(' ');
    let pid = numbers.next().and_then(|word| word.parse().ok());
    let started = numbers.next().and_then(|word| word.parse().ok());
    pid.zip(started).is_some_and(|(pid, started)| sys::process::is_alive(pid, started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_lasts_as_long_as_its_process_wants() {
        let directory = std::env::temp_dir().join(format!("monopod-stopping-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        assert!(!is_marked(&directory));
        let mark = Mark::make(&directory);
        assert!(is_marked(&directory));
        drop(mark);
        assert!(!is_marked(&directory));
        std::fs::write(directory.join(NAME), format!("{} 1", std::process::id())).unwrap();
        assert!(!is_marked(&directory), "another process had that number");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
