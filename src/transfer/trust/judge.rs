//! Requirements for signatures (containers-policy.json(5), `signedBy` and `sigstoreSigned`) applied to the signatures of an image.
//!
//! All that is needed besides is in files and in the policy: nobody is asked.
//!
//! Must not know: where signatures come from.

use super::certificate::Authority;
use super::openpgp::Keyring;
use super::rules::{Fulcio, Pki, Sigstore, Simple};
use super::signature::{self, Signature};
use super::sigstore::Key;
use super::{Subject, identity, limited, pem, rekor};
use crate::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::path::PathBuf;
use types::Digest;

/// Why a signature is not accepted.
type Verdict<T> = std::result::Result<T, String>;

/// The first of `outcomes` that accepts decides; otherwise the last reason.
fn any(outcomes: impl Iterator<Item = Verdict<()>>) -> Verdict<()> {
    let mut why = None;
    for outcome in outcomes {
        match outcome {
            Ok(()) => return Ok(()),
            Err(told) => why = Some(told),
        }
    }
    Err(why.map_or_else(
        || "a signature was required, but no signature exists".into(),
        |why| format!("none of its signatures is accepted: {why}"),
    ))
}

impl Simple {
    /// Judges the signatures of `manifest`.
    ///
    /// # Errors
    /// A key cannot be read. Within: why none is accepted.
    pub fn judge(&self, found: &[Signature], subject: &Subject, manifest: &Digest) -> Result<Verdict<()>> {
        let keys = self.read()?;
        Ok(any(found.iter().filter_map(|signature| match signature {
            Signature::Simple(message) => Some(
                signature::verify_simple(message, &keys, manifest)
                    .and_then(|name| identity::check(self.signed_identity.as_ref(), &name, subject.name.as_ref())),
            ),
            Signature::Sigstore(_) => None,
        })))
    }

    fn read(&self) -> Result<Keyring> {
        let mut keys = Keyring::default();
        let paths = self.key_path.iter().chain(self.key_paths.iter().flatten());
        for (name, bytes) in texts("keyData", paths, self.key_data.iter())? {
            keys.extend(Keyring::parse(&bytes).map_err(|why| Error::Document { what: "key", name, why })?);
        }
        Ok(keys)
    }
}

/// Who may have signed.
enum Author {
    /// Whoever has one of these keys.
    Keys(Vec<Key>),
    /// Somebody to whom Fulcio has given a certificate.
    Fulcio(Authority, Fulcio),
    /// Somebody with a certificate of one's own authorities.
    Pki(Authority, Pki),
}

impl Sigstore {
    /// Judges the signatures of `manifest`.
    ///
    /// # Errors
    /// A key or certificate of the policy cannot be read. Within: why none is accepted.
    pub fn judge(&self, found: &[Signature], subject: &Subject, manifest: &Digest) -> Result<Verdict<()>> {
        let (author, logs) = (self.author()?, self.logs()?);
        Ok(any(found.iter().filter_map(|signature| match signature {
            Signature::Sigstore(signature) => Some(self.accept(signature, &author, &logs).and_then(|keys| {
                let name = signature::verify_sigstore(signature, &keys, manifest)?;
                identity::check(self.signed_identity.as_ref(), &name, subject.name.as_ref())
            })),
            Signature::Simple(_) => None,
        })))
    }

