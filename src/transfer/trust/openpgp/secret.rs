//! Secret keys of version 4 (RFC 9580, section 5.5.3), as `gpg --export-secret-keys` writes them, and signing.

use super::key::{Keyring, Material, Public};
use super::packet::{self, Cursor};
use super::signature::{self, SHA256, SHA384, SHA512};
use super::{Outcome, now};
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use ring::signature as sign;

/// Bytes of a block of AES.
const BLOCK: usize = 16;

/// A key that signs.
pub struct SecretKey {
    public: Public,
    numbers: Numbers,
}

enum Numbers {
    Rsa(Box<rsa::PrivateKey>),
    Ed25519(sign::Ed25519KeyPair),
    Ecdsa(sign::EcdsaKeyPair),
}

impl SecretKey {
    /// Reads the key of a file that signs: the newest that may, of what is not expired or revoked. A passphrase is needed
    /// where the key is protected by one.
    ///
    /// # Errors
    /// There is none, or the passphrase is wrong.
    pub fn read(bytes: &[u8], passphrase: Option<&str>) -> Outcome<SecretKey> {
        let ring = Keyring::parse(bytes)?;
        let mut found: Option<(Public, Vec<u8>)> = None;
        for packet in packet::packets(bytes)? {
            if !matches!(packet.tag, packet::SECRET_KEY | packet::SECRET_SUBKEY) {
                continue;
            }
            let (public, length) = Public::parse(&packet.body)?;
            let fit = ring.0.iter().any(|certificate| {
                let mut keys = certificate.keys();
                keys.any(|(key, binding)| {
                    key.fingerprint == public.fingerprint && certificate.unfit(key, binding, now()).is_none()
                })
            });
            // A stub says that the numbers are elsewhere: on a card, or left out.
            let there = packet.body.get(length).is_some() && !is_stub(&packet.body[length..]);
            if fit
                && there
                && public.material != Material::Other
                && found.as_ref().is_none_or(|(k, _)| k.created <= public.created)
            {
                found = Some((public, packet.body[length..].to_vec()));
            }
        }
        let (public, protected) =
            found.ok_or("it holds no secret key that may sign: `gpg --export-secret-keys` writes one")?;
        let plain = opened(&protected, passphrase)?;
        let numbers = numbers(&public, &plain)?;
        Ok(SecretKey { public, numbers })
    }

    /// Fingerprint, in upper-case hex digits.
    #[cfg(test)]
    pub fn fingerprint(&self) -> String {
        types::digest::hex(&self.public.fingerprint).to_uppercase()
    }

    /// A message with `contents` and a signature of it, made at `now`.
    pub fn sign(&self, contents: &[u8], now: u64) -> Outcome<Vec<u8>> {
        let hash = match (&self.numbers, &self.public.material) {
            (Numbers::Ecdsa(_), Material::Ecdsa { size: 48, .. }) => SHA384,
            (Numbers::Ecdsa(_), _) => SHA256,
            _ => SHA512,
        };
        let mut hashed = vec![5, 2];
        hashed.extend((now as u32).to_be_bytes());
        hashed.extend([22, 33, 4]);
        hashed.extend(self.public.fingerprint);
        let mut body = vec![4, signature::BINARY, self.public.algorithm, hash];
        body.extend((hashed.len() as u16).to_be_bytes());
        body.extend(&hashed);
        let length = body.len() as u32;
        let mut message = [contents, &body].concat();
        message.extend([4, 255]);
        message.extend(length.to_be_bytes());
        let digest = signature::digest(hash, &message).ok_or("no such hash")?;
        // Who made it, once more, for readers that know no fingerprints here.
        body.extend([0, 10, 9, 16]);
        body.extend(&self.public.fingerprint[12..]);
        body.extend(&digest[..2]);
        let random = ring::rand::SystemRandom::new();
        match &self.numbers {
            Numbers::Rsa(key) => {
                let made = key.sign(rsa::Pkcs1v15Sign::new::<rsa::sha2::Sha512>(), &digest);
                body.extend(packet::integer(&made.map_err(|e| format!("the key does not sign: {e}"))?));
            }
            Numbers::Ed25519(key) => {
                let made = key.sign(&digest);
                match self.public.algorithm {
                    27 => body.extend(made.as_ref()),
                    _ => made.as_ref().chunks(32).for_each(|half| body.extend(packet::integer(half))),
                }
            }
            Numbers::Ecdsa(key) => {
                let made = key.sign(&random, &message).map_err(|_| "the key does not sign".to_owned())?;
                let half = made.as_ref().len() / 2;
                made.as_ref().chunks(half).for_each(|half| body.extend(packet::integer(half)));
            }
        }
        let one_pass =
            [&[3, signature::BINARY, hash, self.public.algorithm][..], &self.public.fingerprint[12..], &[1]].concat();
        Ok(packet::signed(&one_pass, contents, &body))
    }
}

/// GnuPG's mark for a secret key without its numbers.
fn is_stub(protected: &[u8]) -> bool {
    matches!(protected, [254 | 255, _, 101, ..])
}

