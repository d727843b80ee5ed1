//! What a registry has: by its search (Docker's registry API v1, `/v1/search`), and where it has none by its catalogue
//! (registry API v2, `/v2/_catalog`); and taking an image away from it (distribution specification, "Deleting Manifests").

use super::Repository;
use super::address::{Address, full_name};
use super::client::{self, Client, Content};
use crate::{Error, Registry, Result};
use serde::Deserialize;
use types::{Digest, Reference};
use ureq::http::{Method, StatusCode};

/// Pages of a catalogue that are read.
const PAGES: usize = 1000;
/// Largest page.
const PAGE: u64 = 8 << 20;

/// A repository that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its path, without the registry.
    pub path: String,
    /// What its owner says of it.
    pub description: String,
    /// How many people like it.
    pub stars: u64,
    /// The registry vouches for it.
    pub official: bool,
    /// It is built by the registry.
    pub automated: bool,
}

#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    results: Vec<Result1>,
}

#[derive(Deserialize)]
struct Result1 {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    star_count: u64,
    #[serde(default)]
    is_official: bool,
    #[serde(default)]
    is_automated: bool,
}

#[derive(Deserialize)]
struct Catalogue {
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

/// At most `limit` repositories of `domain` that `term` fits, as the registry understands it.
pub fn search(domain: &str, term: &str, limit: usize, options: &Registry) -> Result<Vec<Hit>> {
    // Docker's search is another host than its registry.
    let host = if domain == "docker.io" { "index.docker.io" } else { domain };
    let client = Client::new(options, host, "", "pull");
    let base = client.base()?;
    // Docker's does not find what it shows.
    let term = if domain == "docker.io" { term.strip_prefix("library/").unwrap_or(term) } else { term };
    if !term.is_empty() {
        let action = "search";
        let at = Address { path: format!("/v1/search?q={}&n={limit}", client::escaped(term)), ..base.clone() };
        // Most registries have no such thing, and say so in many ways.
        if let Ok(mut answer) = client.send(Method::GET, action, &at, &[("accept", "application/json")], Content::None)
            && answer.status().is_success()
            && let Ok(bytes) = client::read(answer.body_mut(), PAGE)
            && let Ok(found) = serde_json::from_slice::<Results>(&bytes)
            && !found.results.is_empty()
        {
            return Ok(found.results.into_iter().filter_map(hit).take(limit).collect());
        }
    }
    catalogue(&client, &base, term, limit)
}

/// A result, if its name can be that of an image.
fn hit(found: Result1) -> Option<Hit> {
    let printable = |text: String| text.chars().filter(|c| !c.is_control()).take(1000).collect::<String>();
    found.name.parse::<Reference>().ok()?;
    Some(Hit {
        path: found.name,
        description: printable(found.description.unwrap_or_default()),
        stars: found.star_count,
        official: found.is_official,
        automated: found.is_automated,
    })
}

fn catalogue(client: &Client<'_>, base: &Address, term: &str, limit: usize) -> Result<Vec<Hit>> {
    let action = "list repositories";
    let mut hits = Vec::new();
    let mut next = Some(Address { path: "/v2/_catalog".into(), ..base.clone() });
    for _ in 0..PAGES {
        let Some(at) = next else { break };
        let mut answer = client.send(Method::GET, action, &at, &[], Content::None)?;
        if !answer.status().is_success() {
            return Err(client.refused(action, answer));
        }
        let link = answer.headers().get("link").and_then(|h| h.to_str().ok()).and_then(client::next_page);
        next = link.and_then(|link| at.join(link)).filter(|next| next.same_host(&at));
        let bytes = client::read(answer.body_mut(), PAGE).map_err(|why| client.failed(action, why))?;
        let page: Catalogue = serde_json::from_slice(&bytes).map_err(|e| client.failed(action, e.to_string()))?;
        for name in page.repositories.unwrap_or_default().into_iter().filter(|name| name.contains(term)) {
            let found = Result1 { name, description: None, star_count: 0, is_official: false, is_automated: false };
            hits.extend(hit(found));
            if hits.len() >= limit {
                return Ok(hits);
            }
        }
    }
    Ok(hits)
}

/// Takes the image `name` away from its registry: its manifest, with all its tags.
pub fn delete(name: &Reference, options: &Registry) -> Result<Digest> {
    let name = full_name(name);
    options.registries.check(&name)?;
    let digest = match name.digest {
        Some(digest) => digest,
        None => Digest::of(&Repository::new(&name, options)?.top()?.0),
    };
    let client = Client::new(options, name.domain.as_deref().unwrap_or_default(), &name.path, "*");
    let action = format!("delete manifest {digest}");
    let at = client.at(&format!("manifests/{digest}"))?;
    let answer = client.send(Method::DELETE, &action, &at, &[], Content::None)?;
    match answer.status() {
        status if status.is_success() => Ok(digest),
        StatusCode::NOT_FOUND => Err(Error::ManifestUnknown { name: name.to_string() }),
        _ => Err(client.refused(&action, answer)),
    }
}
