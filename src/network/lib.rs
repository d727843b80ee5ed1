//! Networks of containers: their definitions, who has which address, and what the kernel is told of them.
//!
//! ```text
//! definitions (netavark's JSON) ─┐
//! wanted: networks, ports ───────┤ allot() ─► Holding, in the file `holdings` ─┐
//! facts about the host ──────────┘                                             ├─ plan (pure) ─► steps ─► carry_out
//!                                                  the container's namespace ──┘
//! ```
//!
//! A network namespace has one [`ground::Ground`]: a directory with the holdings of all containers whose networks are in
//! it, whichever root directory they have. Nothing is mounted or pinned: links of a container die with its processes. What
//! else a container holds (addresses, ports) goes when it is released, and if nobody came to do that, by the next command,
//! which sees that its process is gone.
//!
//! Must not know: containers beyond an id and a process, images, flags, the engine's database.

mod carry;
pub mod create;
pub mod definition;
mod dhcp;
pub mod firewall;
pub mod ground;
pub mod holding;
pub mod keeper;
mod lease;
mod names;
mod plan;

pub use carry::{available, is_filtered};
pub use definition::{Definition, Definitions};
pub use dhcp::Lease;
pub use ground::{Allotment, Ground, Wanted};
pub use holding::{Attachment, Holding, Joint};
pub use names::DOMAIN;

use std::path::PathBuf;
use sys::netlink::Refusal;

/// What may fail about networks.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("unable to find network with name or ID {name}: network not found")]
    NoSuchNetwork { name: String },
    #[error("network {name:?} is defined by {path:?}, which cannot be understood: {why}")]
    Definition { name: String, path: PathBuf, why: String },
    #[error("cannot {what} {path:?}")]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("driver {driver:?} of network {name:?} is not supported: bridge is")]
    Driver { name: String, driver: String },
    #[error("option {option:?} of network {name:?} is not supported")]
    Option { name: String, option: String },
    #[error("failed to find free IP in range: all addresses of {subnet} of network {network:?} are in use")]
    Exhausted { network: String, subnet: String },
    #[error("IPAM error: requested ip address {address} is already allocated to container {holder}")]
    AddressTaken { address: String, holder: String },
    #[error("requested static ip {address} not in any subnet on network {network}")]
    AddressOutside { address: String, network: String },
    #[error("cannot listen on port {port}/{protocol} of {address}: address already in use{by}")]
    PortTaken { port: u16, protocol: types::port::Protocol, address: String, by: String },
    #[error("this kernel has no {what}")]
    Kernel { what: &'static str },
    #[error("cannot {step}: {}", .refusal.errno)]
    Step { step: String, refusal: Refusal },
    #[error("cannot speak to the kernel about networks")]
    Socket(#[source] rustix::io::Errno),
    #[error("the names of network {networks} are not answered: the process that is to do so did not start")]
    Unserved { networks: String },
    #[error("nobody on network {network:?} lends an address by DHCP")]
    Unlent { network: String },
    #[error("the container's process ended before its network was there")]
    Gone,
    #[error("subnet {asked} is already used on the host or by another config")]
    SubnetTaken { asked: String },
    #[error("could not find free subnet from subnet pools")]
    NoFreeSubnet,
    #[error("{0}")]
    Invalid(String),
    #[error("network name {name} already used: network already exists")]
    Exists { name: String },
}
