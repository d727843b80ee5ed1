//! Keys of version 4 (RFC 9580, section 5.5), with what their owners say of them.

use super::Outcome;
use super::packet::{self, Cursor, Packet};
use super::signature::{self, Signature};

/// May be used to sign documents.
const MAY_SIGN: u8 = 2;
/// Most keys of a ring.
const MOST: usize = 256;
/// Most signatures that are looked at of one key.
const SIGNATURES: usize = 64;

/// A public key.
#[derive(Debug, Clone)]
pub struct Public {
    pub algorithm: u8,
    pub created: u64,
    pub material: Material,
    pub fingerprint: [u8; 20],
    /// The packet's public part.
    pub body: Vec<u8>,
}

/// The numbers of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point that is not compressed, and the bytes of one coordinate.
    Ecdsa {
        point: Vec<u8>,
        size: usize,
    },
    Ed25519(Vec<u8>),
    /// Not for signatures, or not supported.
    Other,
}

impl Public {
    /// Reads a key's public part, and says how many bytes it has.
    pub fn parse(body: &[u8]) -> Outcome<(Public, usize)> {
        let mut cursor = Cursor(body);
        match cursor.byte()? {
            4 => {}
            version => return Err(format!("a key of OpenPGP has version {version}, and only 4 is supported")),
        }
        let created = cursor.number(4)?.into();
        let algorithm = cursor.byte()?;
        let material = match algorithm {
            1 | 3 => {
                let (modulus, exponent) = (cursor.integer()?.to_vec(), cursor.integer()?.to_vec());
                Material::Rsa { modulus, exponent }
            }
            19 | 22 => {
                let length = usize::from(cursor.byte()?);
                let curve = cursor.take(length)?;
                let point = cursor.integer()?;
                match (algorithm, curve, point) {
                    (22, [0x2b, 6, 1, 4, 1, 0xda, 0x47, 0x0f, 1], [0x40, point @ ..]) if point.len() == 32 => {
                        Material::Ed25519(point.to_vec())
                    }
                    (19, [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], [4, ..]) if point.len() == 65 => {
                        Material::Ecdsa { point: point.to_vec(), size: 32 }
                    }
                    (19, [0x2b, 0x81, 4, 0, 0x22], [4, ..]) if point.len() == 97 => {
                        Material::Ecdsa { point: point.to_vec(), size: 48 }
                    }
                    _ => Material::Other,
                }
            }
            27 => Material::Ed25519(cursor.take(32)?.to_vec()),
            // Keys for encryption and others: what follows is theirs.
            _ => Material::Other,
        };
        let length = match (&material, algorithm) {
            (Material::Other, algorithm) if !matches!(algorithm, 19 | 22) => body.len(),
            _ => body.len() - cursor.0.len(),
        };
        let public = body[..length].to_vec();
        let fingerprint = signature::digest(signature::SHA1, &hashed(&public)).unwrap_or_default();
        let fingerprint = fingerprint.try_into().map_err(|_| "no fingerprint".to_owned())?;
        Ok((Public { algorithm, created, material, fingerprint, body: public }, length))
    }

    /// What is hashed of it.
    pub fn hashed(&self) -> Vec<u8> {
        hashed(&self.body)
    }
}

fn hashed(body: &[u8]) -> Vec<u8> {
    [&[0x99][..], &(body.len() as u16).to_be_bytes(), body].concat()
}

/// A primary key with its subkeys.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub primary: Public,
    /// Signatures of the primary key itself.
    direct: Vec<Signature>,
    /// What is hashed of each name, and its signatures.
    names: Vec<(Vec<u8>, Vec<Signature>)>,
    pub subkeys: Vec<(Public, Vec<Signature>)>,
}

/// Keys.
#[derive(Debug, Clone, Default)]
pub struct Keyring(pub Vec<Certificate>);

impl Keyring {
    /// Reads a file of keys, armoured or not. What is not understood of it is passed over.
    ///
    /// # Errors
    /// It is damaged, or holds no key.
    pub fn parse(bytes: &[u8]) -> Outcome<Keyring> {
        let mut ring = Keyring::default();
        for packet in packet::packets(bytes)? {
            ring.take(packet)?;
        }
        if ring.0.is_empty() {
            return Err("it holds no key of OpenPGP, version 4".into());
        }
        Ok(ring)
    }

    /// Adds the keys of another.
    pub fn extend(&mut self, other: Keyring) {
        self.0.extend(other.0);
    }

