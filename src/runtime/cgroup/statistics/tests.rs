//! Files of both versions, and what is told of them.

use super::super::usage::Usage;
use super::*;
use serde_json::json;

fn group(name: &str, files: &[(&str, &str)]) -> (std::path::PathBuf, impl Drop) {
    struct Remove(std::path::PathBuf);
    impl Drop for Remove {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
    let path = std::env::temp_dir().join(format!("monopod-statistics-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    for (file, text) in files {
        fs::write(path.join(file), text).unwrap();
    }
    (path.clone(), Remove(path))
}

const STAT: &str = "anon 4096\nfile 8192\ninactive_file 1000\n";

#[test]
fn version_2_is_told_as_runc_tells_it() {
    let (path, _end) = group(
        "two",
        &[
            (
                "cpu.stat",
                "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 4\nnr_throttled 2\nthrottled_usec 7\n",
            ),
            (
                "cpu.pressure",
                "some avg10=1.50 avg60=0.20 avg300=0.00 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
            ),
            ("cpuset.cpus.effective", "0-1\n"),
            ("memory.current", "20000\n"),
            ("memory.peak", "30000\n"),
            ("memory.max", "max\n"),
            ("memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n"),
            ("memory.swap.current", "500\n"),
            ("memory.swap.max", "max\n"),
            ("memory.stat", STAT),
            ("pids.current", "7\n"),
            ("pids.max", "100\n"),
            ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n7:1 \n"),
            ("hugetlb.2MB.current", "4194304\n"),
            ("hugetlb.2MB.rsvd.current", "9\n"),
            ("hugetlb.2MB.events", "max 5\n"),
            ("rdma.current", "mlx5_0 hca_handle=2 hca_object=3\n"),
        ],
    );
    let group = Group { path: "/x".into(), unified: Some(path), legacy: Vec::new() };
    let all = group.statistics();
    let shown =
        Usage { cpu: Some(1_500_000), memory: Some(19_000), memory_limit: None, block: (10, 20), pids: Some(7) };
    assert_eq!(group.usage(0), shown);
    assert_eq!((all.memory.limit(), all.memory.oom_kills), (None, 1));
    let access = |op: &str, value: u64| json!({"major": 8, "minor": 0, "op": op, "value": value});
    let calm = json!({"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 1});
    assert_eq!(
        serde_json::to_value(&all).unwrap(),
        json!({
            "cpu": {
                "usage": {"total": 1_500_000, "kernel": 500_000, "user": 1_000_000},
                "throttling": {"periods": 4, "throttledPeriods": 2, "throttledTime": 7000},
                "psi": {"some": {"avg10": 1.5, "avg60": 0.2, "avg300": 0.0, "total": 42}, "full": calm},
            },
            "cpuset": {"cpus": "0-1"},
            "memory": {
                "cache": 8192,
                "usage": {"limit": u64::MAX, "usage": 20000, "max": 30000, "failcnt": 3},
                "swap": {"limit": u64::MAX, "usage": 20500, "failcnt": 0},
                "kernel": {"limit": 0, "failcnt": 0},
                "kernelTCP": {"limit": 0, "failcnt": 0},
                "raw": {"anon": 4096, "file": 8192, "inactive_file": 1000},
            },
            "pids": {"current": 7, "limit": 100},
            "blkio": {
                "ioServiceBytesRecursive": [access("Read", 10), access("Write", 20), access("Discard", 0)],
                "ioServicedRecursive": [access("Read", 1), access("Write", 2), access("Discard", 0)],
            },
            "hugetlb": {"2MB": {"usage": 4_194_304, "failcnt": 5}},
            "rdma": {"mlx5_0": {"handles": 2, "objects": 3}},
        })
    );
}

#[test]
fn version_1_is_told_the_same_way() {
    let (path, _end) = group(
        "one",
        &[
            ("cpu.stat", "nr_periods 4\nnr_throttled 2\nthrottled_time 7000\n"),
            ("cpuacct.usage", "1500000\n"),
            ("cpuacct.usage_percpu", "1000000 500000 \n"),
            ("cpuacct.stat", "user 3\nsystem 2\n"),
            ("memory.usage_in_bytes", "20000\n"),
            ("memory.max_usage_in_bytes", "30000\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.failcnt", "3\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            ("memory.stat", "cache 1\ninactive_file 5\ntotal_cache 8192\ntotal_inactive_file 1000\n"),
            ("pids.current", "7\n"),
            ("pids.max", "max\n"),
            ("blkio.throttle.io_service_bytes_recursive", "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n"),
            ("hugetlb.2MB.usage_in_bytes", "0\n"),
            ("hugetlb.2MB.max_usage_in_bytes", "9\n"),
            ("hugetlb.2MB.failcnt", "1\n"),
        ],
    );
    let controllers = ["cpu", "cpuacct", "memory", "pids", "blkio", "hugetlb"].map(String::from).to_vec();
    let group = Group { path: "/x".into(), unified: None, legacy: vec![(controllers, path)] };
    let all = group.statistics();
    let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
    let usage = CpuUsage {
        total: Some(1_500_000),
        by_processor: vec![1_000_000, 500_000],
        kernel: Some(2 * tick),
        user: Some(3 * tick),
    };
    assert_eq!(all.cpu.usage, usage);
    assert_eq!(all.cpu.throttling.throttled_time, Some(7000));
    let shown =
        Usage { cpu: Some(1_500_000), memory: Some(19_000), memory_limit: None, block: (10, 20), pids: Some(7) };
    assert_eq!(group.usage(0), shown);
    assert_eq!((all.memory.limit(), all.memory.oom_kills), (None, 2));
    assert_eq!(all.memory.usage.limit, Some(u64::MAX));
    assert_eq!(all.memory.cache, Some(8192));
    assert_eq!(all.pids, Pids { current: Some(7), limit: None });
    assert_eq!(all.block_io.bytes.len(), 2);
    assert_eq!(all.huge_pages["2MB"], HugePages { usage: 0, max: Some(9), hits: 1 });
}
