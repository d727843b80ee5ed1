//! A private network, decided: what was asked, and what the host has, become addresses and a [`Policy`]. Pure.

use crate::options::{Options, Style};
use crate::record::Interface;
use crate::{Error, Policy};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use sys::links::Route;
use sys::netlink::{Family, Socket};

/// Where the host's resolvers answer, and where the host itself is reached: addresses of no network, as Podman tells pasta.
pub const RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
/// See [`RESOLVER`].
pub const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 2));
/// The router's address on the link to a container.
pub const ROUTER_6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// Containers do not see each other, so all may have the same one: it is locally administered.
const HARDWARE: [u8; 6] = [0x02, 0x6d, 0x6f, 0x6e, 0x6f, 0x70];
/// Larger packets mean fewer of them.
const MTU: u32 = 65520;

/// The host's way to the world, of each version where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct World {
    /// Name of its interface.
    pub interface: String,
    /// Its address there, bits of its prefix, and its gateway.
    pub v4: Option<(Ipv4Addr, u8, Option<Ipv4Addr>)>,
    /// The same of version 6.
    pub v6: Option<(Ipv6Addr, u8)>,
}

/// What a container gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its interface.
    pub interface: String,
    /// Its hardware address.
    pub hardware: [u8; 6],
    /// Largest packet.
    pub mtu: u32,
    /// Its addresses, with bits of their prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Its gateways.
    pub gateways: Vec<IpAddr>,
    /// What the addresses that it speaks to mean.
    pub policy: Policy,
    /// Servers of names, for its resolv.conf.
    pub nameservers: Vec<IpAddr>,
    /// Domains to search, for its resolv.conf; `None` are the host's.
    pub search: Option<Vec<String>>,
    /// Where it reaches the host, for its hosts file.
    pub host: Option<IpAddr>,
}

impl Plan {
    /// The interface of the router called `name` that this is for.
    pub fn interface(&self, name: String) -> Interface {
        Interface { name, policy: self.policy.clone() }
    }
}

impl World {
    /// Looks at the network namespace of the calling thread. `template` names the interface to look at instead of the one of
    /// the default route.
    pub fn read(template: &str) -> Result<World, Error> {
        let mut socket = Socket::open(Family::Route).map_err(Error::Host)?;
        let links = sys::links::all(&mut socket).map_err(Error::Host)?;
        let routes = sys::links::routes(&mut socket).map_err(Error::Host)?;
        let addresses = sys::links::addresses(&mut socket).map_err(Error::Host)?;
        let named = links.iter().find(|l| l.name == template).map(|l| l.index);
        if !template.is_empty() && named.is_none() {
            return Err(Error::Template(template.to_owned()));
        }
        let link_of = |v4: bool| named.or_else(|| default_route(&routes, v4).map(|r| r.link));
        let on = |link: Option<u32>| addresses.iter().filter(move |a| Some(a.0) == link);
        let gateway = |link: u32| {
            routes.iter().find_map(|r| match r.gateway {
                Some(IpAddr::V4(gateway)) if r.prefix == 0 && r.link == link => Some(gateway),
                _ => None,
            })
        };
        let (link4, link6) = (link_of(true), link_of(false));
        let interface = link4.or(link6).and_then(|index| links.iter().find(|l| l.index == index));
        Ok(World {
            interface: interface.map(|l| l.name.clone()).unwrap_or_default(),
            v4: on(link4).find_map(|(link, ip, prefix)| match ip {
                IpAddr::V4(ip) => Some((*ip, *prefix, gateway(*link))),
                IpAddr::V6(_) => None,
            }),
            v6: on(link6).find_map(|(_, ip, prefix)| match ip {
                IpAddr::V6(ip) if !ip.is_unicast_link_local() => Some((*ip, *prefix)),
                _ => None,
            }),
        })
    }
}

