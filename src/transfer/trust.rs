//! Which images are accepted: the policy of containers-policy.json(5), applied before any layer is fetched.
//!
//! The most specific scope that the file has for an image decides, and all its requirements must hold. The file is read
//! strictly: whatever is not understood refuses everything, rather than letting something through. Signatures of GPG are not
//! verified here: a policy that demands one refuses the image.
//!
//! An image that passes by once (a pipe, an archive compressed as a whole) is judged when all of it was read and before
//! anything of it is in the store; of all others, nothing but documents is read before.
//!
//! Must not know: where signatures are kept.

mod signature;

use crate::{Error, Result, Source};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use signature::Key;
pub use signature::{Signature, of_manifest, tag};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use types::{Digest, Reference};

/// Largest policy and largest key, in bytes.
const LARGEST: u64 = 1 << 20;

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    file: PathBuf,
    rules: Rules,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    default: Vec<Requirement>,
    #[serde(default)]
    transports: Once<Once<Vec<Requirement>>>,
}

/// What is demanded of an image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type")]
enum Requirement {
    #[serde(rename = "insecureAcceptAnything")]
    Anything(Bare),
    #[serde(rename = "reject")]
    Reject(Bare),
    #[serde(rename = "signedBy")]
    SignedBy {},
    #[serde(rename = "sigstoreSigned")]
    Sigstore(Sigstore),
}

/// A requirement that has nothing more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bare {}

/// A signature of this key, of the identity.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Sigstore {
    key_path: Option<PathBuf>,
    key_paths: Option<Vec<PathBuf>>,
    key_data: Option<String>,
    key_datas: Option<Vec<String>>,
    signed_identity: Option<Identity>,
}

/// Which name a signature must be of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
enum Identity {
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
    #[serde(rename_all = "camelCase")]
    RemapIdentity {
        prefix: String,
        signed_prefix: String,
    },
}

/// A map in which a key is there once: of two rules for one scope, the reader would believe in the wrong one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Once<T>(BTreeMap<String, T>);

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

/// An image as policies see it.
#[derive(Debug, Clone)]
pub struct Subject {
    /// How it is called in messages.
    title: String,
    transport: &'static str,
    /// Scopes that mean it, the most specific first.
    scopes: Vec<String>,
    /// Its name in a registry.
    name: Option<Reference>,
}

impl Subject {
    /// The image of a source.
    pub fn of(source: &Source) -> Subject {
        let title = source.to_string();
        match source {
            Source::Registry(name) | Source::Name(name) => Subject::registry(name),
            Source::OciArchive(path, choice) => Subject::path("oci-archive", title, path, &choice.to_string()),
            Source::OciDirectory(path, choice) => Subject::path("oci", title, path, &choice.to_string()),
            Source::Directory(path) => Subject::path("dir", title, path, ""),
            Source::Containers(..) => Subject::unnamed("containers-storage", title),
            Source::Daemon(_) => Subject::unnamed("docker-daemon", title),
            Source::DockerArchive(..) => Subject::unnamed("docker-archive", title),
        }
    }

    /// An image of a transport that no scope means.
    pub fn unnamed(transport: &'static str, title: String) -> Subject {
        Subject { title, transport, scopes: Vec::new(), name: None }
    }

    /// An image in a file or directory, called `suffix` there.
    pub fn path(transport: &'static str, title: String, path: &Path, suffix: &str) -> Subject {
        // Scopes are paths without links; what cannot be resolved cannot be read either.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut scopes = Vec::new();
        if !suffix.is_empty() {
            scopes.push(format!("{}{suffix}", path.display()));
        }
        let all = path.ancestors().filter(|path| path.parent().is_some());
        scopes.extend(all.map(|path| path.display().to_string()));
        Subject { title, transport, scopes, name: None }
    }

    fn registry(name: &Reference) -> Subject {
        let name = crate::source::complete(name);
        let repository = name.repository();
        let mut scopes = vec![name.to_string()];
        let mut rest = Some(repository.as_str());
        while let Some(scope) = rest {
            scopes.push(scope.to_owned());
            rest = scope.rsplit_once('/').map(|(above, _)| above);
        }
        let mut host = repository.split('/').next().unwrap_or_default();
        while let Some((_, above)) = host.split_once('.') {
            scopes.push(format!("*.{above}"));
            host = above;
        }
        Subject { title: format!("docker://{name}"), transport: "docker", scopes, name: Some(name) }
    }
}

