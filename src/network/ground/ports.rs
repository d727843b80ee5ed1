//! Whether a port of the host is free: asked of the kernel, by binding it for a moment.

use crate::Error;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use types::port::{Protocol, Published};

/// Fails if one of these ports is somebody's, naming them if that can be told.
pub fn check(port: &Published) -> Result<(), Error> {
    for number in port.host..=port.host.saturating_add(port.count - 1) {
        let address = port.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        match bind(address, number, port.protocol) {
            Ok(_) | Err(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT) => {}
            Err(Errno::ADDRINUSE) => {
                let by = holder(number, port.protocol).map(|by| format!(" by {by}")).unwrap_or_default();
                return Err(super::port_taken(&Published { host: number, ..*port }, by));
            }
            Err(errno) => {
                let what = format!("cannot listen on port {number}/{} of {address}: {errno}", port.protocol);
                return Err(Error::Invalid(what));
            }
        }
    }
    Ok(())
}

/// A port that is free now, with the `count - 1` after it.
pub fn free(address: Option<IpAddr>, count: u16, protocol: Protocol) -> Result<u16, Error> {
    let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    for _ in 0..100 {
        let first = bind(address, 0, protocol).map_err(Error::Socket)?;
        let fits = first.checked_add(count - 1).is_some();
        if fits && (1..count).all(|n| bind(address, first + n, protocol).is_ok()) {
            return Ok(first);
        }
    }
    Err(Error::Invalid(format!("no {count} free ports of {protocol} in a row were found")))
}

/// Binds it, and lets it go. Gives the port, which the kernel chose if 0 was asked for.
fn bind(address: IpAddr, port: u16, protocol: Protocol) -> Result<u16, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(number))?;
    if protocol != Protocol::Udp {
        // Connections that a server left behind do not keep its port; one who listens does all the same.
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    if address == IpAddr::from(Ipv6Addr::UNSPECIFIED) {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(address, port))?;
    let bound: SocketAddr = rustix::net::getsockname(&socket)?.try_into()?;
    Ok(bound.port())
}

/// Name and number of a process that has the port, if it can be seen.
fn holder(port: u16, protocol: Protocol) -> Option<String> {
    let table = match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => return None,
    };
    let inode = [table.to_owned(), format!("{table}6")].iter().find_map(|table| {
        let text = std::fs::read_to_string(format!("/proc/net/{table}")).ok()?;
        text.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let local = fields.get(1)?.rsplit_once(':')?.1;
            // 0A listens, 07 is a datagram socket's.
            let fits = u16::from_str_radix(local, 16) == Ok(port) && matches!(fields.get(3), Some(&"0A" | &"07"));
            fits.then(|| fields.get(9).map(|i| format!("socket:[{i}]")))?
        })
    })?;
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let has = |e: std::fs::DirEntry| std::fs::read_link(e.path()).is_ok_and(|l| l.to_str() == Some(&inode));
        if descriptors.flatten().any(has) {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some(format!("process {pid} ({})", name.trim()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_port_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Published {
            host_ip: Some([127, 0, 0, 1].into()),
            host: port,
            container: 80,
            count: 1,
            protocol: Protocol::Tcp,
        };
        let text = check(&asked).unwrap_err().to_string();
        assert!(text.contains("address already in use") && text.contains(&std::process::id().to_string()), "{text}");
        drop(listener);
        check(&asked).unwrap();
        let free = free(Some([127, 0, 0, 1].into()), 3, Protocol::Udp).unwrap();
        std::net::UdpSocket::bind(("127.0.0.1", free + 2)).unwrap();
    }
}
