//! What a group used and uses, in the shape in which `runc events` tells it: the same words for both versions.
//!
//! What no controller of the group counts is `None`, and missing in the JSON. Where neither memory nor processor time is counted
//! (version 1 has a group only in hierarchies with a limit), the living processes are asked instead.
//!
//! Must not know: what is shown of it, and how often.

use super::group::Group;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// All statistics of a group. Serialised, it is the `data` of an event of `runc events --stats`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Statistics {
    /// Processor time.
    pub cpu: Cpu,
    /// Processors and nodes that may be used.
    pub cpuset: Cpuset,
    /// Memory and swap.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Pids,
    /// Block devices.
    #[serde(rename = "blkio")]
    pub block_io: BlockIo,
    /// Huge pages by their size, such as `2MB`.
    #[serde(rename = "hugetlb")]
    pub huge_pages: BTreeMap<String, HugePages>,
    /// RDMA devices by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rdma: BTreeMap<String, Rdma>,
}

/// Processor time.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Cpu {
    /// What was used.
    pub usage: CpuUsage,
    /// What a quota held back.
    pub throttling: Throttling,
    /// How long processes waited for processors.
    #[serde(rename = "psi", skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
}

/// Nanoseconds of processor time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CpuUsage {
    /// Altogether.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// By processor; version 1 alone counts so.
    #[serde(rename = "percpu", skip_serializing_if = "Vec::is_empty")]
    pub by_processor: Vec<u64>,
    /// In the kernel.
    #[serde(serialize_with = "or_zero")]
    pub kernel: Option<u64>,
    /// Outside of the kernel.
    #[serde(serialize_with = "or_zero")]
    pub user: Option<u64>,
}

/// What a quota of processor time held back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Throttling {
    /// Periods that passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub periods: Option<u64>,
    /// Those in which the quota was used up.
    #[serde(rename = "throttledPeriods", skip_serializing_if = "Option::is_none")]
    pub throttled_periods: Option<u64>,
    /// Nanoseconds for which processes were held back.
    #[serde(rename = "throttledTime", skip_serializing_if = "Option::is_none")]
    pub throttled_time: Option<u64>,
}

/// Processors and nodes that may be used, such as `0-3,6`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Cpuset {
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<String>,
    /// Memory nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mems: Option<String>,
}

/// Memory and swap.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Memory {
    /// Bytes of page cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<u64>,
    /// Memory.
    pub usage: Counter,
    /// Memory and swap together, as version 1 counts.
    pub swap: Counter,
    /// The kernel's own, which version 1 counts apart.
    pub kernel: Counter,
    /// Of that the buffers of TCP.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: Counter,
    /// `memory.stat` as it is.
    pub raw: BTreeMap<String, u64>,
    /// How long processes waited for memory.
    #[serde(rename = "psi", skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
    /// Processes that the kernel killed for want of memory.
    #[serde(skip)]
    pub oom_kills: u64,
}

/// Bytes of one kind of memory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Counter {
    /// The limit; [`u64::MAX`] if there is none.
    #[serde(serialize_with = "or_zero")]
    pub limit: Option<u64>,
    /// In use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<u64>,
    /// The most that was in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// How often the limit was hit.
    #[serde(rename = "failcnt", serialize_with = "or_zero")]
    pub hits: Option<u64>,
}

/// Processes and threads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Pids {
    /// How many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// How many there may be, if that is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Block devices: each list has an entry for each device and kind of access.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct BlockIo {
    /// Bytes moved.
    #[serde(rename = "ioServiceBytesRecursive", skip_serializing_if = "Vec::is_empty")]
    pub bytes: Vec<Access>,
    /// Requests done.
    #[serde(rename = "ioServicedRecursive", skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Access>,
    /// Requests that wait.
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub queued: Vec<Access>,
    /// Nanoseconds that requests took.
    #[serde(rename = "ioServiceTimeRecursive", skip_serializing_if = "Vec::is_empty")]
    pub service_time: Vec<Access>,
    /// Nanoseconds that requests waited.
    #[serde(rename = "ioWaitTimeRecursive", skip_serializing_if = "Vec::is_empty")]
    pub wait_time: Vec<Access>,
    /// Requests that were merged into others.
    #[serde(rename = "ioMergedRecursive", skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<Access>,
    /// Milliseconds of the device.
    #[serde(rename = "ioTimeRecursive", skip_serializing_if = "Vec::is_empty")]
    pub time: Vec<Access>,
    /// Sectors moved.
    #[serde(rename = "sectorsRecursive", skip_serializing_if = "Vec::is_empty")]
    pub sectors: Vec<Access>,
    /// How long processes waited for devices.
    #[serde(rename = "psi", skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
}

