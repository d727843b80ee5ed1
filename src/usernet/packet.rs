//! Whole packets, written here where no socket writes them: in the name of hosts that a container asked for.
//!
//! Must not know: why.

use std::net::IpAddr;

const HOPS: u8 = 64;
const ICMP: u8 = 1;
const ICMP_6: u8 = 58;

/// What cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// The host.
    Host,
    /// The port: nobody listens there.
    Port,
}

/// A packet from `from` to `to` with `message` of the transport protocol `protocol`, whose checksum belongs at `sum_at`.
/// `None` if the addresses are of different versions. The kernel writes length and checksum of version 4's own header
/// (raw(7)).
pub(crate) fn transport(
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    mut message: Vec<u8>,
    sum_at: usize,
) -> Option<Vec<u8>> {
    let length = u16::try_from(message.len()).ok()?;
    let sum = match (from, to) {
        // That of version 4's control messages covers nothing else.
        (IpAddr::V4(_), IpAddr::V4(_)) if protocol == ICMP => checksum(&[&message]),
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            checksum(&[&from.octets(), &to.octets(), &[0, protocol], &length.to_be_bytes(), &message])
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            checksum(&[&from.octets(), &to.octets(), &[0, 0], &length.to_be_bytes(), &[0, 0, 0, protocol], &message])
        }
        _ => return None,
    };
    message.get_mut(sum_at..sum_at + 2)?.copy_from_slice(&sum);
    let mut packet = header(from, to, protocol, length)?;
    packet.extend(message);
    Some(packet)
}

/// The control message that tells `from` that what it sent to `to`, with the headers' protocol `protocol` and the
/// beginning `sent`, did not arrive. It comes from `to`, whom the container believes to be there.
pub(crate) fn unreachable(from: IpAddr, to: IpAddr, protocol: u8, sent: Vec<u8>, what: Unreachable) -> Option<Vec<u8>> {
    let mut original = header(from, to, protocol, u16::try_from(sent.len()).ok()?)?;
    if from.is_ipv4() {
        // Inside of another packet nobody writes them for us.
        let length = u16::try_from(original.len() + sent.len()).ok()?;
        original[2..4].copy_from_slice(&length.to_be_bytes());
        let sum = checksum(&[&original]);
        original[10..12].copy_from_slice(&sum);
    }
    let (kind, code, control) = match (from.is_ipv4(), what) {
        (true, Unreachable::Host) => (3, 1, ICMP),
        (true, Unreachable::Port) => (3, 3, ICMP),
        (false, Unreachable::Host) => (1, 3, ICMP_6),
        (false, Unreachable::Port) => (1, 4, ICMP_6),
    };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(original);
    message.extend(sent);
    transport(to, from, control, message, 2)
}

fn header(from: IpAddr, to: IpAddr, protocol: u8, length: u16) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(40 + usize::from(length));
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet.extend([0x45, 0, 0, 0, 0, 0, 0, 0, HOPS, protocol, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([protocol, HOPS]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        _ => return None,
    }
    Some(packet)
}

/// The checksum of the internet (RFC 1071) over all parts, of which only the last may have an odd length.
pub(crate) fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let word = |w: &[u8]| u64::from(w[0]) << 8 | u64::from(*w.get(1).unwrap_or(&0));
    let mut sum: u64 = parts.iter().flat_map(|part| part.chunks(2)).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_come_out_even() {
        let (from, to): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "10.0.2.100".parse().unwrap());
        let packet = transport(from, to, ICMP, vec![0, 0, 0, 0, 1, 2, 3, 4, 5], 2).unwrap();
        assert_eq!(checksum(&[&packet[20..]]), [0, 0], "a message with its checksum sums up to nothing");
        let packet = unreachable(to, from, 17, vec![1; 8], Unreachable::Port).unwrap();
        assert_eq!((&packet[12..16], packet[20], packet[21]), (&[192, 0, 2, 1][..], 3, 3));
        assert_eq!(checksum(&[&packet[28..48]]), [0, 0]);
        let v6: IpAddr = "fd00::1".parse().unwrap();
        assert_eq!(unreachable(v6, v6, 17, vec![1; 8], Unreachable::Port).unwrap()[40..42], [1, 4]);
        assert_eq!(transport(from, v6, 6, vec![0; 20], 16), None);
    }
}
