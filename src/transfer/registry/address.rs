//! Addresses of registries: which host a name belongs to, where a redirect leads, which proxy is used.
//!
//! Proxies are chosen as Go programs choose them (golang.org/x/net/http/httpproxy), since users set `NO_PROXY` for
//! those: suffixes with and without a dot, networks in CIDR, ports, `*`; loopback is always spoken to directly.

use crate::Proxies;
use std::fmt;
use std::net::IpAddr;
use types::Reference;

/// An absolute address of http or https, in the parts that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `https`, not `http`.
    pub secure: bool,
    /// Host with its port, as it was written.
    pub authority: String,
    /// Path and query, beginning with `/`.
    pub path: String,
}

impl Address {
    /// Parses an absolute address. Users and passwords in it are refused, as are other schemes.
    pub fn parse(text: &str) -> Option<Address> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() || authority.contains('@') || text.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return None;
        }
        let path = path.split('#').next().unwrap_or("");
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Address { secure, authority: authority.into(), path })
    }

    /// Where `location`, given by an answer from here, leads.
    pub fn join(&self, location: &str) -> Option<Address> {
        if location.contains("://") {
            Address::parse(location)
        } else if let Some(rest) = location.strip_prefix("//") {
            Address::parse(&format!("{}://{rest}", self.scheme()))
        } else if location.starts_with('/') {
            Address::parse(&format!("{}://{}{location}", self.scheme(), self.authority))
        } else {
            let parent = self.path.split('?').next().unwrap_or("").rsplit_once('/').map_or("", |(parent, _)| parent);
            Address::parse(&format!("{}://{}{parent}/{location}", self.scheme(), self.authority))
        }
    }

    /// True if credentials for `other` may be sent here.
    pub fn same_host(&self, other: &Address) -> bool {
        self.secure == other.secure && self.host_and_port() == other.host_and_port()
    }

    /// Host in lower case, without brackets, and port.
    pub fn host_and_port(&self) -> (String, u16) {
        let default = if self.secure { 443 } else { 80 };
        let (host, port) = match self.authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().unwrap_or(default)),
            _ => (self.authority.as_str(), default),
        };
        (host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase(), port)
    }

    fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority, self.path)
    }
}

/// The name as registries know it: `busybox` is `docker.io/library/busybox`.
pub fn full_name(name: &Reference) -> Reference {
    let mut name = name.normalised("docker.io");
    if name.domain.as_deref() == Some("index.docker.io") {
        name.domain = Some("docker.io".into());
    }
    if name.domain.as_deref() == Some("docker.io") && !name.path.contains('/') {
        name.path = format!("library/{}", name.path);
    }
    name
}

/// True if `text` can be the host and port of a registry.
pub fn is_authority(text: &str) -> bool {
    let probe: Result<Reference, _> = format!("{text}/x").parse();
    // A first word without a dot or port would be the beginning of a path.
    probe.is_ok_and(|name| name.domain.as_deref() == Some(text) || name.path == format!("{text}/x"))
}

/// The host that serves the images of `domain`.
pub fn host(domain: &str) -> &str {
    if domain == "docker.io" { "registry-1.docker.io" } else { domain }
}

/// True if `host` is this machine.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The proxy for `address`, if any.
pub fn proxy<'p>(proxies: &'p Proxies, address: &Address) -> Option<&'p str> {
    let proxy = if address.secure { &proxies.https } else { &proxies.http };
    let proxy = proxy.as_deref().filter(|p| !p.is_empty())?;
    let (host, port) = address.host_and_port();
    let direct = is_loopback(&host) || proxies.none.split(',').any(|rule| excepts(rule.trim(), &host, port));
    (!direct).then_some(proxy)
}

