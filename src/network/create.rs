//! Pure: from what is asked of a new network to its definition.
//!
//! Must not know: where definitions are kept, or how free subnets are found out.

use crate::Error;
use crate::definition::{Definition, LeaseRange, Pool, StaticRoute};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use types::Subnet;

/// What is asked of a new network, as words.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Its name; one is made up otherwise.
    pub name: Option<String>,
    /// `bridge` if empty.
    pub driver: String,
    /// `ADDRESS/BITS`.
    pub subnets: Vec<String>,
    /// `ADDRESS/BITS` or `FIRST-LAST`, one for each subnet in turn.
    pub ranges: Vec<String>,
    /// One for each subnet in turn.
    pub gateways: Vec<String>,
    /// With IPv6 too.
    pub ipv6: bool,
    /// Leads nowhere else.
    pub internal: bool,
    /// Names are not answered.
    pub disable_dns: bool,
    /// Servers for other names.
    pub servers: Vec<String>,
    /// `KEY=VALUE`.
    pub labels: Vec<String>,
    /// `KEY=VALUE`.
    pub options: Vec<String>,
    /// `DESTINATION,GATEWAY[,METRIC]`.
    pub routes: Vec<String>,
    /// Name of the bridge.
    pub interface: String,
    /// `host-local`, `none` or `dhcp`; `host-local` if empty.
    pub ipam_driver: String,
}

/// What is known of the host.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Networks that are there.
    pub networks: Vec<Definition>,
    /// Subnets that the host is in or has routes to.
    pub subnets: Vec<Subnet>,
    /// Names of its links.
    pub links: Vec<String>,
    /// Random bytes: the id.
    pub random: [u8; 32],
    /// Now, RFC 3339.
    pub now: String,
}

