//! Rows of networks: a run with one, what goes through a published port, short connections, names, and what the processes
//! that serve them take. In a network namespace of its own, with another host behind a cable.
//!
//! Throughput is told as theirs to ours, so that less is better as in all other rows.

use crate::Asked;
use crate::engines::Engine;
use crate::images::Images;
use crate::report::{Reach, Report};
use crate::rows::{Contestant, Pair, take_turns};
use crate::sample::median;
use nix::sched::{CloneFlags, unshare};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const IMAGE: &str = "localhost/busybox:latest";
/// This host's address on the cable.
const HOST: &str = "192.0.2.7";
/// Kilobytes that a process which serves networks may take.
const MEMORY: f64 = 4096.0;
/// Where iperf3 and the web server listen in containers.
const INSIDE: [&str; 2] = ["5201", "80"];

/// A process that ends with us.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start(words: &[&str]) -> Result<Other, String> {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(Other).map_err(|e| format!("{}: {e}", words[0]))
}

fn output(words: &[&str]) -> Result<String, String> {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("{}: {e}", words[0]))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(text) } else { Err(format!("`{}`: {text}", words.join(" "))) }
}

/// The world: a cable to another host. Gives the words that make a command the other host's.
fn world() -> Result<(Other, [String; 4]), String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("unshare: {e}"))?;
    let far = start(&["unshare", "--net", "sleep", "1000000"])?;
    let pid = far.0.id();
    let script = format!(
        "set -e; ip link set lo up
        until [ $(readlink /proc/{pid}/ns/net) != $(readlink /proc/self/ns/net) ]; do sleep 0.01; done
        ip link add cable0 type veth peer name cable0 netns {pid}
        ip addr add {HOST}/24 dev cable0; ip link set cable0 up; ip route add default via 192.0.2.1
        nsenter -t {pid} -n sh -c 'ip link set lo up; ip addr add 192.0.2.1/24 dev cable0; ip link set cable0 up'
        mkdir -p /etc/containers/networks; mount -t tmpfs none /etc/containers/networks
        mkdir -p /dev/net; mount -t tmpfs none /dev/net; mknod -m 666 /dev/net/tun c 10 200
        printf '[network]\\nnetwork_backend = \"netavark\"\\n' >>$CONTAINERS_CONF"
    );
    output(&["sh", "-c", &script])?;
    Ok((far, ["nsenter".into(), "-t".into(), pid.to_string(), "-n".into()]))
}

/// Measures the rows of this group.
pub fn rows(asked: &Asked, images: &Images, report: &mut Report) -> Result<(), String> {
    let (_far, outside) = world()?;
    let busybox = images.busybox.display().to_string();
    let rounds = |full: usize| if asked.quick { 2 } else { full };
    // slirp4netns has a socket there, whose path must be short.
    let work = Path::new("/run/b");
    let (root, user) = (Pair::new(asked, work, false), Pair::new(asked, work, true));
    for (_, engine) in root.engines().chain(user.engines()) {
        engine.run(&["load", "-q", "-i", &busybox])?;
    }
    let run = ["run", "--rm", IMAGE, "true"];
    let row = |pair: &Pair, what: &str, reach| {
        let contestants = pair.engines().map(|(name, engine)| Contestant::engine(name, engine, &run)).collect();
        take_turns(what, rounds(20), contestants, reach)
    };
    report.add(row(&root, "`run --rm busybox true` in the default bridge, root", Reach::wall(0.12))?);
    report.add(row(&user, "`run --rm busybox true` with the default network, rootless", Reach::wall(0.15))?);
    throughput(&root, &user, &outside, asked.quick, report)?;
    names(&root, asked.quick, report)
}

/// A published server: who serves it, and the ports of the host that lead to iperf3 and to the web server.
struct Served {
    name: &'static str,
    ports: [u16; 2],
    _servers: Vec<Other>,
}

fn serve(name: &'static str, engine: &Engine, first: u16, network: &[&str]) -> Result<Served, String> {
    let ports = [first, first + 1];
    let publish: Vec<String> = ports.iter().zip(INSIDE).map(|(port, inside)| format!("{port}:{inside}")).collect();
    let container = format!("served{first}");
    let mut args = vec!["run", "-d", "--name", &container, "-p", &publish[0], "-p", &publish[1]];
    args.extend(network);
    args.extend([IMAGE, "httpd", "-f", "-p", INSIDE[1], "-h", "/etc"]);
    engine.run(&args)?;
    let pid = engine.run(&["inspect", "--format", "{{.State.Pid}}", &container])?;
    let server = start(&["nsenter", "-t", &pid, "-n", "iperf3", "-s", "-p", INSIDE[0]])?;
    Ok(Served { name, ports, _servers: vec![server] })
}

