//! The keys of containers.conf(5) that apply here.

use ops::Fault;
use std::path::PathBuf;
use toml::{Table, Value};

/// What containers get where nothing was said. Lists that are empty and values that are `None` were not in any file.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Defaults {
    pub annotations: Vec<String>,
    pub apparmor_profile: Option<String>,
    pub base_hosts_file: Option<String>,
    pub capabilities: Option<Vec<String>>,
    pub cdi_directories: Option<Vec<PathBuf>>,
    pub cgroupns: Option<String>,
    pub cgroups: Option<String>,
    pub devices: Vec<String>,
    pub dns_options: Vec<String>,
    pub dns_searches: Vec<String>,
    pub dns_servers: Vec<String>,
    pub env: Vec<String>,
    pub hook_directories: Option<Vec<PathBuf>>,
    pub host_containers_internal_ip: Option<String>,
    pub http_proxy: Option<bool>,
    pub init: bool,
    pub init_path: Option<String>,
    pub ipcns: Option<String>,
    pub label: Option<bool>,
    pub log_driver: Option<String>,
    pub log_size_max: Option<i64>,
    pub log_tag: Option<String>,
    pub mounts: Vec<String>,
    pub netns: Option<String>,
    pub no_blobs: bool,
    pub no_hosts: bool,
    pub oom_score_adj: Option<i32>,
    pub pidns: Option<String>,
    pub pids_limit: Option<i64>,
    pub privileged: bool,
    pub pull_policy: Option<String>,
    pub read_only: bool,
    pub seccomp_profile: Option<String>,
    pub shm_size: Option<u64>,
    pub stop_timeout: Option<u32>,
    pub sysctls: Option<Vec<String>>,
    pub timezone: Option<String>,
    pub ulimits: Vec<String>,
    pub umask: Option<String>,
    pub userns: Option<String>,
    pub utsns: Option<String>,
    pub volumes: Vec<String>,
}

/// One key's value, with its name for errors.
struct Given {
    name: String,
    value: Value,
}

impl Given {
    fn wrong(&self, wanted: &str) -> Fault {
        Fault::invalid(format!("containers.conf: {} must be {wanted}, and is a {}", self.name, self.value.type_str()))
    }

    fn text(&self) -> Result<Option<String>, Fault> {
        let text = self.value.as_str().ok_or_else(|| self.wrong("a string"))?;
        Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
    }

    fn switch(&self) -> Result<bool, Fault> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    fn number(&self) -> Result<i64, Fault> {
        self.value.as_integer().ok_or_else(|| self.wrong("a number"))
    }

    fn small<T: TryFrom<i64>>(&self) -> Result<Option<T>, Fault> {
        T::try_from(self.number()?).map(Some).map_err(|_| self.wrong("a smaller number"))
    }

    fn paths(&self) -> Result<Vec<PathBuf>, Fault> {
        let all: Vec<PathBuf> = self.list()?.into_iter().map(PathBuf::from).collect();
        let is_absolute = all.iter().all(|path| path.is_absolute());
        is_absolute.then_some(all).ok_or_else(|| self.wrong("a list of absolute paths"))
    }

    fn list(&self) -> Result<Vec<String>, Fault> {
        let all = self.value.as_array().ok_or_else(|| self.wrong("a list of strings"))?;
        all.iter().map(|v| v.as_str().map(str::to_owned).ok_or_else(|| self.wrong("a list of strings"))).collect()
    }
}

/// The defaults, and the names of the keys that are none.
pub fn defaults(all: Table) -> Result<(Defaults, Vec<String>), Fault> {
    let mut defaults = Defaults::default();
    let mut unused = Vec::new();
    for (table, keys) in all {
        let Value::Table(keys) = keys else {
            unused.push(table);
            continue;
        };
        for (key, value) in keys {
            if value.as_table().is_some_and(Table::is_empty) {
                continue;
            }
            let given = Given { name: format!("{table}.{key}"), value };
            if !take(&mut defaults, &table, &key, &given)? {
                unused.push(given.name);
            }
        }
    }
    unused.sort();
    Ok((defaults, unused))
}

/// False if the key means nothing here.
fn take(d: &mut Defaults, table: &str, key: &str, given: &Given) -> Result<bool, Fault> {
    match (table, key) {
        ("containers", "annotations") => d.annotations = given.list()?,
        ("containers", "apparmor_profile") => d.apparmor_profile = given.text()?,
        ("containers", "base_hosts_file") => d.base_hosts_file = given.text()?,
        ("containers", "host_containers_internal_ip") => d.host_containers_internal_ip = given.text()?,
        ("containers", "cgroupns") => d.cgroupns = given.text()?,
        ("containers", "cgroups") => d.cgroups = given.text()?,
        ("containers", "default_capabilities") => d.capabilities = Some(given.list()?),
        ("containers", "default_sysctls") => d.sysctls = Some(given.list()?),
        ("containers", "default_ulimits") => d.ulimits = given.list()?,
        ("containers", "devices") => d.devices = given.list()?,
        ("containers", "dns_options") => d.dns_options = given.list()?,
        ("containers", "dns_searches") => d.dns_searches = given.list()?,
        ("containers", "dns_servers") => d.dns_servers = given.list()?,
        ("containers", "env") => d.env = given.list()?,
        ("containers", "http_proxy") => d.http_proxy = Some(given.switch()?),
        ("containers", "init") => d.init = given.switch()?,
        ("containers", "init_path") => d.init_path = given.text()?,
        ("containers", "ipcns") => d.ipcns = given.text()?,
        ("containers", "label") => d.label = Some(given.switch()?),
        ("containers", "log_driver") => d.log_driver = given.text()?,
        ("containers", "log_size_max") => d.log_size_max = Some(given.number()?),
        ("containers", "log_tag") => d.log_tag = given.text()?,
        ("containers", "mounts") => d.mounts = given.list()?,
        ("containers", "netns") => d.netns = given.text()?,
        ("containers", "no_hosts") => d.no_hosts = given.switch()?,
        ("containers", "oom_score_adj") => d.oom_score_adj = given.small()?,
        ("containers", "pidns") => d.pidns = given.text()?,
        ("containers", "pids_limit") => d.pids_limit = Some(given.number()?),
        ("containers", "privileged") => d.privileged = given.switch()?,
        ("containers", "read_only") => d.read_only = given.switch()?,
        ("containers", "seccomp_profile") => d.seccomp_profile = given.text()?,
        ("containers", "shm_size") => {
            d.shm_size = given.text()?.map(|text| types::size::parse(&text)).transpose().map_err(Fault::from)?;
        }
        ("containers", "tz") => d.timezone = given.text()?,
        ("containers", "umask") => d.umask = given.text()?,
        ("containers", "userns") => d.userns = given.text()?,
        ("containers", "utsns") => d.utsns = given.text()?,
        ("containers", "volumes") => d.volumes = given.list()?,
        ("engine", "no_blobs") => d.no_blobs = given.switch()?,
        ("engine", "cdi_spec_dirs") => d.cdi_directories = Some(given.paths()?),
        ("engine", "hooks_dir") => d.hook_directories = Some(given.paths()?),
        ("engine", "pull_policy") => d.pull_policy = given.text()?,
        ("engine", "stop_timeout") => d.stop_timeout = given.small()?,
        _ => return Ok(false),
    }
    Ok(true)
}
