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

/// A signature of sigstore by one of these keys, of the identity.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Sigstore {
    pub key_path: Option<PathBuf>,
    pub key_paths: Option<Vec<PathBuf>>,
    pub key_data: Option<String>,
    pub key_datas: Option<Vec<String>>,
    pub signed_identity: Option<Identity>,
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
        let given = |flags: &[bool]| flags.iter().filter(|given| **given).count();
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
            Requirement::Sigstore(sigstore) => {
                let keys = [
                    sigstore.key_path.is_some(),
                    sigstore.key_paths.is_some(),
                    sigstore.key_data.is_some(),
                    sigstore.key_datas.is_some(),
                ];
                if given(&keys) != 1 {
                    return Err("exactly one of keyPath, keyPaths, keyData and keyDatas is needed".into());
                }
                Ok(())
            }
        }
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