    fn take(&mut self, Packet { tag, body }: Packet) -> Outcome<()> {
        match tag {
            packet::PUBLIC_KEY | packet::SECRET_KEY => {
                if self.0.len() == MOST {
                    return Err(format!("it holds more than {MOST} keys"));
                }
                let primary = Public::parse(&body)?.0;
                self.0.push(Certificate { primary, direct: Vec::new(), names: Vec::new(), subkeys: Vec::new() });
                return Ok(());
            }
            packet::SIGNATURE
            | packet::USER_ID
            | packet::USER_ATTRIBUTE
            | packet::PUBLIC_SUBKEY
            | packet::SECRET_SUBKEY => {}
            _ => return Ok(()),
        }
        let Some(key) = self.0.last_mut() else { return Err("its first packet is no key".into()) };
        match tag {
            packet::USER_ID | packet::USER_ATTRIBUTE if key.names.len() < SIGNATURES => {
                let mark = if tag == packet::USER_ID { 0xb4 } else { 0xd1 };
                key.names.push(([&[mark][..], &(body.len() as u32).to_be_bytes(), &body].concat(), Vec::new()));
            }
            packet::PUBLIC_SUBKEY | packet::SECRET_SUBKEY if key.subkeys.len() < SIGNATURES => {
                key.subkeys.push((Public::parse(&body)?.0, Vec::new()));
            }
            packet::SIGNATURE => {
                // Those of other people may be of any kind, and play no part.
                let Ok(signature) = Signature::parse(&body) else { return Ok(()) };
                let list = match (key.subkeys.last_mut(), key.names.last_mut()) {
                    (Some((_, list)), _) => list,
                    (None, Some((_, list))) => list,
                    (None, None) => &mut key.direct,
                };
                if list.len() < SIGNATURES && signature.may_be_of(&key.primary) {
                    list.push(signature);
                }
            }
            _ => return Err(format!("a key has more than {SIGNATURES} names or subkeys")),
        }
        Ok(())
    }

    /// Verifies the signature of a document; gives the fingerprint of the key that made it.
    pub fn verify(&self, signature: &Signature, document: &[u8], now: u64) -> Outcome<String> {
        if signature.kind != signature::BINARY {
            return Err("the signature is not one of a document".into());
        }
        let mut why = "the signature was not made with a key that is accepted".to_owned();
        for certificate in &self.0 {
            for (key, binding) in certificate.keys() {
                if !signature.may_be_of(key) || !signature.is_of(key, &[document], false) {
                    continue;
                }
                let name = types::digest::hex(&key.fingerprint).to_uppercase();
                match certificate.refusal(key, binding, signature, now) {
                    None => return Ok(name),
                    Some(reason) => why = format!("the signature was made with the key {name}, {reason}"),
                }
            }
        }
        Err(why)
    }
}

impl Certificate {
    /// The primary key, and its subkeys with the signatures that make them its own.
    pub fn keys(&self) -> impl Iterator<Item = (&Public, Option<&[Signature]>)> {
        let subkeys = self.subkeys.iter().map(|(key, binding)| (key, Some(binding.as_slice())));
        std::iter::once((&self.primary, None)).chain(subkeys)
    }

    /// Why a signature of `key` does not count although it is right.
    fn refusal(&self, key: &Public, binding: Option<&[Signature]>, of: &Signature, now: u64) -> Option<&'static str> {
        if key.created > of.created {
            return Some("which is younger than it");
        }
        if !of.holds(now) {
            return Some("and has expired");
        }
        self.unfit(key, binding, now)
    }

    /// Why `key` is not to be used for signatures of documents.
    pub fn unfit(&self, key: &Public, binding: Option<&[Signature]>, now: u64) -> Option<&'static str> {
        let primary = self.primary.hashed();
        let own = |list: &[Signature], kinds: &dyn Fn(u8) -> bool, parts: &[&[u8]]| {
            let fits = |s: &&Signature| kinds(s.kind) && s.is_of(&self.primary, parts, true);
            list.iter().filter(fits).max_by_key(|s| s.created).cloned()
        };
        if own(&self.direct, &|kind| kind == signature::KEY_REVOKED, &[&primary]).is_some() {
            return Some("which is revoked");
        }
        // What the key says of itself: beside a name of it that is not revoked, or directly.
        let mut said = own(&self.direct, &|kind| kind == signature::DIRECT, &[&primary]);
        for (name, list) in &self.names {
            let parts: &[&[u8]] = &[&primary, name];
            let Some(latest) = own(list, &|kind| signature::CERTIFICATION.contains(&kind), parts) else { continue };
            let revoked = own(list, &|kind| kind == signature::CERTIFICATION_REVOKED, parts);
            if revoked.is_none_or(|revoked| revoked.created < latest.created)
                && said.as_ref().is_none_or(|said| said.created <= latest.created)
            {
                said = Some(latest);
            }
        }
        let Some(said) = said else { return Some("which has no valid signature of its own") };
        let expired = |key: &Public, said: &Signature| {
            !said.holds(now) || said.key_expires != 0 && now >= key.created.saturating_add(said.key_expires)
        };
        if expired(&self.primary, &said) {
            return Some("which has expired");
        }
        let Some(binding) = binding else {
            return said.flags.is_some_and(|flags| flags & MAY_SIGN == 0).then_some("which is not for signatures");
        };
        let subkey = key.hashed();
        let parts: &[&[u8]] = &[&primary, &subkey];
        if own(binding, &|kind| kind == signature::SUBKEY_REVOKED, parts).is_some() {
            return Some("which is revoked");
        }
        let Some(bound) = own(binding, &|kind| kind == signature::SUBKEY, parts) else {
            return Some("which its primary key does not know");
        };
        if expired(key, &bound) {
            return Some("which has expired");
        }
        if bound.flags.is_none_or(|flags| flags & MAY_SIGN == 0) {
            return Some("which is not for signatures");
        }
        // The subkey agrees, or somebody might call another's key their own.
        let agrees =
            bound.embedded.as_ref().is_some_and(|back| back.kind == signature::PRIMARY && back.is_of(key, parts, true));
        (!agrees).then_some("which does not know its primary key")
    }
}