/// The definition.
pub fn create(asked: &Asked, facts: &Facts) -> Result<Definition, Error> {
    let invalid = |text: String| Error::Invalid(text);
    let interface_taken = |name: &str| {
        facts.networks.iter().any(|n| n.network_interface == name) || facts.links.iter().any(|l| l == name)
    };
    let numbered = || (1..).map(|n| format!("podman{n}"));
    let mut options = pairs("option", &asked.options)?;
    let mut interface = asked.interface.clone();
    if let Some(name) = options.remove("com.docker.network.bridge.name").or_else(|| options.remove("bridge_name")) {
        interface = name;
    }
    let driver = if asked.driver.is_empty() { "bridge".to_owned() } else { asked.driver.clone() };
    let unmanaged = driver == "bridge" && options.get("mode").is_some_and(|mode| mode == "unmanaged");
    if unmanaged && interface.is_empty() {
        return Err(invalid("mode=unmanaged needs the name of the bridge to join: set --interface-name".into()));
    }
    if driver != "bridge" {
        if let Some(name) = options.remove("parent") {
            interface = name;
        }
        if !interface.is_empty() && !facts.links.contains(&interface) {
            return Err(invalid(format!("parent interface {interface} does not exist")));
        }
    } else if interface.is_empty() {
        let name_taken = |n: &str| asked.name.is_none() && facts.networks.iter().any(|d| d.name == n);
        interface = numbered().find(|n| !interface_taken(n) && !name_taken(n)).unwrap_or_default();
    } else if interface.len() > 15 || interface.contains(['/', ' ', ':', '%', '~']) {
        return Err(invalid(format!("invalid interface name {interface:?}")));
    } else if !unmanaged && facts.networks.iter().any(|n| n.network_interface == interface) {
        return Err(invalid(format!("bridge name {interface} already in use")));
    }
    let name = match &asked.name {
        Some(name) => name.clone(),
        // As its bridge.
        None if driver == "bridge" => interface.clone(),
        None => numbered().find(|n| !facts.networks.iter().any(|d| d.name == *n)).unwrap_or_default(),
    };
    let reserved = ["none", "host", "bridge", "private", "slirp4netns", "pasta", "container", "ns", "default"];
    if !types::id::is_name(&name) || reserved.contains(&name.as_str()) {
        return Err(invalid(format!(
            "network name {name} invalid: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*, and not be the word of a mode: invalid argument"
        )));
    }
    if facts.networks.iter().any(|n| n.name == name) {
        return Err(Error::Exists { name });
    }
    let ipam = match asked.ipam_driver.as_str() {
        "" if driver == "ipvlan" && asked.subnets.is_empty() => "none",
        "" if driver == "macvlan" && asked.subnets.is_empty() => "dhcp",
        "" => "host-local",
        known @ ("host-local" | "none" | "dhcp") => known,
        other => return Err(invalid(format!("unsupported ipam driver {other:?}"))),
    };
    // Without a bridge of its own it is on a device, and has no name server; its subnet may well be the host's.
    let is_bridge = driver == "bridge" && !unmanaged;
    let subnets = match is_bridge {
        true => subnets(asked, facts, ipam)?,
        false => subnets(asked, &Facts { networks: Vec::new(), subnets: Vec::new(), ..facts.clone() }, ipam)?,
    };
    let servers = asked.servers.iter().map(|s| ip(s)).collect::<Result<Vec<_>, _>>()?;
    let definition = Definition {
        id: facts.random.iter().map(|b| format!("{b:02x}")).collect(),
        name,
        driver,
        network_interface: interface,
        created: facts.now.clone(),
        ipv6_enabled: asked.ipv6 || subnets.iter().any(|p| p.subnet.address.is_ipv6()),
        routes: asked.routes.iter().map(|r| route(r)).collect::<Result<_, _>>()?,
        internal: asked.internal,
        dns_enabled: is_bridge && !asked.disable_dns && !subnets.is_empty(),
        network_dns_servers: servers,
        labels: pairs("label", &asked.labels)?,
        options,
        ipam_options: BTreeMap::from([("driver".to_owned(), ipam.to_owned())]),
        subnets,
    };
    if definition.option("mtu").is_some_and(|m| m.parse::<u32>().is_err()) {
        return Err(invalid(format!("unable to parse mtu {:?}", definition.option("mtu").unwrap_or_default())));
    }
    crate::plan::check(&definition)?;
    Ok(definition)
}

fn pairs(what: &str, entries: &[String]) -> Result<BTreeMap<String, String>, Error> {
    entries
        .iter()
        .map(|entry| match entry.split_once('=').unwrap_or((entry, "")) {
            ("", _) => Err(Error::Invalid(format!("invalid {what} {entry:?}: the key is empty"))),
            (key, value) => Ok((key.to_owned(), value.to_owned())),
        })
        .collect()
}

fn ip(text: &str) -> Result<IpAddr, Error> {
    text.parse().map_err(|_| Error::Invalid(format!("{text:?} is not an ip address")))
}

fn subnet(text: &str) -> Result<Subnet, Error> {
    text.parse::<Subnet>().map_err(|e| Error::Invalid(e.to_string()))
}

fn route(text: &str) -> Result<StaticRoute, Error> {
    let mut parts = text.split(',');
    let wrong = || Error::Invalid(format!("invalid route {text:?}: expected DESTINATION,GATEWAY[,METRIC]"));
    let (destination, gateway) = (parts.next().ok_or_else(wrong)?, parts.next().ok_or_else(wrong)?);
    let metric = parts.next().map(|m| m.parse().map_err(|_| wrong())).transpose()?;
    if parts.next().is_some() {
        return Err(wrong());
    }
    Ok(StaticRoute { destination: subnet(destination)?.network(), gateway: ip(gateway)?, metric })
}