/// Debian's pasta without an engine: podman 4.3 does not know it.
fn pasta(user: &Engine, first: u16) -> Result<Served, String> {
    let ports = [first, first + 1];
    let forward = [format!("{}:{}", ports[0], INSIDE[0]), format!("{}:{}", ports[1], INSIDE[1])];
    let mut words: Vec<&str> = user.as_user.iter().map(String::as_str).collect();
    let serve =
        format!("setpriv --pdeathsig KILL busybox httpd -p {} -h /etc; exec iperf3 -s -p {}", INSIDE[1], INSIDE[0]);
    words.extend(["pasta", "--config-net", "-f", "-t", &forward[0], "-t", &forward[1], "--"]);
    // It leaves what it started when it is killed.
    words.extend(["setpriv", "--pdeathsig", "KILL", "sh", "-c", &serve]);
    Ok(Served { name: "pasta", ports, _servers: vec![start(&words)?] })
}

fn throughput(root: &Pair, user: &Pair, outside: &[String], quick: bool, report: &mut Report) -> Result<(), String> {
    let mut groups = vec![vec![serve("monopod", &root.ours, 7000, &[])?]];
    if let Some(podman) = &root.theirs {
        groups[0].push(serve("podman", podman, 7010, &[])?);
    }
    groups.push(vec![serve("monopod", &user.ours, 7020, &[])?]);
    if let Some(podman) = &user.theirs {
        groups[1].push(serve("slirp4netns", podman, 7030, &["--network", "slirp4netns:port_handler=slirp4netns"])?);
        groups[1].push(serve("rootlessport", podman, 7040, &[])?);
    }
    groups[1].extend(pasta(&user.ours, 7050).ok());
    let (rounds, seconds) = if quick { (1, "1") } else { (5, "1") };
    for (group, who) in groups.iter().zip(["root", "rootless"]) {
        for (place, address) in [(&[][..], "127.0.0.1"), (outside, HOST)] {
            for (direction, flag) in [("in", None), ("out", Some("-R"))] {
                let mut found = vec![Vec::new(); group.len()];
                for _ in 0..rounds {
                    for (served, found) in group.iter().zip(&mut found) {
                        found.push(gigabits(place, address, served.ports[0], seconds, flag)?);
                    }
                }
                let found: Vec<f64> = found.into_iter().map(median).collect();
                let what = format!("published port, {who}, by {address}, {direction}");
                let told: Vec<_> =
                    group.iter().zip(&found).map(|(s, value)| format!("{} {value:.1}", s.name)).collect();
                report.note(&format!("{what}: {} Gbit/s", told.join(", ")));
                for (served, value) in group.iter().zip(&found).skip(1) {
                    let most = match served.name {
                        "podman" | "pasta" => 1.0,
                        "slirp4netns" => 0.5,
                        // Told for comparison: it copies beside the network, and shows containers its own address.
                        _ => continue,
                    };
                    report.limit(&what, &format!("{} to ours", served.name), value / found[0], most);
                }
                eprintln!("measured: {what}");
            }
        }
    }
    connections(&groups, quick, report)?;
    held(&root.ours, "monopod-network", "stack of a user", report)?;
    for (_, engine) in root.engines().chain(user.engines()) {
        engine.run(&["rm", "-f", "-a", "-t", "0"])?;
    }
    Ok(())
}

fn gigabits(place: &[String], address: &str, port: u16, seconds: &str, flag: Option<&str>) -> Result<f64, String> {
    let port = port.to_string();
    let mut words: Vec<&str> = place.iter().map(String::as_str).collect();
    words.extend(["iperf3", "--json", "-c", address, "-p", &port, "-t", seconds]);
    words.extend(flag);
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let text = output(&words);
        let document: serde_json::Value = serde_json::from_str(text.as_deref().unwrap_or("")).unwrap_or_default();
        match document["end"]["sum_received"]["bits_per_second"].as_f64() {
            Some(bits) => return Ok(bits / 1e9),
            // It does not listen yet, or is still ending the last one.
            None if Instant::now() < end => std::thread::sleep(Duration::from_millis(100)),
            None => return Err(format!("{}: {text:?}", words.join(" "))),
        }
    }
}

/// Short connections to a web server, sixteen at a time.
fn connections(groups: &[Vec<Served>], quick: bool, report: &mut Report) -> Result<(), String> {
    let count: u32 = if quick { 100 } else { 10_000 };
    for (group, who) in groups.iter().zip(["root", "rootless"]) {
        let mut found = Vec::new();
        for served in group {
            let url = format!("http://127.0.0.1:{}/hostname", served.ports[1]);
            // It takes minutes for all of them.
            let part = if served.name == "slirp4netns" && !quick { 20 } else { 1 };
            let count = (count / part).to_string();
            let begin = Instant::now();
            output(&["ab", "-q", "-r", "-n", &count, "-c", "16", &url])?;
            found.push((served.name, begin.elapsed().as_secs_f64() * f64::from(part)));
        }
        let told: Vec<_> = found.iter().map(|(name, value)| format!("{name} {value:.2} s")).collect();
        report.note(&format!("{count} short HTTP connections, {who}: {}", told.join(", ")));
        for (name, seconds) in found.iter().skip(1).filter(|(name, _)| *name != "slirp4netns") {
            report.limit(&format!("{count} short HTTP connections, {who}"), name, found[0].1 / seconds, 1.0);
        }
        eprintln!("measured: short connections, {who}");
    }
    Ok(())
}

