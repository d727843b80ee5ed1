//! Removal. Any state with `force` ends in "gone"; a removal that was killed is finished by the next.

use super::config::Config;
use super::end::improper;
use super::lock;
use crate::Engine;
use crate::database::{Database, Ended, Mark, Record};
use monitor::record::Running;
use ops::container::{Remove, Status};
use ops::{Fault, Kind};
use types::Id;

impl Engine {
    /// Removes a container. `None`: there is none, and that was to be ignored.
    pub fn remove(&self, asked: &Remove) -> Result<Option<Id>, Fault> {
        self.host()?;
        let record = match self.record_of(&asked.name) {
            Err(fault) if asked.ignore && fault.kind == Kind::NotFound => return Ok(None),
            other => other?,
        };
        let id = record.id.clone();
        let dependents = self.dependents(id.as_str())?;
        if !dependents.is_empty() {
            let ids: Vec<&str> = dependents.iter().map(Id::as_str).collect();
            return Err(Fault::new(
                Kind::Conflict,
                format!(
                    "container {id} has dependent containers which must be removed before it: {}: container already exists",
                    ids.join(",")
                ),
            ));
        }
        let state = self.observe(&record);
        if matches!(state.status, Status::Running | Status::Paused | Status::Stopping | Status::Initialized) {
            if !asked.force && state.status != Status::Initialized {
                return Err(improper(format!(
                    "cannot remove container {id} as it is {} - running or paused containers cannot be removed without force",
                    state.status.word()
                )));
            }
            self.end(record, asked.timeout)?;
        }
        if self.database()?.record(&id)?.is_none() {
            return Ok(Some(id));
        }
        let held = lock::wait(&self.container_directory(&id))?;
        let Some(record) = self.database()?.record(&id)? else {
            let _ = std::fs::remove_dir(self.container_directory(&id));
            return Ok(Some(id));
        };
        let state = self.observe_locked(&record);
        if matches!(state.status, Status::Running | Status::Paused) && !asked.force {
            return Err(improper(format!("cannot remove container {id} as it is {}", state.status.word())));
        }
        let running = Running::read(&self.run_directory(&id, record.run));
        if let Some(running) = state.running {
            // Started again between both looks.
            let _ = sys::process::kill(running.pid, running.start_time, 9);
            super::end::gone_within(&running, std::time::Duration::from_secs(10))?;
        }
        if record.mark != Mark::Removing {
            self.database()?.removing(&id)?;
        }
        // Whoever waits for it may not have looked since it ended.
        let ended = (record.mark == Mark::Exited).then(|| Ended {
            exit_code: record.exit_code,
            oom: record.oom,
            finished: super::now(),
            ..Ended::default()
        });
        self.remove_all(&record, running.and_then(|r| r.cgroup), ended.as_ref(), asked.volumes, held)?;
        Ok(Some(id))
    }

