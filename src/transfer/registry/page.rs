//! A file of the web that is no registry's: through the same proxies, with the same roots, without credentials.
//!
//! Must not know: what is in it.

use super::address::{self, Address};
use super::tls::Certificates;
use crate::{Error, Registry, Result};
use std::io::{self, Read};
use ureq::Agent;

/// Redirects followed.
const HOPS: usize = 10;

/// What an address holds, to be read once. That it ends early is told where the server has said how long it is.
pub struct Page(Box<dyn Read + Send>);

impl Page {
    /// Asks for it.
    ///
    /// # Errors
    /// The server cannot be reached or refuses, or sends us from https to http.
    pub fn get(url: &str, options: &Registry) -> Result<Page> {
        Page::find(url, options)?
            .ok_or_else(|| Error::Page { url: url.into(), why: "the answer is 404 Not Found".into() })
    }

    /// The same; none if the server says that there is nothing.
    pub fn find(url: &str, options: &Registry) -> Result<Option<Page>> {
        let failed = |why: String| Error::Page { url: url.into(), why };
        let mut at = Address::parse(url).ok_or_else(|| failed("it is no address of http or https".into()))?;
        for _ in 0..HOPS {
            let answer = agent(&at, options)
                .and_then(|agent| agent.get(at.to_string()).call())
                .map_err(|e| failed(e.to_string()))?;
            let status = answer.status();
            if status.is_success() {
                return Ok(Some(Page(Box::new(answer.into_body().into_reader()))));
            }
            if status.as_u16() == 404 {
                return Ok(None);
            }
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Err(failed(format!("the answer is {status}")));
            }
            let location = answer.headers().get("location").and_then(|l| l.to_str().ok()).unwrap_or("");
            let next = at.join(location).ok_or_else(|| failed(format!("it leads to {location:?}")))?;
            if at.secure && !next.secure {
                return Err(failed(format!("it leads from https to {next}")));
            }
            at = next;
        }
        Err(failed(format!("there are more than {HOPS} redirects")))
    }
}

impl Read for Page {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

fn agent(at: &Address, options: &Registry) -> std::result::Result<Agent, ureq::Error> {
    let proxy = address::proxy(&options.proxies, at);
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(concat!("monopod/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .timeout_connect(Some(options.patience))
        .timeout_recv_response(Some(options.patience))
        .timeout_per_read(Some(options.patience))
        .proxy(proxy.map(ureq::Proxy::new).transpose()?);
    if at.secure || proxy.is_some_and(|p| p.starts_with("https")) {
        config = config.tls_config(Certificates::default().config(true));
    }
    Ok(config.build().new_agent())
}
