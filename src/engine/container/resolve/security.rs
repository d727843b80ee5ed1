//! Capabilities, system call filter, masks, labels.

use crate::container::config::Seccomp;
use crate::container::facts::Facts;
use ops::container::Create;
use ops::{Fault, Kind};
use std::collections::BTreeMap;
use types::capability;

/// Hidden inside.
pub const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/interrupts",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];
/// Read-only inside.
pub const READ_ONLY: [&str; 6] =
    ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Label of an image that holds a system call filter.
const PROFILE: &str = "io.containers.seccomp.profile";

/// What `security` decides.
pub struct Security {
    pub capabilities: u64,
    pub user_capabilities: u64,
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    pub apparmor: Option<String>,
    pub masked_paths: Vec<String>,
    pub read_only_paths: Vec<String>,
    pub proc_options: Vec<String>,
}

/// Decides all that keeps a container in. `user` is the decided one.
pub fn security(
    asked: &Create,
    facts: &Facts,
    user: &str,
    labels: &BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Result<Security, Fault> {
    let (capabilities, added) = capabilities(asked, facts, warnings)?;
    let root = matches!(user.split(':').next(), None | Some("" | "0" | "root"));
    let mut security = Security {
        capabilities,
        user_capabilities: if root || asked.privileged { 0 } else { added },
        no_new_privileges: false,
        seccomp: if asked.privileged { Seccomp::Unconfined } else { Seccomp::Default },
        apparmor: None,
        masked_paths: MASKED.iter().map(|p| (*p).to_owned()).chain(facts.thermal_throttle.iter().cloned()).collect(),
        read_only_paths: READ_ONLY.iter().map(|p| (*p).to_owned()).collect(),
        proc_options: Vec::new(),
    };
    if asked.privileged {
        security.masked_paths.clear();
        security.read_only_paths.clear();
    }
    // Only where the caller trusts the image with it.
    match asked.seccomp_policy.as_deref().unwrap_or("default") {
        "" | "default" => {}
        "image" => {
            if let Some(text) = labels.get(PROFILE) {
                security.seccomp = Seccomp::Profile { path: format!("label {PROFILE}"), text: text.clone() };
            }
        }
        other => {
            return Err(Fault::invalid(format!("invalid seccomp policy {other:?}")).hint("use default or image"));
        }
    }
    for option in &asked.security_options {
        apply(&mut security, option, facts)?;
    }
    Ok(security)
}

fn apply(security: &mut Security, option: &str, facts: &Facts) -> Result<(), Fault> {
    let (key, value) = match option.split_once(['=', ':']) {
        Some((key, value)) => (key, value),
        None if option == "no-new-privileges" => (option, ""),
        None => return Err(Fault::invalid(format!("invalid --security-opt 1: {option:?}")).hint("expected KEY=VALUE")),
    };
    match key {
        "no-new-privileges" => {
            security.no_new_privileges = match value {
                "" | "true" | "1" => true,
                "false" | "0" => false,
                other => {
                    return Err(Fault::invalid(format!(
                        "invalid --security-opt 1: no-new-privileges={other:?}: expected a boolean"
                    )));
                }
            }
        }
        "seccomp" => {
            security.seccomp = match value {
                "unconfined" => Seccomp::Unconfined,
                "" | "default" | "builtin" => Seccomp::Default,
                path => match facts.profiles.get(path) {
                    Some(text) => Seccomp::Profile { path: path.to_owned(), text: text.clone() },
                    None => {
                        return Err(Fault::invalid(format!(
                            "opening seccomp profile failed: open {path}: no such file or directory"
                        )));
                    }
                },
            }
        }
        "label" => label(value, facts)?,
        "apparmor" => match value {
            "unconfined" => security.apparmor = facts.apparmor.then(|| "unconfined".to_owned()),
            profile if facts.apparmor => security.apparmor = Some(profile.to_owned()),
            profile => {
                return Err(Fault::invalid(format!(
                    "apparmor profile {profile:?} specified, but Apparmor is not enabled on this system"
                )));
            }
        },
        "mask" => {
            if let Some(path) = value.split(':').find(|p| !p.starts_with('/')) {
                return Err(Fault::invalid(format!(
                    "invalid --security-opt: mask={value:?}: {path:?} is not an absolute path"
                )));
            }
            security.masked_paths.extend(value.split(':').map(str::to_owned));
        }
        "unmask" => unmask(security, value),
        "systempaths" if value == "unconfined" => unmask(security, "ALL"),
        "proc-opts" => security.proc_options.extend(value.split(',').filter(|o| !o.is_empty()).map(str::to_owned)),
        _ => return Err(Fault::invalid(format!("invalid --security-opt 1: {option:?}"))),
    }
    Ok(())
}

/// Where SELinux is off a label has no meaning, and Podman says nothing either.
fn label(value: &str, facts: &Facts) -> Result<(), Fault> {
    let fine = value == "disable"
        || ["user", "role", "type", "level", "filetype"].iter().any(|k| value.starts_with(&format!("{k}:")))
        || value == "nested";
    if !fine {
        return Err(Fault::invalid(format!("invalid --security-opt: label={value:?}")));
    }
    if facts.selinux && value != "disable" {
        return Err(Fault::new(Kind::Unsupported, format!("label={value}: SELinux labels are not supported yet"))
            .hint("use label=disable"));
    }
    Ok(())
}

/// Paths may end in `*`, which stands for any rest.
fn unmask(security: &mut Security, value: &str) {
    let all = value.eq_ignore_ascii_case("all");
    let hit = |path: &String| {
        all || value.split(':').any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => path.trim_end_matches('/') == pattern.trim_end_matches('/'),
        })
    };
    security.masked_paths.retain(|p| !hit(p));
    security.read_only_paths.retain(|p| !hit(p));
}

/// All that the container gets, and those that were asked for by name. Cut to what the engine itself has.
fn capabilities(asked: &Create, facts: &Facts, warnings: &mut Vec<String>) -> Result<(u64, u64), Fault> {
    let (add_all, add) = set(&asked.cap_add)?;
    let (drop_all, drop) = set(&asked.cap_drop)?;
    if add & drop != 0 {
        let name = capability::names(add & drop).swap_remove(0);
        return Err(Fault::invalid(format!("capability {name:?} cannot be dropped and added")));
    }
    if add_all && drop_all {
        return Err(Fault::invalid("capability \"ALL\" cannot be dropped and added"));
    }
    let start = match (asked.privileged || add_all, drop_all) {
        (true, _) => facts.capabilities,
        (_, true) => 0,
        _ => match &asked.default_capabilities {
            Some(names) => set(names)?.1,
            None => capability::DEFAULT,
        },
    };
    for name in capability::names(add & !facts.capabilities) {
        warnings.push(format!("capability {name:?} cannot be added: the caller does not have it"));
    }
    let added = if add_all { facts.capabilities } else { add };
    Ok(((start | add) & !drop & facts.capabilities, added & !drop & facts.capabilities))
}

fn set(names: &[String]) -> Result<(bool, u64), Fault> {
    let (mut all, mut bits) = (false, 0);
    for name in names.iter().flat_map(|n| n.split(',')).map(str::trim) {
        if name.eq_ignore_ascii_case("all") || name.eq_ignore_ascii_case("cap_all") {
            all = true;
        } else {
            let number = capability::number(name).ok_or_else(|| {
                let upper = name.to_ascii_uppercase();
                let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
                Fault::invalid(format!("{full:?}: unknown capability"))
            })?;
            bits |= 1 << number;
        }
    }
    Ok((all, bits))
}
