//! Where an image comes from: transport references as users write them (containers-transports(5)).
//!
//! `oci-archive:FILE[:NAME]`, `docker-archive:FILE[:NAME]`, `oci:DIRECTORY[:NAME]`, `dir:DIRECTORY`,
//! `docker://NAME`, `docker-daemon:NAME`, and plain names. A file name ends at its first colon, as Podman has it. In place of a name,
//! `@N` chooses the image by its position, counted from 0.
//!
//! Must not know: whether the file exists, what is in it, the network.

use crate::{Error, Result};
use std::fmt;
use std::path::PathBuf;
use types::Reference;

/// A parsed source of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `oci-archive:`: a tar archive of an OCI layout.
    OciArchive(PathBuf, Choice),
    /// `docker-archive:`: what `docker save` and `podman save` write.
    DockerArchive(PathBuf, Choice),
    /// `oci:`: a directory with an OCI layout.
    OciDirectory(PathBuf, Choice),
    /// `dir:`: a directory with a manifest and blobs side by side.
    Directory(PathBuf),
    /// `docker://`: a name in a registry. Nothing was filled in.
    Registry(Reference),
    /// `docker-daemon:`: a name, or `sha256:` and an id, of a Docker daemon. Nothing was filled in.
    Daemon(Reference),
    /// `containers-storage:`: a name or an id in the store of Podman and its kin: below this directory, or at its usual
    /// place.
    Containers(Option<PathBuf>, String),
    /// A name without a transport: an image of the store, or of a registry.
    Name(Reference),
}

/// Which image of a source that may hold several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    /// The only one.
    #[default]
    Only,
    /// The one that has this name.
    Named(String),
    /// The one at this position, counted from 0.
    At(usize),
}

/// Transports that Podman has and that are not built here, each with what to use instead.
const ELSEWHERE: [(&str, &str); 4] = [
    ("ostree:", "copy the image to an `oci-archive:` first"),
    ("sif:", "copy the image to an `oci-archive:` first"),
    ("tarball:", "copy the image to an `oci-archive:` first"),
    ("atomic:", "name the registry with `docker://` instead"),
];

/// Transports that are built, but for `docker://`.
const PREFIXES: [&str; 6] =
    ["oci-archive:", "docker-archive:", "docker-daemon:", "containers-storage:", "oci:", "dir:"];

/// Parses `text`. A name with a colon in it (`localhost:5000/a`, `busybox:latest`) is a name, unless what stands before
/// the colon is a transport.
///
/// # Errors
/// Transports that are known but not built, references without a file, and names that are none.
pub fn parse(text: &str) -> Result<Source> {
    let invalid = |why: &str| Error::Source { given: text.into(), why: why.into() };
    if let Some(name) = text.strip_prefix("docker://") {
        return Ok(Source::Registry(name.parse()?));
    }
    if let Some(name) = text.strip_prefix("docker-daemon:") {
        return Ok(Source::Daemon(name.parse()?));
    }
    if let Some(rest) = text.strip_prefix("containers-storage:") {
        let (root, name) = store_and_name(rest).map_err(|why| invalid(&why))?;
        return Ok(Source::Containers(root, name));
    }
    if text.starts_with("docker:") && text[7..].starts_with('/') {
        return Err(invalid("a registry is written `docker://NAME`"));
    }
    for (prefix, build) in [
        ("oci-archive:", Source::OciArchive as fn(PathBuf, Choice) -> Source),
        ("docker-archive:", Source::DockerArchive),
        ("oci:", Source::OciDirectory),
    ] {
        if let Some(rest) = text.strip_prefix(prefix) {
            let (path, choice) = path_and_choice(rest).map_err(|why| invalid(&why))?;
            return Ok(build(path, choice));
        }
    }
    if let Some(path) = text.strip_prefix("dir:") {
        if path.is_empty() {
            return Err(invalid("a directory is missing after `dir:`"));
        }
        return Ok(Source::Directory(path.into()));
    }
    for (prefix, instead) in ELSEWHERE {
        if text.starts_with(prefix) {
            return Err(Error::Transport { transport: prefix.into(), instead });
        }
    }
    Ok(Source::Name(text.parse()?))
}

/// The name as registries know it: `busybox` is `docker.io/library/busybox:latest`.
pub fn complete(name: &Reference) -> Reference {
    crate::registry::full_name(name)
}

/// True if `text` names a transport, so that it is no name of an image in the store.
pub fn has_transport(text: &str) -> bool {
    text.starts_with("docker://")
        || PREFIXES.iter().any(|p| text.starts_with(p))
        || ELSEWHERE.iter().any(|(p, _)| text.starts_with(p))
}

