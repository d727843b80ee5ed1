//! `standalone-sign` and `standalone-verify`: Skopeo's verbs for a manifest in a file and its signature in another.

use super::Verb;
use crate::failure::Failure;
use crate::flag::{Flag, short, text};
use crate::program::{plain, print};
use ops::trust::{SignFile, VerifyFile};

/// `standalone-sign`.
pub const SIGN: Verb<SignFile> = Verb {
    path: "skopeo standalone-sign",
    usage: "MANIFEST IMAGE KEY --output FILE",
    about: "Sign a manifest in a file with a secret key of OpenPGP in another",
    examples: &["manifest.json quay.io/me/app:1 secret.gpg -o app.signature"],
    interspersed: true,
    flags: &[&[
        short('o', text("output", "Write the signature to this file", |r: &mut SignFile, v| r.output = v.into())),
        text("passphrase-file", "The first line of this file is the key's passphrase", |r: &mut SignFile, v| {
            r.passphrase = Some(v.into())
        }),
    ]],
    execute: |program, asked, arguments| {
        let [manifest, image, key] = <[String; 3]>::try_from(arguments)
            .map_err(|other| Failure::new(format!("accepts 3 arg(s), received {}", other.len())))?;
        if asked.output.as_os_str().is_empty() {
            return Err(Failure::new("a file for the signature is needed: --output"));
        }
        let request = SignFile { manifest: manifest.into(), image, key: key.into(), ..asked };
        program.engine()?.sign_file(&request).map_err(plain)?;
        Ok(0)
    },
};

const VERIFY_FLAGS: &[Flag<VerifyFile>] =
    &[text("public-key-file", "File with the public keys that are believed", |r, v| r.keys = v.into())];

/// `standalone-verify`.
pub const VERIFY: Verb<VerifyFile> = Verb {
    path: "skopeo standalone-verify",
    usage: "MANIFEST IMAGE FINGERPRINTS SIGNATURE --public-key-file FILE",
    about: "Verify the signature of a manifest in a file",
    examples: &["manifest.json quay.io/me/app:1 any app.signature --public-key-file keys.gpg"],
    interspersed: true,
    flags: &[VERIFY_FLAGS],
    execute: |program, asked, arguments| {
        let [manifest, image, fingerprints, signature] = <[String; 4]>::try_from(arguments)
            .map_err(|other| Failure::new(format!("accepts 4 arg(s), received {}", other.len())))?;
        if asked.keys.as_os_str().is_empty() {
            return Err(Failure::new("a file with public keys is needed: --public-key-file"));
        }
        let fingerprints = match fingerprints.as_str() {
            "any" => Vec::new(),
            several => several.split(',').map(|one| one.trim().to_owned()).collect(),
        };
        let request =
            VerifyFile { manifest: manifest.into(), image, fingerprints, signature: signature.into(), ..asked };
        let (fingerprint, digest) = program.engine()?.verify_file(&request).map_err(plain)?;
        print(&format!("Signature verified using fingerprint {fingerprint}, digest {digest}\n")).map(|()| 0)
    },
};
