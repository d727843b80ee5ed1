//! Trust: images in registries are signed, policies are shown and changed.

use super::send::signers;
use crate::{Engine, fault};
use ops::trust::{Rule, Set, Sign};
use ops::{Fault, Kind};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use transfer::{Lookaside, Policy};
use types::Reference;

impl Engine {
    /// Signs an image where it is, in a registry.
    pub fn sign_image(&self, asked: &Sign) -> Result<(), Fault> {
        let name: Reference = asked.image.strip_prefix("docker://").unwrap_or(&asked.image).parse()?;
        let signers = signers(&asked.signing)?;
        if signers.is_empty() {
            return Err(
                Fault::invalid("nobody was named to sign it").hint("use --sign-by or --sign-by-sigstore-private-key")
            );
        }
        let mut options = self.transfer_options(None, &asked.access)?;
        if let Some(directory) = &asked.directory {
            if !directory.is_dir() {
                return Err(Fault::new(Kind::NotFound, format!("{directory:?} is no directory")));
            }
            let absolute = std::path::absolute(directory);
            options.registry.lookaside = Lookaside::within(absolute.unwrap_or_else(|_| directory.clone()));
        }
        transfer::sign_image(&name, &options, &signers, asked.all).map_err(fault::transfer)
    }

    /// The policy's own text.
    pub fn policy_text(&self, file: Option<&Path>) -> Result<String, Fault> {
        let path = self.policy_file(file)?;
        std::fs::read_to_string(&path).map_err(|e| Fault::new(Kind::NotFound, format!("cannot read {path:?}: {e}")))
    }

    /// What the policy demands, scope by scope.
    pub fn trust(&self, file: Option<&Path>) -> Result<Vec<Rule>, Fault> {
        let path = self.policy_file(file)?;
        let policy = Policy::read(std::slice::from_ref(&path)).map_err(fault::transfer)?;
        let policy = policy.ok_or_else(|| Fault::new(Kind::NotFound, format!("there is no policy {path:?}")))?;
        let lookaside = self.settings.lookaside()?;
        let rules = policy.told().into_iter().map(|rule| Rule {
            store: lookaside.configured(&rule.scope).unwrap_or_default().to_owned(),
            transport: rule.transport,
            name: rule.scope,
            kind: rule.kind.to_owned(),
            keys: rule.keys,
        });
        Ok(rules.collect())
    }

    /// Changes what the policy demands of images of a registry, or by default.
    pub fn set_trust(&self, asked: &Set) -> Result<(), Fault> {
        let path = self.policy_file(asked.policy.as_deref())?;
        let bad = |why: String| Fault::invalid(format!("the policy {path:?}: {why}"));
        let mut rules: Map<String, Value> = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Map::from_iter([("default".into(), json!([{"type": "insecureAcceptAnything"}]))])
            }
            Err(e) => return Err(bad(e.to_string())),
        };
        let kind = asked.kind.as_deref().unwrap_or("signedBy");
        let keys = || -> Result<Vec<PathBuf>, Fault> {
            if asked.keys.is_empty() {
                return Err(
                    Fault::invalid(format!("at least one public key is needed for {kind}")).hint("use --pubkeysfile")
                );
            }
            let whole = |key: &PathBuf| {
                std::fs::canonicalize(key).map_err(|e| Fault::new(Kind::NotFound, format!("the key {key:?}: {e}")))
            };
            asked.keys.iter().map(whole).collect()
        };
        let requirement = match kind {
            "accept" => json!({"type": "insecureAcceptAnything"}),
            "reject" => json!({"type": "reject"}),
            "signedBy" => match keys()?.as_slice() {
                [key] => json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": key}),
                keys => json!({"type": "signedBy", "keyType": "GPGKeys", "keyPaths": keys}),
            },
            "sigstoreSigned" => match keys()?.as_slice() {
                [key] => json!({"type": "sigstoreSigned", "keyPath": key}),
                keys => json!({"type": "sigstoreSigned", "keyPaths": keys}),
            },
            other => {
                let message =
                    format!("invalid choice: {other:?} (choose from accept, reject, signedBy, sigstoreSigned)");
                return Err(Fault::invalid(message));
            }
        };
        match asked.scope.as_str() {
            "default" => drop(rules.insert("default".into(), json!([requirement]))),
            scope => {
                let transports = super::change::section(&mut rules, "transports");
                super::change::section(transports, "docker").insert(scope.into(), json!([requirement]));
            }
        }
        let text = serde_json::to_vec_pretty(&rules).unwrap_or_default();
        // What would not be understood is not written.
        Policy::parse(&path, &text).map_err(fault::transfer)?;
        write(&path, &text).map_err(|e| Fault::new(Kind::Denied, format!("cannot write the policy {path:?}: {e}")))
    }

    /// The file of the policy: what is named, the first that exists, or the first that may be made.
    fn policy_file(&self, named: Option<&Path>) -> Result<PathBuf, Fault> {
        if let Some(named) = named {
            return Ok(named.to_owned());
        }
        let files = &self.settings.policies;
        let existing = files.iter().find(|file| file.exists());
        let own = if self.settings.uid == 0 { files.last() } else { files.first() };
        let found = existing.or(own).cloned();
        found.ok_or_else(|| Fault::new(Kind::NotFound, "there is no place for a policy"))
    }
}

/// Replaces a file, which is whole at any moment.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let until = path.with_file_name(format!(".policy-{}", std::process::id()));
    let written = std::fs::File::create_new(&until).and_then(|mut file| {
        file.write_all(bytes)?;
        file.write_all(b"\n")?;
        // Whatever the umask is: all users read it, and nobody else writes it.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.sync_all()?;
        std::fs::rename(&until, path)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&until);
    }
    written
}
