//! The ground of a network namespace: a directory with the file `holdings` (JSON of [`State`], renamed into place), under
//! flock(2) on the directory. It is there while a container has a network in the namespace.
//!
//! Order of a start: [`Ground::allot`] writes down what the container is to hold, [`Ground::raise`] makes the bridges and
//! rules that are missing, [`Ground::attach`] gives its links and ports. [`Ground::release`] takes all of it back, first in
//! the kernel, then in the file. Whoever is killed in between leaves a holding whose process is gone: the next command
//! that comes here releases it.

use crate::carry::Kernel;
use crate::definition::Definition;
use crate::holding::{Attachment, Holding, Joint};
use crate::plan::Step;
use crate::{Error, firewall, plan};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind::{AlreadyExists, NotFound};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use sys::netlink::{Family, Socket};
use types::Id;
use types::port::{Protocol, Published};

const FILE: &str = "holdings";
/// How often a directory may vanish before it is locked: others remove theirs in between, a path that leads nowhere stays so.
const TRIES: u32 = 10_000;

/// Where the holdings of a network namespace are written down.
#[derive(Debug, Clone)]
pub struct Ground {
    directory: PathBuf,
    boot: String,
    /// Who is asked about names that no container has, by way of the loopback device; the host's servers otherwise.
    resolver: Option<IpAddr>,
    /// See [`Ground::unfiltered`].
    unfiltered: bool,
}

/// Contents of the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The boot it is of.
    boot: String,
    /// See [`Ground::unfiltered`].
    #[serde(default)]
    unfiltered: bool,
    /// Networks that are up, as they were defined then.
    networks: BTreeMap<String, Definition>,
    /// Those of them that were being set up or taken down when this was written: what the kernel has of them is not known.
    #[serde(default)]
    unfinished: Vec<String>,
    /// Who holds what.
    holdings: Vec<Holding>,
    /// The address of a network that was given last, so that one that was just given back is not given at once.
    last: BTreeMap<String, IpAddr>,
    /// Addresses of the host's devices, on which containers may be: looked up when they are needed.
    #[serde(skip)]
    host: Vec<IpAddr>,
}

/// What a container is to have.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The container.
    pub id: &'a Id,
    /// Its name.
    pub name: &'a str,
    /// Its networks, with their definitions.
    pub networks: Vec<(Attachment, Definition)>,
    /// Its published ports; all have a number.
    pub ports: &'a [Published],
    /// Servers that its queries are passed on to.
    pub servers: Vec<IpAddr>,
}

/// What it got.
#[derive(Debug, Clone)]
pub struct Allotment {
    /// Its holding.
    pub holding: Holding,
    /// Its networks.
    pub networks: BTreeMap<String, Definition>,
}

struct Locked<'a> {
    ground: &'a Ground,
    state: State,
    _lock: OwnedFd,
}

impl Ground {
    /// That of the calling thread's network namespace, in a directory below `base`.
    pub fn here(base: &Path, boot: &str) -> Result<Ground, Error> {
        let number = rustix::fs::stat("/proc/thread-self/ns/net").map_err(Error::Socket)?.st_ino;
        Ok(Ground::at(base.join(number.to_string()), boot))
    }

    /// The same in a namespace that leads nowhere: names that no container has are asked of `resolver`, and of no others,
    /// by sockets that are tied to the loopback device.
    pub fn asking(self, resolver: IpAddr) -> Ground {
        Ground { resolver: Some(resolver), ..self }
    }

    /// The same in a namespace that has no packet filter if `unfiltered`: then bridges are made and nothing is passed on from
    /// one to another or beyond; whoever asks for such a ground publishes ports itself.
    pub fn unfiltered(self, unfiltered: bool) -> Ground {
        Ground { unfiltered, ..self }
    }

    /// See [`Ground::asking`].
    pub(crate) fn resolver(&self) -> Option<IpAddr> {
        self.resolver
    }

