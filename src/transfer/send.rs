//! Images out of the store, and from one place to another without it.
//!
//! Must not know: how destinations are written.

use crate::convert::{self, Form};
use crate::copy::{self, Change, Written};
use crate::destination::archive::DockerArchive;
use crate::destination::containers::Containers;
use crate::destination::directory::Directory;
use crate::destination::layout::Layout;
use crate::destination::{Destination, Packing};
use crate::origin::{Leaf, Original, Stored};
use crate::plan::Place;
use crate::reel::Reel;
use crate::registry::push::Pushed;
use crate::sign::{Signed, Signer};
use crate::{Choice, Compression, Error, Options, Progress, Result, Source, daemon, plan};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use store::{Image, Store};
use types::Reference;

/// What becomes of images on their way.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The form of manifests, their layers' compression.
    pub change: Change,
    /// Plain layers are compressed although the destination (`dir:`) would take them.
    pub compress: bool,
    /// Plain layers stay plain although the destination (`oci:`) would have them compressed.
    pub plain: bool,
    /// More names for an image in a `docker-archive:`.
    pub tags: Vec<String>,
    /// Who signs what is written.
    pub signers: Vec<Signer>,
    /// As which image it is signed; none means its name in the registry that it is written to.
    pub identity: Option<Reference>,
}

/// Where an archive is written to.
pub enum Output {
    /// A file, which appears when it is complete.
    Path(PathBuf),
    /// A pipe.
    Writer(Box<dyn Write + Send>),
}

/// What `save` writes.
pub enum Saving {
    /// `docker-archive`.
    DockerArchive(Output),
    /// `oci-archive`.
    OciArchive(Output),
    /// `oci-dir`.
    OciDirectory(PathBuf),
    /// `docker-dir`.
    DockerDirectory(PathBuf),
}

impl Output {
    fn reel(self) -> Result<Reel> {
        match self {
            Output::Path(path) => Reel::create(&path),
            Output::Writer(writer) => Ok(Reel::pipe("standard output", writer)),
        }
    }
}

/// Saves images of the store, each under its names.
///
/// # Errors
/// Several images are for `docker-archive` alone. After an error a file or directory entry that was there is as before.
pub fn save(
    store: &Store,
    images: &[(Image, Vec<String>)],
    saving: Saving,
    wishes: &Wishes,
    progress: &dyn Progress,
) -> Result<()> {
    progress.begin();
    if let Saving::DockerArchive(output) = saving {
        let write = |reel: Reel, sized: bool| {
            let destination = DockerArchive::new(reel);
            for (image, names) in images {
                destination.next(names.clone());
                let mut original = Original::stored(store, image)?;
                if sized {
                    for leaf in &mut original.layers {
                        leaf.plain_size = leaf.plain_size.or_else(|| said(store, leaf));
                    }
                }
                copy::copy(&Stored::new(store), &original, &destination, &wishes.change, true, progress)?;
            }
            destination.finish()
        };
        // With the sizes that layers say they have, several are inflated side by side; what says something wrong is met again
        // without them. Nothing is at the path before the end.
        if let Output::Path(path) = &output {
            let reel = Reel::create(path)?;
            if !reel.is_file() {
                return write(reel, false);
            }
            if write(reel, true).is_ok() {
                return Ok(());
            }
        }
        return write(output.reel()?, false);
    }
    let [(image, names)] = images else { return Err(Error::OneImage) };
    let name = || names.first().cloned();
    let docker = if wishes.compress { Packing::Compressed } else { Packing::AsTheyAre };
    let destination: Box<dyn Destination> = match saving {
        Saving::OciArchive(output) => Box::new(Layout::archive(output.reel()?, name(), wishes.plain)),
        Saving::OciDirectory(path) => Box::new(Layout::directory(&path, name(), wishes.plain)?),
        Saving::DockerDirectory(path) => Box::new(Directory::create(&path, Some(Form::Docker), docker)?),
        Saving::DockerArchive(_) => return Err(Error::OneImage),
    };
    stored(store, image, &*destination, &wishes.change, progress)?;
    destination.finish()
}

/// Writes an image of the store to wherever `to` says.
pub fn push(
    store: &Store,
    image: &Image,
    to: &Source,
    options: &Options,
    wishes: &Wishes,
    progress: &dyn Progress,
) -> Result<Written> {
    let destination = open(to, options, wishes)?;
    progress.begin();
    let written = stored(store, image, &*destination, &wishes.change, progress)?;
    destination.finish()?;
    Ok(written)
}

