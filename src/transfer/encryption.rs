//! Encrypted layers, as containers/ocicrypt has them: AES-256 in counter mode, authenticated by HMAC-SHA256 of what was
//! encrypted; the key of a layer is in an annotation beside it, wrapped for each recipient (JWE).
//!
//! Must not know: where keys and layers come from.

mod elliptic;
mod jwe;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jwe::{PrivateKey, PublicKey, unwrap, wrap};
use ring::hmac;
use rsa::rand_core::{TryCryptoRng, TryRng};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use types::Digest;

/// What the media type of an encrypted layer ends with.
pub const SUFFIX: &str = "+encrypted";
/// What annotations about encryption begin with.
const ANNOTATIONS: &str = "org.opencontainers.image.enc.";
/// The wrapped key.
const WRAPPED: &str = "org.opencontainers.image.enc.keys.jwe";
/// What everybody may know of the cipher.
const PUBLIC: &str = "org.opencontainers.image.enc.pubopts";
/// The only cipher there is.
const CIPHER: &str = "AES_256_CTR_HMAC_SHA256";
/// Most recipients of one layer that are tried.
const RECIPIENTS: usize = 64;
/// Bytes of a key.
const KEY: usize = 32;
/// Bytes of a block.
const BLOCK: usize = 16;

type Outcome<T> = Result<T, String>;

/// Who can read layers, and whose layers can be read.
#[derive(Clone, Default)]
pub struct Keys(Arc<Ring>);

#[derive(Default)]
struct Ring {
    own: Vec<PrivateKey>,
    recipients: Vec<PublicKey>,
    layers: Vec<i64>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({} own, {} recipients)", self.0.own.len(), self.0.recipients.len())
    }
}

impl Keys {
    /// Private keys that open layers, and public keys of those who are to open what is encrypted, each in PEM with a name for
    /// errors. `layers` are the places of the layers that are encrypted, negative ones from the top; none means all.
    ///
    /// # Errors
    /// What is no key, or one of a kind that is not known.
    pub fn read(own: &[(String, Vec<u8>)], recipients: &[(String, Vec<u8>)], layers: Vec<i64>) -> Outcome<Keys> {
        let own =
            own.iter().map(|(name, bytes)| PrivateKey::read(bytes).map_err(|why| format!("the key {name:?}: {why}")));
        let recipients = recipients
            .iter()
            .map(|(name, bytes)| PublicKey::read(bytes).map_err(|why| format!("the key {name:?}: {why}")));
        Ok(Keys(Arc::new(Ring {
            own: own.collect::<Outcome<_>>()?,
            recipients: recipients.collect::<Outcome<_>>()?,
            layers,
        })))
    }

    /// True if layers can be opened.
    pub fn opens(&self) -> bool {
        !self.0.own.is_empty()
    }

    /// True if the layer at place `at` of `count` is to be encrypted.
    pub fn seals(&self, at: usize, count: usize) -> bool {
        let is = |place: &i64| *place == at as i64 || *place == at as i64 - count as i64;
        !self.0.recipients.is_empty() && (self.0.layers.is_empty() || self.0.layers.iter().any(is))
    }

    /// What opens the layer with these annotations.
    ///
    /// # Errors
    /// No key fits, or the annotations are damaged.
    pub fn open(&self, annotations: &BTreeMap<String, String>) -> Outcome<Opening> {
        let wrapped = annotations.get(WRAPPED).ok_or("its key is not wrapped as JWE")?;
        let decoded = |text: &str| STANDARD.decode(text).map_err(|_| "its annotations are damaged".to_owned());
        let public: Public = match annotations.get(PUBLIC) {
            Some(text) => serde_json::from_slice(&decoded(text)?).map_err(|e| format!("its public options: {e}"))?,
            None => return Err("it does not say how it is encrypted".into()),
        };
        if public.cipher != CIPHER {
            return Err(format!("its cipher {:?} is not supported", public.cipher));
        }
        for message in wrapped.split(',').take(RECIPIENTS) {
            let Some(opened) = unwrap(&decoded(message)?, &self.0.own)? else { continue };
            let private: Private = serde_json::from_slice(&opened).map_err(|e| format!("its private options: {e}"))?;
            let option = |name: &str| public.options.get(name).or_else(|| private.options.get(name)).cloned();
            let bytes = |text: Option<String>| text.map(|text| decoded(&text)).transpose();
            // The first versions had it among the options.
            let tag = bytes(public.hmac.clone().or_else(|| option("hmac")))?.ok_or("it has no authentication code")?;
            let nonce: [u8; BLOCK] =
                bytes(option("nonce"))?.and_then(|nonce| nonce.try_into().ok()).ok_or("its nonce is not 16 bytes")?;
            let key: [u8; KEY] = decoded(&private.key)?.try_into().map_err(|_| "its key is not 32 bytes")?;
            return Ok(Opening { key, nonce, tag, digest: private.digest.parse().ok() });
        }
        Err("none of the keys opens it".into())
    }

