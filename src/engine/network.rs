//! Networks: made, listed, removed, and containers that join and leave them while they run.

mod filter;

use crate::container::config::Config;
use crate::container::network_names;
use crate::database::Record;
use crate::{Engine, fault};
use filter::Filter;
use network::create::{Asked, Facts, create};
use network::{Attachment, Definition, Holding};
use ops::container::Remove;
use ops::network::{Connect, Create, Update};
use ops::{Fault, Kind};
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use sys::netlink::{Family, Socket};
use types::Subnet;

impl Engine {
    /// Makes a network; gives its name.
    pub fn network_create(&self, asked: &Create) -> Result<String, Fault> {
        self.host()?;
        let definitions = self.networks();
        let networks = definitions.all().map_err(fault::network)?;
        if let Some(name) = asked.name.as_ref().filter(|n| asked.ignore && networks.iter().any(|d| d.name == **n)) {
            return Ok(name.clone());
        }
        let (subnets, links) = host_subnets()?;
        let facts = Facts {
            networks,
            subnets,
            links,
            random: crate::container::create::random()?,
            now: jiff::Timestamp::now().to_string(),
        };
        let asked = asked.clone();
        let asked = Asked {
            name: asked.name,
            driver: asked.driver,
            subnets: asked.subnets,
            ranges: asked.ranges,
            gateways: asked.gateways,
            ipv6: asked.ipv6,
            internal: asked.internal,
            disable_dns: asked.disable_dns,
            servers: asked.servers,
            labels: asked.labels,
            options: asked.options,
            routes: asked.routes,
            interface: asked.interface,
            ipam_driver: asked.ipam_driver,
        };
        let made = create(&asked, &facts).map_err(fault::network)?;
        definitions.write(&made).map_err(fault::network)?;
        self.tell_of("network", "create", "", &made.name);
        Ok(made.name)
    }

    /// The networks that pass all filters, as `network inspect` shows them.
    pub fn network_list(&self, filters: &[String]) -> Result<Vec<Value>, Fault> {
        let filters = filters.iter().map(|text| Filter::parse(text)).collect::<Result<Vec<_>, Fault>>()?;
        let used = match filters.iter().any(|filter| matches!(filter, Filter::Dangling(_))) {
            true => self.used_networks()?,
            false => Vec::new(),
        };
        let mut all = self.networks().all().map_err(fault::network)?;
        all.retain(|network| Filter::pass(&filters, network, &used));
        Ok(all.iter().map(|d| described(d, &[])).collect())
    }

    /// All about a network, with the containers that are in it.
    pub fn network_inspect(&self, name: &str) -> Result<Value, Fault> {
        let definition = self.networks().find(name).map_err(fault::network)?;
        let none = (definition.clone(), Vec::new());
        let (present, holdings) = self.present_ground(definition.is_bridge(), none, |ground| {
            Ok((ground.network(&definition)?, ground.holdings()))
        })?;
        Ok(described(&present, &holdings))
    }

    /// True if there is such a network.
    pub fn network_exists(&self, name: &str) -> Result<bool, Fault> {
        match self.networks().find(name) {
            Ok(_) => Ok(true),
            Err(network::Error::NoSuchNetwork { .. }) => Ok(false),
            Err(error) => Err(fault::network(error)),
        }
    }

    /// Removes a network; with `force` its containers too.
    pub fn network_remove(&self, name: &str, force: bool, timeout: Option<u32>) -> Result<(), Fault> {
        self.host()?;
        let definition = self.networks().find(name).map_err(fault::network)?;
        if definition.name == network::definition::DEFAULT {
            return Err(Fault::invalid("default network podman cannot be removed"));
        }
        for record in self.database()?.all()?.into_iter().filter(|r| r.networks.contains(&definition.name)) {
            if !force {
                return Err(Fault::new(
                    Kind::Conflict,
                    format!(
                        "{:?} has associated containers with it. Use -f to forcibly delete containers: network is being used",
                        definition.name
                    ),
                ));
            }
            self.remove(&Remove { name: record.id.to_string(), force: true, timeout, ignore: true, volumes: true })?;
        }
        self.networks().remove(&definition.name).map_err(fault::network)?;
        self.tell_of("network", "remove", "", &definition.name);
        self.present_ground(definition.is_bridge(), (), |ground| ground.take_down(&definition.name))
    }

