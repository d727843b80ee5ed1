//! Bringing images into the store: from archives, directories and registries.

use super::Told;
use crate::container::resolve::Image;
use crate::{Engine, fault};
use ops::container::Create;
use ops::image::{Access, Advance, Load, Loaded, Pull, Watch};
use ops::{Fault, Kind};
use std::path::Path;
use store::Configuration;
use transfer::Source;
use types::{Platform, Reference};

/// When an image is brought that may be there already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    Missing,
    Always,
    Newer,
    Never,
}

impl Policy {
    fn parse(text: Option<&str>, default: Policy) -> Result<Policy, Fault> {
        Ok(match text {
            None | Some("") => default,
            Some("missing" | "ifnotpresent" | "true") => Policy::Missing,
            Some("always") => Policy::Always,
            Some("newer") => Policy::Newer,
            Some("never" | "false") => Policy::Never,
            Some(other) => return Err(Fault::invalid(format!("unsupported pull policy {other:?}"))),
        })
    }
}

impl Engine {
    /// Brings an image into the store. `watch` is told of each step.
    pub fn pull(&self, asked: &Pull, watch: &Watch<'_>) -> Result<Loaded, Fault> {
        let policy = Policy::parse(asked.policy.as_deref(), Policy::Always)?;
        if transfer::source::has_transport(&asked.source) {
            return self.fetch(&asked.source, asked, watch);
        }
        let known = self.store()?.find_image(&asked.source);
        let there = |image: store::Image| Loaded { id: image.id, names: image.names };
        if matches!((policy, &known), (Policy::Missing | Policy::Never, Err(store::Error::NoSuchImage { .. })))
            && let Some(loaded) = self.bring_from_podman(&asked.source, watch)?
        {
            return Ok(loaded);
        }
        match (policy, known) {
            (Policy::Missing | Policy::Never, Ok(image)) => return Ok(there(image)),
            (Policy::Never, Err(store::Error::NoSuchImage { name })) => {
                return Err(Fault::new(Kind::NotFound, format!("{name}: image not known")));
            }
            (_, Err(error)) if !matches!(error, store::Error::NoSuchImage { .. }) => return Err(fault::store(error)),
            _ => {}
        }
        let name: Reference = asked.source.parse().map_err(Fault::from)?;
        let meanings = self.registries()?.meanings(&name).map_err(fault::transfer)?;
        let mut failed: Vec<Fault> = Vec::new();
        for meaning in &meanings {
            let meaning = transfer::source::complete(meaning);
            match self.fetch(&format!("docker://{meaning}"), asked, watch) {
                Ok(loaded) => return Ok(loaded),
                Err(fault) => failed.push(fault),
            }
        }
        // A registry that does not answer takes nothing away that is there.
        if policy == Policy::Newer
            && let Ok(image) = self.store()?.find_image(&asked.source)
        {
            return Ok(there(image));
        }
        let kind = failed.first().map_or(Kind::NotFound, |fault| fault.kind);
        let messages: Vec<String> = failed.iter().map(Fault::to_string).collect();
        Err(Fault::new(kind, messages.join("; ")))
    }

    /// The complete names that `asked` stands for: with `all_tags` one for each tag of the repository.
    pub fn pull_names(&self, asked: &Pull) -> Result<Vec<String>, Fault> {
        if !asked.all_tags {
            return Ok(vec![asked.source.clone()]);
        }
        let text = asked.source.strip_prefix("docker://").unwrap_or(&asked.source);
        let name: Reference = text.parse().map_err(Fault::from)?;
        if transfer::source::has_transport(text) || name.tag.is_some() || name.digest.is_some() {
            return Err(Fault::invalid("--all-tags needs the name of a repository, without a tag"));
        }
        let registry = self.registry_options(&asked.access)?;
        let options = transfer::Options { registry, ..transfer::Options::default() };
        let name = options.registry.registries.meanings(&name).map_err(fault::transfer)?.swap_remove(0);
        let tags = transfer::tags(&name, &options).map_err(fault::transfer)?;
        Ok(tags
            .iter()
            .map(|tag| format!("docker://{}:{tag}", transfer::source::complete(&name).repository()))
            .collect())
    }