/// The memory of a role, after its work.
fn held(ours: &Engine, role: &str, what: &str, report: &mut Report) -> Result<(), String> {
    let share = memory(ours, role)?;
    report.note(&format!("memory of the {what}, PSS of both its processes: {share:.0} kB"));
    report.limit(&format!("memory of the {what}"), "4 MB", share / MEMORY, 1.0);
    Ok(())
}

/// The share of memory of all processes of a role, in kB; of those only that are of the measured file.
fn memory(ours: &Engine, role: &str) -> Result<f64, String> {
    let pids = output(&["pgrep", "-f", &format!("^{role}")])?;
    let file = std::fs::canonicalize(&ours.prefix[0]).map_err(|e| e.to_string())?;
    let mut sum = 0.0;
    for pid in pids.split_whitespace() {
        if std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe != file) {
            continue;
        }
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
        sum += line.split_whitespace().next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
    }
    Ok(sum)
}

/// Questions about the name of a container, asked in its network: of our server, and of aardvark.
fn names(root: &Pair, quick: bool, report: &mut Report) -> Result<(), String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?.display().to_string();
    let count = if quick { "200" } else { "50000" };
    let mut found = Vec::new();
    for (name, engine) in root.engines() {
        engine.run(&["network", "create", "bench-lan"])?;
        let asked = (|| -> Result<_, String> {
            engine.run(&["run", "-d", "--name", "named", "--network", "bench-lan", IMAGE, "sleep", "100000"])?;
            let pid = engine.run(&["inspect", "--format", "{{.State.Pid}}", "named"])?;
            let gateway = "{{(index .NetworkSettings.Networks \"bench-lan\").Gateway}}";
            let gateway = engine.run(&["inspect", "--format", gateway, "named"])?;
            let mut rates = (Vec::new(), Vec::new());
            for _ in 0..if quick { 1 } else { 3 } {
                let text = output(&["nsenter", "-t", &pid, "-n", &own, "--names", &gateway, "named", count])?;
                let mut words = text.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
                rates.0.push(words.next().unwrap_or(f64::NAN));
                rates.1.push(words.next().unwrap_or(f64::NAN));
            }
            Ok((name, median(rates.0), median(rates.1)))
        })();
        let held = if name == "monopod" { held(engine, "monopod-ground", "DNS process", report) } else { Ok(()) };
        engine.run(&["rm", "-f", "-a", "-t", "0"])?;
        engine.run(&["network", "rm", "bench-lan"])?;
        found.push(asked?);
        held?;
    }
    let told: Vec<_> = found.iter().map(|(n, rate, late)| format!("{n} {rate:.0}/s, p99 {late:.0} µs")).collect();
    report.note(&format!("questions about names: {}", told.join("; ")));
    if let [(_, ours, our_late), (_, theirs, their_late)] = found[..] {
        report.limit("questions about names in a second", "aardvark-dns to ours", theirs / ours, 1.0);
        report.limit("the 99th percentile of their time", "aardvark-dns", our_late / their_late, 1.0);
    }
    eprintln!("measured: names");
    Ok(())
}

/// The role of who asks: `ADDRESS NAME COUNT`, sixteen questions at a time; prints how many in a second were answered, and
/// the 99th percentile of how long that took, in microseconds.
pub fn ask(words: &[String]) -> ExitCode {
    let [address, name, count] = words else { return ExitCode::from(2) };
    let count: u16 = count.parse().expect("a number below 65536");
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.connect((address.as_str(), 53)).expect("an address");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    let query = |id: u16| {
        let mut packet = id.to_be_bytes().to_vec();
        packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8]);
        packet.extend(name.bytes().chain([0, 0, 1, 0, 1]));
        packet
    };
    let begin = Instant::now();
    let (mut sent, mut late) = (vec![begin; count.into()], Vec::new());
    let (mut next, mut answer) = (0, [0; 512]);
    while late.len() < usize::from(count) {
        while next < count && usize::from(next) < late.len() + 16 {
            sent[usize::from(next)] = Instant::now();
            socket.send(&query(next)).expect("it is sent");
            next += 1;
        }
        let length = socket.recv(&mut answer).expect("an answer to each question");
        assert!(length > 12 && answer[3] & 15 == 0 && answer[7] == 1, "one address for each question");
        late.push(sent[usize::from(u16::from_be_bytes([answer[0], answer[1]]))].elapsed().as_secs_f64() * 1e6);
    }
    let seconds = begin.elapsed().as_secs_f64();
    late.sort_by(f64::total_cmp);
    println!("{} {}", f64::from(count) / seconds, late[late.len() * 99 / 100]);
    ExitCode::SUCCESS
}
