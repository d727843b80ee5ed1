//! The kernel in safe Rust: one file per idea. Gives errno, and knows no text, logs or containers.
//!
//! The only room with `unsafe`.
#![allow(unsafe_code)]

pub mod channel;
pub mod process;
pub mod role;
