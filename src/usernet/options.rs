//! What users say of a private network, in the words of the two programs that Podman starts for it: options of
//! `--network pasta:…` are pasta(1)'s arguments with commas between them, those of `--network slirp4netns:…` are
//! podman-run(1)'s. Pure.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Whose ways a private network has where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// The host's own addresses, name of interface and gateway.
    #[default]
    Pasta,
    /// 10.0.2.100 on `tap0`, gateway 10.0.2.2, resolver 10.0.2.3.
    Slirp4netns,
}

impl Style {
    /// The word for it in `--network`.
    pub fn word(self) -> &'static str {
        match self {
            Style::Pasta => "pasta",
            Style::Slirp4netns => "slirp4netns",
        }
    }
}

/// What was asked for; what is empty is left to [`crate::plan()`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Whose ways.
    pub style: Style,
    /// The container's interface.
    pub interface: String,
    /// The host's interface whose addresses are taken.
    pub template: String,
    /// The hardware address of that.
    pub hardware: Option<[u8; 6]>,
    /// The container's addresses.
    pub addresses: Vec<IpAddr>,
    /// Bits of their prefix.
    pub prefix: Option<u8>,
    /// Its gateways.
    pub gateways: Vec<IpAddr>,
    /// Largest packet.
    pub mtu: Option<u32>,
    /// The gateway's address is the host's loopback.
    pub map_gateway: bool,
    /// Addresses that are the host's loopback.
    pub loopback: Vec<IpAddr>,
    /// Addresses that are the host itself.
    pub host: Vec<IpAddr>,
    /// Addresses at which the host's resolvers answer.
    pub resolvers: Vec<IpAddr>,
    /// No addresses of version 4.
    pub no_v4: bool,
    /// No addresses of version 6.
    pub no_v6: bool,
    /// Transport protocols that do not leave.
    pub refused: Vec<String>,
    /// The host's addresses that go out.
    pub source: Vec<IpAddr>,
    /// For resolv.conf instead of what is found.
    pub nameservers: Vec<IpAddr>,
    /// For resolv.conf instead of what is found.
    pub search: Vec<String>,
}

/// An option that cannot be served, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refused {
    /// What is wrong.
    pub text: String,
    /// What would do instead; may be empty.
    pub hint: &'static str,
}

fn refused(text: impl Into<String>, hint: &'static str) -> Refused {
    Refused { text: text.into(), hint }
}

/// The arguments of `--network pasta:ARGUMENT,…`; empty for none.
pub fn pasta(arguments: &str) -> Result<Options, Refused> {
    let mut options = Options::default();
    let mut words = arguments.split(',').filter(|w| !w.is_empty());
    while let Some(word) = words.next() {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value)),
            _ => (word, None),
        };
        let mut value = || {
            inline
                .or_else(|| words.next())
                .ok_or_else(|| refused(format!("option {name:?} of pasta needs a value"), "write pasta:OPTION,VALUE"))
        };
        match name {
            "--map-gw" => options.map_gateway = true,
            "--no-map-gw" => options.map_gateway = false,
            "-m" | "--mtu" => options.mtu = mtu(value()?)?,
            "-a" | "--address" => {
                let text = value()?;
                let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
                options.addresses.push(ip(name, address)?);
                if !prefix.is_empty() {
                    options.prefix = Some(bits(name, prefix)?);
                }
            }
            "-n" | "--netmask" => options.prefix = Some(bits(name, value()?)?),
            "-g" | "--gateway" => options.gateways.push(ip(name, value()?)?),
            "-i" | "--interface" => options.template = value()?.to_owned(),
            "-I" | "--ns-ifname" => options.interface = link(name, value()?)?,
            "--ns-mac-addr" => options.hardware = Some(hardware(value()?)?),
            "-o" | "--outbound" => options.source.push(ip(name, value()?)?),
            "--dns-forward" => options.resolvers.push(ip(name, value()?)?),
            "-D" | "--dns" => match value()? {
                "none" => options.nameservers.clear(),
                text => options.nameservers.push(ip(name, text)?),
            },
            "-S" | "--search" => match value()? {
                "none" => options.search.clear(),
                text => options.search.push(text.to_owned()),
            },
            "--map-host-loopback" => match value()? {
                "none" => options.loopback.clear(),
                text => options.loopback.push(ip(name, text)?),
            },
            "--map-guest-addr" => match value()? {
                "none" => options.host.clear(),
                text => options.host.push(ip(name, text)?),
            },
            "-4" | "--ipv4-only" => options.no_v6 = true,
            "-6" | "--ipv6-only" => options.no_v4 = true,
            "--no-tcp" | "--no-udp" | "--no-icmp" => options.refused.push(name[5..].to_owned()),
            // Nothing asks for these here: the interface is given its addresses directly.
            "--no-dhcp" | "--no-dhcpv6" | "--no-ndp" | "--no-ra" | "--config-net" | "-q" | "--quiet" => {}
            "-t" | "--tcp-ports" | "-u" | "--udp-ports" | "-T" | "--tcp-ns" | "-U" | "--udp-ns" => {
                let ports = value()?;
                if ports != "none" {
                    return Err(refused(
                        format!("pasta:{name},{ports} is not supported: ports are not forwarded by themselves"),
                        "publish ports with -p, and reach the host at host.containers.internal",
                    ));
                }
            }
            _ => {
                return Err(refused(
                    format!("option {name:?} of pasta is not supported by the built-in network"),
                    "supported are -a, -n, -g, -m, -i, -I, -o, -D, -S, -4, -6, --map-gw, --map-host-loopback, --map-guest-addr, --dns-forward and --no-tcp, --no-udp, --no-icmp",
                ));
            }
        }
    }
    if options.no_v4 && options.no_v6 {
        return Err(refused("--ipv4-only and --ipv6-only of pasta exclude each other", "give one of them"));
    }
    Ok(options)
}

