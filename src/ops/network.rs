//! Requests about networks. Replies are documents in Podman's shape, as `inspect` of containers is.

use serde::{Deserialize, Serialize};

/// Asks for a new network. What is `None` or empty is decided by the engine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Create {
    /// Name; one is made up otherwise.
    pub name: Option<String>,
    /// `bridge`.
    pub driver: String,
    /// `ADDRESS/BITS`.
    pub subnets: Vec<String>,
    /// `ADDRESS/BITS` or `FIRST-LAST`, one for each subnet in turn.
    pub ranges: Vec<String>,
    /// One for each subnet in turn.
    pub gateways: Vec<String>,
    /// With IPv6 too.
    pub ipv6: bool,
    /// Leads nowhere else.
    pub internal: bool,
    /// Names are not answered.
    pub disable_dns: bool,
    /// Servers for names of others.
    pub servers: Vec<String>,
    /// `KEY=VALUE`.
    pub labels: Vec<String>,
    /// `KEY=VALUE`.
    pub options: Vec<String>,
    /// `DESTINATION,GATEWAY[,METRIC]`.
    pub routes: Vec<String>,
    /// Name of the bridge.
    pub interface: String,
    /// `host-local`, `none`.
    pub ipam_driver: String,
    /// A network of that name is no error.
    pub ignore: bool,
}

/// Asks for a container to be in one network more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connect {
    /// Which network.
    pub network: String,
    /// Which container.
    pub container: String,
    /// Names there beside its own.
    pub aliases: Vec<String>,
    /// Addresses there.
    pub addresses: Vec<String>,
    /// Hardware address there.
    pub mac: Option<String>,
}

/// Asks for other servers of a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Update {
    /// Which network.
    pub network: String,
    /// Servers to add.
    pub add: Vec<String>,
    /// Servers to drop.
    pub drop: Vec<String>,
}
