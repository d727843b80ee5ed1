//! The private network of users without root, in a world of two hosts: nothing but the file under test carries it.

use crate::home::Who;
use crate::world::{FAR, FAR_2, FAR_6, HOST, HOST_2, HOST_6, World};

/// The host's list of servers names one of its own.
pub const RESOLVER: &str =
    "echo 'nameserver 127.0.0.53' >$HOME_DIR/resolv; mount --bind $HOME_DIR/resolv /etc/resolv.conf";

/// Asks the server at `at` who asks.
pub fn who(at: &str) -> String {
    let at = if at.contains(':') { format!("[{at}]") } else { at.to_owned() };
    format!("wget -qO- http://{at}/cgi-bin/who")
}

#[test]
fn a_container_reaches_the_world_as_the_host() {
    World::of(Who::Subuid, "").iter().for_each(a_container_reaches_the_world_as_the_host_in);
}

pub fn a_container_reaches_the_world_as_the_host_in(world: &World) {
    let _server = world.serve_who(world.far(&[]), "80", FAR);
    let out = world.home.sh(&[], &format!("{}; {}", who(FAR), who(FAR_2))).quiet();
    assert_eq!(out, format!("{HOST}\n{HOST_2}"));
    let out = world.home.sh(&[], &who(FAR_6)).quiet();
    assert_eq!(out, HOST_6);
    // Its addresses are the host's, and so is the name of its interface.
    let out = world.home.sh(&[], "ip -o -4 addr show cable0 | awk '{print $4}'; ip route").quiet();
    assert!(out.starts_with(&format!("{HOST}/24\ndefault via {FAR} dev cable0")), "{out}");
    let out = world.home.sh(&["--network", "slirp4netns"], "ip -o -4 addr show tap0 | awk '{print $4}'").quiet();
    assert_eq!(out, "10.0.2.100/24");
}

#[test]
fn echoes_and_refusals_come_back() {
    World::of(Who::Subuid, "").iter().for_each(echoes_and_refusals_come_back_in);
}

pub fn echoes_and_refusals_come_back_in(world: &World) {
    let out =
        world.home.sh(&["--cap-add", "net_raw"], &format!("ping -c 2 -W 5 {FAR} && ping -c 1 -W 5 {FAR_6}")).quiet();
    assert!(out.contains("2 packets received") && out.contains("1 packets received"), "{out}");
    let refused = world.home.sh(&[], &format!("wget -qO- http://{FAR}:9/")).code(1);
    assert!(refused.err.contains("Connection re"), "{}", refused.err);
}

#[test]
fn names_are_asked_of_the_hosts_resolvers() {
    World::of(Who::Subuid, RESOLVER).iter().for_each(names_are_asked_of_the_hosts_resolvers_in);
}

pub fn names_are_asked_of_the_hosts_resolvers_in(world: &World) {
    let knows = "--address=/thing.example/203.0.113.5";
    let server = [
        "dnsmasq",
        "-k",
        "--listen-address=127.0.0.53",
        "--bind-interfaces",
        "-R",
        "-h",
        knows,
        "-u",
        "root",
        "-x",
        "",
    ];
    let _server = world.serve(world.near(&server));
    world.until(|| world.near(&["busybox", "nslookup", "-type=a", "thing.example", "127.0.0.53"]));
    let out = world.home.sh(&[], "cat /etc/resolv.conf; nslookup -type=a thing.example").quiet();
    assert!(out.contains("203.0.113.5") && !out.contains("127.0.0.53"), "{out}");
}

#[test]
fn the_hosts_loopback_is_reached_only_where_that_was_asked_for() {
    let Some(world) = World::of(Who::Subuid, "") else { return };
    let _inner = world.serve_who(world.near(&[]), "7000", "127.0.0.1");
    let _outer = world.serve_who(world.near(&[]), "7001", HOST);
    let home = &world.home;
    let ask = |at: &str| format!("wget -qO- http://{at}/cgi-bin/who 2>/dev/null");
    let tries = ["127.0.0.1:7000", "0.0.0.0:7000", &format!("{FAR}:7000"), "host.containers.internal:7000"].map(ask);
    assert_eq!(home.sh(&[], &format!("{}; :", tries.join("; "))).ok(), "");
    assert_eq!(home.sh(&[], &ask("host.containers.internal:7001")).quiet(), HOST);
    let out = home.sh(&["--network", "pasta:--map-gw"], &ask(&format!("{FAR}:7000"))).quiet();
    assert_eq!(out, "127.0.0.1");
    let slirp = ask("10.0.2.2:7000");
    assert_eq!(home.sh(&["--network", "slirp4netns:allow_host_loopback=true"], &slirp).quiet(), "127.0.0.1");
    home.sh(&["--network", "slirp4netns"], &slirp).code(1);
}

