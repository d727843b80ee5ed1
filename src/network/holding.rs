//! What a container holds in the networks of a namespace, as it stands in the file of the ground.
//!
//! Must not know: how it got there, or how the kernel is told.

use crate::dhcp::Lease;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use types::port::Published;
use types::{Id, Subnet};

/// A network that a container was asked to be in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attachment {
    /// The network's name.
    pub network: String,
    /// Addresses that it must have there, of one subnet each.
    pub addresses: Vec<IpAddr>,
    /// The hardware address that it must have.
    pub mac: Option<String>,
    /// Names beside its own.
    pub aliases: Vec<String>,
    /// Name of the link inside; `eth0`, `eth1`, … if empty.
    pub interface: String,
    /// Name of its other end, on the host; the kernel's choice if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host_interface: String,
}

/// A container's place in one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joint {
    /// The network's name.
    pub network: String,
    /// Name of the link inside.
    pub interface: String,
    /// Name of its other end, on the host, if one was asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host_interface: String,
    /// Its addresses, with the prefix of their subnet.
    pub addresses: Vec<Subnet>,
    /// Where it sends what leads out, one for each family at most.
    pub gateways: Vec<IpAddr>,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Names beside the container's own.
    pub aliases: Vec<String>,
    /// It is on a device of the host (macvlan, ipvlan), so the host's published ports do not lead there.
    #[serde(default)]
    pub direct: bool,
    /// Where its address comes from, if a server lent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
}

impl Joint {
    /// The hardware address as text; empty if it is that of the host's device.
    pub fn mac_text(&self) -> String {
        if self.mac == [0; 6] {
            return String::new();
        }
        let [a, b, c, d, e, f] = self.mac;
        format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// All that a container holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The container.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// The process that it lives and dies with: first that which sets it up, then the container's own.
    pub pid: i32,
    /// When that started (field 22 of /proc/PID/stat).
    pub since: u64,
    /// Its places.
    pub joints: Vec<Joint>,
    /// Ports of the host that lead to it.
    pub ports: Vec<Published>,
    /// Servers that its queries are passed on to, in place of the network's.
    pub servers: Vec<IpAddr>,
}

impl Holding {
    /// True while the process that it belongs to is there.
    pub fn lives(&self) -> bool {
        sys::process::is_alive(self.pid, self.since)
    }

    /// Its first address of a family to which ports of the host can lead.
    pub fn address(&self, v4: bool) -> Option<IpAddr> {
        self.joints
            .iter()
            .filter(|j| !j.direct)
            .flat_map(|j| &j.addresses)
            .map(|a| a.address)
            .find(|a| a.is_ipv4() == v4)
    }
}

/// Reads a hardware address, `aa:bb:cc:dd:ee:ff`.
pub fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|p| p.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    // An address of a group belongs to no link.
    (parts.next().is_none() && mac[0] & 1 == 0).then_some(mac)
}

#[cfg(test)]
mod tests {
    #[test]
    fn hardware_addresses() {
        assert_eq!(super::parse_mac("02:aB:0c:0d:0e:0f"), Some([2, 0xab, 12, 13, 14, 15]));
        for text in ["", "02:ab:0c:0d:0e", "02:ab:0c:0d:0e:0f:10", "03:ab:0c:0d:0e:0f", "2:ab:0c:0d:0e:0f"] {
            assert_eq!(super::parse_mac(text), None, "{text}");
        }
    }
}
