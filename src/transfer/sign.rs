//! Signing: what makes signatures, and a destination that signs all manifests that are written to it.
//!
//! Must not know: where keys and passphrases come from.

use crate::convert::Form;
use crate::destination::{Blob, Destination, Packing};
use crate::document::{self, Either};
use crate::plan::{self, Wanted};
use crate::registry::Repository;
use crate::registry::push::Pushed;
use crate::trust::{self, Signature};
use crate::{Error, Options, Result};
use std::fmt;
use std::sync::Arc;
use types::{Digest, Reference};

/// Something that signs.
#[derive(Clone)]
pub struct Signer(Arc<Key>);

enum Key {
    OpenPgp(trust::openpgp::SecretKey),
    Sigstore(trust::PrivateKey),
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.0 {
            Key::OpenPgp(_) => "Signer(OpenPGP)",
            Key::Sigstore(_) => "Signer(sigstore)",
        })
    }
}

impl Signer {
    /// A secret key of OpenPGP, as `gpg --export-secret-keys` writes it; `name` is for errors.
    ///
    /// # Errors
    /// It is none, may not sign, or the passphrase is missing or wrong.
    pub fn openpgp(name: &str, bytes: &[u8], passphrase: Option<&str>) -> Result<Signer> {
        let bad = |why| Error::Document { what: "key", name: name.into(), why };
        let key = trust::openpgp::SecretKey::read(bytes, passphrase).map_err(bad)?;
        Ok(Signer(Arc::new(Key::OpenPgp(key))))
    }

    /// A private key of sigstore, as `cosign generate-key-pair` writes it.
    ///
    /// # Errors
    /// It is none, or the passphrase is missing or wrong.
    pub fn sigstore(name: &str, bytes: &[u8], passphrase: Option<&str>) -> Result<Signer> {
        let bad = |why| Error::Document { what: "key", name: name.into(), why };
        let key = trust::PrivateKey::read(bytes, passphrase).map_err(bad)?;
        Ok(Signer(Arc::new(Key::Sigstore(key))))
    }

    /// Says that a manifest is the image `name`.
    pub fn sign(&self, name: &Reference, manifest: &Digest) -> Result<Signature> {
        let bad = |why| Error::Document { what: "signature", name: name.to_string(), why };
        let now = trust::openpgp::now();
        match &*self.0 {
            Key::OpenPgp(key) => {
                let payload = trust::payload(trust::SIMPLE_KIND, name, manifest, now);
                key.sign(&payload, now).map(Signature::Simple).map_err(bad)
            }
            Key::Sigstore(key) => {
                let payload = trust::payload(trust::SIGSTORE_KIND, name, manifest, now);
                key.sign(payload).map(Signature::Sigstore).map_err(bad)
            }
        }
    }
}

/// Verifies a message of simple signing against keys of OpenPGP; gives the fingerprint of the key in upper-case hex
/// digits, and the name that was signed together with the manifest.
///
/// # Errors
/// It is not a signature of that manifest by one of the keys.
pub fn verify_message(message: &[u8], keys: &[u8], manifest: &Digest) -> std::result::Result<(String, String), String> {
    let keys = trust::openpgp::Keyring::parse(keys)?;
    let verified = trust::openpgp::verify(message, &keys, trust::openpgp::now())?;
    let name = trust::named(&verified.contents, trust::SIMPLE_KIND, manifest)?;
    Ok((verified.fingerprint, name))
}

/// Signs an image where it is, in a registry: its manifest and, of one for several platforms, that of the platform of the
/// options or, with `all`, every one.
pub fn sign_image(name: &Reference, options: &Options, signers: &[Signer], all: bool) -> Result<()> {
    let repository = Repository::new(name, &options.registry)?;
    let (bytes, media_type) = repository.top()?;
    let mut manifests = vec![Digest::of(&bytes)];
    if let Either::Index(index) = document::either(&name.to_string(), &media_type, &bytes)? {
        match all {
            true => manifests.extend(index.manifests.iter().map(|entry| entry.digest)),
            false => {
                let wanted = Wanted::new(options.platform.as_ref());
                manifests.push(plan::top(&repository, &media_type, bytes, &wanted)?.digest);
            }
        }
    }
    let destination = Pushed::new(name, &options.registry, Packing::AsTheyAre)?;
    let name = crate::source::complete(name);
    for manifest in manifests {
        let made = signers.iter().map(|signer| signer.sign(&name, &manifest)).collect::<Result<Vec<_>>>()?;
        destination.signatures(&manifest, &made, true)?;
    }
    Ok(())
}

/// A destination all of whose manifests are signed.
pub struct Signed<'a> {
    /// Where they are written.
    pub inner: Box<dyn Destination + 'a>,
    /// By whom.
    pub signers: Vec<Signer>,
    /// As which image.
    pub name: Reference,
}

impl Destination for Signed<'_> {
    fn title(&self) -> String {
        self.inner.title()
    }

    fn form(&self) -> Option<Form> {
        self.inner.form()
    }

    fn packing(&self) -> Packing {
        self.inner.packing()
    }

    fn threads(&self) -> usize {
        self.inner.threads()
    }

    fn announce(&self, blobs: &[(Digest, Option<u64>)]) -> Result<()> {
        self.inner.announce(blobs)
    }

    fn has(&self, blob: &Digest, size: Option<u64>, repositories: &[(String, String)]) -> Result<bool> {
        self.inner.has(blob, size, repositories)
    }

    fn write(&self, blob: &Blob<'_>) -> Result<(Digest, u64)> {
        self.inner.write(blob)
    }

    fn configuration(&self, bytes: &[u8]) -> Result<()> {
        self.inner.configuration(bytes)
    }

    fn manifest(&self, bytes: &[u8], media_type: &str, top: bool) -> Result<()> {
        self.inner.manifest(bytes, media_type, top)?;
        let digest = Digest::of(bytes);
        let made = self.signers.iter().map(|signer| signer.sign(&self.name, &digest)).collect::<Result<Vec<_>>>()?;
        self.inner.signatures(&digest, &made, top)
    }

    fn signatures(&self, manifest: &Digest, signatures: &[Signature], top: bool) -> Result<()> {
        self.inner.signatures(manifest, signatures, top)
    }

    fn finish(&self) -> Result<()> {
        self.inner.finish()
    }
}
