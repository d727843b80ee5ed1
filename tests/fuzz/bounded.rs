//! A bounded run of every fuzz target: some thousand inputs grown from seeds, always the same ones; `$MONOPOD_FUZZ_INPUTS` for each
//! seed, for a longer run.

mod functions;
mod grow;

use grow::run;

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

#[test]
fn targets_take_any_bytes() {
    for (name, target) in functions::ALL {
        run(name, seeds(name), *target);
    }
}
