//! The flags for limits, of `create`, `run` and `update`.

use super::create_flags::Asked;
use crate::flag::{Flag, integer, list, short, switch, text, value};
use ops::container::Resources;

fn size(text: &str) -> Result<u64, String> {
    types::size::parse(text).map_err(|e| e.to_string())
}

fn processors(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && (0.0..1e6).contains(&number) => Ok((number * 1e9).round() as u64),
        _ => Err(format!("parsing {text:?}: expected a number of processors, as in 1.5")),
    }
}

fn limits(asked: &mut Asked) -> &mut Resources {
    &mut asked.create.resources
}

/// The rows of what a cgroup limits.
pub const LIMITS: &[Flag<Asked>] = &[
    value("blkio-weight", "uint", "Relative weight of block io, 10 to 1000", |r, v| {
        limits(r).blkio_weight = Some(integer(v)?);
        Ok(())
    }),
    list("blkio-weight-device", "Relative weight of block io of one device (device:weight)", |r, v| {
        limits(r).blkio_weight_device.push(v);
    }),
    value("cpu-period", "uint", "Microseconds of a period of the processor quota", |r, v| {
        limits(r).cpu_period = Some(integer(v)?);
        Ok(())
    }),
    value("cpu-quota", "int", "Microseconds of processor time a period", |r, v| {
        limits(r).cpu_quota = Some(integer(v)?);
        Ok(())
    }),
    value("cpu-rt-period", "uint", "Microseconds of a period of realtime processor time (cgroup v1)", |r, v| {
        limits(r).cpu_rt_period = Some(integer(v)?).filter(|n| *n > 0);
        Ok(())
    }),
    value("cpu-rt-runtime", "int", "Microseconds of realtime processor time a period (cgroup v1)", |r, v| {
        limits(r).cpu_rt_runtime = Some(integer(v)?).filter(|n| *n != 0);
        Ok(())
    }),
    short(
        'c',
        value("cpu-shares", "uint", "Relative weight of processor time", |r, v| {
            limits(r).cpu_shares = Some(integer(v)?);
            Ok(())
        }),
    ),
    value("cpus", "float", "Number of processors", |r, v| {
        limits(r).nano_cpus = Some(processors(v)?).filter(|n| *n > 0);
        Ok(())
    }),
    value("cpuset-cpus", "string", "Processors that may be used (0-3, 0,1)", |r, v| {
        limits(r).cpuset_cpus = Some(v.into());
        Ok(())
    }),
    value("cpuset-mems", "string", "Memory nodes that may be used (0-3, 0,1)", |r, v| {
        limits(r).cpuset_mems = Some(v.into());
        Ok(())
    }),
    list("device-read-bps", "Bytes a second read from a device (device:bytes)", |r, v| {
        limits(r).device_read_bps.push(v);
    }),
    list("device-read-iops", "Reads a second from a device (device:number)", |r, v| {
        limits(r).device_read_iops.push(v);
    }),
    list("device-write-bps", "Bytes a second written to a device (device:bytes)", |r, v| {
        limits(r).device_write_bps.push(v);
    }),
    list("device-write-iops", "Writes a second to a device (device:number)", |r, v| {
        limits(r).device_write_iops.push(v);
    }),
    short(
        'm',
        value("memory", "number[unit]", "Memory limit (unit: b, k, m, g)", |r, v| {
            limits(r).memory = Some(size(v)?).filter(|n| *n > 0);
            Ok(())
        }),
    ),
    value("memory-reservation", "number[unit]", "Memory kept from reclaim as long as possible", |r, v| {
        limits(r).memory_reservation = Some(size(v)?).filter(|n| *n > 0);
        Ok(())
    }),
    value("memory-swap", "number[unit]", "Limit of memory and swap together; -1 for no limit", |r, v| {
        limits(r).memory_swap = match v {
            "-1" => Some(-1),
            _ => Some(i64::try_from(size(v)?).map_err(|e| e.to_string())?).filter(|n| *n > 0),
        };
        Ok(())
    }),
    value("memory-swappiness", "int", "Percent of swappiness, 0 to 100 (cgroup v1)", |r, v| {
        limits(r).memory_swappiness = Some(integer(v)?).filter(|n| *n != -1);
        Ok(())
    }),
    value("pids-limit", "int", "Number of processes; -1 for no limit", |r, v| {
        limits(r).pids = Some(integer(v)?);
        Ok(())
    }),
];

/// The rows of what is limited otherwise, once and for all.
pub const FIXED: &[Flag<Asked>] = &[
    value("kernel-memory", "number[unit]", "Without effect: no kernel limits its own memory any more", |r, v| {
        size(v)?;
        r.kernel_memory = true;
        Ok(())
    }),
    list("cgroup-conf", "Files of cgroup v2 (file=value)", |r, v| {
        let (file, value) = v.split_once('=').unwrap_or((&v, ""));
        limits(r).unified.insert(file.into(), value.into());
    }),
    text("cgroups", "Control groups: enabled, disabled, no-conmon, split", |r, v| r.create.cgroups = Some(v.into())),
    list("device-cgroup-rule", "Rule of devices that may be used (type major:minor access)", |r, v| {
        r.create.device_cgroup_rules.push(v);
    }),
    switch("oom-kill-disable", "Kill no process for want of memory (cgroup v1)", |r, on| {
        limits(r).oom_kill_disable = on;
    }),
    value("shm-size-systemd", "number[unit]", "Size of each file system in memory that systemd gets", |r, v| {
        r.create.shm_size_systemd = Some(size(v)?);
        Ok(())
    }),
    value("shm-size", "number[unit]", "Size of /dev/shm", |r, v| {
        r.create.shm_size = Some(size(v)?);
        Ok(())
    }),
];

/// The row of the limits that a process has by itself.
pub const PROCESS: &[Flag<Asked>] =
    &[list("ulimit", "Limits of the process (name=soft[:hard], or host)", |r, v| r.create.ulimits.push(v))];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_in_billionths() {
        assert_eq!(processors("1.5"), Ok(1_500_000_000));
        assert!(processors("-1").is_err() && processors("x").is_err() && processors("NaN").is_err());
    }
}
