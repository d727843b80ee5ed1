//! Links, addresses and routes of a network namespace (rtnetlink(7)), as requests of [`crate::netlink`].
//!
//! Must not know: why a link is made.

use crate::netlink::{Attributes, CREATE, EXCLUSIVE, REPLACE, Requests, Socket, attributes};
use rustix::io::{Errno, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;

// if_link.h
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A link as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Its number in the namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `bridge`, `veth`, …; empty for a device.
    pub kind: String,
    /// Its hardware address; empty if it has none.
    pub address: Vec<u8>,
    /// The bridge it belongs to; 0 is none.
    pub master: u32,
    /// Its largest packet.
    pub mtu: u32,
    /// It is up.
    pub up: bool,
    /// Number of the link that it belongs to: the other end of a pair, in that end's namespace; 0 is none.
    pub other: u32,
}

/// A kind of link, with what only that kind has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A bridge; true: it heeds VLANs.
    Bridge {
        /// It heeds VLANs.
        vlan_filtering: bool,
    },
    /// A pair; the other end may lie in another namespace.
    Veth {
        /// The other end.
        peer: End<'a>,
    },
    /// A device in the kernel's memory that goes nowhere.
    Dummy,
    /// Another hardware address on a device (`MACVLAN_MODE_*` of if_link.h).
    Macvlan {
        /// Number of the device.
        parent: u32,
        /// 1 private, 2 vepa, 4 bridge, 8 passthru.
        mode: u32,
        /// From how many receivers on broadcasts are queued; -1: never (since Linux 6.4).
        limit: Option<i32>,
    },
    /// Other addresses on a device.
    Ipvlan {
        /// Number of the device.
        parent: u32,
        /// 0 l2, 1 l3, 2 l3s.
        mode: u16,
    },
}

/// One end of a link, as it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct End<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its hardware address; the kernel's choice if `None`.
    pub address: Option<[u8; 6]>,
    /// Its largest packet; the kernel's choice if 0.
    pub mtu: u32,
    /// It is up at once. Not the peer of a veth: that is refused (`ENOTCONN`), it is set up once both are there.
    pub up: bool,
    /// The bridge that it joins; 0 is none.
    pub master: u32,
    /// Namespace in which it is made; `None` is that of the socket.
    pub namespace: Option<i32>,
}

