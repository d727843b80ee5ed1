//! Links and packet filters, in network namespaces of the test's own.

use super::*;
use crate::links::{self, End, Kind, Route};
use crate::{clone, loopback, netlink};
use std::os::fd::AsFd;

/// A network namespace for this thread; `None`, said loudly, where that is not allowed.
fn own() -> Option<()> {
    match crate::namespaces::unshare(clone::NEW_NET) {
        Ok(()) => Some(()),
        Err(errno) => {
            eprintln!("SKIPPED: no network namespace of our own: {errno}");
            None
        }
    }
}

#[test]
fn links_addresses_and_routes() {
    let Some(()) = own() else { return };
    let outer = netlink::own_namespace().unwrap();
    own().unwrap();
    let mut inner = Socket::open(Part::Route).unwrap();
    let mut socket = netlink::inside(outer.as_fd(), || Socket::open(Part::Route)).unwrap().unwrap();
    let mut requests = Requests::new();
    links::add(&mut requests, End { up: true, ..End::named("bridge0") }, Kind::Bridge { vlan_filtering: false });
    socket.carry_out(&mut requests).unwrap();
    let bridge = links::find(&mut socket, "bridge0").unwrap();
    assert!(bridge.up && bridge.kind == "bridge");
    assert_eq!(links::find(&mut inner, "bridge0"), Err(rustix::io::Errno::NODEV));
    let here = netlink::own_namespace().unwrap();
    let peer = End { address: Some([2, 0, 0, 0, 0, 9]), mtu: 1400, ..End::named("eth0").within(here.as_fd()) };
    let host = End { master: bridge.index, up: true, ..End::named("veth0") };
    let mut requests = Requests::new();
    links::add_address(&mut requests, bridge.index, "10.9.0.1".parse().unwrap(), 24);
    links::add(&mut requests, host, Kind::Veth { peer });
    socket.carry_out(&mut requests).unwrap();
    assert_eq!(links::find(&mut socket, "veth0").unwrap().master, bridge.index);
    let eth0 = links::find(&mut inner, "eth0").unwrap();
    assert_eq!((eth0.address.as_slice(), eth0.mtu, eth0.up), (&[2, 0, 0, 0, 0, 9][..], 1400, false));
    let mut requests = Requests::new();
    links::add_address(&mut requests, eth0.index, "10.9.0.2".parse().unwrap(), 24);
    links::add_address(&mut requests, eth0.index, "fd00::2".parse().unwrap(), 64);
    links::set_ipv4(&mut requests, eth0.index, &[(links::ipv4::ARP_NOTIFY, 1)]);
    links::set_up(&mut requests, eth0.index, true);
    links::add_route(&mut requests, &Route::default_by("10.9.0.1".parse().unwrap(), eth0.index));
    inner.carry_out(&mut requests).unwrap();
    assert!(links::addresses(&mut inner).unwrap().contains(&(eth0.index, "fd00::2".parse().unwrap(), 64)));
    let routes = links::routes(&mut inner).unwrap();
    assert!(routes.iter().any(|r| r.gateway == Some("10.9.0.1".parse().unwrap()) && r.prefix == 0), "{routes:?}");
    // The second of three is refused, and said to be so.
    let mut requests = Requests::new();
    links::set_up(&mut requests, eth0.index, true);
    links::add_address(&mut requests, eth0.index, "10.9.0.2".parse().unwrap(), 24);
    links::set_up(&mut requests, eth0.index, true);
    assert_eq!(inner.carry_out(&mut requests), Err(Refusal { request: 1, errno: rustix::io::Errno::EXIST }));
    let mut requests = Requests::new();
    links::delete(&mut requests, bridge.index);
    socket.carry_out(&mut requests).unwrap();
    assert_eq!(links::all(&mut socket).unwrap().iter().filter(|l| l.kind == "bridge").count(), 0);
}

#[test]
fn a_batch_is_carried_out_whole_or_not_at_all() {
    let Some(()) = own() else { return };
    loopback::up().unwrap();
    let mut socket = open().unwrap();
    let mut batch = Batch::new(Family::Inet, "t");
    let ports = Set {
        name: "ports",
        id: 1,
        key: &[Field::Transport, Field::Port],
        data: &[Field::Ipv4, Field::Port],
        ranges: false,
    };
    batch.table().set(ports).chain("to", None);
    batch.chain("pre", Some(Hook { kind: "nat", place: Place::Output, priority: -100 }));
    batch.rule(
        "pre",
        &[
            Expression::RouteType { source: false, register: register(0) },
            Expression::Compare(register(0), Is::Equal, &2u32.to_ne_bytes()),
            Expression::Verdict(Verdict::Jump("to")),
        ],
    );
    batch.rule(
        "to",
        &[
            Expression::Meta(Meta::NetworkFamily, register(0)),
            Expression::Compare(register(0), Is::Equal, &[2]),
            Expression::Meta(Meta::Transport, register(0)),
            Expression::Payload { base: Base::Transport, offset: 2, length: 2, register: register(1) },
            Expression::Lookup { set: "ports", register: register(0), into: Some(register(4)), absent: false },
            Expression::DestinationTo { family: Family::Ipv4, address: register(4), port: Some(register(5)) },
        ],
    );
    batch.carry_out(&mut socket).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let element = |outside: u16| Element {
        key: [&[6, 0, 0, 0][..], &outside.to_be_bytes(), &[0, 0]].concat(),
        data: [&[127, 0, 0, 1][..], &port.to_be_bytes(), &[0, 0]].concat(),
    };
    let many: Vec<_> = (1..=1200).map(element).collect();
    let mut batch = Batch::new(Family::Inet, "t");
    batch.add_elements("ports", &many, true);
    batch.carry_out(&mut socket).unwrap();
    std::net::TcpStream::connect("127.0.0.1:77").expect("port 77 leads to the listener");
    let mut batch = Batch::new(Family::Inet, "t");
    batch.add_elements("ports", &[element(2000)], true).add_elements("ports", &[element(5)], true);
    assert_eq!(batch.carry_out(&mut socket), Err(Refusal { request: 1, errno: rustix::io::Errno::EXIST }));
    let mut there = elements(&mut socket, Family::Inet, "t", "ports").unwrap();
    there.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!((there.len(), &there[4]), (1200, &element(5)));
    let mut batch = Batch::new(Family::Inet, "t");
    batch.delete_elements("ports", &many);
    batch.carry_out(&mut socket).unwrap();
    assert!(elements(&mut socket, Family::Inet, "t", "ports").unwrap().is_empty());
    let mut batch = Batch::new(Family::Inet, "t");
    batch.destroy_table();
    batch.carry_out(&mut socket).unwrap();
    assert_eq!(elements(&mut socket, Family::Inet, "t", "ports"), Err(rustix::io::Errno::NOENT));
}
