//! Many images at once: repositories of a registry, those that a list names, or a tree of `dir:` directories, to a registry or
//! to such a tree.

use super::sync_list;
use crate::{Engine, fault};
use ops::Fault;
use ops::image::{Access, Copy, CopyMany, Synced, Tags, Watch};
use serde_json::Value;
use std::path::{Path, PathBuf};
use types::Reference;

/// Largest list, in bytes.
const LIST: u64 = 1 << 20;
/// Directories that may lie in each other.
const DEPTH: usize = 32;

/// An image that is to be copied: where it is, and what its place at the destination is called.
struct Found {
    source: String,
    suffix: String,
    access: Access,
}

impl Engine {
    /// Copies all images of a source, in their order; gives what was copied or, in a dry run, what would have been.
    pub fn sync_images(&self, asked: &CopyMany, watch: &Watch<'_>) -> Result<Vec<Synced>, Fault> {
        let source = asked.copy.source.as_str();
        let mut failed = Vec::new();
        let found = match asked.from.as_str() {
            "docker" => self.repository(&asked.copy.source, &asked.copy.from)?,
            "dir" if asked.to == "dir" => {
                return Err(Fault::invalid("sync from dir to dir not implemented: the directories can be copied"));
            }
            "dir" => below(Path::new(source), &asked.copy.from)?,
            "yaml" => self.listed(asked, &mut failed)?,
            other => {
                return Err(Fault::invalid(format!("{other:?} is not a valid source transport: docker, dir or yaml")));
            }
        };
        if !matches!(asked.to.as_str(), "docker" | "dir") {
            let why = format!("{:?} is not a valid destination transport: docker or dir", asked.to);
            return Err(Fault::invalid(why));
        }
        let mut done = Vec::new();
        for image in found {
            let destination = destination(asked, &image.suffix)?;
            let synced = Synced { source: image.source.clone(), destination: destination.clone() };
            let copy = Copy { source: image.source, destination, from: image.access, ..asked.copy.clone() };
            match if asked.dry_run { Ok(()) } else { self.copy_image(&copy, watch).map(drop) } {
                Ok(()) => done.push(synced),
                Err(fault) if asked.keep_going => failed.push(format!("{}: {fault}", copy.source)),
                Err(fault) => return Err(fault),
            }
        }
        if failed.is_empty() { Ok(done) } else { Err(Fault::internal(failed.join("; "))) }
    }

    /// The image that is named, or all tags of the repository.
    fn repository(&self, source: &str, access: &Access) -> Result<Vec<Found>, Fault> {
        let name: Reference = source.parse()?;
        let named = |name: &Reference| {
            let complete = transfer::source::complete(name);
            let (source, suffix) = (format!("docker://{complete}"), complete.to_string());
            Found { source, suffix, access: access.clone() }
        };
        if name.tag.is_some() || name.digest.is_some() {
            return Ok(vec![named(&name)]);
        }
        let listed = self.tags(&Tags { source: format!("docker://{source}"), access: access.clone() })?;
        if listed.tags.is_empty() {
            return Err(Fault::new(ops::Kind::NotFound, format!("no images to sync found in {source:?}")));
        }
        Ok(listed.tags.into_iter().map(|tag| named(&Reference { tag: Some(tag), ..name.clone() })).collect())
    }
}

