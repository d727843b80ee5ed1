//! How a registry is logged in to: which credentials are known for it, and the token that they are changed for (OCI
//! distribution specification and Docker's "Token Authentication" and "OAuth2").

use super::address::{self, Address};
use super::client::{ANSWER, Client, Content, escaped, read};
use super::credential::{self, Challenge, Known};
use crate::{Error, Result};
use serde::Deserialize;
use std::sync::PoisonError;
use ureq::http::{Method, StatusCode};

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Client<'_> {
    /// Finds out whether the registry takes the credentials that are known for it; true if it wants any at all.
    pub fn check_login(&self) -> Result<bool> {
        self.base()?;
        if self.login().challenge.is_none() {
            return Ok(false);
        }
        let action = "log in";
        let at = Address { path: "/v2/".into(), ..self.base()? };
        let answer = self.send(Method::GET, action, &at, &[], Content::None)?;
        match answer.status() {
            StatusCode::UNAUTHORIZED => Err(Error::InvalidLogin),
            status if status.is_success() => Ok(true),
            _ => Err(self.refused(action, answer)),
        }
    }

    /// The header for the registry; none if it asked for none. Several threads wait for one token.
    pub fn authorization(&self) -> Result<Option<String>> {
        let mut login = self.login();
        if login.header.is_none() {
            login.header = match login.challenge.clone() {
                None => None,
                Some(Challenge::Basic) => match self.credentials()? {
                    Some(Known::Login(user, password)) => Some(credential::basic(&user, &password)),
                    Some(Known::Identity(token)) => Some(format!("Bearer {token}")),
                    None => {
                        return Err(
                            self.unauthorized("it wants a user and a password, and none are known for it".into())
                        );
                    }
                },
                Some(Challenge::Bearer { realm, service, scope }) => {
                    Some(format!("Bearer {}", self.token(&realm, service.as_deref(), scope.as_deref())?))
                }
            };
        }
        Ok(login.header.clone())
    }

    fn token(&self, realm: &str, service: Option<&str>, scope: Option<&str>) -> Result<String> {
        let action = format!("get a token from {realm:?}");
        let bad = || self.failed(&action, "it is no address that a password may be sent to".into());
        let mut address = Address::parse(realm).ok_or_else(bad)?;
        if self.verify && !address.secure && !address::is_loopback(&address.host_and_port().0) {
            return Err(bad());
        }
        let fields: Vec<(&str, String)> = service
            .map(|service| ("service", service.to_owned()))
            .into_iter()
            .chain(self.scopes(scope).into_iter().map(|scope| ("scope", scope)))
            .collect();
        let known = self.credentials()?;
        let answer = match &known {
            Some(Known::Identity(token)) => {
                let mut form = format!("grant_type=refresh_token&client_id=monopod&refresh_token={}", escaped(token));
                for (key, value) in &fields {
                    form.push_str(&format!("&{key}={}", escaped(value)));
                }
                let headers = [("content-type", "application/x-www-form-urlencoded")];
                self.once(&Method::POST, &address, &headers, None, &mut Content::Bytes(form.as_bytes()))
            }
            _ => {
                for (key, value) in &fields {
                    let separator = if address.path.contains('?') { '&' } else { '?' };
                    address.path.push_str(&format!("{separator}{key}={}", escaped(value)));
                }
                let basic = match &known {
                    Some(Known::Login(user, password)) => Some(credential::basic(user, password)),
                    _ => None,
                };
                self.once(&Method::GET, &address, &[], basic.as_deref(), &mut Content::None)
            }
        };
        let mut answer = answer.map_err(|e| self.failed(&action, self.told(&e)))?;
        if matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let with = if known.is_some() { "with the credentials known for it" } else { "without credentials" };
            return Err(self.unauthorized(format!("its token server gives no token {with}")));
        }
        if !answer.status().is_success() {
            return Err(self.refused(&action, answer));
        }
        let bytes = read(answer.body_mut(), ANSWER).map_err(|why| self.failed(&action, why))?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|e| self.failed(&action, e.to_string()))?;
        let token = if token.token.is_empty() { token.access_token } else { token.token };
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(self.failed(&action, "its answer holds no token".into()));
        }
        Ok(token)
    }

    /// What the token should allow: what was asked for, or what will be done; nothing for a login alone.
    fn scopes(&self, asked: Option<&str>) -> Vec<String> {
        if self.path.is_empty() {
            return Vec::new();
        }
        let own = format!("repository:{}:{}", self.path, self.actions);
        // What is asked for with the ping has no repository yet.
        let asked = asked.filter(|s| s.starts_with("repository:") && self.actions == "pull");
        let also = self.also.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let also = also.iter().map(|path| format!("repository:{path}:pull"));
        std::iter::once(asked.map_or(own, str::to_owned)).chain(also).collect()
    }

    fn credentials(&self) -> Result<Option<Known>> {
        if let Some((user, password)) = &self.options.credentials {
            return Ok(Some(Known::Login(user.clone(), password.clone())));
        }
        known(&self.options.auth_files, &self.domain, &self.path)
    }
}

/// What `files` know about the repository `domain/path`; the first that knows it counts.
pub fn known(files: &[std::path::PathBuf], domain: &str, path: &str) -> Result<Option<Known>> {
    for file in files {
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied) => {
                continue;
            }
            Err(source) => return Err(Error::File { action: "read", path: file.clone(), source }),
        };
        let bad = |why| Error::Document { what: "file of credentials", name: file.display().to_string(), why };
        if let Some(known) = credential::find(&text, domain, path, &credential::ask).map_err(bad)? {
            return Ok(Some(known));
        }
    }
    Ok(None)
}