    /// The one in this directory.
    pub(crate) fn at(directory: PathBuf, boot: &str) -> Ground {
        Ground { directory, boot: boot.to_owned(), resolver: None, unfiltered: false }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn boot(&self) -> &str {
        &self.boot
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// True if nobody holds anything here; asks only whether the file is there.
    pub fn is_empty(&self) -> bool {
        !self.directory.join(FILE).exists()
    }

    fn fail(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::File { what, path, source }
    }

    fn lock(&self) -> Result<Locked<'_>, Error> {
        let directory = &self.directory;
        let mut tries = 0;
        let lock = loop {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            let made = made.map_err(|e| ("make directory", e));
            match made.and_then(|()| self.locked(FlockOperation::LockExclusive).map_err(|e| ("lock", e))) {
                Ok(Some(fd)) => break fd,
                // Whoever had it last removed the directory, or that of all.
                Ok(None) => {}
                Err((_, e)) if tries < TRIES && matches!(e.kind(), NotFound | AlreadyExists) => tries += 1,
                Err((what, e)) => return Err(Self::fail(what, directory)(e)),
            }
        };
        let state = self.read().unwrap_or_default();
        let unfiltered = state.unfiltered || self.unfiltered;
        Ok(Locked { ground: self, state: State { boot: self.boot.clone(), unfiltered, ..state }, _lock: lock })
    }

    /// The lock of the directory; `None` if another directory is there by the time it is had.
    fn locked(&self, how: FlockOperation) -> std::io::Result<Option<OwnedFd>> {
        let fd = rustix::fs::open(&self.directory, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, how))?;
        let (ours, there) = (rustix::fs::fstat(&fd)?, rustix::fs::stat(&self.directory)?);
        Ok((ours.st_ino == there.st_ino && ours.st_dev == there.st_dev).then_some(fd))
    }

    /// Writes down what a container is to hold: free addresses, ports that nobody has. Nothing is told to the kernel but to
    /// give back what the dead hold.
    pub fn allot(&self, wanted: &Wanted<'_>) -> Result<Allotment, Error> {
        for (_, network) in &wanted.networks {
            plan::check(network)?;
        }
        let mut locked = self.lock()?;
        let allotted = locked.allot(wanted);
        if allotted.is_err() {
            // What the dead held is given back all the same, and a ground that nobody is on goes.
            let _ = locked.write();
        }
        allotted
    }

    /// Makes the bridges and rules of the networks of an allotment that are not there.
    pub fn raise(&self, allotment: &Allotment) -> Result<(), Error> {
        let mut locked = self.lock()?;
        let is_up = |state: &State, name| state.networks.contains_key(name) && !state.unfinished.contains(name);
        let fresh: Vec<&Definition> = allotment.networks.values().filter(|n| !is_up(&locked.state, &n.name)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        // Written first: whoever comes after a kill knows what to make anew, or to take down.
        for network in &fresh {
            locked.state.networks.insert(network.name.clone(), (*network).clone());
            locked.state.unfinished.push(network.name.clone());
        }
        locked.write()?;
        self.forget_other_boots();
        let mut kernel = locked.kernel()?;
        locked.make(&mut kernel, fresh)?;
        locked.state.unfinished.clear();
        locked.write()?;
        locked.keep()
    }

    /// Gives process `pid`, which started at `since` and has a network namespace of its own, the links and ports of a
    /// holding. From then on the holding lives and dies with it.
    pub fn attach(&self, id: &Id, pid: i32, since: u64) -> Result<Holding, Error> {
        let mut locked = self.lock()?;
        let networks = locked.state.networks.clone();
        let holding = locked.state.holdings.iter_mut().find(|h| h.id == *id).ok_or(Error::Gone)?;
        (holding.pid, holding.since) = (pid, since);
        let holding = holding.clone();
        let namespace = sys::netlink::namespace_of(pid).map_err(Error::Socket)?;
        if !sys::process::is_alive(pid, since) {
            return Err(Error::Gone);
        }
        locked.write()?;
        let mut kernel = locked.kernel()?;
        for (at, joint) in holding.joints.iter().enumerate() {
            let network = networks.get(&joint.network).ok_or(Error::Gone)?;
            let Step::Link(link) = plan::join(network, joint, at) else { continue };
            match kernel.link(&link, namespace.as_fd()) {
                // Somebody else took the bridge away, or all this was written down of an earlier namespace, whose number
                // ours has now.
                Err(Error::Step { refusal, .. }) if refusal.errno == Errno::NODEV && network.is_bridge() => {
                    locked.make(&mut kernel, networks.values())?;
                    kernel.link(&link, namespace.as_fd())?;
                }
                other => other?,
            }
        }
        for step in plan::publish(&holding, &networks) {
            kernel.carry_out(&step)?;
        }
        forget_flows(&holding);
        locked.keep()?;
        let answered =
            holding.joints.iter().map(|j| &j.network).filter(|n| networks.get(*n).is_some_and(|n| n.dns_enabled));
        let answered: Vec<String> = answered.cloned().collect();
        if !answered.is_empty() {
            crate::keeper::wait_until_served(self, &answered)?;
        }
        self.borrow(id, namespace.as_fd())?;
        Ok(holding)
    }

    /// Takes back all that a container holds. One that holds nothing is fine.
    pub fn release(&self, id: &Id) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        let mut locked = self.lock()?;
        let before = locked.state.holdings.len();
        locked.release(id)?;
        locked.collect()?;
        // Of those that held nothing there is nothing to write down; a ground that went meanwhile goes again.
        if locked.state.holdings.len() != before || self.is_empty() {
            locked.write()?;
        }
        locked.keep()
    }