impl Policy {
    /// The first of `files` that exists; none if there is none.
    ///
    /// # Errors
    /// It cannot be read, or something in it is not understood.
    pub fn read(files: &[PathBuf]) -> Result<Option<Policy>> {
        for file in files {
            match limited(file) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::File { action: "read", path: file.clone(), source }),
                Ok(bytes) => return Policy::parse(file, &bytes).map(Some),
            }
        }
        Ok(None)
    }

    fn parse(file: &Path, bytes: &[u8]) -> Result<Policy> {
        let bad = |why: String| Error::Document { what: "policy", name: file.display().to_string(), why };
        let rules: Rules = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        let all = rules.transports.0.values().flat_map(|scopes| scopes.0.values()).chain([&rules.default]);
        if all.clone().any(Vec::is_empty) {
            return Err(bad("a list of requirements is empty: use insecureAcceptAnything to accept everything".into()));
        }
        for requirement in all.flatten() {
            if let Requirement::Sigstore(sigstore) = requirement
                && sigstore.keys() != 1
            {
                return Err(bad("exactly one of keyPath, keyPaths, keyData and keyDatas is needed".into()));
            }
        }
        Ok(Policy { file: file.to_owned(), rules })
    }

    /// Judges an image. `manifest` is the digest of its manifest, if it has one; `signatures` are asked for only where they
    /// matter.
    ///
    /// # Errors
    /// It is refused.
    pub fn check(
        &self,
        subject: &Subject,
        manifest: Option<&Digest>,
        signatures: &dyn Fn(&Digest) -> Result<Vec<Signature>>,
    ) -> Result<()> {
        let refused = |why: String| Error::Refused { image: subject.title.clone(), file: self.file.clone(), why };
        for requirement in self.requirements(subject) {
            match requirement {
                Requirement::Anything(_) => {}
                Requirement::Reject(_) => return Err(refused("it is rejected".into())),
                Requirement::SignedBy {} => {
                    let why = "a signature of GPG is demanded, and those cannot be verified here: use sigstoreSigned";
                    return Err(refused(why.into()));
                }
                Requirement::Sigstore(sigstore) => {
                    let manifest = manifest.ok_or_else(|| {
                        refused("a signature is demanded, and an image without a manifest cannot have one".into())
                    })?;
                    let keys = sigstore.read()?;
                    let found = signatures(manifest)?;
                    if found.is_empty() {
                        return Err(refused("a signature was required, but no signature exists".into()));
                    }
                    let mut why = String::new();
                    let accepted = found.iter().any(|signature| {
                        let outcome = signature
                            .verify(&keys, manifest)
                            .and_then(|name| sigstore.identity(&name, subject.name.as_ref()));
                        outcome.map_err(|told| why = told).is_ok()
                    });
                    if !accepted {
                        return Err(refused(format!("none of its signatures is accepted: {why}")));
                    }
                }
            }
        }
        Ok(())
    }

    fn requirements(&self, subject: &Subject) -> &[Requirement] {
        let scopes = self.rules.transports.0.get(subject.transport);
        let found = scopes.and_then(|known| {
            subject.scopes.iter().map(String::as_str).chain([""]).find_map(|scope| known.0.get(scope))
        });
        found.unwrap_or(&self.rules.default)
    }
}

impl Sigstore {
    fn keys(&self) -> usize {
        [self.key_path.is_some(), self.key_paths.is_some(), self.key_data.is_some(), self.key_datas.is_some()]
            .into_iter()
            .filter(|given| *given)
            .count()
    }

    fn read(&self) -> Result<Vec<Key>> {
        let mut keys = Vec::new();
        for path in self.key_path.iter().chain(self.key_paths.iter().flatten()) {
            let bytes = limited(path).map_err(|source| Error::File { action: "read", path: path.clone(), source })?;
            keys.push(Key::parse(&path.display().to_string(), &bytes)?);
        }
        for data in self.key_data.iter().chain(self.key_datas.iter().flatten()) {
            keys.push(Key::parse_base64("keyData of the policy", data)?);
        }
        Ok(keys)
    }

    /// Checks the name that was signed; `own` is the image's, where it has one.
    fn identity(&self, signed: &str, own: Option<&Reference>) -> std::result::Result<(), String> {
        let name: Reference = signed.parse().map_err(|_| format!("{signed:?}, which was signed, is no name"))?;
        let name = crate::registry::full_name(&name);
        let same = match self.signed_identity.as_ref().unwrap_or(&Identity::MatchRepoDigestOrExact {}) {
            Identity::ExactReference { docker_reference } => parsed(docker_reference)?.to_string() == name.to_string(),
            Identity::ExactRepository { docker_repository } => {
                parsed(docker_repository)?.repository() == name.repository()
            }
            relative => {
                let own = own
                    .ok_or("the image has no name of its own: the policy must say exactReference or exactRepository")?;
                match relative {
                    Identity::MatchExact {} => exact(own, &name),
                    Identity::MatchRepository {} => own.repository() == name.repository(),
                    Identity::RemapIdentity { prefix, signed_prefix } => {
                        digest_or_exact(&remapped(own, prefix, signed_prefix)?, &name)
                    }
                    _ => digest_or_exact(own, &name),
                }
            }
        };
        if same { Ok(()) } else { Err(format!("the signature is of {signed:?}")) }
    }
}

fn parsed(text: &str) -> std::result::Result<Reference, String> {
    text.parse().map(|name| crate::registry::full_name(&name)).map_err(|_| format!("{text:?} of the policy is no name"))
}

/// Both have a tag or digest, and the same.
fn exact(own: &Reference, signed: &Reference) -> bool {
    (own.tag.is_some() || own.digest.is_some()) && own.to_string() == signed.to_string()
}

fn digest_or_exact(own: &Reference, signed: &Reference) -> bool {
    match own.digest {
        // The digest has been checked: whichever tag was signed.
        Some(_) => own.repository() == signed.repository(),
        None => exact(own, signed),
    }
}

fn remapped(own: &Reference, prefix: &str, to: &str) -> std::result::Result<Reference, String> {
    let repository = own.repository();
    let Some(rest) = repository.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
        return Ok(own.clone());
    };
    let mut name = parsed(&format!("{to}{rest}"))?;
    (name.tag, name.digest) = (own.tag.clone(), own.digest);
    Ok(name)
}

fn limited(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
