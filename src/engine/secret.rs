//! Secrets: made, listed, removed, and handed to containers.
//!
//! ```text
//! ROOT/secrets/              mode 0700; flock(2) on it is the lock of all of them
//!   secrets.json             what is known of each: a JSON list of ops::secret::Secret, mode 0600
//!   data/ID                  the bytes of one that the driver `file` keeps, mode 0600
//! ```
//!
//! A secret's bytes are written before the list names it, and go after the list has forgotten it. They are in files of their
//! own and not in the database: a copy of that, made to find a fault, tells nothing.

mod shell;

use crate::Engine;
use crate::volume::pairs;
use ops::secret::{Create, List, Secret};
use ops::{Fault, Kind};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The most bytes of one, and one more.
const LIMIT: usize = 512_000;

impl Engine {
    /// Makes a secret; returns its id.
    pub fn create_secret(&self, asked: &Create) -> Result<String, Fault> {
        check_name(&asked.name)?;
        if asked.data.is_empty() || asked.data.len() >= LIMIT {
            return Err(Fault::invalid("secret data must be larger than 0 and less than 512000 bytes"));
        }
        let driver = match asked.driver.as_deref() {
            None | Some("" | "file") => "file",
            Some("shell") => "shell",
            Some("pass") => {
                return Err(Fault::new(Kind::Unsupported, "secret driver \"pass\" is not supported: it needs gpg(1)")
                    .hint("use the driver shell with commands of your own"));
            }
            Some(other) => {
                return Err(Fault::invalid(format!("invalid secret driver {other:?}")).hint("use file or shell"));
            }
        };
        let now = crate::container::now();
        let mut secret = Secret {
            id: types::Id::from_random(crate::container::create::random()?).as_str()[..25].to_owned(),
            name: asked.name.clone(),
            driver: driver.to_owned(),
            driver_options: pairs("driver option", &asked.driver_options)?,
            labels: pairs("label", &asked.labels)?,
            created: now,
            updated: now,
        };
        if driver == "shell" {
            shell::check(&secret.driver_options)?;
        } else if let Some(key) = secret.driver_options.keys().find(|key| *key != "path") {
            return Err(Fault::invalid(format!("unknown option {key:?} of secret driver file")));
        } else {
            secret.driver_options = [("path".to_owned(), self.secrets().join("data").display().to_string())].into();
        }
        self.host()?;
        let _lock = self.lock_secrets()?;
        let mut all = self.read_secrets()?;
        let old = all.iter().position(|s| s.name == secret.name);
        if let Some(at) = old {
            if asked.ignore {
                return Ok(all[at].id.clone());
            }
            if !asked.replace {
                return Err(Fault::new(Kind::Conflict, format!("{}: secret name in use", secret.name)));
            }
            secret.created = all[at].created;
        }
        self.store_secret(&secret, &asked.data)?;
        let replaced = old.map(|at| all.swap_remove(at));
        all.push(secret.clone());
        if let Err(fault) = self.write_secrets(&mut all) {
            let _ = self.delete_secret(&secret);
            return Err(fault);
        }
        if let Some(replaced) = replaced {
            self.delete_secret(&replaced)?;
        }
        Ok(secret.id)
    }

    /// The secrets, in the order in which they were made.
    pub fn secrets_listed(&self, asked: &List) -> Result<Vec<Secret>, Fault> {
        let mut all = self.read_secrets()?;
        for filter in &asked.filters {
            match filter.split_once('=') {
                Some(("name", word)) => all.retain(|s| s.name.contains(word)),
                Some(("id", word)) => all.retain(|s| s.id.starts_with(word)),
                _ => return Err(Fault::invalid(format!("invalid filter {filter:?}")).hint("use name= or id=")),
            }
        }
        all.sort_by_key(|s| s.created);
        Ok(all)
    }

    /// One secret, by its name, its id, or the beginning of that.
    pub fn secret(&self, name: &str) -> Result<Secret, Fault> {
        chosen(self.read_secrets()?, name)
    }

    /// What is secret about it.
    pub fn secret_data(&self, secret: &Secret) -> Result<Vec<u8>, Fault> {
        if secret.driver == "shell" {
            return shell::lookup(secret);
        }
        let path = self.secrets().join("data").join(&secret.id);
        std::fs::read(&path)
            .map_err(|e| Fault::internal(format!("cannot read the data of secret {:?}: {e}", secret.name)))
    }