/// The options of `--network slirp4netns:KEY=VALUE,…`; empty for none.
pub fn slirp4netns(text: &str) -> Result<Options, Refused> {
    let mut options = Options { style: Style::Slirp4netns, ..Options::default() };
    for option in text.split(',').filter(|o| !o.is_empty()) {
        let (key, value) = option
            .split_once('=')
            .ok_or_else(|| refused(format!("invalid option {option:?} of slirp4netns: expected KEY=VALUE"), ""))?;
        let truth = || match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(refused(format!("invalid value {value:?} for {key} of slirp4netns: expected true or false"), "")),
        };
        match key {
            "allow_host_loopback" => options.map_gateway = truth()?,
            "enable_ipv6" => options.no_v6 = !truth()?,
            "mtu" => options.mtu = mtu(value)?,
            "cidr" => {
                let wrong = || refused(format!("invalid cidr {value:?} of slirp4netns: expected A.B.C.D/BITS"), "");
                let (network, prefix) = value.split_once('/').ok_or_else(wrong)?;
                let network: std::net::Ipv4Addr = network.parse().map_err(|_| wrong())?;
                // Its own addresses in it end in 2, 3 and 100.
                let prefix: u8 = prefix.parse().ok().filter(|p| (1..=25).contains(p)).ok_or_else(wrong)?;
                let first = u32::from(network) & (u32::MAX << (32 - prefix));
                let at = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(first + n));
                options.addresses = vec![at(100)];
                options.gateways = vec![at(2)];
                options.resolvers = vec![at(3)];
                options.prefix = Some(prefix);
            }
            "outbound_addr" | "outbound_addr6" => match value.parse() {
                Ok(ip) => options.source.push(ip),
                Err(_) => {
                    return Err(refused(
                        format!("{key} {value:?} of slirp4netns is not an address"),
                        "give the address of the interface instead of its name",
                    ));
                }
            },
            // Both keep or lose the client's address; here it is kept wherever that can be.
            "port_handler" if matches!(value, "rootlesskit" | "slirp4netns") => {}
            _ => {
                return Err(refused(
                    format!("unknown option {option:?} of slirp4netns"),
                    "known are allow_host_loopback, cidr, enable_ipv6, mtu, outbound_addr, outbound_addr6 and port_handler",
                ));
            }
        }
    }
    Ok(options)
}

fn ip(name: &str, text: &str) -> Result<IpAddr, Refused> {
    text.parse().map_err(|_| refused(format!("invalid value {text:?} for {name} of pasta: expected an address"), ""))
}

