//! Certificates (RFC 5280) of those who sign: from the authorities of a policy down to the one who signed, at the time when that
//! was; and who that is. The path is the matter of webpki, by which TLS is verified, too; what it has no word for is read here.
//!
//! Must not know: policies, signatures.

use super::der::Reader;
use super::sigstore::Key;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage};

/// Object identifiers, as they are encoded: code signing (RFC 5280, 4.2.1.12), names of the subject (4.2.1.6).
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];
const NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// Who told Fulcio who the subject is (its oid-info.md): as plain bytes, and since 2022 as a string of DER.
const ISSUER: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 1];
const ISSUER_STRING: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 8];
/// Tags of a version, of extensions, of a mail address among names, and of a string.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const MAIL: u8 = 0x81;
const STRING: u8 = 0x0c;

/// Those whose word is believed.
pub struct Authority {
    roots: Vec<CertificateDer<'static>>,
    between: Vec<CertificateDer<'static>>,
}

/// A certificate that was verified.
pub struct Certified {
    der: CertificateDer<'static>,
    key: Vec<u8>,
    extensions: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Authority {
    /// `roots` are believed, `between` are certificates that others may need to get there; all in DER.
    pub fn new(roots: Vec<Vec<u8>>, between: Vec<Vec<u8>>) -> Authority {
        let owned = |all: Vec<Vec<u8>>| all.into_iter().map(CertificateDer::from).collect();
        Authority { roots: owned(roots), between: owned(between) }
    }

    /// Verifies `der` at `time`, in seconds since 1970; `chain` are certificates that came with it.
    ///
    /// # Errors
    /// It is damaged, not of one of the roots, not for signing code, or was not good at that time.
    pub fn verify(&self, der: &[u8], chain: &[Vec<u8>], time: u64) -> Result<Certified, String> {
        let certified = Certified::read(der).ok_or("the certificate beside a signature is damaged")?;
        // A root has an end, too, which webpki does not look at.
        let good = |root: &&CertificateDer<'_>| validity(root).is_some_and(|(from, to)| (from..=to).contains(&time));
        let anchors: Vec<TrustAnchor<'_>> =
            self.roots.iter().filter(good).filter_map(|root| webpki::anchor_from_trusted_cert(root).ok()).collect();
        if anchors.is_empty() {
            return Err("none of the policy's certificates was good when a signature was made".into());
        }
        let chain = chain.iter().map(|der| CertificateDer::from(der.as_slice()));
        let between: Vec<CertificateDer<'_>> = self.between.iter().cloned().chain(chain).collect();
        let refused = |e: webpki::Error| format!("the certificate beside a signature is not accepted: {e}");
        EndEntityCert::try_from(&certified.der)
            .map_err(refused)?
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                &between,
                UnixTime::since_unix_epoch(Duration::from_secs(time)),
                KeyUsage::required_if_present(CODE_SIGNING),
                None,
                None,
            )
            .map_err(refused)?;
        Ok(certified)
    }
}

impl Certified {
    fn read(der: &[u8]) -> Option<Certified> {
        let mut body = body(der)?;
        body.sequence()?;
        body.sequence()?;
        body.sequence()?;
        let (tag, key) = body.any()?;
        let key = [&[tag][..], &length(key.len()), key].concat();
        let mut extensions: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        while let Some((tag, contents)) = body.any() {
            if tag != EXTENSIONS {
                continue;
            }
            let mut list = Reader::new(contents).sequence()?;
            while let Some(mut extension) = list.sequence() {
                let id = extension.identifier()?;
                // Whether it is critical is webpki's concern.
                extension.tagged(1);
                let value = extension.tagged(4)?;
                if extensions.iter().any(|(other, _)| other == id) {
                    return None;
                }
                extensions.push((id.to_vec(), value.to_vec()));
            }
        }
        Some(Certified { der: CertificateDer::from(der.to_vec()), key, extensions })
    }

    fn extension(&self, id: &[u8]) -> Option<&[u8]> {
        self.extensions.iter().find(|(other, _)| other == id).map(|(_, value)| value.as_slice())
    }

    /// The key of the subject.
    ///
    /// # Errors
    /// It is of a kind that is not known.
    pub fn key(&self) -> Result<Key, String> {
        Key::of(&self.key).ok_or_else(|| "the key of the certificate beside a signature is of no known kind".into())
    }

