//! Signature packets of version 4 (RFC 9580, section 5.2), and what makes them valid.

use super::Outcome;
use super::key::{Material, Public};
use super::packet::Cursor;
use ring::signature as sign;

/// A signature of a document; the others are of keys.
pub const BINARY: u8 = 0x00;
pub const CERTIFICATION: std::ops::RangeInclusive<u8> = 0x10..=0x13;
pub const SUBKEY: u8 = 0x18;
pub const PRIMARY: u8 = 0x19;
pub const DIRECT: u8 = 0x1f;
pub const KEY_REVOKED: u8 = 0x20;
pub const SUBKEY_REVOKED: u8 = 0x28;
pub const CERTIFICATION_REVOKED: u8 = 0x30;

/// Hash algorithms.
pub const SHA1: u8 = 2;
pub const SHA256: u8 = 8;
pub const SHA384: u8 = 9;
pub const SHA512: u8 = 10;

/// Deepest nesting of signatures within signatures.
const DEPTH: usize = 1;

/// A signature. What is told of it was signed, but for who made it.
#[derive(Debug, Clone, Default)]
pub struct Signature {
    pub kind: u8,
    pub algorithm: u8,
    pub hash: u8,
    /// What is hashed behind the document.
    trailer: Vec<u8>,
    /// Two bytes of the hash.
    start: [u8; 2],
    /// The numbers of the algorithm.
    numbers: Vec<Vec<u8>>,
    pub created: u64,
    /// Seconds after that for which it holds; 0 means for ever.
    pub expires: u64,
    /// Seconds after its creation for which the key that it is of holds.
    pub key_expires: u64,
    /// What the key that it is of may be used for; none if nothing is said.
    pub flags: Option<u8>,
    /// Who made it, as far as it tells.
    pub issuer: Option<[u8; 8]>,
    pub issuer_fingerprint: Option<Vec<u8>>,
    /// The signature that a subkey makes of its primary key.
    pub embedded: Option<Box<Signature>>,
}

impl Signature {
    /// Reads the body of a packet.
    pub fn parse(body: &[u8]) -> Outcome<Signature> {
        Signature::nested(body, 0)
    }

    fn nested(body: &[u8], depth: usize) -> Outcome<Signature> {
        let mut cursor = Cursor(body);
        match cursor.byte()? {
            4 => {}
            version => return Err(format!("a signature of OpenPGP has version {version}, and only 4 is supported")),
        }
        let mut read =
            Signature { kind: cursor.byte()?, algorithm: cursor.byte()?, hash: cursor.byte()?, ..Signature::default() };
        let count = cursor.number(2)? as usize;
        let hashed = cursor.take(count)?;
        let length = 6 + count;
        read.trailer = body[..length].to_vec();
        read.trailer.extend([4, 255]);
        read.trailer.extend((length as u32).to_be_bytes());
        read.notes(hashed, true, depth)?;
        let count = cursor.number(2)? as usize;
        let unhashed = cursor.take(count)?;
        read.notes(unhashed, false, depth)?;
        let start = cursor.take(2)?;
        read.start = [start[0], start[1]];
        match read.algorithm {
            // Ed25519 of RFC 9580: 64 bytes.
            27 => read.numbers = vec![cursor.take(64)?.to_vec()],
            _ => {
                while !cursor.0.is_empty() && read.numbers.len() < 4 {
                    read.numbers.push(cursor.integer()?.to_vec());
                }
            }
        }
        Ok(read)
    }

