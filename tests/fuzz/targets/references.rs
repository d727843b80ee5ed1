//! See `trusted::references`.
#![no_main]

#[path = "../trusted.rs"]
mod trusted;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trusted::references(bytes));