    /// True, as an outcome, if the subject was vouched for by `issuer` (OpenID Connect).
    ///
    /// # Errors
    /// It was somebody else, or nobody.
    pub fn issued_by(&self, issuer: &str) -> Result<(), String> {
        let string = self.extension(ISSUER_STRING).map(|value| Reader::new(value).tagged(STRING).unwrap_or(b""));
        let found: Vec<&[u8]> = self.extension(ISSUER).into_iter().chain(string).collect();
        match found.iter().find(|found| **found != issuer.as_bytes()) {
            Some(other) => Err(format!("the signer is vouched for by {:?}", String::from_utf8_lossy(other))),
            None if found.is_empty() => Err("the certificate does not say who vouches for the signer".into()),
            None => Ok(()),
        }
    }

    /// True, as an outcome, if the subject has this mail address.
    ///
    /// # Errors
    /// It has others.
    pub fn of_email(&self, email: &str) -> Result<(), String> {
        let mut names = self.extension(NAMES).and_then(|value| Reader::new(value).sequence());
        let mut found = Vec::new();
        while let Some((tag, name)) = names.as_mut().and_then(Reader::any) {
            if tag == MAIL {
                found.push(String::from_utf8_lossy(name).into_owned());
            }
        }
        if found.iter().any(|name| name == email) {
            return Ok(());
        }
        Err(format!("the signer is {found:?}, not {email:?}"))
    }

    /// True, as an outcome, if the subject is this host.
    ///
    /// # Errors
    /// It is another, or `host` is no name of one.
    pub fn of_host(&self, host: &str) -> Result<(), String> {
        let name = ServerName::try_from(host).map_err(|_| format!("{host:?} is no name of a host"))?;
        let certificate = EndEntityCert::try_from(&self.der).map_err(|e| e.to_string())?;
        certificate
            .verify_is_valid_for_subject_name(&name)
            .map_err(|_| format!("the certificate of the signer is not of the host {host:?}"))
    }
}

/// What is signed of a certificate, read up to the algorithm of the signature.
fn body(der: &[u8]) -> Option<Reader<'_>> {
    let mut body = Reader::new(der).sequence()?.sequence()?;
    body.tagged(VERSION);
    body.tagged(2)?;
    body.sequence()?;
    Some(body)
}

/// From when to when a certificate is good, in seconds since 1970.
fn validity(der: &[u8]) -> Option<(u64, u64)> {
    let mut body = body(der)?;
    body.sequence()?;
    let mut times = body.sequence()?;
    Some((time(times.any()?)?, time(times.any()?)?))
}

/// `UTCTime` or `GeneralizedTime`, as RFC 5280, 4.1.2.5 allows them.
fn time((tag, text): (u8, &[u8])) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, text.len()) {
        (0x17, 12) => {
            let year: i64 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (0x18, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    let (hour, minute, second) = (part(4)?, part(6)?, part(8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days of the Gregorian calendar, with years that begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    u64::try_from(days * 86_400 + hour * 3600 + minute * 60 + second).ok()
}

/// The bytes that say how long a value is.
fn length(length: usize) -> Vec<u8> {
    match length {
        0..=0x7f => vec![length as u8],
        _ => {
            let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            [&[0x80 | bytes.len() as u8][..], &bytes].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (tag, text, seconds) in [
            (0x17, "700101000000Z", Some(0)),
            (0x17, "000229120000Z", Some(951_825_600)),
            (0x17, "491231235959Z", Some(2_524_607_999)),
            (0x18, "20500101000000Z", Some(2_524_608_000)),
            (0x18, "19691231235959Z", None),
            (0x17, "20500101000000Z", None),
            (0x17, "701301000000Z", None),
            (0x17, "70010100000+Z", None),
            (0x17, "700101000000", None),
        ] {
            assert_eq!(time((tag, text.as_bytes())), seconds, "{text}");
        }
    }

    #[test]
    fn damaged_certificates_are_none() {
        for bad in [&b""[..], &[0x30, 0], &[0x30, 2, 0x30, 0], &[0x30, 0x84, 255, 255, 255, 255]] {
            assert!(Certified::read(bad).is_none() && validity(bad).is_none(), "{bad:?}");
        }
        let authority = Authority::new(vec![vec![0x30, 0]], Vec::new());
        assert!(authority.verify(&[0x30, 0], &[], 0).is_err_and(|why| why.contains("damaged")));
        assert_eq!((length(127), length(128), length(65_536)), (vec![127], vec![0x81, 128], vec![0x83, 1, 0, 0]));
    }
}
