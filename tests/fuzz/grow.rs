//! Inputs grown from seeds, always the same ones: what drives the bounded runs.

/// Numbers that look random (xorshift), the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// `seed` with some bytes changed, taken out, put in, doubled or replaced by what formats trip over.
fn grow(seed: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    const WORDS: &[&str] = &[
        "-1",
        "0",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "\"",
        "null",
        "[]",
        "{}",
        ":",
        "\n",
        "\0",
        "=",
        ",",
        "\u{e9}",
    ];
    let mut bytes = seed.to_vec();
    for _ in 0..1 + numbers.below(6) {
        let at = numbers.below(bytes.len());
        let end = (at + 1 + numbers.below(12)).min(bytes.len());
        let word = WORDS[numbers.below(WORDS.len())].as_bytes();
        match numbers.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1u8 << numbers.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => drop(bytes.splice(at..end, word.iter().copied())),
            4 => drop(bytes.splice(at..at, word.iter().copied())),
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

/// Feeds `target` with what grows from `seeds`, with each single byte, and with nothing; or, if `$MONOPOD_FUZZ_CORPUS` names a
/// directory, only writes the seeds into `name` in it, for libFuzzer to begin with.
pub fn run(name: &str, seeds: Vec<Vec<u8>>, target: fn(&[u8])) {
    if let Some(corpus) = std::env::var_os("MONOPOD_FUZZ_CORPUS") {
        let directory = std::path::Path::new(&corpus).join(name);
        std::fs::create_dir_all(&directory).expect("a directory for the seeds");
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{number}")), seed).expect("a seed can be written");
        }
        return;
    }
    let count = std::env::var("MONOPOD_FUZZ_INPUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(3000);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for seed in seeds {
        target(&seed);
        for _ in 0..count {
            target(&grow(&seed, &mut numbers));
        }
    }
    (0..=255u8).for_each(|byte| target(&[byte]));
    target(&[]);
}
