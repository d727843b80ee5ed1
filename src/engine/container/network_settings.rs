//! `NetworkSettings` and `PortBindings` of `inspect`, in Podman's shape.

use super::config::{Config, Namespace};
use crate::Engine;
use crate::database::Record;
use network::{Attachment, Joint};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

impl Engine {
    /// What a container holds in networks, or would if it ran.
    pub(crate) fn network_settings(&self, record: &Record, config: &Config) -> Value {
        let holding = if config.attachments.is_empty() { None } else { self.holding(record) };
        let joint = |a: &Attachment| holding.as_ref().and_then(|h| h.joints.iter().find(|j| j.network == a.network));
        let networks: Map<String, Value> = match config.attachments.as_slice() {
            [] => super::network_names(config).into_iter().map(|n| (n, json!({}))).collect(),
            several => several.iter().map(|a| (a.network.clone(), self.endpoint(record, a, joint(a)))).collect(),
        };
        let path = match &config.namespaces.network {
            Namespace::Path(path) => path.to_string_lossy().into_owned(),
            _ => String::new(),
        };
        let mut all = match config.private_network.as_ref().and_then(|_| self.private_plan(record)) {
            Some(plan) => addresses(Some(&private(&plan))),
            None => addresses(config.attachments.first().and_then(joint)),
        };
        all.extend([
            ("EndpointID".to_owned(), json!("")),
            ("Bridge".to_owned(), json!("")),
            ("SandboxID".to_owned(), json!("")),
            ("HairpinMode".to_owned(), json!(false)),
            ("LinkLocalIPv6Address".to_owned(), json!("")),
            ("LinkLocalIPv6PrefixLen".to_owned(), json!(0)),
            ("Ports".to_owned(), Value::Object(ports(config, true))),
            ("SandboxKey".to_owned(), json!(path)),
            ("Networks".to_owned(), Value::Object(networks)),
        ]);
        Value::Object(all)
    }

    fn endpoint(&self, record: &Record, attachment: &Attachment, joint: Option<&Joint>) -> Value {
        let id = self.networks().find(&attachment.network).map(|n| n.id).unwrap_or_default();
        let mut aliases: Vec<&str> = attachment.aliases.iter().map(String::as_str).collect();
        aliases.push(record.id.short());
        let mut all = addresses(joint);
        all.extend([
            ("EndpointID".to_owned(), json!("")),
            ("NetworkID".to_owned(), json!(id)),
            ("DriverOpts".to_owned(), Value::Null),
            ("IPAMConfig".to_owned(), Value::Null),
            ("Links".to_owned(), Value::Null),
            ("Aliases".to_owned(), json!(aliases)),
        ]);
        Value::Object(all)
    }
}

/// A private network as a place in one.
fn private(plan: &usernet::Plan) -> Joint {
    Joint {
        network: String::new(),
        interface: plan.interface.clone(),
        host_interface: String::new(),
        addresses: plan.addresses.iter().map(|(ip, prefix)| types::Subnet { address: *ip, prefix: *prefix }).collect(),
        gateways: plan.gateways.clone(),
        mac: plan.hardware,
        aliases: Vec::new(),
        direct: true,
        lease: None,
    }
}

fn addresses(joint: Option<&Joint>) -> Map<String, Value> {
    let of = |v4: bool| joint.and_then(|j| j.addresses.iter().find(|a| a.address.is_ipv4() == v4));
    let gateway = |v4: bool| {
        let found = joint.and_then(|j| j.gateways.iter().find(|g| g.is_ipv4() == v4));
        json!(found.map(IpAddr::to_string).unwrap_or_default())
    };
    let address = |v4| json!(of(v4).map(|a| a.address.to_string()).unwrap_or_default());
    let prefix = |v4| json!(of(v4).map_or(0, |a| a.prefix));
    let entries = [
        ("Gateway", gateway(true)),
        ("IPAddress", address(true)),
        ("IPPrefixLen", prefix(true)),
        ("IPv6Gateway", gateway(false)),
        ("GlobalIPv6Address", address(false)),
        ("GlobalIPv6PrefixLen", prefix(false)),
        ("MacAddress", json!(joint.map(Joint::mac_text).unwrap_or_default())),
    ];
    entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Published ports as the host is to bind them.
pub(crate) fn bindings(config: &Config) -> Value {
    Value::Object(ports(config, false))
}

/// `80/tcp` → where it is on the host; exposed ports that are nowhere are `null`.
fn ports(config: &Config, exposed: bool) -> Map<String, Value> {
    let mut all = Map::new();
    for port in &config.ports {
        for n in 0..port.count {
            let key = format!("{}/{}", port.container.saturating_add(n), port.protocol);
            let ip = port.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
            let binding = json!({ "HostIp": ip, "HostPort": port.host.saturating_add(n).to_string() });
            if let Value::Array(list) = all.entry(key).or_insert_with(|| json!([])) {
                list.push(binding);
            }
        }
    }
    for (first, count, protocol) in config.exposed.iter().filter(|_| exposed) {
        for n in 0..*count {
            all.entry(format!("{}/{protocol}", first.saturating_add(n))).or_insert(Value::Null);
        }
    }
    all
}
