//! Networks of users without root, behind the user's router: private ones of one container, and bridges, which are in the
//! router as root's are on the host. The router's process publishes the ports of both. Where the kernel has no packet
//! filter, root's bridges are in a router too: nothing could be published or passed on from them on the host.
//!
//! Its process and records are in `RUNROOT/network`, see [`usernet`]; what containers hold in bridges is in
//! `RUNROOT/networks` (root's in `RUNROOT/routed`), see [`network::ground`]; what a run got is in `network` of its directory.

use crate::container::config::Config;
use crate::database::Record;
use crate::{Engine, fault, rootless};
use monitor::record::Running;
use network::{Allotment, Definition, Ground};
use ops::{Fault, Kind};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use types::Id;
use types::port::{Protocol, Published};
use usernet::options::Options;
use usernet::router::LOOPBACK;
use usernet::{Attachment, Interface, Plan, Policy, Port, RESOLVER, Stack, Told, Way, World};

/// What is there before the container.
pub(crate) struct Begun {
    /// The process that serves it.
    pub stack: Stack,
    /// What it gets.
    pub plan: Plan,
}

/// Name of the file with the plan, in the directory of a run.
const FILE: &str = "network";
/// Name of the file that says, in the run directory, why there is no network of this kind.
const MISSING: &str = "no-network";
/// Name of the file that says there what the kernel lacks for the best one.
const LACKING: &str = "lacking-network";
/// Why root's bridges are behind a router.
pub(crate) const UNFILTERED: &str =
    "this kernel has no packet filter (CONFIG_NF_TABLES), so bridges are behind a router";

impl Engine {
    /// Starts what the container's network needs; `None` if it needs no router.
    pub(crate) fn begin_network(&self, config: &Config) -> Result<Option<Begun>, Fault> {
        let bridged = !config.attachments.is_empty() && self.are_routed(config, None)?;
        let options = match &config.private_network {
            Some(options) => options.clone(),
            None if bridged => Options::default(),
            None => return Ok(None),
        };
        let begun = self.join_router(config, &options);
        match begun {
            // Nobody asked for a network: a kernel that has none of this kind runs containers all the same, and `info` says
            // what it lacks.
            Err(error) if config.network_by_default && config.ports.is_empty() && lacks(&error) => {
                let _ = std::fs::write(self.settings.run_root.join(MISSING), fault::sentence(&error));
                Ok(None)
            }
            other => other.map(Some).map_err(failed),
        }
    }

    /// Whether a container's networks, and the one `more` that it is to join, are behind a router. One that is and one that is
    /// of the host's own cannot be had together.
    pub(crate) fn are_routed(&self, config: &Config, more: Option<&Definition>) -> Result<bool, Fault> {
        if self.host()?.in_user_namespace || self.is_filtered() {
            return Ok(self.host()?.in_user_namespace);
        }
        let definitions = self.networks();
        let all = config.attachments.iter().map(|a| definitions.find(&a.network).map_err(fault::network));
        let all = all.chain(more.map(|network| Ok(network.clone()))).collect::<Result<Vec<_>, Fault>>()?;
        match all.iter().find(|network| !network.is_bridge()) {
            None => Ok(true),
            Some(_) if !all.iter().any(|network| network.is_bridge()) => Ok(false),
            Some(other) => Err(Fault::new(
                Kind::Unsupported,
                format!(
                    "network {:?} of driver {} cannot be had beside a bridge: {UNFILTERED}",
                    other.name, other.driver
                ),
            )
            .hint("put the container into networks of one of both kinds alone")),
        }
    }

    /// Enters the network namespace in which the bridges of a user's containers are, and makes it if it is not there.
    pub(crate) fn enter_router(&self) -> Result<(), Fault> {
        let stack = self.join_stack().map_err(failed)?;
        sys::namespaces::enter(stack.namespace().as_fd(), sys::clone::NEW_NET)
            .map_err(|e| Fault::new(Kind::Unsupported, format!("the network of containers cannot be entered: {e}")))
    }

    /// What there is before a container that runs, and is or was in bridges.
    pub(crate) fn rejoin_router(&self, config: &Config) -> Result<Begun, Fault> {
        self.join_router(config, &Options::default()).map_err(failed)
    }

