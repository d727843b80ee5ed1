//! The program as it was called: its name, and the flags that come before the verb.

use crate::failure::Failure;
use crate::flag::{Flag, short, switch, value};
use engine::{Engine, Settings};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The flags of the program itself.
#[derive(Debug, Clone, Default)]
pub struct Globals {
    root: Option<PathBuf>,
    run_root: Option<PathBuf>,
    networks: Option<PathBuf>,
    volumes: Option<PathBuf>,
    storage: Option<engine::StorageDriver>,
    log_level: Option<String>,
    modules: Vec<String>,
    image_stores: Vec<PathBuf>,
    /// What is said before Skopeo's verbs.
    pub skopeo: Skopeo,
    debug: bool,
    /// Where standard output goes.
    pub out: Option<PathBuf>,
    /// `--config` was given.
    pub config: bool,
    events: Option<ops::event::Backend>,
    given: engine::Given,
}

/// What Skopeo's own flags fill.
#[derive(Debug, Clone, Default)]
pub struct Skopeo {
    /// File that says which images are accepted.
    pub policy: Option<PathBuf>,
    /// All are.
    pub any_signature: bool,
    /// The platform that images should be for.
    pub os: Option<String>,
    /// Its architecture.
    pub architecture: Option<String>,
    /// And variant.
    pub variant: Option<String>,
}

/// The flags of the program where it is called `skopeo`.
const SKOPEO: &[Flag<Globals>] = &[
    switch("insecure-policy", "Accept every image, whatever policies say", |g, on| g.skopeo.any_signature = on),
    value("override-arch", "ARCH", "Take images for this architecture", |g, text| {
        g.skopeo.architecture = Some(text.into());
        Ok(())
    }),
    value("override-os", "OS", "Take images for this operating system", |g, text| {
        g.skopeo.os = Some(text.into());
        Ok(())
    }),
    value("override-variant", "VARIANT", "Take images for this variant of the architecture", |g, text| {
        g.skopeo.variant = Some(text.into());
        Ok(())
    }),
    value("policy", "FILE", "File that says which images are accepted", |g, text| {
        g.skopeo.policy = Some(text.into());
        Ok(())
    }),
    value("root", "string", "Directory of images and containers", |g, text| {
        g.root = Some(text.into());
        Ok(())
    }),
    value("runroot", "string", "Directory of what a reboot forgets", |g, text| {
        g.run_root = Some(text.into());
        Ok(())
    }),
];

/// Their rows; every verb takes them too.
pub const GLOBALS: &[Flag<Globals>] = &[
    value(
        "cdi-spec-dir",
        "string",
        "Directory of files that describe devices (default /etc/cdi, /var/run/cdi)",
        |g, text| {
            g.given.cdi_directories.push(absolute(text)?);
            Ok(())
        },
    ),
    value("cgroup-manager", "string", "Cgroup manager to use: cgroupfs", |_, text| match text {
        "cgroupfs" => Ok(()),
        "systemd" => Err("monopod makes cgroups itself and does not ask systemd for them: use cgroupfs".into()),
        _ => Err("cgroup manager must be cgroupfs".into()),
    }),
    value("config", "string", "Of Docker's: where its client is configured; without effect", |g, _| {
        g.config = true;
        Ok(())
    }),
    value("events-backend", "string", "Where events are written to: file, none", |g, text| {
        g.events = Some(match text {
            "file" => ops::event::Backend::File,
            "none" => ops::event::Backend::None,
            "journald" => return Err("monopod writes no journal: use file or none".into()),
            _ => return Err("use file or none".into()),
        });
        Ok(())
    }),
    value(
        "imagestore",
        "string",
        "Use the images of this store (what --root was), too, and never write to it",
        |g, text| {
            g.image_stores.push(text.into());
            Ok(())
        },
    ),
    value("hooks-dir", "string", "Directory of files that describe hooks", |g, text| {
        g.given.hook_directories.push(absolute(text)?);
        Ok(())
    }),
    value("log-level", "string", "Print messages of this level and above (debug, info, warn, error)", |g, text| {
        g.log_level = Some(text.to_ascii_lowercase());
        Ok(())
    }),
    value("module", "string", "Module of containers.conf, by path or name", |g, text| {
        g.modules.push(text.into());
        Ok(())
    }),
    value("network-config-dir", "string", "Directory of the definitions of networks", |g, text| {
        g.networks = Some(text.into());
        Ok(())
    }),
    value("out", "string", "Send standard output to this file", |g, text| {
        g.out = Some(text.into());
        Ok(())
    }),
    value("root", "string", "Directory of images and containers", |g, text| {
        g.root = Some(text.into());
        Ok(())
    }),
    value("runroot", "string", "Directory of what a reboot forgets", |g, text| {
        g.run_root = Some(text.into());
        Ok(())
    }),
    value("storage-driver", "string", "How files of new containers are stored: overlay, vfs (as copies)", |g, text| {
        g.storage = Some(engine::storage_driver(text)?);
        Ok(())
    }),
    value("volumepath", "string", "Directory of the files of volumes", |g, text| {
        g.volumes = Some(text.into());
        Ok(())
    }),
];

