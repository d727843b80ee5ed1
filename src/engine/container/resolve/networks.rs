//! Which network namespace a container has, which networks it is in, and which of its ports are published.

use super::namespaces::one;
use crate::container::config::Namespace;
use crate::container::facts::Facts;
use network::Attachment;
use ops::container::Create;
use ops::{Fault, Kind};
use std::collections::BTreeMap;
use types::port::{self, Protocol, Published};

/// The first port, how many, of which protocol.
pub type Exposed = Vec<(u16, u16, Protocol)>;

/// Its namespace, and its networks if that is one of its own.
pub fn networks(asked: &Create, facts: &Facts) -> Result<(Namespace, Vec<Attachment>), Fault> {
    let mut attachments = Vec::new();
    let words: Vec<&str> = asked.networks.iter().map(String::as_str).filter(|w| !w.is_empty()).collect();
    for word in &words {
        if let Some(space) = alone(word, facts)? {
            if words.len() > 1 {
                return Err(Fault::invalid(format!(
                    "cannot set multiple networks without bridge network mode: {word:?} stands alone"
                )));
            }
            no_addresses(asked, word)?;
            return Ok((space, attachments));
        }
        attachments.push(attachment(word, facts)?);
    }
    if words.is_empty() {
        match (facts.rootless, &facts.no_bridges) {
            (true, _) => {}
            (false, None) => {
                attachments.push(Attachment { network: network::definition::DEFAULT.into(), ..Attachment::default() })
            }
            // Nothing was asked for; `info` says why there is nothing.
            (false, Some(_)) => {}
        }
    }
    if attachments.is_empty() {
        no_addresses(asked, "none")?;
        return Ok((Namespace::Private, attachments));
    }
    let mut seen = BTreeMap::new();
    for attachment in &attachments {
        if seen.insert(attachment.network.clone(), ()).is_some() {
            return Err(Fault::invalid(format!("network {:?} is given twice", attachment.network)));
        }
    }
    common_options(asked, &mut attachments)?;
    Ok((Namespace::Private, attachments))
}

/// The namespace of a mode that excludes networks; `None` if it is a network.
fn alone(word: &str, facts: &Facts) -> Result<Option<Namespace>, Fault> {
    let mode = word.split(':').next().unwrap_or_default();
    Ok(match mode {
        "none" => Some(Namespace::Private),
        "host" => Some(Namespace::Host),
        "container" | "ns" => Some(one("network", Some(word), facts)?),
        // Private networks, see `namespaces::private_network`.
        "pasta" | "slirp4netns" => Some(Namespace::Private),
        "private" | "default" if facts.rootless => Some(Namespace::Private),
        _ => None,
    })
}

/// `NAME[:KEY=VALUE,…]`.
fn attachment(word: &str, facts: &Facts) -> Result<Attachment, Fault> {
    let (name, options) = word.split_once(':').unwrap_or((word, ""));
    let definition = facts.networks.get(name).ok_or_else(|| {
        Fault::new(Kind::NotFound, format!("unable to find network with name or ID {name}: network not found"))
    })?;
    let mut attachment = Attachment { network: definition.name.clone(), ..Attachment::default() };
    for option in options.split(',').filter(|o| !o.is_empty()) {
        let (key, value) = option.split_once('=').ok_or_else(|| {
            Fault::invalid(format!("invalid option {option:?} of network {name}: expected KEY=VALUE"))
        })?;
        match key {
            "ip" | "ip6" => attachment.addresses.push(address(value, key == "ip")?),
            "mac" => attachment.mac = Some(value.to_owned()),
            "alias" => attachment.aliases.push(value.to_owned()),
            "interface_name" => attachment.interface = value.to_owned(),
            "host_interface_name" => attachment.host_interface = value.to_owned(),
            _ => return Err(Fault::invalid(format!("unknown bridge network option: {key}"))),
        }
    }
    for name in [&attachment.interface, &attachment.host_interface] {
        // What the kernel refuses (dev_valid_name), and `%`, by which it would choose.
        let taken = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
        if name.len() > 15 || name.contains(taken) || matches!(name.as_str(), "." | "..") {
            return Err(Fault::invalid(format!(
                "invalid interface name {name:?}: expected at most 15 plain characters"
            )));
        }
    }
    Ok(attachment)
}

fn address(text: &str, v4: bool) -> Result<std::net::IpAddr, Fault> {
    let address: std::net::IpAddr =
        text.parse().map_err(|_| Fault::invalid(format!("{text:?} is not an ip address")))?;
    if address.is_ipv4() == v4 {
        return Ok(address);
    }
    Err(Fault::invalid(format!("{text:?} is not an IPv{} address", if v4 { 4 } else { 6 })))
}

