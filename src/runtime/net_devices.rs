//! Network devices of the host's that go into the container (OCI runtime specification, config-linux.md, "Network Devices"):
//! moved into its network namespace under their new names, with their lasting addresses, and up.
//!
//! They are not brought back: with the namespace the kernel gives devices back to the host, and removes virtual ones.

use crate::error::Error;
use oci_spec::runtime::{Linux, LinuxNetDevice};
use rustix::io::Errno;
use std::collections::HashSet;
use std::os::fd::AsFd;
use sys::clone::NEW_NET;
use sys::links;
use sys::netlink::{self, Family, Requests, Socket};

/// Devices to move, and the connection to the namespace that they are in.
#[derive(Debug)]
pub struct NetDevices {
    host: Socket,
    /// Names on the host and in the container.
    names: Vec<(String, String)>,
}

impl NetDevices {
    /// Reads which there are, while this process is in the host's network namespace. `own` are the kinds of namespaces that
    /// the container does not share with the runtime.
    pub fn prepare(linux: &Linux, own: u64) -> Result<Option<NetDevices>, Error> {
        let Some(devices) = linux.net_devices().as_ref().filter(|devices| !devices.is_empty()) else { return Ok(None) };
        if own & NEW_NET == 0 {
            return Err(Error::Unsupported {
                what: "linux.netDevices without a network namespace".into(),
                instead: "add {\"type\": \"network\"} to its namespaces",
            });
        }
        let new = |name: &str, device: &LinuxNetDevice| {
            device.name().as_ref().filter(|new| !new.is_empty()).map_or(name.to_owned(), Clone::clone)
        };
        let mut names: Vec<(String, String)> =
            devices.iter().map(|(name, device)| (name.clone(), new(name, device))).collect();
        names.sort_unstable();
        check(&names)?;
        let host = Socket::open(Family::Route).map_err(|source| Error::NetDevice {
            name: names[0].0.clone(),
            step: "ask the kernel for it",
            source,
        })?;
        Ok(Some(NetDevices { host, names }))
    }

    /// Moves them into the network namespace of process `pid`.
    pub fn serve(mut self, pid: i32) -> Result<(), Error> {
        let first = self.names[0].0.clone();
        let failed = |step: &'static str| {
            let name = first.clone();
            move |source| Error::NetDevice { name, step, source }
        };
        let namespace = netlink::namespace_of(pid).map_err(failed("open the container's network namespace"))?;
        let mut inside = netlink::inside(namespace.as_fd(), || Socket::open(Family::Route))
            .and_then(|socket| socket)
            .map_err(failed("enter the container's network namespace"))?;
        for (name, new) in std::mem::take(&mut self.names) {
            let failed = |step: &'static str| {
                let name = name.clone();
                move |source| Error::NetDevice { name, step, source }
            };
            let device = links::find(&mut self.host, &name).map_err(failed("find it on the host"))?;
            let before: HashSet<String> = links::all(&mut inside)
                .map_err(failed("list the container's devices"))?
                .into_iter()
                .map(|link| link.name)
                .collect();
            if before.contains(&new) {
                return Err(failed("find its new name free in the container")(Errno::EXIST));
            }
            let addresses =
                links::lasting_addresses(&mut self.host, device.index).map_err(failed("read its addresses"))?;
            let mut requests = Requests::new();
            links::move_to(&mut requests, device.index, &new, namespace.as_fd());
            self.host.carry_out(&mut requests).map_err(|r| failed("move it into the container")(r.errno))?;
            // The kernel may have chosen the name, and its number is another one.
            let moved = links::all(&mut inside)
                .map_err(failed("list the container's devices"))?
                .into_iter()
                .find(|link| !before.contains(&link.name))
                .ok_or_else(|| failed("find it in the container")(Errno::NODEV))?;
            let mut requests = Requests::new();
            for address in &addresses {
                links::add_lasting(&mut requests, moved.index, address);
            }
            links::set_up(&mut requests, moved.index, true);
            inside.carry_out(&mut requests).map_err(|r| failed("give it its addresses and set it up")(r.errno))?;
        }
        Ok(())
    }
}

/// Names that the kernel would refuse, before anything is moved (netdevice(7): at most 15 bytes), and one for two devices.
fn check(names: &[(String, String)]) -> Result<(), Error> {
    let mut taken = HashSet::new();
    for (_, new) in names {
        let wrong = |c: char| c == '/' || c == ':' || c.is_ascii_whitespace();
        let bare = new.strip_suffix("%d").unwrap_or(new);
        if new.len() > 15 || new == "." || new == ".." || bare.contains('%') || new.contains(wrong) {
            return Err(Error::Specification(format!("netDevices: {new:?} is not a name of a network device")));
        }
        if bare == new && !taken.insert(new) {
            return Err(Error::Specification(format!("netDevices: {new:?} is given to two devices")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn names() {
        let check = |names: &[&str]| {
            super::check(&names.iter().map(|new| ("eth0".to_owned(), (*new).to_owned())).collect::<Vec<_>>())
        };
        check(&["eth0", "e1", "veth%d", "veth%d"]).unwrap();
        for wrong in [&["a/b"][..], &["0123456789abcdef"], &["a b"], &["."], &["%da"], &["a", "a"]] {
            assert!(check(wrong).is_err(), "{wrong:?}");
        }
    }
}
