//! The private network of users without root, in a world of two hosts: nothing but the file under test carries it.

use crate::home::Who;
use crate::world::{FAR, FAR_2, FAR_6, HOST, HOST_2, HOST_6, World};

/// Asks the server at `at` who asks.
fn who(at: &str) -> String {
    let at = if at.contains(':') { format!("[{at}]") } else { at.to_owned() };
    format!("wget -qO- http://{at}/cgi-bin/who")
}

#[test]
fn a_container_reaches_the_world_as_the_host() {
    let Some(world) = World::of(Who::Subuid, "") else { return };
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
    let Some(world) = World::of(Who::Subuid, "") else { return };
    let out =
        world.home.sh(&["--cap-add", "net_raw"], &format!("ping -c 2 -W 5 {FAR} && ping -c 1 -W 5 {FAR_6}")).quiet();
    assert!(out.contains("2 packets received") && out.contains("1 packets received"), "{out}");
    let refused = world.home.sh(&[], &format!("wget -qO- http://{FAR}:9/")).code(1);
    assert!(refused.err.contains("Connection re"), "{}", refused.err);
}

#[test]
fn names_are_asked_of_the_hosts_resolvers() {
    let more = "echo 'nameserver 127.0.0.53' >$HOME_DIR/resolv; mount --bind $HOME_DIR/resolv /etc/resolv.conf";
    let Some(world) = World::of(Who::Subuid, more) else { return };
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
fn what_was_killed_is_there_again_with_the_next_command() {
    let Some(world) = World::of(Who::Subuid, "") else { return };
    let home = &world.home;
    let _server = world.serve_who(world.far(&[]), "80", FAR);
    home.run(&["run", "-d", "--name", "one", "busybox", "sleep", "1000"]).quiet();
    let question = who(FAR);
    let ask = ["exec", "one", "sh", "-c", &question];
    assert_eq!(home.run(&ask).quiet(), HOST);
    let before = home.run(&["exec", "one", "ip", "-o", "-4", "addr"]).quiet();
    let stack = stack(home);
    rustix::process::kill_process(stack, rustix::process::Signal::KILL).unwrap();
    home.until("it is gone", || rustix::process::test_kill_process(stack).is_err());
    // Another container brings it back, for the first one too.
    assert_eq!(home.sh(&[], &question).quiet(), HOST);
    assert_eq!(home.run(&ask).quiet(), HOST);
    assert_eq!(home.run(&["exec", "one", "ip", "-o", "-4", "addr"]).quiet(), before);
}

/// The process that serves the containers of a home.
fn stack(home: &crate::home::Home) -> rustix::process::Pid {
    let is_it =
        |pid: &i32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.starts_with(b"monopod-network"));
    let found: Vec<i32> = home.processes().into_iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "one process for all containers of a user");
    rustix::process::Pid::from_raw(found[0]).unwrap()
}
