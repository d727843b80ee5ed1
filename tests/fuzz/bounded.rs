//! A bounded run of every fuzz target: some thousand inputs grown from seeds, always the same ones; `$MONOPOD_FUZZ_INPUTS` for each
//! seed, for a longer run.

mod functions;

/// Text that each target can begin with: what it reads, and what it once read wrongly.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let texts: &[&str] = match target {
        "specification" => &[
            r#"{"ociVersion":"1.2.0","root":{"path":"rootfs","readonly":true},"process":{"user":{"uid":0,"gid":0},"cwd":"/","args":["sh"],
                "env":["A=b"],"rlimits":[{"type":"RLIMIT_NOFILE","soft":1,"hard":2}],"capabilities":{"bounding":["CAP_KILL"]}},
                "mounts":[{"destination":"/proc","type":"proc","source":"proc","options":["ro"]}],
                "linux":{"namespaces":[{"type":"pid"},{"type":"mount"}],"resources":{"memory":{"limit":-1}}}}"#,
            r#"{"user":{"uid":4294967295,"gid":0},"cwd":"/","args":["true"]}"#,
        ],
        "seccomp" => {
            &[r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"archMap":[{"architecture":"SCMP_ARCH_X86_64",
                "subArchitectures":["SCMP_ARCH_X86"]}],"syscalls":[{"names":["read","clone"],"action":"SCMP_ACT_ALLOW",
                "args":[{"index":0,"value":2114060288,"valueTwo":7,"op":"SCMP_CMP_MASKED_EQ"}],"includes":{"caps":["CAP_SYS_ADMIN"],
                "minKernel":"4.8"},"excludes":{"arches":["s390x"]}},{"name":"mkdir","action":"SCMP_ACT_TRACE","errnoRet":1}]}"#]
        }
        "mount_options" => {
            &["rbind\nro\nrprivate\nnosuid", "rw\nro\nmode=755\nsize=64k\nrro\natime\nidmap", "nosuid\nsuid\nx=\n=y"]
        }
        "id_maps" => &["0 1000 1\n1 100000 65536\n", "0 0 4294967295", "4294967290 4294967290 100"],
        _ => &[
            "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1001::/home/bob:\n\nroot:x:0:\naudio:x:29:bob,root\n",
            "7:x:4294967295:4294967295",
        ],
    };
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

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

#[test]
fn targets_take_any_bytes() {
    let count = std::env::var("MONOPOD_FUZZ_INPUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(3000);
    for (name, target) in functions::ALL {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        for seed in seeds(name) {
            target(&seed);
            for _ in 0..count {
                target(&grow(&seed, &mut numbers));
            }
        }
        (0..=255u8).for_each(|byte| target(&[byte]));
        target(&[]);
    }
}
