//! Containers: asked, decided, executed, observed.

pub mod config;
pub mod facts;
pub mod life;
pub mod lower;
pub mod resolve;

pub(crate) mod accounts;
pub(crate) mod clone;
pub(crate) mod commit;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod end;
pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod health;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod logs;
pub(crate) mod name;
pub(crate) mod network;
pub(crate) mod network_settings;
pub(crate) mod notify;
pub(crate) mod remove;
pub(crate) mod restart;
pub(crate) mod root;
pub(crate) mod secrets;
pub(crate) mod state;
pub(crate) mod stopping;
pub(crate) mod top;
pub(crate) mod tree;
pub(crate) mod update;
pub(crate) mod usage;
pub(crate) mod volumes;

use config::{Config, Namespace};

/// Names of a container's networks, as lists show them.
pub(crate) fn network_names(config: &Config) -> Vec<String> {
    match &config.namespaces.network {
        Namespace::Private if !config.attachments.is_empty() => {
            config.attachments.iter().map(|a| a.network.clone()).collect()
        }
        Namespace::Private => match &config.private_network {
            Some(options) => vec![options.style.word().into()],
            None if config.unconnected => Vec::new(),
            None => vec!["none".into()],
        },
        Namespace::Host => vec!["host".into()],
        Namespace::Container(id) => vec![format!("container:{id}")],
        Namespace::Path(path) => vec![format!("ns:{}", path.display())],
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
