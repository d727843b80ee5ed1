//! Bridges, addresses and published ports: the "host" of each test is a network namespace of its own, and other hosts are
//! more of them, joined to it by a pair of links.

use crate::home::{Home, am_root, own_network};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Runs a program of the host's, and gives what it prints.
#[track_caller]
pub fn host(words: &str) -> String {
    let words: Vec<&str> = words.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|e| panic!("{}: {e}", words[0]));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// True if the program is there; says loudly that a test is skipped otherwise.
pub fn have(program: &str) -> bool {
    let found =
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|d| std::path::Path::new(d).join(program).exists());
    if !found {
        eprintln!("SKIPPED: needs {program}");
    }
    found
}

/// All that containers may leave in the host's network.
pub fn traces() -> String {
    let links = host("ip -br link");
    let names: Vec<&str> = links.lines().filter_map(|l| l.split_whitespace().next()).collect();
    // A link whose other end just came up is told as down for a while.
    let routes = host("ip route").replace(" linkdown", "");
    format!("{names:?}\n{}{routes}{}", host("ip -4 -o addr"), host("nft list ruleset"))
}

/// A home in a network of its own, where it can be had.
pub fn home() -> Option<Home> {
    if !am_root() || !have("nft") || !have("ip") {
        return None;
    }
    own_network();
    let home = Home::new();
    home.load();
    Some(home)
}

/// Waits until the network is again as it was `before`.
#[track_caller]
pub fn until_as(home: &Home, before: &str) {
    let mut now = String::new();
    let same = || {
        now = traces();
        now == before
    };
    assert!(home.comes(same), "left in the host's network:\n{now}\nwhat was there before:\n{before}");
}

/// Another host: a network namespace, with 192.0.2.2 on a link to our host's 192.0.2.1.
pub struct Neighbour(Child);

