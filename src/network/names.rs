//! Names of containers: who is asked about whom, and what is answered. Pure; the sockets are in [`serve`].
//!
//! A container sees the names of the networks that it is in, and no others: its own address tells which those are. A
//! container's name counts before the aliases of others, so that nobody answers to it but its holder.
//!
//! Must not know: sockets.

pub(crate) mod forward;
pub(crate) mod packet;
pub(crate) mod serve;

use crate::definition::Definition;
use crate::holding::Holding;
use packet::{Kind, Question, Record};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The domain that all containers are in.
pub const DOMAIN: &str = "dns.podman";

/// What is to be done with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is answered with these.
    Answer(Vec<Record>),
    /// There is no such name.
    Unknown,
    /// Whoever asks is not in the network.
    Refuse,
    /// One of these servers is asked.
    Forward(Vec<IpAddr>),
}

struct Entry {
    network: usize,
    own: bool,
    addresses: Vec<IpAddr>,
}

struct Network {
    definition: Definition,
}

/// Who is in a network and asks: its networks, and the servers that its questions are passed on to.
struct Asker {
    networks: Vec<usize>,
    servers: Vec<IpAddr>,
}

/// All names of a ground.
#[derive(Default)]
pub(crate) struct Names {
    networks: Vec<Network>,
    entries: HashMap<String, Vec<Entry>>,
    pointers: HashMap<IpAddr, Vec<(usize, String)>>,
    askers: HashMap<IpAddr, Asker>,
    host: Vec<IpAddr>,
}

impl Names {
    /// Those of networks that answer for names. `host` are the host's servers.
    pub fn new(networks: &BTreeMap<String, Definition>, holdings: &[Holding], host: Vec<IpAddr>) -> Names {
        let mut names = Names { host, ..Names::default() };
        names.networks =
            networks.values().filter(|n| n.dns_enabled).map(|n| Network { definition: n.clone() }).collect();
        for holding in holdings {
            let index = |name: &str| names.networks.iter().position(|n| n.definition.name == name);
            let joints: Vec<_> = holding.joints.iter().filter_map(|j| Some((index(&j.network)?, j))).collect();
            let own: Vec<usize> = joints.iter().map(|(n, _)| *n).collect();
            for (network, joint) in joints {
                let addresses: Vec<IpAddr> = joint.addresses.iter().map(|a| a.address).collect();
                let mut add = |name: &str, own: bool| {
                    let entry = Entry { network, own, addresses: addresses.clone() };
                    names.entries.entry(name.to_ascii_lowercase()).or_default().push(entry);
                };
                add(&holding.name, true);
                add(holding.id.short(), true);
                joint.aliases.iter().for_each(|alias| add(alias, false));
                for address in addresses {
                    names.pointers.entry(address).or_default().push((network, holding.name.clone()));
                    let asker = Asker { networks: own.clone(), servers: holding.servers.clone() };
                    names.askers.insert(address, asker);
                }
            }
        }
        names
    }

    /// Addresses at which questions are to be answered, with the network of each.
    pub fn listeners(&self) -> Vec<(String, IpAddr)> {
        let all = |n: &Network| {
            let name = n.definition.name.clone();
            n.definition.subnets.iter().filter_map(|p| p.gateway).map(move |g| (name.clone(), g)).collect::<Vec<_>>()
        };
        self.networks.iter().flat_map(all).collect()
    }

    /// What becomes of a question that `source` asked at an address of `network`.
    pub fn decide(&self, network: &str, source: IpAddr, question: &Question) -> Decision {
        let Some(at) = self.networks.iter().position(|n| n.definition.name == network) else { return Decision::Refuse };
        let pools = &self.networks[at].definition.subnets;
        let only = Asker { networks: vec![at], servers: Vec::new() };
        // The host itself asks with its own address there. Others' networks are none of a container's business.
        let asker = match self.askers.get(&source).filter(|a| a.networks.contains(&at)) {
            Some(asker) => asker,
            None if pools.iter().any(|p| p.gateway == Some(source)) || source.is_loopback() => &only,
            None => return Decision::Refuse,
        };
        let (name, ours) = match question.name.strip_suffix(DOMAIN).map(|n| n.strip_suffix('.').unwrap_or(n)) {
            Some(name) => (name, true),
            None => (question.name.as_str(), false),
        };
        if question.kind == Kind::Pointer
            && let Some(address) = pointed(&question.name)
            && let Some(holders) = self.pointers.get(&address)
        {
            let seen = holders.iter().filter(|(n, _)| asker.networks.contains(n));
            let found: Vec<Record> = seen.map(|(_, name)| Record::Pointer(name.clone())).collect();
            return if found.is_empty() { Decision::Unknown } else { Decision::Answer(found) };
        }
        let seen: Vec<&Entry> =
            self.entries.get(name).into_iter().flatten().filter(|e| asker.networks.contains(&e.network)).collect();
        if !seen.is_empty() {
            let owned = seen.iter().any(|e| e.own);
            let addresses = seen.iter().filter(|e| e.own == owned).flat_map(|e| e.addresses.iter().copied());
            let fits = |a: &IpAddr| match question.kind {
                Kind::A => a.is_ipv4(),
                Kind::Aaaa => a.is_ipv6(),
                Kind::Any => true,
                _ => false,
            };
            return Decision::Answer(addresses.filter(fits).map(Record::Address).collect());
        }
        // From networks that lead nowhere no question leads out either.
        if ours || asker.networks.iter().all(|n| self.networks[*n].definition.internal) {
            return Decision::Unknown;
        }
        let of_networks = || asker.networks.iter().flat_map(|n| &self.networks[*n].definition.network_dns_servers);
        let servers: Vec<IpAddr> = match asker.servers.is_empty() {
            false => asker.servers.clone(),
            true if of_networks().next().is_some() => of_networks().copied().collect(),
            true => self.host.clone(),
        };
        Decision::Forward(servers)
    }
}

/// The address that a name of a reverse record is about.
fn pointed(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = digits.split('.').rev().map(|d| d.parse::<u8>());
        let address: [u8; 4] = [octets.next()?.ok()?, octets.next()?.ok()?, octets.next()?.ok()?, octets.next()?.ok()?];
        return octets.next().is_none().then(|| Ipv4Addr::from(address).into());
    }
    let digits = name.strip_suffix(".ip6.arpa")?;
    let mut number: u128 = 0;
    let mut count = 0;
    for digit in digits.split('.').rev() {
        number = number << 4 | u128::from(u8::from_str_radix(digit, 16).ok().filter(|d| *d < 16 && digit.len() == 1)?);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from(number).into())
}

/// The servers of resolv.conf(5); without any, the host's own.
pub(crate) fn servers_of(text: &str) -> Vec<IpAddr> {
    let found: Vec<IpAddr> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok())?
        })
        .collect();
    if found.is_empty() { vec![Ipv4Addr::LOCALHOST.into()] } else { found }
}

#[cfg(test)]
mod tests;
