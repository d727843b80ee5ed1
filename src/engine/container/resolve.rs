//! Asked → decided: a pure function, and the only place with defaults. They are Podman's wherever it has one.

mod accounts;
mod automatic;
pub(crate) mod defaults;
mod devices;
mod environment;
pub(crate) mod idmap;
mod life;
mod limits;
pub(crate) mod mount_flag;
mod mounts;
mod namespaces;
pub(crate) mod networks;
pub(crate) mod secrets;
mod security;
mod systemd;

use super::config::{Config, Log, LogDriver, Names, RootDirectory};
use super::facts::Facts;
use ops::container::Create;
use ops::{Fault, Kind};
use std::collections::BTreeMap;
use std::path::PathBuf;
use store::Configuration;
use types::{Id, Signal, size};

/// The image that a container is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Its name as it will be shown.
    pub name: String,
    /// Its id: 64 hex digits.
    pub id: String,
    /// Its configuration.
    pub config: Configuration,
}

pub(crate) use automatic::map as automatic_map;
pub(crate) use environment::change as change_environment;
pub(crate) use life::updated as updated_check;
pub(crate) use limits::{resources, updated_rlimits};

/// Where programs are looked for if the image does not say.
pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Seconds that `stop` waits if nothing was said.
pub const STOP_TIMEOUT: u32 = 10;
/// Bytes of /dev/shm: 64000k.
pub const SHM_SIZE: u64 = 65_536_000;
/// Processes of a container, where they can be limited.
pub const PIDS: i64 = 2048;
/// File mode mask.
pub const UMASK: u32 = 0o022;

