//! `spec`: a specification to begin with, in the bundle; and `features`: what one may ask for.
//!
//! Must not know: what is made of it.

use super::failure::Failure;
use super::flags::Words;
use super::{Program, print};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// `spec`. A file that is there stays.
pub(crate) fn spec(_: &Program, words: &Words) -> Result<u8, Failure> {
    let path = Path::new(words.value("bundle").unwrap_or(".")).join(words.value("file").unwrap_or("config.json"));
    let failed = |source| Failure::File { step: "write", path: path.clone(), source };
    let mut text = serde_json::to_string_pretty(&specification(words.has("rootless"))).unwrap_or_default();
    text.push('\n');
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    Ok(0)
}

/// `features`: the structure of the specification's `features.md`. Cgroups can be made by systemd, the
/// machine's or a user's, where it runs.
pub(crate) fn features(_: &Program, _: &Words) -> Result<u8, Failure> {
    let features = crate::features::features((true, true)).map_err(|source| Failure::Features { source })?;
    print(&(serde_json::to_string_pretty(&features).unwrap_or_default() + "\n")).map(|()| 0)
}

/// A shell on a terminal, in namespaces of its own, with three capabilities.
fn specification(rootless: bool) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": source, "options": options});
    let guarded = ["nosuid", "noexec", "nodev"];
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &guarded),
    ];
    let mut namespaces = vec![json!({"type": "pid"}), json!({"type": "ipc"}), json!({"type": "uts"})];
    namespaces.extend([json!({"type": "mount"}), json!({"type": "cgroup"})]);
    let terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    let mut linux = json!({
        "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
            "/sys/firmware"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    if rootless {
        // Who is nobody to the host has one id, no network namespace that would lead anywhere, and no sysfs of its own.
        mounts.push(mount("/dev/pts", "devpts", "devpts", &terminals));
        mounts.push(mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]));
        namespaces.push(json!({"type": "user"}));
        let one = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
        linux["uidMappings"] = one(rustix::process::geteuid().as_raw());
        linux["gidMappings"] = one(rustix::process::getegid().as_raw());
    } else {
        mounts.push(mount("/dev/pts", "devpts", "devpts", &[&terminals[..], &["gid=5"]].concat()));
        mounts.push(mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]));
        mounts.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]));
        namespaces.push(json!({"type": "network"}));
        linux["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
    }
    linux["namespaces"] = namespaces.into();
    json!({
        "ociVersion": crate::OCI_VERSION,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "monopod",
        "mounts": mounts,
        "linux": linux,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Spec;

    #[test]
    fn what_is_written_can_be_read_and_run() {
        for rootless in [false, true] {
            let spec: Spec = serde_json::from_value(specification(rootless)).unwrap();
            crate::plan::namespaces(spec.linux().as_ref().unwrap()).unwrap();
            crate::plan::refuse(&spec).unwrap();
        }
    }
}
