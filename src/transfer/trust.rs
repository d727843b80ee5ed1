//! Which images are accepted: the policy of containers-policy.json(5), applied before any layer is fetched; and signatures,
//! which are read, verified, made, and carried along.
//!
//! The most specific scope that the file has for an image decides, and all its requirements must hold.
//!
//! An image that passes by once (a pipe, an archive compressed as a whole) is judged when all of it was read and before
//! anything of it is in the store; of all others, nothing but documents is read before.
//!
//! Must not know: where signatures are kept.

mod certificate;
mod der;
mod identity;
mod judge;
mod lookaside;
pub mod openpgp;
mod pem;
mod private_key;
mod rekor;
mod rules;
mod shelved;
mod signature;
mod sigstore;

use crate::{Error, Result, Source};
pub use lookaside::{Lookaside, parameters};
pub use pem::first as first_pem;
pub use private_key::PrivateKey;
use rules::{Requirement, Rules};
pub use shelved::{keep, kept};
pub use signature::{LARGEST as LARGEST_SIGNATURE, MOST, SIGSTORE_KIND, SIMPLE_KIND, Signature, named, payload};
pub use sigstore::{ARTIFACT, attachment, of_manifest, tag};
use std::path::{Path, PathBuf};
use types::{Digest, Reference};

/// Largest policy and largest key, in bytes.
const LARGEST: u64 = 1 << 20;

/// Transports whose images no scope means: a policy that has one for them demands something that cannot be checked.
const WITHOUT_SCOPES: [&str; 3] = ["containers-storage", "docker-archive", "docker-daemon"];

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    file: PathBuf,
    rules: Rules,
}

/// What a policy demands of one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `all`, `repository`, or a transport.
    pub transport: String,
    /// The scope.
    pub scope: String,
    /// `accept`, `reject`, `signed`, `sigstoreSigned`.
    pub kind: &'static str,
    /// Files with keys.
    pub keys: Vec<String>,
}

/// The forms of signatures that are of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Of simple signing: a policy demands them.
    Simple,
    /// Of sigstore: a policy demands them.
    Sigstore,
    /// All that are to be had where the configuration says that there are some.
    Known,
}

/// What finds signatures of a manifest.
pub type Finder<'a> = dyn Fn(&Digest, Wanted) -> Result<Vec<Signature>> + 'a;

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
        Subject { title: format!("docker://{name}"), transport: "docker", scopes: scopes(&name), name: Some(name) }
    }
}

/// Scopes that mean a complete name, the most specific first.
fn scopes(name: &Reference) -> Vec<String> {
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
    scopes
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

    /// Reads the text of a policy; `file` is its name.
    ///
    /// # Errors
    /// Something in it is not understood.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Policy> {
        let bad = |why: String| Error::Document { what: "policy", name: file.display().to_string(), why };
        Ok(Policy { file: file.to_owned(), rules: Rules::parse(bytes).map_err(bad)? })
    }

    /// What it demands, scope by scope, the default first.
    pub fn told(&self) -> Vec<Rule> {
        let mut told = Vec::new();
        let mut tell = |transport: &str, scope: &str, requirements: &[Requirement]| {
            for requirement in requirements {
                let path = |path: &PathBuf| path.display().to_string();
                let (kind, keys) = match requirement {
                    Requirement::Anything(_) => ("accept", Vec::new()),
                    Requirement::Reject(_) => ("reject", Vec::new()),
                    Requirement::Simple(simple) => {
                        ("signed", simple.key_path.iter().chain(simple.key_paths.iter().flatten()).map(path).collect())
                    }
                    Requirement::Sigstore(sigstore) => {
                        let paths = sigstore.key_path.iter().chain(sigstore.key_paths.iter().flatten());
                        ("sigstoreSigned", paths.map(path).collect())
                    }
                };
                told.push(Rule { transport: transport.into(), scope: scope.into(), kind, keys });
            }
        };
        tell("all", "default", &self.rules.default);
        for (transport, scopes) in &self.rules.transports.0 {
            let transport = if transport == "docker" { "repository" } else { transport };
            scopes.0.iter().for_each(|(scope, requirements)| tell(transport, scope, requirements));
        }
        told
    }

    /// Judges an image. `manifest` is the digest of its manifest, if it has one; `signatures` are asked for only where they
    /// matter. Gives those that were asked for.
    ///
    /// # Errors
    /// It is refused.
    pub fn check(
        &self,
        subject: &Subject,
        manifest: Option<&Digest>,
        signatures: &Finder<'_>,
    ) -> Result<Vec<Signature>> {
        let refused = |why: String| Error::Refused { image: subject.title.clone(), file: self.file.clone(), why };
        let scopes = self.rules.transports.0.get(subject.transport);
        if WITHOUT_SCOPES.contains(&subject.transport)
            && let Some(scope) = scopes.and_then(|known| known.0.keys().find(|scope| !scope.is_empty()))
        {
            let transport = subject.transport;
            return Err(refused(format!("the scope {scope:?} of {transport} is not supported, only the empty one")));
        }
        let mut seen: Vec<Signature> = Vec::new();
        for requirement in self.requirements(subject) {
            let wanted = match requirement {
                Requirement::Anything(_) => continue,
                Requirement::Reject(_) => return Err(refused("it is rejected".into())),
                Requirement::Simple(_) => Wanted::Simple,
                Requirement::Sigstore(_) => Wanted::Sigstore,
            };
            let manifest = manifest.ok_or_else(|| {
                refused("a signature is demanded, and an image without a manifest cannot have one".into())
            })?;
            let found = signatures(manifest, wanted)?;
            let outcome = match requirement {
                Requirement::Simple(simple) => simple.judge(&found, subject, manifest)?,
                Requirement::Sigstore(sigstore) => sigstore.judge(&found, subject, manifest)?,
                _ => Ok(()),
            };
            outcome.map_err(refused)?;
            seen.extend(found.into_iter().filter(|signature| !seen.contains(signature)).collect::<Vec<_>>());
        }
        Ok(seen)
    }

    fn requirements(&self, subject: &Subject) -> &[Requirement] {
        let scopes = self.rules.transports.0.get(subject.transport);
        let found = scopes.and_then(|known| {
            subject.scopes.iter().map(String::as_str).chain([""]).find_map(|scope| known.0.get(scope))
        });
        found.unwrap_or(&self.rules.default)
    }
}

fn limited(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