    fn fetch(&self, source: &str, asked: &Pull, watch: &Watch<'_>) -> Result<Loaded, Fault> {
        let parsed: Source = transfer::source::parse(source).map_err(fault::transfer)?;
        watch(Advance::Trying(source.strip_prefix("docker://").unwrap_or(source).to_owned()));
        let platform =
            asked.platform.as_deref().map(str::parse).transpose().map_err(|e: types::Invalid| Fault::from(e))?;
        // Files have to do with no registry, and do not depend on what is written about those.
        let is_file = matches!(
            parsed,
            Source::OciArchive(..) | Source::DockerArchive(..) | Source::OciDirectory(..) | Source::Directory(_)
        );
        let registry = if is_file { transfer::Registry::default() } else { self.registry_options(&asked.access)? };
        let policy = match asked.access.any_signature {
            true => None,
            false => self.policy(asked.access.signature_policy.as_deref())?,
        };
        let drop_blobs = self.drops_blobs(asked.no_blobs)?;
        let options = transfer::Options { platform, registry, policy, drop_blobs };
        let loaded = match asked.access.decryption_keys.is_empty() {
            true => transfer::fetch(self.store()?, &parsed, &options, &Told(watch)).map_err(fault::transfer)?,
            false => self.fetch_encrypted(&parsed, &options, &asked.access, watch)?,
        };
        self.tell_of("image", "pull", &loaded.id.hex(), source);
        Ok(Loaded { id: loaded.id, names: loaded.names })
    }

    /// Brings an image of an additional store that is one of Podman's and its kin, whose layers cannot be used where they are; none
    /// if no such store has it.
    fn bring_from_podman(&self, name: &str, watch: &Watch<'_>) -> Result<Option<Loaded>, Fault> {
        for root in self.settings.image_stores.iter().filter(|root| crate::settings::is_podmans(root)) {
            let source = Source::Containers(Some(root.clone()), name.to_owned());
            let options = transfer::Options {
                policy: self.policy(None)?,
                drop_blobs: self.drops_blobs(None)?,
                ..transfer::Options::default()
            };
            match transfer::fetch(self.store()?, &source, &options, &Told(watch)) {
                Ok(loaded) => {
                    self.tell_of("image", "pull", &loaded.id.hex(), &source.to_string());
                    return Ok(Some(Loaded { id: loaded.id, names: loaded.names }));
                }
                Err(transfer::Error::NoSuchImage { .. }) => {}
                Err(error) => return Err(fault::transfer(error)),
            }
        }
        Ok(None)
    }

    /// Whether blobs go when their layers are unpacked: as asked, or as it is configured.
    pub(crate) fn drops_blobs(&self, asked: Option<bool>) -> Result<bool, Fault> {
        match asked {
            Some(asked) => Ok(asked),
            None => Ok(self.host_configuration()?.defaults.no_blobs),
        }
    }

    /// Which images are accepted: what `file` says, or the user's policy or the host's. Where there is none, all are.
    pub(crate) fn policy(&self, file: Option<&Path>) -> Result<Option<transfer::Policy>, Fault> {
        let Some(file) = file else {
            return transfer::Policy::read(&self.settings.policies).map_err(fault::transfer);
        };
        match transfer::Policy::read(&[file.to_owned()]).map_err(fault::transfer)? {
            None => Err(Fault::new(Kind::NotFound, format!("the policy {file:?} does not exist"))),
            policy => Ok(policy),
        }
    }

    /// Brings all images of an archive into the store; standard input if no file was named.
    pub fn load(&self, asked: &Load, watch: &Watch<'_>) -> Result<Vec<Loaded>, Fault> {
        let store = self.store()?;
        let mut standard_input = std::io::stdin();
        let input = match &asked.input {
            Some(path) if is_address(path) => transfer::Input::Url(path.display().to_string()),
            Some(path) => transfer::Input::Path(path.clone()),
            None => transfer::Input::Reader(&mut standard_input),
        };
        let options = transfer::Options {
            policy: self.policy(asked.signature_policy.as_deref())?,
            drop_blobs: self.drops_blobs(asked.no_blobs)?,
            registry: match &asked.input {
                Some(path) if is_address(path) => self.registry_options(&Access::default())?,
                _ => transfer::Registry::default(),
            },
            ..transfer::Options::default()
        };
        let loaded = transfer::load(store, input, &options, &Told(watch)).map_err(|error| {
            let is_none = matches!(error, transfer::Error::Unknown { .. });
            let fault = fault::transfer(error);
            // Scripts know it by Podman's words.
            match is_none {
                true => Fault {
                    message: format!("payload does not match any of the supported image formats: {}", fault.message),
                    ..fault
                },
                false => fault,
            }
        })?;
        let from = asked.input.as_ref().map_or("-".into(), |path| path.to_string_lossy());
        for image in &loaded {
            self.tell_of("image", "loadfromarchive", &image.id.hex(), &from);
        }
        Ok(loaded.into_iter().map(|l| Loaded { id: l.id, names: l.names }).collect())
    }

