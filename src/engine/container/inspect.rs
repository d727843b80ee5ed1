//! All about a container, in the shape of `podman inspect`. A key that Podman has and that says nothing here is left
//! out or has Podman's own empty value; nothing is made up.

use super::config::{Config, LogDriver, Mount, MountKind, Namespace, Seccomp, SecretPlace};
use crate::Engine;
use crate::database::Record;
use monitor::record::Running;
use ops::Fault;
use ops::container::Status;
use serde_json::{Map, Value, json};
use types::capability;

/// Go's zero time, which Podman prints for "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Engine {
    /// All about a container, in the shape of `podman inspect`; `size`: with the room that its files take.
    pub fn inspect_with(&self, name: &str, size: bool) -> Result<Value, Fault> {
        let mut document = self.inspect(name)?;
        if size {
            let id = self.find(name)?;
            let size = self.size_of(&id)?;
            document["SizeRw"] = json!(size.written);
            document["SizeRootFs"] = json!(size.whole);
        }
        Ok(document)
    }

    /// All about a container, in the shape of `podman inspect`.
    pub fn inspect(&self, name: &str) -> Result<Value, Fault> {
        let record = self.settle(self.record_of(name)?)?.ok_or_else(|| super::init::no_such(name))?;
        let state = self.observe(&record);
        let config = self.database()?.config(record.seq)?;
        let shown = self.shown(&record, &state);
        let mut document = self.document(&record, &config, shown, state.running.as_ref());
        document["State"]["Restarting"] = json!(self.is_restarting(&record));
        if let (Some(health), Some(check)) = (self.health(&record), &config.life.check) {
            describe_checks(&mut document, check, &health);
        }
        Ok(document)
    }

    /// The digest of the manifest of a container's image; empty if it has none, or the image is gone.
    fn image_digest(&self, config: &Config) -> String {
        if config.root_directory.is_some() {
            return String::new();
        }
        let image = self.store().ok().and_then(|store| store.find_image(&config.image_id).ok());
        image.map(|image| image.manifest.to_string()).unwrap_or_default()
    }

    fn document(&self, record: &Record, config: &Config, status: Status, running: Option<&Running>) -> Value {
        let directory = self.container_directory(&record.id);
        let file = |name: &str| directory.join(name).to_string_lossy().into_owned();
        let driver = self.snapshot_driver(&record.id);
        json!({
            "Id": record.id,
            "Created": time(record.created),
            "Path": config.arguments.first(),
            "Args": config.arguments.get(1..).unwrap_or_default(),
            "State": state(record, status, running),
            "Image": config.image_id,
            "ImageDigest": self.image_digest(config),
            "ImageName": config.image,
            "Rootfs": config.root_directory.as_ref().map(|root| root.path.to_string_lossy()).unwrap_or_default(),
            "Pod": "",
            "ResolvConfPath": file("resolv.conf"),
            "HostnamePath": file("hostname"),
            "HostsPath": file("hosts"),
            "StaticDir": directory.to_string_lossy(),
            "OCIRuntime": "monopod",
            "ConmonPidFile": path_text(config.life.monitor_pid_file.as_deref()),
            "PidFile": path_text(config.life.pid_file.as_deref()),
            "Name": record.name,
            "RestartCount": record.restarts,
            "Driver": driver,
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": config.apparmor.clone().unwrap_or_default(),
            "EffectiveCaps": capability::names(super::lower::effective_capabilities(config)),
            "BoundingCaps": capability::names(config.capabilities),
            "ExecIDs": [],
            "GraphDriver": { "Name": driver, "Data": self.snapshot_described(&record.id, config) },
            "Mounts": self.mounts(config),
            "Dependencies": dependencies(config),
            "NetworkSettings": self.network_settings(record, config),
            "Namespace": "",
            "IsInfra": false,
            "IsService": false,
            "Config": described(config),
            "HostConfig": self.host_config(config),
        })
    }

    fn host_config(&self, config: &Config) -> Value {
        let limits = &config.resources;
        let binds: Vec<String> = config
            .mounts
            .iter()
            .filter_map(|m| match &m.kind {
                MountKind::Bind { source } => {
                    Some(format!("{}:{}:{}", source.display(), m.destination, m.options.join(",")))
                }
                MountKind::Volume { name, .. } => Some(format!("{name}:{}:{}", m.destination, m.options.join(","))),
                MountKind::Tmpfs | MountKind::Ramfs | MountKind::Devpts | MountKind::Image { .. } => None,
            })
            .collect();
        let tmpfs: Map<String, Value> = config
            .mounts
            .iter()
            .filter(|m| m.kind == MountKind::Tmpfs)
            .map(|m| (m.destination.clone(), json!(m.options.join(","))))
            .collect();
        let devices: Vec<Value> = config
            .devices
            .iter()
            .map(|d| json!({ "PathOnHost": d.source, "PathInContainer": d.destination, "CgroupPermissions": d.permissions }))
            .collect();
        let default = capability::DEFAULT;
        let ulimits: Vec<Value> = config
            .rlimits
            .iter()
            .map(|r| json!({ "Name": r.name, "Soft": signed(r.soft), "Hard": signed(r.hard) }))
            .collect();
        let spaces = &config.namespaces;
        json!({
            "Binds": binds,
            "CgroupManager": "cgroupfs",
            "CgroupMode": mode(&spaces.cgroup),
            "ContainerIDFile": config.cid_file.as_ref().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default(),
            "LogConfig": {
                "Type": config.log.driver.name(),
                "Config": null,
                "Path": if config.log.driver != LogDriver::None { self.log_path(config).to_string_lossy().into_owned() } else { String::new() },
                "Tag": config.log.tag,
                "Size": types::size::human(config.log.max_size, 4).replace(' ', ""),
            },
            "NetworkMode": match (&spaces.network, &config.private_network) {
                (Namespace::Private, Some(options)) => options.style.word().to_owned(),
                (Namespace::Private, None) if config.attachments.is_empty() => "none".to_owned(),
                (Namespace::Private, None) => "bridge".to_owned(),
                (other, _) => mode(other),
            },
            "PortBindings": super::network_settings::bindings(config),
            "RestartPolicy": { "Name": config.life.restart.name(), "MaximumRetryCount": config.life.restart.most() },
            "AutoRemove": config.remove,
            "Annotations": config.annotations,
            "VolumeDriver": "",
            "VolumesFrom": null,
            "CapAdd": capability::names(config.capabilities & !default),
            "CapDrop": capability::names(default & !config.capabilities),
            "Dns": config.names.dns,
            "DnsOptions": config.names.dns_options,
            "DnsSearch": config.names.dns_search,
            "ExtraHosts": config.names.add_hosts.iter().map(|(n, ip)| format!("{n}:{ip}")).collect::<Vec<_>>(),
            "GroupAdd": config.additional_groups.iter().map(String::as_str).chain(config.keep_groups.then_some("keep-groups")).collect::<Vec<_>>(),
            "IpcMode": ipc_mode(spaces),
            "Cgroup": "",
            "Cgroups": if config.no_cgroup { "disabled" } else { "default" },
            "Links": null,
            "OomScoreAdj": config.oom_score_adj.unwrap_or(0),
            "PidMode": mode(&spaces.pid),
            "Privileged": config.privileged,
            "PublishAllPorts": false,
            "ReadonlyRootfs": config.read_only,
            "SecurityOpt": security_options(config),
            "Tmpfs": tmpfs,
            "UTSMode": mode(&spaces.uts),
            "UsernsMode": spaces.user_mode,
            "ShmSize": config.shm_size,
            "Runtime": "oci",
            "ConsoleSize": [0, 0],
            "Isolation": "",
            "CpuShares": limits.cpu_shares.unwrap_or(0),
            "Memory": limits.memory.unwrap_or(0),
            "NanoCpus": nano_cpus(config),
            "CgroupParent": config.cgroup_parent,
            "BlkioWeight": limits.blkio_weight.unwrap_or(0),
            "BlkioWeightDevice": weights(&limits.blkio_weight_device),
            "CpuPeriod": limits.cpu_period.unwrap_or(0),
            "CpuQuota": limits.cpu_quota.unwrap_or(0),
            "CpuRealtimePeriod": limits.cpu_rt_period.unwrap_or(0),
            "CpuRealtimeRuntime": limits.cpu_rt_runtime.unwrap_or(0),
            "CpusetCpus": limits.cpuset_cpus.clone().unwrap_or_default(),
            "CpusetMems": limits.cpuset_mems.clone().unwrap_or_default(),
            "Devices": devices,
            "DiskQuota": 0,
            "KernelMemory": 0,
            "MemoryReservation": limits.memory_reservation.unwrap_or(0),
            "MemorySwap": limits.memory_swap.unwrap_or(0),
            "MemorySwappiness": limits.memory_swappiness.unwrap_or(if limits.memory.is_some() { -1 } else { 0 }),
            "OomKillDisable": limits.oom_kill_disable,
            "CgroupConf": if limits.unified.is_empty() { Value::Null } else { json!(limits.unified) },
            "PidsLimit": limits.pids.unwrap_or(0),
            "Ulimits": ulimits,
            "CpuCount": 0,
            "CpuPercent": 0,
            "IOMaximumIOps": 0,
            "IOMaximumBandwidth": 0,
        })
    }
}

