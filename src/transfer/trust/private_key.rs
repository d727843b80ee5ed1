//! Private keys of sigstore, as cosign writes them: PKCS #8 (RFC 5958) in PEM, plain (`PRIVATE KEY`) or behind a passphrase.
//!
//! Behind a passphrase (`ENCRYPTED SIGSTORE PRIVATE KEY`, and before that `ENCRYPTED COSIGN PRIVATE KEY`) the PEM holds JSON: the
//! parameters of scrypt, which makes a key of the passphrase, and a secret box of NaCl (XSalsa20 and Poly1305).
//!
//! Must not know: what is signed.

use super::signature::Sigstore;
use super::{pem, sigstore};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use poly1305::universal_hash::KeyInit;
use ring::rand::SystemRandom;
use ring::signature as sign;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What the parameters of scrypt may ask of our memory, in bytes, and of our time.
const MEMORY: u64 = 256 << 20;
const PARALLEL: u32 = 16;

/// A key that signs.
pub struct PrivateKey(Kind);

enum Kind {
    Ecdsa(sign::EcdsaKeyPair),
    Ed25519(sign::Ed25519KeyPair),
    Rsa(sign::RsaKeyPair),
}

/// A key behind a passphrase.
#[derive(Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Deserialize)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

impl PrivateKey {
    /// Reads a file.
    ///
    /// # Errors
    /// It is no such key, or its passphrase is missing or wrong.
    pub fn read(bytes: &[u8], passphrase: Option<&str>) -> Result<PrivateKey, String> {
        for title in ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"] {
            if let Some(sealed) = pem::all(bytes, title)?.first() {
                let passphrase = passphrase.ok_or("it is behind a passphrase, and none was given")?;
                return PrivateKey::of(&opened(sealed, passphrase)?);
            }
        }
        if let Some(der) = pem::all(bytes, "PRIVATE KEY")?.first() {
            return PrivateKey::of(der);
        }
        Err("it is no private key of sigstore: `cosign generate-key-pair` and `skopeo generate-sigstore-key` make one"
            .into())
    }

    fn of(der: &[u8]) -> Result<PrivateKey, String> {
        let random = SystemRandom::new();
        if let Ok(key) = sign::EcdsaKeyPair::from_pkcs8(&sign::ECDSA_P256_SHA256_ASN1_SIGNING, der, &random) {
            return Ok(PrivateKey(Kind::Ecdsa(key)));
        }
        if let Ok(key) = sign::Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(PrivateKey(Kind::Ed25519(key)));
        }
        if let Ok(key) = sign::RsaKeyPair::from_pkcs8(der) {
            return Ok(PrivateKey(Kind::Rsa(key)));
        }
        Err("its key is none for ECDSA on the curve P-256, Ed25519 or RSA with 2048 bits or more, in PKCS #8".into())
    }

    /// Signs `payload`.
    pub fn sign(&self, payload: Vec<u8>) -> Result<Sigstore, String> {
        let random = SystemRandom::new();
        let failed = |_| "the key does not sign".to_owned();
        let signature = match &self.0 {
            Kind::Ecdsa(key) => key.sign(&random, &payload).map_err(failed)?.as_ref().to_vec(),
            Kind::Ed25519(key) => key.sign(&payload).as_ref().to_vec(),
            Kind::Rsa(key) => {
                let mut made = vec![0; key.public().modulus_len()];
                key.sign(&sign::RSA_PKCS1_SHA256, &random, &payload, &mut made).map_err(failed)?;
                made
            }
        };
        let annotations = BTreeMap::from([(sigstore::SIGNATURE.to_owned(), STANDARD.encode(signature))]);
        Ok(Sigstore { kind: sigstore::PAYLOAD.into(), payload, annotations })
    }
}

fn opened(sealed: &[u8], passphrase: &str) -> Result<Vec<u8>, String> {
    let sealed: Sealed = serde_json::from_slice(sealed).map_err(|e| e.to_string())?;
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| "its PEM is damaged".to_owned());
    if sealed.kdf.name != "scrypt" || sealed.cipher.name != "nacl/secretbox" {
        return Err(format!("it is protected by {} and {}, which are not known", sealed.kdf.name, sealed.cipher.name));
    }
    let Params { n, r, p } = sealed.kdf.params;
    let needed = n.saturating_mul(u64::from(r)).saturating_mul(128);
    if !n.is_power_of_two() || n < 2 || needed > MEMORY || p > PARALLEL {
        return Err(format!("its passphrase is stretched with parameters out of bounds (N {n}, r {r}, p {p})"));
    }
    let params = scrypt::Params::new(n.ilog2() as u8, r, p).map_err(|e| e.to_string())?;
    let mut key = [0; 32];
    scrypt::scrypt(passphrase.as_bytes(), &bytes(&sealed.kdf.salt)?, &params, &mut key).map_err(|e| e.to_string())?;
    unboxed(&key, &bytes(&sealed.cipher.nonce)?, &bytes(&sealed.ciphertext)?)
        .ok_or_else(|| "the passphrase is wrong, or the key is damaged".into())
}

/// Opens a secret box: 16 bytes that authenticate what follows them.
fn unboxed(key: &[u8; 32], nonce: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut cipher = salsa20::XSalsa20::new_from_slices(key, nonce).ok()?;
    let mut once = [0; 32];
    cipher.apply_keystream(&mut once);
    let (tag, text) = sealed.split_at_checked(16)?;
    let found = poly1305::Poly1305::new_from_slice(&once).ok()?.compute_unpadded(text);
    if !constant_time(found.as_slice(), tag) {
        return None;
    }
    let mut plain = text.to_vec();
    cipher.apply_keystream(&mut plain);
    Some(plain)
}

/// Compares in a time that tells nothing.
fn constant_time(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}
