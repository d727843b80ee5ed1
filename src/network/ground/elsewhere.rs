//! Where the default network goes if its place is taken: by a bridge of another engine, whose containers have the same
//! addresses, or by a network of the host's.

use super::State;
use crate::Error;
use crate::create::free_subnet;
use crate::definition::{DEFAULT, Definition, Pool};
use crate::plan::bridge_mac;
use sys::links::{self, Link};
use sys::netlink::{Family, Socket};
use types::Subnet;

/// The default network as it is up, or is to be: nobody defined it, so it goes where there is room.
pub(super) fn placed(state: &State, network: &Definition) -> Result<Definition, Error> {
    if network.name != DEFAULT || *network != Definition::default_network() {
        return Ok(network.clone());
    }
    if let Some(up) = state.networks.get(DEFAULT) {
        return Ok(up.clone());
    }
    let mut socket = Socket::open(Family::Route).map_err(Error::Socket)?;
    let links = links::all(&mut socket).map_err(Error::Socket)?;
    let addresses = links::addresses(&mut socket).map_err(Error::Socket)?;
    let own = links.iter().find(|link| link.name == network.network_interface);
    let others: Vec<Subnet> = addresses
        .into_iter()
        .filter(|(index, ..)| own.is_none_or(|own| own.index != *index))
        .map(|(_, address, prefix)| Subnet::new(address, prefix))
        .collect();
    place(network, &links, others, state.networks.values())
}

/// Pure: beside these links, subnets and networks.
fn place<'a>(
    network: &Definition,
    links: &[Link],
    mut taken: Vec<Subnet>,
    networks: impl Iterator<Item = &'a Definition> + Clone,
) -> Result<Definition, Error> {
    let mut placed = network.clone();
    // A bridge that we made has a hardware address that follows from the network's id.
    let foreign = links
        .iter()
        .any(|link| link.name == network.network_interface && link.address != bridge_mac(&network.id).as_slice());
    let is_taken = |name: &str| {
        links.iter().any(|link| link.name == name) || networks.clone().any(|n| n.network_interface == name)
    };
    if foreign {
        let free = (1..).map(|n| format!("podman{n}")).find(|name| !is_taken(name));
        placed.network_interface = free.unwrap_or_default();
        taken.extend(network.subnets.iter().map(|pool| pool.subnet));
    }
    taken.extend(networks.clone().flat_map(|n| &n.subnets).map(|pool| pool.subnet));
    if placed.subnets.iter().any(|pool| taken.iter().any(|other| other.prefix > 0 && other.overlaps(pool.subnet))) {
        let subnet = free_subnet(|subnet| taken.iter().any(|other| other.prefix > 0 && other.overlaps(subnet)))?;
        placed.subnets = vec![Pool { subnet, gateway: Some(subnet.usable().0), lease_range: None }];
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_is_left_to_them() {
        let network = Definition::default_network();
        let to = |links: &[Link], taken: &[&str]| {
            let taken = taken.iter().map(|t| t.parse().unwrap()).collect();
            let placed = place(&network, links, taken, std::iter::empty()).unwrap();
            format!("{} {}", placed.network_interface, placed.subnets[0].subnet)
        };
        let bridge =
            |name: &str, address: [u8; 6]| Link { name: name.into(), address: address.to_vec(), ..Link::default() };
        assert_eq!(to(&[], &["192.0.2.0/24", "0.0.0.0/0"]), "podman0 10.88.0.0/16");
        assert_eq!(to(&[bridge("podman0", bridge_mac(&network.id))], &[]), "podman0 10.88.0.0/16");
        // CNI's bridge, and netavark's.
        assert_eq!(to(&[bridge("cni-podman0", [2; 6])], &["10.88.0.1/16"]), "podman0 10.89.0.0/24");
        assert_eq!(
            to(&[bridge("podman0", [2; 6]), bridge("podman1", [2; 6])], &["10.89.0.7/24"]),
            "podman2 10.89.1.0/24"
        );
    }
}