    /// Removes one; returns its id. Containers that have it keep their copies.
    pub fn remove_secret(&self, name: &str) -> Result<String, Fault> {
        self.host()?;
        let _lock = self.lock_secrets()?;
        let mut all = self.read_secrets()?;
        let secret = chosen(all.clone(), name)?;
        all.retain(|s| s.id != secret.id);
        self.write_secrets(&mut all)?;
        self.delete_secret(&secret)?;
        Ok(secret.id)
    }

    fn secrets(&self) -> PathBuf {
        self.settings.root.join("secrets")
    }

    fn lock_secrets(&self) -> Result<OwnedFd, Fault> {
        let path = self.secrets();
        let fail = |e: rustix::io::Errno| Fault::internal(format!("cannot lock {path:?}: {e}"));
        let data = path.join("data");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&data)
            .map_err(|e| Fault::internal(format!("cannot create directory {data:?}: {e}")))?;
        let directory = rustix::fs::open(&path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(fail)?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&directory, FlockOperation::LockExclusive)).map_err(fail)?;
        Ok(directory)
    }

    /// The list is renamed into place: whoever reads it needs no lock.
    fn read_secrets(&self) -> Result<Vec<Secret>, Fault> {
        self.host()?;
        let path = self.secrets().join("secrets.json");
        match std::fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(Fault::internal(format!("cannot read {path:?}: {e}"))),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Fault::internal(format!("{path:?}: {e}"))),
        }
    }

    fn write_secrets(&self, all: &mut [Secret]) -> Result<(), Fault> {
        all.sort_by_key(|s| s.created);
        let bytes = serde_json::to_vec_pretty(all).map_err(Fault::internal)?;
        write_private(&self.secrets().join("secrets.json"), &bytes)
    }

    fn store_secret(&self, secret: &Secret, data: &[u8]) -> Result<(), Fault> {
        match secret.driver.as_str() {
            "shell" => shell::store(secret, data),
            _ => write_private(&self.secrets().join("data").join(&secret.id), data),
        }
    }

    fn delete_secret(&self, secret: &Secret) -> Result<(), Fault> {
        if secret.driver == "shell" {
            return shell::delete(secret);
        }
        match std::fs::remove_file(self.secrets().join("data").join(&secret.id)) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(Fault::internal(format!("cannot remove the data of secret {:?}: {e}", secret.name)))
            }
            _ => Ok(()),
        }
    }
}

/// Writes a file for its owner alone, whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let fresh = path.with_extension("new");
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&fresh, path));
    written.map_err(|e| {
        let _ = std::fs::remove_file(&fresh);
        Fault::internal(format!("cannot write {path:?}: {e}"))
    })
}

fn check_name(name: &str) -> Result<(), Fault> {
    let wrong = name.is_empty() || name.len() > 253 || name.contains(['=', '/', ',', '\0']) || name.trim() != name;
    match wrong {
        true => Err(Fault::invalid(format!(
            "only 1 to 253 characters, and none of \"=\", \"/\", \",\" are allowed: invalid secret name: {name:?}"
        ))),
        false => Ok(()),
    }
}

fn chosen(all: Vec<Secret>, name: &str) -> Result<Secret, Fault> {
    if let Some(secret) = all.iter().find(|s| s.name == name || s.id == name) {
        return Ok(secret.clone());
    }
    let mut found = all.into_iter().filter(|s| !name.is_empty() && s.id.starts_with(name));
    match (found.next(), found.next()) {
        (Some(secret), None) => Ok(secret),
        (Some(_), Some(_)) => {
            Err(Fault::new(Kind::Conflict, format!("more than one result secret with prefix {name}")))
        }
        _ => Err(Fault::new(Kind::NotFound, format!("no secret with name or id {name:?}: no such secret"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn names() {
        for name in ["a", "A.b-c_d", "mit Platz", &"x".repeat(253)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "a/b", "a=b", "a,b", " a", &"x".repeat(254)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn one_of_several() {
        let secret = |id: &str, name: &str| Secret {
            id: id.into(),
            name: name.into(),
            driver: "file".into(),
            driver_options: BTreeMap::new(),
            labels: BTreeMap::new(),
            created: 0,
            updated: 0,
        };
        let all = vec![secret("abc1", "one"), secret("abc2", "ab")];
        let found = |name: &str| chosen(all.clone(), name).map(|s| s.id).map_err(|fault| fault.kind);
        assert_eq!(found("one"), Ok("abc1".into()));
        assert_eq!(found("ab"), Ok("abc2".into()));
        assert_eq!(found("abc1"), Ok("abc1".into()));
        assert_eq!(found("abc"), Err(Kind::Conflict));
        assert_eq!(found("x"), Err(Kind::NotFound));
        assert_eq!(found(""), Err(Kind::NotFound));
    }
}
