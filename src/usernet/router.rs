//! The router: a network namespace in which everything that containers send out is handed to the process, and the links
//! between it and containers with a network of their own.
//!
//! ```text
//! sysctl   no reverse path filter (containers may have the host's addresses), forwarding between bridges,
//!          no answers to echoes: the process gives them
//! table    inet monopod-out: what comes by a link `~…` gets the mark 1, and goes to port 1 of a transparent socket of
//!          that link; so does what comes by another link, unless it is for the router or a network in here; and
//!          questions about names that somebody in here asks others, by a socket that is tied to `lo`
//! rules    what has mark 1, or is sent by way of `lo`, is taken as this host's own (table 100)
//!          what this host sends goes by the link that the socket is tied to, if a container there has that address (101)
//! ```
//!
//! Where the kernel cannot do that ([`Way::Watched`]) there is no such table, and the rules are others:
//!
//! ```text
//! rules    what is sent by way of `lo` is this host's own (100); what sockets of the process send (mark 2) goes to containers
//!          (101) or networks in here; what this host sends from an address of its own goes to networks in here; all else
//!          that it sends finds no way: so nobody hears that there is no socket yet
//!          what comes from others goes to networks in here, or is taken as this host's own (100)
//! ```
//!
//! A link `~…` is a pair whose ends have one hardware address and ask for none (IFF_NOARP): whatever a container takes for
//! its neighbour is in the router.
//!
//! Several containers may have one address: each is alone on its link, and all sockets are tied to a link.

use crate::attach::GATE_PORT;
use crate::plan::ROUTER_6;
use crate::{Error, Plan, Way};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use sys::links::{self, End, Kind, Route, RouteKind};
use sys::netlink::{Family, Requests, Socket};
use sys::nftables::{Base, Batch, Expression, Hook, Is, Meta, Place, Verdict, register};
use sys::rules::{self, Rule};

const TABLE: &str = "monopod-out";
/// Names of links to one container begin with it; those of bridges, which users choose, do not ([`is_link`]).
const LINK: &str = "~";
/// What goes to the process.
const MARK: u32 = 1;
/// What the process sends, where links are watched.
pub(crate) const SPOKEN: u32 = 2;
/// The routing table in which everything is this host's own.
const OWN: u32 = 100;
/// The one that knows the addresses of containers.
const LINKS: u32 = 101;

/// Makes the router's namespace; how it is served follows from what the kernel has.
pub fn make() -> Result<(OwnedFd, Way), Error> {
    elsewhere(|| {
        sys::namespaces::unshare(sys::clone::NEW_NET).map_err(|e| step("make a network namespace", e))?;
        let way = furnish()?;
        Ok((sys::netlink::own_namespace().map_err(|e| step("open the network namespace", e))?, way))
    })
}

/// Calls `work` in a thread of its own: one that leaves the host's network namespace has no way back.
pub fn elsewhere<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let result = std::thread::scope(|scope| scope.spawn(work).join());
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Calls `work` in a thread of its own that is in the network namespace `namespace`.
pub fn inside<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    elsewhere(|| {
        enter(namespace)?;
        work()
    })
}

fn enter(namespace: BorrowedFd<'_>) -> Result<(), Error> {
    sys::namespaces::enter(namespace, sys::clone::NEW_NET).map_err(|e| step("enter a network namespace", e))
}

fn step(what: &'static str, source: Errno) -> Error {
    Error::Router { what, source }
}