    fn used_networks(&self) -> Result<Vec<String>, Fault> {
        Ok(self.database()?.all()?.into_iter().flat_map(|r| r.networks).collect())
    }

    /// Removes networks that no container is in; gives their names.
    pub fn network_prune(&self, filters: &[String]) -> Result<Vec<String>, Fault> {
        self.host()?;
        let used = self.used_networks()?;
        let mut removed = Vec::new();
        for network in self.network_list(filters)? {
            let name = network["name"].as_str().unwrap_or_default();
            if name != network::definition::DEFAULT && !used.iter().any(|u| u == name) {
                self.network_remove(name, false, None)?;
                removed.push(name.to_owned());
            }
        }
        Ok(removed)
    }

    /// Puts a container into one network more, at once if it runs.
    pub fn network_connect(&self, asked: &Connect) -> Result<(), Fault> {
        self.host()?;
        let definition = self.networks().find(&asked.network).map_err(fault::network)?;
        let (record, mut config, _held) = self.held(&asked.container)?;
        if config.attachments.is_empty() && !config.unconnected {
            let mode = network_names(&config).join(",");
            return Err(Fault::invalid(format!("{mode:?} is not supported: invalid network mode")));
        }
        if config.attachments.iter().any(|a| a.network == definition.name) {
            return Err(Fault::new(
                Kind::Conflict,
                format!(
                    "container {} is already connected to network {:?}: network is already connected",
                    record.id, definition.name
                ),
            ));
        }
        self.are_routed(&config, Some(&definition))?;
        let parse = |a: &String| a.parse::<IpAddr>().map_err(|_| Fault::invalid(format!("{a:?} is not an ip address")));
        let attachment = Attachment {
            network: definition.name.clone(),
            addresses: asked.addresses.iter().map(parse).collect::<Result<_, _>>()?,
            mac: asked.mac.clone(),
            aliases: asked.aliases.clone(),
            interface: String::new(),
            host_interface: String::new(),
        };
        if self.observe_locked(&record).running.is_some() {
            self.join_now(&record, &config, &attachment, &definition)?;
            self.rewrite_files(&record, &config)?;
        }
        config.attachments.push(attachment);
        config.unconnected = false;
        self.database()?.reconfigure(record.seq, &config)?;
        self.tell_more(&record, "connect", |event| event.network.clone_from(&definition.name));
        Ok(())
    }

    /// Takes a container out of a network, at once if it runs.
    pub fn network_disconnect(&self, network: &str, container: &str) -> Result<(), Fault> {
        self.host()?;
        let name = self.networks().find(network).map(|d| d.name).unwrap_or_else(|_| network.to_owned());
        let (record, mut config, _held) = self.held(container)?;
        if !config.attachments.iter().any(|a| a.network == name) {
            return Err(Fault::new(
                Kind::Conflict,
                format!("container {} is not connected to network {name}: network is not connected", record.id),
            ));
        }
        if self.observe_locked(&record).running.is_some() {
            self.leave_now(&record, &config, &name)?;
            self.rewrite_files(&record, &config)?;
        }
        config.attachments.retain(|a| a.network != name);
        config.unconnected = config.attachments.is_empty();
        self.database()?.reconfigure(record.seq, &config)?;
        self.tell_more(&record, "disconnect", |event| event.network = name);
        Ok(())
    }

    fn join_now(
        &self,
        record: &Record,
        config: &Config,
        asked: &Attachment,
        definition: &Definition,
    ) -> Result<(), Fault> {
        if !self.is_routed(definition.is_bridge())? {
            return self.ground()?.connect(&record.id, asked, definition).map_err(fault::network);
        }
        let begun = self.rejoin_router(config)?;
        self.on_routed_ground(&begun.stack, |ground| ground.connect(&record.id, asked, definition))?;
        self.serve_bridges(&begun, config, record)
    }

