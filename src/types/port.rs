//! Ports of a container that the host answers for: `[[IP:][HOST]:]CONTAINER[/PROTOCOL]`, each a number or a range.

use crate::Invalid;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// Which protocol a port is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// Its number in packets.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// Reads its name, in any case.
    pub fn parse(text: &str) -> Option<Protocol> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            "sctp" => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// Ports of the host that lead to as many of the container, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    /// Address of the host at which they are; `None` is all.
    pub host_ip: Option<IpAddr>,
    /// The first of the host; 0: one that is free is still to be found.
    pub host: u16,
    /// The first of the container.
    pub container: u16,
    /// How many.
    pub count: u16,
    /// Of which protocol.
    pub protocol: Protocol,
}

/// Reads the value of `--publish`. A single port of the container with a range of the host is not understood: Podman
/// means "any of them" by it, which its own documentation does not promise.
pub fn publish(text: &str) -> Result<Vec<Published>, Invalid> {
    let invalid = |why: &str| Invalid::new("port", text, why);
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, protocols)) => (ports, protocols),
        None => (text, "tcp"),
    };
    let (host_part, container) = match ports.rsplit_once(':') {
        Some((host, container)) => (Some(host), container),
        None => (None, ports),
    };
    let (container, count) = range(container).ok_or_else(|| invalid("the container's port is not 1 to 65535"))?;
    let (host_ip, host) = match host_part {
        None => (None, ""),
        Some(part) => match part.strip_prefix('[') {
            Some(rest) => {
                let (ip, rest) = rest.split_once(']').ok_or_else(|| invalid("a bracket is not closed"))?;
                (Some(ip), rest.strip_prefix(':').unwrap_or(rest))
            }
            None => match part.rsplit_once(':') {
                Some((ip, host)) => (Some(ip).filter(|ip| !ip.is_empty()), host),
                // `127.0.0.1::80` has an empty host part; `127.0.0.1:80` is an address and a container's port.
                None if part.contains('.') => (Some(part), ""),
                None => (None, part),
            },
        },
    };
    let host_ip = match host_ip {
        None => None,
        Some(ip) => {
            let ip: IpAddr = ip.parse().map_err(|_| invalid("the host's part is no IP address"))?;
            Some(ip).filter(|ip| !ip.is_unspecified() || ip.is_ipv6())
        }
    };
    let host = match host {
        "" => 0,
        host => {
            let (first, hosts) = range(host).ok_or_else(|| invalid("the host's port is not 1 to 65535"))?;
            if hosts != count {
                return Err(invalid("the ranges of host and container differ in length"));
            }
            first
        }
    };
    protocol
        .split(',')
        .map(|name| {
            let protocol = Protocol::parse(name).ok_or_else(|| invalid("the protocol is not tcp, udp or sctp"))?;
            Ok(Published { host_ip, host, container, count, protocol })
        })
        .collect()
}

/// Reads the value of `--expose`, or a key of an image's exposed ports: `PORT[-PORT][/PROTOCOL]`.
pub fn expose(text: &str) -> Result<(u16, u16, Protocol), Invalid> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol =
        Protocol::parse(protocol).ok_or_else(|| Invalid::new("port", text, "the protocol is not tcp, udp or sctp"))?;
    let (first, count) = range(ports).ok_or_else(|| Invalid::new("port", text, "not 1 to 65535"))?;
    Ok((first, count, protocol))
}

/// First and count of `80` or `80-89`.
fn range(text: &str) -> Option<(u16, u16)> {
    let port = |t: &str| t.parse::<u16>().ok().filter(|p| *p > 0 && t.bytes().all(|b| b.is_ascii_digit()));
    match text.split_once('-') {
        None => Some((port(text)?, 1)),
        Some((first, last)) => {
            let (first, last) = (port(first)?, port(last)?);
            Some((first, last.checked_sub(first)?.checked_add(1)?))
        }
    }
}

impl fmt::Display for Published {
    /// As `ps` shows it: `0.0.0.0:8080->80/tcp`, `127.0.0.1:1000-1009->1000-1009/udp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |first: u16| match self.count {
            0 | 1 => first.to_string(),
            count => format!("{first}-{}", first.saturating_add(count - 1)),
        };
        match self.host_ip {
            None => f.write_str("0.0.0.0")?,
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
            Some(ip) => write!(f, "{ip}")?,
        }
        write!(f, ":{}->{}/{}", range(self.host), range(self.container), self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> String {
        publish(text).unwrap().iter().map(|p| p.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_can_be_published() {
        for (text, shown) in [
            ("80", "0.0.0.0:0->80/tcp"),
            ("8080:80", "0.0.0.0:8080->80/tcp"),
            ("8080:80/udp", "0.0.0.0:8080->80/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080->80/tcp"),
            ("0.0.0.0:8080:80", "0.0.0.0:8080->80/tcp"),
            ("127.0.0.1::80", "127.0.0.1:0->80/tcp"),
            ("[::1]:8080:80/sctp", "[::1]:8080->80/sctp"),
            ("[fd00::1]::80", "[fd00::1]:0->80/tcp"),
            ("1000-1009:2000-2009", "0.0.0.0:1000-1009->2000-2009/tcp"),
            ("53:53/tcp,udp", "0.0.0.0:53->53/tcp 0.0.0.0:53->53/udp"),
        ] {
            assert_eq!(one(text), shown, "{text}");
        }
        for text in ["", "0", "65536", "80:", "a:80", "1-2:3", "3-1:3-1", "1:2:3:4", "80/xyz", "[::1:80:80", "+80"] {
            assert!(publish(text).is_err(), "{text}");
        }
        assert_eq!(expose("80-81/udp"), Ok((80, 2, Protocol::Udp)));
        assert_eq!(expose("1-65535"), Ok((1, 65535, Protocol::Tcp)));
    }
}
