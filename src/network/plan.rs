//! Pure: from a definition or a holding to the steps that the kernel is asked for, each with what takes it back.
//!
//! Must not know: how a step is carried out.

use crate::definition::Definition;
use crate::holding::{Holding, Joint};
use crate::{Error, firewall};
use std::collections::BTreeMap;
use std::net::IpAddr;
use sys::nftables::Element;
use types::Subnet;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A bridge with the host's addresses in the network.
    Bridge(Bridge),
    /// The host passes packets of these families on.
    Forwarding { v4: bool, v6: bool },
    /// The container's link, with its other end in a bridge.
    Link(Link),
    /// Ports of the host lead to the container.
    Ports(Vec<(&'static str, Element)>),
    /// 127.0.0.0/8 may be routed by way of a bridge: answers to the host's own connections are.
    LocalRouting { bridge: String },
}

/// A bridge as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bridge {
    pub name: String,
    pub mac: [u8; 6],
    pub mtu: u32,
    pub addresses: Vec<Subnet>,
    /// It heeds VLANs, and its own end is in this one.
    pub vlan: Option<u16>,
    /// The VRF that it belongs to.
    pub vrf: Option<String>,
}

/// A container's link as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub on: On,
    pub interface: String,
    /// Name of the other end, on the host; the kernel's choice if empty.
    pub host_interface: String,
    pub mac: [u8; 6],
    pub mtu: u32,
    pub addresses: Vec<Subnet>,
    pub routes: Vec<Route>,
    /// Neighbours are told of the address: it may be known to them by another hardware address.
    pub announce: bool,
}

/// What a container's link is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum On {
    /// A bridge, in this VLAN of it; the network's `own`, or one of the host's.
    Bridge { name: String, vlan: Option<u16>, own: bool },
    /// A device of the host, with a hardware address of its own (`MACVLAN_MODE_*`). No name is the device of the default route.
    /// `limit`: from how many receivers on broadcasts wait in a queue.
    Macvlan { parent: String, mode: u32, limit: Option<i32> },
    /// The same with the device's hardware address (`IPVLAN_MODE_*`).
    Ipvlan { parent: String, mode: u16 },
}

/// A route inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub destination: Subnet,
    /// `None`: straight by the link.
    pub gateway: Option<IpAddr>,
    pub metric: u32,
}

/// What a network needs before the first container is in it.
pub(crate) fn raise(network: &Definition) -> Vec<Step> {
    if !network.is_bridge() {
        return Vec::new();
    }
    let addresses: Vec<Subnet> =
        network.subnets.iter().filter_map(|p| Some(Subnet { address: p.gateway?, prefix: p.subnet.prefix })).collect();
    let has = |v4: bool| network.subnets.iter().any(|p| p.subnet.address.is_ipv4() == v4);
    vec![
        Step::Bridge(Bridge {
            name: network.network_interface.clone(),
            mac: bridge_mac(&network.id),
            mtu: network.mtu(),
            addresses,
            vlan: vlan(network),
            vrf: network.option("vrf").map(str::to_owned),
        }),
        Step::Forwarding { v4: has(true) && !network.internal, v6: has(false) && !network.internal },
    ]
}

/// What a container needs in one network; it is number `at` of its links.
pub(crate) fn join(network: &Definition, joint: &Joint, at: usize) -> Step {
    let metric = network.option("metric").and_then(|m| m.parse().ok()).unwrap_or(100) + at as u32;
    let everywhere = |gateway: &IpAddr| {
        let destination = if gateway.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
        // A link that passes packets on itself has no neighbours.
        let routed = network.driver == "ipvlan" && matches!(network.option("mode"), Some("l3" | "l3s"));
        Route {
            destination: Subnet { address: destination, prefix: 0 },
            gateway: (!routed).then_some(*gateway),
            metric,
        }
    };
    let mut routes: Vec<Route> = joint.gateways.iter().map(everywhere).collect();
    // Before there is an address nothing can be routed.
    let known = network.routes.iter().filter(|_| !network.is_lent() || joint.lease.is_some());
    routes.extend(known.map(|r| Route {
        destination: r.destination,
        gateway: Some(r.gateway),
        metric: r.metric.unwrap_or(metric),
    }));
    Step::Link(Link {
        on: on(network),
        interface: joint.interface.clone(),
        host_interface: joint.host_interface.clone(),
        mac: joint.mac,
        mtu: network.mtu(),
        addresses: joint.addresses.clone(),
        routes,
        announce: joint.addresses.first().is_some_and(|a| joint.mac != mac_of(a.address)),
    })
}

fn on(network: &Definition) -> On {
    let (parent, mode) = (network.network_interface.clone(), network.option("mode").unwrap_or_default());
    match network.driver.as_str() {
        "macvlan" => On::Macvlan {
            parent,
            mode: position(&MACVLAN_MODES, mode).map_or(4, |at| 1 << at),
            limit: network.option("bclim").and_then(|limit| limit.parse().ok()),
        },
        "ipvlan" => On::Ipvlan { parent, mode: position(&IPVLAN_MODES, mode).unwrap_or(0) as u16 },
        _ => On::Bridge { name: parent, vlan: vlan(network), own: network.is_bridge() },
    }
}

fn vlan(network: &Definition) -> Option<u16> {
    network.option("vlan").and_then(|vlan| vlan.parse().ok())
}

/// Whether a bridge is made and taken away with the network, or is there already.
const BRIDGE_MODES: [&str; 2] = ["managed", "unmanaged"];
/// In the order of the bits of `MACVLAN_MODE_*`.
const MACVLAN_MODES: [&str; 4] = ["private", "vepa", "bridge", "passthru"];
/// In the order of `IPVLAN_MODE_*`.
const IPVLAN_MODES: [&str; 3] = ["l2", "l3", "l3s"];

