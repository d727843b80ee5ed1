//! Addresses that a server on the network of a device lends (DHCP).

use crate::networks::{have, home, host, traces, until_as};
use std::process::{Child, Command, Stdio};

/// Ends with us.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn addresses_are_lent_kept_and_given_back() {
    let Some(home) = home() else { return };
    if !have("dnsmasq") {
        return;
    }
    // The device of the host's on whose other end the server is.
    for words in [
        "link add in0 type veth peer name out0",
        "addr add 192.0.2.1/24 dev in0",
        "link set in0 up",
        "link set out0 up",
    ] {
        host(&format!("ip {words}"));
    }
    let before = traces();
    home.run(&["network", "create", "--driver", "macvlan", "-o", "parent=out0", "lan"]).quiet();
    let (leases, log) = (home.path("leases"), home.path("dhcp.log"));
    let (leases, log) = (leases.to_str().unwrap(), log.to_str().unwrap());
    let server = |range: &str| {
        let mut command = Command::new("dnsmasq");
        // Each is to be asked for again after three seconds: it heeds no less.
        command.args(["-k", "-p", "0", "-u", "root", "-i", "in0", "--no-ping", "--dhcp-authoritative", "--log-dhcp"]);
        command.args(["-O", "option:T1,3", "-O", "option:router,192.0.2.1", "-F", range, "-x", ""]);
        command.args(["-l", leases, &format!("--log-facility={log}")]);
        Server(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("dnsmasq"))
    };
    let heard = |what: &str| std::fs::read_to_string(log).unwrap_or_default().matches(what).count();
    let first = server("192.0.2.77,192.0.2.77,255.255.255.0,2m");
    home.run(&["run", "-d", "--name", "web", "--hostname", "web", "--network", "lan", "busybox", "sleep", "1000"])
        .quiet();
    let inside = |script: &str| home.run(&["exec", "web", "sh", "-c", script]).quiet();
    let out = inside("ip -4 -o addr show eth0; ip route; cat /etc/hosts");
    assert!(out.contains("inet 192.0.2.77/24") && out.contains("default via 192.0.2.1 dev eth0"), "{out}");
    assert!(out.contains("192.0.2.77\tweb"), "{out}");
    assert_eq!(home.inspect("web", "{{.NetworkSettings.Networks.lan.IPAddress}}"), "192.0.2.77");
    assert!(std::fs::read_to_string(leases).unwrap().contains(" web "), "the server is told the name");
    home.until("it asks again", || heard("DHCPACK(in0) 192.0.2.77") >= 2);
    // A server that has something else: the container has it too from then on.
    drop(first);
    std::fs::remove_file(leases).unwrap();
    let second = server("192.0.2.88,192.0.2.88,255.255.255.0,2m");
    home.until("it has another", || inside("ip -4 -o addr show eth0").contains("192.0.2.88/24"));
    let out = inside("ip -4 -o addr show eth0; ip route");
    assert!(!out.contains("192.0.2.77") && out.contains("default via 192.0.2.1 dev eth0"), "{out}");
    home.run(&["rm", "-f", "-t", "0", "web"]).quiet();
    home.until("it is given back", || heard("DHCPRELEASE(in0) 192.0.2.88") == 1);
    drop(second);
    until_as(&home, &before);
    host("ip link delete in0");
}
