//! What this runtime understands, as engines ask it (OCI runtime specification, features.md): from the tables that its parsers
//! read, whatever the kernel at hand can do.

use crate::hooks::Moment;
use crate::options;
use crate::seccomp::Architecture;
use oci_spec::runtime::{
    ApparmorBuilder, CgroupBuilder, Features, IDMapBuilder, IntelRdtBuilder, LinuxFeature, LinuxNamespaceType,
    LinuxSeccompAction, MemoryPolicyBuilder, MountExtensionsBuilder, NetDevicesBuilder, SeccompBuilder, SelinuxBuilder,
};

const NAMESPACES: [LinuxNamespaceType; 8] = [
    LinuxNamespaceType::Cgroup,
    LinuxNamespaceType::Ipc,
    LinuxNamespaceType::Mount,
    LinuxNamespaceType::Network,
    LinuxNamespaceType::Pid,
    LinuxNamespaceType::Time,
    LinuxNamespaceType::User,
    LinuxNamespaceType::Uts,
];

const ACTIONS: [LinuxSeccompAction; 9] = [
    LinuxSeccompAction::ScmpActAllow,
    LinuxSeccompAction::ScmpActErrno,
    LinuxSeccompAction::ScmpActKill,
    LinuxSeccompAction::ScmpActKillProcess,
    LinuxSeccompAction::ScmpActKillThread,
    LinuxSeccompAction::ScmpActLog,
    LinuxSeccompAction::ScmpActNotify,
    LinuxSeccompAction::ScmpActTrace,
    LinuxSeccompAction::ScmpActTrap,
];

const OPERATORS: [&str; 7] =
    ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"];

const FILTER_FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

const MEMORY_MODES: [&str; 7] = [
    "MPOL_DEFAULT",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_WEIGHTED_INTERLEAVE",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_LOCAL",
];

const MEMORY_FLAGS: [&str; 3] = ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

/// The structure. `systemd`: whether cgroups can be made by the system's systemd, and by a user's.
pub fn features(systemd: (bool, bool)) -> Result<Features, oci_spec::OciSpecError> {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut linux = LinuxFeature::default();
    linux
        .set_namespaces(Some(NAMESPACES.to_vec()))
        .set_capabilities(Some(types::capability::names(u64::MAX)))
        .set_cgroup(Some(
            CgroupBuilder::default().v1(true).v2(true).systemd(systemd.0).systemd_user(systemd.1).rdma(true).build()?,
        ))
        .set_seccomp(Some(
            SeccompBuilder::default()
                .enabled(Architecture::native().is_some())
                .actions(ACTIONS)
                .operators(own(&OPERATORS))
                .archs(Architecture::ALL.map(Architecture::to_oci))
                .known_flags(own(&FILTER_FLAGS))
                .supported_flags(own(&FILTER_FLAGS))
                .build()?,
        ))
        .set_apparmor(Some(ApparmorBuilder::default().enabled(true).build()?))
        .set_selinux(Some(SelinuxBuilder::default().enabled(true).build()?))
        .set_intel_rdt(Some(IntelRdtBuilder::default().enabled(false).schemata(false).monitoring(false).build()?))
        .set_memory_policy(Some(
            MemoryPolicyBuilder::default().modes(own(&MEMORY_MODES)).flags(own(&MEMORY_FLAGS)).build()?,
        ))
        .set_mount_extensions(Some(
            MountExtensionsBuilder::default().idmap(IDMapBuilder::default().enabled(true).build()?).build()?,
        ))
        .set_net_devices(Some(NetDevicesBuilder::default().enabled(true).build()?));
    let mut features = Features::default();
    features
        .set_oci_version_min("1.0.0".into())
        .set_oci_version_max(crate::OCI_VERSION.into())
        .set_hooks(Some(own(&Moment::ALL.map(Moment::name))))
        .set_mount_options(Some(options::names()))
        .set_linux(Some(linux));
    Ok(features)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::compile;
    use serde_json::{Value, json};

    /// What is said to be understood is: by the parsers themselves.
    #[test]
    fn what_is_listed_is_understood() {
        let features = serde_json::to_value(features((false, false)).unwrap()).unwrap();
        for option in features["mountOptions"].as_array().unwrap() {
            let parsed = options::parse(&[option.as_str().unwrap()]);
            assert!(parsed.data.is_empty(), "{option} would go to the file system");
        }
        let linux = &features["linux"];
        let spec = |value: Value| serde_json::from_value::<oci_spec::runtime::Linux>(value);
        for kind in linux["namespaces"].as_array().unwrap() {
            spec(json!({"namespaces": [{"type": kind}]})).unwrap();
        }
        for mode in linux["memoryPolicy"]["modes"].as_array().unwrap() {
            spec(json!({"memoryPolicy": {"mode": mode, "flags": linux["memoryPolicy"]["flags"]}})).unwrap();
        }
        let seccomp = &linux["seccomp"];
        for action in seccomp["actions"].as_array().unwrap() {
            for operator in seccomp["operators"].as_array().unwrap() {
                let filter = json!({
                    "defaultAction": "SCMP_ACT_ALLOW", "architectures": seccomp["archs"], "flags": seccomp["knownFlags"],
                    "syscalls": [{"names": ["mkdir"], "action": action, "args": [{"index": 1, "value": 2, "op": operator}]}],
                });
                compile(&serde_json::from_value(filter).unwrap()).unwrap();
            }
        }
        for name in linux["capabilities"].as_array().unwrap() {
            serde_json::from_value::<oci_spec::runtime::Capability>(name.clone()).unwrap();
        }
        assert_eq!(
            linux["cgroup"],
            json!({"v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true})
        );
    }

    /// The specification's own table (config.md, "Linux mount options").
    #[test]
    fn no_mount_option_is_missing() {
        let names = options::names();
        for name in "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime \
            noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime \
            relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate \
            rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid \
            symfollow sync tmpcopyup unbindable idmap ridmap"
            .split_ascii_whitespace()
        {
            assert!(names.iter().any(|n| n == name), "{name}");
        }
        assert!(names.is_sorted());
    }
}
