//! Requests and replies about trust: who signs images in registries, and which are accepted.

use crate::image::{Access, Signing};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Asks for an image in a registry to be signed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sign {
    /// Its name, with or without `docker://`.
    pub image: String,
    /// Who signs it.
    pub signing: Signing,
    /// Directory that the signatures are written to, in place of the configured one; those of sigstore go to the registry.
    pub directory: Option<PathBuf>,
    /// Of an image for several platforms, all are signed.
    pub all: bool,
    /// How the registry is talked to.
    pub access: Access,
}

/// Asks for a manifest in a file to be signed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SignFile {
    /// The manifest.
    pub manifest: PathBuf,
    /// As which image.
    pub image: String,
    /// Secret key of OpenPGP.
    pub key: PathBuf,
    /// File whose first line is the key's passphrase.
    pub passphrase: Option<PathBuf>,
    /// Where the signature goes.
    pub output: PathBuf,
}

/// Asks for the signature of a manifest in a file to be verified.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifyFile {
    /// The manifest.
    pub manifest: PathBuf,
    /// As which image it must be signed.
    pub image: String,
    /// Fingerprints of the keys of which one must have signed; none means any of `keys`.
    pub fingerprints: Vec<String>,
    /// The signature.
    pub signature: PathBuf,
    /// Public keys of OpenPGP.
    pub keys: PathBuf,
}

/// What is demanded of images of one scope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// `all` for the default, `repository` for names in registries, otherwise the transport.
    pub transport: String,
    /// The scope; `default` for the default.
    pub name: String,
    /// `accept`, `reject`, `signed`, `sigstoreSigned`.
    pub kind: String,
    /// Files with keys.
    pub keys: Vec<String>,
    /// Where signatures are looked for, if that is configured.
    pub store: String,
}

/// Asks for a policy to be changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Set {
    /// The registry, repository or image; `default` for all that nothing else is said of.
    pub scope: String,
    /// `accept`, `reject`, `signedBy` (default), `sigstoreSigned`.
    pub kind: Option<String>,
    /// Files with keys.
    pub keys: Vec<PathBuf>,
    /// The policy; none means the user's or the host's.
    pub policy: Option<PathBuf>,
}