impl<'a> End<'a> {
    /// An end with this name, and all else left to the kernel.
    pub fn named(name: &'a str) -> End<'a> {
        End { name, ..End::default() }
    }

    /// The same end in the namespace behind this file, which must stay open until the request is carried out.
    pub fn within(self, namespace: BorrowedFd<'_>) -> End<'a> {
        End { namespace: Some(namespace.as_raw_fd()), ..self }
    }

    fn header(&self) -> [u8; 16] {
        let up = if self.up { IFF_UP } else { 0 };
        link_header(0, up, up)
    }

    fn fill(&self, a: &mut Attributes<'_>) {
        a.text(IFLA_IFNAME, self.name);
        if let Some(address) = &self.address {
            a.bytes(IFLA_ADDRESS, address);
        }
        if self.mtu != 0 {
            a.number(IFLA_MTU, self.mtu);
        }
        if self.master != 0 {
            a.number(IFLA_MASTER, self.master);
        }
        if let Some(namespace) = self.namespace {
            a.number(IFLA_NET_NS_FD, namespace as u32);
        }
    }
}

/// struct ifinfomsg.
fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// Makes a link; `EEXIST` if the name is taken.
pub fn add(requests: &mut Requests, end: End<'_>, kind: Kind<'_>) {
    requests.add(NEW_LINK, CREATE | EXCLUSIVE, &end.header(), |a| {
        end.fill(a);
        if let Kind::Macvlan { parent, .. } | Kind::Ipvlan { parent, .. } = kind {
            a.number(IFLA_LINK, parent);
        }
        a.nest(IFLA_LINKINFO, |a| match kind {
            Kind::Bridge { vlan_filtering } => {
                a.text(IFLA_INFO_KIND, "bridge");
                if vlan_filtering {
                    const IFLA_BR_VLAN_FILTERING: u16 = 7;
                    a.nest(IFLA_INFO_DATA, |a| {
                        a.bytes(IFLA_BR_VLAN_FILTERING, &[1]);
                    });
                }
            }
            Kind::Veth { peer } => {
                a.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |a| {
                    a.nest_with(VETH_INFO_PEER, &peer.header(), |a| peer.fill(a));
                });
            }
            Kind::Dummy => {
                a.text(IFLA_INFO_KIND, "dummy");
            }
            Kind::Macvlan { mode, limit, .. } => {
                const IFLA_MACVLAN_BC_CUTOFF: u16 = 9;
                a.text(IFLA_INFO_KIND, "macvlan").nest(IFLA_INFO_DATA, |a| {
                    a.number(1, mode);
                    if let Some(limit) = limit {
                        a.bytes(IFLA_MACVLAN_BC_CUTOFF, &limit.to_ne_bytes());
                    }
                });
            }
            Kind::Ipvlan { mode, .. } => {
                a.text(IFLA_INFO_KIND, "ipvlan").nest(IFLA_INFO_DATA, |a| {
                    a.bytes(1, &mode.to_ne_bytes());
                });
            }
        });
    });
}

/// Takes a link away; a veth goes with its other end.
pub fn delete(requests: &mut Requests, index: u32) {
    requests.add(DELETE_LINK, 0, &link_header(index, 0, 0), |_| ());
}

/// Sets a link up or down.
pub fn set_up(requests: &mut Requests, index: u32, up: bool) {
    requests.add(NEW_LINK, 0, &link_header(index, u32::from(up), IFF_UP), |_| ());
}

/// Gives a link another name; before Linux 6.2 it must be down.
pub fn rename(requests: &mut Requests, index: u32, name: &str) {
    requests.add(NEW_LINK, 0, &link_header(index, 0, 0), |a| {
        a.text(IFLA_IFNAME, name);
    });
}

/// Lets a link join a bridge or a VRF; 0 lets it leave.
pub fn set_master(requests: &mut Requests, index: u32, master: u32) {
    requests.add(NEW_LINK, 0, &link_header(index, 0, 0), |a| {
        a.number(IFLA_MASTER, master);
    });
}

/// Lets a port of a bridge send back what came by it.
pub fn set_hairpin(requests: &mut Requests, index: u32) {
    const SET_LINK: u16 = 19;
    const IFLA_PROTINFO: u16 = 12;
    const IFLA_BRPORT_MODE: u16 = 4;
    let mut header = link_header(index, 0, 0);
    header[0] = libc::AF_BRIDGE as u8;
    requests.add(SET_LINK, 0, &header, |a| {
        a.nest(IFLA_PROTINFO, |a| {
            a.bytes(IFLA_BRPORT_MODE, &[1]);
        });
    });
}

/// A port of a bridge that heeds VLANs is in the VLAN `vlan`, whose frames are bare there; and so are those of the bridge
/// itself ([`set_own_vlan`]).
pub fn set_vlan(requests: &mut Requests, index: u32, vlan: u16) {
    vlan_request(requests, index, vlan, 0);
}

/// A bridge's own end is in the VLAN `vlan`, beside those that it is in.
pub fn set_own_vlan(requests: &mut Requests, index: u32, vlan: u16) {
    const BRIDGE_FLAGS_SELF: u16 = 2;
    vlan_request(requests, index, vlan, BRIDGE_FLAGS_SELF);
}

fn vlan_request(requests: &mut Requests, index: u32, vlan: u16, own: u16) {
    const SET_LINK: u16 = 19;
    // if_bridge.h
    const IFLA_BRIDGE_FLAGS: u16 = 0;
    const IFLA_BRIDGE_VLAN_INFO: u16 = 2;
    const PVID_AND_UNTAGGED: u16 = 2 | 4;
    let mut header = link_header(index, 0, 0);
    header[0] = libc::AF_BRIDGE as u8;
    requests.add(SET_LINK, 0, &header, |a| {
        a.nest(IFLA_AF_SPEC, |a| {
            if own != 0 {
                a.bytes(IFLA_BRIDGE_FLAGS, &own.to_ne_bytes());
            }
            // struct bridge_vlan_info.
            let info = [PVID_AND_UNTAGGED.to_ne_bytes(), vlan.to_ne_bytes()].concat();
            a.bytes(IFLA_BRIDGE_VLAN_INFO, &info);
        });
    });
}

/// Per-link parameters of IPv4, by their place in `IPV4_DEVCONF_*` (linux/ip.h): as `/proc/sys/net/ipv4/conf/LINK`, without
/// /proc.
pub mod ipv4 {
    /// `arp_notify`: neighbours are told when the link comes up.
    pub const ARP_NOTIFY: u16 = 22;
    /// `route_localnet`: 127.0.0.0/8 may be routed.
    pub const ROUTE_LOCALNET: u16 = 26;
    /// `rp_filter`.
    pub const RP_FILTER: u16 = 8;
    /// `forwarding`.
    pub const FORWARDING: u16 = 1;
}

/// Sets parameters of IPv4 ([`ipv4`]) of a link.
pub fn set_ipv4(requests: &mut Requests, index: u32, values: &[(u16, u32)]) {
    const IFLA_INET_CONF: u16 = 1;
    requests.add(NEW_LINK, 0, &link_header(index, 0, 0), |a| {
        a.nest(IFLA_AF_SPEC, |a| {
            a.nest(u16::from(AF_INET), |a| {
                a.nest(IFLA_INET_CONF, |a| {
                    values.iter().for_each(|(which, value)| {
                        a.number(*which, *value);
                    })
                });
            });
        });
    });
}

/// The link `name`; `ENODEV` if there is none.
pub fn find(socket: &mut Socket, name: &str) -> Result<Link> {
    let mut request = Requests::new();
    request.add(GET_LINK, 0, &link_header(0, 0, 0), |a| {
        a.text(IFLA_IFNAME, name);
    });
    let mut found = None;
    socket.ask(request, false, |_, body| found = found.take().or_else(|| parse_link(body)))?;
    found.ok_or(Errno::NODEV)
}

/// All links.
pub fn all(socket: &mut Socket) -> Result<Vec<Link>> {
    let mut request = Requests::new();
    request.add(GET_LINK, 0, &link_header(0, 0, 0), |_| ());
    let mut found = Vec::new();
    socket.ask(request, true, |_, body| found.extend(parse_link(body)))?;
    Ok(found)
}

fn parse_link(body: &[u8]) -> Option<Link> {
    let header = body.get(..16)?;
    let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let mut link = Link { index: word(4), up: word(8) & IFF_UP != 0, ..Link::default() };
    for (kind, value) in attributes(&body[16..]) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_ADDRESS => link.address = value.to_vec(),
            IFLA_MTU => link.mtu = number(value)?,
            IFLA_MASTER => link.master = number(value)?,
            IFLA_LINK => link.other = number(value)?,
            IFLA_LINKINFO => {
                link.kind = attributes(value).find(|a| a.0 == IFLA_INFO_KIND).map(|a| text(a.1)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk::<4>().map(|n| u32::from_ne_bytes(*n))
}

fn octets(address: &IpAddr) -> ([u8; 16], usize) {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(a) => {
            bytes[..4].copy_from_slice(&a.octets());
            (bytes, 4)
        }
        IpAddr::V6(a) => (a.octets(), 16),
    }
}

fn family(address: &IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()),
        16 => Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?).into()),
        _ => None,
    }
}

