//! From a specification's resources to the files of one version: pure, nothing is written here.

use super::convert::{bytes, cpu_weight, io_weight, swap_max};
use super::limit::Limit;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources, LinuxThrottleDevice};

/// One value to write; where kernels differ, into the first of several files that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// What it is for.
    pub limit: Limit,
    /// File names with the value in that file's terms.
    pub choices: Vec<(String, String)>,
}

/// Resources that make no sense, or that this version of control groups does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The numbers contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
    /// Version 2 dropped it.
    #[error("{what} is not supported on cgroup v2: {instead}")]
    Dropped {
        /// The setting.
        what: &'static str,
        /// What version 2 has instead.
        instead: &'static str,
    },
    /// Nobody's.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// A name under `unified` that is no file of a controller.
    #[error("{0:?} is not a file of a cgroup v2 controller")]
    File(String),
}

/// Which version the controller of a limit has on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// All limits that `resources` set; without the device filter.
pub(super) fn settings(resources: &LinuxResources, version: impl Fn(Limit) -> Version) -> Result<Vec<Setting>, Unfit> {
    let mut list = List::default();
    if let Some(memory) = resources.memory() {
        match version(Limit::Memory) {
            Version::Two => memory_two(memory, &mut list)?,
            Version::One => memory_one(memory, &mut list)?,
        }
    }
    if let Some(cpu) = resources.cpu() {
        match version(Limit::Cpu) {
            Version::Two => cpu_two(cpu, &mut list)?,
            Version::One => cpu_one(cpu, &mut list),
        }
        list.add(Limit::Cpuset, "cpuset.cpus", cpu.cpus().clone().filter(|list| !list.is_empty()));
        list.add(Limit::Cpuset, "cpuset.mems", cpu.mems().clone().filter(|list| !list.is_empty()));
    }
    if let Some(pids) = resources.pids() {
        let limit = if pids.limit() > 0 { pids.limit().to_string() } else { "max".into() };
        list.add(Limit::Pids, "pids.max", Some(limit));
    }
    if let Some(io) = resources.block_io() {
        match version(Limit::Io) {
            Version::Two => io_two(io, &mut list)?,
            Version::One => io_one(io, &mut list),
        }
    }
    let huge = match version(Limit::Hugetlb) {
        Version::Two => "max",
        Version::One => "limit_in_bytes",
    };
    for page in resources.hugepage_limits().iter().flatten() {
        let value = bytes(Some(page.limit()), "max").unwrap_or_else(|| "0".into());
        list.add(Limit::Hugetlb, format!("hugetlb.{}.{huge}", page.page_size()), Some(value));
    }
    for (device, rdma) in resources.rdma().iter().flatten() {
        let part = |name: &str, value: Option<u32>| value.map(|value| format!(" {name}={value}")).unwrap_or_default();
        let value =
            format!("{device}{}{}", part("hca_handle", rdma.hca_handles()), part("hca_object", rdma.hca_objects()));
        list.add(Limit::Rdma, "rdma.max", Some(value));
    }
    if let Some(network) = resources.network() {
        network_one(network, &version, &mut list)?;
    }
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (file, value) in unified {
        let limit = unified_limit(file).ok_or_else(|| Unfit::File(file.clone()))?;
        if version(limit) == Version::One {
            return Err(Unfit::Unsupported("a file of cgroup v2 (\"unified\") for a controller which is on cgroup v1"));
        }
        list.add(limit, file.as_str(), Some(value.clone()));
    }
    // A group's type decides what of the rest it can have.
    list.0.sort_by_key(|setting| setting.limit != Limit::Core);
    Ok(list.0)
}

/// The controller whose file it is; a path is none.
fn unified_limit(file: &str) -> Option<Limit> {
    use Limit::*;
    let (controller, name) = file.split_once('.')?;
    if name.is_empty() || file.contains('/') {
        return None;
    }
    if controller == "cgroup" {
        // The others are not limits: they move, stop and kill processes, or hand controllers on.
        return matches!(name, "type" | "max.depth" | "max.descendants" | "pressure").then_some(Core);
    }
    [Memory, Cpu, Cpuset, Io, Pids, Hugetlb, Rdma, Misc].into_iter().find(|limit| limit.unified() == Some(controller))
}

#[derive(Default)]
struct List(Vec<Setting>);

impl List {
    fn add(&mut self, limit: Limit, file: impl Into<String>, value: Option<String>) {
        if let Some(value) = value {
            self.0.push(Setting { limit, choices: vec![(file.into(), value)] });
        }
    }

