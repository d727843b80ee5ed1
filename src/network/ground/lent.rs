//! Addresses that servers lend to containers: written down, and given to their links.

use super::{Ground, Locked};
use crate::definition::Definition;
use crate::dhcp::Lease;
use crate::holding::{Holding, Joint};
use crate::plan::{self, Step};
use crate::{Error, carry, lease};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use types::{Id, Subnet};

impl Ground {
    /// Obtains the addresses of a container's links that have none, in those networks whose addresses are lent. It takes
    /// seconds, in which others may have the lock.
    pub(super) fn borrow(&self, id: &Id, namespace: BorrowedFd<'_>) -> Result<(), Error> {
        let state = self.read().unwrap_or_default();
        let holding = state.holdings.iter().find(|h| h.id == *id).ok_or(Error::Gone)?;
        let lent = |j: &&Joint| j.lease.is_none() && state.networks.get(&j.network).is_some_and(Definition::is_lent);
        for joint in holding.joints.iter().filter(lent) {
            let lease = lease::obtain(namespace, &joint.interface, &holding.name, &joint.network)?;
            self.lend(id, &joint.network, &lease, namespace)?;
        }
        Ok(())
    }

    /// A container's link has this address from now on, or has it for longer.
    pub(crate) fn lend(&self, id: &Id, network: &str, lease: &Lease, namespace: BorrowedFd<'_>) -> Result<(), Error> {
        let mut locked = self.lock()?;
        let definition = locked.state.networks.get(network).ok_or(Error::Gone)?.clone();
        let (at, joint) = locked.joint(id, network)?;
        let before = joint.lease.replace(lease.clone());
        let own = |lease: &Lease| Subnet { address: lease.address.into(), prefix: lease.prefix };
        let same = before.as_ref().is_some_and(|b| own(b) == own(lease) && b.gateway == lease.gateway);
        if !same {
            joint.addresses = vec![own(lease)];
            let gateway = lease.gateway.filter(|_| !definition.has_no_way_out());
            joint.gateways = gateway.map(IpAddr::from).into_iter().collect();
            if let Step::Link(link) = plan::join(&definition, joint, at) {
                carry::settle_later(&link, before.as_ref().map(own), namespace)?;
            }
        }
        locked.write()
    }
}

impl Locked<'_> {
    fn joint(&mut self, id: &Id, network: &str) -> Result<(usize, &mut Joint), Error> {
        let of = |holding: &'_ &mut Holding| holding.id == *id;
        let holding = self.state.holdings.iter_mut().find(of).ok_or(Error::Gone)?;
        let joints = holding.joints.iter_mut().enumerate();
        joints.into_iter().find(|(_, joint)| joint.network == network).ok_or(Error::Gone)
    }
}
