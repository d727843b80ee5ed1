//! One registry, one repository, one login: requests with retries, redirects and tokens.
//!
//! Redirects are followed here and not by the HTTP package, because two things must hold on each hop: credentials go to
//! the host they were given for and to no other, and https never becomes http. What is sent is never sent on to where a
//! redirect leads, except to where the registry itself says that an upload goes.

use super::address::{self, Address};
use super::credential::{self, Challenge};
use super::tls::Certificates;
use crate::{Error, Registry, Result};
use serde::Deserialize;
use std::collections::HashMap;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use ureq::http::{HeaderMap, Method, Request, Response, StatusCode};
use ureq::{Agent, Body, SendBody};

/// Redirects followed for one request.
const HOPS: usize = 10;
/// Largest answer of a token server, and of an error that is quoted.
pub const ANSWER: u64 = 1 << 20;
/// How long to wait before the second attempt.
const FIRST_WAIT: Duration = Duration::from_millis(300);
/// Longest time that a registry may make us wait between attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// What is sent with a request.
pub enum Content<'c> {
    /// Nothing.
    None,
    /// These bytes, which can be sent again.
    Bytes(&'c [u8]),
    /// What comes from a reader, once; with its length where that is known.
    Stream(&'c mut dyn Read, Option<u64>),
}

/// A client for one repository.
pub struct Client<'a> {
    pub options: &'a Registry,
    /// TLS is demanded, and certificates are checked.
    pub verify: bool,
    /// What is done in the repository, as a token's scope has it: `pull`, or `pull,push`.
    pub actions: &'static str,
    /// A second repository of this registry that blobs are mounted from.
    pub also: Mutex<Vec<String>>,
    /// The registry's name as the user knows it, and the path of the repository.
    pub domain: String,
    pub path: String,
    base: OnceLock<Address>,
    certificates: OnceLock<Certificates>,
    agents: Mutex<HashMap<(bool, Option<String>), Agent>>,
    login: Mutex<Login>,
}

/// What the registry asked for, and what it gets.
#[derive(Default)]
pub struct Login {
    /// Value of the `Authorization` header, once the registry asked for one.
    pub header: Option<String>,
    pub challenge: Option<Challenge>,
}

#[derive(Deserialize)]
struct Complaints {
    #[serde(default)]
    errors: Vec<Complaint>,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl<'a> Client<'a> {
    /// A client for the repository `path` of `domain`. Nothing is sent yet.
    pub fn new(options: &'a Registry, domain: &str, path: &str, actions: &'static str) -> Client<'a> {
        Client {
            options,
            verify: options.tls_verify && !options.registries.insecure(domain, path),
            actions,
            also: Mutex::default(),
            domain: domain.into(),
            path: path.into(),
            base: OnceLock::new(),
            certificates: OnceLock::new(),
            agents: Mutex::default(),
            login: Mutex::default(),
        }
    }