#[test]
fn options_that_cannot_be_served_are_named() {
    let Some(world) = World::of(Who::Subuid, "") else { return };
    let home = &world.home;
    home.sh(&["--network", "pasta:-t,auto"], "true").fails(125, &["-t,auto", "-p"]);
    home.sh(&["--network", "pasta:--wonder"], "true").fails(125, &["--wonder"]);
    home.sh(&["--network", "slirp4netns:wonder=1"], "true").fails(125, &["wonder=1"]);
    home.sh(&["--network", "pasta:-i,nowhere0"], "true").fails(125, &["nowhere0"]);
}

#[test]
fn what_was_killed_is_there_again() {
    World::of(Who::Subuid, "").iter().for_each(what_was_killed_is_there_again_in);
}

pub fn what_was_killed_is_there_again_in(world: &World) {
    let home = &world.home;
    let _server = world.serve_who(world.far(&[]), "80", FAR);
    home.run(&["run", "-d", "--name", "one", "-p", "8080:80", "busybox", "sh", "-c", SERVE_WHO]).quiet();
    let question = who(FAR);
    let asks = |as_expected: &str| home.run(&["exec", "one", "sh", "-c", &question]).out.trim_end() == as_expected;
    assert!(asks(HOST));
    let before = home.run(&["exec", "one", "ip", "-o", "-4", "addr"]).quiet();
    let kill = |pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let named = |name: &str| stack(home, name).pop();
    let mut serving = named("monopod-network").unwrap();
    for _ in 0..3 {
        // Nobody is asked: who stands by steps in, with the same addresses and ports.
        kill(serving);
        home.until("another serves", || named("monopod-network").is_some_and(|now| now != serving));
        serving = named("monopod-network").unwrap();
        home.until("it carries", || asks(HOST));
        assert_eq!(ask(world, true, &format!("{HOST}:8080")), FAR);
    }
    // And who stands by is not the last one.
    let standby = named("monopod-standby").unwrap();
    kill(standby);
    home.until("another stands by", || named("monopod-standby").is_some_and(|now| now != standby));
    // With both gone the next container brings it back, for the first one too.
    kill(named("monopod-standby").unwrap());
    kill(named("monopod-network").unwrap());
    assert_eq!(home.sh(&[], &question).quiet(), HOST);
    home.until("it carries", || asks(HOST));
    assert_eq!(stack(home, "monopod-network").len(), 1, "one process for all containers of a user");
    assert_eq!(home.run(&["exec", "one", "ip", "-o", "-4", "addr"]).quiet(), before);
    home.run(&["rm", "-f", "-t", "0", "one"]).quiet();
    home.until("both end with the last container", || stack(home, "monopod-").is_empty());
}

/// The processes that serve the containers of a home, or stand by to do so, by the beginning of their name.
pub fn stack(home: &crate::home::Home, name: &str) -> Vec<rustix::process::Pid> {
    let read = |pid: &i32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let is_it = |pid: &i32| read(pid, "cmdline").starts_with("monopod-network") && read(pid, "comm").starts_with(name);
    home.processes().into_iter().filter(is_it).filter_map(rustix::process::Pid::from_raw).collect()
}

/// `httpd` in a container, which answers `/cgi-bin/who` with who asks.
pub const SERVE_WHO: &str =
    "mkdir -p /www/cgi-bin; printf '#!/bin/sh\\nprintf \"\\\\r\\\\n$REMOTE_ADDR\\\\n\"\\n' >/www/cgi-bin/who;
    chmod 755 /www/cgi-bin/who; exec httpd -f -p 80 -h /www";

