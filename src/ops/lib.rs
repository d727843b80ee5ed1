//! The sentences of monopod: a request and a reply for every operation, and the one [`Fault`] that crosses every
//! process border. The command line fills requests; REST bodies will; the engine serves them.
//!
//! Must not know: how anything is done, flags, HTTP. Every option is an `Option` or an empty list: only the engine's
//! `resolve` has defaults.

pub mod artifact;
pub mod container;
pub mod event;
pub mod fault;
pub mod host;
pub mod image;
pub mod life;
pub mod manifest;
pub mod network;
pub mod secret;
pub mod system;
pub mod trust;
pub mod unit;
pub mod volume;

pub use fault::{Fault, Kind};