/// One number of one device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Access {
    /// The device.
    pub major: u64,
    /// The device.
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard`; empty where they are not told apart.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// What the list counts.
    pub value: u64,
}

/// Bytes of huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct HugePages {
    /// In use.
    pub usage: u64,
    /// The most that was in use; version 1 alone counts that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// How often the limit was hit.
    #[serde(rename = "failcnt")]
    pub hits: u64,
}

/// Handles of an RDMA device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Rdma {
    /// HCA handles.
    pub handles: u64,
    /// HCA objects.
    pub objects: u64,
}

/// Waiting, as the kernel's pressure stall information tells it (Documentation/accounting/psi.rst).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Pressure {
    /// Some process waited.
    pub some: Stall,
    /// All of them waited.
    pub full: Stall,
}

/// Percents of the last 10, 60 and 300 seconds, and microseconds altogether.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Stall {
    /// Percent of 10 seconds.
    pub avg10: f64,
    /// Percent of 60 seconds.
    pub avg60: f64,
    /// Percent of 300 seconds.
    pub avg300: f64,
    /// Microseconds since the group was made.
    pub total: u64,
}

impl Memory {
    /// The limit of memory, if there is one.
    pub fn limit(&self) -> Option<u64> {
        self.usage.limit.filter(|limit| *limit != u64::MAX)
    }
}

impl Group {
    /// All that can be told of the group now.
    pub fn statistics(&self) -> Statistics {
        let mut all = Statistics::default();
        if let Some(directory) = &self.unified {
            version_2(Files(directory), &mut all);
        }
        for (controllers, directory) in &self.legacy {
            for controller in controllers {
                version_1(controller, Files(directory), &mut all);
            }
        }
        all.memory.oom_kills = self.oom_kills();
        if all.cpu.usage.total.is_none() || all.memory.usage.usage.is_none() || all.pids.current.is_none() {
            self.ask_processes(&mut all);
        }
        all
    }

    /// What the living processes say, for what no controller counts.
    fn ask_processes(&self, all: &mut Statistics) {
        let Told { kernel, user, memory, threads } = told(&self.pids());
        if all.cpu.usage.total.is_none() {
            let usage = CpuUsage {
                total: Some(kernel + user),
                kernel: Some(kernel),
                user: Some(user),
                by_processor: Vec::new(),
            };
            all.cpu.usage = usage;
        }
        all.memory.usage.usage.get_or_insert(memory);
        all.pids.current.get_or_insert(threads);
    }
}

/// What the living among these processes say.
pub(super) fn told(pids: &[i32]) -> Told {
    let (mut kernel, mut user, mut memory, mut threads) = (0, 0, 0, 0);
    for pid in pids {
        let stat = text(&Path::new("/proc").join(format!("{pid}/stat")));
        // After the name, which may hold anything: proc_pid_stat(5), fields 14 to 17 and 20.
        let fields: Vec<u64> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_ascii_whitespace().map(|f| f.parse().unwrap_or(0)).collect())
            .unwrap_or_default();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
        user += ticks(field(14) + field(16));
        kernel += ticks(field(15) + field(17));
        threads += field(20);
        // Its part of what is shared, where that may be seen.
        let rollup = text(&Path::new("/proc").join(format!("{pid}/smaps_rollup")));
        let shared = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        memory += match shared.and_then(|size| size.trim().strip_suffix(" kB")?.parse::<u64>().ok()) {
            Some(kilobytes) => kilobytes << 10,
            None => field(24) * rustix::param::page_size() as u64,
        };
    }
    Told { kernel, user, memory, threads }
}

/// What living processes say of themselves: nanoseconds, bytes, threads.
pub(super) struct Told {
    pub kernel: u64,
    pub user: u64,
    pub memory: u64,
    pub threads: u64,
}

fn version_2(files: Files, all: &mut Statistics) {
    let stat = files.table("cpu.stat");
    let nanoseconds = |name: &str| stat.get(name).map(|microseconds| microseconds.saturating_mul(1000));
    // The file is there without the controller too: then it tells of usage alone.
    all.cpu.usage.total = nanoseconds("usage_usec");
    all.cpu.usage.user = nanoseconds("user_usec");
    all.cpu.usage.kernel = nanoseconds("system_usec");
    all.cpu.throttling = Throttling {
        periods: stat.get("nr_periods").copied(),
        throttled_periods: stat.get("nr_throttled").copied(),
        throttled_time: nanoseconds("throttled_usec"),
    };
    all.cpuset = Cpuset { cpus: files.line("cpuset.cpus.effective"), mems: files.line("cpuset.mems.effective") };
    let memory = &mut all.memory;
    memory.usage = Counter {
        limit: files.limit("memory.max"),
        usage: files.number("memory.current"),
        max: files.number("memory.peak"),
        hits: files.table("memory.events").get("max").copied(),
    };
    // Version 2 counts swap alone; told as in version 1, so that who reads it need not know the version.
    if let (Some(swap), Some(used)) = (files.number("memory.swap.current"), memory.usage.usage) {
        let limit =
            files.limit("memory.swap.max").zip(memory.usage.limit).map(|(one, other)| one.saturating_add(other));
        let hits = files.table("memory.swap.events").get("max").copied();
        memory.swap = Counter { limit, usage: Some(swap + used), max: None, hits };
    }
    memory.raw = files.table("memory.stat");
    memory.cache = memory.raw.get("file").copied();
    all.pids = Pids { current: files.number("pids.current"), limit: files.number("pids.max") };
    for (major, minor, fields) in files.text("io.stat").lines().filter_map(device) {
        for (name, value) in fields.split_ascii_whitespace().filter_map(|field| field.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            let (list, op) = match name {
                "rbytes" => (&mut all.block_io.bytes, "Read"),
                "wbytes" => (&mut all.block_io.bytes, "Write"),
                "dbytes" => (&mut all.block_io.bytes, "Discard"),
                "rios" => (&mut all.block_io.requests, "Read"),
                "wios" => (&mut all.block_io.requests, "Write"),
                "dios" => (&mut all.block_io.requests, "Discard"),
                _ => continue,
            };
            list.push(Access { major, minor, op: op.into(), value });
        }
    }
    for (size, name) in files.huge_pages(".current") {
        let hits = files.table(&format!("hugetlb.{size}.events")).get("max").copied().unwrap_or(0);
        let usage = files.number(&name).unwrap_or(0);
        all.huge_pages.insert(size, HugePages { usage, max: None, hits });
    }
    for line in files.text("rdma.current").lines() {
        let Some((device, fields)) = line.split_once(' ') else { continue };
        let field = |name: &str| {
            let mut pairs = fields.split_ascii_whitespace().filter_map(|field| field.split_once('='));
            pairs.find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
        };
        all.rdma.insert(device.into(), Rdma { handles: field("hca_handle"), objects: field("hca_object") });
    }
    all.cpu.pressure = files.pressure("cpu.pressure");
    memory.pressure = files.pressure("memory.pressure");
    all.block_io.pressure = files.pressure("io.pressure");
}

fn version_1(controller: &str, files: Files, all: &mut Statistics) {
    match controller {
        "cpu" => {
            let stat = files.table("cpu.stat");
            all.cpu.throttling = Throttling {
                periods: stat.get("nr_periods").copied(),
                throttled_periods: stat.get("nr_throttled").copied(),
                throttled_time: stat.get("throttled_time").copied(),
            };
        }
        "cpuacct" => {
            let stat = files.table("cpuacct.stat");
            let by_processor = files.text("cpuacct.usage_percpu");
            all.cpu.usage = CpuUsage {
                total: files.number("cpuacct.usage"),
                by_processor: by_processor.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect(),
                kernel: stat.get("system").copied().map(ticks),
                user: stat.get("user").copied().map(ticks),
            };
        }
        "cpuset" => {
            all.cpuset =
                Cpuset { cpus: files.line("cpuset.effective_cpus"), mems: files.line("cpuset.effective_mems") };
        }
        "memory" => {
            let counter = |prefix: &str| Counter {
                // "No limit" is the largest number of whole pages.
                limit: files
                    .number(&format!("{prefix}.limit_in_bytes"))
                    .map(|limit| if limit >= 1 << 62 { u64::MAX } else { limit }),
                usage: files.number(&format!("{prefix}.usage_in_bytes")),
                max: files.number(&format!("{prefix}.max_usage_in_bytes")),
                hits: files.number(&format!("{prefix}.failcnt")),
            };
            let memory = &mut all.memory;
            memory.usage = counter("memory");
            memory.swap = counter("memory.memsw");
            memory.kernel = counter("memory.kmem");
            memory.kernel_tcp = counter("memory.kmem.tcp");
            memory.raw = files.table("memory.stat");
            memory.cache = memory.raw.get("total_cache").or(memory.raw.get("cache")).copied();
        }
        "pids" => all.pids = Pids { current: files.number("pids.current"), limit: files.number("pids.max") },
        "blkio" => {
            // By the scheduler that is in use; throttling counts whatever it is.
            let list = |name: &str| {
                let names = ["blkio.bfq.", "blkio.", "blkio.throttle."];
                let lists = names.iter().map(|prefix| accesses(&files.text(&format!("{prefix}{name}_recursive"))));
                lists.into_iter().find(|list| !list.is_empty()).unwrap_or_default()
            };
            all.block_io = BlockIo {
                bytes: list("io_service_bytes"),
                requests: list("io_serviced"),
                queued: list("io_queued"),
                service_time: list("io_service_time"),
                wait_time: list("io_wait_time"),
                merged: list("io_merged"),
                time: list("time"),
                sectors: list("sectors"),
                pressure: None,
            };
        }
        "hugetlb" => {
            for (size, name) in files.huge_pages(".usage_in_bytes") {
                let number = |name: String| files.number(&name);
                let pages = HugePages {
                    usage: number(name).unwrap_or(0),
                    max: number(format!("hugetlb.{size}.max_usage_in_bytes")),
                    hits: number(format!("hugetlb.{size}.failcnt")).unwrap_or(0),
                };
                all.huge_pages.insert(size, pages);
            }
        }
        _ => {}
    }
}

/// `8:0 Read 1024` for each device and kind of access, and sums, which are left out.
pub(super) fn accesses(text: &str) -> Vec<Access> {
    let access = |line| {
        let (major, minor, rest) = device(line)?;
        let (op, value) = rest.rsplit_once(' ').unwrap_or(("", rest));
        (op != "Total").then_some(())?;
        Some(Access { major, minor, op: op.into(), value: value.parse().ok()? })
    };
    text.lines().filter_map(access).collect()
}

/// The numbers of the device at the start of a line, and the rest.
pub(super) fn device(line: &str) -> Option<(u64, u64, &str)> {
    let (device, rest) = line.split_once(' ')?;
    let (major, minor) = device.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?, rest.trim()))
}

/// Nanoseconds for the kernel's ticks.
fn ticks(ticks: u64) -> u64 {
    ticks.saturating_mul(1_000_000_000 / rustix::param::clock_ticks_per_second().max(1))
}

fn or_zero<S: Serializer>(value: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(value.unwrap_or(0))
}

/// The text of a small file of the kernel's; empty if there is none. It is asked for no size, which such files do not have, and
/// read in as few calls as can be: there are many of them. The kernel hands out whole lines as long as they fit: what fills
/// less than half of the room was all (seq_file(9), `fs/kernfs`).
pub fn text(path: &Path) -> String {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) else { return String::new() };
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    loop {
        match rustix::io::read(&file, &mut part) {
            Err(Errno::INTR) => {}
            // What was gone half-way says nothing.
            Err(_) => return String::new(),
            Ok(count) => {
                bytes.extend_from_slice(&part[..count]);
                if count < part.len() / 2 {
                    return String::from_utf8(bytes).unwrap_or_default();
                }
            }
        }
    }
}

/// The files of a group's directory.
#[derive(Clone, Copy)]
pub(super) struct Files<'a>(pub(super) &'a Path);

impl Files<'_> {
    pub(super) fn text(&self, file: &str) -> String {
        text(&self.0.join(file))
    }

    fn line(&self, file: &str) -> Option<String> {
        Some(self.text(file).trim().to_owned()).filter(|text| !text.is_empty())
    }

    pub(super) fn number(&self, file: &str) -> Option<u64> {
        self.line(file)?.parse().ok()
    }

    /// A number, or `max`.
    pub(super) fn limit(&self, file: &str) -> Option<u64> {
        self.line(file).and_then(|text| if text == "max" { Some(u64::MAX) } else { text.parse().ok() })
    }

    /// Lines of a name and a number.
    pub(super) fn table(&self, file: &str) -> BTreeMap<String, u64> {
        let pair =
            |line: &str| line.split_once(' ').and_then(|(name, n)| Some((name.to_owned(), n.trim().parse().ok()?)));
        self.text(file).lines().filter_map(pair).collect()
    }

    /// Sizes of huge pages, with the names of the files `hugetlb.SIZE` + `end`.
    fn huge_pages(&self, end: &str) -> Vec<(String, String)> {
        let entries = fs::read_dir(self.0).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let size = |name: String| {
            let size = name.strip_prefix("hugetlb.")?.strip_suffix(end)?.to_owned();
            (!size.contains('.')).then_some((size, name))
        };
        names.filter_map(size).collect()
    }

    fn pressure(&self, file: &str) -> Option<Pressure> {
        let text = self.text(file);
        let stall = |kind: &str| {
            let fields = text.lines().find_map(|line| line.strip_prefix(kind)).unwrap_or_default();
            let field = |name: &str| {
                let mut pairs = fields.split_ascii_whitespace().filter_map(|field| field.split_once('='));
                pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
            };
            let percent = |name: &str| field(name).and_then(|value| value.parse().ok()).unwrap_or(0.0);
            let total = field("total").and_then(|value| value.parse().ok()).unwrap_or(0);
            Stall { avg10: percent("avg10"), avg60: percent("avg60"), avg300: percent("avg300"), total }
        };
        (!text.is_empty()).then(|| Pressure { some: stall("some"), full: stall("full") })
    }
}

#[cfg(test)]
mod tests;
