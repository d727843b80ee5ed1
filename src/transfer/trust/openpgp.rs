//! OpenPGP (RFC 4880, RFC 9580) as far as signatures of images go: keys of version 4 are read, a signed message is verified
//! and made. RSA, ECDSA on P-256 and P-384, Ed25519; SHA-2.
//!
//! A key counts if its owner says so: with a signature of its own that is neither expired nor revoked, and a subkey with
//! one of the primary key and one of itself. Names of people play no part: which keys are believed is what a policy says.
//!
//! What is read comes from strangers: it is bounded in bytes, packets and depth, and never executed on.
//!
//! Must not know: policies, images, files.

mod key;
mod packet;
mod secret;
mod signature;

pub use key::Keyring;
pub use secret::SecretKey;

/// Why something was not accepted.
pub type Outcome<T> = std::result::Result<T, String>;

/// Most bytes of a key file, a message or what is in one.
pub const LARGEST: usize = 1 << 20;

/// What was signed, once its signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The signed bytes.
    pub contents: Vec<u8>,
    /// Fingerprint of the key, in upper-case hex digits.
    pub fingerprint: String,
}

/// Reads a message that has exactly one signature; `now` in seconds since 1970.
///
/// # Errors
/// It is damaged, or its signature is not one of a key of `keys` that is valid.
pub fn verify(message: &[u8], keys: &Keyring, now: u64) -> Outcome<Verified> {
    let (contents, signature) = packet::message(message)?;
    let signature = signature::Signature::parse(&signature)?;
    let key = keys.verify(&signature, &contents, now)?;
    Ok(Verified { contents, fingerprint: key })
}

/// Seconds since 1970.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
#[path = "openpgp/tests/made.rs"]
pub mod made;
#[cfg(test)]
mod tests;