fn furnish() -> Result<Way, Error> {
    let way = filter()?;
    let pass_on = if way.is_filtered() { "1" } else { "0" };
    for (path, value) in [
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/default/send_redirects", "0"),
        ("ipv4/ip_forward", pass_on),
        ("ipv4/icmp_echo_ignore_all", "1"),
        ("ipv6/conf/all/forwarding", pass_on),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/icmp/echo_ignore_all", "1"),
        // Frames that a bridge is to hand up would be given their socket too early, and lose it.
        ("bridge/bridge-nf-call-iptables", "0"),
        ("bridge/bridge-nf-call-ip6tables", "0"),
    ] {
        match std::fs::write(format!("/proc/sys/net/{path}"), value) {
            // No IPv6 here, a kernel before 4.20 that answers echoes itself, no filters for bridges.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !path.starts_with("ipv4") => {}
            other => other.map_err(|source| Error::Sysctl { path: format!("net/{path}"), source })?,
        }
    }
    sys::loopback::up().map_err(|e| step("bring the loopback device up", e))?;
    if way != Way::Handed {
        // Links are watched: without CONFIG_PACKET, or where a filter of system calls forbids it, that is what is missing.
        sys::frames::beginnings(1).map_err(|e| step("watch a link", e))?;
    }
    let mut socket = route_socket()?;
    let everywhere = |v6: bool| Route {
        destination: if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() },
        prefix: 0,
        gateway: None,
        link: 1,
        metric: 0,
        table: OWN,
        kind: RouteKind::Local,
    };
    for v6 in [false, true] {
        let mut requests = Requests::new();
        links::add_route(&mut requests, &everywhere(v6));
        let rules: &[Rule<'_>] = if way == Way::Handed { &HANDED } else { &WATCHED };
        rules.iter().for_each(|rule| rules::add(&mut requests, &Rule { ipv6: v6, ..*rule }));
        match socket.carry_out(&mut requests) {
            Ok(()) => {}
            // No IPv6 here.
            Err(refusal)
                if v6
                    && matches!(
                        refusal.errno,
                        Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::NODEV | Errno::ACCESS
                    ) => {}
            Err(refusal) => return Err(step("set the router's routes", refusal.errno)),
        }
    }
    if way != Way::Handed {
        // A connection's place is free again as soon as it has ended: nothing is under way on a link of this host, and a
        // socket that waits would be in the way of the next one. Kernels that have one limit for all keep theirs.
        let _ = std::fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0");
    }
    Ok(way)
}

const ANY: Rule<'_> = Rule { ipv6: false, priority: 0, mark: 0, from: "", by: "", source: None, table: None };

/// Each comes before the one that was added before it.
const HANDED: [Rule<'_>; 3] = [
    Rule { mark: MARK, table: Some(OWN), ..ANY },
    Rule { from: LOOPBACK, table: Some(LINKS), ..ANY },
    Rule { by: LOOPBACK, table: Some(OWN), ..ANY },
];

const WATCHED: [Rule<'_>; 6] = [
    Rule { priority: 100, by: LOOPBACK, table: Some(OWN), ..ANY },
    Rule { priority: 200, from: LOOPBACK, mark: SPOKEN, table: Some(LINKS), ..ANY },
    Rule { priority: 201, from: LOOPBACK, mark: SPOKEN, table: Some(rules::MAIN), ..ANY },
    Rule { priority: 400, from: LOOPBACK, ..ANY },
    Rule { priority: 500, table: Some(rules::MAIN), ..ANY },
    Rule { priority: 600, table: Some(OWN), ..ANY },
];

/// Where links are watched, what the router sends from its own address `source` finds its way.
pub(crate) fn let_speak(requests: &mut Requests, source: IpAddr) {
    let (ipv6, table) = (source.is_ipv6(), Some(rules::MAIN));
    rules::add(requests, &Rule { ipv6, priority: 300, from: LOOPBACK, source: Some(source), table, ..ANY });
}

/// True for the name of a link to one container.
pub(crate) fn is_link(name: &str) -> bool {
    name.starts_with(LINK)
}

/// True if the kernel cannot do it, however often it is asked.
fn lacks(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT
            | Errno::OPNOTSUPP
            | Errno::PROTONOSUPPORT
            | Errno::AFNOSUPPORT
            | Errno::NOSYS
            | Errno::INVAL
            | Errno::PERM
            | Errno::ACCESS
    )
}

/// The firewall, as far as there can be one.
fn filter() -> Result<Way, Error> {
    let unfiltered = Way::Watched { filtered: false };
    let mut socket = match sys::nftables::open() {
        Err(errno) if lacks(errno) => return Ok(unfiltered),
        other => other.map_err(|e| step("speak to the kernel's packet filter", e))?,
    };
    // A kernel without queues connects containers at once. Both in one batch: each costs milliseconds.
    for held in [true, false] {
        let mut batch = hand_over();
        if held {
            hold(&mut batch);
        }
        match batch.carry_out(&mut socket) {
            Ok(()) => return Ok(Way::Handed),
            Err(refusal) if lacks(refusal.errno) => {}
            Err(refusal) => return Err(step("set the router's packet filter", refusal.errno)),
        }
    }
    match stay_apart().carry_out(&mut socket) {
        Ok(()) => Ok(Way::Watched { filtered: true }),
        Err(refusal) if lacks(refusal.errno) => Ok(unfiltered),
        Err(refusal) => Err(step("set the router's packet filter", refusal.errno)),
    }
}

/// A container with a link of its own reaches no network in here.
fn stay_apart() -> Batch {
    let mut batch = Batch::new(sys::nftables::Family::Inet, TABLE);
    batch.destroy_table().table();
    batch.chain("forward", Some(Hook { kind: "filter", place: Place::Forward, priority: -1 }));
    batch.rule("forward", &[&BY_LINK[..], &[Expression::Verdict(Verdict::Drop)]].concat());
    batch
}

