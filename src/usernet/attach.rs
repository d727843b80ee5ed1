//! Containers come and go: their gates (what is taken from an interface of the router) and doors (published ports).

use crate::record::{Interface, Port, Protocol};
use crate::serve::{Server, kind};
use crate::slab::{Key, Word};
use crate::sockets::{Use, make};
use crate::{Attachment, Error, Policy};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::net::sockopt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// The port in the router to which its firewall hands everything that leaves (see `router`).
pub const GATE_PORT: u16 = 1;
/// Connections that wait to be taken; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A container.
#[derive(Debug)]
pub(crate) struct Attached {
    id: String,
    /// Its first process.
    _life: OwnedFd,
    interfaces: Vec<String>,
}

/// What takes what containers send through one interface.
#[derive(Debug)]
pub(crate) struct Gate {
    pub name: String,
    /// Its number there.
    pub link: u32,
    pub policy: Policy,
    /// How many containers are behind it.
    users: usize,
    /// To which everything is handed, one for each version that the host has; or, where links are watched, for the
    /// servers that are asked by way of the loopback device.
    pub streams: Vec<OwnedFd>,
    pub datagrams: Vec<OwnedFd>,
    /// Of version 4 and 6, where the host has them.
    pub echoes: [Option<OwnedFd>; 2],
    /// Tells how conversations begin, where links are watched.
    pub watch: Option<OwnedFd>,
}

/// A published port.
#[derive(Debug)]
pub(crate) struct Door {
    pub socket: OwnedFd,
    pub port: Port,
    pub gate: Key,
    owner: String,
}

impl Server {
    /// Serves a container from now on, or says why not; then nothing of it is left. One that is served already has other
    /// interfaces or ports from now on: what goes by those that stay does not notice.
    pub fn attach(&mut self, attachment: Attachment) -> Result<(), Error> {
        let old = self.attached_id(&attachment.id).and_then(|old| self.attached.remove(old));
        let attached = self.attach_anew(&attachment);
        for name in old.iter().flat_map(|old| &old.interfaces) {
            self.leave_gate(name);
        }
        attached
    }

    fn attach_anew(&mut self, attachment: &Attachment) -> Result<(), Error> {
        let life = sys::process::open(attachment.pid, attachment.start_time)
            .map_err(|source| Error::Process { pid: attachment.pid, source })?;
        let key = self.attached.insert(Attached { id: attachment.id.clone(), _life: life, interfaces: Vec::new() });
        let opened = self.open(key, attachment);
        if opened.is_err() {
            self.detach(key);
        }
        opened
    }

    fn open(&mut self, key: Key, attachment: &Attachment) -> Result<(), Error> {
        if let Some(attached) = self.attached.get(key) {
            self.poll.source(&attached._life, Word { kind: kind::LIFE, part: 0, key }).map_err(Error::Start)?;
        }
        for interface in &attachment.interfaces {
            let opened = self.open_gate(interface);
            // It is one of the gate's users, whatever failed after that: who is taken away again leaves those, and no others.
            if self.gates.keys(|gate| gate.name == interface.name).pop().is_some()
                && let Some(attached) = self.attached.get_mut(key)
            {
                attached.interfaces.push(interface.name.clone());
            }
            opened?;
        }
        let owned = |door: &Door, port: &Port| door.owner == attachment.id && door.port.is_at(port);
        for door in self.doors.keys(|d| d.owner == attachment.id && !attachment.ports.iter().any(|p| owned(d, p))) {
            self.doors.remove(door);
        }
        for port in &attachment.ports {
            match self.doors.keys(|door| owned(door, port)).pop() {
                Some(key) => self.lead_elsewhere(key, port)?,
                None => self.make_door(port, &attachment.id)?,
            }
        }
        Ok(())
    }

    /// A door leads to another place from now on.
    fn lead_elsewhere(&mut self, key: Key, port: &Port) -> Result<(), Error> {
        let gate = self.gate_of(port)?;
        if let Some(door) = self.doors.get_mut(key)
            && door.port != *port
        {
            (door.port, door.gate) = (port.clone(), gate);
            self.drop_flows_of_door(key);
        }
        Ok(())
    }

    fn gate_of(&self, port: &Port) -> Result<Key, Error> {
        let found = self.gates.keys(|gate| gate.name == port.interface).pop();
        found.ok_or_else(|| Error::Port { port: Box::new(port.clone()), source: Errno::NODEV })
    }

    /// Serves a container no longer. Its connections may still bring what it has sent to where it belongs.
    pub fn detach(&mut self, key: Key) {
        let Some(attached) = self.attached.remove(key) else { return };
        for door in self.doors.keys(|door| door.owner == attached.id) {
            self.doors.remove(door);
        }
        for name in &attached.interfaces {
            self.leave_gate(name);
        }
        self.forget(&attached.id);
    }

