//! Who learns which names; and packets of any kind.

use super::packet::{FAILED, NO_NAME, Wrong, answer, read, refusal};
use super::*;
use crate::definition::Pool;
use crate::holding::Joint;
use types::Id;

fn network(name: &str, subnet: &str, internal: bool) -> Definition {
    let subnet: types::Subnet = subnet.parse().unwrap();
    Definition {
        name: name.into(),
        subnets: vec![Pool { subnet, gateway: Some(subnet.usable().0), lease_range: None }],
        dns_enabled: true,
        internal,
        ..Definition::default()
    }
}

fn holding(n: u8, name: &str, places: &[(&str, &str, &[&str])]) -> Holding {
    let joint = |(network, address, aliases): &(&str, &str, &[&str])| Joint {
        network: network.to_string(),
        interface: "eth0".into(),
        host_interface: String::new(),
        addresses: vec![address.parse().unwrap()],
        gateways: Vec::new(),
        mac: [2; 6],
        aliases: aliases.iter().map(|a| a.to_string()).collect(),
        direct: false,
        lease: None,
    };
    Holding {
        id: Id::from_random([n; 32]),
        name: name.into(),
        pid: 1,
        since: 1,
        joints: places.iter().map(joint).collect(),
        ports: Vec::new(),
        servers: Vec::new(),
    }
}

fn names() -> Names {
    let networks =
        [network("a", "10.1.0.0/24", false), network("b", "10.2.0.0/24", false), network("in", "10.3.0.0/24", true)];
    let networks = networks.into_iter().map(|n| (n.name.clone(), n)).collect();
    let holdings = [
        holding(1, "web", &[("a", "10.1.0.2/24", &["www", "db"])]),
        holding(2, "DB", &[("a", "10.1.0.3/24", &[]), ("b", "10.2.0.3/24", &["data"])]),
        holding(3, "other", &[("b", "10.2.0.4/24", &["data"])]),
        holding(4, "inner", &[("in", "10.3.0.2/24", &[])]),
    ];
    Names::new(&networks, &holdings, vec![[9, 9, 9, 9].into()])
}

fn ask(names: &Names, network: &str, from: &str, name: &str) -> String {
    let kind = if name.ends_with("arpa") { Kind::Pointer } else { Kind::A };
    let question = Question { name: name.into(), kind, end: 0 };
    match names.decide(network, from.parse().unwrap(), &question) {
        Decision::Answer(records) => records
            .iter()
            .map(|r| match r {
                Record::Address(a) => a.to_string(),
                Record::Pointer(name) => name.clone(),
            })
            .collect::<Vec<_>>()
            .join(" "),
        other => format!("{other:?}"),
    }
}

#[test]
fn names_are_seen_in_their_networks_only() {
    let names = names();
    let a = |name: &str| ask(&names, "a", "10.1.0.2", name);
    assert_eq!(a("web"), "10.1.0.2");
    assert_eq!(a("www"), "10.1.0.2");
    assert_eq!(a("web.dns.podman"), "10.1.0.2");
    assert_eq!(a("010101010101"), "10.1.0.2");
    // The alias of another does not take a container's name.
    assert_eq!(a("db"), "10.1.0.3");
    assert_eq!(a("other"), "Forward([9.9.9.9])");
    assert_eq!(a("other.dns.podman"), "Unknown");
    assert_eq!(a("data"), "Forward([9.9.9.9])");
    // Whoever is in both sees both, whichever server it asks.
    assert_eq!(ask(&names, "a", "10.1.0.3", "other"), "10.2.0.4");
    assert_eq!(ask(&names, "b", "10.2.0.3", "db"), "10.1.0.3 10.2.0.3");
    assert_eq!(ask(&names, "b", "10.2.0.4", "data"), "10.2.0.3 10.2.0.4");
    assert_eq!(ask(&names, "b", "10.2.0.4", "web"), "Forward([9.9.9.9])");
    // Nobody asks in a network that they are not in, but the host.
    assert_eq!(ask(&names, "a", "10.2.0.4", "web"), "Refuse");
    assert_eq!(ask(&names, "a", "10.1.0.1", "web"), "10.1.0.2");
    assert_eq!(ask(&names, "in", "10.3.0.2", "example.com"), "Unknown");
    assert_eq!(ask(&names, "in", "10.3.0.2", "inner"), "10.3.0.2");
    assert_eq!(a("3.0.1.10.in-addr.arpa"), "DB");
    assert_eq!(a("4.0.2.10.in-addr.arpa"), "Unknown");
    assert_eq!(a("8.8.8.8.in-addr.arpa"), "Forward([9.9.9.9])");
}

