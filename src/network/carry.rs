//! Steps of a plan, carried out by netlink, and taken back.
//!
//! Must not know: why a step is taken.

use crate::plan::{Bridge, Link, On, Step};
use crate::{Error, firewall};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use sys::links::{self, End, Kind};
use sys::netlink::{Family, Refusal, Requests, Socket, inside};
use sys::nftables::{Batch, Element};
use types::Subnet;

/// Connections to the kernel, in the namespace of the ground.
pub(crate) struct Kernel {
    route: Socket,
    filter: Option<Socket>,
    /// There is no packet filter, and nothing is passed on from one network to another.
    unfiltered: bool,
}

impl Kernel {
    /// Opens them in the namespace of the calling thread.
    pub fn open() -> Result<Kernel, Error> {
        let route = Socket::open(Family::Route).map_err(Error::Socket)?;
        Ok(Kernel { route, filter: None, unfiltered: false })
    }

    /// The same on a ground without a packet filter, if it is one.
    pub fn unfiltered(self, unfiltered: bool) -> Kernel {
        Kernel { unfiltered, ..self }
    }

    fn filter(&mut self) -> Result<&mut Socket, Error> {
        if self.filter.is_none() {
            let socket = sys::nftables::open().map_err(|e| match e {
                Errno::PROTONOSUPPORT => Error::Kernel { what: "nf_tables (CONFIG_NF_TABLES)" },
                other => Error::Socket(other),
            })?;
            self.filter = Some(socket);
        }
        self.filter.as_mut().ok_or(Error::Socket(Errno::IO))
    }

    /// Carries a batch of the table out.
    pub fn batch(&mut self, batch: Batch, what: &str) -> Result<(), Error> {
        if self.unfiltered {
            return Ok(());
        }
        let socket = self.filter()?;
        batch.carry_out(socket).map_err(|refusal| match refusal.errno {
            // The subsystem, or one of its parts, is not in the kernel.
            Errno::INVAL | Errno::OPNOTSUPP if refusal.request == 0 => {
                Error::Kernel { what: "nf_tables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET)" }
            }
            _ => step(what, refusal),
        })
    }

    /// Carries out what concerns the namespace of the ground.
    pub fn carry_out(&mut self, step: &Step) -> Result<(), Error> {
        match step {
            Step::Bridge(bridge) => self.bridge(bridge),
            Step::Forwarding { .. } if self.unfiltered => Ok(()),
            Step::Forwarding { v4, v6 } => {
                if *v4 {
                    forward("/proc/sys/net/ipv4/ip_forward")?;
                }
                if *v6 {
                    forward("/proc/sys/net/ipv6/conf/all/forwarding")?;
                }
                Ok(())
            }
            Step::Ports(elements) => self.batch(firewall::change(elements, true), "publish ports"),
            Step::LocalRouting { bridge } => {
                let link = self.find(bridge)?;
                let mut requests = Requests::new();
                links::set_ipv4(&mut requests, link.index, &[(links::ipv4::ROUTE_LOCALNET, 1)]);
                self.requests(requests, "route 127.0.0.1 to the bridge")
            }
            Step::Link(_) => Ok(()),
        }
    }

    fn find(&mut self, name: &str) -> Result<links::Link, Error> {
        links::find(&mut self.route, name).map_err(|errno| step(&format!("find link {name:?}"), whole(errno)))
    }

    fn requests(&mut self, mut requests: Requests, what: &str) -> Result<(), Error> {
        self.route.carry_out(&mut requests).map_err(|refusal| step(what, refusal))
    }

    /// Makes the bridge if it is missing, and gives it what it lacks.
    fn bridge(&mut self, wanted: &Bridge) -> Result<(), Error> {
        let found = match links::find(&mut self.route, &wanted.name) {
            Err(Errno::NODEV) => {
                let end = End { address: Some(wanted.mac), mtu: wanted.mtu, up: true, ..End::named(&wanted.name) };
                let mut requests = Requests::new();
                links::add(&mut requests, end, Kind::Bridge { vlan_filtering: wanted.vlan.is_some() });
                self.route.carry_out(&mut requests).map_err(|r| match r.errno {
                    Errno::OPNOTSUPP if wanted.vlan.is_some() => {
                        Error::Kernel { what: "bridges that heed VLANs (CONFIG_BRIDGE_VLAN_FILTERING)" }
                    }
                    Errno::OPNOTSUPP => Error::Kernel { what: "bridges (CONFIG_BRIDGE)" },
                    _ => step(&format!("make bridge {:?}", wanted.name), r),
                })?;
                (self.find(&wanted.name)?, Vec::new())
            }
            Err(errno) => return Err(step(&format!("find link {:?}", wanted.name), whole(errno))),
            Ok(link) if link.kind != "bridge" => {
                return Err(Error::Invalid(format!("link {:?} is there and is not a bridge", wanted.name)));
            }
            Ok(link) => {
                let all = links::addresses(&mut self.route).map_err(Error::Socket)?;
                (link, all)
            }
        };
        let (link, there) = found;
        let mut requests = Requests::new();
        if let Some(vlan) = wanted.vlan {
            links::set_own_vlan(&mut requests, link.index, vlan);
        }
        if let Some(name) = &wanted.vrf {
            let vrf = self.find(name)?;
            if vrf.kind != "vrf" {
                return Err(Error::Invalid(format!("link {name:?} is there and is not a VRF")));
            }
            if link.master != vrf.index {
                links::set_master(&mut requests, link.index, vrf.index);
            }
        }
        for Subnet { address, prefix } in &wanted.addresses {
            if !there.contains(&(link.index, *address, *prefix)) {
                links::add_address(&mut requests, link.index, *address, *prefix);
            }
        }
        if !link.up {
            links::set_up(&mut requests, link.index, true);
        }
        self.requests(requests, &format!("give bridge {:?} its addresses", wanted.name))
    }