/// The numbers of a key, whose protection is taken off, without their check sum.
fn opened(protected: &[u8], passphrase: Option<&str>) -> Outcome<Vec<u8>> {
    let mut cursor = Cursor(protected);
    let usage = cursor.byte()?;
    let mut plain = match usage {
        0 => cursor.0.to_vec(),
        254 | 255 => {
            let passphrase = passphrase.ok_or("it is protected by a passphrase, and none was given")?;
            let size = match cursor.byte()? {
                7 => 16,
                8 => 24,
                9 => 32,
                other => return Err(format!("it is protected by the cipher {other}, and only AES is supported")),
            };
            let key = stretched(&mut cursor, passphrase.as_bytes(), size)?;
            let start = cursor.take(BLOCK)?.to_vec();
            let mut bytes = cursor.0.to_vec();
            decrypt(&key, start, &mut bytes)?;
            bytes
        }
        other => {
            return Err(format!(
                "its protection ({other}) is not supported: export it with another passphrase, or none"
            ));
        }
    };
    let sum = |bytes: &[u8]| bytes.iter().fold(0u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
    let length = plain.len().checked_sub(if usage == 254 { 20 } else { 2 }).ok_or("its secret part is cut off")?;
    let check = plain.split_off(length);
    let right = match usage {
        254 => signature::digest(signature::SHA1, &plain).is_some_and(|hash| hash == check),
        _ => check == sum(&plain).to_be_bytes(),
    };
    if right { Ok(plain) } else { Err("the passphrase is wrong, or the key is damaged".into()) }
}

/// A key made of a passphrase (RFC 9580, section 3.7).
fn stretched(cursor: &mut Cursor<'_>, passphrase: &[u8], size: usize) -> Outcome<Vec<u8>> {
    let kind = cursor.byte()?;
    let hash = cursor.byte()?;
    let salt = if kind == 0 { &[][..] } else { cursor.take(8)? };
    let once = [salt, passphrase].concat();
    if once.is_empty() {
        return Err("it is protected by an empty passphrase without salt".into());
    }
    let count = match kind {
        0 | 1 => once.len(),
        3 => {
            let coded = usize::from(cursor.byte()?);
            ((16 + (coded & 15)) << ((coded >> 4) + 6)).max(once.len())
        }
        other => return Err(format!("its passphrase is stretched by the method {other}, which is not supported")),
    };
    let mut key = Vec::new();
    let mut round = 0;
    while key.len() < size {
        let mut context =
            signature::context(hash).ok_or("its passphrase is stretched by a hash that is not supported")?;
        context.update(&vec![0; round]);
        // Some 65 million bytes: they are not put together first.
        let several = once.repeat(4096 / once.len() + 1);
        let mut left = count;
        while left > 0 {
            let more = several.len().min(left);
            context.update(&several[..more]);
            left -= more;
        }
        key.extend(context.finish().as_ref());
        round += 1;
    }
    key.truncate(size);
    Ok(key)
}

/// Cipher feedback (CFB) with AES.
fn decrypt(key: &[u8], mut register: Vec<u8>, bytes: &mut [u8]) -> Outcome<()> {
    let encrypt: Encryptor = match key.len() {
        16 => encryptor::<aes::Aes128>(key)?,
        24 => encryptor::<aes::Aes192>(key)?,
        _ => encryptor::<aes::Aes256>(key)?,
    };
    for piece in bytes.chunks_mut(BLOCK) {
        let mut block: [u8; BLOCK] = register.as_slice().try_into().map_err(|_| "a wrong register")?;
        encrypt(&mut block);
        let next = piece.to_vec();
        piece.iter_mut().zip(block).for_each(|(byte, mask)| *byte ^= mask);
        register = next;
        register.resize(BLOCK, 0);
    }
    Ok(())
}

/// Encrypts one block in place.
type Encryptor = Box<dyn Fn(&mut [u8; BLOCK])>;

fn encryptor<C: BlockCipherEncrypt + KeyInit + 'static>(key: &[u8]) -> Outcome<Encryptor> {
    let cipher = C::new_from_slice(key).map_err(|_| "a key of a wrong size")?;
    Ok(Box::new(move |block| {
        let mut piece = aes::cipher::Block::<C>::default();
        piece.copy_from_slice(block);
        cipher.encrypt_block(&mut piece);
        block.copy_from_slice(&piece);
    }))
}

fn numbers(public: &Public, plain: &[u8]) -> Outcome<Numbers> {
    let mut cursor = Cursor(plain);
    let damaged = |_| "its numbers do not fit".to_owned();
    match &public.material {
        Material::Rsa { modulus, exponent } => {
            let mut next = || Ok::<_, String>(rsa::BoxedUint::from_be_slice_vartime(cursor.integer()?));
            let (d, p, q) = (next()?, next()?, next()?);
            let n = rsa::BoxedUint::from_be_slice_vartime(modulus);
            let e = rsa::BoxedUint::from_be_slice_vartime(exponent);
            let key = rsa::PrivateKey::from_components(n, e, d, vec![p, q]);
            Ok(Numbers::Rsa(Box::new(key.map_err(|e| format!("its numbers do not fit: {e}"))?)))
        }
        Material::Ed25519(point) => {
            let seed = if public.algorithm == 27 { cursor.take(32)? } else { cursor.integer()? };
            let seed = signature::padded(seed, 32).ok_or("its number is too large")?;
            sign::Ed25519KeyPair::from_seed_and_public_key(&seed, point).map(Numbers::Ed25519).map_err(damaged)
        }
        Material::Ecdsa { point, size } => {
            let secret = signature::padded(cursor.integer()?, *size).ok_or("its number is too large")?;
            let algorithm = match size {
                48 => &sign::ECDSA_P384_SHA384_FIXED_SIGNING,
                _ => &sign::ECDSA_P256_SHA256_FIXED_SIGNING,
            };
            let random = ring::rand::SystemRandom::new();
            sign::EcdsaKeyPair::from_private_key_and_public_key(algorithm, &secret, point, &random)
                .map(Numbers::Ecdsa)
                .map_err(damaged)
        }
        Material::Other => Err("its algorithm is not supported".into()),
    }
}
