//! Making a container: its image is brought, everything is decided, and the decision is recorded. Files come later, when
//! it is started: a command killed here leaves either a whole container or nothing.

use super::config::{Config, MountKind};
use super::facts::Facts;
use super::resolve::Image;
use super::{name, resolve};
use crate::Engine;
use ops::container::{Create, Created, Remove};
use ops::image::Watch;
use ops::{Fault, Kind};
use std::path::Path;
use types::{Id, Platform};

impl Engine {
    /// Makes a container; brings its image first if the policy says so. `watch` is told of the steps.
    pub fn create(&self, asked: &Create, watch: &Watch<'_>) -> Result<Created, Fault> {
        if let Some(name) = &asked.name
            && !types::id::is_name(name)
        {
            return Err(Fault::invalid(format!(
                "running container create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument: {name:?}"
            )));
        }
        self.host()?;
        self.collect()?;
        let files = self.host_configuration()?;
        let with_files =
            (files.defaults != Default::default()).then(|| resolve::defaults::under(asked, &files.defaults));
        let asked = with_files.as_ref().unwrap_or(asked);
        let image = self.image_for(asked, watch).map_err(|fault| meant_a_file(fault, &asked.image))?;
        if asked.replace {
            let name = asked
                .name
                .clone()
                .ok_or_else(|| Fault::invalid("cannot replace container without --name being set"))?;
            self.keep_image_of(&name)?;
            self.remove(&Remove { name, force: true, timeout: None, ignore: true, volumes: true })?;
        }
        let mut facts = self.facts_for(asked)?;
        // Found by looking at each of its files: only for who needs it.
        let is_sized = |userns: &str| userns.contains("size=") || asked.root_directory;
        if asked.userns.as_deref().is_some_and(|u| u.starts_with("auto") && !is_sized(u)) {
            facts.largest_id =
                self.store()?.largest_id(&format!("sha256:{}", image.id).parse()?).map_err(crate::fault::store)?;
        }
        self.network_facts(asked, &image.config.config.exposed_ports, &mut facts)?;
        let id = Id::from_random(random()?);
        if let Some(path) = &asked.cid_file {
            write_id(path, &id)?;
        }
        let created = self.record_new(asked, &image, &facts, &id);
        if let (Err(_), Some(path)) = (&created, &asked.cid_file) {
            let _ = std::fs::remove_file(path);
        }
        created
    }

    /// Decides and records, under a name that is free.
    fn record_new(&self, asked: &Create, image: &Image, facts: &Facts, id: &Id) -> Result<Created, Fault> {
        let mut attempt = 0;
        loop {
            let name = match &asked.name {
                Some(name) => name.clone(),
                None => name::made_up(random()?, attempt),
            };
            let (config, mut warnings) = super::resolve::resolve(asked, image, facts, id, &name)?;
            warnings.extend(other_platform(asked, image));
            check_host(&config)?;
            self.vendor_edits(&config)?;
            match self.database()?.insert(&config, super::now()) {
                Err(fault) if fault.kind == Kind::Conflict && asked.name.is_none() && attempt < 50 => {
                    attempt += 1;
                    continue;
                }
                other => other?,
            }
            self.copy_secrets_or_remove(&config)?;
            self.tell(&config, "create");
            return Ok(Created { id: id.clone(), name, warnings });
        }
    }
}

/// An archive or layout that is named as if it were an image is the commonest slip.
fn meant_a_file(fault: Fault, image: &str) -> Fault {
    let path = Path::new(image);
    if transfer::source::has_transport(image) || !path.exists() {
        fault
    } else if path.is_dir() {
        fault.hint(format!("for the directory of that name write oci:{image}, or --rootfs {image}"))
    } else {
        fault.hint(format!("for the file of that name write oci-archive:{image} or docker-archive:{image}"))
    }
}

/// What is said of an image that is for another kind of machine than this one, or than the one that was asked for.
fn other_platform(asked: &Create, image: &Image) -> Option<String> {
    let own = Platform {
        os: image.config.os.clone(),
        architecture: image.config.architecture.clone(),
        variant: image.config.variant.clone(),
    };
    let wanted = asked.platform.as_deref().map_or(Some(Platform::native()), |text| text.parse().ok())?;
    (!own.os.is_empty() && !own.architecture.is_empty() && !own.serves(&wanted))
        .then(|| format!("image platform ({own}) does not match the expected platform ({wanted})"))
}

/// Random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Fault::internal(format!("the kernel gave no random bytes: {e}")))?;
    Ok(bytes)
}

