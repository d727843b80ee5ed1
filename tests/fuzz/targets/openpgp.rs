//! See `trusted::openpgp`.
#![no_main]

#[allow(dead_code, reason = "a target is one of several")]
#[path = "../trusted.rs"]
mod trusted;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trusted::openpgp(bytes));