    fn leave_now(&self, record: &Record, config: &Config, network: &str) -> Result<(), Fault> {
        let there = || self.routed(|ground| ground.holding(&record.id)).is_some();
        if !self.host()?.in_user_namespace && !there() {
            return self.ground()?.disconnect(&record.id, network).map_err(fault::network);
        }
        let begun = self.rejoin_router(config)?;
        self.on_routed_ground(&begun.stack, |ground| ground.disconnect(&record.id, network))?;
        self.serve_bridges(&begun, config, record)
    }

    /// A container with its lock, and its configuration.
    fn held(&self, name: &str) -> Result<(Record, Config, crate::container::lock::Lock), Fault> {
        let found = self.record_of(name)?;
        let held = crate::container::lock::wait(&self.container_directory(&found.id))?;
        let record = self.record_of(found.id.as_str())?;
        let config = self.database()?.config(record.seq)?;
        Ok((record, config, held))
    }

    /// Makes what somebody else took away from bridges, rules and ports anew.
    pub fn network_reload(&self) -> Result<(), Fault> {
        self.host()?;
        let routed = self.routed(|ground| Some(ground.reload().map_err(fault::network))).unwrap_or(Ok(()));
        if self.host()?.in_user_namespace {
            return routed;
        }
        self.ground()?.reload().map_err(fault::network).and(routed)
    }

    /// Changes the servers of a network.
    pub fn network_update(&self, asked: &Update) -> Result<(), Fault> {
        let definitions = self.networks();
        let mut definition = definitions.find(&asked.network).map_err(fault::network)?;
        if !definition.dns_enabled {
            return Err(Fault::invalid(format!(
                "unable to update DNS servers of network {}: it answers for no names",
                definition.name
            )));
        }
        let parse = |text: &String| -> Result<IpAddr, Fault> {
            text.parse().map_err(|_| Fault::invalid(format!("{text:?} is not an ip address")))
        };
        for server in &asked.drop {
            let server = parse(server)?;
            definition.network_dns_servers.retain(|s| *s != server);
        }
        for server in &asked.add {
            let server = parse(server)?;
            if !definition.network_dns_servers.contains(&server) {
                definition.network_dns_servers.push(server);
            }
        }
        definitions.write(&definition).map_err(fault::network)?;
        self.present_ground(definition.is_bridge(), (), |ground| ground.redefine(&definition))
    }
}

/// Subnets that the host is in or has routes to, and names of its links.
fn host_subnets() -> Result<(Vec<Subnet>, Vec<String>), Fault> {
    let fail = |e: rustix::io::Errno| Fault::internal(format!("cannot ask the kernel for its networks: {e}"));
    let mut socket = Socket::open(Family::Route).map_err(fail)?;
    let addresses = sys::links::addresses(&mut socket).map_err(fail)?;
    let mut subnets: Vec<Subnet> = addresses.into_iter().map(|(_, a, p)| Subnet::new(a, p)).collect();
    let routes = sys::links::routes(&mut socket).map_err(fail)?;
    subnets.extend(routes.into_iter().map(|r| Subnet::new(r.destination, r.prefix)));
    let links = sys::links::all(&mut socket).map_err(fail)?.into_iter().map(|l| l.name).collect();
    Ok((subnets, links))
}

/// The definition as it is in its file, with the containers.
fn described(definition: &Definition, holdings: &[Holding]) -> Value {
    let mut document = serde_json::to_value(definition).unwrap_or_default();
    let containers: Map<String, Value> = holdings
        .iter()
        .filter_map(|holding| {
            let joint = holding.joints.iter().find(|j| j.network == definition.name)?;
            let addresses: Vec<Value> = joint.addresses.iter().map(|a| json!({ "ipnet": a })).collect();
            let interface = json!({ "subnets": addresses, "mac_address": joint.mac_text() });
            let entry = json!({ "name": holding.name, "interfaces": { joint.interface.clone(): interface } });
            Some((holding.id.to_string(), entry))
        })
        .collect();
    document["containers"] = Value::Object(containers);
    document
}