    /// Something that encrypts a layer whose digest is `digest`, with a new key.
    pub fn seal(&self, digest: Option<Digest>) -> Sealing {
        let (key, nonce) = (random(), random());
        Sealing { keys: self.clone(), key, nonce, digest, tag: Arc::default() }
    }
}

/// What opens one layer.
#[derive(Debug, Clone)]
pub struct Opening {
    key: [u8; KEY],
    nonce: [u8; BLOCK],
    tag: Vec<u8>,
    /// Digest of what is in it, if that is known.
    pub digest: Option<Digest>,
}

impl Opening {
    /// A reader of what was encrypted. Its end is an error if that is not what the recipient was meant to get.
    pub fn reader<'r>(&self, reader: Box<dyn Read + Send + 'r>) -> Box<dyn Read + Send + 'r> {
        let check = Check::Against(self.tag.clone());
        Box::new(Cipher {
            reader,
            stream: Stream::new(&self.key, self.nonce),
            code: code(&self.key),
            check,
            ended: false,
        })
    }
}

/// What encrypts one layer.
#[derive(Debug, Clone)]
pub struct Sealing {
    keys: Keys,
    key: [u8; KEY],
    nonce: [u8; BLOCK],
    digest: Option<Digest>,
    tag: Arc<Mutex<Vec<u8>>>,
}

impl Sealing {
    /// A reader of the encrypted bytes.
    pub fn reader<'r>(&self, reader: Box<dyn Read + Send + 'r>) -> Box<dyn Read + Send + 'r> {
        let check = Check::Told(self.tag.clone());
        Box::new(Cipher {
            reader,
            stream: Stream::new(&self.key, self.nonce),
            code: code(&self.key),
            check,
            ended: false,
        })
    }

    /// What is noted beside the layer, once a reader of it was read to its end.
    ///
    /// # Errors
    /// It was not, or a recipient's key is too small.
    pub fn annotations(&self) -> Outcome<BTreeMap<String, String>> {
        let tag = self.tag.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if tag.is_empty() {
            return Err("it was not read to its end".into());
        }
        let text = |bytes: &[u8]| STANDARD.encode(bytes);
        let private = Private {
            key: text(&self.key),
            digest: self.digest.map(|digest| digest.to_string()).unwrap_or_default(),
            options: BTreeMap::from([("nonce".into(), text(&self.nonce))]),
        };
        let public = json!({"cipher": CIPHER, "hmac": text(&tag), "cipheroptions": {}}).to_string();
        let wrapped = wrap(&serde_json::to_vec(&private).unwrap_or_default(), &self.keys.0.recipients)?;
        Ok(BTreeMap::from([(WRAPPED.into(), text(&wrapped)), (PUBLIC.into(), text(public.as_bytes()))]))
    }
}

/// The annotations that say nothing of encryption.
pub fn others(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let other = |(key, _): &(&String, &String)| !key.starts_with(ANNOTATIONS);
    annotations.iter().filter(other).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// What only recipients know.
#[derive(Serialize, Deserialize)]
struct Private {
    #[serde(rename = "symkey")]
    key: String,
    #[serde(default)]
    digest: String,
    #[serde(rename = "cipheroptions", default, deserialize_with = "or_none")]
    options: BTreeMap<String, String>,
}

/// What everybody knows.
#[derive(Deserialize)]
struct Public {
    cipher: String,
    #[serde(default)]
    hmac: Option<String>,
    #[serde(rename = "cipheroptions", default, deserialize_with = "or_none")]
    options: BTreeMap<String, String>,
}

/// Go writes empty maps as `null`.
fn or_none<'de, D: serde::Deserializer<'de>>(d: D) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    System.try_fill_bytes(&mut bytes).unwrap_or_else(|never| match never {});
    bytes
}

/// The kernel's random numbers.
struct System;

impl TryRng for System {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_ne_bytes(random()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_ne_bytes(random()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let mut done = 0;
        while done < bytes.len() {
            // A kernel without random numbers is none on which a secret could be made.
            done += rustix::rand::getrandom(&mut bytes[done..], rustix::rand::GetRandomFlags::empty())
                .expect("the kernel has random numbers");
        }
        Ok(())
    }
}

impl TryCryptoRng for System {}

fn code(key: &[u8; KEY]) -> hmac::Context {
    hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key))
}

/// AES-256 in counter mode, the whole block being the counter.
struct Stream {
    cipher: aes::Aes256,
    counter: u128,
    block: [u8; BLOCK],
    used: usize,
}

impl Stream {
    fn new(key: &[u8; KEY], nonce: [u8; BLOCK]) -> Stream {
        let cipher = aes::Aes256::new(key.into());
        Stream { cipher, counter: u128::from_be_bytes(nonce), block: [0; BLOCK], used: BLOCK }
    }

