//! The files that a container is given: /etc/hosts, /etc/hostname, /etc/resolv.conf, /run/.containerenv.

use super::config::{Config, Names, Namespace};
use super::volumes::View;
use network::Allotment;
use ops::{Fault, Kind};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use types::idmap::to_host;

/// Writes them below `directory`; gives each with its path inside. `view` is the root; none while the container runs.
///
/// `network` is the private network of a container that has one, `allotment` what it has in bridges.
pub(super) fn write(
    config: &Config,
    view: Option<&View<'_>>,
    directory: &Path,
    rootless: bool,
    network: Option<&usernet::Plan>,
    allotment: Option<&Allotment>,
) -> Result<Vec<(PathBuf, String)>, Fault> {
    let host_network = config.namespaces.network == Namespace::Host;
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut files = vec![("containerenv", "/run/.containerenv", containerenv(config, rootless))];
    if !config.names.no_hostname {
        files.push(("hostname", "/etc/hostname", format!("{}\n", config.hostname)));
    }
    if !config.names.no_hosts {
        let base = match config.names.hosts_file.as_deref() {
            None => read("/etc/hosts"),
            Some("none") => String::new(),
            Some("image") => image_hosts(view, directory)?,
            Some(path) => std::fs::read_to_string(path)
                .map_err(|e| Fault::new(Kind::NotFound, format!("cannot read the hosts file {path:?}: {e}")))?,
        };
        let text = hosts(&base, config, host_network, network, allotment)?;
        files.push(("hosts", "/etc/hosts", text));
    }
    if config.names.dns.first().map(String::as_str) != Some("none") {
        let mut host = read("/etc/resolv.conf");
        // The stub of systemd-resolved answers in the host's network only; the real servers are in this file.
        if let Some(network) = network {
            host = behind_router(&host, network);
        } else if !host_network && servers(&host).all(|s| s.is_loopback()) {
            host = Some(read("/run/systemd/resolve/resolv.conf")).filter(|t| !t.is_empty()).unwrap_or(host);
        }
        let text = match allotment.map(own_servers).filter(|s| !s.is_empty()) {
            Some(own) => answered(&host, &config.names, &own),
            None => resolv_conf(&host, &config.names, host_network),
        };
        files.push(("resolv.conf", "/etc/resolv.conf", text));
    }
    let mut written = Vec::with_capacity(files.len());
    for (name, inside, text) in files {
        let path = directory.join(name);
        std::fs::write(&path, text)
            .and_then(|()| match &config.namespaces.user {
                // The container's root writes to it as it likes, as to its other files.
                Some(map) => std::os::unix::fs::chown(&path, to_host(&map.uids, 0), to_host(&map.gids, 0)),
                None => Ok(()),
            })
            .map_err(|e| Fault::internal(format!("cannot write {path:?}: {e}")))?;
        written.push((path, inside.to_owned()));
    }
    if let Some(zone) = &config.timezone {
        written.push((local_time(zone, directory)?, "/etc/localtime".to_owned()));
    }
    let of_etc: Vec<_> = written.iter().filter(|(_, inside)| inside.starts_with("/etc/")).cloned().collect();
    for top in &config.chroot_directories {
        written.extend(of_etc.iter().map(|(path, inside)| (path.clone(), format!("{top}{inside}"))));
    }
    Ok(written)
}

/// The image's own /etc/hosts, kept for when it is written anew while the container runs and hides it.
fn image_hosts(view: Option<&View<'_>>, directory: &Path) -> Result<String, Fault> {
    let kept = directory.join("hosts.image");
    let Some(view) = view else { return Ok(std::fs::read_to_string(kept).unwrap_or_default()) };
    let text = runtime::user::text(view.root()?.as_fd(), "/etc/hosts")
        .map_err(|e| Fault::invalid(crate::fault::sentence(&e)))?
        .unwrap_or_default();
    std::fs::write(&kept, &text).map_err(|e| Fault::internal(format!("cannot write {kept:?}: {e}")))?;
    Ok(text)
}