fn excepts(rule: &str, host: &str, port: u16) -> bool {
    let rule = rule.to_ascii_lowercase();
    if rule.is_empty() {
        return false;
    }
    if rule == "*" {
        return true;
    }
    let ip: Option<IpAddr> = host.parse().ok();
    if let Some((network, bits)) = rule.split_once('/') {
        let (Ok(network), Ok(bits), Some(ip)) = (network.parse::<IpAddr>(), bits.parse::<u32>(), ip) else {
            return false;
        };
        return within(ip, network, bits);
    }
    if let (Ok(rule), Some(ip)) = (rule.trim_matches(['[', ']']).parse::<IpAddr>(), ip) {
        return rule == ip;
    }
    let (name, wanted) = match rule.rsplit_once(':') {
        Some((name, number)) => match number.parse::<u16>() {
            Ok(number) => (name.trim_matches(['[', ']']), Some(number)),
            Err(_) => (rule.as_str(), None),
        },
        None => (rule.as_str(), None),
    };
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    let name = name.strip_prefix('*').unwrap_or(name);
    match name.strip_prefix('.') {
        Some(suffix) => host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.')),
        None => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
    }
}

fn within(ip: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) if bits <= 32 => {
            (ip.to_bits() ^ network.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) if bits <= 128 => {
            (ip.to_bits() ^ network.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let base = Address::parse("https://a.b:5000/v2/x/y?z=1").unwrap();
        for (location, expected) in [
            ("https://c/d", "https://c/d"),
            ("//c/d", "https://c/d"),
            ("/d?e", "https://a.b:5000/d?e"),
            ("d", "https://a.b:5000/v2/x/d"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), expected);
        }
        for text in ["ftp://a/b", "https://user@a/b", "https:///a", "a", "https://a/b c", "https://a/\r\nX: y"] {
            assert!(Address::parse(text).is_none(), "{text}");
        }
        let parse = |text| Address::parse(text).unwrap();
        assert!(parse("https://A.b/").same_host(&parse("https://a.b:443/x")));
        assert!(!parse("https://a.b/").same_host(&parse("http://a.b:443/")));
        assert!(!parse("https://a.b/").same_host(&parse("https://a.b:444/")));
        assert_eq!(parse("http://[::1]:5000/").host_and_port(), ("::1".into(), 5000));
    }

    #[test]
    fn names() {
        for (given, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("a/b:c", "docker.io/a/b:c"),
            ("index.docker.io/x", "docker.io/library/x:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
        ] {
            assert_eq!(full_name(&given.parse().unwrap()).to_string(), full);
        }
    }

    #[test]
    fn proxies() {
        let proxies = Proxies {
            http: None,
            https: Some("http://proxy:3128".into()),
            none: "example.com, .sub.org,10.0.0.0/8,host:8443,192.168.1.7,fd00::/8,*.star.net,192.168.1.8:5000,[fe80::1]:5000"
                .into(),
        };
        let used = |text: &str| proxy(&proxies, &Address::parse(text).unwrap()).is_some();
        for text in [
            "https://docker.io/",
            "https://sub.org/",
            "https://notexample.com/",
            "https://11.0.0.1/",
            "https://host/",
            "https://star.net/",
            "https://192.168.1.8/",
            "https://[fe80::1]/",
            "https://[fe80::2]:5000/",
        ] {
            assert!(used(text), "{text}");
        }
        for text in [
            "http://docker.io/",
            "https://example.com/",
            "https://a.example.com/",
            "https://x.sub.org/",
            "https://10.9.8.7/",
            "https://host:8443/",
            "https://192.168.1.7/",
            "https://[fd00::1]/",
            "https://A.Star.net/",
            "https://192.168.1.8:5000/",
            "https://[fe80::1]:5000/",
            "https://localhost/",
            "https://127.0.0.1:5000/",
        ] {
            assert!(!used(text), "{text}");
        }
        let all = Proxies { none: "*".into(), ..proxies.clone() };
        assert!(proxy(&all, &Address::parse("https://docker.io/").unwrap()).is_none());
    }
}