    fn leave_gate(&mut self, name: &str) {
        for key in self.gates.keys(|gate| gate.name == name) {
            let Some(gate) = self.gates.get_mut(key) else { continue };
            gate.users = gate.users.saturating_sub(1);
            if gate.users == 0 {
                self.take_the_rest(key);
                self.gates.remove(key);
            }
        }
    }

    /// What came in just before the end goes out too.
    fn take_the_rest(&mut self, gate: Key) {
        self.take_beginnings(gate);
        let parts = self.gates.get(gate).map_or(0, |gate| gate.streams.len() as u8);
        for part in 0..parts {
            self.accept_outbound(Word { kind: kind::STREAM_GATE, part, key: gate });
            self.take_outbound(Word { kind: kind::DATAGRAM_GATE, part, key: gate });
        }
        self.leave_attempts(gate);
        self.leave_connections(gate);
        self.leave_flows(gate);
    }

    /// Removes a container's record.
    pub fn forget(&self, id: &str) {
        // It may never have been written.
        let _ = std::fs::remove_file(Attachment::path(&self.directory, id));
    }

    pub fn attached_id(&self, id: &str) -> Option<Key> {
        self.attached.keys(|a| a.id == id).pop()
    }

    /// True if nobody needs the process.
    pub fn is_idle(&self) -> bool {
        self.attached.len() == 0 && self.connections.len() == 0 && self.clients.len() == 0
    }

    /// Makes sure that nobody is about to need it, and takes its address away.
    pub fn give_up(&self) -> Result<bool, Error> {
        let lock = crate::control::lock_file(&self.directory)?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            // Whoever has it will ask for something, or end: wait for that and look again.
            return Ok(false);
        }
        let _ = std::fs::remove_file(self.directory.join(crate::control::NAME));
        let _ = std::fs::remove_file(self.directory.join("router"));
        Ok(true)
    }

    fn open_gate(&mut self, interface: &Interface) -> Result<(), Error> {
        if let Some(key) = self.gates.keys(|gate| gate.name == interface.name).pop()
            && let Some(gate) = self.gates.get_mut(key)
        {
            gate.users += 1;
            let asked = std::mem::replace(&mut gate.policy, interface.policy.clone()).servers;
            let new = interface.policy.servers.iter().filter(|server| !asked.contains(server)).copied();
            let new: Vec<IpAddr> = new.collect();
            if let Some(gate) = self.gates.get_mut(key) {
                // Containers of other networks go on asking theirs.
                gate.policy.servers.extend(asked.into_iter().filter(|a| !interface.policy.servers.contains(a)));
            }
            return self
                .listen_for(key, &new)
                .map_err(|source| Error::Interface { name: interface.name.clone(), source });
        }
        let missing = |source| Error::Interface { name: interface.name.clone(), source };
        let key = self.gates.insert(Gate {
            name: interface.name.clone(),
            link: self.router.link(&interface.name).map_err(missing)?,
            policy: interface.policy.clone(),
            users: 1,
            streams: Vec::new(),
            datagrams: Vec::new(),
            echoes: [None, None],
            watch: None,
        });
        for v6 in [false, true] {
            match self.open_version(key, &interface.name, v6) {
                Ok(()) => {}
                // A host without IPv6: so have its containers.
                Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if v6 => {}
                Err(source) => {
                    return Err(Error::Interface { name: interface.name.clone(), source });
                }
            }
        }
        self.watch(key).and_then(|()| self.listen_for(key, &interface.policy.servers)).map_err(missing)
    }

    fn open_version(&mut self, key: Key, name: &str, v6: bool) -> Result<(), Errno> {
        let echo = self.router.socket(Use::Echo, v6)?;
        sys::transparent::to_device(&echo, name)?;
        sys::transparent::want_destination(&echo, v6)?;
        sys::transparent::only_echo_requests(&echo, v6)?;
        sys::transparent::with_header(&echo, v6)?;
        if self.watch.is_none() {
            self.listen_in(key, name, any(v6, GATE_PORT))?;
        }
        self.poll.source(&echo, Word { kind: kind::ECHO_GATE, part: u8::from(v6), key })?;
        if let Some(gate) = self.gates.get_mut(key) {
            gate.echoes[usize::from(v6)] = Some(echo);
        }
        Ok(())
    }

    /// Where links are watched, opens sockets at the servers that are asked by way of a gate's link.
    fn listen_for(&mut self, key: Key, servers: &[IpAddr]) -> Result<(), Errno> {
        const NAMES: u16 = 53;
        if self.watch.is_none() {
            return Ok(());
        }
        let Some(name) = self.gates.get(key).map(|gate| gate.name.clone()) else { return Ok(()) };
        servers.iter().try_for_each(|server| match self.listen_in(key, &name, SocketAddr::new(*server, NAMES)) {
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if server.is_ipv6() => Ok(()),
            other => other,
        })
    }

    /// Sockets of the router that take what comes by link `name` for `at`.
    fn listen_in(&mut self, key: Key, name: &str, at: SocketAddr) -> Result<(), Errno> {
        let v6 = at.is_ipv6();
        let stream = self.router.socket(Use::Stream, v6)?;
        let datagram = self.router.socket(Use::Datagram, v6)?;
        for socket in [&stream, &datagram] {
            sys::transparent::to_device(socket, name)?;
        }
        if v6 {
            sockopt::set_ipv6_v6only(&stream, true)?;
            sockopt::set_ipv6_v6only(&datagram, true)?;
        }
        sockopt::set_socket_reuseaddr(&stream, true)?;
        rustix::net::bind(&stream, &at)?;
        rustix::net::listen(&stream, BACKLOG)?;
        sys::transparent::want_destination(&datagram, v6)?;
        // Others are bound beside it, for flows of their own.
        sockopt::set_socket_reuseaddr(&datagram, true)?;
        rustix::net::bind(&datagram, &at)?;
        let part = self.gates.get(key).map_or(0, |gate| gate.streams.len() as u8);
        self.poll.source(&stream, Word { kind: kind::STREAM_GATE, part, key })?;
        self.poll.source(&datagram, Word { kind: kind::DATAGRAM_GATE, part, key })?;
        if let Some(gate) = self.gates.get_mut(key) {
            gate.streams.push(stream);
            gate.datagrams.push(datagram);
        }
        Ok(())
    }

    /// Somebody is at a published port.
    pub fn open_door(&mut self, word: Word) {
        if word.part == 0 { self.accept_inbound(word) } else { self.take_inbound(word) }
    }

    fn make_door(&mut self, port: &Port, owner: &str) -> Result<(), Error> {
        let failed = |source| Error::Port { port: Box::new(port.clone()), source };
        let gate = self.gate_of(port)?;
        let socket = listen(port).map_err(failed)?;
        let word_of = |key| Word { kind: kind::DOOR, part: u8::from(port.protocol == Protocol::Udp), key };
        let key = self.doors.insert(Door { socket, port: port.clone(), gate, owner: owner.to_owned() });
        if let Some(door) = self.doors.get(key) {
            self.poll.source(&door.socket, word_of(key)).map_err(failed)?;
        }
        Ok(())
    }
}