/// Everything is handed to transparent sockets.
fn hand_over() -> Batch {
    let mut batch = Batch::new(sys::nftables::Family::Inet, TABLE);
    batch.destroy_table().table();
    batch.chain("prerouting", Some(Hook { kind: "filter", place: Place::Prerouting, priority: -150 }));
    let (port, mark) = (GATE_PORT.to_be_bytes(), MARK.to_ne_bytes());
    let first = register(0);
    let set_mark = [Expression::Load(first, &mark), Expression::SetMeta(Meta::Mark, first)];
    let accept = [Expression::Verdict(Verdict::Accept)];
    let socket_of_link = |batch: &mut Batch, before: &[Expression<'_>]| {
        const TRANSPORTS: [u8; 2] = [6, 17];
        for transport in TRANSPORTS {
            let transport = [transport];
            let rule = [
                before,
                &[
                    Expression::Meta(Meta::Transport, first),
                    Expression::Compare(first, Is::Equal, &transport),
                    Expression::Load(first, &mark),
                    Expression::SetMeta(Meta::Mark, first),
                    Expression::Load(first, &port),
                    Expression::TransparentProxy {
                        family: sys::nftables::Family::Inet,
                        address: None,
                        port: Some(first),
                    },
                ],
                &accept,
            ];
            batch.rule("prerouting", &rule.concat());
        }
    };
    socket_of_link(&mut batch, &BY_LINK);
    batch.rule("prerouting", &[&BY_LINK[..], &set_mark, &accept].concat());
    socket_of_link(&mut batch, &QUESTIONS_OUT);
    stays_inside(&mut batch, "prerouting");
    socket_of_link(&mut batch, &[]);
    batch
}

/// Before anything else is done with them, packets that open a connection wait (see `attempt`).
fn hold(batch: &mut Batch) {
    const FLAGS: u32 = 13;
    const SYN_ACK_RST_FIN: [u8; 1] = [0x17];
    const SYN: [u8; 1] = [0x02];
    const TCP: [u8; 1] = [6];
    let first = register(0);
    batch.chain("hold", Some(Hook { kind: "filter", place: Place::Prerouting, priority: -151 }));
    let flags = Expression::Payload { base: Base::Transport, offset: FLAGS, length: 1, register: first };
    // All that opens nothing, which is nearly all, goes on at once: routes are not looked up for it.
    let accept = Expression::Verdict(Verdict::Accept);
    let transport = Expression::Meta(Meta::Transport, first);
    batch.rule("hold", &[transport, Expression::Compare(first, Is::NotEqual, &TCP), accept]);
    let others =
        [flags, Expression::Mask(first, &SYN_ACK_RST_FIN), Expression::Compare(first, Is::NotEqual, &SYN), accept];
    batch.rule("hold", &others);
    let opens = [
        Expression::Meta(Meta::Transport, first),
        Expression::Compare(first, Is::Equal, &TCP),
        flags,
        Expression::Mask(first, &SYN_ACK_RST_FIN),
        Expression::Compare(first, Is::Equal, &SYN),
        Expression::Queue(crate::QUEUE),
    ];
    batch.rule("hold", &[&BY_LINK[..], &opens].concat());
    stays_inside(batch, "hold");
    batch.rule("hold", &opens);
}

