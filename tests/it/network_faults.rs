//! Networks in a world that kills, hoards and has been there before: nothing is left behind, and nobody's place is taken.

use crate::networks::{home, host, inside, traces, until_as};
use std::process::Stdio;
use std::time::Duration;

/// How many commands are killed; `MONOPOD_KILLS` asks for more (`ci/faults.sh`).
fn kills() -> u64 {
    std::env::var("MONOPOD_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(20)
}

/// Numbers that are the same in each run of the test, so that what it found is found again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn what_is_killed_while_it_sets_up_or_takes_down_leaves_nothing() {
    let Some(home) = home() else { return };
    let before = traces();
    home.run(&["network", "create", "--ipv6", "lan"]).quiet();
    let mut dice = Dice(7);
    for number in 0..kills() {
        let network = if number % 2 == 0 { "bridge" } else { "lan" };
        let mut command = home.command(&["run", "--rm", "--network", network, "-p", "8080:80", "busybox", "true"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.below(90_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        if number % 3 == 0 {
            // Whoever cleans up, answers or monitors may be hit as well.
            let all = home.processes();
            if let Some(pid) = all.get(dice.below(all.len().max(1) as u64) as usize)
                && let Some(pid) = rustix::process::Pid::from_raw(*pid)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
    // The next one has all that it is to have, and whoever was hit leaves room for it.
    for network in ["bridge", "lan"] {
        // A container whose command was killed ends when its program does, and has its port until then.
        home.until("the port is free", || {
            let next = home.run(&["run", "--rm", "--network", network, "-p", "8080:80", "busybox", "true"]);
            assert!(next.code == 0 || next.err.contains("in use by container"), "{next:?}");
            next.code == 0
        });
    }
    home.run(&["rm", "-f", "-a", "-t", "0"]).ok();
    home.run(&["network", "rm", "lan"]).quiet();
    until_as(&home, &before);
}

#[test]
fn an_allotment_that_failed_leaves_no_directory() {
    let Some(home) = home() else { return };
    let before = traces();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    home.run(&["run", "--rm", "-p", &format!("127.0.0.1:{port}:80"), "busybox", "true"]).fails(125, &["in use"]);
    until_as(&home, &before);
}

#[test]
fn another_engines_bridge_keeps_its_place() {
    let Some(home) = home() else { return };
    // As podman makes them: one with our name, one with our addresses.
    for words in ["link add podman0 type bridge", "addr add 10.88.0.1/16 dev podman0", "link set podman0 up"] {
        host(&format!("ip {words}"));
    }
    let before = traces();
    let out = home.sh(&["--network", "bridge"], "ip -o -4 addr show eth0; ip route").quiet();
    assert!(out.contains("10.89.0.2/24") && out.contains("default via 10.89.0.1"), "{out}");
    home.run(&["run", "-d", "--name", "one", "--network", "bridge", "busybox", "sleep", "1000"]).quiet();
    assert_eq!(home.inspect("one", "{{.NetworkSettings.Gateway}}"), "10.89.0.1");
    let subnet = home.run(&["network", "inspect", "podman", "--format", "{{(index .Subnets 0).Subnet}}"]).quiet();
    assert_eq!(subnet, "10.89.0.0/24");
    home.run(&["rm", "-f", "-t", "0", "one"]).quiet();
    until_as(&home, &before);
    host("ip link delete podman0");
}

#[test]
fn many_containers_are_in_one_network() {
    let Some(home) = home() else { return };
    let before = traces();
    home.run(&["network", "create", "lan"]).quiet();
    // `MONOPOD_CROWD` asks for more.
    let count: usize = std::env::var("MONOPOD_CROWD").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    for number in 0..count {
        let name = format!("c{number}");
        home.run(&["run", "-d", "--name", &name, "--network", "lan", "busybox", "sleep", "10000"]).ok();
    }
    let pattern = "{{.NetworkSettings.Networks.lan.IPAddress}}";
    let mut addresses: Vec<String> = (0..count).map(|n| home.inspect(&format!("c{n}"), pattern)).collect();
    // The last one knows the first, and is answered.
    let ask = format!("nslookup -type=a c0 >/dev/null && nc -w 2 c{} 1 2>&1", count - 1);
    let out = home.run(&["exec", "c0", "sh", "-c", &ask]);
    assert!(out.out.contains("refused") || out.err.contains("refused"), "{out:?}");
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), count, "no address is given twice");
    home.run(&["rm", "-f", "-t", "0", "-a"]).ok();
    home.run(&["network", "rm", "lan"]).quiet();
    until_as(&home, &before);
}

#[test]
fn who_goes_on_sending_is_heard_by_the_next_container() {
    let Some(home) = home() else { return };
    let before = traces();
    // One client, with one port of its own, who sends before anybody listens and never stops.
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let hears = |who: &str| {
        let mut answer = [0; 64];
        let _ = client.send_to(b"?", "127.0.0.1:5300");
        client.recv_from(&mut answer).is_ok_and(|(length, _)| answer[..length].starts_with(who.as_bytes()))
    };
    assert!(!hears("anybody"));
    for name in ["first", "second"] {
        home.run(&["run", "-d", "--name", name, "-p", "5300:53/udp", "busybox", "sleep", "1000"]).quiet();
        let server = inside(&home, name, || std::net::UdpSocket::bind("0.0.0.0:53")).unwrap();
        // It keeps the container's network for as long as it is there.
        server.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
        std::thread::spawn(move || {
            while let Ok((_, client)) = server.recv_from(&mut [0; 64]) {
                server.send_to(name.as_bytes(), client).ok();
            }
        });
        home.until("it is heard", || hears(name));
        home.run(&["rm", "-f", "-t", "0", name]).quiet();
    }
    until_as(&home, &before);
}