/// Rows of flags that Podman takes and does not show.
pub const HIDDEN_GLOBALS: &[Flag<Globals>] = &[
    value("default-mounts-file", "string", "File that says what every container is given", |g, text| {
        g.given.mounts_file = Some(absolute(text)?);
        Ok(())
    }),
    short('D', switch("debug", "As --log-level debug", |g, on| g.debug = on)),
    switch("noout", "Print nothing on standard output", |g, on| g.out = on.then(|| "/dev/null".into())),
    value("storage-opt", "string", "Options of the storage: imagestore=DIRECTORY", |g, text| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        match key.strip_prefix("overlay.").unwrap_or(key) {
            "" => Ok(()),
            "imagestore" | "additionalimagestore" if !value.is_empty() => {
                g.image_stores.extend(value.split(',').map(PathBuf::from));
                Ok(())
            }
            _ => Err("the only option of the storage is imagestore=DIRECTORY: leave others out".into()),
        }
    }),
];

/// From the fewest messages to the most.
const LEVELS: [&str; 7] = ["panic", "fatal", "error", "warning", "info", "debug", "trace"];

/// Who was called, and how.
#[derive(Debug, Clone)]
pub struct Program {
    /// `monopod`, or `podman`, `docker` or `skopeo` when called so.
    pub name: String,
    /// The flags before the verb and those of the program after it.
    pub globals: Globals,
    /// All words, from the program's name on.
    pub words: Vec<String>,
}

impl Program {
    /// The program called as `path`.
    pub fn called(path: &Path) -> Program {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.filter(|name| matches!(*name, "podman" | "docker" | "skopeo")).unwrap_or("monopod");
        Program { name: name.into(), globals: Globals::default(), words: Vec::new() }
    }

