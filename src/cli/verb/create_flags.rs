//! The flags that `create` and `run` share, but for the limits, which are in `resource_flags`.

use crate::environment;
use crate::failure::Failure;
use crate::flag::{Flag, aliases, integer, list, short, switch, value};
use crate::program::Program;
use ops::container::Create;
use std::path::PathBuf;

/// What the flags of `create` and `run` fill.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The request as far as flags are the request.
    pub create: Create,
    /// `-a`: the streams to attach to.
    pub attach: Vec<String>,
    /// `-q`: no word about pulling.
    pub quiet: bool,
    /// `-d`.
    pub detach: bool,
    /// `-l`, of `update`.
    pub latest: bool,
    /// `--detach-keys`.
    pub detach_keys: Option<String>,
    /// `--sig-proxy`.
    pub signal_proxy: Option<bool>,
    /// `--rm=false`.
    pub stays: bool,
    /// `--preserve-fds` and `--preserve-fd`, of `run`.
    pub handed_on: super::handed_on::HandedOn,
    /// `container clone --destroy`.
    pub destroy: bool,
    /// `container clone --force`.
    pub force: bool,
    /// `container clone --run`.
    pub run: bool,
    /// `--kernel-memory` was given, which Podman took until version 5, and Docker takes.
    pub kernel_memory: bool,
    environment_host: bool,
    environment_files: Vec<PathBuf>,
    environment: Vec<String>,
    label_files: Vec<PathBuf>,
    labels: Vec<String>,
    arch: Option<String>,
    os: Option<String>,
    variant: Option<String>,
}

impl super::registry_flags::HasAccess for Asked {
    fn access(&mut self) -> &mut ops::image::Access {
        &mut self.create.access
    }
}

impl Asked {
    /// The request for `arguments` (image, command, …), with files and the caller's environment read in.
    pub fn finish(&mut self, program: &Program, arguments: Vec<String>) -> Result<Create, Failure> {
        let mut create = std::mem::take(&mut self.create);
        let mut arguments = arguments.into_iter();
        match arguments.next() {
            Some(directory) if create.root_directory => create.image = root_directory(&directory)?,
            Some(image) => create.image = image,
            None => return Err(Failure::new("requires at least 1 arg(s), only received 0")),
        }
        create.command = arguments.collect();
        create.create_command = program.words.clone();
        if self.kernel_memory {
            program.warn("The --kernel-memory flag is no longer supported. This flag is a noop.");
        }
        if self.environment_host {
            create.environment.extend(environment::host());
        }
        for file in &self.environment_files {
            create.environment.extend(environment::file(file)?);
        }
        create.environment.extend(environment::resolve(&self.environment));
        for volume in create.volumes.iter_mut().filter(|volume| volume.starts_with('.')) {
            *volume = from_here(volume)?;
        }
        for file in &self.label_files {
            create.labels.extend(environment::file(file)?);
        }
        create.labels.append(&mut self.labels);
        if self.arch.is_some() || self.os.is_some() || self.variant.is_some() {
            if create.platform.is_some() {
                return Err(Failure::new("--platform option can not be specified with --arch or --os"));
            }
            let native = types::Platform::native();
            let mut platform = format!(
                "{}/{}",
                self.os.as_deref().unwrap_or(&native.os),
                self.arch.as_deref().unwrap_or(&native.architecture)
            );
            if let Some(variant) = &self.variant {
                platform = format!("{platform}/{variant}");
            }
            create.platform = Some(platform);
        }
        Ok(create)
    }
}

/// `--entrypoint`: a JSON list, or one word; nothing clears the image's.
fn entrypoint(text: &str) -> Vec<String> {
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(list) => list,
        Err(_) if text.is_empty() => Vec::new(),
        Err(_) => vec![text.to_owned()],
    }
}

/// A `--volume` whose source is written from the current directory on (`.`, `./a`, `../a`), with its absolute path.
fn from_here(volume: &str) -> Result<String, Failure> {
    let Some((source, rest)) = volume.split_once(':') else { return Ok(volume.to_owned()) };
    let here = std::env::current_dir().and_then(|here| here.join(source).canonicalize());
    let path = here.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Failure::new(format!("statfs {source}: no such file or directory")),
        _ => Failure::new(format!("{source:?}: {e}")),
    })?;
    let path = path.into_os_string().into_string().map_err(|path| Failure::new(format!("{path:?}: not UTF-8")))?;
    Ok(format!("{path}:{rest}"))
}

/// `--rootfs DIR[:OPTIONS]` with the absolute path of the directory.
fn root_directory(text: &str) -> Result<String, Failure> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    let path = std::path::absolute(path).map_err(|e| Failure::new(format!("{path:?}: {e}")))?;
    let path = path.into_os_string().into_string().map_err(|path| Failure::new(format!("{path:?}: not UTF-8")))?;
    Ok(format!("{path}:{options}"))
}