    /// The same, which need not have a valid certificate or speak TLS at all if `insecure`.
    pub fn without_tls(self, insecure: bool) -> Client<'a> {
        Client { verify: self.verify && !insecure, ..self }
    }

    /// Finds out how the registry is spoken to: https or, if that is allowed, http; and whether it wants a login
    /// (distribution specification, "Determining Support").
    pub fn ping(&self) -> Result<()> {
        let authority = address::host(&self.domain);
        if self.certificates.get().is_none() {
            let directories = self.options.certificate_roots.iter().map(|root| root.join(authority));
            let directories = self.options.certificates.iter().cloned().chain(directories).collect::<Vec<_>>();
            let _ = self.certificates.set(Certificates::read(&directories)?);
        }
        let secure = Address { secure: true, authority: authority.into(), path: "/v2/".into() };
        let plain = Address { secure: false, ..secure.clone() };
        let may_be_plain = !self.verify || address::is_loopback(&secure.host_and_port().0);
        let mut first = None;
        for address in if may_be_plain { vec![secure, plain] } else { vec![secure] } {
            match self.once(&Method::GET, &address, &[], None, &mut Content::None) {
                Ok(answer) => {
                    self.remember(answer.headers());
                    let _ = self.base.set(address);
                    return match answer.status() {
                        status if status.is_success() || status == StatusCode::UNAUTHORIZED => Ok(()),
                        // Some registries serve images and nothing at /v2/ itself.
                        StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => Ok(()),
                        _ => Err(self.refused("ask for its version", answer)),
                    };
                }
                Err(error) => {
                    let speaks_tls = speaks_tls(&error);
                    first.get_or_insert(error);
                    // Who speaks TLS and is not believed is not asked the same in the clear.
                    if speaks_tls {
                        break;
                    }
                }
            }
        }
        let why = first.map_or_else(String::new, |e| self.told(&e));
        Err(self.failed("reach it", why))
    }

    /// Gets `path` of the repository (`manifests/latest`, `blobs/sha256:…`), with a login if the registry wants one.
    pub fn get(&self, action: &str, path: &str, headers: &[(&str, &str)]) -> Result<Response<Body>> {
        let answer = self.send(Method::GET, action, &self.at(path)?, headers, Content::None)?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::NOT_FOUND if path.starts_with("manifests/") => {
                let reference = &path["manifests/".len()..];
                let separator = if reference.contains(':') { '@' } else { ':' };
                let name = format!("{}/{}{separator}{reference}", self.domain, self.path);
                Err(Error::ManifestUnknown { name })
            }
            _ => Err(self.refused(action, answer)),
        }
    }

    /// The address of `path` in the repository.
    pub fn at(&self, path: &str) -> Result<Address> {
        Ok(Address { path: format!("/v2/{}/{path}", self.path), ..self.base()? })
    }

    /// How the registry is spoken to, once it was found out.
    pub fn base(&self) -> Result<Address> {
        if self.base.get().is_none() {
            self.ping()?;
        }
        self.base.get().cloned().ok_or_else(|| self.failed("speak to it", "it was not reached".into()))
    }

    /// Asks for tokens that allow reading of `path`, too.
    pub fn read_also(&self, path: &str) {
        let mut also = self.also.lock().unwrap_or_else(PoisonError::into_inner);
        if also.iter().any(|known| known == path) {
            return;
        }
        also.push(path.into());
        drop(also);
        self.login().header = None;
    }

    /// Sends a request, with a login if the registry wants one, again where that may help. The answer may be one of
    /// failure. What comes from a reader is sent once.
    pub fn send(
        &self,
        method: Method,
        action: &str,
        address: &Address,
        headers: &[(&str, &str)],
        mut content: Content<'_>,
    ) -> Result<Response<Body>> {
        let mut renewed = false;
        let mut attempt = 0;
        let once = matches!(content, Content::Stream(..));
        let attempts = if once { 1 } else { self.options.attempts };
        loop {
            let own = self.base.get().is_none_or(|base| base.same_host(address));
            let authorization = if own { self.authorization()? } else { None };
            match self.once(&method, address, headers, authorization.as_deref(), &mut content) {
                Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED && own && !renewed => {
                    renewed = true;
                    self.remember(answer.headers());
                    if once {
                        return Ok(answer);
                    }
                }
                Ok(answer) if again(answer.status()) && attempt + 1 < attempts => {
                    std::thread::sleep(self.wait(answer.headers(), attempt));
                    attempt += 1;
                }
                Ok(answer) => return Ok(answer),
                Err(error) if attempt + 1 < attempts && may_pass(&error) => {
                    std::thread::sleep(self.pause(attempt));
                    attempt += 1;
                }
                Err(error) => {
                    let (why, again) = (self.told(&error), may_pass(&error));
                    return Err(Error::Registry { registry: self.domain.clone(), action: action.into(), why, again });
                }
            }
        }
    }

    /// An error about this registry.
    pub fn failed(&self, action: &str, why: String) -> Error {
        Error::Registry { registry: self.domain.clone(), action: action.into(), why, again: false }
    }

    /// One request, with its redirects and without anything tried again.
    pub fn once(
        &self,
        method: &Method,
        address: &Address,
        headers: &[(&str, &str)],
        authorization: Option<&str>,
        content: &mut Content<'_>,
    ) -> std::result::Result<Response<Body>, ureq::Error> {
        let follows = matches!(*method, Method::GET | Method::HEAD);
        let mut at = address.clone();
        for _ in 0..HOPS {
            let mut request = Request::builder().method(method.clone()).uri(at.to_string());
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(authorization) = authorization
                && at.same_host(address)
            {
                request = request.header("authorization", authorization);
            }
            let agent = self.agent(&at)?;
            let answer = match content {
                Content::None if follows || *method == Method::DELETE => {
                    agent.run(request.body(()).map_err(ureq::Error::Http)?)?
                }
                Content::None => agent.run(request.body(&[][..]).map_err(ureq::Error::Http)?)?,
                Content::Bytes(bytes) => agent.run(request.body(&**bytes).map_err(ureq::Error::Http)?)?,
                Content::Stream(reader, length) => {
                    if let Some(length) = length {
                        request = request.header("content-length", length.to_string());
                    }
                    agent.run(request.body(SendBody::from_reader(reader)).map_err(ureq::Error::Http)?)?
                }
            };
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let location = answer.headers().get("location").and_then(|l| l.to_str().ok()).unwrap_or("");
            if !follows {
                return Err(ureq::Error::BadUri(format!("{location}: a redirect of what was to be sent")));
            }
            let next = at.join(location).ok_or_else(|| ureq::Error::BadUri(location.into()))?;
            if at.secure && !next.secure && self.verify {
                return Err(ureq::Error::BadUri(format!("{next}: a redirect from https to http")));
            }
            at = next;
        }
        Err(ureq::Error::TooManyRedirects)
    }

    /// Attempts of one request.
    pub fn attempts(&self) -> u32 {
        self.options.attempts
    }

    /// How long to wait before the next attempt.
    pub fn pause(&self, attempt: u32) -> Duration {
        pause(self.options.delay.unwrap_or(FIRST_WAIT), attempt)
    }

    fn wait(&self, headers: &HeaderMap, attempt: u32) -> Duration {
        wait(headers, self.pause(attempt))
    }

    fn agent(&self, address: &Address) -> std::result::Result<Agent, ureq::Error> {
        let proxy = address::proxy(&self.options.proxies, address);
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (address.secure, proxy.map(str::to_owned));
        if let Some(agent) = agents.get(&key) {
            return Ok(agent.clone());
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("monopod/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_connect(Some(self.options.patience))
            .timeout_recv_response(Some(self.options.patience))
            .timeout_per_read(Some(self.options.patience))
            .proxy(proxy.map(ureq::Proxy::new).transpose()?);
        if address.secure || proxy.is_some_and(|p| p.starts_with("https")) {
            // The ping, before which nothing is sent, has read them.
            let certificates = self.certificates.get_or_init(Certificates::default);
            config = config.tls_config(certificates.config(self.verify));
        }
        let agent = config.build().new_agent();
        agents.insert(key, agent.clone());
        Ok(agent)
    }

    /// Takes down what the registry asks for; a token that it did not take is forgotten.
    fn remember(&self, headers: &HeaderMap) {
        let asked = headers.get_all("www-authenticate").iter().filter_map(|h| h.to_str().ok());
        if let Some(challenge) = credential::challenge(asked) {
            *self.login() = Login { header: None, challenge: Some(challenge) };
        }
    }

    pub fn login(&self) -> MutexGuard<'_, Login> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn unauthorized(&self, why: String) -> Error {
        Error::Unauthorized { registry: self.domain.clone(), why }
    }

    /// The error for an answer that is none.
    pub fn refused(&self, action: &str, mut answer: Response<Body>) -> Error {
        let status = answer.status();
        let bytes = read(answer.body_mut(), ANSWER).unwrap_or_default();
        let complaints = serde_json::from_slice(&bytes).unwrap_or(Complaints { errors: Vec::new() }).errors;
        // That it is unauthorized is said before what it says.
        let text = |c: &Complaint| match (status, c.code.as_str(), c.message.as_str()) {
            (_, code, "") => printable(code),
            (StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message) => printable(message),
            (_, code, message) => format!("{}: {}", printable(code), printable(message)),
        };
        let said: Vec<String> = complaints.iter().take(3).map(text).collect();
        let why = if said.is_empty() {
            format!("it answers {status}")
        } else {
            format!("it answers {status}, {}", said.join(", "))
        };
        match status {
            StatusCode::UNAUTHORIZED if !said.is_empty() => self.unauthorized(said.join(", ")),
            StatusCode::UNAUTHORIZED => self.unauthorized(why),
            _ => Error::Registry { registry: self.domain.clone(), action: action.into(), why, again: again(status) },
        }
    }

    pub fn told(&self, error: &ureq::Error) -> String {
        let hint = match error {
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => {
                " (a registry without a valid certificate needs --tls-verify=false)"
            }
            ureq::Error::Io(e) if e.get_ref().is_some_and(|e| e.is::<rustls::Error>()) => {
                " (a registry without a valid certificate needs --tls-verify=false)"
            }
            _ => "",
        };
        format!("{error}{hint}")
    }
}