/// Those that were asked for; else the first free ones of Podman's pools: 10.89.0.0/24 to 10.255.255.0/24, fd00::/8.
fn subnets(asked: &Asked, facts: &Facts, ipam: &str) -> Result<Vec<Pool>, Error> {
    if asked.subnets.is_empty() && !(asked.ranges.is_empty() && asked.gateways.is_empty()) {
        return Err(Error::Invalid("--ip-range and --gateway need a --subnet".into()));
    }
    if asked.ranges.len() > asked.subnets.len() || asked.gateways.len() > asked.subnets.len() {
        return Err(Error::Invalid("cannot set more ranges or gateways than subnets".into()));
    }
    if ipam != "host-local" {
        return match asked.subnets.is_empty() {
            true => Ok(Vec::new()),
            false => Err(Error::Invalid(format!("{ipam} ipam driver is set but subnets are given"))),
        };
    }
    let taken = |wanted: Subnet| {
        let others =
            facts.networks.iter().flat_map(|n| &n.subnets).map(|p| p.subnet).chain(facts.subnets.iter().copied());
        others.filter(|o| o.prefix > 0).any(|o| o.overlaps(wanted))
    };
    let mut pools: Vec<Pool> = Vec::new();
    for (at, text) in asked.subnets.iter().enumerate() {
        let subnet = subnet(text)?.network();
        if taken(subnet) || pools.iter().any(|p| p.subnet.overlaps(subnet)) {
            return Err(Error::SubnetTaken { asked: subnet.to_string() });
        }
        let gateway = match asked.gateways.get(at) {
            Some(gateway) => ip(gateway)?,
            None => subnet.usable().0,
        };
        if !subnet.contains(gateway) {
            return Err(Error::Invalid(format!("gateway {gateway} not in subnet {subnet}")));
        }
        let lease_range = asked.ranges.get(at).map(|r| range(r, subnet)).transpose()?;
        pools.push(Pool { subnet, gateway: Some(gateway), lease_range });
    }
    if pools.is_empty() {
        let free = free_subnet(taken)?;
        pools.push(Pool { subnet: free, gateway: Some(free.usable().0), lease_range: None });
    }
    if asked.ipv6 && !pools.iter().any(|p| p.subnet.address.is_ipv6()) {
        let mut bytes = [0u8; 16];
        bytes[..8].copy_from_slice(&facts.random[..8]);
        bytes[0] = 0xfd;
        let subnet = Subnet::new(Ipv6Addr::from(bytes).into(), 64);
        pools.push(Pool { subnet, gateway: Some(subnet.usable().0), lease_range: None });
    }
    Ok(pools)
}

/// The first subnet of Podman's pools that is not taken: 10.89.0.0/24 to 10.255.255.0/24.
pub(crate) fn free_subnet(taken: impl Fn(Subnet) -> bool) -> Result<Subnet, Error> {
    (89..=255u8)
        .flat_map(|b| (0..=255u8).map(move |c| Subnet::new([10, b, c, 0].into(), 24)))
        .find(|subnet| !taken(*subnet))
        .ok_or(Error::NoFreeSubnet)
}

