//! Tells the linker to put the functions that `run` needs side by side, as listed in `used-first.ld`: the kernel maps 64 KiB
//! or more around every page of code that is touched, and newer ones whole folios of their page cache, so scattered functions cost
//! memory (3 MB of 7.5) and page faults. The listed ones are a segment of their own, beyond which none of that reaches.
//!
//! Names that are gone, and functions that are not listed, do no harm: those stand where they always stood.
//!
//! Must not know: what the functions do. `build/used-first.sh` makes the list.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build/used-first.ld");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    // Only what is shipped, whose names these are: the other profiles link faster without. Cargo tells none of them by name.
    let shipped = env::var("OUT_DIR").is_ok_and(|out| out.contains("/release/build/"));
    // Another linker than the C compiler's may not take such a list.
    let usual = env::var("RUSTC_LINKER").map_or(true, |linker| linker.ends_with("cc"));
    if shipped && usual && is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo::rustc-link-arg-bins=-T{root}/build/used-first.ld");
    }
}
