//! Lists: images for several platforms, and artifacts, put together under one name and pushed as one.

use super::Told;
use super::listed;
use super::name::complete;
use super::send::{self, wishes};
use crate::{Engine, fault};
use ops::image::{Access, Pushed, Watch};
use ops::manifest::{Add, Annotate, Create, Notes, Push, Summary};
use ops::{Fault, Kind};
use std::collections::BTreeMap;
use store::List;
use transfer::Source;
use transfer::list::{Entry, Index, Member, Sending, Twin};
use types::{Digest, Platform, Reference};

/// Says in a list's sources that an image is in the store.
const HERE: &str = "";

impl Engine {
    /// Makes a list, with the images that are asked for in it. Gives its id.
    pub fn create_list(&self, asked: &Create) -> Result<Digest, Fault> {
        let name = complete(&asked.name)?;
        let store = self.store()?;
        let taken = || Fault::new(Kind::Conflict, format!("{name:?} is the name of something in the store already"));
        if let Ok(image) = store.find_image(&name)
            && image.matched.as_deref() == Some(&name)
        {
            return Err(taken().hint("remove that image, or choose another name"));
        }
        let notes = annotations(&asked.annotations)?;
        let mut coming = Vec::new();
        for image in &asked.images {
            coming.extend(self.entries(image, asked.all, None, &asked.access)?);
        }
        let mut list = List { name: name.clone(), id: random()?, index: Vec::new(), sources: BTreeMap::new() };
        list.index = Index::default().bytes();
        if !store.create_list(&list).map_err(fault::store)? && !asked.amend {
            return Err(taken().hint("use --amend to add to it"));
        }
        let changed = store.change_list(&name, |list| {
            let mut index = Index::parse(&list.index)?;
            index.note_all(&notes);
            add(list, &mut index, coming)
        });
        Ok(changed.map_err(fault::transfer)?.id)
    }

    /// Adds an image to a list. Gives the list's id.
    pub fn add_to_list(&self, asked: &Add) -> Result<Digest, Fault> {
        let store = self.store()?;
        let known = self.known_list(&asked.list)?;
        let notes = notes(&asked.notes)?;
        let coming = self.entries(&asked.image, asked.all, wanted(&asked.notes), &asked.access)?;
        let changed = store.change_list(&known.name, |list| {
            let mut index = Index::parse(&list.index)?;
            let digests: Vec<Digest> = coming.iter().map(|(entry, _)| entry.digest).collect();
            add(list, &mut index, coming)?;
            for digest in digests {
                index.note(&digest, &notes);
            }
            list.index = index.bytes();
            Ok::<_, transfer::Error>(())
        });
        Ok(changed.map_err(fault::transfer)?.id)
    }

    /// Changes what a list notes of one of its images, or of itself. Gives its id.
    pub fn annotate_list(&self, asked: &Annotate) -> Result<Digest, Fault> {
        let known = self.known_list(&asked.list)?;
        let notes = notes(&asked.notes)?;
        let manifest = match &asked.image {
            Some(image) => Some(self.manifest_of(&known, image, &asked.access)?),
            None => None,
        };
        let subject = match &asked.subject {
            Some(subject) => self.entries(subject, false, None, &asked.access)?.pop().map(|(entry, _)| entry),
            None => None,
        };
        let changed = self.store()?.change_list(&known.name, |list| {
            let mut index = Index::parse(&list.index)?;
            match &manifest {
                Some(manifest) if !index.note(manifest, &notes) => {
                    return Err(store::Error::NoSuchImage { name: manifest.to_string() }.into());
                }
                Some(_) => {}
                None => index.note_all(&notes.annotations),
            }
            if let Some(subject) = &subject {
                index.refer(subject);
            }
            list.index = index.bytes();
            Ok::<_, transfer::Error>(())
        });
        Ok(changed.map_err(fault::transfer)?.id)
    }

    /// Takes an image out of a list. Gives the list's id.
    pub fn remove_from_list(&self, name: &str, manifest: &str) -> Result<Digest, Fault> {
        let manifest: Digest = manifest.parse()?;
        let mut gone = None;
        let changed = self.store()?.change_list(name, |list| {
            let mut index = Index::parse(&list.index)?;
            if !index.remove(&manifest) {
                return Err(transfer::Error::from(store::Error::NoSuchImage { name: manifest.to_string() }));
            }
            gone = list.sources.remove(&manifest);
            list.index = index.bytes();
            Ok(())
        });
        let id = changed.map_err(fault::transfer)?.id;
        self.forget_listed(gone.iter())?;
        Ok(id)
    }