/// Gives a link an address with a prefix of `prefix` bits. It can be used at once: nobody is asked whether they have it.
pub fn add_address(requests: &mut Requests, index: u32, address: IpAddr, prefix: u8) {
    const IFA_F_NODAD: u8 = 2;
    let flags = if address.is_ipv6() { IFA_F_NODAD } else { 0 };
    address_request(requests, NEW_ADDRESS, CREATE | EXCLUSIVE, flags, index, address, prefix);
}

/// Takes an address from a link.
pub fn delete_address(requests: &mut Requests, index: u32, address: IpAddr, prefix: u8) {
    address_request(requests, DELETE_ADDRESS, 0, 0, index, address, prefix);
}

fn address_request(requests: &mut Requests, kind: u16, flags: u16, own: u8, index: u32, address: IpAddr, prefix: u8) {
    // struct ifaddrmsg; IFA_ADDRESS 1, IFA_LOCAL 2, IFA_BROADCAST 4.
    let mut header = [family(&address), prefix, own, 0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    requests.add(kind, flags, &header, |a| {
        let (bytes, length) = octets(&address);
        a.bytes(1, &bytes[..length]).bytes(2, &bytes[..length]);
        if let (IpAddr::V4(address), 1..=30) = (address, prefix) {
            let broadcast = u32::from(address) | (u32::MAX >> prefix);
            a.bytes(4, &broadcast.to_be_bytes());
        }
    });
}

/// Addresses of all links: number of the link, address, bits of its prefix.
pub fn addresses(socket: &mut Socket) -> Result<Vec<(u32, IpAddr, u8)>> {
    let mut request = Requests::new();
    request.add(GET_ADDRESS, 0, &[0; 8], |_| ());
    let mut found = Vec::new();
    socket.ask(request, true, |_, body| {
        let Some(header) = body.first_chunk::<8>() else { return };
        let index = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
        let value = |kind| attributes(&body[8..]).find(|a| a.0 == kind).and_then(|a| address_of(a.1));
        found.extend(value(2).or_else(|| value(1)).map(|address| (index, address, header[1])));
    })?;
    Ok(found)
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it leads to; `0.0.0.0` or `::` with 0 bits is everywhere.
    pub destination: IpAddr,
    /// Bits of that.
    pub prefix: u8,
    /// By way of this address.
    pub gateway: Option<IpAddr>,
    /// By way of this link; 0 lets the kernel find it.
    pub link: u32,
    /// Routes with a smaller number come first; 0 is the kernel's own choice.
    pub metric: u32,
    /// Its table; 254 is the main one.
    pub table: u32,
    /// What becomes of packets.
    pub kind: RouteKind,
}

/// What a route does with packets (`RTN_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    /// Passes them on.
    Unicast = 1,
    /// Takes them as this host's own.
    Local = 2,
    /// Drops them.
    Blackhole = 6,
    /// Refuses them: no route.
    Unreachable = 7,
    /// Refuses them: forbidden.
    Prohibit = 8,
}