fn write_id(path: &Path, id: &Id) -> Result<(), Fault> {
    use std::io::Write;
    match std::fs::File::create_new(path) {
        Ok(mut file) => file
            .write_all(id.as_str().as_bytes())
            .map_err(|e| Fault::internal(format!("cannot write container id file {path:?}: {e}"))),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(Fault::new(
            Kind::Conflict,
            format!("container id file exists. Ensure another container is not using it or delete {}", path.display()),
        )),
        Err(e) => Err(Fault::internal(format!("cannot write container id file {path:?}: {e}"))),
    }
}

/// What the host must have for this container: said now rather than when it is started.
fn check_host(config: &Config) -> Result<(), Fault> {
    for mount in &config.mounts {
        let overlay = mount.overlay.iter().flat_map(|o| o.upper.iter().chain(&o.work));
        let bound = match &mount.kind {
            MountKind::Bind { source } => Some(source),
            _ => None,
        };
        for source in bound.into_iter().chain(overlay) {
            // A link that leads nowhere is there if it is itself what is bound.
            let look = if mount.options.iter().any(|o| o == "src-nofollow") {
                std::fs::symlink_metadata
            } else {
                std::fs::metadata
            };
            let Err(e) = look(source) else { continue };
            let why = if e.kind() == std::io::ErrorKind::NotFound {
                "no such file or directory".to_owned()
            } else {
                e.to_string()
            };
            return Err(Fault::new(Kind::NotFound, format!("statfs {}: {why}", source.display())));
        }
    }
    if let Some(super::life::Destination::Directory(path)) = config.life.check.as_ref().map(|c| &c.log_destination)
        && !path.is_dir()
    {
        return Err(Fault::new(
            Kind::NotFound,
            format!("health log destination {}: no such directory", path.display()),
        ));
    }
    if let Some(root) = config.root_directory.as_ref().filter(|root| !root.path.is_dir()) {
        return Err(Fault::new(Kind::NotFound, format!("--rootfs {}: no such directory", root.path.display())));
    }
    for device in &config.devices {
        if super::init::node(&device.source).is_none() {
            let there = device.source.symlink_metadata().is_ok();
            let why = if there { "no device" } else { "no such file or directory" };
            return Err(Fault::new(Kind::NotFound, format!("stat {}: {why}", device.source.display())));
        }
    }
    if let Some(path) = &config.init_path
        && !path.is_file()
    {
        return Err(Fault::new(Kind::NotFound, format!("--init-path {}: no such file", path.display())));
    }
    if let Some(zone) = &config.timezone
        && !super::files::zone_file(zone).is_file()
    {
        return Err(Fault::new(Kind::NotFound, format!("finding timezone: unknown time zone {zone}"))
            .hint("time zones are looked for in /usr/share/zoneinfo of the host"));
    }
    let limits = &config.resources;
    for (what, asked, file) in [
        ("CPUs", &limits.cpuset_cpus, "/sys/devices/system/cpu/online"),
        ("memory nodes", &limits.cpuset_mems, "/sys/devices/system/node/online"),
    ] {
        let Some(asked) = asked else { continue };
        // A kernel that does not say refuses by itself.
        let Ok(there) = std::fs::read_to_string(file) else { continue };
        if numbers(asked).last() > numbers(&there).last() {
            let there = there.trim();
            return Err(Fault::invalid(format!(
                "requested {what} are not available - requested {asked}, available: {there}"
            )));
        }
    }
    for text in &limits.blkio_weight_device {
        let path = text.rsplit_once(':').map_or(text.as_str(), |(path, _)| path);
        if super::init::node(Path::new(path)).is_none() {
            return Err(Fault::new(Kind::NotFound, format!("stat {path}: no such device")));
        }
    }
    for text in [&limits.device_read_bps, &limits.device_write_bps, &limits.device_read_iops, &limits.device_write_iops]
        .into_iter()
        .flatten()
    {
        let (path, rate) = text
            .rsplit_once(':')
            .ok_or_else(|| Fault::invalid(format!("bad format for {text:?}: expected DEVICE:RATE")))?;
        types::size::parse(rate)?;
        if super::init::node(Path::new(path)).is_none() {
            return Err(Fault::new(Kind::NotFound, format!("stat {path}: no such file or directory")));
        }
    }
    Ok(())
}

/// The numbers that a list such as `0-2,5` names, in order.
fn numbers(list: &str) -> Vec<u32> {
    let ends = list.split([',', '-']).filter_map(|number| number.trim().parse().ok());
    let mut ends: Vec<u32> = ends.collect();
    ends.sort_unstable();
    ends
}
