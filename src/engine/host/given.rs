//! What the host's files give every container, or those that name it: devices of vendors, hooks, mounts.

use crate::container::config::Config;
use crate::{Engine, cdi, hooks, subscriptions};
use ops::Fault;
use std::path::{Path, PathBuf};
use types::idmap::to_host;

impl Engine {
    /// What the devices of vendors ask for that the container was given.
    pub(crate) fn vendor_edits(&self, config: &Config) -> Result<cdi::Edits, Fault> {
        if config.vendor_devices.is_empty() {
            return Ok(cdi::Edits::default());
        }
        let usual = || cdi::DIRECTORIES.map(PathBuf::from).into();
        let directories = match &self.settings.given.cdi_directories[..] {
            [] => self.host_configuration()?.defaults.cdi_directories.clone().unwrap_or_else(usual),
            named => named.to_vec(),
        };
        cdi::edits(&directories, &config.vendor_devices)
    }

    /// The hooks that the host's files want for it. Those of the usual directories are root's alone, as with Podman.
    pub(crate) fn chosen_hooks(&self, config: &Config) -> Result<hooks::Chosen, Fault> {
        let usual = || match self.settings.uid {
            0 => hooks::DIRECTORIES.map(PathBuf::from).into(),
            _ => Vec::new(),
        };
        let directories = match &self.settings.given.hook_directories[..] {
            [] => self.host_configuration()?.defaults.hook_directories.clone().unwrap_or_else(usual),
            named => {
                if let Some(path) = named.iter().find(|path| !path.is_dir()) {
                    return Err(Fault::invalid(format!("--hooks-dir {}: no such directory", path.display())));
                }
                named.to_vec()
            }
        };
        hooks::choose(&directories, hooks::About::of(config))
    }

    /// What mounts.conf gives it, copied below its `directory`.
    pub(crate) fn default_mounts(&self, config: &Config, directory: &Path) -> Result<Vec<(PathBuf, String)>, Fault> {
        let owner = config.namespaces.user.as_ref().map(|map| (to_host(&map.uids, 0), to_host(&map.gids, 0)));
        subscriptions::write(&self.settings.mounts, self.settings.given.mounts_file.as_deref(), directory, owner)
    }
}