impl Route {
    /// The one to everywhere by way of `gateway`.
    pub fn default_by(gateway: IpAddr, link: u32) -> Route {
        let destination = if gateway.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let gateway = Some(gateway);
        Route { destination, prefix: 0, gateway, link, metric: 0, table: 254, kind: RouteKind::Unicast }
    }
}

/// Adds a route; `EEXIST` if there is one like it.
pub fn add_route(requests: &mut Requests, route: &Route) {
    route_request(requests, NEW_ROUTE, CREATE | EXCLUSIVE, route);
}

/// Takes a route away.
pub fn delete_route(requests: &mut Requests, route: &Route) {
    route_request(requests, DELETE_ROUTE, 0, route);
}

fn route_request(requests: &mut Requests, message: u16, flags: u16, route: &Route) {
    const RTPROT_STATIC: u8 = 4;
    let scope = match route.kind {
        RouteKind::Local => 254,
        RouteKind::Unicast if route.gateway.is_none() && route.destination.is_ipv4() => 253,
        _ => 0,
    };
    // struct rtmsg; RTA_DST 1, RTA_OIF 4, RTA_GATEWAY 5, RTA_PRIORITY 6, RTA_TABLE 15.
    let table = u8::try_from(route.table).unwrap_or(0);
    let header =
        [family(&route.destination), route.prefix, 0, 0, table, RTPROT_STATIC, scope, route.kind as u8, 0, 0, 0, 0];
    requests.add(message, flags, &header, |a| {
        if route.prefix > 0 {
            let (bytes, length) = octets(&route.destination);
            a.bytes(1, &bytes[..length]);
        }
        if route.link != 0 {
            a.number(4, route.link);
        }
        if let Some(gateway) = &route.gateway {
            let (bytes, length) = octets(gateway);
            a.bytes(5, &bytes[..length]);
        }
        if route.metric != 0 {
            a.number(6, route.metric);
        }
        a.number(15, route.table);
    });
}

/// Routes of the main table.
pub fn routes(socket: &mut Socket) -> Result<Vec<Route>> {
    let mut request = Requests::new();
    request.add(GET_ROUTE, 0, &[0; 12], |_| ());
    let mut found = Vec::new();
    socket.ask(request, true, |_, body| {
        let Some(header) = body.first_chunk::<12>() else { return };
        let value = |kind| attributes(&body[12..]).find(|a| a.0 == kind).map(|a| a.1);
        let any: IpAddr =
            if header[0] == AF_INET { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let table = value(15).and_then(number).unwrap_or(header[4].into());
        // Cached routes of connections are none that anybody set (RTM_F_CLONED).
        let cloned = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]) & 0x200 != 0;
        if table == 254 && header[7] == RouteKind::Unicast as u8 && !cloned {
            found.push(Route {
                destination: value(1).and_then(address_of).unwrap_or(any),
                prefix: header[1],
                gateway: value(5).and_then(address_of),
                link: value(4).and_then(number).unwrap_or(0),
                metric: value(6).and_then(number).unwrap_or(0),
                table,
                kind: RouteKind::Unicast,
            });
        }
    })?;
    Ok(found)
}

