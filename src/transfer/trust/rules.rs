//! The file of a policy (containers-policy.json(5)): read strictly, so that what is not understood refuses everything, rather
//! than letting something through.

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    pub default: Vec<Requirement>,
    #[serde(default)]
    pub transports: Once<Once<Vec<Requirement>>>,
}

/// What is demanded of an image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type")]
pub enum Requirement {
    #[serde(rename = "insecureAcceptAnything")]
    Anything(Bare),
    #[serde(rename = "reject")]
    Reject(Bare),
    #[serde(rename = "signedBy")]
    Simple(Simple),
    #[serde(rename = "sigstoreSigned")]
    Sigstore(Sigstore),
}

/// A requirement that has nothing more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bare {}

/// A signature of one of these keys of OpenPGP, of the identity.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Simple {
    pub key_type: String,
    pub key_path: Option<PathBuf>,
    pub key_paths: Option<Vec<PathBuf>>,
    pub key_data: Option<String>,
    pub signed_identity: Option<Identity>,
}

/// A signature of sigstore by one of these keys, or by somebody with a certificate, of the identity.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Sigstore {
    pub key_path: Option<PathBuf>,
    pub key_paths: Option<Vec<PathBuf>>,
    pub key_data: Option<String>,
    pub key_datas: Option<Vec<String>>,
    pub fulcio: Option<Fulcio>,
    pub pki: Option<Pki>,
    pub rekor_public_key_path: Option<PathBuf>,
    pub rekor_public_key_paths: Option<Vec<PathBuf>>,
    pub rekor_public_key_data: Option<String>,
    pub rekor_public_key_datas: Option<Vec<String>>,
    pub signed_identity: Option<Identity>,
}

/// Whoever a Fulcio server has given a certificate for minutes: who it is, and who says so.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fulcio {
    #[serde(rename = "caPath")]
    pub ca_path: Option<PathBuf>,
    #[serde(rename = "caData")]
    pub ca_data: Option<String>,
    #[serde(rename = "oidcIssuer")]
    pub issuer: String,
    #[serde(rename = "subjectEmail")]
    pub email: String,
}

/// Whoever has a certificate of one's own authorities.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pki {
    #[serde(rename = "caRootsPath")]
    pub roots_path: Option<PathBuf>,
    #[serde(rename = "caRootsData")]
    pub roots_data: Option<String>,
    #[serde(rename = "caIntermediatesPath")]
    pub intermediates_path: Option<PathBuf>,
    #[serde(rename = "caIntermediatesData")]
    pub intermediates_data: Option<String>,
    #[serde(rename = "subjectEmail")]
    pub email: Option<String>,
    #[serde(rename = "subjectHostname")]
    pub hostname: Option<String>,
}

/// Which name a signature must be of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub enum Identity {
    MatchExact {},
    MatchRepoDigestOrExact {},
    MatchRepository {},
    #[serde(rename_all = "camelCase")]
    ExactReference {
        docker_reference: String,
    },
    #[serde(rename_all = "camelCase")]
    ExactRepository {
        docker_repository: String,
    },
    #[serde(rename = "remapIdentity", rename_all = "camelCase")]
    Remap {
        prefix: String,
        signed_prefix: String,
    },
}

impl Rules {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Rules, String> {
        let rules: Rules = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let all = rules.transports.0.values().flat_map(|scopes| scopes.0.values()).chain([&rules.default]);
        if all.clone().any(Vec::is_empty) {
            return Err("a list of requirements is empty: use insecureAcceptAnything to accept everything".into());
        }
        for requirement in all.flatten() {
            requirement.check()?;
        }
        Ok(rules)
    }
}

impl Requirement {
    fn check(&self) -> Result<(), String> {
        match self {
            Requirement::Anything(_) | Requirement::Reject(_) => Ok(()),
            Requirement::Simple(simple) => {
                // The specification has others, which nobody ever built.
                if simple.key_type != "GPGKeys" {
                    return Err(format!("keyType {:?} is not supported: use GPGKeys", simple.key_type));
                }
                let keys = [simple.key_path.is_some(), simple.key_paths.is_some(), simple.key_data.is_some()];
                if given(&keys) != 1 {
                    return Err("signedBy needs exactly one of keyPath, keyPaths and keyData".into());
                }
                Ok(())
            }
            Requirement::Sigstore(sigstore) => sigstore.check(),
        }
    }
}

