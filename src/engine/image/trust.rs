//! Trust: images in registries are signed, policies are shown and changed.

use super::send::signers;
use crate::{Engine, fault};
use ops::trust::{Rule, Set, Sign, SignFile, VerifyFile};
use ops::{Fault, Kind};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use transfer::{Lookaside, Policy};
use types::{Digest, Reference};

/// Largest manifest or signature in a file, in bytes.
const LARGEST: u64 = 4 << 20;

fn file(what: &str, path: &Path) -> Result<Vec<u8>, Fault> {
    let failed = |why: String| Fault::invalid(format!("cannot read the {what} {path:?}: {why}"));
    let size = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if size > LARGEST {
        return Err(failed(format!("it has {size} bytes, at most {LARGEST} are accepted")));
    }
    std::fs::read(path).map_err(|e| failed(e.to_string()))
}

impl Engine {
    /// Signs a manifest in a file.
    pub fn sign_file(&self, asked: &SignFile) -> Result<(), Fault> {
        let name: Reference = asked.image.parse()?;
        let manifest = file("manifest", &asked.manifest)?;
        let signing = ops::image::Signing {
            openpgp: Some(asked.key.clone()),
            passphrase: asked.passphrase.clone(),
            ..Default::default()
        };
        let digest = Digest::of(&manifest);
        for signer in signers(&signing)? {
            let made = signer.sign(&transfer::source::complete(&name), &digest).map_err(fault::transfer)?;
            std::fs::write(&asked.output, made.filed())
                .map_err(|e| Fault::invalid(format!("cannot write the signature {:?}: {e}", asked.output)))?;
        }
        Ok(())
    }

    /// Verifies the signature of a manifest in a file; gives the key's fingerprint and the manifest's digest.
    pub fn verify_file(&self, asked: &VerifyFile) -> Result<(String, Digest), Fault> {
        let name: Reference = asked.image.parse()?;
        let digest = Digest::of(&file("manifest", &asked.manifest)?);
        let (message, keys) = (file("signature", &asked.signature)?, file("keys", &asked.keys)?);
        let refused = |why: String| Fault::invalid(format!("error verifying signature: {why}"));
        let message = match transfer::Signature::parse(&message).map_err(refused)? {
            transfer::Signature::Simple(message) => message,
            transfer::Signature::Sigstore(_) => return Err(refused("it is one of sigstore, not of OpenPGP".into())),
        };
        let (fingerprint, signed) = transfer::verify_message(&message, &keys, &digest).map_err(refused)?;
        let fits = |wanted: &String| fingerprint.eq_ignore_ascii_case(wanted);
        if !asked.fingerprints.is_empty() && !asked.fingerprints.iter().any(fits) {
            return Err(refused(format!("it is of key {fingerprint}, which is not among those that are accepted")));
        }
        let wanted = transfer::source::complete(&name).to_string();
        if signed.parse::<Reference>().map(|signed| transfer::source::complete(&signed).to_string()).ok()
            != Some(wanted)
        {
            return Err(refused(format!("it is of {signed:?}, not of {:?}", asked.image)));
        }
        Ok((fingerprint, digest))
    }

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