/// Decides everything about a container that will have `id` and `name`. Returns what the user should know, too.
pub fn resolve(
    asked: &Create,
    image: &Image,
    facts: &Facts,
    id: &Id,
    name: &str,
) -> Result<(Config, Vec<String>), Fault> {
    let mut warnings = Vec::new();
    let defaults = &image.config.config;
    let (network, attachments) = networks::networks(asked, facts)?;
    let private_network = namespaces::private_network(asked.networks.first().map(String::as_str), facts)?;
    let own_network = private_network.is_some() || !attachments.is_empty();
    let (ports, exposed) = networks::ports(asked, &defaults.exposed_ports, facts, own_network, &mut warnings)?;
    let namespaces = namespaces::namespaces(asked, network, facts)?;
    let (entrypoint, command) = command(asked, defaults);
    let mut arguments = entrypoint.clone();
    arguments.extend(command.iter().cloned());
    if arguments.first().is_none_or(|a| a.is_empty()) {
        return Err(Fault::invalid("no command or entrypoint provided, and no CMD or ENTRYPOINT from image"));
    }
    if let Some(argument) = arguments.iter().find(|a| a.contains('\0')) {
        return Err(Fault::invalid(format!("invalid argument {argument:?} of the command: it holds a zero byte")));
    }
    let hostname = namespaces::hostname(asked, &namespaces, facts, id)?;
    let user = asked.user.clone().unwrap_or_else(|| defaults.user.clone());
    let user = if user.is_empty() { namespaces::user_of(&namespaces.user_mode, facts)? } else { user };
    let security = security::security(asked, facts, &user, &defaults.labels, &mut warnings)?;
    let no_cgroup = limits::no_cgroup(asked)?;
    let resources = if no_cgroup { asked.resources.clone() } else { resources(&asked.resources, facts)? };
    let systemd = systemd::is_asked(asked, &arguments)?;
    let init = asked.init && asked.init_path.is_none();
    let mut sysctl = limits::sysctl(&asked.sysctl, &namespaces)?;
    let has_root = namespaces.user.as_ref().is_none_or(|map| types::idmap::to_host(&map.gids, 0).is_some());
    if let Some(usual) = &asked.default_sysctls {
        for (key, value) in limits::usual_sysctls(usual, &namespaces)? {
            if key != "net.ipv4.ping_group_range" || has_root && own_network {
                sysctl.entry(key).or_insert(value);
            }
        }
    } else if has_root && own_network {
        // Podman's default: so `ping` needs no privileges inside. A group that no id stands for there is not taken.
        sysctl.entry("net.ipv4.ping_group_range".into()).or_insert_with(|| "0 0".into());
    }
    let config = Config {
        id: id.clone(),
        name: name.to_owned(),
        image: image.name.clone(),
        image_id: image.id.clone(),
        root_directory: root_directory(asked, namespaces.user.is_some())?,
        environment: {
            let mut environment = environment::environment(asked, &defaults.env, &hostname, facts)?;
            environment.extend(systemd.then(|| systemd::uuid(id)));
            environment
        },
        labels: labels(asked, &defaults.labels)?,
        annotations: annotations(asked)?,
        working_directory: working_directory(asked, &defaults.working_dir)?,
        make_working_directory: asked.working_directory.as_ref().is_none_or(|asked| *asked == defaults.working_dir),
        user,
        keep_groups: accounts::keeps_groups(asked)?,
        additional_groups: asked.additional_groups.iter().filter(|g| *g != accounts::KEEP).cloned().collect(),
        accounts: accounts::accounts(asked, &namespaces.user_mode, facts)?,
        terminal: asked.terminal,
        interactive: asked.interactive,
        remove: asked.remove,
        remove_image: asked.remove_image,
        read_only: asked.read_only,
        mounts: mounts::mounts(
            asked,
            &defaults.volumes,
            if systemd { systemd::memory(asked)? } else { Vec::new() },
            mounts::Context { facts, id, user: namespaces.user.as_ref() },
        )?,
        shm_size: asked.shm_size.unwrap_or(SHM_SIZE),
        devices: devices::devices(asked, facts, systemd)?,
        vendor_devices: devices::of_vendors(asked),
        device_rules: devices::rules(asked, facts)?,
        capabilities: security.capabilities,
        user_capabilities: security.user_capabilities,
        no_new_privileges: security.no_new_privileges,
        seccomp: security.seccomp,
        apparmor: security.apparmor,
        masked_paths: security.masked_paths,
        read_only_paths: security.read_only_paths,
        proc_options: security.proc_options,
        privileged: asked.privileged,
        sysctl,
        rlimits: limits::rlimits(&asked.ulimits, facts, &mut warnings)?,
        resources,
        oom_score_adj: oom_score_adj(asked)?,
        umask: umask(asked)?,
        init,
        init_path: init_path(asked)?,
        systemd,
        personality: personality(asked)?,
        requires: requires(asked, facts)?,
        secrets: secrets::secrets(asked, facts)?,
        timezone: timezone(asked)?,
        chroot_directories: asked
            .chroot_directories
            .iter()
            .map(|d| mounts::destination(d))
            .collect::<Result<_, _>>()?,
        stop_signal: stop_signal(asked, &defaults.stop_signal, systemd)?,
        stop_timeout: asked.stop_timeout.unwrap_or(STOP_TIMEOUT),
        log: log(asked)?,
        names: names(asked)?,
        network_by_default: asked.networks.iter().all(String::is_empty),
        unconnected: false,
        private_network,
        cgroup_parent: asked.cgroup_parent.clone().unwrap_or_default(),
        no_cgroup,
        cid_file: asked.cid_file.clone(),
        create_command: asked.create_command.clone(),
        life: life::life(asked, defaults.healthcheck.as_ref())?,
        entrypoint,
        command,
        arguments,
        hostname,
        namespaces,
        attachments,
        ports,
        exposed,
    };
    Ok((config, warnings))
}

/// `--rootfs`: a directory with its options.
fn root_directory(asked: &Create, has_user_namespace: bool) -> Result<Option<RootDirectory>, Fault> {
    if !asked.root_directory {
        return Ok(None);
    }
    let (path, options) = asked.image.split_once(':').unwrap_or((&asked.image, ""));
    let mut root = RootDirectory { path: path.into(), overlay: false, idmap: false };
    if !root.path.is_absolute() {
        return Err(Fault::invalid(format!("--rootfs {path:?}: the path must be absolute")));
    }
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "O" => root.overlay = true,
            "idmap" => root.idmap = true,
            _ => return Err(Fault::invalid(format!("invalid option {option:?} of --rootfs")).hint("use O or idmap")),
        }
    }
    if root.idmap && !has_user_namespace {
        return Err(Fault::invalid("--rootfs with idmap needs a user namespace of the container's own")
            .hint("use it with --userns auto or --uidmap"));
    }
    if root.idmap && !root.overlay {
        return Err(Fault::new(Kind::Unsupported, "--rootfs with idmap shows files through an overlay only")
            .hint("use :O,idmap, and what is written goes elsewhere"));
    }
    Ok(Some(root))
}

