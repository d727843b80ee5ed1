//! Loads all images of an archive, and fetches one image from wherever it is.

use crate::containers::Containers;
use crate::parts::{Archive, Demand, Layout, Parts, Pending, Supply};
use crate::plan::{self, Documents, Found, Wanted};
use crate::registry::{self, Repository};
use crate::shelf::Shelf;
use crate::trust::{self, Subject};
use crate::{Choice, Error, Input, Loaded, Options, Progress, Result, Source, daemon, intake, stream};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use store::Store;
use types::{Digest, Reference};

/// Loads every image of an archive (OCI, or what `docker save` and `podman save` write; plain, gzip or zstd) or of a
/// directory with an OCI layout. Of an image for several platforms, the native one is taken: what the options say of platforms
/// and registries is not for archives.
///
/// # Errors
/// The first that was met. If one of several images is damaged, none is loaded.
pub fn load(store: &Store, input: Input<'_>, options: &Options, progress: &dyn Progress) -> Result<Vec<Loaded>> {
    match input {
        Input::Reader(reader) => {
            let passed = stream::pass(store, reader, "standard input", options.drop_blobs, progress)?;
            all(store, &passed, None, options, progress)
        }
        Input::Url(url) => {
            let mut page = registry::Page::get(&url, &options.registry)?;
            let passed = stream::pass(store, &mut page, &url, options.drop_blobs, progress)?;
            all(store, &passed, None, options, progress)
        }
        Input::Path(path) => match open(store, &path, options, progress)? {
            Opened::Shelf(shelf) => all(store, &shelf, Some(&path), options, progress),
            Opened::Passed(passed) => all(store, &passed, Some(&path), options, progress),
        },
    }
}

/// Fetches one image. If the store has it already, under the same names, nothing is read but its manifest.
///
/// A name without a transport must have a registry in it; finding out what a short name means is the caller's part.
///
/// # Errors
/// None or several images fit, or what was found is damaged.
pub fn fetch(store: &Store, source: &Source, options: &Options, progress: &dyn Progress) -> Result<Loaded> {
    let wanted = Wanted::new(options.platform.as_ref());
    let (path, choice, demand) = match source {
        Source::OciArchive(path, choice) => (path, choice, Demand::Oci),
        Source::DockerArchive(path, choice) => (path, choice, Demand::Docker),
        Source::OciDirectory(path, choice) => (path, choice, Demand::Oci),
        Source::Directory(path) => (path, &Choice::Only, Demand::Directory),
        Source::Containers(root, name) => {
            let from = Containers::open(root.as_deref().unwrap_or(&options.registry.containers))?;
            return containers(store, &from, (source, name), options, progress);
        }
        Source::Daemon(name) => {
            let mut archive = daemon::get(&options.registry.daemon, name)?;
            let passed = stream::pass(store, &mut archive, &source.to_string(), options.drop_blobs, progress)?;
            return one(store, &passed, Demand::Docker, (source, &Choice::Only), options, progress);
        }
        Source::Registry(name) => return pull(store, name, options, &wanted, progress),
        Source::Name(name) if name.domain.is_some() => return pull(store, name, options, &wanted, progress),
        Source::Name(name) => return Err(Error::NotFetched(name.to_string())),
    };
    let is_archive = matches!(source, Source::OciArchive(..) | Source::DockerArchive(..));
    match open(store, path, options, progress)? {
        Opened::Shelf(Shelf::Directory { .. }) if is_archive => Err(Error::Unknown {
            archive: path.display().to_string(),
            why: "it is a directory: write `oci:` or `dir:` for those".into(),
        }),
        Opened::Shelf(Shelf::Tar { .. }) | Opened::Passed(_) if !is_archive => Err(Error::Unknown {
            archive: path.display().to_string(),
            why: "it is no directory: write `oci-archive:` or `docker-archive:` for files".into(),
        }),
        Opened::Shelf(shelf) => one(store, &shelf, demand, (source, choice), options, progress),
        Opened::Passed(passed) => one(store, &passed, demand, (source, choice), options, progress),
    }
}

