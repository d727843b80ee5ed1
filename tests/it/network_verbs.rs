//! Networks are made, joined, left and removed; and kept from each other where that was asked for.

use crate::networks::{Neighbour, ask, home, host, server, traces, until_as};

#[test]
fn networks_are_made_listed_and_removed() {
    let Some(home) = home() else { return };
    let before = traces();
    assert_eq!(home.run(&["network", "ls", "--format", "{{.Name}} {{.Driver}}"]).quiet(), "podman bridge");
    assert_eq!(home.run(&["network", "create", "--ipv6", "--label", "a=b", "lan"]).quiet(), "lan");
    assert_eq!(home.run(&["network", "create"]).quiet(), "podman2");
    home.run(&["network", "create", "lan"]).fails(125, &["lan", "already"]);
    home.run(&["network", "create", "--ignore", "lan"]).quiet();
    home.run(&["network", "create", "--subnet", "10.88.1.0/24", "x"]).fails(125, &["10.88.1.0/24", "already used"]);
    home.run(&["network", "create", "--driver", "ipvlan", "--ipam-driver", "dhcp", "x"]).fails(125, &["dhcp"]);
    home.run(&["network", "create", "--driver", "ipvlan", "-o", "parent=nowhere0", "x"]).fails(125, &["nowhere0"]);
    assert_eq!(home.run(&["network", "ls", "-q"]).quiet(), "lan\npodman\npodman2");
    for (filters, found) in [
        (&["label=a=b"][..], "lan"),
        (&["name=^pod"], "podman\npodman2"),
        (&["name=lan", "name=n2$"], "lan\npodman2"),
        (&["until=1h"], "podman"),
        (&["driver=macvlan"], ""),
    ] {
        let flags: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", *filter]).collect();
        assert_eq!(home.run(&[&["network", "ls", "-q"], &flags[..]].concat()).quiet(), found, "{filters:?}");
    }
    home.run(&["network", "ls", "--filter", "size=1"]).fails(125, &["size", "driver"]);
    let subnet =
        home.run(&["network", "inspect", "lan", "--format", "{{(index .Subnets 0).Subnet}} {{.DNSEnabled}}"]).quiet();
    assert_eq!(subnet, "10.89.0.0/24 true");
    home.run(&["network", "exists", "lan"]).code(0);
    home.run(&["network", "exists", "nowhere"]).code(1);
    let flags = [
        "run",
        "-d",
        "--name",
        "one",
        "--network",
        "lan:ip=10.89.0.77,interface_name=net7,host_interface_name=end7",
        "busybox",
        "sleep",
        "1000",
    ];
    home.run(&flags).quiet();
    let inside = home.run(&["exec", "one", "ip", "-o", "addr", "show", "net7"]).quiet();
    assert!(inside.contains("10.89.0.77/24") && inside.contains(" fd"), "{inside}");
    assert!(host("ip -o link show end7").contains("master podman1"), "{}", host("ip link"));
    // Several at once.
    let both = home.sh(&["--network", "lan,podman2"], "ls /sys/class/net").quiet();
    assert_eq!(both.lines().collect::<Vec<_>>(), ["eth0", "eth1", "lo"]);
    home.sh(&["--network", "lan:host_interface_name=a%d"], "true").fails(125, &["a%d", "interface name"]);
    let document: serde_json::Value = serde_json::from_str(&home.run(&["network", "inspect", "lan"]).quiet()).unwrap();
    assert!(document[0]["containers"].to_string().contains("10.89.0.77/24"), "{document}");
    home.run(&["network", "rm", "lan"]).fails(2, &["being used"]);
    home.run(&["network", "rm", "podman"]).fails(125, &["cannot be removed"]);
    home.run(&["network", "rm", "nowhere"]).fails(1, &["network not found"]);
    assert_eq!(home.run(&["network", "prune", "-f"]).quiet(), "podman2");
    home.run(&["network", "rm", "-f", "-t", "0", "lan"]).quiet();
    assert!(home.containers().is_empty());
    assert_eq!(home.run(&["network", "ls", "-q"]).quiet(), "podman");
    until_as(&home, &before);
}