/// All of a body that may have at most `limit` bytes.
pub fn read(body: &mut Body, limit: u64) -> std::result::Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut reader = body.with_config().limit(u64::MAX).reader().take(limit + 1);
    reader.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > limit {
        return Err(format!("its answer has more than {limit} bytes"));
    }
    Ok(bytes)
}

fn again(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn may_pass(error: &ureq::Error) -> bool {
    match error {
        // What was to be sent is damaged.
        ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => false,
        ureq::Error::Io(e) => !e.get_ref().is_some_and(|e| e.is::<rustls::Error>()),
        ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => true,
        _ => false,
    }
}

/// True if a connection failed by what the other side said in TLS, which it speaks then.
fn speaks_tls(error: &ureq::Error) -> bool {
    let said = match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()),
        _ => None,
    };
    said.is_some_and(|error| !matches!(error, rustls::Error::InvalidMessage(_)))
}

/// Where the next page is (RFC 8288): `</v2/a/tags/list?last=x>; rel="next"`.
pub fn next_page(link: &str) -> Option<&str> {
    let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    (rest.contains("rel=\"next\"") || rest.contains("rel=next")).then_some(address)
}

/// True if the same may work when it is tried again.
pub fn may_help(error: &Error) -> bool {
    matches!(error, Error::Registry { again: true, .. })
}

