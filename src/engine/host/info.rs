//! `info` and `version`: the host, the store, and what was chosen on this host and why.

use crate::Engine;
use crate::private_network::UNFILTERED;
use ops::Fault;
use ops::container::{List, Status};
use ops::host::{Info, Version};
use serde_json::{Value, json};
use types::{IdRange, Platform, capability};

impl Engine {
    /// About this file.
    pub fn version() -> Version {
        Version {
            version: env!("CARGO_PKG_VERSION").into(),
            api_version: API.into(),
            platform: Platform::native().to_string(),
        }
    }

    /// About the host and the store, in the shape of `podman info`.
    pub fn info(&self) -> Result<Info, Fault> {
        let facts = self.facts()?;
        let host = self.host()?;
        let memory = text("/proc/meminfo");
        let bytes = |key: &str| {
            memory
                .lines()
                .find_map(|l| l.strip_prefix(key)?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
                .unwrap_or(0)
                * 1024
        };
        let controllers = &facts.controllers;
        let names: Vec<&str> = [
            ("cpuset", controllers.cpuset),
            ("cpu", controllers.cpu),
            ("io", controllers.io),
            ("memory", controllers.memory),
            ("pids", controllers.pids),
        ]
        .into_iter()
        .filter_map(|(name, there)| there.then_some(name))
        .collect();
        let (id, release) = distribution();
        let ranges = |ranges: &[IdRange]| -> Vec<Value> {
            ranges.iter().map(|r| json!({ "container_id": r.container, "host_id": r.host, "size": r.size })).collect()
        };
        let native = Platform::native();
        let backend = self.network_backend()?;
        // The monitor and the runtime are this same file.
        let mut own = json!({
            "package": "built in",
            "path": std::env::current_exe().unwrap_or_default(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        let monitor = own.clone();
        own["name"] = json!("monopod");
        let document = json!({
            "host": {
                "arch": native.architecture,
                "cgroupControllers": names,
                "cgroupManager": "cgroupfs",
                "cgroupVersion": if controllers.version == 0 { "none".to_owned() } else { format!("v{}", controllers.version) },
                "cgroupMissing": controllers.missing.iter().map(|(name, (why, fix))| (name.clone(), json!(format!("{why}; {fix}")))).collect::<serde_json::Map<_, _>>(),
                "conmon": monitor,
                "cpus": std::thread::available_parallelism().map_or(1, |n| n.get()),
                "databaseBackend": "sqlite",
                "eventLogger": if self.settings.events == ops::event::Backend::None { "none" } else { "file" },
                "distribution": { "distribution": id, "version": release },
                "hostname": facts.host_name,
                "idMappings": if host.in_user_namespace { json!({ "uidmap": ranges(&host.map.uids), "gidmap": ranges(&host.map.gids) }) } else { json!({ "uidmap": null, "gidmap": null }) },
                "kernel": rustix::system::uname().release().to_string_lossy(),
                "logDriver": "k8s-file",
                "memFree": bytes("MemFree:"),
                "memTotal": bytes("MemTotal:"),
                "networkBackend": backend.0,
                "networkMissing": backend.1,
                "ociRuntime": own,
                "os": "linux",
                "pid": std::process::id(),
                "security": {
                    "apparmorEnabled": facts.apparmor,
                    "capabilities": capability::names(capability::DEFAULT & facts.capabilities).join(","),
                    "rootless": self.settings.uid != 0 || host.in_user_namespace,
                    "singleId": host.single_id,
                    "seccompEnabled": std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
                    "seccompProfilePath": "built in",
                    "selinuxEnabled": facts.selinux,
                },
                "swapFree": bytes("SwapFree:"),
                "swapTotal": bytes("SwapTotal:"),
                "uptime": uptime(),
            },
            "store": self.store_info()?,
            "registries": {},
            "plugins": { "log": ["k8s-file", "json-file", "none"], "network": ["bridge", "macvlan", "ipvlan"], "volume": ["local"] },
            "version": { "APIVersion": API, "Version": env!("CARGO_PKG_VERSION"), "OsArch": native.to_string(), "Os": "linux" },
        });
        Ok(Info { document })
    }

    /// Which files of defaults were read, and which of their keys mean nothing here.
    pub fn configuration_report(&self) -> Result<Value, Fault> {
        let read = self.host_configuration()?;
        Ok(json!({ "files": read.files, "ignoredKeys": read.unused }))
    }

    fn store_info(&self) -> Result<Value, Fault> {
        let all = self.list(&List { all: true, ..List::default() })?;
        let count = |statuses: &[Status]| all.iter().filter(|c| statuses.contains(&c.status)).count();
        let space = rustix::fs::statvfs(&self.settings.root).ok();
        let images = self.images(&ops::image::List::default())?.len();
        let report = self.driver_report()?;
        let owners = self.store()?.owners().map_err(crate::fault::store)?;
        Ok(json!({
            "graphDriverName": crate::container::root::driver_name(report.driver),
            "graphStatus": {
                "Driver": report.driver.name(),
                "Reason": report.reason,
                "Backing Filesystem": report.filesystem,
                // Whose files are in user namespaces of containers: by idmapped mounts, or by layers made for it.
                "Supports shifting": owners.mounts.to_string(),
                "Why not shifting": owners.reason,
                "Shifted layers without contents": owners.references.to_string(),
            },
            "graphOptions": graph_options(self.store()?.lenders()),
            "graphRoot": self.settings.root,
            "graphRootAllocated": space.as_ref().map_or(0, |s| s.f_blocks * s.f_frsize),
            "graphRootUsed": space.as_ref().map_or(0, |s| s.f_blocks.saturating_sub(s.f_bfree) * s.f_frsize),
            "runRoot": self.settings.run_root,
            "volumePath": self.settings.volumes,
            "imageStore": { "number": images },
            "containerStore": {
                "number": all.len(),
                "running": count(&[Status::Running]),
                "paused": count(&[Status::Paused]),
                "stopped": count(&[Status::Created, Status::Initialized, Status::Exited, Status::Stopping, Status::Removing]),
            },
            "transientStore": false,
        }))
    }
}

/// The version of Podman's interface whose words and shapes are spoken.
const API: &str = "5.8.0";

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn distribution() -> (String, String) {
    let release = text("/etc/os-release");
    let value = |key: &str| {
        release
            .lines()
            .find_map(|l| Some(l.strip_prefix(key)?.trim_matches('"').to_owned()))
            .unwrap_or_else(|| "unknown".to_owned())
    };
    (value("ID="), value("VERSION_ID="))
}

impl Engine {
    /// How networks are made, and if they are not, or not as well as could be, why.
    fn network_backend(&self) -> Result<(&'static str, String), Fault> {
        let missing = self.missing_network();
        if !missing.is_empty() {
            return Ok(("none", missing));
        }
        if self.host()?.in_user_namespace {
            return Ok(("monopod", self.lacking_network()));
        }
        Ok(match network::available() {
            Err(error) => ("none", crate::fault::network(error).to_string()),
            Ok(()) if self.is_filtered() => ("monopod", String::new()),
            Ok(()) => ("monopod", UNFILTERED.to_owned()),
        })
    }
}

/// As Go prints a duration: `2h 3m 4.00s`.
fn uptime() -> String {
    let seconds: f64 = text("/proc/uptime").split_whitespace().next().and_then(|t| t.parse().ok()).unwrap_or(0.0);
    let whole = seconds as u64;
    format!("{}h {}m {:.2}s", whole / 3600, whole / 60 % 60, seconds % 60.0)
}

/// The additional stores, as Podman tells them.
fn graph_options(lenders: &[std::path::PathBuf]) -> Value {
    match lenders {
        [] => json!({}),
        all => {
            json!({"overlay.imagestore": all.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(",")})
        }
    }
}