#[test]
fn containers_join_and_leave_networks_while_they_run() {
    let Some(home) = home() else { return };
    let before = traces();
    home.run(&["network", "create", "lan"]).quiet();
    let script = server(80, "hello");
    home.run(&["run", "-d", "--name", "web", "-p", "8080:80", "busybox", "sh", "-c", &script]).quiet();
    home.until("the server listens", || ask("127.0.0.1:8080").is_some());
    home.run(&["network", "connect", "--ip", "10.89.0.9", "lan", "web"]).quiet();
    home.run(&["network", "connect", "lan", "web"]).fails(125, &["already connected"]);
    assert_eq!(ask("10.89.0.9:80").as_deref(), Some("hello\n"));
    assert_eq!(home.run(&["ps", "--format", "{{.Networks}}"]).quiet(), "podman,lan");
    let hosts = || home.run(&["exec", "web", "cat", "/etc/hosts", "/etc/resolv.conf"]).quiet();
    assert!(hosts().contains("10.89.0.9\t") && hosts().contains("nameserver 10.89.0.1"), "{}", hosts());
    assert_eq!(home.inspect("web", "{{.NetworkSettings.Networks.lan.IPAddress}}"), "10.89.0.9");
    home.run(&["network", "disconnect", "podman", "web"]).quiet();
    assert_eq!(ask("10.89.0.9:80").as_deref(), Some("hello\n"));
    assert!(!hosts().contains("10.88.0."), "{}", hosts());
    // Its ports lead to the address that it still has.
    assert_eq!(ask("127.0.0.1:8080").as_deref(), Some("hello\n"));
    let links = home.run(&["exec", "web", "ls", "/sys/class/net"]).quiet();
    assert_eq!(links.lines().collect::<Vec<_>>(), ["eth1", "lo"]);
    home.run(&["network", "disconnect", "podman", "web"]).fails(125, &["not connected"]);
    // One that has left all networks has its ports again in the next.
    home.run(&["network", "disconnect", "lan", "web"]).quiet();
    assert_eq!(ask("127.0.0.1:8080"), None);
    home.run(&["network", "connect", "--ip", "10.89.0.9", "lan", "web"]).quiet();
    assert_eq!(ask("127.0.0.1:8080").as_deref(), Some("hello\n"));
    // It is so after a restart, too.
    home.run(&["restart", "-t", "0", "web"]).ok();
    home.until("it is there again", || ask("10.89.0.9:80").as_deref() == Some("hello\n"));
    // Rules that somebody took away are made anew.
    host("nft flush ruleset");
    assert_eq!(ask("127.0.0.1:8080"), None);
    home.run(&["network", "reload", "web"]).ok();
    assert_eq!(ask("127.0.0.1:8080").as_deref(), Some("hello\n"));
    assert_eq!(home.run(&["port", "web"]).quiet(), "80/tcp -> 0.0.0.0:8080");
    assert_eq!(home.run(&["port", "web", "80"]).quiet(), "0.0.0.0:8080");
    home.run(&["rm", "-f", "-t", "0", "web"]).ok();
    until_as(&home, &before);
}

#[test]
fn networks_are_kept_from_each_other() {
    let Some(home) = home() else { return };
    let neighbour = Neighbour::new();
    neighbour.run("ip route add default via 192.0.2.1");
    let with_neighbour = traces();
    for (name, flags) in [
        ("plain", &[][..]),
        ("apart1", &["-o", "isolate=true"]),
        ("apart2", &["-o", "isolate=true"]),
        ("strict", &["-o", "isolate=strict"]),
        ("inner", &["--internal"]),
    ] {
        let mut args = vec!["network", "create"];
        args.extend(flags);
        args.push(name);
        home.run(&args).quiet();
        let script = server(80, name);
        home.run(&["run", "-d", "--name", name, "--network", name, "busybox", "sh", "-c", &script]).quiet();
    }
    let address = |name: &str| home.inspect(name, &format!("{{{{.NetworkSettings.Networks.{name}.IPAddress}}}}"));
    let reach = |from: &str, to: &str| {
        let script = format!("nc -w 1 {} 80 </dev/null 2>/dev/null", address(to));
        home.run(&["exec", from, "sh", "-c", &script]).out.trim() == to
    };
    home.until("they listen", || ["plain", "apart1", "apart2", "strict", "inner"].iter().all(|n| reach(n, n)));
    for (from, to, may) in [
        ("plain", "apart1", true),
        ("apart1", "plain", true),
        ("apart1", "apart2", false),
        ("apart2", "apart1", false),
        ("strict", "plain", false),
        ("plain", "strict", false),
        ("strict", "apart1", false),
        ("plain", "inner", false),
        ("inner", "plain", false),
    ] {
        assert_eq!(reach(from, to), may, "{from} to {to}");
    }
    // The way out: with the host's address, or none at all.
    let listener = neighbour.listen(7000);
    let out = |from: &str| {
        let script = "nc -w 1 192.0.2.2 7000 </dev/null 2>/dev/null";
        home.run(&["exec", from, "sh", "-c", script]).out.trim().to_owned()
    };
    assert_eq!(out("plain"), "192.0.2.1");
    assert_eq!(out("strict"), "192.0.2.1");
    assert_eq!(out("inner"), "");
    // Nor with a route that the container gives itself.
    let pid = home.inspect("inner", "{{.State.Pid}}");
    host(&format!("nsenter -n -t {pid} ip route add default dev eth0"));
    assert_eq!(out("inner"), "");
    drop(listener);
    for name in home.containers() {
        home.run(&["rm", "-f", "-t", "0", &name]).ok();
    }
    until_as(&home, &with_neighbour);
}

