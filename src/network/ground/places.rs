//! Who gets which address, which name of a link and which port: pure but for random hardware addresses.

use super::State;
use crate::definition::{Definition, LeaseRange, Pool};
use crate::holding::{Attachment, Joint, parse_mac};
use crate::{Error, plan};
use std::net::IpAddr;
use types::Subnet;
use types::port::Published;
use types::subnet::after;

impl State {
    /// A port among `ports` that a container has, and the container's name.
    pub(super) fn port_holder(&self, ports: &[Published]) -> Option<(Published, String)> {
        let meet = |a: &Published, b: &Published| {
            let first = a.host.max(b.host);
            let last = a.host.saturating_add(a.count - 1).min(b.host.saturating_add(b.count - 1));
            let any = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
            a.protocol == b.protocol && first <= last && (any(a.host_ip) || any(b.host_ip) || a.host_ip == b.host_ip)
        };
        ports.iter().enumerate().find_map(|(at, port)| {
            let twice = ports[..at].iter().any(|p| meet(p, port)).then(|| "the same twice".to_owned());
            let other = || self.holdings.iter().find(|h| h.ports.iter().any(|p| meet(p, port))).map(|h| h.name.clone());
            twice.or_else(other).map(|holder| (*port, holder))
        })
    }

    /// A place in a network for a container that has `before` already.
    pub(super) fn join(&mut self, asked: &Attachment, network: &Definition, before: &[Joint]) -> Result<Joint, Error> {
        let mut addresses = Vec::new();
        let mut gateways = Vec::new();
        for wanted in &asked.addresses {
            if !network.subnets.iter().any(|p| p.subnet.contains(*wanted)) {
                return Err(Error::AddressOutside { address: wanted.to_string(), network: network.name.clone() });
            }
        }
        for pool in &network.subnets {
            let given = asked.addresses.iter().find(|a| pool.subnet.contains(**a)).copied();
            // Another subnet of the family of an address that was asked for is not meant.
            let other = asked.addresses.iter().any(|a| a.is_ipv4() == pool.subnet.address.is_ipv4());
            if given.is_none() && other {
                continue;
            }
            let address = self.address(network, pool, given)?;
            addresses.push(Subnet { address, prefix: pool.subnet.prefix });
            if let Some(gateway) = pool.gateway.filter(|_| !network.has_no_way_out())
                && !gateways.iter().any(|g: &IpAddr| g.is_ipv4() == gateway.is_ipv4())
            {
                gateways.push(gateway);
            }
        }
        let mac = match &asked.mac {
            // The device's own.
            None if network.driver == "ipvlan" => [0; 6],
            Some(_) if network.driver == "ipvlan" => {
                return Err(Error::Invalid("containers in ipvlan networks have the device's mac address".into()));
            }
            Some(text) => parse_mac(text).ok_or_else(|| Error::Invalid(format!("invalid mac address {text:?}")))?,
            None => match addresses.first() {
                Some(first) => plan::mac_of(first.address),
                None => random_mac()?,
            },
        };
        let taken = |name: &str| before.iter().any(|j| j.interface == name);
        let interface = match asked.interface.as_str() {
            "" => (0..).map(|n| format!("eth{n}")).find(|n| !taken(n)).unwrap_or_default(),
            name if taken(name) => return Err(Error::Invalid(format!("interface name {name:?} is used twice"))),
            name => name.to_owned(),
        };
        let direct = !network.is_bridge();
        let host_interface = asked.host_interface.clone();
        if direct && !host_interface.is_empty() {
            return Err(Error::Invalid(format!(
                "host_interface_name {host_interface:?} cannot be had in network {:?}: links of driver {} have no other end",
                network.name, network.driver
            )));
        }
        let (network, aliases) = (network.name.clone(), asked.aliases.clone());
        Ok(Joint { network, interface, host_interface, addresses, gateways, mac, aliases, direct, lease: None })
    }

    fn address(&mut self, network: &Definition, pool: &Pool, given: Option<IpAddr>) -> Result<IpAddr, Error> {
        let in_network = |j: &&Joint| j.network == network.name;
        let mut taken: Vec<(IpAddr, &str)> = self
            .holdings
            .iter()
            .flat_map(|h| {
                h.joints
                    .iter()
                    .filter(in_network)
                    .flat_map(|j| j.addresses.iter().map(|a| (a.address, h.name.as_str())))
            })
            .collect();
        taken.extend(self.host.iter().map(|address| (*address, "none: it is the host's")));
        taken.extend(pool.gateway.map(|g| (g, "none: it is the network's gateway")));
        let holder = |address: IpAddr| taken.iter().find(|t| t.0 == address).map(|t| t.1.to_owned());
        if let Some(given) = given {
            return match holder(given) {
                Some(holder) => Err(Error::AddressTaken { address: given.to_string(), holder }),
                None => Ok(given),
            };
        }
        let (mut first, mut last) = pool.subnet.usable();
        if let Some(LeaseRange { start_ip, end_ip }) = pool.lease_range {
            first = start_ip.unwrap_or(first).max(first);
            last = end_ip.unwrap_or(last).min(last);
        }
        let key = format!("{} {}", network.name, pool.subnet);
        let start = match self.last.get(&key) {
            Some(before) if (first..last).contains(before) => after(*before),
            _ => first,
        };
        let taken: std::collections::BTreeSet<IpAddr> = taken.iter().map(|t| t.0).collect();
        let mut at = start;
        loop {
            if !taken.contains(&at) {
                self.last.insert(key, at);
                return Ok(at);
            }
            at = if at >= last { first } else { after(at) };
            if at == start {
                let subnet = pool.subnet.to_string();
                return Err(Error::Exhausted { network: network.name.clone(), subnet });
            }
        }
    }
}

fn random_mac() -> Result<[u8; 6], Error> {
    let mut mac = [0; 6];
    rustix::rand::getrandom(&mut mac, rustix::rand::GetRandomFlags::empty()).map_err(Error::Socket)?;
    mac[0] = mac[0] & 0xfc | 2;
    Ok(mac)
}