/// `[DRIVER@ROOT+RUNROOT:OPTIONS]NAME`, of which the part in brackets and all in it but the root may be missing.
fn store_and_name(rest: &str) -> std::result::Result<(Option<PathBuf>, String), String> {
    let (root, name) = match rest.strip_prefix('[') {
        None => (None, rest),
        Some(inner) => {
            let (inner, name) = inner.split_once(']').ok_or("a `]` is missing")?;
            let (driver, place) = inner.split_once('@').map_or(("overlay", inner), |(driver, place)| (driver, place));
            if !matches!(driver, "" | "overlay" | "overlay2") {
                return Err(format!("the storage driver {driver:?} is not supported, only overlay"));
            }
            let root = place.split(['+', ':']).next().unwrap_or("");
            if !root.starts_with('/') {
                return Err(format!("{root:?} is no absolute path"));
            }
            (Some(root.into()), name)
        }
    };
    if name.is_empty() { Err("the name of an image is missing".into()) } else { Ok((root, name.into())) }
}

fn path_and_choice(rest: &str) -> std::result::Result<(PathBuf, Choice), String> {
    let (path, name) = rest.split_once(':').map_or((rest, None), |(path, name)| (path, Some(name)));
    if path.is_empty() {
        return Err("a file name is missing after the transport".into());
    }
    let choice = match name {
        None | Some("") => Choice::Only,
        Some(name) => match name.strip_prefix('@') {
            Some(at) => {
                Choice::At(at.parse().map_err(|_| format!("`@{at}` is not a position: expected `@0`, `@1`, …"))?)
            }
            None => Choice::Named(name.into()),
        },
    };
    Ok((path.into(), choice))
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Only => Ok(()),
            Choice::Named(name) => write!(f, ":{name}"),
            Choice::At(at) => write!(f, ":@{at}"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::OciArchive(path, choice) => write!(f, "oci-archive:{}{choice}", path.display()),
            Source::DockerArchive(path, choice) => write!(f, "docker-archive:{}{choice}", path.display()),
            Source::OciDirectory(path, choice) => write!(f, "oci:{}{choice}", path.display()),
            Source::Directory(path) => write!(f, "dir:{}", path.display()),
            Source::Registry(name) => write!(f, "docker://{name}"),
            Source::Daemon(name) => write!(f, "docker-daemon:{name}"),
            Source::Containers(None, name) => write!(f, "containers-storage:{name}"),
            Source::Containers(Some(root), name) => {
                write!(f, "containers-storage:[overlay@{}]{name}", root.display())
            }
            Source::Name(name) => write!(f, "{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports() {
        for (text, source) in [
            ("docker-daemon:a/b:1", Source::Daemon("a/b:1".parse().unwrap())),
            ("containers-storage:a/b:1", Source::Containers(None, "a/b:1".into())),
            ("containers-storage:[/s]@abc", Source::Containers(Some("/s".into()), "@abc".into())),
            ("containers-storage:[overlay@/s+/r:overlay.x=y]a:1", Source::Containers(Some("/s".into()), "a:1".into())),
            ("oci-archive:a.tar", Source::OciArchive("a.tar".into(), Choice::Only)),
            ("oci-archive:/a/b.tar:", Source::OciArchive("/a/b.tar".into(), Choice::Only)),
            ("oci-archive:a.tar:b/c:d", Source::OciArchive("a.tar".into(), Choice::Named("b/c:d".into()))),
            ("docker-archive:a.tar:b:1", Source::DockerArchive("a.tar".into(), Choice::Named("b:1".into()))),
            ("docker-archive:a.tar:@2", Source::DockerArchive("a.tar".into(), Choice::At(2))),
            ("oci:a/b:c", Source::OciDirectory("a/b".into(), Choice::Named("c".into()))),
            ("dir:a:b", Source::Directory("a:b".into())),
            ("docker://a.b/c:d", Source::Registry("a.b/c:d".parse().unwrap())),
            ("localhost:5000/c", Source::Name("localhost:5000/c".parse().unwrap())),
            ("oci/c:d", Source::Name("oci/c:d".parse().unwrap())),
        ] {
            assert_eq!(parse(text).unwrap(), source, "{text}");
            assert_eq!(parse(&source.to_string()).unwrap(), source, "{source}");
        }
    }

    #[test]
    fn refuses() {
        for text in
            ["oci-archive:", "oci::a", "dir:", "docker-archive:a:@x", "docker://", "docker:/x", "", "UPPER", "ostree:x"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        let error = parse("sif:a").unwrap_err().to_string();
        assert!(error.contains("\"sif:\""), "{error}");
        assert!(parse("containers-storage:[vfs@/a]b").unwrap_err().to_string().contains("only overlay"));
        assert!(has_transport("sif:a") && has_transport("oci:a") && !has_transport("busybox:latest"));
    }
}
