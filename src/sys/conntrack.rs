//! What the kernel remembers of datagrams that it translates (nf_conntrack, by nfnetlink_conntrack.h): an entry outlives the
//! port that it was made by as long as somebody goes on sending, and leads astray.
//!
//! Must not know: why a port is published.

use crate::netlink::{Family, Requests, Socket, attributes};
use rustix::io::Result;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const GET: u16 = 0x101;
const DELETE: u16 = 0x102;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const UDP: u8 = 17;

/// Forgets the flows of UDP that were meant for one of `ports`, whoever got them, or that came to one of `addresses`. Gives
/// how many there were. `EPROTONOSUPPORT`, `EINVAL`: the kernel does not tell of flows.
pub fn forget_datagrams(ports: &[u16], addresses: &[IpAddr]) -> Result<usize> {
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    let mut socket = Socket::open(Family::Netfilter)?;
    let mut count = 0;
    for family in [AF_INET, AF_INET6] {
        let mut request = Requests::new();
        request.add(GET, 0, &[family, 0, 0, 0], |_| ());
        let mut found = Vec::new();
        socket.ask(request, true, |_, body| {
            let part = |kind| attributes(body.get(4..).unwrap_or_default()).find(|a| a.0 == kind).map(|a| a.1);
            let (Some(original), Some(reply)) = (part(ORIGINAL), part(REPLY)) else { return };
            let Some(meant) = destination_port(original) else { return };
            if ports.contains(&meant) || source(reply).is_some_and(|from| addresses.contains(&from)) {
                found.push(original.to_vec());
            }
        })?;
        for original in found {
            const NESTED: u16 = 0x8000;
            let mut request = Requests::new();
            request.add(DELETE, 0, &[family, 0, 0, 0], |a| {
                a.bytes(NESTED | ORIGINAL, &original);
            });
            // One that has ended meanwhile is gone too.
            count += usize::from(socket.carry_out(&mut request).is_ok());
        }
    }
    Ok(count)
}

/// Where a flow of UDP was meant to go; `None` of other protocols.
fn destination_port(tuple: &[u8]) -> Option<u16> {
    let protocol = attributes(tuple).find(|a| a.0 == 2)?.1;
    let value = |kind| attributes(protocol).find(|a| a.0 == kind).map(|a| a.1);
    if value(1)?.first() != Some(&UDP) {
        return None;
    }
    value(3)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))
}

/// Who sends.
fn source(tuple: &[u8]) -> Option<IpAddr> {
    let addresses = attributes(tuple).find(|a| a.0 == 1)?.1;
    attributes(addresses).find_map(|(kind, bytes)| match kind {
        1 => bytes.first_chunk::<4>().map(|b| Ipv4Addr::from(*b).into()),
        3 => bytes.first_chunk::<16>().map(|b| Ipv6Addr::from(*b).into()),
        _ => None,
    })
}