    fn either(&mut self, limit: Limit, first: (&str, String), second: (&str, String)) {
        let choices = [first, second].map(|(file, value)| (file.to_string(), value)).to_vec();
        self.0.push(Setting { limit, choices });
    }
}

fn memory_two(memory: &LinuxMemory, list: &mut List) -> Result<(), Unfit> {
    list.add(Limit::Memory, "memory.max", bytes(memory.limit(), "max"));
    let swap = swap_max(memory.swap().unwrap_or(0), memory.limit()).map_err(Unfit::Contradiction)?;
    list.add(Limit::Swap, "memory.swap.max", swap);
    list.add(Limit::Memory, "memory.low", bytes(memory.reservation(), "max"));
    if memory.disable_oom_killer() == Some(true) {
        return Err(Unfit::Dropped {
            what: "disabling the oom killer",
            instead: "set memory.high to throttle instead",
        });
    }
    if memory.swappiness().is_some() {
        return Err(Unfit::Dropped { what: "swappiness of a group", instead: "limit its swap, or set vm.swappiness" });
    }
    if memory.kernel_tcp().is_some() {
        return Err(Unfit::Dropped {
            what: "a limit of memory for TCP buffers",
            instead: "the limit of memory includes it",
        });
    }
    Ok(())
}

fn memory_one(memory: &LinuxMemory, list: &mut List) -> Result<(), Unfit> {
    list.add(Limit::Memory, "memory.limit_in_bytes", bytes(memory.limit(), "-1"));
    // For the same contradictions as in version 2.
    swap_max(memory.swap().unwrap_or(0), memory.limit()).map_err(Unfit::Contradiction)?;
    list.add(Limit::Swap, "memory.memsw.limit_in_bytes", bytes(memory.swap(), "-1"));
    list.add(Limit::Memory, "memory.soft_limit_in_bytes", bytes(memory.reservation(), "-1"));
    list.add(Limit::Memory, "memory.swappiness", memory.swappiness().map(|percent| percent.to_string()));
    list.add(Limit::Memory, "memory.kmem.tcp.limit_in_bytes", bytes(memory.kernel_tcp(), "-1"));
    if memory.disable_oom_killer() == Some(true) {
        list.add(Limit::Memory, "memory.oom_control", Some("1".into()));
    }
    Ok(())
}

const PERIOD: u64 = 100_000;

fn cpu_two(cpu: &LinuxCpu, list: &mut List) -> Result<(), Unfit> {
    if cpu.realtime_period().is_some_and(|us| us > 0) || cpu.realtime_runtime().is_some_and(|us| us > 0) {
        return Err(Unfit::Dropped { what: "a quota of realtime processor time", instead: "there is none" });
    }
    // Idle first: an idle group takes no weight, one that stops being idle gets its weight anew.
    list.add(Limit::Cpu, "cpu.idle", cpu.idle().map(|idle| idle.to_string()));
    let shares = cpu.shares().filter(|shares| *shares > 0);
    list.add(Limit::Cpu, "cpu.weight", shares.map(|shares| cpu_weight(shares).to_string()));
    let (quota, period) = (cpu.quota().filter(|us| *us != 0), cpu.period().filter(|us| *us > 0));
    if quota.is_some() || period.is_some() {
        let quota = quota.filter(|us| *us > 0).map_or("max".into(), |us| us.to_string());
        list.add(Limit::Cpu, "cpu.max", Some(format!("{quota} {}", period.unwrap_or(PERIOD))));
    }
    list.add(Limit::Cpu, "cpu.max.burst", cpu.burst().map(|us| us.to_string()));
    Ok(())
}

fn cpu_one(cpu: &LinuxCpu, list: &mut List) {
    let text = |number: Option<u64>| number.filter(|number| *number > 0).map(|number| number.to_string());
    list.add(Limit::Cpu, "cpu.idle", cpu.idle().map(|idle| idle.to_string()));
    list.add(Limit::Cpu, "cpu.shares", text(cpu.shares()));
    list.add(Limit::Cpu, "cpu.cfs_period_us", text(cpu.period()));
    list.add(Limit::Cpu, "cpu.cfs_quota_us", bytes(cpu.quota(), "-1"));
    list.add(Limit::Cpu, "cpu.cfs_burst_us", cpu.burst().map(|us| us.to_string()));
    list.add(Limit::Cpu, "cpu.rt_period_us", text(cpu.realtime_period()));
    list.add(Limit::Cpu, "cpu.rt_runtime_us", bytes(cpu.realtime_runtime(), "-1"));
}