    /// Takes a link away by its name; one that is not there is fine.
    pub fn remove(&mut self, name: &str) -> Result<(), Error> {
        match links::find(&mut self.route, name) {
            Err(Errno::NODEV) => Ok(()),
            Err(errno) => Err(step(&format!("find link {name:?}"), whole(errno))),
            Ok(link) => self.remove_number(link.index),
        }
    }

    fn remove_number(&mut self, index: u32) -> Result<(), Error> {
        let mut requests = Requests::new();
        links::delete(&mut requests, index);
        match self.route.carry_out(&mut requests) {
            Err(Refusal { errno: Errno::NODEV, .. }) => Ok(()),
            other => other.map_err(|refusal| step("remove a link", refusal)),
        }
    }

    /// Makes a container's link, with its end in the namespace behind `namespace`.
    pub fn link(&mut self, link: &Link, namespace: BorrowedFd<'_>) -> Result<(), Error> {
        let own = End { address: Some(link.mac), mtu: link.mtu, ..End::named(&link.interface).within(namespace) };
        let mut requests = Requests::new();
        let lacking = match &link.on {
            On::Bridge { name, .. } => {
                let bridge = self.find(name)?;
                if bridge.kind != "bridge" {
                    return Err(Error::Invalid(format!("link {name:?} is there and is not a bridge")));
                }
                let name = if link.host_interface.is_empty() { "veth%d" } else { &link.host_interface };
                let mtu = if link.mtu == 0 { bridge.mtu } else { link.mtu };
                let host = End { mtu, up: true, master: bridge.index, ..End::named(name) };
                links::add(&mut requests, host, Kind::Veth { peer: End { mtu, ..own } });
                "pairs of links (CONFIG_VETH)"
            }
            On::Macvlan { parent, mode, limit } => {
                if limit.is_some() && !knows_limit() {
                    return Err(Error::Kernel { what: "limit for queues of broadcasts (bclim needs Linux 6.4)" });
                }
                links::add(
                    &mut requests,
                    own,
                    Kind::Macvlan { parent: self.parent(parent)?, mode: *mode, limit: *limit },
                );
                "links of this kind (CONFIG_MACVLAN)"
            }
            On::Ipvlan { parent, mode } => {
                let own = End { address: None, ..own };
                links::add(&mut requests, own, Kind::Ipvlan { parent: self.parent(parent)?, mode: *mode });
                "links of this kind (CONFIG_IPVLAN)"
            }
        };
        let made = self.route.carry_out(&mut requests);
        made.map_err(|r| match r.errno {
            Errno::OPNOTSUPP => Error::Kernel { what: lacking },
            _ => step(&format!("make link {:?}", link.interface), r),
        })?;
        let other = inside(namespace, || settle(link)).map_err(Error::Socket)??;
        let On::Bridge { vlan, own: true, .. } = link.on else { return Ok(()) };
        // Where frames are shown to filters of IP (br_netfilter), a container that asks for itself by the host's address
        // is answered by its own port.
        let mut requests = Requests::new();
        links::set_hairpin(&mut requests, other);
        if let Some(vlan) = vlan {
            links::set_vlan(&mut requests, other, vlan);
        }
        self.requests(requests, "let the bridge send back")
    }

    /// The number of a device of the host; without a name, of that by which the default route leads.
    fn parent(&mut self, name: &str) -> Result<u32, Error> {
        if !name.is_empty() {
            return self.find(name).map(|link| link.index);
        }
        let routes = links::routes(&mut self.route).map_err(Error::Socket)?;
        let default = routes.iter().filter(|r| r.prefix == 0 && r.link != 0).min_by_key(|r| r.metric);
        default.map(|route| route.link).ok_or_else(|| {
            Error::Invalid("the host has no default route by which to choose a device: set --interface-name".into())
        })
    }

    /// Takes the link `interface` out of the namespace behind `namespace`.
    pub fn unlink(&mut self, interface: &str, namespace: BorrowedFd<'_>) -> Result<(), Error> {
        let mut within = inside(namespace, Kernel::open).map_err(Error::Socket)??;
        within.remove(interface)
    }