/// What the server says at `at`, without the marks of version 6.
pub fn ask(world: &World, far: bool, at: &str) -> String {
    let url = format!("http://{at}/cgi-bin/who");
    let words = ["curl", "-s", "--noproxy", "*", "--retry", "20", "--retry-delay", "1", "--retry-all-errors", &url];
    let mut command = if far { world.far(&words) } else { world.near(&words) };
    let output = command.output().unwrap();
    assert!(output.status.success(), "{at}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().trim_matches(['[', ']']).trim_start_matches("::ffff:").to_owned()
}

#[test]
fn published_ports_keep_the_clients_address() {
    World::of(Who::Subuid, "").iter().for_each(published_ports_keep_the_clients_address_in);
}

pub fn published_ports_keep_the_clients_address_in(world: &World) {
    let home = &world.home;
    let publish =
        ["run", "-d", "--name", "web", "-p", "8080:80", "-p", "127.0.0.1:8081:80", "busybox", "sh", "-c", SERVE_WHO];
    home.run(&publish).quiet();
    assert_eq!(ask(world, true, &format!("{HOST}:8080")), FAR);
    assert_eq!(ask(world, true, &format!("{HOST_2}:8080")), FAR_2);
    assert_eq!(ask(world, true, &format!("[{HOST_6}]:8080")), FAR_6);
    // Of the host's own loopback the container is told its gateway.
    assert_eq!(ask(world, false, "127.0.0.1:8080"), FAR);
    assert_eq!(ask(world, false, "127.0.0.1:8081"), FAR);
    assert_eq!(ask(world, false, &format!("{HOST}:8080")), FAR);
    let outside = world.far(&["curl", "-s", "--noproxy", "*", &format!("http://{HOST}:8081/")]).output().unwrap();
    assert!(!outside.status.success(), "published at the loopback only");
    home.run(&["run", "--rm", "-p", "8080:80", "busybox", "true"]).fails(125, &["8080", "in use", "container web"]);
    let _other = world.serve_who(world.near(&[]), "8090", HOST);
    home.run(&["run", "--rm", "-p", "8090:80", "busybox", "true"]).fails(125, &["8090", "in use"]);
    home.run(&["run", "--rm", "-p", "80:80", "busybox", "true"]).fails(125, &["ip_unprivileged_port_start"]);
    home.run(&["rm", "-f", "-t", "0", "web"]).quiet();
    home.run(&["run", "--rm", "-p", "8080:80", "busybox", "true"]).quiet();
}

#[test]
fn datagrams_find_their_way_both_ways() {
    World::of(Who::Subuid, "").iter().for_each(datagrams_find_their_way_both_ways_in);
}

pub fn datagrams_find_their_way_both_ways_in(world: &World) {
    let home = &world.home;
    let knows = "--address=/thing.example/203.0.113.5";
    let _server = world.serve(world.far(&["dnsmasq", "-k", "-R", "-h", knows, "-u", "root", "-x", ""]));
    world.until(|| world.near(&["dig", "+short", "+tries=1", "+time=2", &format!("@{FAR}"), "thing.example"]));
    // Root's default network is of version 4 alone.
    for to in [FAR, FAR_6].into_iter().take(if world.home.who == Who::Me { 1 } else { 2 }) {
        let out = home.sh(&[], &format!("nslookup -type=a thing.example {to}")).quiet();
        assert!(out.contains("203.0.113.5"), "{out}");
    }
    // A server in the container's network, published.
    home.run(&["run", "-d", "--name", "names", "-p", "5300:53/udp", "busybox", "sleep", "1000"]).quiet();
    let pid = home.inspect("names", "{{.State.Pid}}");
    let mut server = std::process::Command::new("nsenter");
    server.args(["--net", "-t", &pid, "--", "dnsmasq", "-k", "-R", "-h", knows, "-u", "root", "-x", ""]);
    let _inside = world.serve(server);
    for at in [HOST, HOST_2, HOST_6] {
        let words = ["dig", "+short", "+tries=1", "+time=2", "-p", "5300", &format!("@{at}"), "thing.example"];
        assert_eq!(world.until(|| world.far(&words)), "203.0.113.5", "{at}");
    }
}

#[test]
fn containers_meet_in_bridges_and_reach_the_world_from_there() {
    World::of(Who::Subuid, "").iter().for_each(containers_meet_in_bridges_and_reach_the_world_from_there_in);
}

pub fn containers_meet_in_bridges_and_reach_the_world_from_there_in(world: &World) {
    let home = &world.home;
    let _server = world.serve_who(world.far(&[]), "80", FAR);
    let serve =
        ["run", "-d", "--name", "web", "--network", "bridge", "-p", "8080:80", "busybox", "sh", "-c", SERVE_WHO];
    home.run(&serve).quiet();
    let address = home.inspect("web", "{{.NetworkSettings.Networks.podman.IPAddress}}");
    assert!(address.starts_with("10.88."), "{address}");
    assert_eq!(ask(world, true, &format!("{HOST}:8080")), FAR);
    let out = home.sh(
        &["--network", "bridge"],
        &format!("{}; {}; ip -o -4 addr show eth0 | awk '{{print $4}}'", who(FAR), who(&address)),
    );
    let out = out.quiet();
    let (said, own) = out.rsplit_once('\n').unwrap();
    let own = own.split('/').next().unwrap();
    assert!(own.starts_with("10.88.") && own != address, "{own}");
    assert_eq!(said.replace("::ffff:", "").replace(['[', ']'], ""), format!("{HOST}\n{own}"));
    if world.home.who == Who::Me {
        return;
    }
    // A private container is in no bridge, and cannot reach one.
    assert_eq!(home.sh(&[], &format!("timeout 3 wget -qO- http://{address}/cgi-bin/who 2>/dev/null; :")).ok(), "");
}

#[test]
fn containers_of_bridges_know_each_other_and_come_and_go() {
    World::of(Who::Subuid, RESOLVER).iter().for_each(containers_of_bridges_know_each_other_and_come_and_go_in);
}

pub fn containers_of_bridges_know_each_other_and_come_and_go_in(world: &World) {
    let home = &world.home;
    let knows = "--address=/thing.example/203.0.113.5";
    let server = [
        "dnsmasq",
        "-k",
        "--listen-address=127.0.0.53",
        "--bind-interfaces",
        "-R",
        "-h",
        knows,
        "-u",
        "root",
        "-x",
        "",
    ];
    let _server = world.serve(world.near(&server));
    world.until(|| world.near(&["busybox", "nslookup", "-type=a", "thing.example", "127.0.0.53"]));
    // Bridges may have the names of anything.
    home.run(&["network", "create", "--interface-name", "ulan0", "lan"]).quiet();
    home.run(&["network", "create", "other"]).quiet();
    let serve = [
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "lan:alias=www",
        "-p",
        "8080:80",
        "-p",
        "[::1]:8081:80",
        "busybox",
        "sh",
        "-c",
        SERVE_WHO,
    ];
    home.run(&serve).quiet();
    home.run(&["run", "-d", "--name", "two", "--network", "other", "busybox", "sleep", "1000"]).quiet();
    let client = "nslookup -type=a web | tail -n +3; nslookup -type=a thing.example | tail -n +3; wget -qO- http://www/cgi-bin/who";
    let out = home.sh(&["--network", "lan"], client).quiet();
    let address = home.inspect("web", "{{.NetworkSettings.Networks.lan.IPAddress}}");
    assert!(out.contains(&format!("Address: {address}")) && out.contains("203.0.113.5"), "{out}");
    // Over TCP too, from the name server of the network.
    let pid = home.inspect("two", "{{.State.Pid}}");
    let dig = |name: &str| {
        let output = std::process::Command::new("nsenter")
            .args(["--net", "-t", &pid, "--", "dig", "+tcp", "+short", "+tries=1", "+time=3", "@10.89.1.1", name])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(dig("thing.example"), "203.0.113.5");
    // Another network's names are not told.
    assert_eq!(dig("web"), "");
    assert_eq!(ask(world, false, "[::1]:8081"), "10.89.0.1");
    let two = |script: &str| home.run(&["exec", "two", "sh", "-c", script]).out.trim_end().to_owned();
    assert_eq!(two("timeout 3 wget -qO- http://web/cgi-bin/who 2>/dev/null"), "");
    home.run(&["network", "connect", "lan", "two"]).quiet();
    let own = home.inspect("two", "{{.NetworkSettings.Networks.lan.IPAddress}}");
    assert_eq!(two("timeout 5 wget -qO- http://web/cgi-bin/who").replace("::ffff:", "").replace(['[', ']'], ""), own);
    // Its ports go with it to the network that is left, and nowhere when it has left all.
    home.run(&["network", "connect", "other", "web"]).quiet();
    home.run(&["network", "disconnect", "lan", "web"]).quiet();
    assert_eq!(ask(world, true, &format!("{HOST}:8080")), FAR);
    home.run(&["network", "disconnect", "other", "web"]).quiet();
    let words = ["curl", "-s", "--noproxy", "*", "-m", "5", &format!("http://{HOST}:8080/")];
    assert!(!world.far(&words).output().unwrap().status.success());
    assert_eq!(home.inspect("web", "{{len .NetworkSettings.Networks}}"), "0");
    home.run(&["network", "connect", "lan", "web"]).quiet();
    assert_eq!(ask(world, true, &format!("{HOST}:8080")), FAR);
    home.run(&["rm", "-f", "-t", "0", "-a"]).quiet();
    home.until("nothing is left", || {
        let own = |pid: &i32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.starts_with(b"monopod-"));
        home.processes().iter().filter(|pid| own(pid)).count() == 0
    });
}

#[test]
fn root_may_have_the_network_of_slirp4netns_too() {
    let Some(world) = World::of(Who::Me, "") else { return };
    let home = &world.home;
    let _server = world.serve_who(world.far(&[]), "80", FAR);
    let network = ["--network", "slirp4netns:cidr=10.9.0.0/24"];
    let script = format!("{}; ip -o -4 addr show tap0; cat /etc/hosts /etc/resolv.conf", who(FAR));
    let out = home.sh(&network, &script).quiet();
    assert!(out.starts_with(HOST) && out.contains("10.9.0.100/24") && out.contains("nameserver 10.9.0.3"), "{out}");
    let serve = [&["run", "-d", "--name", "web", "-p", "80:80"], &network[..], &["busybox", "sh", "-c", SERVE_WHO]];
    home.run(&serve.concat()).quiet();
    assert_eq!(ask(&world, true, &format!("{HOST}:80")), FAR);
    home.sh(&[&network[..], &["-p", "81:81/sctp"]].concat(), "true").fails(125, &["81/sctp", "slirp4netns"]);
    home.sh(&["--network", "pasta"], "true").fails(125, &["only supported for rootless"]);
    home.run(&["rm", "-f", "-t", "0", "web"]).quiet();
    home.until("nothing is left", || stack(home, "monopod-").is_empty());
}

#[test]
fn inspect_tells_the_addresses_of_private_networks() {
    let Some(world) = World::of(Who::Subuid, "") else { return };
    let home = &world.home;
    home.run(&["run", "-d", "--name", "one", "busybox", "sleep", "1000"]).quiet();
    let settings = "{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}} {{.NetworkSettings.GlobalIPv6Address}}";
    assert_eq!(home.inspect("one", settings), format!("{HOST} {FAR} {HOST_6}"));
}

#[test]
fn a_thousand_ports_of_an_ordinary_user() {
    let Some(world) = World::of(Who::Subuid, "") else { return };
    let home = &world.home;
    let ports = ["-p", "20000-20998:20000-20998", "-p", "20999:80"];
    home.run(&[&["run", "-d", "--name", "web"][..], &ports, &["busybox", "sh", "-c", SERVE_WHO]].concat()).quiet();
    assert_eq!(ask(&world, true, &format!("{HOST}:20999")), FAR);
    home.run(&["run", "--rm", "-p", "20500:80", "busybox", "true"]).fails(125, &["20500", "in use"]);
    home.run(&["rm", "-f", "-t", "0", "web"]).quiet();
    home.run(&["run", "--rm", "-p", "20500:80", "busybox", "true"]).quiet();
}