/// What containers with checks have beside all else; others lack the keys, since clients stumble over empty ones.
fn describe_checks(document: &mut Value, check: &super::life::Check, health: &super::health::Health) {
    let seen = json!({ "Status": health.status, "FailingStreak": health.failing_streak, "Log": health.log });
    document["State"]["Health"] = seen.clone();
    document["State"]["Healthcheck"] = seen;
    document["Config"]["Healthcheck"] = json!({
        "Test": check.regular.test,
        "StartPeriod": check.regular.start_period,
        "Interval": check.regular.interval,
        "Timeout": check.regular.timeout,
        "Retries": check.regular.retries,
    });
    document["Config"]["HealthcheckOnFailureAction"] = json!(check.on_failure.name());
    document["Config"]["HealthLogDestination"] = json!(check.log_destination.name());
    document["Config"]["HealthMaxLogCount"] = json!(check.log_count);
    document["Config"]["HealthMaxLogSize"] = json!(check.log_size);
    if let Some(startup) = &check.startup {
        document["Config"]["StartupHealthCheck"] = json!({
            "Test": startup.test,
            "Interval": startup.interval,
            "Timeout": startup.timeout,
            "Retries": startup.retries,
            "Successes": startup.success,
        });
    }
}

fn path_text(path: Option<&std::path::Path>) -> String {
    path.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default()
}