/// A given entry point drops the image's command; a given command replaces only the command.
fn command(asked: &Create, defaults: &store::configuration::Process) -> (Vec<String>, Vec<String>) {
    match &asked.entrypoint {
        Some(entrypoint) => {
            let entrypoint: Vec<String> = entrypoint.iter().filter(|e| !e.is_empty()).cloned().collect();
            (entrypoint, asked.command.clone())
        }
        None => {
            let command =
                if asked.command.is_empty() { defaults.cmd.clone().unwrap_or_default() } else { asked.command.clone() };
            (defaults.entrypoint.clone().unwrap_or_default(), command)
        }
    }
}

fn labels(asked: &Create, image: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Fault> {
    let mut labels = image.clone();
    labels.extend(pairs("label", &asked.labels)?);
    Ok(labels)
}

/// All with a value, unlike labels.
fn annotations(asked: &Create) -> Result<BTreeMap<String, String>, Fault> {
    match asked.annotations.iter().find(|entry| !entry.contains('=')) {
        Some(entry) => Err(Fault::invalid(format!("annotations must be formatted KEY=VALUE: {entry:?}"))),
        None => pairs("annotation", &asked.annotations),
    }
}

/// `KEY=VALUE` or `KEY`, which is the same as `KEY=`.
fn pairs(what: &str, entries: &[String]) -> Result<BTreeMap<String, String>, Fault> {
    entries
        .iter()
        .map(|entry| match entry.split_once('=').unwrap_or((entry, "")) {
            ("", _) => Err(Fault::invalid(format!("invalid {what} {entry:?}: the key is empty"))),
            (key, value) => Ok((key.to_owned(), value.to_owned())),
        })
        .collect()
}

fn working_directory(asked: &Create, image: &str) -> Result<String, Fault> {
    match &asked.working_directory {
        Some(path) if path.starts_with('/') => Ok(path.clone()),
        Some(path) if !path.is_empty() => {
            Err(Fault::invalid(format!("working directory {path:?} must be an absolute path")))
        }
        _ if image.starts_with('/') => Ok(image.to_owned()),
        // Docker's builder writes absolute paths; others have written relative ones, meant from the root.
        _ => Ok(format!("/{image}")),
    }
}

fn oom_score_adj(asked: &Create) -> Result<Option<i32>, Fault> {
    match asked.oom_score_adj {
        Some(value) if !(-1000..=1000).contains(&value) => {
            Err(Fault::invalid(format!("invalid value for --oom-score-adj: {value} is not within -1000 and 1000")))
        }
        value => Ok(value),
    }
}

fn umask(asked: &Create) -> Result<u32, Fault> {
    match &asked.umask {
        None => Ok(UMASK),
        Some(text) => {
            u32::from_str_radix(text, 8).ok().filter(|mask| *mask <= 0o777 && text.len() <= 4).ok_or_else(|| {
                Fault::invalid(format!("invalid umask string {text:?}: must match ^[0-7]{{1,4}}$ and be at most 0777"))
            })
        }
    }
}

fn stop_signal(asked: &Create, image: &str, systemd: bool) -> Result<Signal, Fault> {
    let usual = if systemd { systemd::STOP_SIGNAL } else { Signal::TERM };
    match asked.stop_signal {
        Some(signal) => Ok(signal),
        None if image.is_empty() => Ok(usual),
        None => image.parse().map_err(|_| {
            Fault::invalid(format!("invalid signal: {image}: the image wants to be stopped by it"))
                .hint("name one with --stop-signal")
        }),
    }
}

fn init_path(asked: &Create) -> Result<Option<PathBuf>, Fault> {
    match &asked.init_path {
        Some(path) if !path.is_absolute() => {
            Err(Fault::invalid(format!("invalid --init-path {path:?}: it must be an absolute path")))
        }
        path => Ok(path.clone().filter(|_| asked.init)),
    }
}

/// The kernel knows many; those that exist on machines of today are the two of the runtime specification.
fn personality(asked: &Create) -> Result<Option<String>, Fault> {
    match asked.personality.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => match text.to_ascii_uppercase().as_str() {
            domain @ ("LINUX" | "LINUX32") => Ok(Some(domain.to_owned())),
            _ => Err(Fault::invalid(format!("invalid personality {text:?}")).hint("use LINUX or LINUX32")),
        },
    }
}

fn requires(asked: &Create, facts: &Facts) -> Result<Vec<Id>, Fault> {
    asked.requires.iter().map(|name| facts.container(name)).collect()
}

