//! Credentials: files of them (containers-auth.json(5), Docker's `config.json`), programs that keep them (Docker's
//! credential helpers), and what a registry asks for in `WWW-Authenticate` (RFC 9110 section 11.6.1; distribution
//! specification, "Token Authentication").
//!
//! Must not know: where the files are, the network.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{Seek, Write};
use std::process::{Command, Stdio};

/// What is known for a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// User and password.
    Login(String, String),
    /// A token that is changed for others.
    Identity(String),
}

/// Longest answer of a helper.
const ANSWER: usize = 1 << 20;
/// The user that a helper names where it keeps an identity token.
const TOKEN: &str = "<token>";
/// What a helper says of a registry it does not know (docker-credential-helpers, `credentials/error.go`).
const NOT_FOUND: &str = "credentials not found in native keychain";

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

/// Asks the helper of the first name (`pass`, `secretservice`) for a registry.
pub type Ask = dyn Fn(&str, &str) -> Result<Option<Known>, String>;

/// What the file `text` knows about the repository `domain/path`: the helper for its registry, or the longest entry that
/// fits, or the helper for all registries.
///
/// # Errors
/// What is wrong with the file, or with a helper.
pub fn find(text: &[u8], domain: &str, path: &str, ask: &Ask) -> Result<Option<Known>, String> {
    let file: File = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    if let Some(helper) = file.helpers.get(domain).filter(|helper| !helper.is_empty()) {
        return ask(helper, domain);
    }
    let mut key = if path.is_empty() { domain.to_owned() } else { format!("{domain}/{path}") };
    loop {
        let found = file.auths.iter().find(|(name, _)| *name == &key || !key.contains('/') && host_of(name) == key);
        if let Some((name, auth)) = found {
            if !auth.identity.is_empty() {
                return Ok(Some(Known::Identity(auth.identity.clone())));
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
    if file.store.is_empty() { Ok(None) } else { ask(&file.store, if domain == "docker.io" { HUB } else { domain }) }
}

/// Docker's name for docker.io.
const HUB: &str = "https://index.docker.io/v1/";

/// Asks the program `docker-credential-HELPER`.
pub fn ask(helper: &str, registry: &str) -> Result<Option<Known>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Kept {
        username: String,
        secret: String,
    }
    let Some(answer) = run(helper, "get", registry.as_bytes())? else { return Ok(None) };
    let kept: Kept = serde_json::from_slice(&answer).map_err(|e| format!("docker-credential-{helper}: {e}"))?;
    Ok(Some(match kept.username.as_str() {
        TOKEN => Known::Identity(kept.secret),
        _ => Known::Login(kept.username, kept.secret),
    }))
}

/// Runs a helper; none if it does not know the registry.
fn run(helper: &str, action: &str, input: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let program = format!("docker-credential-{helper}");
    // A name with a slash would be a path, and not one of the programs that the user's PATH holds.
    if helper.contains('/') {
        return Err(format!("{helper:?} is no name of a credential helper"));
    }
    let failed = |e: std::io::Error| format!("cannot run {program:?}: {e}");
    // A file and no pipe: one that does not read what it does not need would end us.
    let mut file = std::fs::File::from(
        rustix::fs::memfd_create("login", rustix::fs::MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?,
    );
    file.write_all(input).and_then(|()| file.rewind()).map_err(failed)?;
    let output = Command::new(&program).arg(action).stdin(Stdio::from(file)).output().map_err(failed)?;
    let said = String::from_utf8_lossy(&output.stdout[..output.stdout.len().min(300)]).trim().to_owned();
    match output.status.success() {
        true if output.stdout.len() > ANSWER => Err(format!("{program:?} answers with too much")),
        true => Ok(Some(output.stdout)),
        false if said.starts_with(NOT_FOUND) => Ok(None),
        false => Err(format!("{program:?} fails: {said}")),
    }
}

/// The file `text` (empty if there is none) with a login for `key` (a registry, or a repository of one) in it, or without
/// if `login` is none. A helper that the file names for the registry is told instead. What else the file holds stays.
/// True if something was there before.
///
/// # Errors
/// What is wrong with the file, or with a helper.
pub fn edit(text: &[u8], key: &str, login: Option<(&str, &str)>) -> Result<(Vec<u8>, bool), String> {
    let mut file: Map<String, Value> = match text.iter().all(u8::is_ascii_whitespace) {
        true => Map::new(),
        false => serde_json::from_slice(text).map_err(|e| e.to_string())?,
    };
    let helper = file.get("credHelpers").and_then(|helpers| helpers[key].as_str());
    let helper = helper.or(file.get("credsStore").and_then(Value::as_str)).filter(|helper| !helper.is_empty());
    if let Some(helper) = helper {
        let was = ask(helper, key)?.is_some();
        match login {
            Some((user, password)) => {
                let kept = json!({"ServerURL": key, "Username": user, "Secret": password});
                run(helper, "store", &serde_json::to_vec(&kept).unwrap_or_default())?;
            }
            None if was => drop(run(helper, "erase", key.as_bytes())?),
            None => {}
        }
        return Ok((text.to_vec(), was));
    }
    let auths = file.entry("auths").or_insert_with(|| json!({}));
    let auths = auths.as_object_mut().ok_or("its \"auths\" is no table")?;
    let was = match login {
        Some((user, password)) => {
            auths.insert(key.into(), json!({"auth": STANDARD.encode(format!("{user}:{password}"))})).is_some()
        }
        None => {
            let old: Vec<String> = auths.keys().filter(|name| *name == key || host_of(name) == key).cloned().collect();
            old.iter().filter(|name| auths.remove(*name).is_some()).count() > 0
        }
    };
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(&file, &mut serializer).map_err(|e| e.to_string())?;
    Ok((bytes, was))
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

/// The file without any login; in the shape of [`edit`].
pub fn clear(text: &[u8]) -> Result<(Vec<u8>, bool), String> {
    if text.is_empty() {
        return Ok((Vec::new(), false));
    }
    let mut file: Map<String, Value> = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    let helpers: Vec<(String, String)> = match file.get("credHelpers").and_then(Value::as_object) {
        Some(helpers) => helpers.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect(),
        None => Vec::new(),
    };
    for (registry, helper) in &helpers {
        if ask(helper, registry)?.is_some() {
            run(helper, "erase", registry.as_bytes())?;
        }
    }
    let was = file.insert("auths".into(), json!({})).is_some();
    serde_json::to_vec_pretty(&file).map(|bytes| (bytes, was)).map_err(|e| e.to_string())
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

    fn found(text: &[u8], domain: &str, path: &str) -> Result<Option<Known>, String> {
        find(text, domain, path, &|helper, registry| Ok(Some(Known::Login(helper.into(), registry.into()))))
    }

    #[test]
    fn logins_are_written_and_removed() {
        let text = br#"{"auths":{"other":{"auth":"eA=="},"https://a.b/v1/":{}},"HttpHeaders":{"k":"v"}}"#;
        let (text, was) = edit(text, "a.b", Some(("u", "p:q"))).unwrap();
        assert!(!was);
        assert_eq!(found(&text, "a.b", "x").unwrap(), Some(Known::Login("u".into(), "p:q".into())));
        let (text, was) = edit(&text, "a.b", None).unwrap();
        assert!(was && !edit(&text, "a.b", None).unwrap().1);
        let value: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value, json!({"auths": {"other": {"auth": "eA=="}}, "HttpHeaders": {"k": "v"}}));
        assert!(!edit(b"", "a", None).unwrap().1);
        assert!(edit(b"[]", "a", None).is_err() && edit(br#"{"auths":3}"#, "a", None).is_err());
        assert!(edit(br#"{"credsStore":"../x"}"#, "a", None).unwrap_err().contains("no name"));
    }

    #[test]
    fn the_longest_entry_counts() {
        let text = br#"{"auths":{"a.b":{"auth":"dTpw"},"a.b/c/d":{"auth":"dTpxOnI="},"https://index.docker.io/v1/":{"auth":"ZDpl"},
            "t":{"auth":"dTpw","identitytoken":"x"},"bad":{"auth":"!"}},"credHelpers":{"h":"pass"}}"#;
        let login = |user: &str, password: &str| Some(Known::Login(user.into(), password.into()));
        assert_eq!(found(text, "a.b", "c/d").unwrap(), login("u", "q:r"));
        assert_eq!(found(text, "a.b", "c/x").unwrap(), login("u", "p"));
        assert_eq!(found(text, "docker.io", "library/x").unwrap(), login("d", "e"));
        assert_eq!(found(text, "other", "x").unwrap(), None);
        assert!(matches!(found(text, "t", "x").unwrap(), Some(Known::Identity(token)) if token == "x"));
        assert_eq!(found(text, "h", "x").unwrap(), login("pass", "h"));
        assert!(found(text, "bad", "x").is_err() && found(b"[", "a", "b").is_err());
        assert_eq!(found(br#"{"credsStore":"all"}"#, "docker.io", "x").unwrap(), login("all", HUB));
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