fn io_two(io: &LinuxBlockIo, list: &mut List) -> Result<(), Unfit> {
    if io.leaf_weight().is_some_and(|weight| weight > 0) {
        return Err(Unfit::Dropped { what: "a leaf weight of block io", instead: "set a weight" });
    }
    if let Some(weight) = io.weight().filter(|weight| *weight > 0) {
        // BFQ's own scale is that of version 1.
        let (bfq, others) = (format!("default {weight}"), format!("default {}", io_weight(weight)));
        list.either(Limit::Io, ("io.bfq.weight", bfq), ("io.weight", others));
    }
    for device in io.weight_device().iter().flatten() {
        let Some(weight) = device.weight().filter(|weight| *weight > 0) else { continue };
        let which = format!("{}:{}", device.major(), device.minor());
        let (bfq, others) = (format!("{which} {weight}"), format!("{which} {}", io_weight(weight)));
        list.either(Limit::Io, ("io.bfq.weight", bfq), ("io.weight", others));
    }
    for (name, devices) in [
        ("rbps", io.throttle_read_bps_device()),
        ("wbps", io.throttle_write_bps_device()),
        ("riops", io.throttle_read_iops_device()),
        ("wiops", io.throttle_write_iops_device()),
    ] {
        for (which, rate) in devices.iter().flatten().map(rate) {
            let rate = if rate == 0 { "max".into() } else { rate.to_string() };
            list.add(Limit::Io, "io.max", Some(format!("{which} {name}={rate}")));
        }
    }
    Ok(())
}

fn io_one(io: &LinuxBlockIo, list: &mut List) {
    for (name, weight) in [("weight", io.weight()), ("leaf_weight", io.leaf_weight())] {
        if let Some(weight) = weight.filter(|weight| *weight > 0) {
            let (bfq, others) = (format!("blkio.bfq.{name}"), format!("blkio.{name}"));
            list.either(Limit::Io, (&bfq, weight.to_string()), (&others, weight.to_string()));
        }
    }
    for device in io.weight_device().iter().flatten() {
        for (name, weight) in [("weight_device", device.weight()), ("leaf_weight_device", device.leaf_weight())] {
            let Some(weight) = weight.filter(|weight| *weight > 0) else { continue };
            let value = format!("{}:{} {weight}", device.major(), device.minor());
            let (bfq, others) = (format!("blkio.bfq.{name}"), format!("blkio.{name}"));
            list.either(Limit::Io, (&bfq, value.clone()), (&others, value));
        }
    }
    for (name, devices) in [
        ("read_bps", io.throttle_read_bps_device()),
        ("write_bps", io.throttle_write_bps_device()),
        ("read_iops", io.throttle_read_iops_device()),
        ("write_iops", io.throttle_write_iops_device()),
    ] {
        for (which, rate) in devices.iter().flatten().map(rate) {
            list.add(Limit::Io, format!("blkio.throttle.{name}_device"), Some(format!("{which} {rate}")));
        }
    }
}

/// Version 1 alone has it.
fn network_one(network: &LinuxNetwork, version: impl Fn(Limit) -> Version, list: &mut List) -> Result<(), Unfit> {
    let class = network.class_id().map(|class| class.to_string());
    list.add(Limit::NetworkClass, "net_cls.classid", class);
    for priority in network.priorities().iter().flatten() {
        let line = format!("{} {}", priority.name(), priority.priority());
        list.add(Limit::NetworkPriority, "net_prio.ifpriomap", Some(line));
    }
    let asked = list.0.iter().map(|setting| setting.limit);
    let is_network = |limit: &Limit| matches!(limit, Limit::NetworkClass | Limit::NetworkPriority);
    if asked.filter(is_network).any(|limit| version(limit) == Version::Two) {
        return Err(Unfit::Dropped {
            what: "a network class or priority",
            instead: "mount net_cls and net_prio of version 1, or match packets by their cgroup (nftables, socket cgroupv2)",
        });
    }
    Ok(())
}

