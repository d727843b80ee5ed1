//! Definitions of networks: one JSON file each, `NAME.json`, in the form that netavark's users have (podman-network(1),
//! netavark's `network` objects). The network `podman` is there without a file; `bridge` is another name of it.
//!
//! Must not know: what is done with a network.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use types::Subnet;

/// Name of the network that containers get where none is named.
pub const DEFAULT: &str = "podman";
/// Its id: 64 hex digits, the same on every host.
const DEFAULT_ID: &str = "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9";

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// Its id: 64 hex digits.
    pub id: String,
    /// `bridge`, `macvlan` or `ipvlan`.
    pub driver: String,
    /// Name of the bridge; for other drivers, of the device that it is on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network_interface: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Where addresses come from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<Pool>,
    /// Routes that its containers get.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<StaticRoute>,
    /// It has IPv6 addresses.
    pub ipv6_enabled: bool,
    /// It leads nowhere but to its own containers.
    pub internal: bool,
    /// Names of its containers are answered.
    pub dns_enabled: bool,
    /// Servers that other names are asked of; the host's if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network_dns_servers: Vec<IpAddr>,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// `driver`: `host-local`, `dhcp` or `none`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ipam_options: BTreeMap<String, String>,
}

/// A subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its addresses.
    pub subnet: Subnet,
    /// The host's address in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Only these are given to containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_range: Option<LeaseRange>,
}

/// A part of a subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRange {
    /// The first address; that of the subnet if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ip: Option<IpAddr>,
    /// The last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ip: Option<IpAddr>,
}

/// A route of the containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticRoute {
    /// Where it leads to.
    pub destination: Subnet,
    /// By way of which address.
    pub gateway: IpAddr,
    /// Smaller comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
}

impl Definition {
    /// The network that is always there.
    pub fn default_network() -> Definition {
        Definition {
            name: DEFAULT.into(),
            id: DEFAULT_ID.into(),
            driver: "bridge".into(),
            network_interface: "podman0".into(),
            created: "2023-01-01T00:00:00Z".into(),
            subnets: vec![Pool {
                subnet: Subnet { address: [10, 88, 0, 0].into(), prefix: 16 },
                gateway: Some([10, 88, 0, 1].into()),
                lease_range: None,
            }],
            ipam_options: BTreeMap::from([("driver".into(), "host-local".into())]),
            ..Definition::default()
        }
    }

    /// It has a bridge of its own; others are on a device, or a bridge, of the host.
    pub fn is_bridge(&self) -> bool {
        self.driver == "bridge" && !self.is_unmanaged()
    }

    /// Its bridge is somebody else's: it is joined, and nothing else is done to it.
    pub fn is_unmanaged(&self) -> bool {
        self.driver == "bridge" && self.option("mode") == Some("unmanaged")
    }

    /// Its containers' addresses are lent by a server on the network (DHCP).
    pub fn is_lent(&self) -> bool {
        self.ipam_options.get("driver").is_some_and(|driver| driver == "dhcp")
    }

    /// Somebody has to be there for it while containers are in it.
    pub(crate) fn is_kept(&self) -> bool {
        self.dns_enabled || self.is_lent()
    }

    /// Its containers have no way out by its gateway.
    pub fn has_no_way_out(&self) -> bool {
        self.internal || self.option("no_default_route").is_some_and(|v| matches!(v, "1" | "true"))
    }

    /// The value of an option of the driver.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// Largest packet, if it was set.
    pub fn mtu(&self) -> u32 {
        self.option("mtu")
            .or_else(|| self.option("com.docker.network.driver.mtu"))
            .and_then(|m| m.parse().ok())
            .unwrap_or(0)
    }

    /// How it keeps its containers from others'.
    pub fn isolation(&self) -> Isolation {
        match self.option("isolate") {
            Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Isolation::FromIsolated,
            Some("strict") => Isolation::FromAll,
            _ => Isolation::None,
        }
    }
}

/// What an isolated network is kept from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Nothing.
    None,
    /// Other isolated networks.
    FromIsolated,
    /// All other networks.
    FromAll,
}

/// A directory of definitions.
#[derive(Debug, Clone)]
pub struct Definitions {
    directory: PathBuf,
}

impl Definitions {
    /// Those in `directory`, which need not exist.
    pub fn at(directory: &Path) -> Definitions {
        Definitions { directory: directory.to_owned() }
    }