/// Where the host keeps the rules of a time zone.
pub(super) fn zone_file(zone: &str) -> PathBuf {
    if zone == "local" { PathBuf::from("/etc/localtime") } else { Path::new("/usr/share/zoneinfo").join(zone) }
}

/// A copy: what the host's name is a link to may be renewed by its package manager.
fn local_time(zone: &str, directory: &Path) -> Result<PathBuf, Fault> {
    let (from, to) = (zone_file(zone), directory.join("localtime"));
    match std::fs::copy(&from, &to) {
        Ok(_) => Ok(to),
        Err(e) => Err(Fault::internal(format!("cannot copy {from:?} for the time zone {zone:?}: {e}"))),
    }
}

/// Empty but for privileged containers, who are told where they are (podman-run(1)). The name is the one that the variable
/// `container` has: programs look for it.
fn containerenv(config: &Config, rootless: bool) -> String {
    if !config.privileged {
        return String::new();
    }
    format!(
        "engine=\"podman-{}\"\nname={:?}\nid={:?}\nimage={:?}\nimageid={:?}\nrootless={}\n",
        env!("CARGO_PKG_VERSION"),
        config.name,
        config.id.as_str(),
        config.image,
        config.image_id,
        u8::from(rootless)
    )
}

/// What was asked for comes first, then the host's lines, then what is always there if those lack it.
pub(crate) fn hosts(
    host: &str,
    config: &Config,
    host_network: bool,
    network: Option<&usernet::Plan>,
    allotment: Option<&Allotment>,
) -> Result<String, Fault> {
    let mut text = String::new();
    // The host as seen from inside: its address in the first network that has one.
    let gateway = allotment.and_then(|a| {
        let gateways = a.networks.values().flat_map(|n| n.subnets.iter().filter_map(|p| p.gateway));
        let first = a.holding.joints.iter().flat_map(|j| j.gateways.iter().copied()).next();
        first.or_else(|| gateways.clone().next())
    });
    // Behind a router the gateway is the router.
    let gateway = network.map_or(gateway, |n| n.host);
    let gateway = match config.names.host_address.as_deref() {
        Some("none") => None,
        Some(address) => address.parse().ok(),
        None => gateway,
    };
    for (name, ip) in &config.names.add_hosts {
        let ip = match (ip.as_str(), gateway) {
            ("host-gateway", None) if host_network => "127.0.0.1".to_owned(),
            ("host-gateway", None) => {
                return Err(Fault::new(
                    Kind::Invalid,
                    "host containers internal IP address is empty: host-gateway needs a network with a gateway",
                )
                .hint("use --network bridge, or give the address"));
            }
            ("host-gateway", Some(gateway)) => gateway.to_string(),
            (ip, _) => ip.to_owned(),
        };
        let _ = writeln!(text, "{ip}\t{name}");
    }
    let given = |name: &str| config.names.add_hosts.iter().any(|(n, _)| n == name);
    let (mut localhost, mut known) = (false, Vec::new());
    for line in host.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(ip) = words.next().filter(|w| w.parse::<IpAddr>().is_ok()) else { continue };
        let names: Vec<&str> = words.filter(|n| !given(n)).collect();
        if !names.is_empty() {
            localhost |= names.contains(&"localhost");
            known.extend(names.iter().copied());
            let _ = writeln!(text, "{ip}\t{}", names.join(" "));
        }
    }
    if !localhost {
        text.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost\n");
    }
    const HOST: &str = "host.containers.internal";
    if let Some(gateway) = gateway.filter(|_| !given(HOST) && !known.contains(&HOST)) {
        let _ = writeln!(text, "{gateway}\t{HOST} host.docker.internal");
    }
    if !host_network && !config.hostname.is_empty() {
        // Names that a file or an option has for others stay theirs.
        let mut names = vec![config.hostname.as_str(), config.name.as_str()];
        names.retain(|name| !given(name) && !known.contains(name));
        let mut own: Vec<IpAddr> =
            allotment.iter().flat_map(|a| &a.holding.joints).flat_map(|j| &j.addresses).map(|a| a.address).collect();
        own.extend(network.and_then(|n| n.addresses.first()).map(|(ip, _)| *ip));
        for address in if own.is_empty() { vec![[127, 0, 0, 1].into()] } else { own } {
            if !names.is_empty() {
                let _ = writeln!(text, "{address}\t{}", names.join(" "));
            }
        }
    }
    Ok(text)
}

