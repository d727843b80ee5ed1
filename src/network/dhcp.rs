//! Messages of DHCP (RFC 2131, options of RFC 2132) in packets of IPv4: what a client says, and what it is told.
//!
//! Must not know: sockets, links, when something is said.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Port of clients, and of servers.
pub(crate) const CLIENT: u16 = 68;
pub(crate) const SERVER: u16 = 67;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Bytes of a message before its options.
const FIXED: usize = 236;
/// Leases without an end, which RFC 2131 has for `0xffffffff`, are looked after once a week.
const WEEK: u32 = 7 * 86_400;

/// An address that somebody lent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Bits of the prefix of its subnet.
    pub prefix: u8,
    /// Where it sends what leads out.
    pub gateway: Option<Ipv4Addr>,
    /// Who lent it.
    pub server: Ipv4Addr,
    /// The hardware address by which the server, or its relay, is reached.
    pub by: [u8; 6],
    /// When it was lent, in seconds since the host was started.
    pub since: u64,
    /// For how long, in seconds.
    pub seconds: u32,
    /// After how many it is to be asked for again: of who lent it, and of anybody.
    pub again: [u32; 2],
}

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says<'a> {
    /// It wants an address.
    Discover,
    /// It takes what it was offered.
    Take(&'a Lease),
    /// It wants to keep what it has.
    Keep(&'a Lease),
    /// It needs it no longer.
    Release(&'a Lease),
}

/// Who says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    /// Its hardware address.
    pub hardware: [u8; 6],
    /// What it would like to be called.
    pub name: String,
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// It could have this.
    Offer(Lease),
    /// It has this.
    Have(Lease),
    /// It cannot have what it asked for.
    No,
}

impl Client {
    /// The packet that says it; `number` is of the conversation. To everybody, or to the lease's server alone.
    pub fn packet(&self, says: Says<'_>, number: u32, to_all: bool) -> Vec<u8> {
        let (kind, own, server) = match says {
            Says::Discover => (1, None, None),
            Says::Take(_) => (3, None, None),
            Says::Keep(lease) => (3, Some(lease.address), Some(lease.server)),
            Says::Release(lease) => (7, Some(lease.address), Some(lease.server)),
        };
        let own = own.unwrap_or(Ipv4Addr::UNSPECIFIED);
        // A request by Ethernet.
        let mut message = vec![1, 1, 6, 0];
        message.extend(number.to_be_bytes());
        // The answer is to be sent to all: the client has no address yet, by which it could be reached.
        let flags: u16 = if own.is_unspecified() { 0x8000 } else { 0 };
        message.extend([0, 0]);
        message.extend(flags.to_be_bytes());
        message.extend(own.octets());
        message.extend([0; 12]);
        message.extend(self.hardware);
        message.resize(FIXED, 0);
        message.extend(COOKIE);
        message.extend([53, 1, kind]);
        match says {
            Says::Take(lease) => {
                option(&mut message, 50, &lease.address.octets());
                option(&mut message, 54, &lease.server.octets());
            }
            Says::Release(lease) => option(&mut message, 54, &lease.server.octets()),
            Says::Discover | Says::Keep(_) => {}
        }
        if !matches!(says, Says::Release(_)) {
            let name = &self.name.as_bytes()[..self.name.len().min(63)];
            if !name.is_empty() {
                option(&mut message, 12, name);
            }
            // Mask, router, times.
            option(&mut message, 55, &[1, 3, 51, 54, 58, 59]);
        }
        message.push(255);
        // Relays of the protocol before it drop shorter ones (RFC 1542 2.1).
        message.resize(message.len().max(300), 0);
        let to = server.filter(|_| !to_all).unwrap_or(Ipv4Addr::BROADCAST);
        datagram(own, to, &message)
    }

    /// What a packet tells this client in conversation `number`, with the server's hardware address `by`, at `now` seconds
    /// since the host was started. `None`: nothing, or not to this client.
    pub fn told(&self, packet: &[u8], number: u32, by: [u8; 6], now: u64) -> Option<Told> {
        let message = payload(packet)?;
        let fixed = message.get(..FIXED)?;
        let ours = fixed[0] == 2 && fixed[4..8] == number.to_be_bytes() && fixed[28..34] == self.hardware;
        let options = message.get(FIXED..)?.strip_prefix(&COOKIE)?;
        ours.then_some(())?;
        let number = |code| value(options, code).and_then(|v| v.first_chunk::<4>().copied()).map(u32::from_be_bytes);
        let address = |code| number(code).map(Ipv4Addr::from);
        let kind = *value(options, 53)?.first()?;
        if kind == 6 {
            return Some(Told::No);
        }
        let mask = number(1).unwrap_or(0xffff_ff00);
        let given = Ipv4Addr::from(*fixed[16..].first_chunk::<4>()?);
        let usable = !(given.is_unspecified() || given.is_broadcast() || given.is_multicast() || given.is_loopback());
        // A mask is ones, then zeros.
        let fit = mask != 0 && mask.leading_ones() + mask.trailing_zeros() == 32;
        let seconds = match number(51).unwrap_or(3600) {
            u32::MAX => WEEK,
            other => other.max(2),
        };
        let again = [number(58).unwrap_or(seconds / 2), number(59).unwrap_or(seconds - seconds / 8)];
        let again = [again[0].clamp(1, seconds / 2), again[1].clamp(seconds / 2, seconds)];
        let gateway = address(3).filter(|gateway| !gateway.is_unspecified());
        let lease = Lease {
            address: given,
            prefix: mask.leading_ones() as u8,
            gateway,
            server: address(54)?,
            by,
            since: now,
            seconds,
            again,
        };
        match kind {
            2 if usable && fit => Some(Told::Offer(lease)),
            5 if usable && fit => Some(Told::Have(lease)),
            _ => None,
        }
    }
}

fn option(message: &mut Vec<u8>, code: u8, value: &[u8]) {
    message.extend([code, value.len() as u8]);
    message.extend(value);
}

fn value(options: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut left = options;
    loop {
        match *left.first()? {
            255 => return None,
            0 => left = &left[1..],
            code => {
                let length = usize::from(*left.get(1)?);
                let found = left.get(2..2 + length)?;
                if code == wanted {
                    return Some(found);
                }
                left = &left[2 + length..];
            }
        }
    }
}

/// A datagram of UDP (RFC 768; without a checksum, which version 4 allows) in a packet (RFC 791).
fn datagram(from: Ipv4Addr, to: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let length = (28 + message.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    for number in [CLIENT, SERVER, length - 20, 0] {
        packet.extend(number.to_be_bytes());
    }
    packet.extend(message);
    packet
}

/// The message in a packet for a client.
fn payload(packet: &[u8]) -> Option<&[u8]> {
    let header = usize::from(packet.first()? & 15) * 4;
    let fits = packet[0] >> 4 == 4 && header >= 20 && *packet.get(9)? == 17;
    let datagram = packet.get(header..)?;
    let port = |at: usize| Some(u16::from_be_bytes(datagram.get(at..at + 2)?.try_into().ok()?));
    let length = usize::from(port(4)?);
    (fits && port(2)? == CLIENT).then(|| datagram.get(8..length)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client { hardware: [2, 0, 0, 0, 0, 1], name: "web".into() }
    }

    /// What a server would answer.
    fn answer(kind: u8, options: &[&[u8]]) -> Vec<u8> {
        let mut message = vec![2, 1, 6, 0];
        message.extend(7u32.to_be_bytes());
        message.resize(FIXED, 0);
        message[16..20].copy_from_slice(&[192, 0, 2, 9]);
        message[28..34].copy_from_slice(&client().hardware);
        message.extend(COOKIE);
        message.extend([53, 1, kind, 0, 54, 4, 192, 0, 2, 1]);
        message.extend(options.concat());
        message.push(255);
        let mut packet = datagram([192, 0, 2, 1].into(), Ipv4Addr::BROADCAST, &message);
        packet[20..24].copy_from_slice(&[0, 67, 0, 68]);
        packet
    }

    #[test]
    fn a_lease_is_read() {
        let packet = answer(5, &[&[1, 4, 255, 255, 255, 240], &[3, 4, 192, 0, 2, 1], &[51, 4, 0, 0, 0, 200]]);
        let Some(Told::Have(lease)) = client().told(&packet, 7, [9; 6], 1000) else { panic!() };
        assert_eq!(
            (lease.address, lease.prefix, lease.gateway),
            ([192, 0, 2, 9].into(), 28, Some([192, 0, 2, 1].into()))
        );
        assert_eq!((lease.seconds, lease.again, lease.by, lease.since), (200, [100, 175], [9; 6], 1000));
        assert!(matches!(client().told(&answer(2, &[]), 7, [9; 6], 0), Some(Told::Offer(_))));
        assert_eq!(client().told(&answer(6, &[]), 7, [9; 6], 0), Some(Told::No));
        // Another conversation, another client, a mask with holes.
        assert_eq!(client().told(&packet, 8, [9; 6], 0), None);
        let other = Client { hardware: [2, 0, 0, 0, 0, 2], ..client() };
        assert_eq!(other.told(&packet, 7, [9; 6], 0), None);
        assert_eq!(client().told(&answer(5, &[&[1, 4, 255, 0, 255, 0]]), 7, [9; 6], 0), None);
        for length in 0..packet.len() {
            // Cut off anywhere, it tells something or nothing, and is no reason to panic.
            let _ = client().told(&packet[..length], 7, [9; 6], 0);
        }
        // An option that is longer than what is left.
        assert_eq!(value(&[12, 200, 1], 12), None);
        assert_eq!(value(&[], 12), None);
    }

    #[test]
    fn times_of_a_server_are_kept_within_reason() {
        for (lent, expected) in [(0, (2, [1, 2])), (u32::MAX, (WEEK, [WEEK / 2, WEEK / 8 * 7]))] {
            let packet = answer(5, &[&[51, 4], &lent.to_be_bytes()]);
            let Some(Told::Have(lease)) = client().told(&packet, 7, [9; 6], 0) else { panic!() };
            assert_eq!((lease.seconds, lease.again), expected, "{lent}");
        }
        let packet = answer(5, &[&[51, 4, 0, 0, 0, 200], &[58, 4, 0, 0, 0, 0], &[59, 4, 255, 0, 0, 0]]);
        let Some(Told::Have(lease)) = client().told(&packet, 7, [9; 6], 0) else { panic!() };
        assert_eq!(lease.again, [1, 200]);
    }

    #[test]
    fn what_is_said_is_well_formed() {
        let lease = match client().told(&answer(5, &[]), 7, [9; 6], 0) {
            Some(Told::Have(lease)) => lease,
            other => panic!("{other:?}"),
        };
        let all = [
            (Says::Discover, true, 1, [255; 4]),
            (Says::Take(&lease), true, 3, [255; 4]),
            (Says::Keep(&lease), true, 3, [255; 4]),
            (Says::Keep(&lease), false, 3, [192, 0, 2, 1]),
            (Says::Release(&lease), false, 7, [192, 0, 2, 1]),
        ];
        for (says, to_all, kind, to) in all {
            let packet = client().packet(says, 7, to_all);
            let sum: u32 = packet[..20].chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(p[1])).sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the checksum of {says:?}");
            assert_eq!(packet[16..20], to, "{says:?}");
            let options = &packet[28 + FIXED + 4..];
            assert_eq!(value(options, 53), Some(&[kind][..]));
            assert_eq!(value(options, 12).is_some(), kind != 7);
            // Who has an address names it in one place, who wants one in the other (RFC 2131, table 4).
            let has = matches!(says, Says::Keep(_) | Says::Release(_));
            assert_eq!(packet[28 + 12..28 + 16] == [192, 0, 2, 9], has, "{says:?}");
            assert_eq!(value(options, 50).is_some(), matches!(says, Says::Take(_)));
        }
    }
}