    /// Removes everything of a container that does not run, the record of its end and its row last: whoever is killed on the way
    /// leaves a container that has ended, to be removed again. Anonymous volumes go with one that was made with `--rm`,
    /// or if `volumes` says so. With the lock. Gives its configuration, if that could be read.
    pub(crate) fn remove_all(
        &self,
        record: &Record,
        cgroup: Option<String>,
        ended: Option<&Ended>,
        volumes: bool,
        held: lock::Lock,
    ) -> Result<Option<Config>, Fault> {
        if let Some(cgroup) = cgroup {
            crate::host::remove_cgroup(&cgroup);
        }
        self.take_mount_away(&record.id)?;
        let store = self.store()?;
        store.remove_snapshot_files(&record.id).map_err(crate::fault::store)?;
        let config = self.database()?.config(record.seq).ok();
        // A configuration that cannot be read may have had volumes.
        let has_volumes = config.as_ref().is_none_or(|c| crate::volume::table::of(c).next().is_some());
        if let Some(config) = &config {
            self.remove_image_mounts(config)?;
        }
        for path in config.iter().flat_map(|c| c.life.pid_file.iter().chain(&c.life.monitor_pid_file)) {
            let _ = std::fs::remove_file(path);
        }
        let _ = std::fs::remove_file(self.unit_pid_file(&record.id));
        if let Some(path) = config.as_ref().and_then(|c| c.cid_file.as_ref())
            && std::fs::read_to_string(path).is_ok_and(|t| t.trim() == record.id.as_str())
        {
            let _ = std::fs::remove_file(path);
        }
        let directory = self.container_directory(&record.id);
        match std::fs::remove_dir_all(&directory) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Fault::internal(format!("cannot remove container directory {directory:?}: {e}")));
            }
            _ => {}
        }
        self.free_run(record, None);
        let mut gone = Vec::new();
        if has_volumes && (volumes || record.remove) {
            gone = self.database()?.claim_anonymous_volumes(record.seq)?;
            for name in &gone {
                self.remove_volume_directory(name)?;
            }
        }
        store
            .forget_snapshot(&record.id, |change| {
                if has_volumes {
                    crate::volume::table::leave_volumes(change, record.seq, &gone)?;
                }
                Database::delete(change, record.seq, &record.id, ended)
            })
            .map_err(crate::fault::store)?;
        self.tell(record, "remove");
        drop(held);
        Ok(config)
    }

    /// The image of a container stays when that is removed: another container takes its place.
    pub(crate) fn keep_image_of(&self, name: &str) -> Result<(), Fault> {
        let Ok(found) = self.record_of(name) else { return Ok(()) };
        let _held = lock::wait(&self.container_directory(&found.id))?;
        let Some(record) = self.database()?.record(&found.id)? else { return Ok(()) };
        // What cannot be read says of no image that it is to go.
        match self.database()?.config(record.seq) {
            Ok(mut config) if config.remove_image => {
                config.remove_image = false;
                self.database()?.reconfigure(record.seq, &config)
            }
            _ => Ok(()),
        }
    }

    /// Removes the image that a container was made of, if that was asked for (`--rmi`): not one that has the name meanwhile, and
    /// none that others use.
    pub(crate) fn remove_image_of(&self, config: &Config) -> Result<(), Fault> {
        if !config.remove_image || config.root_directory.is_some() {
            return Ok(());
        }
        match self.store()?.find_image(&config.image) {
            Ok(image) if image.id.hex() == config.image_id => {}
            Ok(_) | Err(store::Error::NoSuchImage { .. }) => return Ok(()),
            Err(error) => return Err(crate::fault::store(error)),
        }
        if !self.database()?.users_of(&config.image_id)?.is_empty() {
            return Ok(());
        }
        match self.remove_image(&ops::image::Remove { name: config.image.clone(), force: false, ignore: true }) {
            Err(fault) if fault.kind == Kind::Conflict => Ok(()),
            other => other.map(drop),
        }
    }
}

impl Engine {
    /// The containers that need this one, because they are in a namespace of it.
    pub fn dependents(&self, name: &str) -> Result<Vec<Id>, Fault> {
        let id = self.find(name)?;
        let naming = self.database()?.naming(&id)?;
        let needs = |config: &Config| super::inspect::dependencies(config).iter().any(|needed| *needed == id.as_str());
        Ok(naming.into_iter().filter(needs).map(|config| config.id).collect())
    }

    /// The name of the image that a container was made of; none of one that was made of a directory, or is gone.
    pub fn image_of(&self, id: &Id) -> Result<Option<String>, Fault> {
        let Some(record) = self.database()?.record(id)? else { return Ok(None) };
        let config = self.database()?.config(record.seq)?;
        Ok(Some(config.image).filter(|_| config.root_directory.is_none()))
    }

    /// Gives a container another name.
    pub fn rename(&self, name: &str, new: &str) -> Result<(), Fault> {
        if !types::id::is_name(new) {
            return Err(Fault::invalid(format!(
                "names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument: {new:?}"
            )));
        }
        let record = self.record_of(name)?;
        self.database()?.rename(&record.id, new)?;
        self.tell_more(&record, "rename", |event| event.name = new.to_owned());
        Ok(())
    }

    /// Stops a container if it runs, and starts it again.
    pub fn restart(&self, name: &str, timeout: Option<u32>) -> Result<Id, Fault> {
        self.host()?;
        let record = self.record_of(name)?;
        let id = record.id.clone();
        let subject = crate::event::Subject::from(&record);
        self.end(record, timeout)?;
        let mut session = self.init(id.as_str())?;
        self.start(&mut session)?;
        self.tell(subject, "restart");
        Ok(id)
    }
}