    /// The bridges and ports of a container that runs are served as it holds them now.
    pub(crate) fn serve_bridges(&self, begun: &Begun, config: &Config, record: &Record) -> Result<(), Fault> {
        let running = Running::read(&self.run_directory(&record.id, record.run));
        let (Some(running), Some(allotment)) = (running, self.present_allotment(record)) else { return Ok(()) };
        let (interfaces, ports) = bridged(begun, config, &allotment);
        self.serve(begun, config.id.as_str(), &running, interfaces, ports)
    }

    fn serve(
        &self,
        begun: &Begun,
        id: &str,
        running: &Running,
        interfaces: Vec<Interface>,
        ports: Vec<Port>,
    ) -> Result<(), Fault> {
        let (pid, start_time) = (running.pid, running.start_time);
        let attachment = Attachment { id: id.to_owned(), pid, start_time, interfaces, ports };
        begun.stack.attach(&attachment).map_err(|error| self.refused(error, id))
    }

    /// What a container that runs got in its private network, or behind its bridges.
    pub(crate) fn private_plan(&self, record: &Record) -> Option<Plan> {
        let path = self.run_directory(&record.id, record.run).join(FILE);
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Why containers of a user without root had no network when the last was started; empty if they had.
    pub(crate) fn missing_network(&self) -> String {
        std::fs::read_to_string(self.settings.run_root.join(MISSING)).unwrap_or_default()
    }

    /// What the kernel lacks for the network that such containers have; empty if nothing.
    pub(crate) fn lacking_network(&self) -> String {
        std::fs::read_to_string(self.settings.run_root.join(LACKING)).unwrap_or_default()
    }

    /// Writes down what a network that is there tells of the kernel, for `info`.
    fn note_way(&self, way: Way) {
        let path = |name| self.settings.run_root.join(name);
        let _ = std::fs::remove_file(path(MISSING));
        match way.lacks() {
            "" => drop(std::fs::remove_file(path(LACKING))),
            text => drop(std::fs::write(path(LACKING), text)),
        }
    }

    /// The process behind all containers of the user, started if it does not run.
    fn join_stack(&self) -> Result<Stack, usernet::Error> {
        let holders = || rootless::living(&self.settings.run_root).into_iter().map(|(pid, _)| pid).collect();
        Stack::join(&self.router_directory(), holders, || {
            // The bridges of an earlier router went with it.
            let _ = std::fs::remove_dir_all(self.holdings());
            let made = usernet::router::make()?;
            self.note_way(made.1);
            Ok(made)
        })
    }

    fn join_router(&self, config: &Config, options: &Options) -> Result<Begun, usernet::Error> {
        let world = World::read(&options.template)?;
        let stack = self.join_stack()?;
        let mut plan = usernet::plan(options, &world);
        if config.private_network.is_none() {
            // Its addresses are those of its networks, and its gateways too.
            (plan.addresses, plan.gateways) = Default::default();
            (plan.policy.router, plan.policy.gateway) = Default::default();
        }
        Ok(Begun { stack, plan })
    }

    fn router_directory(&self) -> PathBuf {
        self.settings.run_root.join("network")
    }

    /// What containers hold in the router's bridges.
    fn holdings(&self) -> PathBuf {
        // Those that are on the host's own network may be beside.
        self.settings.run_root.join(if self.settings.uid == 0 { "routed" } else { "networks" })
    }

    /// Ties the parked process of a container to the router, and opens its ports. If that fails the process is ended.
    pub(crate) fn finish_network(
        &self,
        begun: &Begun,
        config: &Config,
        run_directory: &Path,
        allotment: Option<&Allotment>,
    ) -> Result<(), Fault> {
        let running = Running::read(run_directory)
            .ok_or_else(|| Fault::internal("the container's process ended before its network was there"))?;
        self.tie(begun, config, &running, run_directory, allotment).inspect_err(|_| {
            let _ = sys::process::kill(running.pid, running.start_time, 9);
        })
    }

    fn tie(
        &self,
        begun: &Begun,
        config: &Config,
        running: &Running,
        run_directory: &Path,
        allotment: Option<&Allotment>,
    ) -> Result<(), Fault> {
        let id = config.id.as_str();
        let (interfaces, ports) = match allotment {
            Some(allotment) => bridged(begun, config, allotment),
            None => {
                let namespace = sys::netlink::namespace_of(running.pid)
                    .map_err(|e| Fault::internal(format!("cannot open the container's network namespace: {e}")))?;
                let router = begun.stack.namespace().as_fd();
                usernet::router::connect(router, namespace.as_fd(), id, &begun.plan).map_err(failed)?;
                let name = usernet::router::link_name(id);
                let to = begun.plan.addresses.iter().map(|(ip, _)| *ip).collect::<Vec<_>>();
                let ports = config.ports.iter().flat_map(|port| single(port, &name, &to)).collect();
                (vec![begun.plan.interface(name)], ports)
            }
        };
        self.serve(begun, id, running, interfaces, ports)?;
        let path = run_directory.join(FILE);
        let text = serde_json::to_vec(&begun.plan).map_err(Fault::internal)?;
        std::fs::write(&path, text).map_err(|e| Fault::internal(format!("cannot write {path:?}: {e}")))
    }

    /// Why a container is not served; a port in use is told with who has it.
    fn refused(&self, error: usernet::Error, own: &str) -> Fault {
        let usernet::Error::Told(Told { port: Some((port, errno)), .. }) = &error else { return failed(error) };
        let errno = Errno::from_raw_os_error(*errno);
        if errno != Errno::ADDRINUSE {
            return port_fault(port, errno);
        }
        let same = |p: &usernet::Port| p.host == port.host && p.protocol == port.protocol;
        let holder = Attachment::all(&self.router_directory())
            .into_iter()
            .find(|other| other.id != own && other.ports.iter().any(same));
        match holder.and_then(|other| self.record_of(&other.id).ok()) {
            Some(record) => {
                let fault = port_fault(port, errno);
                Fault { message: format!("{} by container {}", fault.message, record.name), ..fault }
            }
            None => {
                let protocol = if port.protocol == usernet::Protocol::Tcp { Protocol::Tcp } else { Protocol::Udp };
                let (host_ip, host, container) = (port.host_ip, port.host, port.container);
                let asked = Published { host_ip, host, container, count: 1, protocol };
                network::ground::ports::check(&asked).map_or_else(fault::network, |()| port_fault(port, errno))
            }
        }
    }

    /// The router, if it is there.
    pub(crate) fn router(&self) -> Option<Stack> {
        Stack::find(&self.router_directory())
    }

    /// Does something with the ground of the router's network namespace.
    pub(crate) fn on_routed_ground<T: Send>(
        &self,
        stack: &Stack,
        work: impl FnOnce(&Ground) -> Result<T, network::Error> + Send,
    ) -> Result<T, Fault> {
        let (base, boot, unfiltered) = (self.holdings(), self.boot().to_owned(), !stack.way().is_filtered());
        let done = usernet::router::inside(stack.namespace().as_fd(), || {
            Ok(Ground::here(&base, &boot).and_then(|ground| work(&ground.asking(RESOLVER).unfiltered(unfiltered))))
        });
        done.map_err(failed)?.map_err(fault::network)
    }

    /// Takes back what a container holds in the router's bridges. A router that nobody serves is on its way out, and takes
    /// with it what is in the kernel.
    pub(crate) fn release_routed(&self, id: &Id) {
        if !self.holdings().exists() {
            return;
        }
        match self.router() {
            Some(stack) => {
                let _ = self.on_routed_ground(&stack, |ground| ground.release(id));
            }
            None => Ground::forget(&self.holdings(), self.boot(), id),
        }
    }

    /// What the ground of the router tells, if there is one.
    pub(crate) fn routed<T: Send>(&self, look: impl FnOnce(&Ground) -> Option<T> + Send) -> Option<T> {
        let stack = self.router()?;
        self.on_routed_ground(&stack, |ground| Ok(look(ground))).ok()?
    }
}

/// What is served of a container in bridges: what comes by these, and its ports, at its first address of each version.
fn bridged(begun: &Begun, config: &Config, allotment: &Allotment) -> (Vec<Interface>, Vec<Port>) {
    let answered = allotment.networks.values().any(|network| network.dns_enabled);
    // Whoever answers for names there asks the host's servers this way.
    let servers = || {
        let own = allotment.networks.values().flat_map(|network| &network.network_dns_servers).copied();
        let all: BTreeSet<IpAddr> = own.chain(allotment.holding.servers.iter().copied()).chain([RESOLVER]).collect();
        all.into_iter().collect()
    };
    let questions = answered.then(|| Interface {
        name: LOOPBACK.to_owned(),
        policy: Policy { servers: servers(), ..begun.plan.policy.clone() },
    });
    let interfaces = allotment.networks.values().map(|network| {
        let gateways: Vec<IpAddr> = network.subnets.iter().filter_map(|pool| pool.gateway).collect();
        let (router, gateway) = (gateways.clone(), gateways);
        let policy = Policy { router, gateway, closed: network.internal, ..begun.plan.policy.clone() };
        Interface { name: network.network_interface.clone(), policy }
    });
    let joint = allotment.holding.joints.iter().find(|joint| !joint.addresses.is_empty());
    let ports = joint.and_then(|joint| {
        let bridge = &allotment.networks.get(&joint.network)?.network_interface;
        let to: Vec<IpAddr> = joint.addresses.iter().map(|a| a.address).collect();
        Some(config.ports.iter().flat_map(|port| single(port, bridge, &to)).collect())
    });
    (interfaces.chain(questions).collect(), ports.unwrap_or_default())
}

/// Each of some published ports, at `to` behind the router's link `interface`.
fn single(ports: &Published, interface: &str, to: &[IpAddr]) -> Vec<Port> {
    let protocol = match ports.protocol {
        Protocol::Tcp => usernet::Protocol::Tcp,
        Protocol::Udp => usernet::Protocol::Udp,
        // Refused when it was asked for.
        Protocol::Sctp => return Vec::new(),
    };
    let one = |n: u16| Port {
        protocol,
        host_ip: ports.host_ip,
        host: ports.host.saturating_add(n),
        container: ports.container.saturating_add(n),
        interface: interface.to_owned(),
        to: to.to_vec(),
    };
    (0..ports.count).map(one).collect()
}

/// True if it is the kernel that cannot do this, however often it is tried.
fn lacks(error: &usernet::Error) -> bool {
    match error {
        usernet::Error::Router { source, .. } => matches!(
            *source,
            Errno::NOENT
                | Errno::OPNOTSUPP
                | Errno::PROTONOSUPPORT
                | Errno::AFNOSUPPORT
                | Errno::NODEV
                | Errno::NOSYS
                | Errno::INVAL
                | Errno::PERM
        ),
        _ => false,
    }
}

/// Errors of the room.
fn failed(error: usernet::Error) -> Fault {
    use usernet::Error;
    let text = fault::sentence(&error);
    match &error {
        Error::Template(_) => Fault::invalid(text),
        Error::Told(told) => match &told.port {
            Some((port, errno)) => port_fault(port, Errno::from_raw_os_error(*errno)),
            None => Fault::internal(text),
        },
        _ => Fault::internal(text),
    }
}

fn port_fault(port: &Port, errno: Errno) -> Fault {
    let ip = port.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
    let what = format!("cannot listen on {ip}:{}/{}", port.host, port.protocol.word());
    match errno {
        Errno::ADDRINUSE => Fault::new(Kind::Conflict, format!("{what}: address already in use")),
        Errno::ACCESS | Errno::PERM => {
            let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
            let first = if first.trim().is_empty() { "1024" } else { first.trim() };
            Fault::new(Kind::Denied, format!("{what}: permission denied: ports below {first} are root's")).hint(
                format!(
                    "set the kernel parameter net.ipv4.ip_unprivileged_port_start={}, or choose a port from {first} on",
                    port.host
                ),
            )
        }
        Errno::ADDRNOTAVAIL => Fault::invalid(format!("{what}: this host does not have that address")),
        other => Fault::internal(format!("{what}: {other}")),
    }
}
