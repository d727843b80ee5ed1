//! Names of containers are answered in their networks, whatever happens to who answers.

use crate::home::Home;
use crate::networks::{have, home, host, inside, traces, until_as};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

fn run(home: &Home, name: &str, flags: &[&str]) {
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(flags);
    args.extend(["busybox", "sleep", "1000"]);
    home.run(&args).quiet();
}

/// What dig prints for a question that is asked from inside a container.
fn dig(home: &Home, container: &str, words: &str) -> String {
    let pid = home.inspect(container, "{{.State.Pid}}");
    let out = host(&format!("nsenter -n -t {pid} dig +time=3 +tries=1 {words}"));
    out.trim().to_owned()
}

/// A server for other names, at 127.0.0.9: whatever is asked over UDP, it echoes as an answer with an address; over TCP too.
fn upstream() {
    let reply = |query: &[u8]| {
        let mut answer = query.to_vec();
        let end = 12 + query[12..].iter().position(|b| *b == 0).expect("a name") + 5;
        answer.truncate(end);
        answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        answer.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\xc6\x33\x64\x07");
        answer
    };
    let udp = UdpSocket::bind("127.0.0.9:53").expect("root may bind it");
    std::thread::spawn(move || {
        let mut packet = [0; 2048];
        while let Ok((length, from)) = udp.recv_from(&mut packet) {
            udp.send_to(&reply(&packet[..length]), from).ok();
        }
    });
    let tcp = TcpListener::bind("127.0.0.9:53").expect("root may bind it");
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut length = [0; 2];
            stream.read_exact(&mut length).ok();
            let mut query = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut query).ok();
            let answer = reply(&query);
            stream.write_all(&[&(answer.len() as u16).to_be_bytes(), &answer[..]].concat()).ok();
        }
    });
}

#[test]
fn containers_are_found_by_name_in_their_networks() {
    let Some(home) = home() else { return };
    if !have("dig") {
        return;
    }
    let before = traces();
    upstream();
    // A server that never answers comes first: the next one is asked.
    let _silent = UdpSocket::bind("127.0.0.8:53").unwrap();
    home.run(&["network", "create", "--dns", "127.0.0.8,127.0.0.9", "--ipv6", "lan"]).quiet();
    home.run(&["network", "create", "other"]).quiet();
    home.run(&["network", "create", "--internal", "inner"]).quiet();
    run(&home, "web", &["--network", "lan:ip=10.89.0.10,alias=www", "--network-alias", "db"]);
    run(&home, "DB", &["--network", "lan:ip=10.89.0.11", "--network", "other"]);
    run(&home, "far", &["--network", "other:ip=10.89.1.20"]);
    run(&home, "deep", &["--network", "inner"]);
    let resolv = home.run(&["exec", "web", "cat", "/etc/resolv.conf"]).quiet();
    assert!(resolv.starts_with("search dns.podman") && resolv.contains("nameserver 10.89.0.1"), "{resolv}");
    let web = |words: &str| dig(&home, "web", &format!("@10.89.0.1 +short {words}"));
    for name in ["web", "WEB.dns.podman", "www"] {
        assert_eq!(web(name), "10.89.0.10", "{name}");
        assert_eq!(web(&format!("+tcp {name}")), "10.89.0.10", "{name}");
    }
    let short = home.inspect("web", "{{.Id}}")[..12].to_owned();
    assert_eq!(web(&short), "10.89.0.10");
    assert!(web("AAAA web").starts_with("fd"));
    assert_eq!(web("-x 10.89.0.11"), "DB.");
    // An alias does not take another's name.
    assert_eq!(web("db"), "10.89.0.11");
    // Names of other networks: neither by this network's server nor by theirs.
    assert_eq!(web("far.dns.podman"), "");
    assert!(dig(&home, "web", "@10.89.1.1 far").contains("REFUSED"));
    assert_eq!(dig(&home, "DB", "@10.89.0.1 +short far"), "10.89.1.20");
    // Others' names are asked of others.
    assert_eq!(dig(&home, "web", "@10.89.0.1 +short +time=8 +tries=1 example.com"), "198.51.100.7");
    assert_eq!(web("+tcp +time=9 example.org"), "198.51.100.7");
    assert!(dig(&home, "deep", "@10.89.2.1 example.com").contains("NXDOMAIN"));
    // A name that comes later is known at once, and one that goes is not.
    run(&home, "late", &["--network", "lan:ip=10.89.0.30"]);
    assert_eq!(web("late"), "10.89.0.30");
    home.run(&["rm", "-f", "-t", "0", "late"]).ok();
    home.until("the name is gone", || web("late.dns.podman").is_empty());
    for name in home.containers() {
        home.run(&["rm", "-f", "-t", "0", &name]).ok();
    }
    until_as(&home, &before);
}

