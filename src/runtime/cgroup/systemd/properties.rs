//! Resources in systemd's words: properties of a unit (systemd.resource-control(5)). What systemd has no word for is written to
//! the group's files alone; what it has one for, it would else undo when it reads its units anew.

use super::wire::Value;
use crate::cgroup::convert::{cpu_weight, io_weight, swap_max};
use crate::cgroup::devices;
use oci_spec::runtime::LinuxResources;

/// What a unit is told; `legacy`: the controllers are on version 1, whose words differ.
pub fn of(resources: &LinuxResources, legacy: bool) -> Vec<(&'static str, Value)> {
    let mut list = Vec::new();
    if let Some(memory) = resources.memory() {
        let limit = |name: &'static str, bytes: Option<i64>| {
            bytes
                .filter(|bytes| *bytes != 0)
                .map(|bytes| (name, Value::Number(u64::try_from(bytes).unwrap_or(u64::MAX))))
        };
        if legacy {
            list.extend(limit("MemoryLimit", memory.limit()));
        } else {
            list.extend(limit("MemoryMax", memory.limit()));
            list.extend(limit("MemoryLow", memory.reservation()));
            // What contradicts itself is refused when the files are written.
            let swap = swap_max(memory.swap().unwrap_or(0), memory.limit()).ok().flatten();
            list.extend(swap.map(|swap| ("MemorySwapMax", number_or_infinity(&swap))));
        }
    }
    if let Some(cpu) = resources.cpu() {
        let shares = cpu.shares().filter(|shares| *shares > 0);
        list.extend(shares.map(|shares| match legacy {
            true => ("CPUShares", Value::Number(shares)),
            false => ("CPUWeight", Value::Number(cpu_weight(shares))),
        }));
        if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
            let period = cpu.period().filter(|period| *period > 0).unwrap_or(100_000);
            // In whole steps of 10 ms, rounded up, or systemd rounds down.
            let second = |quota: u64| quota.saturating_mul(1_000_000).div_ceil(period).next_multiple_of(10_000);
            let value = u64::try_from(quota).map_or(u64::MAX, second);
            list.push(("CPUQuotaPerSecUSec", Value::Number(value)));
        }
        list.extend(cpu.period().filter(|us| *us > 0).map(|us| ("CPUQuotaPeriodUSec", Value::Number(us))));
        if !legacy {
            let mask = |name: &'static str, list: &Option<String>| Some((name, Value::Bytes(bits(list.as_deref()?)?)));
            list.extend(mask("AllowedCPUs", cpu.cpus()));
            list.extend(mask("AllowedMemoryNodes", cpu.mems()));
        }
    }
    if let Some(pids) = resources.pids() {
        let limit = u64::try_from(pids.limit()).ok().filter(|limit| *limit > 0).unwrap_or(u64::MAX);
        list.push(("TasksMax", Value::Number(limit)));
    }
    if let Some(weight) = resources.block_io().as_ref().and_then(|io| io.weight()).filter(|weight| *weight > 0) {
        list.push(match legacy {
            true => ("BlockIOWeight", Value::Number(weight.into())),
            false => ("IOWeight", Value::Number(io_weight(weight))),
        });
    }
    let mut unified: Vec<_> = resources.unified().iter().flatten().filter(|_| !legacy).collect();
    unified.sort();
    for (file, value) in unified {
        let name = match file.as_str() {
            "memory.max" => "MemoryMax",
            "memory.high" => "MemoryHigh",
            "memory.low" => "MemoryLow",
            "memory.min" => "MemoryMin",
            "memory.swap.max" => "MemorySwapMax",
            "pids.max" => "TasksMax",
            "cpu.weight" => "CPUWeight",
            _ => continue,
        };
        list.retain(|(other, _)| *other != name);
        list.push((name, number_or_infinity(value)));
    }
    let rules = resources.devices().as_deref().unwrap_or_default();
    match devices::allowed(rules) {
        Some(allowed) if !rules.is_empty() => {
            list.push(("DevicePolicy", Value::Text("strict".into())));
            list.push(("DeviceAllow", Value::Pairs(allowed)));
        }
        // What it could say would refuse or allow something else: the program on the group decides alone.
        _ => list.push(("DevicePolicy", Value::Text("auto".into()))),
    }
    list
}

fn number_or_infinity(text: &str) -> Value {
    Value::Number(text.trim().parse().unwrap_or(u64::MAX))
}

/// `0-2,5` as a mask of bits, the first byte for the first eight.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut mask = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // As many as a kernel can have.
        if first > last || last >= 8192 {
            return None;
        }
        for bit in first..=last {
            mask.resize(mask.len().max(bit / 8 + 1), 0);
            mask[bit / 8] |= 1u8 << (bit % 8);
        }
    }
    (!mask.is_empty()).then_some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(json: &str, legacy: bool) -> String {
        let resources = serde_json::from_str(json).unwrap();
        let line = |(name, value): &(&str, Value)| format!("{name}={value:?}");
        of(&resources, legacy).iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn golden() {
        let all = r#"{
            "memory": {"limit": 64000000, "swap": 96000000, "reservation": 32000000},
            "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "cpus": "0-1,9", "mems": "0"},
            "pids": {"limit": 100}, "blockIO": {"weight": 500}, "unified": {"memory.high": "1000", "memory.max": "max"},
            "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}]}"#;
        assert_eq!(
            list(all, false),
            "MemoryLow=Number(32000000)\nMemorySwapMax=Number(32000000)\nCPUWeight=Number(100)\n\
             CPUQuotaPerSecUSec=Number(500000)\nCPUQuotaPeriodUSec=Number(100000)\nAllowedCPUs=Bytes([3, 2])\n\
             AllowedMemoryNodes=Bytes([1])\nTasksMax=Number(100)\nIOWeight=Number(4950)\nMemoryHigh=Number(1000)\n\
             MemoryMax=Number(18446744073709551615)\nDevicePolicy=Text(\"strict\")\n\
             DeviceAllow=Pairs([(\"/dev/char/1:3\", \"rw\")])"
        );
        assert_eq!(
            list(r#"{"memory": {"limit": -1}, "cpu": {"shares": 2, "quota": -1}, "pids": {"limit": 0}}"#, true),
            "MemoryLimit=Number(18446744073709551615)\nCPUShares=Number(2)\n\
             CPUQuotaPerSecUSec=Number(18446744073709551615)\nTasksMax=Number(18446744073709551615)\n\
             DevicePolicy=Text(\"auto\")"
        );
        assert_eq!(list("{}", false), "DevicePolicy=Text(\"auto\")");
    }

    #[test]
    fn lists_of_processors() {
        for (text, mask) in
            [("0", Some(vec![1])), ("8", Some(vec![0, 1])), ("", None), ("3-1", None), ("99999999", None)]
        {
            assert_eq!(bits(text), mask, "{text}");
        }
    }
}