impl Engine {
    /// What a list in YAML names: images of registries, each registry with how it is talked to (skopeo-sync(1)).
    fn listed(&self, asked: &CopyMany, failed: &mut Vec<String>) -> Result<Vec<Found>, Fault> {
        let path = &asked.copy.source;
        let bad = |why: String| Fault::invalid(format!("the list {path:?}: {why}"));
        let size = std::fs::metadata(path).map_err(|e| bad(e.to_string()))?.len();
        if size > LIST {
            return Err(bad(format!("it has {size} bytes, at most {LIST} are accepted")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
        let Value::Object(registries) = sync_list::parse(&text).map_err(bad)? else {
            return Err(bad("it lists no registry".into()));
        };
        let mut found = Vec::new();
        for (registry, about) in &registries {
            let (names, access) = of_registry(registry, about, &asked.copy.from).map_err(bad)?;
            for name in names {
                match self.repository(&name, &access) {
                    Ok(images) => found.extend(images),
                    Err(fault) if asked.keep_going => failed.push(format!("{name}: {fault}")),
                    Err(fault) => return Err(fault),
                }
            }
        }
        Ok(found)
    }
}

/// The images and repositories that a list names of one registry, and how it is talked to.
fn of_registry(registry: &str, about: &Value, access: &Access) -> Result<(Vec<String>, Access), String> {
    let mut access = access.clone();
    let mut names = Vec::new();
    let Value::Object(about) = about else { return Err(format!("{registry:?} has no images")) };
    for (key, value) in about {
        let text = || value.as_str().ok_or_else(|| format!("{key:?} of {registry:?} is no text"));
        match key.as_str() {
            "images" => {
                let Value::Object(images) = value else {
                    return Err(format!("\"images\" of {registry:?} are no mapping"));
                };
                for (image, tags) in images {
                    let tags = match tags {
                        Value::Null => &[][..],
                        Value::Array(tags) => tags,
                        _ => return Err(format!("the tags of {image:?} are no sequence")),
                    };
                    if tags.is_empty() {
                        names.push(format!("{registry}/{image}"));
                    }
                    for tag in tags {
                        let tag = tag.as_str().ok_or_else(|| format!("a tag of {image:?} is no text"))?;
                        let mark = if tag.starts_with("sha256:") { '@' } else { ':' };
                        names.push(format!("{registry}/{image}{mark}{tag}"));
                    }
                }
            }
            "credentials" => {
                let part = |name: &str| value[name].as_str().ok_or(format!("{name:?} of {registry:?} is missing"));
                access.credentials = Some(format!("{}:{}", part("username")?, part("password")?));
            }
            "tls-verify" => {
                access.tls_verify = match text()? {
                    "true" => Some(true),
                    "false" => Some(false),
                    other => return Err(format!("tls-verify {other:?} is neither true nor false")),
                };
            }
            "cert-dir" => access.certificates = Some(text()?.into()),
            "images-by-tag-regex" | "images-by-semver" => {
                return Err(format!("{key:?} is not supported: name the tags below \"images\""));
            }
            other => return Err(format!("{other:?} of {registry:?} is not known")),
        }
    }
    Ok((names, access))
}

/// All directories of images below `top`, by their names.
fn below(top: &Path, access: &Access) -> Result<Vec<Found>, Fault> {
    let mut found = Vec::new();
    walk(top, &mut found, 0)?;
    if found.is_empty() {
        return Err(Fault::new(ops::Kind::NotFound, format!("no images to sync found in {top:?}")));
    }
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let suffix = |path: &Path| match path.strip_prefix(top) {
        Ok(rest) if !rest.as_os_str().is_empty() => rest.display().to_string(),
        _ => name(path),
    };
    let image = |path: PathBuf| {
        let (source, suffix) = (format!("dir:{}", path.display()), suffix(&path));
        Found { source, suffix, access: access.clone() }
    };
    Ok(found.into_iter().map(image).collect())
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>, depth: usize) -> Result<(), Fault> {
    let failed = |e: std::io::Error| Fault::invalid(format!("cannot read the directory {directory:?}: {e}"));
    if directory.join("manifest.json").is_file() {
        found.push(directory.to_owned());
    }
    let mut below = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Links lead out, or round in circles.
        if entry.file_type().map_err(failed)?.is_dir() {
            below.push(entry.path());
        }
    }
    below.sort();
    match depth < DEPTH {
        true => below.iter().try_for_each(|path| walk(path, found, depth + 1)),
        false if below.is_empty() => Ok(()),
        false => Err(Fault::invalid(format!("{directory:?} lies deeper than {DEPTH} directories"))),
    }
}

/// Where an image goes to: below the destination, with its whole name or the last part of it.
fn destination(asked: &CopyMany, suffix: &str) -> Result<String, Fault> {
    let last = suffix.rsplit('/').next().unwrap_or(suffix);
    let suffix = if asked.scoped { suffix } else { last };
    let base = asked.copy.destination.trim_end_matches('/');
    let whole = format!("{base}/{suffix}{}", asked.suffix);
    if asked.to == "docker" {
        return Ok(format!("docker://{whole}"));
    }
    let parent = Path::new(&whole).parent().unwrap_or(Path::new("/"));
    if !asked.dry_run {
        std::fs::create_dir_all(parent)
            .map_err(|e| Fault::invalid(format!("cannot create the directory {parent:?}: {e}")))?;
    }
    transfer::source::parse(&format!("dir:{whole}")).map_err(fault::transfer)?;
    Ok(format!("dir:{whole}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        let asked = |to: &str, scoped| CopyMany {
            copy: Copy { destination: "host/base/".into(), ..Copy::default() },
            to: to.into(),
            scoped,
            suffix: "-old".into(),
            dry_run: true,
            ..CopyMany::default()
        };
        for (to, scoped, expected) in [
            ("docker", false, "docker://host/base/busybox:1-old"),
            ("docker", true, "docker://host/base/a.b/c/busybox:1-old"),
            ("dir", true, "dir:host/base/a.b/c/busybox:1-old"),
        ] {
            assert_eq!(destination(&asked(to, scoped), "a.b/c/busybox:1").unwrap(), expected);
        }
    }
}
