//! What a host with containers is: images in use, containers through their whole life, their state in one database.
//!
//! [`Engine`] has one method for each operation of `ops`. Asked ([`ops::container::Create`]) becomes decided
//! ([`container::config::Config`], stored) by the pure [`container::resolve`], and decided becomes executed
//! (`oci_spec::runtime::Spec`) by the pure [`container::lower`].
//!
//! Must not know: flags, HTTP, how text is printed.

mod api;
pub mod settings;

pub use api::{Engine, Session};
pub use settings::Settings;
