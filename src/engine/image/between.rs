//! Skopeo's work: images from one place to another, and what is known of them where they are.

use super::send::wishes;
use super::{Told, encryption};
use crate::{Engine, fault};
use ops::Fault;
use ops::image::{Access, Copy, Examine, Examined, Listed, Pull, Push, Pushed, Tags, Watch};
use serde_json::{Value, json};
use store::Configuration;
use transfer::Source;
use types::{Digest, Platform};

impl Engine {
    /// Copies an image from one place to another.
    pub fn copy_image(&self, asked: &Copy, watch: &Watch<'_>) -> Result<Pushed, Fault> {
        let (from, to) = (source(&asked.source)?, source(&asked.destination)?);
        if matches!(to, Source::Name(_)) && !asked.encryption.recipients.is_empty() {
            return Err(Fault::invalid("images of the store are not encrypted: encrypt them when they leave it"));
        }
        match (&from, &to) {
            (Source::Name(_), Source::Name(to)) => {
                let image = self.store()?.find_image(&asked.source).map_err(fault::store)?;
                self.store()?.tag(&image.id, &to.normalised("localhost").to_string()).map_err(fault::store)?;
                Ok(Pushed { digest: image.manifest })
            }
            (Source::Name(_), _) => self.push(
                &Push {
                    image: asked.source.clone(),
                    destination: Some(asked.destination.clone()),
                    format: asked.format.clone(),
                    compression: asked.compression.clone(),
                    signing: asked.signing.clone(),
                    encryption: asked.encryption.clone(),
                    access: asked.to.clone(),
                },
                watch,
            ),
            (_, Source::Name(to)) => {
                let pull = Pull {
                    source: asked.source.clone(),
                    platform: asked.platform.clone(),
                    access: asked.from.clone(),
                    ..Pull::default()
                };
                let loaded = self.pull(&pull, watch)?;
                let store = self.store()?;
                store.tag(&loaded.id, &to.normalised("localhost").to_string()).map_err(fault::store)?;
                Ok(Pushed { digest: store.find_image(&loaded.id.to_string()).map_err(fault::store)?.manifest })
            }
            _ => {
                let mut wishes = wishes(asked.format.as_deref(), &asked.compression, &asked.signing)?;
                wishes.change.preserve = asked.preserve_digests;
                wishes.change.keys = encryption::keys(&asked.encryption, &asked.from)?;
                wishes.plain = asked.uncompressed;
                wishes.tags = asked.tags.clone();
                let from_options = self.transfer_options(asked.platform.as_deref(), &asked.from)?;
                let to_options = self.transfer_options(None, &asked.to)?;
                let written = transfer::copy(&from, &from_options, &to, &to_options, &wishes, asked.all, &Told(watch));
                Ok(Pushed { digest: written.map_err(fault::transfer)?.digest })
            }
        }
    }

    /// What is known of an image that need not be in the store.
    pub fn examine_image(&self, asked: &Examine) -> Result<Examined, Fault> {
        let from = source(&asked.source)?;
        let options = self.transfer_options(asked.platform.as_deref(), &asked.access)?;
        if asked.referrers {
            return match &from {
                Source::Registry(name) => transfer::referrers(name, asked.referrer_kind.as_deref(), &options)
                    .map_err(fault::transfer)
                    .and_then(|index| match asked.raw {
                        true => Ok(Examined::Raw(index)),
                        false => serde_json::from_slice(&index).map(Examined::Described).map_err(Fault::internal),
                    }),
                other => Err(Fault::invalid(format!("what refers to {other} is not known: only registries keep that"))),
            };
        }
        if asked.raw && !asked.configuration {
            return transfer::raw(&from, &options).map(Examined::Raw).map_err(fault::transfer);
        }
        let found = transfer::examine(&from, &options).map_err(fault::transfer)?;
        if asked.configuration {
            return match asked.raw {
                true => Ok(Examined::Raw(found.configuration)),
                false => serde_json::from_slice(&found.configuration)
                    .map(Examined::Described)
                    .map_err(|e| Fault::invalid(format!("the configuration of {from}: {e}"))),
            };
        }
        let configuration = Configuration::parse(&found.configuration).map_err(fault::store)?;
        let (name, tags) = match &from {
            Source::Registry(name) => {
                let name = name.normalised("docker.io");
                let tags = match asked.no_tags {
                    true => Vec::new(),
                    // Not everybody who may read an image may list tags.
                    false => transfer::tags(&name, &options).unwrap_or_default(),
                };
                (transfer::source::complete(&name).repository(), tags)
            }
            _ => (String::new(), Vec::new()),
        };
        Ok(Examined::Described(described(&name, tags, &found, &configuration)))
    }

    /// The tags of a repository.
    pub fn tags(&self, asked: &Tags) -> Result<Listed, Fault> {
        let options = self.transfer_options(None, &asked.access)?;
        match source(&asked.source)? {
            Source::Registry(name) if name.tag.is_some() || name.digest.is_some() => {
                Err(Fault::invalid(format!("\"docker://{name}\" names an image, not a repository: leave out its tag")))
            }
            Source::Registry(name) => {
                let tags = transfer::tags(&name, &options).map_err(fault::transfer)?;
                Ok(Listed { repository: Some(transfer::source::complete(&name).repository()), tags })
            }
            Source::DockerArchive(path, _) => {
                let tags = transfer::archive_tags(&path).map_err(fault::transfer)?;
                Ok(Listed { repository: None, tags })
            }
            other => Err(Fault::invalid(format!("tags of {other} cannot be listed"))
                .hint("a registry (docker://NAME) or an archive of Docker's (docker-archive:FILE) is needed")),
        }
    }

    /// True if `text` names a transport (`docker://`, `oci-archive:`), so that it is nothing in the store.
    pub fn has_transport(&self, text: &str) -> bool {
        transfer::source::has_transport(text)
    }

    pub(crate) fn transfer_options(&self, platform: Option<&str>, access: &Access) -> Result<transfer::Options, Fault> {
        let platform: Option<Platform> = platform.map(str::parse).transpose()?;
        let policy = match access.any_signature {
            true => None,
            false => self.policy(access.signature_policy.as_deref())?,
        };
        Ok(transfer::Options { platform, registry: self.registry_options(access)?, policy, drop_blobs: false })
    }
}

fn source(text: &str) -> Result<Source, Fault> {
    transfer::source::parse(text).map_err(fault::transfer)
}

/// In the shape of `skopeo inspect`.
fn described(name: &str, tags: Vec<String>, found: &transfer::Examined, configuration: &Configuration) -> Value {
    let layers: Vec<Value> = found.layers.iter().map(|layer| json!(layer.digest)).collect();
    let data: Vec<Value> = found
        .layers
        .iter()
        .map(|layer| {
            let annotations = if layer.annotations.is_empty() { Value::Null } else { json!(layer.annotations) };
            json!({"MIMEType": layer.media_type, "Digest": layer.digest, "Size": layer.size, "Annotations": annotations})
        })
        .collect();
    let mut made = json!({
        "Name": name,
        "Digest": Digest::of(&found.raw),
        "RepoTags": tags,
        "Created": configuration.created,
        "DockerVersion": configuration.docker_version,
        "Labels": configuration.config.labels,
        "Architecture": configuration.architecture,
        "Os": configuration.os,
        "Layers": layers,
        "LayersData": data,
        "Env": configuration.config.env,
    });
    if let (true, Some(fields)) = (name.is_empty(), made.as_object_mut()) {
        fields.remove("Name");
    }
    made
}
