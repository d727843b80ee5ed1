//! The private network of a container of a user without root: its place behind the user's router, and its published ports.
//!
//! Its process and records are in `RUNROOT/network`, see [`usernet`]; what a run got is in `network` of its directory.

use crate::container::config::Config;
use crate::{Engine, fault, rootless};
use monitor::record::Running;
use ops::{Fault, Kind};
use std::os::fd::AsFd;
use std::path::Path;
use usernet::{Attachment, Plan, Stack, World};

/// What is there before the container.
pub(crate) struct Begun {
    /// The process that serves it.
    pub stack: Stack,
    /// What it gets.
    pub plan: Plan,
}

/// Name of the file with the plan, in the directory of a run.
const FILE: &str = "network";

impl Engine {
    /// Starts what the container's network needs; `None` if it has none of its own.
    pub(crate) fn begin_network(&self, config: &Config) -> Result<Option<Begun>, Fault> {
        let Some(options) = &config.private_network else { return Ok(None) };
        let world = World::read(&options.template).map_err(failed)?;
        let directory = self.settings.run_root.join("network");
        let holders = || rootless::living(&self.settings.run_root).into_iter().map(|(pid, _)| pid).collect();
        let stack = Stack::join(&directory, holders, usernet::router::make).map_err(failed)?;
        Ok(Some(Begun { stack, plan: usernet::plan(options, &world) }))
    }

    /// Ties the parked process of a container to it, and opens its ports. If that fails the process is ended.
    pub(crate) fn finish_network(&self, begun: &Begun, config: &Config, run_directory: &Path) -> Result<(), Fault> {
        let running = Running::read(run_directory)
            .ok_or_else(|| Fault::internal("the container's process ended before its network was there"))?;
        self.tie(begun, config, &running, run_directory).inspect_err(|_| {
            let _ = sys::process::kill(running.pid, running.start_time, 9);
        })
    }

    fn tie(&self, begun: &Begun, config: &Config, running: &Running, run_directory: &Path) -> Result<(), Fault> {
        let id = config.id.as_str();
        let namespace = sys::netlink::namespace_of(running.pid)
            .map_err(|e| Fault::internal(format!("cannot open the container's network namespace: {e}")))?;
        usernet::router::connect(begun.stack.namespace().as_fd(), namespace.as_fd(), id, &begun.plan)
            .map_err(failed)?;
        let name = usernet::router::link_name(id);
        let attachment = Attachment {
            id: id.to_owned(),
            pid: running.pid,
            start_time: running.start_time,
            interfaces: vec![begun.plan.interface(name)],
            ports: Vec::new(),
        };
        begun.stack.attach(&attachment).map_err(failed)?;
        let path = run_directory.join(FILE);
        let text = serde_json::to_vec(&begun.plan).map_err(Fault::internal)?;
        std::fs::write(&path, text).map_err(|e| Fault::internal(format!("cannot write {path:?}: {e}")))
    }
}

/// Errors of the room.
fn failed(error: usernet::Error) -> Fault {
    use usernet::Error;
    let text = fault::sentence(&error);
    match &error {
        Error::NoTransparentProxy => Fault::new(Kind::Unsupported, text).hint(
            "load the kernel modules nft_tproxy, nf_tproxy_ipv4 and nf_tproxy_ipv6, or use --network host or none",
        ),
        Error::Template(_) => Fault::invalid(text),
        Error::Told(told) => match &told.port {
            Some((port, errno)) => port_fault(port, rustix::io::Errno::from_raw_os_error(*errno)),
            None => Fault::internal(text),
        },
        _ => Fault::internal(text),
    }
}

fn port_fault(port: &usernet::Port, errno: rustix::io::Errno) -> Fault {
    use rustix::io::Errno;
    let ip = port.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
    let what = format!("cannot listen on {ip}:{}/{}", port.host, port.protocol.word());
    match errno {
        Errno::ADDRINUSE => Fault::new(Kind::Conflict, format!("{what}: address already in use")),
        Errno::ACCESS | Errno::PERM => {
            let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
            let first = if first.trim().is_empty() { "1024" } else { first.trim() };
            Fault::new(Kind::Denied, format!("{what}: permission denied: ports below {first} are root's")).hint(
                format!(
                    "set the kernel parameter net.ipv4.ip_unprivileged_port_start={}, or choose a port from {first} on",
                    port.host
                ),
            )
        }
        Errno::ADDRNOTAVAIL => Fault::invalid(format!("{what}: this host does not have that address")),
        other => Fault::internal(format!("{what}: {other}")),
    }
}
