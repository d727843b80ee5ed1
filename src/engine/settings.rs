//! What the engine takes from its surroundings: the only place of this room that reads the environment.

use crate::configuration::Sources;
use ops::Fault;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The variable by which `unshare` tells what it starts whose namespace that is in; Podman's has the same name.
pub(crate) const INSIDE: &str = "_CONTAINERS_ROOTLESS_UID";

/// Facts about the caller, read once at the start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What lasts: images, layers, containers, the database.
    pub root: PathBuf,
    /// What a reboot forgets: pid files, sockets.
    pub run_root: PathBuf,
    /// Definitions of networks.
    pub networks: PathBuf,
    /// Directories of volumes.
    pub volumes: PathBuf,
    /// How the files of new containers are stored, if somebody asks for a way (`--storage-driver`, `$STORAGE_DRIVER`).
    pub storage: Option<store::Wanted>,
    /// Effective user of the caller, outside any namespace of ours.
    pub uid: u32,
    /// The process is in the user namespace of that user already, as `unshare` made it.
    pub is_inside: bool,
    /// Effective group of the caller.
    pub gid: u32,
    /// Where programs (newuidmap) are looked for.
    pub path: Option<OsString>,
    /// Where events are written to.
    pub events: ops::event::Backend,
    /// Socket of the service manager that started us (sd_notify(3)).
    pub notify_socket: Option<PathBuf>,
    /// A unit that `generate systemd` wrote has started us.
    pub started_by_unit: bool,
    /// `KEY=VALUE` of the proxy variables that containers inherit.
    pub proxies: Vec<String>,
    /// Files with credentials for registries (containers-auth.json(5)), the first that knows a registry counts.
    pub auth_files: Vec<PathBuf>,
    /// The store of Podman and its kin.
    pub containers: PathBuf,
    /// Roots of more stores, whose images are used and which are never written to (`additionalimagestores` in
    /// containers-storage.conf(5)). Layers of ours are used where they are; an image of a store of Podman's is brought when it is
    /// wanted. Where there is none, nothing is used.
    pub image_stores: Vec<PathBuf>,
    /// Policies (containers-policy.json(5)), of which the first that exists counts.
    pub policies: Vec<PathBuf>,
    /// Directories that say where signatures of images are, of which the first that exists counts (containers-registries.d(5)).
    pub lookaside: Vec<PathBuf>,
    /// Where they are if nothing says so.
    pub signatures: Option<PathBuf>,
    /// Directories with certificates for registries (containers-certs.d(5)).
    pub certificate_roots: Vec<PathBuf>,
    /// Where registries are described (containers-registries.conf(5)).
    pub registries: RegistryFiles,
    /// Where defaults of containers are (containers.conf(5)).
    pub configuration: Sources,
    /// Files that say what every container is given (containers-mounts.conf(5)), of which the first that exists counts.
    pub mounts: Vec<PathBuf>,
    /// What was named in place of files of the host.
    pub given: Given,
}

/// Places that the program's flags name instead of the usual ones; empty where they name none.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Directories with devices of vendors (`--cdi-spec-dir`).
    pub cdi_directories: Vec<PathBuf>,
    /// Directories with hooks (`--hooks-dir`).
    pub hook_directories: Vec<PathBuf>,
    /// The file that says what every container is given (`--default-mounts-file`).
    pub mounts_file: Option<PathBuf>,
}

/// Files that describe registries. They may be missing.
#[derive(Debug, Clone, Default)]
pub struct RegistryFiles {
    /// Of these the first that exists.
    pub main: Vec<PathBuf>,
    /// Directories of `*.conf` that add to it, each winning over those before.
    pub drop_ins: Vec<PathBuf>,
    /// Short names that were looked up before.
    pub aliases: Vec<PathBuf>,
}