fn default_route(routes: &[Route], v4: bool) -> Option<&Route> {
    routes.iter().filter(|r| r.prefix == 0 && r.destination.is_ipv4() == v4 && r.link != 0).min_by_key(|r| r.metric)
}

/// Decides.
pub fn plan(asked: &Options, world: &World) -> Plan {
    let choose = |asked: &[IpAddr], v4: bool| asked.iter().copied().find(|a| a.is_ipv4() == v4);
    let slirp = asked.style == Style::Slirp4netns;
    // A host without a network of its own: addresses that stand for no other, as pasta has them then.
    let (default4, gateway4) = match (slirp, world.v4) {
        (true, _) => ((Ipv4Addr::new(10, 0, 2, 100), 24), Ipv4Addr::new(10, 0, 2, 2)),
        (false, Some((ip, prefix, gateway))) => ((ip, prefix), gateway.unwrap_or_else(|| neighbour(ip, prefix))),
        (false, None) => ((Ipv4Addr::new(169, 254, 2, 1), 16), Ipv4Addr::new(169, 254, 2, 2)),
    };
    let default6 = match slirp {
        true => Some((Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100), 128)),
        false => world.v6.map(|(ip, _)| (ip, 128)),
    };
    let (mut addresses, mut gateways): (Vec<(IpAddr, u8)>, Vec<IpAddr>) = Default::default();
    if !asked.no_v4 {
        let address = choose(&asked.addresses, true).unwrap_or(default4.0.into());
        addresses.push((address, asked.prefix.unwrap_or(if address == default4.0 { default4.1 } else { 24 })));
        let own = match address {
            IpAddr::V4(ip) if ip != default4.0 => neighbour(ip, 24),
            _ => gateway4,
        };
        gateways.push(choose(&asked.gateways, true).unwrap_or(own.into()));
    }
    let v6 = choose(&asked.addresses, false).map(|ip| (ip, 128)).or(default6.map(|(ip, bits)| (ip.into(), bits)));
    if let Some(address) = v6.filter(|_| !asked.no_v6) {
        addresses.push(address);
        gateways.push(choose(&asked.gateways, false).unwrap_or(ROUTER_6.into()));
    }
    let resolvers = match (asked.resolvers.is_empty(), slirp) {
        (false, _) => asked.resolvers.clone(),
        (true, true) => vec![Ipv4Addr::new(10, 0, 2, 3).into()],
        (true, false) => vec![RESOLVER],
    };
    let mut map = Vec::new();
    let loopback = |ip: &IpAddr| match ip {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    map.extend(
        asked.loopback.iter().chain(gateways.iter().filter(|_| asked.map_gateway)).map(|ip| (*ip, loopback(ip))),
    );
    let own_host = if asked.host.is_empty() { vec![HOST] } else { asked.host.clone() };
    for host in &own_host {
        let found = match host {
            IpAddr::V4(_) => world.v4.map(|w| IpAddr::from(w.0)),
            IpAddr::V6(_) => world.v6.map(|w| IpAddr::from(w.0)),
        };
        map.extend(found.map(|found| (*host, found)));
    }
    let mapped = |ip: &IpAddr| map.iter().any(|(from, _)| from == ip);
    let virtual_gateway = slirp || world.v4.is_none_or(|w| w.2.is_none());
    let router: Vec<IpAddr> = gateways
        .iter()
        .copied()
        .filter(|g| !mapped(g) && (virtual_gateway || *g == IpAddr::from(ROUTER_6) || !asked.gateways.is_empty()))
        .collect();
    let host = own_host.iter().copied().find(mapped);
    let nameservers = if asked.nameservers.is_empty() { resolvers.clone() } else { asked.nameservers.clone() };
    let name = match (asked.interface.as_str(), slirp) {
        ("", true) => "tap0",
        ("", false) if world.interface.is_empty() || world.interface == "lo" => "eth0",
        ("", false) => &world.interface,
        (name, _) => name,
    };
    // The router speaks with its own address for clients whose own cannot be kept. That of the link will not do on other
    // links, but a container has only this one.
    let policy = Policy {
        map,
        resolvers,
        router,
        gateway: gateways.clone(),
        source: asked.source.clone(),
        servers: Vec::new(),
        closed: false,
        refused: asked.refused.clone(),
    };
    Plan {
        interface: name.to_owned(),
        hardware: asked.hardware.unwrap_or(HARDWARE),
        mtu: asked.mtu.unwrap_or(MTU),
        addresses,
        gateways,
        policy,
        nameservers,
        search: (!asked.search.is_empty()).then(|| asked.search.clone()),
        host,
    }
}