    /// A container holds nothing any more in the grounds below `base`, whose namespaces are gone or about to: only told to
    /// who keeps one of them.
    pub fn forget(base: &Path, boot: &str, id: &Id) {
        for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
            let ground = Ground::at(entry.path(), boot);
            if ground.holding(id).is_none() {
                continue;
            }
            let Ok(mut locked) = ground.lock() else { continue };
            locked.state.holdings.retain(|holding| holding.id != *id);
            if locked.state.holdings.is_empty() && crate::keeper::lock(&ground).is_some() {
                // Nobody else is there to take it down.
                locked.state.networks.clear();
            }
            let _ = locked.write();
        }
    }

    /// Takes away what grounds of an earlier boot have left, whose namespaces went with it.
    fn forget_other_boots(&self) {
        let all = self.directory.parent().map(std::fs::read_dir);
        for entry in all.into_iter().flatten().flatten().flatten() {
            let ground = Ground::at(entry.path(), &self.boot);
            if !ground.is_of_another_boot() {
                continue;
            }
            // Who has it locked is making it a ground of this boot: it may have become one just now.
            let lock = ground.locked(FlockOperation::NonBlockingLockExclusive);
            if matches!(lock, Ok(Some(_))) && ground.is_of_another_boot() {
                let _ = std::fs::remove_dir_all(&ground.directory);
            }
        }
    }

    fn is_of_another_boot(&self) -> bool {
        let text = std::fs::read(self.path(FILE)).unwrap_or_default();
        serde_json::from_slice::<State>(&text).is_ok_and(|state| state.boot != self.boot)
    }

    /// The keeper's lock, if it is free.
    pub(crate) fn keeper(&self) -> Result<Option<OwnedFd>, Error> {
        let _locked = self.lock()?;
        Ok(crate::keeper::lock(self))
    }

    /// Networks that are up, and what all containers hold.
    pub(crate) fn networks_and_holdings(&self) -> (BTreeMap<String, Definition>, Vec<Holding>) {
        let state = self.read().unwrap_or_default();
        (state.networks, state.holdings)
    }

    /// Takes down what nobody is in, by the keeper, whose lock is let go of if it is not needed any more: true if it is.
    pub(crate) fn settle(&self, keeper: &mut Option<OwnedFd>) -> Result<bool, Error> {
        let mut locked = self.lock()?;
        locked.collect()?;
        locked.lower()?;
        // Under the lock of the ground: whoever needs a keeper next sees that there is none.
        let needed = locked.state.networks.values().any(Definition::is_kept);
        if !needed && let Some(lock) = keeper.take() {
            // Not by closing it: the other half of the keeper has it too.
            let _ = rustix::fs::flock(&lock, FlockOperation::Unlock);
        }
        locked.write()?;
        Ok(needed)
    }

    /// Adds a network to a container that runs.
    pub fn connect(&self, id: &Id, asked: &Attachment, network: &Definition) -> Result<(), Error> {
        plan::check(network)?;
        let (allotment, network) = {
            let mut locked = self.lock()?;
            let network = &elsewhere::placed(&locked.state, network)?;
            let before = locked.state.holdings.iter().find(|h| h.id == *id).map(|h| h.joints.clone());
            let joint = locked.state.join(asked, network, &before.ok_or(Error::Gone)?)?;
            let holding = locked.state.holdings.iter_mut().find(|h| h.id == *id).ok_or(Error::Gone)?;
            holding.joints.push(joint);
            let holding = holding.clone();
            locked.write()?;
            let networks = BTreeMap::from([(network.name.clone(), network.clone())]);
            (Allotment { holding, networks }, network.clone())
        };
        let holding = &allotment.holding;
        let made = self.raise(&allotment).and_then(|()| {
            let namespace = sys::netlink::namespace_of(holding.pid).map_err(Error::Socket)?;
            let (at, joint) = holding.joints.iter().enumerate().next_back().ok_or(Error::Gone)?;
            match plan::join(&network, joint, at) {
                Step::Link(link) if holding.lives() => Kernel::open()?.link(&link, namespace.as_fd())?,
                _ => return Err(Error::Gone),
            }
            self.publish_anew(holding)?;
            self.borrow(id, namespace.as_fd())
        });
        if made.is_err() {
            self.disconnect(id, &network.name)?;
        }
        made
    }

    /// Ports that led nowhere, of one version at least, lead to the place that a container has got last.
    fn publish_anew(&self, holding: &Holding) -> Result<(), Error> {
        let mut before = holding.clone();
        before.joints.pop();
        if firewall::ports(&before) == firewall::ports(holding) {
            return Ok(());
        }
        let locked = self.lock()?;
        let mut kernel = locked.kernel()?;
        kernel.unpublish(&firewall::ports(&before))?;
        plan::publish(holding, &locked.state.networks).iter().try_for_each(|step| kernel.carry_out(step))
    }

    /// Takes a network from a container that runs. One that it is not in is fine.
    pub fn disconnect(&self, id: &Id, network: &str) -> Result<(), Error> {
        let mut locked = self.lock()?;
        let Some(at) = locked.state.holdings.iter().position(|h| h.id == *id) else { return Ok(()) };
        let before = locked.state.holdings[at].clone();
        let Some(joint) = before.joints.iter().find(|j| j.network == network) else { return Ok(()) };
        if before.lives() {
            let namespace = sys::netlink::namespace_of(before.pid).map_err(Error::Socket)?;
            Kernel::open()?.unlink(&joint.interface, namespace.as_fd())?;
        }
        locked.state.holdings[at].joints.retain(|j| j.network != network);
        // Published ports lead to another of its addresses now, or nowhere.
        let after = locked.state.holdings[at].clone();
        if !before.ports.is_empty() {
            let mut kernel = Kernel::open()?;
            kernel.unpublish(&firewall::ports(&before))?;
            for step in plan::publish(&after, &locked.state.networks) {
                kernel.carry_out(&step)?;
            }
        }
        locked.write()?;
        locked.keep()
    }

    /// Makes bridges and rules anew, and publishes all ports again: for when somebody else took them away.
    pub fn reload(&self) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        let locked = self.lock()?;
        let mut kernel = locked.kernel()?;
        let all: Vec<Definition> = locked.state.networks.values().cloned().collect();
        for step in all.iter().flat_map(plan::raise) {
            kernel.carry_out(&step)?;
        }
        if all.iter().any(Definition::is_bridge) {
            kernel.batch(firewall::nothing(), "take the packet filter down")?;
            kernel.batch(firewall::rules(&all), "set up the packet filter")?;
        }
        for holding in &locked.state.holdings {
            for step in plan::publish(holding, &locked.state.networks) {
                kernel.carry_out(&step)?;
            }
        }
        Ok(())
    }

    /// Tells the ground of another definition of a network that is up.
    pub fn redefine(&self, network: &Definition) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        let mut locked = self.lock()?;
        if let Some(there) = locked.state.networks.get_mut(&network.name) {
            *there = network.clone();
            locked.write()?;
        }
        Ok(())
    }

    /// Takes a network down at once, if nobody is in it.
    pub fn take_down(&self, network: &str) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        let mut locked = self.lock()?;
        if locked.state.networks.contains_key(network) {
            locked.collect()?;
            locked.lower()?;
            locked.write()?;
        }
        Ok(())
    }

    /// What a container holds.
    pub fn holding(&self, id: &Id) -> Option<Holding> {
        self.holdings().into_iter().find(|h| h.id == *id)
    }

    /// What a container holds, and its networks as they are up.
    pub fn allotment(&self, id: &Id) -> Option<Allotment> {
        let state = self.read()?;
        let holding = state.holdings.iter().find(|h| h.id == *id)?.clone();
        let up = |joint: &Joint| Some((joint.network.clone(), state.networks.get(&joint.network)?.clone()));
        let networks = holding.joints.iter().filter_map(up).collect();
        Some(Allotment { holding, networks })
    }

    /// A network as it is up, or would be.
    pub fn network(&self, network: &Definition) -> Result<Definition, Error> {
        elsewhere::placed(&self.read().unwrap_or_default(), network)
    }

    /// What all containers hold.
    pub fn holdings(&self) -> Vec<Holding> {
        self.read().map(|s| s.holdings).unwrap_or_default()
    }

    fn read(&self) -> Option<State> {
        let text = std::fs::read(self.directory.join(FILE)).ok()?;
        serde_json::from_slice::<State>(&text).ok().filter(|s| s.boot == self.boot)
    }
}

