//! The host's resolvers, as resolv.conf(5) names them: asked one after the other when one does not answer.
//!
//! Must not know: what the questions are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Read again when the file changes.
#[derive(Debug)]
pub(crate) struct Resolvers {
    path: PathBuf,
    /// Device, inode, size and time of change of the file that was read.
    seen: Option<(u64, u64, u64, i64, i64)>,
    addresses: Vec<IpAddr>,
    turn: usize,
}

impl Resolvers {
    pub fn new(path: PathBuf) -> Resolvers {
        Resolvers { path, seen: None, addresses: Vec::new(), turn: 0 }
    }

    /// The one to ask now.
    pub fn current(&mut self) -> SocketAddr {
        let now = std::fs::metadata(&self.path).ok().map(|m| (m.dev(), m.ino(), m.size(), m.ctime(), m.ctime_nsec()));
        if now != self.seen || self.addresses.is_empty() {
            self.addresses = parse(&std::fs::read_to_string(&self.path).unwrap_or_default());
            self.seen = now;
        }
        SocketAddr::new(self.addresses[self.turn % self.addresses.len()], 53)
    }

    /// The one asked last did not answer: the next one's turn.
    pub fn next(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }
}

/// The addresses of the `nameserver` lines, of which there are three at most; without any, the host's own (resolv.conf(5)).
fn parse(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let word = words.next()?;
        let address = words.next()?;
        // A link-local address needs its interface, which is not carried along.
        (word == "nameserver").then(|| address.parse().ok()).flatten()
    });
    let found: Vec<IpAddr> = lines.take(3).collect();
    if found.is_empty() { vec![Ipv4Addr::LOCALHOST.into()] } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_and_take_turns() {
        let text =
            "# c\nsearch x\nnameserver 127.0.0.53\nnameserver  2001:db8::1\nnameserver fe80::1%eth0\noptions edns0\n";
        assert_eq!(parse(text), ["127.0.0.53".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
        assert_eq!(parse(""), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        let path = std::env::temp_dir().join(format!("usernet-resolv-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let mut resolvers = Resolvers::new(path.clone());
        assert_eq!(resolvers.current().to_string(), "127.0.0.53:53");
        resolvers.next();
        assert_eq!(resolvers.current().to_string(), "[2001:db8::1]:53");
        resolvers.next();
        assert_eq!(resolvers.current().to_string(), "127.0.0.53:53");
        std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(resolvers.current().to_string(), "192.0.2.1:53");
        std::fs::remove_file(&path).unwrap();
    }
}
