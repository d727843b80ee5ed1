//! The one table that monopod has in a network namespace, `inet monopod`, pure: from networks and ports to batches.
//!
//! ```text
//! any4 any6   protocol . port → address . port            ports published at all addresses of the host
//! at4  at6    address . protocol . port → address . port  ports published at one
//! bridges, isolated, strict, internal                     names of links
//!
//! raw         prerouting -300   from bridges nothing reaches 127.0.0.0/8, though route_localnet is on there
//! prerouting  nat -100          what is for this host → published
//! output      nat -100          the same for its own programs
//! published                     the four maps
//! postrouting nat 100           what leaves a network, or came back to it by a published port, has the host's address
//! forward     filter 0          isolation
//! ```
//!
//! A network more or less rewrites the rules, in one batch; a container more or less changes elements of maps.
//!
//! Must not know: how a batch is carried out.

use crate::definition::{Definition, Isolation};
use crate::holding::Holding;
use std::net::IpAddr;
use sys::nftables::{
    Base, Batch, Connection, Element, Expression, Family, Field, Hook, Is, Meta, Place, Set, Verdict, register,
};
use types::Subnet;

/// Name of the table.
pub const TABLE: &str = "monopod";

const MAPS: [&str; 4] = ["any4", "any6", "at4", "at6"];
const NAMES: [&str; 4] = ["bridges", "isolated", "strict", "internal"];
const CHAINS: [&str; 6] = ["raw", "prerouting", "output", "published", "postrouting", "forward"];

/// `IPS_DST_NAT` (nf_conntrack_common.h).
const TRANSLATED: [u8; 4] = 32u32.to_ne_bytes();
/// `RTN_LOCAL`.
const LOCAL: [u8; 4] = 2u32.to_ne_bytes();

/// A batch that has nothing in it yet.
pub fn batch() -> Batch {
    Batch::new(Family::Inet, TABLE)
}

/// Everything but the elements of the maps, for these networks, in place of what is there.
pub fn rules(networks: &[Definition]) -> Batch {
    let mut batch = batch();
    batch.table();
    sets(&mut batch);
    chains(&mut batch);
    for chain in CHAINS {
        batch.flush_chain(chain);
    }
    for set in NAMES {
        batch.flush_set(set);
    }
    elements_of_names(&mut batch, networks);
    raw(&mut batch);
    published(&mut batch);
    for network in networks.iter().filter(|n| n.is_bridge() && !n.network_interface.is_empty()) {
        of_network(&mut batch, network);
    }
    postrouting(&mut batch);
    forward(&mut batch);
    batch
}

/// The end of the table.
pub fn nothing() -> Batch {
    let mut batch = batch();
    batch.destroy_table();
    batch
}

fn sets(batch: &mut Batch) {
    const KEYS: [&[Field]; 4] = [
        &[Field::Transport, Field::Port],
        &[Field::Transport, Field::Port],
        &[Field::Ipv4, Field::Transport, Field::Port],
        &[Field::Ipv6, Field::Transport, Field::Port],
    ];
    for (at, name) in MAPS.into_iter().enumerate() {
        let data: &[Field] = if at % 2 == 0 { &[Field::Ipv4, Field::Port] } else { &[Field::Ipv6, Field::Port] };
        batch.set(Set { name, id: at as u32 + 1, key: KEYS[at], data, ranges: false });
    }
    for (at, name) in NAMES.into_iter().enumerate() {
        batch.set(Set { name, id: at as u32 + 5, key: &[Field::LinkName], data: &[], ranges: false });
    }
}

fn chains(batch: &mut Batch) {
    let hook = |kind, place, priority| Some(Hook { kind, place, priority });
    batch
        .chain("published", None)
        .chain("raw", hook("filter", Place::Prerouting, -300))
        .chain("prerouting", hook("nat", Place::Prerouting, -100))
        .chain("output", hook("nat", Place::Output, -100))
        .chain("postrouting", hook("nat", Place::Postrouting, 100))
        .chain("forward", hook("filter", Place::Forward, 0));
}

fn elements_of_names(batch: &mut Batch, networks: &[Definition]) {
    let names = |fit: &dyn Fn(&Definition) -> bool| -> Vec<Element> {
        networks
            .iter()
            .filter(|n| n.is_bridge() && fit(n))
            .map(|n| Element { key: padded(&n.network_interface).to_vec(), data: Vec::new() })
            .collect()
    };
    for (set, elements) in [
        ("bridges", names(&|_| true)),
        ("isolated", names(&|n| n.isolation() != Isolation::None)),
        ("strict", names(&|n| n.isolation() == Isolation::FromAll)),
        ("internal", names(&|n| n.internal)),
    ] {
        batch.add_elements(set, &elements, false);
    }
}

