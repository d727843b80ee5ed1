//! The program CRIU (criu(8)), which turns processes into files and back: where it is, what it is always told, and what it said.
//!
//! Must not know: what is checkpointed; records.

use super::Program;
use super::failure::Failure;
use super::flags::{Flag, Words};
use rustix::fs::Access;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// The flags of both commands.
pub(crate) const IMAGES: Flag = Flag::with("image-path", "DIRECTORY", "Where the files are, else ./checkpoint");
pub(crate) const WORK: Flag = Flag::with("work-path", "DIRECTORY", "Where CRIU writes its log, else with the files");
pub(crate) const TCP: Flag = Flag::switch("tcp-established", "Also with TCP connections");
pub(crate) const SOCKETS: Flag = Flag::switch("ext-unix-sk", "Also with unix sockets that lead out of the container");
pub(crate) const SHELL: Flag = Flag::switch("shell-job", "Also with a terminal of the caller's");
pub(crate) const LOCKS: Flag = Flag::switch("file-locks", "Also with locks of files");
pub(crate) const DEDUPLICATE: Flag = Flag::switch("auto-dedup", "Free memory in files once later ones have it");
pub(crate) const LAZY: Flag = Flag::switch("lazy-pages", "Memory is brought when it is needed, from who has it");
pub(crate) const EMPTY: Flag = Flag::with("empty-ns", "NAMESPACE", "Make it anew and empty; network is the only one");
pub(crate) const CGROUPS: Flag =
    Flag::with("manage-cgroups-mode", "MODE", "What of cgroups is restored: soft, full, strict or ignore");

/// The name of an external network namespace in the files.
pub(crate) const NETWORK: &str = "network";

/// A call of the program that is being put together.
#[derive(Debug)]
pub(crate) struct Criu {
    program: PathBuf,
    action: &'static str,
    /// Where the files are.
    pub images: PathBuf,
    work: PathBuf,
    arguments: Vec<String>,
}

impl Criu {
    /// A call to do `action` (`dump`, `restore`) with the container whose root is `rootfs`.
    pub fn new(program: &Program, words: &Words, action: &'static str, rootfs: &Path) -> Result<Criu, Failure> {
        let file = program.criu.clone().or_else(found).filter(|file| is_executable(file)).ok_or_else(|| {
            Failure::Unsupported {
                what: format!("{action} of a container without the program CRIU"),
                instead: "install it (Debian's package criu), or name it by --criu before the command",
            }
        })?;
        let images = absolute(words.value("image-path").unwrap_or("checkpoint"))?;
        let work = words.value("work-path").map_or_else(|| Ok(images.clone()), absolute)?;
        let mode = words.value("manage-cgroups-mode").unwrap_or("soft");
        if !matches!(mode, "soft" | "full" | "strict" | "ignore") {
            let expected = "soft, full, strict or ignore";
            return Err(Failure::Value { flag: "manage-cgroups-mode", value: mode.into(), expected });
        }
        let mut criu = Criu { program: file, action, images, work, arguments: Vec::new() };
        criu.pair("--images-dir", criu.images.display().to_string());
        criu.pair("--work-dir", criu.work.display().to_string());
        criu.pair("--log-file", format!("{action}.log"));
        criu.pair("--root", rootfs.display().to_string());
        // Its value is optional, and taken with this sign alone.
        criu.switch(&format!("--manage-cgroups={mode}"));
        // What the specification binds from the host is there when it is restored: mounts and their propagation are found out.
        criu.pair("--external", "mnt[]:ms".into());
        for flag in [TCP, SOCKETS, SHELL, LOCKS, DEDUPLICATE, LAZY].iter().filter(|flag| words.has(flag.long)) {
            criu.switch(&format!("--{}", flag.long));
        }
        for name in words.all(EMPTY.long) {
            if name != "network" {
                return Err(Failure::Value { flag: EMPTY.long, value: name.into(), expected: "network" });
            }
            criu.pair("--empty-ns", "net".into());
        }
        Ok(criu)
    }

    /// Adds a switch.
    pub fn switch(&mut self, name: &str) {
        self.arguments.push(name.into());
    }

    /// Adds an option with its value.
    pub fn pair(&mut self, name: &str, value: String) {
        self.arguments.extend([name.into(), value]);
    }

    /// Makes its directories, for nobody else to look into: memory is written there.
    pub fn make_directories(&self) -> Result<(), Failure> {
        use std::os::unix::fs::DirBuilderExt;
        for path in [&self.images, &self.work] {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(|source| Failure::File { step: "make", path: path.clone(), source })?;
        }
        Ok(())
    }

    /// The call.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(self.action).args(&self.arguments);
        command
    }

    /// An error unless it ended well, with what it wrote down last as the reason.
    pub fn check(&self, status: ExitStatus) -> Result<(), Failure> {
        if status.success() {
            return Ok(());
        }
        let log = self.work.join(format!("{}.log", self.action));
        let text = std::fs::read(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        // The last lines tell that it failed, those before them why.
        let errors: Vec<&str> = text.lines().filter(|line| line.contains("Error (")).map(str::trim).collect();
        let end = errors.iter().rposition(|line| line.contains("FAILED")).unwrap_or(errors.len());
        let reason = errors[end.saturating_sub(2)..end].join("; ");
        Err(Failure::Criu { action: self.action, status, reason, log })
    }
}

/// The program among those of `$PATH`.
fn found() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join("criu")).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, Access::EXEC_OK).is_ok()
}

fn absolute(path: &str) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|source| Failure::File { step: "find", path: path.into(), source })
}