fn position(words: &[&str], word: &str) -> Option<usize> {
    words.iter().position(|w| *w == word)
}

/// What the published ports of a container need.
pub(crate) fn publish(holding: &Holding, networks: &BTreeMap<String, Definition>) -> Vec<Step> {
    let elements = firewall::ports(holding);
    if elements.is_empty() {
        return Vec::new();
    }
    let target = holding.address(true);
    let bridge = holding
        .joints
        .iter()
        .find(|j| j.addresses.iter().any(|a| Some(a.address) == target))
        .and_then(|j| networks.get(&j.network));
    let mut steps = vec![Step::Ports(elements)];
    // Another address than 127.0.0.1 needs none of it.
    let local = holding
        .ports
        .iter()
        .any(|p| p.host_ip.is_none_or(|ip| ip.is_ipv4() && (ip.is_loopback() || ip.is_unspecified())));
    if let (Some(bridge), true) = (bridge, local) {
        steps.insert(0, Step::LocalRouting { bridge: bridge.network_interface.clone() });
    }
    steps
}

/// A bridge's hardware address is the same whenever it is made, so that what containers know of it stays right.
pub(crate) fn bridge_mac(id: &str) -> [u8; 6] {
    let mut mac = [0u8; 6];
    for (at, byte) in mac.iter_mut().enumerate() {
        *byte = id.get(at * 2..at * 2 + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0x5a);
    }
    mac[0] = mac[0] & 0xfc | 2;
    mac
}

/// A container's hardware address follows from its address: whoever has the address next has the other one too, so no
/// neighbour remembers a wrong one.
pub(crate) fn mac_of(address: IpAddr) -> [u8; 6] {
    match address {
        IpAddr::V4(a) => {
            let [b, c, d, e] = a.octets();
            [0x02, 0x58, b, c, d, e]
        }
        IpAddr::V6(a) => {
            let octets = a.octets();
            [0x06, 0x58 ^ octets[11], octets[12], octets[13], octets[14], octets[15]]
        }
    }
}

/// Refuses what is not built, naming it.
pub(crate) fn check(network: &Definition) -> Result<(), Error> {
    const ALL: [&str; 4] = ["mtu", "com.docker.network.driver.mtu", "metric", "no_default_route"];
    const OF_BRIDGES: [&str; 5] = ["mode", "isolate", "com.docker.network.bridge.name", "vlan", "vrf"];
    let (own, modes): (&[&str], &[&str]) = match network.driver.as_str() {
        "bridge" => (&OF_BRIDGES, &BRIDGE_MODES),
        "macvlan" => (&["mode", "bclim"], &MACVLAN_MODES),
        "ipvlan" => (&["mode"], &IPVLAN_MODES),
        _ => return Err(Error::Driver { name: network.name.clone(), driver: network.driver.clone() }),
    };
    let known = |option: &str| ALL.contains(&option) || own.contains(&option);
    if let Some(option) = network.options.keys().find(|o| !known(o)) {
        return Err(Error::Option { name: network.name.clone(), option: option.clone() });
    }
    let invalid = |option: &str, value: &str, expected: String| {
        let name = &network.name;
        Err(Error::Invalid(format!("invalid {option} {value:?} of network {name:?}: expected {expected}")))
    };
    if let Some(mode) = network.option("mode").filter(|mode| !modes.contains(mode)) {
        return invalid("mode", mode, modes.join(", "));
    }
    if let Some(other) =
        OF_BRIDGES.iter().find(|o| network.is_unmanaged() && **o != "mode" && network.option(o).is_some())
    {
        return Err(Error::Invalid(format!(
            "option {other:?} of network {:?} cannot be had with mode=unmanaged: its bridge is not monopod's to change",
            network.name
        )));
    }
    if let Some(limit) = network.option("bclim").filter(|limit| limit.parse::<i32>().is_err()) {
        return invalid("bclim", limit, "-1 or a number of 31 bits".into());
    }
    if let Some(vlan) = network.option("vlan").filter(|v| !v.parse().is_ok_and(|v: u16| (1..=4094).contains(&v))) {
        return invalid("vlan", vlan, "1 to 4094".into());
    }
    if let Some(metric) = network.option("metric").filter(|m| m.parse::<u32>().is_err()) {
        return invalid("metric", metric, "a number".into());
    }
    if network.is_lent() && network.driver == "ipvlan" {
        return Err(Error::Invalid(format!(
            "addresses of network {:?} cannot be lent (ipam-driver=dhcp): containers in ipvlan networks have one mac address",
            network.name
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_network() {
        let network = Definition::default_network();
        let steps = raise(&network);
        let Step::Bridge(bridge) = &steps[0] else { panic!("{steps:?}") };
        assert_eq!((bridge.name.as_str(), bridge.mac[0] & 3), ("podman0", 2));
        assert_eq!(bridge.addresses, ["10.88.0.1/16".parse().unwrap()]);
        assert_eq!(steps[1], Step::Forwarding { v4: true, v6: false });
        let address: Subnet = "10.88.0.2/16".parse().unwrap();
        let joint = Joint {
            network: network.name.clone(),
            interface: "eth0".into(),
            host_interface: String::new(),
            addresses: vec![address],
            gateways: vec![[10, 88, 0, 1].into()],
            mac: mac_of(address.address),
            aliases: Vec::new(),
            direct: false,
            lease: None,
        };
        let Step::Link(link) = join(&network, &joint, 0) else { panic!() };
        assert_eq!((link.routes.len(), link.routes[0].metric, link.announce), (1, 100, false));
        let other = Joint { mac: [2, 2, 2, 2, 2, 2], ..joint };
        assert!(matches!(join(&network, &other, 1), Step::Link(Link { announce: true, .. })));
    }
}