/// What comes by a link of one container.
const BY_LINK: [Expression<'_>; 2] =
    [Expression::Meta(Meta::InName, register(0)), Expression::Compare(register(0), Is::Equal, LINK.as_bytes())];

/// What answers for names in here asks others by way of the loopback device ([`LOOPBACK`]).
const QUESTIONS_OUT: [Expression<'_>; 6] = [
    Expression::Meta(Meta::InName, register(0)),
    Expression::Compare(register(0), Is::Equal, b"lo\0"),
    Expression::RouteType { source: false, register: register(0) },
    Expression::Compare(register(0), Is::NotEqual, &LOCAL),
    Expression::Payload { base: Base::Transport, offset: 2, length: 2, register: register(0) },
    Expression::Compare(register(0), Is::Equal, &53u16.to_be_bytes()),
];

/// `RTN_LOCAL`.
const LOCAL: [u8; 4] = 2u32.to_ne_bytes();

/// The link by which processes in the router ask servers of names outside: [`Interface`](crate::Interface) of containers in
/// networks where names are answered.
pub const LOOPBACK: &str = "lo";

/// Of what comes by bridges: what is for the router itself, or for a network that it has a route to, stays in here.
fn stays_inside(batch: &mut Batch, chain: &str) {
    let (to_us, none) = ([0u8], 0u32.to_ne_bytes());
    let first = register(0);
    for (load, is, value) in [
        (Expression::Meta(Meta::InName, first), Is::Equal, &b"lo\0"[..]),
        (Expression::RouteType { source: false, register: first }, Is::Equal, &LOCAL),
        (Expression::Meta(Meta::PacketType, first), Is::NotEqual, &to_us),
        (Expression::RouteLink(first), Is::NotEqual, &none),
    ] {
        batch.rule(chain, &[load, Expression::Compare(first, is, value), Expression::Verdict(Verdict::Accept)]);
    }
}

fn route_socket() -> Result<Socket, Error> {
    Socket::open(Family::Route).map_err(|e| step("speak to the kernel's links", e))
}

/// The name of the link to container `id` in the router.
pub fn link_name(id: &str) -> String {
    format!("{LINK}{}", &id[..id.len().min(12)])
}

/// Ties the container `id`, whose network namespace is `container`, to the router.
pub fn connect(router: BorrowedFd<'_>, container: BorrowedFd<'_>, id: &str, plan: &Plan) -> Result<(), Error> {
    let name = link_name(id);
    inside(router, || {
        tie(container, &name, plan)?;
        enter(container)?;
        settle(plan)
    })
}

/// The router's side, where the caller is.
fn tie(container: BorrowedFd<'_>, name: &str, plan: &Plan) -> Result<(), Error> {
    let mut socket = route_socket()?;
    if let Ok(left) = links::find(&mut socket, name) {
        // Of a run that was killed; its other end may be gone already.
        let mut requests = Requests::new();
        links::delete(&mut requests, left.index);
        let _ = socket.carry_out(&mut requests);
    }
    let mut requests = Requests::new();
    let end = |name| End { mtu: plan.mtu, address: Some(plan.hardware), ..End::named(name) };
    let peer = end(&plan.interface).within(container.as_fd());
    links::add(&mut requests, end(name), Kind::Veth { peer });
    carry(&mut socket, requests, "make the container's link")?;
    let link = links::find(&mut socket, name).map_err(|e| step("find the container's link", e))?.index;
    let mut requests = Requests::new();
    links::without_questions(&mut requests, link);
    links::set_up(&mut requests, link, true);
    for (destination, _) in &plan.addresses {
        let (destination, prefix) = (*destination, if destination.is_ipv4() { 32 } else { 128 });
        // Others may have the same address: what is sent is tied to a link.
        let kind = RouteKind::Unicast;
        links::add_route(
            &mut requests,
            &Route { destination, prefix, gateway: None, link, metric: link, table: LINKS, kind },
        );
        if destination.is_ipv6() {
            links::add_address(&mut requests, link, ROUTER_6.into(), 64);
        }
    }
    carry(&mut socket, requests, "set the routes of the container's link")
}

/// The container's side, where the caller is.
fn settle(plan: &Plan) -> Result<(), Error> {
    let mut socket = route_socket()?;
    let link = links::find(&mut socket, &plan.interface).map_err(|e| step("find the container's interface", e))?.index;
    let mut requests = Requests::new();
    for (address, prefix) in &plan.addresses {
        links::add_address(&mut requests, link, *address, *prefix);
    }
    links::without_questions(&mut requests, link);
    links::set_up(&mut requests, link, true);
    for gateway in &plan.gateways {
        let reached = plan.addresses.iter().any(|(ip, prefix)| contains(*ip, *prefix, *gateway));
        let link_local = matches!(gateway, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if !reached && !link_local {
            let prefix = if gateway.is_ipv4() { 32 } else { 128 };
            let kind = RouteKind::Unicast;
            links::add_route(
                &mut requests,
                &Route { destination: *gateway, prefix, gateway: None, link, metric: 0, table: 254, kind },
            );
        }
        links::add_route(&mut requests, &Route::default_by(*gateway, link));
    }
    carry(&mut socket, requests, "set the container's addresses and routes")
}

fn carry(socket: &mut Socket, mut requests: Requests, what: &'static str) -> Result<(), Error> {
    socket.carry_out(&mut requests).map_err(|refusal| step(what, refusal.errno))
}

fn contains(ip: IpAddr, prefix: u8, other: IpAddr) -> bool {
    match (ip, other) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            u32::from(a) & mask == u32::from(b) & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            u128::from(a) & mask == u128::from(b) & mask
        }
        _ => false,
    }
}
