//! What an address that a container speaks to means on the host, and as whom a client of the host may speak to a
//! container. Pure: nothing here opens a socket.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What holds for everything that comes in through one interface of the router.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Addresses that stand for others: what containers use, and what it is on the host. Only through this can the host's
    /// loopback be reached.
    pub map: Vec<(IpAddr, IpAddr)>,
    /// Addresses that answer questions about names on port 53, by asking the host's resolvers.
    pub resolvers: Vec<IpAddr>,
    /// Addresses that are the router itself: nothing listens there, but it answers an echo.
    pub router: Vec<IpAddr>,
    /// Speaks to containers in the name of clients whose own address cannot be used: one of each version.
    pub gateway: Vec<IpAddr>,
    /// Source addresses on the host for what containers send; the kernel chooses where there is none of the version.
    pub source: Vec<IpAddr>,
    /// Servers of names that are asked by way of the loopback device, see [`crate::router::LOOPBACK`].
    #[serde(default)]
    pub servers: Vec<IpAddr>,
    /// Nothing leaves: only published ports work.
    pub closed: bool,
    /// Transport protocols that do not leave: "tcp", "udp" or "icmp".
    pub refused: Vec<String>,
}

/// Where something that a container sent goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// There, on the host.
    Host(SocketAddr),
    /// To the host's resolvers.
    Resolver,
    /// Nowhere: the router itself was meant.
    Router,
    /// Nowhere: it is not a single host's address, or the host's own.
    Nowhere,
}

impl Policy {
    /// What `to` means.
    pub fn target(&self, to: SocketAddr) -> Target {
        let ip = to.ip().to_canonical();
        if self.closed {
            return Target::Nowhere;
        }
        if self.resolvers.contains(&ip) && to.port() == 53 {
            return Target::Resolver;
        }
        if let Some((_, on_host)) = self.map.iter().find(|(from, _)| *from == ip) {
            return Target::Host(SocketAddr::new(*on_host, to.port()));
        }
        if self.resolvers.contains(&ip) || self.router.contains(&ip) {
            return Target::Router;
        }
        if is_single(ip) && !ip.is_loopback() { Target::Host(SocketAddr::new(ip, to.port())) } else { Target::Nowhere }
    }

    /// The address from which `client` speaks to the container at `to`: its own, or the gateway's if that cannot be, because
    /// it is the host's loopback, the container's own, or of the other version. `None` if there is no gateway either.
    pub fn source(&self, client: IpAddr, to: IpAddr) -> Option<IpAddr> {
        let client = client.to_canonical();
        let link_local = matches!(client, IpAddr::V6(a) if a.is_unicast_link_local());
        let own = self.gateway.contains(&client) || self.router.contains(&client) || self.resolvers.contains(&client);
        let usable = client.is_ipv4() == to.is_ipv4() && is_single(client) && !client.is_loopback() && !link_local;
        // Where nothing leads out, an answer to another address than the router's finds no way.
        if usable && client != to && !own && !self.closed {
            return Some(client);
        }
        self.gateway.iter().copied().find(|g| g.is_ipv4() == to.is_ipv4())
    }

    /// The address that goes out instead of the host's choice.
    pub fn source_on_host(&self, v6: bool) -> Option<IpAddr> {
        self.source.iter().copied().find(|s| s.is_ipv6() == v6)
    }
}

/// True for an address that one host can have.
fn is_single(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] != 0 && ip.octets()[0] < 224,
        // Link-local addresses mean nothing on another link.
        IpAddr::V6(ip) => {
            !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local() && !embeds_loopback(ip)
        }
    }
}

/// Ways to write an IPv4 address in one of IPv6 that a host might take for the short form (RFC 4291 2.5.5): the mapped one
/// was undone before.
fn embeds_loopback(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    segments[..6] == [0; 6] && Ipv4Addr::from((u32::from(segments[6]) << 16) | u32::from(segments[7])).is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn policy() -> Policy {
        Policy {
            map: vec![(ip("169.254.1.2"), ip("192.0.2.7")), (ip("10.0.2.9"), ip("127.0.0.1"))],
            resolvers: vec![ip("169.254.1.1")],
            router: vec![ip("10.0.2.2")],
            gateway: vec![ip("10.0.2.2"), ip("fd00::2")],
            ..Policy::default()
        }
    }

    #[test]
    fn only_what_is_mapped_reaches_the_loopback() {
        let policy = policy();
        for (to, expected) in [
            ("1.2.3.4:80", "1.2.3.4:80"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
            ("[::ffff:1.2.3.4]:80", "1.2.3.4:80"),
            ("169.254.1.2:80", "192.0.2.7:80"),
            ("10.0.2.9:80", "127.0.0.1:80"),
        ] {
            assert_eq!(policy.target(to.parse().unwrap()), Target::Host(expected.parse().unwrap()), "{to}");
        }
        for to in [
            "127.0.0.1:80",
            "127.9.9.9:80",
            "0.0.0.0:80",
            "0.1.2.3:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "[::1]:80",
            "[::]:80",
            "[::ffff:127.0.0.1]:80",
            "[::ffff:0.0.0.0]:80",
            "[::127.0.0.1]:80",
            "[ff02::1]:80",
            "[fe80::1]:80",
        ] {
            assert_eq!(policy.target(to.parse().unwrap()), Target::Nowhere, "{to}");
        }
        assert_eq!(policy.target("169.254.1.1:53".parse().unwrap()), Target::Resolver);
        assert_eq!(policy.target("169.254.1.1:54".parse().unwrap()), Target::Router);
        assert_eq!(policy.target("10.0.2.2:80".parse().unwrap()), Target::Router);
        let closed = Policy { closed: true, ..policy };
        assert_eq!(closed.target("1.2.3.4:80".parse().unwrap()), Target::Nowhere);
    }

    #[test]
    fn clients_keep_their_address_where_it_can_be() {
        let policy = policy();
        let (v4, v6) = (ip("10.0.2.100"), ip("fd00::100"));
        for (client, to, expected) in [
            ("192.0.2.99", v4, Some("192.0.2.99")),
            ("::ffff:192.0.2.99", v4, Some("192.0.2.99")),
            ("127.0.0.1", v4, Some("10.0.2.2")),
            ("10.0.2.100", v4, Some("10.0.2.2")),
            ("2001:db8::9", v4, Some("10.0.2.2")),
            ("2001:db8::9", v6, Some("2001:db8::9")),
            ("fe80::9", v6, Some("fd00::2")),
            ("::1", v6, Some("fd00::2")),
        ] {
            assert_eq!(policy.source(ip(client), to), expected.map(ip), "{client}");
        }
        assert_eq!(Policy::default().source(ip("127.0.0.1"), v4), None);
    }
}