fn state(record: &Record, status: Status, running: Option<&Running>) -> Value {
    let started = running.map_or(record.started, |r| if r.started_ns != 0 { r.started_ns } else { record.started });
    json!({
        "OciVersion": "1.2.0",
        "Status": status.word(),
        "Running": matches!(status, Status::Running | Status::Paused | Status::Stopping),
        "Paused": status == Status::Paused,
        "Restarting": false,
        "OOMKilled": running.is_none() && record.oom,
        "Dead": false,
        "Pid": running.map_or(0, |r| r.pid),
        "ConmonPid": running.map_or(0, |r| r.monitor_pid),
        "ExitCode": if running.is_some() { 0 } else { record.exit_code },
        "Error": record.error,
        "StartedAt": time(started),
        "FinishedAt": time(record.finished),
        "CgroupPath": running.and_then(|r| r.cgroup.clone()).unwrap_or_default(),
        "Checkpointed": false,
        "Restored": false,
    })
}

fn described(config: &Config) -> Value {
    json!({
        "Hostname": config.hostname,
        "Domainname": "",
        "User": config.user,
        "AttachStdin": config.interactive,
        "AttachStdout": true,
        "AttachStderr": true,
        "Tty": config.terminal,
        "OpenStdin": config.interactive,
        "StdinOnce": false,
        "Env": config.environment,
        "Cmd": config.command,
        "Image": config.image,
        "Volumes": null,
        "WorkingDir": config.working_directory,
        "Entrypoint": config.entrypoint,
        "OnBuild": null,
        "Labels": config.labels,
        "Annotations": config.annotations,
        "StopSignal": config.stop_signal.name(),
        "StopTimeout": config.stop_timeout,
        "CreateCommand": config.create_command,
        "Umask": format!("{:04o}", config.umask),
        "Timezone": config.timezone.clone().unwrap_or_default(),
        "SystemdMode": config.systemd,
        "Secrets": secrets(config),
        "Passwd": !config.accounts.none,
        "sdNotifyMode": config.life.notify.name(),
        "sdNotifySocket": "",
    })
}

impl Engine {
    fn mounts(&self, config: &Config) -> Vec<Value> {
        config.mounts.iter().map(|mount| self.mount(mount)).collect()
    }