/// The rows.
pub const FLAGS: &[Flag<Asked>] = &[
    list("add-host", "Add a line to /etc/hosts (host:ip)", |r, v| r.create.add_hosts.push(v)),
    value("annotation", "string", "Add an annotation (key=value)", |r, v| {
        r.create.annotations.push(v.into());
        Ok(())
    }),
    value("arch", "ARCH", "Take the image for this architecture", |r, v| {
        r.arch = Some(v.into());
        Ok(())
    }),
    short('a', list("attach", "Attach to stdin, stdout or stderr", |r, v| r.attach.push(v))),
    list("cap-add", "Add capabilities", |r, v| r.create.cap_add.push(v)),
    list("cap-drop", "Drop capabilities", |r, v| r.create.cap_drop.push(v)),
    value("cgroup-parent", "string", "Cgroup under which the container's is made", |r, v| {
        r.create.cgroup_parent = Some(v.into());
        Ok(())
    }),
    value("cgroupns", "string", "Cgroup namespace: private, host, container:NAME, ns:PATH", |r, v| {
        r.create.cgroupns = Some(v.into());
        Ok(())
    }),
    value("cidfile", "string", "Write the container's id to this file", |r, v| {
        r.create.cid_file = Some(v.into());
        Ok(())
    }),
    list("device", "Add a device (host[:container][:permissions], or a vendor's: vendor/class=name)", |r, v| {
        r.create.devices.push(v);
    }),
    list("dns", "Name servers", |r, v| r.create.dns.push(v)),
    aliases(&["dns-opt"], list("dns-option", "Options of resolv.conf", |r, v| r.create.dns_options.push(v))),
    list("dns-search", "Search domains of resolv.conf", |r, v| r.create.dns_search.push(v)),
    list("expose", "Ports that --publish-all publishes (port[-port][/protocol])", |r, v| r.create.expose.push(v)),
    value("entrypoint", "string", "Replace the image's entry point", |r, v| {
        r.create.entrypoint = Some(entrypoint(v));
        Ok(())
    }),
    short(
        'e',
        value("env", "string", "Set a variable (key=value, or key to pass the caller's)", |r, v| {
            r.environment.push(v.into());
            Ok(())
        }),
    ),
    list("env-file", "Read variables from a file", |r, v| r.environment_files.push(v.into())),
    switch("env-host", "Pass all of the caller's variables", |r, on| r.environment_host = on),
    list("gpus", "Add GPUs of NVIDIA's: all, or their numbers", |r, v| r.create.gpus.push(v)),
    list("group-add", "Additional groups of the process", |r, v| r.create.additional_groups.push(v)),
    short(
        'h',
        value("hostname", "string", "Host name", |r, v| {
            r.create.hostname = Some(v.into());
            Ok(())
        }),
    ),
    switch("init", "Run an init as process 1", |r, on| r.create.init = on),
    short('i', switch("interactive", "Keep standard input open", |r, on| r.create.interactive = on)),
    value("image-volume", "string", "What becomes of the image's volumes: anonymous, tmpfs, ignore", |r, v| {
        r.create.image_volume = Some(v.into());
        Ok(())
    }),
    value("ip", "ip", "IPv4 address in the network", |r, v| {
        r.create.ip = Some(v.into());
        Ok(())
    }),
    value("ip6", "ip", "IPv6 address in the network", |r, v| {
        r.create.ip6 = Some(v.into());
        Ok(())
    }),
    value("ipc", "string", "IPC namespace: shareable, private, none, host, container:NAME, ns:PATH", |r, v| {
        r.create.ipc = Some(v.into());
        Ok(())
    }),
    short(
        'l',
        value("label", "string", "Set a label (key=value)", |r, v| {
            r.labels.push(v.into());
            Ok(())
        }),
    ),
    list("label-file", "Read labels from a file", |r, v| r.label_files.push(v.into())),
    value("log-driver", "string", "Where output is kept: k8s-file, json-file, none", |r, v| {
        r.create.log_driver = Some(v.into());
        Ok(())
    }),
    list("log-opt", "Options of the log: path=, max-size=, tag=", |r, v| r.create.log_options.push(v)),
    value("mac-address", "string", "Hardware address in the network", |r, v| {
        r.create.mac_address = Some(v.into());
        Ok(())
    }),
    value("mount", "string", "Attach a mount (type=…,source=…,destination=…)", |r, v| {
        r.create.mounts.push(v.into());
        Ok(())
    }),
    value("name", "string", "Name of the container", |r, v| {
        // As if it was not there: scripts pass a variable that may be empty.
        r.create.name = Some(v.to_owned()).filter(|name| !name.is_empty());
        Ok(())
    }),
    aliases(
        &["net"],
        value(
            "network",
            "string",
            "Network: NAME[:ip=,mac=,alias=,interface_name=…], none, host, container:NAME, ns:PATH",
            |r, v| {
                match v.contains(':') {
                    true => r.create.networks.push(v.into()),
                    // Several at once, which then have no options.
                    false => r.create.networks.extend(v.split(',').map(String::from)),
                }
                Ok(())
            },
        ),
    ),
    list("network-alias", "Names of the container in its networks", |r, v| r.create.network_aliases.push(v)),
    switch("no-hosts", "Make no /etc/hosts", |r, on| r.create.no_hosts = on),
    value("oom-score-adj", "int", "OOM score adjustment, -1000 to 1000", |r, v| {
        r.create.oom_score_adj = Some(integer(v)?);
        Ok(())
    }),
    value("os", "OS", "Take the image for this operating system", |r, v| {
        r.os = Some(v.into());
        Ok(())
    }),
    value("pid", "string", "PID namespace: private, host, container:NAME, ns:PATH", |r, v| {
        r.create.pid = Some(v.into());
        Ok(())
    }),
    value("platform", "string", "Take the image for this platform (os/arch[/variant])", |r, v| {
        r.create.platform = Some(v.into());
        Ok(())
    }),
    value("signature-policy", "path", "File that says which images are accepted", |r, v| {
        r.create.access.signature_policy = Some(v.into());
        Ok(())
    }),
    switch("privileged", "All capabilities and devices, nothing masked", |r, on| r.create.privileged = on),
    short('p', list("publish", "Publish ports ([[ip:][port]:]port[/protocol])", |r, v| r.create.publish.push(v))),
    short('P', switch("publish-all", "Publish all exposed ports at free ports", |r, on| r.create.publish_all = on)),
    value("pull", "string", "When to pull the image: missing, always, never, newer", |r, v| {
        r.create.pull = Some(v.into());
        Ok(())
    }),
    short('q', switch("quiet", "Print nothing about pulling", |r, on| r.quiet = on)),
    switch("read-only", "Root file system read-only", |r, on| r.create.read_only = on),
    switch("read-only-tmpfs", "With --read-only: tmpfs on /run, /tmp, /var/tmp (default true)", |r, on| {
        r.create.read_only_tmpfs = Some(on);
    }),
    switch("replace", "Replace a container of the same name", |r, on| r.create.replace = on),
    switch("rootfs", "The first word is a directory that becomes the root (DIR[:O][,idmap]), and no image", |r, on| {
        r.create.root_directory = on;
    }),
    switch("rm", "Remove the container when it ends", |r, on| {
        r.create.remove = on;
        r.stays = !on;
    }),
    value("security-opt", "string", "Security options (no-new-privileges, seccomp=, mask=, unmask=, …)", |r, v| {
        r.create.security_options.push(v.into());
        Ok(())
    }),
    value("stop-signal", "string", "Signal that stops the container", |r, v| {
        r.create.stop_signal = Some(v.parse().map_err(|e: types::Invalid| e.to_string())?);
        Ok(())
    }),
    value("stop-timeout", "uint", "Seconds between that signal and SIGKILL", |r, v| {
        r.create.stop_timeout = Some(integer(v)?);
        Ok(())
    }),
    list("sysctl", "Kernel parameters (key=value)", |r, v| r.create.sysctl.push(v)),
    value("tmpfs", "string", "Mount a tmpfs (destination[:options])", |r, v| {
        r.create.tmpfs.push(v.into());
        Ok(())
    }),
    short('t', switch("tty", "Allocate a terminal", |r, on| r.create.terminal = on)),
    value("umask", "string", "File mode mask (octal)", |r, v| {
        r.create.umask = Some(v.into());
        Ok(())
    }),
    short(
        'u',
        value("user", "string", "User of the process (name or number, [:group])", |r, v| {
            r.create.user = Some(v.into());
            Ok(())
        }),
    ),
    value("userns", "string", "User namespace: host, auto, keep-id, nomap", |r, v| {
        r.create.userns = Some(v.into());
        Ok(())
    }),
    value("uts", "string", "UTS namespace: private, host, container:NAME, ns:PATH", |r, v| {
        r.create.uts = Some(v.into());
        Ok(())
    }),
    value("variant", "string", "Take the image for this variant of the architecture", |r, v| {
        r.variant = Some(v.into());
        Ok(())
    }),
    short(
        'v',
        value("volume", "string", "Mount a directory or a volume (source:destination[:options])", |r, v| {
            r.create.volumes.push(v.into());
            Ok(())
        }),
    ),
    list("volumes-from", "Mount the volumes of another container (container[:ro|rw])", |r, v| {
        r.create.volumes_from.push(v);
    }),
    short(
        'w',
        value("workdir", "string", "Working directory", |r, v| {
            r.create.working_directory = Some(v.into());
            Ok(())
        }),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_points() {
        assert_eq!(entrypoint(""), Vec::<String>::new());
        assert_eq!(entrypoint("/bin/sh"), ["/bin/sh"]);
        assert_eq!(entrypoint(r#"["sh", "-c"]"#), ["sh", "-c"]);
    }
}