impl Locked<'_> {
    fn write(&self) -> Result<(), Error> {
        let directory = &self.ground.directory;
        let path = directory.join(FILE);
        if self.state.holdings.is_empty() && self.state.networks.is_empty() {
            let _ = std::fs::remove_file(&path);
            for name in ["keeper", "served"] {
                let _ = std::fs::remove_file(directory.join(name));
            }
            let _ = std::fs::remove_dir(directory);
            // The directory of all namespaces goes with the last of them.
            let _ = directory.parent().map(std::fs::remove_dir);
            return Ok(());
        }
        let write = || {
            let temporary = directory.join("holdings.new");
            std::fs::write(&temporary, serde_json::to_vec(&self.state)?)?;
            std::fs::rename(&temporary, &path)
        };
        write().map_err(Ground::fail("write", &path))
    }

    fn kernel(&self) -> Result<Kernel, Error> {
        Ok(Kernel::open()?.unfiltered(self.state.unfiltered))
    }

    /// Makes the bridges of these networks, and the rules of all.
    fn make<'a>(&self, kernel: &mut Kernel, these: impl IntoIterator<Item = &'a Definition>) -> Result<(), Error> {
        for step in these.into_iter().flat_map(plan::raise) {
            kernel.carry_out(&step)?;
        }
        let all: Vec<Definition> = self.state.networks.values().cloned().collect();
        match all.iter().any(Definition::is_bridge) {
            true => kernel.batch(firewall::rules(&all), "set up the packet filter"),
            false => Ok(()),
        }
    }

    fn allot(&mut self, wanted: &Wanted<'_>) -> Result<Allotment, Error> {
        self.collect()?;
        if self.state.holdings.iter().any(|h| h.id == *wanted.id) {
            self.release(wanted.id)?;
        }
        let networks: Vec<(&Attachment, Definition)> = wanted
            .networks
            .iter()
            .map(|(attachment, network)| Ok((attachment, elsewhere::placed(&self.state, network)?)))
            .collect::<Result<_, Error>>()?;
        let taken = self.state.port_holder(wanted.ports);
        if let Some((port, holder)) = taken {
            return Err(port_taken(&port, format!(" by container {holder}")));
        }
        for port in wanted.ports {
            crate::ground::ports::check(port)?;
        }
        if networks.iter().any(|(_, network)| !network.is_bridge()) {
            let mut socket = Socket::open(Family::Route).map_err(Error::Socket)?;
            let addresses = sys::links::addresses(&mut socket).map_err(Error::Socket)?;
            self.state.host = addresses.into_iter().map(|(_, address, _)| address).collect();
        }
        let mut joints: Vec<Joint> = Vec::new();
        for (attachment, network) in &networks {
            let joint = self.state.join(attachment, network, &joints)?;
            joints.push(joint);
        }
        let own = std::process::id() as i32;
        if !wanted.ports.is_empty() && joints.iter().all(|joint| joint.direct) {
            let names: Vec<&str> = joints.iter().map(|j| j.network.as_str()).collect();
            return Err(Error::Invalid(format!(
                "ports cannot be published in network {}: its containers are reached at their own addresses",
                names.join(", ")
            )));
        }
        let holding = Holding {
            id: wanted.id.clone(),
            name: wanted.name.to_owned(),
            pid: own,
            since: sys::process::start_time(own).map_err(Error::Socket)?,
            joints,
            ports: wanted.ports.to_vec(),
            servers: wanted.servers.clone(),
        };
        self.state.holdings.push(holding.clone());
        self.write()?;
        let networks = networks.into_iter().map(|(_, network)| (network.name.clone(), network)).collect();
        Ok(Allotment { holding, networks })
    }

    /// Releases what the dead hold.
    fn collect(&mut self) -> Result<(), Error> {
        let dead: Vec<Id> = self.state.holdings.iter().filter(|h| !h.lives()).map(|h| h.id.clone()).collect();
        dead.iter().try_for_each(|id| self.release(id))
    }

    /// Starts a keeper, if there is something for it to do and none is there.
    fn keep(self) -> Result<(), Error> {
        if self.idle().is_empty() && !self.state.networks.values().any(Definition::is_kept) {
            return Ok(());
        }
        match crate::keeper::lock(self.ground) {
            None => Ok(()),
            Some(free) => {
                drop(free);
                crate::keeper::start(self.ground)
            }
        }
    }

    /// Networks that nobody is in.
    fn idle(&self) -> Vec<String> {
        let used = |name: &String| self.state.holdings.iter().flat_map(|h| &h.joints).any(|j| j.network == *name);
        self.state.networks.keys().filter(|n| !used(n)).cloned().collect()
    }

    /// Takes a container's ports back, and forgets it; its links go with its processes.
    fn release(&mut self, id: &Id) -> Result<(), Error> {
        let Some(at) = self.state.holdings.iter().position(|h| h.id == *id) else { return Ok(()) };
        let elements = firewall::ports(&self.state.holdings[at]);
        if !elements.is_empty() {
            Kernel::open()?.unpublish(&elements)?;
            forget_flows(&self.state.holdings[at]);
        }
        self.state.holdings.remove(at);
        Ok(())
    }

    /// Takes down networks that nobody is in.
    fn lower(&mut self) -> Result<(), Error> {
        let idle = self.idle();
        if idle.is_empty() {
            return Ok(());
        }
        self.state.unfinished.extend(idle.iter().cloned());
        self.write()?;
        let mut kernel = self.kernel()?;
        let mut filtered = false;
        for name in idle {
            self.state.unfinished.retain(|unfinished| *unfinished != name);
            if let Some(network) = self.state.networks.remove(&name) {
                self.state.last.remove(&name);
                // A device of the host's is not ours to take away.
                if network.is_bridge() {
                    filtered = true;
                    kernel.remove(&network.network_interface)?;
                }
            }
        }
        if !filtered {
            return Ok(());
        }
        let left: Vec<Definition> = self.state.networks.values().filter(|n| n.is_bridge()).cloned().collect();
        let batch = if left.is_empty() { firewall::nothing() } else { firewall::rules(&left) };
        kernel.batch(batch, "take the packet filter down")
    }
}

/// Whoever goes on sending datagrams to a port is heard by who has it now, not by who had it when they began.
fn forget_flows(holding: &Holding) {
    let datagrams = holding.ports.iter().filter(|port| port.protocol == Protocol::Udp);
    let ports: Vec<u16> = datagrams.flat_map(|p| (0..p.count).map(|n| p.host.saturating_add(n))).collect();
    if !ports.is_empty() {
        let addresses: Vec<IpAddr> = holding.joints.iter().flat_map(|j| &j.addresses).map(|a| a.address).collect();
        // A kernel that does not tell of flows forgets them by itself, half a minute later.
        let _ = sys::conntrack::forget_datagrams(&ports, &addresses);
    }
}

fn port_taken(port: &Published, by: String) -> Error {
    let address = port.host_ip.map_or("0.0.0.0".to_owned(), |ip| ip.to_string());
    Error::PortTaken { port: port.host, protocol: port.protocol, address, by }
}

mod elsewhere;
mod lent;
mod places;
pub mod ports;

#[cfg(test)]
mod tests;