fn range(text: &str, of: Subnet) -> Result<LeaseRange, Error> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (ip(first)?, ip(last)?),
        None => {
            let part = subnet(text)?;
            let (first, last) = (part.network().address, part.last());
            let (usable_first, usable_last) = of.usable();
            (first.max(usable_first), last.min(usable_last))
        }
    };
    if !of.contains(first) || !of.contains(last) || first > last {
        return Err(Error::Invalid(format!("ip range {text} not in subnet {of}")));
    }
    Ok(LeaseRange { start_ip: Some(first), end_ip: Some(last) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            networks: vec![Definition::default_network()],
            subnets: vec!["10.89.0.0/23".parse().unwrap(), "0.0.0.0/0".parse().unwrap()],
            links: vec!["podman1".into()],
            random: [7; 32],
            now: "2026-01-01T00:00:00Z".into(),
        }
    }

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|w| w.to_string()).collect()
    }

    #[test]
    fn free_places_are_found() {
        let made = create(&Asked { ipv6: true, ..Asked::default() }, &facts()).unwrap();
        assert_eq!((made.name.as_str(), made.network_interface.as_str()), ("podman2", "podman2"));
        assert_eq!(made.subnets[0].subnet.to_string(), "10.89.2.0/24");
        assert_eq!(made.subnets[0].gateway, Some([10, 89, 2, 1].into()));
        assert_eq!(made.subnets[1].subnet.to_string(), "fd07:707:707:707::/64");
        assert!(made.dns_enabled && made.ipv6_enabled && made.id.len() == 64);
    }

    #[test]
    fn what_is_asked_for_is_had_or_refused() {
        let asked = Asked {
            name: Some("n".into()),
            subnets: words(&["10.1.0.7/24", "fd00:1::/64"]),
            ranges: words(&["10.1.0.64/26"]),
            gateways: words(&["10.1.0.254"]),
            routes: words(&["10.2.0.0/16,10.1.0.3,50"]),
            ..Asked::default()
        };
        let made = create(&asked, &facts()).unwrap();
        assert_eq!(made.subnets[0].subnet.to_string(), "10.1.0.0/24");
        let range = made.subnets[0].lease_range.unwrap();
        assert_eq!((range.start_ip, range.end_ip), (Some([10, 1, 0, 64].into()), Some([10, 1, 0, 127].into())));
        assert_eq!((made.routes[0].metric, made.ipv6_enabled), (Some(50), true));
        let refused = |change: &dyn Fn(&mut Asked)| {
            let mut asked = asked.clone();
            change(&mut asked);
            create(&asked, &facts()).unwrap_err().to_string()
        };
        assert!(refused(&|a| a.subnets = words(&["10.88.3.0/24"])).contains("already used"));
        assert!(refused(&|a| a.gateways = words(&["10.2.0.1"])).contains("not in subnet"));
        assert!(refused(&|a| a.ranges = words(&["10.1.1.0/28"])).contains("not in subnet"));
        assert!(refused(&|a| a.name = Some("podman".into())).contains("already used"));
        assert!(refused(&|a| a.name = Some("host".into())).contains("invalid"));
        assert!(refused(&|a| a.driver = "overlay".into()).contains("overlay"));
        for (driver, option) in [
            ("bridge", "vlan=4095"),
            ("bridge", "metric=x"),
            ("bridge", "mode=l2"),
            ("macvlan", "mode=l2"),
            ("macvlan", "vlan=5"),
            ("macvlan", "parent=eth9"),
        ] {
            let error = refused(&|a| (a.driver, a.options) = (driver.into(), words(&[option])));
            assert!(error.contains(option.split('=').next().unwrap()), "{driver}: {error}");
        }
        let of = |driver: &str, options: &[&str]| {
            let asked = Asked { driver: driver.into(), options: words(options), ..asked.clone() };
            create(&asked, &Facts { links: words(&["eth0"]), ..facts() })
        };
        // On a device, in a subnet that the host is in; nobody answers for names.
        let made = of("macvlan", &["parent=eth0", "mode=private"]).unwrap();
        assert_eq!((made.network_interface.as_str(), made.dns_enabled), ("eth0", false));
        assert_eq!(of("ipvlan", &["mode=l3"]).unwrap().network_interface, "");
        assert_eq!(of("bridge", &["vlan=5", "vrf=blue"]).unwrap().option("vlan"), Some("5"));
        // Without a subnet a server on the network says, but not where all have one hardware address.
        let lent = |driver: &str| Asked { driver: driver.into(), ipam_driver: "dhcp".into(), ..Asked::default() };
        assert!(create(&Asked { ipam_driver: String::new(), ..lent("macvlan") }, &facts()).unwrap().is_lent());
        assert!(refused(&|a| *a = lent("ipvlan")).contains("mac address"));
        assert!(refused(&|a| a.routes = words(&["10.2.0.0/16"])).contains("invalid route"));
        assert!(refused(&|a| a.subnets.clear()).contains("need a --subnet"));
    }
}