fn rate(device: &LinuxThrottleDevice) -> (String, u64) {
    (format!("{}:{}", device.major(), device.minor()), device.rate())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(json: &str, version: Version) -> Result<String, Unfit> {
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        let settings = settings(&resources, |_| version)?;
        let choice = |(file, value): &(String, String)| format!("{file}={value}");
        Ok(settings
            .iter()
            .map(|s| s.choices.iter().map(choice).collect::<Vec<_>>().join("|"))
            .collect::<Vec<_>>()
            .join("\n"))
    }

    const ALL: &str = r#"{
        "memory": {"limit": 64000000, "swap": 96000000, "reservation": 32000000},
        "cpu": {"shares": 512, "quota": 50000, "period": 200000, "burst": 1000, "idle": 0, "cpus": "0-1", "mems": "0"},
        "pids": {"limit": 100},
        "blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1048576}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 300}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#;

    #[test]
    fn version_2_golden() {
        assert_eq!(
            lines(ALL, Version::Two).unwrap(),
            "memory.max=64000000\nmemory.swap.max=32000000\nmemory.low=32000000\n\
             cpu.idle=0\ncpu.weight=59\ncpu.max=50000 200000\ncpu.max.burst=1000\n\
             cpuset.cpus=0-1\ncpuset.mems=0\npids.max=100\n\
             io.bfq.weight=default 500|io.weight=default 4950\nio.bfq.weight=8:0 10|io.weight=8:0 1\n\
             io.max=8:0 rbps=1048576\nio.max=8:16 wiops=300\nhugetlb.2MB.max=4194304"
        );
        let small = r#"{"memory": {"limit": -1, "swap": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1},
            "unified": {"memory.high": "1000", "io.latency": "8:0 target=100", "misc.max": "res_a 3", "cgroup.type": "threaded"},
            "rdma": {"mlx5_0": {"hcaHandles": 3, "hcaObjects": 10}}}"#;
        assert_eq!(
            lines(small, Version::Two).unwrap(),
            "cgroup.type=threaded\nmemory.max=max\nmemory.swap.max=max\ncpu.max=max 100000\npids.max=max\n\
             rdma.max=mlx5_0 hca_handle=3 hca_object=10\nio.latency=8:0 target=100\nmemory.high=1000\n\
             misc.max=res_a 3"
        );
    }

    #[test]
    fn version_1_golden() {
        assert_eq!(
            lines(ALL, Version::One).unwrap(),
            "memory.limit_in_bytes=64000000\nmemory.memsw.limit_in_bytes=96000000\n\
             memory.soft_limit_in_bytes=32000000\n\
             cpu.idle=0\ncpu.shares=512\ncpu.cfs_period_us=200000\ncpu.cfs_quota_us=50000\ncpu.cfs_burst_us=1000\n\
             cpuset.cpus=0-1\ncpuset.mems=0\npids.max=100\n\
             blkio.bfq.weight=500|blkio.weight=500\nblkio.bfq.weight_device=8:0 10|blkio.weight_device=8:0 10\n\
             blkio.throttle.read_bps_device=8:0 1048576\nblkio.throttle.write_iops_device=8:16 300\n\
             hugetlb.2MB.limit_in_bytes=4194304"
        );
    }

    #[test]
    fn a_network_class_is_of_version_1() {
        let json = r#"{"network": {"classID": 1048577, "priorities": [{"name": "lo", "priority": 3}, {"name": "eth0", "priority": 7}]}}"#;
        assert_eq!(
            lines(json, Version::One).unwrap(),
            "net_cls.classid=1048577\nnet_prio.ifpriomap=lo 3\nnet_prio.ifpriomap=eth0 7"
        );
        assert_eq!(lines(r#"{"network": {}}"#, Version::Two).unwrap(), "");
    }

    #[test]
    fn what_was_not_asked_is_not_written() {
        let empty =
            r#"{"memory": {}, "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": ""}, "blockIO": {"weight": 0}}"#;
        assert_eq!(lines(empty, Version::Two).unwrap(), "");
        assert_eq!(lines(empty, Version::One).unwrap(), "");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (json, version, expected) in [
            (r#"{"memory": {"limit": 10, "swap": 5}}"#, Version::Two, "below"),
            (r#"{"memory": {"swap": 5}}"#, Version::One, "needs a limit of memory"),
            (r#"{"memory": {"swappiness": 5}}"#, Version::Two, "swappiness"),
            (r#"{"memory": {"disableOOMKiller": true}}"#, Version::Two, "oom killer"),
            (r#"{"memory": {"kernelTCP": 5}}"#, Version::Two, "TCP"),
            (r#"{"cpu": {"realtimeRuntime": 5}}"#, Version::Two, "realtime"),
            (r#"{"unified": {"memory.high": "5"}}"#, Version::One, "unified"),
            (r#"{"unified": {"../x.y": "5"}}"#, Version::Two, "../x.y"),
            (r#"{"unified": {"cgroup.procs": "5"}}"#, Version::Two, "cgroup.procs"),
            (r#"{"network": {"classID": 5}}"#, Version::Two, "net_cls"),
        ] {
            let error = lines(json, version).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