/// `--ip`, `--ip6` and `--mac-address` are of the one network; `--network-alias` of all.
fn common_options(asked: &Create, attachments: &mut [Attachment]) -> Result<(), Fault> {
    if asked.ip.is_some() || asked.ip6.is_some() || asked.mac_address.is_some() {
        let [one] = attachments else {
            return Err(Fault::invalid(
                "--ip, --ip6 and --mac-address cannot be set when the container is in several networks",
            )
            .hint("use --network NAME:ip=…,mac=…"));
        };
        for (text, v4) in [(&asked.ip, true), (&asked.ip6, false)] {
            one.addresses.extend(text.as_deref().map(|t| address(t, v4)).transpose()?);
        }
        one.mac = one.mac.take().or(asked.mac_address.clone());
    }
    for attachment in attachments {
        attachment.aliases.extend(asked.network_aliases.iter().cloned());
        if let Some(mac) = &attachment.mac
            && network::holding::parse_mac(mac).is_none()
        {
            return Err(Fault::invalid(format!("address {mac}: invalid MAC address")));
        }
    }
    Ok(())
}

fn no_addresses(asked: &Create, mode: &str) -> Result<(), Fault> {
    let given = [
        ("--ip", asked.ip.is_some()),
        ("--ip6", asked.ip6.is_some()),
        ("--mac-address", asked.mac_address.is_some()),
        ("--network-alias", !asked.network_aliases.is_empty()),
    ];
    match given.iter().find(|g| g.1) {
        Some((flag, _)) => Err(Fault::invalid(format!(
            "{flag} needs a network: networks and static ip/mac address can only be used with Bridge mode networking, not {mode:?}"
        ))),
        None => Ok(()),
    }
}

/// Published ports, with numbers from the free ones of the host where none was given, and all that are exposed.
pub fn ports(
    asked: &Create,
    image: &BTreeMap<String, serde_json::Value>,
    facts: &Facts,
    own_network: bool,
    warnings: &mut Vec<String>,
) -> Result<(Vec<Published>, Exposed), Fault> {
    let exposed = exposed(asked, image)?;
    let mut published = wanted(asked, &exposed)?;
    let alone = asked.networks.iter().any(|n| n.split(':').next() == Some("slirp4netns"));
    let routed = facts.rootless || facts.unfiltered || alone;
    if let Some(port) = published.iter().find(|p| routed && p.protocol == Protocol::Sctp) {
        let (why, way_out) = match (facts.rootless, alone) {
            (true, _) => ("by an ordinary user", "or run as root"),
            (false, true) => ("by slirp4netns", "or a bridge"),
            (false, false) => ("without a packet filter", "or a kernel with CONFIG_NF_TABLES"),
        };
        let what = format!("port {}/sctp cannot be published {why}", port.container);
        return Err(
            Fault::new(Kind::Unsupported, what).hint(format!("publish tcp or udp, use --network host, {way_out}"))
        );
    }
    if !published.is_empty() && !own_network {
        return match (asked.networks.first().map(String::as_str), &facts.no_bridges) {
            (None, Some(why)) => Err(Fault::new(Kind::Unsupported, format!("ports cannot be published: {why}"))),
            (Some(mode), _)
                if matches!(mode, "host" | "none") || mode.starts_with("container:") || mode.starts_with("ns:") =>
            {
                // As Podman: with the host's network ports are where they are, and scripts that ask for both go on.
                warnings.push(
                    "Port mappings have been discarded as one of the Host, Container, Pod, and None network modes are in use"
                        .into(),
                );
                Ok((Vec::new(), exposed))
            }
            (mode, _) => Err(Fault::invalid(format!(
                "published ports need a network of the container's own, not {:?}",
                mode.unwrap_or("none")
            ))),
        };
    }
    let mut free = facts.free_ports.iter();
    for port in published.iter_mut().filter(|p| p.host == 0) {
        port.host = *free.next().ok_or_else(|| Fault::internal("no free port of the host was found"))?;
    }
    Ok((published, exposed))
}

/// Ports that the container says it answers at: what was asked for, and what its image says.
pub fn exposed(asked: &Create, image: &BTreeMap<String, serde_json::Value>) -> Result<Exposed, Fault> {
    let mut exposed = asked.expose.iter().map(|e| port::expose(e)).collect::<Result<Vec<_>, _>>()?;
    // What an image says wrongly must not keep its containers from being made.
    exposed.extend(image.keys().filter_map(|e| port::expose(e).ok()));
    exposed.sort_unstable();
    exposed.dedup();
    Ok(exposed)
}

/// Published ports as they are asked for: those with number 0 need a free one.
pub fn wanted(asked: &Create, exposed: &[(u16, u16, Protocol)]) -> Result<Vec<Published>, Fault> {
    let mut all = Vec::new();
    for text in &asked.publish {
        all.extend(port::publish(text)?);
    }
    if asked.publish_all {
        for (first, count, protocol) in exposed {
            for container in *first..=first.saturating_add(count - 1) {
                let there = all.iter().any(|p: &Published| {
                    p.protocol == *protocol
                        && (p.container..=p.container.saturating_add(p.count - 1)).contains(&container)
                });
                if !there {
                    all.push(Published { host_ip: None, host: 0, container, count: 1, protocol: *protocol });
                }
            }
        }
    }
    Ok(all)
}
