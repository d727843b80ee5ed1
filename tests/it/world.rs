//! A small world for tests of networks: a host, in whose network the commands of a home run, and a far host behind a
//! cable. Both are network namespaces that nobody else sees.
//!
//! ```text
//! host  192.0.2.7/24  2001:db8::7/64  ── cable ──  192.0.2.1/24  2001:db8::1/64  far host
//! and a second network:  198.51.100.7/24                198.51.100.1/24
//! ```

use crate::home::{Home, PATIENCE, Who};
use std::process::{Child, Command, Stdio};

/// See above.
pub struct World {
    pub home: Home,
    far: String,
}

/// The host's address, and the far host's.
pub const HOST: &str = "192.0.2.7";
pub const FAR: &str = "192.0.2.1";
pub const HOST_6: &str = "2001:db8::7";
pub const FAR_6: &str = "2001:db8::1";
/// Theirs in the other network.
pub const HOST_2: &str = "198.51.100.7";
pub const FAR_2: &str = "198.51.100.1";

/// A program that calls another to which the kernel refuses sockets of packet filters, as one without nf_tables does
/// (seccomp(2): `socket(AF_NETLINK, …, NETLINK_NETFILTER)` is EPROTONOSUPPORT). As root, so that what is called may still
/// change users.
const WITHOUT_FILTERS: [&str; 3] = [
    "perl",
    "-e",
    "my ($socket, $prctl) = qx(uname -m) =~ /x86_64/ ? (41, 157) : (198, 167);
    my @all = ([0x20, 0, 0, 0], [0x15, 0, 5, $socket], [0x20, 0, 0, 16], [0x15, 0, 3, 16], [0x20, 0, 0, 32],
        [0x15, 0, 1, 12], [6, 0, 0, 0x5005d], [6, 0, 0, 0x7fff0000]);
    my $program = join '', map { pack 'SCCL', @$_ } @all;
    syscall($prctl, 22, 2, pack 'Sx6P', scalar @all, $program) == 0 or die qq(seccomp: $!);
    exec @ARGV or die qq($ARGV[0]: $!)",
];

/// A server that ends with the test.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl World {
    /// A world for the commands of `who`; `None`, said loudly, where it cannot be had. `more` is done as root on the host.
    pub fn of(who: Who, more: &str) -> Option<World> {
        let script = format!(
            "ip link set lo up
            setpriv --pdeathsig KILL unshare --net sleep infinity &
            echo $! >$HOME_DIR/far
            while [ $(readlink /proc/$!/ns/net) = $(readlink /proc/self/ns/net) ]; do sleep 0.01; done
            ip link add cable0 type veth peer name cable0 netns $!
            ip addr add {HOST}/24 dev cable0; ip addr add {HOST_2}/24 dev cable0
            ip addr add {HOST_6}/64 dev cable0 nodad; ip link set cable0 up
            far() {{ nsenter --net -t $(cat $HOME_DIR/far) -- \"$@\"; }}
            far ip link set lo up; far ip addr add {FAR}/24 dev cable0; far ip addr add {FAR_2}/24 dev cable0
            far ip addr add {FAR_6}/64 dev cable0 nodad; far ip link set cable0 up
            ip route add default via {FAR}; ip -6 route add default via {FAR_6}
            echo '0 2147483647' >/proc/sys/net/ipv4/ping_group_range
            {more}"
        );
        let home = Home::with_network(who, &script)?;
        home.load();
        let far = std::fs::read_to_string(home.path("far")).expect("the far host is there").trim().to_owned();
        Some(World { home, far })
    }

    /// The same on a kernel that speaks to nobody of packet filters.
    pub fn unfiltered(who: Who, more: &str) -> Option<World> {
        let mut world = World::of(who, more)?;
        world.home.through = WITHOUT_FILTERS.map(String::from).to_vec();
        Some(world)
    }

    /// A command on the far host.
    pub fn far(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "-t", &self.far, "--"]).args(words).current_dir("/").stdin(Stdio::null());
        command
    }

    /// A command on the host, as root.
    pub fn near(&self, words: &[&str]) -> Command {
        let mut command = self.home.enter();
        command.args(words);
        command
    }

    /// Starts a server.
    pub fn serve(&self, mut command: Command) -> Server {
        Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a server of the machine's"))
    }

    /// Starts a server that answers `/cgi-bin/who` with the address of whoever asks, at `port` of `address` and all others;
    /// `127.0.0.1` is that alone. `place` is a command on one of the hosts, its words still to be added.
    pub fn serve_who(&self, mut place: Command, port: &str, address: &str) -> Server {
        let directory = self.home.path("www/cgi-bin");
        std::fs::create_dir_all(&directory).expect("own directory");
        let script = directory.join("who");
        let text = "#!/bin/sh\nprintf '\\r\\n%s\\n' \"$REMOTE_ADDR\" | sed 's/\\[//; s/\\]//; s/::ffff://'\n";
        std::fs::write(&script, text).expect("own file");
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("own file");
        let at = if address == "127.0.0.1" { format!("{address}:{port}") } else { port.to_owned() };
        let www = self.home.path("www");
        place.args(["busybox", "httpd", "-f", "-p", &at, "-h"]).arg(&www);
        let server = self.serve(place);
        let url = format!("http://{address}:{port}/cgi-bin/who");
        self.until(|| self.near(&["curl", "-sf", "--noproxy", "*", &url]));
        server
    }

    /// Waits until a command succeeds, and gives what it printed.
    #[track_caller]
    pub fn until(&self, mut command: impl FnMut() -> Command) -> String {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let mut attempt = command();
            let output = attempt.output().expect("a program of the machine's");
            if output.status.success() {
                return String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
            }
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(std::time::Instant::now() < end, "never succeeded: {attempt:?}: {error}");
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
    }
}
