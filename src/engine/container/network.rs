//! A container's networks through one run: what it is given before it is made, once its process is there, and what is
//! taken back.

use super::config::Config;
use crate::database::Record;
use crate::private_network::Begun;
use crate::{Engine, fault};
use monitor::record::Running;
use network::{Allotment, Definitions, Ground, Holding, Wanted};
use ops::container::Create;
use ops::{Fault, Kind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use types::Id;

/// Where root's holdings are, of whichever root directory: addresses and ports are the host's.
pub(crate) const HOLDINGS: &str = "/run/monopod/networks";

impl Engine {
    /// The definitions of networks.
    pub(crate) fn networks(&self) -> Definitions {
        Definitions::at(&self.settings.networks)
    }

    /// The ground of the network namespace that we are in.
    pub(crate) fn ground(&self) -> Result<Ground, Fault> {
        let own = self.settings.run_root.join("networks");
        let base = match self.settings.uid {
            0 if rustix::fs::access("/run", rustix::fs::Access::WRITE_OK).is_ok() => PathBuf::from(HOLDINGS),
            _ => own,
        };
        Ground::here(&base, self.boot()).map_err(fault::network)
    }

    /// Facts for the networks and ports that are asked for.
    pub(crate) fn network_facts(
        &self,
        asked: &Create,
        image: &BTreeMap<String, serde_json::Value>,
        facts: &mut super::facts::Facts,
    ) -> Result<(), Fault> {
        for word in asked.networks.iter().map(|w| w.split(':').next().unwrap_or_default()) {
            if matches!(word, "" | "none" | "host" | "container" | "ns" | "pasta" | "slirp4netns") {
                continue;
            }
            let name = if matches!(word, "default" | "private") { "bridge" } else { word };
            let found = self.networks().find(name).map_err(fault::network)?;
            facts.networks.insert(word.to_owned(), found);
        }
        if asked.networks.is_empty() && !facts.rootless {
            facts.no_bridges = network::available().err().map(|e| fault::network(e).to_string());
        }
        if asked.publish_all || !asked.publish.is_empty() {
            facts.unfiltered = !facts.rootless && !self.is_filtered();
            let exposed = super::resolve::networks::exposed(asked, image)?;
            for port in super::resolve::networks::wanted(asked, &exposed)?.iter().filter(|p| p.host == 0) {
                let mut free = network::ground::ports::free(port.host_ip, port.count, port.protocol);
                // Two of one container must not be the same.
                while free.as_ref().is_ok_and(|f| facts.free_ports.contains(f)) {
                    free = network::ground::ports::free(port.host_ip, port.count, port.protocol);
                }
                facts.free_ports.push(free.map_err(fault::network)?);
            }
        }
        Ok(())
    }

    /// Writes down what a container is to have in its networks; `None` if it is in none.
    ///
    /// `behind` is the router of a user without root, in which its bridges are; it publishes the ports too.
    pub(crate) fn allot(&self, id: &Id, config: &Config, behind: Option<&Begun>) -> Result<Option<Allotment>, Fault> {
        if config.attachments.is_empty() {
            return Ok(None);
        }
        let definitions = self.networks();
        let networks = config
            .attachments
            .iter()
            .map(|a| Ok((a.clone(), definitions.find(&a.network)?)))
            .collect::<Result<Vec<_>, network::Error>>()
            .map_err(fault::network)?;
        let servers = config.names.dns.iter().filter_map(|s| s.parse().ok()).collect();
        let ports = if behind.is_some() { &[][..] } else { &config.ports };
        let wanted = Wanted { id, name: &config.name, networks, ports, servers };
        self.on_ground(behind, |ground| ground.allot(&wanted)).map(Some)
    }

    /// Makes the bridges and rules of its networks that are not there.
    pub(crate) fn raise_networks(&self, allotment: &Allotment, behind: Option<&Begun>) -> Result<(), Fault> {
        self.on_ground(behind, |ground| ground.raise(allotment))
    }

    /// Does something with the ground of our network namespace, or of that of the user's router.
    fn on_ground<T: Send>(
        &self,
        behind: Option<&Begun>,
        work: impl FnOnce(&Ground) -> Result<T, network::Error> + Send,
    ) -> Result<T, Fault> {
        match behind {
            Some(begun) => self.on_routed_ground(&begun.stack, work),
            None => work(&self.ground()?).map_err(fault::network),
        }
    }

    /// Whether the kernel has a packet filter; without one root's bridges are behind a router, as other users' are.
    pub(crate) fn is_filtered(&self) -> bool {
        *self.filtered.get_or_init(network::is_filtered)
    }

    /// Whether such networks are behind a router.
    pub(crate) fn is_routed(&self, bridges: bool) -> Result<bool, Fault> {
        Ok(self.host()?.in_user_namespace || (bridges && !self.is_filtered()))
    }

    /// Does something with what is there now of `bridges` or other networks; `none` where these are behind a router that is
    /// not there.
    pub(crate) fn present_ground<T: Send>(
        &self,
        bridges: bool,
        none: T,
        work: impl FnOnce(&Ground) -> Result<T, network::Error> + Send,
    ) -> Result<T, Fault> {
        match self.is_routed(bridges)? {
            false => work(&self.ground()?).map_err(fault::network),
            true => match self.router() {
                Some(stack) => self.on_routed_ground(&stack, work),
                None => Ok(none),
            },
        }
    }

    /// Gives a parked container its links and ports.
    pub(crate) fn attach_networks(&self, id: &Id, run_directory: &Path, behind: Option<&Begun>) -> Result<(), Fault> {
        let running = Running::read(run_directory)
            .ok_or_else(|| Fault::internal("the monitor has not written down which process it parked"))?;
        self.on_ground(behind, |ground| ground.attach(id, running.pid, running.start_time)).map(drop)
    }

    /// Writes the container's files anew: only now its addresses are known.
    pub(crate) fn tell_lent(&self, id: &Id, config: &Config, behind: Option<&Begun>) -> Result<(), Fault> {
        let Some(allotment) = self.on_ground(behind, |ground| Ok(ground.allotment(id)))? else { return Ok(()) };
        let (directory, rootless) = (self.container_directory(id), self.host()?.in_user_namespace);
        super::files::write(config, None, &directory, rootless, None, Some(&allotment)).map(drop)
    }

    /// Takes back what a container holds in networks. What cannot be taken back now is by the next command that needs a
    /// network: it sees that the process is gone, and says why it cannot.
    pub(crate) fn release_networks(&self, id: &Id) {
        self.release_routed(id);
        if self.host().is_ok_and(|host| !host.in_user_namespace) {
            let _ = self.ground().map(|ground| ground.release(id));
        }
    }

    /// Writes the files of a container that runs anew, after its networks have changed: in place, since they are mounted.
    pub(crate) fn rewrite_files(&self, record: &Record, config: &Config) -> Result<(), Fault> {
        let Some(allotment) = self.present_allotment(record) else { return Ok(()) };
        let directory = self.container_directory(&record.id);
        let rootless = self.host()?.in_user_namespace;
        let plan = self.private_plan(record);
        super::files::write(config, None, &directory, rootless, plan.as_ref(), Some(&allotment)).map(drop)
    }

    /// What a container that runs holds in networks, with their definitions.
    pub(crate) fn present_allotment(&self, record: &Record) -> Option<Allotment> {
        match self.routed(|ground| ground.allotment(&record.id)) {
            None if !self.host().ok()?.in_user_namespace => self.ground().ok()?.allotment(&record.id),
            routed => routed,
        }
    }

    /// What a container that runs holds in networks.
    pub(crate) fn holding(&self, record: &Record) -> Option<Holding> {
        match self.routed(|ground| ground.holding(&record.id)) {
            None if !self.host().ok()?.in_user_namespace => self.ground().ok()?.holding(&record.id),
            routed => routed,
        }
    }
}

impl Engine {
    /// The ports that a container publishes: of the container whose network it shares, if it does.
    pub fn ports(&self, name: &str) -> Result<Vec<types::port::Published>, Fault> {
        let record = self.record_of(name)?;
        let config = self.database()?.config(record.seq)?;
        if !matches!(self.observe(&record).status, ops::container::Status::Running | ops::container::Status::Paused) {
            return Err(Fault::new(
                Kind::Conflict,
                format!("container {} is not running: container state improper", record.id),
            ));
        }
        Ok(config.ports)
    }
}