    /// The index of a list, or what a registry has under the name.
    pub fn inspect_list(&self, name: &str, access: &Access) -> Result<Vec<u8>, Fault> {
        if !self.has_transport(name)
            && let Some(list) = self.store()?.find_list(name).map_err(fault::store)?
        {
            return Ok(list.index);
        }
        let options = self.transfer_options(None, access)?;
        self.anywhere(name, |source| transfer::raw(source, &options))
    }

    /// True if there is such a list.
    pub fn list_exists(&self, name: &str) -> Result<bool, Fault> {
        Ok(self.store()?.find_list(name).map_err(fault::store)?.is_some())
    }

    /// Removes a list; its images stay. None if there is none and that is to be no error.
    pub fn remove_list(&self, name: &str, ignore: bool) -> Result<Option<Summary>, Fault> {
        match self.store()?.remove_list(name).map_err(fault::store)? {
            Some(list) => {
                self.forget_listed(list.sources.values())?;
                Ok(Some(Summary { id: list.id, name: list.name }))
            }
            None if ignore => Ok(None),
            None => Err(no_such(name)),
        }
    }

    /// Writes a list with its images to a registry, or to wherever the destination says.
    pub fn push_list(&self, asked: &Push, watch: &Watch<'_>) -> Result<Pushed, Fault> {
        let list = self.known_list(&asked.list)?;
        let destination = asked.destination.as_deref().unwrap_or(&list.name);
        let to = match transfer::source::parse(destination).map_err(fault::transfer)? {
            Source::Name(name) => Source::Registry(name),
            other => other,
        };
        let wishes = wishes(asked.format.as_deref(), &asked.compression, &asked.signing)?;
        let twin = |text: &String| match text.as_str() {
            "zstd:chunked" => Ok(Twin { compression: transfer::Compression::Zstd, chunked: true }),
            other => Ok(Twin { compression: send::compression(other)?, chunked: false }),
        };
        let more = asked.more_compressions.iter().map(twin).collect::<Result<Vec<_>, Fault>>()?;
        let artifacts = self.artifact_place()?;
        let index = Index::parse(&list.index).map_err(fault::transfer)?;
        let options = self.transfer_options(None, &asked.access)?;
        let store = self.store()?;
        let member = |digest: &Digest| match list.sources.get(digest).map_or(HERE, String::as_str) {
            HERE => Ok(Member::Stored(Box::new(store.find_image(&digest.to_string())?))),
            source => match source.strip_prefix(listed::ARTIFACT) {
                Some(name) => Ok(Member::Elsewhere(artifacts.source(name))),
                None => transfer::source::parse(source).map(Member::Elsewhere),
            },
        };
        let sending = Sending {
            member: &member,
            options: &options,
            wishes: &wishes,
            all: asked.all.unwrap_or(true),
            more: &more,
        };
        let written = transfer::list::push(store, &index, &to, &sending, &Told(watch)).map_err(fault::transfer)?;
        if asked.remove {
            self.remove_list(&list.name, true)?;
        }
        Ok(Pushed { digest: written.digest })
    }

    /// The image of a list for a platform, if the store has both: what is run under the list's name.
    pub(crate) fn image_of_list(&self, name: &str, platform: Option<&str>) -> Result<Option<store::Image>, Fault> {
        let Some(list) = self.store()?.find_list(name).map_err(fault::store)? else { return Ok(None) };
        let platform = platform.map(str::parse).transpose()?.unwrap_or_else(Platform::native);
        let index = Index::parse(&list.index).map_err(fault::transfer)?;
        let Some(manifest) = index.for_platform(&platform) else { return Ok(None) };
        match self.store()?.find_image(&manifest.to_string()) {
            Ok(image) => Ok(Some(image)),
            Err(store::Error::NoSuchImage { .. }) => Ok(None),
            Err(error) => Err(fault::store(error)),
        }
    }

    pub(super) fn known_list(&self, name: &str) -> Result<List, Fault> {
        self.store()?.find_list(name).map_err(fault::store)?.ok_or_else(|| no_such(name))
    }

    /// The entries that an image stands for, each with where it is.
    pub(super) fn entries(
        &self,
        image: &str,
        all: bool,
        platform: Option<String>,
        access: &Access,
    ) -> Result<Vec<(Entry, String)>, Fault> {
        let store = self.store()?;
        if !self.has_transport(image) {
            match store.find_image(image) {
                Ok(image) => {
                    let entry = Entry::stored(store, &image).map_err(fault::transfer)?;
                    return Ok(vec![(entry, HERE.to_owned())]);
                }
                Err(store::Error::NoSuchImage { .. }) => {}
                Err(error) => return Err(fault::store(error)),
            }
        }
        let options = self.transfer_options(platform.as_deref(), access)?;
        self.anywhere(image, |source| {
            let entries = transfer::list::entries(source, &options, all)?;
            Ok(entries
                .into_iter()
                .map(|entry| (lasting(source, &entry.digest), entry))
                .map(|(source, entry)| (entry, source))
                .collect())
        })
    }