/// The first address of a network that is not `ip` itself.
fn neighbour(ip: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix.clamp(1, 30))).unwrap_or(0);
    let first = (u32::from(ip) & mask) + 1;
    Ipv4Addr::from(if first == u32::from(ip) { first + 1 } else { first })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn world() -> World {
        World {
            interface: "ens3".into(),
            v4: Some(([192, 0, 2, 7].into(), 24, Some([192, 0, 2, 1].into()))),
            v6: Some(("2001:db8::7".parse().unwrap(), 64)),
        }
    }

    #[test]
    fn the_host_is_the_pattern() {
        let plan = plan(&Options::default(), &world());
        assert_eq!((plan.interface.as_str(), plan.mtu), ("ens3", 65520));
        assert_eq!(plan.addresses, [(ip("192.0.2.7"), 24), (ip("2001:db8::7"), 128)]);
        assert_eq!(plan.gateways, [ip("192.0.2.1"), ip("fe80::1")]);
        assert_eq!((plan.nameservers, plan.host), (vec![RESOLVER], Some(HOST)));
        assert_eq!(plan.policy.map, [(HOST, ip("192.0.2.7"))]);
        // The gateway of the host's own network is a host like others; the link's is not.
        assert_eq!(plan.policy.router, [ip("fe80::1")]);
    }

    #[test]
    fn a_host_without_a_network() {
        let plan = plan(&Options::default(), &World::default());
        assert_eq!((plan.interface.as_str(), plan.host), ("eth0", None));
        assert_eq!((plan.addresses, plan.gateways), (vec![(ip("169.254.2.1"), 16)], vec![ip("169.254.2.2")]));
    }

    #[test]
    fn what_was_asked_counts() {
        let options = crate::options::pasta("--map-gw,-a,10.7.0.5,-4,-I,x0,--map-host-loopback,10.7.0.9").unwrap();
        let decided = plan(&options, &world());
        assert_eq!((decided.addresses, decided.gateways), (vec![(ip("10.7.0.5"), 24)], vec![ip("10.7.0.1")]));
        assert!(decided.policy.map.contains(&(ip("10.7.0.1"), ip("127.0.0.1"))));
        assert!(decided.policy.map.contains(&(ip("10.7.0.9"), ip("127.0.0.1"))));
        let decided = plan(&crate::options::slirp4netns("").unwrap(), &world());
        assert_eq!(decided.interface, "tap0");
        assert_eq!(decided.addresses, [(ip("10.0.2.100"), 24), (ip("fd00::100"), 128)]);
        assert_eq!(
            (decided.gateways, decided.nameservers),
            (vec![ip("10.0.2.2"), ip("fe80::1")], vec![ip("10.0.2.3")])
        );
        assert_eq!(decided.policy.router, [ip("10.0.2.2"), ip("fe80::1")]);
    }

    #[test]
    fn neighbours() {
        for (own, prefix, expected) in
            [("10.0.0.5", 24, "10.0.0.1"), ("10.0.0.1", 24, "10.0.0.2"), ("10.0.0.5", 32, "10.0.0.6")]
        {
            let expected: Ipv4Addr = expected.parse().unwrap();
            assert_eq!(neighbour(own.parse().unwrap(), prefix), expected, "{own}/{prefix}");
        }
    }
}