/// What is behind a path.
enum Opened {
    Shelf(Shelf),
    Passed(stream::Passed),
}

/// Opens a directory or a plain file as a shelf; what is compressed as a whole or is no regular file passes by once.
fn open(store: &Store, path: &Path, options: &Options, progress: &dyn Progress) -> Result<Opened> {
    let failed = |action, source| Error::File { action, path: path.into(), source };
    let descriptor = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| failed("open", e.into()))?;
    let file = File::from(descriptor);
    let about = file.metadata().map_err(|e| failed("read", e))?;
    if about.is_dir() {
        return Ok(Opened::Shelf(Shelf::directory(path)?));
    }
    let title = path.display().to_string();
    let mut magic = [0; 6];
    let is_plain = about.is_file()
        && file
            .read_at(&mut magic, 0)
            .map(|got| stream::compression(&magic[..got]))
            .map_err(|e| failed("read", e))?
            .is_none();
    if is_plain {
        return Ok(Opened::Shelf(Shelf::tar(file, &title)?));
    }
    Ok(Opened::Passed(stream::pass(store, &mut { file }, &title, options.drop_blobs, progress)?))
}

fn all(
    store: &Store,
    parts: &dyn Parts,
    path: Option<&Path>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>> {
    let wanted = Wanted::new(None);
    let archive = Archive::open(parts, Demand::Any)?;
    let mut loaded = Vec::new();
    let mut images = Vec::new();
    let mut signed = Vec::new();
    let mut budget = plan::Budget::new(parts.title());
    for pending in archive.all(&wanted)? {
        let signatures = archive.judge(&pending, options.policy.as_ref(), &subject(&archive, path, &pending))?;
        signed.extend(digest(&pending).map(|digest| (digest, signatures)));
        let known = known(store, &archive, &pending)?;
        if known.is_none() {
            let image = archive.complete(pending, &wanted)?;
            budget.take(image.configuration.len())?;
            images.push(image);
        }
        loaded.push(known);
    }
    let mut brought = Vec::new();
    if !images.is_empty() {
        if !parts.begun() {
            progress.begin();
        }
        let supply = |layer: &plan::Layer| archive.layer(layer);
        brought = intake::bring(store, images, &supply, intake::threads(), options.drop_blobs, progress)?;
    }
    for (manifest, signatures) in &signed {
        trust::keep(store, manifest, signatures)?;
    }
    let mut brought = brought.into_iter();
    Ok(loaded.into_iter().filter_map(|known| known.or_else(|| brought.next())).collect())
}

fn one(
    store: &Store,
    parts: &dyn Parts,
    demand: Demand,
    (source, choice): (&Source, &Choice),
    options: &Options,
    progress: &dyn Progress,
) -> Result<Loaded> {
    let wanted = &Wanted::new(options.platform.as_ref());
    let mut archive = Archive::open(parts, demand)?;
    if let (Source::Daemon(name), Layout::Docker(saved)) = (source, &mut archive.layout) {
        // Its archives have the names as people write them there.
        saved.iter_mut().for_each(|image| image.repo_tags = daemon::name(name).into_iter().collect());
    }
    let pending = archive.chosen(choice, wanted)?;
    let signatures = archive.judge(&pending, options.policy.as_ref(), &Subject::of(source))?;
    let manifest = digest(&pending);
    let keep = || manifest.map_or(Ok(()), |manifest| trust::keep(store, &manifest, &signatures));
    let known = known(store, &archive, &pending)?;
    if let (Some(known), false) = (&known, wanted.asked) {
        keep()?;
        return Ok(known.clone());
    }
    // Which platform an image is for stands in its configuration: whoever asks for one has that looked at.
    let image = archive.complete(pending, wanted)?;
    if let Some(known) = known {
        keep()?;
        return Ok(known);
    }
    if !parts.begun() {
        progress.begin();
    }
    let supply = |layer: &plan::Layer| archive.layer(layer);
    let loaded = single(intake::bring(store, vec![image], &supply, intake::threads(), options.drop_blobs, progress)?)?;
    keep()?;
    Ok(loaded)
}

/// An image of another store on this machine.
fn containers(
    store: &Store,
    from: &Containers,
    (source, name): (&Source, &str),
    options: &Options,
    progress: &dyn Progress,
) -> Result<Loaded> {
    let image = from.image(name)?;
    if let Some(policy) = &options.policy {
        // It has no manifest whose signatures could be looked for.
        policy.check(&Subject::of(source), None, &|_, _| Ok(Vec::new()))?;
    }
    if let Some(known) = intake::known(store, &image.id, None, image.names.clone())? {
        return Ok(known);
    }
    progress.begin();
    let supply = |layer: &plan::Layer| match &layer.place {
        plan::Place::Member { name, .. } => Ok(Supply::Bytes(Box::new(from.layer(name)?))),
        plan::Place::Blob(digest, _) => Err(Error::NotFetched(digest.to_string())),
    };
    single(intake::bring(store, vec![image], &supply, intake::threads(), options.drop_blobs, progress)?)
}

fn pull(
    store: &Store,
    name: &Reference,
    options: &Options,
    wanted: &Wanted,
    progress: &dyn Progress,
) -> Result<Loaded> {
    let repository = Repository::new(name, &options.registry)?;
    let found = repository.find(wanted)?;
    let manifest = found.digest;
    let mut signatures = repository.signatures(&manifest, trust::Wanted::Known)?;
    if let Some(policy) = &options.policy {
        let subject = Subject::of(&Source::Registry(name.clone()));
        let find = |digest: &Digest, wanted| repository.signatures(digest, wanted);
        signatures.extend(policy.check(&subject, Some(&manifest), &find)?);
    }
    let keep = || trust::keep(store, &manifest, &signatures);
    let known = known_manifest(store, &found)?;
    if let (Some(known), false) = (&known, wanted.asked) {
        keep()?;
        return Ok(known.clone());
    }
    let image = plan::complete(&repository, found, wanted)?;
    if let Some(known) = known {
        keep()?;
        return Ok(known);
    }
    progress.begin();
    let supply = |layer: &plan::Layer| repository.layer(layer);
    let loaded = single(intake::bring(store, vec![image], &supply, registry::THREADS, options.drop_blobs, progress)?)?;
    keep()?;
    Ok(loaded)
}

/// How policies see an image of an archive that was given without a transport.
fn subject(archive: &Archive<'_>, path: Option<&Path>, pending: &Pending<'_>) -> Subject {
    let is_directory = path.is_some_and(Path::is_dir);
    let transport = match archive.layout {
        Layout::Oci(_) if is_directory => "oci",
        Layout::Oci(_) => "oci-archive",
        Layout::Docker(_) => "docker-archive",
        Layout::Directory(_) => "dir",
    };
    let title = archive.title().to_owned();
    match path {
        Some(path) if transport != "docker-archive" => {
            let name = match pending {
                Pending::Found(found) => found.names.first().map(|name| format!(":{name}")),
                Pending::Saved(_) => None,
            };
            Subject::path(transport, title, path, &name.unwrap_or_default())
        }
        _ => Subject::unnamed(transport, title),
    }
}

/// The digest of the manifest of an image, if it has one.
fn digest(pending: &Pending<'_>) -> Option<Digest> {
    match pending {
        Pending::Found(found) => Some(found.digest),
        Pending::Saved(_) => None,
    }
}

fn single(mut loaded: Vec<Loaded>) -> Result<Loaded> {
    Ok(loaded.swap_remove(0))
}

/// The image if the store has it, with the same manifest and at least the same names.
fn known(store: &Store, archive: &Archive<'_>, pending: &Pending<'_>) -> Result<Option<Loaded>> {
    match pending {
        Pending::Found(found) => known_manifest(store, found),
        Pending::Saved(saved) => {
            let id = Digest::of(&archive.configuration(saved)?);
            let names = plan::tags(saved)?;
            intake::known(store, &id, None, names)
        }
    }
}

fn known_manifest(store: &Store, found: &Found) -> Result<Option<Loaded>> {
    intake::known(store, &found.manifest.config.digest, Some(&found.digest), found.names.clone())
}