    /// The keys of which one must have made `signature`.
    fn accept<'a>(&self, signature: &signature::Sigstore, author: &'a Author, logs: &[Key]) -> Verdict<Keys<'a>> {
        let part = |name: &str| signature.annotations.get(name).map(String::as_str);
        let certificate = || {
            let text = part(rekor::CERTIFICATE).ok_or("a signature has no certificate with it")?;
            match pem::all(text.as_bytes(), "CERTIFICATE")?.as_slice() {
                [one] => Ok(one.clone()),
                all => Err(format!("a signature has {} certificates where one is expected", all.len())),
            }
        };
        let chain = || part(rekor::CHAIN).map_or(Ok(Vec::new()), |text| pem::all(text.as_bytes(), "CERTIFICATE"));
        let logged = |der: &[u8]| {
            let entry = part(rekor::ENTRY).ok_or("a signature does not say that it is in a log")?;
            rekor::verify(entry, logs, der, signature)
        };
        match author {
            Author::Keys(keys) if !self.is_logged() => Ok(Keys::Known(keys)),
            Author::Keys(keys) => {
                // Which key it was is known by the entry.
                let mut why = String::new();
                for key in keys {
                    match logged(key.der()) {
                        Ok(_) => return Ok(Keys::Known(std::slice::from_ref(key))),
                        Err(told) => why = told,
                    }
                }
                Err(why)
            }
            Author::Fulcio(authority, rule) => {
                let der = certificate()?;
                let time = logged(&der)?;
                let certified = authority.verify(&der, &chain()?, time)?;
                certified.issued_by(&rule.issuer)?;
                certified.of_email(&rule.email)?;
                Ok(Keys::Certified(certified.key()?))
            }
            Author::Pki(authority, rule) => {
                let der = certificate()?;
                let certified = authority.verify(&der, &chain()?, super::openpgp::now())?;
                if let Some(email) = rule.email.as_deref().filter(|email| !email.is_empty()) {
                    certified.of_email(email)?;
                }
                if let Some(host) = rule.hostname.as_deref().filter(|host| !host.is_empty()) {
                    certified.of_host(host)?;
                }
                Ok(Keys::Certified(certified.key()?))
            }
        }
    }

    fn author(&self) -> Result<Author> {
        if let Some(rule) = &self.fulcio {
            let roots = certificates("caData", rule.ca_path.as_ref(), rule.ca_data.as_ref())?;
            return Ok(Author::Fulcio(Authority::new(roots, Vec::new()), rule.clone()));
        }
        if let Some(rule) = &self.pki {
            let roots = certificates("caRootsData", rule.roots_path.as_ref(), rule.roots_data.as_ref())?;
            let (path, data) = (rule.intermediates_path.as_ref(), rule.intermediates_data.as_ref());
            let between = match (path, data) {
                (None, None) => Vec::new(),
                _ => certificates("caIntermediatesData", path, data)?,
            };
            return Ok(Author::Pki(Authority::new(roots, between), rule.clone()));
        }
        let paths = self.key_path.iter().chain(self.key_paths.iter().flatten());
        let data = self.key_data.iter().chain(self.key_datas.iter().flatten());
        keys("keyData", paths, data).map(Author::Keys)
    }

    /// The keys of logs.
    fn logs(&self) -> Result<Vec<Key>> {
        let paths = self.rekor_public_key_path.iter().chain(self.rekor_public_key_paths.iter().flatten());
        let data = self.rekor_public_key_data.iter().chain(self.rekor_public_key_datas.iter().flatten());
        keys("rekorPublicKeyData", paths, data)
    }
}

/// Keys that are in the policy, or the one of a certificate.
enum Keys<'a> {
    Known(&'a [Key]),
    Certified(Key),
}

impl std::ops::Deref for Keys<'_> {
    type Target = [Key];

    fn deref(&self) -> &[Key] {
        match self {
            Keys::Known(keys) => keys,
            Keys::Certified(key) => std::slice::from_ref(key),
        }
    }
}

fn keys<'a>(
    field: &str,
    paths: impl Iterator<Item = &'a PathBuf>,
    data: impl Iterator<Item = &'a String>,
) -> Result<Vec<Key>> {
    texts(field, paths, data)?.iter().map(|(name, bytes)| Key::parse(name, bytes)).collect()
}

fn certificates(field: &str, path: Option<&PathBuf>, data: Option<&String>) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for (name, bytes) in texts(field, path.into_iter(), data.into_iter())? {
        let bad = |why: String| Error::Document { what: "certificate", name: name.clone(), why };
        let all = pem::all(&bytes, "CERTIFICATE").map_err(bad)?;
        if all.is_empty() {
            return Err(bad("it holds no CERTIFICATE in PEM".into()));
        }
        found.extend(all);
    }
    Ok(found)
}

/// What is in files, and in base64 in the policy itself, each with a name for errors.
fn texts<'a>(
    field: &str,
    paths: impl Iterator<Item = &'a PathBuf>,
    data: impl Iterator<Item = &'a String>,
) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for path in paths {
        let bytes = limited(path).map_err(|source| Error::File { action: "read", path: path.clone(), source })?;
        found.push((path.display().to_string(), bytes));
    }
    for data in data {
        let name = format!("{field} of the policy");
        let bytes = STANDARD.decode(data.trim()).map_err(|_| Error::Document {
            what: "key",
            name: name.clone(),
            why: "it is not base64".into(),
        })?;
        found.push((name, bytes));
    }
    Ok(found)
}