    /// The image that a container is to be made of, brought first if need be.
    pub(crate) fn image_for(&self, asked: &Create, watch: &Watch<'_>) -> Result<Image, Fault> {
        if asked.image.is_empty() {
            return Err(Fault::invalid("no image was named"));
        }
        if asked.root_directory {
            return Ok(Image { name: String::new(), id: String::new(), config: Configuration::default() });
        }
        let pull = |policy: &str| Pull {
            source: asked.image.clone(),
            platform: asked.platform.clone(),
            policy: Some(policy.to_owned()),
            access: asked.access.clone(),
            ..Pull::default()
        };
        if transfer::source::has_transport(&asked.image) {
            let loaded = self.pull(&pull("always"), &|_| {})?;
            let name = loaded.names.first().cloned().unwrap_or_else(|| loaded.id.hex());
            return self.image_described(&loaded.id.hex(), Some(name));
        }
        let policy = Policy::parse(asked.pull.as_deref(), Policy::Missing)?;
        let known = match self.store()?.find_image(&asked.image) {
            Err(store::Error::NoSuchImage { .. }) => self.image_of_list(&asked.image, asked.platform.as_deref())?,
            other => Some(other.map_err(fault::store)?),
        };
        // An image for another platform is not the one that is meant.
        let known = match (known, &asked.platform) {
            (Some(image), Some(platform)) => self.is_for(&image, platform)?.then_some(image),
            (known, _) => known,
        };
        if known.is_none()
            && matches!(policy, Policy::Missing | Policy::Never)
            && let Some(loaded) = self.bring_from_podman(&asked.image, &|_| {})?
        {
            return self.image_described(&loaded.id.hex(), loaded.names.first().cloned());
        }
        match (policy, known) {
            (Policy::Missing | Policy::Never, Some(image)) => self.described(image, None),
            (Policy::Never, None) => Err(Fault::new(Kind::NotFound, format!("{}: image not known", asked.image))),
            (Policy::Newer, Some(image)) => {
                // A registry that does not answer is no reason not to run what is there.
                let _ = self.pull(&pull("always"), watch);
                match self.store()?.find_image(&asked.image) {
                    Ok(newer) => self.described(newer, None),
                    Err(_) => self.described(image, None),
                }
            }
            _ => {
                let loaded = self.pull(&pull("always"), watch)?;
                let name = loaded.names.first().cloned();
                self.image_described(&loaded.id.hex(), name)
            }
        }
    }

    /// True if an image serves the platform that was asked for, or does not say what it is for.
    pub(crate) fn is_for(&self, image: &store::Image, platform: &str) -> Result<bool, Fault> {
        let wanted: Platform = platform.parse().map_err(Fault::from)?;
        let config = self.configuration(&image.id)?;
        if config.os.is_empty() || config.architecture.is_empty() {
            return Ok(true);
        }
        let own = Platform { os: config.os, architecture: config.architecture, variant: config.variant };
        Ok(own.serves(&wanted))
    }

    fn image_described(&self, id: &str, name: Option<String>) -> Result<Image, Fault> {
        self.described(self.store()?.find_image(id).map_err(fault::store)?, name)
    }

    /// With its configuration, under the name by which it was found.
    fn described(&self, image: store::Image, name: Option<String>) -> Result<Image, Fault> {
        let name = name.or(image.matched).or_else(|| image.names.first().cloned()).unwrap_or_else(|| image.id.hex());
        let config = self.configuration(&image.id)?;
        Ok(Image { name, id: image.id.hex(), config })
    }

    /// The parsed configuration of an image.
    pub(crate) fn configuration(&self, id: &types::Digest) -> Result<Configuration, Fault> {
        let bytes =
            self.store()?.document(id).map_err(fault::store)?.ok_or_else(|| {
                Fault::internal(format!("the configuration of image {} is not in the store", id.short()))
            })?;
        Configuration::parse(&bytes).map_err(fault::store)
    }
}

/// True of what is to be had from the web.
fn is_address(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with("http://") || text.starts_with("https://"))
}