    /// Takes ports back, of which some may be gone.
    pub fn unpublish(&mut self, elements: &[(&'static str, Element)]) -> Result<(), Error> {
        let socket = self.filter()?;
        match firewall::change(elements, false).carry_out(socket) {
            Err(Refusal { errno: Errno::NOENT, .. }) => {}
            other => return other.map_err(|refusal| step("take ports back", refusal)),
        }
        let mut there = Vec::new();
        for map in firewall::maps() {
            match sys::nftables::elements(socket, sys::nftables::Family::Inet, firewall::TABLE, map) {
                Err(Errno::NOENT) => return Ok(()),
                other => there.extend(other.map_err(Error::Socket)?.into_iter().map(|e| (map, e))),
            }
        }
        there.retain(|e| elements.contains(e));
        self.batch(firewall::change(&there, false), "take ports back")
    }
}

/// Gives a link in the namespace of the calling thread its addresses and routes. Gives the number of its other end.
fn settle(link: &Link) -> Result<u32, Error> {
    let mut socket = Socket::open(Family::Route).map_err(Error::Socket)?;
    let found = links::find(&mut socket, &link.interface)
        .map_err(|errno| step(&format!("find link {:?}", link.interface), whole(errno)))?;
    let mut requests = Requests::new();
    for address in &link.addresses {
        links::add_address(&mut requests, found.index, address.address, address.prefix);
    }
    if link.announce {
        links::set_ipv4(&mut requests, found.index, &[(links::ipv4::ARP_NOTIFY, 1)]);
    }
    links::set_up(&mut requests, found.index, true);
    for route in &link.routes {
        let Subnet { address: destination, prefix } = route.destination;
        let (gateway, metric, link) = (route.gateway, route.metric, found.index);
        let kind = links::RouteKind::Unicast;
        links::add_route(&mut requests, &links::Route { destination, prefix, gateway, link, metric, table: 254, kind });
    }
    socket
        .carry_out(&mut requests)
        .map_err(|refusal| step(&format!("give link {:?} its addresses and routes", link.interface), refusal))?;
    Ok(found.other)
}

/// Gives a container's link, which is up, addresses and routes that it got later, in place of the address `before`.
pub(crate) fn settle_later(link: &Link, before: Option<Subnet>, namespace: BorrowedFd<'_>) -> Result<(), Error> {
    let within = || -> Result<(), Error> {
        if let Some(before) = before {
            let mut kernel = Kernel::open()?;
            let mut requests = Requests::new();
            links::delete_address(&mut requests, kernel.find(&link.interface)?.index, before.address, before.prefix);
            // Its routes go with it.
            match kernel.route.carry_out(&mut requests) {
                Ok(()) | Err(Refusal { errno: Errno::ADDRNOTAVAIL, .. }) => {}
                Err(refusal) => return Err(step("take an address away", refusal)),
            }
        }
        settle(link).map(drop)
    };
    inside(namespace, within).map_err(Error::Socket)?
}

/// Whether bridges can be made in this namespace, without making any: the kernel looks for the kind of link before it
/// refuses a packet size of 1, which no kind has.
pub fn available() -> Result<(), Error> {
    let mut socket = Socket::open(Family::Route).map_err(Error::Socket)?;
    let kinds = [
        (Kind::Bridge { vlan_filtering: false }, "bridges (CONFIG_BRIDGE)"),
        (Kind::Veth { peer: End::default() }, "pairs of links (CONFIG_VETH)"),
    ];
    for (kind, what) in kinds {
        let mut requests = Requests::new();
        links::add(&mut requests, End { mtu: 1, ..End::named("monopod-probe") }, kind);
        match socket.carry_out(&mut requests).map_err(|r| r.errno) {
            Err(Errno::OPNOTSUPP) => return Err(Error::Kernel { what }),
            Err(errno @ (Errno::PERM | Errno::ACCESS)) => return Err(step("make networks", whole(errno))),
            Err(_) => {}
            // Kernels before 5.0 do not look at the size.
            Ok(()) => {
                let link = links::find(&mut socket, "monopod-probe").map_err(Error::Socket)?;
                let mut requests = Requests::new();
                links::delete(&mut requests, link.index);
                socket.carry_out(&mut requests).map_err(|refusal| step("remove a link", refusal))?;
            }
        }
    }
    Ok(())
}

/// Whether the kernel has a packet filter, without which nothing can be published or passed on from bridges.
pub fn is_filtered() -> bool {
    let asked = sys::nftables::open().and_then(|mut socket| sys::nftables::ask_for_generation(&mut socket));
    // Of a kernel that has one and does not let us it is told when it is needed.
    !matches!(asked, Err(Errno::PROTONOSUPPORT | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOENT))
}

/// Earlier kernels would leave it out without a word.
fn knows_limit() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(4))
}

fn step(what: &str, refusal: Refusal) -> Error {
    Error::Step { step: what.to_owned(), refusal }
}

fn whole(errno: Errno) -> Refusal {
    Refusal { request: 0, errno }
}

/// The host passes packets on. Where that is set already nothing is written: /proc/sys may be read-only.
fn forward(path: &str) -> Result<(), Error> {
    if std::fs::read_to_string(path).is_ok_and(|t| t.trim() == "1") {
        return Ok(());
    }
    std::fs::write(path, "1").map_err(|source| Error::File { what: "write to", path: path.into(), source })
}
