//! Networks by address and length of their prefix (`10.88.0.0/16`), and addresses in them.

use crate::Invalid;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address with the length of its network's prefix; as a network, the address is its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subnet {
    /// The address.
    pub address: IpAddr,
    /// Bits of the prefix.
    pub prefix: u8,
}

impl Subnet {
    /// The network that `address` is in.
    pub fn new(address: IpAddr, prefix: u8) -> Subnet {
        Subnet { address, prefix }.network()
    }

    /// The same with the network's first address.
    pub fn network(self) -> Subnet {
        let mask = self.mask();
        Subnet { address: address(self.address.is_ipv4(), number(self.address) & mask), ..self }
    }

    fn bits(self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    fn mask(self) -> u128 {
        let host = u32::from(self.bits() - self.prefix);
        u128::MAX.checked_shl(host).unwrap_or(0)
    }

    /// True if `other` is in it.
    pub fn contains(self, other: IpAddr) -> bool {
        self.address.is_ipv4() == other.is_ipv4()
            && (number(other) ^ number(self.address)) & self.mask() & self.all() == 0
    }

    fn all(self) -> u128 {
        if self.address.is_ipv4() { u32::MAX.into() } else { u128::MAX }
    }

    /// True if an address is in both.
    pub fn overlaps(self, other: Subnet) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// The address that is `offset` after the first one, if it is in the network.
    pub fn at(self, offset: u128) -> Option<IpAddr> {
        let found = number(self.network().address).checked_add(offset)?;
        let found = if found <= self.all() { address(self.address.is_ipv4(), found) } else { return None };
        self.contains(found).then_some(found)
    }

    /// The last address: of IPv4 networks of more than two, the one for broadcasts.
    pub fn last(self) -> IpAddr {
        address(self.address.is_ipv4(), number(self.address) & self.mask() | (!self.mask() & self.all()))
    }

    /// The first and the last address that a container can have.
    pub fn usable(self) -> (IpAddr, IpAddr) {
        let (first, last) = (self.network().address, self.last());
        match (self.address.is_ipv4(), self.bits() - self.prefix) {
            (_, 0 | 1) => (first, last),
            (true, _) => (after(first), before(last)),
            // The first address of an IPv6 network belongs to its routers (RFC 4291, 2.6.1).
            (false, _) => (after(first), last),
        }
    }
}

/// The address after this one; the last has none and stays.
pub fn after(this: IpAddr) -> IpAddr {
    let most = if this.is_ipv4() { u32::MAX.into() } else { u128::MAX };
    address(this.is_ipv4(), number(this).saturating_add(1).min(most))
}

fn before(this: IpAddr) -> IpAddr {
    address(this.is_ipv4(), number(this).saturating_sub(1))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u32::from(a).into(),
        IpAddr::V6(a) => a.into(),
    }
}

fn address(v4: bool, number: u128) -> IpAddr {
    if v4 { Ipv4Addr::from(number as u32).into() } else { Ipv6Addr::from(number).into() }
}

impl FromStr for Subnet {
    type Err = Invalid;

    /// `ADDRESS/BITS`; the address is kept as it is.
    fn from_str(text: &str) -> Result<Subnet, Invalid> {
        let invalid = || Invalid::new("subnet", text, "expected ADDRESS/BITS, as in 10.89.0.0/24");
        let (ip, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let subnet = Subnet {
            address: ip.parse().map_err(|_| invalid())?,
            prefix: prefix.parse().ok().filter(|_| prefix.bytes().all(|b| b.is_ascii_digit())).ok_or_else(invalid)?,
        };
        if subnet.prefix <= subnet.bits() { Ok(subnet) } else { Err(invalid()) }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for Subnet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Subnet, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_in_a_network() {
        let podman = net("10.88.0.0/16");
        assert!(podman.contains("10.88.255.255".parse().unwrap()));
        assert!(!podman.contains("10.89.0.0".parse().unwrap()) && !podman.contains("::1".parse().unwrap()));
        assert_eq!(podman.last(), "10.88.255.255".parse::<IpAddr>().unwrap());
        assert_eq!(podman.at(256), Some("10.88.1.0".parse().unwrap()));
        assert_eq!(net("10.0.0.0/30").at(4), None);
        assert_eq!(net("255.255.255.252/30").at(4), None);
        assert!(net("0.0.0.0/0").contains("1.2.3.4".parse().unwrap()) && net("::/0").contains("::1".parse().unwrap()));
        assert!(podman.overlaps(net("10.88.7.0/24")) && net("10.88.7.0/24").overlaps(podman));
        assert!(!podman.overlaps(net("10.89.0.0/24")) && !podman.overlaps(net("::/0")));
        assert_eq!(net("10.88.3.4/16").network(), podman);
    }

    #[test]
    fn what_containers_can_have() {
        let text = |s: &str| net(s).usable();
        assert_eq!(text("10.1.2.0/24"), ("10.1.2.1".parse().unwrap(), "10.1.2.254".parse().unwrap()));
        assert_eq!(text("10.1.2.4/31"), ("10.1.2.4".parse().unwrap(), "10.1.2.5".parse().unwrap()));
        assert_eq!(text("fd00::/64"), ("fd00::1".parse().unwrap(), "fd00::ffff:ffff:ffff:ffff".parse().unwrap()));
    }

    #[test]
    fn only_networks_are_read() {
        for text in ["10.0.0.0", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "/8", "10.0.0.0/+8", "10.0.0.0/"] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
        assert_eq!(net("10.88.3.4/16").to_string(), "10.88.3.4/16");
    }
}
