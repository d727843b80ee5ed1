//! Which registries there are and how they are reached: registries.conf, version 2 (containers-registries.conf(5)), with
//! its drop-ins and short-name aliases.
//!
//! A name belongs to the entry with the longest prefix that fits it. The entry says where it is really fetched from (its
//! `location` takes the prefix's place), which mirrors are tried before, and whether TLS may be left out.
//!
//! Must not know: where the files are, the network.

use crate::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use types::Reference;

/// What the files say together.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    /// Registries that short names are searched in; none if no file says.
    search: Option<Vec<String>>,
    mode: Mode,
    aliases: BTreeMap<String, String>,
    entries: Vec<Entry>,
}

/// What is done about short names that several registries may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// They are refused.
    #[default]
    Enforcing,
    /// All are tried, where nobody can be asked.
    Permissive,
    /// All are tried.
    Disabled,
}

/// One place that an image is fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name there.
    pub name: Reference,
    /// TLS may be left out, and certificates need not be valid.
    pub insecure: bool,
}

#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(rename = "unqualified-search-registries")]
    search: Option<Vec<String>>,
    #[serde(rename = "short-name-mode")]
    mode: Option<String>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    #[serde(default)]
    registry: Vec<Entry>,
    /// Version 1 of the format.
    registries: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: String,
}

impl Registries {
    /// Adds what the file `title` with these contents says: later files win, entry by entry.
    pub fn add(&mut self, title: &str, text: &str) -> Result<()> {
        let bad = |why: String| Error::Document { what: "configuration of registries", name: title.into(), why };
        let file: File = toml::from_str(text).map_err(|e| bad(e.message().to_owned()))?;
        if file.registries.is_some() {
            return Err(bad("it is of version 1 of the format, which is not supported: write it as version 2".into()));
        }
        if let Some(search) = file.search {
            self.search = Some(search);
        }
        if let Some(mode) = file.mode.filter(|mode| !mode.is_empty()) {
            self.mode = match mode.as_str() {
                "enforcing" => Mode::Enforcing,
                "permissive" => Mode::Permissive,
                "disabled" => Mode::Disabled,
                other => {
                    return Err(bad(format!("short-name-mode {other:?} is not enforcing, permissive or disabled")));
                }
            };
        }
        for (name, target) in file.aliases {
            match target.is_empty() {
                true => drop(self.aliases.remove(&name)),
                false => drop(self.aliases.insert(name, target)),
            }
        }
        for mut entry in file.registry {
            if entry.prefix.is_empty() {
                entry.prefix.clone_from(&entry.location);
            }
            let wild = entry.prefix.starts_with("*.");
            if entry.prefix.is_empty() || entry.location.is_empty() && !wild {
                return Err(bad("a [[registry]] has neither prefix nor location".into()));
            }
            for mirror in &entry.mirror {
                if !matches!(mirror.pull_from_mirror.as_str(), "" | "all" | "digest-only" | "tag-only") {
                    return Err(bad(format!("pull-from-mirror {:?} is not known", mirror.pull_from_mirror)));
                }
            }
            self.entries.retain(|known| known.prefix != entry.prefix);
            self.entries.push(entry);
        }
        Ok(())
    }

    /// Adds short names that were looked up before; those of the configuration count less.
    pub fn add_aliases(&mut self, title: &str, text: &str) -> Result<()> {
        let search = self.search.take();
        let added = self.add(title, text);
        self.search = search;
        added
    }

    /// The places to fetch `name` from, a complete one, in their order: mirrors, then the registry itself.
    ///
    /// # Errors
    /// Its registry is blocked.
    pub fn places(&self, name: &Reference) -> Result<Vec<Place>> {
        let own = || Place { name: name.clone(), insecure: false };
        let Some(entry) = self.entry(&name.repository()) else { return Ok(vec![own()]) };
        if entry.blocked {
            return Err(Error::Blocked { name: name.to_string(), prefix: entry.prefix.clone() });
        }
        let mut places = Vec::new();
        for mirror in &entry.mirror {
            let wanted = match mirror.pull_from_mirror.as_str() {
                "digest-only" => name.digest.is_some(),
                "tag-only" => name.digest.is_none(),
                _ => !entry.mirror_by_digest_only || name.digest.is_some(),
            };
            if wanted {
                places.push(Place { name: rewritten(name, entry, &mirror.location)?, insecure: mirror.insecure });
            }
        }
        places.push(match entry.location.is_empty() {
            true => Place { insecure: entry.insecure, ..own() },
            false => Place { name: rewritten(name, entry, &entry.location)?, insecure: entry.insecure },
        });
        Ok(places)
    }

