//! Listing and describing images.

use crate::{Engine, fault};
use ops::Fault;
use ops::image::{List, Summary};
use serde_json::{Value, json};
use store::{Configuration, Image};
use types::Reference;

impl Engine {
    /// The images, newest first.
    pub fn images(&self, asked: &List) -> Result<Vec<Summary>, Fault> {
        let filters = asked.filters.iter().map(|f| self.image_filter(f)).collect::<Result<Vec<_>, _>>()?;
        let users = self.database()?.image_users()?;
        let mut images = self.store()?.images().map_err(fault::store)?;
        let lists = if asked.lists { self.store()?.lists().map_err(fault::store)? } else { Vec::new() };
        let lists: Vec<Image> = lists.into_iter().map(|list| as_image(list, &images)).collect();
        let ids: Vec<types::Digest> = lists.iter().map(|list| list.id).collect();
        images.extend(lists);
        Ok(images
            .into_iter()
            .filter_map(|image| {
                let containers = users.get(&image.id.hex()).copied().unwrap_or(0);
                let mut summary = Summary {
                    id: image.id,
                    digest: image.manifest,
                    names: image.names,
                    former_names: image.former,
                    created: image.created,
                    size: image.size,
                    labels: image.labels,
                    containers,
                    list: ids.contains(&image.id),
                    read_only: image.lent,
                };
                if let Some(name) = &asked.name {
                    summary.names.retain(|n| fits(name, n));
                    if summary.names.is_empty() && !summary.id.hex().starts_with(name.as_str()) {
                        return None;
                    }
                }
                filters.iter().all(|f| f.holds(&mut summary)).then_some(summary)
            })
            .collect())
    }

    /// True if there is such an image.
    pub fn image_exists(&self, name: &str) -> Result<bool, Fault> {
        match self.store()?.find_image(name) {
            Ok(_) => Ok(true),
            Err(store::Error::NoSuchImage { .. }) => self.list_exists(name),
            Err(error) => Err(fault::store(error)),
        }
    }

    /// Hex digits of the id of the image with this name.
    pub(crate) fn image_id(&self, name: &str) -> Result<String, Fault> {
        self.store()?.find_image(name).map(|i| i.id.hex()).map_err(fault::store)
    }

    /// All about an image, in the shape of `podman image inspect`.
    pub fn inspect_image(&self, name: &str) -> Result<Value, Fault> {
        let image = self.store()?.find_image(name).map_err(fault::store)?;
        let config = self.configuration(&image.id)?;
        Ok(document(&image, &config, &self.store_driver()))
    }

    fn image_filter(&self, text: &str) -> Result<Filter, Fault> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| Fault::invalid(format!("invalid image filter {text:?}: expected KEY=VALUE")))?;
        let created =
            || -> Result<i64, Fault> { self.store()?.find_image(value).map(|i| i.created).map_err(fault::store) };
        Ok(match key {
            "reference" => Filter::Reference(value.to_owned()),
            "id" => Filter::Id(value.trim_start_matches("sha256:").to_owned()),
            "label" | "label!" => match value.split_once('=') {
                Some((label, value)) => Filter::Label(label.to_owned(), Some(value.to_owned()), key == "label"),
                None => Filter::Label(value.to_owned(), None, key == "label"),
            },
            "digest" => Filter::Digest(value.trim_start_matches("sha256:").to_owned()),
            "readonly" => Filter::ReadOnly(flag(key, value)?),
            "until" => {
                let until = crate::moment::parse(value, crate::container::now(), &jiff::tz::TimeZone::system());
                let until =
                    until.map_err(|e| Fault::invalid(format!("invalid value {value:?} for filter until: {e}")))?;
                Filter::Before(until.div_euclid(1_000_000_000))
            }
            "dangling" => Filter::Dangling(flag(key, value)?),
            "containers" => Filter::Containers(flag(key, value)?),
            "before" => Filter::Before(created()?),
            "since" | "after" => Filter::Since(created()?),
            _ => {
                return Err(Fault::invalid(format!("unsupported image filter {key:?}")).hint(
                    "use reference, id, digest, label, label!, dangling, containers, readonly, until, before or since",
                ));
            }
        })
    }
}

enum Filter {
    Reference(String),
    Id(String),
    /// Key, value, and whether it must be there or must not.
    Label(String, Option<String>, bool),
    Digest(String),
    ReadOnly(bool),
    Dangling(bool),
    Containers(bool),
    Before(i64),
    Since(i64),
}