fn bits(name: &str, text: &str) -> Result<u8, Refused> {
    // Written as a mask, its ones come first.
    if let Ok(mask) = text.parse::<std::net::Ipv4Addr>() {
        let mask = u32::from(mask);
        if mask.leading_ones() + mask.trailing_zeros() == 32 || mask == u32::MAX {
            return Ok(mask.leading_ones() as u8);
        }
    }
    text.parse()
        .ok()
        .filter(|bits| (1..=32).contains(bits))
        .ok_or_else(|| refused(format!("invalid value {text:?} for {name} of pasta: expected 1 to 32 bits"), ""))
}

/// Six numbers in hexadecimal, with colons between them; not those of groups.
fn hardware(text: &str) -> Result<[u8; 6], Refused> {
    let mut bytes = text.split(':').map(|b| u8::from_str_radix(b, 16).ok());
    let address: [Option<u8>; 6] = std::array::from_fn(|_| bytes.next().flatten());
    match address {
        [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f)] if bytes.next().is_none() && a & 1 == 0 => {
            Ok([a, b, c, d, e, f])
        }
        _ => Err(refused(format!("invalid value {text:?} for --ns-mac-addr of pasta: expected XX:XX:XX:XX:XX:XX"), "")),
    }
}

fn mtu(text: &str) -> Result<Option<u32>, Refused> {
    match text.parse() {
        Ok(0) => Ok(None),
        Ok(mtu @ 1280..=65535) => Ok(Some(mtu)),
        _ => Err(refused(format!("invalid mtu {text:?}: expected 1280 to 65535"), "")),
    }
}

fn link(name: &str, text: &str) -> Result<String, Refused> {
    let fine = (1..=15).contains(&text.len())
        && !matches!(text, "." | ".." | "lo" | "all" | "default")
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%'));
    match fine {
        true => Ok(text.to_owned()),
        false => {
            Err(refused(format!("invalid value {text:?} for {name} of pasta: expected a name of an interface"), ""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pastas_arguments() {
        let text =
            "-a,10.7.0.5/16,-g,10.7.0.1,--mtu=1500,-I,net0,--map-gw,-4,--no-udp,--dns-forward,10.7.0.9,-T,none,-q";
        let options = pasta(text).unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!((options.addresses, options.prefix), (vec![ip("10.7.0.5")], Some(16)));
        assert_eq!((options.gateways, options.mtu), (vec![ip("10.7.0.1")], Some(1500)));
        assert_eq!((options.interface.as_str(), options.map_gateway, options.no_v6), ("net0", true, true));
        assert_eq!((options.refused, options.resolvers), (vec!["udp".to_owned()], vec![ip("10.7.0.9")]));
        assert_eq!(pasta("").unwrap(), Options::default());
        assert_eq!(pasta("-n,255.255.240.0").unwrap().prefix, Some(20));
        for wrong in [
            "--wonder",
            "-a",
            "-a,x",
            "-n,255.0.255.0",
            "-m,9",
            "-I,lo",
            "-I,a/b",
            "-t,auto",
            "--ns-mac-addr,01:02:03:04:05:06",
            "--ns-mac-addr,1:2",
            "-T,22",
            "-4,-6",
        ] {
            assert!(pasta(wrong).is_err(), "{wrong}");
        }
        assert!(pasta("-t,80").unwrap_err().hint.contains("-p"));
    }

    #[test]
    fn slirps_options() {
        let options = slirp4netns("allow_host_loopback=true,cidr=10.9.0.0/24,enable_ipv6=false,mtu=1500").unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(options.addresses, [ip("10.9.0.100")]);
        assert_eq!((options.gateways, options.resolvers), (vec![ip("10.9.0.2")], vec![ip("10.9.0.3")]));
        assert!(options.map_gateway && options.no_v6 && options.style == Style::Slirp4netns);
        assert!(slirp4netns("port_handler=rootlesskit").is_ok());
        for wrong in ["mtu", "mtu=x", "cidr=10.0.0.0/30", "cidr=x", "wonder=1", "enable_ipv6=1", "outbound_addr=eth0"] {
            assert!(slirp4netns(wrong).is_err(), "{wrong}");
        }
    }
}
