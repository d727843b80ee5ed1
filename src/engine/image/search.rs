//! What registries have, and taking images away from them.

use crate::{Engine, fault};
use ops::Fault;
use ops::image::{Access, Hit, Search};
use transfer::Source;
use types::{Digest, Reference};

/// Results of each registry where nobody says how many.
const LIMIT: u32 = 25;

impl Engine {
    /// Repositories that fit a term. A registry that fails is told if no other one answers.
    pub fn search(&self, asked: &Search) -> Result<Vec<Hit>, Fault> {
        let filters = asked.filters.iter().map(|text| Filter::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let options = self.registry_options(&asked.access)?;
        let limit = asked.limit.unwrap_or(LIMIT) as usize;
        let text = asked.term.strip_prefix("docker://").unwrap_or(&asked.term);
        if asked.tags {
            return tags(text, limit, options);
        }
        let (registries, term) = match split(text) {
            Some((registry, term)) => (vec![registry.to_owned()], term),
            None => (options.registries.searched(), text),
        };
        let mut hits = Vec::new();
        let mut failed = None;
        let mut answered = false;
        for registry in registries {
            match transfer::search(&registry, term, limit, &options) {
                Ok(found) => {
                    answered = true;
                    hits.extend(found.into_iter().map(|hit| described(&registry, hit)));
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) if !answered => Err(fault::transfer(error)),
            _ => {
                hits.retain(|hit| filters.iter().all(|filter| filter.holds(hit)));
                Ok(hits)
            }
        }
    }

    /// Takes an image away from its registry.
    pub fn delete_image(&self, source: &str, access: &Access) -> Result<Digest, Fault> {
        match transfer::source::parse(source).map_err(fault::transfer)? {
            Source::Registry(name) => transfer::delete(&name, &self.registry_options(access)?).map_err(fault::transfer),
            other => Err(Fault::invalid(format!("{other} cannot be deleted"))
                .hint("a registry is needed: docker://NAME; images of the store are removed with rmi")),
        }
    }
}

/// The tags of one repository.
fn tags(text: &str, limit: usize, registry: transfer::Registry) -> Result<Vec<Hit>, Fault> {
    let name: Reference = text.parse()?;
    if name.tag.is_some() || name.digest.is_some() {
        return Err(Fault::invalid("reference can't include tags or digests: only the name of a repository"));
    }
    let options = transfer::Options { registry, ..transfer::Options::default() };
    let mut hits = Vec::new();
    for meaning in options.registry.registries.meanings(&name).map_err(fault::transfer)? {
        let meaning = transfer::source::complete(&meaning);
        let found = transfer::tags(&meaning, &options).map_err(fault::transfer)?;
        let hit = |tag| Hit {
            registry: meaning.domain.clone().unwrap_or_default(),
            name: meaning.repository(),
            tag,
            ..Hit::default()
        };
        hits.extend(found.into_iter().take(limit).map(hit));
    }
    Ok(hits)
}

/// The registry that a term begins with, and the rest.
fn split(text: &str) -> Option<(&str, &str)> {
    let (first, rest) = text.split_once('/')?;
    (first.contains(['.', ':']) || first == "localhost").then_some((first, rest))
}

fn described(registry: &str, hit: transfer::Hit) -> Hit {
    let library = if registry == "docker.io" && !hit.path.contains('/') { "library/" } else { "" };
    Hit {
        name: format!("{registry}/{library}{}", hit.path),
        registry: registry.into(),
        description: hit.description,
        stars: hit.stars,
        official: hit.official,
        automated: hit.automated,
        tag: String::new(),
    }
}

/// A condition of a result.
#[derive(Debug, PartialEq, Eq)]
enum Filter {
    /// At least so many stars.
    Stars(u64),
    Official(bool),
    Automated(bool),
}

impl Filter {
    fn parse(text: &str) -> Result<Filter, Fault> {
        let (key, value) = text.split_once('=').unwrap_or((text, "true"));
        let flag = || match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Fault::invalid(format!("non-boolean value {value:?} for the filter {key}"))),
        };
        match key {
            "stars" => value
                .parse()
                .map(Filter::Stars)
                .map_err(|_| Fault::invalid(format!("incorrect value {value:?} for the filter stars"))),
            "is-official" => flag().map(Filter::Official),
            "is-automated" => flag().map(Filter::Automated),
            _ => {
                Err(Fault::invalid(format!("invalid filter type {key:?}"))
                    .hint("use stars, is-official or is-automated"))
            }
        }
    }

    fn holds(&self, hit: &Hit) -> bool {
        match self {
            Filter::Stars(least) => hit.stars >= *least,
            Filter::Official(wanted) => hit.official == *wanted,
            Filter::Automated(wanted) => hit.automated == *wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_and_filters() {
        assert_eq!(split("quay.io/podman/hello"), Some(("quay.io", "podman/hello")));
        assert_eq!(split("localhost:5000/"), Some(("localhost:5000", "")));
        assert_eq!((split("podman/hello"), split("busybox")), (None, None));
        assert_eq!(Filter::parse("stars=3").unwrap(), Filter::Stars(3));
        assert_eq!(Filter::parse("is-official").unwrap(), Filter::Official(true));
        assert!(Filter::parse("is-automated=false").unwrap().holds(&Hit::default()));
        assert!(!Filter::parse("stars=1").unwrap().holds(&Hit::default()));
        for bad in ["stars=x", "is-official=2", "color=red"] {
            assert!(Filter::parse(bad).is_err(), "{bad}");
        }
        let hit = |path: &str| transfer::Hit {
            path: path.into(),
            description: String::new(),
            stars: 0,
            official: true,
            automated: false,
        };
        assert_eq!(described("docker.io", hit("busybox")).name, "docker.io/library/busybox");
        assert_eq!(described("quay.io", hit("busybox")).name, "quay.io/busybox");
    }
}
