//! What a host with containers is: images in use, containers through their whole life, their state in one database.
//!
//! [`Engine`] has one method for each operation of `ops`. Asked ([`ops::container::Create`]) becomes decided
//! ([`container::config::Config`], stored) by the pure [`container::resolve`], and decided becomes executed
//! (`oci_spec::runtime::Spec`) by the pure [`container::lower`].
//!
//! Must not know: flags, HTTP, how text is printed.

// The documents of `inspect` are one `json!` each.
#![recursion_limit = "256"]

mod cdi;
pub mod configuration;
pub mod container;
mod database;
mod engine;
mod event;
mod fault;
mod hooks;
mod host;
mod image;
pub mod moment;
mod mounted;
mod network;
mod private_network;
mod rootless;
mod secret;
mod settings;
mod subscriptions;
mod system;
mod unit;
mod volume;

pub use container::logs::LogLines;
pub use engine::{Engine, Session};
pub use mounted::Mounted;

/// The exit code by which a health check tells the monitor that the container is still starting up.
pub const STARTING_UP: u8 = monitor::STARTING_UP as u8;
pub use settings::{Given, Settings, is_image_store, storage_driver};
pub use store::Wanted as StorageDriver;