impl Settings {
    /// Reads the environment. `root`, `run_root` and `networks` are the values of `--root`,
    /// `--runroot` and `--network-config-dir`. Defaults: root's are
    /// `/var/lib/monopod` and `/run/monopod`; another user's `$XDG_DATA_HOME/monopod` (`~/.local/share/monopod`) and
    /// `$XDG_RUNTIME_DIR/monopod` (`/tmp/monopod-run-UID`).
    pub fn read(
        root: Option<PathBuf>,
        run_root: Option<PathBuf>,
        networks: Option<PathBuf>,
    ) -> Result<Settings, Fault> {
        let inside = within_unshare();
        let uid = inside.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let home =
            absolute("HOME").or_else(|| home_of(&std::fs::read_to_string("/etc/passwd").unwrap_or_default(), uid));
        let root = match root {
            Some(root) => root,
            None if uid == 0 => PathBuf::from("/var/lib/monopod"),
            None => match absolute("XDG_DATA_HOME").or_else(|| home.as_ref().map(|h| h.join(".local/share"))) {
                Some(data) => data.join("monopod"),
                None => {
                    return Err(Fault::invalid(
                        "no place for images and containers: neither HOME nor XDG_DATA_HOME is set",
                    )
                    .hint("set HOME, or give a directory with --root"));
                }
            },
        };
        let run_root = match run_root {
            Some(run_root) => run_root,
            None if uid == 0 => PathBuf::from("/run/monopod"),
            None => match absolute("XDG_RUNTIME_DIR") {
                Some(directory) => directory.join("monopod"),
                None => PathBuf::from(format!("/tmp/monopod-run-{uid}")),
            },
        };
        // Podman's, which root shares with it; below the root directory where /etc cannot be written to.
        let networks = networks.unwrap_or_else(|| {
            let shared = PathBuf::from("/etc/containers/networks");
            let etc = rustix::fs::access("/etc", rustix::fs::Access::WRITE_OK).is_ok();
            if uid == 0 && (etc || shared.exists()) { shared } else { root.join("networks") }
        });
        let absolute_path = |path: PathBuf| {
            std::path::absolute(&path)
                .map_err(|e| Fault::invalid(format!("directory {path:?} cannot be made absolute: {e}")))
        };
        const PROXIES: [&str; 8] = [
            "http_proxy",
            "https_proxy",
            "ftp_proxy",
            "no_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "FTP_PROXY",
            "NO_PROXY",
        ];
        let root = absolute_path(root)?;
        let storage_conf = storage_conf(uid, home.as_deref(), absolute("XDG_CONFIG_HOME"));
        Ok(Settings {
            volumes: root.join("volumes"),
            // What else the variable names is a driver of Podman's store, where ours needs none.
            storage: std::env::var("STORAGE_DRIVER").ok().and_then(|word| storage_driver(&word).ok()),
            root,
            run_root: absolute_path(run_root)?,
            networks: absolute_path(networks)?,
            uid,
            is_inside: inside.is_some(),
            gid: rustix::process::getegid().as_raw(),
            path: std::env::var_os("PATH"),
            events: ops::event::Backend::default(),
            notify_socket: std::env::var_os("NOTIFY_SOCKET").map(PathBuf::from).filter(|p| !p.as_os_str().is_empty()),
            started_by_unit: std::env::var_os(crate::unit::VARIABLE).is_some(),
            auth_files: auth_files(uid, home.as_deref(), absolute("REGISTRY_AUTH_FILE"), absolute("XDG_RUNTIME_DIR")),
            registries: registries(uid, home.as_deref(), absolute("CONTAINERS_REGISTRIES_CONF")),
            configuration: configuration(uid, home.as_deref()),
            mounts: home
                .iter()
                .filter(|_| uid != 0)
                .map(|home| home.join(".config/containers/mounts.conf"))
                .chain(crate::subscriptions::FILES.map(PathBuf::from))
                .collect(),
            given: Given::default(),
            policies: home
                .iter()
                .map(|home| home.join(".config/containers/policy.json"))
                .chain(["/etc/containers/policy.json".into()])
                .collect(),
            containers: containers(uid, home.as_deref(), storage_conf.as_deref(), absolute("XDG_DATA_HOME")),
            image_stores: storage_conf.as_deref().map(transfer::additional_stores).unwrap_or_default(),
            lookaside: home
                .iter()
                .map(|home| home.join(".config/containers/registries.d"))
                .chain(["/etc/containers/registries.d".into()])
                .collect(),
            signatures: match &home {
                _ if uid == 0 => Some("/var/lib/containers/sigstore".into()),
                home => home.as_ref().map(|home| home.join(".local/share/containers/sigstore")),
            },
            certificate_roots: [home.as_ref().filter(|_| uid != 0).map(|home| home.join(".config/containers/certs.d"))]
                .into_iter()
                .flatten()
                .chain(["/etc/containers/certs.d".into(), "/etc/docker/certs.d".into()])
                .collect(),
            proxies: PROXIES.iter().filter_map(|n| std::env::var(n).ok().map(|v| format!("{n}={v}"))).collect(),
        })
    }
}

impl Settings {
    /// Where signatures of images are kept.
    pub(crate) fn lookaside(&self) -> Result<transfer::Lookaside, Fault> {
        transfer::Lookaside::read(&self.lookaside, self.signatures.clone()).map_err(crate::fault::transfer)
    }

    /// The proxies that registries are spoken to through. `ALL_PROXY` is not heeded, as Go does not.
    pub(crate) fn transfer_proxies(&self) -> transfer::Proxies {
        let value = |names: [&str; 2]| {
            names.iter().find_map(|name| {
                let value = self.proxies.iter().find_map(|p| p.strip_prefix(name)?.strip_prefix('='))?;
                (!value.is_empty()).then(|| value.to_owned())
            })
        };
        transfer::Proxies {
            http: value(["HTTP_PROXY", "http_proxy"]),
            https: value(["HTTPS_PROXY", "https_proxy"]),
            none: value(["NO_PROXY", "no_proxy"]).unwrap_or_default(),
        }
    }
}

/// The way of storing files that `word` names.
///
/// # Errors
/// There is none of that name; the text says which there are.
pub fn storage_driver(word: &str) -> Result<store::Wanted, String> {
    match word {
        "overlay" | "overlay2" => Ok(store::Wanted::Overlay),
        "vfs" => Ok(store::Wanted::Copy),
        _ => Err("files of containers are stored by overlay, or as copies with vfs: use one of them".into()),
    }
}

