//! Flags that say who signs an image, and what becomes of the signatures that it has; of every verb that writes images.

use crate::flag::{Flag, switch, text, value};
use ops::image::Signing;

/// What has them.
pub trait HasSigning {
    /// Where they go.
    fn signing(&mut self) -> &mut Signing;
}

/// `--remove-signatures`.
pub const fn remove<R: HasSigning>() -> Flag<R> {
    switch("remove-signatures", "The signatures that the image has stay behind", |r: &mut R, on| {
        r.signing().remove = on
    })
}

/// `--sign-by`.
pub const fn by<R: HasSigning>() -> Flag<R> {
    value("sign-by", "file", "Sign with this secret key of OpenPGP (gpg --export-secret-keys)", |r: &mut R, v| {
        r.signing().openpgp = Some(v.into());
        Ok(())
    })
}

/// `--sign-by-sq-fingerprint`, which says what to do instead.
pub const fn by_sequoia<R: HasSigning>() -> Flag<R> {
    value("sign-by-sq-fingerprint", "fingerprint", "Not done here: sign with a key of Sequoia's key store", |_, v| {
        Err(format!(
            "keys of Sequoia's key store are not read here: write the key to a file, `sq key export --cert {v} --output FILE`, \
             and sign with --sign-by FILE"
        ))
    })
}

/// `--sign-by-sigstore-private-key`.
pub const fn by_sigstore<R: HasSigning>() -> Flag<R> {
    value(
        "sign-by-sigstore-private-key",
        "file",
        "Sign with this private key of sigstore (cosign generate-key-pair)",
        |r: &mut R, v| {
            r.signing().sigstore = Some(v.into());
            Ok(())
        },
    )
}

/// `--sign-by-sigstore`.
pub const fn by_sigstore_parameters<R: HasSigning>() -> Flag<R> {
    value(
        "sign-by-sigstore",
        "file",
        "Sign with the key of sigstore that this file of parameters names",
        |r: &mut R, v| {
            r.signing().sigstore_parameters = Some(v.into());
            Ok(())
        },
    )
}

/// `--sign-passphrase-file`.
pub const fn passphrase<R: HasSigning>() -> Flag<R> {
    value("sign-passphrase-file", "file", "The first line of this file is the key's passphrase", |r: &mut R, v| {
        r.signing().passphrase = Some(v.into());
        Ok(())
    })
}

/// `--sign-identity`.
pub const fn identity<R: HasSigning>() -> Flag<R> {
    text("sign-identity", "Sign as this image (default: the destination's name)", |r: &mut R, v| {
        r.signing().identity = Some(v.into());
    })
}