    /// The flags that are its own, and not a verb's; those that help shows first.
    pub fn globals(&self) -> &'static [&'static [Flag<Globals>]] {
        if self.is_skopeo() { &[SKOPEO] } else { &[GLOBALS, HIDDEN_GLOBALS] }
    }

    /// True if it was called `skopeo`, and has its verbs alone.
    pub fn is_skopeo(&self) -> bool {
        self.name == "skopeo"
    }

    /// Does what the program's own flags ask: where standard output goes, and which messages are told.
    pub fn prepare(&mut self) -> Result<(), Failure> {
        let globals = &mut self.globals;
        if globals.debug && globals.log_level.is_some() {
            return Err(bare("Setting --log-level and --debug is not allowed"));
        }
        if globals.debug {
            globals.log_level = Some("debug".into());
        }
        if globals.log_level.as_deref() == Some("warn") {
            globals.log_level = Some("warning".into());
        }
        if let Some(level) = &globals.log_level
            && !LEVELS.contains(&level.as_str())
        {
            let levels = "trace, debug, info, warn, warning, error, fatal, panic";
            return Err(bare(&format!("Log Level \"{level}\" is not supported, choose from: {levels}")));
        }
        if globals.config {
            note("Warning: The --config flag is ignored by Podman. Exists for Docker compatibility");
        }
        if let Some(path) = &globals.out {
            let file = std::fs::File::create(path)
                .map_err(|e| Failure::new(format!("unable to create output file {path:?}: {e}")))?;
            rustix::stdio::dup2_stdout(&file)
                .map_err(|e| Failure::new(format!("cannot send standard output to {path:?}: {e}")))?;
        }
        self.log("info", &format!("{} version {} called as {}", "monopod", env!("CARGO_PKG_VERSION"), self.name));
        self.log("trace", &format!("words: {:?}", self.words));
        Ok(())
    }

    /// A message for those who asked for messages of that level, on standard error.
    fn log(&self, level: &str, message: &str) {
        let rank = |level: &str| LEVELS.iter().position(|known| *known == level);
        let asked = self.globals.log_level.as_deref().unwrap_or("warning");
        if rank(level) <= rank(asked) {
            let time = crate::time::rfc3339(crate::time::now() / 1_000_000_000);
            note(&format!("time={time:?} level={level} msg={message:?}"));
        }
    }

    /// The engine for the directories that were asked for.
    pub fn engine(&self) -> Result<Engine, Failure> {
        let mut settings =
            Settings::read(self.globals.root.clone(), self.globals.run_root.clone(), self.globals.networks.clone())
                .map_err(plain)?;
        self.log("debug", &format!("root directory {:?}, run directory {:?}", settings.root, settings.run_root));
        settings.configuration.modules.clone_from(&self.globals.modules);
        // What is named must be there, unlike what is configured for whoever has it.
        for store in &self.globals.image_stores {
            let path = std::path::absolute(store).map_err(|e| Failure::new(format!("image store {store:?}: {e}")))?;
            if !engine::is_image_store(&path) {
                return Err(Failure::new(format!(
                    "{path:?} holds no images: an image store is what --root was when they were brought, of monopod or podman"
                )));
            }
            settings.image_stores.push(path);
        }
        settings.given.clone_from(&self.globals.given);
        if let Some(events) = self.globals.events {
            settings.events = events;
        }
        if let Some(volumes) = &self.globals.volumes {
            settings.volumes = std::path::absolute(volumes)
                .map_err(|e| Failure::new(format!("directory {volumes:?} cannot be made absolute: {e}")))?;
        }
        settings.storage = self.globals.storage.or(settings.storage);
        Engine::open(settings).map_err(plain)
    }

    /// A warning on standard error, unless `--log-level` is above it: as Podman does, without a word before it.
    pub fn warn(&self, message: &str) {
        if !matches!(self.globals.log_level.as_deref(), Some("error" | "fatal" | "panic")) {
            note(message);
        }
    }
}

/// Processes that are started later stand elsewhere.
fn absolute(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(text).map_err(|e| format!("{text:?}: {e}"))
}

/// A failure with exit code 1 whose message stands alone.
fn bare(message: &str) -> Failure {
    Failure { code: 1, messages: Vec::new(), advice: message.into() }
}

/// The failure of a fault in a verb that has only one exit code for all of them, 125.
pub fn plain(fault: ops::Fault) -> Failure {
    Failure::from(fault).code(125)
}

/// Writes `text` to standard output.
pub fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// Writes `bytes` to standard output.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    output
        .write_all(bytes)
        .and_then(|()| output.flush())
        .map_err(|e| Failure::new(format!("cannot write the output: {e}")))
}

/// Writes a line to standard error. That it cannot be written is nowhere to be told.
pub fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