fn stored(
    store: &Store,
    image: &Image,
    destination: &dyn Destination,
    change: &Change,
    progress: &dyn Progress,
) -> Result<Written> {
    let original = Original::stored(store, image)?;
    copy::copy(&Stored::new(store), &original, destination, change, true, progress)
}

/// How many bytes a compressed layer says are in it: the last four of gzip (RFC 1952, 2.3.1), wrong for more than 4 GiB and
/// for several members.
fn said(store: &Store, leaf: &Leaf) -> Option<u64> {
    let Place::Blob(digest, size) = &leaf.place else { return None };
    if convert::compression(&leaf.kind) != Some(Compression::Gzip) {
        return None;
    }
    let file = store.blob(digest).ok()??;
    let mut last = [0; 4];
    file.read_exact_at(&mut last, size.checked_sub(4)?).ok()?;
    Some(u64::from(u32::from_le_bytes(last)))
}

/// Opens what `to` says for writing; what is written is signed if there is somebody to sign it.
pub(crate) fn open<'a>(to: &Source, options: &'a Options, wishes: &Wishes) -> Result<Box<dyn Destination + 'a>> {
    if wishes.signers.is_empty() {
        return unsigned(to, options, wishes);
    }
    let name = match (&wishes.identity, to) {
        (Some(name), _) => name.clone(),
        (None, Source::Registry(name)) => crate::source::complete(name),
        (None, Source::DockerArchive(..)) => {
            let why = "its images have no manifests that could be signed".into();
            return Err(Error::NoPlace { image: to.to_string(), why });
        }
        (None, _) => {
            let why = "the name to be signed is not known: --sign-identity tells it".into();
            return Err(Error::NoPlace { image: to.to_string(), why });
        }
    };
    let inner = unsigned(to, options, wishes)?;
    Ok(Box::new(Signed { inner, signers: wishes.signers.clone(), name }))
}

fn unsigned<'a>(to: &Source, options: &'a Options, wishes: &Wishes) -> Result<Box<dyn Destination + 'a>> {
    let named = |choice: &Choice| match choice {
        Choice::Only => Ok(None),
        Choice::Named(name) => Ok(Some(name.clone())),
        Choice::At(_) => {
            Err(Error::Source { given: to.to_string(), why: "an image is written under a name, not at a place".into() })
        }
    };
    let compress = |otherwise| if wishes.compress { Packing::Compressed } else { otherwise };
    Ok(match to {
        Source::DockerArchive(path, choice) => {
            let names = named(choice)?.into_iter().chain(wishes.tags.iter().cloned());
            let names = names.map(|name| plan::docker_name(&name)).collect::<Result<_>>()?;
            let destination = DockerArchive::new(Reel::create(path)?);
            destination.next(names);
            Box::new(destination)
        }
        Source::OciArchive(path, choice) => {
            Box::new(Layout::archive(Reel::create(path)?, named(choice)?, wishes.plain))
        }
        Source::OciDirectory(path, choice) => Box::new(Layout::directory(path, named(choice)?, wishes.plain)?),
        Source::Directory(path) => Box::new(Directory::create(path, wishes.change.form, compress(Packing::AsTheyAre))?),
        Source::Containers(root, name) => {
            let name: types::Reference = name.parse()?;
            let name = crate::source::complete(&types::Reference { digest: None, ..name }).to_string();
            let first = sys::namespaces::in_initial_user_namespace();
            if !first && mapped_ids() == 1 {
                let why = "where only one id is mapped, its layers cannot be written: ranges in /etc/subuid are needed";
                return Err(Error::Source { given: to.to_string(), why: why.into() });
            }
            let root = root.as_deref().unwrap_or(&options.registry.containers);
            Box::new(Containers::create(root, name, !first)?)
        }
        Source::Daemon(name) => {
            let host = &options.registry.daemon;
            let destination = DockerArchive::new(Reel::pipe(&to.to_string(), Box::new(daemon::put(host)?)));
            destination.next(daemon::name(name).into_iter().collect());
            Box::new(destination)
        }
        Source::Registry(name) => Box::new(Pushed::new(name, &options.registry, Packing::Compressed)?),
        Source::Name(name) => return Err(Error::NotFetched(name.to_string())),
    })
}

/// How many ids this user namespace has.
fn mapped_ids() -> u64 {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum()
}