    /// All of them, by name. A file that cannot be understood is left out; whoever names it is told.
    pub fn all(&self) -> Result<Vec<Definition>, Error> {
        let mut all = Vec::new();
        for name in self.names()? {
            if let Ok(definition) = self.read(&name) {
                all.push(definition);
            }
        }
        if !all.iter().any(|d| d.name == DEFAULT) {
            all.push(Definition::default_network());
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let entries = match std::fs::read_dir(&self.directory) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|e| self.fail("read", self.directory.clone(), e))?,
        };
        let name = |e: std::fs::DirEntry| Some(e.file_name().to_str()?.strip_suffix(".json")?.to_owned());
        Ok(entries.flatten().filter_map(name).collect())
    }

    fn fail(&self, what: &'static str, path: PathBuf, source: std::io::Error) -> Error {
        Error::File { what, path, source }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }

    fn read(&self, name: &str) -> Result<Definition, Error> {
        let path = self.path(name);
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoSuchNetwork { name: name.into() });
            }
            other => other.map_err(|e| self.fail("read", path.clone(), e))?,
        };
        let damaged = |why: String| Error::Definition { name: name.into(), path: path.clone(), why };
        let definition: Definition = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        if definition.name != name {
            return Err(damaged(format!("it names the network {:?}", definition.name)));
        }
        Ok(definition)
    }

    /// The network of a name, an id, or an unambiguous beginning of an id.
    pub fn find(&self, name: &str) -> Result<Definition, Error> {
        let name = if name == "bridge" { DEFAULT } else { name };
        // A name that is no file name is none of a network.
        if !name.contains('/') {
            match self.read(name) {
                Err(Error::NoSuchNetwork { .. }) if name == DEFAULT => return Ok(Definition::default_network()),
                Err(Error::NoSuchNetwork { .. }) => {}
                other => return other,
            }
        }
        let mut found = self.all()?.into_iter().filter(|d| !name.is_empty() && d.id.starts_with(name));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(Error::Invalid(format!("more than one result for network ID {name}: ambiguous"))),
            _ => Err(Error::NoSuchNetwork { name: name.into() }),
        }
    }

    /// Writes a definition, in place of one of the same name.
    pub fn write(&self, definition: &Definition) -> Result<(), Error> {
        let path = self.path(&definition.name);
        let write = || {
            std::fs::create_dir_all(&self.directory)?;
            let mut text = serde_json::to_vec_pretty(definition)?;
            text.push(b'\n');
            let temporary = self.directory.join(format!(".{}.new", definition.name));
            std::fs::write(&temporary, text)?;
            std::fs::rename(&temporary, &path)
        };
        write().map_err(|e| self.fail("write", path.clone(), e))
    }

    /// Removes the definition of this name.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name);
        std::fs::remove_file(&path).map_err(|e| self.fail("remove", path.clone(), e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podmans_files_are_read() {
        let directory = std::env::temp_dir().join(format!("definitions-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let all = Definitions::at(&directory);
        assert_eq!(all.find("bridge").unwrap(), Definition::default_network());
        assert!(matches!(all.find("other"), Err(Error::NoSuchNetwork { .. })));
        let text = r#"{"name":"other","id":"17f29b073143d8cd97b5bbe492bdeffec1c5fee55cc1fe2112c8b9335f8b6121","driver":"bridge",
            "network_interface":"podman1","created":"2023-05-01T10:00:00.1+02:00",
            "subnets":[{"subnet":"10.89.0.0/24","gateway":"10.89.0.1","lease_range":{"start_ip":"10.89.0.8","end_ip":"10.89.0.15"}}],
            "ipv6_enabled":false,"internal":false,"dns_enabled":true,"options":{"isolate":"true","mtu":"1400"},
            "ipam_options":{"driver":"host-local"}}"#;
        std::fs::write(directory.join("other.json"), text).unwrap();
        std::fs::write(directory.join("bad.json"), "{").unwrap();
        let other = all.find("other").unwrap();
        assert_eq!((other.mtu(), other.isolation()), (1400, Isolation::FromIsolated));
        assert_eq!(all.find("17f29b").unwrap(), other);
        assert!(matches!(all.find("bad"), Err(Error::Definition { .. })));
        assert!(all.find("../definitions/other").is_err());
        assert_eq!(all.all().unwrap().len(), 2);
        all.write(&other).unwrap();
        assert_eq!(all.find("other").unwrap(), other);
        all.remove("other").unwrap();
        assert_eq!(all.all().unwrap(), [Definition::default_network()]);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
