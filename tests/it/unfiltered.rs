//! Networks on a kernel without packet filters (and so without transparent sockets to which they hand packets).

use crate::home::Who;
use crate::usernet::*;
use crate::world::World;

#[test]
fn a_container_reaches_the_world_as_the_host() {
    let Some(world) = World::unfiltered(Who::Subuid, "") else { return };
    a_container_reaches_the_world_as_the_host_in(&world);
    let missing = world.home.run(&["info", "--format", "{{.Host.NetworkBackend}} {{.Host.NetworkMissing}}"]).quiet();
    assert!(missing.starts_with("monopod this kernel has no packet filter"), "{missing}");
}

#[test]
fn echoes_and_refusals_come_back() {
    World::unfiltered(Who::Subuid, "").iter().for_each(echoes_and_refusals_come_back_in);
}

#[test]
fn names_are_asked_of_the_hosts_resolvers() {
    World::unfiltered(Who::Subuid, RESOLVER).iter().for_each(names_are_asked_of_the_hosts_resolvers_in);
}

#[test]
fn what_was_killed_is_there_again() {
    World::unfiltered(Who::Subuid, "").iter().for_each(what_was_killed_is_there_again_in);
}

#[test]
fn published_ports_keep_the_clients_address() {
    World::unfiltered(Who::Subuid, "").iter().for_each(published_ports_keep_the_clients_address_in);
}

#[test]
fn datagrams_find_their_way_both_ways() {
    World::unfiltered(Who::Subuid, "").iter().for_each(datagrams_find_their_way_both_ways_in);
}

#[test]
fn containers_meet_in_bridges_and_reach_the_world_from_there() {
    World::unfiltered(Who::Subuid, "").iter().for_each(containers_meet_in_bridges_and_reach_the_world_from_there_in);
}

#[test]
fn containers_of_bridges_know_each_other_and_come_and_go() {
    let world = World::unfiltered(Who::Subuid, RESOLVER);
    world.iter().for_each(containers_of_bridges_know_each_other_and_come_and_go_in);
}

#[test]
fn roots_containers_meet_in_bridges_and_reach_the_world_from_there() {
    World::unfiltered(Who::Me, "").iter().for_each(containers_meet_in_bridges_and_reach_the_world_from_there_in);
}

#[test]
fn roots_containers_of_bridges_know_each_other_and_come_and_go() {
    let world = World::unfiltered(Who::Me, RESOLVER);
    world.iter().for_each(containers_of_bridges_know_each_other_and_come_and_go_in);
}

#[test]
fn roots_datagrams_find_their_way_both_ways() {
    World::unfiltered(Who::Me, "").iter().for_each(datagrams_find_their_way_both_ways_in);
}

#[test]
fn root_is_told_what_the_kernel_lacks() {
    let Some(world) = World::unfiltered(Who::Me, "") else { return };
    let home = &world.home;
    let missing = home.run(&["info", "--format", "{{.Host.NetworkBackend}} {{.Host.NetworkMissing}}"]).quiet();
    assert!(missing.starts_with("monopod this kernel has no packet filter"), "{missing}");
    home.run(&["run", "--rm", "-p", "80:80/sctp", "busybox", "true"]).fails(125, &["80/sctp", "packet filter"]);
    // What is on a device of the host and what is behind the router do not come together in one container.
    home.run(&["network", "create", "-d", "macvlan", "-o", "parent=cable0", "--subnet", "192.0.2.0/24", "cabled"])
        .quiet();
    home.run(&["create", "--name", "both", "--network", "cabled", "busybox", "true"]).quiet();
    home.run(&["network", "connect", "podman", "both"]).fails(125, &["\"cabled\"", "macvlan", "CONFIG_NF_TABLES"]);
    home.run(&["network", "disconnect", "cabled", "both"]).quiet();
    home.run(&["network", "connect", "podman", "both"]).quiet();
    home.run(&["network", "connect", "cabled", "both"]).fails(125, &["\"cabled\"", "macvlan", "CONFIG_NF_TABLES"]);
    home.run(&["start", "-a", "both"]).quiet();
    home.run(&["rm", "both"]).quiet();
    home.run(&["network", "rm", "cabled"]).quiet();
    // A firewall that is not there needs no repair, and a network goes as it came.
    home.run(&["network", "create", "lan"]).quiet();
    home.run(&["run", "-d", "--name", "one", "--network", "lan", "-p", "8080:80", "busybox", "sh", "-c", SERVE_WHO])
        .quiet();
    home.run(&["network", "reload", "-a"]).ok();
    assert_eq!(ask(&world, true, &format!("{}:8080", crate::world::HOST)), crate::world::FAR);
    // Both that serve are killed: the next command that needs them brings them back, on the same networks.
    for pid in stack(home, "monopod-") {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    home.run(&["run", "--rm", "--network", "lan", "busybox", "sh", "-c", "wget -qO- http://one/cgi-bin/who"]).quiet();
    assert_eq!(ask(&world, true, &format!("{}:8080", crate::world::HOST)), crate::world::FAR);
    home.run(&["network", "rm", "-f", "-t", "0", "lan"]).quiet();
    home.until("nothing is left", || stack(home, "monopod-").is_empty());
}