/// A published port's socket on the host: of version 6, which serves both, where no address was named.
fn listen(port: &Port) -> Result<OwnedFd, Errno> {
    match port.host_ip {
        Some(ip) => listen_at(port, ip),
        None => match listen_at(port, Ipv6Addr::UNSPECIFIED.into()) {
            // No IPv6 on this host.
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => listen_at(port, Ipv4Addr::UNSPECIFIED.into()),
            other => other,
        },
    }
}

fn listen_at(port: &Port, ip: IpAddr) -> Result<OwnedFd, Errno> {
    let v6 = ip.is_ipv6();
    let kind = if port.protocol == Protocol::Tcp { Use::Stream } else { Use::Datagram };
    let socket = make(kind, v6)?;
    if v6 {
        sockopt::set_ipv6_v6only(&socket, port.host_ip.is_some())?;
    }
    match port.protocol {
        Protocol::Tcp => {
            // Connections of an earlier container that wait for their time to pass do not hold the port; listeners do.
            sockopt::set_socket_reuseaddr(&socket, true)?;
            rustix::net::bind(&socket, &SocketAddr::new(ip, port.host))?;
            rustix::net::listen(&socket, BACKLOG)?;
        }
        Protocol::Udp => {
            // Both versions' kind of address is told, since one socket may get both.
            sys::transparent::want_destination(&socket, v6)?;
            if v6 {
                sys::transparent::want_destination(&socket, false)?;
            }
            rustix::net::bind(&socket, &SocketAddr::new(ip, port.host))?;
            // Only now: another program's socket was to be in the way, those of the flows that are bound beside it not.
            sockopt::set_socket_reuseaddr(&socket, true)?;
        }
    }
    Ok(socket)
}

/// The address that is all of a version.
pub(crate) fn any(v6: bool, port: u16) -> SocketAddr {
    let ip: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    SocketAddr::new(ip, port)
}