fn timezone(asked: &Create) -> Result<Option<String>, Fault> {
    let fine = |zone: &str| {
        zone.split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.') && part.bytes().all(|b| b.is_ascii_graphic()))
    };
    match asked.timezone.as_deref() {
        None | Some("") => Ok(None),
        Some(zone) if fine(zone) => Ok(Some(zone.to_owned())),
        Some(zone) => Err(Fault::invalid(format!("finding timezone: unknown time zone {zone}"))),
    }
}

fn log(asked: &Create) -> Result<Log, Fault> {
    let driver = match asked.log_driver.as_deref() {
        None | Some("k8s-file" | "") => LogDriver::K8sFile,
        Some("json-file") => LogDriver::JsonFile,
        Some("none") => LogDriver::None,
        Some(other @ ("journald" | "passthrough" | "passthrough-tty")) => {
            return Err(Fault::new(Kind::Unsupported, format!("log driver {other:?} is not supported yet"))
                .hint("use k8s-file, json-file or none"));
        }
        Some(other) => {
            return Err(Fault::invalid(format!("invalid log driver {other:?}")).hint("use k8s-file, json-file or none"));
        }
    };
    let mut log = Log { driver, path: None, max_size: 0, tag: String::new() };
    for option in &asked.log_options {
        match option.split_once('=') {
            Some(("path", path)) if path.starts_with('/') => log.path = Some(PathBuf::from(path)),
            Some(("path", path)) => return Err(Fault::invalid(format!("log path {path:?} must be absolute"))),
            Some(("max-size", "-1")) => log.max_size = 0,
            // In powers of 1000, as Podman reads it here.
            Some(("max-size", text)) => log.max_size = size::parse_decimal(text)?,
            Some(("tag", tag)) => log.tag = tag.to_owned(),
            _ => {
                return Err(
                    Fault::invalid(format!("invalid log option {option:?}")).hint("use path=, max-size= or tag=")
                );
            }
        }
    }
    Ok(log)
}

fn names(asked: &Create) -> Result<Names, Fault> {
    if let Some(file) = asked.hosts_file.as_deref()
        && !matches!(file, "" | "image" | "none")
        && !file.starts_with('/')
    {
        return Err(Fault::invalid(format!("invalid --hosts-file {file:?}"))
            .hint("use image, none, or the absolute path of a file"));
    }
    if let Some(address) = asked.host_address.as_deref()
        && !matches!(address, "" | "none")
        && address.parse::<std::net::IpAddr>().is_err()
    {
        return Err(Fault::invalid(format!("invalid host_containers_internal_ip {address:?} in containers.conf"))
            .hint("use an address, or none"));
    }
    if asked.no_hosts && !asked.add_hosts.is_empty() {
        return Err(Fault::invalid("--no-hosts and --add-host cannot be set together"));
    }
    let mut add_hosts = Vec::new();
    for entry in &asked.add_hosts {
        let (names, ip) = entry.split_once(':').filter(|(n, ip)| !n.is_empty() && !ip.is_empty()).ok_or_else(|| {
            Fault::invalid(format!("unable to parse host entry {entry:?}: incorrect format")).hint("expected NAME:IP")
        })?;
        let ip = ip.trim_start_matches('[').trim_end_matches(']');
        if ip != "host-gateway" && ip.parse::<std::net::IpAddr>().is_err() {
            return Err(Fault::invalid(format!("invalid IP address in add-host: {ip:?}")));
        }
        add_hosts.extend(names.split(';').map(|n| (n.to_owned(), ip.to_owned())));
    }
    if let Some(mode) = asked.networks.first().filter(|mode| *mode == "none" || mode.starts_with("container:")) {
        let given = [("dns", &asked.dns), ("dns-option", &asked.dns_options), ("dns-search", &asked.dns_search)];
        if let Some((flag, _)) = given.iter().find(|(_, values)| !values.is_empty()) {
            return Err(Fault::invalid(format!("conflicting options: {flag} and the network mode: {mode}")));
        }
    }
    for server in &asked.dns {
        if server != "none" && server.parse::<std::net::IpAddr>().is_err() {
            return Err(Fault::invalid(format!("{server} is not an ip address")));
        }
    }
    Ok(Names {
        add_hosts,
        no_hosts: asked.no_hosts,
        host_address: asked.host_address.clone().filter(|address| !address.is_empty()),
        hosts_file: asked.hosts_file.clone().filter(|file| !file.is_empty()),
        no_hostname: asked.no_hostname,
        dns: asked.dns.clone(),
        dns_search: asked.dns_search.clone(),
        dns_options: asked.dns_options.clone(),
    })
}

#[cfg(test)]
mod options_tests;
#[cfg(test)]
pub(crate) mod tests;
