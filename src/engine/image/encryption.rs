//! Encrypted images: keys from files, and images that are decrypted on their way into the store.

use super::Told;
use crate::{Engine, fault};
use ops::image::{Access, Encryption, Watch};
use ops::{Fault, Kind};
use rustix::fs::{FlockOperation, flock};
use std::fs;
use transfer::{Choice, Keys, Options, Source, Wishes};

/// Largest file with a key, in bytes.
const KEY: u64 = 64 << 10;

impl Engine {
    /// Brings an image whose layers are opened on their way. It is written beside the store first, because its manifest
    /// can only be made when all layers are known.
    pub(super) fn fetch_encrypted(
        &self,
        from: &Source,
        options: &Options,
        access: &Access,
        watch: &Watch<'_>,
    ) -> Result<transfer::Loaded, Fault> {
        let keys = keys(&Encryption::default(), access)?;
        let place = self.settings.root.join("decrypted");
        let failed = |e: std::io::Error| Fault::internal(format!("cannot use the directory {place:?}: {e}"));
        fs::create_dir_all(&place).map_err(failed)?;
        // One at a time; what somebody left who was killed goes first.
        let lock = fs::File::open(&place).map_err(failed)?;
        rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive)).map_err(|e| failed(e.into()))?;
        let layout = place.join("layout");
        let clear = || match fs::remove_dir_all(&layout) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed(e)),
            _ => Ok(()),
        };
        clear()?;
        let name = match from {
            Source::Registry(name) if name.digest.is_none() => Some(transfer::source::complete(name).to_string()),
            Source::OciArchive(_, Choice::Named(name)) | Source::OciDirectory(_, Choice::Named(name)) => {
                Some(name.clone())
            }
            _ => None,
        };
        let choice = name.map_or(Choice::Only, Choice::Named);
        let to = Source::OciDirectory(layout.clone(), choice);
        let mut wishes = Wishes { plain: true, ..Wishes::default() };
        wishes.change.keys = keys;
        wishes.change.signatures = transfer::Signatures::IfValid;
        let copied = transfer::copy(from, options, &to, &Options::default(), &wishes, false, &Told(watch));
        let loaded = copied.and_then(|_| {
            let (platform, drop_blobs) = (options.platform.clone(), options.drop_blobs);
            let options = Options { platform, drop_blobs, ..Options::default() };
            transfer::fetch(self.store().map_err(|e| transfer::Error::NotFetched(e.to_string()))?, &to, &options, &())
        });
        clear()?;
        loaded.map_err(fault::transfer)
    }
}

/// The keys that are asked for, from their files.
pub(super) fn keys(encryption: &Encryption, access: &Access) -> Result<Keys, Fault> {
    if encryption.recipients.is_empty() && !encryption.layers.is_empty() {
        return Err(Fault::invalid("--encrypt-layer needs to be told for whom: --encryption-key jwe:FILE"));
    }
    let recipient = |text: &String| match text.split_once(':') {
        Some(("jwe", path)) => read(path),
        Some((kind @ ("pgp" | "pkcs7" | "pkcs11" | "provider"), _)) => {
            Err(Fault::new(Kind::Unsupported, format!("encryption by {kind} is not supported"))
                .hint("use jwe:FILE with a public key of RSA or an elliptic curve in PEM"))
        }
        _ => Err(Fault::invalid(format!("invalid recipient {text:?}: jwe:FILE is expected"))),
    };
    let own = |text: &String| match text.split_once(':') {
        Some((path, _)) if !fs::exists(text).unwrap_or(false) => {
            Err(Fault::new(Kind::Unsupported, format!("the key {path:?} has a passphrase, which is not supported"))
                .hint("openssl pkey -in KEY -out PLAIN takes it off"))
        }
        _ => read(text),
    };
    let recipients = encryption.recipients.iter().map(recipient).collect::<Result<Vec<_>, _>>()?;
    let own = access.decryption_keys.iter().map(own).collect::<Result<Vec<_>, _>>()?;
    Keys::read(&own, &recipients, encryption.layers.clone()).map_err(Fault::invalid)
}

fn read(path: &str) -> Result<(String, Vec<u8>), Fault> {
    let failed = |why: String| Fault::invalid(format!("cannot read the key {path:?}: {why}"));
    let size = fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if size > KEY {
        return Err(failed(format!("it has {size} bytes, at most {KEY} are accepted")));
    }
    Ok((path.to_owned(), fs::read(path).map_err(|e| failed(e.to_string()))?))
}