/// Frames of this link bear its own hardware address as their destination, and nobody is asked for theirs: both ends of a
/// pair that has one address.
pub fn without_questions(requests: &mut Requests, index: u32) {
    const IFF_NOARP: u32 = 0x80;
    requests.add(NEW_LINK, 0, &link_header(index, IFF_NOARP, IFF_NOARP), |_| ());
}

/// Changes nothing, but says whether `kind` of link can be made here: `Ok` or the errno of the kernel.
pub fn can_make(socket: &mut Socket, name: &str, kind: Kind<'_>) -> Result<()> {
    let mut requests = Requests::new();
    add(&mut requests, End::named(name), kind);
    socket.carry_out(&mut requests).map_err(|r| r.errno)?;
    let made = find(socket, name)?;
    let mut requests = Requests::new();
    delete(&mut requests, made.index);
    socket.carry_out(&mut requests).map_err(|r| r.errno)
}

/// Replaces the route that is like this one.
pub fn replace_route(requests: &mut Requests, route: &Route) {
    route_request(requests, NEW_ROUTE, CREATE | REPLACE, route);
}

/// An address that a link keeps when it is moved by hand: without limit in time, and of the whole world's scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lasting {
    /// It.
    pub address: IpAddr,
    /// Bits of its prefix.
    pub prefix: u8,
    /// The other end of a link between two points; else the same.
    pub peer: IpAddr,
}

/// The lasting addresses of the link with number `index`.
pub fn lasting_addresses(socket: &mut Socket, index: u32) -> Result<Vec<Lasting>> {
    const IFA_F_PERMANENT: u32 = 0x80;
    const RT_SCOPE_UNIVERSE: u8 = 0;
    let mut request = Requests::new();
    request.add(GET_ADDRESS, 0, &[0; 8], |_| ());
    let mut found = Vec::new();
    socket.ask(request, true, |_, body| {
        let Some(header) = body.first_chunk::<8>() else { return };
        let of = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
        let value = |kind| attributes(&body[8..]).find(|a| a.0 == kind).map(|a| a.1);
        // IFA_FLAGS 8 has more bits than the header's.
        let flags = value(8).and_then(number).unwrap_or(header[2].into());
        let lasts = of == index && flags & IFA_F_PERMANENT != 0 && header[3] == RT_SCOPE_UNIVERSE;
        // IFA_ADDRESS 1 is the other end where IFA_LOCAL 2 is the own one.
        let (peer, own) = (value(1).and_then(address_of), value(2).and_then(address_of));
        if let Some(address) = own.or(peer).filter(|_| lasts) {
            found.push(Lasting { address, prefix: header[1], peer: peer.unwrap_or(address) });
        }
    })?;
    Ok(found)
}

/// Gives a link such an address.
pub fn add_lasting(requests: &mut Requests, index: u32, lasting: &Lasting) {
    if lasting.peer == lasting.address {
        return add_address(requests, index, lasting.address, lasting.prefix);
    }
    let mut header = [family(&lasting.address), lasting.prefix, 0, 0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    requests.add(NEW_ADDRESS, CREATE | EXCLUSIVE, &header, |a| {
        let ((peer, length), (own, _)) = (octets(&lasting.peer), octets(&lasting.address));
        a.bytes(1, &peer[..length]).bytes(2, &own[..length]);
    });
}

/// Sets a link down and moves it to the network namespace behind `namespace`, as `name`; in a name that ends in `%d` the
/// kernel chooses the number.
pub fn move_to(requests: &mut Requests, index: u32, name: &str, namespace: BorrowedFd<'_>) {
    requests.add(NEW_LINK, 0, &link_header(index, 0, IFF_UP), |_| ());
    requests.add(NEW_LINK, 0, &link_header(index, 0, 0), |a| {
        a.text(IFLA_IFNAME, name).number(IFLA_NET_NS_FD, namespace.as_raw_fd() as u32);
    });
}