/// The user whose namespace `unshare` has entered before, as Podman tells it to what it starts; none outside of one.
fn within_unshare() -> Option<u32> {
    let uid = std::env::var(INSIDE).ok()?.parse().ok().filter(|uid| *uid != 0)?;
    (rustix::process::geteuid().is_root() && crate::rootless::here().in_user_namespace).then_some(uid)
}

/// The home that passwd(5) gives a user, for services that are started without an environment.
fn home_of(passwd: &str, uid: u32) -> Option<PathBuf> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let home = PathBuf::from(fields.get(5)?);
        (fields.get(2)?.parse() == Ok(uid) && home.is_absolute()).then_some(home)
    })
}

/// The host's files and, of a user who is not root, the user's; or the one that is named instead. One more can be named that
/// wins over all.
fn configuration(uid: u32, home: Option<&Path>) -> Sources {
    let own = match std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|p| p.is_absolute()) {
        Some(directory) => Some(directory.join("containers")),
        None => home.map(|home| home.join(".config/containers")),
    };
    let own = own.filter(|_| uid != 0);
    let file = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let named = file("CONTAINERS_CONF");
    let etc = PathBuf::from("/etc/containers");
    let usr = PathBuf::from("/usr/share/containers");
    let mut places = Vec::new();
    if named.is_none() {
        places.push(usr.join("containers.conf"));
        for directory in [Some(&etc), own.as_ref()].into_iter().flatten() {
            places.push(directory.join("containers.conf"));
            places.push(directory.join("containers.conf.d"));
        }
    }
    Sources {
        places,
        named: named.into_iter().collect(),
        last: file("CONTAINERS_CONF_OVERRIDE"),
        module_roots: own.iter().chain([&etc, &usr]).map(|d| d.join("containers.conf.modules")).collect(),
        modules: Vec::new(),
    }
}

/// Where Podman's `login` and Docker's leave what they were told.
fn auth_files(uid: u32, home: Option<&Path>, named: Option<PathBuf>, runtime: Option<PathBuf>) -> Vec<PathBuf> {
    if let Some(named) = named {
        return vec![named];
    }
    let mut files = Vec::new();
    match runtime {
        Some(directory) => files.push(directory.join("containers/auth.json")),
        None => files.push(PathBuf::from(format!("/run/containers/{uid}/auth.json"))),
    }
    if let Some(home) = home {
        files.push(home.join(".config/containers/auth.json"));
        files.push(home.join(".docker/config.json"));
    }
    files
}

/// The user's files, where there are any, stand for the host's main file and add to its drop-ins.
fn registries(uid: u32, home: Option<&Path>, named: Option<PathBuf>) -> RegistryFiles {
    let own = home.filter(|_| uid != 0).map(|home| home.join(".config/containers"));
    if let Some(named) = named {
        return RegistryFiles { main: vec![named], ..RegistryFiles::default() };
    }
    let host = PathBuf::from("/etc/containers");
    let cache = match home {
        Some(home) if uid != 0 => home.join(".cache/containers"),
        _ => "/var/cache/containers".into(),
    };
    RegistryFiles {
        main: own.iter().chain([&host]).map(|directory| directory.join("registries.conf")).collect(),
        drop_ins: [Some(&host), own.as_ref()].into_iter().flatten().map(|d| d.join("registries.conf.d")).collect(),
        aliases: vec![cache.join("short-name-aliases.conf")],
    }
}

/// True if images are in the directory `path`: it is the root of an engine, or of a store of Podman's and its kin.
pub fn is_image_store(path: &Path) -> bool {
    store::database::path(path).is_file() || is_podmans(path)
}

/// True of a store of Podman's and its kin (containers-storage.conf(5)).
pub(crate) fn is_podmans(path: &Path) -> bool {
    path.join("overlay-images/images.json").is_file() && !store::database::path(path).is_file()
}

/// What storage.conf says: the one that is named or, of root, the host's, of another user the user's.
fn storage_conf(uid: u32, home: Option<&Path>, config: Option<PathBuf>) -> Option<String> {
    let named = std::env::var_os("CONTAINERS_STORAGE_CONF").filter(|path| !path.is_empty()).map(PathBuf::from);
    let file = named.or_else(|| match uid {
        0 => Some("/etc/containers/storage.conf".into()),
        _ => config.or(home.map(|home| home.join(".config"))).map(|config| config.join("containers/storage.conf")),
    });
    file.and_then(|file| std::fs::read_to_string(file).ok())
}

/// Where Podman and its kin keep images: where storage.conf says, or at its usual place.
fn containers(uid: u32, home: Option<&Path>, storage: Option<&str>, data: Option<PathBuf>) -> PathBuf {
    let said = storage.and_then(transfer::graph_root);
    let usual = || match (uid, data.or(home.map(|home| home.join(".local/share")))) {
        (1.., Some(data)) => data.join("containers/storage"),
        _ => "/var/lib/containers/storage".into(),
    };
    said.unwrap_or_else(usual)
}