    /// Does `act` with what `name` means: what its transport says or, without one, the first registry that succeeds.
    fn anywhere<T>(&self, name: &str, act: impl Fn(&Source) -> Result<T, transfer::Error>) -> Result<T, Fault> {
        let reference: Reference = match transfer::source::parse(name).map_err(fault::transfer)? {
            Source::Name(reference) => reference,
            source => return act(&source).map_err(fault::transfer),
        };
        let mut first = None;
        for meaning in self.registries()?.meanings(&reference).map_err(fault::transfer)? {
            match act(&Source::Registry(transfer::source::complete(&meaning))) {
                Ok(done) => return Ok(done),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.map_or_else(
            || no_such(name),
            |error| {
                let fault = fault::transfer(error);
                Fault { message: format!("{name} is not in the store, and {}", fault.message), ..fault }
            },
        ))
    }

    /// The entry of a list that is meant by a digest or a name.
    fn manifest_of(&self, list: &List, image: &str, access: &Access) -> Result<Digest, Fault> {
        let listed = Index::parse(&list.index).map_err(fault::transfer)?.digests();
        if let Ok(digest) = image.parse::<Digest>() {
            return Ok(digest);
        }
        let found = self.entries(image, true, None, access)?;
        let found = found.into_iter().map(|(entry, _)| entry.digest).find(|digest| listed.contains(digest));
        found.ok_or_else(|| Fault::new(Kind::NotFound, format!("{image:?} is not in the list {:?}", list.name)))
    }
}

/// Adds entries to a list that is being changed.
fn add(list: &mut List, index: &mut Index, coming: Vec<(Entry, String)>) -> Result<(), transfer::Error> {
    for (entry, source) in coming {
        match source.as_str() {
            HERE => drop(list.sources.remove(&entry.digest)),
            _ => drop(list.sources.insert(entry.digest, source)),
        }
        index.add(entry)?;
    }
    list.index = index.bytes();
    Ok(())
}

/// A source under which an image is found later, too: from another directory, and when a tag has moved on.
fn lasting(source: &Source, manifest: &Digest) -> String {
    let absolute = |path: &std::path::Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match source.clone() {
        Source::Registry(name) => {
            Source::Registry(Reference { tag: None, digest: Some(*manifest), ..transfer::source::complete(&name) })
        }
        Source::OciArchive(path, choice) => Source::OciArchive(absolute(&path), choice),
        Source::OciDirectory(path, choice) => Source::OciDirectory(absolute(&path), choice),
        Source::Directory(path) => Source::Directory(absolute(&path)),
        other => other,
    }
    .to_string()
}

fn no_such(name: &str) -> Fault {
    Fault::new(Kind::NotFound, format!("{name}: manifest list not known"))
}

/// The platform that notes name, to choose among the images of an index.
fn wanted(notes: &Notes) -> Option<String> {
    if notes.os.is_none() && notes.architecture.is_none() {
        return None;
    }
    let own = Platform::native();
    let os = notes.os.clone().unwrap_or(own.os);
    let architecture = notes.architecture.clone().unwrap_or(own.architecture);
    Some(Platform { os, architecture, variant: notes.variant.clone().unwrap_or_default() }.to_string())
}

pub(super) fn notes(asked: &Notes) -> Result<transfer::list::Notes, Fault> {
    Ok(transfer::list::Notes {
        annotations: annotations(&asked.annotations)?,
        architecture: asked.architecture.clone(),
        features: asked.features.clone(),
        os: asked.os.clone(),
        os_features: asked.os_features.clone(),
        os_version: asked.os_version.clone(),
        variant: asked.variant.clone(),
    })
}

/// `KEY=VALUE`.
pub(crate) fn annotations(texts: &[String]) -> Result<Vec<(String, String)>, Fault> {
    let pair = |text: &String| {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Fault::invalid(format!("invalid annotation {text:?}: expected KEY=VALUE")))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    texts.iter().map(pair).collect()
}

/// An id that nothing else has.
pub(super) fn random() -> Result<Digest, Fault> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Fault::internal(format!("no random numbers: {e}")))?;
    Ok(Digest::from_bytes(bytes))
}
