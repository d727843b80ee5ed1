//! `dir:` — a manifest and blobs side by side in one directory (containers-transports(5)): `version`, `manifest.json`,
//! the manifests of an index as `HEX.manifest.json`, blobs called by their hex digits, and signatures: `signature-N` those of
//! the manifest, `HEX.signature-N` those of the others, N from 1.

use super::layout::put;
use super::{Blob, Destination, Packing};
use crate::convert::Form;
use crate::trust::{self, Signature};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use types::Digest;

/// A directory that is being written.
pub struct Directory {
    path: PathBuf,
    form: Option<Form>,
    packing: Packing,
    /// How many signatures were written, by what stands before their names.
    signed: Mutex<BTreeMap<String, usize>>,
}

impl Directory {
    /// The directory `path`, made if it is missing. It takes manifests of `form`, or
    /// any.
    pub fn create(path: &Path, form: Option<Form>, packing: Packing) -> Result<Directory> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source: std::io::Error| Error::File { action, path, source }
        };
        std::fs::create_dir_all(path).map_err(failed("create", path))?;
        let mut ours = false;
        let mut others = false;
        for entry in std::fs::read_dir(path).map_err(failed("read", path))? {
            let name = entry.map_err(failed("read", path))?.file_name();
            ours |= name == "version";
            others |= name != "version";
        }
        if others && !ours {
            let why = "it holds something, and no image of `dir:`: name another directory, or an empty one".into();
            return Err(Error::Unknown { archive: path.display().to_string(), why });
        }
        Ok(Directory { path: path.into(), form, packing, signed: Mutex::default() })
    }

    fn add(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let failed = |source| Error::Write { archive: self.title(), source };
        put(&self.path.join(name), |file| file.write_all(bytes).map_err(failed))
    }
}

impl Destination for Directory {
    fn title(&self) -> String {
        self.path.display().to_string()
    }

    fn form(&self) -> Option<Form> {
        self.form
    }

    fn packing(&self) -> Packing {
        self.packing
    }

    fn threads(&self) -> usize {
        crate::intake::threads()
    }

    fn has(&self, digest: &Digest, size: Option<u64>, _repositories: &[(String, String)]) -> Result<bool> {
        let about = std::fs::symlink_metadata(self.path.join(digest.hex()));
        Ok(about.is_ok_and(|about| about.is_file() && size == Some(about.len())))
    }

    fn write(&self, from: &Blob<'_>) -> Result<(Digest, u64)> {
        let until = self.path.join(format!("layer-{}", crate::random()));
        let failed = |source| Error::Write { archive: self.title(), source };
        let done = put(&until, |file| super::pass(from, |bytes| file.write_all(bytes).map_err(failed)))?;
        let path = self.path.join(done.0.hex());
        std::fs::rename(&until, &path).map_err(|source| Error::File { action: "create", path, source })?;
        Ok(done)
    }

    fn configuration(&self, bytes: &[u8]) -> Result<()> {
        self.add(&Digest::of(bytes).hex(), bytes)
    }

    fn manifest(&self, bytes: &[u8], _media_type: &str, top: bool) -> Result<()> {
        match top {
            true => self.add("manifest.json", bytes),
            false => self.add(&format!("{}.manifest.json", Digest::of(bytes).hex()), bytes),
        }
    }

    fn signatures(&self, manifest: &Digest, signatures: &[Signature], top: bool) -> Result<()> {
        let prefix = if top { String::new() } else { format!("{}.", manifest.hex()) };
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = signed.entry(prefix.clone()).or_default();
        for signature in signatures {
            *count += 1;
            self.add(&format!("{prefix}signature-{count}"), &signature.filed())?;
        }
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        // Those of an image that was here before are none of this one.
        let signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        for (prefix, count) in signed.iter() {
            for number in count + 1..=trust::MOST {
                match std::fs::remove_file(self.path.join(format!("{prefix}signature-{number}"))) {
                    Ok(()) => {}
                    Err(_) => break,
                }
            }
        }
        self.add("version", b"Directory Transport Version: 1.1\n")
    }
}