/// Three times as long each time.
fn pause(first: Duration, attempt: u32) -> Duration {
    first.saturating_mul(3u32.pow(attempt.min(4))).min(LONGEST_WAIT.max(first))
}

fn wait(headers: &HeaderMap, otherwise: Duration) -> Duration {
    let seconds = headers.get("retry-after").and_then(|h| h.to_str().ok()).and_then(|s| s.trim().parse().ok());
    seconds.map_or(otherwise, |seconds| Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// What a stranger says, fit for a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// Percent-encoding for a value of a query (RFC 3986).
pub fn escaped(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-._~:/".contains(&b) => text.push(b as char),
            b => text.push_str(&format!("%{b:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        assert_eq!(pause(FIRST_WAIT, 0), Duration::from_millis(300));
        assert!(pause(FIRST_WAIT, 1) > FIRST_WAIT && pause(FIRST_WAIT, 30) <= LONGEST_WAIT);
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "7".parse().unwrap());
        assert_eq!(wait(&headers, FIRST_WAIT), Duration::from_secs(7));
        headers.insert("retry-after", "99999".parse().unwrap());
        assert_eq!(wait(&headers, FIRST_WAIT), LONGEST_WAIT);
        assert_eq!(wait(&HeaderMap::new(), FIRST_WAIT), FIRST_WAIT);
    }

    #[test]
    fn values_are_escaped() {
        assert_eq!(escaped("repository:a/b:pull"), "repository:a/b:pull");
        assert_eq!(escaped("a b&c=d\n"), "a%20b%26c%3Dd%0A");
        assert_eq!(printable("a\u{1b}[31mb"), "a[31mb");
    }
}