/// How many of these are given.
fn given(flags: &[bool]) -> usize {
    flags.iter().filter(|given| **given).count()
}

impl Sigstore {
    fn check(&self) -> Result<(), String> {
        let authors = [
            self.key_path.is_some(),
            self.key_paths.is_some(),
            self.key_data.is_some(),
            self.key_datas.is_some(),
            self.fulcio.is_some(),
            self.pki.is_some(),
        ];
        if given(&authors) != 1 {
            return Err("exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio and pki is needed".into());
        }
        let logs = [
            self.rekor_public_key_path.is_some(),
            self.rekor_public_key_paths.is_some(),
            self.rekor_public_key_data.is_some(),
            self.rekor_public_key_datas.is_some(),
        ];
        let four = "rekorPublicKeyPath, rekorPublicKeyPaths, rekorPublicKeyData and rekorPublicKeyDatas";
        let lists = [&self.key_datas, &self.rekor_public_key_datas];
        let files = [&self.key_paths, &self.rekor_public_key_paths];
        if lists.into_iter().flatten().any(Vec::is_empty) || files.into_iter().flatten().any(Vec::is_empty) {
            return Err("a list of keys is empty".into());
        }
        match (given(&logs), &self.fulcio, &self.pki) {
            (2.., ..) => Err(format!("at most one of {four} can be used")),
            (0, Some(_), _) => Err(format!("fulcio needs one of {four}: it tells when something was signed")),
            (1, _, Some(_)) => Err(format!("{four} cannot be used with pki")),
            (_, Some(fulcio), _) => fulcio.check(),
            (_, _, Some(pki)) => pki.check(),
            _ => Ok(()),
        }
    }

    /// True if a log is demanded.
    pub fn is_logged(&self) -> bool {
        self.rekor_public_key_path.is_some()
            || self.rekor_public_key_paths.is_some()
            || self.rekor_public_key_data.is_some()
            || self.rekor_public_key_datas.is_some()
    }
}

impl Fulcio {
    fn check(&self) -> Result<(), String> {
        if given(&[self.ca_path.is_some(), self.ca_data.is_some()]) != 1 {
            return Err("fulcio needs exactly one of caPath and caData".into());
        }
        if self.issuer.is_empty() || self.email.is_empty() {
            return Err("fulcio needs an oidcIssuer and a subjectEmail that are not empty".into());
        }
        Ok(())
    }
}

impl Pki {
    fn check(&self) -> Result<(), String> {
        if given(&[self.roots_path.is_some(), self.roots_data.is_some()]) != 1 {
            return Err("pki needs exactly one of caRootsPath and caRootsData".into());
        }
        if given(&[self.intermediates_path.is_some(), self.intermediates_data.is_some()]) > 1 {
            return Err("pki takes at most one of caIntermediatesPath and caIntermediatesData".into());
        }
        let is_said = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        if !is_said(&self.email) && !is_said(&self.hostname) {
            return Err("pki needs a subjectEmail or a subjectHostname".into());
        }
        Ok(())
    }
}

/// A map in which a key is there once: of two rules for one scope, the reader would believe in the wrong one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once<T>(pub BTreeMap<String, T>);

impl<T> Default for Once<T> {
    fn default() -> Once<T> {
        Once(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Once<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Once<T>, D::Error> {
        struct Keys<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Keys<T> {
            type Value = Once<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Once<T>, A::Error> {
                let mut found = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    if found.insert(key.clone(), value).is_some() {
                        return Err(A::Error::custom(format!("{key:?} is there twice")));
                    }
                }
                Ok(Once(found))
            }
        }
        deserializer.deserialize_map(Keys(std::marker::PhantomData))
    }
}
