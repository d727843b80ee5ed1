//! Keys of elliptic curves for encrypted layers: a secret agreed on with a key made for once (ECDH-ES, RFC 7518, 4.6), a key made of
//! it (Concat KDF, NIST SP 800-56A, 5.8.1), with which another is wrapped (AES key wrap, RFC 3394).
//!
//! Must not know: what is wrapped.

use super::{Outcome, random};
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey};
use serde_json::{Map, Value, json};

/// How keys are agreed on and wrapped.
pub const ALGORITHM: &str = "ECDH-ES+A256KW";
/// Bytes of a key that wraps.
const KEY: usize = 32;
/// What a wrapped key begins with before it is wrapped (RFC 3394, 2.2.3.1).
const MARK: [u8; 8] = [0xa6; 8];

/// The curves: variant, package, name in a JWK, bytes of a coordinate, mask of a secret's first byte.
macro_rules! curves {
    ($($curve:ident $package:ident $name:literal $bytes:literal $mask:literal),*) => {
        /// A key that opens.
        pub enum PrivateKey {
            $(#[doc = $name] $curve($package::SecretKey)),*
        }

        /// A key for which something is sealed.
        pub enum PublicKey {
            $(#[doc = $name] $curve($package::PublicKey)),*
        }

        impl PrivateKey {
            /// Reads PKCS #8 or SEC 1, in DER; none if it is of no curve that is known.
            pub fn of(der: &[u8]) -> Option<PrivateKey> {
                $(if let Ok(key) = $package::SecretKey::from_pkcs8_der(der) {
                    return Some(PrivateKey::$curve(key));
                }
                if let Ok(key) = $package::SecretKey::from_sec1_der(der) {
                    return Some(PrivateKey::$curve(key));
                })*
                None
            }

            /// The secret shared with whoever has `theirs`, a JWK; none if that is of another curve, or damaged.
            fn shared(&self, theirs: &Value) -> Option<Vec<u8>> {
                let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(theirs.get(name)?.as_str()?).ok();
                match (self, theirs.get("crv")?.as_str()?) {
                    $((PrivateKey::$curve(own), $name) => {
                        let (x, y) = (coordinate("x")?, coordinate("y")?);
                        if x.len() != $bytes || y.len() != $bytes {
                            return None;
                        }
                        // Reading it checks that the point is on the curve.
                        let theirs = $package::PublicKey::from_sec1_bytes(&[&[4], &x[..], &y].concat()).ok()?;
                        Some(own.diffie_hellman(&theirs).raw_secret_bytes().to_vec())
                    })*
                    _ => None,
                }
            }
        }

        impl PublicKey {
            /// Reads a `SubjectPublicKeyInfo`; none if it is of no curve that is known.
            pub fn of(der: &[u8]) -> Option<PublicKey> {
                $(if let Ok(key) = $package::PublicKey::from_public_key_der(der) {
                    return Some(PublicKey::$curve(key));
                })*
                None
            }

            /// A secret shared with the holder of the key, and the JWK by which he finds it.
            fn agree(&self) -> (Vec<u8>, Value) {
                match self {
                    $(PublicKey::$curve(theirs) => {
                        let once = loop {
                            let mut bytes: [u8; $bytes] = random();
                            bytes[0] &= $mask;
                            // All but a few numbers of that size are keys.
                            if let Ok(key) = $package::SecretKey::from_slice(&bytes) {
                                break key;
                            }
                        };
                        let point = once.public_key().to_sec1_bytes();
                        let coordinate = |from: usize| URL_SAFE_NO_PAD.encode(&point[from..from + $bytes]);
                        let key = json!({"kty": "EC", "crv": $name, "x": coordinate(1), "y": coordinate(1 + $bytes)});
                        (once.diffie_hellman(theirs).raw_secret_bytes().to_vec(), key)
                    })*
                }
            }
        }
    };
}

curves! {
    P256 p256 "P-256" 32 0xff,
    P384 p384 "P-384" 48 0xff,
    P521 p521 "P-521" 66 0x01
}

impl PublicKey {
    /// Wraps `key`; gives it and what stands in the header beside it.
    pub fn wrap(&self, key: &[u8; KEY]) -> (Vec<u8>, Map<String, Value>) {
        let (secret, once) = self.agree();
        let header = [("alg".to_owned(), json!(ALGORITHM)), ("epk".to_owned(), once)];
        (wrap(&derive(&secret, b"", b""), key), header.into_iter().collect())
    }
}

impl PrivateKey {
    /// The key that was wrapped; `header` gives what stands in the header beside it.
    ///
    /// # Errors
    /// The header is damaged.
    pub fn unwrap(&self, header: &dyn Fn(&str) -> Option<Value>, wrapped: &[u8]) -> Outcome<Option<Vec<u8>>> {
        let party = |name: &str| match header(name).as_ref().and_then(Value::as_str) {
            Some(text) => URL_SAFE_NO_PAD.decode(text).map_err(|_| "its wrapped key is damaged".to_owned()),
            None => Ok(Vec::new()),
        };
        let Some(secret) = header("epk").and_then(|theirs| self.shared(&theirs)) else { return Ok(None) };
        Ok(unwrap(&derive(&secret, &party("apu")?, &party("apv")?), wrapped))
    }
}

/// A key of `secret` for this algorithm and these parties; one round gives enough.
fn derive(secret: &[u8], we: &[u8], they: &[u8]) -> [u8; KEY] {
    let mut hasher = types::Hasher::new();
    hasher.update(&1u32.to_be_bytes());
    hasher.update(secret);
    for part in [ALGORITHM.as_bytes(), we, they] {
        hasher.update(&(part.len() as u32).to_be_bytes());
        hasher.update(part);
    }
    hasher.update(&(8 * KEY as u32).to_be_bytes());
    *hasher.finish().as_bytes()
}

/// RFC 3394, 2.2.1.
fn wrap(with: &[u8; KEY], key: &[u8]) -> Vec<u8> {
    let cipher = aes::Aes256::new(with.into());
    let mut made = [&MARK[..], key].concat();
    let count = key.len() / 8;
    for round in 0..6 {
        for at in 1..=count {
            let mut block = [0; 16];
            block[..8].copy_from_slice(&made[..8]);
            block[8..].copy_from_slice(&made[8 * at..8 * at + 8]);
            let mut block = block.into();
            cipher.encrypt_block(&mut block);
            let mut block: [u8; 16] = block.into();
            let number = ((count * round + at) as u64).to_be_bytes();
            block.iter_mut().zip(number).for_each(|(byte, number)| *byte ^= number);
            made[..8].copy_from_slice(&block[..8]);
            made[8 * at..8 * at + 8].copy_from_slice(&block[8..]);
        }
    }
    made
}

/// RFC 3394, 2.2.2; none if it was not wrapped with this key.
fn unwrap(with: &[u8; KEY], wrapped: &[u8]) -> Option<Vec<u8>> {
    if wrapped.len() % 8 != 0 || !(24..=1024).contains(&wrapped.len()) {
        return None;
    }
    let cipher = aes::Aes256::new(with.into());
    let mut made = wrapped.to_vec();
    let count = wrapped.len() / 8 - 1;
    for round in (0..6).rev() {
        for at in (1..=count).rev() {
            let mut block = [0; 16];
            block[..8].copy_from_slice(&made[..8]);
            block[8..].copy_from_slice(&made[8 * at..8 * at + 8]);
            let number = ((count * round + at) as u64).to_be_bytes();
            block.iter_mut().zip(number).for_each(|(byte, number)| *byte ^= number);
            let mut block = block.into();
            cipher.decrypt_block(&mut block);
            let block: [u8; 16] = block.into();
            made[..8].copy_from_slice(&block[..8]);
            made[8 * at..8 * at + 8].copy_from_slice(&block[8..]);
        }
    }
    (made[..8] == MARK).then(|| made[8..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_wrapped_as_the_rfc_has_it() {
        // RFC 3394, 4.6.
        let with: [u8; 32] = std::array::from_fn(|at| at as u8);
        let key: Vec<u8> = (0..16).map(|at| at * 0x11).chain(0..16).collect();
        let wrapped = wrap(&with, &key);
        assert_eq!(types::digest::hex(&wrapped[..12]), "28c9f404c4b810f4cbccb35c");
        assert_eq!(unwrap(&with, &wrapped), Some(key));
        for bad in [&wrapped[..39], &wrapped[..16], &[]] {
            assert_eq!(unwrap(&with, bad), None);
        }
        let mut bent = wrapped;
        bent[20] ^= 1;
        assert_eq!(unwrap(&with, &bent), None);
    }

    #[test]
    fn each_curve_opens_its_own() {
        let private = [
            PrivateKey::P256(p256::SecretKey::from_slice(&[7; 32]).unwrap()),
            PrivateKey::P384(p384::SecretKey::from_slice(&[7; 48]).unwrap()),
            PrivateKey::P521(p521::SecretKey::from_slice(&[&[0][..], &[7; 65]].concat()).unwrap()),
        ];
        let public = |key: &PrivateKey| match key {
            PrivateKey::P256(key) => PublicKey::P256(key.public_key()),
            PrivateKey::P384(key) => PublicKey::P384(key.public_key()),
            PrivateKey::P521(key) => PublicKey::P521(key.public_key()),
        };
        let key = [3; 32];
        for (at, own) in private.iter().enumerate() {
            let (wrapped, header) = public(own).wrap(&key);
            for (other, reader) in private.iter().enumerate() {
                let opened = reader.unwrap(&|name| header.get(name).cloned(), &wrapped).unwrap();
                assert_eq!(opened, (at == other).then(|| key.to_vec()));
            }
            // A point that is not on the curve.
            let mut bent = header.clone();
            bent["epk"]["x"] = bent["epk"]["y"].clone();
            assert_eq!(own.unwrap(&|name| bent.get(name).cloned(), &wrapped).unwrap(), None);
        }
    }
}
