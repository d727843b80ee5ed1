//! Addresses and ports are given out and taken back.

use super::*;
use crate::definition::Pool;
use types::port::publish;

fn id(n: u8) -> Id {
    Id::from_random([n; 32])
}

fn small() -> Definition {
    let pool = Pool { subnet: "10.1.1.0/29".parse().unwrap(), gateway: Some([10, 1, 1, 1].into()), lease_range: None };
    Definition { name: "small".into(), subnets: vec![pool], ..Definition::default_network() }
}

fn join(state: &mut State, n: u8, asked: Attachment) -> Result<String, Error> {
    let joint = state.join(&asked, &small(), &[])?;
    let address = joint.addresses[0].to_string();
    state.holdings.push(Holding {
        id: id(n),
        name: format!("c{n}"),
        pid: 1,
        since: 1,
        joints: vec![joint],
        ports: Vec::new(),
        servers: Vec::new(),
    });
    Ok(address)
}

#[test]
fn addresses_go_round_and_are_given_once() {
    let mut state = State::default();
    let any = Attachment::default;
    assert_eq!(join(&mut state, 1, any()).unwrap(), "10.1.1.2/29");
    assert_eq!(join(&mut state, 2, any()).unwrap(), "10.1.1.3/29");
    state.holdings.remove(0);
    assert_eq!(join(&mut state, 3, any()).unwrap(), "10.1.1.4/29");
    let this = |a: [u8; 4]| Attachment { addresses: vec![a.into()], ..any() };
    assert_eq!(join(&mut state, 4, this([10, 1, 1, 5])).unwrap(), "10.1.1.5/29");
    let taken = join(&mut state, 5, this([10, 1, 1, 3])).unwrap_err().to_string();
    assert!(taken.contains("10.1.1.3 is already allocated to container c2"), "{taken}");
    assert!(matches!(join(&mut state, 5, this([10, 1, 2, 3])), Err(Error::AddressOutside { .. })));
    assert!(matches!(join(&mut state, 5, this([10, 1, 1, 1])), Err(Error::AddressTaken { .. })));
    assert_eq!(join(&mut state, 5, any()).unwrap(), "10.1.1.6/29");
    assert_eq!(join(&mut state, 6, any()).unwrap(), "10.1.1.2/29");
    assert!(matches!(join(&mut state, 7, any()), Err(Error::Exhausted { .. })));
}

#[test]
fn ports_have_one_holder() {
    let mut state = State::default();
    join(&mut state, 1, Attachment::default()).unwrap();
    state.holdings[0].ports = publish("127.0.0.1:80-89:80-89").unwrap();
    let holder = |text: &str| state.port_holder(&publish(text).unwrap()).map(|h| h.1);
    assert_eq!(holder("85:1").as_deref(), Some("c1"));
    assert_eq!(holder("127.0.0.1:89:1").as_deref(), Some("c1"));
    assert_eq!(holder("127.0.0.2:85:1"), None);
    assert_eq!(holder("85:1/udp"), None);
    assert_eq!(holder("90:1"), None);
}
