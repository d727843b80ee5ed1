//! What strangers send to those who verify signatures, as functions of any bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use transfer::{Signature, openpgp};

/// Made by GnuPG 2.2.40: a key for Ed25519 with a subkey, and a message that it signed.
const KEY: &str = "mDMEawT39RYJKwYBBAHaRw8BAQdAQpXig9VsDstFcLhpZBip2EhhcYy5JjZnKzxjEyAn7ke0CUVkIDxlZEB4PoiQBBMWCAA4FiEE\
         PARLtILhMmTpzAJQgO/Poaqqv7MFAmsE9/UCGwEFCwkIBwIGFQoJCAsCBBYCAwECHgECF4AACgkQgO/Poaqqv7Me7QD/VlITfr8A\
         4YdugV6rFNFsfAQbuJbqmmzvFsk1cPvrA6EBAJ/LdIwuoC6qhSPNvr1/IJLju/oGFMe0RSdEDCSuhNsOuDMEawT39RYJKwYBBAHa\
         Rw8BAQdA5lG4uxf/zHZfv3UITn+nqI1ddDgi9fhXbqYL5v7rkoeI7wQYFggAIBYhBDwES7SC4TJk6cwCUIDvz6Gqqr+zBQJrBPf1\
         AhsCAIEJEIDvz6Gqqr+zdiAEGRYIAB0WIQSboJ7pG15PSHPzegnBbmeTm2bKHQUCawT39QAKCRDBbmeTm2bKHfElAQC6EJNsukDh\
         GBJsn2cxy1R1Nj+j1uCiZnGYylmRvxYgXQEAvH51NmT8mmoBA/LQGYerxDkBcgrT0Qf2A9kfo8go/gBBZgEA08Tb0eUFPQyM/0xd\
         dyKV3SwsuLGdSBEerR9wCvSLR3YA/RoqzMT6tE/3Kk23p0KmxbTwzQkt+qF0N+lUoi8q0GIM";
const MESSAGE: &str = "owGbwMvMwCF2MC998uy0U7KMa2SS2AsSK3PyE1OyWb5/r1ZKLsosyUxOzFGyqq6t7ahmYRDjYFAWU2SZvWDeS+k4f4/iz1WcMN2s\
         TCA9rDKpKQ4VDFycAjBxnqsMf2V+zDy5r+ZvW+RLm/KOXM0Iy46jmx3trq4UZ1jJ5fOsczUjwxF9D9517o/W/TtqfJxD77gps7nu\
         0bNT/i04sVZcouH/BB4A";

fn bytes(text: &str) -> Vec<u8> {
    STANDARD.decode(text).expect("base64")
}

/// Keys and messages, with which [`openpgp`] can begin.
pub fn openpgp_seeds() -> Vec<Vec<u8>> {
    let key = bytes(KEY);
    let armoured = format!(
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{}\n-----END PGP PUBLIC KEY BLOCK-----\n",
        STANDARD.encode(&key)
    );
    vec![key, bytes(MESSAGE), armoured.into_bytes()]
}

/// Keys and messages of OpenPGP: whatever is read, nothing but the one message that was signed is ever believed.
pub fn openpgp(bytes: &[u8]) {
    let own = openpgp::Keyring::parse(&self::bytes(KEY)).expect("a key of GnuPG's");
    if let Ok(verified) = openpgp::verify(bytes, &own, 1_800_000_000) {
        assert_eq!(verified.contents, br#"{"critical":{}}"#);
    }
    if let Ok(ring) = openpgp::Keyring::parse(bytes)
        && let Ok(verified) = openpgp::verify(&self::bytes(MESSAGE), &ring, 1_800_000_000)
    {
        assert_eq!(verified.contents, br#"{"critical":{}}"#);
    }
    let _ = openpgp::SecretKey::read(bytes, Some(""));
}

/// Files with which [`signature`] can begin.
pub fn signature_seeds() -> Vec<Vec<u8>> {
    let text = "\0sigstore-json\n{\"mimeType\":\"a/b\",\"payload\":\"e30=\",\"annotations\":{\"k\":\"v\"}}";
    vec![text.as_bytes().to_vec(), bytes(MESSAGE), b"\0simple-signing\n\x90".to_vec()]
}

/// Signatures as files: what was read can be written, and reads the same then.
pub fn signature(bytes: &[u8]) {
    if let Ok(read) = Signature::parse(bytes) {
        assert_eq!(Signature::parse(&read.filed()).expect("what was written can be read"), read);
    }
}

/// Names and sources with which [`references`] can begin.
pub fn reference_seeds() -> Vec<Vec<u8>> {
    let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    [
        "busybox",
        "quay.io:443/a/b-c__d:1.2_3",
        "[::1]:5000/x",
        "docker://host/a:1",
        "oci-archive:/a:b/c.tar:name:1",
        "docker-archive:x.tar:@3",
        "containers-storage:[overlay@/a+/b]name",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .chain([format!("localhost/x:1@{digest}").into_bytes()])
    .collect()
}

/// Names of images and sources: what was read means the same when it is written and read again, however often it is made complete.
pub fn references(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(name) = text.parse::<types::Reference>() {
        let again: types::Reference = name.to_string().parse().expect("what was written can be read");
        assert_eq!(again.to_string(), name.to_string());
        let whole = name.normalised("localhost");
        assert_eq!(whole.normalised("localhost").to_string(), whole.to_string());
        let complete = transfer::source::complete(&name);
        assert_eq!(transfer::source::complete(&complete).to_string(), complete.to_string());
        // A path of it is one below a directory, whoever made the name.
        assert!(whole.path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{text:?}");
    }
    if let Ok(source) = transfer::source::parse(&text) {
        let again = transfer::source::parse(&source.to_string()).expect("what was written can be read");
        assert_eq!(again.to_string(), source.to_string());
    }
}
