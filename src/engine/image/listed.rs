//! Artifacts of lists: made of files when they are added, kept beside the other artifacts under names that nobody asks for, and removed
//! with their entry.
//!
//! Must not know: how lists are written.

use super::lists::{notes, random};
use crate::{Engine, fault};
use ops::Fault;
use ops::manifest::AddArtifact;
use std::io::Read;
use std::path::Path;
use transfer::artifact::{Artifacts, Making};
use transfer::list::Index;
use types::Digest;

/// What a source of a list begins with that is such an artifact; its name follows.
pub(super) const ARTIFACT: &str = "artifact:";
/// What the names of such artifacts begin with.
const HIDDEN: &str = "listed-";
/// Media type of a configuration that is given without one.
const CONFIGURATION: &str = "application/vnd.oci.image.config.v1+json";
/// Largest configuration, in bytes.
const LARGEST: u64 = 4 << 20;

impl Engine {
    /// Makes an artifact of files and adds it to a list. Gives the list's id.
    pub fn add_artifact_to_list(&self, asked: &AddArtifact) -> Result<Digest, Fault> {
        if asked.files.is_empty() {
            return Err(Fault::invalid("no file was named"));
        }
        if asked.configuration_kind.is_some() && asked.configuration.is_none() {
            return Err(Fault::invalid("--artifact-config-type needs a configuration: --artifact-config FILE"));
        }
        let known = self.known_list(&asked.list)?;
        let notes = notes(&asked.notes)?;
        let subject = match &asked.subject {
            Some(subject) => self.entries(subject, false, None, &asked.access)?.pop().map(|(entry, _)| entry),
            None => None,
        };
        let configuration = asked.configuration.as_deref().map(read).transpose()?;
        let kind = asked.configuration_kind.as_deref().unwrap_or(CONFIGURATION);
        // No name of an image: so it is shown nowhere.
        let name = format!("{HIDDEN}{}", random()?.hex());
        let place = self.artifact_place()?;
        // Held until a list has it: what is in none then was left by a command that was killed.
        let _hiding = place.hiding(true).map_err(fault::transfer)?;
        self.collect_listed(&place)?;
        let making = Making {
            name: name.clone(),
            files: asked.files.clone(),
            kind: asked.kind.clone(),
            file_kind: asked.file_kind.clone(),
            untitled: asked.untitled,
            configuration: configuration.map(|bytes| (bytes, kind.to_owned())),
            subject,
            ..Making::default()
        };
        let digest = place.make(&making).map_err(fault::transfer)?;
        let mut before = None;
        let changed = place.entry(&name, &digest).and_then(|entry| {
            self.store().map_err(|e| transfer::Error::NotFetched(e.to_string()))?.change_list(&known.name, |list| {
                let mut index = Index::parse(&list.index)?;
                before = list.sources.insert(digest, format!("{ARTIFACT}{name}"));
                index.add(entry)?;
                index.note(&digest, &notes);
                list.index = index.bytes();
                Ok::<_, transfer::Error>(())
            })
        });
        match changed {
            Ok(list) => {
                self.forget_listed(before.iter())?;
                Ok(list.id)
            }
            Err(error) => {
                place.remove(&name).map_err(fault::transfer)?;
                Err(fault::transfer(error))
            }
        }
    }

    /// Removes the artifacts that no list has. The caller sees to it that nobody is making one.
    fn collect_listed(&self, place: &Artifacts) -> Result<(), Fault> {
        let hidden = place.hidden(HIDDEN).map_err(fault::transfer)?;
        if hidden.is_empty() {
            return Ok(());
        }
        let lists = self.store()?.lists().map_err(fault::store)?;
        let known = |name: &String| {
            let sources = lists.iter().flat_map(|list| list.sources.values());
            sources.filter_map(|source| source.strip_prefix(ARTIFACT)).any(|source| source == name)
        };
        hidden.iter().filter(|name| !known(name)).try_for_each(|name| place.remove(name).map_err(fault::transfer))
    }

    /// Removes what commands left that were killed while they made an artifact for a list; not while another makes one.
    pub(crate) fn collect_artifacts(&self) -> Result<(), Fault> {
        let place = self.artifact_place()?;
        match place.hiding(false).map_err(fault::transfer)? {
            Some(_hiding) => self.collect_listed(&place),
            None => Ok(()),
        }
    }

    /// Removes the artifacts among sources that no list has any more.
    pub(super) fn forget_listed<'a>(&self, sources: impl Iterator<Item = &'a String>) -> Result<(), Fault> {
        for name in sources.filter_map(|source| source.strip_prefix(ARTIFACT)) {
            self.artifact_place()?.remove(name).map_err(fault::transfer)?;
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let failed = |why: String| Fault::invalid(format!("cannot read the configuration {path:?}: {why}"));
    let mut bytes = Vec::new();
    // More than is accepted is not read: what is named may have no end.
    let read = std::fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    match read.map_err(|e| failed(e.to_string()))? {
        size if size as u64 > LARGEST => Err(failed(format!("it has more than {LARGEST} bytes"))),
        _ => Ok(bytes),
    }
}
