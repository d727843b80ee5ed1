//! Filters of system calls, compiled without a library: profile → rules → classic BPF → thread.
//!
//! [`compile`] is pure; only [`Filter::install`] talks to the kernel. Must not know: containers, processes.

mod architecture;
mod compile;
mod file;
mod filter;
pub mod profile;
mod ready;
mod rules;
mod table;
#[cfg(test)]
mod tests;

pub use architecture::Architecture;
pub use compile::{compile, compile_for};
pub use file::{FileError, parse};
pub use filter::{Filter, Listener, NotAFilter};
pub use ready::default;
pub use rules::Error;
pub use table::{is_known, names};