impl Filter {
    fn holds(&self, image: &mut Summary) -> bool {
        match self {
            Filter::Reference(pattern) => {
                image.names.retain(|n| fits(pattern, n));
                !image.names.is_empty()
            }
            Filter::Id(id) => image.id.hex().starts_with(id.as_str()),
            Filter::Label(key, value, there) => {
                *there == image.labels.iter().any(|(k, v)| k == key && value.as_ref().is_none_or(|wanted| wanted == v))
            }
            Filter::Digest(digits) => image.digest.hex().starts_with(digits.as_str()),
            Filter::ReadOnly(wanted) => image.read_only == *wanted,
            Filter::Dangling(wanted) => image.names.is_empty() == *wanted,
            Filter::Containers(wanted) => (image.containers > 0) == *wanted,
            Filter::Before(time) => image.created < *time,
            Filter::Since(time) => image.created > *time,
        }
    }
}

fn flag(key: &str, value: &str) -> Result<bool, Fault> {
    match value {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(true),
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(false),
        _ => Err(Fault::invalid(format!("non-boolean value {value:?} for {key} filter"))),
    }
}

/// A list in the shape of an image: as old as the newest of its images that are in the store, as large as its index.
fn as_image(list: store::List, images: &[Image]) -> Image {
    let members = transfer::list::Index::parse(&list.index).map(|index| index.digests()).unwrap_or_default();
    let created = images.iter().filter(|image| members.contains(&image.manifest)).map(|image| image.created).max();
    Image {
        id: list.id,
        manifest: types::Digest::of(&list.index),
        media_type: String::new(),
        names: vec![list.name],
        matched: None,
        created: created.unwrap_or(0),
        loaded: 0,
        size: list.index.len() as u64,
        layers: 0,
        labels: Vec::new(),
        lent: false,
        former: Vec::new(),
    }
}

/// True if `pattern` (`busybox`, `*box:1.*`, `localhost/busybox`) means the complete name: as a whole, or what follows
/// one of its slashes; without its tag if the pattern has none.
fn fits(pattern: &str, name: &str) -> bool {
    let tagged = pattern.rsplit('/').next().is_some_and(|last| last.contains(':'));
    let name = match name.rfind(':') {
        Some(at) if !tagged && !name[at..].contains('/') => &name[..at],
        _ => name,
    };
    let ends = std::iter::once(name).chain(name.match_indices('/').map(|(at, _)| &name[at + 1..]));
    ends.into_iter().any(|end| glob(pattern.as_bytes(), end.as_bytes()))
}

/// `*` is any run of bytes but `/`, `?` one of them.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(b'*'), _) => {
            glob(&pattern[1..], text) || text.first().is_some_and(|b| *b != b'/') && glob(pattern, &text[1..])
        }
        (Some(b'?'), Some(b)) if *b != b'/' => glob(&pattern[1..], &text[1..]),
        (Some(p), Some(b)) if p == b => glob(&pattern[1..], &text[1..]),
        _ => false,
    }
}

fn document(image: &Image, config: &Configuration, driver: &str) -> Value {
    let process = &config.config;
    let repositories: Vec<String> = image
        .names
        .iter()
        .filter_map(|n| Some(format!("{}@{}", n.parse::<Reference>().ok()?.repository(), image.manifest)))
        .collect();
    let mut described = json!({
        "Env": process.env,
        "Cmd": process.cmd,
        "Entrypoint": process.entrypoint,
        "WorkingDir": process.working_dir,
        "Labels": process.labels,
        "User": process.user,
        "StopSignal": process.stop_signal,
        "ExposedPorts": process.exposed_ports,
        "Volumes": process.volumes,
    });
    // Podman leaves out what the image does not say.
    if let Value::Object(fields) = &mut described {
        fields.retain(|_, v| match v {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        });
    }
    json!({
        "Id": image.id.hex(),
        "Digest": image.manifest,
        "RepoTags": image.names,
        "RepoDigests": repositories,
        "Parent": "",
        "Comment": config.comment,
        "Created": config.created,
        "Config": described,
        "Version": config.docker_version,
        "Author": config.author,
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": { "Name": driver, "Data": {} },
        "RootFS": { "Type": "layers", "Layers": config.rootfs.diff_ids },
        "Labels": process.labels,
        "Annotations": {},
        "ManifestType": image.media_type,
        "User": process.user,
        "History": config.history,
        "NamesHistory": image.names.iter().chain(&image.former).collect::<Vec<_>>(),
        "HealthCheck": process.healthcheck,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn patterns_fit_complete_names() {
        let name = "docker.io/library/busybox:1.36";
        for pattern in [
            "busybox",
            "busybox:1.36",
            "busybox:1.*",
            "library/busybox",
            "docker.io/library/busybox",
            "busy*",
            "b?sybox",
        ] {
            assert!(super::fits(pattern, name), "{pattern}");
        }
        for pattern in ["box", "busybox:2", "docker.io/busybox", "docker*"] {
            assert!(!super::fits(pattern, name), "{pattern}");
        }
    }
}
