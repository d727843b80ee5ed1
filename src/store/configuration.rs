//! The configuration of an image: OCI's, with what Docker adds to it.
//!
//! Its bytes are kept verbatim (their digest is the image's id); this is only how they are read. Strangers write
//! `null` where a list is meant, and fields this file does not know: neither is an error.

use crate::{Error, Result, limits};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use types::Digest;

/// A parsed configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Configuration {
    /// When it was built, as written (RFC 3339); empty if it does not say.
    #[serde(deserialize_with = "or_default")]
    pub created: String,
    /// Who built it.
    #[serde(deserialize_with = "or_default")]
    pub author: String,
    /// Processor it is for, in Go's words.
    #[serde(deserialize_with = "or_default")]
    pub architecture: String,
    /// Variant of the processor.
    #[serde(deserialize_with = "or_default")]
    pub variant: String,
    /// Operating system it is for.
    #[serde(deserialize_with = "or_default")]
    pub os: String,
    /// What is run, and how.
    #[serde(deserialize_with = "or_default")]
    pub config: Process,
    /// Its layers.
    #[serde(deserialize_with = "or_default")]
    pub rootfs: RootFs,
    /// How it was built.
    #[serde(deserialize_with = "or_default")]
    pub history: Vec<History>,
    /// Docker that built it.
    #[serde(deserialize_with = "or_default")]
    pub docker_version: String,
    /// Docker's comment.
    #[serde(deserialize_with = "or_default")]
    pub comment: String,
}

/// What is run in containers of an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Process {
    /// `USER[:GROUP]`, names or numbers.
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// `KEY=VALUE`, as written: see [`Configuration::environment`].
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// Arguments of the entrypoint, or the command where there is none.
    #[serde(deserialize_with = "words")]
    pub cmd: Option<Vec<String>>,
    /// What is always run.
    #[serde(deserialize_with = "words")]
    pub entrypoint: Option<Vec<String>>,
    /// Working directory.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// Labels; one that is `null` is empty.
    #[serde(deserialize_with = "texts")]
    pub labels: BTreeMap<String, String>,
    /// Paths that want a volume each; the values are empty objects.
    #[serde(deserialize_with = "or_default")]
    pub volumes: BTreeMap<String, serde_json::Value>,
    /// `PORT[/PROTOCOL]`; the values are empty objects.
    #[serde(deserialize_with = "or_default")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
    /// Signal that stops it, a name or number; empty for the default.
    #[serde(deserialize_with = "or_default")]
    pub stop_signal: String,
    /// Docker: how its health is checked.
    pub healthcheck: Option<Healthcheck>,
    /// Docker: instructions for images built on this one.
    #[serde(deserialize_with = "or_default")]
    pub on_build: Vec<String>,
    /// Docker: what runs commands in shell form.
    #[serde(deserialize_with = "or_default")]
    pub shell: Vec<String>,
    /// Windows: the command is one line already escaped.
    #[serde(deserialize_with = "or_default")]
    pub args_escaped: bool,
}

/// How the health of containers is checked. Times are nanoseconds; zero inherits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", COMMAND]`; empty inherits.
    #[serde(deserialize_with = "or_default")]
    pub test: Vec<String>,
    /// Between two checks.
    pub interval: i64,
    /// Longest a check may take.
    pub timeout: i64,
    /// During which failures do not count.
    pub start_period: i64,
    /// Between checks during the start period.
    pub start_interval: i64,
    /// Failures in a row that count.
    pub retries: i64,
}

/// The layers of an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// Digests of the uncompressed tars, bottom first.
    #[serde(deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

/// A step of the build.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When (RFC 3339).
    #[serde(deserialize_with = "or_default")]
    pub created: String,
    /// By what.
    #[serde(deserialize_with = "or_default")]
    pub created_by: String,
    /// By whom.
    #[serde(deserialize_with = "or_default")]
    pub author: String,
    /// Remark.
    #[serde(deserialize_with = "or_default")]
    pub comment: String,
    /// It made no layer.
    #[serde(deserialize_with = "or_default")]
    pub empty_layer: bool,
}

impl Configuration {
    /// Parses a configuration of at most [`limits::CONFIGURATION`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Configuration> {
        let bad = |why: String| Error::Document { what: "configuration", digest: Digest::of(bytes), why };
        if bytes.len() > limits::CONFIGURATION {
            return Err(bad(format!("it has {} bytes, more than {}", bytes.len(), limits::CONFIGURATION)));
        }
        serde_json::from_slice(bytes).map_err(|problem| bad(problem.to_string()))
    }

    /// The environment: only what has the form `KEY=VALUE` counts, with the last value of each key in its first place.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut variables: Vec<(String, String)> = Vec::new();
        for text in &self.config.env {
            let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty() && !text.contains('\0'))
            else {
                continue;
            };
            match variables.iter_mut().find(|(known, _)| known == key) {
                Some((_, old)) => *old = value.to_owned(),
                None => variables.push((key.to_owned(), value.to_owned())),
            }
        }
        variables
    }

    /// When it was built, in seconds since 1970; 0 if it does not say.
    pub fn created_seconds(&self) -> i64 {
        self.created.parse::<jiff::Timestamp>().map_or(0, |time| time.as_second())
    }
}

/// `null` is as good as nothing.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Texts by key, of which some may be `null`.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<BTreeMap<String, String>, D::Error> {
    let all = Option::<BTreeMap<String, Option<String>>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(all.into_iter().map(|(key, text)| (key, text.unwrap_or_default())).collect())
}

/// A list of words; Docker has written a single string, too.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        List(Vec<String>),
        One(String),
    }
    Ok(Option::<Words>::deserialize(deserializer)?.map(|words| match words {
        Words::List(list) => list,
        Words::One(word) => vec![word],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_nothing_and_env_is_pairs() {
        let text = br#"{"created":"2024-02-03T04:05:06.7Z","os":"linux","unknown":1,"rootfs":null,"history":null,
            "config":{"Env":["A=1","B","=c","A=2","C="],"Cmd":null,"Entrypoint":"sh","Volumes":{"/v":{}},"Labels":{"a":null,"b":"c"}}}"#;
        let configuration = Configuration::parse(text).unwrap();
        assert_eq!(configuration.environment(), [("A".into(), "2".into()), ("C".into(), String::new())]);
        assert_eq!(configuration.created_seconds(), 1706933106);
        assert_eq!(configuration.config.entrypoint, Some(vec!["sh".into()]));
        assert_eq!(configuration.config.cmd, None);
        assert_eq!(configuration.config.labels, [("a".into(), String::new()), ("b".into(), "c".into())].into());
        assert!(configuration.config.volumes.contains_key("/v"));
    }

    #[test]
    fn refuses_what_is_too_large_or_too_deep() {
        let large = vec![b' '; limits::CONFIGURATION + 1];
        assert!(Configuration::parse(&large).unwrap_err().to_string().contains("more than"));
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        let known = [b"{\"config\":{\"Volumes\":{\"/v\":", &deep[..], b"}}}"].concat();
        assert!(Configuration::parse(&known).unwrap_err().to_string().contains("recursion"));
        // What nobody asks for is skipped without a stack.
        assert!(Configuration::parse(&[b"{\"x\":", &deep[..], b"}"].concat()).is_ok());
    }
}