/// Processes that keep networks here.
fn keepers(home: &Home) -> Vec<i32> {
    let is = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"monopod-ground\0"))
    };
    home.processes().into_iter().filter(is).collect()
}

#[test]
fn names_are_answered_whatever_happens() {
    let Some(home) = home() else { return };
    if !have("dig") {
        return;
    }
    let before = traces();
    home.run(&["network", "create", "lan"]).quiet();
    run(&home, "web", &["--network", "lan"]);
    run(&home, "two", &["--network", "lan"]);
    let known = || dig(&home, "web", "@10.89.0.1 +short web") == "10.89.0.2";
    assert!(known());
    // Connections that say nothing, and packets that mean nothing.
    let connect = |_| inside(&home, "web", || TcpStream::connect("10.89.0.1:53")).expect("it listens");
    let idle: Vec<TcpStream> = (0..50).map(connect).collect();
    let socket = inside(&home, "web", || UdpSocket::bind("0.0.0.0:0").expect("a socket"));
    for length in 0..200usize {
        let junk: Vec<u8> = (0..length).map(|n| (n * 37 + length * 101) as u8).collect();
        socket.send_to(&junk, "10.89.0.1:53").unwrap();
    }
    assert!(known());
    assert_eq!(dig(&home, "web", "@10.89.0.1 +tcp +short web"), "10.89.0.2");
    // However many one has, others are answered.
    let more: Vec<TcpStream> = (0..250).map(connect).collect();
    assert_eq!(dig(&home, "two", "@10.89.0.1 +tcp +short web"), "10.89.0.2");
    home.run(&["rm", "-f", "-t", "0", "two"]).ok();
    // A socket keeps its network, and that its links.
    drop((idle, more, socket));
    // Either of the two, and both.
    home.until("there are two of them", || keepers(&home).len() == 2);
    for round in 0..6 {
        let pids = keepers(&home);
        let killed = match round % 3 {
            0 => &pids[..1],
            1 => &pids[pids.len() - 1..],
            _ => &pids[..],
        };
        for pid in killed {
            host(&format!("kill -9 {pid}"));
        }
        if killed.len() == 2 {
            // Nobody is left to notice but the next command that needs it.
            home.run(&["run", "--rm", "--network", "lan", "busybox", "true"]).quiet();
        }
        let fresh = |all: &[i32]| all.len() == 2 && killed.iter().all(|k| !all.contains(k));
        home.until("it is there again", || fresh(&keepers(&home)));
        home.until("it answers again", || {
            std::thread::sleep(Duration::from_millis(20));
            let pid = home.inspect("web", "{{.State.Pid}}");
            let ask = format!("-n -t {pid} dig +short +time=1 +tries=1 @10.89.0.1 web");
            let words: Vec<&str> = ask.split(' ').collect();
            std::process::Command::new("nsenter").args(words).output().is_ok_and(|o| o.stdout == b"10.89.0.2\n")
        });
    }
    home.run(&["rm", "-f", "-t", "0", "web"]).ok();
    until_as(&home, &before);
    home.until("nobody keeps what is not there", || keepers(&home).is_empty());
}
