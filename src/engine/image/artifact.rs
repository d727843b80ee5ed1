//! Artifacts: files under names of images, in a directory of their own below the root.

use super::Told;
use super::name::complete;
use super::send::wishes;
use crate::{Engine, fault};
use ops::artifact::{Add, Artifact, Extract, Pull, Push};
use ops::image::{Compression, Encryption, Watch};
use ops::{Fault, Kind};
use std::path::Path;
use transfer::Source;
use transfer::artifact::{self, Artifacts, Making, Piece};
use types::{Digest, Reference};

impl Engine {
    pub(super) fn artifact_place(&self) -> Result<Artifacts, Fault> {
        Artifacts::open(&self.settings.root.join("artifacts")).map_err(fault::transfer)
    }

    /// Makes an artifact of files. Gives the digest of its manifest.
    pub fn add_artifact(&self, asked: &Add) -> Result<Digest, Fault> {
        if asked.files.is_empty() {
            return Err(Fault::invalid("no file was named"));
        }
        if asked.append && (asked.replace || asked.kind.is_some()) {
            return Err(Fault::invalid("--append cannot be used together with --replace or --type"));
        }
        let name = complete(&asked.name)?;
        let place = self.artifact_place()?;
        let there = place.list().map_err(fault::transfer)?.into_iter().any(|artifact| artifact.name == name);
        if there && !asked.append && !asked.replace {
            return Err(Fault::new(Kind::Conflict, format!("{name}: artifact already exists"))
                .hint("use --append to add to it, --replace to replace it"));
        }
        if !there && asked.append {
            return Err(no_such(&asked.name));
        }
        let mut annotations = std::collections::BTreeMap::new();
        for text in &asked.annotations {
            let (key, value) = text
                .split_once('=')
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| Fault::invalid(format!("annotation {text:?} is not KEY=VALUE")))?;
            if key == artifact::TITLE {
                return Err(Fault::invalid(format!("annotation {key:?} is the name of the file, and cannot be set")));
            }
            annotations.insert(key.to_owned(), value.to_owned());
        }
        if asked.append && asked.subject.is_some() {
            return Err(Fault::invalid("--append cannot be used together with --subject"));
        }
        let subject = match &asked.subject {
            Some(subject) => self.entries(subject, false, None, &asked.access)?.pop().map(|(entry, _)| entry),
            None => None,
        };
        let digest = place.make(&Making {
            name: name.clone(),
            subject,
            files: asked.files.clone(),
            kind: asked.kind.clone(),
            file_kind: asked.file_kind.clone(),
            annotations,
            append: asked.append,
            ..Making::default()
        });
        digest.map_err(fault::transfer)
    }

    /// Brings an artifact. Gives the digest of its manifest.
    pub fn pull_artifact(&self, asked: &Pull, watch: &Watch<'_>) -> Result<Digest, Fault> {
        let options = self.transfer_options(None, &asked.access)?;
        let (from, name) = match transfer::source::parse(&asked.source).map_err(fault::transfer)? {
            Source::Name(name) | Source::Registry(name) => {
                let name = transfer::source::complete(&name);
                (Source::Registry(name.clone()), Reference { digest: None, ..name })
            }
            other => {
                return Err(Fault::invalid(format!("{other} has no name that an artifact could be kept under"))
                    .hint("copy it to a registry first, or take it from there"));
            }
        };
        let name = complete(&name.to_string())?;
        let keys = super::encryption::keys(&Encryption::default(), &asked.access)?;
        self.artifact_place()?.bring(&from, &name, &options, keys, &Told(watch)).map_err(fault::transfer)
    }

    /// Sends an artifact. Gives the digest of its manifest.
    pub fn push_artifact(&self, asked: &Push, watch: &Watch<'_>) -> Result<Digest, Fault> {
        let found = self.find_artifact(&asked.name)?;
        let to = match transfer::source::parse(asked.destination.as_deref().unwrap_or(&found.name)) {
            Ok(Source::Name(name)) => Source::Registry(name),
            other => other.map_err(fault::transfer)?,
        };
        let mut wishes = wishes(None, &Compression::default(), &asked.signing)?;
        wishes.plain = true;
        let registry = self.registry_options(&asked.access)?;
        let options = transfer::Options { registry, ..transfer::Options::default() };
        let sent = self.artifact_place()?.send(&found.name, &to, &options, &wishes, &Told(watch));
        sent.map_err(fault::transfer)
    }

    /// All artifacts, by name.
    pub fn artifacts(&self) -> Result<Vec<Artifact>, Fault> {
        // What is left of killed commands goes, as far as that can be.
        let _ = self.collect_artifacts();
        let found = self.artifact_place()?.list().map_err(fault::transfer)?;
        Ok(found.iter().map(summary).collect())
    }

    /// The artifact of a name or digest.
    pub fn artifact(&self, name: &str) -> Result<Artifact, Fault> {
        Ok(summary(&self.find_artifact(name)?))
    }

    /// Removes an artifact. Gives the digest of its manifest.
    pub fn remove_artifact(&self, name: &str) -> Result<Digest, Fault> {
        let found = self.find_artifact(name)?;
        self.artifact_place()?.remove(&found.name).map_err(fault::transfer)?;
        Ok(found.digest)
    }

    /// Writes files of an artifact.
    pub fn extract_artifact(&self, asked: &Extract) -> Result<(), Fault> {
        if asked.digest.is_some() && asked.title.is_some() {
            return Err(Fault::invalid("--digest and --title cannot be used together"));
        }
        let found = self.find_artifact(&asked.name)?;
        let of_digest = |piece: &&Piece| match asked.digest.as_deref() {
            Some(digest) => {
                let digest = digest.strip_prefix("sha256:").unwrap_or(digest);
                !digest.is_empty() && piece.digest.hex().starts_with(digest)
            }
            None => true,
        };
        let of_title = |piece: &&Piece| asked.title.is_none() || piece.title == asked.title;
        let chosen: Vec<&Piece> = found.files.iter().filter(of_digest).filter(of_title).collect();
        if chosen.is_empty() {
            return Err(Fault::new(Kind::NotFound, format!("{} has no such file", asked.name)));
        }
        let place = self.artifact_place()?;
        if !asked.to.is_dir() {
            let [only] = chosen.as_slice() else {
                return Err(Fault::invalid(format!(
                    "{} has {} files, and {:?} is no directory",
                    asked.name,
                    chosen.len(),
                    asked.to
                )));
            };
            return place.extract(only, &asked.to).map_err(fault::transfer);
        }
        // The names are those of strangers: one that leads elsewhere keeps all files from being written.
        let mut targets = Vec::new();
        for piece in chosen {
            let title = piece.title.clone().unwrap_or_else(|| piece.digest.hex());
            if !artifact::is_title(&title) {
                return Err(Fault::invalid(format!("{} has a file {title:?}, which is no name of a file", asked.name))
                    .hint("use --digest, and name a file to write to"));
            }
            targets.push((piece, asked.to.join(Path::new(&title))));
        }
        targets.iter().try_for_each(|(piece, to)| place.extract(piece, to).map_err(fault::transfer))
    }

    fn find_artifact(&self, name: &str) -> Result<artifact::Artifact, Fault> {
        let all = self.artifact_place()?.list().map_err(fault::transfer)?;
        let mut wanted = Vec::new();
        if let Ok(reference) = name.parse::<Reference>() {
            wanted.push(reference.normalised("localhost").to_string());
            wanted.push(transfer::source::complete(&reference).to_string());
        }
        if let Some(found) = all.iter().find(|artifact| wanted.contains(&artifact.name)) {
            return Ok(found.clone());
        }
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        let of_digest = |artifact: &&artifact::Artifact| hex.len() >= 3 && artifact.digest.hex().starts_with(hex);
        let found: Vec<_> = all.iter().filter(of_digest).collect();
        match found.as_slice() {
            [] => Err(no_such(name)),
            [first, rest @ ..] if rest.iter().all(|other| other.digest == first.digest) => Ok((*first).clone()),
            _ => Err(Fault::new(Kind::Conflict, format!("more than one artifact begins with {name}"))),
        }
    }
}

fn summary(found: &artifact::Artifact) -> Artifact {
    Artifact {
        name: found.name.clone(),
        digest: found.digest,
        size: found.size(),
        manifest: found.manifest.clone().into(),
    }
}

fn no_such(name: &str) -> Fault {
    Fault::new(Kind::NotFound, format!("{name}: artifact does not exist"))
}