/// A name as the kernel compares it.
fn padded(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let length = name.len().min(15);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

const R: [u32; 8] =
    [register(0), register(1), register(2), register(3), register(4), register(5), register(6), register(7)];

const IPV4: [Expression<'static>; 2] =
    [Expression::Meta(Meta::NetworkFamily, R[0]), Expression::Compare(R[0], Is::Equal, &[2])];
const IPV6: [Expression<'static>; 2] =
    [Expression::Meta(Meta::NetworkFamily, R[0]), Expression::Compare(R[0], Is::Equal, &[10])];

/// The first byte of an address of the packet: at 12 and 16 for IPv4, 8 and 24 for IPv6.
const fn first_byte(offset: u32) -> Expression<'static> {
    Expression::Payload { base: Base::Network, offset, length: 1, register: R[0] }
}

const fn within(set: &'static str) -> Expression<'static> {
    Expression::Lookup { set, register: R[0], into: None, absent: false }
}

const DROP: Expression<'static> = Expression::Verdict(Verdict::Drop);
const MASQUERADE: Expression<'static> = Expression::Masquerade(false);

/// Answers to connections that the host made from 127.0.0.1 to a published port come to the bridge with the host's address
/// there, and are translated back later: so what comes with 127.0.0.0/8 itself is nobody's answer (CVE-2020-8558).
fn raw(batch: &mut Batch) {
    batch.rule(
        "raw",
        &[
            &[Expression::Meta(Meta::InName, R[0]), within("bridges")][..],
            &IPV4,
            &[first_byte(16), Expression::Compare(R[0], Is::Equal, &[127]), DROP],
        ]
        .concat(),
    );
}

fn published(batch: &mut Batch) {
    for chain in ["prerouting", "output"] {
        batch.rule(
            chain,
            &[
                Expression::RouteType { source: false, register: R[0] },
                Expression::Compare(R[0], Is::Equal, &LOCAL),
                Expression::Verdict(Verdict::Jump("published")),
            ],
        );
    }
    let port = |register| Expression::Payload { base: Base::Transport, offset: 2, length: 2, register };
    let lookup = |set, into| Expression::Lookup { set, register: R[0], into: Some(into), absent: false };
    let to = |family, address, port| Expression::DestinationTo { family, address, port: Some(port) };
    let address = |offset, length| Expression::Payload { base: Base::Network, offset, length, register: R[0] };
    let (four, six) = (Family::Ipv4, Family::Ipv6);
    let rules: [&[Expression<'_>]; 4] = [
        &[
            address(16, 4),
            Expression::Meta(Meta::Transport, R[1]),
            port(R[2]),
            lookup("at4", R[4]),
            to(four, R[4], R[5]),
        ],
        &[Expression::Meta(Meta::Transport, R[0]), port(R[1]), lookup("any4", R[4]), to(four, R[4], R[5])],
        &[
            address(24, 16),
            Expression::Meta(Meta::Transport, R[4]),
            port(R[5]),
            lookup("at6", R[0]),
            to(six, R[0], R[4]),
        ],
        &[Expression::Meta(Meta::Transport, R[0]), port(R[1]), lookup("any6", R[0]), to(six, R[0], R[4])],
    ];
    for (at, rule) in rules.into_iter().enumerate() {
        batch.rule("published", &[if at < 2 { &IPV4[..] } else { &IPV6 }, rule].concat());
    }
}

/// What leaves a network has the host's address, and so has what comes back to it by way of a published port.
fn of_network(batch: &mut Batch, network: &Definition) {
    let name = padded(&network.network_interface);
    let same = [Expression::Meta(Meta::InName, R[0]), Expression::Compare(R[0], Is::Equal, &name)];
    let out = |is| [Expression::Meta(Meta::OutName, R[0]), Expression::Compare(R[0], is, &name)];
    // Where frames between ports of a bridge are shown to filters of IP (br_netfilter), they are nobody's to judge.
    batch.rule("forward", &[&same[..], &out(Is::Equal), &[Expression::Verdict(Verdict::Accept)]].concat());
    if network.internal {
        return;
    }
    for pool in &network.subnets {
        let (value, mask) = (bytes(pool.subnet.network().address), mask(pool.subnet));
        let v4 = pool.subnet.address.is_ipv4();
        let (family, offset, multicast): (_, _, (u8, u8)) =
            if v4 { (&IPV4, 12, (0xf0, 0xe0)) } else { (&IPV6, 8, (0xff, 0xff)) };
        let from = [
            Expression::Payload { base: Base::Network, offset, length: value.len() as u32, register: R[0] },
            Expression::Mask(R[0], &mask),
            Expression::Compare(R[0], Is::Equal, &value),
        ];
        let (bits, group) = ([multicast.0], [multicast.1]);
        let not_to_groups = [
            first_byte(if v4 { 16 } else { 24 }),
            Expression::Mask(R[0], &bits),
            Expression::Compare(R[0], Is::NotEqual, &group),
        ];
        batch.rule("postrouting", &[&family[..], &from, &out(Is::NotEqual), &not_to_groups, &[MASQUERADE]].concat());
        let back = [
            Expression::Connection(Connection::Status, R[0]),
            Expression::Mask(R[0], &TRANSLATED),
            Expression::Compare(R[0], Is::NotEqual, &[0; 4]),
        ];
        batch.rule("postrouting", &[&family[..], &from, &out(Is::Equal), &back, &[MASQUERADE]].concat());
    }
}

/// What the host itself sends from 127.0.0.0/8 to a published port.
fn postrouting(batch: &mut Batch) {
    batch.rule(
        "postrouting",
        &[
            &IPV4[..],
            &[first_byte(12), Expression::Compare(R[0], Is::Equal, &[127])],
            &[Expression::Meta(Meta::OutName, R[0]), within("bridges"), MASQUERADE],
        ]
        .concat(),
    );
}

fn forward(batch: &mut Batch) {
    let (from, to) = (Expression::Meta(Meta::InName, R[0]), Expression::Meta(Meta::OutName, R[0]));
    batch
        .rule("forward", &[from, within("internal"), DROP])
        .rule("forward", &[to, within("internal"), DROP])
        .rule("forward", &[from, within("isolated"), to, within("isolated"), DROP])
        .rule("forward", &[from, within("strict"), to, within("bridges"), DROP])
        .rule("forward", &[from, within("bridges"), to, within("strict"), DROP]);
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn mask(subnet: Subnet) -> Vec<u8> {
    let length = if subnet.address.is_ipv4() { 4 } else { 16 };
    (0..length).map(|at: u32| (0xff00u32 >> u32::from(subnet.prefix).saturating_sub(at * 8).min(8)) as u8).collect()
}

/// Elements of the maps for the ports of a container: name of the map, element.
pub fn ports(holding: &Holding) -> Vec<(&'static str, Element)> {
    let mut all = Vec::new();
    for port in &holding.ports {
        for v4 in [true, false] {
            if port.host_ip.is_some_and(|ip| ip.is_ipv4() != v4 && !ip.is_unspecified()) {
                continue;
            }
            let Some(to) = holding.address(v4) else { continue };
            let map = match (port.host_ip.filter(|ip| !ip.is_unspecified()), v4) {
                (None, true) => "any4",
                (None, false) => "any6",
                (Some(_), true) => "at4",
                (Some(_), false) => "at6",
            };
            for n in 0..port.count {
                let mut key = port.host_ip.filter(|ip| !ip.is_unspecified()).map(bytes).unwrap_or_default();
                key.extend([port.protocol.number(), 0, 0, 0]);
                let big = |first: u16| first.saturating_add(n).to_be_bytes();
                key.extend(big(port.host).into_iter().chain([0, 0]));
                let mut data = bytes(to);
                data.extend(big(port.container).into_iter().chain([0, 0]));
                all.push((map, Element { key, data }));
            }
        }
    }
    all
}

/// Those elements as a batch that adds them, or takes them away.
pub fn change(elements: &[(&'static str, Element)], add: bool) -> Batch {
    let mut batch = batch();
    for map in MAPS {
        let own: Vec<Element> = elements.iter().filter(|(m, _)| *m == map).map(|(_, e)| e.clone()).collect();
        match add {
            true => batch.add_elements(map, &own, false),
            false => batch.delete_elements(map, &own),
        };
    }
    batch
}

/// The maps of ports.
pub fn maps() -> [&'static str; 4] {
    MAPS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_as_masks() {
        let of = |text: &str| mask(text.parse().unwrap());
        assert_eq!(of("10.0.0.0/8"), [255, 0, 0, 0]);
        assert_eq!(of("10.0.0.0/20"), [255, 255, 0xf0, 0]);
        assert_eq!(of("0.0.0.0/0"), [0; 4]);
        assert_eq!(of("fd00::/65")[..10], [255, 255, 255, 255, 255, 255, 255, 255, 0x80, 0]);
    }
}
