//! Messages and keys of GnuPG's, whole and damaged; and our own, read again.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const CONTENTS: &[u8] = b"{\"critical\":{}}";

fn bytes(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

fn ring(text: &str) -> Keyring {
    Keyring::parse(&bytes(text)).unwrap()
}

/// A moment after all of it was made.
const NOW: u64 = 1_800_000_000;

#[test]
fn messages_of_gnupg_are_verified() {
    for (message, key) in [
        (made::RSA_MSG, made::RSA_PUB),
        (made::ED_MSG, made::ED_PUB),
        (made::P256_MSG, made::P256_PUB),
        (made::RSA_MSG, made::RSA_SEC),
    ] {
        let verified = verify(&bytes(message), &ring(key), NOW).unwrap();
        assert_eq!((verified.contents.as_slice(), verified.fingerprint.len()), (CONTENTS, 40));
        let mut all = ring(made::OLD_PUB);
        all.extend(ring(key));
        assert!(verify(&bytes(message), &all, NOW).is_ok(), "one of several keys");
    }
}

#[test]
fn keys_that_do_not_count_are_named() {
    for (message, key, now, word) in [
        (made::ED_MSG, made::RSA_PUB, NOW, "not made with a key"),
        (made::OLD_MSG, made::OLD_PUB, NOW, "expired"),
        (made::REV_MSG, made::REV_PUB, NOW, "revoked"),
        (made::SHA1_MSG, made::RSA_PUB, NOW, "not made with a key"),
    ] {
        let error = verify(&bytes(message), &ring(key), now).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
    assert!(verify(&bytes(made::OLD_MSG), &ring(made::OLD_PUB), 1_591_000_000).is_ok(), "while it was valid");
}

#[test]
fn a_bit_that_is_bent_is_found() {
    let keys = ring(made::ED_PUB);
    let (message, key) = (bytes(made::ED_MSG), bytes(made::ED_PUB));
    let plain = SecretKey::read(&bytes(made::ED_SEC), None).unwrap().sign(CONTENTS, NOW).unwrap();
    for at in 0..plain.len() {
        let mut bent = plain.clone();
        bent[at] ^= 1;
        if let Ok(verified) = verify(&bent, &keys, NOW) {
            assert_eq!(verified.contents, CONTENTS, "byte {at} is part of what was signed");
        }
    }
    for at in 0..message.len() {
        let mut bent = message.clone();
        bent[at] ^= 4;
        if let Ok(verified) = verify(&bent, &keys, NOW) {
            assert_eq!(verified.contents, CONTENTS, "byte {at}");
        }
        assert!(verify(&message[..at], &keys, NOW).is_err(), "cut at {at}");
    }
    for at in 0..key.len() {
        let mut bent = key.clone();
        bent[at] ^= 4;
        let _ = Keyring::parse(&bent).map(|keys| verify(&message, &keys, NOW));
        let _ = Keyring::parse(&key[..at]);
    }
}

#[test]
fn what_is_signed_here_is_verified() {
    for (secret, public, passphrase) in [
        (made::RSA_SEC, made::RSA_PUB, None),
        (made::ED_SEC, made::ED_PUB, None),
        (made::P256_SEC, made::P256_PUB, None),
        (made::PROT_SEC, made::PROT_PUB, Some("pass word")),
    ] {
        let key = SecretKey::read(&bytes(secret), passphrase).unwrap();
        let message = key.sign(b"contents", NOW).unwrap();
        let verified = verify(&message, &ring(public), NOW).unwrap();
        assert_eq!((verified.contents.as_slice(), verified.fingerprint), (&b"contents"[..], key.fingerprint()));
    }
    let refused = |secret, passphrase| SecretKey::read(&bytes(secret), passphrase).map(drop).unwrap_err();
    assert!(refused(made::PROT_SEC, None).contains("none was given"));
    assert!(refused(made::PROT_SEC, Some("other")).contains("wrong"));
    assert!(refused(made::RSA_PUB, None).contains("no secret key"));
    // GnuPG's file of a key that is revoked was written before that.
    assert!(SecretKey::read(&bytes(made::REV_SEC), None).is_ok());
}

#[test]
fn armour_is_read() {
    let armoured = |bytes: &[u8]| {
        let text = STANDARD.encode(bytes);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!(
            "before\n-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: x\n\n{}\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n",
            lines.join("\n")
        )
    };
    let two = armoured(&bytes(made::OLD_PUB)) + &armoured(&bytes(made::ED_PUB));
    let keys = Keyring::parse(two.as_bytes()).unwrap();
    assert_eq!(keys.0.len(), 2);
    assert!(verify(&bytes(made::ED_MSG), &keys, NOW).is_ok());
    for text in
        ["", "x", "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----BEGIN PGP SIGNED MESSAGE-----\n\n-----END PGP x"]
    {
        assert!(Keyring::parse(text.as_bytes()).is_err(), "{text:?}");
    }
}