/// The host's text with the servers of a private network, which ask the host's.
fn behind_router(host: &str, network: &usernet::Plan) -> String {
    let mut text: String = network.nameservers.iter().map(|ip| format!("nameserver {ip}\n")).collect();
    for line in host.lines().filter(|l| !l.trim_start().starts_with("nameserver")) {
        let _ = writeln!(text, "{line}");
    }
    if let Some(search) = &network.search {
        // The last line of its kind counts (resolv.conf(5)).
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    text
}

fn servers(text: &str) -> impl Iterator<Item = IpAddr> + '_ {
    text.lines()
        .filter_map(|l| l.trim().strip_prefix("nameserver")?.split_whitespace().next()?.split('%').next()?.parse().ok())
}

/// Where the names of containers are answered: at the host's addresses in its networks.
fn own_servers(allotment: &Allotment) -> Vec<IpAddr> {
    let networks = allotment.holding.joints.iter().filter_map(|j| allotment.networks.get(&j.network));
    networks.filter(|n| n.dns_enabled).flat_map(|n| n.subnets.iter().filter_map(|p| p.gateway)).collect()
}

/// With the servers of its networks, who ask others in its name.
fn answered(host: &str, names: &Names, own: &[IpAddr]) -> String {
    let mut names = Names { dns: own.iter().map(IpAddr::to_string).collect(), ..names.clone() };
    if names.dns_search.is_empty() {
        let found = host.lines().filter_map(|l| l.trim().strip_prefix("search")).next_back();
        names.dns_search.push(network::DOMAIN.to_owned());
        names.dns_search.extend(found.into_iter().flat_map(str::split_whitespace).map(str::to_owned));
    }
    resolv_conf(host, &names, false)
}

/// The host's, with what was asked for in its place. Another network cannot reach servers on the host's loopback.
fn resolv_conf(host: &str, names: &Names, host_network: bool) -> String {
    let mut text = String::new();
    let of_host = |keyword: &str| -> Vec<String> {
        host.lines()
            .filter_map(|l| {
                l.trim().strip_prefix(keyword)?.strip_prefix([' ', '\t']).map(|rest| rest.trim().to_owned())
            })
            .collect()
    };
    let search = match names.dns_search.as_slice() {
        [] => of_host("search").pop().or_else(|| of_host("domain").pop()),
        [none] if none == "." => None,
        asked => Some(asked.join(" ")),
    };
    if let Some(search) = search.filter(|s| !s.is_empty()) {
        let _ = writeln!(text, "search {search}");
    }
    if names.dns.is_empty() {
        for server in servers(host).filter(|s| host_network || !s.is_loopback()) {
            let _ = writeln!(text, "nameserver {server}");
        }
    }
    for server in &names.dns {
        let _ = writeln!(text, "nameserver {server}");
    }
    let options = if names.dns_options.is_empty() { of_host("options").join(" ") } else { names.dns_options.join(" ") };
    if !options.is_empty() {
        let _ = writeln!(text, "options {options}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_servers_stay_with_the_host() {
        let host = "# comment\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch a.example b.example\noptions edns0\n";
        let private = resolv_conf(host, &Names::default(), false);
        assert_eq!(private, "search a.example b.example\nnameserver 10.0.0.1\noptions edns0\n");
        assert!(resolv_conf(host, &Names::default(), true).contains("127.0.0.53"));
        let asked = Names {
            dns: vec!["1.2.3.4".into()],
            dns_search: vec![".".into()],
            dns_options: vec!["ndots:2".into()],
            ..Names::default()
        };
        assert_eq!(resolv_conf(host, &asked, false), "nameserver 1.2.3.4\noptions ndots:2\n");
        assert_eq!(resolv_conf("", &Names::default(), false), "");
    }
}