    fn apply(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.used == BLOCK {
                let mut block = self.counter.to_be_bytes().into();
                self.cipher.encrypt_block(&mut block);
                self.block = block.into();
                self.counter = self.counter.wrapping_add(1);
                self.used = 0;
            }
            *byte ^= self.block[self.used];
            self.used += 1;
        }
    }
}

/// What becomes of the authentication code.
enum Check {
    /// It must be this one.
    Against(Vec<u8>),
    /// It is told at the end.
    Told(Arc<Mutex<Vec<u8>>>),
}

/// A reader that encrypts or decrypts, and authenticates what is encrypted.
struct Cipher<'r> {
    reader: Box<dyn Read + Send + 'r>,
    stream: Stream,
    code: hmac::Context,
    check: Check,
    ended: bool,
}

impl Read for Cipher<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.ended || bytes.is_empty() {
            return Ok(0);
        }
        let got = self.reader.read(bytes)?;
        match (&self.check, got) {
            (Check::Against(_), _) => {
                self.code.update(&bytes[..got]);
                self.stream.apply(&mut bytes[..got]);
            }
            (Check::Told(_), _) => {
                self.stream.apply(&mut bytes[..got]);
                self.code.update(&bytes[..got]);
            }
        }
        if got == 0 {
            let tag = self.code.clone().sign();
            match &self.check {
                Check::Against(expected) => {
                    // Of equal length; how long it takes tells nothing about a code that is public.
                    if tag.as_ref() != expected.as_slice() {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "the encrypted layer was changed"));
                    }
                }
                Check::Told(told) => *told.lock().unwrap_or_else(PoisonError::into_inner) = tag.as_ref().to_vec(),
            }
            self.ended = true;
        }
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(own: &rsa::PrivateKey, recipients: &[&rsa::PrivateKey], layers: Vec<i64>) -> Keys {
        let recipients = recipients.iter().map(|key| PublicKey::Rsa(key.to_public_key())).collect();
        Keys(Arc::new(Ring { own: vec![PrivateKey::Rsa(Box::new(own.clone()))], recipients, layers }))
    }

    fn all(mut reader: Box<dyn Read + Send + '_>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    }

    #[test]
    fn sealed_for_several_opened_by_each_and_by_nobody_else() {
        let made = || rsa::PrivateKey::new(&mut System, 2048).unwrap();
        let (one, two, stranger) = (made(), made(), made());
        let plain: Vec<u8> = (0..100_001u32).map(|n| n as u8).collect();
        for recipients in [vec![&one], vec![&one, &two]] {
            let sealing = keys(&one, &recipients, Vec::new()).seal(Some(Digest::of(&plain)));
            assert!(sealing.annotations().is_err(), "not read yet");
            let sealed = all(sealing.reader(Box::new(&plain[..]))).unwrap();
            assert_eq!(sealed.len(), plain.len());
            assert_ne!(sealed, plain);
            let annotations = sealing.annotations().unwrap();
            for own in &recipients {
                let opening = keys(own, &[], Vec::new()).open(&annotations).unwrap();
                assert_eq!(opening.digest, Some(Digest::of(&plain)));
                assert_eq!(all(opening.reader(Box::new(&sealed[..]))).unwrap(), plain);
                let mut changed = sealed.clone();
                changed[70_000] ^= 1;
                assert!(all(opening.reader(Box::new(&changed[..]))).unwrap_err().to_string().contains("changed"));
                assert!(all(opening.reader(Box::new(&sealed[1..]))).is_err());
            }
            assert!(keys(&stranger, &[], Vec::new()).open(&annotations).unwrap_err().contains("none of the keys"));
        }
    }

    #[test]
    fn layers_are_counted_from_both_ends() {
        let key = rsa::PrivateKey::new(&mut System, 2048).unwrap();
        let places = |layers: Vec<i64>| -> Vec<usize> {
            let keys = keys(&key, &[&key], layers);
            (0..4).filter(|at| keys.seals(*at, 4)).collect()
        };
        assert_eq!(places(Vec::new()), [0, 1, 2, 3]);
        assert_eq!(places(vec![0, -1]), [0, 3]);
        assert_eq!(places(vec![9]), [0usize; 0]);
    }

    #[test]
    fn the_counter_is_that_of_nist() {
        // SP 800-38A, F.5.5.
        let key: Vec<u8> = (0..32)
            .map(|at| {
                u8::from_str_radix(
                    &"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"[2 * at..2 * at + 2],
                    16,
                )
                .unwrap()
            })
            .collect();
        let nonce: [u8; 16] = std::array::from_fn(|at| 0xf0 + at as u8);
        let mut bytes = [0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96];
        Stream::new(&key.try_into().unwrap(), nonce).apply(&mut bytes);
        assert_eq!(bytes, [0x60, 0x1e, 0xc3, 0x13, 0x77, 0x57, 0x89, 0xa5]);
    }
}
