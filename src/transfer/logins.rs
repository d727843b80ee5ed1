//! Logins: tried at the registry, kept in a file, found and forgotten.
//!
//! Must not know: where the files are.

use crate::registry::credential::{self, Known};
use crate::registry::{self, address};
use crate::{Error, Registry, Result};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Tries the login that the options hold at `registry`, which may be a repository of one. A registry that wants none is
/// content with any.
pub fn check_login(registry: &str, options: &Registry) -> Result<()> {
    let (domain, _) = parts(registry)?;
    registry::check_login(domain, options)
}

/// User and password that the first of `files` knows for `registry`; an identity token is the password of nobody.
pub fn known_login(files: &[PathBuf], registry: &str) -> Result<Option<(String, String)>> {
    let (domain, path) = parts(registry)?;
    Ok(match registry::known(files, domain, path)? {
        Some(Known::Login(user, password)) => Some((user, password)),
        Some(Known::Identity(token)) => Some((String::new(), token)),
        None => None,
    })
}

/// Keeps a login in `file` under `key`, a registry or a repository of one.
pub fn keep_login(file: &Path, key: &str, user: &str, password: &str) -> Result<()> {
    change(file, |text| credential::edit(text, key, Some((user, password)))).map(drop)
}

/// Forgets a login; false if there was none.
pub fn forget_login(file: &Path, key: &str) -> Result<bool> {
    change(file, |text| credential::edit(text, key, None))
}

/// Forgets all logins of a file.
pub fn forget_logins(file: &Path) -> Result<()> {
    change(file, credential::clear).map(drop)
}

fn parts(registry: &str) -> Result<(&str, &str)> {
    let (domain, path) = registry.split_once('/').unwrap_or((registry, ""));
    let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
    if !address::is_authority(domain) {
        let why = "it is no registry: expected HOST[:PORT][/REPOSITORY]".into();
        return Err(Error::Source { given: registry.into(), why });
    }
    Ok((domain, path))
}

/// Changes a file of logins; nobody else may read what is written, and nobody finds half of it.
fn change(path: &Path, edit: impl FnOnce(&[u8]) -> std::result::Result<(Vec<u8>, bool), String>) -> Result<bool> {
    let failed = |action| move |source| Error::File { action, path: path.into(), source };
    let old = match std::fs::read(path) {
        Ok(old) => old,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(failed("read")(e)),
    };
    let name = || path.display().to_string();
    let (new, was) = edit(&old).map_err(|why| Error::Document { what: "file of credentials", name: name(), why })?;
    if new == old {
        return Ok(was);
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed("create"))?;
    }
    let until = path.with_file_name(format!(".logins-{}", crate::random()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&until)
        .and_then(|mut file| file.write_all(&new))
        .and_then(|()| std::fs::rename(&until, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&until);
    }
    written.map_err(failed("write")).map(|()| was)
}
