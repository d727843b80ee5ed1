//! JWE in JSON (RFC 7516, 7.2), as containers/ocicrypt writes and reads it: contents by AES-256-GCM, whose key is wrapped for each
//! recipient by RSA-OAEP or with a secret agreed on (ECDH-ES).
//!
//! Must not know: what the contents mean.

use super::elliptic::{self, ALGORITHM};
use super::{KEY, Outcome, RECIPIENTS, System, random};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead;
use rsa::pkcs1::{DecodeRsaPrivateKey, DecodeRsaPublicKey};
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey};
use serde_json::{Map, Value, json};

/// A key that opens.
pub enum PrivateKey {
    /// Of RSA.
    Rsa(Box<rsa::PrivateKey>),
    /// Of an elliptic curve.
    Elliptic(Box<elliptic::PrivateKey>),
}

/// A key for which something is sealed.
pub enum PublicKey {
    /// Of RSA.
    Rsa(rsa::PublicKey),
    /// Of an elliptic curve.
    Elliptic(elliptic::PublicKey),
}

impl PrivateKey {
    /// Reads PEM.
    ///
    /// # Errors
    /// It holds no key of a kind that is known.
    pub fn read(pem: &[u8]) -> Outcome<PrivateKey> {
        let read = |title: &str| crate::trust::first_pem(pem, title);
        let elliptic = |der: &[u8]| elliptic::PrivateKey::of(der).map(|key| PrivateKey::Elliptic(Box::new(key)));
        if let Ok(der) = read("RSA PRIVATE KEY") {
            let key = rsa::PrivateKey::from_pkcs1_der(&der).map_err(|e| e.to_string())?;
            return Ok(PrivateKey::Rsa(Box::new(key)));
        }
        if let Ok(der) = read("EC PRIVATE KEY") {
            return elliptic(&der).ok_or_else(|| KINDS.into());
        }
        if let Ok(der) = read("PRIVATE KEY") {
            return match rsa::PrivateKey::from_pkcs8_der(&der) {
                Ok(key) => Ok(PrivateKey::Rsa(Box::new(key))),
                Err(_) => elliptic(&der).ok_or_else(|| KINDS.into()),
            };
        }
        Err("it holds no private key in PEM without a passphrase".into())
    }
}

/// What other kinds of keys are told.
const KINDS: &str = "it is no key of RSA, nor of the curves P-256, P-384 and P-521, and others are not supported";

impl PublicKey {
    /// Reads PEM.
    ///
    /// # Errors
    /// It holds no key of a kind that is known.
    pub fn read(pem: &[u8]) -> Outcome<PublicKey> {
        let read = |title: &str| crate::trust::first_pem(pem, title);
        if let Ok(der) = read("RSA PUBLIC KEY") {
            return rsa::PublicKey::from_pkcs1_der(&der).map(PublicKey::Rsa).map_err(|e| e.to_string());
        }
        if let Ok(der) = read("PUBLIC KEY") {
            return match rsa::PublicKey::from_public_key_der(&der) {
                Ok(key) => Ok(PublicKey::Rsa(key)),
                Err(_) => elliptic::PublicKey::of(&der).map(PublicKey::Elliptic).ok_or_else(|| KINDS.into()),
            };
        }
        Err("it holds no public key in PEM".into())
    }

    /// `key` wrapped, and what stands in the header beside it.
    fn wrap(&self, key: &[u8; KEY]) -> Outcome<(Vec<u8>, Map<String, Value>)> {
        match self {
            PublicKey::Elliptic(recipient) => Ok(recipient.wrap(key)),
            PublicKey::Rsa(recipient) => {
                let made = recipient.encrypt(&mut System, rsa::Oaep::<sha1::Sha1>::new(), key);
                let header = [("alg".to_owned(), json!("RSA-OAEP"))].into_iter().collect();
                Ok((made.map_err(|e| format!("a recipient's key: {e}"))?, header))
            }
        }
    }
}

