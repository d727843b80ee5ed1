//! What containers.conf says, put under what was asked: what a flag says counts, then the files, then the built-in defaults.

use crate::configuration::Defaults;
use ops::container::Create;

/// The request with the files' values where nothing was asked.
pub fn under(asked: &Create, files: &Defaults) -> Create {
    let mut all = asked.clone();
    let d = files.clone();
    let unless = |asked: &mut Option<String>, default: Option<String>| {
        if asked.as_deref().is_none_or(str::is_empty) {
            *asked = default.or(asked.take());
        }
    };
    let first = |asked: &mut Vec<String>, mut default: Vec<String>| {
        default.append(asked);
        *asked = default;
    };
    let lists = |asked: &mut Vec<String>, default: Vec<String>| {
        if asked.is_empty() {
            *asked = default;
        }
    };
    first(&mut all.annotations, d.annotations);
    unless(&mut all.hosts_file, d.base_hosts_file.filter(|_| !asked.no_hosts));
    unless(&mut all.host_address, d.host_containers_internal_ip);
    all.default_capabilities = d.capabilities;
    all.default_sysctls = d.sysctls;
    all.default_environment = d.env;
    unless(&mut all.cgroupns, d.cgroupns);
    unless(&mut all.cgroups, d.cgroups);
    all.devices.extend(d.devices);
    lists(&mut all.dns_options, d.dns_options);
    lists(&mut all.dns_search, d.dns_searches);
    lists(&mut all.dns, d.dns_servers);
    all.http_proxy = all.http_proxy.or(d.http_proxy);
    all.init |= d.init;
    all.init_path = all.init_path.take().or(d.init_path.map(Into::into));
    unless(&mut all.ipc, d.ipcns);
    unless(&mut all.log_driver, d.log_driver);
    let has = |options: &[String], key: &str| options.iter().any(|o| o.split(['=', ':']).next() == Some(key));
    if let Some(size) = d.log_size_max.filter(|size| *size > 0 && !has(&all.log_options, "max-size")) {
        all.log_options.push(format!("max-size={size}"));
    }
    if let Some(tag) = d.log_tag.filter(|_| !has(&all.log_options, "tag")) {
        all.log_options.push(format!("tag={tag}"));
    }
    for (key, value) in [("apparmor", d.apparmor_profile), ("seccomp", d.seccomp_profile)] {
        if let Some(value) = value.filter(|_| !has(&all.security_options, key) && !asked.privileged) {
            all.security_options.push(format!("{key}={value}"));
        }
    }
    if d.label == Some(false) && !has(&all.security_options, "label") {
        all.security_options.push("label=disable".into());
    }
    all.mounts.extend(d.mounts);
    if let Some(network) = d.netns.filter(|_| all.networks.iter().all(String::is_empty)) {
        all.networks = vec![network];
    }
    all.no_hosts |= d.no_hosts && asked.add_hosts.is_empty();
    all.oom_score_adj = all.oom_score_adj.or(d.oom_score_adj);
    unless(&mut all.pid, d.pidns);
    if all.cgroups.as_deref() != Some("disabled") {
        all.resources.pids = all.resources.pids.or(d.pids_limit);
    }
    all.privileged |= d.privileged;
    unless(&mut all.pull, d.pull_policy);
    all.read_only |= d.read_only;
    all.shm_size = all.shm_size.or(d.shm_size);
    all.stop_timeout = all.stop_timeout.or(d.stop_timeout);
    unless(&mut all.timezone, d.timezone);
    first(&mut all.ulimits, d.ulimits.into_iter().filter(|_| !asked.ulimits.iter().any(|u| u == "host")).collect());
    unless(&mut all.umask, d.umask);
    let has_maps = !(asked.uid_maps.is_empty() && asked.gid_maps.is_empty())
        || asked.sub_uid_name.is_some()
        || asked.sub_gid_name.is_some();
    unless(&mut all.userns, d.userns.filter(|_| !has_maps));
    unless(&mut all.uts, d.utsns);
    first(&mut all.volumes, d.volumes);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_counts_more() {
        let files = Defaults {
            annotations: vec!["a=file".into()],
            env: vec!["A=1".into()],
            dns_servers: vec!["1.1.1.1".into()],
            ipcns: Some("host".into()),
            log_size_max: Some(500),
            netns: Some("host".into()),
            pids_limit: Some(7),
            seccomp_profile: Some("/p".into()),
            stop_timeout: Some(3),
            timezone: Some("UTC".into()),
            volumes: vec!["/v:/v".into()],
            ..Defaults::default()
        };
        let plain = under(&Create::default(), &files);
        assert_eq!((plain.ipc.as_deref(), plain.networks.as_slice()), (Some("host"), &["host".to_owned()][..]));
        assert_eq!((plain.resources.pids, plain.stop_timeout), (Some(7), Some(3)));
        assert_eq!(
            (plain.log_options, plain.security_options),
            (vec!["max-size=500".into()], vec!["seccomp=/p".into()])
        );
        assert_eq!((plain.default_environment, plain.volumes), (vec!["A=1".into()], vec!["/v:/v".into()]));
        let mut asked = Create {
            annotations: vec!["a=asked".into()],
            dns: vec!["none".into()],
            ipc: Some("private".into()),
            log_options: vec!["max-size=1k".into()],
            networks: vec!["none".into()],
            security_options: vec!["seccomp=unconfined".into()],
            timezone: Some("local".into()),
            ..Create::default()
        };
        asked.resources.pids = Some(0);
        let decided = under(&asked, &files);
        assert_eq!(decided.annotations, ["a=file", "a=asked"]);
        asked.annotations = decided.annotations.clone();
        asked.default_environment = vec!["A=1".into()];
        asked.volumes = vec!["/v:/v".into()];
        asked.stop_timeout = Some(3);
        assert_eq!(decided, asked);
        let nothing = under(&Create::default(), &Defaults::default());
        assert_eq!(nothing, Create::default());
    }
}
