//! Names of images: `[domain/]path[:tag][@digest]` (OCI distribution specification; the grammar is Docker's
//! `distribution/reference`).

use crate::{Digest, Invalid};
use std::fmt;
use std::str::FromStr;

/// A parsed image name. Nothing was filled in: see [`Reference::normalised`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Registry host with optional port, e.g. `localhost` or `127.0.0.1:5000`; none for a short name.
    pub domain: Option<String>,
    /// Path without the domain, e.g. `library/debian`.
    pub path: String,
    /// Tag, if one was given.
    pub tag: Option<String>,
    /// Digest, if one was given.
    pub digest: Option<Digest>,
}

impl Reference {
    /// The name as the store keeps it: a short name belongs to `domain`, and a name without tag and digest to `latest`.
    pub fn normalised(&self, domain: &str) -> Reference {
        let mut name = self.clone();
        name.domain.get_or_insert_with(|| domain.to_owned());
        if name.tag.is_none() && name.digest.is_none() {
            name.tag = Some("latest".into());
        }
        name
    }

    /// `domain/path`, without tag and digest: what the REPOSITORY column shows.
    pub fn repository(&self) -> String {
        match &self.domain {
            Some(domain) => format!("{domain}/{}", self.path),
            None => self.path.clone(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// True if `tag` can be the tag of an image.
pub fn is_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    tag.len() <= 128
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// A path component: lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if bytes.is_empty() || !alphanumeric(bytes[0]) || !alphanumeric(bytes[bytes.len() - 1]) {
        return false;
    }
    component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rfind(':') {
        Some(at) if !domain[at..].contains(']') => (&domain[..at], Some(&domain[at + 1..])),
        _ => (domain, None),
    };
    let host_is_fine = if let Some(v6) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        !v6.is_empty() && v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
    } else {
        host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    };
    host_is_fine && port.is_none_or(|p| !p.is_empty() && p.len() <= 5 && p.bytes().all(|b| b.is_ascii_digit()))
}

impl FromStr for Reference {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Reference, Invalid> {
        let invalid = |why: &str| Invalid::new("reference", text, why);
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|e| invalid(&e.why))?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rfind(':') {
            Some(at) if !rest[at..].contains('/') => (&rest[..at], Some(&rest[at + 1..])),
            _ => (rest, None),
        };
        if tag.is_some_and(|t| !is_tag(t)) {
            return Err(invalid("a tag has at most 128 letters, digits, `_`, `.` and `-`"));
        }
        let (domain, path) = match name.split_once('/') {
            Some((first, path))
                if first.contains(['.', ':'])
                    || first == "localhost"
                    || first.bytes().any(|b| b.is_ascii_uppercase()) =>
            {
                (Some(first), path)
            }
            _ => (None, name),
        };
        if domain.is_some_and(|d| !is_domain(d)) {
            return Err(invalid("the part before the first `/` is not a registry host"));
        }
        if path.len() > 255 || !path.split('/').all(is_component) {
            return Err(invalid("a name is made of lower-case letters and digits, joined by `.`, `_`, `-` and `/`"));
        }
        Ok(Reference { domain: domain.map(Into::into), path: path.into(), tag: tag.map(Into::into), digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let name: Reference = "localhost:5000/a/b-c_d:1.0".parse().unwrap();
        assert_eq!(
            (name.domain.as_deref(), name.path.as_str(), name.tag.as_deref()),
            (Some("localhost:5000"), "a/b-c_d", Some("1.0"))
        );
        let short: Reference = "busybox".parse().unwrap();
        assert_eq!(short.normalised("localhost").to_string(), "localhost/busybox:latest");
        let digest = format!("busybox@sha256:{}", "a".repeat(64));
        assert_eq!(
            digest.parse::<Reference>().unwrap().normalised("localhost").to_string(),
            format!("localhost/{digest}")
        );
    }

    #[test]
    fn refuses() {
        for text in
            ["", "A", "a//b", "/a", "a/", "a:b:c", "a:", "a@sha256:12", "../a", "a b", "-a", "a___b", "ex!.org/a"]
        {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