    fn mount(&self, mount: &Mount) -> Value {
        let propagation =
            mount.options.iter().find(|o| o.ends_with("private") || o.ends_with("shared") || o.ends_with("slave"));
        let (kind, source) = match &mount.kind {
            MountKind::Bind { source } => ("bind", source.to_string_lossy().into_owned()),
            MountKind::Tmpfs => ("tmpfs", String::new()),
            MountKind::Ramfs => ("ramfs", String::new()),
            MountKind::Devpts => ("devpts", String::new()),
            MountKind::Volume { name, .. } => ("volume", self.volume_data(name).to_string_lossy().into_owned()),
            MountKind::Image { name, .. } => ("image", name.clone()),
        };
        let plain: Vec<&String> =
            mount.options.iter().filter(|o| Some(*o) != propagation && !matches!(o.as_str(), "ro" | "rw")).collect();
        let mut described = json!({
            "Type": kind,
            "Source": source,
            "Destination": mount.destination,
            "Driver": "",
            "Mode": if mount.overlay.is_some() { "O" } else { "" },
            "Options": plain,
            "RW": !mount.options.iter().any(|o| o == "ro"),
            "Propagation": propagation.cloned().unwrap_or_default(),
        });
        if let MountKind::Volume { name, .. } = &mount.kind {
            described["Name"] = json!(name);
            described["Driver"] = json!("local");
        }
        described
    }
}

/// The containers in whose namespaces it is.
pub(crate) fn dependencies(config: &Config) -> Vec<String> {
    let spaces = &config.namespaces;
    let mut ids: Vec<String> = [&spaces.network, &spaces.pid, &spaces.ipc, &spaces.uts, &spaces.cgroup]
        .into_iter()
        .chain(&spaces.user_joined)
        .filter_map(|s| if let Namespace::Container(id) = s { Some(id.to_string()) } else { None })
        .collect();
    ids.extend(config.requires.iter().map(ToString::to_string));
    ids.sort();
    ids.dedup();
    ids
}

/// The secrets that it is handed as files.
fn secrets(config: &Config) -> Value {
    let all: Vec<Value> = config
        .secrets
        .iter()
        .filter_map(|used| match used.place {
            SecretPlace::File { uid, gid, mode, .. } => {
                Some(json!({ "Name": used.name, "ID": used.id, "UID": uid, "GID": gid, "Mode": mode }))
            }
            SecretPlace::Variable(_) => None,
        })
        .collect();
    if all.is_empty() { Value::Null } else { Value::Array(all) }
}

/// `DEVICE:WEIGHT`, as Podman tells them.
fn weights(texts: &[String]) -> Value {
    let pairs = texts.iter().filter_map(|text| text.rsplit_once(':'));
    let all: Vec<Value> =
        pairs.map(|(path, weight)| json!({ "Path": path, "Weight": weight.parse::<u16>().unwrap_or(0) })).collect();
    if all.is_empty() { Value::Null } else { Value::Array(all) }
}

fn security_options(config: &Config) -> Vec<String> {
    let mut all = Vec::new();
    if config.no_new_privileges {
        all.push("no-new-privileges".to_owned());
    }
    match &config.seccomp {
        Seccomp::Unconfined if !config.privileged => all.push("seccomp=unconfined".to_owned()),
        Seccomp::Profile { path, .. } => all.push(format!("seccomp={path}")),
        _ => {}
    }
    if let Some(profile) = &config.apparmor {
        all.push(format!("apparmor={profile}"));
    }
    all
}

fn ipc_mode(spaces: &super::config::Namespaces) -> String {
    match (&spaces.ipc, spaces.no_shared_memory, spaces.closed_ipc) {
        (Namespace::Private, true, _) => "none".into(),
        (Namespace::Private, _, false) => "shareable".into(),
        (other, ..) => mode(other),
    }
}

fn mode(space: &Namespace) -> String {
    match space {
        Namespace::Private => "private".to_owned(),
        Namespace::Host => "host".to_owned(),
        Namespace::Container(id) => format!("container:{id}"),
        Namespace::Path(path) => format!("ns:{}", path.display()),
    }
}

fn nano_cpus(config: &Config) -> i64 {
    match (config.resources.cpu_quota, config.resources.cpu_period) {
        (Some(quota), Some(period)) if quota > 0 && period > 0 => {
            i64::try_from(i128::from(quota) * 1_000_000_000 / i128::from(period)).unwrap_or(0)
        }
        _ => 0,
    }
}

fn signed(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(-1)
}

/// RFC 3339 in UTC, as fine as it is known.
fn time(nanoseconds: i64) -> String {
    if nanoseconds == 0 {
        return NEVER.to_owned();
    }
    match jiff::Timestamp::from_nanosecond(nanoseconds.into()) {
        Ok(time) => time.to_string(),
        Err(_) => NEVER.to_owned(),
    }
}