#[test]
fn packets_are_read_and_answered() {
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03WeB\x03dns\x06podman\x00\x00\x01\x00\x01";
    let question = read(query).unwrap();
    assert_eq!((question.name.as_str(), question.kind, question.end), ("web.dns.podman", Kind::A, query.len()));
    let reply = answer(query, question.end, &[Record::Address([10, 1, 0, 2].into())], 512);
    assert_eq!(reply[..12], *b"\x12\x34\x85\x80\x00\x01\x00\x01\x00\x00\x00\x00");
    assert_eq!(reply[query.len()..], *b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x0a\x00\x04\x0a\x01\x00\x02");
    let many = vec![Record::Address([10, 1, 0, 2].into()); 100];
    let short = answer(query, question.end, &many, 512);
    assert!(short.len() <= 512 && short[2] & 2 != 0);
    assert_eq!(refusal(query, question.end, NO_NAME)[3], 0x83);
    assert_eq!(read(b"\x12\x34"), Err(Wrong::Silent));
    assert_eq!(read(&[0xff; 40]), Err(Wrong::Silent));
    // To who takes more, more is sent (RFC 6891), and what we take is said.
    let extended = [&query[..11], b"\x01", &query[12..], b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00"].concat();
    assert_eq!(read(&extended).unwrap().end, query.len());
    let long = answer(&extended, query.len(), &many, 512);
    assert!((1200..=1232).contains(&long.len()) && long.ends_with(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"));
    assert_eq!(long[10..12], [0, 1]);
    let unknown = refusal(&extended, query.len(), NO_NAME);
    assert_eq!((unknown[3], unknown.len()), (0x83, query.len() + 11));
    // Another version of it is refused by ours: code 16, whose upper part is in the extension.
    let mut later = extended.clone();
    later[query.len() + 6] = 1;
    let refused = answer(&later, query.len(), &many, 512);
    assert_eq!((refused[3], refused[7], refused[refused.len() - 6]), (0x80, 0, 1));
    // A label that holds a dot is not two labels.
    let dotted = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x0eweb.dns.podman\x00\x00\x01\x00\x01";
    assert_ne!(read(dotted).unwrap().name, "web.dns.podman");
}

#[test]
fn no_packet_is_too_strange() {
    // Every beginning of a question, and every change of one byte of it.
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03web\x00\x00\x01\x00\x01\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00";
    for length in 0..query.len() {
        let _ = read(&query[..length]).map(|q| answer(&query[..length], q.end, &[], 512));
    }
    for at in 0..query.len() {
        for value in 0..=255 {
            let mut packet = query.to_vec();
            packet[at] = value;
            match read(&packet) {
                Ok(question) => {
                    assert!(question.end <= packet.len() && question.name.len() < 1024);
                    assert!(answer(&packet, question.end, &[Record::Address([10, 1, 0, 2].into())], 512).len() <= 512);
                    assert!(refusal(&packet, question.end, FAILED).len() <= 512);
                }
                Err(Wrong::Code(code)) => assert_eq!(refusal(&packet, 0, code).len(), 12),
                Err(Wrong::Silent) => {}
            }
        }
    }
}
