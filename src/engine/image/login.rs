//! Logins of registries, and the files that say how registries are reached.

use crate::{Engine, fault};
use ops::image::{Access, LoggedIn, Login, Logout};
use ops::{Fault, Kind};
use std::path::{Path, PathBuf};
use transfer::Registries;

impl Engine {
    /// Logs in to a registry: what it takes is kept for later.
    pub fn login(&self, asked: &Login) -> Result<LoggedIn, Fault> {
        let mut options = self.registry_options(&asked.access)?;
        let file = self.login_file(asked.access.auth_file.as_deref(), asked.compat_auth_file.as_deref())?;
        let known = transfer::known_login(&options.auth_files, &asked.registry).map_err(fault::transfer)?;
        let (user, password) = match (&asked.user, &asked.password) {
            (Some(user), Some(password)) => (user.clone(), password.clone()),
            _ => match known {
                Some((user, password)) if asked.user.as_ref().is_none_or(|asked| *asked == user) => (user, password),
                _ => return Err(Fault::invalid("a user and a password are needed")),
            },
        };
        options.credentials = Some((user.clone(), password.clone()));
        transfer::check_login(&asked.registry, &options).map_err(|error| {
            Fault::new(Kind::Denied, format!("logging into {:?}: {}", asked.registry, fault::sentence(&error)))
        })?;
        transfer::keep_login(&file, &key(asked.compat_auth_file.is_some(), &asked.registry), &user, &password)
            .map_err(fault::transfer)?;
        Ok(LoggedIn { user, file })
    }

    /// The user who is logged in to a registry, if there is one.
    pub fn logged_in(&self, registry: &str, access: &Access) -> Result<Option<String>, Fault> {
        let options = self.registry_options(access)?;
        let known = transfer::known_login(&options.auth_files, registry).map_err(fault::transfer)?;
        Ok(known.map(|(user, _)| user))
    }

    /// Forgets the login of a registry, or of all.
    pub fn logout(&self, asked: &Logout) -> Result<(), Fault> {
        let file = self.login_file(asked.auth_file.as_deref(), asked.compat_auth_file.as_deref())?;
        let Some(registry) = &asked.registry else {
            return transfer::forget_logins(&file).map_err(fault::transfer);
        };
        let registry_key = key(asked.compat_auth_file.is_some(), registry);
        if transfer::forget_login(&file, &registry_key).map_err(fault::transfer)? {
            return Ok(());
        }
        let fault = Fault::new(Kind::NotFound, format!("not logged into {registry}"));
        let elsewhere = transfer::known_login(&self.settings.auth_files, registry).map_err(fault::transfer)?;
        match elsewhere {
            Some(_) => Err(fault.hint("its login is kept in another file, name that with --authfile")),
            None => Err(fault),
        }
    }

    /// The file that logins are kept in.
    fn login_file(&self, named: Option<&str>, compat: Option<&str>) -> Result<PathBuf, Fault> {
        match (named, compat) {
            (Some(_), Some(_)) => Err(Fault::invalid("--authfile and --compat-auth-file cannot be used together")),
            (Some(file), None) | (None, Some(file)) => Ok(file.into()),
            (None, None) => {
                let first = self.settings.auth_files.first().cloned();
                first.ok_or_else(|| Fault::invalid("no file for logins").hint("name one with --authfile"))
            }
        }
    }

    /// What the host's files say of registries: registries.conf, its drop-ins, and aliases of short names.
    pub(crate) fn registries(&self) -> Result<Registries, Fault> {
        let files = &self.settings.registries;
        let mut registries = Registries::default();
        let main = files.main.iter().find(|path| path.exists());
        let mut paths: Vec<PathBuf> = main.into_iter().cloned().collect();
        for directory in &files.drop_ins {
            let Ok(entries) = std::fs::read_dir(directory) else { continue };
            let mut names: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            names.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
            names.sort();
            paths.append(&mut names);
        }
        for path in &paths {
            if let Some(text) = read(path)? {
                registries.add(&path.display().to_string(), &text).map_err(fault::transfer)?;
            }
        }
        for path in &files.aliases {
            // Somebody's memory of answers; without it they are looked up again.
            if let Ok(Some(text)) = read(path) {
                registries.add_aliases(&path.display().to_string(), &text).map_err(fault::transfer)?;
            }
        }
        Ok(registries)
    }
}

/// Docker's files call its own registry by an address.
fn key(compat: bool, registry: &str) -> String {
    if compat && registry == "docker.io" { "https://index.docker.io/v1/".into() } else { registry.into() }
}

fn read(path: &Path) -> Result<Option<String>, Fault> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Fault::internal(format!("cannot read {path:?}: {e}"))),
    }
}
