//! The secrets that containers are handed: copied when a container is made, so that it keeps what it was given, and bound when
//! it is started. Those that are variables are asked for at each start: they are stored nowhere else.

use super::config::{Config, SecretPlace};
use super::lock;
use crate::Engine;
use ops::Fault;
use ops::container::Remove;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use types::idmap::to_host;

/// What a container gets of secrets at a start.
#[derive(Debug, Default)]
pub(super) struct Handed {
    /// Files to be bound: path on the host and inside.
    pub files: Vec<(PathBuf, String)>,
    /// `KEY=VALUE`.
    pub variables: Vec<String>,
}

fn copy(directory: &Path, number: usize) -> PathBuf {
    directory.join("secrets").join(number.to_string())
}

impl Engine {
    /// Copies the secrets of a container that was just made, which goes if that fails.
    pub(super) fn copy_secrets_or_remove(&self, config: &Config) -> Result<(), Fault> {
        self.copy_secrets(config).inspect_err(|_| {
            let name = config.id.to_string();
            // What cannot be removed can be so by hand: the first fault tells more.
            let _ = self.remove(&Remove { name, force: true, timeout: None, ignore: true, volumes: true });
        })
    }

    fn copy_secrets(&self, config: &Config) -> Result<(), Fault> {
        if !config.secrets.iter().any(|s| matches!(s.place, SecretPlace::File { .. })) {
            return Ok(());
        }
        let directory = self.container_directory(&config.id);
        let _lock = lock::wait(&directory)?;
        let all = directory.join("secrets");
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&all)
            .map_err(|e| Fault::internal(format!("cannot create directory {all:?}: {e}")))?;
        for (number, used) in config.secrets.iter().enumerate() {
            let SecretPlace::File { uid, gid, mode, .. } = used.place else { continue };
            let data = self.secret_data(&self.secret(&used.id)?)?;
            let path = copy(&directory, number);
            let owner = match &config.namespaces.user {
                Some(map) => (to_host(&map.uids, uid), to_host(&map.gids, gid)),
                None => (Some(uid), Some(gid)),
            };
            std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .and_then(|mut file| {
                    file.write_all(&data)?;
                    // One id is all there is: the others cannot be given away to.
                    if !self.host().is_ok_and(|host| host.single_id) {
                        std::os::unix::fs::fchown(&file, owner.0, owner.1)?;
                    }
                    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))
                })
                .map_err(|e| Fault::internal(format!("cannot write secret {:?} to {path:?}: {e}", used.name)))?;
        }
        Ok(())
    }

    /// What the container gets of them now.
    pub(super) fn hand_secrets(&self, config: &Config, directory: &Path) -> Result<Handed, Fault> {
        let mut handed = Handed::default();
        for (number, used) in config.secrets.iter().enumerate() {
            match &used.place {
                SecretPlace::File { path, .. } => {
                    let copy = copy(directory, number);
                    if !copy.exists() {
                        return Err(Fault::internal(format!(
                            "the container's copy of secret {:?} is gone: it was not completely made",
                            used.name
                        ))
                        .hint("remove the container and make it again"));
                    }
                    handed.files.push((copy, path.clone()));
                }
                SecretPlace::Variable(key) => {
                    let data = self.secret_data(&self.secret(&used.id)?)?;
                    let text = String::from_utf8(data).ok().filter(|text| !text.contains('\0'));
                    let text = text.ok_or_else(|| {
                        Fault::invalid(format!("secret {:?} cannot be a variable: it is not text", used.name))
                    })?;
                    handed.variables.push(format!("{key}={text}"));
                }
            }
        }
        Ok(handed)
    }
}
