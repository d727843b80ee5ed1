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

/// A directory below which grounds are, which goes at the end.
struct Base(PathBuf);

impl Base {
    fn new(name: &str) -> Base {
        let base = std::env::temp_dir().join(format!("monopod-ground-{name}.{}", std::process::id()));
        std::fs::create_dir(&base).unwrap();
        Base(base)
    }

    fn ground(&self, number: &str) -> Ground {
        Ground::at(self.0.join("networks").join(number), "boot")
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn allot(ground: &Ground, n: u8) -> Result<Allotment, Error> {
    let (id, networks) = (id(n), vec![(Attachment::default(), small())]);
    ground.allot(&Wanted { id: &id, name: &format!("c{n}"), networks, ports: &[], servers: Vec::new() })
}

#[test]
fn grounds_come_and_go_under_many_at_once() {
    let base = Base::new("many");
    std::thread::scope(|scope| {
        for n in 0..4 {
            let base = &base;
            scope.spawn(move || {
                // Two of a kind: the last of one removes its directory, the last of both that of all.
                let ground = base.ground(if n < 2 { "1" } else { "2" });
                for round in 0..500 {
                    let allotment = allot(&ground, n).unwrap_or_else(|e| panic!("round {round}: {e}"));
                    assert_eq!(ground.holding(&id(n)).as_ref(), Some(&allotment.holding), "round {round}");
                    ground.release(&id(n)).unwrap_or_else(|e| panic!("round {round}: {e}"));
                }
            });
        }
    });
    assert!(!base.0.join("networks").exists(), "nothing is left of them");
}

#[test]
fn what_an_earlier_boot_left_goes_unless_somebody_makes_it_his() {
    let base = Base::new("boots");
    for number in ["1", "2"] {
        let earlier = Ground { boot: "an earlier boot".into(), ..base.ground(number) };
        allot(&earlier, 1).unwrap();
    }
    let (ground, other) = (base.ground("1"), base.ground("3"));
    let mut locked = ground.lock().unwrap();
    other.forget_other_boots();
    assert!(!base.ground("2").directory.exists());
    locked.state.networks.insert("small".into(), small());
    locked.write().unwrap();
    drop(locked);
    other.forget_other_boots();
    assert!(ground.networks_and_holdings().0.contains_key("small"));
}

#[test]
fn a_bridge_that_somebody_took_away_is_made_anew() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root");
        return;
    }
    sys::namespaces::unshare(sys::clone::NEW_NET).unwrap();
    let base = Base::new("bridge");
    let ground = base.ground("1");
    let mut process = std::process::Command::new("unshare")
        .args(["-n", "sh", "-c", "echo ready; read line"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("unshare of util-linux");
    std::io::Read::read_exact(process.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
    let pid = process.id() as i32;
    let allotment = allot(&ground, 1).unwrap();
    ground.raise(&allotment).unwrap();
    Kernel::open().unwrap().remove(&small().network_interface).unwrap();
    let attached = ground.attach(&id(1), pid, sys::process::start_time(pid).unwrap());
    drop(process.stdin.take());
    process.wait().unwrap();
    assert_eq!(attached.unwrap().joints, allotment.holding.joints);
}