#[test]
fn a_bridge_of_the_hosts_is_joined_and_left_alone() {
    let Some(home) = home() else { return };
    for words in ["link add br7 type bridge", "addr add 192.168.77.1/24 dev br7", "link set br7 up"] {
        host(&format!("ip {words}"));
    }
    let before = traces();
    let create = |flags: &[&str]| home.run(&[&["network", "create", "-o", "mode=unmanaged"], flags].concat());
    let subnet = ["--subnet", "192.168.77.0/24", "--gateway", "192.168.77.1"];
    create(&[&subnet[..], &["--interface-name", "br7", "theirs"]].concat()).quiet();
    create(&[&subnet[..], &["--interface-name", "br8", "missing"]].concat()).quiet();
    create(&["nowhere"]).fails(125, &["unmanaged", "--interface-name"]);
    create(&["--interface-name", "br7", "-o", "vlan=5", "x"]).fails(125, &["vlan", "unmanaged"]);
    home.run(&["network", "create", "-o", "mode=other", "x"]).fails(125, &["other", "managed, unmanaged"]);
    home.run(&["run", "-d", "--name", "web", "--network", "theirs", "busybox", "sh", "-c", &server(80, "hello")])
        .quiet();
    let address = home.inspect("web", "{{.NetworkSettings.Networks.theirs.IPAddress}}");
    assert!(address.starts_with("192.168.77.") && address != "192.168.77.1", "{address}");
    home.until("it listens", || ask(&format!("{address}:80")).as_deref() == Some("hello\n"));
    assert!(home.run(&["exec", "web", "ip", "route"]).quiet().contains("default via 192.168.77.1"));
    // Nothing is done for it but the link.
    let rules = host("nft list ruleset");
    assert!(!rules.contains("br7") && !rules.contains("192.168.77"), "{rules}");
    home.sh(&["--network", "theirs", "-p", "8080:80"], "true").fails(125, &["theirs", "published"]);
    home.sh(&["--network", "missing"], "true").fails(125, &["br8"]);
    home.run(&["rm", "-f", "-t", "0", "web"]).quiet();
    home.run(&["network", "rm", "theirs", "missing"]).quiet();
    until_as(&home, &before);
    host("ip link delete br7");
}

#[test]
fn options_of_bridges_are_heeded() {
    let Some(home) = home() else { return };
    let before = traces();
    let options = ["-o", "metric=300", "-o", "mtu=1400", "--route", "10.9.0.0/24,10.89.0.9,50"];
    home.run(&[&["network", "create"][..], &options, &["lan"]].concat()).quiet();
    home.run(&["run", "-d", "--name", "web", "--network", "lan", "busybox", "sh", "-c", &server(80, "hello")]).quiet();
    let address = home.inspect("web", "{{.NetworkSettings.Networks.lan.IPAddress}}");
    home.until("it listens", || ask(&format!("{address}:80")).is_some());
    let out =
        home.sh(&["--network", "lan"], &format!("ip route; cat /sys/class/net/eth0/mtu; nc {address} 80")).quiet();
    assert!(out.contains("default via 10.89.0.1 dev eth0  metric 300"), "{out}");
    assert!(out.contains("10.9.0.0/24 via 10.89.0.9 dev eth0  metric 50"), "{out}");
    assert!(out.ends_with("1400\nhello"), "{out}");
    home.run(&["rm", "-f", "-t", "0", "web"]).quiet();
    // A VRF is the host's to make. VLANs are tried in the virtual machine: not every kernel's bridges heed them.
    home.run(&["network", "create", "-o", "vrf=blue0", "blue"]).quiet();
    home.run(&["run", "--rm", "--network", "blue", "busybox", "true"]).fails(125, &["blue0"]);
    home.run(&["network", "rm", "lan", "blue"]).quiet();
    until_as(&home, &before);
}
