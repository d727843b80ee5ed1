//! Measures the way of layers into a store: `ingest ROOT TIMES BLOB...`, layers of one round in parallel.

use std::fs::File;
use std::path::Path;
use std::time::Instant;
use store::{Expect, Options, Store};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [root, times, blobs @ ..] = words.as_slice() else {
        eprintln!("usage: ingest ROOT TIMES BLOB...");
        std::process::exit(2);
    };
    let store = Store::open(Path::new(root), Options::default()).expect("store");
    for _ in 0..times.parse::<u32>().expect("a number") {
        let (clock, before) = (Instant::now(), cpu());
        let candidates = std::thread::scope(|scope| {
            let threads = blobs.iter().map(|blob| {
                let store = &store;
                scope.spawn(move || store.ingest_layer(File::open(blob).expect("blob"), Expect::default()))
            });
            let threads: Vec<_> = threads.collect();
            threads.into_iter().map(|thread| thread.join().expect("thread").expect("layer")).collect::<Vec<_>>()
        });
        println!("wall {:.3} s, cpu {:.3} s", clock.elapsed().as_secs_f64(), cpu() - before);
        for candidate in candidates {
            println!("  {} {:?}", candidate.diff_id(), candidate.unpacked());
        }
    }
}

/// Seconds of processor time used so far.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
