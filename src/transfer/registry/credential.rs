//! Credentials: files of them (containers-auth.json(5), Docker's `config.json`), and what a registry asks for in
//! `WWW-Authenticate` (RFC 9110 section 11.6.1; distribution specification, "Token Authentication").
//!
//! Must not know: where the files are, the network.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a file knows about a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// User and password.
    Login(String, String),
    /// Why there is no password in it.
    Elsewhere(String),
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: String,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity: String,
}

/// What the file `text` knows about the repository `domain/path`: the longest entry that fits counts.
///
/// # Errors
/// What is wrong with the file.
pub fn find(text: &[u8], domain: &str, path: &str) -> Result<Option<Known>, String> {
    let file: File = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    let mut key = format!("{domain}/{path}");
    loop {
        let found = file.auths.iter().find(|(name, _)| *name == &key || !key.contains('/') && host_of(name) == key);
        if let Some((name, auth)) = found {
            if !auth.identity.is_empty() {
                return Ok(Some(Known::Elsewhere(
                    "an identity token is kept for it, which is not supported: log in with a password".into(),
                )));
            }
            if !auth.auth.is_empty() {
                return decode(&auth.auth)
                    .map(|(u, p)| Some(Known::Login(u, p)))
                    .ok_or(format!("the entry {name:?} is damaged"));
            }
        }
        match key.rsplit_once('/') {
            Some((shorter, _)) => key.truncate(shorter.len()),
            None => break,
        }
    }
    let helper = file.helpers.get(domain).unwrap_or(&file.store);
    Ok((!helper.is_empty()).then(|| {
        Known::Elsewhere(format!(
            "its credentials are kept by the program \"docker-credential-{helper}\", which is not supported"
        ))
    }))
}

/// Docker's old keys are addresses: `https://index.docker.io/v1/`.
fn host_of(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or(key.strip_prefix("http://"));
    let Some(rest) = rest else { return "" };
    match rest.split('/').next().unwrap_or("") {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

fn decode(auth: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.into(), password.trim_end_matches('\0').into()))
}

/// The header that logs in by user and password (RFC 7617).
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from `realm`.
    Bearer {
        /// Address of the token server.
        realm: String,
        /// What the token is for.
        service: Option<String>,
        /// What it should allow; none means to pull.
        scope: Option<String>,
    },
}

/// Reads the values of `WWW-Authenticate`; the best that is understood counts.
pub fn challenge<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            basic = Some(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer") {
            let values = parameters(rest);
            let get = |key: &str| values.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v.clone());
            if let Some(realm) = get("realm") {
                return Some(Challenge::Bearer { realm, service: get("service"), scope: get("scope") });
            }
        }
    }
    basic
}

/// `key="value", key=value`; quotes may hold commas and escaped characters.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let mut value = String::new();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut chars = quoted.chars();
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => value.extend(chars.next()),
                    c => value.push(c),
                }
            }
            rest = chars.as_str();
        } else {
            let end = after.find(',').unwrap_or(after.len());
            value.push_str(after[..end].trim());
            rest = &after[end..];
        }
        found.push((key.trim().trim_start_matches(',').trim().to_owned(), value));
        rest = rest.trim_start().trim_start_matches(',');
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_entry_counts() {
        let text = br#"{"auths":{"a.b":{"auth":"dTpw"},"a.b/c/d":{"auth":"dTpxOnI="},"https://index.docker.io/v1/":{"auth":"ZDpl"},
            "t":{"auth":"dTpw","identitytoken":"x"},"bad":{"auth":"!"}},"credHelpers":{"h":"pass"}}"#;
        let login = |user: &str, password: &str| Some(Known::Login(user.into(), password.into()));
        assert_eq!(find(text, "a.b", "c/d").unwrap(), login("u", "q:r"));
        assert_eq!(find(text, "a.b", "c/x").unwrap(), login("u", "p"));
        assert_eq!(find(text, "docker.io", "library/x").unwrap(), login("d", "e"));
        assert_eq!(find(text, "other", "x").unwrap(), None);
        assert!(matches!(find(text, "t", "x").unwrap(), Some(Known::Elsewhere(why)) if why.contains("identity")));
        assert!(
            matches!(find(text, "h", "x").unwrap(), Some(Known::Elsewhere(why)) if why.contains("credential-pass"))
        );
        assert!(find(text, "bad", "x").is_err() && find(b"[", "a", "b").is_err());
    }

    #[test]
    fn challenges() {
        let bearer = r#"Bearer realm="https://auth/token",service="reg,istry",scope="repository:a/b:pull""#;
        assert_eq!(
            challenge(["Basic realm=x", bearer].into_iter()),
            Some(Challenge::Bearer {
                realm: "https://auth/token".into(),
                service: Some("reg,istry".into()),
                scope: Some("repository:a/b:pull".into())
            })
        );
        assert_eq!(challenge(["basic realm=\"x\""].into_iter()), Some(Challenge::Basic));
        assert_eq!(challenge(["Negotiate", "Bearer x"].into_iter()), None);
        assert_eq!(basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }
}