/// A JWE of `payload` for all `recipients`.
///
/// # Errors
/// A recipient's key is too small.
pub fn wrap(payload: &[u8], recipients: &[PublicKey]) -> Outcome<Vec<u8>> {
    let (key, nonce): ([u8; KEY], [u8; aead::NONCE_LEN]) = (random(), random());
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let mut wrapped = recipients.iter().map(|recipient| recipient.wrap(&key)).collect::<Outcome<Vec<_>>>()?;
    let mut protected = Map::from_iter([("enc".to_owned(), json!("A256GCM"))]);
    // What is beside a single key is what all share.
    if let [(_, header)] = wrapped.as_mut_slice() {
        protected.append(header);
    }
    let protected = text(Value::Object(protected).to_string().as_bytes());
    let cipher = aead::UnboundKey::new(&aead::AES_256_GCM, &key).map_err(|_| "a key of the wrong size")?;
    let mut sealed = payload.to_vec();
    let tag = aead::LessSafeKey::new(cipher)
        .seal_in_place_separate_tag(
            aead::Nonce::assume_unique_for_key(nonce),
            aead::Aad::from(protected.as_bytes()),
            &mut sealed,
        )
        .map_err(|_| "it cannot be encrypted")?;
    let mut made = json!({
        "protected": protected, "iv": text(&nonce), "ciphertext": text(&sealed), "tag": text(tag.as_ref()),
    });
    match wrapped.as_slice() {
        [(key, _)] => made["encrypted_key"] = json!(text(key)),
        several => {
            let one =
                |(key, header): &(Vec<u8>, Map<String, Value>)| json!({"header": header, "encrypted_key": text(key)});
            made["recipients"] = several.iter().map(one).collect();
        }
    }
    Ok(made.to_string().into_bytes())
}

/// What a JWE holds, if it is for one of the keys.
///
/// # Errors
/// It is damaged.
pub fn unwrap(message: &[u8], keys: &[PrivateKey]) -> Outcome<Option<Vec<u8>>> {
    let damaged = || "its wrapped key is damaged".to_owned();
    let message: Map<String, Value> = serde_json::from_slice(message).map_err(|_| damaged())?;
    let decoded = |value: Option<&Value>| {
        let text = value.and_then(Value::as_str).ok_or_else(damaged)?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| damaged())
    };
    let protected = message.get("protected").and_then(Value::as_str).unwrap_or("");
    let common: Map<String, Value> = match protected {
        "" => Map::new(),
        text => serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).map_err(|_| damaged())?).map_err(|_| damaged())?,
    };
    let whole = [Value::Object(message.clone())];
    let recipients = message.get("recipients").and_then(Value::as_array).map_or(&whole[..], Vec::as_slice);
    for recipient in recipients.iter().take(RECIPIENTS) {
        let header = |name: &str| {
            let own = recipient["header"].get(name).or_else(|| message.get("unprotected").and_then(|h| h.get(name)));
            common.get(name).or(own).cloned()
        };
        let word = |name: &str| header(name).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
        if word("enc") != "A256GCM" {
            continue;
        }
        let (algorithm, wrapped) = (word("alg"), decoded(recipient.get("encrypted_key"))?);
        for key in keys {
            let key = match (key, algorithm.as_str()) {
                (PrivateKey::Rsa(key), "RSA-OAEP") => key.decrypt(rsa::Oaep::<sha1::Sha1>::new(), &wrapped).ok(),
                (PrivateKey::Elliptic(key), ALGORITHM) => key.unwrap(&header, &wrapped)?,
                _ => None,
            };
            let Some(key) = key else { continue };
            let cipher = aead::UnboundKey::new(&aead::AES_256_GCM, &key).map_err(|_| damaged())?;
            let nonce: [u8; aead::NONCE_LEN] = decoded(message.get("iv"))?.try_into().map_err(|_| damaged())?;
            let mut sealed = decoded(message.get("ciphertext"))?;
            sealed.extend(decoded(message.get("tag"))?);
            let opened = aead::LessSafeKey::new(cipher)
                .open_in_place(
                    aead::Nonce::assume_unique_for_key(nonce),
                    aead::Aad::from(protected.as_bytes()),
                    &mut sealed,
                )
                .map_err(|_| damaged())?;
            return Ok(Some(opened.to_vec()));
        }
    }
    Ok(None)
}