    /// True if the registry of the repository `domain/path` may be spoken to without TLS.
    pub fn insecure(&self, domain: &str, path: &str) -> bool {
        let name = if path.is_empty() { domain.to_owned() } else { format!("{domain}/{path}") };
        let by_location = |entry: &&Entry| fits(&entry.location, &name) && !entry.location.is_empty();
        let mirrored = |entry: &Entry| entry.mirror.iter().any(|m| m.insecure && fits(&m.location, &name));
        self.entry(&name).or_else(|| self.entries.iter().find(by_location)).is_some_and(|entry| entry.insecure)
            || self.entries.iter().any(mirrored)
    }

    /// Fails if the registry of `name` is blocked.
    pub fn check(&self, name: &Reference) -> Result<()> {
        match self.entry(&name.repository()) {
            Some(entry) if entry.blocked => {
                Err(Error::Blocked { name: name.to_string(), prefix: entry.prefix.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Demands TLS and valid certificates of all: the user said so.
    pub fn secure(&mut self) {
        for entry in &mut self.entries {
            entry.insecure = false;
            entry.mirror.iter_mut().for_each(|mirror| mirror.insecure = false);
        }
    }

    /// What a short name may mean, in the order in which it is tried: what its alias says, or the name in each of the
    /// registries that are searched; without any, Docker's.
    ///
    /// # Errors
    /// Several registries are searched, and short names are enforced to be clear.
    pub fn meanings(&self, name: &Reference) -> Result<Vec<Reference>> {
        if name.domain.is_some() {
            return Ok(vec![name.clone()]);
        }
        if let Some(alias) = self.aliases.get(&name.path) {
            let alias: Reference = alias.parse()?;
            return Ok(vec![Reference { tag: name.tag.clone(), digest: name.digest, ..alias }]);
        }
        let search = self.search.as_deref();
        let own = ["docker.io".to_owned()];
        let search = search.filter(|search| !search.is_empty()).unwrap_or(&own);
        if self.mode == Mode::Enforcing && search.len() > 1 {
            return Err(Error::Unclear { name: name.to_string(), searched: search.to_vec() });
        }
        let within = |registry: &String| -> Result<Reference> {
            let found: Reference = format!("{registry}/{}", name.path).parse()?;
            Ok(crate::source::complete(&Reference { tag: name.tag.clone(), digest: name.digest, ..found }))
        };
        search.iter().map(within).collect()
    }

    /// The registries that short names are searched in.
    pub fn searched(&self) -> Vec<String> {
        self.search.clone().filter(|search| !search.is_empty()).unwrap_or_else(|| vec!["docker.io".into()])
    }

    fn entry(&self, repository: &str) -> Option<&Entry> {
        self.entries.iter().filter(|entry| fits(&entry.prefix, repository)).max_by_key(|entry| entry.prefix.len())
    }
}

/// True if `prefix` (`a.b`, `a.b/c`, `*.b`) is that of the repository.
fn fits(prefix: &str, repository: &str) -> bool {
    if let Some(suffix) = prefix.strip_prefix('*') {
        let host = repository.split(['/', ':']).next().unwrap_or("");
        return host.len() > suffix.len() && host.ends_with(suffix);
    }
    repository.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
}

/// The name with `location` in the place of the entry's prefix.
fn rewritten(name: &Reference, entry: &Entry, location: &str) -> Result<Reference> {
    let repository = name.repository();
    let rest = match entry.prefix.starts_with("*.") {
        true => repository.find('/').map_or("", |slash| &repository[slash..]),
        false => repository.strip_prefix(&entry.prefix).unwrap_or(""),
    };
    let found: Reference = format!("{location}{rest}").parse()?;
    // Without a path there is no telling a host from a short name.
    if found.domain.is_none() {
        let why = format!("{location:?} leads to {found}, which names no registry");
        return Err(Error::Document { what: "configuration of registries", name: entry.prefix.clone(), why });
    }
    Ok(Reference { tag: name.tag.clone(), digest: name.digest, ..found })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registries(text: &str) -> Registries {
        let mut registries = Registries::default();
        registries.add("test", text).unwrap();
        registries
    }

    fn places(registries: &Registries, name: &str) -> Vec<(String, bool)> {
        let places = registries.places(&name.parse().unwrap()).unwrap();
        places.into_iter().map(|place| (place.name.to_string(), place.insecure)).collect()
    }

    #[test]
    fn the_longest_prefix_counts() {
        let registries = registries(
            r#"
            [[registry]]
            prefix = "a.b"
            location = "c.d"
            [[registry]]
            prefix = "a.b/x"
            location = "e.f/y"
            insecure = true
            [[registry]]
            prefix = "*.wild.org"
            insecure = true
            [[registry]]
            location = "bad.org"
            blocked = true
            "#,
        );
        assert_eq!(places(&registries, "a.b/n:1"), [("c.d/n:1".into(), false)]);
        assert_eq!(places(&registries, "a.b/x/n:1"), [("e.f/y/n:1".into(), true)]);
        assert_eq!(places(&registries, "a.b/xx:1"), [("c.d/xx:1".into(), false)]);
        assert_eq!(places(&registries, "a.bc/xx:1"), [("a.bc/xx:1".into(), false)]);
        assert_eq!(places(&registries, "r.wild.org/xx:1"), [("r.wild.org/xx:1".into(), true)]);
        assert!(registries.places(&"bad.org/x:1".parse().unwrap()).unwrap_err().to_string().contains("blocked"));
        assert!(registries.check(&"bad.org/x:1".parse().unwrap()).is_err());
        assert!(registries.insecure("e.f", "y/n") && registries.insecure("x.wild.org", "n"));
        assert!(!registries.insecure("c.d", "n") && !registries.insecure("wild.org", "n"));
    }

    #[test]
    fn mirrors_by_digest_and_tag() {
        let text = r#"
            [[registry]]
            location = "a.b"
            [[registry.mirror]]
            location = "m1:5000/p"
            insecure = true
            [[registry.mirror]]
            location = "m2.org"
            pull-from-mirror = "digest-only"
            [[registry.mirror]]
            location = "m3.org"
            pull-from-mirror = "tag-only"
        "#;
        let found = registries(text);
        let digest = format!("@sha256:{}", "a".repeat(64));
        assert_eq!(
            places(&found, "a.b/x:1"),
            [("m1:5000/p/x:1".into(), true), ("m3.org/x:1".into(), false), ("a.b/x:1".into(), false)]
        );
        let by_digest = places(&found, &format!("a.b/x{digest}"));
        assert_eq!(by_digest.iter().map(|(name, _)| &name[..2]).collect::<Vec<_>>(), ["m1", "m2", "a."]);
        let only =
            registries(&text.replacen("location = \"a.b\"", "location = \"a.b\"\nmirror-by-digest-only = true", 1));
        assert_eq!(places(&only, "a.b/x:1").len(), 2, "m3 is for tags whatever the registry says");
        let mut secure = found;
        secure.secure();
        assert!(places(&secure, "a.b/x:1").iter().all(|(_, insecure)| !insecure));
    }

    #[test]
    fn later_files_win() {
        let mut found = registries(
            "unqualified-search-registries = [\"one.org\"]\n[aliases]\n\"a\" = \"x.org/a\"\n\"b\" = \"x.org/b\"",
        );
        found.add("more", "[[registry]]\nlocation = \"r\"\ninsecure = true\n[aliases]\n\"a\" = \"\"").unwrap();
        found.add("last", "[[registry]]\nlocation = \"r\"").unwrap();
        let means = |found: &Registries, name: &str| -> Vec<String> {
            found.meanings(&name.parse().unwrap()).unwrap().iter().map(Reference::to_string).collect()
        };
        assert!(!found.insecure("r", "x"));
        assert_eq!(means(&found, "a:2"), ["one.org/a:2"]);
        assert_eq!(means(&found, "b:2"), ["x.org/b:2"]);
        assert_eq!(means(&found, "q.org/b:2"), ["q.org/b:2"]);
        assert_eq!(means(&Registries::default(), "busybox"), ["docker.io/library/busybox:latest"]);
    }

    #[test]
    fn short_names_must_be_clear() {
        let text = "unqualified-search-registries = [\"one.org\", \"two.org\"]\nshort-name-mode = \"MODE\"";
        let name: Reference = "x".parse().unwrap();
        let error = registries(&text.replace("MODE", "enforcing")).meanings(&name).unwrap_err().to_string();
        assert!(error.contains("one.org, two.org"), "{error}");
        assert_eq!(registries(&text.replace("MODE", "permissive")).meanings(&name).unwrap().len(), 2);
        for bad in
            ["short-name-mode = \"x\"", "[registries.search]\nregistries = []", "[[registry]]\ninsecure = true", "x ="]
        {
            assert!(Registries::default().add("bad", bad).is_err(), "{bad}");
        }
    }
}