    /// Reads subpackets. What is not hashed may say who made the signature, and nothing else.
    fn notes(&mut self, bytes: &[u8], hashed: bool, depth: usize) -> Outcome<()> {
        let mut cursor = Cursor(bytes);
        while !cursor.0.is_empty() {
            let first = cursor.byte()?;
            let length = match first {
                0..192 => usize::from(first),
                192..255 => ((usize::from(first) - 192) << 8) + usize::from(cursor.byte()?) + 192,
                255 => cursor.number(4)? as usize,
            };
            let mut note = Cursor(cursor.take(length)?);
            let kind = note.byte()?;
            match (kind & 0x7f, hashed) {
                (2, true) => self.created = note.number(4)?.into(),
                (3, true) => self.expires = note.number(4)?.into(),
                (9, true) => self.key_expires = note.number(4)?.into(),
                (27, true) => self.flags = Some(note.byte().unwrap_or(0)),
                (16, _) => self.issuer = note.0.try_into().ok(),
                (33, _) if note.byte()? == 4 => self.issuer_fingerprint = Some(note.0.to_vec()),
                (32, _) if depth < DEPTH => {
                    self.embedded = Some(Box::new(Signature::nested(note.0, depth + 1)?));
                }
                // Known, and nothing that matters here: trust, preferences, notations, policies, features, names.
                (4..=7 | 11 | 12 | 20..=26 | 28..=31 | 33..=35 | 39, _) => {}
                _ if kind & 0x80 != 0 && hashed => {
                    return Err(format!(
                        "a signature of OpenPGP says something critical ({}) that is not known",
                        kind & 0x7f
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// True if it may have been made by `key`.
    pub fn may_be_of(&self, key: &Public) -> bool {
        match (&self.issuer_fingerprint, &self.issuer) {
            (Some(fingerprint), _) => fingerprint.as_slice() == key.fingerprint,
            (None, Some(issuer)) => key.fingerprint[12..] == *issuer,
            (None, None) => true,
        }
    }

    /// True if `key` has signed `parts`, one after the other. Hashes that can be forged are accepted for keys'
    /// signatures of themselves alone, where nobody else has a say: old ones are made with them.
    pub fn is_of(&self, key: &Public, parts: &[&[u8]], own: bool) -> bool {
        if self.algorithm != key.algorithm || self.hash == SHA1 && !own {
            return false;
        }
        let message = [&parts.concat()[..], &self.trailer].concat();
        let Some(hash) = digest(self.hash, &message) else { return false };
        if hash[..2] != self.start {
            return false;
        }
        match (&key.material, self.numbers.as_slice()) {
            (Material::Rsa { modulus, exponent }, [number]) => {
                let algorithm = match self.hash {
                    SHA1 => &sign::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
                    SHA256 => &sign::RSA_PKCS1_2048_8192_SHA256,
                    SHA384 => &sign::RSA_PKCS1_2048_8192_SHA384,
                    _ => &sign::RSA_PKCS1_2048_8192_SHA512,
                };
                let key = sign::RsaPublicKeyComponents { n: modulus, e: exponent };
                padded(number, modulus.len()).is_some_and(|number| key.verify(algorithm, &message, &number).is_ok())
            }
            (Material::Ed25519(point), numbers) => {
                let signature = match numbers {
                    [both] if both.len() == 64 => Some(both.clone()),
                    [r, s] => padded(r, 32).and_then(|r| Some([r, padded(s, 32)?].concat())),
                    _ => None,
                };
                let key = sign::UnparsedPublicKey::new(&sign::ED25519, point);
                signature.is_some_and(|signature| key.verify(&hash, &signature).is_ok())
            }
            (Material::Ecdsa { point, size }, [r, s]) => {
                let algorithm: &dyn sign::VerificationAlgorithm = match (size, self.hash) {
                    (32, SHA256) => &sign::ECDSA_P256_SHA256_FIXED,
                    (48, SHA384) => &sign::ECDSA_P384_SHA384_FIXED,
                    _ => return false,
                };
                let Some(signature) = padded(r, *size).and_then(|r| Some([r, padded(s, *size)?].concat())) else {
                    return false;
                };
                sign::UnparsedPublicKey::new(algorithm, point).verify(&message, &signature).is_ok()
            }
            _ => false,
        }
    }

    /// True if it holds at `now`.
    pub fn holds(&self, now: u64) -> bool {
        self.expires == 0 || now < self.created.saturating_add(self.expires)
    }
}

/// A number in exactly `size` bytes; none if it has more.
pub fn padded(number: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; size.checked_sub(number.len())?];
    bytes.extend_from_slice(number);
    Some(bytes)
}

/// A hash, by the number of its algorithm.
pub fn digest(algorithm: u8, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut context = context(algorithm)?;
    context.update(bytes);
    Some(context.finish().as_ref().to_vec())
}

/// The same, of bytes that come in pieces.
pub fn context(algorithm: u8) -> Option<ring::digest::Context> {
    let algorithm = match algorithm {
        SHA1 => &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        SHA256 => &ring::digest::SHA256,
        SHA384 => &ring::digest::SHA384,
        SHA512 => &ring::digest::SHA512,
        _ => return None,
    };
    Some(ring::digest::Context::new(algorithm))
}
