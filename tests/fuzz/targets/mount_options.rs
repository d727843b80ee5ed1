//! See `functions::mount_options`.
#![no_main]

#[allow(dead_code, reason = "a target is one of several")]
#[path = "../functions.rs"]
mod functions;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| functions::mount_options(bytes));
