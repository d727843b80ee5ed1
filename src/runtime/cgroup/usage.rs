//! The few numbers of a group that engines show of each container: what is read for a hundred containers at once, so nothing
//! else is read for them.
//!
//! Must not know: what is shown of it, and how often.

use super::group::Group;
use super::statistics::{Files, accesses, device, told};

/// What a group uses. `None`: nothing tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds of processor time.
    pub cpu: Option<u64>,
    /// Bytes of memory in use, without page cache that could go.
    pub memory: Option<u64>,
    /// Bytes of memory it may use, if that is limited.
    pub memory_limit: Option<u64>,
    /// Bytes read from and written to block devices.
    pub block: (u64, u64),
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Group {
    /// What the group uses now. As [`Group::statistics`] says it, in a fraction of the time. `first` is a process in it, which
    /// is the only one more often than not.
    pub fn usage(&self, first: i32) -> Usage {
        let mut usage = Usage::default();
        if let Some(directory) = &self.unified {
            // What version 1 counts, version 2 does not.
            let counts = |name: &str| !self.legacy.iter().any(|(controllers, _)| controllers.iter().any(|c| c == name));
            version_2(Files(directory), counts, &mut usage);
        }
        for (controllers, directory) in &self.legacy {
            for controller in controllers {
                version_1(controller, Files(directory), &mut usage);
            }
        }
        if usage.cpu.is_none() || usage.memory.is_none() || usage.pids.is_none() {
            let told = if usage.pids == Some(1) { told(&[first]) } else { told(&self.pids()) };
            usage.cpu.get_or_insert(told.kernel + told.user);
            usage.memory.get_or_insert(told.memory);
            usage.pids.get_or_insert(told.threads);
        }
        usage
    }
}

fn version_2(files: Files, counts: impl Fn(&str) -> bool, usage: &mut Usage) {
    let stat = files.text("cpu.stat");
    let used = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse::<u64>().ok());
    usage.cpu = used.map(|microseconds| microseconds.saturating_mul(1000));
    if counts("memory")
        && let Some(all) = files.number("memory.current")
    {
        let idle = line(&files.text("memory.stat"), "inactive_file");
        usage.memory = Some(all.saturating_sub(idle.unwrap_or(0)));
        usage.memory_limit = files.limit("memory.max").filter(|limit| *limit != u64::MAX);
    }
    if counts("pids") {
        usage.pids = files.number("pids.current");
    }
    let io = if counts("blkio") { files.text("io.stat") } else { String::new() };
    for (_, _, fields) in io.lines().filter_map(device) {
        for (name, value) in fields.split_ascii_whitespace().filter_map(|field| field.split_once('=')) {
            let value = value.parse::<u64>().unwrap_or(0);
            match name {
                "rbytes" => usage.block.0 += value,
                "wbytes" => usage.block.1 += value,
                _ => {}
            }
        }
    }
}

/// The number in the line of that name.
fn line(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn version_1(controller: &str, files: Files, usage: &mut Usage) {
    match controller {
        "cpuacct" => usage.cpu = files.number("cpuacct.usage"),
        "memory" => {
            let Some(all) = files.number("memory.usage_in_bytes") else { return };
            let stat = files.text("memory.stat");
            let idle = line(&stat, "total_inactive_file").or_else(|| line(&stat, "inactive_file"));
            usage.memory = Some(all.saturating_sub(idle.unwrap_or(0)));
            // "No limit" is the largest number of whole pages.
            usage.memory_limit = files.number("memory.limit_in_bytes").filter(|limit| *limit < 1 << 62);
        }
        "pids" => usage.pids = files.number("pids.current"),
        "blkio" if files.0.is_dir() => {
            let names = ["blkio.bfq.", "blkio.", "blkio.throttle."];
            let lists = names.iter().map(|p| accesses(&files.text(&format!("{p}io_service_bytes_recursive"))));
            let list = lists.into_iter().find(|list| !list.is_empty()).unwrap_or_default();
            let sum = |op: &str| list.iter().filter(|access| access.op == op).map(|access| access.value).sum();
            usage.block = (sum("Read"), sum("Write"));
        }
        _ => {}
    }
}