impl Neighbour {
    pub fn new() -> Neighbour {
        let mut child = Command::new("unshare")
            .args(["-n", "sh", "-c", "ip link set lo up; echo ready; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare of util-linux");
        child.stdout.as_mut().expect("a pipe").read_exact(&mut [0; 6]).expect("it is ready");
        let pid = child.id();
        host(&format!("ip link add out0 type veth peer name in0 netns {pid}"));
        host("ip addr add 192.0.2.1/24 dev out0");
        host("ip link set out0 up");
        let neighbour = Neighbour(child);
        neighbour.run("ip addr add 192.0.2.2/24 dev in0");
        neighbour.run("ip link set in0 up");
        neighbour
    }

    /// Runs a program there.
    #[track_caller]
    pub fn run(&self, words: &str) -> String {
        host(&format!("nsenter -n -t {} {words}", self.0.id()))
    }

    /// What a server at that address sends to whom connects from there; `None` if nobody answers.
    pub fn ask(&self, address: &str, port: u16) -> Option<String> {
        let words = format!("nsenter -n -t {} busybox nc -w 2 {address} {port}", self.0.id());
        let words: Vec<&str> = words.split_whitespace().collect();
        let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().expect("busybox");
        Some(String::from_utf8_lossy(&output.stdout).into_owned()).filter(|t| !t.is_empty())
    }
}

impl Neighbour {
    /// Listens at a port there, and tells whoever connects which address it sees.
    pub fn listen(&self, port: u16) -> std::thread::JoinHandle<()> {
        let namespace = sys::netlink::namespace_of(self.0.id() as i32).expect("it runs");
        let listener = sys::netlink::inside(namespace.as_fd(), || std::net::TcpListener::bind(("0.0.0.0", port)));
        let listener = listener.expect("root may enter it").expect("the port is free");
        std::thread::spawn(move || {
            while let Ok((mut stream, from)) = listener.accept() {
                stream.write_all(format!("{}\n", from.ip()).as_bytes()).ok();
            }
        })
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.0.stdin.take();
        self.0.wait().ok();
    }
}

/// What a server of ours sends at once; `None` if it cannot be reached.
pub fn ask(address: &str) -> Option<String> {
    let address = address.parse().expect("an address with a port");
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Does something in the network of a container.
pub fn inside<T>(home: &Home, container: &str, work: impl FnOnce() -> T) -> T {
    let pid = home.inspect(container, "{{.State.Pid}}").parse().expect("a number");
    let namespace = sys::netlink::namespace_of(pid).expect("it runs");
    sys::netlink::inside(namespace.as_fd(), work).expect("root may enter it")
}

/// A script that says who asks, on this port, for ever.
pub fn server(port: u16, says: &str) -> String {
    format!("nc -ll -p {port} -e echo {says}")
}

#[test]
fn the_default_network_is_there_and_goes() {
    let Some(home) = home() else { return };
    let before = traces();
    let out = home
        .sh(&[], "ip -4 -o addr show eth0; ip route; cat /etc/hosts; nc -w 1 10.88.0.1 1 2>/dev/null; echo $?")
        .quiet();
    assert!(out.contains("inet 10.88.0.2/16") && out.contains("default via 10.88.0.1 dev eth0"), "{out}");
    assert!(out.contains("10.88.0.1\thost.containers.internal"), "{out}");
    // Refused at once by the host, not lost on the way.
    assert!(out.ends_with('1'), "{out}");
    until_as(&home, &before);
    for name in ["bridge", "podman", "default"] {
        let out = home
            .sh(&["--network", name, "--ip", "10.88.9.9", "--mac-address", "02:11:22:33:44:55"], "ip addr show eth0");
        let out = out.quiet();
        assert!(out.contains("10.88.9.9/16") && out.contains("02:11:22:33:44:55"), "{name}: {out}");
    }
    home.sh(&["--ip", "10.99.0.1"], "true").fails(125, &["10.99.0.1", "not in any subnet"]);
    home.sh(&["--ip", "10.88.0.1"], "true").fails(125, &["10.88.0.1", "gateway"]);
    home.sh(&["--network", "none", "--ip", "10.88.0.9"], "true").fails(125, &["--ip"]);
    home.sh(&["--network", "missing"], "true").fails(125, &["missing", "network not found"]);
    until_as(&home, &before);
}

#[test]
fn published_ports_lead_to_containers() {
    let Some(home) = home() else { return };
    let before = traces();
    let neighbour = Neighbour::new();
    let with_neighbour = traces();
    let ports =
        ["-p", "8080:80", "-p", "127.0.0.1:8081:80", "-p", "192.0.2.1:8082:80", "-p", "5353:53/udp", "-p", "80"];
    let mut args = vec!["run", "-d", "--name", "web"];
    args.extend(ports);
    let script = server(80, "hello");
    args.extend(["busybox", "sh", "-c", &script]);
    home.run(&args).quiet();
    home.until("the server listens", || ask("127.0.0.1:8080").as_deref() == Some("hello\n"));
    for address in ["127.0.0.1:8081", "10.88.0.1:8080", "192.0.2.1:8080", "192.0.2.1:8082", "127.0.0.9:8080"] {
        assert_eq!(ask(address).as_deref(), Some("hello\n"), "{address}");
    }
    for address in ["127.0.0.1:8082", "192.0.2.1:8081", "127.0.0.1:80"] {
        assert_eq!(ask(address), None, "{address}");
    }
    let echo = inside(&home, "web", || UdpSocket::bind("0.0.0.0:53").unwrap());
    std::thread::spawn(move || {
        let mut packet = [0; 16];
        let (length, from) = echo.recv_from(&mut packet).expect("a packet");
        echo.send_to(&packet[..length], from).expect("an answer");
    });
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(b"over udp", "127.0.0.1:5353").unwrap();
    let mut packet = [0; 16];
    assert_eq!(socket.recv(&mut packet).map(|n| packet[..n].to_vec()).unwrap(), b"over udp");
    // Other hosts reach what is published for them, and no more: neither by routing 127.0.0.1 to us.
    assert_eq!(neighbour.ask("192.0.2.1", 8080).as_deref(), Some("hello\n"));
    assert_eq!(neighbour.ask("192.0.2.1", 8081), None);
    // Another container, by the host's address, and the container itself by it.
    let inside = |address: &str, port: u16| format!("nc -w 2 {address} {port} </dev/null");
    assert_eq!(home.sh(&[], &inside("10.88.0.1", 8080)).quiet(), "hello");
    assert_eq!(home.sh(&[], &inside("192.0.2.1", 8080)).quiet(), "hello");
    assert_eq!(home.run(&["exec", "web", "sh", "-c", &inside("10.88.0.1", 8080)]).quiet(), "hello");
    // A container cannot reach the host's 127.0.0.1, though that is routed to the bridge for published ports.
    let listener = std::net::TcpListener::bind("127.0.0.1:7777").unwrap();
    let reach = "ip route add 127.0.0.1/32 via 10.88.0.1 table 5 && ip rule add to 127.0.0.1 table 5 pref 1 && ip rule del pref 0; \
                 nc -w 2 127.0.0.1 7777 </dev/null && echo reached";
    let flags = ["--cap-add", "NET_ADMIN", "--sysctl", "net.ipv4.conf.all.route_localnet=1"];
    assert!(!home.sh(&flags, reach).out.contains("reached"));
    drop(listener);
    let shown = home.run(&["ps", "--format", "{{.Ports}}"]).quiet();
    assert!(shown.contains("0.0.0.0:8080->80/tcp, 127.0.0.1:8081->80/tcp"), "{shown}");
    let free = home.inspect("web", "{{(index (index .NetworkSettings.Ports \"80/tcp\") 3).HostPort}}");
    assert_eq!(ask(&format!("127.0.0.1:{free}")).as_deref(), Some("hello\n"));
    // Whoever has a port is named.
    home.sh(&["-p", "8000-8100:1000-1100"], "true").fails(125, &["address already in use", "web"]);
    let taken = std::net::TcpListener::bind("0.0.0.0:8200").unwrap();
    home.sh(&["-p", "8200:1"], "true").fails(125, &["8200", "address already in use", &std::process::id().to_string()]);
    drop(taken);
    home.run(&["rm", "-f", "-t", "0", "web"]).ok();
    until_as(&home, &with_neighbour);
    drop(neighbour);
    until_as(&home, &before);
}

#[test]
fn a_thousand_ports_are_one_batch() {
    let Some(home) = home() else { return };
    let before = traces();
    let script = server(2999, "last");
    home.run(&["run", "-d", "--name", "many", "-p", "2000-2999:2000-2999", "busybox", "sh", "-c", &script]).quiet();
    home.until("the last port answers", || ask("127.0.0.1:2999").as_deref() == Some("last\n"));
    assert_eq!(home.run(&["ps", "--format", "{{.Ports}}"]).quiet(), "0.0.0.0:2000-2999->2000-2999/tcp");
    home.run(&["rm", "-f", "-t", "0", "many"]).ok();
    until_as(&home, &before);
}

#[test]
fn whoever_is_killed_leaves_nothing() {
    let Some(home) = home() else { return };
    let before = traces();
    // A container whose monitor and process are killed, so that nobody cleans up: the next command that needs a network does.
    home.run(&["run", "-d", "--name", "killed", "-p", "8080:80", "busybox", "sleep", "1000"]).quiet();
    assert_ne!(traces(), before);
    host(&format!("kill -9 {}", home.inspect("killed", "{{.State.ConmonPid}} {{.State.Pid}}")));
    home.until("the killed process is gone", || home.sh(&["-p", "8080:80"], "true").code == 0);
    until_as(&home, &before);
}

#[test]
fn containers_conf_names_the_hosts_address() {
    let Some(home) = home() else { return };
    let before = traces();
    let (base, conf) = (home.path("base"), home.path("containers.conf"));
    std::fs::write(&base, "192.0.2.50 first\n192.0.2.51 second\n").unwrap();
    let write = |address: &str| {
        let text = format!("[containers]\nbase_hosts_file = {base:?}\nhost_containers_internal_ip = {address:?}\n");
        std::fs::write(&conf, text).unwrap();
    };
    write("192.0.2.99");
    let home = home.variable("CONTAINERS_CONF", conf.to_str().unwrap());
    let hosts = |flags: &[&str]| home.sh(flags, "cat /etc/hosts; :").quiet();
    assert!(hosts(&["--add-host", "me:host-gateway"]).contains("192.0.2.99\tme\n"));
    let text = hosts(&["--name", "one", "--hostname", "two"]);
    assert!(text.contains("192.0.2.99\thost.containers.internal host.docker.internal\n"), "{text}");
    assert!(text.contains("\ttwo one") && text.lines().count() == 6, "{text}");
    // Names that the file has for others stay theirs.
    let text = hosts(&["--name", "first", "--hostname", "first"]);
    assert_eq!(text.lines().filter(|line| line.contains("first")).collect::<Vec<_>>(), ["192.0.2.50\tfirst"]);
    write("none");
    assert!(!hosts(&[]).contains("host.containers.internal"));
    write("nowhere");
    home.sh(&[], "true").fails(125, &["host_containers_internal_ip", "nowhere"]);
    until_as(&home, &before);
}
