//! The kernel in safe Rust: one file per idea. Gives errno, and knows no text, logs or containers.
//!
//! The only room with `unsafe`.
#![allow(unsafe_code)]

pub mod beneath;
pub mod bpf;
pub mod capability;
pub mod channel;
pub mod clone;
pub mod conntrack;
pub mod database;
pub mod entry;
pub mod frames;
pub mod keyring;
pub mod links;
pub mod loopback;
pub mod mount;
pub mod namespaces;
pub mod netlink;
pub mod nftables;
pub mod overlay;
pub mod own_umask;
pub mod pattern;
pub mod process;
pub mod queue;
pub mod reactor;
pub mod reflink;
pub mod removal;
pub mod role;
pub mod rules;
pub mod scheduling;
pub mod seccomp;
pub mod signals;
pub mod terminal;
pub mod transparent;
pub mod userns;
pub mod watch;
pub mod xattr;
