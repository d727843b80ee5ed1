//! Networks in a world that kills, hoards and has been there before: nothing is left behind, and nobody's place is taken.

use crate::home::{Home, Who};
use crate::networks::{have, home, host, inside, traces, until_as};
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

#[test]
fn what_an_earlier_boot_has_left_is_collected() {
    // What is in /run would be the whole machine's.
    let Some(home) = Home::with_network(Who::Me, "mount -t tmpfs none /run; ip link set lo up") else { return };
    if !have("nft") {
        return;
    }
    home.load();
    let near = |script: &str| {
        let output = home.enter().args(["sh", "-c", script]).output().expect("a shell of the machine's");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let traces = || near("ip -br link; ip -4 -o addr; nft list ruleset; find /run/monopod/networks 2>/dev/null; :");
    let before = traces();
    let lan = ["--network", "lan:ip=10.89.0.9", "-p", "8080:80", "busybox"];
    home.run(&["network", "create", "lan"]).quiet();
    home.run(&[&["run", "-d", "--name", "one"], &lan[..], &["sleep", "1000"]].concat()).quiet();
    home.run(&["run", "-d", "--name", "two", "busybox", "sleep", "1000"]).quiet();
    let pids = ["one", "two"].map(|name| home.inspect(name, "{{.State.Pid}}"));
    // All of it ends without a word, and what the kernel knew goes with it; /run stays, as where it is on a disk.
    // As it was before anybody could clean up.
    near("cp -r /run/monopod/networks /run/kept");
    let kill = |pid: &str| drop(near(&format!("kill -9 {pid} 2>/dev/null; :")));
    pids.iter().for_each(|pid| kill(pid));
    home.until("all has ended, and who stands by for others", || {
        home.processes().iter().for_each(|pid| kill(&pid.to_string()));
        home.processes().is_empty()
    });
    near("nft delete table inet monopod; ip link delete podman0; ip link delete podman1; :");
    // The number of a process that held them is another's now, who began at the same moment of this boot; and there was
    // another network namespace, which nobody has any more.
    near(
        "rm -rf /run/monopod/networks && mv /run/kept /run/monopod/networks && cd /run/monopod/networks && cp -r [0-9]* 12345 && since=$(cut -d' ' -f22 /proc/1/stat)
        for file in */holdings; do
            sed -i \"s/\\\"pid\\\":[0-9]*,\\\"since\\\":[0-9]*/\\\"pid\\\":1,\\\"since\\\":$since/g\" $file; grep -q '\"pid\":1,' $file
        done",
    );
    home.write("boot_id", b"00000000-1111-2222-3333-444444444444\n");
    near(&format!("mount --bind {}/boot_id /proc/sys/kernel/random/boot_id", home.directory.display()));
    assert_eq!(home.inspect("one", "{{.State.Status}} {{.NetworkSettings.Networks.lan.IPAddress}}"), "exited ");
    assert_eq!(home.run(&["network", "inspect", "lan", "--format", "{{len .Containers}}"]).quiet(), "0");
    // Address and port are free, and the one that had them gets them again.
    home.run(&[&["run", "--rm"], &lan[..], &["true"]].concat()).quiet();
    assert_eq!(near("ls /run/monopod/networks | grep -c 12345; :"), "0");
    home.run(&["start", "one"]).quiet();
    assert_eq!(home.inspect("one", "{{.NetworkSettings.Networks.lan.IPAddress}}"), "10.89.0.9");
    home.run(&["rm", "-f", "-a", "-t", "0"]).ok();
    home.run(&["network", "rm", "lan"]).quiet();
    home.until("nothing is left", || traces() == before);
}
